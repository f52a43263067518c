//! True histories are accepted, and each kind of lie is noticed, a thousand times.

use crate::checker;
use crate::dice::Dice;
use crate::history::{Append, Attempt, History, Op, Outcome, Read, Stored};
use crate::tail_checker;
use crate::time::Time;
use crate::verdict::{Findings, Kind};

use super::maker::{Shape, make};

const FORGERIES: u64 = 1_000;
const LATE: Time = Time(2_000_000);

fn check(history: &History, log: &[Stored]) -> Findings {
    let mut findings = checker::check(history, log);
    findings.extend(tail_checker::check(history, log));
    findings
}

#[test]
fn true_histories_are_accepted() {
    for seed in 0..FORGERIES {
        let mut dice = Dice::new(seed, super::FORGERY);
        let (history, log) = make(&mut dice, Shape::long());
        let findings = check(&history, &log);
        assert!(findings.is_empty(), "seed {seed}: {findings:?}");
    }
}

/// A lie told into a true history; `None` if this one has no place for it.
type Forgery = fn(&mut Dice, &mut History, &mut Vec<Stored>) -> Option<()>;

const FORGERIES_OF_LOGS: [(Kind, Forgery); 19] = [
    (Kind::Hole, |dice, _, log| {
        let place = place(dice, log)?;
        log[place].seq += 1;
        Some(())
    }),
    (Kind::Phantom, |_, _, log| {
        let last = *log.last()?;
        log.push(Stored { seq: last.seq + 1, op: Some(Op(9_999)), ..last });
        Some(())
    }),
    (Kind::Doubled, |dice, _, log| {
        let again = log[place(dice, log)?];
        log.push(Stored { seq: log.len() as u64 + 1, at: log.last()?.at, ..again });
        Some(())
    }),
    (Kind::Changed, |dice, _, log| {
        let place = place(dice, log)?;
        log[place].digest ^= 1 << dice.below(64);
        Some(())
    }),
    (Kind::Lost, |_, history, log| {
        let last = log.pop()?;
        acked(history.appends.iter().find(|append| Some(append.op) == last.op)?)?;
        Some(())
    }),
    (Kind::Moved, |dice, history, log| {
        let (a, b) = (place(dice, log)?, place(dice, log)?);
        acked(history.appends.iter().find(|append| Some(append.op) == log[a].op)?)?;
        swap(log, a, b)
    }),
    (Kind::Reordered, |dice, history, log| {
        let (a, b) = (place(dice, log)?, place(dice, log)?);
        let first = history.appends.iter().position(|append| Some(append.op) == log[a].op)?;
        let second = history.appends.iter().position(|append| Some(append.op) == log[b].op)?;
        let began = |append: &Append| append.attempts.iter().map(|attempt| attempt.start).min();
        if began(&history.appends[second])? <= acked(&history.appends[first])? {
            return None;
        }
        swap(log, a, b)?;
        retell(&mut history.appends[first], b as u64 + 1);
        retell(&mut history.appends[second], a as u64 + 1);
        Some(())
    }),
    (Kind::Undead, |dice, history, log| {
        let op = log[place(dice, log)?].op;
        let append = history.appends.iter_mut().find(|append| Some(append.op) == op)?;
        append.attempts.iter_mut().for_each(|attempt| attempt.outcome = Outcome::Refused);
        Some(())
    }),
    (Kind::TwoFirsts, |_, history, log| {
        let append = history.appends.iter_mut().find(|append| first(append).is_some())?;
        let seq = first(append)?;
        let outcome = Outcome::Acked { seq, last_seq: seq, deduped: false };
        append.attempts.push(Attempt { start: LATE, end: LATE + 1, outcome });
        (!log.is_empty()).then_some(())
    }),
    (Kind::DedupeDiffers, |_, history, _| {
        let append = history.appends.iter_mut().find(|append| first(append).is_some())?;
        let seq = first(append)?;
        let outcome = Outcome::Acked { seq, last_seq: seq - 1, deduped: true };
        append.attempts.push(Attempt { start: LATE, end: LATE + 1, outcome });
        Some(())
    }),
    (Kind::ExpectedIgnored, |dice, history, log| {
        let place = place(dice, log)?;
        let op = log[place].op;
        let append = history.appends.iter_mut().find(|append| Some(append.op) == op)?;
        append.expected = Some(place as u64 + 1 + dice.below(3));
        Some(())
    }),
    (Kind::WrongConflict, |dice, history, log| {
        let op = Op(u32::try_from(history.appends.len()).ok()?);
        let current = dice.below(log.len() as u64 + 1);
        let outcome = Outcome::Conflict { current };
        let attempts = vec![Attempt { start: Time(0), end: LATE, outcome }];
        let expected = Some(current);
        history.appends.push(Append { op, digest: 0, expected, producer: None, attempts });
        Some(())
    }),
    (Kind::StaleRead, |dice, history, log| {
        let head = history.appends.iter().filter_map(first).max()?;
        let last_seq = Some(dice.below(head));
        history.reads.push(Read { start: LATE, end: LATE + 1, last_seq });
        (!log.is_empty()).then_some(())
    }),
    (Kind::FutureRead, |dice, history, log| {
        let last_seq = Some(dice.between(1, log.len() as u64));
        history.reads.push(Read { start: Time(2), end: Time(3), last_seq });
        Some(())
    }),
    (Kind::ReadsBackward, |dice, history, log| {
        let head = log.len() as u64;
        let last_seq = dice.below(head);
        history.reads.push(Read { start: LATE, end: LATE + 1, last_seq: Some(head) });
        history.reads.push(Read { start: LATE + 2, end: LATE + 3, last_seq: Some(last_seq) });
        Some(())
    }),
    (Kind::PageDiffers, |dice, history, _| {
        let page = history.pages.iter_mut().find(|page| !page.events.is_empty())?;
        let place = dice.index(page.events.len());
        match dice.below(3) {
            0 => page.events[place].digest ^= 1,
            1 => page.events[place].seq += 1,
            _ => page.cursor += 1,
        }
        Some(())
    }),
    (Kind::TimeBackward, |dice, _, log| {
        let place = place(dice, log)?;
        log.get(place.checked_sub(1)?)?;
        log[place].at = 0;
        Some(())
    }),
    (Kind::ProducerOrder, |dice, history, log| {
        let (a, b) = (place(dice, log)?, place(dice, log)?);
        let producer = |place: usize| {
            let append = history.appends.iter().find(|append| Some(append.op) == log[place].op)?;
            Some(append.producer?.0)
        };
        (a != b && producer(a)? == producer(b)?).then_some(())?;
        swap(log, a, b)
    }),
    (Kind::SessionLost, |_, history, _| {
        history.reads.push(Read { start: LATE, end: LATE + 1, last_seq: None });
        Some(())
    }),
];

