//! Chance, and what it led to.

use std::collections::BTreeMap;
use std::ops::AddAssign;

/// splitmix64.
#[derive(Debug)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let drawn = (mixed ^ (mixed >> 31)) % end as u64;
        usize::try_from(drawn).expect("below a usize")
    }

    pub(super) fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    pub(super) fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// How often the hard things happened: a test that never meets them proves nothing.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Reached(pub(super) BTreeMap<&'static str, u64>);

impl Reached {
    pub(super) fn count(&mut self, name: &'static str, times: usize) {
        *self.0.entry(name).or_default() += times as u64;
    }
}

impl AddAssign for Reached {
    fn add_assign(&mut self, other: Reached) {
        for (name, count) in other.0 {
            *self.0.entry(name).or_default() += count;
        }
    }
}
