//! Segments back into records. Any bytes are taken; the result is what was surely or probably
//! written, or the named reason why the log cannot be explained.
//!
//! Reading stops at the first place that does not hold the batch that must follow. What that means
//! is decided at the end, by what else was seen:
//!
//! - *End.* Nothing proves that the batch was ever durable: the log ends there. If a torn batch lies
//!   there it was never acknowledged and is cut.
//! - *Corruption.* A batch anywhere behind names a durable batch that was not read, or is one itself,
//!   sent to a wrong place; or a batch that can only have been sent there by mistake lies behind the
//!   end and may have destroyed others. What is missing was perhaps acknowledged. Nothing is cut.
//! - *Bound.* The next segment starts with exactly this batch: a former process died here and the
//!   log went on there. What lies behind is a write that landed late, and noise.
//!
//! One case cannot be decided from one disk: the newest durable batch, damaged before a mark or a
//! later batch proved it, looks like a tear and is cut.

use std::collections::BTreeMap;

use model::ids::{GroupId, ShardId};
use model::limits::BLOCK_BYTES;

use crate::effect::{BatchNumber, SegmentNumber};
use crate::wal::format::{
    Batch, Damage, HEADER_BYTES, HardState, Header, LogFloor, LogIdentity, MAGIC, Record,
    RecordKind,
};
use crate::wal::inspect::headers;
use crate::wal::segments::Segment;

/// What was recovered, and where the log goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// The start of the fresh segment the log goes on in.
    pub next: LogFloor,
    /// The segments that hold batches, oldest first.
    pub segments: Vec<Segment>,
    /// The newest hard state of each group that has one.
    pub hard_states: BTreeMap<GroupId, HardState>,
    /// Where reading stopped, if a batch that was being written lies there.
    pub cut: Option<Place>,
    /// Files to remove before a segment is prepared, in this order, with the directory synced after
    /// each: spares and torn starts, last first, so that numbers never have a hole; then segments
    /// before the floor.
    pub remove: Vec<SegmentNumber>,
}

/// A place in the log and what was found there instead of the batch that must follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The segment.
    pub segment: SegmentNumber,
    /// The byte in its file.
    pub offset: usize,
    /// What was found.
    pub found: Damage,
}

/// Why a log cannot be explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Corruption {
    /// Whose log.
    pub shard: ShardId,
    /// The segment to restore.
    pub segment: SegmentNumber,
    /// The byte in its file where the trouble starts.
    pub offset: usize,
    /// The batch that must be there.
    pub batch: BatchNumber,
    /// What is wrong.
    pub what: Trouble,
}

/// What is wrong with a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The segment's file is missing.
    Missing,
    /// The segment's file has this many bytes.
    Length(usize),
    /// The batch was durable and cannot be read.
    Lost {
        /// What is there instead.
        found: Damage,
        /// A durable batch that was not read.
        proven: BatchNumber,
        /// The batch that says so, or the floor stored in the checkpoint.
        proof: Option<(SegmentNumber, usize)>,
    },
    /// A batch that belongs elsewhere lies behind the end of the log: the disk wrote to a wrong place,
    /// and what was there is unknown.
    Misdirected {
        /// Where it belongs.
        segment: SegmentNumber,
        /// Where in that segment.
        offset: u64,
    },
    /// What is there is whole and still cannot be part of this log, or not be read by this program.
    Unexplained(Damage),
}

impl std::fmt::Display for Corruption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Corruption { shard, segment, offset, batch, what } = self;
        let (shard, segment, batch) = (shard.0, segment.0, batch.0);
        write!(f, "log of shard {shard}, segment {segment}: ")?;
        match what {
            Trouble::Missing => write!(f, "its file is missing")?,
            Trouble::Length(bytes) => write!(f, "its file has {bytes} bytes, not a segment's")?,
            Trouble::Lost { found, proven, proof } => {
                write!(f, "batch {batch} at byte {offset} cannot be read: {found}; ")?;
                write!(f, "batch {} was durable, as ", proven.0)?;
                match proof {
                    None => write!(f, "the checkpoint says")?,
                    Some((segment, at)) => write!(f, "segment {} says at byte {at}", segment.0)?,
                }
            }
            Trouble::Misdirected { segment, offset: home } => {
                write!(
                    f,
                    "the disk wrote to a wrong place: at byte {offset} lies batch {batch}, "
                )?;
                write!(f, "which belongs at byte {home} of segment {}", segment.0)?;
            }
            Trouble::Unexplained(damage) => {
                write!(f, "what is at byte {offset} cannot be batch {batch}: {damage}")?;
            }
        }
        write!(
            f,
            ". Restore the file from a backup or the whole node from a replica; never delete "
        )?;
        write!(f, "it, for it holds acknowledged events")
    }
}

