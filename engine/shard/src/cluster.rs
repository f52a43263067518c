//! What a shard knows of the cluster from its configuration: who this node is, who held which group
//! when the cluster was founded, and who should hold it now.

use std::sync::Arc;

use model::cluster::{MemberId, NameTag, replicas};
use model::ids::GroupId;
use raft::{Membership, NodeId};

/// This node's place in its cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// This node, in this life of its disk.
    pub own: NodeId,
    /// The nodes that made the cluster, as they were then.
    pub founders: Vec<NodeId>,
    /// The copies of each group they made.
    pub founding_factor: u32,
    /// The nodes that should hold groups now, by name.
    pub write: Vec<NameTag>,
    /// The copies of each group there should be.
    pub factor: u32,
    /// How time is counted.
    pub timing: Timing,
}

/// How time is counted. All nodes of a cluster should agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Monotonic microseconds of one tick of a group's node.
    pub tick_micros: u64,
    /// Ticks of silence after which a follower stands for election, and up to twice as many.
    pub election_ticks: u32,
    /// Ticks between a leader's signs of life.
    pub heartbeat_ticks: u32,
    /// Ticks without anything to do after which a group goes quiet; 0 for never.
    pub quiet_ticks: u32,
    /// Monotonic microseconds between a shard's pulses.
    pub pulse_micros: u64,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing::USUAL
    }
}

impl Timing {
    /// An election timeout of 300 to 600 ms.
    pub const USUAL: Timing = Timing {
        tick_micros: 25_000,
        election_ticks: 12,
        heartbeat_ticks: 2,
        quiet_ticks: 20,
        pulse_micros: 100_000,
    };

    /// Microseconds without a sign of life after which a follower stands, at least.
    pub const fn election_micros(&self) -> u64 {
        self.tick_micros * self.election_ticks as u64
    }
}

impl Cluster {
    /// A cluster of one.
    pub fn alone(own: NodeId) -> Cluster {
        Cluster {
            own,
            founders: vec![own],
            founding_factor: 1,
            write: vec![tag(own)],
            factor: 1,
            timing: Timing::default(),
        }
    }

    /// Whether no other node is known.
    pub fn is_alone(&self) -> bool {
        self.founders == [self.own] && self.write == [tag(self.own)]
    }

    /// The members a group began with: the same on every node, whatever its configuration says now.
    pub fn first_members(&self, group: GroupId) -> Arc<Membership> {
        let tags: Vec<NameTag> = self.founders.iter().map(|id| tag(*id)).collect();
        let chosen = replicas(group, &tags, self.founding_factor);
        let member =
            |tag_of: &NameTag| self.founders.iter().copied().find(|id| tag(*id) == *tag_of);
        Arc::new(Membership::new(chosen.iter().filter_map(member).collect(), Vec::new()))
    }

    /// The names of the nodes that should hold a group, the one that should lead it first.
    pub fn wanted(&self, group: GroupId) -> Vec<NameTag> {
        replicas(group, &self.write, self.factor)
    }
}

/// The name behind a member.
pub fn tag(id: NodeId) -> NameTag {
    MemberId(id.0).tag()
}
