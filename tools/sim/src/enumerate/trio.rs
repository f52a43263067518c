//! Three shards in one thread, a wire of queues between them, and somebody who watches every write
//! and every sync.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use model::api::{Reply, Request, TailMessage};
use model::cluster::{MemberId, NameTag};
use model::ids::{Micros, Now, Placement, ShardId};
use raft::{Body, NodeId, Role};
use shard::cluster::{Cluster, Timing};
use shard::effect::{Completion, DiskOp, Effect, Input, TailId, Ticket};
use shard::peer::PeerMessage;
use shard::shard::{Options, Shard};

use crate::dice::Dice;
use crate::enumerate::ledger::{Fold, Ledger};
use crate::enumerate::opening::{self, Opened};
use crate::enumerate::store::{Done, Files, Store};
use crate::enumerate::truth::Ears;

/// Microseconds between two ticks.
const STEP: u64 = 10_000;
/// Turns in which everything must have come to rest.
const TURNS_MAX: usize = 100_000;

/// What the shards of a script are like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    /// Raft groups.
    pub(crate) groups: u32,
    /// Bytes of a segment of a log.
    pub(crate) segment_bytes: u64,
    /// Bytes of events in a shard's memory.
    pub(crate) hot_bytes_max: u64,
    /// Bytes of applied entries kept for followers that are behind.
    pub(crate) log_kept_bytes: usize,
    /// A rule to break.
    #[cfg(feature = "sabotage")]
    pub(crate) sabotage: Option<shard::Sabotage>,
}

/// What has just changed on a node's disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// A log write is on its way.
    LogSubmitted,
    /// Something else is.
    FileSubmitted,
    /// The first of the other deeds is done.
    FileDone,
}

/// What goes wrong with a deed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strike {
    /// It fails, and so the process ends. Of a log write so many sectors have landed; anything else is
    /// done if that is not 0.
    Fatal(usize),
    /// All processes end.
    PowerCut,
    /// There is no room for it.
    NoSpace,
    /// It takes so many microseconds.
    Slow(u64),
    /// What is read is an error.
    ReadError,
    /// A bit of what is read is wrong.
    ReadRot,
}

/// Whoever watches.
pub(crate) trait Watch {
    /// A disk has changed.
    fn look(&mut self, moment: Moment, node: NodeId, member: &Member);
    /// Whether a deed about to be done goes wrong.
    fn strike(&mut self, _: NodeId, _: &DiskOp) -> Option<Strike> {
        None
    }
}

/// Nobody.
pub(crate) struct Nobody;

impl Watch for Nobody {
    fn look(&mut self, _: Moment, _: NodeId, _: &Member) {}
}

/// One node.
#[derive(Debug)]
pub(crate) struct Member {
    /// Its process, while it lives.
    pub(crate) shard: Option<Shard>,
    /// Its files.
    pub(crate) store: Store,
    /// What it was told once.
    pub(crate) options: Options,
    /// What it has written.
    pub(crate) ledger: Ledger,
    /// When it starts again by itself.
    pub(crate) restart_at: Option<u64>,
    /// What clients were told by it.
    pub(crate) replies: BTreeMap<Ticket, Reply>,
    /// What tails received from it.
    pub(crate) tails: BTreeMap<TailId, Vec<TailMessage>>,
}

/// Three nodes.
pub(crate) struct Trio<W> {
    /// By member.
    pub(crate) nodes: BTreeMap<NodeId, Member>,
    wire: VecDeque<(NodeId, NodeId, PeerMessage)>,
    /// Nodes nobody hears and who hear nobody.
    pub(crate) cut: BTreeSet<NodeId>,
    /// Nodes whose process ends with their next log write, of which so many sectors land.
    pub(crate) doomed: BTreeMap<NodeId, usize>,
    /// The clocks.
    pub(crate) now: Now,
    next: u64,
    dice: Dice,
    /// Whoever watches.
    pub(crate) watch: W,
    /// What was found to be wrong.
    pub(crate) findings: Vec<String>,
    /// What leaders sent.
    pub(crate) ears: Ears,
}

/// When scripts begin.
pub(crate) fn dawn() -> Now {
    Now { monotonic: 1_000_000, wall: Micros(1_700_000_000_000_000) }
}

/// A node in one life of its disk.
pub(crate) fn node(name: u32, life: u32) -> NodeId {
    NodeId(MemberId::new(NameTag(name), life).0)
}

