//! Following a session: how long after an event was to be appended each follower has it, and how fast a session that
//! is there already is replayed.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::time::Timespec;
use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::client::Request;
use tungstenite::{Message, WebSocket};

use crate::load::{Verdict, Workload};
use crate::report::Latencies;
use crate::request::{Target, Template, digits, seq_of};

/// Longest wait for a handshake, and for the next event of a replay.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Time between looks whether all is over.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
/// Events of one frame of a replay: the most the server allows.
const REPLAY_BATCH: u32 = model::limits::TAIL_BATCH_MAX;
/// Digits of the intended time in a payload.
const TIME_DIGITS: usize = 20;
/// What stands before the intended time.
const TIME_NAME: &str = "\"meant\":";

/// A payload of `bytes` bytes, or somewhat more, with room for the intended time in front.
pub(crate) fn payload(bytes: usize) -> String {
    let frame = format!("{{{TIME_NAME}{:>TIME_DIGITS$},\"text\":\"\"}}", 0);
    let text = "x".repeat(bytes.saturating_sub(frame.len()));
    format!("{{{TIME_NAME}{:>TIME_DIGITS$},\"text\":\"{text}\"}}", 0)
}

/// The intended time in an event, in nanoseconds since the origin.
pub(crate) fn meant(event: &str) -> Option<u64> {
    let (_, rest) = event.split_once(TIME_NAME)?;
    let rest = rest.trim_start();
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    rest[..digits].parse().ok()
}

/// Appends to one session by several producers, each event with its intended time.
#[derive(Debug)]
pub(crate) struct Stamped<'a> {
    clients: Vec<Producer>,
    origin: Instant,
    /// Counts acknowledged events for whoever follows the session.
    acknowledged: &'a AtomicU64,
}

#[derive(Debug)]
struct Producer {
    template: Template,
    time_at: usize,
    seq: u64,
    /// Whether the request in the buffer has no answer: then it is repeated as it is.
    pending: bool,
}

impl<'a> Stamped<'a> {
    pub(crate) fn new(
        target: &Target,
        clients: usize,
        payload_bytes: usize,
        origin: Instant,
        acknowledged: &'a AtomicU64,
    ) -> Stamped<'a> {
        let producer = |client: usize| {
            let payload = payload(payload_bytes);
            let template = Template::append(target, &format!("bench-{client:08}"), &payload);
            let mut bytes = Vec::new();
            template.write(&mut bytes, 0, 1);
            let name = bytes.windows(TIME_NAME.len()).position(|part| part == TIME_NAME.as_bytes());
            let time_at = name.expect("the payload names it") + TIME_NAME.len();
            Producer { template, time_at, seq: 1, pending: false }
        };
        Stamped { clients: (0..clients).map(producer).collect(), origin, acknowledged }
    }
}

impl Workload for Stamped<'_> {
    fn next(&mut self, client: usize, at: Instant, request: &mut Vec<u8>) -> bool {
        let producer = &mut self.clients[client];
        if !producer.pending {
            producer.template.write(request, 0, producer.seq);
            let nanos = at.saturating_duration_since(self.origin).as_nanos();
            let nanos = u64::try_from(nanos).expect("a run of few centuries");
            let field = producer.time_at..producer.time_at + TIME_DIGITS;
            digits(&mut request[field], nanos, b' ');
            producer.pending = true;
        }
        true
    }

    fn answered(&mut self, client: usize, status: u16, body: &[u8]) -> Verdict {
        let verdict = Verdict::of(status);
        if verdict != Verdict::Done {
            return verdict;
        }
        let producer = &mut self.clients[client];
        producer.pending = false;
        producer.seq += 1;
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
        if seq_of(body).is_some() { Verdict::Done } else { Verdict::Wrong }
    }
}

/// A follower of a session.
#[derive(Debug)]
struct Tail {
    socket: WebSocket<TcpStream>,
    /// The seq of the last event.
    seq: u64,
}

impl Tail {
    /// Opens a tail from the start of the target's first session.
    fn open(target: &Target, batch: u32) -> Result<Tail, String> {
        let failed = |error: &dyn std::fmt::Display| format!("a tail cannot be opened: {error}");
        let stream = TcpStream::connect(target.address).map_err(|error| failed(&error))?;
        stream.set_nodelay(true).map_err(|error| failed(&error))?;
        stream.set_read_timeout(Some(SILENCE_MAX)).map_err(|error| failed(&error))?;
        let request = request(target, target.address, batch)?;
        let (socket, _) = tungstenite::client(request, stream).map_err(|error| failed(&error))?;
        Ok(Tail { socket, seq: 0 })
    }

