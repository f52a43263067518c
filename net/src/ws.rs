//! WebSocket framing of a tail. Outward, [`Frames`] turns events into text frames piece by piece, so
//! that a stalled tail holds a few kilobytes and shares the rest. Inward, [`Peer`] lets tungstenite
//! read what the client sends; nothing a client says has a meaning, but the protocol is kept.

use std::io::{self, Read, Write};
use std::vec::IntoIter;

use bytes::{Buf, Bytes};
use model::api::Event;
use model::limits::{
    TAIL_INBOUND_BYTES_MAX, TAIL_INBOUND_BYTES_PER_PING, TAIL_INBOUND_MESSAGES_PER_PING,
    TAIL_OUT_BYTES,
};
use tungstenite::error::Error;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tungstenite::{Message, WebSocket};

/// Events on their way into frames.
#[derive(Debug)]
pub(crate) struct Frames {
    /// Events a frame holds at most; 1 means that a frame is the event itself, more an array.
    batch: usize,
    /// Events not yet begun.
    events: IntoIter<Event>,
    /// Events of the frame in progress that are not yet begun; `None` between frames.
    left: Option<usize>,
    /// Rest of the event in progress.
    rest: Bytes,
}

impl Frames {
    /// Frames of so many events.
    ///
    /// # Panics
    /// If `batch` is 0.
    pub(crate) fn new(batch: u32) -> Frames {
        assert!(0 < batch, "a frame holds an event");
        let batch = usize::try_from(batch).expect("a batch fits memory");
        Frames { batch, events: Vec::new().into_iter(), left: None, rest: Bytes::new() }
    }

    /// Whether there is nothing to encode.
    pub(crate) fn is_empty(&self) -> bool {
        self.left.is_none() && self.events.as_slice().is_empty()
    }

    /// Takes events to encode.
    ///
    /// # Panics
    /// If the last ones are not encoded yet.
    pub(crate) fn load(&mut self, events: Vec<Event>) {
        assert!(self.is_empty(), "events are encoded in order");
        self.events = events.into_iter();
    }

    /// Drops the events of frames that are not begun.
    pub(crate) fn abandon(&mut self) {
        let keep = self.left.unwrap_or(0);
        let kept: Vec<Event> = self.events.by_ref().take(keep).collect();
        self.events = kept.into_iter();
    }

    /// Encodes until `out` holds [`TAIL_OUT_BYTES`] or there is nothing more, `control` frames first
    /// where a frame may stand. Gives the bytes of events encoded.
    pub(crate) fn encode(&mut self, control: &mut Vec<u8>, out: &mut Vec<u8>) -> u64 {
        let mut encoded = 0;
        while out.len() < TAIL_OUT_BYTES {
            match self.left {
                Some(_) if !self.rest.is_empty() => {
                    let part = self.rest.len().min(TAIL_OUT_BYTES - out.len());
                    out.extend_from_slice(&self.rest[..part]);
                    self.rest.advance(part);
                    encoded += part as u64;
                    self.end_frame(out);
                }
                Some(left) => {
                    out.push(b',');
                    self.begin_event(left);
                }
                None => {
                    out.append(control);
                    if self.events.as_slice().is_empty() {
                        break;
                    }
                    self.begin_frame(out);
                }
            }
        }
        encoded
    }

    fn begin_frame(&mut self, out: &mut Vec<u8>) {
        let events = self.events.as_slice();
        let count = events.len().min(self.batch);
        let bytes: usize = events[..count].iter().map(|event| event.json.len()).sum();
        if self.batch == 1 {
            head(out, bytes);
        } else {
            // Brackets around them and commas between.
            head(out, bytes + count + 1);
            out.push(b'[');
        }
        self.begin_event(count);
    }

    /// Begins the first of `left` events.
    fn begin_event(&mut self, left: usize) {
        let event = self.events.next().expect("a frame in progress has its events");
        assert!(!event.json.is_empty(), "an event is an object");
        self.rest = event.json;
        self.left = Some(left - 1);
    }

    /// Ends the frame if all of it is encoded.
    fn end_frame(&mut self, out: &mut Vec<u8>) {
        if self.rest.is_empty() && self.left == Some(0) {
            if 1 < self.batch {
                out.push(b']');
            }
            self.left = None;
        }
    }
}

