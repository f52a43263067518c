//! The door side of a node: what a connection asks goes to the shard that hosts its session, on this
//! core or another, and comes back as a reply or a tail.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use model::api::{List, Reply, Request, SessionRow, TailMessage, TailOpen};
use model::cluster::MemberId;
use model::error::{Code, Refusal};
use model::ids::{GroupId, Placement, SessionId, ShardId};
use shard::effect::{TailId, Ticket};
use shard::peer::PeerMessage;

use crate::inbox::Inbox;
use crate::mesh::{Mail, Outbox};
use crate::meters::QueueMeters;
use crate::peers::{Heard, PeerQueues};
use crate::pending::{Pending, TailQueue, Waiters};
use crate::stop::{Readiness, Stopper};

/// The bits of a ticket or tail that number it within its core; those above name the core.
const CORE_SHIFT: u32 = 48;

/// A core's way to every shard of the node. Cheap to clone; never leaves its core.
#[derive(Debug, Clone)]
pub struct Gateway(Rc<Hub>);

/// What connections and drivers of one core share.
#[derive(Debug)]
pub(crate) struct Hub {
    core: usize,
    placement: Placement,
    /// Core of each shard.
    homes: Vec<usize>,
    /// Inbox of each shard this core hosts.
    inboxes: Vec<Option<Rc<Inbox>>>,
    /// Mail to each core; the own one stays empty.
    outboxes: Vec<Rc<Outbox>>,
    pending: Pending,
    tails: RefCell<BTreeMap<TailId, Rc<TailQueue>>>,
    next_tail: Cell<u64>,
    stopper: Stopper,
    stop_waiters: Waiters,
    peers: PeerQueues,
    heard: Heard,
    meters: QueueMeters,
}

impl Gateway {
    pub(crate) fn new(hub: Rc<Hub>) -> Gateway {
        Gateway(hub)
    }

    /// The number of this core among the node's, from 0.
    pub fn core(&self) -> usize {
        self.0.core
    }

    /// Asks the shard that hosts the request's session, and waits for its answer. A shard or core
    /// with too much to do refuses at once with `EventStoreBackpressure`. Dropping the future
    /// withdraws nothing.
    pub async fn call(&self, request: Request) -> Reply {
        let shard = match &request {
            Request::Create(c) => self.shard_of(c.session.as_str()),
            Request::Append(c) => self.shard_of(c.session.as_str()),
            Request::Patch(c) => self.shard_of(c.session.as_str()),
            Request::SetArchived(c) => self.shard_of(c.session.as_str()),
            Request::Get(session) => self.shard_of(session.as_str()),
            Request::Events(page) => self.shard_of(page.session.as_str()),
            Request::List(list) => return self.list(list.clone()).await,
        };
        self.0.start(shard, request).await
    }

    /// Asks every shard for its rows and merges them: [`Reply::Sessions`] with at most `list.limit`
    /// rows in id order, or the first refusal.
    pub async fn list(&self, list: List) -> Reply {
        let shards = 0..self.0.placement.shards();
        let calls: Vec<Call> =
            shards.map(|shard| self.0.start(ShardId(shard), Request::List(list.clone()))).collect();
        let mut merged: Vec<SessionRow> = Vec::new();
        let mut groups = Vec::new();
        // A shard that has more says nothing of ids behind its last row.
        let mut known_to: Option<SessionId> = None;
        for call in calls {
            match call.await {
                Reply::Sessions { rows, more, groups: led } => {
                    groups.extend(led);
                    if more && let Some(last) = rows.last() {
                        let end = known_to.get_or_insert_with(|| last.id.clone());
                        *end = last.id.clone().min(end.clone());
                    }
                    merged.extend(rows);
                }
                Reply::Refused(refusal) => return Reply::Refused(refusal),
                Reply::Session(_)
                | Reply::Appended(_)
                | Reply::Events { .. }
                | Reply::NotLeader { .. } => {
                    return Refusal::from(Code::InternalError).into();
                }
            }
        }
        merged.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        if let Some(end) = &known_to {
            merged.retain(|row| row.id <= *end);
        }
        let more = known_to.is_some() || (list.limit as usize) < merged.len();
        merged.truncate(list.limit as usize);
        Reply::Sessions { rows: merged, more, groups }
    }

