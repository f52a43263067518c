//! Randomness from a seed, one stream per concern: a draw that is added for one concern changes
//! nothing for the others.

/// Who draws.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Concern {
    /// Which options a run has.
    Swarm,
    /// Delays, losses and doubles on the wires.
    Network,
    /// What happens to the writes of one node.
    Disk(usize),
    /// How fast the nodes' clocks run.
    Clocks,
    /// Which fault happens when.
    Nemesis,
    /// What one client does.
    Client(usize),
    /// How long turns of shards take.
    Turns,
    /// What a node is told once: names of logs, seeds of elections.
    Identity,
    /// Which options it has besides.
    Extras,
    /// What its theme makes of it.
    Theme,
    /// Forged histories.
    #[cfg(test)]
    Forgery,
}

impl Concern {
    fn salt(self) -> u64 {
        let (kind, number) = match self {
            Concern::Swarm => (1, 0),
            Concern::Network => (2, 0),
            Concern::Disk(node) => (3, node),
            Concern::Clocks => (4, 0),
            Concern::Nemesis => (5, 0),
            Concern::Client(client) => (6, client),
            Concern::Turns => (7, 0),
            Concern::Identity => (8, 0),
            Concern::Extras => (10, 0),
            Concern::Theme => (11, 0),
            #[cfg(test)]
            Concern::Forgery => (9, 0),
        };
        (kind << 32) + number as u64
    }
}

/// A stream: splitmix64.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    /// The stream of one concern in the run of a seed.
    pub(crate) fn new(seed: u64, concern: Concern) -> Dice {
        Dice(mix(seed ^ mix(concern.salt())))
    }

    /// The next 64 bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number in `[0, end)`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        assert!(0 < end, "there is something to draw");
        self.bits() % end
    }

    /// A number in `[first, last]`.
    pub(crate) fn between(&mut self, first: u64, last: u64) -> u64 {
        assert!(first <= last, "a range that runs forward");
        first + self.below(last - first + 1)
    }

    /// A number in `[first, last]` whose order of magnitude is even.
    pub(crate) fn spread(&mut self, first: u64, last: u64) -> u64 {
        assert!(1 <= first && first <= last, "a range that runs forward");
        let doublings = (last / first).ilog2();
        let low = first << self.below(u64::from(doublings) + 1);
        self.between(low, last.min(2 * low))
    }

    /// An index of a list of `len`.
    pub(crate) fn index(&mut self, len: usize) -> usize {
        let drawn = self.below(len as u64);
        usize::try_from(drawn).expect("below a usize")
    }

    /// Whether something happens that does so `chance` times in a thousand.
    pub(crate) fn permille(&mut self, chance: u32) -> bool {
        self.below(1000) < u64::from(chance)
    }

    /// One of several.
    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
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
pub(crate) struct Digest(u64);

impl Digest {
    /// Of nothing.
    pub(crate) fn new() -> Digest {
        Digest(0xcbf2_9ce4_8422_2325)
    }

    /// And this.
    pub(crate) fn add(&mut self, word: u64) {
        self.0 = mix(self.0.wrapping_add(0x9e37_79b9_7f4a_7c15) ^ word);
    }

    /// And these.
    pub(crate) fn add_bytes(&mut self, bytes: &[u8]) {
        self.add(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.add(u64::from_le_bytes(word));
        }
    }

    /// The digest.
    pub(crate) fn value(self) -> u64 {
        self.0
    }

    /// The digest of some bytes.
    pub(crate) fn of(bytes: &[u8]) -> u64 {
        let mut digest = Digest::new();
        digest.add_bytes(bytes);
        digest.value()
    }
}
