//! A node that stops while another one speaks on: what comes without end must not keep it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use model::api::{Reply, Request, TailMessage, TailOpen};
use model::cluster::MemberId;
use model::ids::{GroupId, Seq, SessionId};
use raft::{Body, Content, Entry, Index, Life, Message, NodeId, Term};
use shard::peer::PeerMessage;
use uring::{ClientMessage, Gateway, PeerLane, rt};

use super::links::Node;
use super::name;

/// Nothing takes this long; a test that waits for it fails.
const PATIENCE: Duration = Duration::from_secs(60);
/// Entries that are said and not known to be durable, at most: fewer than an inbox holds, and more
/// than a batch takes.
const AHEAD: u64 = 60_000;
/// Between looks at what it answers.
const PAUSE: Duration = Duration::from_micros(50);
/// Looks between two questions of clients.
const ASK_EVERY: u64 = 10;
const TERM: Term = Term(1_000);

/// What the leader of a group says to its follower.
fn entry(from: MemberId, to: MemberId, (number, known): (u64, u64)) -> PeerMessage {
    let before = if number == 1 { Term(0) } else { TERM };
    let body = Body::Append {
        previous: (before, Index(number - 1)),
        entries: vec![Entry { term: TERM, index: Index(number), content: Content::Begin }],
        committed: Index(known),
        round: number,
    };
    raft((from, to), TERM, body)
}

fn raft((from, to): (MemberId, MemberId), term: Term, body: Body) -> PeerMessage {
    let message = Message { from: NodeId(from.0), to: NodeId(to.0), term, body };
    PeerMessage::Raft { group: GroupId(1), message }
}

/// The last entry of which the follower says that it is durable.
fn durable(messages: Vec<PeerMessage>) -> Option<u64> {
    let accepted = |message| match message {
        PeerMessage::Raft {
            message: Message { body: Body::AppendAccepted { matched, .. }, .. },
            ..
        } => Some(matched.0),
        _ => None,
    };
    messages.into_iter().filter_map(accepted).max()
}

/// Says one entry after another to the node as long as its core runs, and asks for clients.
async fn speak(gateway: Gateway, known: Arc<AtomicU64>) {
    let [own, other] = ["a", "b"].map(|node| MemberId::new(name(node).tag(), 1));
    let answers = gateway.peers().open(other, PeerLane::Log);
    let replies = gateway.clients().open(other);
    let (mut said, mut batch, mut told) = (0, Vec::new(), Vec::new());
    // What a node that has just started waits for.
    let nothing = (Term(0), Index(0));
    let body =
        Body::DoubtReply { life: Life(1), remembered: Index(0), last: nothing, voters: Vec::new() };
    gateway.hear(other, raft((other, own), Term(0), body)).expect("there is such a group");
    for turn in 0_u64.. {
        // The shard's inbox is never empty, so that no look at its log finds it idle.
        let far = known.load(Ordering::Relaxed);
        while said < far + AHEAD {
            said += 1;
            gateway.hear(other, entry(other, own, (said, far))).expect("there is such a group");
        }
        if turn % ASK_EVERY == 0 {
            let session = SessionId::new("ses_1").expect("a name");
            let request = Request::Get(session.clone());
            gateway.hear_client(other, ClientMessage::Request { ticket: turn, request });
            let open = TailOpen { session, cursor: Seq(0) };
            gateway.hear_client(other, ClientMessage::TailOpen { tail: turn, open });
        }
        rt::sleep(PAUSE).await;
        answers.take(usize::MAX, &mut batch);
        let durable = durable(std::mem::take(&mut batch)).unwrap_or(0);
        known.fetch_max(durable, Ordering::Relaxed);
        replies.take(usize::MAX, &mut told);
        for answer in told.drain(..) {
            let is_turned_away = matches!(
                answer,
                ClientMessage::Reply { reply: Reply::NotLeader { .. }, .. }
                    | ClientMessage::Tail { message: TailMessage::Elsewhere { .. }, .. }
            );
            assert!(is_turned_away, "another node would do it: {answer:?}");
        }
    }
}

#[test]
fn a_node_stops_though_another_one_never_ceases_to_speak() {
    let known = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&known);
    let node = Node::with(move |gateway| rt::spawn_local(speak(gateway, count)));
    let began = Instant::now();
    while known.load(Ordering::Relaxed) < 100 {
        assert!(began.elapsed() < PATIENCE, "the log grows");
        thread::sleep(Duration::from_millis(1));
    }
    let (tell, ended) = channel();
    thread::spawn(move || {
        drop(node);
        tell.send(())
    });
    ended.recv_timeout(PATIENCE).expect("it stops");
}
