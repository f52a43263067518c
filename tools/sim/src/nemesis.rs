//! Which fault happens when, and when it ends.

use crate::ambush::{Ambush, Strike, Trigger};
use crate::count::Counters;
use crate::dice::Dice;
use crate::options::Options;
use crate::queue::{MILLI, SECOND, Time};

macro_rules! acts {
    ($($variant:ident $name:literal,)*) => {
        /// A fault that somebody plans.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Act {
            $(#[doc = $name] $variant,)*
        }

        impl Act {
            /// All of them.
            pub(crate) const ALL: &[Act] = &[$(Act::$variant),*];

            /// The name on the command line.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Act::$variant => $name),* }
            }
        }
    };
}

acts! {
    Kill "kill",
    PowerCut "power-cut",
    PowerCutAll "power-cut-all",
    Partition "partition",
    OneWay "one-way",
    Clog "clog",
    SlowLink "slow-link",
    WriteError "write-error",
    LyingSync "lying-sync",
    LostWrite "lost-write",
    Misdirect "misdirect",
    Rot "rot",
    ReadErrors "read-errors",
    ReadRot "read-rot",
    DiskFull "disk-full",
    SlowDisk "slow-disk",
    StuckDisk "stuck-disk",
    Pause "pause",
    Stall "stall",
    WallJump "wall-jump",
    WallFreeze "wall-freeze",
    Drift "drift",
    EmptyDisk "empty-disk",
    Transfer "transfer",
    Members "members",
    Relieve "relieve",
    Ambush "ambush",
}

/// What is done to the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Deed {
    /// A process is killed, and comes back after so many microseconds.
    Kill { node: usize, down: u64 },
    /// A machine stops, and comes back.
    PowerCut { node: usize, down: u64 },
    /// All machines stop at once, and come back.
    PowerCutAll { down: u64 },
    /// Exactly these directed links are cut, and mended after so many microseconds.
    Cut { links: Vec<(usize, usize)>, lasts: u64 },
    /// Nothing arrives on a link for a while; then all of it does.
    Clog { from: usize, to: usize, lasts: u64 },
    /// Messages of a link take so much longer for a while.
    SlowLink { from: usize, to: usize, by: u64, lasts: u64 },
    /// The next write of a node's log fails.
    WriteError { node: usize },
    /// A node's disk lies for a while, then its machine stops.
    Lie { node: usize, lasts: u64, down: u64 },
    /// A node's next write is lost or goes elsewhere.
    Misplace { node: usize, lost: bool },
    /// A bit of a node's disk changes while it is down.
    Rot { node: usize, down: u64 },
    /// So many in a thousand reads of chunks fail, or bring wrong bits.
    BadReads { node: usize, errors: u32, rot: u32, lasts: u64 },
    /// A node's disk has no room for a while.
    Full { node: usize, lasts: u64 },
    /// A node's disk is so many times slower for a while.
    Slow { node: usize, times: u64, lasts: u64 },
    /// A node's disk does not move for a while.
    Stuck { node: usize, lasts: u64 },
    /// A process stands still for a while, or one of its cores.
    Pause { node: usize, core: Option<u32>, lasts: u64 },
    /// A node's wall clock jumps by so many microseconds.
    WallJump { node: usize, micros: i64 },
    /// A node's wall clock stands still for a while.
    WallFreeze { node: usize, lasts: u64 },
    /// A node's clocks gain so many microseconds in a second from now on.
    Drift { node: usize, drift: i64 },
    /// A node comes back with an empty disk.
    Empty { node: usize, down: u64 },
    /// A node is asked to hand over all it leads, and may lead again so soon that it may be under way.
    Transfer { node: usize, lasts: u64 },
    /// The nodes of these bits should hold groups from now on; each node is restarted to hear of it.
    Configure { write: u64, gap: u64 },
    /// A node is to lead nothing for a while; at the end of it that may have to hold.
    Relieve { node: usize, lasts: u64, looked_at: bool },
    /// Something happens as soon as somebody says a certain thing.
    Ambush(Ambush),
}

