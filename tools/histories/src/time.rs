//! True time.

use std::fmt;
use std::ops::{Add, Sub};

/// Microseconds since the run began: true time, the same for everybody who asks and is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Time(pub u64);

/// Microseconds in a millisecond.
pub const MILLI: u64 = 1_000;
/// Microseconds in a second.
pub const SECOND: u64 = 1_000 * MILLI;

impl Add<u64> for Time {
    type Output = Time;

    fn add(self, micros: u64) -> Time {
        Time(self.0 + micros)
    }
}

impl Sub for Time {
    type Output = u64;

    fn sub(self, earlier: Time) -> u64 {
        assert!(earlier <= self, "time runs forward");
        self.0 - earlier.0
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0 / SECOND, self.0 % SECOND)
    }
}
