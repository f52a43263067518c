//! Frames no WebSocket client should send: the tail ends, or goes on; it does not hang, and the
//! server lives.

use std::io::Write;

use crate::http::{Connection, Request};
use crate::server::Server;
use crate::session::{Api, loose};

/// A masked frame; the mask is zero, so the payload stands as it is.
fn frame(first: u8, length: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    bytes.extend_from_slice(length);
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(payload);
    bytes
}

fn small(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("a small payload");
    frame(first, &[0x80 | length], payload)
}

/// A connection that has just been upgraded.
fn upgraded(api: &Api, id: &str) -> Connection {
    let mut connection = Connection::open(api.address()).expect("it listens");
    let request = Request::get(&format!("/v1/sessions/{id}/tail")).upgrade();
    let response = connection.call(&request).expect("an answer");
    assert_eq!(response.status, 101);
    connection
}

#[test]
fn broken_frames_end_the_tail() {
    let server = Server::shared();
    let api = server.api();
    let id = api.session("broken");
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("unmasked", vec![0x81, 0x01, b'x']),
        ("reserved bits", small(0xf1, b"x")),
        ("one reserved bit without an extension", small(0xc1, b"x")),
        ("an unknown opcode", small(0x83, b"x")),
        ("an unknown control opcode", small(0x8b, b"")),
        ("a ping in fragments", small(0x09, b"x")),
        ("a long ping", frame(0x89, &[0x80 | 126, 0, 200], &[b'x'; 200])),
        ("a close frame of one byte", small(0x88, b"x")),
        ("a close code of nobody", small(0x88, &[0x03, 0xed])),
        ("a close code out of range", small(0x88, &[0, 0])),
        ("a close reason that is no text", small(0x88, &[0x03, 0xe8, 0xff])),
        ("a continuation of nothing", small(0x80, b"x")),
        ("a new message within another", [small(0x01, b"x"), small(0x81, b"y")].concat()),
        ("text that is no text", small(0x81, &[0xff, 0xfe])),
        ("a length beyond everything", frame(0x82, &[0xff; 9], b"x")),
        (
            "a length beyond the bound",
            frame(0x82, &[0xff, 0, 0, 0, 0x10, 0, 0, 0, 0], &[b'x'; 1000]),
        ),
    ];
    let open = |(what, bytes): (&'static str, &Vec<u8>)| {
        let mut connection = upgraded(&api, &id);
        connection.send(bytes).expect("sent");
        (what, connection)
    };
    let connections: Vec<(&str, Connection)> =
        cases.iter().map(|(what, bytes)| open((*what, bytes))).collect();
    for (what, mut connection) in connections {
        let rest = connection.read_to_end().unwrap_or_else(|error| panic!("{what}: {error}"));
        // What comes back, if anything, is one close frame from a server, which masks nothing.
        assert!(rest.is_empty() || rest[0] == 0x88, "{what}: {rest:?}");
    }
    api.get("/health/ready").expect(200);
}

#[test]
fn allowed_oddities_do_not_end_the_tail() {
    let server = Server::shared();
    let api = server.api();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("an empty text", small(0x81, b"")),
        ("an empty binary", small(0x82, b"")),
        ("a pong nobody asked for", small(0x8a, b"x")),
        (
            "a message in fragments",
            [small(0x01, b"a"), small(0x00, b"b"), small(0x80, b"")].concat(),
        ),
        ("text split within a character", [small(0x01, b"\xc3"), small(0x80, b"\xbc")].concat()),
        ("a length in more bytes than it needs", frame(0x81, &[0x80 | 126, 0, 1], b"x")),
        ("many empty fragments", [small(0x01, b"a"), small(0x00, b"").repeat(200)].concat()),
    ];
    for (what, bytes) in cases {
        let id = api.session("odd");
        let mut connection = upgraded(&api, &id);
        connection.send(&bytes).expect("sent");
        api.append(&id, &loose(what)).expect(201);
        let mut seen = Vec::new();
        let mut stream = connection.into_stream();
        let mut buffer = [0; 4096];
        while !seen.windows(what.len()).any(|window| window == what.as_bytes()) {
            let count = std::io::Read::read(&mut stream, &mut buffer);
            let count = count.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_ne!(count, 0, "{what}: the tail has ended: {seen:?}");
            seen.extend_from_slice(&buffer[..count]);
        }
    }
}

#[test]
fn a_close_frame_is_answered_and_the_connection_ends() {
    let server = Server::shared();
    let api = server.api();
    let id = api.session("close");
    for payload in [&[] as &[u8], &[0x03, 0xe8], &[0x03, 0xe9, b'b', b'y', b'e'], &[0x0f, 0xa0]] {
        let mut connection = upgraded(&api, &id);
        connection.send(&small(0x88, payload)).expect("sent");
        let rest = connection.read_to_end().expect("the server ends the connection");
        assert_eq!(rest.first(), Some(&0x88), "a close frame answers a close frame");
    }
}

#[test]
fn floods_do_not_hang_or_grow_the_server() {
    let server = Server::shared();
    let api = server.api();
    let id = api.session("flood");
    let before = server.resident_bytes();
    let pings = small(0x89, &[b'p'; 125]).repeat(500);
    let texts = small(0x81, &[b't'; 125]).repeat(500);
    let fragments = [small(0x01, b"a"), small(0x00, &[b'f'; 125]).repeat(500)].concat();
    for bytes in [pings, texts, fragments] {
        // The answers are never read, so the server must stop taking at some point, or let go.
        let connection = upgraded(&api, &id);
        let mut stream = connection.into_stream();
        stream.set_nonblocking(true).expect("it can be asked not to block");
        let (mut sent, mut idle) = (0, 0);
        while sent < 64 * 1024 * 1024 && idle < 20 {
            match stream.write(&bytes) {
                Ok(count) => (sent, idle) = (sent + count, 0),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    idle += 1;
                    std::thread::sleep(std::time::Duration::from_millis(20));
                }
                Err(_) => break,
            }
        }
        println!("{sent} bytes were taken before the server stopped or let go");
        api.get("/health/ready").expect(200);
    }
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown < 64 * 1024 * 1024, "grew by {grown}");
}
