use std::sync::Arc;

use bytes::Bytes;
use expect_test::expect;
use model::cluster::MemberId;
use model::ids::{GroupId, Seq, SessionId, ShardId};
use proptest::prelude::*;
use raft::{Body, Content, Entry, Index, Life, Membership, Message, NodeId, Snapshot, Term};
use shard::peer::{PeerMessage, Pulse, Run, SnapshotStep, Want};

use crate::peer::wire::{decode, encode};

pub(super) const FROM: MemberId = MemberId(0x0102_0304_0506_0708);
pub(super) const TO: MemberId = MemberId(9);

fn members() -> Arc<Membership> {
    let ids = |ids: &[u64]| ids.iter().map(|id| NodeId(*id)).collect();
    Arc::new(Membership {
        voters: ids(&[1, 2, 3]),
        outgoing: ids(&[1]),
        learners: ids(&[u64::MAX]),
    })
}

fn raft(term: u64, body: Body) -> PeerMessage {
    let message = Message { from: NodeId(FROM.0), to: NodeId(TO.0), term: Term(term), body };
    PeerMessage::Raft { group: GroupId(255), message }
}

fn snapshot(step: SnapshotStep) -> PeerMessage {
    PeerMessage::Snapshot { group: GroupId(3), step }
}

fn entry(index: u64, content: Content) -> Entry {
    Entry { term: Term(4), index: Index(index), content }
}

/// One of each kind.
pub(super) fn samples() -> Vec<PeerMessage> {
    let last = (Term(4), Index(17));
    let session = SessionId::new("ses_1").unwrap();
    let entries = vec![
        entry(18, Content::Begin),
        entry(19, Content::Command(Arc::from(&b"a command"[..]))),
        entry(20, Content::Command(Arc::from(&b""[..]))),
        entry(21, Content::Membership(members())),
    ];
    let (round, life) = (1 << 40, Life(79));
    let mut samples: Vec<PeerMessage> = vec![
        Body::PreVoteRequest { last },
        Body::PreVoteReply { granted: true },
        Body::VoteRequest { last, transferred: true },
        Body::VoteReply { granted: false },
        Body::Append { previous: last, entries, committed: Index(16), round },
        Body::Append { previous: last, entries: Vec::new(), committed: Index(0), round },
        Body::AppendAccepted { matched: Index(21), round },
        Body::AppendRejected { previous: Index(17), hint: (Term(3), Index(9)), round },
        Body::Rest { last },
        Body::ReadRequest { context: 77 },
        Body::ReadReply { context: 77, index: Some(Index(5)) },
        Body::ReadReply { context: 78, index: None },
        Body::TimeoutNow,
        Body::Doubt { life, last },
        Body::DoubtReply { life, remembered: Index(18), last, voters: members().voters.clone() },
        Body::Astray { node: NodeId(8) },
    ]
    .into_iter()
    .map(|body| raft(5, body))
    .collect();
    samples.push(PeerMessage::Pulse(Pulse {
        shard: ShardId(1),
        shards: 2,
        intent: 99,
        ready: true,
        relieved: true,
    }));
    let number = 12;
    samples.extend(
        [
            SnapshotStep::Offer { number, last },
            SnapshotStep::PullFrames { number, offset: 4096 },
            SnapshotStep::Frames { number, offset: 4096, bytes: Bytes::from_static(b"frames") },
            SnapshotStep::FramesEnd {
                number,
                offset: 1 << 33,
                head: Snapshot { last, membership: members() },
            },
            SnapshotStep::PullEvents {
                number,
                wants: vec![
                    Want { session: session.clone(), after: Seq(0), last: Seq(9) },
                    Want { session: session.clone(), after: Seq(7), last: Seq(8) },
                ],
            },
            SnapshotStep::Events {
                number,
                runs: vec![Run {
                    session,
                    first: Seq(1),
                    events: vec![Bytes::from_static(b"{}"), Bytes::new()],
                }],
            },
            SnapshotStep::Events { number, runs: Vec::new() },
            SnapshotStep::End { number, installed: true },
            SnapshotStep::Gone { number },
        ]
        .map(snapshot),
    );
    samples
}

pub(super) fn encoded(messages: &[PeerMessage]) -> Vec<u8> {
    let mut out = Vec::new();
    encode(messages, &mut out);
    out
}

