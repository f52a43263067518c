//! The log of a shard: group commit into one sequence of batches, shared by all its groups.
//!
//! ```text
//!  accept --> building --> closed ... --> in flight --> durable
//!             a batch      full ones,     one batch     what was parked on its
//!             that grows   in order                     number may go on
//! ```
//!
//! Rules, by name:
//!
//! *One in flight.* Batch N + 1 is submitted only after N is durable, so whatever carries a number
//! beyond N proves that N was durable: `recover` tells a tear from rot by it.
//!
//! *Fresh start.* After every open the log goes on in a new segment. Batches already written are
//! never followed by others in the same file, so a write of a killed process that lands late can
//! only add to the end of a segment whose successor says where it ended.
//!
//! *Heirloom.* The first batch of each segment ends with the hard state of every group. So a segment
//! may go as soon as its entries are covered by a checkpoint, whatever votes it holds.
//!
//! *Mark.* A batch without records of its own, written when the log is idle, proves the batch before
//! it durable.

pub mod format;
pub mod inspect;
pub mod recover;
mod segments;

use std::collections::{BTreeMap, VecDeque};

use model::ids::GroupId;
use model::limits::{BATCH_BYTES, BLOCK_BYTES, GROUPS_MAX, RECORD_BYTES_MAX, SEGMENT_BYTES};

pub use crate::wal::format::{HardState, LogFloor, LogIdentity, Record, RecordKind};
pub use crate::wal::recover::{Corruption, Recovered, Recovery};
pub use crate::wal::segments::Segment;

use crate::aligned::AlignedBuffer;
use crate::effect::{BatchNumber, DiskOp, LogWrite, SegmentNumber};
use crate::wal::format::{Builder, Seal};
use crate::wal::segments::Segments;

/// Buffers kept for reuse: one is filled while another is in flight.
const BUFFERS_KEPT: usize = 2;

/// The largest batch: one record that exceeds every bound but its own, or many small ones, and the
/// heirloom of as many groups as there can be.
const BATCH_BYTES_MAX: usize = BATCH_BYTES
    + format::record_bytes(RECORD_BYTES_MAX)
    + GROUPS_MAX as usize * format::record_bytes(size_of::<u64>());
const _: () = assert!(BATCH_BYTES_MAX.next_multiple_of(BLOCK_BYTES) as u64 <= SEGMENT_BYTES);

/// The writer of a log.
///
/// Invariant: accepted >= submitted >= durable, as batch numbers.
#[derive(Debug)]
pub struct Wal {
    identity: LogIdentity,
    /// A batch takes no further record beyond this many bytes.
    batch_bytes: usize,
    segments: Segments,
    /// Batches not yet submitted, oldest first. Only the last still takes records.
    batches: VecDeque<Building>,
    submitted: BatchNumber,
    durable: BatchNumber,
    /// The chain value of the batch submitted last.
    chain: u64,
    /// The hard state of every group as of the batch submitted last.
    hard_states: BTreeMap<GroupId, HardState>,
    /// Whether the batch submitted last needs no proof: it is a mark, or there is none.
    proven: bool,
    buffers: Vec<AlignedBuffer>,
}

/// A batch that takes records, and what must be noted of them once its place is known.
#[derive(Debug)]
struct Building {
    builder: Builder,
    highest: BTreeMap<GroupId, u64>,
    hard_states: BTreeMap<GroupId, HardState>,
}

impl Wal {
    /// A log that goes on behind what was recovered, in segments of `segment_bytes`.
    ///
    /// # Panics
    /// If `segment_bytes` is no multiple of `BLOCK_BYTES` or does not fit the memory.
    pub fn new(identity: LogIdentity, segment_bytes: u64, recovered: Recovered) -> Wal {
        let segment_bytes = usize::try_from(segment_bytes).expect("a segment fits the memory");
        assert!(segment_bytes.is_multiple_of(BLOCK_BYTES), "a segment is made of blocks");
        assert!(0 < recovered.next.batch.0, "batches count from 1");
        let newest = BatchNumber(recovered.next.batch.0 - 1);
        let next = recovered.next.segment;
        Wal {
            identity,
            batch_bytes: BATCH_BYTES.min(segment_bytes / 4),
            segments: Segments::new(segment_bytes, recovered.segments, next),
            batches: VecDeque::new(),
            submitted: newest,
            durable: newest,
            chain: recovered.next.chain,
            hard_states: recovered.hard_states,
            proven: newest.0 == 0,
            buffers: Vec::new(),
        }
    }

