//! Telling those who were removed while nobody could tell them. Who is away when a change ends, or hears
//! of it when the leader that made it leads no more, still counts itself among the members: it waits for a
//! leader, and no leader knows that it does.
//!
//! ```text
//!   who hears no leader --- pre-vote, or astray if it may not stand ---> all that vote, as far as it knows
//!   who rests where it should not --- astray, now and then ---> the same
//!   one of them that does not lead --- astray ---> the leader, or those that vote as far as it knows
//!   the leader --- appends, as to a follower, until it knows that it is no member ---> who asked
//!   the leader, at rest, if who asked is a member --- rest ---> who asked
//!   one of a newer term that does not lead, if who asked is a member --- its term ---> who asked
//! ```
//!
//! A leader at rest may have been deposed, and nothing of that reached it nor who asks: it says that it
//! rests, and is believed. But so is the newer term that others say. Who asked then has no leader until the
//! new one speaks to it, and the deposed one hears the term from it. In a group where all are of one term
//! nobody says anything but the leader, and nobody wakes.
//!
//! It is told in the way of the log and in no other: nothing is believed that was not committed. A node
//! that is looked after in this way counts for nothing but its term: one that stood while it was away, and
//! has a newer one, refuses what the leader sends with that term, and the leader must give up its own.
//! Nothing can be told to a node from an older term than its own, so this is the price of telling it. It
//! is paid once for each such node, who asks before it stands is seldom one, and the next leader is of a
//! term that it believes.
//!
//! Not here: a question is passed on once, so that it goes round in no circle. Where a group has moved
//! twice, each time to nodes none of which held it before, while a node of the first was away, the second
//! hear its question from the first, who hear of the third from nobody. It asks on and is not told;
//! whoever drives it must not wait for that.

use crate::leader::continue_from;
use crate::limits::OUTSIDERS_MAX;
use crate::message::{Body, Message, NodeId};
use crate::node::{Node, State};
use crate::progress::Progress;

impl Node {
    /// Whether this node has no part in the group, and knows it: it is no member, and whatever made it
    /// none is committed. Time means nothing to it until a leader speaks to it.
    pub fn is_outside(&self) -> bool {
        !self.log.membership().is_member(self.id) && !self.log.may_elect(self.id)
    }

    /// Asks whether this node still has a part in the group: one that was removed while it rested and
    /// nothing reached it goes on resting. Changes nothing here and wakes nobody who knows it as a member.
    /// For a node at rest in a group that it should not be in, now and then. Says nothing on a node that
    /// leads, or knows the answer.
    pub fn ask_whether_member(&mut self) {
        if !matches!(self.state, State::Leader(_)) {
            self.ask_the_way();
        }
        self.check();
    }

    /// Nobody leads as far as this node knows, and it may not stand, or somebody does whose silence need
    /// not be rest: asks to be told if the group went on without it. Of the members that hear it only a
    /// leader at rest says anything, and those of a newer term.
    pub(crate) fn ask_the_way(&mut self) {
        if self.is_outside() {
            return;
        }
        let (membership, own) = (std::sync::Arc::clone(self.log.membership()), self.id);
        for voter in membership.electors().filter(|id| *id != own) {
            self.send(voter, Body::Astray { node: own });
        }
    }

    /// Somebody asks whether `node` is a member. Its leader may be of a term that is over.
    pub(crate) fn on_question(&mut self, message: &Message, node: NodeId) {
        let leads = matches!(self.state, State::Leader(_));
        let is_own = message.from == node && self.log.membership().is_member(node);
        if is_own && !leads && message.term < self.term() {
            return self.send(node, Body::PreVoteReply { granted: false });
        }
        self.on_astray(message.from, node);
    }

    /// `node` hears no leader, says `from`. If it is a member the leader speaks to it anyway, or rests and
    /// says so again: that need not wake it, and whoever lacks something refuses.
    pub(crate) fn on_astray(&mut self, from: NodeId, node: NodeId) {
        let membership = std::sync::Arc::clone(self.log.membership());
        if node == self.id {
            return;
        }
        if membership.is_member(node) {
            return self.say_rest(node);
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

    /// A leader at rest tells a member that it is.
    fn say_rest(&mut self, node: NodeId) {
        if !self.quiet || !matches!(self.state, State::Leader(_)) {
            return;
        }
        let last = self.log.last();
        assert!(self.log.committed() == last.1, "who leads at rest has committed all there is");
        self.send(node, Body::Rest { last });
    }

    /// Sends a node that is no member the log until it knows that.
    fn look_after(&mut self, node: NodeId) {
        assert!(node != self.id, "a leader knows what it is");
        let (last, membership) = (self.log.last().1, self.log.membership());
        assert!(!membership.is_member(node), "members are looked after without asking");
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
        let round = leadership.rounds.begin();
        peers.push(Progress::new(node, last.next(), round));
        peers.sort_unstable_by_key(|peer| peer.id);
        let twins = peers.iter().zip(&peers[1..]).any(|(one, next)| next.id <= one.id);
        assert!(!twins, "each is looked after once");
        let body = continue_from(&self.log, last, round);
        self.wake();
        self.send(node, body);
    }
}
