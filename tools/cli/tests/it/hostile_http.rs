//! Bytes that are no request, or could be two: answered with a refusal and the end of the
//! connection, never with silence, a panic, or a guess.

use std::io::Write;
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::http::{Connection, Request};
use crate::random::Random;
use crate::server::{PATIENCE, Server};
use crate::session::{loose, numbered, unique};

/// Heads (or whole requests) that must be answered 400 and closed. `$` stands for a request that a
/// guess would let through behind it.
const SMUGGLING: &[(&str, &[u8])] = &[
    ("both lengths", b"POST /v1/sessions HTTP/1.1\r\nhost: x\r\ncontent-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n$"),
    ("both lengths, other order", b"POST /v1/sessions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ncontent-length: 6\r\n\r\n0\r\n\r\n$"),
    ("two different lengths", b"POST /v1/sessions HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\ncontent-length: 2\r\n\r\n{}$"),
    ("two equal lengths", b"POST /v1/sessions HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\n{}$"),
    ("a list of lengths", b"POST /v1/sessions HTTP/1.1\r\nhost: x\r\ncontent-length: 2, 2\r\n\r\n{}$"),
    ("a length with a plus", b"POST /v1/sessions HTTP/1.1\r\nhost: x\r\ncontent-length: +2\r\n\r\n{}$"),
    ("a negative length", b"POST /v1/sessions HTTP/1.1\r\nhost: x\r\ncontent-length: -2\r\n\r\n{}$"),
    ("a hexadecimal length", b"POST /v1/sessions HTTP/1.1\r\nhost: x\r\ncontent-length: 0x2\r\n\r\n{}$"),
    ("a length with words", b"POST /v1/sessions HTTP/1.1\r\nhost: x\r\ncontent-length: two\r\n\r\n{}$"),
    ("a length with a space in it", b"POST /v1/sessions HTTP/1.1\r\nhost: x\r\ncontent-length: 1 0\r\n\r\n{}$"),
    ("an empty length", b"POST /v1/sessions HTTP/1.1\r\nhost: x\r\ncontent-length:\r\n\r\n{}$"),
    ("a length beyond 64 bits", b"POST /v1/sessions HTTP/1.1\r\nhost: x\r\ncontent-length: 18446744073709551618\r\n\r\n{}$"),
    ("an unknown encoding", b"POST /v1/sessions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip\r\n\r\n{}$"),
    ("chunked is not last", b"POST /v1/sessions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n$"),
    ("chunked among two headers", b"POST /v1/sessions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n$"),
    ("a misspelled encoding", b"POST /v1/sessions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n$"),
    ("an encoding before HTTP/1.1", b"POST /v1/sessions HTTP/1.0\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n$"),
    ("a folded header", b"GET /v1/sessions HTTP/1.1\r\nhost: x\r\nx-a: b\r\n c\r\n\r\n$"),
    ("a folded length", b"POST /v1/sessions HTTP/1.1\r\nhost: x\r\ncontent-length:\r\n 2\r\n\r\n{}$"),
    ("a space before the colon", b"POST /v1/sessions HTTP/1.1\r\nhost: x\r\ncontent-length : 2\r\n\r\n{}$"),
    ("a header without a colon", b"GET /v1/sessions HTTP/1.1\r\nhost: x\r\nnonsense\r\n\r\n$"),
    ("a header without a name", b"GET /v1/sessions HTTP/1.1\r\nhost: x\r\n: y\r\n\r\n$"),
    ("a space in a name", b"GET /v1/sessions HTTP/1.1\r\nhost: x\r\nx y: z\r\n\r\n$"),
    ("a NUL in a name", b"GET /v1/sessions HTTP/1.1\r\nhost: x\r\nx\0: z\r\n\r\n$"),
    ("a NUL in a value", b"GET /v1/sessions HTTP/1.1\r\nhost: x\r\nx: a\0b\r\n\r\n$"),
    ("a NUL in the target", b"GET /v1/sessions\0 HTTP/1.1\r\nhost: x\r\n\r\n$"),
    ("a bare carriage return in a value", b"GET /v1/sessions HTTP/1.1\r\nhost: x\r\nx: a\rb: c\r\n\r\n$"),
    ("bare line feeds", b"GET /v1/sessions HTTP/1.1\nhost: x\n\n$"),
    ("one bare line feed", b"GET /v1/sessions HTTP/1.1\r\nhost: x\nx: y\r\n\r\n$"),
    ("a bare line feed at the end", b"GET /v1/sessions HTTP/1.1\r\nhost: x\r\n\n$"),
    ("a space before the first header", b"GET /v1/sessions HTTP/1.1\r\n host: x\r\n\r\n$"),
    ("no version", b"GET /v1/sessions\r\n\r\n$"),
    ("an unknown version", b"GET /v1/sessions HTTP/1.9\r\nhost: x\r\n\r\n$"),
    ("the version of another protocol", b"GET /v1/sessions HTTP/2.0\r\nhost: x\r\n\r\n$"),
    ("a space in the target", b"GET /v1/sessions x HTTP/1.1\r\nhost: x\r\n\r\n$"),
    ("a control in the method", b"G\x01T /v1/sessions HTTP/1.1\r\nhost: x\r\n\r\n$"),
    ("no method", b" /v1/sessions HTTP/1.1\r\nhost: x\r\n\r\n$"),
    ("a greeting of another kind", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
    ("text", b"hello there\r\n\r\n"),
    ("a chunk size beyond 64 bits", b"POST /v1/sessions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n10000000000000002\r\n{}\r\n0\r\n\r\n$"),
    ("a chunk size with a sign", b"POST /v1/sessions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n+2\r\n{}\r\n0\r\n\r\n$"),
    ("a chunk size with a prefix", b"POST /v1/sessions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n$"),
    ("a chunk size of words", b"POST /v1/sessions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n$"),
    ("a chunk without a size", b"POST /v1/sessions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n\r\n{}\r\n0\r\n\r\n$"),
    ("a chunk longer than it says", b"POST /v1/sessions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n$"),
    ("a chunk ended by a bare line feed", b"POST /v1/sessions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n2\n{}\n0\n\n$"),
    ("a line feed in a chunk extension", b"POST /v1/sessions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n2;a\nb\r\n{}\r\n0\r\n\r\n$"),
];

/// Where RFC 9112 lets a server choose, and ours reads one request without a doubt about where it ends:
/// a chunked body wins over a length and the connection ends after it, equal lengths are one, a bare
/// line feed ends a line. What follows such a request is the next one.
const CHOICES: &[&str] = &[
    "both lengths",
    "both lengths, other order",
    "two equal lengths",
    "bare line feeds",
    "one bare line feed",
    "a bare line feed at the end",
];

/// A request a guess would let through.
fn smuggled(id: &str) -> Vec<u8> {
    Request::post("/v1/sessions").json(&json!({"id": id})).bytes()
}

#[test]
fn what_could_be_two_requests_is_refused_and_the_connection_ends() {
    let server = Server::shared();
    let api = server.api();
    let send = |(what, bytes): &(&'static str, &'static [u8])| {
        let id = unique("smuggled");
        let (head, behind) = match bytes.strip_suffix(b"$") {
            Some(head) => (head, smuggled(&id)),
            None => (*bytes, Vec::new()),
        };
        let mut connection = Connection::open(server.address()).expect("it listens");
        connection.send(&[head, &behind].concat()).expect("sent");
        (*what, id, connection)
    };
    // All at once: the server may linger at each before it ends the connection.
    let sent: Vec<(&str, String, Connection)> = SMUGGLING.iter().map(send).collect();
    let mut wrong = Vec::new();
    for (what, id, mut connection) in sent {
        let answer = match connection.receive("POST") {
            Ok(response) if CHOICES.contains(&what) => {
                if !matches!(response.status, 200 | 201) {
                    wrong.push(format!("{what}: {}", response.status));
                }
                continue;
            }
            Ok(response) => match connection.read_to_end() {
                Ok(rest) if rest.is_empty() => response.status.to_string(),
                Ok(_) => format!("{} and another answer", response.status),
                Err(error) => format!("{}, then {error}", response.status),
            },
            Err(error) => error.to_string(),
        };
        if answer != "400" {
            wrong.push(format!("{what}: {answer}"));
        }
        let found = api.get(&format!("/v1/sessions/{id}")).status;
        if found != 404 {
            wrong.push(format!("{what}: the request behind it was let through"));
        }
    }
    assert!(wrong.is_empty(), "400 and the end were due:\n{}", wrong.join("\n"));
}

#[test]
fn what_is_spoken_elsewhere_ends_the_connection() {
    let server = Server::shared();
    let greetings: [&[u8]; 4] = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
    ];
    for greeting in greetings {
        let mut connection = Connection::open(server.address()).expect("it listens");
        connection.send(greeting).expect("sent");
        connection.read_to_end().expect("the connection ends");
    }
}

