//! What other nodes' clients are owed.

use bytes::Bytes;
use model::api::{Event, Reply};
use model::cluster::MemberId;
use model::error::Code;
use model::ids::{Placement, Seq};
use model::intent::Intent;
use model::limits::{CLIENT_ANSWER_BYTES, CLIENT_ANSWERS_MAX};
use shard::NodeId;
use shard::cluster::Cluster;

use crate::answers::Answers;
use crate::hub::{Homes, Hub};
use crate::peers::Heard;
use crate::standing::Standing;
use crate::stop::Stopper;

const A: MemberId = MemberId(1 << 32 | 1);
const B: MemberId = MemberId(2 << 32 | 1);

/// A page of one event of so many bytes.
fn page(bytes: usize) -> Reply {
    let event = Event { seq: Seq(1), json: Bytes::from(vec![b'x'; bytes]) };
    Reply::Events { events: vec![event], last_seq: Seq(1) }
}

#[test]
fn a_node_is_owed_so_many_answers() {
    let answers = Answers::default();
    let mut owed: Vec<_> = (0..CLIENT_ANSWERS_MAX).map(|_| answers.owe(A).unwrap()).collect();
    assert!(answers.owe(A).is_none());
    assert!(answers.owe(B).is_some(), "it is one node's own concern");
    owed.pop();
    owed.push(answers.owe(A).expect("there is room again"));
    drop(owed);
    assert_eq!((answers.owed(A), answers.owed(B)), ((0, 0), (0, 0)));
}

#[test]
fn answers_that_wait_hold_so_many_bytes() {
    let answers = Answers::default();
    let half = page(CLIENT_ANSWER_BYTES / 2);
    let settle = |reply: &Reply, is_read: bool| {
        let mut answer = answers.owe(A).unwrap();
        answer.settle(reply.clone(), is_read).map(|_| answer)
    };
    let first = settle(&half, true).unwrap();
    assert_eq!(settle(&half, true).unwrap_err(), Code::EventStoreBackpressure);
    assert_eq!(settle(&half, false).unwrap_err(), Code::RaftTimeout);
    let small = settle(&page(1_000), true).unwrap();
    assert_eq!(answers.owed(A), (2, half.bytes() + page(1_000).bytes()));
    drop(first);
    let second = settle(&half, true).unwrap();
    drop((small, second));
    // One alone may be larger than all together.
    let large = settle(&page(2 * CLIENT_ANSWER_BYTES), true).unwrap();
    assert_eq!(settle(&page(1), true).unwrap_err(), Code::EventStoreBackpressure);
    drop(large);
    assert_eq!(answers.owed(A), (0, 0));
}

/// Answers to an earlier process may still be under way when a later one asks.
#[test]
fn no_process_numbers_what_it_asks_as_another_did() {
    let mut seen = Vec::new();
    for _ in 0..3 {
        let cluster = Cluster::alone(NodeId(1 << 32));
        let placement = Placement::new(4, 1);
        let stopper = Stopper::new(1, Standing::new(placement, &cluster, Intent::default()));
        let homes = Homes { placement, cores: 1, cluster };
        let hub = Hub::new(0, &homes, stopper, Heard::default());
        let (first, second) = (hub.new_tail().0, hub.new_tail().0);
        assert_eq!(first.0 + 1, second.0);
        seen.extend([first.0, hub.clients.begin_call(A)]);
    }
    seen.sort_unstable();
    assert!(seen.windows(2).all(|pair| pair[0] + 1_000 < pair[1]), "{seen:?}");
}
