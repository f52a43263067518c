//! What shards of different nodes say to each other, as an archive that is read where it lies. The
//! frame around it carries the checksum and the seal, which are compared before anything is read.
//!
//! The order of variants and fields is the layout: golden bytes in the tests keep it from changing
//! unseen. Another layout is another version in the handshake.

use std::sync::Arc;

use bytes::Bytes;
use model::cluster::MemberId;
use model::ids::{GroupId, Seq, SessionId, ShardId};
use raft::{Body, Content, Entry, Index, Life, Membership, Message, NodeId, Snapshot, Term};
use rkyv::rancor::Error;
use rkyv::with::{InlineAsBox, Map};
use rkyv::{Archive, Serialize};
use shard::peer::{PeerMessage, Pulse, Run, SnapshotStep, Want};

/// Messages of one frame.
#[derive(Debug, Archive, Serialize)]
struct WireBatch<'a> {
    messages: Vec<WireMessage<'a>>,
}

#[derive(Debug, Archive, Serialize)]
enum WireMessage<'a> {
    Raft { group: u32, term: u64, body: WireBody<'a> },
    Pulse { shard: u32, shards: u32, intent: u64, ready: bool, relieved: bool },
    Snapshot { group: u32, step: WireStep<'a> },
}

/// A place in a log.
#[derive(Debug, Clone, Copy, Archive, Serialize)]
struct WirePlace {
    term: u64,
    index: u64,
}

#[derive(Debug, Archive, Serialize)]
struct WireEntry<'a> {
    term: u64,
    index: u64,
    content: WireContent<'a>,
}

#[derive(Debug, Archive, Serialize)]
enum WireContent<'a> {
    Begin,
    Command(#[rkyv(with = InlineAsBox)] &'a [u8]),
    Membership(WireMembership),
}

#[derive(Debug, Archive, Serialize)]
struct WireMembership {
    voters: Vec<u64>,
    outgoing: Vec<u64>,
    learners: Vec<u64>,
}

#[derive(Debug, Archive, Serialize)]
enum WireBody<'a> {
    PreVoteRequest { last: WirePlace },
    PreVoteReply { granted: bool },
    VoteRequest { last: WirePlace, transferred: bool },
    VoteReply { granted: bool },
    Append { previous: WirePlace, entries: Vec<WireEntry<'a>>, committed: u64, round: u64 },
    AppendAccepted { matched: u64, round: u64 },
    AppendRejected { previous: u64, hint: WirePlace, round: u64 },
    Rest { last: WirePlace },
    ReadRequest { context: u64 },
    ReadReply { context: u64, index: Option<u64> },
    TimeoutNow,
    Doubt { last: WirePlace, life: u64 },
    DoubtReply { remembered: u64, last: WirePlace, life: u64, voters: Vec<u64> },
    Astray { node: u64 },
}

#[derive(Debug, Archive, Serialize)]
enum WireStep<'a> {
    Offer {
        number: u64,
        last: WirePlace,
    },
    PullFrames {
        number: u64,
        offset: u64,
    },
    Frames {
        number: u64,
        offset: u64,
        #[rkyv(with = InlineAsBox)]
        bytes: &'a [u8],
    },
    FramesEnd {
        number: u64,
        offset: u64,
        last: WirePlace,
        membership: WireMembership,
    },
    PullEvents {
        number: u64,
        wants: Vec<WireWant<'a>>,
    },
    Events {
        number: u64,
        runs: Vec<WireRun<'a>>,
    },
    End {
        number: u64,
        installed: bool,
    },
    Gone {
        number: u64,
    },
}

#[derive(Debug, Archive, Serialize)]
struct WireWant<'a> {
    #[rkyv(with = InlineAsBox)]
    session: &'a str,
    after: u64,
    last: u64,
}

#[derive(Debug, Archive, Serialize)]
struct WireRun<'a> {
    #[rkyv(with = InlineAsBox)]
    session: &'a str,
    first: u64,
    #[rkyv(with = Map<InlineAsBox>)]
    events: Vec<&'a [u8]>,
}

