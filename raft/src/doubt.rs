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
//! Whom it asks its log says, and what that lost may have changed the voters. So those who answer name the
//! voters they know, and it asks these as well: of the voters before a change one at least that is not it
//! holds the change, if it was committed. Who does not name itself cannot be elected, so nobody waits for
//! its log: what is committed is also in one of those that can.
//!
//! It never votes in the term it has come to by then: it may have done so before. And from then on it
//! votes for nobody whose log ends before the longest it has heard of, and does not stand while its own
//! does: what it lost may be there. All together is safe when all others have answered and nothing else
//! is lost in the meantime. Whoever has that longest log can be elected; if it does not turn up, because
//! it was lost with its holder, the node asks anew after some election timeouts.

use crate::limits::{ASK_ANEW_TIMEOUTS, VOTERS_NAMED_MAX};
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
    /// Voters that others named and this node does not know for such.
    named: Vec<NodeId>,
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
            named: Vec::new(),
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
        for voter in self.asked_in_doubt() {
            self.send(voter, Body::Doubt { life, last });
        }
    }

    /// All others that vote, as far as this node or one of them knows.
    fn asked_in_doubt(&self) -> Vec<NodeId> {
        let membership = self.log.membership();
        let named = self.doubt.iter().flat_map(|doubt| &doubt.named).copied();
        let unknown = named.filter(|id| !membership.is_voter(*id));
        membership.electors().chain(unknown).filter(|id| *id != self.id).collect()
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
        let mut voters: Vec<NodeId> = self.log.membership().electors().collect();
        if !voters.contains(&self.id) && self.log.may_elect(self.id) {
            voters.push(self.id);
        }
        self.send(from, Body::DoubtReply { life, remembered, last, voters });
        self.wait_less();
    }

    pub(crate) fn on_doubt_reply(
        &mut self,
        (from, life): (NodeId, Life),
        (remembered, last): (Index, (Term, Index)),
        voters: &[NodeId],
    ) {
        let is_asked = self.asked_in_doubt().contains(&from);
        let Some(doubt) = &mut self.doubt else { return };
        // Whoever answered an earlier life may have heard more of it afterwards.
        if doubt.life != life || doubt.settled || !is_asked {
            return;
        }
        let new: Vec<NodeId> =
            voters.iter().filter(|id| !doubt.named.contains(id)).copied().collect();
        if VOTERS_NAMED_MAX < doubt.named.len() + new.len() {
            return;
        }
        doubt.named.extend(new);
        doubt.remembered = doubt.remembered.max(remembered);
        if voters.contains(&from) {
            doubt.longest = doubt.longest.max(last);
        }
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
        if self.doubt.is_none() {
            return;
        }
        let asked = self.asked_in_doubt();
        let Some(doubt) = &mut self.doubt else { return };
        let (last, durable) = (self.log.last(), self.log.durable());
        if !doubt.settled {
            let all_answered = asked.iter().all(|id| doubt.answered.contains(id));
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