    /// Takes an entry with a command, or the one a leader begins with; see [`Wal::accept`].
    ///
    /// # Panics
    /// If the payload exceeds `RECORD_BYTES_MAX` or does not fit a segment.
    pub fn accept_entry(
        &mut self,
        group: GroupId,
        term: u64,
        index: u64,
        payload: &[u8],
    ) -> BatchNumber {
        self.accept(group, RecordKind::Entry { term, index, payload })
    }

    /// Takes a hard state; see [`Wal::accept`].
    pub fn accept_hard_state(
        &mut self,
        group: GroupId,
        term: u64,
        vote: Option<u64>,
    ) -> BatchNumber {
        self.accept(group, RecordKind::HardState { term, vote })
    }

    /// Takes a record and returns the batch it will travel in: it is durable once that batch is. Its
    /// bytes are copied.
    ///
    /// # Panics
    /// If the payload exceeds `RECORD_BYTES_MAX` or does not fit a segment.
    pub fn accept(&mut self, group: GroupId, kind: RecordKind<'_>) -> BatchNumber {
        let bytes = kind.bytes();
        assert!(bytes <= format::record_bytes(RECORD_BYTES_MAX), "records are bounded at the door");
        let (building, batch) = self.room_for(bytes);
        building.builder.push(&Record { group, kind });
        match kind {
            RecordKind::HardState { term, vote } => {
                building.hard_states.insert(group, HardState { term, vote });
            }
            RecordKind::Entry { index, .. }
            | RecordKind::Membership { index, .. }
            | RecordKind::Snapshot { index, .. }
            | RecordKind::EntryAgain { index, .. }
            | RecordKind::MembershipAgain { index, .. } => {
                assert!(0 < index, "a group's log counts from 1");
                let highest = building.highest.entry(group).or_insert(index);
                *highest = index.max(*highest);
            }
        }
        batch
    }

    /// The batch that takes the next record, and its number.
    fn room_for(&mut self, bytes: usize) -> (&mut Building, BatchNumber) {
        let is_full = |last: &Building| {
            !last.builder.is_empty() && self.batch_bytes < last.builder.bytes() + bytes
        };
        if self.batches.back().is_none_or(is_full) {
            let building = self.building();
            self.batches.push_back(building);
        }
        let batch = BatchNumber(self.submitted.0 + self.batches.len() as u64);
        let last = self.batches.back_mut().expect("one was just added if there was none");
        (last, batch)
    }

    fn building(&mut self) -> Building {
        let buffer = self.buffers.pop();
        let buffer = buffer.unwrap_or_else(|| AlignedBuffer::with_capacity(self.batch_bytes));
        Building {
            builder: Builder::new(buffer),
            highest: BTreeMap::new(),
            hard_states: BTreeMap::new(),
        }
    }

    /// Bytes of records that wait to be submitted.
    pub fn backlog_bytes(&self) -> usize {
        self.batches.iter().map(|building| building.builder.bytes()).sum()
    }

    /// Whether records wait to be submitted.
    pub fn pending(&self) -> bool {
        !self.batches.is_empty()
    }

    /// The batch that was submitted and is not yet durable.
    pub fn in_flight(&self) -> Option<BatchNumber> {
        (self.durable < self.submitted).then_some(self.submitted)
    }

    /// The newest durable batch; 0 if there is none.
    pub fn durable_batch(&self) -> BatchNumber {
        self.durable
    }

    /// The next batch to write. `None` while one is in flight, if nothing waits, and while there is
    /// no segment with room: the records stay and a later call submits them.
    pub fn seal(&mut self) -> Option<LogWrite> {
        if self.in_flight().is_some() || !self.pending() {
            return None;
        }
        self.submit()
    }

    /// Whether the newest durable batch is not proven durable by a later one and nothing else is
    /// about to prove it.
    pub fn wants_mark(&self) -> bool {
        !self.proven && self.in_flight().is_none() && !self.pending()
    }

    /// A batch without records that proves the newest durable one, if that wants proof. It delays
    /// what comes next by one sync, so call it when the log has been idle for a while.
    pub fn mark(&mut self) -> Option<LogWrite> {
        if !self.wants_mark() {
            return None;
        }
        let building = self.building();
        self.batches.push_back(building);
        let write = self.submit();
        if write.is_none() {
            let unused = self.batches.pop_back().expect("it was just added");
            self.keep(unused.builder.into_buffer());
        }
        write
    }

