//! Which sockets of a core are ready, from one epoll instance per executor.
//!
//! Why not the runtime's own sockets: its rings are made so that the kernel interrupts a thread for
//! every socket that becomes readable, wherever the thread runs. On a virtual machine such an interrupt
//! from another CPU takes tens of microseconds; they were a sixth of a saturated core's time. An epoll
//! instance is told without disturbing anybody. Measured with one core, appends of 256 bytes: with 64
//! connections 1.12 to 1.2 times, with 256 connections 1.12 times the appends a second, 0.87 times the
//! CPU for each, and the same latency for a lone client.
//!
//! ```text
//!   socket --> epoll --+--> look()     by whoever keeps the core busy: drivers, the log's poll
//!                      +--> tripwire --> bell --> the reactor's task, also when the core sleeps
//! ```
//!
//! Sockets are watched for edges, once and for all: a task that waits has met "would block", or a read
//! that came back short, so what comes later is a new edge. The one thing a short read can hide is the
//! end of the stream when it was told of before; that is remembered.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use crate::rt::{self, Bell};
use crate::tripwire::Tripwire;

/// Events taken at once.
const EVENTS: usize = 256;
/// Between looks while the kernel refuses to watch.
const LOOK: Duration = Duration::from_millis(1);

thread_local! {
    static HERE: RefCell<Option<Rc<Reactor>>> = const { RefCell::new(None) };
}

/// Wakes the tasks of this core whose sockets have become ready. For whoever keeps the core from going
/// to sleep for a while; does nothing if the core has no sockets. One entry into the kernel.
pub(crate) fn look() {
    let here = HERE.with_borrow(Option::clone);
    if let Some(reactor) = here {
        reactor.look();
    }
}

/// The sockets of one executor.
pub(crate) struct Reactor {
    epoll: OwnedFd,
    tripwire: RefCell<Tripwire>,
    sources: RefCell<Sources>,
    events: RefCell<Vec<epoll::Event>>,
}

/// By key; free places are used again.
#[derive(Default)]
struct Sources {
    places: Vec<Option<Rc<Source>>>,
    free: Vec<usize>,
}

impl fmt::Debug for Reactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reactor").field("epoll", &self.epoll).finish_non_exhaustive()
    }
}

impl Reactor {
    /// The reactor of this executor, made when first asked for.
    ///
    /// # Errors
    /// If the kernel refuses an epoll instance, a ring or a socket pair.
    pub(crate) fn here() -> io::Result<Rc<Reactor>> {
        if let Some(reactor) = HERE.with_borrow(Option::clone) {
            return Ok(reactor);
        }
        let (listening, clapper) = UnixStream::pair()?;
        let reactor = Rc::new(Reactor {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            tripwire: RefCell::new(Tripwire::new(clapper)?),
            sources: RefCell::default(),
            events: RefCell::new(Vec::with_capacity(EVENTS)),
        });
        rt::spawn_local(Rc::clone(&reactor).run(Bell::new(listening)));
        HERE.set(Some(Rc::clone(&reactor)));
        Ok(reactor)
    }

    /// Watches a socket, which is taken for ready until it says otherwise.
    ///
    /// # Errors
    /// Those of `epoll_ctl`.
    pub(crate) fn watch(self: &Rc<Reactor>, socket: impl AsFd) -> io::Result<Registration> {
        let source = Rc::new(Source::default());
        let mut sources = self.sources.borrow_mut();
        let key = sources.free.pop().unwrap_or(sources.places.len());
        if key == sources.places.len() {
            sources.places.push(None);
        }
        sources.places[key] = Some(Rc::clone(&source));
        drop(sources);
        let registration = Registration { reactor: Rc::clone(self), key, source };
        let flags = epoll::EventFlags::IN
            | epoll::EventFlags::OUT
            | epoll::EventFlags::RDHUP
            | epoll::EventFlags::ET;
        epoll::add(&self.epoll, socket, epoll::EventData::new_u64(key as u64), flags)?;
        Ok(registration)
    }

    async fn run(self: Rc<Reactor>, mut bell: Bell) {
        loop {
            self.look();
            let armed = self.tripwire.borrow_mut().arm(&self.epoll);
            let rung = match armed {
                Ok(()) => bell.ring().await,
                Err(error) => Err(error),
            };
            if let Err(error) = rung {
                tracing::warn!(%error, "sockets cannot be watched");
                rt::sleep(LOOK).await;
            }
        }
    }

    fn look(&self) {
        let mut events = self.events.take();
        events.clear();
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        events.reserve(EVENTS);
        // Interrupted, or nothing: somebody looks again.
        if epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&at_once)).is_ok() {
            for event in &events {
                let key = event.data.u64();
                let source = usize::try_from(key)
                    .ok()
                    .and_then(|key| self.sources.borrow().places.get(key).and_then(Option::clone));
                if let Some(source) = source {
                    source.tell(event.flags);
                }
            }
        }
        self.events.replace(events);
    }
}

/// A socket's place in its reactor.
#[derive(Debug)]
pub(crate) struct Registration {
    reactor: Rc<Reactor>,
    key: usize,
    source: Rc<Source>,
}

impl Registration {
    pub(crate) fn source(&self) -> &Source {
        &self.source
    }
}

impl Drop for Registration {
    /// Leaves its place to another socket. The kernel forgets a socket by itself when it is closed;
    /// an event that is on its way wakes somebody in vain at worst.
    fn drop(&mut self) {
        let mut sources = self.reactor.sources.borrow_mut();
        sources.places[self.key] = None;
        sources.free.push(self.key);
    }
}

/// What is known of one socket.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) read: Way,
    pub(crate) write: Way,
}

impl Default for Source {
    fn default() -> Source {
        Source { read: Way::new(), write: Way::new() }
    }
}

impl Source {
    fn tell(&self, flags: epoll::EventFlags) {
        use epoll::EventFlags as F;
        let broken = flags.intersects(F::ERR | F::HUP);
        let ended = broken || flags.contains(F::RDHUP);
        if ended {
            self.read.ended.set(true);
        }
        if ended || flags.contains(F::IN) {
            self.read.wake();
        }
        if broken || flags.contains(F::OUT) {
            self.write.wake();
        }
    }
}

/// One way through a socket.
#[derive(Debug)]
pub(crate) struct Way {
    /// Whether it is worth a try.
    ready: Cell<bool>,
    /// Whether the end of the stream is known to lie behind what can be read.
    ended: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Way {
    fn new() -> Way {
        Way { ready: Cell::new(true), ended: Cell::new(false), waker: RefCell::default() }
    }

    fn wake(&self) {
        self.ready.set(true);
        let waker = self.waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Notes that there was less than asked for: another try is in vain until an event says more,
    /// except for the end of the stream, which may have been told of before.
    pub(crate) fn exhausted(&self) {
        self.ready.set(self.ended.get());
    }

    /// Tries until it works, fails, or would block.
    pub(crate) fn poll<T>(
        &self,
        cx: &Context<'_>,
        mut attempt: impl FnMut() -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        while self.ready.get() {
            match attempt() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.ready.set(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => return Poll::Ready(outcome),
            }
        }
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}