    /// Follows a session; see [`TailMessage`] for what comes.
    pub fn tail(&self, open: TailOpen) -> Tail {
        let hub = Rc::clone(&self.0);
        let number = hub.next_tail.get();
        hub.next_tail.set(number + 1);
        let id = TailId(label(hub.core, number));
        let shard = self.shard_of(open.session.as_str());
        let queue = Rc::new(TailQueue::default());
        hub.tails.borrow_mut().insert(id, Rc::clone(&queue));
        let opened = match hub.route(shard) {
            Route::Here(inbox) => hub.admitted(inbox.tail_open(id, open)),
            Route::There(outbox) => {
                hub.carried(outbox.ask(Mail::TailOpen { shard, tail: id, open }))
            }
        };
        if let Err(code) = opened {
            queue.push(TailMessage::Refused(Box::new(code.into())));
        }
        Tail { hub, id, shard, queue }
    }

    /// The queues of what this core's shards tell other nodes.
    pub fn peers(&self) -> &PeerQueues {
        &self.0.peers
    }

    /// Brings what another node says to the shard it is for, or to all. Dropped, and counted, if there
    /// is too much.
    ///
    /// # Errors
    /// If it speaks of a group that does not exist.
    pub fn hear(&self, from: MemberId, message: PeerMessage) -> Result<(), &'static str> {
        let groups = self.0.placement.groups();
        match &message {
            PeerMessage::Raft { group: GroupId(group), .. }
            | PeerMessage::Snapshot { group: GroupId(group), .. } => {
                if groups <= *group {
                    return Err("it speaks of a group that does not exist");
                }
                self.0.hear(self.0.placement.shard(GroupId(*group)), from, message);
            }
            PeerMessage::Pulse(_) => {
                let shards = 0..self.0.placement.shards();
                shards.for_each(|shard| self.0.hear(ShardId(shard), from, message.clone()));
            }
        }
        Ok(())
    }

    /// Tells all shards of the node whether a connection from another node stands.
    pub fn link(&self, member: MemberId, up: bool) {
        self.0.heard.set(member, up);
        let others = self.0.outboxes.iter().enumerate().filter(|(core, _)| *core != self.0.core);
        others.for_each(|(_, outbox)| outbox.tell(Mail::Link { member }));
        self.0.link(member);
    }

    /// Whether the node takes requests.
    pub fn readiness(&self) -> Readiness {
        self.0.stopper.readiness()
    }

    /// Whether a stop was asked for.
    pub fn stopping(&self) -> bool {
        self.0.stopper.stopping()
    }

    /// Resolves when a stop was asked for. Safe to drop and to wait for again, any number of times.
    pub async fn stopped(&self) {
        Stopped { hub: &self.0, place: None }.await;
    }

    /// The handle that stops all cores, from any thread.
    pub fn stopper(&self) -> Stopper {
        self.0.stopper.clone()
    }

    fn shard_of(&self, session: &str) -> ShardId {
        self.0.placement.shard_of(session)
    }
}

/// A session being followed. Dropping it ends the tail.
#[derive(Debug)]
pub struct Tail {
    hub: Rc<Hub>,
    id: TailId,
    shard: ShardId,
    queue: Rc<TailQueue>,
}

impl Tail {
    /// The next message; `None` after the last one.
    pub async fn next(&mut self) -> Option<TailMessage> {
        std::future::poll_fn(|cx| self.queue.poll_next(cx)).await
    }

    /// Says that events have been written to the connection: the shard sends as many bytes again.
    /// `bytes` is the sum of the lengths of their JSON.
    pub fn written(&mut self, bytes: u64) {
        if bytes == 0 || self.queue.ended() {
            return;
        }
        match self.hub.route(self.shard) {
            Route::Here(inbox) => inbox.tail_credit(self.id, bytes),
            Route::There(outbox) => {
                outbox.tell(Mail::TailCredit { shard: self.shard, tail: self.id, bytes });
            }
        }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let known = self.hub.tails.borrow_mut().remove(&self.id);
        assert!(known.is_some(), "a tail is known until it is dropped");
        if self.queue.ended() {
            return;
        }
        match self.hub.route(self.shard) {
            Route::Here(inbox) => inbox.tail_close(self.id),
            Route::There(outbox) => {
                outbox.tell(Mail::TailClose { shard: self.shard, tail: self.id });
            }
        }
    }
}

