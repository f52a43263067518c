//! One shard's files as a script goes on: what is durable, and what is on its way. The log has one
//! write in flight; everything else is done by one hand, in the order it was asked for, each thing
//! durable before the next begins. So what a crash leaves is: any sectors of the log write, and the
//! first so many of the other deeds.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use shard::aligned::AlignedBuffer;
use shard::effect::{Completion, DiskOp, FileName, LogWrite, NoSpace, ReadId, SegmentNumber};

/// What a power cut leaves whole or not at all.
pub(crate) const SECTOR_BYTES: usize = 512;

/// Files; a copy shares their bytes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Files {
    /// The log.
    pub(crate) segments: BTreeMap<SegmentNumber, Arc<Vec<u8>>>,
    /// Everything else that has its name.
    pub(crate) named: BTreeMap<FileName, Arc<Vec<u8>>>,
    /// What has none yet, and is gone after a crash.
    unnamed: BTreeMap<FileName, Arc<Vec<u8>>>,
}

impl Files {
    /// What a process that starts removes before it goes on.
    pub(crate) fn clean(&mut self, segments: &[SegmentNumber], keep: impl Fn(&FileName) -> bool) {
        for number in segments {
            self.segments.remove(number);
        }
        self.named.retain(|name, _| keep(name));
        self.unnamed.clear();
    }

    /// The process is gone, and with it what had no name.
    pub(crate) fn crash(&mut self) {
        self.unnamed.clear();
    }

    /// Carries a deed out as a whole.
    pub(crate) fn carry_out(&mut self, op: &DiskOp, segment_bytes: usize) {
        match op {
            DiskOp::LogWrite(write) => self.land(write, |_| true),
            DiskOp::SegmentPrepare { number, recycle } => {
                let old = recycle.map(|old| self.segments.remove(&old).expect("a recycled file"));
                let image = old.unwrap_or_else(|| Arc::new(vec![0; segment_bytes]));
                self.segments.insert(*number, image);
            }
            DiskOp::SegmentRemove { number } => {
                self.segments.remove(number).expect("a removed segment is there");
            }
            DiskOp::FileWrite { file, offset, buffer } => {
                let bytes = Arc::make_mut(self.unnamed.entry(*file).or_default());
                let begin = usize::try_from(*offset).expect("an offset fits the memory");
                if begin == 0 {
                    bytes.clear();
                }
                bytes.resize(begin, 0);
                bytes.extend_from_slice(buffer.as_slice());
            }
            DiskOp::FilePublish { file } => {
                let bytes = self.unnamed.remove(file).expect("a published file was written");
                self.named.insert(*file, bytes);
            }
            DiskOp::FileRemove { file } => {
                self.unnamed.remove(file);
                self.named.remove(file);
            }
            DiskOp::FileRead { .. } => {}
        }
    }

    /// Those sectors of a log write that `lands` says.
    pub(crate) fn land(&mut self, write: &LogWrite, lands: impl Fn(usize) -> bool) {
        let image = self.segments.get_mut(&write.segment).expect("the log writes to what is there");
        let image = Arc::make_mut(image);
        let begin = usize::try_from(write.offset).expect("an offset fits the memory");
        for (sector, bytes) in write.buffer.as_slice().chunks(SECTOR_BYTES).enumerate() {
            if lands(sector) {
                let at = begin + sector * SECTOR_BYTES;
                image[at..at + bytes.len()].copy_from_slice(bytes);
            }
        }
    }

    /// The sectors of a log write that would change what is there.
    pub(crate) fn changed_by(&self, write: &LogWrite) -> Vec<usize> {
        let image = &self.segments[&write.segment];
        let begin = usize::try_from(write.offset).expect("an offset fits the memory");
        let sectors = write.buffer.as_slice().chunks(SECTOR_BYTES).enumerate();
        let changed = sectors.filter(|(sector, bytes)| {
            let at = begin + sector * SECTOR_BYTES;
            image[at..at + bytes.len()] != **bytes
        });
        changed.map(|(sector, _)| sector).collect()
    }

