//! The files behind a log: which one is written to, which one waits as a spare, which ones hold
//! entries no checkpoint covers, and which ones may carry a new number.
//!
//! ```text
//!   used, oldest first                      spare
//!  +-------+-------+-------+---------+     +---------+
//!  | full  | full  | full  | current | --> | prepared|     recyclable: files released before, their
//!  +-------+-------+-------+---------+     +---------+     old content is noise under a new number
//!      ^ floor: everything before it is in a checkpoint
//! ```

use std::collections::{BTreeMap, VecDeque};

use model::ids::GroupId;
use model::limits::SEGMENTS_MAX;

use crate::effect::{BatchNumber, DiskOp, SegmentNumber};
use crate::wal::format::LogFloor;

/// A segment that holds batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Its number and first batch.
    pub start: LogFloor,
    /// The highest index of each group that has an entry in it.
    pub highest: BTreeMap<GroupId, u64>,
}

impl Segment {
    /// Remembers an entry.
    pub(super) fn note(&mut self, group: GroupId, index: u64) {
        let highest = self.highest.entry(group).or_insert(index);
        *highest = index.max(*highest);
    }
}

/// The segment behind the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spare {
    Missing,
    Preparing,
    Ready,
}

/// Invariant: segments used are numbered without a hole and the spare follows the last.
#[derive(Debug)]
pub(super) struct Segments {
    segment_bytes: usize,
    used: VecDeque<Segment>,
    /// Where the next batch goes in the last segment used; `segment_bytes` when it takes none.
    offset: usize,
    /// The number of the spare, whatever its state.
    spare_number: SegmentNumber,
    spare: Spare,
    /// Whether the last try to prepare a spare found no room.
    no_space: bool,
    /// The first number this process gave out.
    own_from: SegmentNumber,
    recyclable: VecDeque<SegmentNumber>,
    /// Groups whose entries were written once more: those that no checkpoint covers are found from this
    /// segment on.
    rewritten: BTreeMap<GroupId, SegmentNumber>,
}

impl Segments {
    /// The segments recovered, none of which is ever written to again.
    pub(super) fn new(
        segment_bytes: usize,
        used: Vec<Segment>,
        spare_number: SegmentNumber,
    ) -> Segments {
        Segments {
            segment_bytes,
            used: used.into(),
            offset: segment_bytes,
            spare_number,
            spare: Spare::Missing,
            no_space: false,
            own_from: spare_number,
            recyclable: VecDeque::new(),
            rewritten: BTreeMap::new(),
        }
    }

    pub(super) fn in_use(&self) -> usize {
        self.used.len()
    }

    /// Whether `bytes` fit behind the newest batch.
    pub(super) fn fits(&self, bytes: usize) -> bool {
        bytes <= self.segment_bytes - self.offset
    }

    /// Whether [`Segments::rotate`] may be called.
    pub(super) fn can_rotate(&self) -> bool {
        self.spare == Spare::Ready
    }

    /// Puts the spare to use; its first batch is `batch`, behind `chain`.
    pub(super) fn rotate(&mut self, batch: BatchNumber, chain: u64) {
        assert_eq!(self.spare, Spare::Ready, "only a prepared segment is written to");
        let start = LogFloor { segment: self.spare_number, batch, chain };
        if let Some(last) = self.used.back() {
            assert_eq!(last.start.segment.0 + 1, start.segment.0, "numbers have no hole");
            assert!(last.start.batch < batch, "a segment used has a batch");
        }
        self.used.push_back(Segment { start, highest: BTreeMap::new() });
        self.offset = 0;
        self.spare_number.0 += 1;
        self.spare = Spare::Missing;
    }

    /// Where the next batch goes.
    pub(super) fn place(&self) -> (SegmentNumber, usize) {
        let current = self.used.back().expect("a batch is placed after the first rotation");
        (current.start.segment, self.offset)
    }

    /// Notes a batch of `bytes` with these highest indexes at [`Segments::place`].
    pub(super) fn advance(&mut self, bytes: usize, highest: &BTreeMap<GroupId, u64>) {
        assert!(self.fits(bytes), "a batch lies within its segment");
        self.offset += bytes;
        let current = self.used.back_mut().expect("a batch is placed after the first rotation");
        for (&group, &index) in highest {
            current.note(group, index);
        }
    }

    /// Whether a spare is there or may still come.
    pub(super) fn has_room(&self) -> bool {
        if SEGMENTS_MAX <= self.used.len() {
            return false;
        }
        match self.spare {
            Spare::Ready | Spare::Preparing => true,
            Spare::Missing => !self.no_space,
        }
    }

