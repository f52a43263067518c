//! What goes to other nodes and comes from them.

use std::pin::pin;
use std::task::{Context, Poll};

use model::cluster::MemberId;
use model::ids::{GroupId, ShardId};
use model::limits::{
    PEER_BYTES_PER_SHARD, PEER_MESSAGES_PER_SHARD, PEER_QUEUE_BYTES, PEER_QUEUE_MESSAGES,
};
use shard::NodeId;
use shard::effect::{Input, Peers};
use shard::peer::{PeerMessage, Pulse, SnapshotStep};

use super::pieces::counted;
use crate::inbox::Inbox;
use crate::mesh::{Mail, Outbox};
use crate::peers::{Heard, PeerLane, PeerQueue, PeerQueues};

const A: MemberId = MemberId(1 << 32 | 1);
const B: MemberId = MemberId(2 << 32 | 1);

fn pulse(shard: u32) -> PeerMessage {
    PeerMessage::Pulse(Pulse {
        shard: ShardId(shard),
        shards: 9,
        intent: 0,
        ready: true,
        relieved: false,
    })
}

fn frames(bytes: usize) -> PeerMessage {
    let bytes = vec![0; bytes].into();
    PeerMessage::Snapshot {
        group: GroupId(0),
        step: SnapshotStep::Frames { number: 1, offset: 0, bytes },
    }
}

fn take(queue: &PeerQueue, bytes_max: usize) -> Vec<PeerMessage> {
    let mut batch = Vec::new();
    queue.take(bytes_max, &mut batch);
    batch
}

fn send(queues: &PeerQueues, to: MemberId, message: PeerMessage) {
    queues.clone().send(NodeId(to.0), message);
}

#[test]
fn messages_wait_for_the_connection_they_are_for() {
    let queues = PeerQueues::new(0);
    send(&queues, A, pulse(0));
    let (log, bulk) = (queues.open(A, PeerLane::Log), queues.open(A, PeerLane::Bulk));
    let other = queues.open(B, PeerLane::Log);
    for shard in 1..4 {
        send(&queues, A, pulse(shard));
    }
    send(&queues, A, frames(10));
    send(&queues, B, pulse(7));
    assert_eq!(take(&log, usize::MAX), [pulse(1), pulse(2), pulse(3)], "in order");
    assert_eq!(take(&bulk, usize::MAX), [frames(10)]);
    assert_eq!(take(&other, usize::MAX), [pulse(7)]);
    assert_eq!(take(&log, usize::MAX), []);
}

#[test]
fn the_newest_connection_gets_what_is_said() {
    let queues = PeerQueues::new(0);
    let first = queues.open(A, PeerLane::Log);
    let second = queues.open(A, PeerLane::Log);
    send(&queues, A, pulse(1));
    assert_eq!((take(&first, usize::MAX).len(), take(&second, usize::MAX).len()), (0, 1));
    // The end of a leftover is not the end of its successor.
    drop(first);
    send(&queues, A, pulse(2));
    assert_eq!(take(&second, usize::MAX), [pulse(2)]);
    drop(second);
    send(&queues, A, pulse(3));
    assert_eq!(take(&queues.open(A, PeerLane::Log), usize::MAX), [], "what found nobody is gone");
}

#[test]
fn batches_are_bounded_but_never_empty() {
    let queues = PeerQueues::new(0);
    let queue = queues.open(A, PeerLane::Bulk);
    for bytes in [1_000, 1_000, 50_000, 1_000] {
        send(&queues, A, frames(bytes));
    }
    assert_eq!(take(&queue, 10_000).len(), 2);
    assert_eq!(take(&queue, 10_000), [frames(50_000)], "one is taken however large");
    assert_eq!(take(&queue, 10_000).len(), 1);
}

#[test]
fn a_full_queue_drops_the_newest() {
    let queues = PeerQueues::new(0);
    let queue = queues.open(A, PeerLane::Log);
    for _ in 0..PEER_QUEUE_MESSAGES + 5 {
        send(&queues, A, pulse(1));
    }
    assert_eq!(take(&queue, usize::MAX).len(), PEER_QUEUE_MESSAGES);
    let queue = queues.open(A, PeerLane::Bulk);
    let half = PEER_QUEUE_BYTES / 2 - 1_000;
    for number in [half, half, 10_000, 10] {
        send(&queues, A, frames(number));
    }
    assert_eq!(take(&queue, usize::MAX), [frames(half), frames(half), frames(10)]);
    send(&queues, A, frames(half));
    assert_eq!(take(&queue, usize::MAX).len(), 1, "there is room again");
}

