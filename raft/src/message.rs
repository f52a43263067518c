//! Plain data: what nodes say to each other, and what they keep.

use std::fmt;
use std::sync::Arc;

/// A period with at most one leader. Term 0 is before the first election.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Term(pub u64);

impl Term {
    /// The term after this one.
    pub fn next(self) -> Term {
        Term(self.0 + 1)
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A place in the log. The first entry has index 1; index 0 is the place before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Index(pub u64);

impl Index {
    /// The place after this one.
    pub fn next(self) -> Index {
        Index(self.0 + 1)
    }
}

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A member of the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One entry of the log. Clones share the payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The term of the leader that made it.
    pub term: Term,
    /// Its place.
    pub index: Index,
    /// What was proposed, never looked at here. Empty in the entry a new leader begins its term
    /// with, and only there.
    pub payload: Arc<[u8]>,
}

impl Entry {
    /// Term and place: two logs that agree on these agree on everything up to here.
    pub fn position(&self) -> (Term, Index) {
        (self.term, self.index)
    }
}

/// What a node must remember beside its log, so that it never votes twice in a term.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HardState {
    /// The newest term seen.
    pub term: Term,
    /// Who got this node's vote in that term.
    pub vote: Option<NodeId>,
}

/// A message from one node to another. May be lost, doubled, delayed and reordered at will.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The sender.
    pub from: NodeId,
    /// The receiver.
    pub to: NodeId,
    /// The sender's term.
    pub term: Term,
    /// What it says.
    pub body: Body,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// A candidate asks for a vote (RequestVote of the paper).
    VoteRequest {
        /// The last entry of the candidate's log.
        last: (Term, Index),
    },
    /// The answer to it.
    VoteReply {
        /// Whether the vote is the candidate's.
        granted: bool,
    },
    /// A leader hands over entries, or none as a heartbeat (AppendEntries of the paper).
    Append {
        /// The entry just before `entries`.
        previous: (Term, Index),
        /// Entries in order and without a hole.
        entries: Vec<Entry>,
        /// The leader's commit index.
        committed: Index,
    },
    /// The follower's log agrees with the leader's up to `matched`, and is durable up to there.
    AppendAccepted {
        /// The last entry the append spoke of.
        matched: Index,
    },
    /// The follower has no entry `previous`, or one of another term.
    AppendRejected {
        /// The place the append wanted to continue from.
        previous: Index,
        /// The last place where the follower may agree with the leader, with the term it holds there.
        hint: (Term, Index),
    },
}

impl Message {
    /// Whether a correct peer could have sent this. Others are not worth an answer.
    pub(crate) fn is_well_formed(&self) -> bool {
        match &self.body {
            Body::VoteRequest { last } => last.0 < self.term,
            Body::VoteReply { .. } | Body::AppendAccepted { .. } => true,
            Body::AppendRejected { previous, hint } => hint.1 <= *previous,
            Body::Append { previous, entries, .. } => {
                let mut last = *previous;
                for entry in entries {
                    if entry.index.0.checked_sub(1) != Some(last.1.0) || entry.term < last.0 {
                        return false;
                    }
                    last = entry.position();
                }
                last.0 <= self.term
            }
        }
    }
}
