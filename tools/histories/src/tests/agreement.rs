//! Two checkers that share nothing must agree, on true histories and on broken ones.

use crate::checker;
use crate::dice::Dice;
use crate::history::{History, Outcome, Stored};
use crate::linearize::is_linearizable;
use crate::time::Time;

use super::maker::{Shape, make};

const HISTORIES: u64 = 10_000;

/// Breaks something, or nothing: what comes out may still be true.
fn disturb(dice: &mut Dice, history: &mut History, log: &mut [Stored]) {
    match dice.below(6) {
        0 if 2 <= log.len() => {
            let (a, b) = (dice.index(log.len()), dice.index(log.len()));
            let (first, second) = (log[a], log[b]);
            log[a] = Stored { seq: first.seq, at: first.at, ..second };
            log[b] = Stored { seq: second.seq, at: second.at, ..first };
        }
        1 if !history.reads.is_empty() => {
            let place = dice.index(history.reads.len());
            let head = &mut history.reads[place].last_seq;
            *head = Some(dice.below(log.len() as u64 + 1));
        }
        2 => {
            let place = dice.index(history.appends.len());
            let attempts = &mut history.appends[place].attempts;
            let place = dice.index(attempts.len());
            if let Outcome::Acked { seq, last_seq, deduped } = &mut attempts[place].outcome {
                match dice.below(3) {
                    0 => *seq = dice.between(1, log.len() as u64),
                    1 => *last_seq = dice.between(1, log.len() as u64),
                    _ => *deduped = !*deduped,
                }
            }
        }
        3 => {
            let place = dice.index(history.appends.len());
            let attempts = &mut history.appends[place].attempts;
            let place = dice.index(attempts.len());
            attempts[place].outcome = Outcome::Unknown;
        }
        4 => {
            let place = dice.index(history.appends.len());
            let attempts = &mut history.appends[place].attempts;
            let attempt = &mut attempts[0];
            let length = attempt.end - attempt.start;
            attempt.start = Time(dice.between(2, 200));
            attempt.end = attempt.start + length;
        }
        _ => {}
    }
}

#[test]
fn both_checkers_agree() {
    let (mut right, mut wrong) = (0, 0);
    for seed in 0..HISTORIES {
        let mut dice = Dice::new(seed, super::FORGERY);
        let (mut history, mut log) = make(&mut dice, Shape::short());
        history.pages.clear();
        for _ in 0..dice.below(3) {
            disturb(&mut dice, &mut history, &mut log);
        }
        // The general checker knows neither producers' counts nor the events' times.
        for append in &mut history.appends {
            append.producer = None;
        }
        for event in &mut log {
            event.at = 0;
        }
        let findings = checker::check(&history, &log);
        let general = is_linearizable(&history, &log);
        assert_eq!(findings.is_empty(), general, "seed {seed}: {findings:?} {history:?} {log:?}");
        *(if general { &mut right } else { &mut wrong }) += 1;
    }
    println!("{right} right, {wrong} wrong");
    assert!(HISTORIES / 4 < right && HISTORIES / 4 < wrong, "{right} right, {wrong} wrong");
}
