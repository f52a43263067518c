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

/// What those who appended to one session saw of a phase.
#[derive(Debug, Default)]
struct Seen {
    /// How long each append that was acknowledged then had waited.
    waits: Vec<u64>,
    /// Attempts whose outcome nobody knew.
    unknown: usize,
    /// Attempts that were not acknowledged.
    vain: usize,
    /// The longest time without an acknowledgement that ended then, or had not ended yet.
    silence: u64,
}

fn seen(record: &Record, session: usize, phase: &Phase) -> Seen {
    let history = record.history(session);
    let within = |end: Time| phase.from <= end && end <= phase.to;
    let attempts = history.appends.iter().flat_map(|append| &append.attempts);
    let ended: Vec<_> = attempts.filter(|attempt| within(attempt.end)).collect();
    let spans: Vec<(Time, Time)> = history.appends.iter().filter_map(span).collect();
    let mut ends: Vec<Time> = spans.iter().map(|(_, end)| *end).collect();
    ends.retain(|end| *end <= phase.to);
    ends.push(phase.to);
    ends.sort_unstable();
    let gaps = ends.windows(2).filter(|two| phase.from <= two[1]);
    Seen {
        waits: spans.iter().filter(|(_, end)| within(*end)).map(|(at, end)| *end - *at).collect(),
        unknown: ended.iter().filter(|attempt| attempt.outcome == Outcome::Unknown).count(),
        vain: ended.iter().filter(|attempt| !is_acked(attempt)).count(),
        silence: gaps.map(|two| two[1] - two[0]).max().unwrap_or(0),
    }
}

/// Says how all phases of one name went for those who appended.
pub(crate) fn print_phases(record: &Record, name: &str, phases: &[&Phase]) {
    let each = phases.iter().flat_map(|phase| (0..SESSIONS).map(|session| (session, *phase)));
    let seen: Vec<Seen> = each.map(|(session, phase)| seen(record, session, phase)).collect();
    let mut waits: Vec<u64> = seen.iter().flat_map(|seen| seen.waits.clone()).collect();
    let mut silences: Vec<u64> = seen.iter().map(|seen| seen.silence).collect();
    waits.sort_unstable();
    silences.sort_unstable();
    let micros: u64 = phases.iter().map(|phase| phase.to - phase.from).sum();
    println!(
        "{:32} {:2} times {:6.1} s  {:6} acknowledged  {:4} unknown  {:4} in vain  \
         appends p50 {}, p99 {}  silences p50 {}, p99 {}, max {}",
        name,
        phases.len(),
        micros as f64 / 1e6,
        waits.len(),
        seen.iter().map(|seen| seen.unknown).sum::<usize>(),
        seen.iter().map(|seen| seen.vain).sum::<usize>(),
        part(&waits, 50),
        part(&waits, 99),
        part(&silences, 50),
        part(&silences, 99),
        part(&silences, 100),
    );
}

/// What appends to some sessions took while all was well and while something was not.
pub(crate) fn print_ratio(record: &Record, sessions: &[usize], (well, ill): (&Phase, &Phase)) {
    let waits = |phase: &Phase| {
        let each = sessions.iter().flat_map(|session| seen(record, *session, phase).waits);
        let mut waits: Vec<u64> = each.collect();
        waits.sort_unstable();
        waits
    };
    let (before, now) = (waits(well), waits(ill));
    let ratio =
        |percent| percentile(&now, percent) as f64 / percentile(&before, percent).max(1) as f64;
    println!(
        "{:48} {} sessions  {:6} acknowledged  p50 {} after {} ({:.2})  p99 {} after {} ({:.2})  max {}",
        ill.name,
        sessions.len(),
        now.len(),
        part(&now, 50),
        part(&before, 50),
        ratio(50),
        part(&now, 99),
        part(&before, 99),
        ratio(99),
        part(&now, 100),
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

fn part(sorted: &[u64], percent: usize) -> String {
    format!("{:.1} ms", millis(percentile(sorted, percent)))
}
