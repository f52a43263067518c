//! A true run of a group of three is accepted; each broken promise of Raft is noticed.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::ids::GroupId;
use raft::{Index, Membership, NodeId, Term};
use shard::peer::SnapshotStep;

use crate::dice::{Concern, Dice};
use crate::invariants::{Court, Seen};
use crate::node::FoundLog;
use crate::verdict::Kind;

const FORGERIES: u64 = 1_000;

fn nodes() -> [NodeId; 3] {
    [NodeId(1), NodeId(2), NodeId(3)]
}

/// A run that is true: some terms, each with a leader whose log all take over. What the leader of
/// the last term may go on from.
struct Run {
    court: Court,
    log: Vec<Seen>,
    term: Term,
    leader: NodeId,
}

fn run(dice: &mut Dice) -> Run {
    let members = Membership::new(nodes().to_vec(), Vec::new());
    let court = Court::new(vec![Arc::new(members)]);
    let mut run = Run { court, log: Vec::new(), term: Term(0), leader: NodeId(1) };
    for term in 1..=dice.between(2, 5) {
        run.elect(Term(term), nodes()[dice.index(3)]);
        for _ in 0..dice.between(1, 6) {
            run.extend(dice.bits());
        }
    }
    run
}

impl Run {
    fn elect(&mut self, term: Term, leader: NodeId) {
        (self.term, self.leader) = (term, leader);
        for node in nodes() {
            self.court.hard_state(0, node, (term, Some(leader)));
            self.court.promises(0, term, node);
            self.court.votes(0, term, node, leader);
        }
        self.court.leads(0, term, leader);
    }

    fn last(&self) -> (Term, Index) {
        self.log.last().map_or((Term(0), Index(0)), |entry| (entry.term, entry.index))
    }

    fn next(&self, digest: u64) -> Seen {
        Seen { term: self.term, index: Index(self.last().1.0 + 1), digest }
    }

    /// The leader hands out an entry that continues its log, and calls nothing new committed.
    fn hand_out(&mut self, digest: u64) -> Seen {
        let (previous, entry, committed) =
            (self.last(), self.next(digest), self.court.committed(0));
        self.court.append(0, (self.term, self.leader), previous, (&[entry], committed));
        self.log.push(entry);
        entry
    }

    /// The leader hands out a change of members, and says how far its log is committed.
    fn change(&mut self, committed: Index) {
        let entry = self.hand_out(0);
        nodes().iter().for_each(|node| self.court.wrote(0, *node, &entry));
        let Seen { term, index, .. } = entry;
        let members = Arc::new(Membership::new(nodes().to_vec(), vec![NodeId(4)]));
        self.court.membership(0, (index, term), &members);
        self.court.changes(0, term, index, committed);
    }

    fn another(&self) -> NodeId {
        nodes().into_iter().find(|node| *node != self.leader).unwrap()
    }

    /// The leader adds an entry, all write it, it is committed.
    fn extend(&mut self, digest: u64) {
        let (previous, entry) = (self.last(), self.next(digest));
        let by = (self.term, self.leader);
        self.court.append(0, by, previous, (&[entry], previous.1));
        for node in nodes() {
            self.court.wrote(0, node, &entry);
            self.court.accepts(0, self.term, node, entry.index);
        }
        self.log.push(entry);
        self.court.append(0, by, self.last(), (&[], entry.index));
    }
}

type Forgery = fn(&mut Dice, &mut Run);

