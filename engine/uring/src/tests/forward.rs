//! What two nodes do for each other's clients, seen from one of them: the test plays the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use model::api::{Appended, Event, EventsPage, Reply, Request, TailEnd, TailMessage, TailOpen};
use model::cluster::MemberId;
use model::error::{Code, Refusal};
use model::ids::Seq;
use model::limits::CLIENT_QUEUE_MESSAGES;
use shard::NodeId;
use shard::cluster::{Cluster, Timing};

use super::TempDir;
use super::node::{append, create, id, open, run, settings};
use crate::cores::{Cores, Doors, Settings};
use crate::forward::{ClientMessage, ClientQueue};
use crate::gateway::{Gateway, Tail};
use crate::rt;

/// This node, and the one the test plays.
pub(super) const OWN: MemberId = MemberId(1 << 32);
pub(super) const OTHER: MemberId = MemberId(2 << 32 | 1);

/// Nothing takes this long; a test that waits for it fails.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

pub(super) async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        rt::sleep(Duration::from_millis(1)).await;
    }
}

/// Tails open in the node's shards, as they last said.
fn tails(gateway: &Gateway) -> u64 {
    let stopper = gateway.stopper();
    stopper.standing().shards().map(|shard| shard.expect("it is ready").gauges.tails).sum()
}

/// The next message on the connection.
async fn said(connection: &ClientQueue) -> ClientMessage {
    let said = rt::timeout(PATIENCE, connection.waiting()).await;
    said.expect("something is said");
    let mut batch = Vec::new();
    connection.take(1, &mut batch);
    batch.pop().expect("one at least")
}

fn follow(gateway: &Gateway, tail: u64, session: &str) {
    let open = TailOpen { session: id(session), cursor: Seq(0) };
    gateway.hear_client(OTHER, ClientMessage::TailOpen { tail, open });
}

#[test]
fn no_tail_outlives_the_client_of_another_node() {
    // With two cores, the shard may be on another one than the connection.
    for cores in [Some(1), None] {
        let temp = TempDir::new();
        run(&settings(temp.path(), 2, cores), |gateway| async move {
            let connection = gateway.clients().open(OTHER);
            let sessions = ["s", "t", "u", "v"];
            for session in sessions {
                gateway.call(create(session)).await;
            }
            for (tail, session) in (0..).zip(sessions) {
                follow(&gateway, tail, session);
                let opened = ClientMessage::Tail { tail, message: TailMessage::Opened };
                assert_eq!(said(&connection).await, opened);
            }
            until("they are open", || tails(&gateway) == 4).await;
            // One is closed, one takes the name of another, two are lost with their connection.
            gateway.hear_client(OTHER, ClientMessage::TailClose { tail: 0 });
            until("it is closed", || tails(&gateway) == 3).await;
            follow(&gateway, 1, "v");
            until("one is open under that name", || tails(&gateway) == 3).await;
            gateway.client_link(OTHER, false);
            until("all are closed", || tails(&gateway) == 0).await;
            // The close comes while they are opened, and so does the loss.
            for tail in 10..50 {
                follow(&gateway, tail, "s");
                gateway.hear_client(OTHER, ClientMessage::TailClose { tail });
            }
            (50..90).for_each(|tail| follow(&gateway, tail, "t"));
            gateway.client_link(OTHER, false);
            // What is opened behind them shows that they were looked at.
            for (tail, session) in (100..).zip(sessions) {
                follow(&gateway, tail, session);
            }
            until("the last are open", || tails(&gateway) == 4).await;
            drop(connection);
            until("all are closed again", || tails(&gateway) == 0).await;
        });
    }
}

#[test]
fn a_tail_cut_with_its_connection_sends_nothing_over_the_next_one() {
    let temp = TempDir::new();
    run(&settings(temp.path(), 1, Some(1)), |gateway| async move {
        let first = gateway.clients().open(OTHER);
        gateway.call(create("s")).await;
        gateway.call(append("s", 1)).await;
        follow(&gateway, 1, "s");
        until("it is open", || tails(&gateway) == 1).await;
        // The first event is in a connection that nobody reads; the next one is on its way.
        for event in 2..20 {
            gateway.call(append("s", event)).await;
        }
        let second = gateway.clients().open(OTHER);
        until("it is over", || tails(&gateway) == 0).await;
        let mut batch = Vec::new();
        second.take(usize::MAX, &mut batch);
        let lost = TailMessage::Closed(TailEnd::Lost);
        for message in batch {
            assert_eq!(message, ClientMessage::Tail { tail: 1, message: lost.clone() });
        }
        drop(first);
    });
}

/// A node of two, which leads nothing: the other one is played by the test.
pub(super) fn one_of_two(temp: &TempDir) -> Settings {
    let founders = vec![NodeId(OWN.0), NodeId(OTHER.0)];
    let cluster = Cluster {
        own: NodeId(OWN.0),
        founders,
        founding_factor: 2,
        write: vec![OWN.tag(), OTHER.tag()],
        factor: 2,
        timing: Timing::default(),
    };
    Settings { cluster, ..settings(temp.path(), 1, Some(1)) }
}

/// Runs such a node until `work` is done.
fn beside<F: Future<Output = ()> + 'static>(work: impl Fn(Gateway) -> F + Send + Sync + 'static) {
    let temp = TempDir::new();
    serve(&one_of_two(&temp), work);
}

