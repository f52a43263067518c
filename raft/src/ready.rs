//! The conversation with whoever drives a node: what is to be done, and that it is done.

use crate::limits::PROMISES_MAX;
use crate::message::{Body, Entry, HardState, Index, Message, NodeId, Snapshot, Term};
use crate::node::Node;
#[cfg(feature = "sabotage")]
use crate::sabotage::Sabotage;

/// What is to be done. Fields are independent but for what they say here; within a field the order
/// matters.
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use = "what a Ready asks for is asked only once"]
pub struct Ready {
    /// To be made durable.
    pub hard_state: Option<HardState>,
    /// To be made durable after the hard state: the log on disk restarts behind it. Of the entries
    /// written before only those behind it count, and only if the one at its place has its term.
    pub snapshot: Option<Snapshot>,
    /// To be appended to the log on disk, after hard state and snapshot, in one durable batch with
    /// them. If the first index is not above the last one written before, everything from it on is
    /// replaced.
    pub entries: Vec<Entry>,
    /// Goes back by [`Node::persisted`] when hard state, snapshot and entries are durable. Present if and
    /// only if there are any.
    pub receipt: Option<Receipt>,
    /// May leave at once, beside the write.
    pub messages: Vec<Message>,
    /// May leave only when this Ready's write is durable. Empty if there is no receipt.
    pub messages_after_persist: Vec<Message>,
    /// To be applied, in order, at once: durable on a quorum, though perhaps not yet on this disk.
    pub committed: Vec<Entry>,
    /// Reads that have come to an end.
    pub reads: Vec<Read>,
    /// Followers that need what has left memory. The driver sends each the state it has applied, and
    /// says by [`Node::snapshot_ended`] when that is over. Each is named once until then.
    pub snapshots: Vec<NodeId>,
}

/// How a read ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    /// What it was asked with.
    pub context: u64,
    /// Once the state machine has applied this much it shows everything that was acknowledged before
    /// the read was asked for. `None` if no leader could be asked: nothing is known.
    pub index: Option<Index>,
}

/// Stands for a Ready's write, and for all before it. Receipts come back in the order they were
/// handed out; one may be left out if a later one comes. A receipt for entries which have been
/// replaced since says nothing about those that are there now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The term of the node at that moment.
    pub term: Term,
    /// The last entry of the log at that moment, if it was not known to be durable.
    pub last: Option<(Term, Index)>,
    /// Whom the node had voted for at that moment.
    pub(crate) vote: Option<NodeId>,
    /// Where the log was restarted last by then, if that was not known to be durable.
    pub(crate) restored: Option<Index>,
}

impl Receipt {
    /// The receipt for a first part of the write: hard state and entries up to `last`, which is one
    /// of the Ready's. For drivers that cut a large Ready into several durable batches.
    pub fn up_to(&self, last: &Entry) -> Receipt {
        assert!(Some(last.position()) <= self.last, "the entry is part of the write");
        Receipt { last: Some(last.position()), ..self.clone() }
    }
}

/// Term and vote, and how far they have come to the disk.
#[derive(Debug)]
pub(crate) struct HardMarks {
    pub(crate) accepted: HardState,
    pub(crate) submitted: HardState,
    pub(crate) durable: HardState,
}

impl HardMarks {
    pub(crate) fn new(restored: HardState) -> HardMarks {
        HardMarks { accepted: restored, submitted: restored, durable: restored }
    }

    pub(crate) fn is_durable(&self) -> bool {
        self.durable == self.accepted
    }

    fn submit(&mut self) -> Option<HardState> {
        let changed = self.submitted != self.accepted;
        self.submitted = self.accepted;
        changed.then_some(self.submitted)
    }
}

/// A message that says something which must be durable first.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Promise {
    pub(crate) message: Message,
    /// The log must be durable up to here, and the hard state as it was when the promise was made.
    pub(crate) needs: Index,
}

/// A snapshot that was taken over and is not known to be durable as the start of the log.
#[derive(Debug)]
pub(crate) struct Restoring {
    pub(crate) snapshot: Snapshot,
    /// Whether it was handed out for writing.
    pub(crate) submitted: bool,
}

impl Node {
    /// Whether [`Node::ready`] would have something to say. Costs next to nothing.
    pub fn has_ready(&self) -> bool {
        self.hard.submitted != self.hard.accepted
            || self.log.submitted() < self.log.last().1
            || self.log.handed() < self.log.committed()
            || !self.messages.is_empty()
            || !self.reads.is_empty()
            || self.restoring.as_ref().is_some_and(|restoring| !restoring.submitted)
            || self.promises.iter().any(|promise| self.keeps(promise))
            || self.has_news()
    }

