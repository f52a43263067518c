//! File work that has no place on an executor: making segments, writing and publishing chunks and
//! checkpoints, reading them back. One thread writes for a core, others read, so that no reader waits
//! behind a segment full of zeros.
//!
//! Threads are started before the executors: a thread started on a pinned one would share its CPU.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use model::error::Fatal;
use model::ids::ShardId;
use shard::aligned::AlignedBuffer;
use shard::effect::{Completion, FileName, NoSpace, ReadId, SegmentNumber};

use crate::direct;
use crate::fatal::fatal;
use crate::layout::{ShardDir, sync_dir};

/// Threads that read, per core.
const READERS: usize = 2;
/// Jobs that wait in one thread's queue; more wait with whoever brings them.
const JOBS: usize = 256;

/// Something to do with a shard's files.
#[derive(Debug)]
pub(crate) struct Job {
    /// Whose files.
    pub(crate) shard: ShardId,
    /// Where they are.
    pub(crate) dir: Arc<ShardDir>,
    /// What to do.
    pub(crate) work: Work,
}

/// What to do; see `DiskOp` for what each means.
#[derive(Debug)]
pub(crate) enum Work {
    /// Make a segment.
    SegmentPrepare {
        /// Its number.
        number: SegmentNumber,
        /// A file to rename instead.
        recycle: Option<SegmentNumber>,
    },
    /// Remove a segment.
    SegmentRemove {
        /// Its number.
        number: SegmentNumber,
    },
    /// Write to a file without a name yet.
    Write {
        /// The file.
        file: FileName,
        /// Where; 0 makes it.
        offset: u64,
        /// What.
        buffer: AlignedBuffer,
    },
    /// Give a written file its name.
    Publish {
        /// The file.
        file: FileName,
    },
    /// Remove a file.
    Remove {
        /// The file.
        file: FileName,
    },
    /// Read from a published file.
    Read {
        /// Comes back with the bytes.
        read: ReadId,
        /// The file.
        file: FileName,
        /// Where.
        offset: u64,
        /// How much.
        bytes: usize,
    },
}

impl Work {
    /// Whether a completion follows.
    pub(crate) fn is_answered(&self) -> bool {
        match self {
            Work::SegmentPrepare { .. }
            | Work::Write { .. }
            | Work::Publish { .. }
            | Work::Read { .. } => true,
            Work::SegmentRemove { .. } | Work::Remove { .. } => false,
        }
    }
}

/// A job is done.
#[derive(Debug)]
pub(crate) struct Done {
    /// Whose.
    pub(crate) shard: ShardId,
    /// For the shard.
    pub(crate) completion: Completion,
    /// The segment that was made, open for writing.
    pub(crate) segment: Option<File>,
}

/// The file threads of one core, as its executor sees them.
#[derive(Debug)]
pub(crate) struct FileThreads {
    /// To the thread that writes.
    pub(crate) writer: SyncSender<Job>,
    /// To each thread that reads.
    pub(crate) readers: Vec<SyncSender<Job>>,
    /// What is done.
    pub(crate) done: Receiver<Done>,
    /// Gets a byte after each.
    pub(crate) listening: UnixStream,
}

/// Starts the file threads of one core, for segments of so many bytes. They end when the senders are gone.
///
/// # Errors
/// Those of starting threads and making sockets.
pub(crate) fn start(
    core: usize,
    segment_bytes: u64,
) -> io::Result<(FileThreads, Vec<JoinHandle<()>>)> {
    let (listening, striking) = UnixStream::pair()?;
    // A bell that has not been heard yet need not be struck again.
    striking.set_nonblocking(true)?;
    let (done_sender, done) = sync_channel(JOBS);
    let back = Back { done: done_sender, bell: Arc::new(striking) };
    let (writer, jobs) = sync_channel(JOBS);
    let mut threads =
        vec![spawn(format!("files-{core}"), jobs, Hands::new(segment_bytes), back.clone())?];
    let mut readers = Vec::new();
    for reader in 0..READERS {
        let (sender, jobs) = sync_channel(JOBS);
        readers.push(sender);
        let name = format!("reads-{core}-{reader}");
        threads.push(spawn(name, jobs, Hands::new(segment_bytes), back.clone())?);
    }
    Ok((FileThreads { writer, readers, done, listening }, threads))
}

