//! Streams of frames.

use super::{Dice, cases};
use crate::peer::frame::{Decoder, FrameError, HEAD_BYTES, Kind, Label, Lane, put, split};

/// More than room that is made at once, so that frames lie across it.
const LARGE: usize = 150_000;

const LANES: [Lane; 4] = [Lane::Log, Lane::Bulk, Lane::Client, Lane::Founding];
const KINDS: [Kind; 8] = [
    Kind::Hello,
    Kind::Challenge,
    Kind::Introduction,
    Kind::Welcome,
    Kind::Refusal,
    Kind::Beat,
    Kind::Batch,
    Kind::State,
];

/// Frames as they came, and why no more did.
type Came = (Vec<(Label, Vec<u8>)>, Option<FrameError>);

/// What a stream is, read in one piece.
fn at_once(mut bytes: &[u8], body_max: usize) -> Came {
    let mut frames = Vec::new();
    loop {
        match split(bytes, body_max) {
            Ok(Some((frame, length))) => {
                frames.push((frame.label, frame.body.to_vec()));
                bytes = &bytes[length..];
            }
            Ok(None) => return (frames, None),
            // Nothing is said of a stream that is at its end.
            Err(_) if bytes.is_empty() => return (frames, None),
            Err(error) => return (frames, Some(error)),
        }
    }
}

/// The same as it comes from a socket.
fn in_pieces(mut bytes: &[u8], body_max: usize, dice: &mut Dice) -> Came {
    let mut decoder = Decoder::new(body_max);
    let mut frames = Vec::new();
    let step = *dice.pick(&[1, 7, 20, 1_000, 100_000]);
    while !bytes.is_empty() {
        let room = decoder.room();
        assert!(room.len() <= 2 * (HEAD_BYTES + body_max + 64 * 1024), "room is bounded");
        let take = (dice.below(step) + 1).min(bytes.len()).min(room.len());
        room[..take].copy_from_slice(&bytes[..take]);
        decoder.filled(take);
        bytes = &bytes[take..];
        loop {
            match decoder.next() {
                Ok(Some(frame)) => frames.push((frame.label, frame.body.to_vec())),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

/// Changes a head, and makes its checksum fit again.
fn bend_head(head: &mut [u8], dice: &mut Dice) {
    let at = 4 + dice.below(12);
    let number = dice.number().to_le_bytes();
    let width = (16 - at).min(*dice.pick(&[1, 4]));
    head[at..at + width].copy_from_slice(&number[..width]);
    let checksum = crc32fast::hash(&head[..16]).to_le_bytes();
    head[16..HEAD_BYTES].copy_from_slice(&checksum);
}

#[test]
fn a_stream_is_the_same_however_it_comes() {
    cases(2_500, |dice| {
        let mut bytes = Vec::new();
        let mut starts = Vec::new();
        let mut sent = Vec::new();
        for _ in 0..=dice.below(5) {
            let label = Label { lane: *dice.pick(&LANES), kind: *dice.pick(&KINDS) };
            let length = if dice.once_in(40) { LARGE } else { dice.below(300) };
            let body = dice.bytes(length);
            starts.push(bytes.len());
            put(&mut bytes, label, |out, _| out.extend_from_slice(&body));
            sent.push((label, body));
        }
        let whole = bytes.clone();
        match dice.below(4) {
            0 => {}
            1 => {
                let at = *dice.pick(&starts);
                bend_head(&mut bytes[at..at + HEAD_BYTES], dice);
            }
            _ => dice.damage(&mut bytes),
        }
        let body_max = *dice.pick(&[0, 100, 300, LARGE, LARGE]);
        let (frames, error) = at_once(&bytes, body_max);
        assert_eq!(in_pieces(&bytes, body_max, dice), (frames.clone(), error));
        // What came before the damage is what was sent.
        let same = bytes.iter().zip(&whole).take_while(|(a, b)| a == b).count();
        let ends = starts.iter().skip(1).copied().chain([whole.len()]);
        let untouched = ends.take_while(|end| *end <= same).count();
        let fit = sent.iter().take(untouched).take_while(|(_, body)| body.len() <= body_max);
        let before = fit.count();
        assert_eq!(frames[..before], sent[..before]);
        if bytes == whole && body_max == LARGE {
            assert_eq!((frames, error), (sent, None));
        }
    });
}