/// Where a shard is to be found.
enum Route<'a> {
    Here(&'a Inbox),
    There(&'a Outbox),
}

/// How the cores of a node divide its shards.
#[derive(Debug, Clone)]
pub(crate) struct Homes {
    /// Sessions to shards.
    pub(crate) placement: Placement,
    /// The node's cores.
    pub(crate) cores: usize,
}

impl Homes {
    /// The core that hosts a shard.
    pub(crate) fn core_of(&self, shard: ShardId) -> usize {
        shard.0 as usize % self.cores
    }
}

impl Hub {
    /// The hub of one core.
    pub(crate) fn new(core: usize, homes: &Homes, stopper: Stopper, heard: Heard) -> Hub {
        let shards = 0..homes.placement.shards();
        let home_of: Vec<usize> = shards.map(|shard| homes.core_of(ShardId(shard))).collect();
        assert!(core < homes.cores, "the core is one of the node's");
        let inboxes = home_of.iter().map(|home| (*home == core).then(Rc::default)).collect();
        Hub {
            core,
            placement: homes.placement,
            homes: home_of,
            inboxes,
            outboxes: (0..homes.cores).map(|_| Rc::default()).collect(),
            pending: Pending::default(),
            tails: RefCell::default(),
            next_tail: Cell::new(0),
            stopper,
            stop_waiters: Waiters::default(),
            peers: PeerQueues::new(core),
            heard,
            meters: QueueMeters::new(core),
        }
    }

    /// The inbox of a shard this core hosts.
    pub(crate) fn inbox(&self, shard: ShardId) -> Rc<Inbox> {
        let inbox = self.inboxes[shard.0 as usize].as_ref();
        Rc::clone(inbox.expect("asked for a shard of this core"))
    }

    /// Mail to each core.
    pub(crate) fn outboxes(&self) -> &[Rc<Outbox>] {
        &self.outboxes
    }

    /// Brings a reply to whoever waits for it, on whatever core.
    pub(crate) fn reply(&self, ticket: Ticket, reply: Reply) {
        match self.mine(ticket.0) {
            Ok(number) => self.pending.answer(slot(number), reply),
            Err(core) => self.outboxes[core].tell(Mail::Reply { ticket, reply }),
        }
    }

    /// Brings a message to its tail, on whatever core. Harmless if the tail is gone.
    pub(crate) fn tail_message(&self, tail: TailId, message: TailMessage) {
        if let Err(core) = self.mine(tail.0) {
            self.outboxes[core].tell(Mail::Tail { tail, message });
            return;
        }
        let queue = self.tails.borrow().get(&tail).cloned();
        if let Some(queue) = queue {
            queue.push(message);
        }
    }

    /// Takes a piece of mail from another core.
    pub(crate) fn deliver(&self, mail: Mail) {
        match mail {
            Mail::Request { shard, ticket, request } => {
                if let Err(code) = self.admitted(self.inbox(shard).request(ticket, request)) {
                    self.reply(ticket, Refusal::from(code).into());
                }
            }
            Mail::Reply { ticket, reply } => self.reply(ticket, reply),
            Mail::TailOpen { shard, tail, open } => {
                if let Err(code) = self.admitted(self.inbox(shard).tail_open(tail, open)) {
                    self.tail_message(tail, TailMessage::Refused(Box::new(code.into())));
                }
            }
            Mail::TailCredit { shard, tail, bytes } => self.inbox(shard).tail_credit(tail, bytes),
            Mail::TailClose { shard, tail } => self.inbox(shard).tail_close(tail),
            Mail::Tail { tail, message } => self.tail_message(tail, message),
            Mail::Peer { shard, from, message } => self.hear(shard, from, message),
            Mail::Link { member } => self.link(member),
        }
    }

    /// The queues of what this core's shards tell other nodes.
    pub(crate) fn peers(&self) -> &PeerQueues {
        &self.peers
    }

    /// Brings what another node says to a shard, on whatever core.
    fn hear(&self, shard: ShardId, from: MemberId, message: PeerMessage) {
        let (taken, dropped) = match self.route(shard) {
            Route::Here(inbox) => (inbox.peer(from, message), &self.meters.peer_inbox),
            Route::There(outbox) => (outbox.forward(shard, from, message), &self.meters.peer_mesh),
        };
        if !taken {
            dropped.increment(1);
        }
    }

    /// Tells the shards of this core whether a node can be heard. News may come late and in any order,
    /// so what holds now is told, not what was news then.
    fn link(&self, member: MemberId) {
        let up = self.heard.is_up(member);
        self.inboxes.iter().flatten().for_each(|inbox| inbox.link(member, up));
    }

    /// Wakes whoever waits for a stop. Called once one was asked for.
    pub(crate) fn wake_stopped(&self) {
        assert!(self.stopper.stopping());
        self.stop_waiters.wake_all();
    }

    /// Sends a request on its way.
    fn start(self: &Rc<Hub>, shard: ShardId, request: Request) -> Call {
        let slot = self.pending.reserve();
        let ticket = Ticket(label(self.core, u64::from(slot)));
        let sent = match self.route(shard) {
            Route::Here(inbox) => self.admitted(inbox.request(ticket, request)),
            Route::There(outbox) => {
                self.carried(outbox.ask(Mail::Request { shard, ticket, request }))
            }
        };
        if let Err(code) = sent {
            self.pending.answer(slot, Refusal::from(code).into());
        }
        Call { hub: Rc::clone(self), slot, done: false }
    }

    /// Counts what an inbox refuses.
    fn admitted(&self, outcome: Result<(), Code>) -> Result<(), Code> {
        outcome.inspect_err(|_| self.meters.inbox.increment(1))
    }

    /// Counts what an outbox refuses.
    fn carried(&self, outcome: Result<(), Code>) -> Result<(), Code> {
        outcome.inspect_err(|_| self.meters.mesh.increment(1))
    }

    fn route(&self, shard: ShardId) -> Route<'_> {
        match &self.inboxes[shard.0 as usize] {
            Some(inbox) => Route::Here(inbox),
            None => Route::There(&self.outboxes[self.homes[shard.0 as usize]]),
        }
    }

    /// The number behind a label of this core, or the core it belongs to.
    fn mine(&self, label: u64) -> Result<u64, usize> {
        let core = usize::try_from(label >> CORE_SHIFT).expect("a core number of 16 bits");
        if core == self.core { Ok(label & ((1 << CORE_SHIFT) - 1)) } else { Err(core) }
    }
}

