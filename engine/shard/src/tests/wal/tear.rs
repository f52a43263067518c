//! Damage to what is not yet durable: a crash leaves any part of the batch in flight behind, over
//! whatever the file held before, at once or after the next process has gone on.

use model::ids::GroupId;
use model::limits::BLOCK_BYTES;

use super::files::{Files, SECTOR, State, Submitted, Writer, payload};
use crate::effect::BatchNumber;
use crate::wal::LogFloor;
use crate::wal::format::{Batch, Damage};

const SEGMENT: usize = 4 * BLOCK_BYTES;

/// A log whose files have all been recycled at least once, with a batch of `bytes` in flight: behind
/// others in its segment, or the first of a fresh one.
fn recycled(first: bool, bytes: usize) -> (Writer, LogFloor) {
    let mut writer = Writer::open(Files::new(SEGMENT), None).unwrap();
    let mut floor = LogFloor::first();
    let mut index = 0;
    for round in 0..12 {
        let fills = if round < 11 || first { 4 } else { 1 };
        for _ in 0..fills {
            index += 1;
            writer.wal.accept_hard_state(GroupId(2), index, Some(9));
            writer.wal.accept_entry(GroupId(1), 1, index, &payload(index, 2000));
            writer.flush();
        }
        if round < 11 {
            floor = writer.wal.floor_after(|_| index - 2);
            writer.release(floor);
        }
    }
    writer.wal.accept_entry(GroupId(1), 1, index + 1, &payload(index + 1, bytes));
    assert!(writer.submit());
    let write = writer.in_flight.as_ref().unwrap();
    assert_eq!(write.offset == 0, first);
    let at = usize::try_from(write.offset).unwrap();
    let old = &writer.files.images[&write.segment];
    let stale = Batch::read(super::IDENTITY, write.segment, old, at);
    assert!(matches!(stale, Err(Damage::Stale(_))), "the file has had another life: {stale:?}");
    (writer, floor)
}

/// Lands the sectors of a batch whose bit is set.
fn land(files: &mut Files, batch: &Submitted, sectors: u64) {
    for (sector, bytes) in batch.bytes.chunks(SECTOR).enumerate() {
        if sectors >> sector & 1 == 1 {
            files.write(batch.segment, batch.offset + (sector * SECTOR) as u64, bytes);
        }
    }
}

/// What was durable comes back, with the batch in flight or without it.
fn check(
    files: &Files,
    floor: LogFloor,
    without: &State,
    with: &State,
    batch: BatchNumber,
) -> bool {
    let (recovered, state) = files.recover(Some(floor)).expect("a tear is not corruption");
    let is_with = recovered.next.batch.0 == batch.0 + 1;
    assert!(is_with || recovered.next.batch == batch);
    assert_eq!(&state, if is_with { with } else { without });
    is_with
}

#[test]
fn any_sectors_of_the_batch_in_flight() {
    for first in [false, true] {
        for zeroed in [false, true] {
            // One block: all subsets. Three blocks: a sample.
            for (bytes, samples) in [(3000, 256), (9000, 4096)] {
                let (writer, floor) = recycled(first, bytes);
                let batch = writer.history.batches.last().unwrap();
                let sectors = batch.bytes.len() / SECTOR;
                let all = (1 << sectors) - 1;
                let (without, with) = (writer.durable_since(floor), writer.state_since(floor));
                let mut base = writer.files.clone();
                if zeroed {
                    base.images.get_mut(&batch.segment).unwrap()
                        [usize::try_from(batch.offset).unwrap()..]
                        .fill(0);
                }
                for sample in 0..samples {
                    let landed = match (sample, samples == 1 << sectors) {
                        (_, true) => sample,
                        (0, false) => 0,
                        (1, false) => all,
                        _ => u64::from_le_bytes(payload(sample, 8).try_into().unwrap()) & all,
                    };
                    let mut files = base.clone();
                    land(&mut files, batch, landed);
                    let is_with = check(&files, floor, &without, &with, batch.batch);
                    // Sectors of padding may be missing where the file held zeros.
                    assert!(is_with || landed != all);
                    if landed & 1 == 0 {
                        assert!(!is_with, "a batch without its header");
                    }
                }
            }
        }
    }
}