/// Writes messages to the end of a vector, as one archive.
pub(crate) fn encode(messages: &[PeerMessage], out: &mut Vec<u8>) {
    let batch = WireBatch { messages: messages.iter().map(WireMessage::from).collect() };
    let vec = std::mem::take(out);
    *out = rkyv::api::high::to_bytes_in::<_, Error>(&batch, vec)
        .expect("messages hold nothing that cannot be archived in memory");
}

/// Reads an archive of messages that `from` sent to `to`, and gives them one by one.
///
/// # Errors
/// What is wrong with it: the sender is another program, or breaks the protocol.
pub(crate) fn decode(
    archive: &[u8],
    from: MemberId,
    to: MemberId,
    mut each: impl FnMut(PeerMessage) -> Result<(), &'static str>,
) -> Result<(), &'static str> {
    const DAMAGED: &str = "its messages cannot be read";
    let batch = rkyv::access::<ArchivedWireBatch<'_>, Error>(archive).map_err(|_| DAMAGED)?;
    let ends = Ends { from: NodeId(from.0), to: NodeId(to.0) };
    for message in batch.messages.iter() {
        each(ends.message(message).ok_or(DAMAGED)?)?;
    }
    Ok(())
}

impl<'a> From<&'a PeerMessage> for WireMessage<'a> {
    fn from(message: &'a PeerMessage) -> WireMessage<'a> {
        match message {
            PeerMessage::Raft { group, message } => WireMessage::Raft {
                group: group.0,
                term: message.term.0,
                body: WireBody::from(&message.body),
            },
            PeerMessage::Pulse(Pulse { shard, shards, intent, ready, relieved }) => {
                let (intent, ready, relieved) = (*intent, *ready, *relieved);
                WireMessage::Pulse { shard: shard.0, shards: *shards, intent, ready, relieved }
            }
            PeerMessage::Snapshot { group, step } => {
                WireMessage::Snapshot { group: group.0, step: WireStep::from(step) }
            }
        }
    }
}

impl From<(Term, Index)> for WirePlace {
    fn from((term, index): (Term, Index)) -> WirePlace {
        WirePlace { term: term.0, index: index.0 }
    }
}

impl From<&Membership> for WireMembership {
    fn from(membership: &Membership) -> WireMembership {
        let ids = |list: &[NodeId]| list.iter().map(|id| id.0).collect();
        WireMembership {
            voters: ids(&membership.voters),
            outgoing: ids(&membership.outgoing),
            learners: ids(&membership.learners),
        }
    }
}

impl<'a> From<&'a Entry> for WireEntry<'a> {
    fn from(entry: &'a Entry) -> WireEntry<'a> {
        let content = match &entry.content {
            Content::Begin => WireContent::Begin,
            Content::Command(payload) => WireContent::Command(payload),
            Content::Membership(membership) => {
                WireContent::Membership(WireMembership::from(&**membership))
            }
        };
        WireEntry { term: entry.term.0, index: entry.index.0, content }
    }
}

impl<'a> From<&'a Body> for WireBody<'a> {
    fn from(body: &'a Body) -> WireBody<'a> {
        match body {
            Body::PreVoteRequest { last } => WireBody::PreVoteRequest { last: (*last).into() },
            Body::PreVoteReply { granted } => WireBody::PreVoteReply { granted: *granted },
            Body::VoteRequest { last, transferred } => {
                WireBody::VoteRequest { last: (*last).into(), transferred: *transferred }
            }
            Body::VoteReply { granted } => WireBody::VoteReply { granted: *granted },
            Body::Append { previous, entries, committed, round } => WireBody::Append {
                previous: (*previous).into(),
                entries: entries.iter().map(WireEntry::from).collect(),
                committed: committed.0,
                round: *round,
            },
            Body::AppendAccepted { matched, round } => {
                WireBody::AppendAccepted { matched: matched.0, round: *round }
            }
            Body::AppendRejected { previous, hint, round } => WireBody::AppendRejected {
                previous: previous.0,
                hint: (*hint).into(),
                round: *round,
            },
            Body::Rest { last } => WireBody::Rest { last: (*last).into() },
            Body::ReadRequest { context } => WireBody::ReadRequest { context: *context },
            Body::ReadReply { context, index } => {
                WireBody::ReadReply { context: *context, index: index.map(|index| index.0) }
            }
            Body::TimeoutNow => WireBody::TimeoutNow,
            Body::Doubt { life, last } => WireBody::Doubt { life: life.0, last: (*last).into() },
            Body::DoubtReply { life, remembered, last, voters } => WireBody::DoubtReply {
                voters: voters.iter().map(|id| id.0).collect(),
                life: life.0,
                remembered: remembered.0,
                last: (*last).into(),
            },
            Body::Astray { node } => WireBody::Astray { node: node.0 },
        }
    }
}

