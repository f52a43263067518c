//! The face of a node: its state, and who handles what.

use std::sync::Arc;

use crate::doubt::Doubt;
use crate::election::{Ballot, Jitter};
use crate::leader::Leadership;
use crate::limits::TERMS_AHEAD_MAX;
use crate::log::Log;
use crate::membership::Membership;
use crate::message::{Body, Entry, HardState, Index, Life, Message, NodeId, Snapshot, Term};
use crate::progress::PeerStatus;
use crate::read::Asked;
use crate::ready::{HardMarks, Promise, Read, Restoring};
use crate::status::{NotLeader, Role, Status};

/// What a node is told once.
#[derive(Debug, Clone)]
pub struct Config {
    /// This node.
    pub id: NodeId,
    /// A follower that hears nothing stands for election after a random number of ticks from here up to
    /// twice this, not included; after some elections in vain, of up to nine times this. A leader that
    /// hears no quorum for this long steps down, one that was elected after elections in vain only after
    /// up to eight times this. More than `heartbeat_ticks`.
    pub election_ticks: u32,
    /// A leader speaks at least this often. At least 1.
    pub heartbeat_ticks: u32,
    /// A leader with nothing to do tells its followers to rest after so many ticks; 0 for never.
    pub quiet_ticks: u32,
    /// Where the randomness of elections comes from. Nodes may share it: each mixes in its id.
    pub seed: u64,
    /// Appends with entries under way to one follower, at most. At least 1.
    pub inflight_max: usize,
    /// The most bytes of entries in one append, unless a single one is longer.
    pub append_bytes_max: usize,
    /// Whether a leader answers reads without a round while a quorum has heard from it within an
    /// election timeout. Safe only if no two clocks of the group differ in speed by more than one tick
    /// in an election timeout; then all nodes must be told the same.
    pub lease: bool,
    /// The rule to be broken.
    #[cfg(feature = "sabotage")]
    pub sabotage: Option<crate::sabotage::Sabotage>,
}

/// What a node had made durable before it stopped.
#[derive(Debug, Clone)]
pub struct Restored {
    /// The last one that became durable.
    pub hard_state: HardState,
    /// What the state machine starts with; the log begins after it.
    pub snapshot: Snapshot,
    /// The log from there on, without a hole.
    pub entries: Vec<Entry>,
    /// Set if the end of the log may be missing: something was being written when the node stopped and cannot
    /// be read, or the node was in doubt when it stopped. Then it asks the others before it votes. This names
    /// the life that begins, and goes with the questions and their answers: what was answered to an earlier
    /// life does not tell what was heard of it since, and what an earlier one acknowledged counts no more
    /// with a leader that was asked.
    pub doubtful: Option<Life>,
}

impl Restored {
    /// A node that has nothing yet, in a group that begins with these members.
    pub fn fresh(membership: Arc<Membership>) -> Restored {
        Restored {
            hard_state: HardState::default(),
            snapshot: Snapshot { last: (Term(0), Index(0)), membership },
            entries: Vec::new(),
            doubtful: None,
        }
    }
}

/// One member of a group. See the crate's documentation for how to drive it.
#[derive(Debug)]
pub struct Node {
    pub(crate) id: NodeId,
    pub(crate) election_ticks: u32,
    pub(crate) heartbeat_ticks: u32,
    pub(crate) quiet_ticks: u32,
    pub(crate) in_flight_max: usize,
    pub(crate) append_bytes_max: usize,
    pub(crate) lease: bool,
    #[cfg(feature = "sabotage")]
    pub(crate) sabotage: Option<crate::sabotage::Sabotage>,
    pub(crate) jitter: Jitter,
    pub(crate) hard: HardMarks,
    /// Invariant: whoever leads the current term; ourselves exactly if `state` is `Leader`.
    pub(crate) leader: Option<NodeId>,
    pub(crate) state: State,
    /// Ticks since the last heartbeat if we lead, else since the last sign of life of a leader.
    pub(crate) elapsed: u32,
    /// Ticks since the last sign of life of any leader, or since the start: what a lease counts on.
    pub(crate) heard: u32,
    /// The newest round of the leader of this term that we heard of.
    pub(crate) heard_round: u64,
    /// How many of `elapsed` until we stand.
    pub(crate) timeout: u32,
    /// Elections this node began, and leaderships it lost, since a leader last committed something of
    /// its own term.
    pub(crate) rounds_in_vain: u32,
    /// Whether time stands still: the group has nothing to do.
    pub(crate) quiet: bool,
    pub(crate) log: Log,
    /// A state that was taken over and is on its way to disk.
    pub(crate) restoring: Option<Box<Restoring>>,
    /// Whether we may have lost what we acknowledged.
    pub(crate) doubt: Option<Box<Doubt>>,
    /// What others acknowledged to us when we led last.
    pub(crate) remembered: Box<[(NodeId, Index)]>,
    /// Reads the leader was asked about.
    pub(crate) asked: Vec<Asked>,
    /// Reads that have ended.
    pub(crate) reads: Vec<Read>,
    /// May leave at once.
    pub(crate) messages: Vec<Message>,
    /// Leave when durable. Invariant: all of the current term.
    pub(crate) promises: Vec<Promise>,
}

