//! A tail: a session's events to one client, until one of the two goes away. One task moves bytes
//! between the socket, the protocol and the shard's messages; nothing else waits anywhere.
//!
//! ```text
//! shard -> Tail -> Frames -> out (16 KiB) -> socket
//!            ^                      |
//!            +---- credit ----------+   once `out` is written
//! ```

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use model::api::{TailEnd, TailMessage};
use model::limits::{LINGER_SECONDS, PING_SECONDS, TAIL_IDLE_SECONDS, TAIL_WRITE_SECONDS};
use uring::Tail;

use crate::http::Shared;
use crate::http::link::{Link, Overdue};
use crate::http::rt::Socket;
use crate::meters::TailClosed;
use crate::ws::{Farewell, Frames, Peer, Turn};

/// Reads of one turn, so that a client which sends without end does not keep the core.
const READS_PER_TURN: usize = 4;
/// What a tail keeps of its buffer while nothing is under way.
const IDLE_OUT_BYTES: usize = 4 * 1024;

const RESTART: Farewell = Farewell { code: 1012, reason: "service_restart" };
const TOO_SLOW: Farewell = Farewell { code: 1013, reason: "tail_too_slow" };
const UNREADABLE: Farewell = Farewell { code: 1011, reason: "events_unreadable" };
const IDLE: Farewell = Farewell { code: 1001, reason: "idle_timeout" };

/// A tail that the shard has opened and the client does not know of yet.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The shard's side.
    pub(crate) tail: Tail,
    /// Events per frame.
    pub(crate) batch_size: u32,
}

/// Where a tail is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Events flow.
    Open,
    /// The frame in progress and a close frame are on their way; the client must take them by then.
    Leaving(TailClosed, Instant),
    /// All of that was sent; the client may answer until then.
    Closing(TailClosed, Instant),
}

impl Stage {
    /// Why the tail ends, if it does.
    fn ending(self) -> Option<TailClosed> {
        match self {
            Stage::Open => None,
            Stage::Leaving(why, _) | Stage::Closing(why, _) => Some(why),
        }
    }
}

/// The task of one tail.
struct Session {
    shared: Rc<Shared>,
    link: Rc<Link>,
    socket: Socket,
    peer: Peer,
    tail: Tail,
    frames: Frames,
    /// Encoded, not yet written: `out[written..]`.
    out: Vec<u8>,
    written: usize,
    /// Bytes of events in `out` that the shard has no credit for yet.
    owed: u64,
    stage: Stage,
    ping_at: Instant,
    idle_at: Instant,
}

/// Runs a tail to its end. `early` is what the client sent right behind its request.
pub(crate) async fn run(
    (shared, link): (Rc<Shared>, Rc<Link>),
    socket: Socket,
    early: Bytes,
    opened: Opened,
) {
    let now = link.now();
    link.tail_begins(TAIL_WRITE_SECONDS);
    let mut session = Session {
        frames: Frames::new(opened.batch_size),
        tail: opened.tail,
        peer: Peer::new(),
        out: Vec::new(),
        written: 0,
        owed: 0,
        stage: Stage::Open,
        ping_at: now + Duration::from_secs(PING_SECONDS),
        idle_at: now + Duration::from_secs(TAIL_IDLE_SECONDS),
        shared,
        link,
        socket,
    };
    if !early.is_empty() {
        session.hear(&early);
    }
    let why = poll_fn(|cx| session.turn(cx)).await;
    session.shared.meters.tail_closed(why);
    // Whether the client hears that nothing follows is its own matter by now.
    let _ = poll_fn(|cx| session.socket.poll_end(cx)).await;
}

