//! Random lives of a log against a naive account: records with the batch numbers they were promised,
//! kept in a list. Processes are killed at any moment; their last write lands in parts, or later.

use std::collections::BTreeMap;

use model::ids::GroupId;
use model::limits::{BLOCK_BYTES, SEGMENTS_MAX};
use proptest::collection::vec;
use proptest::prelude::*;

use super::IDENTITY;
use super::files::{Files, State, payload};
use crate::effect::{BatchNumber, DiskOp, LogWrite, SegmentNumber};
use crate::wal::{LogFloor, Record, RecordKind, Wal};

const SEGMENT: usize = 4 * BLOCK_BYTES;
const GROUPS: u32 = 3;

/// A record as it was accepted.
#[derive(Debug, Clone)]
enum Said {
    Entry { group: GroupId, term: u64, index: u64, payload: Vec<u8> },
    HardState { group: GroupId, term: u64, vote: Option<u64> },
}

/// A write of a killed process that may still reach its file, under whatever name.
#[derive(Debug)]
struct Late {
    write: LogWrite,
    inode: u64,
    said: Vec<(BatchNumber, Said)>,
}

#[derive(Debug)]
struct World {
    files: Files,
    wal: Wal,
    /// Everything accepted and not lost, over all lives.
    said: Vec<(BatchNumber, Said)>,
    durable: BatchNumber,
    in_flight: Option<LogWrite>,
    /// Whether the batch submitted last is a mark.
    is_mark: bool,
    spare_ready: bool,
    late: Vec<Late>,
    /// The first batch of each segment.
    starts: BTreeMap<SegmentNumber, BatchNumber>,
    /// The floor in the newest checkpoint.
    stored: Option<LogFloor>,
    index: [u64; GROUPS as usize],
    /// The last index of each group that is in a checkpoint.
    covered: [u64; GROUPS as usize],
    term: u64,
}

impl World {
    fn new() -> World {
        let files = Files::new(SEGMENT);
        let (recovered, _) = files.recover(None).unwrap();
        World {
            wal: Wal::new(IDENTITY, SEGMENT as u64, recovered),
            files,
            said: Vec::new(),
            durable: BatchNumber(0),
            in_flight: None,
            is_mark: false,
            spare_ready: false,
            late: Vec::new(),
            starts: BTreeMap::new(),
            stored: None,
            index: [0; GROUPS as usize],
            covered: [0; GROUPS as usize],
            term: 1,
        }
    }

    /// What recovery must find if the log ends with `last`.
    fn state(&self, said: &[(BatchNumber, Said)], last: BatchNumber) -> State {
        let first = self.stored.map_or(BatchNumber(1), |floor| floor.batch);
        let mut state = State::default();
        for (batch, said) in said.iter().filter(|(batch, _)| *batch <= last) {
            let record = match said {
                Said::Entry { group, term, index, payload } if first <= *batch => Record {
                    group: *group,
                    kind: RecordKind::Entry { term: *term, index: *index, payload },
                },
                Said::Entry { .. } => continue,
                Said::HardState { group, term, vote } => Record {
                    group: *group,
                    kind: RecordKind::HardState { term: *term, vote: *vote },
                },
            };
            state.take(&record);
        }
        state
    }

    fn accept(&mut self, said: Said) {
        let batch = match &said {
            Said::Entry { group, term, index, payload } => {
                self.wal.accept_entry(*group, *term, *index, payload)
            }
            Said::HardState { group, term, vote } => {
                self.wal.accept_hard_state(*group, *term, *vote)
            }
        };
        let newest = self.said.last().map_or(BatchNumber(0), |(batch, _)| *batch);
        assert!(newest <= batch, "batches fill in order");
        let submitted = self.in_flight.as_ref().map_or(self.durable, |write| write.batch);
        assert!(submitted < batch, "a batch submitted takes no more records");
        assert!(self.wal.pending());
        self.said.push((batch, said));
    }

    /// An entry behind the last one, or `back` places before that: a new leader replaces a suffix, but
    /// never what is in a checkpoint.
    fn entry(&mut self, group: u32, bytes: usize, back: u64) {
        let slot = group as usize;
        let index = (self.index[slot] + 1).saturating_sub(back).max(self.covered[slot] + 1);
        self.term += u64::from(index <= self.index[slot]);
        self.index[slot] = index;
        let (group, term) = (GroupId(group), self.term);
        self.accept(Said::Entry { group, term, index, payload: payload(index, bytes) });
    }

