//! The only module that names glommio. Everything above asks here for tasks, timers, sockets and
//! channels, so that a maintained fork can take glommio's place in the manifest alone.
//!
//! Absences: no task queue but the default one is ever made (queues marked latency-sensitive lose
//! wake-ups in 0.9), no file is ever opened through glommio (see `disk`), no executor spins.

use std::future::Future;
use std::io;
use std::os::fd::{FromRawFd, IntoRawFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_lite::AsyncReadExt;
use glommio::{
    BuilderErrorKind, ExecutorJoinHandle, GlommioError, LocalExecutorBuilder, Placement,
    ReactorErrorKind,
};

pub use crate::sockets::{TcpListener, TcpStream, listen_blocking};

use crate::hearts::Hearts;

pub(crate) use glommio::channels::shared_channel::{SharedReceiver, SharedSender};

/// How long a task may stay runnable before the executor looks at its sockets again. The library's
/// default of 100 ms becomes the delay of every request beside a busy task.
const PREEMPT: Duration = Duration::from_micros(500);

/// How long an executor may take to start before another one is tried.
const START_PATIENCE: Duration = Duration::from_millis(500);
/// Executors that are tried.
const START_TRIES: u32 = 20;
/// Memory for the buffers of an executor outside a node.
const RUN_IO_MEMORY_BYTES: usize = 1024 * 1024;

/// Runs a future on this core, beside the caller, to its end.
pub fn spawn_local<F>(future: F)
where
    F: Future<Output = ()> + 'static,
{
    glommio::spawn_local(future).detach();
}

/// Waits at least this long; some tens of microseconds longer in practice.
pub async fn sleep(time: Duration) {
    glommio::timer::sleep(time).await;
}

/// Lets every runnable task of this core run before the caller goes on. Does not look at sockets.
pub async fn yield_now() {
    glommio::executor().yield_task_queue_now().await;
}

/// Runs a future for at most this long; `None` if it was not done by then and has been dropped.
pub async fn timeout<T>(time: Duration, future: impl Future<Output = T>) -> Option<T> {
    let done = async { Some(future.await) };
    let late = async {
        sleep(time).await;
        None
    };
    futures_lite::future::or(done, late).await
}

/// Runs a future, and whatever it spawns, on an executor of its own thread, pinned to a CPU if one is
/// named, and waits for its end. For programs and tests that need no node.
///
/// # Errors
/// What the machine refused, as text.
pub fn run<G, F, T>(cpu: Option<usize>, main: G) -> Result<T, String>
where
    G: FnOnce() -> F + Send + 'static,
    F: Future<Output = T> + 'static,
    T: Send + 'static,
{
    let name = "run".to_owned();
    let settings = ExecutorSettings { name, cpu, io_memory_bytes: RUN_IO_MEMORY_BYTES };
    let started = ExecutorHandle::start(&settings, |_| main());
    started.and_then(ExecutorHandle::join).map_err(|error| format!("{error:?}"))
}

/// The reading end of a socket pair: how the kernel wakes a task of an executor from another ring.
#[derive(Debug)]
pub(crate) struct Bell(glommio::net::UnixStream);

impl Bell {
    /// Takes over one end of a pair. Must be called on an executor.
    #[expect(unsafe_code, reason = "the runtime takes over a socket in no other way")]
    pub(crate) fn new(listening: UnixStream) -> Bell {
        // SAFETY: the descriptor is an open socket that nobody else owns, since `into_raw_fd` gave
        // it up; the stream closes it.
        Bell(unsafe { glommio::net::UnixStream::from_raw_fd(listening.into_raw_fd()) })
    }

    /// Waits until the bell has been struck; several strikes may pass for one.
    ///
    /// # Errors
    /// Those of reading a socket; the end of the stream counts as one.
    pub(crate) async fn ring(&mut self) -> io::Result<()> {
        let mut strikes = [0; 64];
        match self.0.read(&mut strikes).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// A timer that is set although nobody has waited for it yet.
#[derive(Debug)]
pub(crate) struct Alarm {
    _timer: glommio::timer::Timer,
}

impl Alarm {
    /// Sets an alarm for the calling task, which is woken if the alarm is still there then.
    pub(crate) async fn set(time: Duration) -> Alarm {
        let mut timer = glommio::timer::Timer::new(time);
        futures_lite::future::poll_once(&mut timer).await;
        Alarm { _timer: timer }
    }
}

/// A channel from one core to another that holds `slots` messages.
pub(crate) fn channel<T: Send>(slots: usize) -> (SharedSender<T>, SharedReceiver<T>) {
    glommio::channels::shared_channel::new_bounded(slots)
}

/// Where and how an executor runs.
#[derive(Debug, Clone)]
pub(crate) struct ExecutorSettings {
    /// Thread name.
    pub(crate) name: String,
    /// The CPU it is pinned to; `None` lets the kernel choose.
    pub(crate) cpu: Option<usize>,
    /// Memory registered with the kernel for socket and file buffers; three times this much is
    /// locked.
    pub(crate) io_memory_bytes: usize,
}

impl ExecutorSettings {
    fn builder(&self) -> LocalExecutorBuilder {
        LocalExecutorBuilder::new(self.cpu.map_or(Placement::Unbound, Placement::Fixed))
            .name(&self.name)
            .io_memory(self.io_memory_bytes)
            .preempt_timer(PREEMPT)
            .spin_before_park(Duration::ZERO)
    }
}

/// Why an executor could not start or run to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ExecutorError {
    /// The limit on locked memory is too low.
    LockedMemory {
        /// The limit, in bytes.
        limit: u64,
        /// What is needed.
        needed: u64,
    },
    /// The CPU to run on does not exist.
    NoSuchCpu(usize),
    /// The operating system refused.
    Os(String),
}

/// An executor on its own thread.
#[derive(Debug)]
pub(crate) struct ExecutorHandle<T: Send + 'static>(ExecutorJoinHandle<Option<T>>);

impl<T: Send + 'static> ExecutorHandle<T> {
    /// Starts an executor that runs `main` and whatever it spawns until `main` is done. Returns when
    /// `main` runs.
    ///
    /// An executor can fall asleep before it has run anything (see `hearts`), and then there is no
    /// way to wake it. One that does not start in time is left behind, and another takes over.
    pub(crate) fn start<G, F>(
        settings: &ExecutorSettings,
        main: G,
    ) -> Result<ExecutorHandle<T>, ExecutorError>
    where
        G: FnOnce(Hearts) -> F + Send + 'static,
        F: Future<Output = T> + 'static,
    {
        let main = Arc::new(Mutex::new(Some(main)));
        // Those that did not start in time. One of them may still wake up and take over.
        let mut late = Vec::new();
        for _ in 0..START_TRIES {
            let (taken, running) = sync_channel(1);
            let task = Arc::clone(&main);
            let executor = settings.builder().spawn(move || async move {
                let main = task.lock().expect("nobody panics holding it").take()?;
                // Nobody listens any more if the start was given up.
                let _ = taken.send(());
                Some(Hearts::with(main).await)
            })?;
            match running.recv_timeout(START_PATIENCE) {
                Ok(()) => return Ok(ExecutorHandle(executor)),
                Err(RecvTimeoutError::Timeout) => late.push((executor, running)),
                Err(RecvTimeoutError::Disconnected) => {
                    let took = |(_, running): &(_, Receiver<()>)| {
                        running.recv_timeout(START_PATIENCE).is_ok()
                    };
                    let Some(place) = late.iter().position(took) else {
                        executor.join()?;
                        return Err(ExecutorError::Os("it ended before it began".to_owned()));
                    };
                    return Ok(ExecutorHandle(late.swap_remove(place).0));
                }
            }
        }
        Err(ExecutorError::Os(format!("it did not start in {START_TRIES} tries")))
    }

    /// Waits for the end of `main`.
    pub(crate) fn join(self) -> Result<T, ExecutorError> {
        let ended = self.0.join()?;
        Ok(ended.expect("this executor is the one that took main"))
    }
}

impl From<GlommioError<()>> for ExecutorError {
    fn from(error: GlommioError<()>) -> ExecutorError {
        match error {
            GlommioError::ReactorError(ReactorErrorKind::MemLockLimit(limit, needed)) => {
                ExecutorError::LockedMemory { limit, needed }
            }
            GlommioError::BuilderError(BuilderErrorKind::NonExistentCpus { cpu }) => {
                ExecutorError::NoSuchCpu(cpu)
            }
            other => ExecutorError::Os(other.to_string()),
        }
    }
}
