//! Messages between cores. Each ordered pair of cores has one channel; a core puts its mail in a
//! queue of its own, and one task per pair moves what a turn has gathered over in one piece.
//!
//! Why it cannot deadlock: the receiving task never waits for anything but the channel. What it
//! receives goes into bounded inboxes (or is refused), to pending replies, or to tails, all at once,
//! so every channel drains whatever the other direction does.
//!
//! Why the queues are bounded: requests are refused at [`MESH_SLOTS`] and at the bytes that one shard
//! would take, other nodes' messages are dropped likewise; replies are at most as many as
//! requests admitted, messages of tails at most what their windows hold, credits and closes at most
//! as many as messages and tails.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use model::api::{Reply, Request, TailMessage, TailOpen};
use model::cluster::MemberId;
use model::ids::ShardId;
use model::limits::{
    MESH_SLOTS, PEER_BYTES_PER_SHARD, PEER_MESSAGES_PER_SHARD, REQUEST_BYTES_PER_SHARD,
};
use shard::effect::{TailId, Ticket};
use shard::peer::PeerMessage;

use crate::forward::ClientMessage;
use crate::inbox::Unheard;
use crate::rt::{self, SharedReceiver, SharedSender};

/// Pieces of mail that travel as one: sixteen cost what one costs.
const PARCEL_MAIL: usize = 64;
/// Parcels in flight between two cores.
const PARCELS: usize = MESH_SLOTS / PARCEL_MAIL;

/// One message to another core.
#[derive(Debug)]
pub(crate) enum Mail {
    /// For a shard there.
    Request {
        /// The shard.
        shard: ShardId,
        /// Names the core the reply goes to.
        ticket: Ticket,
        /// What is asked.
        request: Request,
    },
    /// For a connection there.
    Reply {
        /// The ticket it came with.
        ticket: Ticket,
        /// The answer.
        reply: Reply,
    },
    /// For a shard there.
    TailOpen {
        /// The shard.
        shard: ShardId,
        /// Names the core its messages go to.
        tail: TailId,
        /// What to follow.
        open: TailOpen,
    },
    /// For a shard there.
    TailCredit {
        /// The shard.
        shard: ShardId,
        /// The tail.
        tail: TailId,
        /// Bytes written.
        bytes: u64,
    },
    /// For a shard there.
    TailClose {
        /// The shard.
        shard: ShardId,
        /// The tail.
        tail: TailId,
    },
    /// For a connection there.
    Tail {
        /// The tail.
        tail: TailId,
        /// What it receives.
        message: TailMessage,
    },
    /// For a shard there, from another node.
    Peer {
        /// The shard.
        shard: ShardId,
        /// The node.
        from: MemberId,
        /// What it says.
        message: PeerMessage,
    },
    /// For a connection there, from another node.
    Client {
        /// An answer, or a tail's message.
        message: ClientMessage,
    },
    /// For all connections there: what a node was asked, or asked for, may be lost.
    Lost {
        /// The node.
        member: MemberId,
    },
    /// For all shards there: a node's connections have come or gone.
    Link {
        /// The node.
        member: MemberId,
    },
}

type Parcel = Vec<Mail>;

/// The ends of the mesh that belong to one core, before its executor runs.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    /// To each other core, by its number.
    outgoing: Vec<(usize, SharedSender<Parcel>)>,
    incoming: Vec<SharedReceiver<Parcel>>,
}

/// A mesh between so many cores: the ends of each.
pub(crate) fn weave(cores: usize) -> Vec<Ends> {
    let mut ends: Vec<Ends> = (0..cores).map(|_| Ends::default()).collect();
    for from in 0..cores {
        for to in (0..cores).filter(|to| *to != from) {
            let (sender, receiver) = rt::channel(PARCELS);
            ends[from].outgoing.push((to, sender));
            ends[to].incoming.push(receiver);
        }
    }
    ends
}

/// Mail on its way to one other core.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: RefCell<VecDeque<Mail>>,
    carrier: RefCell<Option<Waker>>,
    /// Requests and tail openings in `queue`.
    asks: Cell<usize>,
    /// Bytes of those requests.
    ask_bytes: Cell<usize>,
    /// Other nodes' messages in `queue`.
    peers: Cell<usize>,
    /// Bytes of those.
    peer_bytes: Cell<usize>,
    /// Whether the other core is gone.
    closed: Cell<bool>,
}

