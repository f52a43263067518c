//! Frames of a tail as a client's protocol reads them, and what a client may send.

use std::io::{self, Cursor, Read, Write};

use bytes::Bytes;
use model::api::Event;
use model::ids::Seq;
use model::limits::{TAIL_INBOUND_BYTES_MAX, TAIL_INBOUND_MESSAGES_PER_PING, TAIL_OUT_BYTES};
use proptest::prelude::*;
use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};

use crate::ws::{Farewell, Frames, Peer, Turn};

/// What a client's protocol makes of bytes, and what it says itself.
struct Client(WebSocket<Wire>);

#[derive(Default)]
struct Wire {
    inbound: Cursor<Vec<u8>>,
    outbound: Vec<u8>,
}

impl Read for Wire {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.inbound.read(into)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            read => Ok(read),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outbound.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Client {
    fn new() -> Client {
        Client(WebSocket::from_raw_socket(Wire::default(), Role::Client, None))
    }

    fn hears(&mut self, bytes: &[u8]) -> Vec<Message> {
        self.0.get_mut().inbound.get_mut().extend_from_slice(bytes);
        std::iter::from_fn(|| self.0.read().ok()).collect()
    }

    fn says(&mut self, message: Message) -> Vec<u8> {
        self.0.send(message).unwrap();
        std::mem::take(&mut self.0.get_mut().outbound)
    }
}

fn events(lengths: &[usize]) -> Vec<Event> {
    let event = |(seq, length): (usize, &usize)| Event {
        seq: Seq(seq as u64 + 1),
        json: Bytes::from(format!("{{{}}}", "x".repeat(length - 2))),
    };
    lengths.iter().enumerate().map(event).collect()
}

/// Encodes all there is, in buffers as small as the tail writes them.
fn encode_all(frames: &mut Frames) -> (Vec<u8>, u64) {
    let (mut all, mut bytes) = (Vec::new(), 0);
    while !frames.is_empty() {
        let mut out = Vec::new();
        bytes += frames.encode(&mut Vec::new(), &mut out);
        assert!(!out.is_empty(), "each call makes progress");
        assert!(out.len() <= TAIL_OUT_BYTES + 16, "a buffer keeps its bound");
        all.extend(out);
    }
    (all, bytes)
}

/// The events of each frame a client reads, by their lengths.
fn frames(batch: u32, lengths: &[usize]) -> Vec<String> {
    let mut frames = Frames::new(batch);
    frames.load(events(lengths));
    let (bytes, encoded) = encode_all(&mut frames);
    assert_eq!(encoded, lengths.iter().sum::<usize>() as u64);
    let messages = Client::new().hears(&bytes);
    messages.iter().map(|message| message.to_text().unwrap().to_owned()).collect()
}

#[test]
fn one_event_is_an_object_and_more_are_arrays() {
    assert_eq!(frames(1, &[2, 3, 4]), ["{}", "{x}", "{xx}"]);
    assert_eq!(frames(2, &[2, 3, 4]), ["[{},{x}]", "[{xx}]"]);
    assert_eq!(frames(1000, &[2, 3, 4]), ["[{},{x},{xx}]"]);
    assert_eq!(frames(2, &[2]), ["[{}]"]);
}

#[test]
fn lengths_take_one_two_or_eight_bytes() {
    for length in [125, 126, 127, 65_535, 65_536, 1_000_000] {
        let frames = frames(1, &[length]);
        assert_eq!(frames.iter().map(String::len).collect::<Vec<_>>(), [length]);
    }
}

#[test]
fn control_frames_stand_between_frames_only() {
    let mut frames = Frames::new(2);
    frames.load(events(&[TAIL_OUT_BYTES, TAIL_OUT_BYTES, 10]));
    let ping = b"\x89\x00";
    let (mut control, mut all) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        let mut out = Vec::new();
        frames.encode(&mut control, &mut out);
        all.extend(out);
        if all.len() < 2 * TAIL_OUT_BYTES {
            control = ping.to_vec();
        }
    }
    let messages = Client::new().hears(&all);
    let kinds: Vec<bool> = messages.iter().map(Message::is_ping).collect();
    assert_eq!(kinds, [false, true, false]);
}

#[test]
fn a_frame_in_progress_is_finished_and_no_other_begun() {
    let mut frames = Frames::new(2);
    frames.load(events(&[TAIL_OUT_BYTES, 5, 7, 9]));
    let mut begun = Vec::new();
    frames.encode(&mut Vec::new(), &mut begun);
    frames.abandon();
    let (rest, _) = encode_all(&mut frames);
    begun.extend(rest);
    let messages = Client::new().hears(&begun);
    assert_eq!(messages.len(), 1);
    assert!(messages[0].to_text().unwrap().ends_with(",{xxx}]"));
    let mut idle = Frames::new(2);
    idle.load(events(&[5]));
    idle.abandon();
    assert!(idle.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_event_arrives_once_and_in_order(
        batch in 1_u32..5,
        lengths in prop::collection::vec(prop_oneof![2_usize..300, 10_000_usize..40_000], 0..12),
    ) {
        let texts: Vec<String> = events(&lengths)
            .iter()
            .map(|event| String::from_utf8(event.json.to_vec()).unwrap())
            .collect();
        let expected: Vec<String> = match batch {
            1 => texts,
            _ => texts.chunks(batch as usize).map(|part| format!("[{}]", part.join(","))).collect(),
        };
        prop_assert_eq!(frames(batch, &lengths), expected);
    }

    #[test]
    fn any_bytes_from_a_client_are_survived(
        parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 1..20),
    ) {
        let mut peer = Peer::new();
        for part in parts {
            peer.read(&part);
        }
        peer.close(Farewell { code: 1012, reason: "service_restart" });
        peer.read(&[]);
    }
}