impl<'a> From<&'a SnapshotStep> for WireStep<'a> {
    fn from(step: &'a SnapshotStep) -> WireStep<'a> {
        match step {
            SnapshotStep::Offer { number, last } => {
                WireStep::Offer { number: *number, last: (*last).into() }
            }
            SnapshotStep::PullFrames { number, offset } => {
                WireStep::PullFrames { number: *number, offset: *offset }
            }
            SnapshotStep::Frames { number, offset, bytes } => {
                WireStep::Frames { number: *number, offset: *offset, bytes }
            }
            SnapshotStep::FramesEnd { number, offset, head } => WireStep::FramesEnd {
                number: *number,
                offset: *offset,
                last: head.last.into(),
                membership: WireMembership::from(&*head.membership),
            },
            SnapshotStep::PullEvents { number, wants } => WireStep::PullEvents {
                number: *number,
                wants: wants.iter().map(WireWant::from).collect(),
            },
            SnapshotStep::Events { number, runs } => {
                WireStep::Events { number: *number, runs: runs.iter().map(WireRun::from).collect() }
            }
            SnapshotStep::End { number, installed } => {
                WireStep::End { number: *number, installed: *installed }
            }
            SnapshotStep::Gone { number } => WireStep::Gone { number: *number },
        }
    }
}

impl<'a> From<&'a Want> for WireWant<'a> {
    fn from(want: &'a Want) -> WireWant<'a> {
        let Want { session, after, last } = want;
        WireWant { session: session.as_str(), after: after.0, last: last.0 }
    }
}

impl<'a> From<&'a Run> for WireRun<'a> {
    fn from(run: &'a Run) -> WireRun<'a> {
        let events = run.events.iter().map(|event| &event[..]).collect();
        WireRun { session: run.session.as_str(), first: run.first.0, events }
    }
}

/// Between whom messages go: a connection's ends, not what a message says of itself.
#[derive(Debug, Clone, Copy)]
struct Ends {
    from: NodeId,
    to: NodeId,
}

impl Ends {
    fn message(self, wire: &ArchivedWireMessage<'_>) -> Option<PeerMessage> {
        Some(match wire {
            ArchivedWireMessage::Raft { group, term, body } => PeerMessage::Raft {
                group: GroupId(group.to_native()),
                message: Message {
                    from: self.from,
                    to: self.to,
                    term: Term(term.to_native()),
                    body: raft_body(body),
                },
            },
            ArchivedWireMessage::Pulse { shard, shards, intent, ready, relieved } => {
                PeerMessage::Pulse(Pulse {
                    shard: ShardId(shard.to_native()),
                    shards: shards.to_native(),
                    intent: intent.to_native(),
                    ready: *ready,
                    relieved: *relieved,
                })
            }
            ArchivedWireMessage::Snapshot { group, step } => PeerMessage::Snapshot {
                group: GroupId(group.to_native()),
                step: snapshot_step(step)?,
            },
        })
    }
}

fn place(wire: &ArchivedWirePlace) -> (Term, Index) {
    (Term(wire.term.to_native()), Index(wire.index.to_native()))
}

fn membership(wire: &ArchivedWireMembership) -> Arc<Membership> {
    Arc::new(Membership {
        voters: ids(&wire.voters),
        outgoing: ids(&wire.outgoing),
        learners: ids(&wire.learners),
    })
}

fn ids(wire: &[rkyv::rend::unaligned::u64_ule]) -> Vec<NodeId> {
    wire.iter().map(|id| NodeId(id.to_native())).collect()
}

