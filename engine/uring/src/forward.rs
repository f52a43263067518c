//! What nodes do for each other's clients: a request that another node must answer goes there and its
//! reply comes back; a session that lives elsewhere is followed there. Lost connections are told to
//! whoever waits, so that nobody takes silence for an answer.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use model::api::{Reply, Request, TailMessage, TailOpen};
use model::cluster::{MemberId, NameTag};
use model::limits::{CLIENT_QUEUE_BYTES, CLIENT_QUEUE_MESSAGES};

/// A message between two nodes about a client of one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientMessage {
    /// A client of the sender asks.
    Request {
        /// Comes back with the reply.
        ticket: u64,
        /// What is asked.
        request: Request,
    },
    /// The answer.
    Reply {
        /// The request's.
        ticket: u64,
        /// The answer.
        reply: Reply,
    },
    /// A client of the sender wants to follow a session.
    TailOpen {
        /// Names the tail among the sender's.
        tail: u64,
        /// What to follow.
        open: TailOpen,
    },
    /// What that tail receives.
    Tail {
        /// The tail.
        tail: u64,
        /// The message.
        message: TailMessage,
    },
    /// The client has taken what it was given.
    TailCredit {
        /// The tail.
        tail: u64,
        /// Bytes of the events' JSON.
        bytes: u64,
    },
    /// The client is gone.
    TailClose {
        /// The tail.
        tail: u64,
    },
}

impl ClientMessage {
    /// Roughly what it holds in memory.
    pub fn bytes(&self) -> usize {
        const FIXED: usize = 64;
        FIXED
            + match self {
                ClientMessage::Request { request, .. } => request.bytes(),
                ClientMessage::Reply { reply, .. } => reply.bytes(),
                ClientMessage::TailOpen { open, .. } => open.session.as_str().len(),
                ClientMessage::Tail { message: TailMessage::Events { events, .. }, .. } => {
                    events.iter().map(|event| event.json.len() + size_of_val(event)).sum()
                }
                ClientMessage::Tail { .. }
                | ClientMessage::TailCredit { .. }
                | ClientMessage::TailClose { .. } => 0,
            }
    }
}

/// One core's queues to other nodes, and who waits for an answer from them. Cheap to clone; never
/// leaves its core.
#[derive(Debug, Clone)]
pub struct ClientQueues(Rc<Queues>);

#[derive(Debug, Default)]
struct Queues {
    open: RefCell<BTreeMap<MemberId, Rc<Queue>>>,
    calls: RefCell<BTreeMap<u64, Waiting>>,
    next_call: Cell<u64>,
    /// Told when a connection is gone, and what waited for it with it.
    on_loss: RefCell<Option<OnLoss>>,
}

/// What is done when a connection is gone.
struct OnLoss(Box<dyn Fn(MemberId)>);

impl fmt::Debug for OnLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnLoss")
    }
}

/// Messages on their way to one connection.
#[derive(Debug, Default)]
struct Queue {
    messages: RefCell<VecDeque<ClientMessage>>,
    bytes: Cell<usize>,
    /// The connection.
    taker: RefCell<Option<Waker>>,
    /// Those who wait for room.
    givers: RefCell<Vec<Waker>>,
    gone: Cell<bool>,
}

/// A call another node was asked to answer.
#[derive(Debug)]
struct Waiting {
    to: MemberId,
    state: CallState,
}

#[derive(Debug)]
enum CallState {
    Pending(Option<Waker>),
    Done(Option<Box<Reply>>),
}

impl ClientQueues {
    /// No connection yet; numbers calls from the one given.
    pub(crate) fn new(first_call: u64) -> ClientQueues {
        let queues = Queues { next_call: Cell::new(first_call), ..Queues::default() };
        ClientQueues(Rc::new(queues))
    }

    /// Sets what is done when a connection is gone.
    pub(crate) fn on_loss(&self, then: impl Fn(MemberId) + 'static) {
        *self.0.on_loss.borrow_mut() = Some(OnLoss(Box::new(then)));
    }

    /// A connection to a node stands: messages to it wait here from now on. One that stood before gets
    /// no more of them, and what it was given may be lost.
    pub fn open(&self, member: MemberId) -> ClientQueue {
        let queue = Rc::new(Queue::default());
        let before = self.0.open.borrow_mut().remove(&member);
        if let Some(before) = before {
            before.end();
            self.tell_loss(member);
        }
        self.0.open.borrow_mut().insert(member, Rc::clone(&queue));
        ClientQueue { queues: self.clone(), member, queue }
    }

    /// The member a node is now, if there is a connection to it.
    pub(crate) fn member(&self, name: NameTag) -> Option<MemberId> {
        self.0.open.borrow().keys().copied().find(|member| member.tag() == name)
    }

    /// Nodes there is a connection to.
    pub(crate) fn members(&self) -> Vec<MemberId> {
        self.0.open.borrow().keys().copied().collect()
    }

    /// Sends a message; `false` if there is no connection or no room, and it was not sent.
    pub(crate) fn push(&self, to: MemberId, message: ClientMessage) -> bool {
        let queue = self.0.open.borrow().get(&to).map(Rc::clone);
        queue.is_some_and(|queue| queue.push(message).is_ok())
    }

