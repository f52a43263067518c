//! What nodes say to each other, damaged at random with its structure in mind: lengths, checksums,
//! proofs and seals are made to fit again, so that what lies behind them is reached.
//!
//! Every case has a seed. A run takes the same few thousand each time; `STARCITE_FUZZ_TIMES` takes so
//! many times more, and `STARCITE_FUZZ_SEED` one alone.

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};

mod frames;
mod messages;
mod nodes;
mod records;
mod secrets;

/// Runs so many cases, each with the choices of its seed.
#[track_caller]
fn cases(count: u64, each: impl Fn(&mut Dice)) {
    let given = |name: &str| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match given("STARCITE_FUZZ_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..count * given("STARCITE_FUZZ_TIMES").unwrap_or(1),
    };
    for seed in seeds {
        let outcome = catch_unwind(AssertUnwindSafe(|| each(&mut Dice::new(seed))));
        assert!(outcome.is_ok(), "again with STARCITE_FUZZ_SEED={seed}");
    }
}

/// The choices of one case (SplitMix64).
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number in `[0, end)`.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    /// True once in so many times.
    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// A number that is likely to be a limit of something.
    fn number(&mut self) -> u64 {
        let near =
            [0_u64, 1, 2, 5, 17, 255, 256, 4096, 1 << 16, 1 << 31, 1 << 32, 1 << 48, 1 << 63];
        match self.below(4) {
            0 => self.next(),
            1 => u64::MAX - self.next() % 3,
            2 => self.pick(&near).wrapping_sub(1),
            _ => *self.pick(&near),
        }
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    /// A part of so many bytes, perhaps none or all of them.
    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let (one, other) = (self.below(length + 1), self.below(length + 1));
        one.min(other)..one.max(other)
    }

    /// Damages some bytes, as disks, networks and other programs do.
    fn damage(&mut self, bytes: &mut Vec<u8>) {
        let range = self.range(bytes.len());
        match self.below(9) {
            0 | 1 if !bytes.is_empty() => {
                let at = self.below(bytes.len());
                bytes[at] ^= 1 << self.below(8);
            }
            2..=4 => {
                // A number of any width, where one may lie.
                let width = *self.pick(&[1, 2, 4, 8]);
                let number = self.number().to_le_bytes();
                if let Some(last) = bytes.len().checked_sub(width) {
                    let at = self.below(last + 1);
                    bytes[at..at + width].copy_from_slice(&number[..width]);
                }
            }
            5 => bytes.truncate(range.start),
            6 => {
                let length = self.below(40);
                let more = self.bytes(length);
                bytes.splice(range.start..range.start, more);
            }
            7 => {
                // What stood elsewhere, in place of what stood here.
                let part = bytes[range].to_vec();
                let at = self.below(bytes.len() - part.len() + 1);
                bytes[at..at + part.len()].copy_from_slice(&part);
            }
            _ => {
                bytes.drain(range);
            }
        }
    }
}
