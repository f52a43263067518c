//! Tails whose reader does not keep up, tails that are quiet, and what both may cost.

use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use socket2::{Domain, Socket, Type};

use crate::server::{PATIENCE, Server, alone};
use crate::session::{Api, loose, numbered};
use crate::ws::{Frame, Tail};

/// Memory the server may grow by while stuck readers are owed far more than that, beyond the event
/// store's own budget.
const GROWTH_BYTES_MAX: u64 = 192 * 1024 * 1024;
const STUCK: usize = 24;

/// A connection that takes next to nothing before it is read.
fn narrow(server: &Server) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    socket.connect(&server.address().into()).expect("it listens");
    socket.into()
}

/// Tails that were closed because their readers did not keep up.
fn closed_as_slow(api: &Api) -> usize {
    let text = api.get("/metrics").text();
    let line = text
        .lines()
        .find(|line| line.starts_with("starcite_tails_closed_total{") && line.contains("too_slow"));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

/// Waits for a ping on a tail that has nothing to say.
fn wait_for_ping(mut tail: Tail) {
    tail.set_patience(2 * PATIENCE);
    assert_eq!(tail.next(), Frame::Ping, "a quiet tail is pinged");
}

#[test]
fn stuck_readers_are_closed_with_a_reason_and_harm_nobody() {
    let _alone = alone();
    let server = Server::start_with(&[("STARCITE_EVENT_STORE_MAX_SIZE", "32MB")]);
    let api = server.api();
    let quiet = api.session("quiet");
    let ping = {
        let tail = api.tail(&quiet, "cursor=0");
        thread::spawn(move || wait_for_ping(tail))
    };
    let id = api.session("flood");
    let mut healthy = api.tail(&id, "cursor=0&batch_size=100");
    let mut stuck: Vec<Tail> = (0..STUCK)
        .map(|_| Tail::over(narrow(&server), &id, "cursor=0").expect("the tail opens"))
        .collect();
    let before = server.resident_bytes();
    let mut most = before;
    let (mut n, start) = (0_u64, Instant::now());
    // Every stuck reader is owed all of this; why each was closed can be read in the metrics.
    while n < 256 || closed_as_slow(&api) < STUCK {
        n += 1;
        let mut body = numbered("p", n);
        body["payload"] = json!({"n": n, "fill": "f".repeat(256 * 1024)});
        if n <= 256 {
            api.append(&id, &body).expect(201);
            assert_eq!(healthy.seqs(1), [n], "the healthy one is not held up");
        } else {
            thread::sleep(Duration::from_millis(100));
        }
        most = most.max(server.resident_bytes());
        assert!(start.elapsed() < 3 * PATIENCE, "stuck readers are not closed");
    }
    println!("resident: {before} at first, {most} at most; {STUCK} readers owed 64 MiB each");
    assert!(most - before < GROWTH_BYTES_MAX, "grew from {before} to {most}");
    // What such a reader finds when it wakes up: a run of events without a hole, then the end.
    for tail in &mut stuck {
        let mut next = 1;
        loop {
            match tail.next() {
                Frame::Text(text) => {
                    let seq = format!("{{\"seq\":{next},");
                    assert!(text.starts_with(&seq), "{seq} was due: {}", &text[..40]);
                    next += 1;
                }
                Frame::Ping => {}
                Frame::Closed(code, reason) => {
                    assert!(!reason.is_empty(), "closed with {code} and no reason");
                    break;
                }
                Frame::Gone => break,
                Frame::Silence => panic!("it is neither served nor closed"),
            }
        }
        assert!(next <= 256, "the reader was closed before the end");
    }
    api.append(&quiet, &loose("still here")).expect(201);
    ping.join().expect("the quiet tail is pinged and stays");
}

#[test]
fn a_reader_that_is_only_slow_gets_everything() {
    let server = Server::shared();
    let api = server.api();
    let id = api.session("slow");
    let mut slow = Tail::over(narrow(&server), &id, "cursor=0").expect("the tail opens");
    let text = "s".repeat(64 * 1024);
    for n in 1..=64 {
        let mut body = loose(&text);
        body["payload"]["n"] = json!(n);
        api.append(&id, &body).expect(201);
    }
    for n in 1..=64_u64 {
        assert_eq!(slow.seqs(1), [n]);
        thread::sleep(Duration::from_millis(5));
    }
}
