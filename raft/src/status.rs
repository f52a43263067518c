//! What a node says of itself, and why it refuses.

use std::error::Error;
use std::fmt;

use crate::message::{Index, NodeId, Term};

/// A proposal came to a node that does not lead, or hands over to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotLeader {
    /// Who leads, or will, if this node knows.
    pub leader: Option<NodeId>,
}

impl fmt::Display for NotLeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.leader {
            Some(leader) => write!(f, "node {leader} leads"),
            None => f.write_str("no leader is known"),
        }
    }
}

impl Error for NotLeader {}

/// Why a change of members was not begun; nothing was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeRefused {
    /// Another node decides.
    NotLeader(NotLeader),
    /// Another change is not finished, nothing of this term is committed yet, or leadership is being
    /// handed over.
    Busy,
    /// The members are those already, or nobody would vote.
    Pointless,
}

impl fmt::Display for ChangeRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChangeRefused::NotLeader(not) => not.fmt(f),
            ChangeRefused::Busy => f.write_str("another change is under way"),
            ChangeRefused::Pointless => f.write_str("there is nothing to change"),
        }
    }
}

impl Error for ChangeRefused {}

/// Why leadership was not handed over; nothing was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferRefused {
    /// Another node leads.
    NotLeader(NotLeader),
    /// The heir has no vote, or is the leader.
    NoHeir,
    /// Leadership is being handed over already.
    Busy,
}

impl fmt::Display for TransferRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TransferRefused::NotLeader(not) => not.fmt(f),
            TransferRefused::NoHeir => f.write_str("that node cannot lead instead"),
            TransferRefused::Busy => f.write_str("leadership is being handed over already"),
        }
    }
}

impl Error for TransferRefused {}

/// What a node is in its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Listens to a leader, or waits for one.
    Follower,
    /// Stands for election, or asks whether it should.
    Candidate,
    /// Leads its term.
    Leader,
}

impl Role {
    /// Whether it leads.
    pub fn leads(self) -> bool {
        self == Role::Leader
    }
}

/// How a node is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// What it is.
    pub role: Role,
    /// Its term.
    pub term: Term,
    /// Who leads that term, if known.
    pub leader: Option<NodeId>,
    /// The end of its log.
    pub last: Index,
    /// Its log is durable up to here.
    pub durable: Index,
    /// What is known to be durable on a quorum.
    pub committed: Index,
    /// What its state machine has applied.
    pub applied: Index,
    /// The first index it keeps in memory; one more than `last` if it keeps none.
    pub first: Index,
    /// Whether it is at rest.
    pub quiet: bool,
    /// To whom it hands leadership over.
    pub transferring: Option<NodeId>,
}
