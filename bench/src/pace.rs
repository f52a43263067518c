//! When requests are sent, and which of them count.
//!
//! ```text
//!   start ---- warm-up ----> begin --------- measured ---------> end ---- drain ----> give up
//!              not counted          requests meant for this time
//!                                   are counted, whenever answered
//! ```

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64};
use std::time::{Duration, Instant};

/// When requests are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// By each client after its last reply.
    Closed,
    /// This many a second by all clients together, evenly.
    Open(NonZeroU32),
}

/// How a run goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) address: SocketAddr,
    pub(crate) pace: Pace,
    pub(crate) warmup: Duration,
    pub(crate) measured: Duration,
    /// How long to wait for replies behind the end.
    pub(crate) drain: Duration,
}

/// The intended times of one thread: those of all threads together are evenly spaced.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    pub(crate) start: Instant,
    pub(crate) per_second: NonZeroU32,
    /// The thread, in `[0, threads)`.
    pub(crate) thread: u64,
    pub(crate) threads: NonZeroU64,
}

impl Schedule {
    /// The intended time of the thread's request `number`, from 0. Computed from the number, so that
    /// no error adds up.
    pub(crate) fn intended(&self, number: u64) -> Instant {
        let overall = u128::from(number) * u128::from(self.threads.get()) + u128::from(self.thread);
        let nanos = overall * 1_000_000_000 / u128::from(self.per_second.get());
        self.start + Duration::from_nanos(u64::try_from(nanos).expect("a run of few centuries"))
    }

    /// How many requests of this thread are meant for times before `end`.
    pub(crate) fn before(&self, end: Instant) -> u64 {
        let nanos = end.saturating_duration_since(self.start).as_nanos();
        let overall = (nanos * u128::from(self.per_second.get())).div_ceil(1_000_000_000);
        let own = overall.saturating_sub(u128::from(self.thread));
        u64::try_from(own.div_ceil(u128::from(self.threads.get()))).expect("as many as nanoseconds")
    }
}

/// The moments of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moments {
    pub(crate) begin: Instant,
    pub(crate) end: Instant,
    pub(crate) give_up: Instant,
}

impl Plan {
    /// The moments of a run that starts at `start`.
    pub(crate) fn moments(&self, start: Instant) -> Moments {
        let begin = start + self.warmup;
        let end = begin + self.measured;
        Moments { begin, end, give_up: end + self.drain }
    }
}