/// A number of one core, made unique in the process.
fn label(core: usize, number: u64) -> u64 {
    assert!(core < 1 << (u64::BITS - CORE_SHIFT), "a core number of 16 bits");
    assert!(number < 1 << CORE_SHIFT, "a number of 48 bits");
    (core as u64) << CORE_SHIFT | number
}

fn slot(number: u64) -> u32 {
    u32::try_from(number).expect("slots are counted in 32 bits")
}

/// A request under way.
#[derive(Debug)]
struct Call {
    hub: Rc<Hub>,
    slot: u32,
    done: bool,
}

impl Future for Call {
    type Output = Reply;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Reply> {
        assert!(!self.done, "a call is not polled after its reply");
        let reply = self.hub.pending.poll_reply(self.slot, cx);
        self.done = reply.is_ready();
        reply
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.done {
            self.hub.pending.abandon(self.slot);
        }
    }
}

/// Waits for a stop.
struct Stopped<'a> {
    hub: &'a Hub,
    place: Option<usize>,
}

impl Future for Stopped<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.hub.stopper.stopping() {
            return Poll::Ready(());
        }
        self.place = Some(self.hub.stop_waiters.keep(self.place, cx.waker()));
        Poll::Pending
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.hub.stop_waiters.forget(place);
        }
    }
}
