//! What happened in a run, by name: faults that were injected, and rare places that were reached. A
//! simulator that never meets them proves nothing.

use std::collections::BTreeMap;
use std::fmt;

use crate::nemesis::Act;

macro_rules! names {
    ($(#[$meta:meta])* $kind:ident { $($variant:ident $name:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum $kind {
            $(#[doc = $name] $variant,)*
        }

        impl $kind {
            /// All of them, in the order of the table.
            pub(crate) const ALL: &[$kind] = &[$($kind::$variant),*];

            /// The name in a summary.
            pub(crate) fn name(self) -> &'static str {
                match self { $($kind::$variant => $name),* }
            }
        }
    };
}

names! {
    /// A fault.
    Fault {
        LostMessage "message lost",
        DoubledMessage "message doubled",
        StraggledMessage "message held back",
        OvertakenMessage "message overtaken",
        CutMessage "message into a cut link",
        StaleMessage "message from an earlier life",
        Partition "partition",
        OneWay "one-way cut",
        Clog "link clogged",
        SlowLink "link slowed",
        Kill "process killed",
        PowerCut "power cut",
        PowerCutAll "power cut everywhere",
        LateWrite "write landed after the kill",
        TornWrite "write torn",
        LostWrite "unsynced write lost",
        LyingSync "sync that lied",
        WriteError "write or sync error",
        ReadError "read error",
        RotOnRead "rot in what was read",
        Rot "rot at rest",
        Misdirected "write misdirected",
        DiskFull "disk full",
        SlowDisk "disk slow",
        StuckDisk "disk stuck",
        PausedNode "node paused",
        StalledCore "core stalled",
        WallJump "wall clock jumped",
        WallFreeze "wall clock stood still",
        Drift "clock drifted",
        EmptiedDisk "disk emptied",
        Transfer "leadership transferred",
        MembershipChange "membership changed",
        Relief "node relieved",
        Ambush "ambush sprung",
    }
}

names! {
    /// A rare place.
    Reached {
        LeaderChanged "another leader",
        EntriesReplaced "entries replaced on a disk",
        TornTailCut "torn tail cut at start",
        UnknownOutcome "outcome unknown to a client",
        DedupedRetry "retry answered from memory",
        ConflictAnswered "conflict answered",
        VersionConflict "conflict of versions answered",
        Listed "sessions listed",
        RefusedBusy "refused for lack of room",
        ElsewhereHint "sent elsewhere by a hint",
        TailResumed "tail resumed",
        TailReplayed "events replayed to a tail",
        Checkpoint "checkpoint published",
        SegmentRecycled "segment recycled",
        SnapshotOffered "snapshot offered",
        SnapshotPart "part of a snapshot sent",
        SnapshotEnded "snapshot transfer ended",
        PreVote "pre-vote asked",
        VoteRefused "vote refused",
        AppendRejected "append rejected",
        ReadIndexAsked "read index asked by a follower",
        WentQuiet "group went quiet",
        TransferDone "leadership handed over",
        DoubtAsked "doubt asked",
        AstrayAsked "asked the way astray",
        JointMembership "joint membership",
        ReopenRefused "damaged node refused to start",
        AllDownAtOnce "all nodes down at once",
        NewcomerOutwritten "clients rest for a newcomer",
    }
}

/// How often each happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Counters {
    faults: Vec<u64>,
    reached: Vec<u64>,
    /// Kinds of planned faults that were there at the same time, and how often.
    overlaps: BTreeMap<(Act, Act), u64>,
}

impl Counters {
    /// Nothing has happened.
    pub(crate) fn new() -> Counters {
        Counters {
            faults: vec![0; Fault::ALL.len()],
            reached: vec![0; Reached::ALL.len()],
            overlaps: BTreeMap::new(),
        }
    }

    /// A fault happens.
    pub(crate) fn count(&mut self, fault: Fault) {
        self.faults[fault as usize] += 1;
    }

    /// A rare place is reached.
    pub(crate) fn reach(&mut self, place: Reached) {
        self.reached[place as usize] += 1;
    }

    /// Two kinds of planned faults are there at the same time, the smaller one named first.
    pub(crate) fn overlap(&mut self, one: Act, other: Act) {
        *self.overlaps.entry((one, other)).or_insert(0) += 1;
    }

    /// Pairs of kinds that were never there at the same time.
    pub(crate) fn pairs_missing(&self) -> Vec<(Act, Act)> {
        let all = Act::ALL.iter().enumerate();
        let pairs =
            all.flat_map(|(place, one)| Act::ALL[place..].iter().map(|other| (*one, *other)));
        pairs.filter(|pair| !self.overlaps.contains_key(pair)).collect()
    }

    /// It was reached so many times more.
    pub(crate) fn reach_times(&mut self, place: Reached, times: u64) {
        self.reached[place as usize] += times;
    }

    /// How often a fault happened.
    pub(crate) fn faults(&self, fault: Fault) -> u64 {
        self.faults[fault as usize]
    }

    /// How often a place was reached.
    pub(crate) fn reached(&self, place: Reached) -> u64 {
        self.reached[place as usize]
    }

    /// All faults.
    pub(crate) fn faults_total(&self) -> u64 {
        self.faults.iter().sum()
    }

    /// What happened in another run, too.
    pub(crate) fn add(&mut self, other: &Counters) {
        for (mine, theirs) in self.faults.iter_mut().zip(&other.faults) {
            *mine += theirs;
        }
        for (mine, theirs) in self.reached.iter_mut().zip(&other.reached) {
            *mine += theirs;
        }
        for (pair, times) in &other.overlaps {
            *self.overlaps.entry(*pair).or_insert(0) += times;
        }
    }
}

/// Pairs that are named if they never happened.
const PAIRS_SHOWN: usize = 20;

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in Fault::ALL {
            writeln!(f, "  fault    {:>12}  {}", self.faults(*fault), fault.name())?;
        }
        for place in Reached::ALL {
            writeln!(f, "  reached  {:>12}  {}", self.reached(*place), place.name())?;
        }
        let missing = self.pairs_missing();
        let all = Act::ALL.len() * (Act::ALL.len() + 1) / 2;
        let seen = all - missing.len();
        let least = if missing.is_empty() { self.overlaps.values().min() } else { None };
        let least = least.copied().unwrap_or_default();
        write!(f, "  {seen} of {all} pairs of planned faults overlapped, {least} times at least")?;
        if (1..=PAIRS_SHOWN).contains(&missing.len()) {
            let names = missing.iter().map(|(one, other)| (one.name(), other.name()));
            write!(f, "\n  never: {:?}", names.collect::<Vec<_>>())?;
        }
        Ok(())
    }
}
