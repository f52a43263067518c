//! Every kind of deed of a disk fails once, in every way it can, at every place of a script: the first
//! time, the second time, and so on. Whatever fails, the script must come to its end, everything that was
//! acknowledged must be there, and all nodes must have the same.

use raft::NodeId;
use shard::effect::DiskOp;

use crate::dice::{Concern, Dice};
use crate::enumerate::script::{Script, play};
use crate::enumerate::store::SECTOR_BYTES;
use crate::enumerate::trio::{Member, Moment, Strike, Watch};

/// Microseconds a slow deed takes: longer than an election, and than a leader's patience with its log.
const SLOW_MICROS: u64 = 1_300_000;
/// So many deeds in a row find no room.
const FULL_FOR: u64 = 6;

/// What a disk is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Deed {
    LogWrite,
    SegmentPrepare,
    SegmentRemove,
    FileWrite,
    FilePublish,
    FileRemove,
    FileRead,
}

impl Deed {
    fn of(op: &DiskOp) -> Deed {
        match op {
            DiskOp::LogWrite(_) => Deed::LogWrite,
            DiskOp::SegmentPrepare { .. } => Deed::SegmentPrepare,
            DiskOp::SegmentRemove { .. } => Deed::SegmentRemove,
            DiskOp::FileWrite { .. } => Deed::FileWrite,
            DiskOp::FilePublish { .. } => Deed::FilePublish,
            DiskOp::FileRemove { .. } => Deed::FileRemove,
            DiskOp::FileRead { .. } => Deed::FileRead,
        }
    }
}

/// How it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// An error before anything is done: the process ends.
    Write,
    /// An error when a part is done.
    Short,
    /// An error when all is done.
    Sync,
    /// There is no room, once.
    NoSpace,
    /// There is no room for a while.
    Full,
    /// It takes long.
    Slow,
    /// What is read is an error.
    Read,
    /// A bit of what is read is wrong.
    Rot,
    /// Every node loses its power at that moment.
    Power,
}

/// What fails, and how.
pub(crate) type Kind = (Deed, Way);

/// All there are.
pub(crate) const KINDS: [Kind; 22] = [
    (Deed::LogWrite, Way::Write),
    (Deed::LogWrite, Way::Short),
    (Deed::LogWrite, Way::Sync),
    (Deed::LogWrite, Way::Slow),
    (Deed::LogWrite, Way::Power),
    (Deed::SegmentPrepare, Way::Write),
    (Deed::SegmentPrepare, Way::Sync),
    (Deed::SegmentPrepare, Way::NoSpace),
    (Deed::SegmentPrepare, Way::Full),
    (Deed::SegmentPrepare, Way::Slow),
    (Deed::SegmentRemove, Way::Write),
    (Deed::SegmentRemove, Way::Sync),
    (Deed::FileWrite, Way::Write),
    (Deed::FileWrite, Way::NoSpace),
    (Deed::FileWrite, Way::Slow),
    (Deed::FilePublish, Way::Write),
    (Deed::FilePublish, Way::Sync),
    (Deed::FilePublish, Way::NoSpace),
    (Deed::FileRemove, Way::Write),
    (Deed::FileRemove, Way::Sync),
    (Deed::FileRead, Way::Read),
    (Deed::FileRead, Way::Rot),
];

/// Whoever lets the deed of a place fail.
#[derive(Debug)]
struct Striker {
    kind: Kind,
    place: u64,
    seen: u64,
    dice: Dice,
}

impl Watch for Striker {
    fn look(&mut self, _: Moment, _: NodeId, _: &Member) {}

    fn strike(&mut self, _: NodeId, op: &DiskOp) -> Option<Strike> {
        let (deed, way) = self.kind;
        if Deed::of(op) != deed {
            return None;
        }
        let place = self.seen;
        self.seen += 1;
        let hit = match way {
            Way::Full => (self.place..self.place + FULL_FOR).contains(&place),
            _ => place == self.place,
        };
        hit.then(|| self.blow(op))
    }
}

impl Striker {
    fn blow(&mut self, op: &DiskOp) -> Strike {
        let sectors = match op {
            DiskOp::LogWrite(write) => write.buffer.len() / SECTOR_BYTES,
            _ => 1,
        };
        match self.kind.1 {
            Way::Write => Strike::Fatal(0),
            Way::Short => Strike::Fatal(1 + self.dice.index(sectors - 1)),
            Way::Sync => Strike::Fatal(sectors),
            Way::NoSpace | Way::Full => Strike::NoSpace,
            Way::Slow => Strike::Slow(SLOW_MICROS),
            Way::Read => Strike::ReadError,
            Way::Rot => Strike::ReadRot,
            Way::Power => Strike::PowerCut,
        }
    }
}

/// How often a script does what a kind speaks of.
pub(crate) fn places(script: Script, kind: Kind) -> u64 {
    let mut player = play(script, Striker::new(script, kind, u64::MAX / 2));
    let findings = player.verdict();
    assert!(findings.is_empty(), "a script without failures comes to its end: {findings:?}");
    player.trio.watch.seen
}

/// What is wrong if the deed of a place fails.
pub(crate) fn fail(script: Script, kind: Kind, place: u64) -> Vec<String> {
    let mut player = play(script, Striker::new(script, kind, place));
    player.verdict()
}

impl Striker {
    fn new(script: Script, kind: Kind, place: u64) -> Striker {
        let dice = Dice::new(script.seed ^ place, Concern::Nemesis);
        Striker { kind, place, seen: 0, dice }
    }
}