/// The way back to the executor.
#[derive(Debug, Clone)]
struct Back {
    done: SyncSender<Done>,
    bell: Arc<UnixStream>,
}

fn spawn(
    name: String,
    jobs: Receiver<Job>,
    mut hands: Hands,
    back: Back,
) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name).spawn(move || {
        for job in jobs {
            match hands.run(job) {
                Ok(Some(done)) => {
                    if back.done.send(done).is_err() {
                        return;
                    }
                    // A full socket rings all the same; a closed one has nobody to wake.
                    let _ = (&*back.bell).write(&[1]);
                }
                Ok(None) => {}
                Err(failure) => {
                    let Failure { deed, error } = failure;
                    fatal(Fatal::LogWrite, &format!("{deed}: {error}"))
                }
            }
        }
    })
}

/// A failure that the process does not survive.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What failed.
    pub(crate) deed: String,
    /// Why.
    pub(crate) error: io::Error,
}

/// One thread's state: what it holds open between jobs.
#[derive(Debug)]
pub(crate) struct Hands {
    segment_bytes: u64,
    /// Files without a name yet; `None` once there was no room for one, until it is begun anew.
    unnamed: BTreeMap<(ShardId, FileName), Option<File>>,
}

impl Hands {
    /// For segments of so many bytes.
    pub(crate) fn new(segment_bytes: u64) -> Hands {
        Hands { segment_bytes, unnamed: BTreeMap::new() }
    }

    /// Does a job.
    ///
    /// # Errors
    /// Whatever is neither lack of room nor a failed read.
    pub(crate) fn run(&mut self, job: Job) -> Result<Option<Done>, Failure> {
        let Job { shard, dir, work } = job;
        let deed = format!("{work:?} in {}", dir.path().display());
        let answered = work.is_answered();
        let mut segment = None;
        let completion = match work {
            Work::SegmentPrepare { number, recycle } => {
                self.segment_prepare(&dir, number, recycle).map(|made| {
                    segment = made;
                    let none = NoSpace::Segment(number);
                    let made = segment.as_ref().map(|_| Completion::SegmentReady { number });
                    made.unwrap_or(Completion::NoSpace { what: none })
                })
            }
            Work::Write { file, offset, buffer } => self.write((shard, file), &dir, offset, buffer),
            Work::Publish { file } => self.publish((shard, file), &dir),
            Work::Read { read, file, offset, bytes } => {
                let opened = direct::open_for_read(&dir.file(file));
                let result = opened.and_then(|file| direct::read(&file, offset, bytes));
                Ok(Completion::FileRead { read, result: result.map_err(|e| e.to_string()) })
            }
            Work::SegmentRemove { number } => {
                let removed = remove(&dir.segment(number)).and_then(|()| sync_dir(dir.log()));
                return removed.map(|()| None).map_err(|error| Failure { deed, error });
            }
            Work::Remove { file } => {
                let removed = self.remove((shard, file), &dir);
                return removed.map(|()| None).map_err(|error| Failure { deed, error });
            }
        };
        assert!(answered, "what is not answered has returned");
        let completion = completion.map_err(|error| Failure { deed, error })?;
        Ok(Some(Done { shard, completion, segment }))
    }

