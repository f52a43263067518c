//! Bugs on purpose, each the opposite of one rule, at the place of that rule: to see that the tests find
//! it. Only there with the feature `sabotage`, which nothing that serves anybody enables.

use crate::node::Node;

/// A rule that is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// Votes and requests for them leave before they are durable.
    VoteBeforeDurable,
    /// Entries are acknowledged before they are durable.
    AcceptBeforeDurable,
    /// A leader counts its own entries before they are durable.
    CountOwnBeforeDurable,
    /// A receipt counts, although what it speaks of was replaced.
    CountStaleReceipt,
    /// A vote goes to whoever asks, however short the log.
    VoteForShorterLog,
    /// A vote goes to everybody who asks, in one term.
    VoteTwice,
    /// A node in doubt about its log votes and stands.
    VoteInDoubt,
    /// During a change of voters only the new ones elect.
    ElectByIncoming,
    /// A node that a change removes never stands, though its log may be the only one long enough.
    RemovedNeverStands,
    /// Entries of older terms are committed by counting.
    CountOlderTerms,
    /// Learners count when entries are committed.
    CountLearners,
    /// An append cuts off what follows its last entry, even if it comes late.
    CutBehindAppend,
    /// A follower commits as far as the leader says, even beyond what it shares with it.
    CommitBeyondMatched,
    /// A state that is taken over cuts off what follows it, although that is of the same history.
    CutBehindSnapshot,
    /// What follows a state that is taken over stays, although it is of another history.
    KeepBehindSnapshot,
    /// A follower whose log ends beneath the leader's memory, and disagrees there, is held to agree.
    AgreeAtFloor,
    /// A leader answers reads without asking whether it still leads.
    ReadWithoutRound,
    /// A leader answers reads before anything of its term is committed.
    ReadBeforeOwnCommit,
    /// A lease goes on when another was told to stand.
    LeaseDespiteTransfer,
    /// Voters change in one step.
    ChangeWithoutJoint,
    /// A change begins before anything of the leader's term is committed, and one of a single voter is
    /// made in one step: where the change is joint the first alone does no harm.
    ChangeBeforeOwnCommit,
    /// Replaced entries take no change of members with them.
    KeepTruncatedMembers,
    /// Whoever is to take over is told to stand before it has all there is.
    HandOverToLagging,
}

impl Sabotage {
    /// All of them.
    pub const ALL: [Sabotage; 23] = [
        Sabotage::VoteBeforeDurable,
        Sabotage::AcceptBeforeDurable,
        Sabotage::CountOwnBeforeDurable,
        Sabotage::CountStaleReceipt,
        Sabotage::VoteForShorterLog,
        Sabotage::VoteTwice,
        Sabotage::VoteInDoubt,
        Sabotage::ElectByIncoming,
        Sabotage::RemovedNeverStands,
        Sabotage::CountOlderTerms,
        Sabotage::CountLearners,
        Sabotage::CutBehindAppend,
        Sabotage::CommitBeyondMatched,
        Sabotage::CutBehindSnapshot,
        Sabotage::KeepBehindSnapshot,
        Sabotage::AgreeAtFloor,
        Sabotage::ReadWithoutRound,
        Sabotage::ReadBeforeOwnCommit,
        Sabotage::LeaseDespiteTransfer,
        Sabotage::ChangeWithoutJoint,
        Sabotage::ChangeBeforeOwnCommit,
        Sabotage::KeepTruncatedMembers,
        Sabotage::HandOverToLagging,
    ];
}

impl Node {
    pub(crate) fn breaks(&self, rule: Sabotage) -> bool {
        self.sabotage == Some(rule)
    }
}
