//! Who leads: terms, votes, and when to stand.

use crate::message::{Body, HardState, Index, NodeId, Term};
use crate::node::{Node, State};
use crate::quorum;

/// The votes a candidate has got. Its own is among them once it is durable, like everybody's.
#[derive(Debug, Default)]
pub(crate) struct Ballot {
    granted: Vec<NodeId>,
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
    /// Begins to wait anew, for a newly drawn time.
    pub(crate) fn restart_timer(&mut self) {
        self.elapsed = 0;
        self.timeout = self.election_ticks + self.jitter.below(self.election_ticks);
    }

    /// A newer term exists: we are a follower in it, of nobody yet.
    pub(crate) fn enter_term(&mut self, term: Term) {
        self.begin_term(HardState { term, vote: None });
        if !matches!(self.state, State::Follower) {
            self.state = State::Follower;
            self.restart_timer();
        }
    }

    /// `leader` leads the current term.
    pub(crate) fn follow(&mut self, leader: NodeId) {
        assert!(!matches!(self.state, State::Leader(_)), "a term has one leader");
        assert!(self.leader.is_none_or(|known| known == leader), "a term has one leader");
        self.leader = Some(leader);
        self.state = State::Follower;
        self.restart_timer();
    }

    /// Stands for election in a new term. The new term is written after all entries of the log, so that
    /// once it is durable so are they. Nothing is said before the own vote is durable: otherwise a
    /// crash could make this node stand in that term again, with a shorter log, and be elected by
    /// votes which were given to the longer one.
    pub(crate) fn stand(&mut self) {
        self.begin_term(HardState { term: self.term().next(), vote: Some(self.id) });
        self.state = State::Candidate(Ballot::default());
        self.restart_timer();
        let last = self.log.last();
        for slot in 0..self.voters.len() {
            let voter = self.voters[slot];
            if voter != self.id {
                self.promise(voter, Body::VoteRequest { last });
            }
        }
    }

    pub(crate) fn on_vote_request(&mut self, candidate: NodeId, last: (Term, Index)) {
        let is_free = self.hard.accepted.vote.is_none_or(|vote| vote == candidate);
        let granted = is_free && self.log.last() <= last;
        if granted {
            assert!(matches!(self.state, State::Follower), "others have voted for themselves");
            self.hard.accepted.vote = Some(candidate);
            self.restart_timer();
        }
        self.promise(candidate, Body::VoteReply { granted });
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
        if !ballot.granted.contains(&voter) {
            ballot.granted.push(voter);
        }
        // Peers are asked only when the own vote is durable, but a quorum could be reached without it.
        let granted = &ballot.granted;
        if self.hard.is_durable() && quorum::agrees(&self.voters, |id| granted.contains(&id)) {
            self.lead();
        }
    }

    /// Promises of the last term are dropped, as the network could have: within one term an entry
    /// that was acknowledged is never replaced, so what is promised stays true until it leaves.
    fn begin_term(&mut self, hard_state: HardState) {
        assert!(self.term() < hard_state.term, "terms only grow");
        self.hard.accepted = hard_state;
        self.leader = None;
        self.promises.clear();
    }
}
