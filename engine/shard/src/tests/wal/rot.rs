//! Damage to what is durable: every bit, every sector, every cut, every misplaced batch of a small
//! log. The result is the whole log, a prefix where nothing proves the rest, or corruption named at
//! the damaged batch.

use model::ids::GroupId;
use model::limits::BLOCK_BYTES;

use super::files::{Files, SECTOR, State, Submitted, Writer, payload};
use crate::effect::{BatchNumber, SegmentNumber};
use crate::wal::Corruption;
use crate::wal::recover::Trouble;

const SEGMENT: usize = 4 * BLOCK_BYTES;

/// A log over four segments, a spare behind them, 64 KiB of used blocks; every batch is durable.
/// With `marked` the newest batch is a mark, without it the newest batch holds an entry.
fn log(marked: bool) -> Writer {
    let mut writer = Writer::open(Files::new(SEGMENT), None).unwrap();
    let mut index = 0;
    let mut append = |writer: &mut Writer, bytes: usize| {
        index += 1;
        writer.wal.accept_entry(GroupId(1), 2, index, &payload(index, bytes));
    };
    writer.wal.accept_hard_state(GroupId(1), 2, Some(1));
    writer.wal.accept_hard_state(GroupId(4), 1, None);
    for bytes in [10, 3000, 6000, 0, 4000, 1, 7000, 100, 4016, 12_000, 900, 17] {
        append(&mut writer, bytes);
        writer.flush();
    }
    for bytes in [200, 1500, 1500, 3] {
        append(&mut writer, bytes);
    }
    writer.flush();
    if marked {
        assert!(writer.mark());
        writer.complete();
    }
    let used = writer.history.batches.iter().map(|batch| batch.bytes.len()).sum::<usize>();
    assert!(16 * BLOCK_BYTES <= used, "the log has 64 KiB: {used}");
    assert_eq!(writer.files.images.len(), 7);
    writer
}

/// The batch a byte belongs to, if any.
fn batch_at(writer: &Writer, segment: SegmentNumber, at: usize) -> Option<&Submitted> {
    writer.history.batches.iter().find(|batch| {
        let offset = usize::try_from(batch.offset).unwrap();
        batch.segment == segment && (offset..offset + batch.bytes.len()).contains(&at)
    })
}

/// A log that is damaged and mended again and again.
struct Patient {
    writer: Writer,
    files: Files,
    whole: State,
    /// Without the newest batch.
    cut: State,
    newest: BatchNumber,
}

impl Patient {
    fn new(writer: Writer) -> Patient {
        let newest = writer.wal.durable_batch();
        Patient {
            files: writer.files.clone(),
            whole: writer.durable(),
            cut: writer.history.upto(BatchNumber(newest.0 - 1)),
            newest,
            writer,
        }
    }

    fn image(&mut self, number: SegmentNumber) -> &mut Vec<u8> {
        self.files.images.get_mut(&number).unwrap()
    }

    /// What damage to one batch of a log without a hole must come to.
    fn check(&self, damaged: Option<&Submitted>) {
        match damaged {
            None => {
                let (recovered, state) = self.files.recover(None).expect("noise harms nothing");
                assert_eq!(recovered.next.batch.0, self.newest.0 + 1);
                assert_eq!(state, self.whole);
            }
            Some(batch) if batch.batch == self.newest => {
                let (recovered, state) = self.files.recover(None).expect("a doubtful batch is cut");
                assert_eq!(recovered.next.batch, self.newest);
                assert_eq!(state, self.cut);
            }
            Some(batch) => {
                let corruption = self.files.check(None).unwrap_err();
                let Corruption { segment, offset, batch: number, what, .. } = corruption;
                assert_eq!((segment, offset as u64), (batch.segment, batch.offset));
                assert_eq!(number, batch.batch);
                assert!(matches!(what, Trouble::Lost { .. }), "{what:?}");
            }
        }
    }
}

