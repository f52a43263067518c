//! Handshakes and seals, with somebody in between who knows the secret or does not.

use std::cell::RefCell;

use super::super::handshake::{meet, papers};
use super::cases;
use crate::peer::founding::State;
use crate::peer::frame::{Kind, Label, Lane};
use crate::peer::handshake::{Acceptor, Refusal};
use crate::peer::keys::{SEAL_BYTES, Side};

const LABEL: Label = Label { lane: Lane::Bulk, kind: Kind::Batch };

#[test]
fn a_handshake_that_was_touched_comes_to_nothing() {
    cases(2_000, |dice| {
        let dice = RefCell::new(dice);
        let first_touched = RefCell::new(4);
        let spoken: RefCell<Vec<Vec<u8>>> = RefCell::default();
        let wire = |number: usize, message: Vec<u8>| {
            let mut dice = dice.borrow_mut();
            let mut passed = message.clone();
            match dice.below(6) {
                // Something that was said before.
                0 => {
                    if let Some(earlier) = spoken.borrow().last() {
                        passed.clone_from(earlier);
                    }
                }
                1 => dice.damage(&mut passed),
                _ => {}
            }
            if passed != message {
                let mut first = first_touched.borrow_mut();
                *first = number.min(*first);
            }
            spoken.borrow_mut().push(message);
            passed
        };
        let ends = meet(papers("a"), papers("b"), Ok(()), wire);
        let first = *first_touched.borrow();
        assert_eq!(ends.dialing.is_ok(), first == 4, "the dialing side hears all four");
        assert_eq!(ends.accepting.is_ok(), 3 <= first, "the accepting side hears three");
    });
}

/// Somebody who knows the secret may prove what makes no sense.
#[test]
fn an_introduction_is_what_it_says() {
    cases(3_000, |dice| {
        let hello = {
            let mut hello = vec![LABEL.lane.number(), 1, 0, 1, 0, 9, 0, 0, 0];
            hello.extend(dice.bytes(32));
            if dice.once_in(3) {
                dice.damage(&mut hello);
            }
            hello
        };
        let Ok((mut acceptor, challenge)) = Acceptor::hello(papers("a"), &hello, [7; 32]) else {
            return;
        };
        let name = *dice.pick(&["b", "", "another name", "\u{e9}"]);
        let mut said = dice.bytes(8 + 4 + 8 + 8 + 8);
        said.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
        said.extend(name.as_bytes());
        if dice.once_in(2) {
            dice.damage(&mut said);
        }
        let conversation: [&[u8]; 3] = [&hello, &challenge, &said];
        let proof = papers("b").key.proof(Side::Dialing, &conversation);
        let introduction = [&said[..], &proof].concat();
        if let Ok(guest) = acceptor.introduced(&introduction) {
            assert!(!guest.identity.name.as_str().is_empty());
            let text = guest.identity.name.as_str().as_bytes();
            assert!(said.ends_with(text), "nothing stands behind the name");
            let verdict = if dice.once_in(2) { Ok(()) } else { Err(Refusal::Older) };
            let (welcome, session) = acceptor.welcome(guest.clone(), verdict);
            assert!(welcome.len() < 1_000);
            assert!(session.is_err() || verdict.is_ok());
        }
    });
}

#[test]
fn states_and_refusals_have_one_form() {
    cases(3_000, |dice| {
        let mut body = vec![1];
        body.extend(5_u64.to_le_bytes());
        body.extend([8, 0, 0, 0, 2, 0, 0, 0]);
        let members = dice.below(4);
        body.extend(u16::try_from(members).unwrap().to_le_bytes());
        let tags = (1..).take(members);
        tags.for_each(|tag: u64| body.extend((tag << 32 | 1).to_le_bytes()));
        for _ in 0..dice.below(3) {
            dice.damage(&mut body);
        }
        if let Some(state) = State::decode(&body) {
            assert_eq!(state.encode(), body);
        }
        let length = dice.below(3);
        let body = dice.bytes(length);
        if let Some(refusal) = Refusal::decode(&body) {
            assert_eq!(refusal.encode()[..], body);
        }
    });
}

#[test]
fn sealed_frames_are_taken_up_to_the_first_that_was_touched() {
    cases(1_500, |dice| {
        let key = papers("a").key;
        let mut sending = key.seal(Side::Dialing, &[b"conversation"]);
        let mut frames: Vec<(Label, Vec<u8>)> = Vec::new();
        for number in 0..8 {
            let label = Label { kind: *dice.pick(&[Kind::Batch, Kind::Beat]), ..LABEL };
            let content = [number; 20];
            frames.push((label, [&content[..], &sending.mark(label, &content)].concat()));
        }
        let sent = frames.clone();
        let (at, other) = (dice.below(8), dice.below(8));
        match dice.below(5) {
            0 => drop(frames.remove(at)),
            1 => frames.insert(at, sent[other].clone()),
            2 => frames.swap(at, other),
            3 => dice.damage(&mut frames[at].1),
            _ => frames[at].0.lane = Lane::Log,
        }
        let same = frames.iter().zip(&sent).take_while(|(a, b)| a == b).count();
        let mut receiving = key.seal(Side::Dialing, &[b"conversation"]);
        let taken = frames.iter().take_while(|(label, body)| {
            receiving
                .open(*label, body)
                .is_some_and(|content| content.len() + SEAL_BYTES == body.len())
        });
        assert_eq!(taken.count(), same);
    });
}