/// The nodes that found the cluster.
pub(crate) fn founders() -> Vec<NodeId> {
    (1..=3).map(|name| node(name, 1)).collect()
}

/// What a node's shard is told.
pub(crate) fn options(own: NodeId, size: Size) -> Options {
    Options {
        placement: Placement::new(size.groups, 1),
        shard: ShardId(0),
        log_id: own.0 ^ 0x51,
        life: 1,
        hot_bytes_max: size.hot_bytes_max,
        segment_bytes: size.segment_bytes,
        log_kept_bytes: size.log_kept_bytes,
        cluster: Cluster {
            own,
            founders: founders(),
            founding_factor: 3,
            write: (1..=3).map(NameTag).collect(),
            factor: 3,
            timing: Timing {
                tick_micros: STEP,
                election_ticks: 10,
                heartbeat_ticks: 2,
                quiet_ticks: 20,
                pulse_micros: 5 * STEP,
            },
        },
        #[cfg(feature = "sabotage")]
        sabotage: size.sabotage,
    }
}

impl<W: Watch> Trio<W> {
    /// Nodes with these files, not yet started.
    pub(crate) fn new(watch: W, dice: Dice, at: Now) -> Trio<W> {
        Trio {
            nodes: BTreeMap::new(),
            wire: VecDeque::new(),
            cut: BTreeSet::new(),
            doomed: BTreeMap::new(),
            now: at,
            next: 1,
            dice,
            watch,
            findings: Vec::new(),
            ears: Ears::default(),
        }
    }

    /// A node appears, with its files and what is known of them, and starts.
    pub(crate) fn add(&mut self, options: Options, files: Files, ledger: Ledger) {
        let own = options.cluster.own;
        let store = Store::new(files, options.segment_bytes);
        let member = Member {
            shard: None,
            store,
            options,
            ledger,
            restart_at: None,
            replies: BTreeMap::new(),
            tails: BTreeMap::new(),
        };
        self.nodes.insert(own, member);
        self.start(own);
    }

    /// A node's process begins.
    pub(crate) fn start(&mut self, own: NodeId) {
        let member = self.nodes.get_mut(&own).expect("a known node");
        assert!(member.shard.is_none(), "one process at a time");
        member.restart_at = None;
        member.options.life += 1 << 32;
        match opening::open(member.options.clone(), &mut member.store.files) {
            Ok(Opened { shard, next, .. }) => {
                if let Err(what) = member.ledger.reopened(next) {
                    self.findings.push(format!("{own}: {what}"));
                }
                member.shard = Some(shard);
            }
            Err(what) => return self.findings.push(format!("{own} cannot open: {what}")),
        }
        for other in self.alive().into_iter().filter(|other| *other != own) {
            self.give(own, Input::Link { node: other, up: true });
            self.give(other, Input::Link { node: own, up: true });
        }
    }

    /// A node's process ends; of a log write in flight so many sectors land.
    pub(crate) fn end(&mut self, own: NodeId, landed: usize) {
        let member = self.nodes.get_mut(&own).expect("a known node");
        if member.shard.take().is_none() {
            return;
        }
        if let Some(write) = &member.store.log {
            member.store.files.land(write, |sector| sector < landed);
        }
        member.store.crash();
        self.wire.retain(|(from, to, _)| *from != own && *to != own);
        for other in self.alive() {
            self.give(other, Input::Link { node: own, up: false });
        }
    }

    /// The nodes whose process lives.
    pub(crate) fn alive(&self) -> Vec<NodeId> {
        let alive = self.nodes.iter().filter(|(_, member)| member.shard.is_some());
        alive.map(|(own, _)| *own).collect()
    }

    /// A node's shard hears of something.
    pub(crate) fn give(&mut self, own: NodeId, input: Input) {
        let member = self.nodes.get_mut(&own).expect("a known node");
        if let Some(shard) = &mut member.shard {
            shard.step(input, self.now);
        }
    }

    /// Turns and deliveries until nothing moves.
    pub(crate) fn settle(&mut self) {
        for turn in 0.. {
            assert!(turn < TURNS_MAX, "a cluster comes to rest");
            let mut quiet = true;
            for own in self.alive() {
                quiet &= self.turn(own);
            }
            while let Some((from, to, message)) = self.wire.pop_front() {
                let cut = self.cut.contains(&from) || self.cut.contains(&to);
                if !cut && self.nodes.get(&to).is_some_and(|member| member.shard.is_some()) {
                    quiet = false;
                    self.give(to, Input::Peer { from, message });
                }
            }
            if quiet {
                return;
            }
        }
    }

