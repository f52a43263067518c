use expect_test::expect;
use model::config::Secret;
use proptest::prelude::*;

use crate::peer::frame::{Decoder, FrameError, HEAD_BYTES, Kind, Label, Lane, put, split};
use crate::peer::keys::{Key, SEAL_BYTES, Side};

const MAX: usize = 100_000;
const LOG: Label = Label { lane: Lane::Log, kind: Kind::Batch };

fn frame(label: Label, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, label, |out, at| {
        assert_eq!(at, out.len());
        out.extend_from_slice(body);
    });
    out
}

fn samples() -> Vec<(Label, Vec<u8>)> {
    let label = |lane, kind| Label { lane, kind };
    vec![
        (label(Lane::Founding, Kind::Hello), b"hello".to_vec()),
        (label(Lane::Log, Kind::Beat), Vec::new()),
        (LOG, vec![0x5a; 300]),
        (label(Lane::Bulk, Kind::Batch), (0..=255).collect()),
    ]
}

/// Everything a stream of bytes is taken for, whatever they are. The body of the fuzzed test.
fn decode_all(bytes: &[u8], step: usize) -> (Vec<(Label, Vec<u8>)>, Option<FrameError>) {
    let mut decoder = Decoder::new(MAX);
    let mut frames = Vec::new();
    for some in bytes.chunks(step.max(1)) {
        let mut some = some;
        while !some.is_empty() {
            let room = decoder.room();
            let take = some.len().min(room.len());
            room[..take].copy_from_slice(&some[..take]);
            decoder.filled(take);
            some = &some[take..];
            loop {
                match decoder.next() {
                    Ok(Some(frame)) => frames.push((frame.label, frame.body.to_vec())),
                    Ok(None) => break,
                    Err(error) => return (frames, Some(error)),
                }
            }
        }
    }
    (frames, None)
}

#[test]
fn the_bytes_of_a_frame_do_not_change() {
    let hex = |bytes: Vec<u8>| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    expect!["53544350010401000500000086a6103683467c2168656c6c6f"]
        .assert_eq(&hex(frame(Label { lane: Lane::Founding, kind: Kind::Hello }, b"hello")));
    expect!["5354435001010600000000000000000021b0a86a"]
        .assert_eq(&hex(frame(Label { lane: Lane::Log, kind: Kind::Beat }, b"")));
}

#[test]
fn frames_come_back_however_they_are_cut() {
    let mut stream = Vec::new();
    for (label, body) in samples() {
        stream.extend_from_slice(&frame(label, &body));
    }
    for step in 1..=stream.len() {
        assert_eq!(decode_all(&stream, step), (samples(), None), "in pieces of {step}");
    }
}

#[test]
fn a_cut_frame_is_no_frame() {
    for (label, body) in samples() {
        let whole = frame(label, &body);
        for length in 0..whole.len() {
            assert_eq!(split(&whole[..length], MAX), Ok(None), "{label:?} cut at {length}");
        }
        assert!(matches!(split(&whole, MAX), Ok(Some((_, length))) if length == whole.len()));
    }
}

