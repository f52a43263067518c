//! Other nodes: what they say, whether they live, and who leads.
//!
//! A group with nothing to do goes quiet: its nodes count no ticks. What keeps watch instead is the
//! pulse of each shard, one message for all its groups. When a shard falls silent, the groups it leads
//! are woken to elect another; when it is back, the groups led here with a member there are woken to
//! bring it up to date, and those that nobody leads elect without the patience of earlier ones in vain.

use std::collections::BTreeMap;

use model::command::decode;
use model::ids::{Now, ShardId};
use model::limits::{LOG_STALL_MS, NEIGHBOUR_FORGET_SECONDS};
use raft::{Body, Content, Message, NodeId, Role};

use crate::peer::{PeerMessage, Pulse};
use crate::shard::Shard;

/// Segments' worth of records that may wait for the log's disk before appends are dropped.
const LOG_BACKLOG_SEGMENTS: u64 = 2;
/// Ticks that are made up for after a pause; more would only bring elections nobody needs.
const TICKS_AT_ONCE: u64 = 2;
/// Monotonic microseconds between looks at who should lead and who should be a member.
const ORDER_MICROS: u64 = 1_000_000;
/// How long a node must have been alive before it is handed leaderships.
const SETTLED_MICROS: u64 = 2_000_000;

/// What is known of all other nodes.
#[derive(Debug, Default)]
pub(crate) struct Neighbours {
    nodes: BTreeMap<NodeId, Neighbour>,
    /// When the next tick, pulse and look at the order of things are due.
    tick_at: u64,
    pulse_at: u64,
    order_at: u64,
    /// How often the order of things was looked at.
    looks: u64,
}

/// Another node, for those who look from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NeighbourStatus {
    /// Who.
    pub node: NodeId,
    /// Whether there is a connection from it and all its shards give signs of life.
    pub lives: bool,
    /// Whether it votes in every group it should hold, and every group it holds can commit and is caught
    /// up there, as it says itself.
    pub ready: bool,
    /// How much of what operators said it knows.
    pub intent: u64,
    /// Whether it hands over what it leads and takes nothing.
    pub relieved: bool,
}

/// What is known of one node.
#[derive(Debug)]
struct Neighbour {
    /// Whether there is a connection from it.
    linked: bool,
    /// When there was one last, or it was heard.
    seen: u64,
    /// Of each of its shards, when it was heard last; `None` while it is silent.
    heard: Vec<Option<u64>>,
    /// Since when all that is known of it is alive.
    since: u64,
    /// What each of its shards says of itself.
    ready: Vec<bool>,
    intent: u64,
    relieved: bool,
}

impl Neighbours {
    /// Whether a node is connected and its shard for a group of ours gives signs of life.
    fn lives(&self, node: NodeId, group: model::ids::GroupId) -> bool {
        self.nodes.get(&node).is_some_and(|neighbour| {
            let shards = neighbour.heard.len();
            neighbour.linked && 0 < shards && neighbour.heard[group.0 as usize % shards].is_some()
        })
    }

    /// Nodes that are connected.
    pub(crate) fn linked(&self) -> impl Iterator<Item = NodeId> {
        self.nodes.iter().filter(|(_, neighbour)| neighbour.linked).map(|(node, _)| *node)
    }

    pub(crate) fn statuses(&self) -> Vec<NeighbourStatus> {
        let status = |(node, neighbour): (&NodeId, &Neighbour)| NeighbourStatus {
            node: *node,
            lives: neighbour.linked
                && !neighbour.heard.is_empty()
                && neighbour.heard.iter().all(Option::is_some),
            ready: neighbour.ready.iter().all(|ready| *ready),
            intent: neighbour.intent,
            relieved: neighbour.relieved,
        };
        self.nodes.iter().map(status).collect()
    }

    /// Whether a node lives, and does not say that it hands everything over itself.
    pub(crate) fn takes(&self, node: NodeId, group: model::ids::GroupId) -> bool {
        let relieved = self.nodes.get(&node).is_some_and(|neighbour| neighbour.relieved);
        self.lives(node, group) && !relieved
    }

