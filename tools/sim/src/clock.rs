//! A node's clocks: the monotonic one runs a little fast or slow, the wall clock may also jump and
//! stand still.

use model::ids::{Micros, Now};

use crate::queue::Time;

/// 2026-01-01T00:00:00Z.
const WALL_START: u64 = 1_767_225_600_000_000;
const MILLION: i64 = 1_000_000;

/// The clocks of one node.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    /// Microseconds gained or lost in a second.
    drift: i64,
    /// What it showed when the drift last changed, and when that was.
    shown: u64,
    since: Time,
    /// How far the wall clock is from the monotonic one.
    wall: u64,
    /// Where the wall clock stands still, if it does.
    frozen: Option<u64>,
}

impl Clock {
    /// A clock that gains `drift` microseconds in a second.
    ///
    /// # Panics
    /// If the clock would run backward or more than twice as fast.
    pub(crate) fn new(drift: i64) -> Clock {
        assert!(drift.abs() <= MILLION / 2, "a clock runs forward");
        Clock { drift, shown: 1_000_000, since: Time(0), wall: WALL_START, frozen: None }
    }

    /// What the node's clocks show.
    pub(crate) fn now(&self, time: Time) -> Now {
        let monotonic = self.shown + scale(time - self.since, MILLION + self.drift, MILLION);
        let wall = self.frozen.unwrap_or(self.wall + monotonic);
        Now { monotonic, wall: Micros(wall) }
    }

    /// How much true time passes while the node's clock runs `micros`, rounded up.
    pub(crate) fn lasts(&self, micros: u64) -> u64 {
        scale(micros, MILLION, MILLION + self.drift) + 1
    }

    /// The wall clock jumps forward, or back if `micros` is negative.
    pub(crate) fn jump(&mut self, micros: i64) {
        self.frozen = None;
        self.wall = self.wall.saturating_add_signed(micros);
    }

    /// The wall clock stands still until it jumps.
    pub(crate) fn freeze(&mut self, time: Time) {
        self.frozen = Some(self.now(time).wall.0);
    }

    /// From now on the clocks gain `drift` microseconds in a second.
    pub(crate) fn set_drift(&mut self, time: Time, drift: i64) {
        assert!(drift.abs() <= MILLION / 2, "a clock runs forward");
        self.shown = self.now(time).monotonic;
        self.since = time;
        self.drift = drift;
    }
}

fn scale(micros: u64, times: i64, over: i64) -> u64 {
    let scaled = i128::from(micros) * i128::from(times) / i128::from(over);
    u64::try_from(scaled).expect("clocks run forward, and not for ever")
}
