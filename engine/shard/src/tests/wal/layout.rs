//! The bytes of a batch, and bytes that are none.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use expect_test::{Expect, expect};
use model::ids::{GroupId, ShardId};
use model::limits::BLOCK_BYTES;
use proptest::collection::vec;
use proptest::prelude::*;

use super::IDENTITY;
use super::files::{Files, Writer, payload};
use crate::effect::{BatchNumber, SegmentNumber};
use crate::wal::format::{Batch, Damage, HEADER_BYTES};
use crate::wal::inspect::{batches, headers};
use crate::wal::recover::{Trouble, recover};
use crate::wal::{LogFloor, LogIdentity, Recovery};

const SEGMENT: usize = 4 * BLOCK_BYTES;

/// Bytes in lines of 16 up to the last that is not zero.
fn check_bytes(bytes: &[u8], want: &Expect) {
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let mut text = format!("{} bytes\n", bytes.len());
    for (line, bytes) in bytes[..used].chunks(16).enumerate() {
        write!(text, "{:04x} ", line * 16).unwrap();
        for byte in bytes {
            write!(text, " {byte:02x}").unwrap();
        }
        text.push('\n');
    }
    want.assert_eq(&text);
}

/// Files of earlier releases must stay readable: a change here is a new version of the format.
#[test]
fn golden_bytes() {
    let mut writer = Writer::open(Files::new(SEGMENT), None).unwrap();
    writer.wal.accept_hard_state(GroupId(2), 7, Some(0x0102_0304_0506_0708));
    writer.wal.accept_hard_state(GroupId(9), 5, None);
    writer.wal.accept_entry(GroupId(2), 7, 41, b"starcite");
    writer.wal.accept_entry(GroupId(2), 7, 42, b"abc");
    writer.flush();
    assert!(writer.mark());
    writer.complete();
    check_bytes(
        &writer.history.batches[0].bytes,
        &expect![[r#"
        4096 bytes
        0000  73 74 61 72 6c 6f 67 1a 01 00 00 00 03 00 00 00
        0010  01 00 00 60 10 0f ed 5e 01 00 00 00 00 00 00 00
        0020  00 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00
        0030  00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
        0040  e0 00 00 00 06 00 00 00 cf 0d 43 2f 84 38 fd 5f
        0050  08 00 00 00 b1 44 32 ef 02 00 01 00 02 00 00 00
        0060  07 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
        0070  08 07 06 05 04 03 02 01 00 00 00 00 0d 52 37 ef
        0080  02 00 01 00 09 00 00 00 05 00 00 00 00 00 00 00
        0090  00 00 00 00 00 00 00 00 08 00 00 00 9d 87 db 4e
        00a0  01 00 01 00 02 00 00 00 07 00 00 00 00 00 00 00
        00b0  29 00 00 00 00 00 00 00 73 74 61 72 63 69 74 65
        00c0  03 00 00 00 dd ce 83 d8 01 00 01 00 02 00 00 00
        00d0  07 00 00 00 00 00 00 00 2a 00 00 00 00 00 00 00
        00e0  61 62 63 00 00 00 00 00 08 00 00 00 b1 44 32 ef
        00f0  02 00 01 00 02 00 00 00 07 00 00 00 00 00 00 00
        0100  00 00 00 00 00 00 00 00 08 07 06 05 04 03 02 01
        0110  00 00 00 00 0d 52 37 ef 02 00 01 00 09 00 00 00
        0120  05
    "#]],
    );
    check_bytes(
        &writer.history.batches[1].bytes,
        &expect![[r#"
        4096 bytes
        0000  73 74 61 72 6c 6f 67 1a 01 00 00 00 03 00 00 00
        0010  01 00 00 60 10 0f ed 5e 01 00 00 00 00 00 00 00
        0020  00 10 00 00 00 00 00 00 02 00 00 00 00 00 00 00
        0030  01 00 00 00 00 00 00 00 cf 0d 43 2f 84 38 fd 5f
        0040  00 00 00 00 00 00 00 00 62 4f 29 8b 00 1c 94 4a
    "#]],
    );
}

#[test]
fn a_header_stands_for_every_bit_of_its_batch() {
    let mut writer = Writer::open(Files::new(SEGMENT), None).unwrap();
    let mut chain = 0;
    for index in 1..=9 {
        writer.wal.accept_entry(GroupId(0), 1, index, &payload(index, 700));
        writer.flush();
        let submitted = writer.history.batches.last().unwrap();
        let image = &writer.files.images[&submitted.segment];
        let at = usize::try_from(submitted.offset).unwrap();
        let batch = Batch::read(IDENTITY, submitted.segment, image, at).unwrap();
        assert_eq!(batch.header.previous, chain);
        assert_eq!(batch.header.durable.0, batch.header.batch.0 - 1);
        let crc = |bytes: &[u8]| u64::from(crc32fast::hash(bytes));
        let bytes = &submitted.bytes;
        chain = crc(&bytes[..HEADER_BYTES - 4]) << 32 | crc(&bytes[HEADER_BYTES..]);
        assert_eq!(batch.chain, chain);
    }
}

/// One log of three segments for those who change it.
fn log() -> Writer {
    let mut writer = Writer::open(Files::new(SEGMENT), None).unwrap();
    writer.wal.accept_hard_state(GroupId(1), 1, Some(1));
    for index in 1..=9 {
        writer.wal.accept_entry(GroupId(1), 1, index, &payload(index, 500));
        writer.flush();
    }
    assert_eq!(writer.wal.segments_in_use(), 3);
    writer
}

/// Makes the checksums of the batch at `at` match whatever it says.
fn reseal(image: &mut [u8], at: usize) {
    let batch = &mut image[at..];
    let body_bytes = u32::from_le_bytes(batch[64..68].try_into().unwrap());
    let end = HEADER_BYTES + usize::try_from(body_bytes).unwrap();
    if let Some(body) = batch.get(HEADER_BYTES..end.next_multiple_of(BLOCK_BYTES)) {
        let crc = crc32fast::hash(body);
        batch[72..76].copy_from_slice(&crc.to_le_bytes());
    }
    let crc = crc32fast::hash(&batch[..HEADER_BYTES - 4]);
    batch[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
}

/// Batches that are whole and still cannot be explained stop the process; none of them is cut.
#[test]
fn what_cannot_be_explained_is_named() {
    let at = BLOCK_BYTES;
    let cases: [(usize, usize, u8, Trouble); 8] = [
        (0, 16, 1, Trouble::Unexplained(Damage::Foreign)),
        (0, 12, 1, Trouble::Unexplained(Damage::Foreign)),
        (at, 8, 6, Trouble::Unexplained(Damage::Version(1 ^ 6))),
        (at, 40, 0x10, Trouble::Unexplained(Damage::Number(BatchNumber(2 ^ 0x10)))),
        (at, 56, 1, Trouble::Unexplained(Damage::Chain)),
        (at, 68, 2, Trouble::Unexplained(Damage::Record(536))),
        (at, HEADER_BYTES + 40, 1, Trouble::Unexplained(Damage::Record(0))),
        (at, HEADER_BYTES + 8, 7, Trouble::Unexplained(Damage::Record(0))),
    ];
    for (batch, byte, flip, what) in cases {
        let writer = log();
        let mut files = writer.files;
        let image = files.images.get_mut(&SegmentNumber(1)).unwrap();
        image[batch + byte] ^= flip;
        reseal(image, batch);
        let corruption = files.recover(None).unwrap_err();
        assert_eq!((corruption.segment, corruption.offset), (SegmentNumber(1), batch), "{what:?}");
        assert_eq!(corruption.what, what);
    }
}

/// A torn start of a segment says all the same what it follows.
#[test]
fn a_torn_start_that_follows_another_batch_is_named() {
    let mut files = log().files;
    let image = files.images.get_mut(&SegmentNumber(3)).unwrap();
    image[BLOCK_BYTES - 1] ^= 1;
    assert!(files.recover(None).is_ok(), "the newest batch is torn");
    let image = files.images.get_mut(&SegmentNumber(3)).unwrap();
    image[56] ^= 1;
    reseal(image, 0);
    image[BLOCK_BYTES - 1] ^= 1;
    let corruption = files.recover(None).unwrap_err();
    assert_eq!((corruption.segment, corruption.offset), (SegmentNumber(3), 0));
    assert_eq!(corruption.what, Trouble::Unexplained(Damage::Chain));
}

/// A batch of a newer release is refused, not cut, even where nothing follows it.
#[test]
fn a_newer_layout_at_the_end_is_not_cut() {
    let mut files = log().files;
    let image = files.images.get_mut(&SegmentNumber(3)).unwrap();
    image[8] = 2;
    reseal(image, 0);
    let corruption = files.recover(None).unwrap_err();
    assert_eq!(corruption.what, Trouble::Unexplained(Damage::Version(2)));
    assert_eq!(corruption.batch, BatchNumber(9));
}

/// What a client sent is no batch: it does not know the log's identity.
#[test]
fn a_forged_batch_in_a_payload_is_noise() {
    let mut forger = Writer::open(Files::new(SEGMENT), None).unwrap();
    for index in 1..=4 {
        forger.wal.accept_entry(GroupId(1), 1, index, b"forged");
        forger.flush();
    }
    let mut forged = forger.files.images[&SegmentNumber(1)][3 * BLOCK_BYTES..].to_vec();
    forged[16] ^= 1;
    reseal(&mut forged, 0);

    let mut writer = Writer::open(Files::new(SEGMENT), None).unwrap();
    writer.wal.accept_entry(GroupId(1), 1, 1, b"before");
    writer.flush();
    let want = writer.durable();
    let head = 2 * BLOCK_BYTES - 2 * HEADER_BYTES + 48;
    let mut payload = vec![0; head];
    payload.extend_from_slice(&forged);
    writer.wal.accept_entry(GroupId(1), 1, 2, &payload);
    assert!(writer.submit());
    let write = writer.in_flight.take().unwrap();
    let bytes = write.buffer.as_slice();
    let forged_at = bytes.windows(forged.len()).position(|window| window == forged).unwrap();
    assert!(forged_at.is_multiple_of(BLOCK_BYTES), "a block of its own: {forged_at}");
    // The batch is torn: its header never reached the file.
    writer.files.write(write.segment, write.offset + 512, &bytes[512..]);
    let (recovered, state) = writer.files.recover(None).unwrap();
    assert_eq!((recovered.next.batch, state), (BatchNumber(2), want));
}

/// Old content of a recycled file may hold a forged batch exactly where the next one is expected.
#[test]
fn a_forged_batch_in_the_place_of_the_next_is_noise() {
    let mut writer = log();
    let last = writer.history.batches.pop().unwrap();
    let want = writer.history.state();
    let mut forged = last.bytes;
    forged[12] ^= 4;
    reseal(&mut forged, 0);
    // At the start of a file it would be another node's file.
    let last = writer.history.batches.pop().unwrap();
    assert_ne!(last.offset, 0);
    let want_before = writer.history.state();
    assert_ne!(want, want_before);
    let mut forged_before = last.bytes;
    forged_before[16] ^= 4;
    reseal(&mut forged_before, 0);
    writer.files.write(SegmentNumber(3), 0, &[0; 4096]);
    assert_eq!(writer.files.recover(None).unwrap().1, want);
    writer.files.write(last.segment, last.offset, &forged_before);
    let (recovered, state) = writer.files.recover(None).unwrap();
    assert_eq!((recovered.next.batch, recovered.cut), (last.batch, None));
    assert_eq!(state, want_before);
    writer.files.write(SegmentNumber(3), 0, &forged);
    let corruption = writer.files.recover(None).unwrap_err();
    assert_eq!(corruption.what, Trouble::Unexplained(Damage::Foreign));
}

#[test]
fn inspection_shows_what_lies_where() {
    let writer = log();
    let image = &writer.files.images[&SegmentNumber(2)];
    let mut offsets = Vec::new();
    let mut end = None;
    for item in batches(IDENTITY, SegmentNumber(2), image) {
        match item {
            Ok((offset, batch)) => {
                assert!(end.is_none());
                assert_eq!(batch.header.offset, offset as u64);
                let records: Vec<_> = batch.records().map(Result::unwrap).collect();
                assert_eq!(records.len(), usize::try_from(batch.header.records).unwrap());
                offsets.push(offset);
            }
            Err(place) => end = Some(place),
        }
    }
    assert_eq!(offsets, [0, 4096, 8192, 12_288]);
    assert_eq!(end, None, "the segment is full");

    // Damage ends the walk, yet every header is shown.
    let mut image = image.clone();
    image[BLOCK_BYTES + 200] ^= 1;
    let place = batches(IDENTITY, SegmentNumber(2), &image).last().unwrap().unwrap_err();
    assert_eq!((place.offset, place.found), (BLOCK_BYTES, Damage::BodyChecksum));
    let all: Vec<_> = headers(&image, 0).map(|(offset, _)| offset).collect();
    assert_eq!(all, offsets);
    let stale = batches(IDENTITY, SegmentNumber(6), &image).next().unwrap().unwrap_err();
    assert_eq!(stale.found, Damage::Stale(SegmentNumber(2)));
    assert_eq!(batches(IDENTITY, SegmentNumber(6), &[]).count(), 0);
}

type Images = BTreeMap<SegmentNumber, Vec<u8>>;

#[test]
fn corruption_says_what_to_do() {
    let whole = log().files;
    let mut text = String::new();
    let mut tell = |damage: &dyn Fn(&mut Images)| {
        let mut files = whole.clone();
        damage(&mut files.images);
        writeln!(text, "{}\n", files.recover(None).unwrap_err()).unwrap();
    };
    tell(&|images| images.get_mut(&SegmentNumber(1)).unwrap()[BLOCK_BYTES + 90] ^= 1);
    tell(&|images| images.get_mut(&SegmentNumber(2)).unwrap()[..512].fill(0));
    tell(&|images| drop(images.remove(&SegmentNumber(2))));
    tell(&|images| images.get_mut(&SegmentNumber(2)).unwrap().truncate(100));
    tell(&|images| {
        let batch = images[&SegmentNumber(1)][BLOCK_BYTES..2 * BLOCK_BYTES].to_vec();
        images.get_mut(&SegmentNumber(3)).unwrap()[2 * BLOCK_BYTES..][..BLOCK_BYTES]
            .copy_from_slice(&batch);
    });
    tell(&|images| {
        let image = images.get_mut(&SegmentNumber(1)).unwrap();
        image[56] ^= 1;
        reseal(image, 0);
    });
    let floor = LogFloor { segment: SegmentNumber(4), batch: BatchNumber(10), chain: 0 };
    writeln!(text, "{}", whole.recover(Some(floor)).unwrap_err()).unwrap();
    expect![[r#"
        log of shard 3, segment 1: batch 2 at byte 4096 cannot be read: the body's checksum does not match; batch 8 was durable, as segment 3 says at byte 0. Restore the file from a backup or the whole node from a replica; never delete it, for it holds acknowledged events

        log of shard 3, segment 2: batch 5 at byte 0 cannot be read: there is no batch; batch 8 was durable, as segment 3 says at byte 0. Restore the file from a backup or the whole node from a replica; never delete it, for it holds acknowledged events

        log of shard 3, segment 2: its file is missing. Restore the file from a backup or the whole node from a replica; never delete it, for it holds acknowledged events

        log of shard 3, segment 2: its file has 100 bytes, not a segment's. Restore the file from a backup or the whole node from a replica; never delete it, for it holds acknowledged events

        log of shard 3, segment 3: the disk wrote to a wrong place: at byte 8192 lies batch 2, which belongs at byte 4096 of segment 1. Restore the file from a backup or the whole node from a replica; never delete it, for it holds acknowledged events

        log of shard 3, segment 1: what is at byte 0 cannot be batch 1: the batch follows another than the one before it. Restore the file from a backup or the whole node from a replica; never delete it, for it holds acknowledged events

        log of shard 3, segment 4: batch 10 at byte 0 cannot be read: there is no batch; batch 10 was durable, as the checkpoint says. Restore the file from a backup or the whole node from a replica; never delete it, for it holds acknowledged events
    "#]].assert_eq(&text);
}

/// Recovers any bytes as two segments, as the first ones and from a floor: the body of a fuzz target.
fn survive(bytes: &[u8]) {
    let half = bytes.len() / 2;
    let images: BTreeMap<_, _> = [(7, &bytes[..half]), (8, &bytes[half..2 * half])]
        .into_iter()
        .map(|(number, bytes)| (SegmentNumber(number), bytes.to_vec()))
        .collect();
    let shard = ShardId(bytes.first_chunk().map_or(0, |b| u32::from_le_bytes(*b)));
    for identity in [IDENTITY, LogIdentity { log_id: 0, shard }] {
        for batch in [1, 3, u64::MAX] {
            let segment = SegmentNumber(7);
            let floor = LogFloor { segment, batch: BatchNumber(batch), chain: 0 };
            let recovery = Recovery::new(identity, half as u64, Some(floor));
            let mut records = 0;
            if let Ok(recovered) = recover(recovery, &images, &mut |_| records += 1) {
                assert!(records <= bytes.len());
                assert!(batch < recovered.next.batch.0);
            }
        }
        for (number, image) in &images {
            batches(identity, *number, image).for_each(drop);
            headers(image, 0).for_each(drop);
        }
    }
}

proptest! {
    #[test]
    fn garbage_is_survived(bytes in vec(any::<u8>(), 0..3 * BLOCK_BYTES)) {
        survive(&bytes);
    }

    /// Bytes of headers and records are changed and all checksums made to match: nothing is believed
    /// beyond its bounds.
    #[test]
    fn garbage_with_matching_checksums_is_survived(
        changes in vec(
            (0..12_usize, 0..HEADER_BYTES + 100, any::<u8>(), any::<bool>()),
            1..8,
        ),
    ) {
        let mut files = log().files;
        for (block, byte, value, is_length) in changes {
            let number = SegmentNumber(block as u64 / 4 + 1);
            let at = block % 4 * BLOCK_BYTES;
            let image = files.images.get_mut(&number).unwrap();
            image[at + byte] = value;
            // Lengths of bodies and records matter most.
            image[at + if is_length { 64 } else { HEADER_BYTES }] ^= value;
            reseal(image, at);
            survive(image);
        }
        if let Ok((recovered, _)) = files.recover(None) {
            prop_assert!(recovered.next.batch <= BatchNumber(10));
        }
    }
}