#[test]
fn requests_in_a_row_are_answered_in_their_order() {
    let server = Server::shared();
    let api = server.api();
    let id = api.session("row");
    let mut bytes = Vec::new();
    let target = format!("/v1/sessions/{id}/append");
    for n in 1..=30 {
        bytes.extend(Request::post(&target).json(&numbered("p", n)).bytes());
        bytes.extend(Request::get(&format!("/v1/sessions/{id}/events?cursor={}", n - 1)).bytes());
        bytes.extend(Request::get("/v1/sessions/none").bytes());
    }
    let mut connection = Connection::open(server.address()).expect("it listens");
    connection.send(&bytes).expect("sent");
    for n in 1..=30 {
        let reply = connection.receive("POST").expect("an answer").expect(201);
        assert_eq!(reply["seq"], json!(n));
        let page = connection.receive("GET").expect("an answer").expect(200);
        assert_eq!(page["last_seq"], json!(n));
        connection.receive("GET").expect("an answer").refused(404, "session_not_found");
    }
}

#[test]
fn a_request_in_pieces_is_one_request() {
    let server = Server::shared();
    let api = server.api();
    let id = unique("pieces");
    let mut connection = Connection::open(server.address()).expect("it listens");
    for byte in Request::post("/v1/sessions").json(&json!({"id": id})).bytes() {
        connection.send(&[byte]).expect("sent");
    }
    assert_eq!(connection.receive("POST").expect("an answer").expect(201)["id"], id);
    assert_eq!(api.row(&id)["id"], id);
}