const FORGERIES_OF_RAFT: [(Kind, Forgery); 17] = [
    (Kind::ElectionSafety, |dice, run| {
        let other = nodes().into_iter().find(|node| *node != run.leader).unwrap();
        let term = Term(dice.between(run.term.0, run.term.0));
        run.court.leads(0, term, other);
    }),
    (Kind::LogMatching, |dice, run| {
        let mut entry = run.log[dice.index(run.log.len())];
        entry.digest ^= 1 << dice.below(64);
        run.court.wrote(0, NodeId(9), &entry);
    }),
    (Kind::LeaderAppendOnly, |dice, run| {
        run.elect(Term(run.term.0 + 1), run.leader);
        let before = run.term;
        let old = Seen { term: Term(before.0 - 1), index: Index(1_000), digest: dice.bits() };
        run.court.wrote(0, run.leader, &old);
        run.court.wrote(0, run.leader, &Seen { term: before, ..old });
    }),
    (Kind::LeaderCompleteness, |dice, run| {
        let place = dice.index(run.log.len());
        let leader = nodes()[dice.index(3)];
        run.elect(Term(run.term.0 + 1), leader);
        let previous = (Term(run.term.0 + 7), run.log[place].index);
        run.court.append(0, (run.term, leader), previous, (&[], Index(0)));
    }),
    (Kind::StateMachineSafety, |dice, run| {
        // A leader of the same term that commits on top of another log.
        let last = run.last();
        let odd = Term(last.0.0 + 5);
        let entry = run.next(dice.bits());
        run.court.append(0, (run.term, run.leader), (odd, last.1), (&[entry], entry.index));
    }),
    (Kind::VotedTwice, |dice, run| {
        let other = nodes().into_iter().find(|node| *node != run.leader).unwrap();
        run.court.votes(0, run.term, nodes()[dice.index(3)], other);
    }),
    (Kind::VotedTwice, |_, run| {
        // A leader forgets that it was elected.
        let (next, other) = (Term(run.term.0 + 1), run.another());
        run.elect(next, run.leader);
        let found = FoundLog::of(BTreeMap::new(), (Term(next.0 - 1), None));
        run.court.reopened(0, run.leader, found, false);
        run.court.hard_state(0, run.leader, (next, Some(other)));
        run.court.votes(0, next, run.leader, other);
    }),
    (Kind::TermBackward, |_, run| {
        // Who stood remembers it on a disk that forgets nothing.
        let (next, node) = (Term(run.term.0 + 1), run.another());
        run.court.hard_state(0, node, (next, Some(node)));
        run.court.stands(0, next, node);
        run.court.promises(0, run.term, node);
    }),
    (Kind::TermBackward, |dice, run| {
        let term = Term(dice.below(run.term.0));
        run.court.promises(0, term, nodes()[dice.index(3)]);
    }),
    (Kind::SaidTooSoon, |dice, run| {
        let node = nodes()[dice.index(3)];
        let term = Term(run.term.0 + 1);
        match dice.below(3) {
            0 => run.court.votes(0, term, node, node),
            1 => run.court.accepts(0, run.term, node, run.next(0).index),
            _ => {
                let last = run.last();
                let log = BTreeMap::from([(last.1, Term(last.0.0 - 1))]);
                let found = FoundLog::of(log, (Term(0), None));
                run.court.reopened(0, node, found, false);
                run.court.accepts(0, run.term, node, last.1);
            }
        }
    }),
    (Kind::CommitBackward, |dice, run| {
        let entry = run.log[dice.index(run.log.len())];
        let term = Term(run.term.0 + 1);
        run.court.wrote(0, nodes()[dice.index(3)], &Seen { term, ..entry });
    }),
    (Kind::Forgotten, |dice, run| {
        let node = nodes()[dice.index(3)];
        let kept = dice.index(run.log.len());
        let log = run.log[..kept].iter().map(|entry| (entry.index, entry.term)).collect();
        let hard = (run.term, Some(run.leader));
        run.court.reopened(0, node, FoundLog::of(log, hard), true);
    }),
    (Kind::TermBackward, |dice, run| {
        let node = nodes()[dice.index(3)];
        run.court.hard_state(0, node, (Term(run.term.0 - 1), None));
    }),
    (Kind::CountedOlder, |dice, run| {
        // What the last leader handed out, the next one calls committed before anything of its own.
        let previous = run.last();
        let entry = run.hand_out(dice.bits());
        nodes().iter().for_each(|node| run.court.wrote(0, *node, &entry));
        run.elect(Term(run.term.0 + 1), run.another());
        run.court.append(0, (run.term, run.leader), previous, (&[entry], entry.index));
    }),
    (Kind::ChangedTooSoon, |dice, run| {
        let committed = run.last().1;
        run.elect(Term(run.term.0 + 1), nodes()[dice.index(3)]);
        run.hand_out(dice.bits());
        run.change(committed);
    }),
    (Kind::ChangedTooSoon, |_, run| {
        let committed = run.last().1;
        run.change(committed);
        run.change(committed);
    }),
    (Kind::SnapshotNamedTwice, |dice, run| {
        let (node, last) = (nodes()[dice.index(3)], run.last());
        let (number, life) = (dice.below(100), u32::try_from(dice.below(9)).unwrap());
        let offer = SnapshotStep::Offer { number, last };
        run.court.hands_state(GroupId(0), (node, life), &offer);
        run.court.hands_state(GroupId(0), (node, life + 1), &offer);
    }),
];

