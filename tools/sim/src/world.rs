//! The world: nodes, wires, disks, clocks and clients, one event at a time.

use model::api::Reply;
use model::api::{Request, TailMessage, TailOpen};
use model::ids::{Now, Placement, ShardId};
use model::limits::INPUTS_PER_TURN;
use raft::NodeId;
use shard::effect::{
    Clients, Completion, Disk as DiskBorder, DiskOp, Effect, Input, Peers, TailId, Ticket, perform,
};
use shard::peer::PeerMessage;
use shard::wal::LogIdentity;

use crate::atlas::Atlas;
use crate::client::{Client, Move};
use crate::count::{Counters, Fault, Reached};
use crate::dice::{Dice, Digest};
use crate::disk::{End, Finished, OpNumber};
use crate::ground::Ground;
use crate::invariants::Court;
use crate::links::Links;
use crate::nemesis::{Deed, Nemesis, Overlaps};
use crate::network::{Lane, Network};
use crate::node::{Caller, Node, log_id};
use crate::observe::{self, Durable};
use crate::options::{Options, TICK};
use crate::queue::{MILLI, Queue, Time};
use crate::verdict::Findings;

/// What is going to happen.
#[derive(Debug)]
pub(crate) enum Event {
    /// A shard takes a turn.
    Turn { node: usize, shard: u32, life: u32 },
    /// A shard is told that time has passed.
    Tick { node: usize, shard: u32, life: u32 },
    /// A message arrives.
    Deliver { from: usize, life: u32, sender: NodeId, to: NodeId, message: PeerMessage },
    /// Connections that do not stand are tried again.
    Dial,
    /// A node notices that a connection stands or broke.
    Link { to: usize, node: NodeId, up: bool },
    /// A disk has had its time.
    Disk { node: usize, shard: u32, life: u32, op: OpNumber },
    /// A process starts.
    Start { node: usize },
    /// Writes of a killed process land.
    LandLate { node: usize },
    /// A client goes on.
    Wake { client: usize },
    /// A client has waited long enough.
    Patience(Caller),
    /// A request arrives at a node.
    Arrive { caller: Caller, node: usize, request: Request },
    /// An answer arrives at a client.
    Answer(Caller, Reply),
    /// A tail is opened at a node.
    Follow { caller: Caller, node: usize, open: TailOpen },
    /// A tail's message arrives.
    TailMessage(Caller, TailMessage),
    /// A node learns that a connection has written so much.
    Credit { caller: Caller, bytes: u64 },
    /// A node learns that a tail's connection is gone.
    HangUp(Caller),
    /// A client learns that its node is gone.
    CutOff(Caller),
    /// The nemesis acts.
    Nemesis,
    /// Something planned happens.
    Deed(Deed),
    /// A fault ends, if it has not been followed by another of its kind.
    Mend(Mend),
}

/// The end of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mend {
    /// Links are whole, unless they were cut again since.
    Links { cut: u64 },
    /// A link is as fast as ever.
    Link { from: usize, to: usize },
    /// A disk is well.
    Disk { node: usize },
    /// A disk that lied loses power.
    Lie { node: usize, down: u64 },
    /// A wall clock goes on.
    Wall { node: usize },
}