    /// Sends a message once there is room; `false` if there is no connection.
    pub(crate) async fn send(&self, to: MemberId, message: ClientMessage) -> bool {
        let Some(queue) = self.0.open.borrow().get(&to).map(Rc::clone) else { return false };
        let mut message = Some(message);
        poll_fn(|cx| {
            if queue.gone.get() {
                return Poll::Ready(false);
            }
            let Some(given) = message.take() else { return Poll::Ready(true) };
            match queue.push(given) {
                Ok(()) => Poll::Ready(true),
                Err(back) => {
                    message = Some(back);
                    queue.givers.borrow_mut().push(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Notes that a node is asked something. The number names the call until it ends.
    pub(crate) fn begin_call(&self, to: MemberId) -> u64 {
        let number = self.0.next_call.get();
        self.0.next_call.set(number + 1);
        let waiting = Waiting { to, state: CallState::Pending(None) };
        self.0.calls.borrow_mut().insert(number, waiting);
        number
    }

    /// The answer to a call; `None` if the connection was lost.
    pub(crate) async fn answer(&self, number: u64) -> Option<Reply> {
        poll_fn(|cx| {
            let mut calls = self.0.calls.borrow_mut();
            let Some(waiting) = calls.get_mut(&number) else { return Poll::Ready(None) };
            match &mut waiting.state {
                CallState::Pending(waker) => {
                    *waker = Some(cx.waker().clone());
                    Poll::Pending
                }
                CallState::Done(reply) => Poll::Ready(reply.take().map(|reply| *reply)),
            }
        })
        .await
    }

    /// Nobody waits for a call any more; an answer that is still to come is dropped.
    pub(crate) fn end_call(&self, number: u64) {
        self.0.calls.borrow_mut().remove(&number);
    }

    /// Brings the answer to a call, or that there will be none. Late ones find nobody.
    fn resolve(&self, number: u64, reply: Option<Box<Reply>>) {
        if let Some(waiting) = self.0.calls.borrow_mut().get_mut(&number)
            && let CallState::Pending(waker) = &mut waiting.state
        {
            let waker = waker.take();
            waiting.state = CallState::Done(reply);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Brings the answer to a call.
    pub(crate) fn answered(&self, number: u64, reply: Reply) {
        self.resolve(number, Some(Box::new(reply)));
    }

    fn tell_loss(&self, member: MemberId) {
        if let Some(OnLoss(then)) = &*self.0.on_loss.borrow() {
            then(member);
        }
    }

    /// Answers of a node may be lost: nobody waits for those that were under way.
    pub(crate) fn lost(&self, member: MemberId) {
        let calls = self.0.calls.borrow();
        let lost: Vec<u64> =
            calls.iter().filter(|(_, call)| call.to == member).map(|(number, _)| *number).collect();
        drop(calls);
        for number in lost {
            self.resolve(number, None);
        }
    }
}

impl Queue {
    fn push(&self, message: ClientMessage) -> Result<(), ClientMessage> {
        let mut messages = self.messages.borrow_mut();
        let bytes = self.bytes.get() + message.bytes();
        // There are at most as many closes as tails, and one that was lost would leave its tail open.
        let bounded = !matches!(message, ClientMessage::TailClose { .. });
        let full =
            bounded && (CLIENT_QUEUE_MESSAGES <= messages.len() || CLIENT_QUEUE_BYTES < bytes);
        if self.gone.get() || (full && !messages.is_empty()) {
            return Err(message);
        }
        self.bytes.set(bytes);
        messages.push_back(message);
        if let Some(waker) = self.taker.take() {
            waker.wake();
        }
        Ok(())
    }

    fn end(&self) {
        self.gone.set(true);
        self.wake_givers();
    }

    fn wake_givers(&self) {
        for waker in self.givers.take() {
            waker.wake();
        }
    }
}

/// The connection's end of a queue. Dropping it says that the connection is gone; what waits is lost.
#[derive(Debug)]
pub struct ClientQueue {
    queues: ClientQueues,
    member: MemberId,
    queue: Rc<Queue>,
}

impl ClientQueue {
    /// Resolves when something waits.
    pub async fn waiting(&self) {
        poll_fn(|cx| {
            if !self.queue.messages.borrow().is_empty() {
                return Poll::Ready(());
            }
            *self.queue.taker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Moves what waits to `batch`, in order, up to so many bytes but at least one.
    pub fn take(&self, bytes_max: usize, batch: &mut Vec<ClientMessage>) {
        let mut messages = self.queue.messages.borrow_mut();
        let mut taken = 0;
        while let Some(message) = messages.front()
            && (batch.is_empty() || taken + message.bytes() <= bytes_max)
        {
            taken += message.bytes();
            batch.extend(messages.pop_front());
        }
        drop(messages);
        self.queue.bytes.set(self.queue.bytes.get() - taken);
        self.queue.wake_givers();
    }
}

impl Drop for ClientQueue {
    fn drop(&mut self) {
        self.queue.end();
        let mut open = self.queues.0.open.borrow_mut();
        if open.get(&self.member).is_some_and(|queue| Rc::ptr_eq(queue, &self.queue)) {
            open.remove(&self.member);
            drop(open);
            self.queues.tell_loss(self.member);
        }
    }
}