    fn may_prepare(&self) -> bool {
        // A log that was opened goes on in a new segment whatever it has: without one, nothing could
        // be committed that would let the old ones go.
        let is_first = self.spare_number == self.own_from;
        // Appends stop at a quarter of this, so that what Raft itself must write always finds room: votes, and
        // what makes old entries committed or replaced.
        !self.recyclable.is_empty() || self.used.len() < 4 * SEGMENTS_MAX || is_first
    }

    /// What must be asked of the disk so that there is a spare. `frees` says that what waits to be written
    /// lets old segments go once it is durable: then there is no bound but the disk's.
    pub(super) fn wanted(&mut self, frees: bool) -> Option<DiskOp> {
        if self.spare != Spare::Missing || !(frees || self.may_prepare()) {
            return None;
        }
        self.spare = Spare::Preparing;
        let recycle = self.recyclable.pop_front();
        Some(DiskOp::SegmentPrepare { number: self.spare_number, recycle })
    }

    /// The spare is on disk.
    pub(super) fn ready(&mut self, number: SegmentNumber) {
        assert_eq!(self.spare, Spare::Preparing, "a segment is ready after it was asked for");
        assert_eq!(self.spare_number, number, "one segment is prepared at a time");
        self.spare = Spare::Ready;
        self.no_space = false;
    }

    /// There was no room for the spare.
    pub(super) fn failed(&mut self, number: SegmentNumber) {
        assert_eq!(self.spare, Spare::Preparing, "a segment fails after it was asked for");
        assert_eq!(self.spare_number, number, "one segment is prepared at a time");
        self.spare = Spare::Missing;
        self.no_space = true;
    }

    /// Where a scan must begin once a checkpoint covers each group up to `covered`: the oldest
    /// segment with an entry behind that, or the newest that surely has a durable batch.
    pub(super) fn floor_after(
        &self,
        covered: impl Fn(GroupId) -> u64,
        durable: BatchNumber,
    ) -> Option<LogFloor> {
        let mut floor = None;
        for segment in self.used.iter().take_while(|segment| segment.start.batch <= durable) {
            floor = Some(segment.start);
            if self.pinned_by(segment, &covered).next().is_some() {
                break;
            }
        }
        floor
    }

    /// The groups with entries in a segment that are needed from there.
    fn pinned_by<'a>(
        &'a self,
        segment: &'a Segment,
        covered: &'a impl Fn(GroupId) -> u64,
    ) -> impl Iterator<Item = GroupId> + 'a {
        let needed = move |(group, index): &(&GroupId, &u64)| {
            let moved =
                self.rewritten.get(*group).is_some_and(|from| segment.start.segment < *from);
            !moved && covered(**group) < **index
        };
        segment.highest.iter().filter(needed).map(|(group, _)| *group)
    }

    /// The groups that keep the oldest segment from going.
    pub(super) fn pinning(&self, covered: impl Fn(GroupId) -> u64) -> Vec<GroupId> {
        let oldest = self.used.front();
        oldest.map_or_else(Vec::new, |oldest| self.pinned_by(oldest, &covered).collect())
    }

    /// The oldest segment that holds batches.
    pub(super) fn oldest(&self) -> Option<SegmentNumber> {
        self.used.front().map(|segment| segment.start.segment)
    }

    /// The segment the next batch goes to, at the earliest.
    pub(super) fn current(&self) -> Option<SegmentNumber> {
        self.used.back().map(|segment| segment.start.segment)
    }

    /// All entries of a group that a checkpoint does not cover are durable from this segment on. What is
    /// older of them may be scanned in part: its beginning may be gone, and its end was perhaps replaced.
    pub(super) fn note_rewritten(&mut self, group: GroupId, from: SegmentNumber) {
        self.rewritten.insert(group, from);
    }

    /// Lets go of the segments before `floor`. Returns those to remove; the others are recycled.
    pub(super) fn release(&mut self, floor: LogFloor) -> Vec<DiskOp> {
        let mut ops = Vec::new();
        while let Some(oldest) = self.used.pop_front_if(|used| used.start.segment < floor.segment) {
            let number = oldest.start.segment;
            // A write of a process killed earlier may still be on its way to a file of its: such a
            // file is never written to again.
            if self.own_from <= number {
                self.recyclable.push_back(number);
            } else {
                ops.push(DiskOp::SegmentRemove { number });
            }
        }
        let oldest = self.used.front().expect("the floor is in a segment used");
        assert_eq!(oldest.start, floor, "the floor is the start of a segment used");
        ops
    }
}