/// Microseconds between a client and a node.
const CLIENT_MICROS: u64 = 200;

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
    /// Whether faults have ended for good.
    pub(crate) healed: bool,
    /// Prints each event.
    pub(crate) trace: bool,
    next_name: u64,
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
            court: Court::default(),
            findings: Findings::default(),
            counters: Counters::new(),
            cuts: 0,
            founders,
            turns: dice(Concern::Turns),
            digest: Digest::new(),
            events: 0,
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
            client => self.client_event(client),
        }
    }

    fn client_event(&mut self, event: Event) {
        let now = self.now();
        let (client, moves) = match event {
            Event::Wake { client } => (client, self.clients[client].wake(&mut self.ground, now)),
            Event::Patience(Caller { client, number }) => {
                let ground = &mut self.ground;
                (client, self.clients[client].lose_patience(number, ground, now))
            }
            Event::CutOff(Caller { client, number }) if client != HARNESS => {
                (client, self.clients[client].cut_off(number, &mut self.ground, now))
            }
            Event::Answer(Caller { client: HARNESS, number }, reply) => {
                // An answer to an older question says nothing.
                if number == self.asked {
                    self.heard = Some(reply);
                }
                return;
            }
            Event::Answer(Caller { client, number }, reply) => {
                let ground = &mut self.ground;
                (client, self.clients[client].answer(number, reply, ground, now))
            }
            Event::TailMessage(Caller { client, number }, message) => {
                let ground = &mut self.ground;
                (client, self.clients[client].tail_message(number, message, ground, now))
            }
            Event::Arrive { caller, node, request } => return self.arrive(caller, node, request),
            Event::Follow { caller, node, open } => return self.follow(caller, node, open),
            Event::Credit { caller, bytes } => {
                let input = |tail| Input::TailCredit { tail, bytes };
                return self.tell_tail(caller, false, input);
            }
            Event::HangUp(caller) => {
                return self.tell_tail(caller, true, |tail| Input::TailClose { tail });
            }
            _ => return,
        };
        self.carry_out(client, moves);
    }

    /// Does what a client wants done.
    pub(crate) fn carry_out(&mut self, client: usize, moves: Vec<Move>) {
        let now = self.now();
        for step in moves {
            let caller = |number| Caller { client, number };
            let (at, event) = match step {
                Move::Wake { after } => (now + after, Event::Wake { client }),
                Move::Patience { after, number } => (now + after, Event::Patience(caller(number))),
                Move::Ask { after, node, number, request } => {
                    let at = now + after + CLIENT_MICROS + self.turns.below(CLIENT_MICROS);
                    (at, Event::Arrive { caller: caller(number), node, request })
                }
                Move::Follow { after, node, number, open } => {
                    let caller = caller(number);
                    (now + after + CLIENT_MICROS, Event::Follow { caller, node, open })
                }
                Move::Credit { after, number, bytes } => {
                    let caller = caller(number);
                    (now + after + CLIENT_MICROS, Event::Credit { caller, bytes })
                }
                Move::HangUp { number } => (now + CLIENT_MICROS, Event::HangUp(caller(number))),
            };
            self.queue.plan(at, event);
        }
    }

    /// The placement of groups on the shards of a node.
    pub(crate) fn placement(&self, node: usize) -> Placement {
        Placement::new(self.options.groups, self.nodes[node].shards)
    }

    /// A request arrives. A node that is down refuses the connection.
    pub(crate) fn arrive(&mut self, caller: Caller, node: usize, request: Request) {
        let session = match &request {
            Request::Create(c) => &c.session,
            Request::Append(c) => &c.session,
            Request::Patch(c) => &c.session,
            Request::SetArchived(c) => &c.session,
            Request::Get(session) => session,
            Request::Events(page) => &page.session,
            Request::List(_) | Request::Groups(_) => unreachable!("nobody looks around here"),
        };
        let shard = self.placement(node).shard_of(session.as_str()).0;
        self.next_name += 1;
        let ticket = Ticket(self.next_name);
        let Some(process) = &mut self.nodes[node].process else {
            let at = self.now() + CLIENT_MICROS;
            return self.queue.plan(at, Event::CutOff(caller));
        };
        process.tickets.insert(ticket, caller);
        self.input(node, shard, Input::Request { ticket, request });
    }

    fn follow(&mut self, caller: Caller, node: usize, open: TailOpen) {
        let shard = self.placement(node).shard_of(open.session.as_str()).0;
        self.next_name += 1;
        let tail = TailId(self.next_name);
        let Some(process) = &mut self.nodes[node].process else {
            let at = self.now() + CLIENT_MICROS;
            return self.queue.plan(at, Event::CutOff(caller));
        };
        process.tails.insert(tail, (caller, shard));
        process.followers.insert(caller, tail);
        self.input(node, shard, Input::TailOpen { tail, open });
    }

    fn tell_tail(&mut self, caller: Caller, ends: bool, input: impl Fn(TailId) -> Input) {
        for node in 0..self.nodes.len() {
            let Some(process) = &mut self.nodes[node].process else { continue };
            let Some(tail) = process.followers.get(&caller).copied() else { continue };
            let (_, shard) = process.tails[&tail];
            if ends {
                process.followers.remove(&caller);
                process.tails.remove(&tail);
            }
            return self.input(node, shard, input(tail));
        }
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

    fn reply(&mut self, node: usize, ticket: Ticket, reply: Reply) {
        let at = self.now() + CLIENT_MICROS + self.turns.below(CLIENT_MICROS);
        let Some(process) = &mut self.nodes[node].process else { return };
        let caller = process.tickets.remove(&ticket);
        let caller = caller.expect("a reply answers a request, once");
        self.queue.plan(at, Event::Answer(caller, reply));
    }

    fn tail(&mut self, node: usize, tail: TailId, message: TailMessage) {
        let at = self.now() + CLIENT_MICROS;
        let Some(process) = &mut self.nodes[node].process else { return };
        let Some((caller, _)) = process.tails.get(&tail).copied() else { return };
        if !matches!(message, TailMessage::Opened | TailMessage::Events { .. }) {
            process.tails.remove(&tail);
            process.followers.remove(&caller);
        }
        self.queue.plan(at, Event::TailMessage(caller, message));
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
            PeerMessage::Snapshot { step, .. } => {
                observe::stepped(step, &mut self.counters);
                Lane::Bulk
            }
        };
        let tag = |node: &Node| u64::from(node.tag.0) == to.0 >> 32;
        let Some(place) = self.nodes.iter().position(tag) else { return };
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

impl Event {
    /// A number for the digest: what kind of event it is and whom it happens to.
    fn number(&self) -> u64 {
        let (kind, who) = match self {
            Event::Turn { node, shard, .. } => (1, node * 8 + *shard as usize),
            Event::Tick { node, shard, .. } => (2, node * 8 + *shard as usize),
            Event::Deliver { from, to, .. } => (3, from ^ (to.0 >> 32) as usize),
            Event::Link { to, up, .. } => (4, to * 2 + usize::from(*up)),
            Event::Disk { node, shard, .. } => (5, node * 8 + *shard as usize),
            Event::Start { node } => (6, *node),
            Event::LandLate { node } => (7, *node),
            Event::Wake { client } => (8, *client),
            Event::Patience(caller) => (9, caller.client),
            Event::Arrive { caller, .. } => (10, caller.client),
            Event::Answer(caller, _) => (11, caller.client),
            Event::Follow { caller, .. } => (12, caller.client),
            Event::TailMessage(caller, _) => (13, caller.client),
            Event::Credit { caller, .. } => (14, caller.client),
            Event::HangUp(caller) => (15, caller.client),
            Event::CutOff(caller) => (16, caller.client),
            Event::Nemesis => (17, 0),
            Event::Deed(_) => (18, 0),
            Event::Mend(_) => (19, 0),
            Event::Dial => (20, 0),
        };
        (kind << 32) + (who as u64 & 0xffff_ffff)
    }
}
