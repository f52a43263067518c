//! What a run of the load generator found, or why it was given up.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::pace::Moments;
use crate::report::Latencies;

/// Wrong replies a run may get before it is given up.
const WRONG_MAX: u64 = 100;
/// Bytes of a wrong reply that are shown.
const SHOWN_BYTES: usize = 200;

/// What a run found. Counts and latencies are of the measured time.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Of requests that were done, counted from the intended time in an open loop. Requests without
    /// an answer at the end of the drain are in it with the time they had waited.
    pub(crate) latencies: Latencies,
    /// How much later than intended requests were sent, in an open loop: what of the latency is the
    /// generator's own, or a want of free clients.
    pub(crate) lateness: Latencies,
    /// Requests done in the measured time, whenever they were meant for.
    pub(crate) done: u64,
    /// Requests done in the whole run, warm-up and drain included.
    pub(crate) done_ever: u64,
    /// Requests without an answer at the end of the drain, those never sent included.
    pub(crate) unanswered: u64,
    /// Replies that were not what was asked for, by their status.
    pub(crate) refused: BTreeMap<u16, u64>,
    /// Replies that cannot be true, or that no server in order gives, and the first of them.
    pub(crate) wrong: u64,
    pub(crate) wrong_reply: Option<String>,
    /// Connections lost with a request under way, and the last reason.
    pub(crate) lost: u64,
    pub(crate) lost_reason: Option<String>,
    /// CPU time the generator's threads took in the measured time.
    pub(crate) cpu: Duration,
}

impl Outcome {
    pub(crate) fn merge(&mut self, other: &Outcome) {
        self.latencies.merge(&other.latencies);
        self.lateness.merge(&other.lateness);
        self.done += other.done;
        self.done_ever += other.done_ever;
        self.unanswered += other.unanswered;
        for (status, count) in &other.refused {
            *self.refused.entry(*status).or_default() += count;
        }
        self.wrong += other.wrong;
        self.wrong_reply = self.wrong_reply.take().or_else(|| other.wrong_reply.clone());
        self.lost += other.lost;
        self.lost_reason = self.lost_reason.take().or_else(|| other.lost_reason.clone());
        self.cpu += other.cpu;
    }
}

impl Outcome {
    pub(crate) fn done(&mut self, meant: Instant, now: Instant, moments: &Moments) {
        let measured = moments.begin..moments.end;
        self.done_ever += 1;
        if measured.contains(&now) {
            self.done += 1;
        }
        if measured.contains(&meant) {
            self.latencies.record(now - meant);
        }
    }

    pub(crate) fn wrong(&mut self, status: u16, body: &[u8]) -> Result<(), Failure> {
        let shown = String::from_utf8_lossy(&body[..body.len().min(SHOWN_BYTES)]);
        let reply = self.wrong_reply.get_or_insert_with(|| format!("{status} {shown}"));
        self.wrong += 1;
        if WRONG_MAX < self.wrong { Err(Failure::Wrong(reply.clone())) } else { Ok(()) }
    }
}

/// Why a run was given up.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A connection could not be made.
    Connect(io::Error),
    /// The kernel refused something else.
    System(io::Error),
    /// Too many connections were lost.
    Lost(String),
    /// Too many replies were wrong.
    Wrong(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Connect(error) => write!(f, "the server takes no connection: {error}"),
            Failure::System(error) => write!(f, "the load generator cannot work: {error}"),
            Failure::Lost(reason) => write!(f, "the server keeps losing connections: {reason}"),
            Failure::Wrong(reply) => write!(f, "the server keeps answering wrongly: {reply}"),
        }
    }
}

impl std::error::Error for Failure {}

/// CPU time of the calling thread in the measured time.
#[derive(Debug, Default)]
pub(crate) struct CpuWindow {
    at_begin: Option<Duration>,
    at_end: Option<Duration>,
}

impl CpuWindow {
    pub(crate) fn observe(&mut self, now: Instant, moments: &Moments) {
        if self.at_begin.is_none() && moments.begin <= now {
            self.at_begin = Some(cpu_of_thread());
        }
        if self.at_end.is_none() && moments.end <= now {
            self.at_end = Some(cpu_of_thread());
        }
    }

    pub(crate) fn taken(&self) -> Duration {
        let end = self.at_end.unwrap_or_else(cpu_of_thread);
        self.at_begin.map_or(Duration::ZERO, |begin| end.saturating_sub(begin))
    }
}

fn cpu_of_thread() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("CPU time is not negative")
}
