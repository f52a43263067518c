//! What can be wrong, by name.

use std::fmt;

macro_rules! kinds {
    ($($variant:ident $name:literal,)*) => {
        /// What is wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Kind {
            $(#[doc = $name] $variant,)*
        }

        impl Kind {
            /// The name in a report.
            pub fn name(self) -> &'static str {
                match self { $(Kind::$variant => $name),* }
            }
        }
    };
}

kinds! {
    // The log of a session.
    Hole "a seq is missing or doubled",
    Phantom "an event nobody wanted",
    Doubled "an event is there twice",
    Changed "an event was changed",
    Lost "an acknowledged event is not there",
    Moved "an acknowledged event is at another seq",
    Reordered "events are not in the order of real time",
    Undead "a refused event is there",
    TwoFirsts "an event was new twice",
    DedupeDiffers "a retry was answered with something that cannot be",
    ExpectedIgnored "an event is behind another head than it required",
    WrongConflict "a conflict with the head that was required",
    StaleRead "a read is older than what was known before",
    FutureRead "a read is newer than what was asked by then",
    ReadsBackward "a read is older than one before it",
    PageDiffers "a page is not what the log holds",
    TimeBackward "events' times run backward",
    ProducerOrder "events of a producer are not in its order",
    WrongRefusal "a refusal without a reason",
    SessionLost "an acknowledged session is not there",
    VersionWrong "a session's version is not what its changes make it",
    RowDiffers "two rows of one version differ",
    ListWrong "a list lacks a session or shows it wrongly",
    ReplicasDiffer "replicas hold different events",
    // Tails.
    TailGap "a tail missed an event",
    TailRepeat "a tail received an event again",
    TailDiffers "a tail received another event than the log holds",
    TailPhantom "a tail received what is not in the log",
    TailEarly "a tail received an event before it was wanted",
    // Raft, by the paper's names.
    ElectionSafety "Election Safety: two leaders in a term",
    LeaderAppendOnly "Leader Append-Only: a leader replaced its own entry",
    LogMatching "Log Matching: entries of one place and term differ",
    LeaderCompleteness "Leader Completeness: a leader lacks a committed entry",
    StateMachineSafety "State Machine Safety: different entries were committed at one place",
    VotedTwice "a node voted twice in a term",
    TermBackward "a node went back to an older term",
    SaidTooSoon "a node promised what was not durable",
    Forgotten "what was durable is gone after a restart",
    StateDiffers "equal logs, different state",
    CommitBackward "what was committed is not any more",
    CommittedTooSoon "what was called committed is not on a majority's disks",
    CountedOlder "a leader committed an entry of an older term by counting",
    ChangedTooSoon "members were changed before the leader knew what is committed, or during a change",
    SnapshotNamedTwice "two snapshots of a sender have one name",
    HandedToLagging "leadership was handed to a node that lacks what is committed",
    // Resources and life.
    BudgetExceeded "something is larger than its bound",
    NoLeader "no leader in time",
    NotRelieved "a node that is to be relieved leads",
    NotSettled "the members are not those that are configured, in time",
    NotCaughtUp "a replica did not catch up in time",
    Unanswered "a request was not answered in time",
    TailDead "a tail did not come to life in time",
    NotReady "a node did not become ready in time",
    CannotOpen "a node cannot open what a crash left",
}

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Its name.
    pub kind: Kind,
    /// Where, and what was found.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}: {}", self.kind, self.kind.name(), self.text)
    }
}

/// Everything found, at most so many of a kind.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Findings {
    found: Vec<Violation>,
}

/// One fault has many consequences; the first few of a kind say enough.
const FINDINGS_MAX: usize = 3;

impl Findings {
    /// Notes a violation.
    pub fn add(&mut self, kind: Kind, text: impl Into<String>) {
        let known = self.found.iter().filter(|violation| violation.kind == kind).count();
        if known < FINDINGS_MAX {
            self.found.push(Violation { kind, text: text.into() });
        }
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Whether a kind is among them.
    pub fn has(&self, kind: Kind) -> bool {
        self.found.iter().any(|violation| violation.kind == kind)
    }

    /// What was found, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Violation> {
        self.found.iter()
    }

    /// Takes over what another checker found.
    pub fn extend(&mut self, other: Findings) {
        for violation in other.found {
            self.add(violation.kind, violation.text);
        }
    }
}
