//! Files that change where they lie: every bit, every length, every sector, every batch that went elsewhere.
//! Each must be harmless, or cut off and known to be doubtful, or refused; nothing else may come of it.
//!
//! ```text
//!  harmless   what is found is what was written: the damage is to bytes that mean nothing
//!  doubtful   the newest batch, which nothing proves, is cut off; the node asks others before it votes
//!  unseen     the same, but nothing is left of the batch by which it could be told from one never written
//!  refused    the start ends with file and place, or the reader is told that there is nothing to read
//! ```
//!
//! A batch is proven by the next one, or by a mark once the log is at rest.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use model::limits::BLOCK_BYTES;
use shard::checkpoint::Reader;
use shard::chunk;
use shard::effect::{FileName, SegmentNumber};
use shard::shard::Options;
use shard::wal::{LogFloor, Record, Recovery};

use crate::enumerate::ledger::{Rec, Says};
use crate::enumerate::opening;
use crate::enumerate::store::{Files, SECTOR_BYTES};

/// Findings after which no more are looked for.
const FINDINGS_MAX: usize = 20;

/// What damage came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Classes {
    pub(crate) harmless: u64,
    pub(crate) doubtful: u64,
    pub(crate) unseen: u64,
    pub(crate) refused: u64,
}

impl Classes {
    /// All of them.
    pub(crate) fn all(&self) -> u64 {
        self.harmless + self.doubtful + self.unseen + self.refused
    }

    /// And these.
    pub(crate) fn add(&mut self, more: &Classes) {
        self.harmless += more.harmless;
        self.doubtful += more.doubtful;
        self.unseen += more.unseen;
        self.refused += more.refused;
    }

    fn count(&mut self, class: Class) {
        match class {
            Class::Harmless => self.harmless += 1,
            Class::Doubtful => self.doubtful += 1,
            Class::Unseen => self.unseen += 1,
            Class::Refused => self.refused += 1,
        }
    }
}

impl fmt::Display for Classes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Classes { harmless, doubtful, unseen, refused } = self;
        write!(f, "{:>8}: {refused} refused, {harmless} harmless, ", self.all())?;
        write!(f, "{doubtful} doubtful, {unseen} unseen")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Harmless,
    Doubtful,
    Unseen,
    Refused,
}

/// What is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Harm {
    /// A bit of the log is wrong.
    LogBit,
    /// A segment ends at some byte.
    LogCut,
    /// A sector of the log is zeros.
    LogSector,
    /// A batch never came to its place.
    LogLost,
    /// A batch came to another place, and not to its own.
    LogMisdirected,
    /// A segment's file is gone.
    LogMissing,
    /// A bit of a checkpoint is wrong.
    StateBit,
    /// A checkpoint ends at some byte.
    StateCut,
    /// A sector of a checkpoint is zeros.
    StateSector,
    /// A bit of a chunk is wrong.
    ChunkBit,
    /// A chunk ends at some byte.
    ChunkCut,
    /// A sector of a chunk is zeros.
    ChunkSector,
}

/// All kinds of damage.
pub(crate) const HARMS: [Harm; 12] = [
    Harm::LogBit,
    Harm::LogCut,
    Harm::LogSector,
    Harm::LogLost,
    Harm::LogMisdirected,
    Harm::LogMissing,
    Harm::StateBit,
    Harm::StateCut,
    Harm::StateSector,
    Harm::ChunkBit,
    Harm::ChunkCut,
    Harm::ChunkSector,
];

/// A batch, where it lies.
#[derive(Debug, Clone, Copy)]
struct Lies {
    segment: SegmentNumber,
    offset: usize,
    bytes: usize,
}

/// What is found in an undamaged log.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Log {
    next: u64,
    records: Vec<Rec>,
}

/// A node's files, undamaged.
#[derive(Debug)]
pub(crate) struct Patient {
    options: Options,
    files: Files,
    floor: Option<LogFloor>,
    log: Log,
    /// Every batch from the floor on, in order.
    batches: Vec<Lies>,
    /// What the newest of them says.
    newest: Vec<Rec>,
    checkpoint: (FileName, Arc<Vec<u8>>),
    state: String,
}