    /// One turn of a node. Whether it had nothing to do.
    fn turn(&mut self, own: NodeId) -> bool {
        let member = self.nodes.get_mut(&own).expect("a known node");
        let Some(shard) = &mut member.shard else { return true };
        let mut effects = Vec::new();
        shard.settle(self.now, &mut effects);
        let quiet = effects.is_empty() && !shard.has_work();
        for effect in effects {
            match effect {
                Effect::Disk(op) => self.submit(own, op),
                Effect::Send { to, message } => {
                    self.swear(own, to, &message);
                    self.ears.hear(&message);
                    self.wire.push_back((own, to, message));
                }
                Effect::Reply { ticket, reply } => {
                    self.member(own).replies.insert(ticket, reply);
                }
                Effect::Tail { tail, message } => {
                    self.member(own).tails.entry(tail).or_default().push(message);
                }
            }
        }
        let rests = self.nodes[&own].store.is_quiet(self.now.monotonic);
        self.work(own);
        quiet && rests
    }

    fn member(&mut self, own: NodeId) -> &mut Member {
        self.nodes.get_mut(&own).expect("a known node")
    }

    fn submit(&mut self, own: NodeId, op: DiskOp) {
        let member = self.nodes.get_mut(&own).expect("a known node");
        let moment = match op {
            DiskOp::LogWrite(write) => {
                member.ledger.submitted(member.options.identity(), &write);
                member.store.log = Some(write);
                Moment::LogSubmitted
            }
            read @ DiskOp::FileRead { .. } => return member.store.reads.push_back(read),
            other => {
                member.store.queue.push_back(other);
                Moment::FileSubmitted
            }
        };
        self.watch.look(moment, own, &self.nodes[&own]);
    }

    /// A node's disk does something of what it was asked for.
    fn work(&mut self, own: NodeId) {
        let now = self.now.monotonic;
        let store = &self.nodes[&own].store;
        let log = store.log.is_some() && store.log_held <= now && self.dice.permille(600);
        let store = &self.nodes[&own].store;
        let next = !store.queue.is_empty() && store.queue_held <= now && self.dice.permille(500);
        if log {
            self.work_on_log(own);
        }
        if next && self.nodes[&own].shard.is_some() {
            self.work_on_queue(own);
        }
        while self.nodes[&own].shard.is_some() && !self.nodes[&own].store.reads.is_empty() {
            self.work_on_read(own);
        }
    }

    fn work_on_log(&mut self, own: NodeId) {
        if let Some(landed) = self.doomed.remove(&own) {
            return self.strike_down(own, landed);
        }
        let member = self.nodes.get_mut(&own).expect("a known node");
        let write = member.store.log.take().expect("a log write is in flight");
        let op = DiskOp::LogWrite(write);
        let strike = if member.store.log_held == 0 { self.watch.strike(own, &op) } else { None };
        let DiskOp::LogWrite(write) = op else { unreachable!("it was just made") };
        member.store.log = Some(write);
        match strike {
            Some(Strike::Fatal(landed)) => return self.strike_down(own, landed),
            Some(Strike::PowerCut) => return self.strike_all(),
            Some(Strike::Slow(micros)) => {
                member.store.log_held = self.now.monotonic + micros;
                return;
            }
            _ => {}
        }
        member.store.log_held = 0;
        let done = member.store.finish_log();
        member.ledger.landed();
        self.give(own, Input::Disk(done));
    }

    fn work_on_queue(&mut self, own: NodeId) {
        let member = self.nodes.get_mut(&own).expect("a known node");
        let next = member.store.queue.front().expect("something is to be done");
        let strike = if member.store.queue_held == 0 { self.watch.strike(own, next) } else { None };
        let done = match strike {
            Some(Strike::Fatal(0)) => return self.strike_down(own, 0),
            Some(Strike::Fatal(_)) => {
                member.store.finish_next();
                return self.strike_down(own, 0);
            }
            Some(Strike::PowerCut) => return self.strike_all(),
            Some(Strike::NoSpace) => Done::Told(member.store.refuse_next()),
            Some(Strike::Slow(micros)) => {
                member.store.queue_held = self.now.monotonic + micros;
                return;
            }
            _ => member.store.finish_next(),
        };
        member.store.queue_held = 0;
        self.watch.look(Moment::FileDone, own, &self.nodes[&own]);
        if let Done::Told(done) = done {
            self.give(own, Input::Disk(done));
        }
    }

