//! The face of a node: its state, and who handles what.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::election::{Ballot, Jitter};
use crate::leader::{APPEND_BYTES_MAX, Progress};
use crate::log::Log;
use crate::message::{Body, Entry, HardState, Index, Message, NodeId, Term};
use crate::ready::{HardMarks, Promise};

/// The most terms a message may be ahead of its receiver: 50 days of an election every millisecond.
/// Without it one absurd message could use up all the terms there are.
const TERMS_AHEAD_MAX: u64 = 1 << 32;

/// What a node is told once.
#[derive(Debug, Clone)]
pub struct Config {
    /// This node.
    pub id: NodeId,
    /// All that vote, this node among them, each once.
    pub voters: Vec<NodeId>,
    /// A follower that hears nothing campaigns after a random number of ticks from here up to twice
    /// this, not included. More than `heartbeat_ticks`.
    pub election_ticks: u32,
    /// A leader speaks at least this often. At least 1.
    pub heartbeat_ticks: u32,
    /// Where that randomness comes from. Nodes may share it: each mixes in its id.
    pub seed: u64,
}

/// What a node had made durable before it stopped.
#[derive(Debug, Clone, Default)]
pub struct Restored {
    /// The last one that became durable.
    pub hard_state: HardState,
    /// The last entry whose effect the state machine starts with; the log begins after it.
    pub snapshot: (Term, Index),
    /// The log from there on, without a hole.
    pub entries: Vec<Entry>,
}

/// A proposal came to a node that does not lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotLeader {
    /// Who leads, if this node knows.
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

/// What a node is in its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Listens to a leader, or waits for one.
    Follower,
    /// Stands for election.
    Candidate,
    /// Leads its term.
    Leader,
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
}

/// One member of a group. See the crate's documentation for how to drive it.
#[derive(Debug)]
pub struct Node {
    pub(crate) id: NodeId,
    pub(crate) voters: Box<[NodeId]>,
    pub(crate) election_ticks: u32,
    heartbeat_ticks: u32,
    pub(crate) jitter: Jitter,
    pub(crate) hard: HardMarks,
    /// Invariant: whoever leads the current term; ourselves exactly if `state` is `Leader`.
    pub(crate) leader: Option<NodeId>,
    pub(crate) state: State,
    /// Ticks since the last heartbeat if we lead, else since the last sign of life of a leader.
    pub(crate) elapsed: u32,
    /// How many of those until we campaign.
    pub(crate) timeout: u32,
    pub(crate) log: Log,
    /// The most bytes of entries in one append; tests make it smaller.
    pub(crate) append_bytes_max: usize,
    /// May leave at once.
    pub(crate) messages: Vec<Message>,
    /// Leave when durable. Invariant: all of the current term.
    pub(crate) promises: Vec<Promise>,
}

/// What comes with a role.
#[derive(Debug)]
pub(crate) enum State {
    Follower,
    Candidate(Ballot),
    /// One for each other voter.
    Leader(Box<[Progress]>),
}

impl Node {
    /// A follower that continues from what was durable.
    ///
    /// # Panics
    /// If the configuration or the restored state cannot be: `Config` and `Restored` say how they
    /// must be.
    pub fn new(config: Config, restored: Restored) -> Node {
        let Config { id, mut voters, election_ticks, heartbeat_ticks, seed } = config;
        voters.sort_unstable();
        assert!(voters.is_sorted_by(|a, b| a < b), "each voter once");
        assert!(voters.binary_search(&id).is_ok(), "a node is one of the voters");
        assert!(1 <= heartbeat_ticks, "a leader speaks now and then");
        assert!(heartbeat_ticks < election_ticks, "followers hear from a leader before they stand");
        let log = Log::new(restored.snapshot, restored.entries);
        assert!(log.last().0 <= restored.hard_state.term, "no entry is newer than the term");
        let mut node = Node {
            id,
            voters: voters.into(),
            election_ticks,
            heartbeat_ticks,
            jitter: Jitter::new(seed, id),
            hard: HardMarks::new(restored.hard_state),
            leader: None,
            state: State::Follower,
            elapsed: 0,
            timeout: 0,
            log,
            append_bytes_max: APPEND_BYTES_MAX,
            messages: Vec::new(),
            promises: Vec::new(),
        };
        node.restart_timer();
        node.check();
        node
    }

    /// Time has passed.
    pub fn tick(&mut self) {
        self.elapsed += 1;
        match self.state {
            State::Follower | State::Candidate(_) if self.timeout <= self.elapsed => self.stand(),
            State::Leader(_) if self.heartbeat_ticks <= self.elapsed => self.send_heartbeats(),
            State::Follower | State::Candidate(_) | State::Leader(_) => {}
        }
        self.check();
    }

    /// Stands for election now, instead of when the time is up; a group of one does so at start. Does
    /// nothing on a leader.
    pub fn campaign(&mut self) {
        if !matches!(self.state, State::Leader(_)) {
            self.stand();
        }
        self.check();
    }

