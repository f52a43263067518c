//! A stop that was asked for: what was accepted is answered, tails are told to come back, and the
//! next start finds everything.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::http::{Connection, Request, is_closed};
use crate::server::{Server, alone};
use crate::session::{Api, numbered};
use crate::ws::Frame;

#[test]
fn a_stop_under_load_answers_what_it_accepted_and_loses_nothing() {
    let _alone = alone();
    let mut server = Server::start();
    let id = server.api().session("load");
    let acknowledged = Mutex::new(BTreeMap::new());
    let address = server.address();
    let mut tail = server.api().tail(&id, "cursor=0");
    let status = thread::scope(|scope| {
        for writer in 0..16 {
            let (id, acknowledged) = (&id, &acknowledged);
            scope.spawn(move || {
                let api = Api::new(address);
                let target = format!("/v1/sessions/{id}/append");
                for n in 1.. {
                    let body = numbered(&format!("w{writer}"), n);
                    match api.try_call(&Request::post(&target).json(&body)) {
                        Ok(response) if response.status == 503 => break,
                        Ok(response) => {
                            let seq = response.expect(201)["seq"].as_u64().expect("a seq");
                            let mut acknowledged = acknowledged.lock().expect("no panic");
                            acknowledged.insert(seq, (format!("w{writer}"), n));
                        }
                        Err(error) => {
                            let refused = error.kind() == std::io::ErrorKind::ConnectionRefused;
                            assert!(refused || is_closed(&error), "{error}");
                            break;
                        }
                    }
                }
            });
        }
        thread::sleep(Duration::from_millis(500));
        server.terminate()
    });
    assert_eq!(status.code(), Some(0), "a stop that was asked for is no failure");
    let acknowledged = acknowledged.into_inner().expect("no panic");
    println!("{} appends acknowledged", acknowledged.len());
    assert!(!acknowledged.is_empty(), "the load ran");
    let last = *acknowledged.keys().next_back().expect("one at least");
    // The tail has seen a prefix and was told to come back.
    let mut next = 1;
    let (code, reason) = loop {
        match tail.next() {
            Frame::Text(text) => {
                assert!(text.starts_with(&format!("{{\"seq\":{next},")), "{next} was due: {text}");
                next += 1;
            }
            Frame::Ping => {}
            Frame::Closed(code, reason) => break (code, reason),
            other => panic!("a close frame was due, not {other:?}"),
        }
    };
    assert_eq!(code, 1012, "{reason}");
    server.run();
    let api = server.api();
    let events = api.events(&id);
    assert!(last <= u64::try_from(events.len()).expect("it fits"));
    for (place, event) in events.iter().enumerate() {
        assert_eq!(event["seq"], json!(place + 1));
    }
    for (seq, (producer, n)) in acknowledged {
        let event = &events[usize::try_from(seq).expect("small") - 1];
        assert_eq!(event["producer_id"], json!(producer));
        assert_eq!(event["payload"]["n"], json!(n));
    }
    let mut tail = api.tail(&id, &format!("cursor={}", next - 1));
    let rest = events.len() + 1 - usize::try_from(next).expect("small");
    let seqs = tail.seqs(rest);
    assert!((next..).zip(&seqs).all(|(expected, found)| expected == *found));
}

#[test]
fn a_request_that_was_read_is_answered_before_the_end() {
    let _alone = alone();
    let mut server = Server::start();
    let api = server.api();
    let ids: Vec<String> = (0..32).map(|_| api.session("in-flight")).collect();
    for round in 1..=3 {
        let mut connections: Vec<Connection> =
            ids.iter().map(|_| Connection::open(server.address()).expect("it listens")).collect();
        // Known to be accepted, not only to wait in the kernel.
        for connection in &mut connections {
            connection.call(&Request::get("/health/live")).expect("an answer").expect(200);
        }
        for (connection, id) in connections.iter_mut().zip(&ids) {
            let target = format!("/v1/sessions/{id}/append");
            let mut body = numbered("p", round);
            body["payload"]["fill"] = json!("f".repeat(100_000));
            connection.send(&Request::post(&target).json(&body).bytes()).expect("sent");
        }
        server.signal(Signal::TERM);
        let mut answered = Vec::new();
        for (connection, id) in connections.iter_mut().zip(&ids) {
            // A request that arrives after the end began may find its connection closed; one whose
            // answer has begun gets all of it.
            match connection.receive("POST") {
                Ok(response) => {
                    assert_eq!(response.expect(201)["last_seq"], json!(round));
                    answered.push(id);
                }
                Err(error) => assert!(is_closed(&error), "{error}"),
            }
        }
        assert_eq!(server.wait().code(), Some(0));
        println!("{} of {} answered", answered.len(), ids.len());
        server.run();
        let api = server.api();
        let head = usize::try_from(round).expect("small");
        for id in answered {
            assert_eq!(api.events(id).len(), head, "{id}");
        }
        for id in &ids {
            api.append(id, &{
                let mut body = numbered("p", round);
                body["payload"]["fill"] = json!("f".repeat(100_000));
                body
            })
            .expect(201);
            assert_eq!(api.events(id).len(), head, "a retry is no second event");
        }
    }
}

#[test]
fn every_tail_is_told_to_come_back() {
    let mut server = Server::start();
    let api = server.api();
    let ids: Vec<String> = (0..20).map(|_| api.session("told")).collect();
    let mut tails: Vec<_> = ids
        .iter()
        .flat_map(|id| [api.tail(id, "cursor=0"), api.tail(id, "cursor=0&batch_size=10")])
        .collect();
    for id in &ids {
        api.append_numbered(id, "p", 1, 3);
    }
    for tail in &mut tails {
        assert_eq!(tail.seqs(3), [1, 2, 3]);
    }
    server.signal(Signal::TERM);
    for tail in &mut tails {
        assert_eq!(tail.closed().0, 1012);
    }
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn idle_and_half_sent_connections_do_not_hold_up_the_end() {
    let mut server = Server::start();
    let mut idle: Vec<Connection> =
        (0..20).map(|_| Connection::open(server.address()).expect("it listens")).collect();
    for connection in idle.iter_mut().take(10) {
        connection.call(&Request::get("/health/live")).expect("an answer");
    }
    for connection in idle.iter_mut().skip(15) {
        connection.send(b"POST /v1/sessions HTTP/1.1\r\nhost: x\r\n").expect("sent");
    }
    assert_eq!(server.terminate().code(), Some(0));
    for connection in &mut idle {
        connection.read_to_end().expect("the server has closed");
    }
}

#[test]
fn a_stop_by_the_keyboard_is_as_clean() {
    let mut server = Server::start();
    let api = server.api();
    let id = api.session("interrupt");
    api.append_numbered(&id, "p", 1, 5);
    server.signal(Signal::INT);
    assert_eq!(server.wait().code(), Some(0));
    server.run();
    assert_eq!(server.api().events(&id).len(), 5);
}