pub(super) fn decoded(archive: &[u8]) -> Result<Vec<PeerMessage>, &'static str> {
    let mut messages = Vec::new();
    decode(archive, FROM, TO, |message| {
        messages.push(message);
        Ok(())
    })?;
    Ok(messages)
}

#[test]
fn messages_come_back_as_they_were() {
    for message in samples() {
        let one = [message];
        assert_eq!(decoded(&encoded(&one)).as_deref(), Ok(&one[..]));
    }
    assert_eq!(decoded(&encoded(&samples())), Ok(samples()));
    assert_eq!(decoded(&encoded(&[])), Ok(Vec::new()));
}

#[test]
fn an_archive_is_read_wherever_it_lies() {
    for place in 0..16 {
        let mut out = vec![0xee; place];
        encode(&samples(), &mut out);
        assert_eq!(out[..place], vec![0xee; place]);
        assert_eq!(decoded(&out[place..]), Ok(samples()), "at {place}");
    }
}

#[test]
fn messages_are_from_the_connection_s_ends() {
    let archive = encoded(&[raft(1, Body::TimeoutNow)]);
    let other = MemberId(77);
    let mut seen = Vec::new();
    let read = decode(&archive, other, FROM, |message| {
        seen.push(message);
        Ok(())
    });
    assert_eq!(read, Ok(()));
    let message =
        Message { from: NodeId(77), to: NodeId(FROM.0), term: Term(1), body: Body::TimeoutNow };
    assert_eq!(seen, [PeerMessage::Raft { group: GroupId(255), message }]);
}

#[test]
fn the_reader_may_stop() {
    let mut read = 0;
    let outcome = decode(&encoded(&samples()), FROM, TO, |_| {
        read += 1;
        if read == 3 { Err("enough") } else { Ok(()) }
    });
    assert_eq!((outcome, read), (Err("enough"), 3));
}

#[test]
fn a_session_has_a_name() {
    let name = b"ses_1";
    let mut archive = encoded(&[snapshot(SnapshotStep::PullEvents {
        number: 1,
        wants: vec![Want {
            session: SessionId::new("ses_1").unwrap(),
            after: Seq(0),
            last: Seq(0),
        }],
    })]);
    let at = archive.windows(name.len()).position(|window| window == name).unwrap();
    archive[at] = 0xff;
    assert!(decoded(&archive).is_err(), "not UTF-8");
}

/// Neighbouring versions of the program depend on it.
#[test]
fn the_layout_does_not_change() {
    let digest = blake3::hash(&encoded(&samples())).to_hex();
    expect!["e9054f12dc21a6ed1207d40ab4f93576989246cc3b0dfbdeb5f0dfa9eceb98b0"].assert_eq(&digest);
    let hex = |message: PeerMessage| {
        encoded(&[message]).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    expect!["00ff000000050000000000000005150000000000000003000000000000000000000000000000000000000000000000000000000000000000000000000000c2ffffff01000000"].assert_eq(&hex(raft(5, Body::AppendAccepted { matched: Index(21), round: 3 })));
    let entries = vec![entry(1, Content::Command(Arc::from(&b"command"[..])))];
    let append =
        Body::Append { previous: (Term(1), Index(0)), entries, committed: Index(0), round: 3 };
    expect!["636f6d6d616e640400000000000000010000000000000001e8ffffff070000000000000000000000000000000000000000ff00000005000000000000000401000000000000000000000000000000b9ffffff01000000000000000000000003000000000000000000000000000000c2ffffff01000000"].assert_eq(&hex(raft(5, append)));
}

#[test]
fn cut_archives_are_refused_or_read_without_harm() {
    let whole = encoded(&samples());
    for length in 0..whole.len() {
        // The root lies at the end: what is found there instead may by chance be an empty list.
        let _ = decoded(&whole[..length]);
    }
    for bit in 0..8 * whole.len() {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let _ = decoded(&bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    /// What a proven node that is another program might send.
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decoded(&bytes);
    }

    #[test]
    fn bent_archives_do_no_harm(
        bends in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = encoded(&samples());
        for (at, to) in bends {
            let at = at.index(bytes.len());
            bytes[at] = to;
        }
        let _ = decoded(&bytes);
    }
}
