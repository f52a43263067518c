//! The disk of one shard: log writes go through a ring of their own, everything else to the file
//! threads of the core.
//!
//! Absence: no file is opened through glommio. Its first direct file on a device decides how later
//! ones are opened, its syncs wait for its own event loop, and neither is any use here; so the probe
//! file it would need is not written for its sake. [`probe`] writes one for ours: a machine that
//! refuses direct IO or the ring says so before it serves.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::future::poll_fn;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError};
use std::task::{Poll, Waker};

use model::error::Fatal;
use model::ids::ShardId;
use model::limits::BLOCK_BYTES;
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use shard::aligned::AlignedBuffer;
use shard::effect::{BatchNumber, Completion, Disk, DiskOp, LogWrite, SegmentNumber};

use crate::cores::Settings;
use crate::direct;
use crate::fatal::fatal;
use crate::files::{Done, FileThreads, Job, Work};
use crate::inbox::Inbox;
use crate::layout::ShardDir;
use crate::log_writer::LogWriter;
use crate::meters::LogMeters;
use crate::ring::{LogError, Ring, SyncStrategy};
use crate::rt::{self, Bell};

/// The disk of one shard. Clones are the same disk.
#[derive(Debug, Clone)]
pub(crate) struct UringDisk(Rc<State>);

#[derive(Debug)]
struct State {
    shard: ShardId,
    dir: Arc<ShardDir>,
    segment_bytes: u64,
    inbox: Rc<Inbox>,
    log: LogWriter,
    /// The batch under way.
    batch: Cell<Option<BatchNumber>>,
    /// The task that waits for it, while there is none.
    watcher: RefCell<Option<Waker>>,
    /// Open segments: the one being written and those made for later.
    segments: RefCell<BTreeMap<SegmentNumber, Rc<File>>>,
    files: Rc<FileClient>,
    /// Jobs of this shard that are not done yet.
    jobs: Cell<usize>,
    meters: LogMeters,
}

impl UringDisk {
    /// The disk of a shard: completions go to its inbox, jobs to the file threads of its core. Must be
    /// called on the core's executor.
    ///
    /// # Errors
    /// If the kernel refuses a ring.
    pub(crate) fn new(
        shard: ShardId,
        (inbox, files): (Rc<Inbox>, Rc<FileClient>),
        settings: &Settings,
    ) -> io::Result<UringDisk> {
        let dir = ShardDir::new(&settings.data_dir, shard);
        let disk = UringDisk(Rc::new(State {
            shard,
            dir: Arc::new(dir),
            segment_bytes: settings.segment_bytes,
            inbox,
            log: LogWriter::new(settings.sync)?,
            batch: Cell::new(None),
            watcher: RefCell::new(None),
            segments: RefCell::default(),
            files,
            jobs: Cell::new(0),
            meters: LogMeters::new(shard),
        }));
        rt::spawn_local(watch(disk.clone()));
        Ok(disk)
    }

    /// Looks whether the batch under way is through, in case nobody was woken for it.
    pub(crate) fn look(&self) {
        if let Some(result) = self.0.log.look() {
            self.log_done(result);
        }
    }

