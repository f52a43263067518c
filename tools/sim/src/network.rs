//! The wires between nodes: each message is delayed, lost, doubled, overtaken or held back for so
//! long that its sender is another process by then. Each direction of each pair is a link of its own.

use crate::count::{Counters, Fault};
use crate::dice::Dice;
use crate::queue::Time;

/// What the wires of a run are like. Chances are in a thousand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Weather {
    /// The least time a message takes, in microseconds.
    pub(crate) delay_min: u64,
    /// The most, but for stragglers.
    pub(crate) delay_max: u64,
    /// Chance that a message is lost.
    pub(crate) loss: u32,
    /// Chance that a message comes twice.
    pub(crate) doubling: u32,
    /// Chance that a message comes much later.
    pub(crate) straggling: u32,
    /// How much later at most.
    pub(crate) straggle_max: u64,
    /// Whether messages of a lane come in order, but for stragglers and doubles.
    pub(crate) ordered: bool,
}

impl Weather {
    /// Nothing is lost, nothing is late.
    pub(crate) fn calm() -> Weather {
        Weather {
            delay_min: 100,
            delay_max: 1_000,
            loss: 0,
            doubling: 0,
            straggling: 0,
            straggle_max: 1,
            ordered: true,
        }
    }
}

/// What travels apart from what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Raft and pulses.
    Log,
    /// Snapshots.
    Bulk,
}

const LANES: usize = 2;

/// One direction between two nodes.
#[derive(Debug, Clone, Copy, Default)]
struct Link {
    /// Whether it loses everything.
    cut: bool,
    /// Nothing arrives before this time: what is under way queues up.
    clogged_until: Time,
    /// What it adds to each delay.
    slowness: u64,
    /// When the newest message of each lane arrives.
    newest: [Time; LANES],
}

/// All links of a cluster.
#[derive(Debug)]
pub(crate) struct Network {
    nodes: usize,
    links: Vec<Link>,
    weather: Weather,
    dice: Dice,
}

impl Network {
    /// Links between `nodes` nodes, all of them whole.
    pub(crate) fn new(nodes: usize, weather: Weather, dice: Dice) -> Network {
        Network { nodes, links: vec![Link::default(); nodes * nodes], weather, dice }
    }

    fn place(&self, from: usize, to: usize) -> usize {
        assert!(from < self.nodes && to < self.nodes, "nodes of this cluster");
        from * self.nodes + to
    }

    /// A message leaves: when it arrives, perhaps twice, perhaps never.
    pub(crate) fn send(
        &mut self,
        (from, to): (usize, usize),
        lane: Lane,
        now: Time,
        counters: &mut Counters,
    ) -> [Option<Time>; 2] {
        let Weather { loss, doubling, .. } = self.weather;
        if self.is_cut(from, to) {
            counters.count(Fault::CutMessage);
            return [None; 2];
        }
        if self.dice.permille(loss) {
            counters.count(Fault::LostMessage);
            return [None; 2];
        }
        let first = self.arrival((from, to), lane, now, counters);
        if !self.dice.permille(doubling) {
            return [Some(first), None];
        }
        counters.count(Fault::DoubledMessage);
        let again = first + self.dice.below(20 * self.weather.delay_max + 1);
        [Some(first), Some(again)]
    }

    fn arrival(
        &mut self,
        (from, to): (usize, usize),
        lane: Lane,
        now: Time,
        counters: &mut Counters,
    ) -> Time {
        let Weather { delay_min, delay_max, straggling, straggle_max, ordered, .. } = self.weather;
        let place = self.place(from, to);
        let link = &mut self.links[place];
        let at = now + self.dice.between(delay_min, delay_max) + link.slowness;
        let at = at.max(link.clogged_until);
        if self.dice.permille(straggling) {
            counters.count(Fault::StraggledMessage);
            return at + self.dice.between(1, straggle_max);
        }
        let newest = &mut link.newest[lane as usize];
        if ordered {
            *newest = at.max(*newest);
            return *newest;
        }
        if at < *newest {
            counters.count(Fault::OvertakenMessage);
        }
        *newest = at.max(*newest);
        at
    }

    /// Whether a direction loses everything.
    pub(crate) fn is_cut(&self, from: usize, to: usize) -> bool {
        self.links[self.place(from, to)].cut
    }

    /// Cuts or mends one direction.
    pub(crate) fn set_cut(&mut self, from: usize, to: usize, cut: bool) {
        let place = self.place(from, to);
        self.links[place].cut = cut;
    }

    /// Cuts exactly the links for which `cut` holds, by sender and receiver.
    pub(crate) fn shape(&mut self, cut: impl Fn(usize, usize) -> bool) {
        for from in 0..self.nodes {
            for to in (0..self.nodes).filter(|to| *to != from) {
                self.set_cut(from, to, cut(from, to));
            }
        }
    }

    /// What leaves on a link arrives no earlier than this.
    pub(crate) fn clog(&mut self, from: usize, to: usize, until: Time) {
        let place = self.place(from, to);
        self.links[place].clogged_until = until;
    }

    /// Every message of a link takes so much longer.
    pub(crate) fn slow(&mut self, from: usize, to: usize, micros: u64) {
        let place = self.place(from, to);
        self.links[place].slowness = micros;
    }

    /// All links are whole and as fast as ever.
    pub(crate) fn mend(&mut self) {
        self.links.fill(Link::default());
    }

    /// How the wires behave from now on.
    pub(crate) fn set_weather(&mut self, weather: Weather) {
        self.weather = weather;
    }

    /// Whether any direction is cut.
    pub(crate) fn has_cuts(&self) -> bool {
        self.links.iter().any(|link| link.cut)
    }
}
