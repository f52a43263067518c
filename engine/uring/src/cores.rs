//! Starts one executor per core and waits for their end; says clearly what the machine refuses.

use std::fmt;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use model::error::Fatal;
use model::ids::{Placement, ShardId};
use model::intent::Intent;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::sched_getaffinity;
use shard::cluster::Cluster;
use shard::shard::Shard;

use crate::core::Plan;
use crate::direct::device_writes_through;
use crate::disk::probe;
use crate::driver::Clock;
use crate::files;
use crate::gateway::Gateway;
use crate::hub::Homes;
use crate::layout::ShardDir;
use crate::mesh;
use crate::peers::Heard;
use crate::ring::SyncStrategy;
use crate::rt::{ExecutorError, ExecutorHandle, ExecutorSettings};
use crate::standing::Standing;
use crate::stop::Stopper;

/// Memory an executor registers for buffers, if the limit on locked memory allows it.
const IO_MEMORY_BYTES: u64 = 10 * 1024 * 1024;
/// The least it can do with.
const IO_MEMORY_BYTES_MIN: u64 = 64 * 1024;
/// An executor registers its memory once for each of its rings.
const RINGS_PER_EXECUTOR: u64 = 3;

/// How a node uses its machine.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the shards' directories are; they exist.
    pub data_dir: PathBuf,
    /// Cores to use; `None` for all the process may run on.
    pub cores: Option<usize>,
    /// How sessions map to shards.
    pub placement: Placement,
    /// How log batches become durable.
    pub sync: SyncStrategy,
    /// Bytes of one log segment; what the shards were opened with.
    pub segment_bytes: u64,
    /// The node's place among others.
    pub cluster: Cluster,
    /// What operators wanted when the node ran last.
    pub intent: Intent,
}

/// What runs beside the shards of each core: listeners and connections. Called once on every core;
/// returns when its doors are closed, which is soon after [`Gateway::stopped`] resolves. An error
/// stops the node.
pub type Doors =
    Arc<dyn Fn(Gateway) -> Pin<Box<dyn Future<Output = Result<(), String>>>> + Send + Sync>;

/// Why a node cannot start, or why it stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CoresError {
    /// The machine refuses what the server needs.
    Machine(String),
    /// A setting cannot be used on this machine.
    Configuration(String),
    /// A door could not be opened.
    Door(String),
}

impl CoresError {
    /// The status to exit with.
    pub fn fatal(&self) -> Fatal {
        match self {
            CoresError::Machine(_) => Fatal::Machine,
            CoresError::Configuration(_) => Fatal::Configuration,
            CoresError::Door(_) => Fatal::Failed,
        }
    }
}

impl fmt::Display for CoresError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CoresError::Machine(why) | CoresError::Configuration(why) | CoresError::Door(why) => {
                f.write_str(why)
            }
        }
    }
}

impl std::error::Error for CoresError {}

/// A running node.
#[derive(Debug)]
pub struct Cores {
    executors: Vec<ExecutorHandle<Result<(), String>>>,
    file_threads: Vec<JoinHandle<()>>,
    stopper: Stopper,
}

impl Cores {
    /// Starts an executor on each core, the shards spread over them. `shards` holds every shard of
    /// the placement, opened.
    ///
    /// # Errors
    /// What the machine refuses: locked memory, io_uring, direct IO, pinning.
    ///
    /// # Panics
    /// If `shards` is not every shard of the placement once.
    pub fn start(
        settings: &Settings,
        shards: Vec<(ShardId, Shard)>,
        doors: Doors,
    ) -> Result<Cores, CoresError> {
        let cpus = choose_cpus(settings.cores)?;
        let homes = Homes {
            placement: settings.placement,
            cores: cpus.len(),
            cluster: settings.cluster.clone(),
        };
        let mut per_core = spread(shards, &homes);
        check_storage(settings)?;
        let io_memory_bytes = io_memory(cpus.len());
        let standing =
            Standing::new(settings.placement, &settings.cluster, settings.intent.clone());
        let stopper = Stopper::new(cpus.len(), standing);
        let (clock, heard) = (Clock::start(), Heard::default());
        let mut cores =
            Cores { executors: Vec::new(), file_threads: Vec::new(), stopper: stopper.clone() };
        let mut starts = Vec::new();
        for ((core, cpu), ends) in cpus.iter().enumerate().zip(mesh::weave(cpus.len())) {
            let (files, threads) = files::start(core, settings.segment_bytes)
                .map_err(machine("start file threads"))?;
            cores.file_threads.extend(threads);
            let (started, start) = sync_channel(1);
            starts.push(start);
            let plan = Plan {
                core,
                homes: homes.clone(),
                shards: std::mem::take(&mut per_core[core]),
                ends,
                files,
                doors: Arc::clone(&doors),
                settings: settings.clone(),
                stopper: stopper.clone(),
                heard: heard.clone(),
                clock,
                started,
            };
            let executor =
                ExecutorSettings { name: format!("core-{core}"), cpu: Some(*cpu), io_memory_bytes };
            let handle = ExecutorHandle::start(&executor, move |hearts| plan.run(hearts));
            cores.executors.push(handle.map_err(refused)?);
        }
        cores.await_starts(&starts)
    }

