//! Which nodes' disks are damaged. No protocol survives the loss of every copy, so the nemesis asks
//! here before it damages one: a good copy of each committed entry must remain on enough nodes.
//!
//! Two kinds of damage, with different needs:
//!
//! - *Known.* The node finds out and does not start, or comes back as another member with an empty
//!   disk. That is as if it had died for good: a minority may be in this state.
//! - *Unknown.* The node may have lost the end of its log and cannot tell from its own disk. It asks
//!   its peers. So at that time the peers that remember must be there, and no other node is hurt.

use std::collections::BTreeSet;

/// The damage of a cluster.
#[derive(Debug, Clone)]
pub(crate) struct Atlas {
    /// The least copies there are of anything.
    copies: usize,
    /// Nodes that know they are damaged, or that are being replaced.
    known: BTreeSet<usize>,
    /// The node that may not know.
    unknown: Option<usize>,
}

impl Atlas {
    /// A cluster without damage, with so many copies of everything.
    pub(crate) fn new(copies: usize) -> Atlas {
        Atlas { copies, known: BTreeSet::new(), unknown: None }
    }

    /// Whether a node's disk may be damaged so that the node finds out.
    pub(crate) fn allows_known(&self, node: usize) -> bool {
        let others = self.known.iter().filter(|other| **other != node).count();
        self.unknown.is_none() && others < (self.copies - 1) / 2
    }

    /// Whether a node may lose the end of its log without knowing.
    pub(crate) fn allows_unknown(&self, node: usize) -> bool {
        let alone = self.unknown.is_none_or(|other| other == node);
        3 <= self.copies && self.known.is_empty() && alone
    }

    /// Whether a node may crash or be cut off now.
    pub(crate) fn allows_absence(&self, node: usize) -> bool {
        self.unknown.is_none_or(|hurt| hurt == node)
    }

    /// A node knows that its disk is damaged, or is given another.
    pub(crate) fn hurt(&mut self, node: usize) {
        self.known.insert(node);
        if self.unknown == Some(node) {
            self.unknown = None;
        }
    }

    /// A node's disk has damage that it may not find out about.
    pub(crate) fn hurt_unknown(&mut self, node: usize) {
        assert!(self.allows_unknown(node), "enough good copies remain");
        self.unknown = Some(node);
    }

    /// A node has found out what it did not know.
    pub(crate) fn found_out(&mut self, node: usize) {
        if self.unknown == Some(node) {
            self.unknown = None;
            self.known.insert(node);
        }
    }

    /// A node holds again all that is committed.
    pub(crate) fn healed(&mut self, node: usize) {
        self.known.remove(&node);
        if self.unknown == Some(node) {
            self.unknown = None;
        }
    }

    /// Nodes with damage.
    pub(crate) fn damaged(&self) -> impl Iterator<Item = usize> + '_ {
        self.known.iter().copied().chain(self.unknown)
    }

    /// Whether a node's disk is damaged.
    pub(crate) fn is_damaged(&self, node: usize) -> bool {
        self.known.contains(&node) || self.unknown == Some(node)
    }
}