#[test]
fn every_flipped_bit_is_seen() {
    for (label, body) in samples() {
        let mut bytes = frame(label, &body);
        for bit in 0..8 * bytes.len() {
            bytes[bit / 8] ^= 1 << (bit % 8);
            let error = split(&bytes, MAX).expect_err("a flipped bit");
            match bit / 8 {
                0..4 => assert_eq!(error, FrameError::Magic),
                4..HEAD_BYTES => assert_eq!(error, FrameError::Head),
                _ => assert_eq!(error, FrameError::Body),
            }
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn a_head_that_means_nothing_is_refused() {
    // Changed with its checksum: what another program might send.
    let forged = |at: usize, value: u8| {
        let mut bytes = frame(LOG, b"body");
        bytes[at] = value;
        let checksum = crc32fast::hash(&bytes[..16]);
        bytes[16..20].copy_from_slice(&checksum.to_le_bytes());
        split(&bytes, MAX).map(|split| split.is_some())
    };
    assert_eq!(forged(4, 2), Err(FrameError::Version(2)));
    for lane in [0, 5, 255] {
        assert_eq!(forged(5, lane), Err(FrameError::Label));
    }
    for kind in [0, 9, 255] {
        assert_eq!(forged(6, kind), Err(FrameError::Label));
    }
    assert_eq!(forged(7, 1), Err(FrameError::Label));
    assert_eq!(forged(8, 3), Err(FrameError::Body));
    assert_eq!(forged(8, 5), Ok(false));
    assert_eq!(forged(11, 1), Err(FrameError::Length(4 + (1 << 24))));
}

#[test]
fn a_length_is_bounded_before_room_is_made() {
    let bytes = frame(LOG, &[7; 1000]);
    assert!(split(&bytes, 1000).is_ok());
    assert_eq!(split(&bytes[..HEAD_BYTES], 999), Err(FrameError::Length(1000)));
    // A head that announces much makes room for little until much has come.
    let large = frame(LOG, &vec![7; 16 << 20]);
    let mut decoder = Decoder::new(32 << 20);
    let mut sent = 0;
    while sent < large.len() {
        let room = decoder.room();
        assert!(room.len() <= sent + (64 << 10), "{} after {sent}", room.len());
        let take = room.len().min(1000).min(large.len() - sent);
        room[..take].copy_from_slice(&large[sent..sent + take]);
        decoder.filled(take);
        sent += take;
        let frame = decoder.next().unwrap();
        assert_eq!(frame.is_some(), sent == large.len());
    }
    assert!(decoder.room().len() <= 64 << 10, "the room is given back");
}

#[test]
fn more_may_be_allowed_later() {
    let bytes = frame(LOG, &[7; 100]);
    let mut decoder = Decoder::new(99);
    decoder.room()[..bytes.len()].copy_from_slice(&bytes);
    decoder.filled(bytes.len());
    assert_eq!(decoder.next(), Err(FrameError::Length(100)));
    decoder.allow(100);
    assert_eq!(decoder.next().unwrap().map(|frame| frame.body.len()), Some(100));
    assert_eq!(decoder.next(), Ok(None));
}

#[test]
fn a_seal_fits_one_frame_of_one_side_of_one_connection() {
    let key = |secret: &str| Key::new(&Secret::new(secret.as_bytes()));
    let seal = || key("secret").seal(Side::Dialing, &[b"conversation"]);
    let sealed = |seal: &mut crate::peer::keys::Seal, label, content: &[u8]| {
        [content, &seal.mark(label, content)].concat()
    };
    let (mut sending, mut receiving) = (seal(), seal());
    let bodies: Vec<Vec<u8>> = (0..3).map(|n| sealed(&mut sending, LOG, &[n; 40])).collect();
    for (number, body) in (0..3).zip(&bodies) {
        assert_eq!(receiving.open(LOG, body), Some(&[number; 40][..]));
    }
    assert_eq!(seal().open(LOG, &bodies[1]), None, "left out");
    let mut twice = seal();
    assert!(twice.open(LOG, &bodies[0]).is_some());
    assert_eq!(twice.open(LOG, &bodies[0]), None, "doubled");
    let beat = Label { kind: Kind::Beat, ..LOG };
    let bulk = Label { lane: Lane::Bulk, ..LOG };
    for label in [beat, bulk] {
        assert_eq!(seal().open(label, &bodies[0]), None, "under another label");
    }
    for mut other in [
        key("secret").seal(Side::Accepting, &[b"conversation"]),
        key("secret").seal(Side::Dialing, &[b"conversatiom"]),
        key("secret").seal(Side::Dialing, &[b"conversation", b""]),
        key("secreu").seal(Side::Dialing, &[b"conversation"]),
    ] {
        assert_eq!(other.open(LOG, &bodies[0]), None);
    }
    let mut body = bodies[0].clone();
    for bit in 0..8 * body.len() {
        body[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(seal().open(LOG, &body), None, "bit {bit}");
        body[bit / 8] ^= 1 << (bit % 8);
    }
    for length in 0..body.len() {
        assert_eq!(seal().open(LOG, &body[..length]), None, "cut at {length}");
    }
    assert_eq!(body.len(), 40 + SEAL_BYTES);
}

#[test]
fn secrets_are_not_shown() {
    let key = Key::new(&Secret::new(*b"hunter2"));
    let shown = format!("{key:?} {:?}", key.seal(Side::Dialing, &[]));
    assert_eq!(shown, "Key(..) Seal(.., 0)");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_bytes_are_taken_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), step in 1..64_usize) {
        let (frames, error) = decode_all(&bytes, step);
        prop_assert!(frames.is_empty());
        prop_assert!(error.is_some() || bytes.len() < HEAD_BYTES);
    }

    /// Frames in front, anything behind, in any pieces: the frames come out, whatever follows.
    #[test]
    fn frames_before_nonsense_are_taken(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..5),
        nonsense in prop::collection::vec(any::<u8>(), 0..100),
        step in 1..400_usize,
    ) {
        let mut stream: Vec<u8> = bodies.iter().flat_map(|body| frame(LOG, body)).collect();
        stream.extend_from_slice(&nonsense);
        let (frames, _) = decode_all(&stream, step);
        prop_assert_eq!(frames, bodies.into_iter().map(|body| (LOG, body)).collect::<Vec<_>>());
    }

    #[test]
    fn changed_frames_are_refused(
        body in prop::collection::vec(any::<u8>(), 0..300),
        at in any::<prop::sample::Index>(),
        to in any::<u8>(),
    ) {
        let mut bytes = frame(LOG, &body);
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != to);
        bytes[at] = to;
        prop_assert!(split(&bytes, MAX).is_err());
    }
}