    /// Makes a segment durable under its name and leaves it open; `None` if there is no room.
    fn segment_prepare(
        &self,
        dir: &ShardDir,
        number: SegmentNumber,
        recycle: Option<SegmentNumber>,
    ) -> io::Result<Option<File>> {
        let made = match recycle {
            Some(old) => self.recycle(dir, old, number),
            None => self.make(dir, number),
        };
        match made {
            Ok(file) => Ok(Some(file)),
            Err(error) if no_space(&error) => {
                remove(&dir.segment_temporary(number))?;
                remove(&dir.segment(number))?;
                recycle.map_or(Ok(()), |old| remove(&dir.segment(old)))?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Gives an old segment a new number. One that is not what it should be is made anew.
    fn recycle(
        &self,
        dir: &ShardDir,
        old: SegmentNumber,
        number: SegmentNumber,
    ) -> io::Result<File> {
        let whole = fs::metadata(dir.segment(old)).is_ok_and(|m| m.len() == self.segment_bytes);
        if !whole {
            remove(&dir.segment(old))?;
            return self.make(dir, number);
        }
        fs::rename(dir.segment(old), dir.segment(number))?;
        sync_dir(dir.log())?;
        direct::open_for_write(&dir.segment(number))
    }

    /// Makes a segment of written zeros. It has its name only when all of it is durable.
    fn make(&self, dir: &ShardDir, number: SegmentNumber) -> io::Result<File> {
        let temporary = dir.segment_temporary(number);
        let file = direct::create(&temporary)?;
        direct::fill_with_zeros(&file, self.segment_bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, dir.segment(number))?;
        sync_dir(dir.log())?;
        Ok(file)
    }

    fn write(
        &mut self,
        key: (ShardId, FileName),
        dir: &ShardDir,
        offset: u64,
        buffer: AlignedBuffer,
    ) -> io::Result<Completion> {
        let path = dir.file_temporary(key.1);
        let written = self.try_write(key, &path, offset, &buffer);
        match written {
            Ok(true) => Ok(Completion::FileWritten { file: key.1, buffer }),
            Ok(false) => Ok(Completion::NoSpace { what: NoSpace::File(key.1) }),
            Err(error) if no_space(&error) => {
                self.unnamed.insert(key, None);
                remove(&path)?;
                Ok(Completion::NoSpace { what: NoSpace::File(key.1) })
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the bytes are written; not if the file has run out of room before.
    fn try_write(
        &mut self,
        key: (ShardId, FileName),
        path: &Path,
        offset: u64,
        buffer: &AlignedBuffer,
    ) -> io::Result<bool> {
        if offset == 0 {
            self.unnamed.insert(key, Some(direct::create(path)?));
        }
        let file = self.unnamed.get(&key).expect("a file is begun at its start");
        let Some(file) = file else {
            return Ok(false);
        };
        file.write_all_at(buffer.as_slice(), offset)?;
        Ok(true)
    }

    fn publish(&mut self, key: (ShardId, FileName), dir: &ShardDir) -> io::Result<Completion> {
        let file = self.unnamed.remove(&key).expect("a file is written before it is published");
        let temporary = dir.file_temporary(key.1);
        let no_room = Completion::NoSpace { what: NoSpace::File(key.1) };
        let Some(file) = file else {
            return Ok(no_room);
        };
        let published = file
            .sync_all()
            .and_then(|()| fs::rename(&temporary, dir.file(key.1)))
            .and_then(|()| sync_dir(dir.path()));
        match published {
            Ok(()) => Ok(Completion::FilePublished { file: key.1 }),
            Err(error) if no_space(&error) => {
                remove(&temporary)?;
                remove(&dir.file(key.1))?;
                Ok(no_room)
            }
            Err(error) => Err(error),
        }
    }

    /// Removes a file, whether it has its name or not.
    fn remove(&mut self, key: (ShardId, FileName), dir: &ShardDir) -> io::Result<()> {
        if self.unnamed.remove(&key).is_some() {
            remove(&dir.file_temporary(key.1))?;
        }
        remove(&dir.file(key.1))?;
        sync_dir(dir.path())
    }
}

/// Removes a file; one that is not there is removed already.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
