//! The clients: some require the head they know, some count as producers and ask until they are told,
//! some read, some follow. Half of them talk to nodes, half to the balancer.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use histories::dice::{Dice, Salt};
use histories::history::{self, Append, Attempt, Op, Outcome, Read, Stream};
use histories::time::Time;
use serde_json::Value;
use tungstenite::{Error, HandshakeError, Message, WebSocket};

use crate::balancer::balancer;
use crate::client::{Client, Told};
use crate::ground::{PATIENCE, rest, size, until};
use crate::node::Node;
use crate::record::{Record, SESSIONS, events, page};
use crate::switch::NODES;

/// What every event of a client without a name holds behind its own members.
const REST: &str = r#","tenant_id":"service","metadata":{"starcite_principal":{"tenant_id":"service","actor":"service:service","principal_type":"service","principal_id":"service"}},"refs":{},"idempotency_key":null"#;
/// Milliseconds a client rests between two requests, at most.
const REST_MS: u64 = 140;
/// The same for a client that is to notice every pause.
const STEADY_REST_MS: u64 = 4;
/// Bytes an event is filled with, at most.
const PADDING_MAX: u64 = 800;
/// Events of a page.
const PAGE: u64 = 64;
/// How long a tail listens before it looks whether it is done.
const LOOK: Duration = Duration::from_millis(200);

/// Makes the sessions, before there is any fault.
pub(crate) fn create(record: &Record) {
    let mut client = Client::new();
    for (session, id) in record.ids.iter().enumerate() {
        record.history(session).create_asked = Some(record.now());
        let body = format!(r#"{{"id":"{id}"}}"#);
        let address = Node::address(session % NODES);
        // What was tried before may have made it.
        until("a session is made", || match client.post(address, "/v1/sessions", &body) {
            Told::Answer(answer) => matches!(answer.status, 201 | 409),
            Told::NotSent | Told::Lost => false,
        });
        record.history(session).created = Some(record.now());
    }
}

/// Starts whoever writes and reads.
pub(crate) fn clients(record: &Arc<Record>) -> Vec<JoinHandle<()>> {
    let mut threads = Vec::new();
    for session in 0..SESSIONS {
        for (role, through) in (0..5).map(|place| (place / 2, place % 2 == 1)) {
            let record = Arc::clone(record);
            let id = u32::try_from(threads.len()).expect("clients are few");
            threads.push(thread::spawn(move || {
                let _ends = EndsWithMe(Arc::clone(&record));
                let mut hand = Hand::new(record, (session, id), through);
                match role {
                    0 => hand.contend(),
                    1 => hand.produce(),
                    _ => hand.read(),
                }
            }));
        }
    }
    threads
}

/// Starts one client for each session that counts and hardly rests, and nobody else: its silences are
/// the cluster's. Nobody talks to the node that is to be avoided.
pub(crate) fn steady(record: &Arc<Record>, avoided: Option<usize>) -> Vec<JoinHandle<()>> {
    let client = |session: usize| {
        let record = Arc::clone(record);
        let id = u32::try_from(session).expect("sessions are few");
        thread::spawn(move || {
            let _ends = EndsWithMe(Arc::clone(&record));
            let hand = Hand::new(record, (session, id), false);
            let mut hand = Hand { rest_ms: STEADY_REST_MS, avoided, ..hand };
            if avoided.is_some_and(|node| hand.node == Some(node)) {
                hand.turn();
            }
            hand.produce();
        })
    };
    (0..SESSIONS).map(client).collect()
}

/// Starts whoever follows.
pub(crate) fn tails(record: &Arc<Record>) -> Vec<JoinHandle<()>> {
    let tail = |session: usize| {
        let record = Arc::clone(record);
        thread::spawn(move || {
            let _ends = EndsWithMe(Arc::clone(&record));
            follow(&record, session);
        })
    };
    (0..SESSIONS).map(tail).collect()
}

/// Ends the drill for everybody when one of them panics.
struct EndsWithMe(Arc<Record>);

impl Drop for EndsWithMe {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.fail();
        }
    }
}

/// One client of one session.
struct Hand {
    record: Arc<Record>,
    session: usize,
    id: u32,
    client: Client,
    dice: Dice,
    /// The node it talks to; `None` for the balancer.
    node: Option<usize>,
    /// A node it never talks to itself.
    avoided: Option<usize>,
    /// The newest head it was told.
    head: u64,
    /// Milliseconds it rests between two requests, at most.
    rest_ms: u64,
}

