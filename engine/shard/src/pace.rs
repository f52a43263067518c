//! Whether a shard keeps pace with time. One that stands still again and again, since its core has too
//! little of a CPU, answers late for all it leads, and is heard often enough that nobody takes over.

use model::limits::{PACE_WINDOW_MS, SLOW_REST_MS_MAX, SLOW_REST_MS_MIN, STILL_MS};

/// How a shard's ticks come. Times are monotonic microseconds.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// The last tick.
    last: u64,
    /// When the window began, how long the shard has stood still in it, and how often.
    began: u64,
    still: u64,
    times: u32,
    /// Until when it is slow if it stands still no more.
    until: Option<u64>,
    /// How long it has to keep pace before it is slow no more, and when it last came to that.
    rest: u64,
    ended: u64,
}

impl Pace {
    /// A tick. Whether the shard turns out to be slow with it.
    pub(crate) fn tick(&mut self, now: u64) -> bool {
        let gap = now.saturating_sub(std::mem::replace(&mut self.last, now));
        if STILL_MS * 1_000 <= gap {
            self.still += gap;
            self.times += 1;
        }
        if self.until.is_some_and(|until| until <= now) {
            (self.until, self.ended) = (None, now);
        }
        let lasts = now.saturating_sub(self.began);
        if lasts < PACE_WINDOW_MS * 1_000 {
            return false;
        }
        // What happens once is no habit.
        let stumbles = lasts / 2 <= self.still && 1 < self.times;
        (self.began, self.still, self.times) = (now, 0, 0);
        if !stumbles {
            return false;
        }
        let was_slow = self.is_slow();
        if !was_slow {
            let again = now < self.ended.saturating_add(self.rest);
            let rest = if again { 2 * self.rest } else { SLOW_REST_MS_MIN * 1_000 };
            self.rest = rest.min(SLOW_REST_MS_MAX * 1_000);
        }
        self.until = Some(now + self.rest);
        !was_slow
    }

    /// Whether it stood still for half of some time, not long ago.
    pub(crate) fn is_slow(&self) -> bool {
        self.until.is_some()
    }
}
