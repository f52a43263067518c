//! What a node does that may have lost the end of its log: something was being written when it stopped
//! and cannot be read, or its disk said that something was durable which was not. Nearly always nothing
//! is missing that was acknowledged. But if it is, the node would vote for, or win with, a log that
//! lacks it, or vote a second time in a term. So it first asks the others what they have and what they
//! remember of it, and neither votes nor stands until
//!
//! - all others have answered; or
//! - two election timeouts have passed, and nobody remembers more of it than somebody holds, or a leader
//!   has brought its log up to what is committed.
//!
//! Its questions name the life it asks in, and answers to another do not count: whoever gave them may have
//! heard more of it since. In return a leader that is asked counts nothing any more that an earlier life of
//! the asker has acknowledged, not even if the acknowledgement comes only now: [`Progress::live_anew`].
//!
//! It never votes in the term it has come to by then: it may have done so before. And from then on it
//! votes for nobody whose log ends before the longest it has heard of, and does not stand while its own
//! does: what it lost may be there. All together is safe when all others have answered and nothing else
//! is lost in the meantime. Whoever has that longest log can be elected; if it does not turn up, because
//! it was lost with its holder, the node asks anew after some election timeouts.

use crate::limits::ASK_ANEW_TIMEOUTS;
use crate::message::{Body, Index, Life, NodeId, Term};
use crate::node::{Node, State};

/// The doubt of a node about itself.
#[derive(Debug)]
pub(crate) struct Doubt {
    /// What the questions have and the answers must have.
    life: Life,
    /// Whether the others have been heard, or given long enough.
    settled: bool,
    answered: Vec<NodeId>,
    /// The highest index anybody has seen us acknowledge.
    remembered: Index,
    /// The end of the longest log heard of.
    longest: (Term, Index),
    ticks: u32,
    /// Once the log is durable up to here it holds all that is committed.
    mended_at: Option<Index>,
}

impl Doubt {
    /// Nobody has been heard.
    fn new(life: Life) -> Doubt {
        Doubt {
            life,
            settled: false,
            answered: Vec::new(),
            remembered: Index(0),
            longest: (Term(0), Index(0)),
            ticks: 0,
            mended_at: None,
        }
    }

    /// Whether it is over but for the end of the log that was heard of.
    #[cfg(test)]
    pub(crate) fn is_settled(&self) -> bool {
        self.settled
    }
}

impl Node {
    pub(crate) fn begin_doubt(&mut self, life: Life) {
        self.doubt = Some(Box::new(Doubt::new(life)));
        self.ask_in_doubt();
        self.dispel_doubt();
    }

    /// Whether this node may vote for a candidate whose log ends here, as far as its doubt goes.
    pub(crate) fn trusts(&self, last: (Term, Index)) -> bool {
        #[cfg(feature = "sabotage")]
        if self.breaks(crate::sabotage::Sabotage::VoteInDoubt) {
            return true;
        }
        self.doubt.as_ref().is_none_or(|doubt| doubt.settled && doubt.longest <= last)
    }

    fn ask_in_doubt(&mut self) {
        let Some(life) = self.doubt.as_ref().map(|doubt| doubt.life) else { return };
        let last = self.log.last();
        let membership = std::sync::Arc::clone(self.log.membership());
        let own = self.id;
        for voter in membership.electors().filter(|id| *id != own) {
            self.send(voter, Body::Doubt { life, last });
        }
    }

    pub(crate) fn tick_doubt(&mut self) {
        let Some(doubt) = &mut self.doubt else { return };
        doubt.ticks = doubt.ticks.saturating_add(1);
        if doubt.settled && ASK_ANEW_TIMEOUTS * self.election_ticks <= doubt.ticks {
            **doubt = Doubt::new(doubt.life);
        }
        if !doubt.settled && doubt.ticks.is_multiple_of(self.heartbeat_ticks) {
            self.ask_in_doubt();
        }
        self.dispel_doubt();
    }

    /// Says what this node has, and what it knows of the asker from leading.
    pub(crate) fn on_doubt(&mut self, from: NodeId, life: Life) {
        let remembered = match &mut self.state {
            State::Leader(leadership) => {
                leadership.meet(from, life);
                leadership.acknowledged(from)
            }
            _ => self.remembered.iter().find(|(id, _)| *id == from).map(|(_, index)| *index),
        };
        let last = self.log.last();
        // What is not in this log any more was replaced by a leader, so it was not committed.
        let remembered = remembered.unwrap_or_default().min(last.1);
        self.send(from, Body::DoubtReply { life, remembered, last });
        self.wait_less();
    }

    pub(crate) fn on_doubt_reply(
        &mut self,
        (from, life): (NodeId, Life),
        remembered: Index,
        last: (Term, Index),
    ) {
        let Some(doubt) = &mut self.doubt else { return };
        // Whoever answered an earlier life may have heard more of it afterwards.
        if doubt.life != life || doubt.settled || !self.log.membership().is_voter(from) {
            return;
        }
        doubt.remembered = doubt.remembered.max(remembered);
        doubt.longest = doubt.longest.max(last);
        if !doubt.answered.contains(&from) {
            doubt.answered.push(from);
        }
        self.dispel_doubt();
    }

    /// A leader's append agrees with the log up to `matched`, and `known` is committed.
    pub(crate) fn mend(&mut self, matched: Index, known: Index) {
        // Only what a leader has committed in its own term tells how far all was committed before.
        let is_all = known <= matched && self.log.term_at(known) == Some(self.term());
        if let Some(doubt) = &mut self.doubt
            && is_all
        {
            doubt.mended_at = Some(doubt.mended_at.map_or(known, |at| at.min(known)));
        }
        self.dispel_doubt();
    }

    /// Ends the doubt if there is no reason for it left.
    pub(crate) fn dispel_doubt(&mut self) {
        let Some(doubt) = &mut self.doubt else { return };
        let (last, durable) = (self.log.last(), self.log.durable());
        if !doubt.settled {
            let mut others = self.log.membership().electors().filter(|id| *id != self.id);
            let all_answered = others.all(|id| doubt.answered.contains(&id));
            let waited = 2 * self.election_ticks <= doubt.ticks;
            let mended = doubt.mended_at.is_some_and(|at| at <= durable);
            let is_held = doubt.remembered <= last.1.max(doubt.longest.1);
            doubt.settled = all_answered || (waited && (is_held || mended));
            if doubt.settled {
                // A vote for nobody else: nobody else gets it.
                let vote = &mut self.hard.accepted.vote;
                *vote = vote.or(Some(self.id));
            }
        }
        if doubt.settled && doubt.longest <= last && durable == last.1 {
            self.doubt = None;
        }
    }
}
