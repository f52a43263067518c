//! The log alone, without a network in front: writers that each wait for their own record to be
//! durable, through this project's log on one core, and through `raft-engine` on a thread for each
//! writer, as it is meant to be used. Rounds of the two take turns.

use std::cell::RefCell;
use std::fs::File;
use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Barrier, OnceLock};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use model::ids::{GroupId, ShardId};
use model::limits::{GROUPS_DEFAULT, SEGMENT_BYTES};
use raft_engine::{Config, Engine, LogBatch, ReadableSize};
use shard::effect::{BatchNumber, DiskOp, LogWrite};
use shard::wal::{LogIdentity, Recovery, Wal};
use uring::{LogWriter, SyncStrategy, direct, rt};

use crate::disk::{self, Probe, per_second, ratios};
use crate::hog::{self, Hogs};
use crate::options::{Common, Log as Options};
use crate::report::{Figure, Latencies, Report, Unit};
use crate::scenario::{rounds, seconds};
use crate::scratch::Scratch;

/// Files our log rotates through: the current segment, the spare, and one being let go.
const SEGMENT_FILES: u64 = 3;
/// Part of a round that is not counted.
const WARMUP_PARTS: u32 = 8;
/// The key every record of the other log is stored under, so that its memory does not grow.
const KEY: &[u8] = b"event";

/// Bytes of files the other log makes beforehand for one run.
const PEER_BYTES: u64 = 512 * 1024 * 1024;

/// The `log` scenario.
///
/// # Errors
/// Why it could not be run to its end.
pub(crate) fn run(options: &Options, common: &Common) -> Result<Report, String> {
    let mut report = Report::new("log");
    report.set("dir", common.dir.display().to_string());
    report.set("seconds", options.seconds);
    report.set("payload_bytes", options.bytes);
    report.note("ours runs on one core; raft-engine on a thread for each writer");
    let time = seconds(options.seconds)?;
    let segments = Segments::new(&common.dir)?;
    let mut probe = Probe::new(&common.dir)?;
    let mut peer: Option<Peer> = None;
    let mut last_run = None;
    rounds(common, |run, company| {
        if last_run.replace(run) != Some(run) {
            peer = None;
            peer = Some(Peer::new(&common.dir, peer_bytes(common))?);
        }
        let peer = peer.as_ref().expect("one was just made");
        let _hogs = Hogs::start(company.hogs);
        report.add(&format!("{}, device", company.name), disk::round(&mut probe, time)?);
        for writers in &options.writers {
            let writers = writers.get() as usize;
            let shape = Shape { writers, payload_bytes: options.bytes, time };
            let (ours, theirs) = (ours(&segments, shape)?, peer.round(shape)?);
            let mut figures = ours.figures();
            figures.push(ours.times(&theirs, "raft-engine"));
            figures.extend(ratios(&ours.latencies, &theirs.latencies, "raft-engine"));
            report.add(&format!("{}, ours, {writers} writers", company.name), figures);
            let name = format!("{}, raft-engine, {writers} writers", company.name);
            report.add(&name, theirs.figures());
        }
        Ok(())
    })?;
    Ok(report.conclude())
}

/// What the other log makes beforehand: little where nothing is measured.
fn peer_bytes(common: &Common) -> u64 {
    if common.smoke { 0 } else { PEER_BYTES }
}

/// What one round of one log found.
#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) latencies: Latencies,
    time: Duration,
}

impl Round {
    pub(crate) fn figures(&self) -> Vec<Figure> {
        let mut figures = vec![per_second("appends", self.latencies.count(), self.time)];
        figures.extend(self.latencies.figures(""));
        figures
    }

    /// How many times as many appends a second as another round.
    pub(crate) fn times(&self, other: &Round, name: &str) -> Figure {
        let rate = |round: &Round| per_second("", round.latencies.count(), round.time).value;
        Figure::new(format!("appends / {name}"), Unit::Ratio, rate(self) / rate(other))
    }
}

/// How one round goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) writers: usize,
    pub(crate) payload_bytes: usize,
    pub(crate) time: Duration,
}

impl Shape {
    /// When counting begins and ends.
    fn window(&self) -> (Instant, Instant) {
        let begin = Instant::now() + self.time / WARMUP_PARTS;
        (begin, begin + self.time)
    }
}

/// Files for our log, made once for all rounds: a running log recycles its own.
#[derive(Debug)]
pub(crate) struct Segments {
    scratch: Scratch,
}

