//! Whether what clients were told of one session can be true of the log that is there at the end.
//!
//! The server assigns the order, so there is nothing to search: each append takes effect at its
//! place in the log, a read of head `r` takes effect between the places `r` and `r + 1`, and a
//! history is linearizable if and only if nothing that comes later in this order ended before
//! something earlier began. That takes one pass over the log and a sort of the reads.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Append, Attempt, History, Op, Outcome, Page, Read, Stored};
use crate::time::Time;
use crate::verdict::{Findings, Kind};

/// Later than everything.
const NEVER: Time = Time(u64::MAX);

/// When an append can have taken effect, by what its attempts say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Interval {
    start: Time,
    end: Time,
}

/// Checks the history of one session against its log.
pub fn check(history: &History, log: &[Stored]) -> Findings {
    let mut findings = Findings::default();
    for text in &history.wrong {
        findings.add(Kind::WrongRefusal, text.clone());
    }
    let places = check_log(history, log, &mut findings);
    check_producers(history, log, &mut findings);
    let mut reads = history.reads.clone();
    reads.extend(history.pages.iter().map(|page| page.read));
    let mut intervals = vec![None; log.len()];
    for append in &history.appends {
        let place = places.get(&append.op).copied();
        check_append(append, place, log, &mut findings);
        let interval = interval(append, &mut findings);
        if let (Some(place), Some(interval)) = (place, interval) {
            intervals[place] = Some(interval);
        }
        reads.extend(reads_of(append));
    }
    for page in &history.pages {
        check_page(page, log, &mut findings);
    }
    let bounds = check_order(&intervals, &mut findings);
    check_reads(history, &reads, &bounds, &mut findings);
    findings
}

/// Every event is at its seq, wanted, whole and there once. Returns where each op is.
fn check_log(history: &History, log: &[Stored], findings: &mut Findings) -> BTreeMap<Op, usize> {
    let wanted: BTreeMap<Op, &Append> =
        history.appends.iter().map(|append| (append.op, append)).collect();
    let mut places = BTreeMap::new();
    let mut at = 0;
    for (place, event) in log.iter().enumerate() {
        let seq = place as u64 + 1;
        if event.seq != seq {
            findings.add(Kind::Hole, format!("seq {} where {seq} must be", event.seq));
        }
        if event.at < at {
            findings.add(Kind::TimeBackward, format!("seq {seq}"));
        }
        at = event.at;
        let Some((op, append)) = event.op.and_then(|op| Some((op, wanted.get(&op)?))) else {
            findings.add(Kind::Phantom, format!("seq {seq}: {:?}", event.op));
            continue;
        };
        if append.digest != event.digest {
            findings.add(Kind::Changed, format!("seq {seq}, op {}", op.0));
        }
        if let Some(first) = places.insert(op, place) {
            findings.add(Kind::Doubled, format!("op {} at seq {} and {seq}", op.0, first + 1));
        }
    }
    places
}

/// A producer counts from 1 and asks for the next only when it has the one before.
fn check_producers(history: &History, log: &[Stored], findings: &mut Findings) {
    let producers: BTreeMap<Op, (u32, u64)> =
        history.appends.iter().filter_map(|append| Some((append.op, append.producer?))).collect();
    let mut counts: BTreeMap<u32, u64> = BTreeMap::new();
    for event in log {
        let Some((producer, count)) = event.op.and_then(|op| producers.get(&op)) else { continue };
        let before = counts.insert(*producer, *count).unwrap_or(0);
        if before + 1 != *count {
            let text = format!("producer {producer}: {count} behind {before} at seq {}", event.seq);
            findings.add(Kind::ProducerOrder, text);
        }
    }
}

fn check_append(append: &Append, place: Option<usize>, log: &[Stored], findings: &mut Findings) {
    let op = append.op.0;
    let mut undone = !append.attempts.is_empty();
    for attempt in &append.attempts {
        match attempt.outcome {
            Outcome::Acked { seq, last_seq, deduped } => {
                undone = false;
                check_ack(append, (seq, last_seq, deduped), log, findings);
                if place.is_none() {
                    findings.add(Kind::Lost, format!("op {op}, acknowledged as seq {seq}"));
                }
            }
            Outcome::Conflict { current } => {
                if append.expected == Some(current) || append.expected.is_none() {
                    let text = format!("op {op} required head {:?}", append.expected);
                    findings.add(Kind::WrongConflict, text);
                }
            }
            Outcome::Refused => {}
            Outcome::Unknown => undone = false,
        }
    }
    let Some(place) = place else { return };
    if undone {
        findings.add(Kind::Undead, format!("op {op} at seq {}", place + 1));
    }
    if append.expected.is_some_and(|expected| expected != place as u64) {
        let text = format!("op {op} required head {:?}, is seq {}", append.expected, place + 1);
        findings.add(Kind::ExpectedIgnored, text);
    }
}

fn check_ack(
    append: &Append,
    (seq, last_seq, deduped): (u64, u64, bool),
    log: &[Stored],
    findings: &mut Findings,
) {
    let op = append.op.0;
    let place = usize::try_from(seq).ok().and_then(|seq| seq.checked_sub(1));
    let there = place.and_then(|place| log.get(place));
    if there.is_some_and(|event| event.op != Some(append.op)) {
        findings.add(Kind::Moved, format!("op {op} was acknowledged as seq {seq}"));
    }
    let head_fits = if deduped { seq <= last_seq } else { seq == last_seq };
    // `expected_seq` is looked at before what is remembered.
    let expected_fits = append.expected.is_none_or(|expected| !deduped || expected == last_seq);
    if !head_fits || !expected_fits {
        let text = format!("op {op}: seq {seq} of {last_seq}, deduped {deduped}");
        findings.add(Kind::DedupeDiffers, text);
    }
}

