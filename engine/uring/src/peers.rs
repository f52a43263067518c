//! The ways to other nodes, as shards see them: a bounded queue for each connection that stands, and
//! what is known of who can be heard. The connections themselves belong to the doors.
//!
//! Nothing here waits for a peer: what finds no connection, or a full queue, is dropped, and whoever
//! sent it sends again.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};

use metrics::{Counter, counter};
use model::cluster::MemberId;
use model::limits::{PEER_QUEUE_BYTES, PEER_QUEUE_MESSAGES};
use model::metric::Metric;
use shard::NodeId;
use shard::effect::Peers;
use shard::peer::PeerMessage;

/// What shards' messages travel on, so that bulk delays no heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PeerLane {
    /// Raft's messages and signs of life.
    Log,
    /// Parts of snapshots.
    Bulk,
}

impl PeerLane {
    /// Both.
    pub const ALL: [PeerLane; 2] = [PeerLane::Log, PeerLane::Bulk];

    /// What a message travels on.
    pub fn of(message: &PeerMessage) -> PeerLane {
        match message {
            PeerMessage::Raft { .. } | PeerMessage::Pulse(_) => PeerLane::Log,
            PeerMessage::Snapshot { .. } => PeerLane::Bulk,
        }
    }
}

/// One core's queues to other nodes. Cheap to clone; never leaves its core.
#[derive(Debug, Clone)]
pub struct PeerQueues(Rc<Queues>);

#[derive(Debug)]
struct Queues {
    open: RefCell<BTreeMap<(MemberId, PeerLane), Rc<Queue>>>,
    /// Messages that found no connection.
    unconnected: Counter,
    /// Messages that found no room.
    full: Counter,
}

/// Messages on their way to one connection.
#[derive(Debug, Default)]
struct Queue {
    messages: RefCell<VecDeque<PeerMessage>>,
    bytes: Cell<usize>,
    waker: RefCell<Option<Waker>>,
}

impl PeerQueues {
    /// No connection yet.
    pub(crate) fn new(core: usize) -> PeerQueues {
        let dropped = |reason: &'static str| {
            let core = core.to_string();
            counter!(Metric::PeerMessagesDropped.name(), "core" => core, "reason" => reason)
        };
        let (unconnected, full) = (dropped("unconnected"), dropped("full"));
        PeerQueues(Rc::new(Queues { open: RefCell::default(), unconnected, full }))
    }

    /// A connection to a node stands: messages to it wait here from now on. One that stood before gets
    /// no more of them.
    pub fn open(&self, member: MemberId, lane: PeerLane) -> PeerQueue {
        let queue = Rc::new(Queue::default());
        self.0.open.borrow_mut().insert((member, lane), Rc::clone(&queue));
        PeerQueue { queues: self.clone(), key: (member, lane), queue }
    }

    fn push(&self, to: MemberId, message: PeerMessage) {
        let open = self.0.open.borrow();
        let Some(queue) = open.get(&(to, PeerLane::of(&message))) else {
            self.0.unconnected.increment(1);
            return;
        };
        if !queue.push(message) {
            self.0.full.increment(1);
        }
    }
}

impl Peers for PeerQueues {
    fn send(&mut self, to: NodeId, message: PeerMessage) {
        self.push(MemberId(to.0), message);
    }
}

impl Queue {
    /// Whether there was room.
    fn push(&self, message: PeerMessage) -> bool {
        let mut messages = self.messages.borrow_mut();
        let bytes = self.bytes.get() + message.bytes();
        if PEER_QUEUE_MESSAGES <= messages.len() || PEER_QUEUE_BYTES < bytes {
            return false;
        }
        self.bytes.set(bytes);
        messages.push_back(message);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        true
    }
}

/// The connection's end of a queue. Dropping it says that the connection is gone; what waits is lost.
#[derive(Debug)]
pub struct PeerQueue {
    queues: PeerQueues,
    key: (MemberId, PeerLane),
    queue: Rc<Queue>,
}

impl PeerQueue {
    /// Resolves when something waits.
    pub async fn waiting(&self) {
        poll_fn(|cx| {
            if !self.queue.messages.borrow().is_empty() {
                return Poll::Ready(());
            }
            *self.queue.waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Moves what waits to `batch`, in order, up to so many bytes but at least one.
    pub fn take(&self, bytes_max: usize, batch: &mut Vec<PeerMessage>) {
        let mut messages = self.queue.messages.borrow_mut();
        let mut taken = 0;
        while let Some(message) = messages.front()
            && (batch.is_empty() || taken + message.bytes() <= bytes_max)
        {
            taken += message.bytes();
            batch.extend(messages.pop_front());
        }
        self.queue.bytes.set(self.queue.bytes.get() - taken);
    }
}

impl Drop for PeerQueue {
    fn drop(&mut self) {
        let mut open = self.queues.0.open.borrow_mut();
        if open.get(&self.key).is_some_and(|queue| Rc::ptr_eq(queue, &self.queue)) {
            open.remove(&self.key);
        }
    }
}

/// The nodes that can be heard, on any core: one of their connections stands.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heard(Arc<Mutex<BTreeSet<MemberId>>>);

impl Heard {
    /// Notes whether a node can be heard.
    pub(crate) fn set(&self, member: MemberId, up: bool) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if up {
            heard.insert(member);
        } else {
            heard.remove(&member);
        }
    }

    /// Whether a node can be heard now.
    pub(crate) fn is_up(&self, member: MemberId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&member)
    }
}
