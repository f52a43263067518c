//! HTTP/1.1 as bytes: what is no HTTP, what hides a request in another, what is too large, and what
//! happens to a connection afterwards.

use model::limits::{BODY_BYTES_MAX, HEAD_BYTES_MAX, HEADERS_MAX};

use super::server::{Client, Server, Special};

/// A request that must not be answered when it hides behind another.
const HIDDEN: &str = "GET /health/live HTTP/1.1\r\nhost: hidden\r\n\r\n";

#[test]
fn requests_that_could_be_read_in_two_ways_are_refused() {
    let server = Server::start();
    let chunked = "transfer-encoding: chunked\r\n";
    let cases = [
        format!("content-length: 4\r\n{chunked}\r\n0\r\n\r\n"),
        format!("{chunked}content-length: 4\r\n\r\n0\r\n\r\n"),
        "content-length: 0\r\ncontent-length: 4\r\n\r\n".to_owned(),
        "content-length: +5\r\n\r\nhello".to_owned(),
        "content-length: -1\r\n\r\n".to_owned(),
        "content-length: 0x5\r\n\r\nhello".to_owned(),
        "content-length: 5, 6\r\n\r\nhello".to_owned(),
        "content-length: 5 5\r\n\r\nhello".to_owned(),
        "content-length: \r\n\r\n".to_owned(),
        "content-length: 99999999999999999999\r\n\r\n".to_owned(),
        "content-length : 0\r\n\r\n".to_owned(),
        "transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n".to_owned(),
        "transfer-encoding: identity\r\n\r\n".to_owned(),
        "transfer-encoding: xchunked\r\n\r\n0\r\n\r\n".to_owned(),
        "transfer-encoding : chunked\r\n\r\n0\r\n\r\n".to_owned(),
        format!("{chunked}\r\n-1\r\n\r\n"),
        format!("{chunked}\r\n0x1\r\na\r\n0\r\n\r\n"),
        format!("{chunked}\r\nffffffffffffffff1\r\na\r\n0\r\n\r\n"),
        format!("{chunked}\r\n1\r\nab\r\n0\r\n\r\n"),
        format!("{chunked}\r\n\r\n"),
        "x: a\r\n continued: b\r\n\r\n".to_owned(),
        "x: a\0b\r\n\r\n".to_owned(),
        "x\r\n\r\n".to_owned(),
        "x y: a\r\n\r\n".to_owned(),
        ": a\r\n\r\n".to_owned(),
        "x: a\rb: c\r\n\r\n".to_owned(),
    ];
    for case in cases {
        let mut client = server.connect();
        client.send(format!("POST /v1/sessions/none/append HTTP/1.1\r\nhost: t\r\n{case}{HIDDEN}"));
        let first = client.response();
        let status = first.as_ref().map(|response| response.status);
        assert_eq!(status, Some(400), "{case:?} gives {first:?}");
        assert_eq!(client.rest(), b"", "nothing follows {case:?}");
    }
}

#[test]
fn a_request_is_for_one_host_and_of_one_version() {
    let server = Server::start();
    let chunked = "transfer-encoding: chunked\r\n";
    let cases = [
        ("1.1", String::new(), 400),
        ("1.1", "host: a\r\nhost: b\r\n".to_owned(), 400),
        ("1.0", "host: a\r\nhost: b\r\n".to_owned(), 400),
        ("1.0", format!("host: a\r\n{chunked}"), 400),
        ("1.0", String::new(), 200),
        ("1.1", "host: a\r\nconnection: close\r\n".to_owned(), 200),
    ];
    for (version, headers, status) in cases {
        let mut client = server.connect();
        client.send(format!("GET /health/live HTTP/{version}\r\n{headers}\r\n{HIDDEN}"));
        let answer = client.response().map(|response| response.status);
        assert_eq!(answer, Some(status), "{version} {headers:?}");
        assert_eq!(client.rest(), b"", "nothing follows {version} {headers:?}");
    }
}

#[test]
fn what_is_no_http_is_refused() {
    let server = Server::start();
    for line in [
        "GET  /health/live HTTP/1.1",
        "GET /health/live HTTP/2.0",
        "GET /health/live HTTP/1.1 x",
        "GET /health/live",
        "/health/live",
        "G\0T / HTTP/1.1",
        "GET /health live HTTP/1.1",
        "\u{16}\u{3}\u{1}",
    ] {
        let mut client = server.connect();
        client.send(format!("{line}\r\nhost: t\r\n\r\n{HIDDEN}"));
        assert_eq!(client.response().map(|response| response.status), Some(400), "{line:?}");
        assert_eq!(client.rest(), b"", "nothing follows {line:?}");
    }
}

