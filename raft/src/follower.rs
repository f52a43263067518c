//! Following: taking over a leader's log.

use crate::message::{Body, Entry, Index, NodeId, Term};
use crate::node::Node;
#[cfg(feature = "sabotage")]
use crate::sabotage::Sabotage;

impl Node {
    /// The leader of the current term hands over entries that continue `previous`.
    pub(crate) fn on_append(
        &mut self,
        (previous, entries): ((Term, Index), Vec<Entry>),
        known: Index,
        round: u64,
    ) {
        let leader = self.leader.expect("an append comes from the leader");
        self.heard_round = self.heard_round.max(round);
        let floor = self.log.floor().1;
        // What is below the floor has left memory, but was committed: it agrees.
        if floor <= previous.1 && self.log.term_at(previous.1) != Some(previous.0) {
            self.reject(leader, previous, round);
            return;
        }
        // Except with a leader that was deposed while a state of its successor was taken over here.
        let floor = self.log.floor();
        if entries.iter().any(|entry| entry.index == floor.1 && entry.term != floor.0) {
            return;
        }
        let matched = entries.last().map_or(previous.1, |entry| entry.index);
        self.log.merge(entries);
        #[cfg(feature = "sabotage")]
        if self.breaks(Sabotage::CutBehindAppend) {
            let from = matched.max(self.log.committed()).max(self.log.floor().1).next();
            if from <= self.log.last().1 {
                self.log.truncate(from);
            }
        }
        assert!(matched <= self.log.last().1, "all that was sent is here");
        // Beyond `matched` our log may hold what the leader does not.
        let shared = matched;
        #[cfg(feature = "sabotage")]
        let shared = match self.breaks(Sabotage::CommitBeyondMatched) {
            true => self.log.last().1,
            false => shared,
        };
        self.log.commit(known.min(shared));
        if self.log.term_at(self.log.committed()) == Some(self.term()) {
            self.rounds_in_vain = 0;
        }
        self.promise_with_log(leader, Body::AppendAccepted { matched, round }, matched);
        self.mend(matched, known);
    }

    /// Refuses an append, and says where to try next.
    pub(crate) fn reject(&mut self, from: NodeId, previous: (Term, Index), round: u64) {
        let known = self.log.last_agreeable(previous);
        // A leader of an older term may ask for what is beneath our floor; it learns the term at least.
        let hint = if known.1 <= previous.1 { known } else { previous };
        self.promise(from, Body::AppendRejected { previous: previous.1, hint, round });
    }

    /// The leader has nothing to do. Whoever has all it has may let time stand still; whoever has not
    /// says so, which wakes the leader.
    pub(crate) fn on_rest(&mut self, last: (Term, Index)) {
        let has_all = self.log.last() == last && self.log.durable() == last.1;
        if has_all {
            self.log.commit(last.1);
        }
        if has_all && self.doubt.is_none() && self.asked.is_empty() {
            self.come_to_rest();
            return;
        }
        self.wake();
        if self.log.last() < last {
            let leader = self.leader.expect("an order to rest comes from the leader");
            self.reject(leader, last, 0);
        }
    }
}