impl Patient {
    /// A node's files; none if they hold no checkpoint.
    pub(crate) fn new(options: &Options, files: &Files) -> Option<Patient> {
        let mut files = files.clone();
        files.crash();
        let newest = files.named.keys().filter(|name| matches!(name, FileName::Checkpoint(_)));
        let newest = *newest.max()?;
        let bytes = Arc::clone(&files.named[&newest]);
        let state = read_state(&bytes, options).expect("an undamaged checkpoint");
        let (head, _) = Reader::open(&bytes, options.identity()).expect("an undamaged checkpoint");
        let mut patient = Patient {
            options: options.clone(),
            files,
            floor: Some(head.floor),
            log: Log { next: 0, records: Vec::new() },
            batches: Vec::new(),
            newest: Vec::new(),
            checkpoint: (newest, bytes),
            state,
        };
        let (log, cut) = patient.recover(&BTreeMap::new()).expect("an undamaged log");
        assert!(!cut, "an undamaged log");
        patient.log = log;
        patient.note_batches();
        Some(patient)
    }

    /// Whether the newest batch says nothing that was not said before: it only proves the one before.
    pub(crate) fn is_proven(&self) -> bool {
        self.newest.iter().all(|rec| self.is_known(*rec))
    }

    /// Whether a record only repeats a promise.
    fn is_known(&self, rec: Rec) -> bool {
        let before = &self.log.records[..self.log.records.len() - self.newest.len()];
        matches!(rec.says, Says::Hard { .. }) && before.contains(&rec)
    }

    fn note_batches(&mut self) {
        let floor = self.floor.map_or(SegmentNumber(1), |floor| floor.segment);
        let mut newest = 0;
        for (number, image) in self.files.segments.range(floor..) {
            let all = shard::wal::inspect::batches(self.options.identity(), *number, image);
            for (offset, batch) in all.filter_map(Result::ok) {
                // Whatever a former process left behind the end that the next one found.
                if batch.header.batch.0 != newest + 1 && newest != 0 {
                    break;
                }
                newest = batch.header.batch.0;
                let records = batch.records().map(|record| Rec::of(&record.expect("undamaged")));
                self.newest = records.collect();
                self.batches.push(Lies { segment: *number, offset, bytes: batch.bytes });
            }
        }
        assert_eq!(newest + 1, self.log.next, "every batch was found");
    }

    /// What is found in the log if these segments are other than they were.
    ///
    /// # Errors
    /// The log is refused.
    fn recover(
        &self,
        changed: &BTreeMap<SegmentNumber, Option<Vec<u8>>>,
    ) -> Result<(Log, bool), String> {
        let images: Vec<(SegmentNumber, &[u8])> = self
            .files
            .segments
            .iter()
            .filter_map(|(number, image)| match changed.get(number) {
                Some(image) => Some((*number, image.as_deref()?)),
                None => Some((*number, image.as_slice())),
            })
            .collect();
        let identity = self.options.identity();
        let mut recovery = Recovery::new(identity, self.options.segment_bytes, self.floor);
        for (number, image) in &images {
            recovery.peek(*number, &image[..BLOCK_BYTES.min(image.len())]);
        }
        let mut records = Vec::new();
        for (number, image) in &images {
            let mut sink = |record: &Record<'_>| records.push(Rec::of(record));
            let read = recovery.segment(*number, image, &mut sink);
            read.map_err(|corruption| corruption.to_string())?;
        }
        let found = recovery.finish().map_err(|corruption| corruption.to_string())?;
        Ok((Log { next: found.next.batch.0, records }, found.cut.is_some()))
    }

    /// What a damaged log comes to.
    ///
    /// # Errors
    /// Something is lost or found, and nobody is told.
    fn class_of_log(
        &self,
        changed: &BTreeMap<SegmentNumber, Option<Vec<u8>>>,
    ) -> Result<Class, String> {
        let Ok((log, cut)) = self.recover(changed) else { return Ok(Class::Refused) };
        let begins = self.log.records.starts_with(&log.records);
        match (self.log.next.saturating_sub(log.next), cut) {
            (0, _) if log == self.log => Ok(Class::Harmless),
            (1, _) if begins && self.is_proven() => Ok(Class::Harmless),
            (1, true) if begins => Ok(Class::Doubtful),
            (1, false) if begins => Ok(Class::Unseen),
            _ => Err(format!("the log ends before batch {}, not {}", log.next, self.log.next)),
        }
    }

