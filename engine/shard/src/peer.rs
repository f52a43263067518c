//! What shards of different nodes say to each other. Any of it may be lost, doubled, delayed and
//! reordered; a connection that is full drops rather than waits.

use bytes::Bytes;
use model::ids::{GroupId, Seq, SessionId, ShardId};
use raft::Snapshot;

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
    /// Whether the sender hands its leaderships over and takes none: operators want it relieved, or it
    /// is about to stop.
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
        /// What it stands for.
        head: Snapshot,
        /// Bytes of the sessions' frames.
        frames: u64,
    },
    /// The receiver asks for frames from this byte on.
    PullFrames {
        /// The snapshot.
        number: u64,
        /// The first byte.
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
    /// The receiver asks for events of one session.
    PullEvents {
        /// The snapshot.
        number: u64,
        /// The session.
        session: SessionId,
        /// The last seq the receiver has.
        after: Seq,
        /// The last seq it wants.
        last: Seq,
    },
    /// Events of one session, without a hole.
    Events {
        /// The snapshot.
        number: u64,
        /// The session.
        session: SessionId,
        /// The first event's seq.
        first: Seq,
        /// The events' JSON.
        events: Vec<Bytes>,
    },
    /// The receiver has what it needs, or does not want it.
    End {
        /// The snapshot.
        number: u64,
        /// Whether the receiver is now as far as the snapshot.
        installed: bool,
    },
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
                    SnapshotStep::Events { events, .. } => {
                        events.iter().map(|event| event.len() + size_of::<Bytes>()).sum()
                    }
                    SnapshotStep::Offer { .. }
                    | SnapshotStep::PullFrames { .. }
                    | SnapshotStep::PullEvents { .. }
                    | SnapshotStep::End { .. } => 0,
                },
            }
    }
}