    /// Whether nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.0.batch.get().is_none() && self.0.jobs.get() == 0
    }

    /// Takes what a file thread has done.
    pub(crate) fn job_done(&self, done: Done) {
        assert_eq!(done.shard, self.0.shard, "jobs come back to their shard");
        self.0.jobs.set(self.0.jobs.get().checked_sub(1).expect("each job is done once"));
        if let (Completion::SegmentReady { number }, Some(file)) = (&done.completion, done.segment)
        {
            self.0.segments.borrow_mut().insert(*number, Rc::new(file));
        }
        self.0.inbox.completion(done.completion);
    }

    fn log_write(&self, write: LogWrite) {
        let LogWrite { segment, offset, buffer, batch } = write;
        let end = offset + buffer.len() as u64;
        assert!(offset.is_multiple_of(BLOCK_BYTES as u64), "batches start on a block");
        assert!(buffer.len().is_multiple_of(BLOCK_BYTES), "batches are whole blocks");
        assert!(end <= self.0.segment_bytes, "batches stay in their segment");
        let file = match self.segment(segment) {
            Ok(file) => file,
            Err(error) => {
                let path = self.0.dir.segment(segment);
                fatal(Fatal::LogWrite, &format!("cannot open {}: {error}", path.display()))
            }
        };
        self.0.batch.set(Some(batch));
        if let Err(error) = self.0.log.submit(&file, offset, buffer) {
            log_failed(&error);
        }
        if let Some(watcher) = self.0.watcher.borrow_mut().take() {
            watcher.wake();
        }
    }

    /// A segment open for writing. Those before it are closed: the log has left them.
    fn segment(&self, number: SegmentNumber) -> io::Result<Rc<File>> {
        let mut segments = self.0.segments.borrow_mut();
        if let Some(file) = segments.get(&number) {
            return Ok(Rc::clone(file));
        }
        let file = direct::open_for_write(&self.0.dir.segment(number))?;
        if file.metadata()?.len() != self.0.segment_bytes {
            return Err(io::Error::other("it is not a whole segment"));
        }
        let file = Rc::new(file);
        segments.insert(number, Rc::clone(&file));
        Ok(file)
    }

    fn log_done(&self, result: Result<AlignedBuffer, LogError>) {
        let buffer = match result {
            Ok(buffer) => buffer,
            Err(error) => log_failed(&error),
        };
        let batch = self.0.batch.take().expect("a batch was under way");
        self.0.meters.durable();
        self.0.inbox.completion(Completion::LogDurable { batch, buffer });
    }
}

impl Disk for UringDisk {
    fn submit(&mut self, op: DiskOp) {
        let work = match op {
            DiskOp::LogWrite(write) => {
                self.0.segments.borrow_mut().retain(|number, _| write.segment <= *number);
                self.0.meters.submitted();
                return self.log_write(write);
            }
            DiskOp::SegmentPrepare { number, recycle } => Work::SegmentPrepare { number, recycle },
            DiskOp::SegmentRemove { number } => Work::SegmentRemove { number },
            DiskOp::FileWrite { file, offset, buffer } => Work::Write { file, offset, buffer },
            DiskOp::FilePublish { file } => Work::Publish { file },
            DiskOp::FileRemove { file } => Work::Remove { file },
            DiskOp::FileRead { read, file, offset, bytes } => {
                Work::Read { read, file, offset, bytes }
            }
        };
        if work.is_answered() {
            self.0.jobs.set(self.0.jobs.get() + 1);
        }
        let job = Job { shard: self.0.shard, dir: Arc::clone(&self.0.dir), work };
        self.0.files.submit(job);
    }
}