impl Outbox {
    /// Sends something that asks for work, or refuses it.
    ///
    /// # Errors
    /// [`Unheard::Busy`] if too much waits to be carried, [`Unheard::Ended`] if the other core is gone.
    pub(crate) fn ask(&self, mail: Mail) -> Result<(), Unheard> {
        assert!(mail.asks(), "answers are never refused");
        if self.closed.get() {
            return Err(Unheard::Ended);
        }
        let bytes = self.ask_bytes.get() + mail.ask_bytes();
        if MESH_SLOTS <= self.asks.get() || REQUEST_BYTES_PER_SHARD < bytes {
            return Err(Unheard::Busy);
        }
        self.asks.set(self.asks.get() + 1);
        self.ask_bytes.set(bytes);
        self.push(mail);
        Ok(())
    }

    /// Sends on what another node says; `false` if there is no room, and it is lost.
    pub(crate) fn forward(&self, shard: ShardId, from: MemberId, message: PeerMessage) -> bool {
        let bytes = self.peer_bytes.get() + message.bytes();
        if self.closed.get()
            || PEER_MESSAGES_PER_SHARD <= self.peers.get()
            || PEER_BYTES_PER_SHARD < bytes
        {
            return false;
        }
        self.peers.set(self.peers.get() + 1);
        self.peer_bytes.set(bytes);
        self.push(Mail::Peer { shard, from, message });
        true
    }

    /// Sends something that belongs to work already admitted.
    pub(crate) fn tell(&self, mail: Mail) {
        assert!(!mail.asks(), "what asks for work can be refused");
        self.push(mail);
    }

    fn push(&self, mail: Mail) {
        if self.closed.get() {
            return;
        }
        self.queue.borrow_mut().push_back(mail);
        if let Some(carrier) = self.carrier.borrow_mut().take() {
            carrier.wake();
        }
    }

    /// The next parcel, once there is mail.
    pub(crate) async fn parcel(&self) -> Parcel {
        poll_fn(|cx| {
            if self.queue.borrow().is_empty() {
                *self.carrier.borrow_mut() = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
        let mut queue = self.queue.borrow_mut();
        let count = queue.len().min(PARCEL_MAIL);
        let parcel: Parcel = queue.drain(..count).collect();
        let asks = parcel.iter().filter(|mail| mail.asks()).count();
        self.asks.set(self.asks.get() - asks);
        let bytes: usize = parcel.iter().map(Mail::ask_bytes).sum();
        self.ask_bytes.set(self.ask_bytes.get() - bytes);
        for mail in &parcel {
            if let Mail::Peer { message, .. } = mail {
                self.peers.set(self.peers.get() - 1);
                self.peer_bytes.set(self.peer_bytes.get() - message.bytes());
            }
        }
        parcel
    }
}

impl Mail {
    fn asks(&self) -> bool {
        matches!(self, Mail::Request { .. } | Mail::TailOpen { .. })
    }

    /// What a request holds in memory; tail openings are small and bounded by their number.
    fn ask_bytes(&self) -> usize {
        match self {
            Mail::Request { request, .. } => request.bytes(),
            _ => 0,
        }
    }
}

/// Starts the tasks that carry mail for one core. `outboxes` is indexed by core; `deliver` takes each
/// piece that arrives, at once.
pub(crate) fn start(ends: Ends, outboxes: &[Rc<Outbox>], deliver: Rc<dyn Fn(Mail)>) {
    for (core, sender) in ends.outgoing {
        rt::spawn_local(carry(sender, Rc::clone(&outboxes[core])));
    }
    for receiver in ends.incoming {
        let deliver = Rc::clone(&deliver);
        rt::spawn_local(async move {
            let receiver = receiver.connect().await;
            while let Some(parcel) = receiver.recv().await {
                parcel.into_iter().for_each(|mail| deliver(mail));
            }
        });
    }
}

/// Carries mail to one core until that core is gone.
async fn carry(sender: SharedSender<Parcel>, outbox: Rc<Outbox>) {
    let sender = sender.connect().await;
    loop {
        let parcel = outbox.parcel().await;
        // An error says that the other core has ended, which it does only when nothing is under way.
        if sender.send(parcel).await.is_err() {
            outbox.closed.set(true);
            outbox.queue.borrow_mut().clear();
            return;
        }
    }
}
