//! What the histories tell of times: printed, never demanded, since other work shares the machine.

use histories::history::{Append, Outcome};
use histories::time::{MILLI, Time};

use crate::record::{Record, SESSIONS, is_acked};

/// Microseconds of a follower's silence before it stands for election, at least: the shipped value.
const ELECTION_TIMEOUT: u64 = 300 * MILLI;

/// A part of a drill.
#[derive(Debug, Clone)]
pub(crate) struct Phase {
    pub(crate) name: String,
    pub(crate) from: Time,
    pub(crate) to: Time,
}

/// When an append was first asked and when it was acknowledged.
fn span(append: &Append) -> Option<(Time, Time)> {
    let acked = append.attempts.iter().find(|attempt| is_acked(attempt))?;
    Some((append.attempts[0].start, acked.end))
}

/// Says how a phase went for those who appended.
pub(crate) fn print_phase(record: &Record, phase: &Phase) {
    let mut waits = Vec::new();
    let (mut silence, mut unknown) = (0, 0);
    let within = |(_, end): &(Time, Time)| phase.from <= *end && *end <= phase.to;
    for session in 0..SESSIONS {
        let history = record.history(session);
        let attempts = history.appends.iter().flat_map(|append| &append.attempts);
        let lost = attempts.filter(|attempt| attempt.outcome == Outcome::Unknown);
        unknown += lost.filter(|attempt| within(&(attempt.start, attempt.end))).count();
        let spans = history.appends.iter().filter_map(span);
        let spans: Vec<(Time, Time)> = spans.filter(within).collect();
        let mut ends: Vec<Time> = spans.iter().map(|(_, end)| *end).collect();
        ends.extend([phase.from, phase.to]);
        ends.sort_unstable();
        silence = ends.windows(2).map(|two| two[1] - two[0]).fold(silence, u64::max);
        waits.extend(spans.iter().map(|(start, end)| *end - *start));
    }
    waits.sort_unstable();
    println!(
        "{:32} {:6.1} s  {:6} acknowledged  {:4} unknown  p50 {:7.1} ms  p99 {:7.1} ms  longest silence {:7.1} ms",
        phase.name,
        (phase.to - phase.from) as f64 / 1e6,
        waits.len(),
        unknown,
        millis(percentile(&waits, 50)),
        millis(percentile(&waits, 99)),
        millis(silence),
    );
}

/// How long after a moment the last of the sessions took appends again.
fn recovery(record: &Record, at: Time) -> Option<u64> {
    let first = |session: usize| {
        let history = record.history(session);
        let attempts = history.appends.iter().flat_map(|append| &append.attempts);
        let since = attempts.filter(|attempt| is_acked(attempt) && at <= attempt.start);
        since.map(|attempt| attempt.end - at).min()
    };
    (0..SESSIONS).map(first).collect::<Option<Vec<u64>>>()?.into_iter().max()
}

/// Says how long it took after each of these hits until every session took appends again.
pub(crate) fn print_recoveries(record: &Record, what: &str, hits: &[Time]) {
    let mut times: Vec<u64> = hits.iter().filter_map(|at| recovery(record, *at)).collect();
    times.sort_unstable();
    if times.is_empty() {
        return;
    }
    let part = |percent| {
        let time = percentile(&times, percent);
        format!("{:.0} ms ({:.1} T)", millis(time), time as f64 / ELECTION_TIMEOUT as f64)
    };
    println!(
        "{what}: {} times; all sessions take appends again after p50 {}, p99 {}, max {}; T = {} ms",
        times.len(),
        part(50),
        part(99),
        part(100),
        ELECTION_TIMEOUT / MILLI,
    );
}

fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let place = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(place).copied().unwrap_or(0)
}

fn millis(micros: u64) -> f64 {
    micros as f64 / MILLI as f64
}
