//! The world: nodes, wires, disks, clocks and clients, one event at a time.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::api::{Reply, TailMessage};
use model::cluster::{NameTag, replicas};
use model::ids::{GroupId, Now, Placement, ShardId};
use model::limits::INPUTS_PER_TURN;
use raft::{Membership, NodeId};
use shard::effect::{
    Clients, Completion, Disk as DiskBorder, DiskOp, Effect, Input, Peers, TailId, Ticket, perform,
};
use shard::peer::PeerMessage;
use shard::wal::LogIdentity;

use crate::ambush::Ambush;
use crate::atlas::Atlas;
use crate::client::Client;
use crate::count::{Counters, Fault, Reached};
use crate::dice::{Dice, Digest};
use crate::disk::{End, Finished, OpNumber};
use crate::event::Event;
use crate::ground::Ground;
use crate::invariants::Court;
use crate::links::Links;
use crate::nemesis::{Nemesis, Overlaps};
use crate::network::{Lane, Network};
use crate::node::{Node, log_id};
use crate::observe::{self, Durable};
use crate::options::{Options, TICK};
use crate::queue::{MILLI, Queue, Time};
use crate::verdict::Findings;

/// The world.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) options: Options,
    pub(crate) queue: Queue<Event>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) network: Network,
    pub(crate) clients: Vec<Client>,
    pub(crate) ground: Ground,
    pub(crate) court: Court,
    pub(crate) findings: Findings,
    pub(crate) counters: Counters,
    pub(crate) links: Links,
    pub(crate) atlas: Atlas,
    pub(crate) nemesis: Nemesis,
    pub(crate) overlaps: Overlaps,
    /// Counts sets of cuts, so that the end of one does not mend the next.
    pub(crate) cuts: u64,
    pub(crate) founders: Vec<NodeId>,
    pub(crate) turns: Dice,
    /// Everything that happened, in one number.
    pub(crate) digest: Digest,
    pub(crate) events: u64,
    /// The nodes that should hold groups now, and how often that has changed.
    pub(crate) write: BTreeSet<usize>,
    pub(crate) config: u64,
    /// The nodes operators want relieved, and how often that has changed.
    pub(crate) draining: BTreeSet<usize>,
    pub(crate) intent: u64,
    /// Faults that wait for a message of a kind.
    pub(crate) ambushes: Vec<Ambush>,
    /// Whether faults have ended for good.
    pub(crate) healed: bool,
    /// Prints each event.
    pub(crate) trace: bool,
    pub(crate) next_name: u64,
    /// The newest question of the harness itself, and what it was told.
    pub(crate) asked: u64,
    pub(crate) heard: Option<Reply>,
    effects: Vec<Effect>,
    sinks: Sinks,
}

/// The client that is the harness itself.
pub(crate) const HARNESS: usize = usize::MAX;

#[derive(Debug, Default)]
struct Sinks {
    ops: Vec<DiskOp>,
    replies: Vec<(Ticket, Reply)>,
    tails: Vec<(TailId, TailMessage)>,
    messages: Vec<(NodeId, PeerMessage)>,
}

struct Ops<'a>(&'a mut Vec<DiskOp>);
struct Doors<'a>(&'a mut Vec<(Ticket, Reply)>, &'a mut Vec<(TailId, TailMessage)>);
struct Wires<'a>(&'a mut Vec<(NodeId, PeerMessage)>);

impl DiskBorder for Ops<'_> {
    fn submit(&mut self, op: DiskOp) {
        self.0.push(op);
    }
}

impl Clients for Doors<'_> {
    fn reply(&mut self, ticket: Ticket, reply: Reply) {
        self.0.push((ticket, reply));
    }

    fn tail(&mut self, tail: TailId, message: TailMessage) {
        self.1.push((tail, message));
    }
}

impl Peers for Wires<'_> {
    fn send(&mut self, to: NodeId, message: PeerMessage) {
        self.0.push((to, message));
    }
}

impl World {
    /// A world in which nothing has happened.
    pub(crate) fn new(
        options: Options,
        (nodes, founders): (Vec<Node>, Vec<NodeId>),
        clients: Vec<Client>,
        ground: Ground,
    ) -> World {
        use crate::dice::Concern;
        let seed = options.seed;
        let count = options.nodes;
        let dice = |concern| Dice::new(seed, concern);
        World {
            queue: Queue::new(),
            network: Network::new(count, options.weather, dice(Concern::Network)),
            nemesis: Nemesis::new(&options, dice(Concern::Nemesis)),
            overlaps: Overlaps::default(),
            links: Links::new(count),
            atlas: Atlas::new(options.factor as usize),
            nodes,
            clients,
            ground,
            court: Court::new(first_members(&options, &founders)),
            findings: Findings::default(),
            counters: Counters::new(),
            cuts: 0,
            founders,
            turns: dice(Concern::Turns),
            digest: Digest::new(),
            events: 0,
            write: (0..options.nodes - options.spare_nodes).collect(),
            config: 0,
            draining: BTreeSet::new(),
            intent: 0,
            ambushes: Vec::new(),
            healed: false,
            trace: false,
            next_name: 0,
            asked: 0,
            heard: None,
            effects: Vec::new(),
            sinks: Sinks::default(),
            options,
        }
    }