impl Deed {
    /// What kind of fault it is, and how many microseconds it lasts.
    pub(crate) fn kind(&self) -> (Act, u64) {
        match *self {
            Deed::Kill { down, .. } => (Act::Kill, down),
            Deed::PowerCut { down, .. } => (Act::PowerCut, down),
            Deed::PowerCutAll { down } => (Act::PowerCutAll, down),
            Deed::Cut { ref links, lasts } => {
                let one_way = links.iter().any(|(from, to)| !links.contains(&(*to, *from)));
                (if one_way { Act::OneWay } else { Act::Partition }, lasts)
            }
            Deed::Clog { lasts, .. } => (Act::Clog, lasts),
            Deed::SlowLink { lasts, .. } => (Act::SlowLink, lasts),
            Deed::WriteError { .. } => (Act::WriteError, 100 * MILLI),
            Deed::Lie { lasts, .. } => (Act::LyingSync, lasts),
            Deed::Misplace { lost: true, .. } => (Act::LostWrite, 100 * MILLI),
            Deed::Misplace { lost: false, .. } => (Act::Misdirect, 100 * MILLI),
            Deed::Rot { down, .. } => (Act::Rot, down),
            Deed::BadReads { errors: 0, lasts, .. } => (Act::ReadRot, lasts),
            Deed::BadReads { lasts, .. } => (Act::ReadErrors, lasts),
            Deed::Full { lasts, .. } => (Act::DiskFull, lasts),
            Deed::Slow { lasts, .. } => (Act::SlowDisk, lasts),
            Deed::Stuck { lasts, .. } => (Act::StuckDisk, lasts),
            Deed::Pause { core: None, lasts, .. } => (Act::Pause, lasts),
            Deed::Pause { lasts, .. } => (Act::Stall, lasts),
            Deed::WallJump { .. } => (Act::WallJump, 100 * MILLI),
            Deed::WallFreeze { lasts, .. } => (Act::WallFreeze, lasts),
            Deed::Drift { .. } => (Act::Drift, SECOND),
            Deed::Empty { down, .. } => (Act::EmptyDisk, down),
            Deed::Transfer { lasts, .. } => (Act::Transfer, lasts),
            Deed::Configure { gap, .. } => (Act::Members, SECOND + 3 * gap),
            Deed::Relieve { lasts, .. } => (Act::Relieve, lasts),
            Deed::Ambush(ambush) => (Act::Ambush, ambush.lasts),
        }
    }
}

/// Which kinds of faults were there at the same time.
#[derive(Debug, Default)]
pub(crate) struct Overlaps {
    active: Vec<(Act, Time)>,
}

impl Overlaps {
    /// A fault begins while others last.
    pub(crate) fn begin(&mut self, deed: &Deed, now: Time, counters: &mut Counters) {
        self.active.retain(|(_, until)| now <= *until);
        let (act, lasts) = deed.kind();
        for (other, _) in &self.active {
            counters.overlap(act.min(*other), act.max(*other));
        }
        self.active.push((act, now + lasts));
    }
}

/// Draws faults.
#[derive(Debug)]
pub(crate) struct Nemesis {
    acts: Vec<Act>,
    nodes: usize,
    calm: u64,
    election: u64,
    triggers: Vec<Trigger>,
    strikes: Vec<Strike>,
    /// How many nodes hold groups after a change; `None` for any number.
    holders: Option<usize>,
    dice: Dice,
}

impl Nemesis {
    /// The nemesis of a run.
    pub(crate) fn new(options: &Options, dice: Dice) -> Nemesis {
        Nemesis {
            acts: options.acts.clone(),
            nodes: options.nodes,
            calm: options.calm,
            election: options.election(),
            triggers: options.triggers.clone(),
            strikes: options.strikes.clone(),
            holders: options.holders,
            dice,
        }
    }

    /// How many microseconds until the next fault; `None` if there is none.
    pub(crate) fn pause(&mut self) -> Option<u64> {
        (!self.acts.is_empty()).then(|| self.dice.between(1, 2 * self.calm))
    }

    /// The next fault.
    pub(crate) fn draw(&mut self) -> Deed {
        let act = self.dice.pick(&self.acts);
        self.deed(act)
    }

    fn node(&mut self) -> usize {
        self.dice.index(self.nodes)
    }

    /// Two nodes that are not the same, if there are two.
    fn link(&mut self) -> (usize, usize) {
        let from = self.node();
        let to = (from + 1 + self.dice.index(self.nodes.max(2) - 1)) % self.nodes;
        (from, to)
    }

    /// From far less than an election timeout to many of them.
    fn lasts(&mut self) -> u64 {
        self.dice.spread(10 * MILLI, 12 * self.election)
    }

    fn down(&mut self) -> u64 {
        self.dice.spread(5 * MILLI, 5 * SECOND)
    }