impl Segments {
    /// Makes files of written zeros in a directory of their own below `parent`.
    ///
    /// # Errors
    /// If the file system takes no direct IO.
    pub(crate) fn new(parent: &Path) -> Result<Segments, String> {
        let segments = Segments { scratch: Scratch::new(parent)? };
        for path in segments.paths() {
            let make = || {
                let file = direct::create(&path)?;
                direct::fill_with_zeros(&file, SEGMENT_BYTES)?;
                file.sync_all()
            };
            make().map_err(|error| format!("{} cannot be made: {error}", path.display()))?;
        }
        Ok(segments)
    }

    fn paths(&self) -> Vec<PathBuf> {
        let path = |number| self.scratch.path().join(format!("segment-{number}"));
        (0..SEGMENT_FILES).map(path).collect()
    }
}

/// One round of our log, on one core.
///
/// # Errors
/// If the machine refuses an executor or a write fails.
pub(crate) fn ours(segments: &Segments, shape: Shape) -> Result<Round, String> {
    let paths = segments.paths();
    let cpu = hog::cpus().first().copied();
    rt::run(cpu, move || async move {
        let files = paths.iter().map(|path| direct::open_for_write(path).map(Rc::new));
        let files = files.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
        let writer = LogWriter::new(SyncStrategy::Link).map_err(|error| error.to_string())?;
        commit(&writer, &files, shape).await
    })?
}

/// The state that writers and the committer share.
#[derive(Debug)]
struct Log {
    wal: Wal,
    /// The last index of each group.
    indexes: Vec<u64>,
    /// Writers whose record is not yet durable.
    waiting: Vec<Waker>,
    /// The committer, while there is nothing to commit.
    committer: Option<Waker>,
    writers: usize,
    /// Whether a write has failed: writers then end without an answer.
    failed: bool,
    begin: Instant,
    end: Instant,
    latencies: Latencies,
}

/// Seals, writes and answers batches until the last writer has ended.
async fn commit(writer: &LogWriter, files: &[Rc<File>], shape: Shape) -> Result<Round, String> {
    let identity = LogIdentity { log_id: 1, shard: ShardId(0) };
    let nothing = Recovery::new(identity, SEGMENT_BYTES, None).finish();
    let recovered = nothing.map_err(|corruption| corruption.to_string())?;
    let (begin, end) = shape.window();
    let log = Rc::new(RefCell::new(Log {
        wal: Wal::new(identity, SEGMENT_BYTES, recovered),
        indexes: vec![0; GROUPS_DEFAULT as usize],
        waiting: Vec::with_capacity(shape.writers),
        committer: None,
        writers: shape.writers,
        failed: false,
        begin,
        end,
        latencies: Latencies::default(),
    }));
    for number in 0..shape.writers {
        rt::spawn_local(write(Rc::clone(&log), number, vec![b'x'; shape.payload_bytes]));
    }
    while let Some(LogWrite { segment, offset, buffer, batch }) = sealed(&log).await {
        let file = &files[usize::try_from(segment.0 % SEGMENT_FILES).expect("a small number")];
        match writer.write(file, offset, buffer).await {
            Ok(buffer) => log.borrow_mut().durable(batch, buffer),
            Err(error) => {
                log.borrow_mut().fail();
                return Err(error.to_string());
            }
        }
        // Writers that were just answered get their next record into the next batch.
        rt::yield_now().await;
    }
    let latencies = std::mem::take(&mut log.borrow_mut().latencies);
    Ok(Round { latencies, time: shape.time })
}

/// The next batch, once there is one; `None` when there will be no more.
async fn sealed(log: &RefCell<Log>) -> Option<LogWrite> {
    poll_fn(|cx| {
        let mut log = log.borrow_mut();
        log.make_room();
        if let Some(write) = log.wal.seal() {
            return Poll::Ready(Some(write));
        }
        if log.writers == 0 {
            return Poll::Ready(None);
        }
        log.committer = Some(cx.waker().clone());
        Poll::Pending
    })
    .await
}

impl Log {
    /// Lets go of full segments and has the next one ready, as checkpoints and the disk would.
    fn make_room(&mut self) {
        if 1 < self.wal.segments_in_use() {
            let floor = self.wal.floor_after(|_| u64::MAX);
            // The files stay; the log only learns that it may use their numbers again.
            let _files_to_remove = self.wal.release(floor);
        }
        if let Some(DiskOp::SegmentPrepare { number, .. }) = self.wal.segments_wanted(false) {
            self.wal.segment_ready(number);
        }
    }