impl Session {
    /// Does all that can be done now.
    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<TailClosed> {
        self.link.watch(cx.waker());
        if self.link.take_poke() && self.link.overdue() == Some(Overdue::Write) {
            return Poll::Ready(self.stage.ending().unwrap_or(TailClosed::TooSlow));
        }
        if self.shared.draining() {
            self.close(TailClosed::Stopping, RESTART);
        }
        if let Some(why) = self.look_at_clock() {
            return Poll::Ready(why);
        }
        if let Poll::Ready(why) = self.poll_inbound(cx) {
            return Poll::Ready(why);
        }
        loop {
            self.poll_events(cx);
            match self.poll_outbound(cx) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) if self.stage.ending() == Some(TailClosed::Client) => {
                    return Poll::Ready(TailClosed::Client);
                }
                Poll::Ready(Ok(false)) => {
                    self.await_answer();
                    break;
                }
                Poll::Ready(Err(_)) => return Poll::Ready(TailClosed::Client),
                Poll::Pending => break,
            }
        }
        self.link.look_at(Some(self.next_look()));
        Poll::Pending
    }

    /// What is due by the clock.
    fn look_at_clock(&mut self) -> Option<TailClosed> {
        let now = self.link.now();
        if let Stage::Leaving(why, until) | Stage::Closing(why, until) = self.stage {
            return (until <= now).then_some(why);
        }
        if self.idle_at <= now {
            self.close(TailClosed::Idle, IDLE);
        } else if self.ping_at <= now {
            self.ping_at = now + Duration::from_secs(PING_SECONDS);
            self.peer.ping();
        }
        None
    }

    fn next_look(&self) -> Instant {
        match self.stage {
            Stage::Open => self.ping_at.min(self.idle_at),
            Stage::Leaving(_, until) | Stage::Closing(_, until) => until,
        }
    }

    /// Takes what the client sends.
    fn poll_inbound(&mut self, cx: &mut Context<'_>) -> Poll<TailClosed> {
        for _ in 0..READS_PER_TURN {
            let (peer, stage) = (&mut self.peer, self.stage);
            let hear = |bytes: &[u8]| match stage.ending() {
                // Whoever broke the protocol is no longer understood, only waited for.
                Some(TailClosed::Protocol) => Turn::Open,
                Some(_) | None => peer.read(bytes),
            };
            let Poll::Ready(read) = self.socket.poll_take(cx, usize::MAX, hear) else {
                return Poll::Pending;
            };
            let is_gone = read.is_err() || self.socket.at_end();
            match (read.unwrap_or(Turn::Closed), stage.ending()) {
                (Turn::Closed, Some(why)) => return Poll::Ready(why),
                (_, Some(why)) if is_gone => return Poll::Ready(why),
                (_, None) if is_gone => return Poll::Ready(TailClosed::Client),
                (turn, _) => self.heard(turn),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Takes bytes of the client that were read before the tail began.
    fn hear(&mut self, bytes: &[u8]) {
        let turn = self.peer.read(bytes);
        self.heard(turn);
    }

    fn heard(&mut self, turn: Turn) {
        self.idle_at = self.link.now() + Duration::from_secs(TAIL_IDLE_SECONDS);
        match turn {
            Turn::Open => {}
            // The protocol has queued its answer to the client's close frame.
            Turn::Closed => self.begin_closing(TailClosed::Client),
            Turn::Refused(farewell) => self.close(TailClosed::Protocol, farewell),
        }
    }

    /// Takes the shard's next message, if the last one is encoded.
    fn poll_events(&mut self, cx: &mut Context<'_>) {
        if self.stage != Stage::Open || !self.frames.is_empty() {
            return;
        }
        let Poll::Ready(message) = pin!(self.tail.next()).poll(cx) else { return };
        match message {
            Some(TailMessage::Events { events, replay }) => {
                self.shared.meters.tail_received(replay);
                self.frames.load(events);
            }
            Some(TailMessage::Closed(TailEnd::TooSlow)) => {
                self.close(TailClosed::TooSlow, TOO_SLOW);
            }
            Some(TailMessage::Closed(TailEnd::Lost)) => self.close(TailClosed::Stopping, RESTART),
            Some(TailMessage::Closed(TailEnd::Unreadable)) => {
                self.close(TailClosed::Unreadable, UNREADABLE);
            }
            // The tail of a core that is gone.
            None => self.close(TailClosed::Stopping, RESTART),
            Some(TailMessage::Opened | TailMessage::Refused(_) | TailMessage::Elsewhere { .. }) => {
                tracing::error!("a tail was opened twice");
                self.close(TailClosed::Unreadable, UNREADABLE);
            }
        }
    }

    /// Encodes and writes; `true` if there may be more to do at once.
    fn poll_outbound(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<bool>> {
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
            self.owed += self.frames.encode(self.peer.control(), &mut self.out);
        }
        if self.out.is_empty() {
            if IDLE_OUT_BYTES < self.out.capacity() {
                self.out = Vec::new();
            }
            return Poll::Ready(Ok(false));
        }
        while self.written < self.out.len() {
            match self.socket.poll_put(cx, &self.out[self.written..]) {
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
                }
                Poll::Ready(Ok(written)) => self.written += written,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        self.socket.flushed();
        let written = std::mem::take(&mut self.owed);
        self.shared.meters.tail_bytes.increment(written);
        self.tail.written(written);
        Poll::Ready(Ok(true))
    }

    /// Says farewell, unless one of the two has already.
    fn close(&mut self, why: TailClosed, farewell: Farewell) {
        if self.stage == Stage::Open {
            self.peer.close(farewell);
            self.begin_closing(why);
        }
    }

    /// Sends no event after the frame in progress. That one may be large and the client slow: it has
    /// as long as a tail may stand still, or until the drain ends.
    fn begin_closing(&mut self, why: TailClosed) {
        if self.stage == Stage::Open {
            self.frames.abandon();
            let until = self.link.now() + Duration::from_secs(TAIL_WRITE_SECONDS);
            self.stage = Stage::Leaving(why, until);
        }
    }

    /// Everything is written, a close frame last if the tail ends: the client may answer it.
    fn await_answer(&mut self) {
        if let Stage::Leaving(why, _) = self.stage {
            let until = self.link.now() + Duration::from_secs(LINGER_SECONDS);
            self.stage = Stage::Closing(why, until);
        }
    }
}