    /// The next text frame that is there; `None` if there is none.
    fn frame(&mut self) -> Result<Option<tungstenite::Utf8Bytes>, String> {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => return Ok(Some(text)),
                Ok(Message::Close(frame)) => {
                    let why = frame.map_or("no reason".to_owned(), |frame| frame.to_string());
                    return Err(format!("the server closed a tail: {why}"));
                }
                Ok(_) => {}
                Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(None);
                }
                Err(error) => return Err(format!("a tail failed: {error}")),
            }
        }
    }

    /// Takes in all frames that are there, and how long after its intended time each event came if
    /// that time is not before `begin`.
    fn take_all(
        &mut self,
        (origin, begin): (Instant, Instant),
        latencies: &mut Latencies,
    ) -> Result<(), String> {
        while let Some(frame) = self.frame()? {
            let now = Instant::now();
            self.take(&frame)?;
            let nanos = meant(&frame).ok_or("an event without its intended time")?;
            let meant = origin + Duration::from_nanos(nanos);
            if begin <= meant {
                latencies.record(now.saturating_duration_since(meant));
            }
        }
        Ok(())
    }

    /// Takes in the events of a frame, which follow the last one without a hole; how many they are.
    fn take(&mut self, frame: &str) -> Result<u64, String> {
        let mut events = 0;
        for event in frame.split("{\"seq\":").skip(1) {
            let digits = event.bytes().take_while(u8::is_ascii_digit).count();
            let seq: u64 = event[..digits].parse().map_err(|_| "an event without a seq")?;
            if seq != self.seq + 1 {
                return Err(format!("event {seq} follows event {}", self.seq));
            }
            self.seq = seq;
            events += 1;
        }
        if events == 0 { Err("a frame holds no event".to_owned()) } else { Ok(events) }
    }
}

fn request(target: &Target, address: SocketAddr, batch: u32) -> Result<Request, String> {
    let session = target.session(0);
    let url = format!("ws://{address}/v1/sessions/{session}/tail?cursor=0&batch_size={batch}");
    let mut request = url.into_client_request().map_err(|error| error.to_string())?;
    if let Some(token) = &target.token {
        let value = format!("Bearer {token}").parse().map_err(|_| "the token is no header")?;
        request.headers_mut().insert("authorization", value);
    }
    Ok(request)
}

/// Followers of one session, all served by one thread.
#[derive(Debug)]
pub(crate) struct Tails {
    epoll: OwnedFd,
    tails: Vec<Tail>,
}

/// What the followers saw.
#[derive(Debug)]
pub(crate) struct Delivered {
    /// From the intended time of an append to the moment a follower had the event.
    pub(crate) latencies: Latencies,
    /// Events that some follower did not get.
    pub(crate) missing: u64,
}

impl Tails {
    /// Opens `count` tails of the target's first session.
    ///
    /// # Errors
    /// Which could not be opened, and why.
    pub(crate) fn open(target: &Target, count: usize) -> Result<Tails, String> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(|error| error.to_string())?;
        let mut tails = Vec::with_capacity(count);
        for place in 0..count {
            let tail = Tail::open(target, 1)?;
            let stream = tail.socket.get_ref();
            stream.set_nonblocking(true).map_err(|error| error.to_string())?;
            let data = EventData::new_u64(place as u64);
            epoll::add(&epoll, stream.as_fd(), data, EventFlags::IN)
                .map_err(|error| error.to_string())?;
            tails.push(tail);
        }
        Ok(Tails { epoll, tails })
    }

    /// Follows until `over` is set and every tail has all that was acknowledged, or has been silent
    /// for too long. Latencies of events meant for a time from `begin` on are recorded.
    ///
    /// # Errors
    /// If a tail ends, skips or repeats an event.
    pub(crate) fn follow(
        &mut self,
        (origin, begin): (Instant, Instant),
        over: &AtomicBool,
        acknowledged: &AtomicU64,
    ) -> Result<Delivered, String> {
        let mut latencies = Latencies::default();
        let mut events: Vec<Event> = Vec::with_capacity(self.tails.len().clamp(1, 512));
        let mut heard = Instant::now();
        // What came together with the handshake is no event of the socket any more.
        for tail in &mut self.tails {
            tail.take_all((origin, begin), &mut latencies)?;
        }
        loop {
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&LOOK)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.to_string()),
            }
            if !events.is_empty() {
                heard = Instant::now();
            }
            for event in events.drain(..) {
                let data = event.data;
                let place = usize::try_from(data.u64()).expect("it was given as a place");
                self.tails[place].take_all((origin, begin), &mut latencies)?;
            }
            if !over.load(Ordering::Relaxed) {
                continue;
            }
            let head = acknowledged.load(Ordering::Relaxed);
            let missing = self.tails.iter().map(|tail| head.saturating_sub(tail.seq)).sum::<u64>();
            if missing == 0 || SILENCE_MAX < heard.elapsed() {
                return Ok(Delivered { latencies, missing });
            }
        }
    }
}

/// How long a replay took.
#[derive(Debug)]
pub(crate) struct Replayed {
    pub(crate) events: u64,
    pub(crate) bytes: u64,
    pub(crate) time: Duration,
}

/// Reads the target's first session from its start up to event `head`, from the handshake on.
///
/// # Errors
/// If the tail ends, skips or repeats an event, or is silent for too long.
pub(crate) fn replay(target: &Target, head: u64) -> Result<Replayed, String> {
    let start = Instant::now();
    let mut tail = Tail::open(target, REPLAY_BATCH)?;
    let (mut events, mut bytes) = (0, 0);
    while tail.seq < head {
        let Some(frame) = tail.frame()? else {
            return Err(format!("a replay is silent behind event {}", tail.seq));
        };
        events += tail.take(&frame)?;
        bytes += frame.len() as u64;
    }
    Ok(Replayed { events, bytes, time: start.elapsed() })
}