    fn submit(&mut self, mark: bool) {
        let may = self.in_flight.is_none() && (self.wal.pending() ^ mark);
        let wanted = self.wal.wants_mark();
        assert!(!wanted || !self.wal.pending() && self.in_flight.is_none());
        let write = if mark { self.wal.mark() } else { self.wal.seal() };
        let Some(write) = write else {
            assert!(!may || !self.spare_ready || mark && !wanted, "nothing kept it");
            return;
        };
        assert!(may && (wanted || !mark));
        assert_eq!(write.batch.0, self.durable.0 + 1, "one batch in flight");
        if write.offset == 0 {
            assert!(std::mem::take(&mut self.spare_ready), "a segment is prepared before use");
            self.starts.insert(write.segment, write.batch);
        }
        self.is_mark = mark;
        self.in_flight = Some(write);
    }

    fn complete(&mut self) {
        let Some(write) = self.in_flight.take() else { return };
        self.files.write(write.segment, write.offset, write.buffer.as_slice());
        assert_eq!(self.wal.in_flight(), Some(write.batch));
        self.wal.durable(write.batch, write.buffer);
        self.durable = write.batch;
        assert_eq!(self.wal.durable_batch(), self.durable);
        assert_eq!(self.wal.in_flight(), None);
        assert_eq!(self.wal.wants_mark(), !self.is_mark && !self.wal.pending());
    }

    fn prepare(&mut self, space: bool) {
        let Some(op) = self.wal.segments_wanted(false) else {
            assert!(self.spare_ready || self.wal.segments_in_use() == SEGMENTS_MAX);
            assert_eq!(self.wal.has_room(), self.spare_ready);
            return;
        };
        let DiskOp::SegmentPrepare { number, recycle } = op else { panic!("{op:?}") };
        assert!(!self.spare_ready);
        assert!(self.wal.has_room());
        assert!(self.wal.segments_wanted(false).is_none(), "one at a time");
        if space || recycle.is_some() {
            self.files.perform(&op);
            self.wal.segment_ready(number);
            self.spare_ready = true;
        } else {
            self.wal.prepare_failed(number);
        }
        assert_eq!(self.wal.has_room(), self.spare_ready);
        assert!(self.files.images.len() <= SEGMENTS_MAX + 1, "disk space is bounded");
    }

    /// A checkpoint that covers all but the last `lag` entries of each group becomes durable.
    fn checkpoint(&mut self, lag: u64) {
        if self.durable.0 == 0 {
            return;
        }
        let mut durable = [0; GROUPS as usize];
        for (batch, said) in &self.said {
            if let Said::Entry { group, index, .. } = said {
                let last = &mut durable[group.0 as usize];
                // What was accepted already may replace what is durable.
                *last = if *batch <= self.durable { *index } else { *index.min(last) };
            }
        }
        for (covered, durable) in self.covered.iter_mut().zip(durable) {
            *covered = durable.saturating_sub(lag).max(*covered);
        }
        let covered = |group: GroupId| self.covered[group.0 as usize];
        let floor = self.wal.floor_after(covered);
        let uncovered = self.said.iter().find_map(|(batch, said)| match said {
            Said::Entry { group, index, .. } => (covered(*group) < *index).then_some(*batch),
            Said::HardState { .. } => None,
        });
        let limit = uncovered.unwrap_or(BatchNumber(u64::MAX)).min(self.durable);
        let stored = self.stored.map_or(SegmentNumber(1), |stored| stored.segment);
        let newest = self.starts.range(stored..).rfind(|(_, batch)| **batch <= limit);
        let naive = newest.map_or(stored, |(segment, _)| *segment).max(stored);
        assert_eq!(floor.segment, naive, "a floor keeps what is uncovered and no more");
        assert_eq!(self.starts[&floor.segment], floor.batch);
        self.stored = Some(floor);
    }

