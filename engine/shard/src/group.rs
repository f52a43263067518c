//! One Raft group: its node, and the requests that wait for an entry to be committed.

use std::collections::VecDeque;
use std::sync::Arc;

use model::ids::GroupId;
use raft::{Entry, Index, Node, Term};

use crate::checkpoint::GroupMark;
use crate::effect::Ticket;

/// A group of this shard.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) id: GroupId,
    pub(crate) node: Node,
    /// Requests whose entries are not applied yet, in index order.
    waiting: VecDeque<Waiting>,
    /// The last entry applied.
    applied: (Term, Index),
    /// The term this node led when it last applied an entry of its own: from then on what it has
    /// applied is as new as what any client was told.
    serving: Option<Term>,
    /// Whether the shard looks at the node before the turn ends.
    pub(crate) awake: bool,
}

#[derive(Debug)]
struct Waiting {
    term: Term,
    index: Index,
    ticket: Ticket,
    bytes: usize,
}

/// A request whose entry's place in the log is decided.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Resolved {
    pub(crate) ticket: Ticket,
    /// What the request held of the shard's bound.
    pub(crate) bytes: usize,
    /// Whether the entry is the one the request proposed; if another leader's took its place, nobody
    /// knows yet what became of it.
    pub(crate) own: bool,
}

impl Group {
    /// A group whose state machine has applied everything up to `applied`.
    pub(crate) fn new(id: GroupId, node: Node, applied: (Term, Index)) -> Group {
        Group { id, node, waiting: VecDeque::new(), applied, serving: None, awake: true }
    }

    /// Whether reads may be answered from what is applied here.
    pub(crate) fn is_serving(&self) -> bool {
        self.serving.is_some()
    }

    /// Proposes a command for a request.
    ///
    /// # Errors
    /// This node does not lead the group.
    pub(crate) fn propose(
        &mut self,
        payload: Arc<[u8]>,
        ticket: Ticket,
        bytes: usize,
    ) -> Result<(), raft::NotLeader> {
        let (term, index) = self.node.propose(payload)?;
        if let Some(last) = self.waiting.back() {
            assert!(last.index < index, "proposals take rising places");
        }
        self.waiting.push_back(Waiting { term, index, ticket, bytes });
        Ok(())
    }

    /// Notes that an entry is applied.
    pub(crate) fn note_applied(&mut self, entry: &Entry, leads: Option<Term>) {
        assert_eq!(entry.index.0, self.applied.1.0 + 1, "entries are applied in order, each once");
        self.applied = (entry.term, entry.index);
        if leads == Some(entry.term) {
            self.serving = leads;
        }
    }

    /// The request that waits for an applied entry, if it came through this node.
    pub(crate) fn resolve(&mut self, entry: &Entry) -> Option<Resolved> {
        let front = self.waiting.front()?;
        assert!(entry.index <= front.index, "requests are resolved in order");
        if front.index != entry.index {
            return None;
        }
        let Waiting { term, ticket, bytes, .. } = self.waiting.pop_front()?;
        Some(Resolved { ticket, bytes, own: term == entry.term })
    }

    /// What a checkpoint says of the group.
    pub(crate) fn mark(&self) -> GroupMark {
        let hard_state = self.node.hard_state();
        GroupMark {
            group: self.id,
            term: self.applied.0,
            index: self.applied.1,
            current_term: hard_state.term,
            vote: hard_state.vote,
        }
    }
}