/// Runs a node until `work` is done.
pub(super) fn serve<F: Future<Output = ()> + 'static>(
    settings: &Settings,
    work: impl Fn(Gateway) -> F + Send + Sync + 'static,
) {
    let work = Arc::new(work);
    let doors: Doors = Arc::new(move |gateway: Gateway| {
        let work = Arc::clone(&work);
        Box::pin(async move {
            work(gateway.clone()).await;
            gateway.stopper().begin();
            gateway.stopped().await;
            Ok(())
        })
    });
    Cores::start(settings, open(settings), doors).unwrap().join().unwrap();
}

/// A tail that the other node has opened, and its name there.
async fn followed(gateway: &Gateway, connection: &ClientQueue) -> (Tail, u64) {
    let open = TailOpen { session: id("s"), cursor: Seq(0) };
    let serve = async {
        let ClientMessage::TailOpen { tail, .. } = said(connection).await else { panic!() };
        gateway.hear_client(OTHER, ClientMessage::Tail { tail, message: TailMessage::Opened });
        tail
    };
    let (tail, name) = futures_lite::future::zip(gateway.follow(open), serve).await;
    (tail.unwrap(), name)
}

#[test]
fn the_node_that_serves_a_tail_is_told_when_it_is_over_here() {
    beside(|gateway| async move {
        let connection = gateway.clients().open(OTHER);
        // The client goes.
        let (tail, name) = followed(&gateway, &connection).await;
        drop(tail);
        assert_eq!(said(&connection).await, ClientMessage::TailClose { tail: name });
        // There is no room for what it has read.
        let (mut tail, name) = followed(&gateway, &connection).await;
        let filler = ClientMessage::TailCredit { tail: 0, bytes: 1 };
        (0..CLIENT_QUEUE_MESSAGES)
            .for_each(|_| assert!(gateway.clients().push(OTHER, filler.clone())));
        tail.written(10);
        assert_eq!(tail.next().await, Some(TailMessage::Closed(TailEnd::Lost)));
        drop(tail);
        // One that finds no room to be opened is unknown there: it has nothing to be told.
        assert!(!gateway.clients().push(OTHER, filler.clone()));
        let unheard = gateway.follow(TailOpen { session: id("s"), cursor: Seq(0) });
        assert!(rt::timeout(Duration::from_millis(50), unheard).await.is_none());
        let mut batch = Vec::new();
        connection.take(usize::MAX, &mut batch);
        assert_eq!(batch.len(), CLIENT_QUEUE_MESSAGES + 1);
        assert_eq!(batch.pop(), Some(ClientMessage::TailClose { tail: name }));
        // It said the last word itself.
        let (mut tail, name) = followed(&gateway, &connection).await;
        let end = TailMessage::Closed(TailEnd::TooSlow);
        gateway.hear_client(OTHER, ClientMessage::Tail { tail: name, message: end.clone() });
        assert_eq!(tail.next().await, Some(end));
        drop(tail);
        let (tail, name) = followed(&gateway, &connection).await;
        drop(tail);
        assert_eq!(said(&connection).await, ClientMessage::TailClose { tail: name });
    });
}

#[test]
fn only_who_does_what_it_is_told_is_taken_for_the_leader() {
    beside(|gateway| async move {
        let connection = gateway.clients().open(OTHER);
        let refused = || Reply::from(Refusal::from(Code::RaftUnavailable));
        let page = EventsPage { session: id("s"), cursor: Seq(0), limit: 1 };
        let read = || Reply::Events { events: Vec::new(), last_seq: Seq(0) };
        let appended = || {
            Reply::Appended(Appended {
                seq: Seq(1),
                last_seq: Seq(1),
                deduped: false,
                archived_seq: Seq(0),
            })
        };
        let cases = [
            (Request::Events(page.clone()), read(), None),
            (Request::Events(page), refused(), None),
            (append("s", 1), refused(), None),
            (append("s", 1), appended(), Some(OTHER.tag())),
        ];
        for (request, reply, leader) in cases {
            let serve = async {
                let ClientMessage::Request { ticket, .. } = said(&connection).await else {
                    panic!()
                };
                let reply = reply.clone();
                gateway.hear_client(OTHER, ClientMessage::Reply { ticket, reply });
            };
            let (answer, ()) = futures_lite::future::zip(gateway.call(request), serve).await;
            assert_eq!((answer, gateway.leader("s")), (reply, leader));
        }
        // It leads no more, and is asked again only because there is nobody else.
        let serve = async {
            for reply in [Reply::NotLeader { leader: None }, refused()] {
                let ClientMessage::Request { ticket, .. } = said(&connection).await else {
                    panic!()
                };
                gateway.hear_client(OTHER, ClientMessage::Reply { ticket, reply });
            }
        };
        let (answer, ()) = futures_lite::future::zip(gateway.call(append("s", 1)), serve).await;
        assert_eq!((answer, gateway.leader("s")), (refused(), None));
    });
}

#[test]
fn no_client_sees_a_hole_that_another_node_left() {
    beside(|gateway| async move {
        let connection = gateway.clients().open(OTHER);
        let (mut tail, name) = followed(&gateway, &connection).await;
        let events = |seqs: &[u64]| {
            let event = |seq: &u64| Event { seq: Seq(*seq), json: Bytes::from_static(b"{}") };
            TailMessage::Events { events: seqs.iter().map(event).collect(), replay: false }
        };
        for seqs in [&[1, 2][..], &[4], &[5], &[3]] {
            let message = events(seqs);
            gateway.hear_client(OTHER, ClientMessage::Tail { tail: name, message });
        }
        assert_eq!(tail.next().await, Some(events(&[1, 2])));
        assert_eq!(tail.next().await, Some(TailMessage::Closed(TailEnd::Lost)));
        assert_eq!(tail.next().await, None);
        drop(tail);
        assert_eq!(said(&connection).await, ClientMessage::TailClose { tail: name });
    });
}
