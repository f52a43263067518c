//! Plain data: what nodes say to each other, and what they keep.

use std::fmt;
use std::sync::Arc;

use crate::membership::Membership;

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

/// A member of the group, for as long as it remembers what it promised. A node that has lost its disk
/// comes back under another id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names one life of a node, from a start to its end: a number that no other life of it has. Which of two
/// is the later one it does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life(pub u64);

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What an entry holds. Clones share it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Nothing: a leader begins its term with it.
    Begin,
    /// What was proposed, never looked at here.
    Command(Arc<[u8]>),
    /// The members from here on.
    Membership(Arc<Membership>),
}

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The term of the leader that made it.
    pub term: Term,
    /// Its place.
    pub index: Index,
    /// What it holds.
    pub content: Content,
}

impl Entry {
    /// Term and place: two logs that agree on these agree on everything up to here.
    pub fn position(&self) -> (Term, Index) {
        (self.term, self.index)
    }

    /// Roughly what it takes in memory.
    pub fn bytes(&self) -> usize {
        let content = match &self.content {
            Content::Begin => 0,
            Content::Command(payload) => payload.len(),
            Content::Membership(membership) => {
                membership.members().count() * size_of::<NodeId>() + size_of::<Membership>()
            }
        };
        size_of::<Entry>() + content
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

/// The head of a snapshot: what state it stands for. The state itself is the driver's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The last entry whose effect it holds.
    pub last: (Term, Index),
    /// The members as of that entry.
    pub membership: Arc<Membership>,
}

/// A message from one node to another. May be lost, doubled, delayed and reordered at will.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The sender.
    pub from: NodeId,
    /// The receiver.
    pub to: NodeId,
    /// The sender's term, but for pre-votes. A question in doubt carries it, and one who is
    /// astray, but nobody enters it.
    pub term: Term,
    /// What it says.
    pub body: Body,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Would you vote for me in the term this message carries? Nobody enters that term for it (thesis,
    /// 9.6).
    PreVoteRequest {
        /// The last entry of the asker's log.
        last: (Term, Index),
    },
    /// The answer to it. Carries the term that was asked for if granted, else the sender's own.
    PreVoteReply {
        /// Whether the sender would.
        granted: bool,
    },
    /// A candidate asks for a vote (RequestVote of the paper).
    VoteRequest {
        /// The last entry of the candidate's log.
        last: (Term, Index),
        /// Whether the leader itself has asked the candidate to stand.
        transferred: bool,
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
        /// Comes back in the answer: whoever has answered a round knew this leader after it began.
        round: u64,
    },
    /// The follower's log agrees with the leader's up to `matched`, and is durable up to there.
    AppendAccepted {
        /// The last entry the append spoke of.
        matched: Index,
        /// The append's.
        round: u64,
    },
    /// The follower has no entry `previous`, or one of another term.
    AppendRejected {
        /// The place the append wanted to continue from.
        previous: Index,
        /// The last place where the follower may agree with the leader, with the term it holds there.
        hint: (Term, Index),
        /// The append's.
        round: u64,
    },
    /// The leader has nothing to do: its log ends here, all of it is committed. Who has the same may
    /// rest.
    Rest {
        /// The last entry of the leader's log.
        last: (Term, Index),
    },
    /// A follower asks the leader how far it must have applied to answer a read.
    ReadRequest {
        /// Comes back in the answer.
        context: u64,
    },
    /// The answer to it.
    ReadReply {
        /// The request's.
        context: u64,
        /// The index, or that there is none to be had.
        index: Option<Index>,
    },
    /// The leader wants the receiver to stand for election at once (thesis, 3.10).
    TimeoutNow,
    /// A node that may have lost the end of its log asks what others remember of it.
    Doubt {
        /// The asker's; comes back in the answer.
        life: Life,
        /// The last entry it has.
        last: (Term, Index),
    },
    /// The answer to it.
    DoubtReply {
        /// The question's.
        life: Life,
        /// The highest index the sender has seen the asker acknowledge; 0 if none.
        remembered: Index,
        /// The last entry of the sender's log.
        last: (Term, Index),
        /// Those who vote, as far as the sender knows; itself if it may be elected.
        voters: Vec<NodeId>,
    },
    /// A node hears no leader, or rests and should not be a member: if it is none any more, whoever leads
    /// is to tell it. Nobody enters the term of this, but a member of an older one is told the newer.
    Astray {
        /// Which node: the sender, or one that has asked the sender.
        node: NodeId,
    },
}

impl Message {
    /// Roughly what it takes in memory.
    pub fn bytes(&self) -> usize {
        let entries = match &self.body {
            Body::Append { entries, .. } => entries.iter().map(Entry::bytes).sum(),
            Body::DoubtReply { voters, .. } => size_of_val(voters.as_slice()),
            _ => 0,
        };
        size_of::<Message>() + entries
    }

    /// Whether a correct peer could have sent this. Others are not worth an answer.
    pub(crate) fn is_well_formed(&self) -> bool {
        match &self.body {
            Body::PreVoteRequest { last } | Body::VoteRequest { last, .. } => last.0 < self.term,
            Body::PreVoteReply { .. }
            | Body::VoteReply { .. }
            | Body::AppendAccepted { .. }
            | Body::ReadRequest { .. }
            | Body::ReadReply { .. }
            | Body::TimeoutNow
            | Body::Astray { .. } => true,
            Body::Rest { last } | Body::Doubt { last, .. } | Body::DoubtReply { last, .. } => {
                last.0 <= self.term
            }
            Body::AppendRejected { previous, hint, .. } => hint.1 <= *previous,
            Body::Append { previous, entries, .. } => {
                let mut last = *previous;
                for entry in entries {
                    let follows = entry.index.0.checked_sub(1) == Some(last.1.0)
                        && last.0 <= entry.term
                        && entry.index.0 < u64::MAX;
                    let sound = match &entry.content {
                        Content::Membership(membership) => {
                            membership.is_sound() && !membership.voters.is_empty()
                        }
                        Content::Begin | Content::Command(_) => true,
                    };
                    if !follows || !sound {
                        return false;
                    }
                    last = entry.position();
                }
                last.0 <= self.term
            }
        }
    }
}
