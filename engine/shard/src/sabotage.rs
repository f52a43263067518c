//! Bugs on purpose, each the opposite of one rule, at the place of that rule: to see that the simulator
//! finds it. Only there with the feature `sabotage`, which nothing that serves anybody enables.

/// A rule that is broken, here or in consensus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// A rule of Raft.
    Raft(raft::Sabotage),
    /// What a node promises leaves before its batch is durable.
    SayBeforeDurable,
    /// A node is told that its batch is durable when it is only handed to the disk.
    BelieveBeforeDurable,
    /// A request is answered as done though another entry took its entry's place.
    AnswerReplaced,
    /// Reads are answered from what is applied, however old.
    AnswerWithoutRound,
    /// A leader refuses commands for sessions it does not know, without asking whether it still leads.
    RefuseWithoutRound,
    /// The log lets segments go when a flush begins, not when its checkpoint is durable.
    ReleaseBeforeCheckpoint,
    /// Term and vote in a checkpoint are forgotten where the log has older ones.
    ForgetPromises,
    /// A snapshot's file names only the chunk it came with, not those of an earlier snapshot.
    NameOwnChunkOnly,
    /// Snapshots are numbered anew in each life.
    RepeatSnapshotNumbers,
    /// A snapshot lacks what retries are recognized by.
    ForgetProducers,
    /// A receiver of a snapshot fetches only events it has not applied: those in memory are on no disk
    /// once the log restarts behind the snapshot.
    TrustMemory,
}

impl Sabotage {
    /// All of the shard's own.
    pub const OWN: [Sabotage; 11] = [
        Sabotage::SayBeforeDurable,
        Sabotage::BelieveBeforeDurable,
        Sabotage::AnswerReplaced,
        Sabotage::AnswerWithoutRound,
        Sabotage::RefuseWithoutRound,
        Sabotage::ReleaseBeforeCheckpoint,
        Sabotage::ForgetPromises,
        Sabotage::NameOwnChunkOnly,
        Sabotage::RepeatSnapshotNumbers,
        Sabotage::ForgetProducers,
        Sabotage::TrustMemory,
    ];

    /// All that can show in a whole cluster. A shard uses no lease. And what lies behind a state that is
    /// taken over, and continues it, is there only between an append and the news of its commit, from a
    /// new leader that knows less of what is committed than the old one did: consensus alone is
    /// tested for these two.
    pub fn all() -> impl Iterator<Item = Sabotage> {
        use raft::Sabotage::{CutBehindSnapshot, LeaseDespiteTransfer};
        let shows =
            |rule: &raft::Sabotage| ![CutBehindSnapshot, LeaseDespiteTransfer].contains(rule);
        let of_raft = raft::Sabotage::ALL.into_iter().filter(shows);
        of_raft.map(Sabotage::Raft).chain(Sabotage::OWN)
    }
}
