//! Seeded choices; the seed is printed, so that a failing run can be repeated.

use std::time::{SystemTime, UNIX_EPOCH};

/// A stream of pseudo-random numbers (SplitMix64).
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// The stream of a seed.
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The stream of the seed in the variable `IT_SEED`, else of a fresh one; says which.
    pub(crate) fn announced(what: &str) -> Random {
        let given = std::env::var("IT_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
            now.as_secs() << 20 | u64::from(now.subsec_micros())
        });
        println!("{what}: IT_SEED={seed}");
        Random::new(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number in `[low, high)`.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        assert!(low < high, "the range is not empty");
        low + self.next() % (high - low)
    }

    /// Lower-case letters.
    pub(crate) fn text(&mut self, length: u64) -> String {
        let letter = |_| char::from(b'a' + u8::try_from(self.between(0, 26)).expect("below 26"));
        (0..length).map(letter).collect()
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}
