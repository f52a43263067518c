//! When the log writer may poll. Giving the CPU away while polling costs nothing when nobody else
//! wants it, and a whole time slice of 4 ms when somebody does; so the writer watches what its yields
//! cost and stops polling for a while when two of them were slow.

/// A yield slower than this had company, in microseconds.
const SLOW_MICROS: u64 = 300;
/// Two slow yields further apart than this are two accidents, in microseconds.
const MEMORY_MICROS: u64 = 1_000_000;
/// First pause, in microseconds.
const PAUSE_MICROS_MIN: u64 = 500_000;
/// Longest pause, in microseconds.
const PAUSE_MICROS_MAX: u64 = 4_000_000;

/// Decides whether polling is worth it. Times are monotonic microseconds.
#[derive(Debug)]
pub(crate) struct Backoff {
    last_slow: Option<u64>,
    paused_until: u64,
    next_pause: u64,
}

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff { last_slow: None, paused_until: 0, next_pause: PAUSE_MICROS_MIN }
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
        self.last_slow = None;
        // Slow again soon after a pause: the company has stayed.
        let stayed = now < self.paused_until + self.next_pause;
        if !stayed {
            self.next_pause = PAUSE_MICROS_MIN;
        }
        self.paused_until = now + self.next_pause;
        self.next_pause = (2 * self.next_pause).min(PAUSE_MICROS_MAX);
    }
}