/// An append before it is asked.
struct Wish {
    op: Op,
    digest: u64,
    body: String,
}

impl Hand {
    fn new(record: Arc<Record>, (session, id): (usize, u32), through: bool) -> Hand {
        let dice = Dice::new(u64::from(id), Salt(11));
        let node = (!through).then_some(id as usize % NODES);
        let rest_ms = size("DRILL_REST_MS", REST_MS);
        let client = Client::new();
        Hand { record, session, id, client, dice, node, avoided: None, head: 0, rest_ms }
    }

    fn address(&self) -> SocketAddr {
        self.node.map_or_else(balancer, Node::address)
    }

    fn rest(&mut self) {
        rest(self.dice.between(self.rest_ms / 8, self.rest_ms));
    }

    /// Asks somebody else from now on.
    fn turn(&mut self) {
        let next = |node: usize| (node + 1) % NODES;
        self.node = self.node.map(next);
        if self.node.is_some() && self.node == self.avoided {
            self.node = self.node.map(next);
        }
        rest(self.dice.between(2, 10));
    }

    fn wish(&mut self, producer: Option<u64>, expected: Option<u64>) -> Wish {
        let op = self.record.op();
        let padding = usize::try_from(self.dice.below(PADDING_MAX)).expect("small");
        let own = history::fragment(op, padding);
        let id = self.id;
        let producer = producer.map_or_else(String::new, |count| {
            format!(r#","producer_id":"p{id}","producer_seq":{count}"#)
        });
        let expected =
            expected.map_or_else(String::new, |expected| format!(r#","expected_seq":{expected}"#));
        let fragment = format!(r#"{own},"actor":"service:service"{producer}{REST}"#);
        let body = format!("{{{own}{producer}{expected}}}");
        Wish { op, digest: history::digest(&fragment), body }
    }

    /// Asks once. What the balancer tried before counts as an attempt of its own, and what the node did: who
    /// is told at once that an event was known was asked for by the node before.
    fn attempt(&mut self, wish: &Wish, attempts: &mut Vec<Attempt>) -> Option<Outcome> {
        let target = format!("/v1/sessions/{}/append", self.record.ids[self.session]);
        let start = self.record.now();
        let told = self.client.post(self.address(), &target, &wish.body);
        let end = self.record.now();
        let outcome = self.record.outcome(self.session, &told)?;
        let is_known = matches!(outcome, Outcome::Acked { deduped: true, .. });
        if is_known || matches!(&told, Told::Answer(answer) if 1 < answer.attempts) {
            attempts.push(Attempt { start, end, outcome: Outcome::Unknown });
        }
        attempts.push(Attempt { start, end, outcome });
        Some(outcome)
    }

    /// Requires the newest head it knows. It does not ask again: nobody could tell the two apart.
    fn contend(&mut self) {
        while !self.record.is_stopped() {
            let expected = Some(self.head);
            let wish = self.wish(None, expected);
            let mut attempts = Vec::new();
            let outcome = self.attempt(&wish, &mut attempts);
            let Wish { op, digest, .. } = wish;
            self.record
                .append(self.session, Append { op, digest, expected, producer: None, attempts });
            match outcome {
                Some(
                    Outcome::Acked { last_seq: head, .. } | Outcome::Conflict { current: head },
                ) => {
                    self.head = head;
                }
                Some(Outcome::Refused) => {}
                Some(Outcome::Unknown) | None => {
                    self.turn();
                    self.look();
                }
            }
            self.rest();
        }
    }

    /// Counts, and asks for each until it is told.
    fn produce(&mut self) {
        for count in 1.. {
            if self.record.is_stopped() {
                return;
            }
            let wish = self.wish(Some(count), None);
            let mut attempts = Vec::new();
            let start = Instant::now();
            loop {
                match self.attempt(&wish, &mut attempts) {
                    Some(Outcome::Acked { .. }) => break,
                    Some(Outcome::Refused) => rest(20),
                    Some(Outcome::Conflict { .. } | Outcome::Unknown) | None => self.turn(),
                }
                if self.record.has_failed() {
                    return;
                }
                assert!(start.elapsed() < PATIENCE, "{} is never told: {attempts:?}", wish.body);
            }
            let Wish { op, digest, .. } = wish;
            let producer = Some((self.id, count));
            self.record
                .append(self.session, Append { op, digest, expected: None, producer, attempts });
            self.rest();
        }
    }

    /// Reads heads and pages.
    fn read(&mut self) {
        while !self.record.is_stopped() {
            self.look();
            let cursor = self.dice.below(self.head + 1);
            let id = &self.record.ids[self.session];
            let target = format!("/v1/sessions/{id}/events?cursor={cursor}&limit={PAGE}");
            let start = self.record.now();
            let told = self.client.get(self.address(), &target);
            let times = (start, self.record.now());
            match told {
                Told::Answer(answer) if answer.status == 200 => {
                    let page = page(&answer.body, times, cursor);
                    self.record.history(self.session).pages.push(page);
                }
                Told::Answer(answer) if answer.status < 500 => {
                    self.record.wrong(self.session, &answer);
                }
                Told::Answer(_) | Told::NotSent | Told::Lost => {}
            }
            self.turn();
            self.rest();
        }
    }

    /// Asks for the head.
    fn look(&mut self) {
        let target = format!("/v1/sessions/{}", self.record.ids[self.session]);
        let start = self.record.now();
        let told = self.client.get(self.address(), &target);
        let end = self.record.now();
        let Told::Answer(answer) = told else { return };
        let last_seq = match answer.status {
            200 => {
                let row: Value = serde_json::from_slice(&answer.body).expect("a row is JSON");
                Some(row["last_seq"].as_u64().expect("a row names its head"))
            }
            404 => None,
            500.. => return,
            _ => {
                self.record.wrong(self.session, &answer);
                return;
            }
        };
        self.head = last_seq.unwrap_or(self.head);
        self.record.history(self.session).reads.push(Read { start, end, last_seq });
    }
}

/// Follows a session over all connections until all is there.
fn follow(record: &Record, session: usize) {
    let (mut cursor, mut node) = (0, session);
    let mut silent = Instant::now();
    while !record.is_all(session, cursor) {
        node = (node + 1) % NODES;
        let mut stream = Stream { cursor, events: Vec::new() };
        let opened = open(record, session, (node, cursor));
        if let Ok(mut socket) = opened {
            while !record.is_all(session, cursor) && take(&mut socket, record, &mut stream) {
                let newest = stream.events.last().map_or(cursor, |(_, event)| event.seq);
                if newest != cursor || !record.is_head_known(session) {
                    silent = Instant::now();
                }
                cursor = newest;
                assert!(silent.elapsed() < PATIENCE, "a tail of {session} stands at {cursor}");
            }
        } else {
            rest(20);
        }
        if !record.is_head_known(session) {
            silent = Instant::now();
        }
        assert!(silent.elapsed() < PATIENCE, "no tail of {session} can be opened at {cursor}");
        record.history(session).streams.push(stream);
    }
}

fn open(
    record: &Record,
    session: usize,
    (node, cursor): (usize, u64),
) -> io::Result<WebSocket<TcpStream>> {
    let address = Node::address(node);
    let stream = TcpStream::connect_timeout(&address, Duration::from_millis(500))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.set_write_timeout(Some(Duration::from_secs(2)))?;
    let id = &record.ids[session];
    let uri = format!("ws://{address}/v1/sessions/{id}/tail?cursor={cursor}&batch_size=16");
    match tungstenite::client::client(uri, stream) {
        Ok((socket, _)) => {
            socket.get_ref().set_read_timeout(Some(LOOK))?;
            Ok(socket)
        }
        Err(HandshakeError::Failure(error)) => Err(io::Error::other(error.to_string())),
        Err(HandshakeError::Interrupted(_)) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Takes what comes; whether more may come.
fn take(socket: &mut WebSocket<TcpStream>, record: &Record, stream: &mut Stream) -> bool {
    match socket.read() {
        Ok(Message::Text(text)) => {
            let now: Time = record.now();
            stream.events.extend(events(&text).into_iter().map(|event| (now, event)));
            true
        }
        Ok(Message::Close(_)) => false,
        Ok(_) => true,
        Err(Error::Io(error)) => {
            matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
        }
        Err(_) => false,
    }
}
