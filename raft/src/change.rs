//! Changing who belongs to the group, one change at a time (paper, section 6; thesis, chapter 4).
//!
//! ```text
//!   voters A ---- joint: A and B must both agree ----> voters B
//!                 once that entry is committed, the leader, whoever it is by then, adds the second
//! ```
//!
//! A change begins only when something of the leader's own term is committed: otherwise two leaders
//! could each commit with a change the other has not heard of. Learners come and go in one step.

use std::sync::Arc;

use crate::membership::Membership;
use crate::message::{Content, Index, NodeId, Term};
use crate::node::{Node, State};
#[cfg(feature = "sabotage")]
use crate::sabotage::Sabotage;
use crate::status::{ChangeRefused, NotLeader};

impl Node {
    /// Makes these the members. A voter that becomes a learner votes until the change is over. The change is done when [`Node::membership`] says so and is no longer
    /// joint, and what stands behind it is committed.
    ///
    /// # Errors
    /// If this node does not lead, or cannot begin a change now, or there is nothing to change.
    pub fn change(
        &mut self,
        voters: Vec<NodeId>,
        learners: Vec<NodeId>,
    ) -> Result<(Term, Index), ChangeRefused> {
        let State::Leader(leadership) = &self.state else {
            return Err(ChangeRefused::NotLeader(NotLeader { leader: self.leader }));
        };
        let current = self.log.membership();
        let under_way = current.is_joint() || self.log.committed() < self.log.membership_since();
        let too_early = self.log.committed() < leadership.began;
        #[cfg(feature = "sabotage")]
        let (under_way, too_early) = match self.breaks(Sabotage::ChangeBeforeOwnCommit) {
            true => (current.is_joint(), false),
            false => (under_way, too_early),
        };
        if under_way || too_early || leadership.heir().is_some() {
            return Err(ChangeRefused::Busy);
        }
        if voters.is_empty() || learners.iter().any(|id| voters.contains(id)) {
            return Err(ChangeRefused::Pointless);
        }
        let mut target = Membership::new(voters, learners);
        if target == **current {
            return Err(ChangeRefused::Pointless);
        }
        let is_joint = target.voters != current.voters;
        #[cfg(feature = "sabotage")]
        let is_joint = is_joint && !self.changes_in_one_step(&target);
        if is_joint {
            target.outgoing.clone_from(&current.voters);
        }
        self.wake();
        let position = self.append_own(Content::Membership(Arc::new(target)));
        self.check();
        Ok(position)
    }

    #[cfg(feature = "sabotage")]
    fn changes_in_one_step(&self, target: &Membership) -> bool {
        let current = &self.log.membership().voters;
        let differ =
            |one: &[NodeId], other: &[NodeId]| one.iter().filter(|id| !other.contains(id)).count();
        let steps = differ(current, &target.voters) + differ(&target.voters, current);
        self.breaks(Sabotage::ChangeWithoutJoint)
            || (self.breaks(Sabotage::ChangeBeforeOwnCommit) && steps == 1)
    }

    /// Something was committed: if that was a joint membership, leaves it; if it was one without this
    /// node, stops leading.
    pub(crate) fn finish_change(&mut self) {
        let membership = self.log.membership();
        if self.log.committed() < self.log.membership_since() {
            return;
        }
        if membership.is_joint() {
            let (voters, learners) = (membership.voters.clone(), membership.learners.clone());
            let next = Membership::new(voters, learners);
            self.append_own(Content::Membership(Arc::new(next)));
        } else if !membership.is_voter(self.id) {
            self.send_heartbeats();
            if let Some(heir) = self.best_heir() {
                self.have_stand(heir);
            }
            self.become_follower();
        }
    }
}