    /// Everything to be done since the last call. Several may be under way before the first
    /// [`Node::persisted`].
    pub fn ready(&mut self) -> Ready {
        self.begin_rounds();
        let snapshots = self.ask_for_snapshots();
        self.send_appends();
        let hard_state = self.hard.submit();
        let snapshot = self.submit_restored();
        let entries = self.log.submit();
        let writes = hard_state.is_some() || snapshot.is_some() || !entries.is_empty();
        let receipt = writes.then(|| Receipt {
            term: self.hard.accepted.term,
            last: self.log.unproven(),
            vote: self.hard.accepted.vote,
            restored: self.restoring.as_ref().map(|restoring| restoring.snapshot.last.1),
        });
        let messages_after_persist = self.release_promises(writes);
        let messages = std::mem::take(&mut self.messages);
        let committed = self.log.hand_out();
        let reads = std::mem::take(&mut self.reads);
        self.check();
        Ready {
            hard_state,
            snapshot,
            entries,
            receipt,
            messages,
            messages_after_persist,
            committed,
            reads,
            snapshots,
        }
    }

    /// What the Ready with this receipt asked for is durable, and what all before it asked for.
    pub fn persisted(&mut self, receipt: Receipt) {
        let term = self.hard.accepted.term;
        assert!(receipt.term <= term, "receipts come from this node");
        // A receipt of an older term may speak of entries that were replaced and put back since: the
        // disk may hold the ones between. Nothing is lost by not listening, since a new term is
        // itself written and its receipt stands for all before. Within a term nothing handed out is
        // put back after it was replaced: only that term's leader appends, and it never replaces
        // what it has.
        #[cfg(feature = "sabotage")]
        if self.breaks(Sabotage::CountStaleReceipt)
            && let Some((_, index)) = receipt.last
            && let Some(term) = self.log.term_at(index.min(self.log.submitted()))
        {
            self.log.persisted((term, index.min(self.log.submitted())));
        }
        if receipt.term == term {
            self.hard.durable =
                HardState { term, vote: receipt.vote.or(self.hard.durable_vote(term)) };
            if self.restoring.as_ref().is_some_and(|r| receipt.restored == Some(r.snapshot.last.1))
            {
                self.restoring = None;
            }
            if let Some(last) = receipt.last {
                self.log.persisted(last);
            }
            self.count_own_vote();
            self.count_own_entries();
            self.dispel_doubt();
        }
        self.check();
    }

    fn submit_restored(&mut self) -> Option<Snapshot> {
        let restoring = self.restoring.as_mut().filter(|restoring| !restoring.submitted)?;
        restoring.submitted = true;
        Some(restoring.snapshot.clone())
    }

    /// Sorts the promises: those kept join the messages, those that this Ready's write makes true are
    /// returned. If there is no such write they wait for one that is under way.
    fn release_promises(&mut self, writes: bool) -> Vec<Message> {
        let mut after_persist = Vec::new();
        for promise in std::mem::take(&mut self.promises) {
            if self.keeps(&promise) {
                self.messages.push(promise.message);
            } else if writes {
                after_persist.push(promise.message);
            } else {
                self.promises.push(promise);
            }
        }
        after_persist
    }

    fn keeps(&self, promise: &Promise) -> bool {
        #[cfg(feature = "sabotage")]
        match promise.message.body {
            Body::VoteReply { .. } | Body::VoteRequest { .. }
                if self.breaks(Sabotage::VoteBeforeDurable) =>
            {
                return true;
            }
            Body::AppendAccepted { .. } if self.breaks(Sabotage::AcceptBeforeDurable) => {
                return true;
            }
            _ => {}
        }
        self.hard.is_durable() && self.restoring.is_none() && promise.needs <= self.log.durable()
    }

    /// Makes a promise, once however often it is asked for while it waits: a slow disk must not make
    /// this grow. Of answers that differ in their round alone the newest is given.
    pub(crate) fn promise_with_log(&mut self, to: NodeId, body: Body, needs: Index) {
        let message = self.address(to, body);
        let has_room = self.promises.len() < PROMISES_MAX;
        let twin = self.promises.iter_mut().find(|known| known.message.renews(&message));
        match twin {
            Some(known) => known.message.take_round(&message),
            None if has_room => self.promises.push(Promise { message, needs }),
            None => {}
        }
    }
}

impl Message {
    /// Whether another message says the same, perhaps in a later round.
    fn renews(&self, other: &Message) -> bool {
        if self.to != other.to || self.term != other.term {
            return false;
        }
        match (&self.body, &other.body) {
            (Body::AppendAccepted { matched: a, .. }, Body::AppendAccepted { matched: b, .. }) => {
                a == b
            }
            (
                Body::AppendRejected { previous: a, hint: hint_a, .. },
                Body::AppendRejected { previous: b, hint: hint_b, .. },
            ) => a == b && hint_a == hint_b,
            (a, b) => a == b,
        }
    }

    fn take_round(&mut self, other: &Message) {
        if let (
            Body::AppendAccepted { round, .. } | Body::AppendRejected { round, .. },
            Body::AppendAccepted { round: newer, .. } | Body::AppendRejected { round: newer, .. },
        ) = (&mut self.body, &other.body)
        {
            *round = (*round).max(*newer);
        }
    }
}

impl HardMarks {
    /// The vote known to be durable in a term.
    fn durable_vote(&self, term: Term) -> Option<NodeId> {
        if self.durable.term == term { self.durable.vote } else { None }
    }
}
