//! What a disk keeps, and what it may lose.

use model::limits::BLOCK_BYTES;
use shard::aligned::AlignedBuffer;
use shard::effect::{
    BatchNumber, Completion, DiskOp, FileName, LogWrite, NoSpace, ReadId, SegmentNumber,
};

use crate::count::{Counters, Fault};
use crate::dice::{Concern, Dice};
use crate::disk::{Disk, End, Finished, Health, Mishap, OpNumber};

const SEGMENT_BYTES: u64 = 4 * BLOCK_BYTES as u64;
const FIRST: SegmentNumber = SegmentNumber(1);

struct Rig {
    disk: Disk,
    counters: Counters,
}

fn rig(seed: u64) -> Rig {
    let dice = Dice::new(seed, Concern::Disk(0));
    let mut rig = Rig {
        disk: Disk::new(SEGMENT_BYTES, Health::good((1, 9)), dice),
        counters: Counters::new(),
    };
    let done = rig.run(DiskOp::SegmentPrepare { number: FIRST, recycle: None });
    assert!(matches!(done, Completion::SegmentReady { .. }));
    rig
}

fn buffer(byte: u8) -> AlignedBuffer {
    let mut buffer = AlignedBuffer::with_capacity(BLOCK_BYTES);
    buffer.extend_from_slice(&vec![byte; BLOCK_BYTES]);
    buffer
}

fn write(place: usize, byte: u8) -> DiskOp {
    let offset = (place * BLOCK_BYTES) as u64;
    let batch = BatchNumber(place as u64 + 1);
    DiskOp::LogWrite(LogWrite { segment: FIRST, offset, buffer: buffer(byte), batch })
}

impl Rig {
    fn start(&mut self, op: DiskOp) -> OpNumber {
        let (number, micros) = self.disk.submit(op).expect("it takes time");
        assert!((1..=9).contains(&micros));
        number
    }

    fn run(&mut self, op: DiskOp) -> Completion {
        let number = self.start(op);
        match self.disk.finish(number, &mut self.counters) {
            Finished::Done(completion) => completion,
            other => panic!("{other:?}"),
        }
    }

    fn end(&mut self, end: End) {
        self.disk.end(end, &mut self.counters);
    }

    fn block(&self, place: usize) -> &[u8] {
        &self.disk.segments()[&FIRST][place * BLOCK_BYTES..(place + 1) * BLOCK_BYTES]
    }

    fn sectors(&self, place: usize, byte: u8) -> usize {
        self.block(place).chunks(512).filter(|sector| sector.iter().all(|b| *b == byte)).count()
    }
}

#[test]
fn what_was_synced_stays() {
    for (seed, end) in [(1, End::Kill), (2, End::PowerCut)] {
        let mut rig = rig(seed);
        rig.run(write(0, 1));
        rig.end(end);
        assert_eq!(rig.sectors(0, 1), 8);
        assert_eq!(rig.counters.faults_total(), 0);
    }
}

#[test]
fn a_power_cut_keeps_any_subset_of_a_write() {
    let mut seen = [0; 9];
    for seed in 0..500 {
        let mut rig = rig(seed);
        rig.run(write(0, 1));
        rig.start(write(1, 2));
        rig.end(End::PowerCut);
        let (new, old) = (rig.sectors(1, 2), rig.sectors(1, 0));
        assert_eq!(new + old, 8, "a sector is whole");
        assert_eq!(rig.sectors(0, 1), 8);
        seen[new] += 1;
    }
    assert!(seen.iter().all(|times| 3 < *times), "{seen:?}");
}

#[test]
fn a_killed_process_leaves_its_write_whole_late_or_not_at_all() {
    let (mut whole, mut late) = (0, 0);
    for seed in 0..200 {
        let mut rig = rig(seed);
        rig.start(write(0, 7));
        rig.end(End::Kill);
        let landed = rig.sectors(0, 7);
        assert!(landed == 0 || landed == 8);
        whole += usize::from(landed == 8);
        rig.disk.land_late(&mut rig.counters);
        late += usize::from(landed == 0 && rig.sectors(0, 7) == 8);
    }
    assert!(50 < whole && 20 < late && whole + late < 200, "{whole} {late}");
}

#[test]
fn a_lying_sync_is_found_out_by_a_power_cut_only() {
    let mut lost = 0;
    for seed in 0..100 {
        let mut rig = rig(seed);
        rig.disk.health.lies = true;
        rig.run(write(0, 3));
        assert_eq!(rig.sectors(0, 3), 8);
        if seed < 50 {
            rig.end(End::Kill);
            assert_eq!(rig.sectors(0, 3), 8);
        } else {
            rig.end(End::PowerCut);
            lost += usize::from(rig.sectors(0, 3) < 8);
        }
    }
    assert!(20 < lost, "{lost}");
}