/// When the append took effect: within the attempt that said it was new, else from the first attempt
/// whose outcome is unknown until the first answer. `None` if no attempt can have had an effect.
fn interval(append: &Append, findings: &mut Findings) -> Option<Interval> {
    let op = append.op.0;
    let acked = |deduped: bool| {
        append.attempts.iter().filter(move |attempt| {
            matches!(attempt.outcome, Outcome::Acked { deduped: is, .. } if is == deduped)
        })
    };
    let firsts: Vec<&Attempt> = acked(false).collect();
    if 1 < firsts.len() {
        findings.add(Kind::TwoFirsts, format!("op {op}"));
    }
    let unknown = append.attempts.iter().filter(|attempt| attempt.outcome == Outcome::Unknown);
    let told = acked(true).map(|attempt| attempt.end).min().unwrap_or(NEVER);
    let effect = match (firsts.first(), unknown.map(|attempt| attempt.start).min()) {
        (Some(first), _) => Interval { start: first.start, end: first.end },
        (None, Some(start)) => Interval { start, end: NEVER },
        (None, None) => {
            if told < NEVER {
                findings.add(Kind::DedupeDiffers, format!("op {op} was known and never new"));
            }
            return None;
        }
    };
    if told < effect.start {
        findings.add(Kind::DedupeDiffers, format!("op {op} was known before it was there"));
    }
    Some(Interval { start: effect.start, end: effect.end.min(told) })
}

/// What the answers to an append say of the head.
fn reads_of(append: &Append) -> impl Iterator<Item = Read> + '_ {
    append.attempts.iter().filter_map(|attempt| {
        let last_seq = match attempt.outcome {
            Outcome::Acked { last_seq, .. } => Some(last_seq),
            Outcome::Conflict { current } => Some(current),
            Outcome::Refused | Outcome::Unknown => None,
        };
        last_seq?;
        Some(Read { start: attempt.start, end: attempt.end, last_seq })
    })
}

fn check_page(page: &Page, log: &[Stored], findings: &mut Findings) {
    let head = page.read.last_seq.unwrap_or(0);
    let mut cursor = page.cursor;
    for event in &page.events {
        cursor += 1;
        let there = usize::try_from(cursor - 1).ok().and_then(|place| log.get(place));
        if event.seq != cursor || there != Some(event) || head < cursor {
            let text = format!("seq {} behind {} of {head}", event.seq, cursor - 1);
            findings.add(Kind::PageDiffers, text);
        }
    }
    if page.events.is_empty() && page.cursor < head {
        findings.add(Kind::PageDiffers, format!("empty behind {} of {head}", page.cursor));
    }
}

/// What the appends say of every place between two events: places count from 0, before the first.
#[derive(Debug)]
struct Bounds {
    /// The latest start of the events before the place.
    started: Vec<Time>,
    /// The earliest end of the events behind the place.
    ended: Vec<Time>,
}

/// No event ended before one in front of it began.
fn check_order(intervals: &[Option<Interval>], findings: &mut Findings) -> Bounds {
    let mut started = vec![Time(0)];
    for (place, interval) in intervals.iter().enumerate() {
        let before = started[place];
        if let Some(interval) = interval
            && interval.end < before
        {
            let text = format!("seq {} was known before one in front of it began", place + 1);
            findings.add(Kind::Reordered, text);
        }
        started.push(before.max(interval.map_or(Time(0), |interval| interval.start)));
    }
    let mut ended = vec![NEVER; intervals.len() + 1];
    for (place, interval) in intervals.iter().enumerate().rev() {
        ended[place] = ended[place + 1].min(interval.map_or(NEVER, |interval| interval.end));
    }
    Bounds { started, ended }
}

fn check_reads(history: &History, reads: &[Read], bounds: &Bounds, findings: &mut Findings) {
    for read in reads {
        let Some(head) = read.last_seq else {
            if history.created.is_some_and(|created| created < read.start) {
                findings.add(Kind::SessionLost, format!("asked at {}", read.start));
            }
            continue;
        };
        if history.create_asked.is_none_or(|asked| read.end < asked) {
            findings.add(Kind::FutureRead, "the session was there before anybody asked for it");
        }
        let place = usize::try_from(head).ok().filter(|place| *place < bounds.ended.len());
        let Some(place) = place else {
            let text = format!("head {head} of {}", bounds.ended.len() - 1);
            findings.add(Kind::FutureRead, text);
            continue;
        };
        if bounds.ended[place] < read.start {
            findings.add(Kind::StaleRead, format!("head {head}, asked at {}", read.start));
        }
        if read.end < bounds.started[place] {
            findings.add(Kind::FutureRead, format!("head {head}, told at {}", read.end));
        }
    }
    check_reads_forward(reads, findings);
}

/// Whoever asks after another was answered sees no less.
fn check_reads_forward(reads: &[Read], findings: &mut Findings) {
    let mut by_start: Vec<&Read> = reads.iter().collect();
    by_start.sort_by_key(|read| read.start);
    let mut by_end: BTreeSet<(Time, usize)> = BTreeSet::new();
    by_end.extend(reads.iter().enumerate().map(|(place, read)| (read.end, place)));
    let mut ended = by_end.into_iter().peekable();
    let mut known = None;
    for read in by_start {
        while let Some((_, place)) = ended.next_if(|(end, _)| *end < read.start) {
            known = known.max(reads[place].last_seq);
        }
        if read.last_seq < known {
            let text = format!("head {:?} at {}, was {known:?}", read.last_seq, read.start);
            findings.add(Kind::ReadsBackward, text);
        }
    }
}