#[test]
fn any_bytes_of_the_batch_in_flight() {
    for first in [false, true] {
        let (writer, floor) = recycled(first, 5000);
        let batch = writer.history.batches.last().unwrap();
        let (without, with) = (writer.durable_since(floor), writer.state_since(floor));
        let mut files = writer.files.clone();
        for (at, byte) in batch.bytes.iter().enumerate() {
            check(&files, floor, &without, &with, batch.batch);
            files.write(batch.segment, batch.offset + at as u64, &[*byte]);
        }
        assert!(check(&files, floor, &without, &with, batch.batch));
    }
}

#[test]
fn a_tear_is_reported() {
    let (writer, floor) = recycled(false, 5000);
    let batch = writer.history.batches.last().unwrap();
    let mut files = writer.files.clone();
    assert_eq!(files.recover(Some(floor)).unwrap().0.cut, None, "old content is no tear");
    land(&mut files, batch, 0b111);
    let cut = files.recover(Some(floor)).unwrap().0.cut.unwrap();
    assert_eq!((cut.segment, cut.offset as u64), (batch.segment, batch.offset));
    assert_eq!(cut.found, Damage::BodyChecksum);
}

/// The write in flight when a process was killed reaches the file after the next process has read it,
/// whole or in part. The next process has gone on in a fresh segment, which says where the old one
/// ended; what landed late is never seen once anything of the new process is durable.
#[test]
fn a_write_that_lands_after_the_next_process_went_on() {
    for first in [false, true] {
        for landed in 0..256 {
            let (old, floor) = recycled(first, 3000);
            let late = old.history.batches.last().unwrap().clone();
            let before = old.durable_since(floor);
            let mut new = Writer::open(old.files.clone(), Some(floor)).unwrap();
            assert_eq!(new.history.before, before);
            let fresh = new.start.segment;
            for batches in 0..6 {
                if 0 < batches {
                    new.wal.accept_entry(GroupId(1), 2, 900 + batches, &payload(batches, 1000));
                    assert!(new.submit());
                    // Killed with its own first batches in flight, none of it landed.
                    check_late(&new, floor, &late, landed, new.wal.durable_batch());
                    new.complete();
                    new.prepare();
                }
                check_late(&new, floor, &late, landed, new.wal.durable_batch());
            }
            assert!(fresh < *new.files.images.last_key_value().unwrap().0);
        }
    }
}

fn check_late(new: &Writer, floor: LogFloor, late: &Submitted, landed: u64, durable: BatchNumber) {
    let mut files = new.files.clone();
    // A torn first batch of a segment was removed with its file; its write lands nowhere.
    let is_open = late.segment < new.start.segment;
    if is_open {
        land(&mut files, late, landed);
    }
    let (recovered, state) = files.recover(Some(floor)).expect("late is not corrupt");
    if durable < new.start.batch {
        // Nobody was told anything yet: the late batch may count.
        let mut with = new.durable();
        with.entries.extend(late.entries.iter().cloned());
        with.hard_states.clone_from(&late.hard_states);
        let is_with = is_open && recovered.next.batch.0 == late.batch.0 + 1;
        assert_eq!(state, if is_with { with } else { new.durable() });
    } else {
        assert_eq!(state, new.durable());
        assert_eq!(recovered.next.batch.0, durable.0 + 1);
    }
}

/// Every process is killed with a batch in flight, and every one of those writes lands at the end, in
/// the order the processes lived: only what was durable counts.
#[test]
fn many_processes_and_all_their_late_writes() {
    let mut late = Vec::new();
    let mut files = Files::new(SEGMENT);
    let mut want = State::default();
    for life in 1..=8 {
        let mut writer = Writer::open(files, None).unwrap();
        assert_eq!(writer.history.before, want);
        for index in 1..=life % 3 + 1 {
            writer.wal.accept_entry(GroupId(5), life, index, &payload(life, 100));
            writer.flush();
        }
        want = writer.durable();
        writer.wal.accept_entry(GroupId(5), 99, 99, b"never acknowledged");
        assert!(writer.submit());
        late.push(writer.in_flight.take().unwrap());
        files = writer.files;
    }
    // The last one's own is not late: it may count, so it is left out.
    late.pop();
    for write in &late {
        files.write(write.segment, write.offset, write.buffer.as_slice());
    }
    assert_eq!(files.recover(None).unwrap().1, want);
    assert_eq!(files.images.len(), 9, "one segment a life and a spare");
}