#[test]
fn a_ping_is_answered_and_messages_are_ignored() {
    let (mut client, mut peer) = (Client::new(), Peer::new());
    let bytes = client.says(Message::Ping(Bytes::from_static(b"hi")));
    assert_eq!(peer.read(&bytes), Turn::Open);
    let answer = std::mem::take(peer.control());
    assert_eq!(client.hears(&answer), [Message::Pong(Bytes::from_static(b"hi"))]);
    for message in
        [Message::text("hello"), Message::binary(vec![1, 2]), Message::Pong(Bytes::new())]
    {
        assert_eq!(peer.read(&client.says(message)), Turn::Open);
    }
    assert!(peer.control().is_empty());
}

#[test]
fn a_message_may_come_in_any_pieces() {
    let (mut client, mut peer) = (Client::new(), Peer::new());
    let bytes = client.says(Message::Ping(Bytes::from_static(b"hello")));
    for byte in &bytes {
        assert_eq!(peer.read(std::slice::from_ref(byte)), Turn::Open);
    }
    assert_eq!(peer.control().len(), 7);
}

#[test]
fn closing_is_answered_whoever_begins() {
    let (mut client, mut peer) = (Client::new(), Peer::new());
    assert_eq!(peer.read(&client.says(Message::Close(None))), Turn::Closed);
    let answer = std::mem::take(peer.control());
    assert!(matches!(client.hears(&answer)[..], [Message::Close(_)]));

    let (mut client, mut peer) = (Client::new(), Peer::new());
    peer.close(Farewell { code: 1012, reason: "service_restart" });
    let said = std::mem::take(peer.control());
    let [Message::Close(Some(frame))] = &client.hears(&said)[..] else { panic!("a close frame") };
    assert_eq!((u16::from(frame.code), frame.reason.as_str()), (1012, "service_restart"));
    let answer = std::mem::take(&mut client.0.get_mut().outbound);
    assert_eq!(peer.read(&answer), Turn::Closed);
    peer.close(Farewell { code: 1011, reason: "again" });
    assert!(peer.control().is_empty());
}

#[test]
fn a_client_that_breaks_the_rules_is_told_how() {
    let refused = |bytes: &[u8]| match Peer::new().read(bytes) {
        Turn::Refused(farewell) => farewell.code,
        other => panic!("{bytes:?} gives {other:?}"),
    };
    // Unmasked, reserved bit, unknown opcode, long ping, fragmented ping, continuation of nothing.
    for bytes in [
        &b"\x81\x01a"[..],
        b"\xc1\x81\0\0\0\0a",
        b"\x83\x81\0\0\0\0a",
        b"\x89\xfe\x00\x7e\0\0\0\0",
        b"\x09\x80\0\0\0\0",
        b"\x80\x80\0\0\0\0",
    ] {
        let mut bytes = bytes.to_vec();
        bytes.resize(bytes.len() + 126, 0);
        assert_eq!(refused(&bytes), 1002, "{bytes:?}");
    }
    assert_eq!(refused(b"\x81\x81\0\0\0\0\xff"), 1007);
    let large = Client::new().says(Message::binary(vec![0; TAIL_INBOUND_BYTES_MAX + 1]));
    assert_eq!(refused(&large), 1009);
    assert_eq!(Peer::new().read(b""), Turn::Closed);
}

#[test]
fn a_client_may_not_send_without_end() {
    let (mut client, mut peer) = (Client::new(), Peer::new());
    let ping = client.says(Message::Ping(Bytes::new()));
    for _ in 0..TAIL_INBOUND_MESSAGES_PER_PING {
        assert_eq!(peer.read(&ping), Turn::Open);
    }
    let flood = Farewell { code: 1008, reason: "too_many_messages" };
    assert_eq!(peer.read(&ping), Turn::Refused(flood));
    let mut peer = Peer::new();
    let large = client.says(Message::binary(vec![0; TAIL_INBOUND_BYTES_MAX]));
    for _ in 0..3 {
        assert_eq!(peer.read(&large), Turn::Open);
    }
    peer.ping();
    for _ in 0..3 {
        assert_eq!(peer.read(&large), Turn::Open);
    }
    assert_eq!(peer.read(&large), Turn::Refused(flood));
}