#[test]
fn every_flipped_bit_is_named_or_harmless() {
    let mut patient = Patient::new(log(true));
    let mut flips = 0;
    for number in patient.files.images.keys().copied().collect::<Vec<_>>() {
        for at in 0..SEGMENT {
            let damaged = batch_at(&patient.writer, number, at).cloned();
            // Noise is tried at the ends of each block, batches at every bit.
            let bits = match damaged {
                Some(_) => 0..8,
                None if (at % BLOCK_BYTES).abs_diff(BLOCK_BYTES / 2) < BLOCK_BYTES / 2 - 8 => 0..0,
                None => 7..8,
            };
            for bit in bits {
                patient.image(number)[at] ^= 1 << bit;
                patient.check(damaged.as_ref());
                patient.image(number)[at] ^= 1 << bit;
                flips += 1;
            }
        }
    }
    assert!(524_288 <= flips, "{flips} flips");
}

/// The one exception to "what was acknowledged is never cut": the newest durable batch, damaged before
/// a mark or a later batch proved it, looks like a tear. One disk cannot tell; peers can.
#[test]
fn the_newest_batch_without_a_mark_is_cut_when_damaged() {
    let mut patient = Patient::new(log(false));
    let newest = patient.writer.history.batches.last().unwrap().clone();
    assert!(!newest.entries.is_empty(), "what is cut here was acknowledged");
    let offset = usize::try_from(newest.offset).unwrap();
    for at in offset..offset + newest.bytes.len() {
        patient.image(newest.segment)[at] ^= 0x10;
        patient.check(Some(&newest));
        let (recovered, _) = patient.files.recover(None).unwrap();
        assert!(recovered.cut.is_some(), "one bit leaves enough to see that there was a batch");
        patient.image(newest.segment)[at] ^= 0x10;
    }
    // With the mark the same damage is named: that is what marks are for.
    let mut patient = Patient::new(log(true));
    patient.image(newest.segment)[offset + 100] ^= 0x10;
    patient.check(Some(&newest));
    assert_ne!(patient.newest, newest.batch);
}

#[test]
fn every_lost_sector_is_named_or_harmless() {
    for fill in [0x00, 0xff, 0x5a] {
        let mut patient = Patient::new(log(true));
        for number in patient.files.images.keys().copied().collect::<Vec<_>>() {
            for at in (0..SEGMENT).step_by(SECTOR) {
                let old = patient.image(number)[at..at + SECTOR].to_vec();
                let new = vec![fill; SECTOR];
                let damaged = batch_at(&patient.writer, number, at).filter(|_| old != new);
                let damaged = damaged.cloned();
                patient.image(number)[at..at + SECTOR].copy_from_slice(&new);
                patient.check(damaged.as_ref());
                patient.image(number)[at..at + SECTOR].copy_from_slice(&old);
            }
        }
    }
}

/// A log that ends anywhere in zeros is the log of an earlier moment.
#[test]
fn zeros_from_any_byte_on_leave_the_batches_before() {
    let mut patient = Patient::new(log(true));
    let batches = patient.writer.history.batches.clone();
    for number in patient.files.images.keys().copied().collect::<Vec<_>>().into_iter().rev() {
        for at in (0..SEGMENT).rev() {
            if std::mem::take(&mut patient.image(number)[at]) == 0 {
                continue;
            }
            let recovered = patient.files.check(None).expect("an earlier moment");
            let whole = batches.iter().filter(|batch| {
                let end = batch.offset + batch.bytes.len() as u64;
                let last = batch.bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64;
                (batch.segment, batch.offset + last.min(end)) < (number, at as u64)
            });
            assert_eq!(recovered.next.batch.0, whole.count() as u64 + 1);
        }
    }
    assert_eq!(patient.files.recover(None).unwrap().1, State::default());
}

#[test]
fn a_file_of_another_length_is_named() {
    let whole = log(true).files;
    for number in whole.images.keys() {
        let mut files = whole.clone();
        let check = |files: &Files, bytes: usize| {
            let corruption = files.check(None).unwrap_err();
            assert_eq!(corruption.segment, *number);
            assert_eq!(corruption.what, Trouble::Length(bytes));
        };
        files.images.get_mut(number).unwrap().push(0);
        check(&files, SEGMENT + 1);
        for bytes in (0..SEGMENT).rev() {
            files.images.get_mut(number).unwrap().truncate(bytes);
            check(&files, bytes);
        }
    }
}

#[test]
fn a_missing_file_is_named() {
    let writer = log(true);
    let last = *writer.files.images.last_key_value().unwrap().0;
    for number in writer.files.images.keys() {
        let mut files = writer.files.clone();
        files.images.remove(number);
        if *number == last {
            // The spare holds nothing.
            assert_eq!(files.recover(None).unwrap().1, writer.durable());
            continue;
        }
        let corruption = files.check(None).unwrap_err();
        assert_eq!((corruption.segment, corruption.what), (*number, Trouble::Missing));
    }
}

