//! What holds in every node after every step.

use crate::limits::ELECTION_TIMEOUTS_MAX;
use crate::node::{Node, State};

impl Node {
    /// # Panics
    /// If something that cannot be is. It is better to stop than to go on and tell others.
    pub(crate) fn check(&self) {
        self.check_marks();
        self.check_hard_state();
        self.check_role();
        for promise in &self.promises {
            assert!(promise.message.term == self.term(), "promises are of the current term");
            assert!(promise.needs <= self.log.last().1, "what is promised is here");
        }
        if self.quiet {
            assert!(!matches!(self.state, State::Candidate(_)), "who stands does not rest");
            assert!(self.asked.is_empty(), "who waits for an answer does not rest");
            assert!(self.leader.is_some(), "nobody rests but with a leader");
        }
    }

    fn check_marks(&self) {
        let log = &self.log;
        if let Some(first) = log.first_term() {
            assert!(log.floor().0 <= first, "what is kept is not older than what has left");
        }
        assert!(log.floor().1 <= log.durable(), "what left memory is durable");
        assert!(log.durable() <= log.submitted(), "what is durable was submitted");
        assert!(log.submitted() <= log.last().1, "what was submitted is here");
        assert!(log.floor().1 <= log.applied(), "what left memory is applied");
        assert!(log.applied() <= log.handed(), "what is applied was handed out");
        assert!(log.handed() <= log.committed(), "what was handed out is committed");
        assert!(log.handed() <= log.submitted(), "what was handed out is on its way to disk");
        assert!(log.committed() <= log.last().1, "what is committed is here");
        assert!(log.membership_since() <= log.last().1, "members are named within the log");
    }

    fn check_hard_state(&self) {
        let hard = &self.hard;
        assert!(hard.durable.term <= hard.submitted.term, "durable after submitted");
        assert!(hard.submitted.term <= hard.accepted.term, "submitted after accepted");
        assert!(self.log.last().0 <= hard.accepted.term, "no entry is newer than the term");
    }

    fn check_role(&self) {
        let hard = &self.hard;
        let log = &self.log;
        let latest = ELECTION_TIMEOUTS_MAX * self.election_ticks;
        assert!(self.timeout <= latest, "nobody waits longer than others think");
        match &self.state {
            State::Follower => assert!(self.leader != Some(self.id), "a follower does not lead"),
            State::PreCandidate(_) => assert!(self.leader.is_none(), "who asks knows no leader"),
            State::Candidate(_) => {
                assert!(self.leader.is_none(), "a candidate knows no leader");
                assert!(hard.accepted.vote == Some(self.id), "a candidate votes for itself");
            }
            State::Leader(leadership) => {
                assert!(self.leader == Some(self.id), "a leader knows that it leads");
                assert!(hard.durable == hard.accepted, "a leader's term and vote are durable");
                assert!(hard.accepted.vote == Some(self.id), "a leader voted for itself");
                assert!(log.last().0 == hard.accepted.term, "a leader's log ends in its term");
                assert!(self.restoring.is_none(), "a leader takes over nobody's state");
                for peer in &leadership.peers {
                    assert!(peer.matched < peer.next, "what it acknowledged is not sent again");
                    assert!(peer.next <= log.last().1.next(), "what is sent exists");
                }
            }
        }
    }
}