    /// The most that a node which is connected knows of what operators said.
    pub(crate) fn intent_known(&self) -> u64 {
        let linked = self.nodes.values().filter(|neighbour| neighbour.linked);
        linked.map(|neighbour| neighbour.intent).max().unwrap_or(0)
    }

    /// The order of things is looked at on the next tick.
    pub(crate) fn order_soon(&mut self) {
        self.order_at = 0;
    }

    /// Whether a node has been alive for long enough to be handed leaderships.
    pub(crate) fn is_settled(&self, node: NodeId, now: u64) -> bool {
        let neighbour = self.nodes.get(&node);
        neighbour.is_some_and(|n| n.linked && SETTLED_MICROS <= now.saturating_sub(n.since))
    }
}

impl Shard {
    /// Another node says something.
    pub(crate) fn peer(&mut self, from: NodeId, message: PeerMessage, now: Now) {
        match message {
            PeerMessage::Raft { group, message } => {
                let hosted = group.0 < self.options.placement.groups()
                    && self.options.placement.shard(group) == self.options.shard;
                let taken = hosted && message.from == from && self.has_room_for(&message);
                if taken && is_readable(&message) {
                    self.raft_message(self.slot_of(group), message);
                }
            }
            PeerMessage::Pulse(pulse) => self.pulse(from, pulse, now),
            PeerMessage::Snapshot { group, step } => {
                let hosted = group.0 < self.options.placement.groups()
                    && self.options.placement.shard(group) == self.options.shard;
                if hosted {
                    self.snapshot_step(from, self.slot_of(group), step, now);
                }
            }
        }
    }

    /// Whether the log's queue takes what a message brings; if not, it is as if it had been lost, and
    /// comes again.
    fn has_room_for(&self, message: &Message) -> bool {
        let Body::Append { entries, .. } = &message.body else { return true };
        let backlog = self.wal.backlog_bytes() as u64;
        entries.is_empty() || backlog < LOG_BACKLOG_SEGMENTS * self.options.segment_bytes
    }

    fn raft_message(&mut self, slot: usize, message: Message) {
        let told = match &message.body {
            Body::Append { committed, .. } => Some(*committed),
            _ => None,
        };
        let (from, term) = (message.from, message.term);
        let group = &mut self.groups[slot];
        group.node.step(message);
        let status = group.node.status();
        if let Some(committed) = told
            && status.term == term
            && status.leader == Some(from)
        {
            group.caught_up = committed <= status.committed;
        }
        self.wake(slot);
    }

    fn pulse(&mut self, from: NodeId, pulse: Pulse, now: Now) {
        let shards = pulse.shards as usize;
        if pulse.shards <= pulse.shard.0 || self.options.placement.groups() < pulse.shards {
            return;
        }
        let neighbour = self.nodes_entry(from, now);
        if neighbour.heard.len() != shards {
            neighbour.heard = vec![None; shards];
            neighbour.ready = vec![false; shards];
        }
        neighbour.seen = now.monotonic;
        let place = pulse.shard.0 as usize;
        neighbour.ready[place] = pulse.ready;
        neighbour.intent = pulse.intent;
        neighbour.relieved = pulse.relieved;
        let was_silent = neighbour.heard[place].replace(now.monotonic).is_none();
        if was_silent {
            neighbour.since = now.monotonic;
            self.returned(from, pulse.shard, shards);
        }
    }

    fn nodes_entry(&mut self, node: NodeId, now: Now) -> &mut Neighbour {
        let fresh = || Neighbour {
            linked: false,
            seen: now.monotonic,
            heard: Vec::new(),
            since: now.monotonic,
            ready: Vec::new(),
            intent: 0,
            relieved: false,
        };
        self.neighbours.nodes.entry(node).or_insert_with(fresh)
    }

