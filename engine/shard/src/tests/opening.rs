//! What a group's log comes to when records of it are gone, were replaced, or were written twice: each
//! case is a sequence of records behind a checkpoint.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::ids::GroupId;
use raft::{HardState, Index, Membership, NodeId, Term};

use crate::checkpoint::{GroupMark, Head, put_end, put_head};
use crate::membership::{put_membership, snapshot_record};
use crate::opening::Opening;
use crate::shard::Shard;
use crate::wal::{LogFloor, Record, RecordKind, Recovered};

use super::world::options;

/// A record of the log: an entry, one written again, or a snapshot, with term and index.
#[derive(Debug, Clone, Copy)]
enum Said {
    Entry(u64, u64),
    Again(u64, u64),
    Snapshot(u64, u64),
}
use Said::{Again, Entry, Snapshot};

/// The node that opens, and as many others.
fn members_of(others: u64) -> Arc<Membership> {
    let voters = (1..=1 + others).map(|name| NodeId(name << 32)).collect();
    Arc::new(Membership::new(voters, Vec::new()))
}

/// A shard that opens on a checkpoint of one group, with its floor's term and index, its members and
/// what it promises, and on the records of the log behind it.
fn opened(
    floor: (u64, u64),
    membership: Arc<Membership>,
    promise: HardState,
    records: &[RecordKind<'_>],
) -> Shard {
    let options = options(1, 1 << 20);
    let mark = GroupMark {
        group: GroupId(0),
        term: Term(floor.0),
        index: Index(floor.1),
        current_term: promise.term,
        vote: promise.vote,
        membership,
    };
    let head = Head {
        number: 1,
        floor: LogFloor::first(),
        groups: vec![mark],
        newest_chunk: None,
        chunks: Vec::new(),
    };
    let mut bytes = Vec::new();
    put_head(&mut bytes, options.identity(), &head);
    put_end(&mut bytes, 0);
    let mut opening = Opening::new(options.clone());
    opening.checkpoint(&bytes).unwrap();
    for kind in records {
        opening.record(&Record { group: GroupId(0), kind: *kind }).unwrap();
    }
    let recovered = Recovered {
        next: LogFloor::first(),
        segments: Vec::new(),
        hard_states: BTreeMap::new(),
        cut: None,
        remove: Vec::new(),
    };
    opening.finish(recovered, Vec::new())
}

/// The terms of the log's entries behind a checkpoint at term and index.
fn terms(floor: (u64, u64), said: &[Said]) -> Vec<u64> {
    // What an entry holds does not matter, so it changes the members to what they are.
    let (alone, mut members) = (members_of(0), Vec::new());
    put_membership(&mut members, &alone);
    let restart = snapshot_record(7, &alone);
    let kind = |said: &Said| match *said {
        Entry(term, index) => RecordKind::Membership { term, index, payload: &members },
        Again(term, index) => RecordKind::MembershipAgain { term, index, payload: &members },
        Snapshot(term, index) => RecordKind::Snapshot { term, index, payload: &restart },
    };
    let records: Vec<_> = said.iter().map(kind).collect();
    let shard = opened(floor, alone, HardState { term: Term(9), vote: None }, &records);
    shard.groups[0].node.unapplied().iter().map(|entry| entry.term.0).collect()
}

/// A name, the checkpoint's term and index, what the log says, and the terms behind the floor.
type Case = (&'static str, (u64, u64), &'static [Said], &'static [u64]);

#[test]
fn a_log_is_what_follows_its_floor_as_one_history() {
    let cases: [Case; 10] = [
        ("in order", (2, 10), &[Entry(2, 10), Entry(2, 11), Entry(3, 12)], &[2, 3]),
        (
            "a later leader replaced the end",
            (2, 10),
            &[Entry(2, 11), Entry(2, 12), Entry(3, 11)],
            &[3],
        ),
        (
            "the beginning is gone, and was written once more",
            (2, 10),
            &[Entry(2, 13), Entry(2, 14), Again(2, 11), Again(2, 12), Again(2, 13), Again(2, 14)],
            &[2, 2, 2, 2],
        ),
        (
            "half of it was written once more: what was there before stays",
            (2, 12),
            &[Entry(2, 13), Entry(2, 14), Again(2, 11), Again(2, 12)],
            &[2, 2],
        ),
        ("a replaced end whose beginning is gone", (5, 10), &[Entry(3, 13), Entry(3, 14)], &[]),
        ("a replaced end right behind the floor", (5, 10), &[Entry(3, 11), Entry(3, 12)], &[]),
        (
            "what replaced it was applied and is below the floor",
            (5, 10),
            &[Entry(5, 9), Entry(5, 10), Entry(5, 11), Entry(7, 10)],
            &[],
        ),
        (
            "the floor was applied before the log had it",
            (7, 10),
            &[Entry(5, 10), Entry(5, 11)],
            &[],
        ),
        (
            "the floor was applied before the log had it, and the log went on behind it in a later life",
            (4, 45),
            &[Entry(3, 45), Entry(3, 46), Entry(4, 46), Entry(4, 47)],
            &[4, 4],
        ),
        (
            "a snapshot that a checkpoint has covered, and an end it replaced",
            (5, 10),
            &[Entry(3, 11), Entry(3, 12), Snapshot(5, 10)],
            &[],
        ),
    ];
    for (name, floor, said, wanted) in cases {
        assert_eq!(terms(floor, said), wanted, "{name}");
    }
}

/// A term and the node that got the vote of it.
type Promise = (u64, Option<u64>);

/// A name, what the checkpoint promises, what the log promises after it, and what is kept.
type Promises = (&'static str, Promise, &'static [Promise], Promise);

#[test]
fn a_checkpoint_newer_than_the_log_keeps_its_promises() {
    let cases: [Promises; 7] = [
        ("the log never got that far", (7, Some(2)), &[(5, Some(3))], (7, Some(2))),
        ("the log has none", (7, Some(2)), &[], (7, Some(2))),
        ("the vote was not in the log yet", (7, Some(2)), &[(7, None)], (7, Some(2))),
        ("the log is as far", (7, Some(2)), &[(5, None), (7, None), (7, Some(2))], (7, Some(2))),
        ("the log went on", (7, Some(2)), &[(5, Some(3)), (8, None)], (8, None)),
        ("the log has a later vote", (7, None), &[(5, Some(3)), (7, Some(3))], (7, Some(3))),
        ("a term without a vote", (7, None), &[(6, Some(3))], (7, None)),
    ];
    for (name, (term, vote), log, (kept_term, kept_vote)) in cases {
        let promise = HardState { term: Term(term), vote: vote.map(NodeId) };
        let record = |&(term, vote): &Promise| RecordKind::HardState { term, vote };
        let records: Vec<_> = log.iter().map(record).collect();
        let kept = HardState { term: Term(kept_term), vote: kept_vote.map(NodeId) };
        // Whoever is not alone stands for nothing before time passes.
        let shard = opened((3, 10), members_of(2), promise, &records);
        assert_eq!(shard.groups[0].node.hard_state(), kept, "{name}");
    }
}