    fn work_on_read(&mut self, own: NodeId) {
        let member = self.nodes.get_mut(&own).expect("a known node");
        let strike = self.watch.strike(own, member.store.reads.front().expect("a read"));
        let (read, mut result) = member.store.finish_read();
        match (strike, &mut result) {
            (Some(Strike::ReadError), _) => result = Err("input/output error".to_owned()),
            (Some(Strike::ReadRot), Ok(buffer)) => {
                let place = self.dice.index(buffer.len());
                buffer.as_mut_slice()[place] ^= 1 << self.dice.below(8);
            }
            _ => {}
        }
        self.give(own, Input::Disk(Completion::FileRead { read, result }));
    }

    /// A deed has failed that the process does not survive; it starts again after a while.
    fn strike_down(&mut self, own: NodeId, landed: usize) {
        self.end(own, landed);
        self.member(own).restart_at = Some(self.now.monotonic + 300_000);
    }

    /// Nobody has power; of each log write some sectors have landed.
    fn strike_all(&mut self) {
        for own in self.alive() {
            let landed = self.dice.index(9);
            self.strike_down(own, landed);
        }
    }

    /// Whatever a node says of its log must be durable by now.
    fn swear(&mut self, own: NodeId, to: NodeId, message: &PeerMessage) {
        let PeerMessage::Raft { group, message } = message else { return };
        let folds = &self.nodes[&own].ledger.folds;
        let none = Fold::default();
        let fold = folds.get(&group.0).unwrap_or(&none);
        let term = message.term.0;
        let kept = match &message.body {
            // Whoever has left a term for good gives no vote in it any more.
            Body::VoteRequest { .. } => term < fold.hard.0 || fold.hard == (term, Some(own.0)),
            Body::VoteReply { granted: true } => {
                term < fold.hard.0 || fold.hard == (term, Some(to.0))
            }
            Body::AppendAccepted { matched, .. } => {
                term <= fold.hard.0 && matched.0 <= fold.last().max(self.applied(own, group.0))
            }
            Body::Append { .. } => term <= fold.hard.0,
            _ => true,
        };
        if !kept {
            let what = format!("{own} said what is not durable: {message:?}, {:?}", fold.hard);
            self.findings.push(what);
        }
    }

    fn applied(&self, own: NodeId, group: u32) -> u64 {
        let shard = self.nodes[&own].shard.as_ref();
        let status = shard.and_then(|shard| shard.statuses().find(|(id, _)| id.0 == group));
        status.map_or(0, |(_, status)| status.applied.0)
    }

    /// Time passes.
    pub(crate) fn pass(&mut self, millis: u64) {
        for _ in 0..(millis * 1_000).div_ceil(STEP) {
            self.now.monotonic += STEP;
            self.now.wall.0 += STEP;
            let now = self.now.monotonic;
            let due = |member: &Member| member.restart_at.is_some_and(|at| at <= now);
            let due = self.nodes.iter().filter(|(_, member)| due(member));
            for own in due.map(|(own, _)| *own).collect::<Vec<_>>() {
                self.start(own);
            }
            for own in self.alive() {
                self.give(own, Input::Tick);
            }
            self.settle();
        }
    }

    /// Hands a request to a node. Its ticket.
    pub(crate) fn ask(&mut self, at: NodeId, request: Request) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        self.give(at, Input::Request { ticket, request });
        ticket
    }

    /// The answer, if there is one by now.
    pub(crate) fn answer(&mut self, at: NodeId, ticket: Ticket) -> Option<Reply> {
        self.member(at).replies.remove(&ticket)
    }

    /// Who leads a group, among those that can be heard.
    pub(crate) fn leader(&self, group: u32) -> Option<NodeId> {
        let heard = self.alive().into_iter().filter(|own| !self.cut.contains(own));
        let mut found = None;
        for own in heard {
            let shard = self.nodes[&own].shard.as_ref().expect("it lives");
            let status = shard.statuses().find(|(id, _)| id.0 == group).map(|(_, status)| status);
            if let Some(status) = status.filter(|status| status.role == Role::Leader)
                && found.is_none_or(|(_, term)| term < status.term)
            {
                found = Some((own, status.term));
            }
        }
        found.map(|(own, _)| own)
    }
}
