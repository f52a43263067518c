//! Who draws from the seed: one stream per concern, so that a draw that is added for one changes
//! nothing for the others.

use histories::dice::Salt;
pub(crate) use histories::dice::{Dice, Digest};

/// Who draws.
#[derive(Debug, Clone, Copy)]
pub enum Concern {
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
    /// Which of the newest themes it has, if any.
    Rare,
    /// Forged histories.
    #[cfg(test)]
    Forgery,
}

impl From<Concern> for Salt {
    fn from(concern: Concern) -> Salt {
        let (kind, number) = match concern {
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
            Concern::Rare => (12, 0),
            #[cfg(test)]
            Concern::Forgery => (9, 0),
        };
        Salt((kind << 32) + number as u64)
    }
}