    /// Seals the oldest batch for its place, if there is one.
    fn submit(&mut self) -> Option<LogWrite> {
        assert_eq!(self.submitted, self.durable, "one batch is in flight");
        let batch = BatchNumber(self.submitted.0 + 1);
        let bytes = self.batches.front()?.builder.bytes().next_multiple_of(BLOCK_BYTES);
        let rotates = !self.segments.fits(bytes);
        if rotates {
            if !self.segments.can_rotate() {
                return None;
            }
            self.segments.rotate(batch, self.chain);
        }
        let mut building = self.batches.pop_front()?;
        self.proven = building.builder.is_empty();
        self.hard_states.append(&mut building.hard_states);
        if rotates {
            for (&group, &HardState { term, vote }) in &self.hard_states {
                building
                    .builder
                    .push(&Record { group, kind: RecordKind::HardState { term, vote } });
            }
        }
        let (segment, offset) = self.segments.place();
        let (identity, previous) = (self.identity, self.chain);
        let durable = self.durable;
        let seal = Seal { identity, segment, offset, batch, durable, previous };
        let (buffer, chain) = building.builder.seal(&seal);
        self.segments.advance(buffer.len(), &building.highest);
        self.submitted = batch;
        self.chain = chain;
        let offset = u64::try_from(offset).expect("an offset fits 64 bits");
        Some(LogWrite { segment, offset, buffer, batch })
    }

    /// A batch is durable, and so is every one before it. Its buffer is used again.
    ///
    /// # Panics
    /// If another batch is in flight.
    pub fn durable(&mut self, batch: BatchNumber, buffer: AlignedBuffer) {
        assert_eq!(self.in_flight(), Some(batch), "one batch is in flight");
        self.durable = batch;
        self.keep(buffer);
    }

    fn keep(&mut self, buffer: AlignedBuffer) {
        // A batch of one large record needed a large buffer; few do.
        if self.buffers.len() < BUFFERS_KEPT && buffer.capacity() <= 2 * self.batch_bytes {
            self.buffers.push(buffer);
        }
    }

    /// Segments that hold batches.
    pub fn segments_in_use(&self) -> usize {
        self.segments.in_use()
    }

    /// Whether there is a segment behind the current one or one may still come. If not, appends are
    /// refused at the door, so that what is left of the current segment remains for votes.
    pub fn has_room(&self) -> bool {
        self.segments.has_room()
    }

    /// What must be asked of the disk so that a spare segment is there in time; asks again after a
    /// failure, so the caller decides when to retry. `frees` says that what was accepted lets old segments
    /// go once it is durable: a log that is full takes it all the same.
    pub fn segments_wanted(&mut self, frees: bool) -> Option<DiskOp> {
        self.segments.wanted(frees)
    }

    /// A segment asked for can be written to.
    pub fn segment_ready(&mut self, number: SegmentNumber) {
        self.segments.ready(number);
    }

    /// There was no room for a segment asked for.
    pub fn prepare_failed(&mut self, number: SegmentNumber) {
        self.segments.failed(number);
    }

    /// Where a scan must begin once a checkpoint holds the effect of each group's entries up to
    /// `covered(group)`. The checkpoint stores it.
    ///
    /// # Panics
    /// If no batch is durable: there is nothing a checkpoint could hold.
    pub fn floor_after(&self, covered: impl Fn(GroupId) -> u64) -> LogFloor {
        let floor = self.segments.floor_after(covered, self.durable);
        floor.expect("a checkpoint holds the effect of durable entries")
    }

    /// Whether a checkpoint that covers each group up to `covered(group)` would let a segment go.
    pub fn would_release(&self, covered: impl Fn(GroupId) -> u64) -> bool {
        let floor = self.segments.floor_after(covered, self.durable);
        floor.is_some_and(|floor| self.segments.oldest() < Some(floor.segment))
    }

    /// The groups that keep the oldest segment from going, if each were covered up to `covered(group)`.
    pub fn pinning(&self, covered: impl Fn(GroupId) -> u64) -> Vec<GroupId> {
        self.segments.pinning(covered)
    }

    /// The segment the next batch goes to, at the earliest.
    pub fn current_segment(&self) -> Option<SegmentNumber> {
        self.segments.current()
    }

    /// All entries of a group that no checkpoint covers were accepted once more since `from` was the
    /// current segment, and are durable.
    pub fn note_rewritten(&mut self, group: GroupId, from: SegmentNumber) {
        self.segments.note_rewritten(group, from);
    }

    /// Lets go of the segments before `floor`, which must be the floor stored in a checkpoint that
    /// is durable by now: recovery demands every segment from there on, and a floor computed anew
    /// could lie behind the stored one. Returns what must be asked of the disk.
    pub fn release(&mut self, floor: LogFloor) -> Vec<DiskOp> {
        assert!(floor.batch <= self.durable, "the floor is durable");
        self.segments.release(floor)
    }
}
