//! Raw tails: items 7, 8 and 11 of the checklist and the examples of appendix A.3.

use std::thread;

use serde_json::{Value, json};
use tungstenite::Message;

use crate::http::Request;
use crate::server::{Server, alone};
use crate::session::{is_timestamp, loose, numbered};
use crate::ws::{Frame, Tail};

fn seq(event: &Value) -> u64 {
    event["seq"].as_u64().expect("an event has a seq")
}

#[test]
fn a03_what_cannot_be_upgraded_is_answered_as_json_in_the_contracts_order() {
    let server = Server::shared();
    let api = server.api();
    let id = api.session("upgrade");
    let plain = |session: &str, query: &str| {
        server.api().get(&format!("/v1/sessions/{session}/tail{query}"))
    };
    let upgrade = |session: &str, query: &str| {
        let target = format!("/v1/sessions/{session}/tail{query}");
        server.api().call(&Request::get(&target).upgrade())
    };
    // The upgrade header is looked at before the parameters, those before the session.
    for query in ["", "?cursor=0", "?cursor=bad", "?batch_size=bad"] {
        plain(&id, query).refused(400, "invalid_websocket_upgrade");
        plain("none", query).refused(400, "invalid_websocket_upgrade");
    }
    for cursor in ["bad", "-1", "1.5", "", "%201", "1%20", "1x", "null", "9999999999999999999999"] {
        for rest in ["", "&batch_size=bad"] {
            let query = format!("?cursor={cursor}{rest}");
            upgrade(&id, &query).refused(400, "invalid_cursor");
            upgrade("none", &query).refused(400, "invalid_cursor");
        }
    }
    for size in ["bad", "0", "1001", "-1", "1.5", "", "2x"] {
        let query = format!("?cursor=0&batch_size={size}");
        upgrade(&id, &query).refused(400, "invalid_tail_batch_size");
        upgrade("none", &query).refused(400, "invalid_tail_batch_size");
    }
    upgrade("none", "?cursor=0").refused(404, "session_not_found");
    upgrade("none", "").refused(404, "session_not_found");
    upgrade("none", "?cursor=7&batch_size=1000").refused(404, "session_not_found");
}

