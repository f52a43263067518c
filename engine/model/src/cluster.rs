//! Who belongs to a cluster, and which of them hold a group. Pure arithmetic: every node that knows
//! the same names comes to the same answer.

use std::fmt;

use rkyv::{Archive, Deserialize, Serialize};

use crate::ids::{GroupId, hash};

/// What a node is called in the configuration: unique in its cluster and the same after every
/// restart. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(Box<str>);

impl NodeName {
    /// Wraps a non-empty name; `None` if it is empty.
    pub fn new(name: impl Into<Box<str>>) -> Option<NodeName> {
        let name = name.into();
        if name.is_empty() { None } else { Some(NodeName(name)) }
    }

    /// The name as it is configured.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name in 32 bits.
    pub fn tag(&self) -> NameTag {
        name_tag(&self.0)
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A node's name in 32 bits, never 0. Two names of one cluster that share a tag are refused by its
/// configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameTag(pub u32);

/// The tag of a name. Every group's place depends on it, so it must never change.
pub fn name_tag(name: &str) -> NameTag {
    let folded = hash(name.as_bytes());
    let tag = u32::try_from((folded ^ (folded >> 32)) & u64::from(u32::MAX)).expect("32 bits");
    NameTag(tag.max(1))
}

/// One life of a node's data directory, as the members of Raft groups know it. A node that lost its
/// disk comes back under its old name as another member: it has forgotten its votes and its log, so
/// it must not pass for the one that gave them.
#[derive(
    Archive, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
pub struct MemberId(pub u64);

impl MemberId {
    /// The member a directory stands for: the node's name, and a random number made with the
    /// directory.
    pub fn new(tag: NameTag, incarnation: u32) -> MemberId {
        MemberId(u64::from(tag.0) << 32 | u64::from(incarnation))
    }

    /// The tag of its node's name.
    pub fn tag(self) -> NameTag {
        NameTag(u32::try_from(self.0 >> 32).expect("the upper half"))
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The nodes that hold a group, the one that should lead it first: rendezvous hashing, so that a node
/// that comes or goes moves no group between two others. At most `factor`; fewer if there are fewer.
pub fn replicas(group: GroupId, nodes: &[NameTag], factor: u32) -> Vec<NameTag> {
    let mut scored: Vec<(u64, NameTag)> =
        nodes.iter().map(|&node| (score(group, node), node)).collect();
    scored.sort_unstable();
    scored.dedup();
    scored.truncate(usize::try_from(factor).expect("a number of 32 bits"));
    scored.into_iter().map(|(_, node)| node).collect()
}

fn score(group: GroupId, node: NameTag) -> u64 {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&group.0.to_le_bytes());
    bytes[4..].copy_from_slice(&node.0.to_le_bytes());
    hash(&bytes)
}