    /// What one kind of damage comes to at places `[first, first + step, ...]`.
    pub(crate) fn harm(&self, harm: Harm, (first, step): (usize, usize)) -> (Classes, Vec<String>) {
        let mut classes = Classes::default();
        let mut findings = Vec::new();
        for place in (first..self.places(harm)).step_by(step) {
            let class = match harm {
                Harm::LogBit
                | Harm::LogCut
                | Harm::LogSector
                | Harm::LogLost
                | Harm::LogMisdirected
                | Harm::LogMissing => self.harm_log(harm, place),
                Harm::StateBit | Harm::StateCut | Harm::StateSector => self.harm_state(harm, place),
                Harm::ChunkBit | Harm::ChunkCut | Harm::ChunkSector => self.harm_chunk(harm, place),
            };
            match class {
                // A flipped bit always leaves enough of a batch to see that there was one.
                Ok(Class::Unseen) if harm == Harm::LogBit => {
                    findings.push(format!("{harm:?} at {place}: the newest batch is gone unseen"));
                }
                Ok(class) => classes.count(class),
                Err(what) => findings.push(format!("{harm:?} at {place}: {what}")),
            }
            if FINDINGS_MAX <= findings.len() {
                break;
            }
        }
        (classes, findings)
    }

    /// How many places there are for it.
    pub(crate) fn places(&self, harm: Harm) -> usize {
        let floor = self.floor.map_or(SegmentNumber(1), |floor| floor.segment);
        let segments = self.files.segments.range(floor..).count();
        let segment = self.files.segments.values().next().map_or(0, |image| image.len());
        let state = self.checkpoint.1.len();
        let chunk = self.chunk().1.len();
        match harm {
            Harm::LogBit => segments * segment * 8,
            Harm::LogCut => segments * segment,
            Harm::LogSector => segments * segment / SECTOR_BYTES,
            Harm::LogLost => self.batches.len(),
            Harm::LogMisdirected => self.batches.len() * segments * segment / BLOCK_BYTES,
            Harm::LogMissing => segments,
            Harm::StateBit => state * 8,
            Harm::StateCut => state,
            Harm::StateSector => state / SECTOR_BYTES,
            Harm::ChunkBit => chunk * 8,
            Harm::ChunkCut => chunk,
            Harm::ChunkSector => chunk / SECTOR_BYTES,
        }
    }

    /// A byte of the log, counted from the floor on: its segment, and where in it.
    fn byte(&self, place: usize) -> (SegmentNumber, usize) {
        let floor = self.floor.map_or(SegmentNumber(1), |floor| floor.segment);
        let mut left = place;
        for (number, image) in self.files.segments.range(floor..) {
            if left < image.len() {
                return (*number, left);
            }
            left -= image.len();
        }
        unreachable!("a place in the log")
    }

    fn image(&self, segment: SegmentNumber) -> Vec<u8> {
        self.files.segments[&segment].to_vec()
    }

    fn harm_log(&self, harm: Harm, place: usize) -> Result<Class, String> {
        let mut changed = BTreeMap::new();
        match harm {
            Harm::LogBit => {
                let (segment, at) = self.byte(place / 8);
                let mut image = self.image(segment);
                image[at] ^= 1 << (place % 8);
                changed.insert(segment, Some(image));
            }
            Harm::LogCut => {
                let (segment, at) = self.byte(place);
                let mut image = self.image(segment);
                image.truncate(at);
                changed.insert(segment, Some(image));
            }
            Harm::LogSector => {
                let (segment, at) = self.byte(place * SECTOR_BYTES);
                let mut image = self.image(segment);
                image[at..at + SECTOR_BYTES].fill(0);
                changed.insert(segment, Some(image));
            }
            Harm::LogLost => {
                let lies = self.batches[place];
                let mut image = self.image(lies.segment);
                image[lies.offset..lies.offset + lies.bytes].fill(0);
                changed.insert(lies.segment, Some(image));
            }
            Harm::LogMisdirected => {
                let blocks = self.places(harm) / self.batches.len();
                let lies = self.batches[place / blocks];
                let (segment, at) = self.byte(place % blocks * BLOCK_BYTES);
                if (segment, at) == (lies.segment, lies.offset) {
                    return Ok(Class::Harmless);
                }
                let batch = lies.offset..lies.offset + lies.bytes;
                let bytes = self.files.segments[&lies.segment][batch.clone()].to_vec();
                let mut home = self.image(lies.segment);
                home[batch].fill(0);
                changed.insert(lies.segment, Some(home));
                let image = changed.entry(segment).or_insert_with(|| Some(self.image(segment)));
                let image = image.as_mut().expect("it was just made");
                let room = (image.len() - at).min(bytes.len());
                image[at..at + room].copy_from_slice(&bytes[..room]);
            }
            _ => {
                let floor = self.floor.map_or(SegmentNumber(1), |floor| floor.segment);
                changed.insert(SegmentNumber(floor.0 + place as u64), None);
            }
        }
        self.class_of_log(&changed)
    }