fn entry(wire: &ArchivedWireEntry<'_>) -> Entry {
    let content = match &wire.content {
        ArchivedWireContent::Begin => Content::Begin,
        ArchivedWireContent::Command(payload) => Content::Command(Arc::from(&payload[..])),
        ArchivedWireContent::Membership(members) => Content::Membership(membership(members)),
    };
    Entry { term: Term(wire.term.to_native()), index: Index(wire.index.to_native()), content }
}

fn raft_body(wire: &ArchivedWireBody<'_>) -> Body {
    use ArchivedWireBody as W;
    match wire {
        W::PreVoteRequest { last } => Body::PreVoteRequest { last: place(last) },
        W::PreVoteReply { granted } => Body::PreVoteReply { granted: *granted },
        W::VoteRequest { last, transferred } => {
            Body::VoteRequest { last: place(last), transferred: *transferred }
        }
        W::VoteReply { granted } => Body::VoteReply { granted: *granted },
        W::Append { previous, entries, committed, round } => Body::Append {
            previous: place(previous),
            entries: entries.iter().map(entry).collect(),
            committed: Index(committed.to_native()),
            round: round.to_native(),
        },
        W::AppendAccepted { matched, round } => {
            Body::AppendAccepted { matched: Index(matched.to_native()), round: round.to_native() }
        }
        W::AppendRejected { previous, hint, round } => Body::AppendRejected {
            previous: Index(previous.to_native()),
            hint: place(hint),
            round: round.to_native(),
        },
        W::Rest { last } => Body::Rest { last: place(last) },
        W::ReadRequest { context } => Body::ReadRequest { context: context.to_native() },
        W::ReadReply { context, index } => Body::ReadReply {
            context: context.to_native(),
            index: index.as_ref().map(|index| Index(index.to_native())),
        },
        W::TimeoutNow => Body::TimeoutNow,
        W::Doubt { life, last } => Body::Doubt { life: Life(life.to_native()), last: place(last) },
        W::DoubtReply { life, remembered, last, voters } => Body::DoubtReply {
            voters: ids(voters),
            life: Life(life.to_native()),
            remembered: Index(remembered.to_native()),
            last: place(last),
        },
        W::Astray { node } => Body::Astray { node: NodeId(node.to_native()) },
    }
}

/// `None` if a session has no name.
fn snapshot_step(wire: &ArchivedWireStep<'_>) -> Option<SnapshotStep> {
    use ArchivedWireStep as W;
    Some(match wire {
        W::Offer { number, last } => {
            SnapshotStep::Offer { number: number.to_native(), last: place(last) }
        }
        W::PullFrames { number, offset } => {
            SnapshotStep::PullFrames { number: number.to_native(), offset: offset.to_native() }
        }
        W::Frames { number, offset, bytes } => SnapshotStep::Frames {
            number: number.to_native(),
            offset: offset.to_native(),
            bytes: Bytes::copy_from_slice(bytes),
        },
        W::FramesEnd { number, offset, last, membership: members } => SnapshotStep::FramesEnd {
            number: number.to_native(),
            offset: offset.to_native(),
            head: Snapshot { last: place(last), membership: membership(members) },
        },
        W::PullEvents { number, wants } => SnapshotStep::PullEvents {
            number: number.to_native(),
            wants: wants.iter().map(want).collect::<Option<_>>()?,
        },
        W::Events { number, runs } => SnapshotStep::Events {
            number: number.to_native(),
            runs: runs.iter().map(run).collect::<Option<_>>()?,
        },
        W::End { number, installed } => {
            SnapshotStep::End { number: number.to_native(), installed: *installed }
        }
        W::Gone { number } => SnapshotStep::Gone { number: number.to_native() },
    })
}

fn want(wire: &ArchivedWireWant<'_>) -> Option<Want> {
    Some(Want {
        session: SessionId::new(&*wire.session)?,
        after: Seq(wire.after.to_native()),
        last: Seq(wire.last.to_native()),
    })
}

fn run(wire: &ArchivedWireRun<'_>) -> Option<Run> {
    Some(Run {
        session: SessionId::new(&*wire.session)?,
        first: Seq(wire.first.to_native()),
        events: wire.events.iter().map(|event| Bytes::copy_from_slice(event)).collect(),
    })
}
