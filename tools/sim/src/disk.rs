//! The disk of one shard, worse than a real one. What was not synced persists in any subset of its
//! sectors; a sync may lie; a write may be lost or go elsewhere; bits rot; space runs out; it may be
//! slow, or stand still.
//!
//! ```text
//!  submit -> in flight -> finish: what the process sees
//!               |            |
//!               +-- kill: lands whole, late or never
//!               +-- power cut: any subset of its sectors; and what a lying sync had only promised
//! ```

use std::collections::{BTreeMap, VecDeque};

use model::limits::BLOCK_BYTES;
use shard::aligned::AlignedBuffer;
use shard::effect::{Completion, DiskOp, FileName, LogWrite, NoSpace, SegmentNumber};

use crate::count::{Counters, Fault, Reached};
use crate::dice::Dice;

/// What a power cut leaves whole or not at all.
const SECTOR_BYTES: usize = 512;

/// How a disk behaves now. The nemesis turns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Health {
    /// Least and most microseconds of a write with its sync.
    pub(crate) write_micros: (u64, u64),
    /// A write of the log takes so many times as long as one of another file.
    pub(crate) log_times: u64,
    /// Everything takes so many times as long.
    pub(crate) slowness: u64,
    /// Nothing finishes.
    pub(crate) stuck: bool,
    /// There is no room for new files and segments.
    pub(crate) full: bool,
    /// Syncs say they are done and only promise it.
    pub(crate) lies: bool,
    /// What was only promised goes all at once: its end is missing without a trace.
    pub(crate) forgets: bool,
    /// Chance in a thousand that a read of a chunk fails.
    pub(crate) read_errors: u32,
    /// Chance in a thousand that a bit of what is read from a chunk is wrong.
    pub(crate) read_rot: u32,
}

impl Health {
    /// A disk that does what it says.
    pub(crate) fn good(write_micros: (u64, u64)) -> Health {
        Health {
            write_micros,
            log_times: 1,
            slowness: 1,
            stuck: false,
            full: false,
            lies: false,
            forgets: false,
            read_errors: 0,
            read_rot: 0,
        }
    }
}

/// What goes wrong with the next log write that finishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mishap {
    /// The write or its sync fails: the process ends.
    Error,
    /// It is never written.
    Lost,
    /// It is written elsewhere.
    Misdirected,
}

/// Names an operation in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OpNumber(pub(crate) u64);

/// What finishing an operation comes to.
#[derive(Debug)]
pub(crate) enum Finished {
    /// For the shard.
    Done(Completion),
    /// A write of the log failed; the process ends.
    Fatal,
    /// The operation is not in flight any more: the process that asked is gone.
    Forgotten,
}

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The machine goes on: what was written stays.
    Kill,
    /// The machine stops: only what was synced stays for sure.
    PowerCut,
}

/// One shard's files.
#[derive(Debug)]
pub(crate) struct Disk {
    segment_bytes: usize,
    segments: BTreeMap<SegmentNumber, Vec<u8>>,
    files: BTreeMap<FileName, Vec<u8>>,
    temporary: BTreeMap<FileName, Vec<u8>>,
    in_flight: BTreeMap<OpNumber, DiskOp>,
    next: u64,
    /// What lay under writes that a lying sync has not brought to the platter.
    promised: Vec<Patch>,
    /// Whether that goes all at once.
    forgets: bool,
    /// Names taken away and not yet durably so, oldest first.
    removed: VecDeque<Removed>,
    /// Writes of killed processes that have not landed.
    late: Vec<Patch>,
    /// How the disk behaves.
    pub(crate) health: Health,
    /// Microseconds for which the log was written since somebody began to count.
    pub(crate) log_micros: u64,
    /// What happens to the next log write.
    pub(crate) mishap: Option<Mishap>,
    dice: Dice,
}

#[derive(Debug, Clone)]
struct Patch {
    segment: SegmentNumber,
    offset: usize,
    bytes: Vec<u8>,
}

#[derive(Debug)]
enum Removed {
    Segment(SegmentNumber, Vec<u8>),
    File(FileName, Vec<u8>),
}

impl Disk {
    /// An empty disk.
    pub(crate) fn new(segment_bytes: u64, health: Health, dice: Dice) -> Disk {
        Disk {
            segment_bytes: usize::try_from(segment_bytes).expect("a segment fits the memory"),
            segments: BTreeMap::new(),
            files: BTreeMap::new(),
            temporary: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            next: 0,
            promised: Vec::new(),
            forgets: false,
            removed: VecDeque::new(),
            late: Vec::new(),
            health,
            log_micros: 0,
            mishap: None,
            dice,
        }
    }