    /// What time it is.
    pub(crate) fn now(&self) -> Time {
        self.queue.now()
    }

    /// Lets everything happen that happens until then.
    pub(crate) fn run_until(&mut self, until: Time) {
        while let Some(event) = self.queue.next(until) {
            self.happen(event);
        }
    }

    /// Lets the next thing happen, if it happens until then.
    pub(crate) fn step(&mut self, until: Time) -> bool {
        let event = self.queue.next(until);
        let happened = event.is_some();
        if let Some(event) = event {
            self.happen(event);
        }
        happened
    }

    fn happen(&mut self, event: Event) {
        self.events += 1;
        self.digest.add(self.queue.now().0);
        self.digest.add(event.number());
        if self.trace {
            self.print(&event);
        }
        match event {
            Event::Turn { node, shard, life } => self.turn(node, shard, life),
            Event::Tick { node, shard, life } => self.tick(node, shard, life),
            Event::Deliver { from, life, sender, to, message } => {
                if self.nodes[from].life != life {
                    self.counters.count(Fault::StaleMessage);
                }
                self.deliver(sender, to, message);
            }
            Event::Dial => self.dial_again(),
            Event::Link { to, node, up } => self.link(to, node, up),
            Event::Disk { node, shard, life, op } => self.disk(node, shard, life, op),
            Event::Start { node } => self.start(node),
            Event::LandLate { node } => {
                for disk in &mut self.nodes[node].disks {
                    disk.land_late(&mut self.counters);
                }
            }
            Event::Nemesis => self.strike(),
            Event::Deed(deed) => self.deed(&deed),
            Event::Mend(mend) => self.mend(mend),
            Event::Intent { node } => self.tell_intent(node),
            client => self.client_event(client),
        }
    }

    /// The placement of groups on the shards of a node.
    pub(crate) fn placement(&self, node: usize) -> Placement {
        Placement::new(self.options.groups, self.nodes[node].shards)
    }

    /// Something for a shard; it takes a turn soon.
    pub(crate) fn input(&mut self, node: usize, shard: u32, input: Input) {
        let Some(running) = self.nodes[node].running(shard) else { return };
        running.inbox.push_back(input);
        self.plan_turn(node, shard, 0);
    }

    pub(crate) fn plan_turn(&mut self, node: usize, shard: u32, after: u64) {
        let now = self.now();
        let life = self.nodes[node].life;
        let stands = self.nodes[node].stands_until(shard);
        let Some(running) = self.nodes[node].running(shard) else { return };
        if !std::mem::replace(&mut running.turn_planned, true) {
            let at = (now + after).max(running.free_at).max(stands);
            self.queue.plan(at, Event::Turn { node, shard, life });
        }
    }

    fn deliver(&mut self, sender: NodeId, to: NodeId, message: PeerMessage) {
        let Some(node) = self.nodes.iter().position(|node| node.id() == to) else { return };
        let placement = self.placement(node);
        let input = |message| Input::Peer { from: sender, message };
        match &message {
            PeerMessage::Raft { group, .. } | PeerMessage::Snapshot { group, .. } => {
                self.input(node, placement.shard(*group).0, input(message));
            }
            PeerMessage::Pulse(_) => {
                for shard in 0..placement.shards() {
                    self.input(node, shard, input(message.clone()));
                }
            }
        }
    }

    fn link(&mut self, to: usize, node: NodeId, up: bool) {
        for shard in 0..self.nodes[to].shards {
            self.input(to, shard, Input::Link { node, up });
        }
    }

    fn tick(&mut self, node: usize, shard: u32, life: u32) {
        if self.nodes[node].life != life || !self.nodes[node].is_up() {
            return;
        }
        let stands = self.nodes[node].stands_until(shard);
        if self.now() < stands {
            return self.queue.plan(stands, Event::Tick { node, shard, life });
        }
        self.input(node, shard, Input::Tick);
        let busy = self.nodes[node].running(shard).is_some_and(|running| running.shard.busy());
        let gap = if busy { 5 * MILLI } else { TICK };
        let at = self.now() + self.nodes[node].clock.lasts(gap);
        self.queue.plan(at, Event::Tick { node, shard, life });
    }