const FORGERIES_OF_TAILS: [(Kind, Forgery); 5] = [
    (Kind::TailGap, |dice, history, _| {
        let events = &mut history.streams.first_mut()?.events;
        (2 <= events.len()).then_some(())?;
        events.remove(dice.index(events.len() - 1));
        Some(())
    }),
    (Kind::TailRepeat, |dice, history, _| {
        let events = &mut history.streams.first_mut()?.events;
        (!events.is_empty()).then_some(())?;
        let place = dice.index(events.len());
        events.insert(place, events[place]);
        Some(())
    }),
    (Kind::TailDiffers, |dice, history, _| {
        let events = &mut history.streams.first_mut()?.events;
        (!events.is_empty()).then_some(())?;
        let place = dice.index(events.len());
        events[place].1.digest ^= 1 << dice.below(64);
        Some(())
    }),
    (Kind::TailPhantom, |_, history, log| {
        let stream = history.streams.first_mut()?;
        let (at, last) = *stream.events.last()?;
        (last.seq == log.len() as u64).then_some(())?;
        stream.events.push((at, Stored { seq: last.seq + 1, ..last }));
        Some(())
    }),
    (Kind::TailEarly, |dice, history, _| {
        let events = &mut history.streams.first_mut()?.events;
        (!events.is_empty()).then_some(())?;
        let place = dice.index(events.len());
        events[place].0 = Time(0);
        Some(())
    }),
];

fn place(dice: &mut Dice, log: &[Stored]) -> Option<usize> {
    (!log.is_empty()).then(|| dice.index(log.len()))
}

fn swap(log: &mut [Stored], a: usize, b: usize) -> Option<()> {
    let (first, second) = (log[a], log[b]);
    log[a] = Stored { seq: first.seq, at: first.at, ..second };
    log[b] = Stored { seq: second.seq, at: second.at, ..first };
    (a != b).then_some(())
}

/// When it was first answered.
fn acked(append: &Append) -> Option<Time> {
    let is_acked = |attempt: &&Attempt| matches!(attempt.outcome, Outcome::Acked { .. });
    append.attempts.iter().filter(is_acked).map(|attempt| attempt.end).min()
}

/// Where it was new.
fn first(append: &Append) -> Option<u64> {
    append.attempts.iter().find_map(|attempt| match attempt.outcome {
        Outcome::Acked { seq, deduped: false, .. } => Some(seq),
        _ => None,
    })
}

fn retell(append: &mut Append, place: u64) {
    for attempt in &mut append.attempts {
        if let Outcome::Acked { seq, last_seq, deduped } = &mut attempt.outcome {
            *seq = place;
            *last_seq = if *deduped { (*last_seq).max(place) } else { place };
        }
    }
}

#[test]
fn every_lie_is_noticed() {
    for (kind, forgery) in FORGERIES_OF_LOGS.into_iter().chain(FORGERIES_OF_TAILS) {
        let (mut seed, mut forged) = (0, 0);
        while forged < FORGERIES {
            seed += 1;
            assert!(seed < 100 * FORGERIES, "{kind:?} cannot be forged");
            let mut dice = Dice::new(seed, super::FORGERY);
            let (mut history, mut log) = make(&mut dice, Shape::long());
            if forgery(&mut dice, &mut history, &mut log).is_none() {
                continue;
            }
            forged += 1;
            let findings = check(&history, &log);
            assert!(findings.has(kind), "seed {seed}, {kind:?} in {findings:?}");
        }
    }
}
