//! The deadlines of one connection. Nothing here arms a timer: a connection says what it is waiting
//! for, one sweep of its core looks at all of them twice a second and wakes those that are overdue.
//! So a request costs no timer, an idle connection no task of its own, and a deadline is late by at
//! most two sweeps.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use model::limits::{HEAD_SECONDS, KEEP_ALIVE_SECONDS, WRITE_BYTES_PER_SECOND, WRITE_SECONDS};

/// What a connection waits for.
#[derive(Debug, Clone, Copy)]
enum Phase {
    /// The first byte of a request, since then.
    Idle(Instant),
    /// The rest of a request's head, since then.
    Head(Instant),
    /// Its own handler, which wants to look around then, if ever.
    Handler(Option<Instant>),
}

/// A socket that takes no more, since when, and what it took since.
#[derive(Debug, Clone, Copy)]
struct Blocked {
    since: Instant,
    bytes: u64,
}

/// What is overdue on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overdue {
    /// Nobody sent a request.
    Idle,
    /// A request's head is incomplete.
    Head,
    /// The client reads too slowly.
    Write,
    /// The handler looks for itself.
    Handler,
}

/// The time of the last sweep.
#[derive(Debug)]
struct Clock(Cell<Instant>);

/// One connection's deadlines, shared by its task, its socket and the sweep.
#[derive(Debug)]
pub(crate) struct Link {
    clock: Rc<Clock>,
    phase: Cell<Phase>,
    blocked: Cell<Option<Blocked>>,
    write_seconds: Cell<u64>,
    poked: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Link {
    /// The time, late by at most one sweep.
    pub(crate) fn now(&self) -> Instant {
        self.clock.0.get()
    }

    /// Whether the client has no request under way and nothing waits to be written to it.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.phase.get(), Phase::Idle(_)) && self.blocked.get().is_none()
    }

    /// Keeps the waker of the connection's task. Called on every turn of it.
    pub(crate) fn watch(&self, waker: &Waker) {
        let mut kept = self.waker.borrow_mut();
        if !kept.as_ref().is_some_and(|kept| kept.will_wake(waker)) {
            *kept = Some(waker.clone());
        }
    }

    /// Has the connection's task look around.
    pub(crate) fn poke(&self) {
        self.poked.set(true);
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Whether the task was told to look around since it last asked.
    pub(crate) fn take_poke(&self) -> bool {
        self.poked.take()
    }

    /// What has taken too long, if anything.
    pub(crate) fn overdue(&self) -> Option<Overdue> {
        let now = self.now();
        if let Some(Blocked { since, bytes }) = self.blocked.get() {
            let seconds = self.write_seconds.get() + bytes / WRITE_BYTES_PER_SECOND;
            if since + Duration::from_secs(seconds) <= now {
                return Some(Overdue::Write);
            }
        }
        let (due, what) = match self.phase.get() {
            // A response on its way is the write deadline's business.
            Phase::Idle(_) if self.blocked.get().is_some() => return None,
            Phase::Idle(since) => (since + Duration::from_secs(KEEP_ALIVE_SECONDS), Overdue::Idle),
            Phase::Head(since) => (since + Duration::from_secs(HEAD_SECONDS), Overdue::Head),
            Phase::Handler(due) => (due?, Overdue::Handler),
        };
        (due <= now).then_some(what)
    }

    /// The socket brought bytes.
    pub(crate) fn has_read(&self) {
        if let Phase::Idle(_) = self.phase.get() {
            self.phase.set(Phase::Head(self.now()));
        }
    }

    /// The socket took bytes.
    pub(crate) fn has_written(&self, bytes: u64) {
        if let Some(blocked) = self.blocked.get() {
            self.blocked.set(Some(Blocked { bytes: blocked.bytes + bytes, ..blocked }));
        }
    }

    /// The socket takes no more for now.
    pub(crate) fn is_blocked(&self) {
        if self.blocked.get().is_none() {
            self.blocked.set(Some(Blocked { since: self.now(), bytes: 0 }));
        }
    }

    /// Everything written so far has been taken by the socket.
    pub(crate) fn is_flushed(&self) {
        self.blocked.set(None);
    }

    /// A request is complete as far as its head goes; its handler runs.
    pub(crate) fn request_begins(&self) {
        self.phase.set(Phase::Handler(None));
    }

    /// The handler has its response ready.
    pub(crate) fn request_ends(&self) {
        self.phase.set(Phase::Idle(self.now()));
    }

    /// A tail begins: from now on its own task says when to look around.
    pub(crate) fn tail_begins(&self, write_seconds: u64) {
        self.phase.set(Phase::Handler(None));
        self.write_seconds.set(write_seconds);
    }

    /// When the handler wants to look around next.
    pub(crate) fn look_at(&self, due: Option<Instant>) {
        self.phase.set(Phase::Handler(due));
    }

    /// Runs a future until a time; `None` if it is not done by then. Works within the connection's
    /// own task only, since that is what a poke wakes.
    pub(crate) async fn until<T>(
        &self,
        deadline: Instant,
        future: impl Future<Output = T>,
    ) -> Option<T> {
        let mut future = pin!(future);
        self.look_at(Some(deadline));
        let outcome = poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
            Poll::Pending if deadline <= self.now() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await;
        self.look_at(None);
        outcome
    }
}

/// All connections of one core.
#[derive(Debug)]
pub(crate) struct Links {
    clock: Rc<Clock>,
    open: RefCell<BTreeMap<u64, Rc<Link>>>,
    next: Cell<u64>,
}

impl Links {
    /// No connection yet.
    pub(crate) fn new(now: Instant) -> Links {
        Links {
            clock: Rc::new(Clock(Cell::new(now))),
            open: RefCell::default(),
            next: Cell::new(0),
        }
    }

    /// Connections that are open.
    pub(crate) fn count(&self) -> usize {
        self.open.borrow().len()
    }

    /// A connection that is not counted.
    pub(crate) fn loose(&self) -> Rc<Link> {
        Rc::new(Link {
            clock: Rc::clone(&self.clock),
            phase: Cell::new(Phase::Idle(self.clock.0.get())),
            blocked: Cell::new(None),
            write_seconds: Cell::new(WRITE_SECONDS),
            poked: Cell::new(false),
            waker: RefCell::default(),
        })
    }

    /// A new connection; ends with [`Links::close`].
    pub(crate) fn open(&self) -> (u64, Rc<Link>) {
        let link = self.loose();
        let number = self.next.get();
        self.next.set(number + 1);
        self.open.borrow_mut().insert(number, Rc::clone(&link));
        (number, link)
    }

    /// A connection is gone.
    pub(crate) fn close(&self, number: u64) {
        let known = self.open.borrow_mut().remove(&number);
        assert!(known.is_some(), "a connection closes once");
    }

    /// Lets time pass, and wakes the connections that have something overdue.
    pub(crate) fn sweep(&self, now: Instant) {
        self.clock.0.set(now);
        for link in self.open.borrow().values().filter(|link| link.overdue().is_some()) {
            link.poke();
        }
    }

    /// Has every connection look around.
    pub(crate) fn poke_all(&self) {
        self.open.borrow().values().for_each(|link| link.poke());
    }
}
