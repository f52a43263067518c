//! What the checker of Raft's promises is told: each message as it leaves, each batch of a log as it
//! becomes durable.

use std::sync::Arc;

use model::limits::BLOCK_BYTES;
use raft::{Body, Content, Entry, Index, Message, NodeId, Term};
use shard::effect::LogWrite;
use shard::membership::read_membership;
use shard::wal::format::Batch;
use shard::wal::{LogIdentity, Record, RecordKind};

use crate::count::{Counters, Reached};
use crate::dice::Digest;
use crate::invariants::{Court, Seen, UNKNOWN};

/// A node's message leaves.
pub(crate) fn said(court: &mut Court, group: u32, message: &Message, counters: &mut Counters) {
    let Message { from, to, term, body } = message;
    let (from, to, term) = (*from, *to, *term);
    match body {
        Body::Append { previous, entries, committed, .. } => {
            for entry in entries {
                if let Content::Membership(members) = &entry.content {
                    if members.is_joint() {
                        counters.reach(Reached::JointMembership);
                    }
                    court.membership(group, (entry.index, entry.term), members);
                }
            }
            let is_change = |entry: &&Entry| {
                entry.term == term && matches!(entry.content, Content::Membership(_))
            };
            let changes = entries.iter().filter(is_change);
            let entries: Vec<Seen> = entries.iter().map(seen).collect();
            court.promises(group, term, from);
            court.append(group, (term, from), *previous, (&entries, *committed));
            for entry in changes {
                court.changes(group, term, entry.index, *committed);
            }
        }
        Body::VoteRequest { .. } => court.stands(group, term, from),
        Body::VoteReply { granted } => {
            court.promises(group, term, from);
            if *granted {
                court.votes(group, term, from, to);
            } else {
                counters.reach(Reached::VoteRefused);
            }
        }
        Body::AppendAccepted { matched, .. } => {
            court.promises(group, term, from);
            court.accepts(group, term, from, *matched);
        }
        Body::AppendRejected { .. } => counters.reach(Reached::AppendRejected),
        Body::PreVoteRequest { .. } => counters.reach(Reached::PreVote),
        Body::Rest { last } => {
            court.leads(group, term, from);
            court.tells(group, last.1);
            counters.reach(Reached::WentQuiet);
        }
        Body::ReadRequest { .. } => counters.reach(Reached::ReadIndexAsked),
        Body::TimeoutNow => {
            court.leads(group, term, from);
            court.hands_over(group, term, to);
            counters.reach(Reached::TransferDone);
        }
        Body::Doubt { .. } => counters.reach(Reached::DoubtAsked),
        Body::Astray { .. } => counters.reach(Reached::AstrayAsked),
        Body::PreVoteReply { .. } | Body::ReadReply { .. } | Body::DoubtReply { .. } => {}
    }
}

/// A batch leaves for a node's disk, and may reach it whatever becomes of the node: the members it names
/// may come to count though nobody else ever hears of them.
pub(crate) fn may_be_written(court: &mut Court, identity: LogIdentity, write: &LogWrite) {
    for_each_record(identity, write, |record| {
        if let RecordKind::Membership { term, index, payload } = record.kind {
            let members = read_membership(payload).expect("a shard writes what it can read");
            court.membership(record.group.0, (Index(index), Term(term)), &Arc::new(members));
        }
    });
}

/// Looks at what a batch says, as whoever opens the log would read it.
pub(crate) fn for_each_record(
    identity: LogIdentity,
    write: &LogWrite,
    mut look: impl FnMut(&Record<'_>),
) {
    let offset = usize::try_from(write.offset).expect("an offset fits the memory");
    assert!(offset.is_multiple_of(BLOCK_BYTES), "a batch begins a block");
    let mut image = vec![0; offset];
    image.extend_from_slice(write.buffer.as_slice());
    let batch = Batch::read(identity, write.segment, &image, offset);
    let batch = batch.expect("a shard writes what it can read");
    for record in batch.records() {
        look(&record.expect("a shard writes what it can read"));
    }
}

fn seen(entry: &Entry) -> Seen {
    let digest = match &entry.content {
        Content::Command(payload) => Digest::of(payload),
        Content::Begin | Content::Membership(_) => UNKNOWN,
    };
    Seen { term: entry.term, index: entry.index, digest }
}

/// A batch that a node believes to be durable: what is in it, in order.
#[derive(Debug)]
pub(crate) struct Durable {
    records: Vec<(u32, Written)>,
}

#[derive(Debug)]
enum Written {
    Entry(Seen),
    Hard(Term, Option<NodeId>),
    Restart(Term, Index),
    /// An entry that is there already.
    Again,
}

impl Durable {
    /// Reads a batch as it was handed to the disk.
    pub(crate) fn read(identity: LogIdentity, write: &LogWrite) -> Durable {
        let mut records = Vec::new();
        for_each_record(identity, write, |record| {
            records.push((record.group.0, written(&record.kind)));
        });
        Durable { records }
    }

    /// Tells the court.
    pub(crate) fn tell(self, court: &mut Court, id: NodeId) {
        for (group, written) in self.records {
            match written {
                Written::Entry(entry) => court.wrote(group, id, &entry),
                Written::Hard(term, vote) => court.hard_state(group, id, (term, vote)),
                Written::Again => {}
                Written::Restart(term, index) => court.restart(group, id, (term, index)),
            }
        }
    }
}

fn written(kind: &RecordKind<'_>) -> Written {
    match kind {
        RecordKind::Entry { term, index, .. } | RecordKind::Membership { term, index, .. } => {
            let (term, index) = (Term(*term), Index(*index));
            Written::Entry(Seen { term, index, digest: UNKNOWN })
        }
        RecordKind::EntryAgain { .. } | RecordKind::MembershipAgain { .. } => Written::Again,
        RecordKind::HardState { term, vote } => Written::Hard(Term(*term), vote.map(NodeId)),
        RecordKind::Snapshot { term, index, .. } => Written::Restart(Term(*term), Index(*index)),
    }
}

/// A step of a snapshot's transfer leaves.
pub(crate) fn stepped(step: &shard::peer::SnapshotStep, counters: &mut Counters) {
    use shard::peer::SnapshotStep;
    match step {
        SnapshotStep::Offer { .. } => counters.reach(Reached::SnapshotOffered),
        SnapshotStep::End { .. } => counters.reach(Reached::SnapshotEnded),
        SnapshotStep::Frames { .. } | SnapshotStep::Events { .. } => {
            counters.reach(Reached::SnapshotPart);
        }
        SnapshotStep::PullFrames { .. }
        | SnapshotStep::FramesEnd { .. }
        | SnapshotStep::PullEvents { .. }
        | SnapshotStep::Gone { .. } => {}
    }
}
