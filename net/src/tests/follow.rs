//! Tails over real sockets.

use serde_json::{Value, json};
use tungstenite::Message;

use super::server::{Server, Tail};

const UPGRADE: &str = "host: t\r\nconnection: keep-alive, Upgrade\r\nupgrade: WebSocket\r\n\
    sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

fn append(server: &Server, count: usize) {
    let mut client = server.connect();
    for _ in 0..count {
        let body = r#"{"type":"t","payload":{}}"#;
        assert_eq!(client.ask("POST", "/v1/sessions/s/append", body).status, 201);
    }
}

fn with_events(count: usize) -> Server {
    let server = Server::start();
    server.ask("POST", "/v1/sessions", r#"{"id":"s"}"#);
    append(&server, count);
    server
}

fn seqs(frame: &Value) -> Vec<u64> {
    let events = match frame {
        Value::Array(events) => events.clone(),
        event => vec![event.clone()],
    };
    events.iter().map(|event| event["seq"].as_u64().unwrap()).collect()
}

#[test]
fn a_tail_is_refused_in_the_contracts_order() {
    let server = with_events(0);
    let ask = |path: &str, headers: &str| {
        let mut client = server.connect();
        client.send(format!("GET {path} HTTP/1.1\r\n{headers}\r\n"));
        client.response().unwrap().refusal()
    };
    let cases = [
        ("/v1/sessions/none/tail?cursor=bad", "host: t\r\n", 400, "invalid_websocket_upgrade"),
        ("/v1/sessions/none/tail?cursor=bad&batch_size=0", UPGRADE, 400, "invalid_cursor"),
        ("/v1/sessions/none/tail?batch_size=0", UPGRADE, 400, "invalid_tail_batch_size"),
        ("/v1/sessions/none/tail?batch_size=1001", UPGRADE, 400, "invalid_tail_batch_size"),
        ("/v1/sessions/none/tail", UPGRADE, 404, "session_not_found"),
    ];
    for (path, headers, status, code) in cases {
        assert_eq!(ask(path, headers), (status, code.to_owned()), "{path}");
    }
    for (good, bad) in [
        ("upgrade: WebSocket", "upgrade: h2c"),
        ("keep-alive, Upgrade", "keep-alive"),
        ("version: 13", "version: 12"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "short"),
    ] {
        let headers = UPGRADE.replace(good, bad);
        let refusal = ask("/v1/sessions/s/tail", &headers);
        assert_eq!(refusal, (400, "invalid_websocket_upgrade".to_owned()), "{bad}");
    }
}

#[test]
fn the_handshake_proves_that_it_was_understood() {
    let server = with_events(1);
    let mut client = server.connect();
    // A masked ping in the same packet as the request: bytes behind a request are not lost.
    let mut bytes = format!("GET /v1/sessions/s/tail HTTP/1.1\r\n{UPGRADE}\r\n").into_bytes();
    bytes.extend(b"\x89\x82\0\0\0\0hi");
    client.send(bytes);
    let response = client.response().unwrap();
    assert_eq!(response.status, 101);
    assert_eq!(response.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    client.send(b"\x88\x80\0\0\0\0");
    let frames = client.rest();
    assert!(frames.starts_with(b"\x8a\x02hi\x81\x7e"), "pong, then the event: {frames:?}");
    assert!(frames.ends_with(b"\x88\x00"), "the close frame is answered: {frames:?}");
}

#[test]
fn replay_and_live_are_one_stream_of_objects() {
    let server = with_events(3);
    let mut tail = server.connect().tail("/v1/sessions/s/tail?cursor=1");
    for seq in 2..=3 {
        assert_eq!(tail.frame()["seq"], seq);
    }
    for seq in 4..=6 {
        append(&server, 1);
        assert_eq!(tail.frame()["seq"], seq);
    }
    let event = {
        append(&server, 1);
        tail.frame()
    };
    assert_eq!(event["type"], "t");
    assert_eq!(event["refs"], json!({}));
    assert!(event.get("source").is_none(), "an event without source has none");
}

#[test]
fn with_a_batch_size_every_frame_is_an_array() {
    let server = with_events(3);
    let mut tail = server.connect().tail("/v1/sessions/s/tail?cursor=0&batch_size=2");
    assert_eq!(seqs(&tail.frame()), [1, 2]);
    assert_eq!(seqs(&tail.frame()), [3]);
    append(&server, 1);
    let live = tail.frame();
    assert!(live.is_array());
    assert_eq!(seqs(&live), [4]);
}

/// Reads events until `last`, which must come in order and without a hole.
fn follow(tail: &mut Tail, cursor: u64, last: u64) {
    let mut next = cursor + 1;
    while next <= last {
        for seq in seqs(&tail.frame()) {
            assert_eq!(seq, next);
            next += 1;
        }
    }
}

#[test]
fn every_tail_gets_every_event_while_others_append() {
    const EVENTS: u64 = 400;
    let server = with_events(100);
    std::thread::scope(|scope| {
        for (cursor, batch_size) in [(0, 1), (0, 7), (50, 1000), (100, 1), (200, 3)] {
            let server = &server;
            scope.spawn(move || {
                let path = format!("/v1/sessions/s/tail?cursor={cursor}&batch_size={batch_size}");
                let mut tail = server.connect().tail(&path);
                follow(&mut tail, cursor, EVENTS);
            });
        }
        for _ in 0..3 {
            scope.spawn(|| append(&server, 100));
        }
    });
}

#[test]
fn a_large_event_arrives_whole() {
    let server = with_events(0);
    let text = "x".repeat(500_000);
    let body = format!(r#"{{"type":"t","payload":{{"x":"{text}"}}}}"#);
    let appended = server.ask("POST", "/v1/sessions/s/append", &body);
    assert_eq!(appended.status, 201, "{appended:?}");
    let mut tail = server.connect().tail("/v1/sessions/s/tail?batch_size=2");
    assert_eq!(tail.frame()[0]["payload"]["x"], text);
}

#[test]
fn messages_of_a_client_are_ignored_and_its_pings_answered() {
    let server = with_events(0);
    let mut tail = server.connect().tail("/v1/sessions/s/tail");
    tail.0.send(Message::text("hello")).unwrap();
    tail.0.send(Message::Ping("p".into())).unwrap();
    assert_eq!(tail.0.read().unwrap(), Message::Pong("p".into()));
    append(&server, 1);
    assert_eq!(tail.frame()["seq"], 1);
    tail.0.close(None).unwrap();
    assert!(matches!(tail.0.read(), Ok(Message::Close(_))));
}

#[test]
fn a_stop_closes_tails_so_that_clients_come_back() {
    let server = with_events(1);
    let mut following = server.connect().tail("/v1/sessions/s/tail");
    assert_eq!(following.frame()["seq"], 1);
    let idle = server.connect().tail("/v1/sessions/s/tail?cursor=1");
    server.stopper.begin();
    for tail in [following, idle] {
        assert_eq!(tail.end(), (1012, "service_restart".to_owned()));
    }
    server.stop();
}