    /// The segments as a process that starts finds them.
    pub(crate) fn segments(&self) -> &BTreeMap<SegmentNumber, Vec<u8>> {
        &self.segments
    }

    /// The published files as a process that starts finds them.
    pub(crate) fn files(&self) -> &BTreeMap<FileName, Vec<u8>> {
        &self.files
    }

    /// What a process that starts removes before it goes on.
    pub(crate) fn clean(&mut self, segments: &[SegmentNumber], keep: impl Fn(&FileName) -> bool) {
        for number in segments {
            self.segments.remove(number);
        }
        // A late write goes to the file that was there, whatever takes its name.
        self.late.retain(|patch| !segments.contains(&patch.segment));
        self.files.retain(|name, _| keep(name));
        self.temporary.clear();
    }

    /// Starts an operation; says how many microseconds it takes. Removals are done at once.
    pub(crate) fn submit(&mut self, op: DiskOp) -> Option<(OpNumber, u64)> {
        match op {
            DiskOp::SegmentRemove { number } => {
                let bytes = self.segments.remove(&number).expect("a removed segment is there");
                self.late.retain(|patch| patch.segment != number);
                self.removed.push_back(Removed::Segment(number, bytes));
                return None;
            }
            DiskOp::FileRemove { file } => {
                self.temporary.remove(&file);
                if let Some(bytes) = self.files.remove(&file) {
                    self.removed.push_back(Removed::File(file, bytes));
                }
                return None;
            }
            _ => {}
        }
        let (first, last) = self.health.write_micros;
        let is_log = matches!(op, DiskOp::LogWrite(_));
        let times = if is_log { self.health.log_times } else { 1 };
        let micros = self.dice.between(first, last) * times * self.health.slowness;
        self.log_micros += if is_log { micros } else { 0 };
        let number = OpNumber(self.next);
        self.next += 1;
        self.in_flight.insert(number, op);
        Some((number, micros))
    }

    /// The log write in flight under this number.
    pub(crate) fn log_write(&self, number: OpNumber) -> Option<&LogWrite> {
        match self.in_flight.get(&number) {
            Some(DiskOp::LogWrite(write)) => Some(write),
            _ => None,
        }
    }

    /// An operation has had its time.
    pub(crate) fn finish(&mut self, number: OpNumber, counters: &mut Counters) -> Finished {
        let Some(op) = self.in_flight.remove(&number) else { return Finished::Forgotten };
        let completion = match op {
            DiskOp::LogWrite(write) => return self.finish_log(write, counters),
            DiskOp::SegmentPrepare { number, recycle } => self.prepare(number, recycle, counters),
            DiskOp::FileWrite { file, offset, buffer } => {
                if self.health.full {
                    self.temporary.remove(&file);
                    Completion::NoSpace { what: NoSpace::File(file) }
                } else {
                    put(self.temporary.entry(file).or_default(), offset, buffer.as_slice());
                    Completion::FileWritten { file, buffer }
                }
            }
            DiskOp::FilePublish { file } => {
                let bytes = self.temporary.remove(&file).expect("it was written");
                self.files.insert(file, bytes);
                self.removed.clear();
                Completion::FilePublished { file }
            }
            DiskOp::FileRead { read, file, offset, bytes } => {
                let result = self.read(file, offset, bytes, counters);
                Completion::FileRead { read, result }
            }
            DiskOp::SegmentRemove { .. } | DiskOp::FileRemove { .. } => {
                unreachable!("removals are never in flight")
            }
        };
        Finished::Done(completion)
    }

    fn finish_log(&mut self, write: LogWrite, counters: &mut Counters) -> Finished {
        let LogWrite { segment, offset, buffer, batch } = write;
        let offset = usize::try_from(offset).expect("an offset fits the memory");
        let patch = Patch { segment, offset, bytes: buffer.as_slice().to_vec() };
        match self.mishap.take() {
            Some(Mishap::Error) => {
                counters.count(Fault::WriteError);
                self.land_torn(&patch, counters);
                return Finished::Fatal;
            }
            Some(Mishap::Lost) => counters.count(Fault::LostWrite),
            Some(Mishap::Misdirected) => {
                counters.count(Fault::Misdirected);
                self.misdirect(patch);
            }
            None if self.health.lies => {
                counters.count(Fault::LyingSync);
                let under = self.under(&patch);
                self.promised.push(under);
                self.forgets |= self.health.forgets;
                self.land(&patch);
            }
            None => {
                self.promised.clear();
                self.forgets = false;
                self.land(&patch);
            }
        }
        Finished::Done(Completion::LogDurable { batch, buffer })
    }

