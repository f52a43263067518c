//! Who belongs to a group, and what it is at each place of the log: a change counts from the moment it
//! is in the log, committed or not (paper, section 6; thesis, chapter 4).

use std::collections::VecDeque;
use std::sync::Arc;

use crate::message::{Index, NodeId};

/// The members of a group. Each list is sorted and names nobody twice, and nobody is both in `voters` and
/// in `learners`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Membership {
    /// Those who vote.
    pub voters: Vec<NodeId>,
    /// Those who voted before and still do while a change is under way: both lists must agree. Empty
    /// otherwise.
    pub outgoing: Vec<NodeId>,
    /// Those who are sent the log and have no vote, but that one among `outgoing` has it until the change
    /// is over.
    pub learners: Vec<NodeId>,
}

impl Membership {
    /// Members between changes.
    ///
    /// # Panics
    /// If a node is both voter and learner.
    pub fn new(mut voters: Vec<NodeId>, mut learners: Vec<NodeId>) -> Membership {
        for list in [&mut voters, &mut learners] {
            list.sort_unstable();
            list.dedup();
        }
        let membership = Membership { voters, outgoing: Vec::new(), learners };
        assert!(membership.is_sound(), "a node is voter or learner, not both");
        membership
    }

    /// Whether the lists are as they must be.
    pub(crate) fn is_sound(&self) -> bool {
        let sorted = [&self.voters, &self.outgoing, &self.learners]
            .iter()
            .all(|list| list.is_sorted_by(|a, b| a < b));
        sorted && self.learners.iter().all(|id| self.voters.binary_search(id).is_err())
    }

    /// Whether a change from one set of voters to another is under way.
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether a node has a vote in either set.
    pub fn is_voter(&self, id: NodeId) -> bool {
        self.voters.binary_search(&id).is_ok() || self.outgoing.binary_search(&id).is_ok()
    }

    /// Whether a node is sent the log.
    pub fn is_member(&self, id: NodeId) -> bool {
        self.is_voter(id) || self.learners.binary_search(&id).is_ok()
    }

    /// All members, each once.
    pub fn members(&self) -> impl Iterator<Item = NodeId> + '_ {
        let learning = self.learners.iter().filter(|id| self.outgoing.binary_search(id).is_err());
        self.electors().chain(learning.copied())
    }

    /// All that vote in either set, each once.
    pub(crate) fn electors(&self) -> impl Iterator<Item = NodeId> + '_ {
        let leaving = self.outgoing.iter().filter(|id| self.voters.binary_search(id).is_err());
        self.voters.iter().chain(leaving).copied()
    }

    /// The same with learners among the voters.
    #[cfg(feature = "sabotage")]
    pub(crate) fn with_learners(&self) -> Membership {
        let voters = self.voters.iter().chain(&self.learners).copied().collect();
        Membership::new(voters, Vec::new())
    }

    /// Those after the change alone.
    #[cfg(feature = "sabotage")]
    pub(crate) fn incoming(&self) -> Membership {
        Membership::new(self.voters.clone(), Vec::new())
    }

    /// Whether one node alone decides everything.
    pub(crate) fn is_ruled_by(&self, id: NodeId) -> bool {
        self.voters == [id] && self.outgoing.is_empty()
    }
}

/// The memberships along the part of the log that is in memory.
#[derive(Debug)]
pub(crate) struct Members {
    /// Where each began to count, ascending; the first is the one at the log's floor.
    along: VecDeque<(Index, Arc<Membership>)>,
}

impl Members {
    pub(crate) fn new(floor: Index, membership: Arc<Membership>) -> Members {
        assert!(membership.is_sound(), "members are sorted, and learners do not vote");
        let mut along = VecDeque::with_capacity(1);
        along.push_back((floor, membership));
        Members { along }
    }

    /// The one that counts: the newest in the log.
    pub(crate) fn current(&self) -> &Arc<Membership> {
        &self.newest().1
    }

    /// Where that one stands in the log.
    pub(crate) fn since(&self) -> Index {
        self.newest().0
    }

    fn newest(&self) -> &(Index, Arc<Membership>) {
        self.along.back().expect("there is one at the floor")
    }

    /// Whether a node has a vote in the one as of `index` or in any after it.
    pub(crate) fn any_since(&self, index: Index, id: NodeId) -> bool {
        let mut newest_first = self.along.iter().rev();
        let beneath = newest_first.position(|(since, _)| *since <= index);
        let open = beneath.map_or(self.along.len(), |slot| slot + 1);
        self.along.iter().rev().take(open).any(|(_, membership)| membership.is_voter(id))
    }

    /// The one as of an index that is not below the floor.
    pub(crate) fn at(&self, index: Index) -> &Arc<Membership> {
        let mut newest_first = self.along.iter().rev();
        let found = newest_first.find(|(since, _)| *since <= index);
        &found.expect("there is one at the floor").1
    }

    /// An entry that changes the members is in the log.
    pub(crate) fn push(&mut self, index: Index, membership: Arc<Membership>) {
        assert!(self.since() < index, "memberships follow each other along the log");
        self.along.push_back((index, membership));
    }

    #[cfg(test)]
    pub(crate) fn heap_bytes(&self) -> usize {
        self.along.capacity() * size_of::<(Index, Arc<Membership>)>()
    }

    /// Entries from `from` on are gone.
    pub(crate) fn truncate(&mut self, from: Index) {
        while 1 < self.along.len() && from <= self.since() {
            self.along.pop_back();
        }
    }

    /// The log now begins after `floor`.
    pub(crate) fn compact(&mut self, floor: Index) {
        while self.along.get(1).is_some_and(|(since, _)| *since <= floor) {
            self.along.pop_front();
        }
    }
}
