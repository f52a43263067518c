//! Runs with a plan: what is known to be hard, by name.

use crate::nemesis::{Deed, links};
use crate::queue::{MILLI, SECOND};

/// A plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// Every set of directed links of three nodes is cut for a while, one after the other.
    AllLinksOfThree,
    /// Every set of whole links of five nodes is cut for a while, a part of them by seed.
    LinksOfFive,
    /// The leader of something is killed again and again.
    KillLoop,
    /// Everybody loses power again and again.
    PowerLoop,
    /// One node's disk is a hundred times slower.
    SlowDisk,
    /// Each node is restarted in turn.
    RollingRestart,
    /// Each node in turn comes back with an empty disk.
    ReplaceEach,
    /// A node stands still for ten election timeouts, and goes on.
    LongPause,
}

impl Scenario {
    /// All of them.
    pub(crate) const ALL: &[Scenario] = &[
        Scenario::AllLinksOfThree,
        Scenario::LinksOfFive,
        Scenario::KillLoop,
        Scenario::PowerLoop,
        Scenario::SlowDisk,
        Scenario::RollingRestart,
        Scenario::ReplaceEach,
        Scenario::LongPause,
    ];

    /// The name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Scenario::AllLinksOfThree => "all-links-of-three",
            Scenario::LinksOfFive => "links-of-five",
            Scenario::KillLoop => "kill-loop",
            Scenario::PowerLoop => "power-loop",
            Scenario::SlowDisk => "slow-disk",
            Scenario::RollingRestart => "rolling-restart",
            Scenario::ReplaceEach => "replace-each",
            Scenario::LongPause => "long-pause",
        }
    }

    /// How many nodes it is about; `None` for any number.
    pub(crate) fn nodes(self) -> Option<usize> {
        match self {
            Scenario::AllLinksOfThree => Some(3),
            Scenario::LinksOfFive => Some(5),
            _ => None,
        }
    }

    /// What happens, each with the microseconds since the beginning, in order.
    pub(crate) fn deeds(self, seed: u64, nodes: usize, election: u64) -> Vec<(u64, Deed)> {
        let start = 2 * SECOND;
        let every = |count: u64, gap: u64, deed: &dyn Fn(u64) -> Deed| {
            (0..count).map(|round| (start + round * gap, deed(round))).collect()
        };
        let node = |round: u64| {
            usize::try_from((seed + round) % nodes as u64).expect("a node of the cluster")
        };
        let lasts = 4 * election;
        match self {
            Scenario::AllLinksOfThree => every(64, 2 * lasts, &|round| {
                let pairs = links(3, |_, _| true);
                let cut = pairs.iter().enumerate().filter(|(bit, _)| round >> bit & 1 == 1);
                Deed::Cut { links: cut.map(|(_, link)| *link).collect(), lasts }
            }),
            Scenario::LinksOfFive => every(64, 2 * lasts, &|round| {
                let pairs = links(5, |from, to| from < to);
                let shape = seed.wrapping_mul(64).wrapping_add(round) % 1_024;
                let is_cut = |from: usize, to: usize| {
                    let bit = pairs.iter().position(|pair| *pair == (from.min(to), from.max(to)));
                    shape >> bit.expect("a pair of the cluster") & 1 == 1
                };
                Deed::Cut { links: links(5, is_cut), lasts }
            }),
            Scenario::KillLoop => {
                every(40, 2 * election, &|round| Deed::Kill { node: node(round), down: election })
            }
            Scenario::PowerLoop => every(20, 3 * SECOND, &|_| Deed::PowerCutAll { down: SECOND }),
            Scenario::SlowDisk => every(1, SECOND, &|round| Deed::Slow {
                node: node(round),
                times: 100,
                lasts: 20 * SECOND,
            }),
            Scenario::RollingRestart => every(nodes as u64, 3 * SECOND, &|round| Deed::Kill {
                node: node(round),
                down: 200 * MILLI,
            }),
            Scenario::ReplaceEach => every(nodes as u64, 12 * SECOND, &|round| Deed::Empty {
                node: node(round),
                down: 500 * MILLI,
            }),
            Scenario::LongPause => every(6, 14 * election, &|round| Deed::Pause {
                node: node(round),
                core: None,
                lasts: 10 * election,
            }),
        }
    }
}