    fn prepare(
        &mut self,
        number: SegmentNumber,
        recycle: Option<SegmentNumber>,
        counters: &mut Counters,
    ) -> Completion {
        let old = recycle.map(|old| self.segments.remove(&old).expect("a recycled file is there"));
        if self.health.full && old.is_none() {
            return Completion::NoSpace { what: NoSpace::Segment(number) };
        }
        counters.reach_times(Reached::SegmentRecycled, u64::from(old.is_some()));
        let image = old.unwrap_or_else(|| vec![0; self.segment_bytes]);
        self.segments.insert(number, image);
        self.removed.clear();
        Completion::SegmentReady { number }
    }

    fn read(
        &mut self,
        file: FileName,
        offset: u64,
        bytes: usize,
        counters: &mut Counters,
    ) -> Result<AlignedBuffer, String> {
        if self.dice.permille(self.health.read_errors) {
            counters.count(Fault::ReadError);
            return Err("input/output error".to_owned());
        }
        let begin = usize::try_from(offset).expect("an offset fits the memory");
        let content = self.files.get(&file).ok_or("no such file")?;
        let content = content.get(begin..begin + bytes).ok_or("end of file")?;
        let mut buffer = AlignedBuffer::with_capacity(bytes);
        buffer.extend_from_slice(content);
        if self.dice.permille(self.health.read_rot) {
            counters.count(Fault::RotOnRead);
            flip(buffer.as_mut_slice(), &mut self.dice);
        }
        Ok(buffer)
    }

    /// The process is gone. What it had in flight may have happened.
    pub(crate) fn end(&mut self, end: End, counters: &mut Counters) {
        for (_, op) in std::mem::take(&mut self.in_flight) {
            match op {
                DiskOp::LogWrite(write) => self.end_log(end, write, counters),
                DiskOp::SegmentPrepare { number, recycle } if self.dice.permille(500) => {
                    let room = !self.health.full || recycle.is_some();
                    // A file that found no room is gone again.
                    if room {
                        self.prepare(number, recycle, counters);
                    }
                }
                DiskOp::FilePublish { file } if self.dice.permille(500) => {
                    let bytes = self.temporary.remove(&file).expect("it was written");
                    self.files.insert(file, bytes);
                }
                _ => {}
            }
        }
        self.mishap = None;
        self.temporary.clear();
        if end == End::PowerCut {
            self.late.clear();
            self.lose_promised(counters);
            self.bring_back_removed();
        }
    }

    fn end_log(&mut self, end: End, write: LogWrite, counters: &mut Counters) {
        let offset = usize::try_from(write.offset).expect("an offset fits the memory");
        let bytes = write.buffer.as_slice().to_vec();
        let patch = Patch { segment: write.segment, offset, bytes };
        match (end, self.dice.below(4)) {
            (End::Kill, 0) => {}
            (End::Kill, 1) => self.late.push(patch),
            (End::Kill, _) => self.land(&patch),
            (End::PowerCut, _) => self.land_torn(&patch, counters),
        }
    }

    /// Writes of killed processes land, now that the next one has read its log.
    pub(crate) fn land_late(&mut self, counters: &mut Counters) {
        for patch in std::mem::take(&mut self.late) {
            counters.count(Fault::LateWrite);
            self.land(&patch);
        }
    }

    /// Whatever a lying sync only promised may be gone, sector by sector.
    fn lose_promised(&mut self, counters: &mut Counters) {
        let forgets = std::mem::take(&mut self.forgets);
        for under in std::mem::take(&mut self.promised).into_iter().rev() {
            if forgets {
                self.land(&under);
            } else {
                self.land_torn(&under, counters);
            }
        }
    }

