//! What connections and drivers of one core share: where each shard is, who waits for which reply, and
//! the ways to other cores and nodes.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use model::api::{Reply, Request, TailMessage};
use model::cluster::{MemberId, NameTag, replicas};
use model::ids::{GroupId, Placement, ShardId};
use model::limits::CLIENT_TAILS_MAX;
use shard::cluster::Cluster;
use shard::effect::{TailId, Ticket};
use shard::peer::PeerMessage;

use crate::answers::Answers;
use crate::forward::{ClientMessage, ClientQueues};
use crate::inbox::{Inbox, Unheard};
use crate::mesh::{Mail, Outbox};
use crate::meters::QueueMeters;
use crate::peers::{Heard, PeerQueues};
use crate::pending::{Pending, TailQueue, Waiters};
use crate::seek::Found;
use crate::stop::Stopper;

/// The bits of a ticket or tail that number it within its core; those above name the core.
const CORE_SHIFT: u32 = 48;

/// What connections and drivers of one core share.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) core: usize,
    pub(crate) placement: Placement,
    pub(crate) cluster: Cluster,
    /// Core of each shard.
    homes: Vec<usize>,
    /// Inbox of each shard this core hosts.
    inboxes: Vec<Option<Rc<Inbox>>>,
    /// Mail to each core; the own one stays empty.
    outboxes: Vec<Rc<Outbox>>,
    pending: Pending,
    /// Tails of this core's connections.
    tails: RefCell<BTreeMap<TailId, Rc<TailQueue>>>,
    /// Those of them that another node serves.
    remote_tails: RefCell<BTreeMap<TailId, MemberId>>,
    /// Tails that this core serves for other nodes, by their own name of them.
    served: RefCell<BTreeMap<(MemberId, u64), Served>>,
    next_tail: Cell<u64>,
    /// The nodes that should hold data.
    write: RefCell<Vec<NameTag>>,
    /// Who led a group when a node was last asked.
    leaders: RefCell<BTreeMap<GroupId, NameTag>>,
    /// Who was last found to lead a group in a silent node's stead.
    found: RefCell<BTreeMap<GroupId, Found>>,
    pub(crate) stopper: Stopper,
    stop_waiters: Waiters,
    pub(crate) peers: PeerQueues,
    pub(crate) clients: ClientQueues,
    /// What other nodes' clients are owed.
    pub(crate) answers: Answers,
    pub(crate) heard: Heard,
    meters: QueueMeters,
}

/// A tail served for another node.
#[derive(Debug)]
struct Served {
    shard: ShardId,
    id: TailId,
    /// Bytes of events it was given and that nobody has said to have written.
    owed: u64,
    queue: Rc<TailQueue>,
}