    fn release(&mut self) {
        let Some(floor) = self.stored else { return };
        for op in self.wal.release(floor) {
            self.files.perform(&op);
        }
        assert_eq!(self.wal.segments_in_use(), self.starts.range(floor.segment..).count());
    }

    /// A late write reaches its file, if that still exists.
    fn land(&mut self, which: usize, sectors: u64) {
        if self.late.is_empty() {
            return;
        }
        let late = &self.late[which % self.late.len()];
        self.files.land(late.inode, &late.write, sectors);
    }

    /// The process is killed with some sectors of its last write in the file, and another opens.
    fn crash(&mut self, sectors: u64) {
        if let Some(write) = self.in_flight.take() {
            let inode = self.files.inodes[&write.segment];
            self.files.land(inode, &write, sectors);
            let said = self.said.iter().filter(|(batch, _)| *batch == write.batch).cloned();
            self.late.push(Late { said: said.collect(), inode, write });
        }
        self.said.retain(|(batch, _)| *batch <= self.durable);
        let (recovered, state) = self.files.recover(self.stored).expect("a kill is no corruption");
        let last = BatchNumber(recovered.next.batch.0 - 1);
        if last != self.durable {
            let said = self.brought_back(last, &state).said.clone();
            self.said.extend(said);
            self.durable = last;
        }
        assert_eq!(state, self.state(&self.said, self.durable));
        for number in &recovered.remove {
            self.files.remove(*number);
            // A kill between two removals leaves a log as good as before. What is removed may be a torn
            // start, and all that denied a batch which landed late: that may come back as long as nothing
            // else is written, and before something is nobody is promised anything.
            let again = self.files.recover(self.stored).expect("removals leave no hole");
            if again.0.next.batch == recovered.next.batch {
                assert_eq!((again.0.next, again.1), (recovered.next, state.clone()));
            } else {
                self.brought_back(BatchNumber(again.0.next.batch.0 - 1), &again.1);
            }
        }
        self.starts = recovered.segments.iter().map(|s| (s.start.segment, s.start.batch)).collect();
        self.index = [0; GROUPS as usize];
        for (_, said) in &self.said {
            if let Said::Entry { group, index, .. } = said {
                self.index[group.0 as usize] = *index;
            }
        }
        self.spare_ready = false;
        self.wal = Wal::new(IDENTITY, SEGMENT as u64, recovered);
        assert_eq!(self.wal.wants_mark(), 0 < self.durable.0, "what came back wants proof");
    }

    /// The batch of this life or of one before it that is found behind the last that was durable: it was
    /// whole, and nothing denied it.
    fn brought_back(&self, last: BatchNumber, state: &State) -> &Late {
        assert_eq!(last.0, self.durable.0 + 1);
        let whole = self.late.iter().find(|late| {
            let said: Vec<_> = self.said.iter().chain(&late.said).cloned().collect();
            late.write.batch == last && self.state(&said, last) == *state
        });
        whole.expect("what came back was written")
    }

    /// Whatever becomes of the write in flight now, recovery finds what was durable.
    fn check_kill(&self) {
        let find = |files: &Files, last: BatchNumber| {
            let (recovered, state) = files.recover(self.stored).expect("a kill is no corruption");
            assert_eq!(recovered.next.batch.0, last.0 + 1);
            assert_eq!(state, self.state(&self.said, last));
        };
        find(&self.files, self.durable);
        if let Some(write) = &self.in_flight {
            let mut files = self.files.clone();
            files.write(write.segment, write.offset, write.buffer.as_slice());
            find(&files, write.batch);
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Entry { group: u32, bytes: usize, back: u64 },
    HardState { group: u32, vote: Option<u64> },
    Submit,
    Mark,
    Complete,
    Prepare { space: bool },
    Checkpoint { lag: u64 },
    Release,
    Land { which: usize, sectors: u64 },
    Crash { sectors: u64 },
}

fn sectors() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(u64::MAX), any::<u64>(), (0..32_u32).prop_map(|n| (1 << n) - 1)]
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = prop_oneof![8 => 0..300_usize, 2 => 300..4100_usize, 1 => 4100..14_000_usize];
    prop_oneof![
        12 => (0..GROUPS, bytes, prop_oneof![9 => Just(0), 1 => 1..4_u64])
            .prop_map(|(group, bytes, back)| Step::Entry { group, bytes, back }),
        3 => (0..GROUPS, proptest::option::of(1..4_u64))
            .prop_map(|(group, vote)| Step::HardState { group, vote }),
        12 => Just(Step::Submit),
        2 => Just(Step::Mark),
        12 => Just(Step::Complete),
        6 => any::<bool>().prop_map(|space| Step::Prepare { space }),
        2 => (0..6_u64).prop_map(|lag| Step::Checkpoint { lag }),
        2 => Just(Step::Release),
        2 => (any::<usize>(), sectors()).prop_map(|(which, sectors)| Step::Land { which, sectors }),
        1 => sectors().prop_map(|sectors| Step::Crash { sectors }),
    ]
}

