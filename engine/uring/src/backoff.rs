//! When the log writer may poll. It pays on a CPU that nobody else wants, and on no other:
//!
//! - Where another thread wants the CPU, each yield gives it a whole time slice of 4 ms. Two slow yields
//!   stop the polling.
//! - Where the device's interrupts go to this very CPU, a guest that never rests may not hear of them
//!   before its next timer tick: what a sleeper learns in 0.1 ms takes a poller 8 ms. A slow device is
//!   no better. Some batches in a row that polling did not see through stop it, too.
//!
//! Both stop it for a while, and for longer while nothing has changed.

/// A yield slower than this had company, in microseconds.
const SLOW_MICROS: u64 = 300;
/// Two slow yields further apart than this are two accidents, in microseconds.
const MEMORY_MICROS: u64 = 1_000_000;
/// Batches in a row that polling did not see through before it stops.
const FUTILE_MAX: u32 = 4;
/// First pause, in microseconds.
const PAUSE_MICROS_MIN: u64 = 500_000;
/// Longest pause, in microseconds.
const PAUSE_MICROS_MAX: u64 = 4_000_000;

/// Decides whether polling is worth it. Times are monotonic microseconds.
#[derive(Debug)]
pub(crate) struct Backoff {
    last_slow: Option<u64>,
    /// Batches in a row that polling did not see through.
    futile: u32,
    paused_until: u64,
    next_pause: u64,
}

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff { last_slow: None, futile: 0, paused_until: 0, next_pause: PAUSE_MICROS_MIN }
    }
}

impl Backoff {
    /// Whether polling is allowed now.
    pub(crate) fn may_poll(&self, now: u64) -> bool {
        self.paused_until <= now
    }

    /// Learns that a yield which ended at `now` took so long.
    pub(crate) fn yielded(&mut self, now: u64, took: u64) {
        if took <= SLOW_MICROS {
            return;
        }
        let twice = self.last_slow.is_some_and(|before| now - before <= MEMORY_MICROS);
        if !twice {
            self.last_slow = Some(now);
            return;
        }
        self.pause(now);
    }

    /// Learns whether polling saw a batch through.
    pub(crate) fn polled(&mut self, now: u64, paid: bool) {
        self.futile = if paid { 0 } else { self.futile + 1 };
        if self.futile == FUTILE_MAX {
            self.pause(now);
        }
    }

    fn pause(&mut self, now: u64) {
        self.last_slow = None;
        self.futile = 0;
        // Again soon after a pause: what made polling slow has stayed.
        let stayed = now < self.paused_until + self.next_pause;
        if !stayed {
            self.next_pause = PAUSE_MICROS_MIN;
        }
        self.paused_until = now + self.next_pause;
        self.next_pause = (2 * self.next_pause).min(PAUSE_MICROS_MAX);
    }
}