/// Waits for each batch in turn.
async fn watch(disk: UringDisk) {
    loop {
        poll_fn(|cx| {
            if disk.0.batch.get().is_some() {
                return Poll::Ready(());
            }
            *disk.0.watcher.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
        if let Some(result) = disk.0.log.wait_a_little().await {
            disk.log_done(result);
        }
    }
}

fn log_failed(error: &LogError) -> ! {
    fatal(Fatal::LogWrite, &error.to_string())
}

/// The file threads of a core, shared by the disks of its shards.
#[derive(Debug)]
pub(crate) struct FileClient {
    writer: Lane,
    readers: Vec<Lane>,
    /// The reader whose turn it is.
    turn: Cell<usize>,
}

/// The way to one thread. What its queue has no room for waits here; a shard bounds what it asks for.
#[derive(Debug)]
struct Lane {
    /// `None` once closed.
    jobs: RefCell<Option<SyncSender<Job>>>,
    backlog: RefCell<VecDeque<Job>>,
}

impl Lane {
    fn new(jobs: SyncSender<Job>) -> Lane {
        Lane { jobs: RefCell::new(Some(jobs)), backlog: RefCell::default() }
    }

    fn submit(&self, job: Job) {
        self.backlog.borrow_mut().push_back(job);
        self.flush();
    }

    fn flush(&self) {
        let backlog = &mut *self.backlog.borrow_mut();
        let jobs = self.jobs.borrow();
        let Some(jobs) = jobs.as_ref() else {
            return;
        };
        while let Some(job) = backlog.pop_front() {
            match jobs.try_send(job) {
                Ok(()) => {}
                Err(TrySendError::Full(job)) => return backlog.push_front(job),
                Err(TrySendError::Disconnected(_)) => panic!("file threads outlive executors"),
            }
        }
    }
}

impl FileClient {
    /// Takes over the file threads of this core. What they have done goes to `deliver`. Must be
    /// called on the executor.
    pub(crate) fn start(threads: FileThreads, deliver: impl Fn(Done) + 'static) -> Rc<FileClient> {
        let FileThreads { writer, readers, done, listening } = threads;
        let client = Rc::new(FileClient {
            writer: Lane::new(writer),
            readers: readers.into_iter().map(Lane::new).collect(),
            turn: Cell::new(0),
        });
        rt::spawn_local(collect(Rc::clone(&client), done, Bell::new(listening), deliver));
        client
    }

    fn submit(&self, job: Job) {
        if !matches!(job.work, Work::Read { .. }) {
            return self.writer.submit(job);
        }
        let turn = self.turn.get();
        self.turn.set((turn + 1) % self.readers.len());
        self.readers[turn].submit(job);
    }

    /// Moves on what found a full queue.
    pub(crate) fn flush(&self) {
        self.lanes().for_each(Lane::flush);
    }

    /// Lets the file threads end when they have done what they were given.
    pub(crate) fn close(&self) {
        for lane in self.lanes() {
            *lane.jobs.borrow_mut() = None;
        }
    }

    fn lanes(&self) -> impl Iterator<Item = &Lane> {
        self.readers.iter().chain([&self.writer])
    }

    fn is_closed(&self) -> bool {
        self.writer.jobs.borrow().is_none()
    }
}

/// Brings back what the file threads have done.
async fn collect(
    client: Rc<FileClient>,
    done: Receiver<Done>,
    mut bell: Bell,
    deliver: impl Fn(Done),
) {
    loop {
        if let Err(error) = bell.ring().await {
            if client.is_closed() {
                return;
            }
            fatal(Fatal::Machine, &format!("the file threads cannot be heard: {error}"));
        }
        done.try_iter().for_each(&deliver);
        client.flush();
    }
}

/// Writes a block to a shard's directory the way the log does, and reads it back.
///
/// # Errors
/// With the step that failed: the kernel may refuse the ring, the file system direct IO.
pub(crate) fn probe(dir: &ShardDir, strategy: SyncStrategy) -> Result<(), String> {
    let path = dir.path().join("probe.tmp");
    let outcome = probe_file(&path, strategy);
    let removed = std::fs::remove_file(&path);
    outcome?;
    removed.map_err(|error| format!("cannot remove {}: {error}", path.display()))
}

fn probe_file(path: &Path, strategy: SyncStrategy) -> Result<(), String> {
    let refused = |step: &str, why: &dyn std::fmt::Display| {
        format!("cannot {step} {}: {why}", path.display())
    };
    let file = direct::create(path).map_err(|e| refused("open for direct IO", &e))?;
    let mut ring = Ring::new(strategy).map_err(|e| format!("io_uring is refused: {e}"))?;
    let room = rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, BLOCK_BYTES as u64);
    if matches!(room, Err(Errno::NOSPC | Errno::DQUOT)) {
        // What is there can be served, and the shards wait for room by themselves.
        tracing::warn!(path = %path.display(), "the disk is full: no log segment can be made");
        return Ok(());
    }
    let mut block = AlignedBuffer::zeroed(BLOCK_BYTES);
    block.as_mut_slice().fill(0xa5);
    ring.submit(Rc::new(file), 0, block).map_err(|e| refused("write to", &e))?;
    let written = ring.wait().map_err(|e| refused("write to", &e))?;
    let mut back = AlignedBuffer::zeroed(BLOCK_BYTES);
    let opened = direct::open_for_read(path).map_err(|e| refused("read", &e))?;
    opened.read_exact_at(back.as_mut_slice(), 0).map_err(|e| refused("read", &e))?;
    if back.as_slice() != written.as_slice() {
        return Err(refused("trust", &"it holds other bytes than were written"));
    }
    Ok(())
}