#[test]
fn a_chunked_body_is_a_body() {
    let server = Server::start();
    let mut client = server.connect();
    client.send(
        "POST /v1/sessions HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n\
         7;x=y\r\n{\"id\":\"\r\n3\r\nabc\r\n2\r\n\"}\r\n0\r\ncontent-length: 9\r\n\r\n",
    );
    assert_eq!(client.response().unwrap().json()["id"], "abc");
    assert_eq!(client.ask("GET", "/v1/sessions/abc", "").status, 200);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = Server::start();
    let mut client = server.connect();
    let bodies = ["1", "2", "3", "4"].map(|id| format!("{{\"id\":\"{id}\"}}"));
    let requests = bodies.map(|body| {
        let length = body.len();
        format!("POST /v1/sessions HTTP/1.1\r\nhost: t\r\ncontent-length: {length}\r\n\r\n{body}")
    });
    client.send(requests.concat());
    let ids: Vec<String> = (0..4)
        .map(|_| client.response().unwrap().json()["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids, ["1", "2", "3", "4"]);
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let server = Server::start();
    let mut client = server.connect();
    let request =
        "POST /v1/sessions HTTP/1.1\r\nhost: t\r\ncontent-length: 10\r\n\r\n{\"id\":\"a\"}";
    for byte in request.as_bytes() {
        client.send([*byte]);
    }
    assert_eq!(client.response().unwrap().status, 201);
}

#[test]
fn heads_beyond_their_bounds_are_refused() {
    let server = Server::start();
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nhost: t\r\n");
    client.send("x: y\r\n".repeat(HEADERS_MAX + 1));
    client.send("\r\n");
    assert_eq!(client.response().unwrap().status, 431);
    assert_eq!(client.rest(), b"");
    let mut client = server.connect();
    client.send(format!("GET / HTTP/1.1\r\nx: {}\r\n", "y".repeat(HEAD_BYTES_MAX + 16 * 1024)));
    assert_eq!(client.response().unwrap().status, 431);
    let mut client = server.connect();
    client.send(format!("GET /{} HTTP/1.1\r\n\r\n", "y".repeat(HEAD_BYTES_MAX + 16 * 1024)));
    assert!(matches!(client.response().unwrap().status, 414 | 431));
}

#[test]
fn a_large_body_is_refused_before_it_is_read() {
    let server = Server::start();
    let mut client = server.connect();
    let length = BODY_BYTES_MAX + 1;
    client.send(format!(
        "POST /v1/sessions HTTP/1.1\r\nhost: t\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
    ));
    let refused = client.response().unwrap();
    assert_eq!(refused.refusal(), (413, "internal_server_error".to_owned()));
    assert_eq!(refused.header("connection"), Some("close"));
    client.finish();
    assert_eq!(client.rest(), b"");
}

#[test]
fn a_body_that_grows_too_large_is_refused() {
    let server = Server::start();
    let mut client = server.connect();
    client.send("POST /v1/sessions HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n");
    let chunk = format!("{:x}\r\n{}\r\n", 1_000_000, " ".repeat(1_000_000));
    for _ in 0..9 {
        client.send(&chunk);
    }
    assert_eq!(client.response().unwrap().status, 413);
}

#[test]
fn the_largest_body_is_taken() {
    let server = Server::start();
    let mut client = server.connect();
    client.ask("POST", "/v1/sessions", r#"{"id":"s"}"#);
    let around = r#"{"type":"t","payload":{"x":""}}"#.len();
    let text = "x".repeat(BODY_BYTES_MAX - around);
    let body = format!(r#"{{"type":"t","payload":{{"x":"{text}"}}}}"#);
    // The test's log segments are too small for it: what counts is that it was read and understood.
    let answer = client.ask("POST", "/v1/sessions/none/append", &body);
    assert_eq!(answer.refusal(), (404, "session_not_found".to_owned()));
}

#[test]
fn more_connections_than_allowed_are_refused() {
    let server = Server::special(Special { connections_max: 2, ..Special::default() });
    let mut open: Vec<_> = (0..2).map(|_| server.connect()).collect();
    for client in &mut open {
        assert_eq!(client.ask("GET", "/health/live", "").status, 200);
    }
    let mut third = server.connect();
    let refused = third.response().unwrap();
    assert_eq!(refused.refusal(), (503, "raft_unavailable".to_owned()));
    assert_eq!(refused.header("retry-after"), Some("1"));
    third.finish();
    assert_eq!(third.rest(), b"");
    drop(open.pop());
    // The place is free as soon as the server has seen the client go.
    let answered = std::iter::repeat_with(|| server.connect())
        .find_map(|mut client| {
            client.send(HIDDEN);
            client.response().filter(|response| response.status == 200)
        })
        .unwrap();
    assert_eq!(answered.status, 200);
}

#[test]
fn clients_do_not_keep_the_operator_out() {
    let special = Special { connections_max: 1, has_ops_listener: true, ..Special::default() };
    let server = Server::special(special);
    let mut client = server.connect();
    assert_eq!(client.ask("GET", "/v1/sessions", "").status, 200);
    assert_eq!(server.connect().response().unwrap().status, 503);
    let mut operators = [(); 2].map(|()| Client::connect(server.ops_address.unwrap()));
    for operator in &mut operators {
        assert_eq!(operator.ask("GET", "/health/live", "").status, 200);
    }
    drop(client);
    // Nor does the operator keep a stop waiting.
    server.stop();
}

#[test]
fn a_stop_lets_requests_finish_and_idle_connections_go() {
    let server = Server::start();
    let mut idle = server.connect();
    assert_eq!(idle.ask("GET", "/health/live", "").status, 200);
    let mut unused = server.connect();
    let mut busy = server.connect();
    busy.send("POST /v1/sessions HTTP/1.1\r\nhost: t\r\ncontent-length: 10\r\n\r\n{\"id\"");
    // The server has read the head when it answers another connection's later request.
    assert_eq!(server.ask("GET", "/health/live", "").status, 200);
    server.stopper.begin();
    assert_eq!(idle.response(), None);
    assert_eq!(unused.response(), None);
    busy.send(":\"a\"}");
    let answer = busy.response().unwrap();
    assert_eq!((answer.status, answer.header("connection")), (201, Some("close")));
    assert_eq!(busy.rest(), b"");
    server.stop();
}