/// What comes with a role.
#[derive(Debug)]
pub(crate) enum State {
    Follower,
    /// Asks whether it would be elected.
    PreCandidate(Ballot),
    Candidate(Ballot),
    Leader(Box<Leadership>),
}

impl Node {
    /// A follower that continues from what was durable.
    ///
    /// # Panics
    /// If the configuration or the restored state cannot be: `Config` and `Restored` say how they
    /// must be.
    pub fn new(config: Config, restored: Restored) -> Node {
        let Config { id, election_ticks, heartbeat_ticks, quiet_ticks, seed, .. } = config;
        assert!(1 <= heartbeat_ticks, "a leader speaks now and then");
        assert!(heartbeat_ticks < election_ticks, "followers hear from a leader before they stand");
        assert!(1 <= config.inflight_max, "something can be under way");
        let log = Log::new(restored.snapshot, restored.entries);
        #[cfg(feature = "sabotage")]
        let log = log.broken_by(config.sabotage);
        assert!(log.last().0 <= restored.hard_state.term, "no entry is newer than the term");
        let mut node = Node {
            id,
            election_ticks,
            heartbeat_ticks,
            quiet_ticks,
            in_flight_max: config.inflight_max,
            append_bytes_max: config.append_bytes_max,
            lease: config.lease,
            #[cfg(feature = "sabotage")]
            sabotage: config.sabotage,
            jitter: Jitter::new(seed, id),
            hard: HardMarks::new(restored.hard_state),
            leader: None,
            state: State::Follower,
            elapsed: 0,
            heard: 0,
            heard_round: 0,
            timeout: 0,
            rounds_in_vain: 0,
            quiet: false,
            log,
            restoring: None,
            doubt: None,
            remembered: Box::default(),
            asked: Vec::new(),
            reads: Vec::new(),
            messages: Vec::new(),
            promises: Vec::new(),
        };
        node.restart_timer();
        if let Some(life) = restored.doubtful {
            node.begin_doubt(life);
        }
        node.check();
        node
    }

    /// Time has passed. Means nothing to a node at rest.
    pub fn tick(&mut self) {
        if self.quiet {
            return;
        }
        self.elapsed = self.elapsed.saturating_add(1);
        self.heard = self.heard.saturating_add(1);
        self.tick_asked();
        self.tick_doubt();
        match self.state {
            State::Leader(_) => self.tick_leader(),
            State::Follower | State::PreCandidate(_) | State::Candidate(_) => {
                if self.timeout <= self.elapsed {
                    self.canvass();
                }
            }
        }
        self.check();
    }

    /// Stands for election now, instead of when the time is up; a group of one does so at start. Does
    /// nothing on a leader, on a node that has no vote, or where a lease may hold.
    pub fn campaign(&mut self) {
        self.wake();
        let alone = self.log.membership().is_ruled_by(self.id);
        let bound = self.lease && self.hears_leader() && !alone;
        if !bound && !matches!(self.state, State::Leader(_)) {
            self.canvass();
        }
        self.check();
    }

    /// Adds an entry to the log of the group, and says where. It is there to stay once it comes back
    /// in [`Ready::committed`](crate::Ready::committed); another entry may come back in its place,
    /// with a higher term, or nothing for as long as no leader can be found.
    ///
    /// # Errors
    /// If this node does not lead, or is about to hand over to another; then nothing was done.
    pub fn propose(&mut self, payload: Arc<[u8]>) -> Result<(Term, Index), NotLeader> {
        let State::Leader(leadership) = &self.state else {
            return Err(NotLeader { leader: self.leader });
        };
        if let Some(heir) = leadership.heir() {
            return Err(NotLeader { leader: Some(heir) });
        }
        self.wake();
        let position = self.append_own(crate::message::Content::Command(payload));
        self.check();
        Ok(position)
    }