    fn harm_state(&self, harm: Harm, place: usize) -> Result<Class, String> {
        let mut bytes = self.checkpoint.1.to_vec();
        match harm {
            Harm::StateBit => bytes[place / 8] ^= 1 << (place % 8),
            Harm::StateCut => bytes.truncate(place),
            _ => bytes[place * SECTOR_BYTES..(place + 1) * SECTOR_BYTES].fill(0),
        }
        match read_state(&bytes, &self.options) {
            Err(_) => Ok(Class::Refused),
            Ok(state) if state == self.state => Ok(Class::Harmless),
            Ok(_) => Err("a checkpoint says something else".to_owned()),
        }
    }

    /// The newest chunk.
    fn chunk(&self) -> (u64, &Arc<Vec<u8>>) {
        let mut chunks = self.files.named.iter().filter_map(|(name, bytes)| match name {
            FileName::Chunk(number) => Some((*number, bytes)),
            FileName::Checkpoint(_) | FileName::Snapshot(_) => None,
        });
        chunks.next_back().expect("a checkpoint comes with a chunk")
    }

    fn harm_chunk(&self, harm: Harm, place: usize) -> Result<Class, String> {
        let (number, good) = self.chunk();
        let mut bytes = good.to_vec();
        match harm {
            Harm::ChunkBit => bytes[place / 8] ^= 1 << (place % 8),
            Harm::ChunkCut => bytes.truncate(place),
            _ => bytes[place * SECTOR_BYTES..(place + 1) * SECTOR_BYTES].fill(0),
        }
        let identity = self.options.identity();
        let entries = opening::read_chunk(good, identity, number)?;
        match opening::read_chunk(&bytes, identity, number) {
            Err(_) => return Ok(Class::Refused),
            Ok(found) if found != entries => return Err("a chunk names other events".to_owned()),
            Ok(_) => {}
        }
        let mut class = Class::Harmless;
        for chunk::Entry { session, extent, .. } in &entries {
            let begin = usize::try_from(extent.offset).expect("a place in memory");
            let block = begin..begin + extent.bytes as usize;
            let read = |file: &[u8]| match file.get(block.clone()) {
                Some(bytes) => chunk::read_block(bytes, identity.shard.0, session, *extent),
                None => Err("end of file"),
            };
            match read(&bytes) {
                Err(_) => class = Class::Refused,
                found if found == read(good) => {}
                Ok(_) => return Err(format!("a block of {session} holds other events")),
            }
        }
        Ok(class)
    }
}

impl fmt::Display for Patient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let segments = self.places(Harm::LogMissing);
        let segment = self.options.segment_bytes;
        write!(
            f,
            "log of {segments} segments of {segment} bytes, {} batches; ",
            self.batches.len()
        )?;
        write!(f, "checkpoint of {} bytes; ", self.checkpoint.1.len())?;
        write!(f, "chunk of {} bytes", self.chunk().1.len())
    }
}

/// All that a checkpoint says.
fn read_state(bytes: &[u8], options: &Options) -> Result<String, String> {
    let (head, mut reader) = Reader::open(bytes, options.identity())?;
    let mut text = format!("{head:?}");
    while let Some(session) = reader.next_session()? {
        text.push_str(&format!("{session:?}"));
    }
    Ok(text)
}