    /// A connection from a node stands, or the last one has broken.
    pub(crate) fn link(&mut self, node: NodeId, up: bool, now: Now) {
        if node == self.options.cluster.own {
            return;
        }
        let neighbour = self.nodes_entry(node, now);
        (neighbour.linked, neighbour.seen) = (up, now.monotonic);
        if !up {
            self.lose_sender(node);
            let neighbour = self.nodes_entry(node, now);
            let shards = neighbour.heard.len();
            let silenced: Vec<usize> =
                (0..shards).filter(|shard| neighbour.heard[*shard].take().is_some()).collect();
            for shard in silenced {
                self.fell_silent(node, shard, shards);
            }
        }
    }

    /// A shard of another node lives again: what it may have missed is sent, and where nobody leads since
    /// too few lived, there are enough for an election.
    fn returned(&mut self, node: NodeId, shard: ShardId, shards: usize) {
        for slot in 0..self.groups.len() {
            let group = &self.groups[slot];
            let theirs = group.id.0 as usize % shards == shard.0 as usize;
            if !theirs || !group.node.membership().is_member(node) {
                continue;
            }
            let status = group.node.status();
            if status.role == Role::Leader {
                self.groups[slot].node.wake();
            } else if status.leader.is_none() && self.makes_enough(slot, node) {
                self.groups[slot].node.peer_is_back();
            } else {
                continue;
            }
            self.wake(slot);
        }
    }

    /// Whether most voters of a group live, and only with this one of them. Where they do without it, a pulse
    /// of its was late: that may happen again and again, and elections take their time then.
    fn makes_enough(&self, slot: usize, node: NodeId) -> bool {
        let (members, own) = (self.groups[slot].node.membership(), self.options.cluster.own);
        [&members.voters, &members.outgoing].into_iter().any(|voters| {
            let lives = |id: &&NodeId| **id == own || self.lives(**id, slot);
            let others = voters.iter().filter(|id| **id != node).filter(lives).count();
            let needed = voters.len() / 2 + 1;
            voters.contains(&node) && others + 1 == needed
        })
    }

    /// A shard of another node gives no sign of life: the groups it leads need another leader.
    fn fell_silent(&mut self, node: NodeId, shard: usize, shards: usize) {
        for slot in 0..self.groups.len() {
            let group = &mut self.groups[slot];
            if group.id.0 as usize % shards != shard {
                continue;
            }
            let status = group.node.status();
            if status.leader == Some(node) {
                group.node.suspect_leader();
            } else if status.role == Role::Leader && group.node.membership().is_member(node) {
                group.node.wake();
            } else {
                continue;
            }
            self.wake(slot);
        }
    }

    pub(crate) fn tick(&mut self, now: Now) {
        self.tails.close_stalled(now.monotonic, &mut self.machine);
        self.look_at_log(now);
        if !self.options.cluster.is_alone() && self.pace.tick(now.monotonic) {
            self.neighbours.order_soon();
        }
        let timing = self.options.cluster.timing;
        if self.neighbours.tick_at == 0 {
            self.neighbours.tick_at = now.monotonic + timing.tick_micros;
        }
        let late = now.monotonic.saturating_sub(self.neighbours.tick_at);
        if self.neighbours.tick_at <= now.monotonic {
            let missed = 1 + late / timing.tick_micros;
            self.neighbours.tick_at += missed * timing.tick_micros;
            for _ in 0..missed.min(TICKS_AT_ONCE) {
                self.tick_groups();
            }
            self.look_for_silence(now);
            self.look_at_waiting(now);
            self.look_at_exports(now);
            self.look_at_import(now);
            self.look_at_hosting(now);
            self.look_at_repairs(now);
        }
        let stalled = self.drop_leaderships_if_stalled(now);
        if self.neighbours.pulse_at <= now.monotonic && !stalled {
            self.neighbours.pulse_at = now.monotonic + timing.pulse_micros;
            self.send_pulses();
        }
        if self.neighbours.order_at <= now.monotonic {
            self.neighbours.order_at = now.monotonic + ORDER_MICROS;
            self.neighbours.looks += 1;
            self.look_at_resting();
            self.ask_where_unwanted(self.neighbours.looks);
            self.forget_neighbours(now);
            self.spread_leaders(now);
            self.order_members();
        }
    }