    /// A part of a named file.
    ///
    /// # Errors
    /// It is not there.
    pub(crate) fn read(
        &self,
        file: FileName,
        offset: u64,
        bytes: usize,
    ) -> Result<AlignedBuffer, String> {
        let begin = usize::try_from(offset).expect("an offset fits the memory");
        let content = self.named.get(&file).ok_or("no such file")?;
        let content = content.get(begin..begin + bytes).ok_or("end of file")?;
        let mut buffer = AlignedBuffer::with_capacity(bytes);
        buffer.extend_from_slice(content);
        Ok(buffer)
    }
}

/// Files, and what is on its way to them.
#[derive(Debug, Default)]
pub(crate) struct Store {
    /// What is there.
    pub(crate) files: Files,
    /// The write of the log in flight.
    pub(crate) log: Option<LogWrite>,
    /// Other deeds, first the one that is next.
    pub(crate) queue: VecDeque<DiskOp>,
    /// Reads.
    pub(crate) reads: VecDeque<DiskOp>,
    /// Until when the log, or the other deeds, stand still.
    pub(crate) log_held: u64,
    pub(crate) queue_held: u64,
    segment_bytes: usize,
}

/// What a deed on a file comes to.
pub(crate) enum Done {
    /// The shard is told.
    Told(Completion),
    /// Nobody is.
    Untold,
}

impl Store {
    /// Files with segments of so many bytes.
    pub(crate) fn new(files: Files, segment_bytes: u64) -> Store {
        let segment_bytes = usize::try_from(segment_bytes).expect("a segment fits the memory");
        Store { files, segment_bytes, ..Store::default() }
    }

    /// Whether nothing is on its way but what is held.
    pub(crate) fn is_quiet(&self, now: u64) -> bool {
        let log = self.log.is_none() || now < self.log_held;
        let queue = self.queue.is_empty() || now < self.queue_held;
        log && queue && self.reads.is_empty()
    }

    /// Bytes of a segment.
    pub(crate) fn segment_bytes(&self) -> usize {
        self.segment_bytes
    }

    /// The log write becomes durable.
    pub(crate) fn finish_log(&mut self) -> Completion {
        let write = self.log.take().expect("a log write is in flight");
        self.files.land(&write, |_| true);
        Completion::LogDurable { batch: write.batch, buffer: write.buffer }
    }

    /// The next of the other deeds is done.
    pub(crate) fn finish_next(&mut self) -> Done {
        let op = self.queue.pop_front().expect("something is to be done");
        self.files.carry_out(&op, self.segment_bytes);
        match op {
            DiskOp::SegmentPrepare { number, .. } => {
                Done::Told(Completion::SegmentReady { number })
            }
            DiskOp::FileWrite { file, buffer, .. } => {
                Done::Told(Completion::FileWritten { file, buffer })
            }
            DiskOp::FilePublish { file } => Done::Told(Completion::FilePublished { file }),
            DiskOp::SegmentRemove { .. } | DiskOp::FileRemove { .. } => Done::Untold,
            DiskOp::LogWrite(_) | DiskOp::FileRead { .. } => {
                unreachable!("these wait elsewhere")
            }
        }
    }

    /// There is no room for the next of the other deeds.
    pub(crate) fn refuse_next(&mut self) -> Completion {
        let op = self.queue.pop_front().expect("something is to be done");
        match op {
            DiskOp::SegmentPrepare { number, recycle } => {
                if let Some(old) = recycle {
                    self.files.segments.remove(&old);
                }
                Completion::NoSpace { what: NoSpace::Segment(number) }
            }
            DiskOp::FileWrite { file, .. } | DiskOp::FilePublish { file } => {
                self.files.unnamed.remove(&file);
                Completion::NoSpace { what: NoSpace::File(file) }
            }
            _ => unreachable!("removing needs no room"),
        }
    }

    /// The oldest read, done.
    pub(crate) fn finish_read(&mut self) -> (ReadId, Result<AlignedBuffer, String>) {
        match self.reads.pop_front() {
            Some(DiskOp::FileRead { read, file, offset, bytes }) => {
                (read, self.files.read(file, offset, bytes))
            }
            _ => unreachable!("a read was asked for"),
        }
    }

    /// The process is gone: what was on its way never happens.
    pub(crate) fn crash(&mut self) {
        self.log = None;
        self.queue.clear();
        self.reads.clear();
        (self.log_held, self.queue_held) = (0, 0);
        self.files.crash();
    }
}