impl World {
    fn step(&mut self, step: &Step) {
        match *step {
            Step::Entry { group, bytes, back } => self.entry(group, bytes, back),
            Step::HardState { group, vote } => {
                self.term += 1;
                let (group, term) = (GroupId(group), self.term);
                self.accept(Said::HardState { group, term, vote });
            }
            Step::Submit => self.submit(false),
            Step::Mark => self.submit(true),
            Step::Complete => self.complete(),
            Step::Prepare { space } => self.prepare(space),
            Step::Checkpoint { lag } => self.checkpoint(lag),
            Step::Release => self.release(),
            Step::Land { which, sectors } => self.land(which, sectors),
            Step::Crash { sectors } => self.crash(sectors),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn random_lives_match_the_naive_account(steps in vec(step(), 1..300)) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        world.crash(u64::MAX);
    }
}

#[test]
fn a_batch_that_landed_late_comes_back_when_the_torn_start_that_denied_it_is_removed() {
    let mut world = World::new();
    let entry = |bytes| Step::Entry { group: 0, bytes, back: 0 };
    let (prepare, nothing) = (Step::Prepare { space: true }, Step::Crash { sectors: 0 });
    for step in [entry(0), prepare.clone(), Step::Submit, entry(0), Step::Complete, Step::Submit] {
        world.step(&step);
    }
    world.step(&nothing);
    world.step(&Step::Land { which: 0, sectors: u64::MAX });
    for step in [entry(2_000), prepare, Step::Submit, Step::Crash { sectors: 1 }] {
        world.step(&step);
    }
    assert_eq!(world.durable, BatchNumber(1), "the torn start is read before it is removed");
    world.step(&nothing);
    assert_eq!(world.durable, BatchNumber(2));
    assert_eq!(world.index[0], 2);
}

/// The process is killed at every boundary of a run with rotation, marks, checkpoints and release.
#[test]
fn a_kill_at_every_boundary() {
    let mut world = World::new();
    let mut boundaries = 0;
    let mut do_and_check = |world: &mut World, step: Step| {
        world.step(&step);
        world.check_kill();
        boundaries += 1;
    };
    for round in 0..200_u64 {
        let group = u32::try_from(round).unwrap() % GROUPS;
        let bytes = [40, 3000, 900, 6000, 0, 12_000, 200][usize::try_from(round).unwrap() % 7];
        do_and_check(&mut world, Step::Entry { group, bytes, back: u64::from(round % 11 == 10) });
        if round % 5 == 0 {
            do_and_check(&mut world, Step::HardState { group, vote: Some(round) });
        }
        do_and_check(&mut world, Step::Prepare { space: round % 4 != 0 });
        do_and_check(&mut world, Step::Submit);
        do_and_check(&mut world, Step::Entry { group, bytes: 10, back: 0 });
        do_and_check(&mut world, Step::Complete);
        if round % 6 == 5 {
            do_and_check(&mut world, Step::Submit);
            do_and_check(&mut world, Step::Complete);
            do_and_check(&mut world, Step::Mark);
            do_and_check(&mut world, Step::Complete);
        }
        if round % 9 == 8 {
            do_and_check(&mut world, Step::Checkpoint { lag: round % 3 });
            do_and_check(&mut world, Step::Release);
        }
        if round % 50 == 49 {
            world.crash(0);
            world.check_kill();
        }
    }
    assert!(1_000 < boundaries);
    assert!(60 < world.starts.last_key_value().unwrap().0.0, "segments were turned over");
}
