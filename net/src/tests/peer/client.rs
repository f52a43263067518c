//! What two nodes do for each other's clients, over real connections: one node runs, the other is the
//! test.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use bytes::Bytes;
use model::api::{
    Event, EventsPage, List, Reply, Request, TailEnd, TailMessage, TailOpen, Visibility,
};
use model::error::{Code, Refusal};
use model::ids::{Seq, SessionId};
use model::limits::CLIENT_ANSWERS_MAX;
use uring::{ClientMessage, rt};

use super::links::{Node, Wire};
use crate::peer::client_wire;
use crate::peer::frame::{Kind, Label, Lane};
use crate::peer::handshake::Session;

/// Nothing takes this long; a test that waits for it fails.
const PATIENCE: Duration = Duration::from_secs(60);

const BATCH: Label = Label { lane: Lane::Client, kind: Kind::Batch };
const BEAT: Label = Label { lane: Lane::Client, kind: Kind::Beat };

fn session() -> SessionId {
    SessionId::new("ses_1").unwrap()
}

fn event(seq: u64) -> Event {
    Event { seq: Seq(seq), json: Bytes::from(format!("{{\"seq\":{seq}}}")) }
}

/// Both connections of the client lane, as node b has them.
struct Both {
    /// What a says.
    theirs: (Wire, Session),
    /// What b says.
    ours: (Wire, Session),
    /// What a has said and nobody has looked at.
    heard: Vec<ClientMessage>,
}

impl Both {
    fn new(node: &Node) -> Both {
        let theirs = node.accept(Lane::Client);
        let ours = node.connect(node.papers(), Lane::Client).unwrap();
        Both { theirs, ours, heard: Vec::new() }
    }

    fn say(&mut self, messages: &[ClientMessage]) {
        let mut archive = Vec::new();
        client_wire::encode(messages, &mut archive);
        self.ours.0.send_sealed(&mut self.ours.1, BATCH, &archive);
    }

    /// The next message of a. Gives a sign of life for each of a's, on both connections.
    fn hear(&mut self) -> ClientMessage {
        while self.heard.is_empty() {
            let (wire, session) = &mut self.theirs;
            let (label, body) = wire.receive().expect("the connection stands");
            let content = session.receiving.open(label, &body).expect("its seal fits");
            if label.kind == Kind::Batch {
                let read = client_wire::decode(content, |message| self.heard.push(message));
                assert_eq!(read, Ok(()));
            }
            for (wire, session) in [&mut self.theirs, &mut self.ours] {
                wire.send_sealed(session, BEAT, b"");
            }
        }
        self.heard.remove(0)
    }
}

#[test]
fn another_node_s_requests_are_answered() {
    let node = Node::start();
    let mut both = Both::new(&node);
    let cursor = Seq(0);
    let (get, page) = (session(), EventsPage { session: session(), cursor, limit: 10 });
    let list = List { cursor: None, limit: 5, visibility: Visibility::All, metadata: Vec::new() };
    both.say(&[
        ClientMessage::Request { ticket: 7, request: Request::Get(get) },
        ClientMessage::Request { ticket: u64::MAX, request: Request::Events(page) },
    ]);
    let open = TailOpen { session: session(), cursor };
    both.say(&[
        ClientMessage::Request { ticket: 9, request: Request::List(list) },
        ClientMessage::TailOpen { tail: 3, open },
    ]);
    // One of two nodes alone leads nothing, and can know no session's head.
    let mut open = vec![3, 7, 9, u64::MAX];
    while !open.is_empty() {
        let number = match both.hear() {
            ClientMessage::Reply { ticket: 9, reply } => {
                let (rows, groups) = (Vec::new(), Vec::new());
                assert_eq!(reply, Reply::Sessions { rows, more: false, groups });
                9
            }
            ClientMessage::Reply { ticket, reply } => {
                assert_eq!(reply, Reply::NotLeader { leader: None });
                ticket
            }
            ClientMessage::Tail { tail, message } => {
                assert_eq!(message, TailMessage::Elsewhere { leader: None });
                tail
            }
            other => panic!("that answers nothing: {other:?}"),
        };
        let at = open.iter().position(|one| *one == number).expect("each is answered once");
        open.remove(at);
    }
}

#[test]
fn a_node_that_asks_too_much_is_refused_the_rest() {
    const BEYOND: usize = 100;
    let node = Node::start();
    let mut both = Both::new(&node);
    let all = 0..CLIENT_ANSWERS_MAX + BEYOND;
    let asks = all.clone().map(|number| {
        let ticket = u64::try_from(number).unwrap();
        ClientMessage::Request { ticket, request: Request::Get(session()) }
    });
    // All of them in one frame: nothing is answered before they are there.
    both.say(&asks.collect::<Vec<_>>());
    let mut answers = BTreeMap::new();
    while answers.len() < all.len() {
        let ClientMessage::Reply { ticket, reply } = both.hear() else {
            panic!("only requests are answered");
        };
        let again = answers.insert(ticket, reply);
        assert_eq!(again, None, "each is answered once");
    }
    let refused = Reply::from(Refusal::from(Code::EventStoreBackpressure));
    let beyond = u64::try_from(CLIENT_ANSWERS_MAX).unwrap();
    for (ticket, reply) in answers {
        let expected =
            if beyond <= ticket { refused.clone() } else { Reply::NotLeader { leader: None } };
        assert_eq!(reply, expected, "{ticket}");
    }
}

