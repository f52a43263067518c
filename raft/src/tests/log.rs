//! The log against a naive one: every entry that ever was, in a vector, and marks counted by hand.

use proptest::prelude::*;

use crate::log::Log;
use crate::message::{Entry, Index, Snapshot, Term};

use super::{entry, voters};

/// A log that begins after a place.
fn log_after(last: (Term, Index), entries: Vec<Entry>) -> Log {
    Log::new(Snapshot { last, membership: voters(3) }, entries)
}

/// Entry `index` lies in slot `index - 1`, whatever has left memory.
#[derive(Debug, Clone)]
struct Model {
    terms: Vec<u64>,
    floor: usize,
    submitted: usize,
    durable: usize,
    committed: usize,
    handed: usize,
    applied: usize,
}

/// What can happen to a log. Numbers are made to fit when it happens.
#[derive(Debug, Clone)]
enum Act {
    Append { term_step: u64 },
    Merge { start: usize, term_steps: Vec<u64> },
    Submit,
    Persist { at: usize },
    Commit { at: usize },
    HandOut,
    Apply { at: usize },
    Compact { at: usize },
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (0..2u64).prop_map(|term_step| Act::Append { term_step }),
        (0..8usize, prop::collection::vec(0..2u64, 0..5))
            .prop_map(|(start, term_steps)| Act::Merge { start, term_steps }),
        Just(Act::Submit),
        (0..100usize).prop_map(|at| Act::Persist { at }),
        (0..100usize).prop_map(|at| Act::Commit { at }),
        Just(Act::HandOut),
        (0..100usize).prop_map(|at| Act::Apply { at }),
        (0..100usize).prop_map(|at| Act::Compact { at }),
    ]
}

/// A number in `[low, high]`.
fn within(low: usize, high: usize, at: usize) -> usize {
    low + at % (high - low + 1)
}

fn index(at: usize) -> Index {
    Index(at as u64)
}

impl Model {
    fn new(terms: Vec<u64>, floor: usize) -> Model {
        let last = terms.len();
        Model {
            terms,
            floor,
            submitted: last,
            durable: last,
            committed: floor,
            handed: floor,
            applied: floor,
        }
    }

    fn term(&self, at: usize) -> u64 {
        if at == 0 { 0 } else { self.terms[at - 1] }
    }

    fn last(&self) -> usize {
        self.terms.len()
    }

    /// Entries `(after, last]`.
    fn entries(&self, after: usize, last: usize) -> Vec<Entry> {
        (after + 1..=last).map(|at| entry(self.term(at), at as u64)).collect()
    }

    fn merge(&mut self, start: usize, entries: &[Entry]) {
        for (at, new) in (start + 1..).zip(entries) {
            if self.last() < at {
                self.terms.push(new.term.0);
            } else if self.term(at) != new.term.0 {
                self.terms.truncate(at - 1);
                self.terms.push(new.term.0);
                self.submitted = self.submitted.min(at - 1);
                self.durable = self.durable.min(at - 1);
            }
        }
    }

    /// Entries as a leader might send them: they agree with what is committed, and where they do not
    /// agree with the rest they are newer.
    fn sent(&self, start: usize, term_steps: &[u64]) -> Vec<Entry> {
        let mut term = self.term(start);
        let mut agrees = true;
        let mut entries = Vec::new();
        for (at, step) in (start + 1..).zip(term_steps) {
            let kept = at <= self.last() && agrees && (at <= self.committed || *step == 0);
            if kept {
                term = self.term(at);
            } else {
                agrees = false;
                let beaten = if at <= self.last() { self.term(self.last()) } else { 0 };
                term = (term + step).max(beaten + u64::from(0 < beaten));
            }
            entries.push(entry(term, at as u64));
        }
        entries
    }
}