#[test]
fn an_upgrade_that_breaks_the_protocol_is_refused() {
    let server = Server::shared();
    let id = server.api().session("handshake");
    let target = format!("/v1/sessions/{id}/tail");
    let with = |connection: &str, upgrade: &str, version: &str, key: Option<&str>| {
        let mut request = Request::get(&target)
            .header("connection", connection)
            .header("upgrade", upgrade)
            .header("sec-websocket-version", version);
        if let Some(key) = key {
            request = request.header("sec-websocket-key", key);
        }
        server.api().call(&request)
    };
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    with("Upgrade", "h2c", "13", Some(key)).refused(400, "invalid_websocket_upgrade");
    for response in
        [with("Upgrade", "websocket", "13", None), with("Upgrade", "websocket", "8", Some(key))]
    {
        assert!(matches!(response.status, 400 | 426), "{}", response.status);
    }
    // Header values are compared without regard to case, and a list may hold them.
    let response = with("keep-alive, upgrade", "WebSocket", "13", Some(key));
    assert_eq!(response.status, 101, "{}", response.text());
    assert_eq!(response.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    let request = Request::get(&target).upgrade().header("origin", "https://any.example");
    assert_eq!(server.api().call(&request).status, 101, "the origin is not looked at");
}

#[test]
fn b07_replay_is_followed_by_what_comes() {
    let server = Server::shared();
    let api = server.api();
    let id = api.session("live");
    api.append_numbered(&id, "p", 1, 3);
    let mut tail = api.tail(&id, "cursor=0");
    assert_eq!(tail.seqs(3), [1, 2, 3]);
    for n in 4..=10 {
        api.append(&id, &numbered("p", n)).expect(201);
        assert_eq!(tail.seqs(1), [n]);
    }
    // A retry and a refusal are not events.
    api.append(&id, &numbered("p", 10)).expect(201);
    api.append(&id, &numbered("p", 12)).refused(409, "producer_seq_conflict");
    api.append(&id, &numbered("p", 11)).expect(201);
    assert_eq!(tail.seqs(1), [11]);
}

#[test]
fn b07_a_tail_resumes_from_every_cursor() {
    let server = Server::shared();
    let api = server.api();
    let id = api.session("resume");
    let head = 25;
    api.append_numbered(&id, "p", 1, head);
    let mut tails: Vec<(u64, Tail)> =
        (0..=head).map(|cursor| (cursor, api.tail(&id, &format!("cursor={cursor}")))).collect();
    tails.push((0, api.tail(&id, "")));
    tails.push((3, api.tail(&id, "cursor=%2B3")));
    api.append_numbered(&id, "p", head + 1, head + 2);
    for (cursor, tail) in &mut tails {
        let expected: Vec<u64> = (*cursor + 1..=head + 2).collect();
        assert_eq!(tail.seqs(expected.len()), expected, "from {cursor}");
    }
}

#[test]
fn b07_a_cursor_ahead_of_the_head_waits_for_what_lies_behind_it() {
    let server = Server::shared();
    let api = server.api();
    let id = api.session("ahead");
    api.append_numbered(&id, "p", 1, 2);
    let mut tail = api.tail(&id, "cursor=4");
    api.append_numbered(&id, "p", 3, 6);
    let first = tail.seqs(1)[0];
    assert!(4 < first, "what the client says it has is not sent again");
}

/// Appends events without a producer from several hands until the session has `last`.
fn fill(server: &Server, id: &str, first: u64, last: u64) {
    thread::scope(|scope| {
        for hand in 0..8 {
            scope.spawn(move || {
                let api = server.api();
                for n in (first..=last).filter(|n| n % 8 == hand) {
                    api.append(id, &loose(&n.to_string())).expect(201);
                }
            });
        }
    });
}

/// Reads a tail up to `last`, whatever the frames; they keep to the batch size.
fn read_to(mut tail: Tail, cursor: u64, batch: usize, last: u64) {
    let mut next = cursor + 1;
    while next <= last {
        let frame = match tail.json() {
            Value::Array(events) => {
                assert!(1 < batch && (1..=batch).contains(&events.len()));
                events
            }
            event => {
                assert_eq!(batch, 1);
                vec![event]
            }
        };
        for event in frame {
            assert_eq!(seq(&event), next, "from {cursor} by {batch}");
            next += 1;
        }
    }
}

#[test]
fn b07_what_is_appended_during_the_replay_comes_in_its_turn() {
    let _alone = alone();
    let server = Server::start();
    let id = server.api().session("during");
    let (head, more) = (2_500, 1_500);
    fill(&server, &id, 1, head);
    thread::scope(|scope| {
        let (server, id) = (&server, &id);
        scope.spawn(move || fill(server, id, head + 1, head + more));
        for cursor in [0, 1, 999, 1000, 1001, 2000, 2499, 2500] {
            for batch in [1, 7, 1000] {
                scope.spawn(move || {
                    let query = format!("cursor={cursor}&batch_size={batch}");
                    read_to(server.api().tail(id, &query), cursor, batch, head + more);
                });
            }
        }
    });
}

#[test]
fn b08_one_event_is_an_object_and_several_are_an_array() {
    let server = Server::shared();
    let api = server.api();
    let id = api.session("frames");
    api.append_numbered(&id, "p", 1, 3);
    let mut single = api.tail(&id, "cursor=0");
    let mut explicit = api.tail(&id, "cursor=0&batch_size=1");
    let mut pairs = api.tail(&id, "cursor=0&batch_size=2");
    let mut many = api.tail(&id, "cursor=0&batch_size=1000");
    let mut live = api.tail(&id, "cursor=3&batch_size=5");
    for n in 1..=3 {
        assert_eq!(seq(&single.json()), n);
        assert_eq!(seq(&explicit.json()), n);
    }
    let seqs = |tail: &mut Tail| {
        let Value::Array(events) = tail.json() else { panic!("an array was due") };
        events.iter().map(seq).collect::<Vec<u64>>()
    };
    assert_eq!(seqs(&mut pairs), [1, 2]);
    assert_eq!(seqs(&mut pairs), [3]);
    assert_eq!(seqs(&mut many), [1, 2, 3]);
    api.append_numbered(&id, "p", 4, 4);
    assert_eq!(seq(&single.json()), 4);
    assert_eq!(seq(&explicit.json()), 4);
    for tail in [&mut pairs, &mut many, &mut live] {
        assert_eq!(seqs(tail), [4], "a live event is in an array too");
    }
}

#[test]
fn b08_a_tail_shows_the_stored_event() {
    let server = Server::shared();
    let api = server.api();
    let id = api.session("shape");
    let mut live = api.tail(&id, "cursor=0");
    let body = json!({
        "type": "state", "payload": {"state": "running"}, "actor": "agent:researcher",
        "producer_id": "writer_123", "producer_seq": 8, "source": "agent",
        "idempotency_key": "k", "refs": {"step": 1}, "metadata": {"m": 1},
    });
    api.append(&id, &body).expect(201);
    let event = live.json();
    for (name, value) in body.as_object().expect("an object") {
        if name != "metadata" {
            assert_eq!(event[name], *value, "{name}");
        }
    }
    assert_eq!(seq(&event), 1);
    assert_eq!(event["tenant_id"], "service");
    assert_eq!(event["metadata"]["m"], json!(1));
    assert!(is_timestamp(&event["inserted_at"]), "{event}");
    api.append(&id, &loose("no source")).expect(201);
    let event = live.json();
    let null = Value::Null;
    for member in ["source", "metadata", "refs", "producer_id", "producer_seq"] {
        assert_ne!(event.get(member), Some(&null), "{member}");
    }
    let mut replay = api.tail(&id, "cursor=1");
    assert_eq!(replay.json(), event, "replayed as it was sent live");
}

#[test]
fn b08_an_event_is_not_seen_before_it_is_there_and_not_by_others() {
    let server = Server::shared();
    let api = server.api();
    let (mine, other) = (api.session("mine"), api.session("other"));
    let mut tail = api.tail(&mine, "cursor=0");
    for n in 1..=20 {
        api.append(&other, &numbered("p", n)).expect(201);
        api.append(&mine, &numbered("p", n)).expect(201);
        let event = tail.json();
        assert_eq!(seq(&event), n);
        assert_eq!(api.events(&mine).len(), usize::try_from(n).expect("small"));
    }
}

#[test]
fn b11_many_tails_of_one_session_all_see_all() {
    let server = Server::start();
    let api = server.api();
    let id = api.session("many-tails");
    let count = 200;
    api.append_numbered(&id, "p", 1, 10);
    let mut tails: Vec<Tail> =
        (0..count).map(|n| api.tail(&id, &format!("cursor={}", n % 11))).collect();
    thread::scope(|scope| {
        for hand in 0..4 {
            let (server, id) = (&server, &id);
            scope.spawn(move || server.api().append_numbered(id, &format!("w{hand}"), 1, 25));
        }
    });
    for (n, tail) in (0_u64..).zip(&mut tails) {
        let expected: Vec<u64> = (n % 11 + 1..=110).collect();
        assert_eq!(tail.seqs(expected.len()), expected, "tail {n}");
    }
    // Those that leave do not disturb those that stay.
    let mut stay: Vec<Tail> = tails.into_iter().step_by(2).collect();
    api.append_numbered(&id, "p", 11, 11);
    for tail in &mut stay {
        assert_eq!(tail.seqs(1), [111]);
    }
}

#[test]
fn b11_a_tail_survives_what_a_client_may_send() {
    let server = Server::shared();
    let api = server.api();
    let id = api.session("inbound");
    let mut tail = api.tail(&id, "cursor=0");
    tail.send(Message::text("hello")).expect("text can be sent");
    tail.send(Message::binary(vec![0, 255, 1])).expect("bytes can be sent");
    tail.send(Message::Ping(b"are you there".to_vec().into())).expect("a ping can be sent");
    match tail.message().expect("an answer") {
        Message::Pong(payload) => assert_eq!(&payload[..], b"are you there"),
        other => panic!("a pong was due, not {other:?}"),
    }
    api.append_numbered(&id, "p", 1, 1);
    assert_eq!(tail.seqs(1), [1]);
    tail.send(Message::Close(None)).expect("a close frame can be sent");
    assert!(matches!(tail.next(), Frame::Closed(..) | Frame::Gone));
}

#[test]
fn b11_a_tail_reads_through_a_restart() {
    let mut server = Server::start();
    let api = server.api();
    let id = api.session("restart");
    api.append_numbered(&id, "p", 1, 50);
    let mut tail = api.tail(&id, "cursor=0");
    assert_eq!(tail.seqs(50).len(), 50);
    server.kill();
    assert!(matches!(tail.next(), Frame::Gone));
    server.run();
    let api = server.api();
    let mut tail = api.tail(&id, "cursor=20");
    assert_eq!(tail.seqs(30), (21..=50).collect::<Vec<u64>>());
    // The producer's counter has survived too: its last event is a retry, the next is new.
    let reply = api.append(&id, &numbered("p", 50)).expect(201);
    assert_eq!((&reply["seq"], &reply["deduped"]), (&json!(50), &json!(true)));
    api.append_numbered(&id, "p", 51, 51);
    assert_eq!(tail.seqs(1), [51]);
    let mut other = numbered("p", 51);
    other["payload"] = json!({"n": "other"});
    api.append(&id, &other).refused(409, "producer_replay_conflict");
}

#[test]
fn b08_an_event_of_the_largest_size_passes_whole() {
    let server = Server::start();
    let api = server.api();
    let id = api.session("whole");
    let mut live = api.tail(&id, "cursor=0&batch_size=3");
    let text = "w".repeat(7_900_000);
    for _ in 0..3 {
        api.append(&id, &loose(&text)).expect(201);
    }
    let mut replay = api.tail(&id, "cursor=0");
    for tail in [&mut live, &mut replay] {
        for event in tail.events(3) {
            assert_eq!(event["payload"]["text"], text);
        }
    }
}