/// What a client of node a sees.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Reply(Reply),
    Tail(Option<TailMessage>),
}

/// Node a, where a client asks for a session's events and then follows it.
fn node_with_a_client() -> (Node, Receiver<Seen>) {
    let (see, seen): (Sender<Seen>, _) = channel();
    let node = Node::with(move |gateway| {
        rt::spawn_local(async move {
            let page = EventsPage { session: session(), cursor: Seq(0), limit: 10 };
            see.send(Seen::Reply(gateway.call(Request::Events(page)).await)).unwrap();
            let open = TailOpen { session: session(), cursor: Seq(2) };
            let mut tail = gateway.follow(open).await.expect("it is served at b");
            loop {
                let message = tail.next().await;
                let last = matches!(message, None | Some(TailMessage::Closed(_)));
                if let Some(TailMessage::Events { events, .. }) = &message {
                    tail.written(events.iter().map(|event| event.json.len() as u64).sum());
                }
                let _ = see.send(Seen::Tail(message));
                if last {
                    return;
                }
            }
        });
    });
    (node, seen)
}

/// Serves the client until its tail is open; gives the tail's number.
fn serve(both: &mut Both, seen: &Receiver<Seen>) -> u64 {
    let page = || Reply::Events { events: vec![event(1), event(2)], last_seq: Seq(2) };
    loop {
        match both.hear() {
            ClientMessage::Request { ticket, request } => {
                let Request::Events(EventsPage { session: of, .. }) = request else {
                    panic!("the client asked for events");
                };
                assert_eq!(of, session());
                both.say(&[ClientMessage::Reply { ticket, reply: page() }]);
            }
            ClientMessage::TailOpen { tail, open } => {
                assert_eq!(open, TailOpen { session: session(), cursor: Seq(2) });
                both.say(&[ClientMessage::Tail { tail, message: TailMessage::Opened }]);
                assert_eq!(seen.recv_timeout(PATIENCE), Ok(Seen::Reply(page())));
                return tail;
            }
            other => panic!("the client did not ask for that: {other:?}"),
        }
    }
}

#[test]
fn a_client_is_served_by_another_node() {
    let (node, seen) = node_with_a_client();
    let mut both = Both::new(&node);
    let tail = serve(&mut both, &seen);
    let events = |seqs: &[u64], replay| TailMessage::Events {
        events: seqs.iter().copied().map(event).collect(),
        replay,
    };
    let (first, second) = (events(&[3, 4], true), events(&[5], false));
    both.say(&[
        ClientMessage::Tail { tail, message: first.clone() },
        ClientMessage::Tail { tail: tail + 1, message: TailMessage::Opened },
        ClientMessage::Tail { tail, message: second.clone() },
    ]);
    assert_eq!(seen.recv_timeout(PATIENCE), Ok(Seen::Tail(Some(first))));
    assert_eq!(seen.recv_timeout(PATIENCE), Ok(Seen::Tail(Some(second))));
    let mut credit = 0;
    while credit < 3 * event(3).json.len() as u64 {
        match both.hear() {
            ClientMessage::TailCredit { tail: of, bytes } if of == tail => credit += bytes,
            other => panic!("a client that reads says so: {other:?}"),
        }
    }
    assert_eq!(credit, 3 * event(3).json.len() as u64);
    let end = TailMessage::Closed(TailEnd::TooSlow);
    both.say(&[ClientMessage::Tail { tail, message: end.clone() }]);
    assert_eq!(seen.recv_timeout(PATIENCE), Ok(Seen::Tail(Some(end))));
}

#[test]
fn a_client_is_told_when_the_node_that_serves_it_is_lost() {
    let (node, seen) = node_with_a_client();
    let mut both = Both::new(&node);
    serve(&mut both, &seen);
    drop(both.ours);
    let lost = Some(TailMessage::Closed(TailEnd::Lost));
    assert_eq!(seen.recv_timeout(PATIENCE), Ok(Seen::Tail(lost)));
}

#[test]
fn whoever_breaks_the_protocol_on_the_client_lane_is_cut_off() {
    let node = Node::start();
    let mut archive = Vec::new();
    client_wire::encode(&[ClientMessage::TailClose { tail: 1 }], &mut archive);
    let mut absurd = Vec::new();
    client_wire::encode(&[ClientMessage::TailCredit { tail: 1, bytes: 0 }], &mut absurd);
    for (label, content) in [
        (Label { lane: Lane::Log, ..BATCH }, &archive[..]),
        (BATCH, b"no archive"),
        (BATCH, b""),
        (BATCH, &absurd),
    ] {
        let (mut wire, mut session) = node.connect(node.papers(), Lane::Client).unwrap();
        wire.send_sealed(&mut session, label, content);
        wire.await_end();
    }
    // What is in order is taken, although it speaks of nothing that is there.
    let (mut wire, mut session) = node.connect(node.papers(), Lane::Client).unwrap();
    wire.send_sealed(&mut session, BATCH, &archive);
    assert_eq!(wire.receive().unwrap().0, BEAT);
    assert_eq!(wire.receive().unwrap().0, BEAT);
}