/// The head of a whole text frame from a server: lengths are in network order.
fn head(out: &mut Vec<u8>, bytes: usize) {
    const FINAL_TEXT: u8 = 0x81;
    let (mark, width) = match bytes {
        0..126 => (None, 1),
        126..0x1_0000 => (Some(126), 2),
        _ => (Some(127), 8),
    };
    out.push(FINAL_TEXT);
    out.extend(mark);
    out.extend((0..width).rev().map(|place| {
        u8::try_from(bytes as u64 >> (8 * place) & 0xff).expect("eight bits are a byte")
    }));
}

/// Why a door closes a tail, as the client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Farewell {
    /// The code of the close frame. Never 1000: clients take that for "do not come back".
    pub(crate) code: u16,
    /// The reason beside it.
    pub(crate) reason: &'static str,
}

/// The client's side of a tail.
pub(crate) struct Peer {
    protocol: WebSocket<Pipe>,
    messages: u32,
    bytes: u64,
}

/// What the client has done to its tail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nothing that ends it.
    Open,
    /// It closed it, or went away.
    Closed,
    /// It broke the rules: the door says farewell.
    Refused(Farewell),
}

impl Peer {
    /// A client whose handshake is done.
    pub(crate) fn new() -> Peer {
        const READ_BYTES: usize = 1024;
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BYTES)
            .write_buffer_size(0)
            .max_message_size(Some(TAIL_INBOUND_BYTES_MAX))
            .max_frame_size(Some(TAIL_INBOUND_BYTES_MAX));
        let protocol = WebSocket::from_raw_socket(Pipe::default(), Role::Server, Some(config));
        Peer { protocol, messages: 0, bytes: 0 }
    }

    /// Takes bytes the client sent; none means that it will send no more.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Turn {
        let pipe = self.protocol.get_mut();
        pipe.at_end |= bytes.is_empty();
        pipe.inbound.extend_from_slice(bytes);
        self.bytes += bytes.len() as u64;
        loop {
            match self.protocol.read() {
                Ok(_) => self.messages += 1,
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return verdict(&error),
            }
        }
        if TAIL_INBOUND_MESSAGES_PER_PING < self.messages
            || TAIL_INBOUND_BYTES_PER_PING < self.bytes
        {
            return Turn::Refused(Farewell { code: 1008, reason: "too_many_messages" });
        }
        Turn::Open
    }

    /// Asks the client whether it is there, and lets it send its share again.
    pub(crate) fn ping(&mut self) {
        self.messages = 0;
        self.bytes = 0;
        self.say(Message::Ping(Bytes::new()));
    }

    /// Queues a close frame; harmless if the client closed first.
    pub(crate) fn close(&mut self, farewell: Farewell) {
        let frame =
            CloseFrame { code: CloseCode::from(farewell.code), reason: farewell.reason.into() };
        self.say(Message::Close(Some(frame)));
    }

    /// Frames to be sent where a frame may stand.
    pub(crate) fn control(&mut self) -> &mut Vec<u8> {
        &mut self.protocol.get_mut().outbound
    }

    /// Writes to the pipe, which takes everything: an error means that the protocol is at its end.
    fn say(&mut self, message: Message) {
        let said = self.protocol.write(message).and_then(|()| self.protocol.flush());
        if let Err(error) = said {
            tracing::debug!(%error, "a frame came after the end of a tail");
        }
    }
}

/// What follows from an error of the protocol.
fn verdict(error: &Error) -> Turn {
    match error {
        Error::Capacity(_) => Turn::Refused(Farewell { code: 1009, reason: "message_too_big" }),
        Error::Utf8(_) => Turn::Refused(Farewell { code: 1007, reason: "invalid_utf8" }),
        Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => {
            Turn::Closed
        }
        Error::Protocol(_) => Turn::Refused(Farewell { code: 1002, reason: "protocol_error" }),
        _ => Turn::Closed,
    }
}

/// Where tungstenite reads from and writes to: memory. The tail moves bytes between it and the
/// socket.
#[derive(Debug, Default)]
struct Pipe {
    inbound: Vec<u8>,
    at_end: bool,
    outbound: Vec<u8>,
}

impl Read for Pipe {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.inbound.is_empty() && !self.at_end {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let read = self.inbound.len().min(into.len());
        into[..read].copy_from_slice(&self.inbound[..read]);
        self.inbound.drain(..read);
        Ok(read)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outbound.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
