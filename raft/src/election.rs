//! Who leads: terms, votes, and when to stand.
//!
//! ```text
//!              time is up            a quorum would        a quorum does
//!   Follower ------------> PreCandidate ---------> Candidate ---------> Leader
//!      ^  the leader asks ------------------------------^                 |
//!      +---- a newer term, a leader, or for a leader: no quorum is heard--+
//! ```

use crate::limits::{ELECTION_TIMEOUTS_MAX, ROUNDS_OF_BAD_LUCK, WIDTH_MAX};
use crate::message::{Body, HardState, Index, Message, NodeId, Term};
use crate::node::{Node, State};
use crate::quorum;
#[cfg(feature = "sabotage")]
use crate::sabotage::Sabotage;

/// The votes a candidate has got. Its own is among them once it is durable, like everybody's; a
/// pre-vote changes nothing and need not be.
#[derive(Debug, Default)]
pub(crate) struct Ballot {
    granted: Vec<NodeId>,
}

impl Ballot {
    fn count(&mut self, voter: NodeId) {
        if !self.granted.contains(&voter) {
            self.granted.push(voter);
        }
    }
}

/// The randomness of election timeouts: splitmix64.
#[derive(Debug)]
pub(crate) struct Jitter {
    state: u64,
}

impl Jitter {
    /// A stream of its own for each node, even if all have the same seed.
    pub(crate) fn new(seed: u64, id: NodeId) -> Jitter {
        let salt = Jitter { state: id.0 }.draw();
        Jitter { state: seed ^ salt }
    }

    /// A number in `[0, end)`.
    fn below(&mut self, end: u32) -> u32 {
        let drawn = self.draw() % u64::from(end);
        u32::try_from(drawn).expect("a remainder of a u32")
    }

    fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl Node {
    /// The leader's process is probably gone: what others say about a new one is listened to, and this
    /// node stands within an election timeout. Does nothing on a leader or candidate; saying it again
    /// delays nothing. With leases it only wakes the node: they are a promise to wait.
    pub fn suspect_leader(&mut self) {
        self.wake();
        let left = self.timeout.saturating_sub(self.elapsed);
        let waits = self.leader.is_some() || self.election_ticks < left;
        if matches!(self.state, State::Follower) && !self.lease && waits {
            self.leader = None;
            self.elapsed = 0;
            self.timeout = 1 + self.jitter.below(self.election_ticks);
            self.lose_asked();
        }
        self.check();
    }

    /// A machine of the group answers again that did not: a node that has no leader, and waits for longer
    /// than usual since it stood in vain, stands within two election timeouts from now. Never delays it,
    /// nor makes it stand within one: leases hold. Does nothing on a node that has a leader.
    pub fn peer_is_back(&mut self) {
        let before = self.timeout;
        self.wait_less();
        assert!(self.timeout <= before, "nobody waits longer because another is back");
        self.check();
    }

    /// Stops leading at once and does not stand for two election timeouts: for a leader whose disk is
    /// stuck. Does nothing on a node that does not lead.
    pub fn step_down(&mut self) {
        self.wake();
        if matches!(self.state, State::Leader(_)) {
            self.become_follower();
            // Who waits long anyway waits no longer for it.
            let latest = ELECTION_TIMEOUTS_MAX * self.election_ticks;
            self.timeout = (self.timeout + self.election_ticks).min(latest);
        }
        self.check();
    }

    /// Begins to wait anew, for a newly drawn time.
    pub(crate) fn restart_timer(&mut self) {
        self.elapsed = 0;
        let width = self.election_ticks * self.width();
        self.timeout = self.election_ticks + self.jitter.below(width);
    }

    /// How many times as long as usual the random part of timeouts is. Where a round trip takes longer
    /// than a timeout, those who stand undo each other's elections until one has enough time for it.
    pub(crate) fn width(&self) -> u32 {
        let doublings = self.rounds_in_vain.saturating_sub(ROUNDS_OF_BAD_LUCK);
        2_u32.saturating_pow(doublings).min(WIDTH_MAX)
    }

    /// Somebody comes back or cannot be elected while we wait for long: it may be our turn. Not before an
    /// election timeout from now, and not later than in two; hearing of it again changes nothing.
    pub(crate) fn wait_less(&mut self) {
        let leads = matches!(self.state, State::Leader(_));
        let latest = self.elapsed.saturating_add(2 * self.election_ticks);
        if !leads && self.leader.is_none() && latest < self.timeout && 1 < self.width() {
            let soon = self.elapsed + self.election_ticks;
            self.timeout = soon + 1 + self.jitter.below(self.election_ticks);
        }
    }

    /// A newer term exists: we are a follower in it, of nobody yet.
    pub(crate) fn enter_term(&mut self, term: Term) {
        self.begin_term(HardState { term, vote: None });
        if !matches!(self.state, State::Follower) {
            self.become_follower();
        }
    }

    /// A follower of nobody, in the current term.
    pub(crate) fn become_follower(&mut self) {
        if let State::Leader(leadership) = &mut self.state {
            let remembered = leadership.peers.iter().map(|peer| (peer.id, peer.acknowledged));
            self.remembered = remembered.collect();
        }
        self.end_leaders_reads();
        if let State::Leader(leadership) = &self.state
            && self.log.committed() < leadership.began
        {
            self.rounds_in_vain = self.rounds_in_vain.saturating_add(1);
        }
        self.state = State::Follower;
        self.leader = None;
        self.restart_timer();
    }

    /// `leader` leads the current term, says its message. Returns whether that can be: a term has one.
    pub(crate) fn follow(&mut self, leader: NodeId) -> bool {
        if matches!(self.state, State::Leader(_))
            || self.leader.is_some_and(|known| known != leader)
        {
            return false;
        }
        self.leader = Some(leader);
        self.state = State::Follower;
        self.heard = 0;
        self.restart_timer();
        true
    }

    /// Whether this node leads, or has heard from its leader within an election timeout. A lease counts
    /// on it whatever has happened since, so then neither a newer term nor a restart makes it forget.
    pub(crate) fn hears_leader(&self) -> bool {
        match self.state {
            State::Leader(_) => true,
            _ if self.lease => self.heard < self.election_ticks,
            _ => self.leader.is_some() && self.elapsed < self.election_ticks,
        }
    }

    /// Whether this node may stand for election. One that a change removes does so until it knows that
    /// the change is committed: it may be the only one whose log is long enough (thesis, 4.2.2).
    fn is_eligible(&self) -> bool {
        let elects = self.log.may_elect(self.id);
        #[cfg(feature = "sabotage")]
        let elects = elects
            && (self.log.membership().is_voter(self.id)
                || !self.breaks(Sabotage::RemovedNeverStands));
        elects && self.trusts(self.log.last()) && self.restoring.is_none()
    }

    /// The time is up: asks whether a quorum would vote for this node, which disturbs nobody. It forgets
    /// its leader, so that it grants the same question of others.
    pub(crate) fn canvass(&mut self) {
        self.rounds_in_vain = self.rounds_in_vain.saturating_add(1);
        self.restart_timer();
        self.leader = None;
        self.lose_asked();
        if !self.is_eligible() {
            self.state = State::Follower;
            return self.ask_the_way();
        }
        let membership = std::sync::Arc::clone(self.log.membership());
        if membership.is_ruled_by(self.id) {
            return self.stand(false);
        }
        let mut ballot = Ballot::default();
        ballot.count(self.id);
        self.state = State::PreCandidate(ballot);
        let (term, last) = (self.term().next(), self.log.last());
        let own = self.id;
        for voter in membership.electors().filter(|id| *id != own) {
            let message = self.address(voter, Body::PreVoteRequest { last });
            self.messages.push(Message { term, ..message });
        }
    }

    /// Stands for election in a new term. The new term is written after all entries of the log, so that
    /// once it is durable so are they. Nothing is said before the own vote is durable: otherwise a
    /// crash could make this node stand in that term again, with a shorter log, and be elected by
    /// votes which were given to the longer one.
    pub(crate) fn stand(&mut self, transferred: bool) {
        self.begin_term(HardState { term: self.term().next(), vote: Some(self.id) });
        self.state = State::Candidate(Ballot::default());
        self.restart_timer();
        let last = self.log.last();
        let membership = std::sync::Arc::clone(self.log.membership());
        let own = self.id;
        for voter in membership.electors().filter(|id| *id != own) {
            self.promise(voter, Body::VoteRequest { last, transferred });
        }
    }

    /// Would we vote for the sender in the term it names? Nothing changes here, whatever the answer.
    pub(crate) fn on_pre_vote_request(&mut self, message: &Message, last: (Term, Index)) {
        let granted = self.term() < message.term
            && !self.hears_leader()
            && self.is_long_enough(last)
            && self.trusts(last);
        if !self.is_long_enough(last) {
            self.wait_less();
        }
        let term = if granted { message.term } else { self.term() };
        let reply = self.address(message.from, Body::PreVoteReply { granted });
        self.messages.push(Message { term, ..reply });
    }

    /// Somebody would vote for us in the next term.
    pub(crate) fn on_pre_vote(&mut self, message: &Message) {
        let asked = self.term().next();
        let State::PreCandidate(ballot) = &mut self.state else { return };
        if message.term != asked {
            return;
        }
        ballot.count(message.from);
        let granted = &ballot.granted;
        let would_win = quorum::agrees(self.log.membership(), |id| granted.contains(&id));
        #[cfg(feature = "sabotage")]
        let would_win = would_win || self.sabotage == Some(Sabotage::ElectByIncoming);
        if would_win {
            self.stand(false);
        }
    }

    /// The leader wants this node to lead instead.
    pub(crate) fn on_timeout_now(&mut self, from: NodeId) {
        if self.leader == Some(from) && self.is_eligible() {
            self.lose_asked();
            self.leader = None;
            self.stand(true);
        }
    }

    pub(crate) fn on_vote_request(&mut self, candidate: NodeId, last: (Term, Index)) {
        let is_free = self.has_vote_for(candidate);
        let granted = is_free && self.is_long_enough(last) && self.trusts(last);
        if granted {
            assert!(
                matches!(self.state, State::Follower | State::PreCandidate(_)),
                "others have voted for themselves"
            );
            self.hard.accepted.vote = Some(candidate);
            self.state = State::Follower;
            self.restart_timer();
        }
        self.promise(candidate, Body::VoteReply { granted });
    }

    /// Whether a log that ends here holds all that could be committed in ours (paper, 5.4.1).
    fn is_long_enough(&self, last: (Term, Index)) -> bool {
        #[cfg(feature = "sabotage")]
        if self.breaks(Sabotage::VoteForShorterLog) {
            return true;
        }
        self.log.last() <= last
    }

    fn has_vote_for(&self, candidate: NodeId) -> bool {
        #[cfg(feature = "sabotage")]
        if self.breaks(Sabotage::VoteTwice) && matches!(self.state, State::Follower) {
            return true;
        }
        self.hard.accepted.vote.is_none_or(|vote| vote == candidate)
    }

    pub(crate) fn on_vote_reply(&mut self, voter: NodeId, granted: bool) {
        if granted {
            self.count_vote(voter);
        }
    }

    /// Term and vote have become durable.
    pub(crate) fn count_own_vote(&mut self) {
        if self.hard.is_durable() {
            self.count_vote(self.id);
        }
    }

    /// Counts a vote if we stand; leads if it was the one that was missing.
    fn count_vote(&mut self, voter: NodeId) {
        let State::Candidate(ballot) = &mut self.state else {
            return;
        };
        assert!(self.hard.accepted.vote == Some(self.id), "a candidate votes for itself");
        ballot.count(voter);
        // Peers are asked only when the own vote is durable, but a quorum could be reached without it.
        let granted = &ballot.granted;
        let elected = quorum::agrees(self.log.membership(), |id| granted.contains(&id));
        #[cfg(feature = "sabotage")]
        let elected = elected
            || (self.sabotage == Some(Sabotage::ElectByIncoming)
                && quorum::agrees(&self.log.membership().incoming(), |id| granted.contains(&id)));
        if elected && self.hard.is_durable() {
            self.lead();
        }
    }

    /// Promises of the last term are dropped, as the network could have: within one term an entry
    /// that was acknowledged is never replaced, so what is promised stays true until it leaves.
    fn begin_term(&mut self, hard_state: HardState) {
        assert!(self.term() < hard_state.term, "terms only grow");
        self.hard.accepted = hard_state;
        self.heard_round = 0;
        self.leader = None;
        self.promises.clear();
        self.lose_asked();
    }
}
