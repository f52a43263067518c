//! Telling those who were removed while nobody could tell them. Who is away when a change ends, or hears
//! of it when the leader that made it leads no more, still counts itself among the members: it waits for a
//! leader, and no leader knows that it does.
//!
//! ```text
//!   who hears no leader --- pre-vote, or astray if it may not stand ---> all that vote, as far as it knows
//!   one of them that does not lead --- astray ---> the leader, or those that vote as far as it knows
//!   the leader --- appends, as to a follower, until it knows that it is no member ---> who asked
//! ```
//!
//! It is told in the way of the log and in no other: nothing is believed that was not committed. A node
//! that is looked after in this way counts for nothing.

use crate::leader::continue_from;
use crate::message::{Body, NodeId};
use crate::node::{Node, State};
use crate::progress::Progress;

/// A leader takes nobody in while it looks after so many that are no members.
const OUTSIDERS_MAX: usize = 8;

impl Node {
    /// Whether this node has no part in the group, and knows it: it is no member, and whatever made it
    /// none is committed. Time means nothing to it until a leader speaks to it.
    pub fn is_outside(&self) -> bool {
        !self.log.membership().is_member(self.id) && !self.log.may_elect(self.id)
    }

    /// Nobody leads as far as this node knows, and it may not stand: asks to be told if the group went
    /// on without it. Members that hear it do nothing.
    pub(crate) fn ask_the_way(&mut self) {
        if self.is_outside() {
            return;
        }
        let (membership, own) = (std::sync::Arc::clone(self.log.membership()), self.id);
        for voter in membership.electors().filter(|id| *id != own) {
            self.send(voter, Body::Astray { node: own });
        }
    }

    /// `node` hears no leader, says `from`. If it is a member the leader speaks to it anyway.
    pub(crate) fn on_astray(&mut self, from: NodeId, node: NodeId) {
        let membership = std::sync::Arc::clone(self.log.membership());
        if node == self.id || membership.is_member(node) {
            return;
        }
        if matches!(self.state, State::Leader(_)) {
            return self.look_after(node);
        }
        // Passed on once, so that it goes round in no circle.
        if from != node {
            return;
        }
        let own = self.id;
        match self.leader {
            Some(leader) => self.send(leader, Body::Astray { node }),
            None if membership.is_member(own) => {}
            None => {
                for voter in membership.electors() {
                    self.send(voter, Body::Astray { node });
                }
            }
        }
    }

    /// Sends a node that is no member the log until it knows that.
    fn look_after(&mut self, node: NodeId) {
        let (last, membership) = (self.log.last().1, self.log.membership());
        let State::Leader(leadership) = &mut self.state else { return };
        let peers = &mut leadership.peers;
        let outsiders = peers.iter().filter(|peer| !membership.is_member(peer.id)).count();
        if peers.iter().any(|peer| peer.id == node) {
            // It was forgotten at rest, or is being told.
            return self.wake();
        }
        if OUTSIDERS_MAX <= outsiders {
            return;
        }
        peers.push(Progress::new(node, last.next()));
        peers.sort_unstable_by_key(|peer| peer.id);
        let body = continue_from(&self.log, last, leadership.rounds.current());
        self.wake();
        self.send(node, body);
    }
}