    /// A shard takes what has come, speaks once, and what it says is carried out.
    fn turn(&mut self, node: usize, shard: u32, life: u32) {
        let at = self.now();
        let stands = self.nodes[node].stands_until(shard);
        if self.nodes[node].life != life || !self.nodes[node].is_up() {
            return;
        }
        if at < stands {
            return self.queue.plan(stands, Event::Turn { node, shard, life });
        }
        let now: Now = self.nodes[node].clock.now(at);
        let mut effects = std::mem::take(&mut self.effects);
        let running = self.nodes[node].running(shard).expect("it lives");
        running.turn_planned = false;
        for _ in 0..INPUTS_PER_TURN {
            let Some(input) = running.inbox.pop_front() else { break };
            running.shard.step(input, now);
        }
        running.shard.settle(now, &mut effects);
        running.turns += 1;
        running.free_at = at + 5 + self.turns.below(60);
        let goes_on = running.shard.has_work() || !running.inbox.is_empty();
        let mut sinks = std::mem::take(&mut self.sinks);
        let Sinks { ops, replies, tails, messages } = &mut sinks;
        perform(&mut effects, &mut Ops(ops), &mut Doors(replies, tails), &mut Wires(messages));
        self.effects = effects;
        self.check_budget(node, shard);
        for op in sinks.ops.drain(..) {
            self.submit(node, shard, op);
        }
        for (ticket, reply) in sinks.replies.drain(..) {
            self.reply(node, ticket, reply);
        }
        for (tail, message) in sinks.tails.drain(..) {
            self.tail(node, tail, message);
        }
        for (to, message) in sinks.messages.drain(..) {
            self.send(node, to, message);
        }
        self.sinks = sinks;
        if goes_on {
            self.plan_turn(node, shard, 1);
        }
    }

    fn submit(&mut self, node: usize, shard: u32, op: DiskOp) {
        let now = self.now();
        let life = self.nodes[node].life;
        if let DiskOp::LogWrite(write) = &op {
            self.digest.add(write.batch.0);
            self.digest.add(crc(write.buffer.as_slice()));
            let log_id = log_id(self.nodes[node].id());
            let identity = LogIdentity { log_id, shard: ShardId(shard) };
            observe::may_be_written(&mut self.court, identity, write);
        }
        if let Some((op, micros)) = self.nodes[node].disks[shard as usize].submit(op) {
            self.queue.plan(now + micros, Event::Disk { node, shard, life, op });
        }
    }

    fn disk(&mut self, node: usize, shard: u32, life: u32, op: OpNumber) {
        if self.nodes[node].life != life || !self.nodes[node].is_up() {
            return;
        }
        let now = self.now();
        let id = self.nodes[node].id();
        let disk = &mut self.nodes[node].disks[shard as usize];
        if disk.health.stuck {
            return self.queue.plan(now + MILLI, Event::Disk { node, shard, life, op });
        }
        let identity = LogIdentity { log_id: log_id(id), shard: ShardId(shard) };
        let durable = disk.log_write(op).map(|write| Durable::read(identity, write));
        match disk.finish(op, &mut self.counters) {
            Finished::Forgotten => {}
            Finished::Fatal => self.end(node, End::Kill, Some(200 * MILLI)),
            Finished::Done(completion) => {
                if let Some(durable) = durable {
                    durable.tell(&mut self.court, id);
                }
                if let Completion::FilePublished { .. } = &completion {
                    self.counters.reach(Reached::Checkpoint);
                }
                self.input(node, shard, Input::Disk(completion));
            }
        }
    }

    fn send(&mut self, node: usize, to: NodeId, message: PeerMessage) {
        let now = self.now();
        let sender = self.nodes[node].id();
        let life = self.nodes[node].life;
        assert_ne!(sender, to, "a node does not write to itself");
        if let PeerMessage::Raft { group, message } = &message {
            observe::said(&mut self.court, group.0, message, &mut self.counters);
        }
        let lane = match &message {
            PeerMessage::Raft { .. } | PeerMessage::Pulse(_) => Lane::Log,
            PeerMessage::Snapshot { group, step } => {
                self.court.hands_state(*group, (sender, life), step);
                observe::stepped(step, &mut self.counters);
                Lane::Bulk
            }
        };
        let tag = |node: &Node| u64::from(node.tag.0) == to.0 >> 32;
        let Some(place) = self.nodes.iter().position(tag) else { return };
        self.spring(node, place, &message);
        let times = self.network.send((node, place), lane, now, &mut self.counters);
        for at in times.into_iter().flatten() {
            let message = message.clone();
            self.queue.plan(at, Event::Deliver { from: node, life, sender, to, message });
        }
    }

    fn print(&self, event: &Event) {
        let text = format!("{event:?}");
        let text: String = text.chars().take(400).collect();
        crate::say(&format!("{} {text}", self.now()));
    }
}

fn crc(bytes: &[u8]) -> u64 {
    // The batch's own checksums stand for all of it.
    bytes.first_chunk::<80>().map_or(0, |head| Digest::of(&head[64..80]))
}

/// The members each group begins with.
fn first_members(options: &Options, founders: &[NodeId]) -> Vec<Arc<Membership>> {
    let tags: Vec<NameTag> = founders.iter().map(|id| shard::cluster::tag(*id)).collect();
    let id = |wanted: &NameTag| {
        let found = founders.iter().copied().find(|id| shard::cluster::tag(*id) == *wanted);
        found.expect("a founder")
    };
    let members = (0..options.groups).map(|group| {
        let chosen = replicas(GroupId(group), &tags, options.factor);
        Arc::new(Membership::new(chosen.iter().map(id).collect(), Vec::new()))
    });
    members.collect()
}
