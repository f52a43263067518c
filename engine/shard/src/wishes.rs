//! What operators want of the cluster: who is to hold data, who is to be relieved, who is to lead what.
//! Here that becomes handing leaderships over; `members` makes nodes hold groups.

use model::cluster::{NameTag, replicas};
use model::ids::{GroupId, Now};
use model::limits::{DECLINED_MS, LEARNER_LAG_MAX, TRANSFERS_PER_SECOND};
use raft::{NodeId, PeerState};

use crate::cluster::{Cluster, tag};
use crate::group::Group;
use crate::shard::Shard;

/// What operators want, as far as is known here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wishes {
    /// Which it is of those this node's shards were told of: a shard's gauges say whether it is known there.
    pub number: u64,
    /// How much of what they said it follows from.
    pub seq: u64,
    /// Whether it was ever known to be all they said. Until then no group changes its members: that
    /// could undo what they said last.
    pub complete: bool,
    /// The nodes that are to hold data.
    pub write: Vec<NameTag>,
    /// The nodes that are to be relieved of what can be done elsewhere.
    pub relieved: Vec<NameTag>,
    /// The groups that a certain node is to lead, ascending.
    pub preferred: Vec<(GroupId, NameTag)>,
}

impl Wishes {
    /// Nobody has said anything, and nobody will.
    pub fn of(cluster: &Cluster) -> Wishes {
        Wishes { complete: true, write: cluster.write.clone(), ..Wishes::default() }
    }

    /// The node that is to lead a group.
    pub fn preferred(&self, group: GroupId) -> Option<NameTag> {
        let place = self.preferred.binary_search_by_key(&group, |(group, _)| *group).ok()?;
        Some(self.preferred[place].1)
    }

    /// Whether a node is to be relieved.
    pub fn relieves(&self, node: NameTag) -> bool {
        self.relieved.contains(&node)
    }
}

impl Shard {
    /// Operators have said something: groups move and are handed over from the next tick on.
    pub(crate) fn intent(&mut self, wishes: Wishes) {
        assert!(wishes.preferred.is_sorted_by_key(|(group, _)| *group), "found by its number");
        assert!(!wishes.write.is_empty(), "somebody holds data");
        let factor = self.options.cluster.factor;
        for group in &mut self.groups {
            group.wanted = replicas(group.id, &wishes.write, factor);
        }
        self.wishes = wishes;
        self.neighbours.order_soon();
        // It may be that this node should hold what it does not, or no longer.
        (0..self.groups.len()).for_each(|slot| self.note_rest(slot));
    }

    /// Whether this node is to lead nothing that another can: operators want it, it is about to stop, it has
    /// nowhere to write what comes in, or too little of a CPU to do it in time.
    pub(crate) fn is_relieved(&self) -> bool {
        self.wishes.relieves(tag(self.options.cluster.own))
            || self.room.is_lacking
            || self.is_slow()
    }

    /// Whether a node lives and takes what it is handed.
    pub(crate) fn takes(&self, node: NodeId, group: GroupId) -> bool {
        self.neighbours.takes(node, group) && !self.wishes.relieves(tag(node))
    }

    /// Hands leaderships to the nodes that should have them, a few at a time; a node that is to be relieved
    /// is waited for, and hands over a quarter of what it leads.
    pub(crate) fn spread_leaders(&mut self, now: Now) {
        let led = self.groups.iter().filter(|group| group.is_serving()).count();
        let share = if self.is_relieved() { led.div_ceil(4) } else { 0 };
        let mut left = share.max(TRANSFERS_PER_SECOND);
        for slot in 0..self.groups.len() {
            if left == 0 {
                return;
            }
            let Some(heir) = self.heir(slot, now) else { continue };
            assert!(heir != self.options.cluster.own, "nobody hands over to itself");
            let group = &mut self.groups[slot];
            if group.node.transfer(heir).is_ok() {
                group.offered = Some((heir, group.node.status().term, now.monotonic));
                left -= 1;
                self.facts.leaderships_given += 1;
                self.wake(slot);
            }
        }
    }

    /// Who should lead a group that is led here instead: the node that operators prefer, else the first
    /// of those that should hold it, which can take over and is not being relieved. If this node is to be
    /// relieved and none of them can, any other that has a vote.
    pub(crate) fn heir(&self, slot: usize, now: Now) -> Option<NodeId> {
        let group = &self.groups[slot];
        let own = self.options.cluster.own;
        if !group.is_serving() {
            return None;
        }
        let relieved = self.is_relieved();
        let fit = |id: &&NodeId| {
            **id != own
                && self.takes(**id, group.id)
                && (relieved || self.neighbours.is_settled(**id, now.monotonic))
                && is_caught_up(&group.node, **id)
                && !has_declined(group, **id, now)
        };
        let voters = &group.node.membership().voters;
        for name in self.wishes.preferred(group.id).iter().chain(&group.wanted) {
            if *name == tag(own) && !relieved {
                return None;
            }
            let heir = voters.iter().filter(|id| tag(**id) == *name).find(fit);
            if heir.is_some() {
                return heir.copied();
            }
        }
        voters.iter().filter(|_| relieved).find(fit).copied()
    }
}

/// Whether a node did not take a group that it was handed a while ago.
fn has_declined(group: &Group, node: NodeId, now: Now) -> bool {
    let term = group.node.status().term;
    group.offered.is_some_and(|(heir, offered_in, at)| {
        let ago = now.monotonic.saturating_sub(at);
        heir == node && offered_in == term && ago < DECLINED_MS * 1_000
    })
}

/// Whether a follower answers and has nearly all that its leader has; the rest is waited for.
pub(crate) fn is_caught_up(node: &raft::Node, peer: NodeId) -> bool {
    let last = node.status().last.0;
    node.progress().any(|progress| {
        progress.id == peer
            && progress.active
            && progress.state == PeerState::Replicate
            && last <= progress.matched.0.saturating_add(LEARNER_LAG_MAX)
    })
}