    fn durable(&mut self, batch: BatchNumber, buffer: shard::aligned::AlignedBuffer) {
        self.wal.durable(batch, buffer);
        self.wake_all();
    }

    fn fail(&mut self) {
        self.failed = true;
        self.wake_all();
    }

    fn wake_all(&mut self) {
        for waker in self.waiting.drain(..) {
            waker.wake();
        }
    }

    fn accept(&mut self, writer: usize, payload: &[u8]) -> BatchNumber {
        let slot = writer % self.indexes.len();
        self.indexes[slot] += 1;
        let group = GroupId(u32::try_from(slot).expect("fewer groups than that"));
        let batch = self.wal.accept_entry(group, 1, self.indexes[slot], payload);
        if let Some(committer) = self.committer.take() {
            committer.wake();
        }
        batch
    }
}

/// One writer: the next record after the last one is durable.
async fn write(log: Rc<RefCell<Log>>, number: usize, payload: Vec<u8>) {
    loop {
        let start = Instant::now();
        if log.borrow().end <= start || log.borrow().failed {
            break;
        }
        let batch = log.borrow_mut().accept(number, &payload);
        poll_fn(|cx| {
            let mut log = log.borrow_mut();
            if log.failed || batch <= log.wal.durable_batch() {
                return Poll::Ready(());
            }
            log.waiting.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
        let took = start.elapsed();
        let mut log = log.borrow_mut();
        if !log.failed && log.begin <= start {
            log.latencies.record(took);
        }
    }
    let mut log = log.borrow_mut();
    log.writers -= 1;
    if let Some(committer) = log.committer.take() {
        committer.wake();
    }
}

/// The other log, with its files made beforehand as well.
pub(crate) struct Peer {
    engine: Engine,
    /// Holds the files.
    _scratch: Scratch,
}

impl Peer {
    /// Opens it on a directory of its own below `parent`, with files of zeros for `bytes`.
    ///
    /// # Errors
    /// What it failed with.
    pub(crate) fn new(parent: &Path, bytes: u64) -> Result<Peer, String> {
        let scratch = Scratch::new(parent)?;
        let config = Config {
            dir: scratch.path().join("log").display().to_string(),
            target_file_size: ReadableSize(SEGMENT_BYTES),
            purge_threshold: ReadableSize(bytes.max(SEGMENT_BYTES)),
            enable_log_recycle: true,
            prefill_for_recycle: true,
            prefill_limit: Some(ReadableSize(bytes.max(SEGMENT_BYTES))),
            ..Config::default()
        };
        let engine = Engine::open(config).map_err(|error| error.to_string())?;
        Ok(Peer { engine, _scratch: scratch })
    }

    /// One round, a thread for each writer, each in a group of its own. Records are key-value puts:
    /// of its two kinds the one that costs it less.
    ///
    /// # Errors
    /// What a write failed with.
    pub(crate) fn round(&self, shape: Shape) -> Result<Round, String> {
        let (barrier, window) = (Barrier::new(shape.writers), OnceLock::new());
        let (barrier, window) = (&barrier, &window);
        thread::scope(|scope| {
            let write = |writer: usize| {
                scope.spawn(move || {
                    barrier.wait();
                    let window = *window.get_or_init(|| shape.window());
                    self.write(writer as u64, window, shape.payload_bytes)
                })
            };
            let threads: Vec<_> = (0..shape.writers).map(write).collect();
            let mut latencies = Latencies::default();
            for thread in threads {
                latencies.merge(&thread.join().expect("a writer returns its errors")?);
            }
            Ok(Round { latencies, time: shape.time })
        })
    }

    fn write(
        &self,
        group: u64,
        (begin, end): (Instant, Instant),
        payload_bytes: usize,
    ) -> Result<Latencies, String> {
        let mut latencies = Latencies::default();
        let payload = vec![b'x'; payload_bytes];
        let mut batch = LogBatch::with_capacity(1);
        loop {
            let start = Instant::now();
            if end <= start {
                return Ok(latencies);
            }
            let mut append = || {
                batch.put(group, KEY.to_vec(), payload.clone())?;
                self.engine.write(&mut batch, true)
            };
            append().map_err(|error| error.to_string())?;
            if begin <= start {
                latencies.record(start.elapsed());
            }
        }
    }
}