fn act_on(log: &mut Log, model: &mut Model, act: &Act) {
    match act {
        Act::Append { term_step } => {
            let term = model.term(model.last()) + term_step;
            model.terms.push(term);
            log.append(entry(term, model.last() as u64));
        }
        Act::Merge { start, term_steps } => {
            let start = model.last().saturating_sub(*start);
            let entries = model.sent(start, term_steps);
            model.merge(start, &entries);
            log.merge(entries);
        }
        Act::Submit => {
            assert_eq!(log.submit(), model.entries(model.submitted, model.last()));
            model.submitted = model.last();
            let unproven = (model.durable < model.last()).then(|| log.last());
            assert_eq!(log.unproven(), unproven);
        }
        Act::Persist { at } => {
            let at = within(model.floor, model.submitted, *at);
            // Another term at the same place: a write of something since replaced.
            log.persisted((Term(model.term(at) + 1), index(at)));
            assert_eq!(log.durable(), index(model.durable));
            log.persisted((Term(model.term(at)), index(at)));
            model.durable = model.durable.max(at);
        }
        Act::Commit { at } => {
            let at = within(0, model.last(), *at);
            log.commit(index(at));
            model.committed = model.committed.max(at);
        }
        Act::HandOut => {
            let end = model.committed.min(model.submitted);
            assert_eq!(log.hand_out(), model.entries(model.handed, end));
            model.handed = end;
        }
        Act::Apply { at } => {
            model.applied = within(model.applied, model.handed, *at);
            log.set_applied(index(model.applied));
        }
        Act::Compact { at } => {
            let at = within(0, model.applied, *at);
            log.compact(index(at));
            model.floor = model.floor.max(at.min(model.durable));
        }
    }
}

fn compare(log: &Log, model: &Model) {
    assert_eq!(log.floor(), (Term(model.term(model.floor)), index(model.floor)));
    assert_eq!(log.last(), (Term(model.term(model.last())), index(model.last())));
    let marks = [log.submitted(), log.durable(), log.committed(), log.handed(), log.applied()];
    let expected =
        [model.submitted, model.durable, model.committed, model.handed, model.applied].map(index);
    assert_eq!(marks, expected);
    for at in 0..model.last() + 3 {
        let kept = (model.floor..=model.last()).contains(&at);
        assert_eq!(log.term_at(index(at)), kept.then(|| Term(model.term(at))), "at {at}");
    }
    for at in model.floor + 1..=model.last() {
        assert_eq!(log.entries_from(index(at), usize::MAX), model.entries(at - 1, model.last()));
        assert_eq!(log.entries_from(index(at), 0), model.entries(at - 1, at), "at least one");
    }
    for at in 0..model.last() + 2 {
        for term in 0..=model.term(model.last()) + 1 {
            let agreeable = (model.floor..=model.last().min(at).max(model.floor))
                .rev()
                .find(|&at| model.term(at) <= term || at == model.floor)
                .unwrap();
            let expected = (Term(model.term(agreeable)), index(agreeable));
            assert_eq!(log.last_agreeable((Term(term), index(at))), expected);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn agrees_with_a_naive_log(
        steps in prop::collection::vec(0..2u64, 0..6),
        floor in 0..6usize,
        acts in prop::collection::vec(act(), 1..60),
    ) {
        let mut term = 1;
        let terms: Vec<u64> = steps.iter().map(|step| { term += step; term }).collect();
        let floor = floor.min(terms.len());
        let mut model = Model::new(terms, floor);
        let restored = model.entries(floor, model.last());
        let mut log = log_after((Term(model.term(floor)), index(floor)), restored);
        compare(&log, &model);
        for act in &acts {
            act_on(&mut log, &mut model, act);
            compare(&log, &model);
        }
    }
}

#[test]
#[should_panic(expected = "what is committed stays")]
fn nothing_committed_is_replaced() {
    let mut log = log_after((Term(0), Index(0)), vec![entry(1, 1), entry(1, 2)]);
    log.commit(Index(2));
    log.merge(vec![entry(2, 2)]);
}

#[test]
fn memory_of_a_burst_is_given_back() {
    let mut log = log_after((Term(0), Index(0)), Vec::new());
    for at in 1..=10_000 {
        log.append(entry(1, at));
    }
    drop(log.submit());
    log.persisted((Term(1), Index(10_000)));
    log.commit(Index(10_000));
    drop(log.hand_out());
    log.set_applied(Index(10_000));
    log.compact(Index(9_990));
    assert!(log.capacity() < 100, "room for {} entries", log.capacity());
    assert_eq!(log.entries_from(Index(9_991), usize::MAX).len(), 10);
}