    /// Names taken away come back, the last ones first.
    fn bring_back_removed(&mut self) {
        let kept = self.dice.index(self.removed.len() + 1);
        for removed in std::mem::take(&mut self.removed).into_iter().skip(kept) {
            match removed {
                Removed::Segment(number, bytes) => drop(self.segments.insert(number, bytes)),
                Removed::File(file, bytes) => drop(self.files.insert(file, bytes)),
            }
        }
    }

    fn land(&mut self, patch: &Patch) {
        // The file may have been recycled or removed since.
        if let Some(image) = self.segments.get_mut(&patch.segment) {
            let end = patch.offset + patch.bytes.len();
            assert!(end <= image.len(), "a segment does not grow");
            image[patch.offset..end].copy_from_slice(&patch.bytes);
        }
    }

    /// Any subset of a write's sectors lands: all, none, the first, the last, or each by itself.
    fn land_torn(&mut self, patch: &Patch, counters: &mut Counters) {
        let sectors = patch.bytes.len() / SECTOR_BYTES;
        let (mode, cut) = (self.dice.below(6), self.dice.index(sectors + 1));
        let mut landed = 0;
        for sector in 0..sectors {
            let lands = match mode {
                0 => true,
                1 => false,
                2 => sector < cut,
                3 => cut <= sector,
                _ => self.dice.permille(500),
            };
            if lands {
                let begin = sector * SECTOR_BYTES;
                let bytes = patch.bytes[begin..begin + SECTOR_BYTES].to_vec();
                let Patch { segment, offset, .. } = *patch;
                self.land(&Patch { segment, offset: offset + begin, bytes });
                landed += 1;
            }
        }
        if 0 < landed && landed < sectors {
            counters.count(Fault::TornWrite);
        }
    }

    fn under(&self, patch: &Patch) -> Patch {
        let image = &self.segments[&patch.segment];
        let bytes = image[patch.offset..patch.offset + patch.bytes.len()].to_vec();
        Patch { segment: patch.segment, offset: patch.offset, bytes }
    }

    /// The write goes to another block of some segment.
    fn misdirect(&mut self, mut patch: Patch) {
        let numbers: Vec<SegmentNumber> = self.segments.keys().copied().collect();
        let (home, offset) = (patch.segment, patch.offset);
        let blocks = (self.segment_bytes - patch.bytes.len()) / BLOCK_BYTES + 1;
        patch.segment = self.dice.pick(&numbers);
        patch.offset = self.dice.index(blocks) * BLOCK_BYTES;
        if (patch.segment, patch.offset) == (home, offset) {
            patch.offset = (offset + BLOCK_BYTES) % (blocks * BLOCK_BYTES);
        }
        self.land(&patch);
    }

    /// A bit at rest changes, in a segment or in a file: says whether in a file. `None` if there is
    /// nothing to change.
    pub(crate) fn rot(&mut self, counters: &mut Counters) -> Option<bool> {
        let written = |(_, bytes): &(bool, &mut Vec<u8>)| bytes.iter().any(|byte| *byte != 0);
        let segments = self.segments.values_mut().map(|bytes| (false, bytes));
        let files = self.files.values_mut().map(|bytes| (true, bytes));
        let mut images: Vec<(bool, &mut Vec<u8>)> = segments.chain(files).filter(written).collect();
        if images.is_empty() {
            return None;
        }
        counters.count(Fault::Rot);
        let place = self.dice.index(images.len());
        let (in_file, bytes) = &mut images[place];
        flip(bytes, &mut self.dice);
        Some(*in_file)
    }

    /// Whether the next loss of power may take what was said to be durable, or the next write be
    /// said so: a disk that has stopped lying still owes what it promised, until it writes again.
    pub(crate) fn may_forget(&self) -> bool {
        self.health.lies || self.mishap.is_some() || !self.promised.is_empty()
    }

    /// Everything is gone.
    pub(crate) fn empty(&mut self) {
        assert!(self.in_flight.is_empty(), "a disk is changed while nobody uses it");
        self.segments.clear();
        self.files.clear();
        self.temporary.clear();
        self.promised.clear();
        self.removed.clear();
        self.late.clear();
        // Another disk has not the faults of the one before.
        self.mishap = None;
        self.health.lies = false;
    }
}

fn flip(bytes: &mut [u8], dice: &mut Dice) {
    let place = dice.index(bytes.len());
    bytes[place] ^= 1 << dice.below(8);
}

fn put(file: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let begin = usize::try_from(offset).expect("an offset fits the memory");
    let end = begin + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[begin..end].copy_from_slice(bytes);
}
