//! Raw tails over WebSocket.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Error, HandshakeError, Message, WebSocket};

use crate::server::PATIENCE;

/// What a tail receives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A text frame.
    Text(String),
    /// A ping; it is answered.
    Ping,
    /// A close frame; the code is 1005 if it had none.
    Closed(u16, String),
    /// The connection ended without a close frame.
    Gone,
    /// Nothing came in time.
    Silence,
}

/// One tail.
#[derive(Debug)]
pub(crate) struct Tail {
    socket: WebSocket<TcpStream>,
}

impl Tail {
    /// Opens one; `query` is what follows the question mark.
    pub(crate) fn open(address: SocketAddr, session: &str, query: &str) -> io::Result<Tail> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        Tail::over(stream, session, query)
    }

    /// Opens one on a connection.
    pub(crate) fn over(stream: TcpStream, session: &str, query: &str) -> io::Result<Tail> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let address = stream.peer_addr()?;
        let uri = format!("ws://{address}/v1/sessions/{session}/tail?{query}");
        let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
        match tungstenite::client::client_with_config(uri, stream, Some(config)) {
            Ok((socket, _)) => Ok(Tail { socket }),
            Err(HandshakeError::Failure(Error::Io(error))) => Err(error),
            Err(error) => Err(io::Error::other(error.to_string())),
        }
    }

    /// What comes next.
    pub(crate) fn next(&mut self) -> Frame {
        match self.socket.read() {
            Ok(Message::Text(text)) => Frame::Text(text.as_str().to_owned()),
            Ok(Message::Ping(_)) => Frame::Ping,
            Ok(Message::Close(None)) => Frame::Closed(1005, String::new()),
            Ok(Message::Close(Some(frame))) => {
                Frame::Closed(frame.code.into(), frame.reason.as_str().to_owned())
            }
            Ok(other) => panic!("a tail sends no {other:?}"),
            Err(Error::Io(error)) if is_timeout(&error) => Frame::Silence,
            Err(Error::Io(_) | Error::ConnectionClosed | Error::AlreadyClosed) => Frame::Gone,
            Err(Error::Protocol(
                tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
            )) => Frame::Gone,
            Err(error) => panic!("the server breaks the protocol: {error}"),
        }
    }

    /// The next text frame.
    pub(crate) fn text(&mut self) -> String {
        loop {
            match self.next() {
                Frame::Text(text) => return text,
                Frame::Ping => {}
                other => panic!("a text frame was due, not {other:?}"),
            }
        }
    }

    /// The next text frame as JSON.
    pub(crate) fn json(&mut self) -> Value {
        serde_json::from_str(&self.text()).expect("a frame is JSON")
    }

    /// Events until there are `count`, whatever frames they come in.
    pub(crate) fn events(&mut self, count: usize) -> Vec<Value> {
        let mut events = Vec::new();
        while events.len() < count {
            match self.json() {
                Value::Array(batch) => events.extend(batch),
                event => events.push(event),
            }
        }
        assert_eq!(events.len(), count, "no more than expected");
        events
    }

    /// The seqs of the next `count` events.
    pub(crate) fn seqs(&mut self, count: usize) -> Vec<u64> {
        self.events(count).iter().map(|event| event["seq"].as_u64().expect("a seq")).collect()
    }

    /// The close frame, after whatever comes before it.
    pub(crate) fn closed(&mut self) -> (u16, String) {
        loop {
            match self.next() {
                Frame::Closed(code, reason) => return (code, reason),
                Frame::Text(_) | Frame::Ping => {}
                other => panic!("a close frame was due, not {other:?}"),
            }
        }
    }

    pub(crate) fn send(&mut self, message: Message) -> Result<(), Error> {
        self.socket.send(message)
    }

    pub(crate) fn set_patience(&self, patience: Duration) {
        self.socket.get_ref().set_read_timeout(Some(patience)).expect("a timeout can be set");
    }

    /// The next message, pongs too.
    pub(crate) fn message(&mut self) -> Result<Message, Error> {
        self.socket.read()
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
