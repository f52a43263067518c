//! What shards of different nodes say to each other. Any of it may be lost, doubled, delayed and
//! reordered; a connection that is full drops rather than waits.

use bytes::Bytes;
use model::ids::{GroupId, Seq, SessionId, ShardId};
use raft::{Index, Snapshot, Term};

/// A message from one node's shard to another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerMessage {
    /// For a group's node.
    Raft {
        /// The group.
        group: GroupId,
        /// The message; its receiver is the node it is sent to.
        message: raft::Message,
    },
    /// A sign of life, for every shard of the receiver.
    Pulse(Pulse),
    /// A part of a snapshot's transfer. Travels on a lane of its own, so that bulk delays nothing.
    Snapshot {
        /// The group.
        group: GroupId,
        /// The step.
        step: SnapshotStep,
    },
}

/// A shard's sign of life. Groups that are quiet rely on it: a leader's node that falls silent wakes
/// them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pulse {
    /// The sender's shard.
    pub shard: ShardId,
    /// How many shards the sender's node has: its groups are every so many of all.
    pub shards: u32,
    /// How much of what operators said the sender knows.
    pub intent: u64,
    /// Whether every group its shard hosts can commit and is caught up there.
    pub ready: bool,
    /// Whether the sender hands its leaderships over and takes none: operators want it relieved, it is
    /// about to stop, or it is not fit to lead.
    pub relieved: bool,
}

/// One step of a snapshot's transfer. The receiver pulls, so it sets the pace and can ask again for
/// whatever was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotStep {
    /// The sender has a snapshot for the receiver.
    Offer {
        /// Names this snapshot among the sender's.
        number: u64,
        /// The oldest entry it will end with; which one it is turns out when it is asked for.
        last: (Term, Index),
    },
    /// The receiver asks for the sessions' frames from this byte on.
    PullFrames {
        /// The snapshot.
        number: u64,
        /// The first byte: where a part ended that is here.
        offset: u64,
    },
    /// Some bytes of the frames.
    Frames {
        /// The snapshot.
        number: u64,
        /// Where they begin.
        offset: u64,
        /// The bytes.
        bytes: Bytes,
    },
    /// There are no more frames.
    FramesEnd {
        /// The snapshot.
        number: u64,
        /// How many bytes there were.
        offset: u64,
        /// What they stand for.
        head: Snapshot,
    },
    /// A replica asks another one for events.
    PullEvents {
        /// The snapshot, or what else the asker calls it.
        number: u64,
        /// Of which sessions, the most wanted first.
        wants: Vec<Want>,
    },
    /// What was asked for, in that order, as much of it as fits. Nothing, if the first of it cannot be
    /// given.
    Events {
        /// What the asker calls it.
        number: u64,
        /// The events.
        runs: Vec<Run>,
    },
    /// The receiver has what it needs, or does not want it.
    End {
        /// The snapshot.
        number: u64,
        /// Whether the receiver is now as far as the snapshot.
        installed: bool,
    },
    /// The sender has no such snapshot, or has it no more.
    Gone {
        /// The snapshot.
        number: u64,
    },
}

/// Events `(after, last]` of a session, wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// The session.
    pub session: SessionId,
    /// The last seq the asker has.
    pub after: Seq,
    /// The last seq it wants.
    pub last: Seq,
}

/// Consecutive events of one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The session.
    pub session: SessionId,
    /// The first event's seq.
    pub first: Seq,
    /// The events' JSON.
    pub events: Vec<Bytes>,
}

impl PeerMessage {
    /// Roughly what it holds in memory, for the byte bounds of queues.
    pub fn bytes(&self) -> usize {
        const FIXED: usize = 128;
        FIXED
            + match self {
                PeerMessage::Raft { message, .. } => message.bytes(),
                PeerMessage::Pulse(_) => 0,
                PeerMessage::Snapshot { step, .. } => match step {
                    SnapshotStep::Frames { bytes, .. } => bytes.len(),
                    SnapshotStep::PullEvents { wants, .. } => {
                        wants.iter().map(|want| want.session.as_str().len() + FIXED).sum()
                    }
                    SnapshotStep::Events { runs, .. } => {
                        let event = |event: &Bytes| event.len() + size_of::<Bytes>();
                        let run = |run: &Run| FIXED + run.events.iter().map(event).sum::<usize>();
                        runs.iter().map(run).sum()
                    }
                    SnapshotStep::Offer { .. }
                    | SnapshotStep::PullFrames { .. }
                    | SnapshotStep::FramesEnd { .. }
                    | SnapshotStep::End { .. }
                    | SnapshotStep::Gone { .. } => 0,
                },
            }
    }
}