#[test]
fn garbage_ends_a_connection_and_nothing_else() {
    let server = Server::shared();
    let mut random = Random::announced("garbage");
    let valid = Request::post("/v1/sessions").json(&json!({})).bytes();
    for round in 0..300 {
        let mut bytes = match round % 3 {
            0 => {
                let length = random.between(1, 4_000);
                random.bytes(usize::try_from(length).expect("small"))
            }
            _ => valid.clone(),
        };
        if round % 3 == 1 {
            // One byte of a valid request is another.
            let place = usize::try_from(random.between(0, bytes.len() as u64)).expect("small");
            bytes[place] = random.bytes(1)[0];
        }
        if round % 3 == 2 {
            let place = usize::try_from(random.between(0, bytes.len() as u64)).expect("small");
            bytes.truncate(place);
        }
        let mut connection = Connection::open(server.address()).expect("it listens");
        connection.send(&bytes).expect("sent");
        let _ = connection.finish();
        connection.read_to_end().unwrap_or_else(|error| panic!("{error} after {bytes:?}"));
    }
    server.api().get("/health/ready").expect(200);
}

#[test]
fn half_open_sockets_are_let_go() {
    let server = Server::shared();
    let api = server.api();
    let id = api.session("half");
    let append = Request::post(&format!("/v1/sessions/{id}/append")).json(&loose("x")).bytes();
    for place in [0, 1, 20, append.len() - 1] {
        let mut connection = Connection::open(server.address()).expect("it listens");
        connection.send(&append[..place]).expect("sent");
        connection.finish().expect("half of it is closed");
        connection.read_to_end().expect("the server closes the other half");
    }
    assert_eq!(api.events(&id).len(), 0, "half a request does nothing");
    // A whole one may be answered or not, but does its deed once at most.
    let mut connection = Connection::open(server.address()).expect("it listens");
    connection.send(&append).expect("sent");
    connection.finish().expect("half of it is closed");
    connection.read_to_end().expect("the server closes the other half");
    assert!(api.events(&id).len() <= 1);
    // Gone without a word in the middle of things, with and without unread answers.
    for round in 0..100 {
        let mut connection = Connection::open(server.address()).expect("it listens");
        connection.send(&append[..append.len() - round % 2]).expect("sent");
        let socket = socket2::SockRef::from(connection.stream());
        socket.set_linger(Some(Duration::ZERO)).expect("a reset is due");
    }
    api.get("/health/ready").expect(200);
}

#[test]
fn slow_senders_are_cut_off_while_others_are_served() {
    let server = Server::shared();
    let head = b"POST /v1/sessions HTTP/1.1\r\nhost: x\r\nx-slow: ";
    let body = b"POST /v1/sessions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                 content-length: 1000\r\n\r\n{";
    let starts: [&[u8]; 3] = [b"P", head, body];
    thread::scope(|scope| {
        for start in starts {
            for drips in [true, false] {
                let server = &server;
                scope.spawn(move || {
                    let mut connection = Connection::open(server.address()).expect("it listens");
                    connection.send(start).expect("sent");
                    connection.set_patience(Duration::from_millis(500));
                    let mut waited = Duration::ZERO;
                    // A closed connection shows in the read; writes may go into the void for long.
                    while connection.read_to_end().is_err() {
                        waited += Duration::from_millis(500);
                        assert!(waited < 2 * PATIENCE, "{start:?} holds its connection");
                        if drips {
                            let _ = connection.stream().write(b"a");
                        }
                    }
                });
            }
        }
        let api = server.api();
        let id = api.session("beside");
        for n in 1..=200 {
            api.append(&id, &numbered("p", n)).expect(201);
        }
    });
    server.api().get("/health/ready").expect(200);
}

#[test]
fn a_client_that_never_reads_its_answers_is_let_go() {
    let server = Server::shared();
    let api = server.api();
    let id = api.session("unread");
    for _ in 0..3 {
        api.append(&id, &loose(&"u".repeat(2_000_000))).expect(201);
    }
    let page = Request::get(&format!("/v1/sessions/{id}/events")).bytes();
    let before = server.resident_bytes();
    let unread: Vec<Connection> = (0..50)
        .map(|_| {
            let mut connection = Connection::open(server.address()).expect("it listens");
            connection.send(&page.repeat(20)).expect("sent");
            connection
        })
        .collect();
    for _ in 0..20 {
        api.get("/health/ready").expect(200);
        thread::sleep(Duration::from_millis(50));
    }
    let grown = server.resident_bytes().saturating_sub(before);
    println!("50 unread answers of 6 MB each, 20 times asked for: {grown} bytes more");
    assert!(grown < 50 * 16 * 1024 * 1024, "one answer each, not twenty: {grown}");
    for connection in &unread {
        let _ = connection.stream().shutdown(Shutdown::Both);
    }
    api.get("/health/ready").expect(200);
}
