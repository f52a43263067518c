//! What must hold across all nodes and all their lives, by the names of the paper's figure 3: election
//! safety, leader append-only, log matching, leader completeness, state machine safety; and that what is
//! committed really is on a quorum of disks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::membership::Membership;
use crate::message::{Content, Entry, Index, NodeId, Snapshot, Term};
use crate::node::{Node, State};
use crate::quorum;

use super::cluster::Member;

/// An entry some leader committed.
#[derive(Debug)]
struct Committed {
    entry: Entry,
    /// The term of that leader: leaders of later terms hold the entry.
    term: Term,
}

/// What changed since a node was looked at last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Seen {
    term: Term,
    leads: bool,
    last: (Term, Index),
    floor: Index,
}

/// How often the hard things happened: a test that never meets them proves nothing.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reached {
    pub(super) reads: usize,
    pub(super) reads_in_vain: usize,
    pub(super) restores: usize,
    pub(super) memberships: usize,
}

#[derive(Debug, Default)]
pub(super) struct Oracle {
    /// Everything committed by anybody.
    ledger: BTreeMap<Index, Committed>,
    /// The members named by what is committed.
    members: BTreeMap<Index, Arc<Membership>>,
    /// Who has led each term.
    leaders: BTreeMap<Term, NodeId>,
    /// Up to here nothing is known of what was committed: nodes started with it.
    beneath: Index,
    /// What was on a disk, was acknowledged, and is lost.
    lost: BTreeSet<(NodeId, Term, Index)>,
    seen: BTreeMap<NodeId, Seen>,
    pub(super) reached: Reached,
}

impl Oracle {
    pub(super) fn knows_beneath(&mut self, index: Index) {
        self.beneath = self.beneath.max(index);
    }

    /// The last index committed by anybody.
    pub(super) fn committed(&self) -> Index {
        self.ledger.last_key_value().map_or(self.beneath, |(index, _)| *index)
    }

    /// How many terms had a leader.
    pub(super) fn terms_led(&self) -> usize {
        self.leaders.len()
    }

    pub(super) fn loses(&mut self, id: NodeId, entries: &[Entry]) {
        self.lost.extend(entries.iter().map(|entry| (id, entry.term, entry.index)));
    }

    /// A node applies an entry.
    pub(super) fn applies(&self, node: &Node, entry: &Entry) {
        assert_eq!(entry.index, node.log.applied().next(), "applied in order");
        if self.beneath < entry.index {
            let known = self.ledger.get(&entry.index).expect("applied only what is committed");
            assert_eq!(known.entry, *entry, "state machine safety");
        }
    }

    /// A node is handed a state.
    pub(super) fn restores(&mut self, snapshot: &Snapshot) {
        self.reached.restores += 1;
        let (term, index) = snapshot.last;
        if let Some(known) = self.ledger.get(&index) {
            assert_eq!(known.entry.term, term, "state machine safety of snapshots");
        }
        self.check_members(index, &snapshot.membership);
    }

    /// A leader tells another to take over: that one has all there is to lose.
    pub(super) fn hands_over(&self, leader: &Node, heir: &Member) {
        let committed = leader.log.committed();
        let Some(known) = self.ledger.get(&committed) else { return };
        let lost = (heir.config.id, known.entry.term, committed);
        let holds = heir.disk.holds(&known.entry) || self.lost.contains(&lost);
        assert!(holds, "only who has all that is committed is told to stand");
    }

    fn check_members(&self, index: Index, membership: &Arc<Membership>) {
        if let Some((_, known)) = self.members.range(..=index).next_back() {
            assert_eq!(known, membership, "all know the same members");
        }
    }

    /// Something was done to a node.
    pub(super) fn look_at(&mut self, id: NodeId, members: &BTreeMap<NodeId, Member>) {
        let Some(node) = &members[&id].node else { return };
        let now = Seen {
            term: node.term(),
            leads: matches!(node.state, State::Leader(_)),
            last: node.log.last(),
            floor: node.log.floor().1,
        };
        let before = self.seen.insert(id, now).unwrap_or_default();
        if now.leads {
            let leader = *self.leaders.entry(now.term).or_insert(id);
            assert_eq!(leader, id, "election safety");
            if before.leads && before.term == now.term {
                let kept = node.log.term_at(before.last.1).is_none_or(|term| term == before.last.0);
                assert!(kept && before.last.1 <= now.last.1, "leader append-only");
            } else {
                self.check_leader_completeness(node);
            }
        }
        // A leader that does not belong to the group any more stops with the commit that says so.
        if now.leads || (before.leads && before.term == now.term) {
            self.note_commits(node, members);
        }
        if self.beneath < node.log.committed() {
            assert!(node.log.committed() <= self.committed(), "only leaders find out");
        }
        self.check_members(node.log.applied(), node.log.membership_applied());
        if before != now {
            let others = members.values().filter_map(|member| member.node.as_ref());
            for other in others.filter(|other| other.id != id) {
                check_log_matching(node, other);
            }
        }
    }

    /// What a leader has committed, nobody else did otherwise.
    fn note_commits(&mut self, node: &Node, members: &BTreeMap<NodeId, Member>) {
        let first = self.committed().max(node.log.floor().1).next();
        for index in (first.0..=node.log.committed().0).map(Index) {
            let entry = node.log.get(index).expect("what was just committed is kept").clone();
            self.check_quorum_holds(node, &entry, members);
            if let Content::Membership(membership) = &entry.content {
                self.reached.memberships += 1;
                self.members.insert(index, Arc::clone(membership));
            }
            self.ledger.insert(index, Committed { entry, term: node.term() });
            let others = members.values().filter_map(|member| member.node.as_ref());
            for leader in others.filter(|other| matches!(other.state, State::Leader(_))) {
                self.check_leader_completeness(leader);
            }
        }
    }

    /// A commit happens under the membership that is last in the log, but may itself have appended
    /// the next one.
    fn check_quorum_holds(&self, leader: &Node, entry: &Entry, members: &BTreeMap<NodeId, Member>) {
        let holds = |id: NodeId| {
            members.get(&id).is_some_and(|member| member.disk.holds(entry))
                || self.lost.contains(&(id, entry.term, entry.index))
        };
        let log = &leader.log;
        let since = log.membership_since();
        let proven = quorum::agrees(log.membership(), holds)
            || (log.committed() < since
                && since == log.last().1
                && quorum::agrees(log.membership_at(Index(since.0 - 1)), holds));
        assert!(proven, "{entry:?} is committed without a quorum of disks");
    }

    fn check_leader_completeness(&self, leader: &Node) {
        for (index, known) in self.ledger.range(leader.log.floor().1.next()..) {
            if known.term < leader.term() {
                assert_eq!(leader.log.get(*index), Some(&known.entry), "leader completeness");
            }
        }
    }
}

fn check_log_matching(one: &Node, other: &Node) {
    let first = one.log.floor().1.max(other.log.floor().1).0;
    let last = one.log.last().1.min(other.log.last().1).0;
    let mut agrees_above = false;
    for index in (first..=last).rev().map(Index) {
        let agrees = one.log.term_at(index) == other.log.term_at(index);
        assert!(agrees || !agrees_above, "log matching at {index}");
        if agrees && first < index.0 {
            assert_eq!(one.log.get(index), other.log.get(index), "log matching");
        }
        agrees_above = agrees;
    }
}
