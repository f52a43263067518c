//! Randomness from a seed, one stream per concern: a draw that is added for one concern changes
//! nothing for the others.

/// Tells the streams of one seed apart: each concern has another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Salt(pub u64);

/// A stream: splitmix64.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// The stream of one concern in the run of a seed.
    pub fn new(seed: u64, concern: impl Into<Salt>) -> Dice {
        Dice(mix(seed ^ mix(concern.into().0)))
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number in `[0, end)`.
    pub fn below(&mut self, end: u64) -> u64 {
        assert!(0 < end, "there is something to draw");
        self.bits() % end
    }

    /// A number in `[first, last]`.
    pub fn between(&mut self, first: u64, last: u64) -> u64 {
        assert!(first <= last, "a range that runs forward");
        first + self.below(last - first + 1)
    }

    /// A number in `[first, last]` whose order of magnitude is even.
    pub fn spread(&mut self, first: u64, last: u64) -> u64 {
        assert!(1 <= first && first <= last, "a range that runs forward");
        let doublings = (last / first).ilog2();
        let low = first << self.below(u64::from(doublings) + 1);
        self.between(low, last.min(2 * low))
    }

    /// An index of a list of `len`.
    pub fn index(&mut self, len: usize) -> usize {
        let drawn = self.below(len as u64);
        usize::try_from(drawn).expect("below a usize")
    }

    /// Whether something happens that does so `chance` times in a thousand.
    pub fn permille(&mut self, chance: u32) -> bool {
        self.below(1000) < u64::from(chance)
    }

    /// One of several.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.index(choices.len())]
    }
}

fn mix(bits: u64) -> u64 {
    let mut mixed = bits;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A running digest of everything that happens: two runs of a seed must end with the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest(u64);

impl Default for Digest {
    fn default() -> Digest {
        Digest::new()
    }
}

impl Digest {
    /// Of nothing.
    pub fn new() -> Digest {
        Digest(0xcbf2_9ce4_8422_2325)
    }

    /// And this.
    pub fn add(&mut self, word: u64) {
        self.0 = mix(self.0.wrapping_add(0x9e37_79b9_7f4a_7c15) ^ word);
    }

    /// And these.
    pub fn add_bytes(&mut self, bytes: &[u8]) {
        self.add(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.add(u64::from_le_bytes(word));
        }
    }

    /// The digest.
    pub fn value(self) -> u64 {
        self.0
    }

    /// The digest of some bytes.
    pub fn of(bytes: &[u8]) -> u64 {
        let mut digest = Digest::new();
        digest.add_bytes(bytes);
        digest.value()
    }
}
