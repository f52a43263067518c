//! A server of a few lines that keeps the contract's words and nothing else: sessions in memory, one
//! thread for each connection, and faults on demand.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use tungstenite::Message;
use tungstenite::handshake::server::{Request, Response};

/// What it does to an append, by the append's number from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Refuses every third with 503, undone.
    Refuse,
    /// Does every third, and closes the connection instead of answering.
    Hang,
    /// Never answers the fifth.
    Swallow,
    /// Acknowledges every append with the same seq.
    Lie,
    /// Leaves every third event out of tails.
    Skip,
    /// Answers every append with 400.
    Reject,
}

/// A running stand-in; its threads end when this is dropped.
#[derive(Debug)]
pub(crate) struct StandIn {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    fault: Fault,
    appends: AtomicU64,
    sessions: Mutex<BTreeMap<String, Session>>,
    changed: Condvar,
    over: AtomicBool,
}

#[derive(Debug, Default)]
struct Session {
    events: Vec<String>,
    /// The seq of the last event of each producer, and the producer's own counter.
    producers: BTreeMap<String, (u64, usize)>,
}

impl StandIn {
    pub(crate) fn start(fault: Fault) -> StandIn {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            fault,
            appends: AtomicU64::new(0),
            sessions: Mutex::default(),
            changed: Condvar::new(),
            over: AtomicBool::new(false),
        });
        let all = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if all.over.load(Ordering::Relaxed) {
                    break;
                }
                let shared = Arc::clone(&all);
                thread::spawn(move || shared.serve(stream.unwrap()));
            }
        });
        StandIn { address, shared }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Events of all sessions.
    pub(crate) fn events(&self) -> usize {
        self.shared.sessions.lock().unwrap().values().map(|session| session.events.len()).sum()
    }

    pub(crate) fn sessions(&self) -> usize {
        self.shared.sessions.lock().unwrap().len()
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        self.shared.changed.notify_all();
        // Lets the listener look at the flag.
        let _woken = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) {
        stream.set_nodelay(true).unwrap();
        let mut start = [0; 4];
        if stream.peek(&mut start).is_ok_and(|_| start.starts_with(b"GET ")) {
            return self.tail(stream);
        }
        let mut received = Vec::new();
        let mut piece = [0; 4096];
        loop {
            while let Some((head, body, bytes)) = request(&received) {
                match self.answer(&head, &body) {
                    Some(reply) if stream.write_all(reply.as_bytes()).is_err() => return,
                    Some(_) => {}
                    None if self.fault == Fault::Hang => {
                        let _gone = stream.shutdown(Shutdown::Both);
                        return;
                    }
                    None => {}
                }
                received.drain(..bytes);
            }
            match stream.read(&mut piece) {
                Ok(0) | Err(_) => return,
                Ok(bytes) => received.extend_from_slice(&piece[..bytes]),
            }
        }
    }

    /// The reply to a POST; `None` for none.
    fn answer(&self, head: &str, body: &str) -> Option<String> {
        let path = head.split(' ').nth(1).unwrap();
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        let Some(rest) = path.strip_prefix("/v1/sessions/") else {
            let id = body["id"].as_str().unwrap().to_owned();
            self.sessions.lock().unwrap().entry(id).or_default();
            return Some(reply("201 Created", "{}"));
        };
        let id = rest.strip_suffix("/append").unwrap();
        let number = self.appends.fetch_add(1, Ordering::Relaxed);
        match self.fault {
            Fault::Reject => return Some(reply("400 Bad Request", "{\"error\":\"no\"}")),
            Fault::Refuse if number % 3 == 2 => {
                return Some(reply("503 Service Unavailable", "{}"));
            }
            Fault::Swallow if number == 4 => return None,
            Fault::None
            | Fault::Refuse
            | Fault::Hang
            | Fault::Swallow
            | Fault::Lie
            | Fault::Skip => {}
        }
        let seq = self.append(id, &body);
        if self.fault == Fault::Hang && number % 3 == 2 {
            return None;
        }
        let seq = if self.fault == Fault::Lie { 1 } else { seq };
        let body = format!("{{\"seq\":{seq},\"last_seq\":{seq},\"deduped\":false}}");
        Some(reply("201 Created", &body))
    }

    /// Appends, or finds what a retry had appended; the seq.
    fn append(&self, id: &str, body: &serde_json::Value) -> usize {
        let mut sessions = self.sessions.lock().unwrap();
        let session = sessions.get_mut(id).unwrap();
        let producer = body["producer_id"].as_str().unwrap().to_owned();
        let counter = body["producer_seq"].as_u64().unwrap();
        let last = session.producers.get(&producer).copied();
        if let Some((before, seq)) = last
            && before == counter
        {
            return seq;
        }
        assert_eq!(counter, last.map_or(1, |(before, _)| before + 1), "no hole in a producer");
        let seq = session.events.len() + 1;
        session.events.push(format!("{{\"seq\":{seq},\"payload\":{}}}", body["payload"]));
        session.producers.insert(producer, (counter, seq));
        self.changed.notify_all();
        seq
    }

    fn tail(&self, stream: TcpStream) {
        let mut uri = String::new();
        #[expect(clippy::result_large_err, reason = "the handshake's callback is made so")]
        let note = |request: &Request, response: Response| {
            uri = request.uri().to_string();
            Ok(response)
        };
        let Ok(mut socket) = tungstenite::accept_hdr(stream, note) else { return };
        let (path, query) = uri.split_once('?').unwrap();
        let id = path.strip_prefix("/v1/sessions/").unwrap().strip_suffix("/tail").unwrap();
        let batch: usize = query.rsplit_once("batch_size=").unwrap().1.parse().unwrap();
        let mut cursor = 0;
        while let Some(events) = self.events_after(id, cursor) {
            cursor += events.len();
            for piece in events.chunks(batch) {
                let skipped = |event: &&String| {
                    self.fault != Fault::Skip || !event.starts_with("{\"seq\":3,")
                };
                let piece: Vec<&str> = piece.iter().filter(skipped).map(String::as_str).collect();
                let text =
                    if batch == 1 { piece.join("") } else { format!("[{}]", piece.join(",")) };
                if !text.is_empty() && socket.send(Message::text(text)).is_err() {
                    return;
                }
            }
        }
    }

    /// The next events, once there are some; `None` when all is over.
    fn events_after(&self, id: &str, cursor: usize) -> Option<Vec<String>> {
        let mut sessions = self.sessions.lock().unwrap();
        loop {
            if self.over.load(Ordering::Relaxed) {
                return None;
            }
            let events = &sessions[id].events;
            if cursor < events.len() {
                return Some(events[cursor..].to_vec());
            }
            let look = Duration::from_millis(50);
            sessions = self.changed.wait_timeout(sessions, look).unwrap().0;
        }
    }
}

/// Head, body and length of the first request, if it is whole.
fn request(received: &[u8]) -> Option<(String, String, usize)> {
    let text = std::str::from_utf8(received).unwrap();
    let (head, rest) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let body = rest.get(..length.parse().unwrap())?;
    Some((head.to_owned(), body.to_owned(), head.len() + 4 + body.len()))
}

fn reply(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}