/// A checkpoint's floor was durable: no log at all is then no empty log.
#[test]
fn a_log_without_its_floor_is_named() {
    let writer = log(true);
    let floor = writer.wal.floor_after(|_| 5);
    assert_eq!(floor.segment, SegmentNumber(2));
    let mut files = writer.files.clone();
    files.images.remove(&SegmentNumber(1));
    let (recovered, state) = files.recover(Some(floor)).unwrap();
    assert_eq!(recovered.next.batch.0, writer.wal.durable_batch().0 + 1);
    assert_eq!(state.hard_states, writer.durable().hard_states, "heirlooms bring the old votes");

    files.images.clear();
    let corruption = files.check(Some(floor)).unwrap_err();
    assert_eq!((corruption.segment, corruption.what), (floor.segment, Trouble::Missing));

    // Even a floor that is the newest batch of all is not cut.
    let newest = writer.wal.floor_after(|_| u64::MAX);
    let mut files = writer.files.clone();
    files.images.retain(|number, _| newest.segment <= *number);
    for image in files.images.values_mut() {
        image.fill(0);
    }
    let corruption = files.check(Some(newest)).unwrap_err();
    assert_eq!((corruption.segment, corruption.offset), (newest.segment, 0));
    assert_eq!(corruption.batch, newest.batch);
}

/// A batch written where another belongs, or where none does. Space behind the end of a segment that
/// is followed by another holds nothing, so there it harms nothing; behind the end of the log it may
/// have destroyed something.
#[test]
fn every_misdirected_copy_is_named_or_harmless() {
    let mut patient = Patient::new(log(true));
    let batches = patient.writer.history.batches.clone();
    let last = batches.last().unwrap();
    let end = (last.segment, usize::try_from(last.offset).unwrap());
    let mut counts = [0; 3];
    for source in &batches {
        for number in patient.files.images.keys().copied().collect::<Vec<_>>() {
            for at in (0..SEGMENT).step_by(BLOCK_BYTES) {
                if (number, at as u64) == (source.segment, source.offset) {
                    continue;
                }
                let bytes = source.bytes.len().min(SEGMENT - at);
                let old = patient.image(number)[at..at + bytes].to_vec();
                patient.image(number)[at..at + bytes].copy_from_slice(&source.bytes[..bytes]);
                let hit = batch_at(&patient.writer, number, at);
                if hit.is_some() || end <= (number, at) {
                    let corruption = patient.files.check(None).unwrap_err();
                    let place = (corruption.segment, corruption.offset as u64);
                    if matches!(corruption.what, Trouble::Misdirected { .. }) {
                        assert_eq!(place, (number, at as u64));
                        counts[0] += 1;
                    } else {
                        let hit = hit.unwrap_or(last);
                        assert_eq!(place, (hit.segment, hit.offset));
                        counts[1] += 1;
                    }
                } else {
                    patient.check(None);
                    counts[2] += 1;
                }
                patient.image(number)[at..at + bytes].copy_from_slice(&old);
            }
        }
    }
    assert!(counts.iter().all(|count| 0 < *count), "{counts:?}");
}

/// The newest batch, acknowledged, went to another place of the log instead of its own.
#[test]
fn a_misdirected_newest_batch_is_always_noticed() {
    let writer = log(false);
    let newest = writer.history.batches.last().unwrap().clone();
    let home = usize::try_from(newest.offset).unwrap();
    let mut lost = writer.files.clone();
    lost.images.get_mut(&newest.segment).unwrap()[home..home + newest.bytes.len()].fill(0);
    assert!(lost.check(None).is_ok(), "a batch that was written nowhere leaves no trace");
    for number in writer.files.images.keys() {
        for at in (0..SEGMENT).step_by(BLOCK_BYTES) {
            if (*number, at) == (newest.segment, home) {
                continue;
            }
            let mut files = lost.clone();
            let end = SEGMENT.min(at + newest.bytes.len());
            files.images.get_mut(number).unwrap()[at..end]
                .copy_from_slice(&newest.bytes[..end - at]);
            let corruption = files.check(None).unwrap_err();
            assert!(corruption.batch <= newest.batch);
        }
    }
}