#[test]
fn a_message_wakes_the_connection() {
    let queues = PeerQueues::new(0);
    let queue = queues.open(A, PeerLane::Log);
    let (waker, count) = counted();
    let mut waiting = pin!(queue.waiting());
    assert_eq!(waiting.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Pending);
    send(&queues, A, frames(1));
    send(&queues, B, pulse(1));
    assert_eq!(count.get(), 0, "not for this connection");
    send(&queues, A, pulse(1));
    assert_eq!(count.get(), 1);
    assert_eq!(waiting.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Ready(()));
}

/// What a turn takes, in short.
fn turn(inbox: &Inbox) -> Vec<String> {
    let mut turn = Vec::new();
    inbox.take_turn(&mut turn);
    let text = |input: &Input| match input {
        Input::Peer { from, message: PeerMessage::Pulse(pulse) } => {
            format!("{from}: {}", pulse.shard.0)
        }
        Input::Peer { from, .. } => format!("{from}: bulk"),
        Input::Link { node, up } => format!("{node} {up}"),
        _ => "other".to_owned(),
    };
    turn.iter().map(text).collect()
}

#[test]
fn a_shard_hears_of_connections_before_messages() {
    let inbox = Inbox::default();
    assert!(inbox.peer(A, pulse(1)) && inbox.peer(B, pulse(2)));
    inbox.link(B, true);
    inbox.link(A, true);
    inbox.link(A, false);
    assert!(inbox.waiting());
    let [a, b] = [A.0, B.0];
    let expected =
        [format!("{a} false"), format!("{b} true"), format!("{a}: 1"), format!("{b}: 2")];
    assert_eq!(turn(&inbox), expected, "only what holds now");
    assert!(!inbox.waiting() && turn(&inbox).is_empty());
}

#[test]
fn a_shard_drops_what_is_too_much() {
    let inbox = Inbox::default();
    assert!((0..PEER_MESSAGES_PER_SHARD).all(|_| inbox.peer(A, pulse(1))));
    assert!(!inbox.peer(A, pulse(1)));
    let mut taken = 0;
    while inbox.waiting() {
        taken += turn(&inbox).len();
    }
    assert_eq!(taken, PEER_MESSAGES_PER_SHARD);
    assert!(inbox.peer(A, frames(PEER_BYTES_PER_SHARD - 1_000)));
    assert!(!inbox.peer(A, frames(1_000)) && inbox.peer(A, frames(10)));
    assert_eq!(turn(&inbox).len(), 2);
    assert!(inbox.peer(A, frames(1_000)));
    inbox.close();
    assert!(!inbox.peer(A, pulse(1)));
}

#[test]
fn the_way_to_another_core_is_bounded_too() {
    let outbox = Outbox::default();
    let shard = ShardId(1);
    assert!((0..PEER_MESSAGES_PER_SHARD).all(|_| outbox.forward(shard, A, pulse(1))));
    assert!(!outbox.forward(shard, A, pulse(1)));
    // What belongs to work under way is carried all the same.
    outbox.tell(Mail::Link { member: A });
    let (waker, _) = counted();
    let mut carried = 0;
    while carried <= PEER_MESSAGES_PER_SHARD {
        let parcel = pin!(outbox.parcel()).poll(&mut Context::from_waker(&waker));
        let Poll::Ready(parcel) = parcel else { panic!("{carried} carried") };
        carried += parcel.len();
    }
    assert!(outbox.forward(shard, A, frames(PEER_BYTES_PER_SHARD - 1_000)));
    assert!(!outbox.forward(shard, A, frames(1_000)));
}

#[test]
fn what_is_heard_is_the_same_on_every_core() {
    let heard = Heard::default();
    let other = heard.clone();
    heard.set(A, true);
    assert!(other.is_up(A) && !other.is_up(B));
    other.set(A, false);
    assert!(!heard.is_up(A));
}