impl std::error::Error for Corruption {}

/// The newest batch that must exist, and who says so.
#[derive(Debug, Clone, Copy)]
struct Witness {
    proven: BatchNumber,
    proof: Option<(SegmentNumber, usize)>,
}

/// Reads a log, one segment at a time. First every file is peeked at, then every file is read; both
/// in ascending order of their numbers. A read that fails must not be replaced by other bytes. The
/// files must be synced after they were read and before the log goes on: what a killed process wrote
/// last may not be durable yet.
#[derive(Debug)]
pub struct Recovery {
    identity: LogIdentity,
    segment_bytes: usize,
    floor: LogFloor,
    /// Every file from the floor on, with its first batch or what is there instead.
    starts: BTreeMap<SegmentNumber, Result<LogFloor, Damage>>,
    obsolete: Vec<SegmentNumber>,
    /// The next segment to read.
    segment: SegmentNumber,
    /// The next batch to read, and the chain value of the one before.
    batch: BatchNumber,
    chain: u64,
    /// Where reading stopped.
    end: Option<Place>,
    witness: Witness,
    /// The first batch behind the end that was sent there by mistake.
    stray: Option<Corruption>,
    segments: Vec<Segment>,
    hard_states: BTreeMap<GroupId, HardState>,
}

impl Recovery {
    /// Reads a log whose files have `segment_bytes` each, from the floor stored in the newest
    /// checkpoint, or from its first segment if there is no checkpoint.
    ///
    /// # Panics
    /// If `segment_bytes` does not fit the memory.
    pub fn new(identity: LogIdentity, segment_bytes: u64, stored: Option<LogFloor>) -> Recovery {
        let floor = stored.unwrap_or_else(LogFloor::first);
        // The first batch of a stored floor was durable before the checkpoint was.
        let proven = stored.map_or(BatchNumber(0), |stored| stored.batch);
        Recovery {
            identity,
            segment_bytes: usize::try_from(segment_bytes).expect("a segment fits the memory"),
            floor,
            starts: BTreeMap::new(),
            obsolete: Vec::new(),
            segment: floor.segment,
            batch: floor.batch,
            chain: floor.chain,
            end: None,
            witness: Witness { proven, proof: None },
            stray: None,
            segments: Vec::new(),
            hard_states: BTreeMap::new(),
        }
    }

    /// Looks at the first block of a segment's file, or at as much of it as there is.
    ///
    /// # Panics
    /// If files are not shown in ascending order.
    pub fn peek(&mut self, number: SegmentNumber, first_block: &[u8]) {
        let newest = self.starts.last_key_value().map(|(newest, _)| *newest);
        assert!(newest < Some(number), "segments are peeked at in ascending order");
        if number < self.floor.segment {
            self.obsolete.push(number);
            return;
        }
        let start = Header::decode(first_block).and_then(|header| {
            header.check_place(self.identity, number, 0)?;
            Ok(LogFloor { segment: number, batch: header.batch, chain: header.previous })
        });
        self.starts.insert(number, start);
    }