    /// A peer has sent a message. Whatever no correct peer of this group would send is ignored.
    pub fn step(&mut self, message: Message) {
        if !self.is_credible(&message) {
            return;
        }
        if !self.sleeps_through(&message) {
            self.wake();
        }
        match message.body {
            Body::PreVoteRequest { last } => {
                self.on_pre_vote_request(&message, last);
                self.on_astray(message.from, message.from);
            }
            Body::PreVoteReply { granted: true } => self.on_pre_vote(&message),
            // Who asks about itself unseats nobody, whatever its term.
            Body::Doubt { life, .. } => self.on_doubt(message.from, life),
            Body::Astray { node } => self.on_question(&message, node),
            _ => self.step_in_term(message),
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

    /// The state machine has taken over the state another node sent, and that state is durable: the log
    /// restarts behind it. Returns whether it does; it does not if what is committed here has come as
    /// far, or if the state knows no members: then it comes from who was not one itself.
    pub fn restore(&mut self, snapshot: Snapshot) -> bool {
        let members = &snapshot.membership;
        let is_whole = members.is_sound() && !members.voters.is_empty();
        if snapshot.last.1 <= self.log.committed() || !is_whole {
            return false;
        }
        self.wake();
        if self.term() < snapshot.last.0 {
            self.enter_term(snapshot.last.0);
        }
        match self.state {
            State::Leader(_) => return false,
            // The log it stands with is about to be another.
            State::PreCandidate(_) | State::Candidate(_) => self.become_follower(),
            State::Follower => {}
        }
        let continues = self.log.term_at(snapshot.last.1) == Some(snapshot.last.0);
        #[cfg(feature = "sabotage")]
        let continues = !self.breaks(crate::sabotage::Sabotage::CutBehindSnapshot)
            && (continues || self.breaks(crate::sabotage::Sabotage::KeepBehindSnapshot));
        self.log.restore(&snapshot, continues);
        let matched = snapshot.last.1;
        // What was promised of the log before may lie beyond what it is now.
        let last = self.log.last().1;
        self.promises.retain(|promise| promise.needs <= last);
        self.restoring = Some(Box::new(Restoring { snapshot, submitted: false }));
        if let Some(leader) = self.leader {
            let round = self.heard_round;
            self.promise_with_log(leader, Body::AppendAccepted { matched, round }, matched);
        }
        self.check();
        true
    }

    /// Entries that were handed out for writing and are not applied, in order: what the disk must not
    /// lose. For drivers that write them once more so that an old part of their log can go.
    pub fn unapplied(&self) -> Vec<Entry> {
        self.log.unapplied()
    }

    /// Begins to count time again, after it stood still for want of anything to do.
    pub fn wake(&mut self) {
        if std::mem::replace(&mut self.quiet, false)
            && let State::Leader(leadership) = &mut self.state
        {
            leadership.woken();
        }
    }

    /// Time stands still from here on. Most groups rest most of the time: they hold little.
    pub(crate) fn come_to_rest(&mut self) {
        self.quiet = true;
        self.log.give_back();
        if let State::Leader(leadership) = &mut self.state {
            leadership.rounds.give_back();
            leadership.peers.iter_mut().for_each(crate::progress::Progress::give_back);
        }
    }

    /// Whether time stands still.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Whether this node may still lack what it once acknowledged. If it stops now, it comes back in
    /// doubt ([`Restored::doubtful`]), whatever its log then looks like.
    pub fn is_doubtful(&self) -> bool {
        self.doubt.is_some()
    }

    /// Term and vote as they are now; what a checkpoint keeps of the log's hard states.
    pub fn hard_state(&self) -> HardState {
        self.hard.accepted
    }

    /// The members that count now: those named last in the log, committed or not.
    pub fn membership(&self) -> &Arc<Membership> {
        self.log.membership()
    }

    /// The members as of what is applied; what a checkpoint or a snapshot says.
    pub fn membership_applied(&self) -> Arc<Membership> {
        Arc::clone(self.log.membership_applied())
    }

    /// The followers as this node sees them; none if it does not lead.
    pub fn progress(&self) -> impl Iterator<Item = PeerStatus> + '_ {
        let peers = match &self.state {
            State::Leader(leadership) => leadership.peers.as_slice(),
            _ => &[],
        };
        peers.iter().map(|peer| PeerStatus {
            id: peer.id,
            matched: peer.matched,
            state: peer.state,
            active: peer.is_active(self.election_ticks),
        })
    }

    /// How the node is doing. Costs next to nothing.
    pub fn status(&self) -> Status {
        Status {
            role: match self.state {
                State::Follower => Role::Follower,
                State::PreCandidate(_) | State::Candidate(_) => Role::Candidate,
                State::Leader(_) => Role::Leader,
            },
            term: self.term(),
            leader: self.leader,
            last: self.log.last().1,
            durable: self.log.durable(),
            committed: self.log.committed(),
            applied: self.log.applied(),
            first: self.log.floor().1.next(),
            quiet: self.quiet,
            transferring: match &self.state {
                State::Leader(leadership) => leadership.heir(),
                _ => None,
            },
        }
    }

    /// Whether a message is no reason to count time again: the order to rest, what a resting leader was
    /// told late and knows, the questions of who does not belong here any more, and of who wonders.
    fn sleeps_through(&self, message: &Message) -> bool {
        match message.body {
            Body::Rest { .. } | Body::Astray { .. } => true,
            Body::AppendAccepted { matched, .. } => {
                let is_known = matched == self.log.last().1;
                message.term == self.term()
                    && (is_known || !self.log.membership().is_member(message.from))
            }
            Body::PreVoteRequest { .. } | Body::Doubt { .. } => {
                !self.log.membership().is_member(message.from)
            }
            _ => false,
        }
    }

    /// Whether a correct peer could have sent this to us.
    fn is_credible(&self, message: &Message) -> bool {
        message.to == self.id
            && message.from != self.id
            && message.term.0.saturating_sub(self.term().0) <= TERMS_AHEAD_MAX
            && message.is_well_formed()
    }

    /// A message that may bring a newer term.
    fn step_in_term(&mut self, message: Message) {
        if self.term() < message.term {
            // Who hears from a leader does not let others unseat it (thesis, 4.2.3 and 6.2), not even
            // by their term.
            if let Body::VoteRequest { transferred: false, .. } = message.body
                && self.hears_leader()
            {
                return;
            }
            self.enter_term(message.term);
        }
        if message.term == self.term() {
            self.step_current(message.from, message.body);
        } else {
            self.answer_stale(message.from, message.body);
        }
    }

    /// A message of the current term.
    fn step_current(&mut self, from: NodeId, body: Body) {
        self.note_life(from);
        match body {
            Body::VoteRequest { last, .. } => self.on_vote_request(from, last),
            Body::VoteReply { granted } => self.on_vote_reply(from, granted),
            Body::Append { previous, entries, committed, round } => {
                if self.follow(from) {
                    self.on_append((previous, entries), committed, round);
                }
            }
            Body::AppendAccepted { matched, round } => self.on_accepted(from, matched, round),
            Body::AppendRejected { previous, hint, round } => {
                self.on_rejected(from, previous, hint, round);
            }
            Body::Rest { last } => {
                if self.follow(from) {
                    self.on_rest(last);
                }
            }
            Body::ReadRequest { context } => self.on_read_request(from, context),
            Body::ReadReply { context, index } => self.on_read_reply(from, context, index),
            Body::TimeoutNow => self.on_timeout_now(from),
            Body::DoubtReply { life, remembered, last, voters } => {
                self.on_doubt_reply((from, life), (remembered, last), &voters);
            }
            Body::PreVoteRequest { .. }
            | Body::PreVoteReply { .. }
            | Body::Doubt { .. }
            | Body::Astray { .. } => {}
        }
    }

    /// A message of an older term. Whoever asks learns the current term from the refusal; a reply
    /// answers something this node no longer asks.
    fn answer_stale(&mut self, from: NodeId, body: Body) {
        match body {
            Body::VoteRequest { .. } => self.promise(from, Body::VoteReply { granted: false }),
            Body::Append { previous, round, .. } => self.reject(from, previous, round),
            Body::ReadRequest { context } => {
                self.send(from, Body::ReadReply { context, index: None });
            }
            // What a node remembers is not of any term; it must not be kept from a node behind.
            Body::DoubtReply { life, remembered, last, voters } => {
                self.on_doubt_reply((from, life), (remembered, last), &voters);
            }
            Body::Rest { last } => self.reject(from, last, 0),
            Body::PreVoteRequest { .. }
            | Body::PreVoteReply { .. }
            | Body::Doubt { .. }
            | Body::Astray { .. }
            | Body::VoteReply { .. }
            | Body::AppendAccepted { .. }
            | Body::AppendRejected { .. }
            | Body::ReadReply { .. }
            | Body::TimeoutNow => {}
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

    pub(crate) fn address(&self, to: NodeId, body: Body) -> Message {
        assert!(to != self.id, "a node does not write to itself");
        Message { from: self.id, to, term: self.term(), body }
    }

    /// A read has ended.
    pub(crate) fn end_read(&mut self, context: u64, index: Option<Index>) {
        self.reads.push(Read { context, index });
    }
}