#[test]
fn an_honest_sync_brings_what_was_promised() {
    for seed in 0..50 {
        let mut rig = rig(seed);
        rig.disk.health.lies = true;
        rig.run(write(0, 3));
        rig.disk.health.lies = false;
        assert!(rig.disk.may_forget(), "who stops lying still owes what was promised");
        rig.end(End::Kill);
        assert!(rig.disk.may_forget(), "and so it is for the next process");
        rig.run(write(1, 4));
        assert!(!rig.disk.may_forget());
        rig.end(End::PowerCut);
        assert_eq!((rig.sectors(0, 3), rig.sectors(1, 4)), (8, 8));
    }
}

#[test]
fn what_is_forgotten_goes_all_at_once() {
    for seed in 0..50 {
        let mut rig = rig(seed);
        rig.disk.health.lies = true;
        rig.disk.health.forgets = true;
        rig.run(write(0, 3));
        rig.run(write(1, 4));
        rig.disk.health.lies = false;
        rig.end(End::PowerCut);
        assert_eq!((rig.sectors(0, 3), rig.sectors(1, 4)), (0, 0));
    }
}

#[test]
fn mishaps_happen_to_one_write() {
    for seed in 0..50 {
        let mut rig = rig(seed);
        rig.disk.mishap = Some(Mishap::Lost);
        rig.run(write(0, 5));
        assert_eq!(rig.sectors(0, 5), 0);
        rig.disk.mishap = Some(Mishap::Misdirected);
        rig.run(write(1, 6));
        assert_eq!(rig.sectors(1, 6), 0);
        let elsewhere: usize = [0, 2, 3].iter().map(|place| rig.sectors(*place, 6)).sum();
        assert_eq!(elsewhere, 8);
        rig.disk.mishap = Some(Mishap::Error);
        let number = rig.start(write(2, 7));
        assert!(matches!(rig.disk.finish(number, &mut rig.counters), Finished::Fatal));
        rig.run(write(3, 8));
        assert_eq!(rig.sectors(3, 8), 8);
    }
}

#[test]
fn a_full_disk_recycles_and_refuses() {
    let mut rig = rig(1);
    rig.disk.health.full = true;
    let second = SegmentNumber(2);
    let done = rig.run(DiskOp::SegmentPrepare { number: second, recycle: None });
    assert!(
        matches!(done, Completion::NoSpace { what: NoSpace::Segment(number) } if number == second)
    );
    let file = FileName::Chunk(1);
    let done = rig.run(DiskOp::FileWrite { file, offset: 0, buffer: buffer(1) });
    assert!(matches!(done, Completion::NoSpace { what: NoSpace::File(name) } if name == file));
    let done = rig.run(DiskOp::SegmentPrepare { number: second, recycle: Some(FIRST) });
    assert!(matches!(done, Completion::SegmentReady { number } if number == second));
    assert_eq!(rig.disk.segments().keys().collect::<Vec<_>>(), [&second]);
}

#[test]
fn files_are_there_when_they_are_published() {
    let mut rig = rig(1);
    let file = FileName::Checkpoint(3);
    rig.run(DiskOp::FileWrite { file, offset: 0, buffer: buffer(9) });
    assert!(rig.disk.files().is_empty());
    rig.run(DiskOp::FilePublish { file });
    let read = DiskOp::FileRead { read: ReadId(4), file, offset: 0, bytes: BLOCK_BYTES };
    match rig.run(read) {
        Completion::FileRead { read: ReadId(4), result: Ok(bytes) } => {
            assert_eq!(bytes.as_slice(), buffer(9).as_slice());
        }
        other => panic!("{other:?}"),
    }
    rig.end(End::PowerCut);
    assert_eq!(rig.disk.files().len(), 1);
}

#[test]
fn names_taken_away_may_come_back() {
    let mut back = 0;
    for seed in 0..100 {
        let mut rig = rig(seed);
        assert!(rig.disk.submit(DiskOp::SegmentRemove { number: FIRST }).is_none());
        assert!(rig.disk.segments().is_empty());
        rig.end(End::PowerCut);
        back += rig.disk.segments().len();
    }
    assert!((20..80).contains(&back), "{back}");
}

#[test]
fn rot_changes_a_bit() {
    for seed in 0..50 {
        let mut rig = rig(seed);
        assert_eq!(rig.disk.rot(&mut rig.counters), None, "there is nothing to rot");
        rig.run(write(0, 0xff));
        assert_eq!(rig.disk.rot(&mut rig.counters), Some(false));
        let image = &rig.disk.segments()[&FIRST];
        let ones: u32 = image.iter().map(|byte| byte.count_ones()).sum();
        assert_eq!(ones.abs_diff(8 * 4096), 1);
        assert_eq!(rig.counters.faults(Fault::Rot), 1);
    }
}