    /// Wakes groups that rest though they should not. The moment a neighbour falls silent or returns
    /// wakes what rests then; but a leave to rest may arrive after its sender has fallen silent, and a
    /// leader may come to rest without a follower that it lost sight of and whose pulse never stopped.
    fn look_at_resting(&mut self) {
        for slot in 0..self.groups.len() {
            let group = &self.groups[slot];
            if !group.node.is_quiet() {
                continue;
            }
            let status = group.node.status();
            let lives = |node: NodeId| self.neighbours.lives(node, group.id);
            if status.role == Role::Leader {
                if group.node.progress().any(|peer| !peer.active && lives(peer.id)) {
                    self.groups[slot].node.wake();
                    self.wake(slot);
                }
            } else if !status.leader.is_some_and(lives) {
                self.groups[slot].node.suspect_leader();
                self.wake(slot);
            }
        }
    }

    /// Forgets nodes that have been gone for long and belong to no group here.
    fn forget_neighbours(&mut self, now: Now) {
        let groups = &self.groups;
        let belongs = |node| groups.iter().any(|group| group.node.membership().is_member(node));
        self.neighbours.nodes.retain(|node, neighbour| {
            let gone = now.monotonic.saturating_sub(neighbour.seen);
            neighbour.linked || gone < NEIGHBOUR_FORGET_SECONDS * 1_000_000 || belongs(*node)
        });
    }

    fn send_pulses(&mut self) {
        let pulse = Pulse {
            shard: self.options.shard,
            shards: self.options.placement.shards(),
            intent: self.wishes.seq,
            ready: self.is_ready(),
            relieved: self.is_relieved(),
        };
        let linked = self.neighbours.linked();
        self.sends.extend(linked.map(|node| (node, PeerMessage::Pulse(pulse))));
    }

    fn look_for_silence(&mut self, now: Now) {
        let patience = self.options.cluster.timing.election_micros();
        let mut silenced = Vec::new();
        for (node, neighbour) in &mut self.neighbours.nodes {
            let shards = neighbour.heard.len();
            for (shard, heard) in neighbour.heard.iter_mut().enumerate() {
                if heard.is_some_and(|at| patience < now.monotonic.saturating_sub(at)) {
                    *heard = None;
                    silenced.push((*node, shard, shards));
                }
            }
        }
        for (node, shard, shards) in silenced {
            self.fell_silent(node, shard, shards);
        }
    }

    /// A leader whose own log stands still holds up what others could do. Returns whether it does.
    fn drop_leaderships_if_stalled(&mut self, now: Now) -> bool {
        let stands = now.monotonic.saturating_sub(self.log_active_at);
        if self.wal.in_flight().is_none() || stands < LOG_STALL_MS * 1_000 {
            return false;
        }
        for slot in 0..self.groups.len() {
            let group = &mut self.groups[slot];
            let has_others = 1 < group.node.membership().voters.len();
            if has_others && group.node.status().role == Role::Leader {
                group.node.step_down();
                self.facts.leaderships_dropped += 1;
                self.wake(slot);
            }
        }
        true
    }

    /// Whether a node's shard for a group gives signs of life.
    pub(crate) fn lives(&self, node: NodeId, slot: usize) -> bool {
        self.neighbours.lives(node, self.groups[slot].id)
    }
}

/// Whether this program can read every command a message brings: another version may have written
/// them.
fn is_readable(message: &Message) -> bool {
    let Body::Append { entries, .. } = &message.body else { return true };
    entries.iter().all(|entry| match &entry.content {
        Content::Command(payload) => decode(payload).is_ok(),
        Content::Begin | Content::Membership(_) => true,
    })
}