/// Where a shard is to be found.
pub(crate) enum Route<'a> {
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
    /// The node's place among others.
    pub(crate) cluster: Cluster,
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
            cluster: homes.cluster.clone(),
            homes: home_of,
            inboxes,
            outboxes: (0..homes.cores).map(|_| Rc::default()).collect(),
            pending: Pending::default(),
            tails: RefCell::default(),
            remote_tails: RefCell::default(),
            served: RefCell::default(),
            next_tail: Cell::new(first_number()),
            write: RefCell::new(homes.cluster.write.clone()),
            leaders: RefCell::default(),
            found: RefCell::default(),
            stopper,
            stop_waiters: Waiters::default(),
            peers: PeerQueues::new(core),
            clients: ClientQueues::new(first_number()),
            answers: Answers::default(),
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
                if let Err(unheard) = self.admitted(self.inbox(shard).request(ticket, request)) {
                    self.reply(ticket, unheard.reply());
                }
            }
            Mail::Reply { ticket, reply } => self.reply(ticket, reply),
            Mail::TailOpen { shard, tail, open } => {
                if let Err(unheard) = self.admitted(self.inbox(shard).tail_open(tail, open)) {
                    self.tail_message(tail, unheard.tail());
                }
            }
            Mail::TailCredit { shard, tail, bytes } => self.inbox(shard).tail_credit(tail, bytes),
            Mail::TailClose { shard, tail } => self.inbox(shard).tail_close(tail),
            Mail::Tail { tail, message } => self.tail_message(tail, message),
            Mail::Peer { shard, from, message } => self.hear(shard, from, message),
            Mail::Link { member } => self.link(member),
            Mail::Client { message } => self.client_answer(message),
            Mail::Lost { member } => self.lost_here(member),
        }
    }

    /// Brings what another node says to a shard, on whatever core.
    pub(crate) fn hear(&self, shard: ShardId, from: MemberId, message: PeerMessage) {
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
    pub(crate) fn link(&self, member: MemberId) {
        let up = self.heard.is_up(member);
        self.inboxes.iter().flatten().for_each(|inbox| inbox.link(member, up));
    }

    /// The nodes that should hold a group, the one that should lead it first.
    pub(crate) fn replicas(&self, group: GroupId) -> Vec<NameTag> {
        replicas(group, &self.write.borrow(), self.cluster.factor)
    }

    /// Tells the shards of this core what operators want.
    pub(crate) fn tell_wishes(&self) {
        let wishes = self.stopper.standing().wishes();
        self.write.borrow_mut().clone_from(&wishes.write);
        self.inboxes.iter().flatten().for_each(|inbox| inbox.wishes(wishes.clone()));
    }

    /// Wakes whoever waits for a stop. Called once one was asked for.
    pub(crate) fn wake_stopped(&self) {
        assert!(self.stopper.stopping());
        self.stop_waiters.wake_all();
    }

    /// Sends a request on its way.
    pub(crate) fn start(self: &Rc<Hub>, shard: ShardId, request: Request) -> Call {
        let slot = self.pending.reserve();
        let ticket = Ticket(label(self.core, u64::from(slot)));
        let sent = match self.route(shard) {
            Route::Here(inbox) => self.admitted(inbox.request(ticket, request)),
            Route::There(outbox) => {
                self.carried(outbox.ask(Mail::Request { shard, ticket, request }))
            }
        };
        if let Err(unheard) = sent {
            self.pending.answer(slot, unheard.reply());
        }
        Call { hub: Rc::clone(self), slot, done: false }
    }

    /// Counts what an inbox refuses.
    pub(crate) fn admitted(&self, outcome: Result<(), Unheard>) -> Result<(), Unheard> {
        outcome.inspect_err(|_| self.meters.inbox.increment(1))
    }

    /// Counts what an outbox refuses.
    pub(crate) fn carried(&self, outcome: Result<(), Unheard>) -> Result<(), Unheard> {
        outcome.inspect_err(|_| self.meters.mesh.increment(1))
    }

    pub(crate) fn route(&self, shard: ShardId) -> Route<'_> {
        match &self.inboxes[shard.0 as usize] {
            Some(inbox) => Route::Here(inbox),
            None => Route::There(&self.outboxes[self.homes[shard.0 as usize]]),
        }
    }

    /// A new tail of this core, and where its messages arrive.
    pub(crate) fn new_tail(&self) -> (TailId, Rc<TailQueue>) {
        let number = self.next_tail.get();
        self.next_tail.set(number + 1);
        let id = TailId(label(self.core, number));
        let queue = Rc::new(TailQueue::default());
        self.tails.borrow_mut().insert(id, Rc::clone(&queue));
        (id, queue)
    }

    /// A tail of this core is over.
    pub(crate) fn drop_tail(&self, id: TailId) {
        let known = self.tails.borrow_mut().remove(&id);
        assert!(known.is_some(), "a tail is known until it is dropped");
        self.remote_tails.borrow_mut().remove(&id);
    }

    /// A tail of this core is served by another node.
    pub(crate) fn note_remote_tail(&self, id: TailId, member: MemberId) {
        self.remote_tails.borrow_mut().insert(id, member);
    }

    /// Whether this core serves as many tails for other nodes as it may.
    pub(crate) fn is_full_of_tails(&self) -> bool {
        CLIENT_TAILS_MAX <= self.served.borrow().len()
    }

    /// Counts what is refused to other nodes' clients.
    pub(crate) fn refused_client(&self) {
        self.meters.clients.increment(1);
    }

    /// Serves a tail for another node.
    pub(crate) fn serve_tail(
        &self,
        (from, tail): (MemberId, u64),
        (shard, id): (ShardId, TailId),
        queue: &Rc<TailQueue>,
    ) {
        let served = Served { shard, id, owed: 0, queue: Rc::clone(queue) };
        let before = self.served.borrow_mut().insert((from, tail), served);
        if let Some(before) = before {
            self.cut_served(&before);
        }
    }

    /// A tail served for another node is over.
    pub(crate) fn end_served(&self, from: MemberId, tail: u64, id: TailId) {
        let mut served = self.served.borrow_mut();
        // Another life of that node may have used its name for another tail since.
        if served.get(&(from, tail)).is_some_and(|known| known.id == id) {
            served.remove(&(from, tail));
        }
    }

    /// Notes what a tail served for another node was given. `false` if it is served no more: that is
    /// not to be sent.
    pub(crate) fn owe_served(&self, from: MemberId, (tail, id): (u64, TailId), bytes: u64) -> bool {
        match self.served.borrow_mut().get_mut(&(from, tail)) {
            Some(served) if served.id == id => {
                served.owed += bytes;
                true
            }
            Some(_) | None => false,
        }
    }

    /// Another node's client has taken what it was given.
    pub(crate) fn credit_served(&self, from: MemberId, tail: u64, bytes: u64) {
        let mut all = self.served.borrow_mut();
        let Some(served) = all.get_mut(&(from, tail)) else { return };
        // Who says more than it was given is not believed.
        let bytes = bytes.min(served.owed);
        served.owed -= bytes;
        let (shard, id) = (served.shard, served.id);
        drop(all);
        if 0 < bytes {
            self.credit(shard, id, bytes);
        }
    }

    /// Another node's client is gone.
    pub(crate) fn close_served(&self, from: MemberId, tail: u64) {
        let served = self.served.borrow_mut().remove(&(from, tail));
        if let Some(served) = served {
            self.cut_served(&served);
        }
    }

    /// Ends a tail served for another node, and tells its shard at once: whoever moves its messages may
    /// wait for room on the connection.
    fn cut_served(&self, served: &Served) {
        served.queue.cut();
        if served.queue.release() {
            self.close(served.shard, served.id);
        }
    }

    /// Tells a shard that a tail's connection has written what it was given.
    pub(crate) fn credit(&self, shard: ShardId, tail: TailId, bytes: u64) {
        match self.route(shard) {
            Route::Here(inbox) => inbox.tail_credit(tail, bytes),
            Route::There(outbox) => outbox.tell(Mail::TailCredit { shard, tail, bytes }),
        }
    }

    /// Tells a shard that a tail is over.
    pub(crate) fn close(&self, shard: ShardId, tail: TailId) {
        match self.route(shard) {
            Route::Here(inbox) => inbox.tail_close(tail),
            Route::There(outbox) => outbox.tell(Mail::TailClose { shard, tail }),
        }
    }

    /// Brings another node's answer to whoever waits for it, on whatever core.
    pub(crate) fn client_answer(&self, message: ClientMessage) {
        match message {
            ClientMessage::Reply { ticket, reply } => match self.mine(ticket) {
                Ok(number) => self.clients.answered(number, reply),
                Err(core) => self.tell_core(core, ClientMessage::Reply { ticket, reply }),
            },
            ClientMessage::Tail { tail, message } => match self.mine(tail) {
                Ok(_) => self.tail_message(TailId(tail), message),
                Err(core) => self.tell_core(core, ClientMessage::Tail { tail, message }),
            },
            ClientMessage::Request { .. }
            | ClientMessage::TailOpen { .. }
            | ClientMessage::TailCredit { .. }
            | ClientMessage::TailClose { .. } => {}
        }
    }

    /// A label names a core of this process, or was made up.
    fn tell_core(&self, core: usize, message: ClientMessage) {
        if let Some(outbox) = self.outboxes.get(core) {
            outbox.tell(Mail::Client { message });
        }
    }

    /// A connection with a node was lost, on whatever core its answers would have come: nobody waits any
    /// more for what was asked of it, and no tail goes on behind a hole.
    pub(crate) fn lost_node(&self, member: MemberId) {
        let others = self.outboxes.iter().enumerate().filter(|(core, _)| *core != self.core);
        others.for_each(|(_, outbox)| outbox.tell(Mail::Lost { member }));
        self.lost_here(member);
    }

    fn lost_here(&self, member: MemberId) {
        self.clients.lost(member);
        let remote = self.remote_tails.borrow();
        let lost: Vec<TailId> =
            remote.iter().filter(|(_, at)| **at == member).map(|(tail, _)| *tail).collect();
        drop(remote);
        let queues = self.tails.borrow();
        lost.iter().filter_map(|tail| queues.get(tail)).for_each(|queue| queue.end());
        drop(queues);
        let served = self.served.borrow();
        let over: Vec<u64> =
            served.keys().filter(|(from, _)| *from == member).map(|(_, tail)| *tail).collect();
        drop(served);
        over.into_iter().for_each(|tail| self.close_served(member, tail));
    }

    /// Who led a group when last heard of.
    pub(crate) fn leader(&self, group: GroupId) -> Option<NameTag> {
        self.leaders.borrow().get(&group).copied()
    }

    /// Remembers who answered for a group.
    pub(crate) fn note_leader(&self, group: GroupId, node: NameTag) {
        self.leaders.borrow_mut().insert(group, node);
    }

    /// Who was last found to lead a group, and when.
    pub(crate) fn found(&self, group: GroupId) -> Option<Found> {
        self.found.borrow().get(&group).copied()
    }

    /// Remembers who was found to lead a group.
    pub(crate) fn note_found(&self, group: GroupId, found: Found) {
        self.found.borrow_mut().insert(group, found);
    }

    /// A node says that it does not lead a group: it is not asked first any more.
    pub(crate) fn forget_leader(&self, group: GroupId, node: NameTag) {
        let mut leaders = self.leaders.borrow_mut();
        if leaders.get(&group) == Some(&node) {
            leaders.remove(&group);
        }
    }

    /// The number behind a label of this core, or the core it belongs to.
    fn mine(&self, label: u64) -> Result<u64, usize> {
        let core = usize::try_from(label >> CORE_SHIFT).expect("a core number of 16 bits");
        if core == self.core { Ok(label & ((1 << CORE_SHIFT) - 1)) } else { Err(core) }
    }
}

/// A number of one core, made unique in the process.
pub(crate) fn label(core: usize, number: u64) -> u64 {
    assert!(core < 1 << (u64::BITS - CORE_SHIFT), "a core number of 16 bits");
    assert!(number < 1 << CORE_SHIFT, "a number of 48 bits");
    (core as u64) << CORE_SHIFT | number
}

/// Where a core begins to number what it asks of other nodes: far from where an earlier process of this
/// node did, whose answers may still come.
fn first_number() -> u64 {
    let random = getrandom::u64().unwrap_or_else(|_| {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_nanos()).expect("five hundred years").reverse_bits()
    });
    random >> (u64::BITS - CORE_SHIFT + 1)
}

fn slot(number: u64) -> u32 {
    u32::try_from(number).expect("slots are counted in 32 bits")
}

/// A request under way.
#[derive(Debug)]
pub(crate) struct Call {
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
pub(crate) struct Stopped<'a> {
    pub(crate) hub: &'a Hub,
    pub(crate) place: Option<usize>,
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