    /// Adds an entry to the log of the group, and says where. It is there to stay once it comes back
    /// in [`Ready::committed`](crate::Ready::committed); another entry may come back in its place,
    /// with a higher term, or nothing for as long as no leader can be found.
    ///
    /// # Errors
    /// If this node does not lead; then nothing was done.
    ///
    /// # Panics
    /// If the payload is empty: that is how a leader begins its term.
    pub fn propose(&mut self, payload: Arc<[u8]>) -> Result<(Term, Index), NotLeader> {
        assert!(!payload.is_empty(), "an empty payload has a meaning of its own");
        if !matches!(self.state, State::Leader(_)) {
            return Err(NotLeader { leader: self.leader });
        }
        let position = self.append_own(payload);
        self.check();
        Ok(position)
    }

    /// A peer has sent a message. Whatever no correct peer of this group would send is ignored.
    pub fn step(&mut self, message: Message) {
        if !self.is_credible(&message) {
            return;
        }
        if self.term() < message.term {
            self.enter_term(message.term);
        }
        if message.term == self.term() {
            self.step_current(message.from, message.body);
        } else {
            self.answer_stale(message.from, message.body);
        }
        self.check();
    }

    /// The state machine has applied entries up to here.
    ///
    /// # Panics
    /// If they have not all been handed out, or `index` is below that of an earlier call.
    pub fn applied(&mut self, index: Index) {
        self.log.set_applied(index);
        self.check();
    }

    /// Entries up to here may leave memory. Those not durable yet stay until a later call.
    ///
    /// # Panics
    /// If they have not all been applied.
    pub fn compact(&mut self, index: Index) {
        self.log.compact(index);
        self.check();
    }

    /// Term and vote as they are now; what a checkpoint keeps of the log's hard states.
    pub fn hard_state(&self) -> HardState {
        self.hard.accepted
    }

    /// How the node is doing. Costs next to nothing.
    pub fn status(&self) -> Status {
        Status {
            role: match self.state {
                State::Follower => Role::Follower,
                State::Candidate(_) => Role::Candidate,
                State::Leader(_) => Role::Leader,
            },
            term: self.term(),
            leader: self.leader,
            last: self.log.last().1,
            durable: self.log.durable(),
            committed: self.log.committed(),
            applied: self.log.applied(),
            first: self.log.floor().1.next(),
        }
    }

    /// Whether a correct peer of this group could have sent this to us.
    fn is_credible(&self, message: &Message) -> bool {
        message.to == self.id
            && message.from != self.id
            && self.voters.contains(&message.from)
            && message.term.0.saturating_sub(self.term().0) <= TERMS_AHEAD_MAX
            && message.is_well_formed()
    }

    /// A message of the current term.
    fn step_current(&mut self, from: NodeId, body: Body) {
        match body {
            Body::VoteRequest { last } => self.on_vote_request(from, last),
            Body::VoteReply { granted } => self.on_vote_reply(from, granted),
            Body::Append { previous, entries, committed } => {
                self.follow(from);
                self.on_append(previous, entries, committed);
            }
            Body::AppendAccepted { matched } => self.on_accepted(from, matched),
            Body::AppendRejected { previous, hint } => self.on_rejected(from, previous, hint),
        }
    }

    /// A message of an older term. Whoever asks learns the current term from the refusal; a reply
    /// answers something this node no longer asks.
    fn answer_stale(&mut self, from: NodeId, body: Body) {
        match body {
            Body::VoteRequest { .. } => self.promise(from, Body::VoteReply { granted: false }),
            Body::Append { previous, .. } => self.reject(from, previous),
            Body::VoteReply { .. } | Body::AppendAccepted { .. } | Body::AppendRejected { .. } => {}
        }
    }

    pub(crate) fn term(&self) -> Term {
        self.hard.accepted.term
    }

    /// A message that may leave at once.
    pub(crate) fn send(&mut self, to: NodeId, body: Body) {
        let message = self.address(to, body);
        self.messages.push(message);
    }

    /// A message that needs the current term and vote to be durable.
    pub(crate) fn promise(&mut self, to: NodeId, body: Body) {
        self.promise_with_log(to, body, self.log.floor().1);
    }

    /// A message that needs the current term and vote to be durable, and the log up to `needs`. Said
    /// once, however often it is asked for while it waits: a slow disk must not make this grow.
    pub(crate) fn promise_with_log(&mut self, to: NodeId, body: Body, needs: Index) {
        let promise = Promise { message: self.address(to, body), needs };
        if !self.promises.contains(&promise) {
            self.promises.push(promise);
        }
    }

    fn address(&self, to: NodeId, body: Body) -> Message {
        assert!(to != self.id, "a node does not write to itself");
        Message { from: self.id, to, term: self.term(), body }
    }
}