    /// Reads a segment's file and hands its records on, in order.
    ///
    /// # Errors
    /// Corruption that is certain already. Records handed on before it are worthless.
    ///
    /// # Panics
    /// If the file was not peeked at.
    pub fn segment(
        &mut self,
        number: SegmentNumber,
        image: &[u8],
        sink: &mut impl FnMut(&Record<'_>),
    ) -> Result<(), Corruption> {
        if number < self.floor.segment {
            return Ok(());
        }
        assert!(self.starts.contains_key(&number), "every segment is peeked at first");
        if number != self.segment {
            return Err(self.corruption(self.segment, 0, Trouble::Missing));
        }
        self.segment.0 = self.segment.0.saturating_add(1);
        if image.len() != self.segment_bytes {
            return Err(self.corruption(number, 0, Trouble::Length(image.len())));
        }
        // The start of a file never holds a client's bytes, so this is another node's file.
        if Header::decode(image).is_ok_and(|header| header.identity != self.identity) {
            return Err(self.corruption(number, 0, Trouble::Unexplained(Damage::Foreign)));
        }
        let stopped_at = match self.end {
            None => self.read(number, image, sink)?,
            Some(_) => 0,
        };
        for (offset, header) in headers(image, stopped_at) {
            self.watch(number, offset, &header);
            if self.end.is_some() && self.is_stray(number, offset, &header) {
                let Header { batch, segment, offset: home, .. } = header;
                let what = Trouble::Misdirected { segment, offset: home };
                let shard = self.identity.shard;
                let stray = Corruption { shard, segment: number, offset, batch, what };
                self.stray.get_or_insert(stray);
            }
        }
        Ok(())
    }

    /// Reads batches from the start of a segment and returns where it stopped.
    fn read(
        &mut self,
        number: SegmentNumber,
        image: &[u8],
        sink: &mut impl FnMut(&Record<'_>),
    ) -> Result<usize, Corruption> {
        let later = (std::ops::Bound::Excluded(number), std::ops::Bound::Unbounded);
        let bound = self.starts.range(later).find_map(|(_, start)| start.ok());
        let mut offset = 0;
        loop {
            if let Some(bound) = bound.filter(|bound| bound.batch == self.batch) {
                if bound.chain != self.chain {
                    let what = Trouble::Unexplained(Damage::Chain);
                    return Err(self.corruption(bound.segment, 0, what));
                }
                return Ok(offset);
            }
            if image.len() <= offset {
                return Ok(offset);
            }
            match Batch::read(self.identity, number, image, offset) {
                Ok(batch) => {
                    self.take(&batch, offset, sink).map_err(|damage| {
                        self.corruption(number, offset, Trouble::Unexplained(damage))
                    })?;
                    offset += batch.bytes;
                }
                Err(unknown @ Damage::Version(_)) => {
                    return Err(self.corruption(number, offset, Trouble::Unexplained(unknown)));
                }
                Err(found) => {
                    let found = without_name(&image[offset..], found);
                    self.end = Some(Place { segment: number, offset, found });
                    return Ok(offset);
                }
            }
        }
    }

    /// Takes a batch that is whole and where it belongs: it must be the next one.
    fn take(
        &mut self,
        batch: &Batch<'_>,
        offset: usize,
        sink: &mut impl FnMut(&Record<'_>),
    ) -> Result<(), Damage> {
        let header = &batch.header;
        if header.batch != self.batch {
            return Err(Damage::Number(header.batch));
        }
        if header.previous != self.chain {
            return Err(Damage::Chain);
        }
        let next = self.batch.0.checked_add(1).ok_or(Damage::Number(self.batch))?;
        if offset == 0 {
            let start = LogFloor { segment: header.segment, batch: self.batch, chain: self.chain };
            self.segments.push(Segment { start, highest: BTreeMap::new() });
        }
        let segment = self.segments.last_mut().expect("a segment is read from its start");
        for record in batch.records() {
            let record = record?;
            match record.kind {
                RecordKind::Entry { index, .. }
                | RecordKind::Membership { index, .. }
                | RecordKind::Snapshot { index, .. }
                | RecordKind::EntryAgain { index, .. }
                | RecordKind::MembershipAgain { index, .. } => segment.note(record.group, index),
                RecordKind::HardState { term, vote } => {
                    self.hard_states.insert(record.group, HardState { term, vote });
                }
            }
            sink(&record);
        }
        self.batch = BatchNumber(next);
        self.chain = batch.chain;
        Ok(())
    }

    /// Notes what a header proves, wherever it lies. What it says was durable was durable even if
    /// the header was sent elsewhere; and a batch that lies elsewhere was written, so that its own
    /// place must hold it too. Old content of a recycled file speaks of batches long read.
    fn watch(&mut self, number: SegmentNumber, offset: usize, header: &Header) {
        if header.identity != self.identity {
            return;
        }
        let is_home = header.check_place(self.identity, number, offset).is_ok();
        let proven = if is_home { header.durable } else { header.batch };
        if self.witness.proven < proven {
            self.witness = Witness { proven, proof: Some((number, offset)) };
        }
    }

    /// Whether a batch of this log lies where neither the writer nor recycling can have put it: only
    /// segments before the floor are recycled.
    fn is_stray(&self, number: SegmentNumber, offset: usize, header: &Header) -> bool {
        match header.check_place(self.identity, number, offset) {
            Ok(()) | Err(Damage::Foreign) => false,
            Err(_) => self.floor.segment <= header.segment,
        }
    }

    /// Decides what the place where reading stopped means.
    ///
    /// # Errors
    /// A batch that was durable was not read.
    ///
    /// # Panics
    /// If a file that was peeked at was not read.
    pub fn finish(mut self) -> Result<Recovered, Corruption> {
        if let Some((newest, _)) = self.starts.last_key_value() {
            assert!(*newest < self.segment, "every segment is read");
        }
        let Witness { proven, proof } = self.witness;
        if self.batch <= proven {
            return Err(match self.blame() {
                None => self.corruption(self.segment, 0, Trouble::Missing),
                Some(Place { segment, offset, found }) => {
                    self.corruption(segment, offset, Trouble::Lost { found, proven, proof })
                }
            });
        }
        if let Some(stray) = self.stray {
            return Err(stray);
        }
        let last = self.segments.last().map(|segment| segment.start.segment);
        let next = last.map_or(self.floor.segment, |last| SegmentNumber(last.0 + 1));
        let unused = self.starts.range(next..).rev().map(|(number, _)| *number);
        let remove = unused.chain(std::mem::take(&mut self.obsolete)).collect();
        Ok(Recovered {
            next: LogFloor { segment: next, batch: self.batch, chain: self.chain },
            segments: self.segments,
            hard_states: self.hard_states,
            cut: self.end.filter(|end| end.found.is_torn()),
            remove,
        })
    }

    /// Where the batch that was not read must have been. Reading stopped at blank space of one segment
    /// if the damage is to the start of the next: a segment in use always starts with a batch.
    fn blame(&self) -> Option<Place> {
        let end = self.end?;
        let proof = self.witness.proof.map_or(end.segment, |(segment, _)| segment);
        let next = SegmentNumber(end.segment.0.checked_add(1)?);
        match self.starts.get(&next) {
            Some(&Err(found)) if next <= proof && !end.found.is_torn() => {
                Some(Place { segment: next, offset: 0, found })
            }
            _ => Some(end),
        }
    }

    fn corruption(&self, segment: SegmentNumber, offset: usize, what: Trouble) -> Corruption {
        Corruption { shard: self.identity.shard, segment, offset, batch: self.batch, what }
    }
}

/// What was found, unless it is a header that has lost nothing but its name: that was written, and its
/// batch may have been acknowledged.
fn without_name(bytes: &[u8], found: Damage) -> Damage {
    let Some(mut head) = bytes.first_chunk::<HEADER_BYTES>().copied() else { return found };
    head[..MAGIC.len()].copy_from_slice(&MAGIC);
    match found {
        Damage::Blank if Header::decode(&head).is_ok() => Damage::HeaderChecksum,
        found => found,
    }
}

/// Recovers a log that is in memory as a whole: what the files hold, by ascending number. The same
/// result as with a [`Recovery`].
///
/// # Errors
/// See [`Recovery::segment`] and [`Recovery::finish`].
pub fn recover(
    mut recovery: Recovery,
    images: &BTreeMap<SegmentNumber, Vec<u8>>,
    sink: &mut impl FnMut(&Record<'_>),
) -> Result<Recovered, Corruption> {
    for (number, image) in images {
        recovery.peek(*number, &image[..image.len().min(BLOCK_BYTES)]);
    }
    for (number, image) in images {
        recovery.segment(*number, image, sink)?;
    }
    recovery.finish()
}
