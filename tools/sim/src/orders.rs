//! What operators do: change which nodes hold groups, and relieve nodes of leading.

use std::collections::BTreeSet;

use model::cluster::{NameTag, replicas};
use model::ids::GroupId;
use raft::NodeId;
use shard::effect::Input;
use shard::wishes::Wishes;

use crate::count::Fault;
use crate::disk::End;
use crate::event::{Event, Mend};
use crate::queue::MILLI;
use crate::verdict::Kind;
use crate::world::World;

/// Microseconds a node is down to be restarted with another configuration.
const RESTART: u64 = 50 * MILLI;

impl World {
    /// The names of the nodes that should hold groups now.
    pub(crate) fn write_tags(&self) -> Vec<NameTag> {
        self.write.iter().map(|node| self.nodes[*node].tag).collect()
    }

    /// The names of the nodes that should hold a group now.
    pub(crate) fn wanted(&self, group: GroupId) -> Vec<NameTag> {
        replicas(group, &self.write_tags(), self.options.factor)
    }

    /// Other nodes should hold groups from now on. Every node hears of it soon, and when it is restarted.
    pub(crate) fn configure(&mut self, write: u64, gap: u64) {
        let write: BTreeSet<usize> =
            (0..self.nodes.len()).filter(|node| write >> node & 1 == 1).collect();
        let before = std::mem::replace(&mut self.write, write);
        let same = before == self.write;
        if same || !self.atlas.allows_absence(self.nodes.len()) || !self.may_be_left() {
            self.write = before;
            return;
        }
        self.counters.count(Fault::MembershipChange);
        self.config += 1;
        self.spread_intent();
        for node in 0..self.nodes.len() {
            let at = self.now() + 1 + gap * node as u64;
            self.queue.plan(at, Event::Mend(Mend::Configure { node }));
        }
    }

    /// Whether no group is left to nodes half of which have lost something.
    fn may_be_left(&self) -> bool {
        let damaged: Vec<NameTag> = self.atlas.damaged().map(|node| self.nodes[node].tag).collect();
        (0..self.options.groups).all(|group| {
            let wanted = self.wanted(GroupId(group));
            let lost = wanted.iter().filter(|tag| damaged.contains(tag)).count();
            2 * lost < wanted.len()
        })
    }

    /// A node is restarted to hear of the newest configuration, as soon as it may be.
    pub(crate) fn restart_for_config(&mut self, node: usize) {
        let this = &self.nodes[node];
        if this.config == self.config || !this.is_up() || self.healed {
            return;
        }
        if self.atlas.allows_absence(node) {
            self.end(node, End::Kill, Some(RESTART));
        } else {
            let at = self.now() + 300 * MILLI;
            self.queue.plan(at, Event::Mend(Mend::Configure { node }));
        }
    }

    /// A node is to hand over all it leads.
    pub(crate) fn relieve(&mut self, node: usize, fault: Fault, (lasts, looked_at): (u64, bool)) {
        if !self.draining.insert(node) {
            return;
        }
        self.counters.count(fault);
        self.spread_intent();
        let relief = Mend::Relief { node, looked_at };
        self.queue.plan(self.now() + lasts, Event::Mend(relief));
    }

    /// A node may lead again.
    pub(crate) fn end_relief(&mut self, node: usize, looked_at: bool) {
        if looked_at && self.leads_something(node) {
            self.findings.add(Kind::NotRelieved, format!("node {node} still leads"));
        }
        if self.draining.remove(&node) {
            self.spread_intent();
        }
    }

    fn leads_something(&self, node: usize) -> bool {
        let process = self.nodes[node].process.iter();
        let shards = process.flat_map(|process| &process.shards);
        let mut statuses = shards.flat_map(|running| running.shard.statuses());
        statuses.any(|(_, status)| status.role.leads())
    }

    /// Operators want nothing more.
    pub(crate) fn end_orders(&mut self) {
        self.ambushes.clear();
        if !self.draining.is_empty() {
            self.draining.clear();
            self.spread_intent();
        }
    }

    fn spread_intent(&mut self) {
        self.intent += 1;
        for node in 0..self.nodes.len() {
            let at = self.now() + 1 + self.turns.below(50 * MILLI);
            self.queue.plan(at, Event::Intent { node });
        }
    }

    /// A node hears what operators want now.
    pub(crate) fn tell_intent(&mut self, node: usize) {
        let wishes = Wishes {
            number: self.intent,
            seq: self.intent,
            complete: true,
            write: self.write_tags(),
            relieved: self.draining.iter().map(|node| self.nodes[*node].tag).collect(),
            preferred: Vec::new(),
        };
        for shard in 0..self.nodes[node].shards {
            self.input(node, shard, Input::Intent(wishes.clone()));
        }
    }

    /// Groups whose members are not those the configuration wants.
    pub(crate) fn unsettled(&self) -> Vec<u32> {
        let settled = |group: &u32| {
            let members = self.court.members(*group);
            let mut wanted: Vec<NodeId> = Vec::new();
            for tag in self.wanted(GroupId(*group)) {
                let node = self.nodes.iter().find(|node| node.tag == tag);
                wanted.push(node.expect("a node of the cluster").id());
            }
            wanted.sort_unstable();
            members.voters == wanted && !members.is_joint() && members.learners.is_empty()
        };
        (0..self.options.groups).filter(|group| !settled(group)).collect()
    }

    /// Whether each group can do without what a node has on its disk: of every set of voters that may
    /// count, no more than a minority has lost something then.
    pub(crate) fn bears_loss_of(&self, node: usize) -> bool {
        let lost = |id: &NodeId| self.has_lost(*id) || *id == self.nodes[node].id();
        let loses = |place: usize| place == node || self.atlas.is_damaged(place);
        (0..self.options.groups).all(|group| {
            let voted = self.court.electorates(group).all(|voters| {
                let count = voters.iter().filter(|id| lost(id)).count();
                2 * count < voters.len()
            });
            // Its leader may be about to propose what is configured.
            let wanted = self.wanted(GroupId(group));
            let places = (0..self.nodes.len()).filter(|place| loses(*place));
            let count = places.filter(|place| wanted.contains(&self.nodes[*place].tag)).count();
            voted && 2 * count < wanted.len()
        })
    }

    /// Whether a node's disk may forget something without the node's noticing: everybody else who may
    /// have to remind it is there.
    pub(crate) fn may_forget(&self, node: usize) -> bool {
        let (own, tag) = (self.nodes[node].id(), self.nodes[node].tag);
        let all_up = self.nodes.iter().all(|node| node.is_up()) && !self.network.has_cuts();
        let reminded = (0..self.options.groups).all(|group| {
            // Its leader may be about to propose what is configured.
            let wanted = self.wanted(GroupId(group));
            let enough = 3 <= wanted.len() || !wanted.contains(&tag);
            enough
                && self.court.electorates(group).all(|voters| {
                    let others = voters.iter().filter(|id| **id != own);
                    let lost = others.filter(|id| self.has_lost(**id)).count();
                    lost == 0 && (!voters.contains(&own) || 3 <= voters.len())
                })
        });
        self.atlas.allows_unknown(node) && all_up && reminded
    }

    fn has_lost(&self, id: NodeId) -> bool {
        let place = self.nodes.iter().position(|node| node.id() == id);
        place.is_none_or(|place| self.atlas.damaged().any(|damaged| damaged == place))
    }
}