/// What looks like a breach and is none.
const TRUTHS_OF_RAFT: [Forgery; 6] = [
    |dice, run| {
        // The next leader commits what the last one handed out together with something of its own.
        let previous = run.last();
        let old = run.hand_out(dice.bits());
        run.elect(Term(run.term.0 + 1), run.another());
        let own = run.next(dice.bits());
        for entry in [old, own] {
            nodes().iter().for_each(|node| run.court.wrote(0, *node, &entry));
        }
        run.court.append(0, (run.term, run.leader), previous, (&[old, own], own.index));
        assert_eq!(run.court.committed(0), own.index);
    },
    |dice, run| {
        // A node stands, and its disk forgets it before anybody has heard of the term, but for a message
        // that takes long: it votes for another there.
        let (found, other) = (run.term, run.another());
        let node = nodes()[dice.index(3)];
        let candidate = if node == other { run.leader } else { other };
        let next = Term(found.0 + 1);
        run.court.hard_state(0, node, (next, Some(node)));
        run.court.stands(0, next, node);
        let log = run.log.iter().map(|entry| (entry.index, entry.term)).collect();
        run.court.reopened(0, node, FoundLog::of(log, (found, None)), false);
        run.court.promises(0, found, node);
        run.elect(next, candidate);
        run.extend(dice.bits());
    },
    |dice, run| {
        // One change after the other, and a snapshot that is offered twice.
        run.change(run.last().1);
        run.extend(dice.bits());
        run.change(run.last().1);
        let offer = SnapshotStep::Offer { number: dice.below(100), last: run.last() };
        run.court.hands_state(GroupId(0), (run.leader, 1), &offer);
        run.court.hands_state(GroupId(0), (run.leader, 1), &offer);
    },
    |dice, run| {
        // A disk is so slow that it replaces an entry for a leader of a term that is over, when the next
        // one has committed that entry without it.
        let (previous, first, slow) = (run.last(), run.leader, run.another());
        let entry = run.hand_out(dice.bits());
        run.court.wrote(0, slow, &entry);
        run.elect(Term(run.term.0 + 1), run.another());
        let late = Seen { term: run.term, ..entry };
        run.court.append(0, (run.term, run.leader), previous, (&[late], previous.1));
        run.elect(Term(run.term.0 + 1), first);
        let own = run.next(dice.bits());
        for node in nodes().into_iter().filter(|node| *node != slow) {
            run.court.wrote(0, node, &entry);
            run.court.wrote(0, node, &own);
        }
        run.court.append(0, (run.term, run.leader), (entry.term, entry.index), (&[own], own.index));
        assert_eq!(run.court.committed(0), own.index);
        run.court.wrote(0, slow, &late);
    },
    |dice, run| {
        // One voter alone tells nobody of its entries; what it had in flight when it was killed nobody
        // saw it write. The first that comes to it hears of the newest entry only.
        run.court = Court::new(vec![Arc::new(Membership::new(vec![run.leader], Vec::new()))]);
        run.elect(run.term, run.leader);
        let cut = dice.index(run.log.len());
        run.log[..cut].iter().for_each(|entry| run.court.wrote(0, run.leader, entry));
        let found = run.log.iter().map(|entry| (entry.index, entry.term)).collect();
        run.court.reopened(0, run.leader, FoundLog::of(found, (run.term, Some(run.leader))), true);
        run.court.append(0, (run.term, run.leader), run.last(), (&[], run.last().1));
        assert_eq!(run.court.committed(0), run.last().1);
    },
    |dice, run| {
        // The same, and its newest life found the older entries in a checkpoint.
        run.court = Court::new(vec![Arc::new(Membership::new(vec![run.leader], Vec::new()))]);
        run.elect(run.term, run.leader);
        let cut = 1 + dice.index(run.log.len());
        let all = run.log.iter().map(|entry| (entry.index, entry.term));
        let old = FoundLog::of(all.clone().take(cut).collect(), (run.term, Some(run.leader)));
        run.court.reopened(0, run.leader, old.clone(), true);
        let (floor, log) = (run.log[cut - 1], all.skip(cut).collect());
        let found = FoundLog { floor: floor.index, floor_term: floor.term, log, ..old };
        run.court.reopened(0, run.leader, found, true);
        run.court.append(0, (run.term, run.leader), run.last(), (&[], run.last().1));
        assert_eq!(run.court.committed(0), run.last().1);
    },
];

#[test]
fn true_runs_are_accepted() {
    for seed in 0..FORGERIES {
        let run = run(&mut Dice::new(seed, Concern::Forgery));
        assert!(run.court.findings.is_empty(), "seed {seed}: {:?}", run.court.findings);
        assert_eq!(run.court.committed(0), run.last().1);
        assert_eq!(run.court.terms_led(), run.term.0);
    }
}

#[test]
fn what_only_looks_like_a_breach_is_accepted() {
    for (place, truth) in TRUTHS_OF_RAFT.into_iter().enumerate() {
        for seed in 0..FORGERIES {
            let mut dice = Dice::new(seed, Concern::Forgery);
            let mut run = run(&mut dice);
            truth(&mut dice, &mut run);
            let findings = &run.court.findings;
            assert!(findings.is_empty(), "truth {place}, seed {seed}: {findings:?}");
        }
    }
}

#[test]
fn every_broken_promise_is_noticed() {
    for (kind, forgery) in FORGERIES_OF_RAFT {
        for seed in 0..FORGERIES {
            let mut dice = Dice::new(seed, Concern::Forgery);
            let mut run = run(&mut dice);
            forgery(&mut dice, &mut run);
            let findings = &run.court.findings;
            assert!(findings.has(kind), "seed {seed}, {kind:?} in {findings:?}");
        }
    }
}