    /// Waits until every core runs. If one does not, the others are told to stop; whoever started
    /// them is expected to end the process.
    fn await_starts(mut self, starts: &[Receiver<()>]) -> Result<Cores, CoresError> {
        let Some(failed) = starts.iter().position(|start| start.recv().is_err()) else {
            return Ok(self);
        };
        self.stopper.begin();
        Err(match self.executors.swap_remove(failed).join() {
            Err(error) => refused(error),
            Ok(Err(why)) => CoresError::Machine(why),
            Ok(Ok(())) => CoresError::Machine("a core ended at its start".to_owned()),
        })
    }

    /// The handle that stops the node.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Waits until all cores have ended.
    ///
    /// # Errors
    /// The first reason a core ended for other than being told to.
    pub fn join(self) -> Result<(), CoresError> {
        let mut outcome = Ok(());
        for executor in self.executors {
            let ended = match executor.join() {
                Ok(done) => done.map_err(CoresError::Door),
                Err(error) => Err(refused(error)),
            };
            outcome = outcome.and(ended);
        }
        for thread in self.file_threads {
            thread.join().expect("a panic would have ended the process");
        }
        outcome
    }
}

/// The CPUs to pin executors to: the first ones the process may run on.
fn choose_cpus(wanted: Option<usize>) -> Result<Vec<usize>, CoresError> {
    let allowed = sched_getaffinity(None)
        .map_err(|error| CoresError::Machine(format!("cannot read the CPU affinity: {error}")))?;
    let mut cpus: Vec<usize> =
        (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect();
    let wanted = wanted.unwrap_or(cpus.len());
    if wanted == 0 || cpus.len() < wanted {
        let have = cpus.len();
        return Err(CoresError::Configuration(format!("{wanted} cores of {have} cannot be used")));
    }
    cpus.truncate(wanted);
    Ok(cpus)
}

/// The shards of each core.
fn spread(shards: Vec<(ShardId, Shard)>, homes: &Homes) -> Vec<Vec<(ShardId, Shard)>> {
    let mut ids: Vec<u32> = shards.iter().map(|(id, _)| id.0).collect();
    ids.sort_unstable();
    assert!(ids.into_iter().eq(0..homes.placement.shards()), "every shard once");
    let mut per_core: Vec<Vec<_>> = (0..homes.cores).map(|_| Vec::new()).collect();
    for (id, shard) in shards {
        per_core[homes.core_of(id)].push((id, shard));
    }
    per_core
}

/// Writes and reads back a block in each shard's directory, the way the log will.
fn check_storage(settings: &Settings) -> Result<(), CoresError> {
    if settings.sync == SyncStrategy::Dsync {
        match device_writes_through(&settings.data_dir) {
            Ok(true) => {}
            Ok(false) => {
                let why = "sync strategy dsync needs a device with forced unit access";
                return Err(CoresError::Configuration(format!("{why}; this one has none")));
            }
            Err(error) => {
                let why = "cannot tell whether the device has forced unit access";
                return Err(CoresError::Configuration(format!("{why}: {error}")));
            }
        }
    }
    (0..settings.placement.shards())
        .map(|shard| ShardDir::new(&settings.data_dir, ShardId(shard)))
        .try_for_each(|dir| probe(&dir, settings.sync))
        .map_err(CoresError::Machine)
}

/// Raises the limit on locked memory as far as it goes, and divides it: a third of an executor's
/// share for each of its rings.
fn io_memory(executors: usize) -> usize {
    let limit = getrlimit(Resource::Memlock);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let limit = match setrlimit(Resource::Memlock, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let share = limit.map_or(IO_MEMORY_BYTES, |l| l / RINGS_PER_EXECUTOR / executors as u64);
    let bytes = share.clamp(IO_MEMORY_BYTES_MIN, IO_MEMORY_BYTES);
    if bytes < IO_MEMORY_BYTES {
        tracing::info!(bytes, "the limit on locked memory makes socket buffers smaller");
    }
    usize::try_from(bytes).expect("at most ten megabytes")
}

fn machine(deed: &str) -> impl Fn(io::Error) -> CoresError + '_ {
    move |error| CoresError::Machine(format!("cannot {deed}: {error}"))
}

fn refused(error: ExecutorError) -> CoresError {
    CoresError::Machine(match error {
        ExecutorError::LockedMemory { limit, needed } => {
            format!("the limit on locked memory is {limit} bytes; at least {needed} are needed")
        }
        ExecutorError::NoSuchCpu(cpu) => format!("there is no CPU {cpu} to run on"),
        ExecutorError::Os(why) => format!("an executor cannot run: {why}"),
    })
}
