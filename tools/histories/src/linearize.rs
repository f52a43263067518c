//! A small general checker of linearizability, after Wing and Gong: tries every order that real time
//! allows, and remembers what came to nothing. Exponential, so for short histories only; it shares
//! nothing with the linear checker, which it keeps honest.

use std::collections::BTreeSet;

use crate::history::{Append, History, Op, Outcome, Read, Stored};
use crate::time::Time;

/// One call and its answer.
#[derive(Debug, Clone, Copy)]
struct Call {
    start: Time,
    /// `None` if it was never answered: it may take effect at any time, or not at all.
    end: Option<Time>,
    what: What,
}

#[derive(Debug, Clone, Copy)]
enum What {
    Append { op: Op, expected: Option<u64>, outcome: Outcome },
    Read { last_seq: u64 },
}

/// Most calls of a history.
const CALLS_MAX: usize = 64;

/// Whether some order of the appends and reads of one session, each at a moment between its start
/// and its end, makes every answer true and ends in `log`.
///
/// # Panics
/// If the history has more than 64 calls.
pub fn is_linearizable(history: &History, log: &[Stored]) -> bool {
    let mut calls: Vec<Call> = history.appends.iter().flat_map(calls).collect();
    calls.extend(history.reads.iter().filter_map(|read| {
        let Read { start, end, last_seq } = *read;
        Some(Call { start, end: Some(end), what: What::Read { last_seq: last_seq? } })
    }));
    assert!(calls.len() <= CALLS_MAX, "a short history");
    let log: Vec<Option<Op>> = log.iter().map(|event| event.op).collect();
    Search { calls, log, failed: BTreeSet::new() }.from(0, &mut Vec::new())
}

/// An attempt that was refused has no effect and says nothing.
fn calls(append: &Append) -> impl Iterator<Item = Call> + '_ {
    let has_effect =
        |attempt: &&crate::history::Attempt| !matches!(attempt.outcome, Outcome::Refused);
    append.attempts.iter().filter(has_effect).map(|attempt| {
        let outcome = attempt.outcome;
        let end = (outcome != Outcome::Unknown).then_some(attempt.end);
        let what = What::Append { op: append.op, expected: append.expected, outcome };
        Call { start: attempt.start, end, what }
    })
}

struct Search {
    calls: Vec<Call>,
    log: Vec<Option<Op>>,
    /// Calls done, and the state they led to, from where there is no way.
    failed: BTreeSet<(u64, Vec<Op>)>,
}

impl Search {
    fn from(&mut self, done: u64, state: &mut Vec<Op>) -> bool {
        let open = |place: usize| done & (1 << place) == 0;
        let answered = |place: &usize| open(*place) && self.calls[*place].end.is_some();
        let all = 0..self.calls.len();
        if all.clone().filter(answered).count() == 0 && self.ends_in(state) {
            return true;
        }
        if self.failed.contains(&(done, state.clone())) {
            return false;
        }
        // Whatever comes next began before the first of the others ended.
        let horizon = all.clone().filter(answered).filter_map(|place| self.calls[place].end).min();
        for place in all.filter(|place| open(*place)) {
            let call = self.calls[place];
            if horizon.is_some_and(|horizon| horizon < call.start) {
                continue;
            }
            let before = state.len();
            if take(&call.what, state) && self.from(done | 1 << place, state) {
                return true;
            }
            state.truncate(before);
        }
        self.failed.insert((done, state.clone()));
        false
    }

    fn ends_in(&self, state: &[Op]) -> bool {
        let same = |(here, there): (&Op, &Option<Op>)| Some(*here) == *there;
        state.len() == self.log.len() && state.iter().zip(&self.log).all(same)
    }
}

/// Applies a call to the state, a list of the ops in the log. Returns whether its answer is true.
fn take(what: &What, state: &mut Vec<Op>) -> bool {
    let head = state.len() as u64;
    match *what {
        What::Read { last_seq } => last_seq == head,
        What::Append { expected, outcome: Outcome::Conflict { current }, .. } => {
            current == head && expected.is_some_and(|expected| expected != head)
        }
        What::Append { op, expected, outcome } => {
            if expected.is_some_and(|expected| expected != head) {
                // It was refused, and nobody heard of it.
                return outcome == Outcome::Unknown;
            }
            let known = state.iter().position(|known| *known == op);
            let seq = match known {
                Some(place) => place as u64 + 1,
                None => {
                    state.push(op);
                    head + 1
                }
            };
            match outcome {
                Outcome::Acked { seq: told, last_seq, deduped } => {
                    let head = state.len() as u64;
                    (told, last_seq, deduped) == (seq, head, known.is_some())
                }
                Outcome::Unknown => true,
                Outcome::Refused | Outcome::Conflict { .. } => false,
            }
        }
    }
}