    fn deed(&mut self, act: Act) -> Deed {
        let (node, lasts, down) = (self.node(), self.lasts(), self.down());
        match act {
            Act::Kill => Deed::Kill { node, down },
            Act::PowerCut => Deed::PowerCut { node, down },
            Act::PowerCutAll => Deed::PowerCutAll { down },
            Act::Partition | Act::OneWay => self.cut(act, lasts),
            Act::Clog => {
                let (from, to) = self.link();
                Deed::Clog { from, to, lasts }
            }
            Act::SlowLink => {
                let (from, to) = self.link();
                Deed::SlowLink { from, to, by: self.dice.spread(MILLI, 500 * MILLI), lasts }
            }
            Act::WriteError => Deed::WriteError { node },
            Act::LyingSync => Deed::Lie { node, lasts, down },
            Act::LostWrite => Deed::Misplace { node, lost: true },
            Act::Misdirect => Deed::Misplace { node, lost: false },
            Act::Rot => Deed::Rot { node, down },
            Act::ReadErrors => Deed::BadReads { node, errors: 300, rot: 0, lasts },
            Act::ReadRot => Deed::BadReads { node, errors: 0, rot: 300, lasts },
            Act::DiskFull => Deed::Full { node, lasts },
            Act::SlowDisk => Deed::Slow { node, times: self.dice.spread(2, 100), lasts },
            Act::StuckDisk => Deed::Stuck { node, lasts },
            Act::Pause => Deed::Pause { node, core: None, lasts },
            Act::Stall => {
                let core = Some(u32::try_from(self.dice.below(3)).expect("a small number"));
                Deed::Pause { node, core, lasts }
            }
            Act::WallJump => {
                let hour = 3_600 * SECOND;
                let back = self.dice.permille(500);
                let micros = i64::try_from(self.dice.spread(1, hour)).expect("an hour");
                Deed::WallJump { node, micros: if back { -micros } else { micros } }
            }
            Act::WallFreeze => Deed::WallFreeze { node, lasts },
            Act::Drift => {
                let drift = i64::try_from(self.dice.below(100_000)).expect("a tenth of a second");
                Deed::Drift { node, drift: drift - 50_000 }
            }
            Act::EmptyDisk => Deed::Empty { node, down },
            Act::Transfer => {
                Deed::Transfer { node, lasts: self.dice.spread(30 * MILLI, 2 * SECOND) }
            }
            Act::Members => self.configure(),
            Act::Relieve => Deed::Relieve { node, lasts: down + SECOND, looked_at: false },
            Act::Ambush => {
                let what = (self.triggers.as_slice(), self.strikes.as_slice());
                Deed::Ambush(Ambush::draw(&mut self.dice, what, lasts))
            }
        }
    }

    /// Another set of nodes, two at least.
    fn configure(&mut self) -> Deed {
        if let Some(holders) = self.holders {
            let mut write: u64 = 0;
            while (write.count_ones() as usize) < holders {
                write |= 1 << self.node();
            }
            return Deed::Configure { write, gap: self.dice.spread(MILLI, SECOND) };
        }
        let every = (1 << self.nodes) - 1;
        let mut write = (self.dice.bits() | self.dice.bits()) & every;
        while write.count_ones() < 2 {
            write |= 1 << self.node();
        }
        Deed::Configure { write, gap: self.dice.spread(MILLI, SECOND) }
    }

    /// Links that are cut: every shape there is.
    fn cut(&mut self, act: Act, lasts: u64) -> Deed {
        let nodes = self.nodes;
        // Some links flap.
        let flaps = self.dice.permille(300);
        let lasts = if flaps { self.dice.spread(MILLI, 100 * MILLI) } else { lasts };
        let shape = if act == Act::OneWay { self.dice.between(5, 7) } else { self.dice.below(5) };
        let (one, other) = self.link();
        let bits = self.dice.bits();
        let side = |node: usize| bits >> node & 1;
        let is_cut = |from: usize, to: usize| match shape {
            // One alone.
            0 => from == one || to == one,
            // Two sides.
            1 => side(from) != side(to),
            // Two sides and one node that is on both.
            2 => side(from) != side(to) && from != one && to != one,
            // Each sees its neighbours in a ring only.
            3 => (from + 1) % nodes != to && (to + 1) % nodes != from,
            // Two that do not see each other.
            4 => (from, to) == (one, other) || (to, from) == (one, other),
            // One that only hears.
            5 => from == one,
            // One that only speaks.
            6 => to == one,
            // Any set of directed links.
            _ => bits >> (from * nodes + to) & 1 == 1,
        };
        Deed::Cut { links: links(nodes, is_cut), lasts }
    }
}

/// The directed links of a cluster for which something holds.
pub(crate) fn links(nodes: usize, holds: impl Fn(usize, usize) -> bool) -> Vec<(usize, usize)> {
    let all = (0..nodes).flat_map(|from| (0..nodes).map(move |to| (from, to)));
    all.filter(|(from, to)| from != to && holds(*from, *to)).collect()
}
