//! Follows a session: prints each event once, in order, across any number of lost connections.

use std::collections::BTreeMap;
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::thread;
use std::time::Duration;

use clap::Args;
use serde_json::value::RawValue;
use tungstenite::client::IntoClientRequest;
use tungstenite::{HandshakeError, Message, WebSocket};

use crate::failure::Failure;
use crate::output;
use crate::remote::{Client, Server, TIMEOUT, escape, unreachable};

/// The server sends a ping every half minute; after twice that and a bit it is gone.
const SILENCE: Duration = Duration::from_secs(70);
/// The wait before the first attempt to connect again; it doubles up to the largest.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// Events the server may send in one frame.
const BATCH: u32 = 256;

/// The arguments of `tail`.
#[derive(Debug, Args)]
pub(crate) struct Tail {
    /// The session.
    session: String,
    /// The last seq you have; 0 prints everything.
    #[arg(long, default_value_t = 0, value_name = "SEQ")]
    cursor: u64,
    /// Ends behind the events that are there now.
    #[arg(long)]
    no_follow: bool,
    /// Ends after so many events.
    #[arg(long, value_name = "COUNT")]
    limit: Option<u64>,
    #[command(flatten)]
    server: Server,
}

/// Why a connection ended.
enum Ended {
    /// All that was asked for is printed.
    Done,
    /// It was lost, for this reason; another may do better.
    Lost(String),
}

type Socket = WebSocket<TcpStream>;

impl Tail {
    /// Prints events until enough are printed.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let last = if self.no_follow { Some(self.last_seq()?) } else { None };
        let mut printer = Printer { cursor: self.cursor, last, left: self.limit };
        let mut wait = BACKOFF_MIN;
        let mut connected_once = false;
        while !printer.done() {
            let before = printer.cursor;
            match self.connect(printer.cursor, connected_once)? {
                Ok(mut socket) => {
                    connected_once = true;
                    match printer.drain(&mut socket)? {
                        Ended::Done => return Ok(()),
                        Ended::Lost(why) => self.tell(&why),
                    }
                }
                Err(why) => self.tell(&why),
            }
            if before < printer.cursor {
                wait = BACKOFF_MIN;
            }
            thread::sleep(wait);
            wait = BACKOFF_MAX.min(wait * 2);
        }
        Ok(())
    }

    fn tell(&self, why: &str) {
        output::note(&format!("lost session {}: {why}; resuming", self.session));
    }

    /// The session's head.
    fn last_seq(&self) -> Result<u64, Failure> {
        let url = self.server.v1(&["sessions", &self.session])?;
        let answer = Client::new().get(&url).map_err(|error| unreachable(&self.server, &error))?;
        let last_seq = number(&answer.success()?, "last_seq")?;
        last_seq.ok_or_else(|| Failure::failed("the server did not tell the session's last seq"))
    }

    /// Opens a tail. The inner error is one that may pass; before the first connection only those of
    /// a server that is there may, so that a mistake is seen at once.
    fn connect(&self, cursor: u64, retry: bool) -> Result<Result<Socket, String>, Failure> {
        let (host, session) = (self.server.authority()?, escape(&self.session));
        let url =
            format!("ws://{host}/v1/sessions/{session}/tail?cursor={cursor}&batch_size={BATCH}");
        match open(&url) {
            Ok(socket) => Ok(Ok(socket)),
            Err(tungstenite::Error::Http(response)) => {
                let status = response.status().as_u16();
                let body = response.body().as_deref().unwrap_or_default();
                let text = String::from_utf8_lossy(body);
                let why = format!("the server refused with status {status}: {text}");
                if matches!(status, 429 | 500..) { Ok(Err(why)) } else { Err(Failure::failed(why)) }
            }
            Err(error) if retry => Ok(Err(error.to_string())),
            Err(error) => Err(Failure::failed(format!("no tail from {host}: {error}"))),
        }
    }
}

/// Connects and shakes hands, both within a time limit.
fn open(url: &str) -> Result<Socket, tungstenite::Error> {
    let request = url.into_client_request()?;
    let stream = connect(request.uri().host().unwrap_or_default(), request.uri().port_u16())?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let (socket, _) = tungstenite::client(request, stream).map_err(|error| match error {
        HandshakeError::Failure(error) => error,
        HandshakeError::Interrupted(_) => io::Error::from(io::ErrorKind::TimedOut).into(),
    })?;
    socket.get_ref().set_read_timeout(Some(SILENCE))?;
    Ok(socket)
}

/// Connects to the first of a host's addresses that takes it.
fn connect(host: &str, port: Option<u16>) -> io::Result<TcpStream> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let mut outcome = Err(io::ErrorKind::AddrNotAvailable.into());
    for address in (host, port.unwrap_or(80)).to_socket_addrs()? {
        outcome = TcpStream::connect_timeout(&address, TIMEOUT);
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

/// A number among the members of an object. The others are left as they are: what clients put into
/// an event may have any name.
fn number(object: &str, name: &str) -> Result<Option<u64>, Failure> {
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(object).map_err(unclear)?;
    Ok(members.get(name).and_then(|value| value.get().parse().ok()))
}

/// Prints each event once.
pub(crate) struct Printer {
    /// The last seq printed.
    pub(crate) cursor: u64,
    /// The last seq to print, if there is one.
    pub(crate) last: Option<u64>,
    /// Events to print, if they are counted.
    pub(crate) left: Option<u64>,
}

impl Printer {
    pub(crate) fn done(&self) -> bool {
        self.left == Some(0) || self.last.is_some_and(|last| last <= self.cursor)
    }

    fn drain(&mut self, socket: &mut Socket) -> Result<Ended, Failure> {
        loop {
            let text = match socket.read() {
                Ok(Message::Text(text)) => text,
                Ok(Message::Close(frame)) => {
                    let why = frame.map_or_else(String::new, |frame| frame.to_string());
                    return Ok(Ended::Lost(format!("the server closed the tail {why}")));
                }
                // Pings are answered by the library.
                Ok(_) => continue,
                Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Ended::Lost(format!("no word for {} s", SILENCE.as_secs())));
                }
                Err(error) => return Ok(Ended::Lost(error.to_string())),
            };
            if self.frame(text.as_str(), &mut |line| output::line(line))? {
                return Ok(Ended::Done);
            }
        }
    }

    /// Prints the events of a frame, an object or an array; says whether they are enough.
    pub(crate) fn frame(
        &mut self,
        text: &str,
        show: &mut impl FnMut(&str) -> Result<(), Failure>,
    ) -> Result<bool, Failure> {
        let events: Vec<&RawValue> = if text.trim_start().starts_with('[') {
            serde_json::from_str(text).map_err(unclear)?
        } else {
            vec![serde_json::from_str(text).map_err(unclear)?]
        };
        for event in events {
            self.event(event.get(), show)?;
            if self.done() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Prints an event as it came. A hole would mean that events are lost, so it ends the command; an
    /// event seen before is left out.
    fn event(
        &mut self,
        text: &str,
        show: &mut impl FnMut(&str) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let seq = number(text, "seq")?;
        let seq = seq.ok_or_else(|| Failure::failed("the server sent an event without a seq"))?;
        if seq <= self.cursor {
            return Ok(());
        }
        if seq != self.cursor + 1 {
            let cursor = self.cursor;
            return Err(Failure::failed(format!("event {seq} came behind {cursor}: a hole")));
        }
        // Within a string they would be escaped: these stand between members.
        let ends = ['\n', '\r'];
        if text.contains(ends) { show(&text.replace(ends, " ")) } else { show(text) }?;
        self.cursor = seq;
        self.left = self.left.map(|left| left - 1);
        Ok(())
    }
}

fn unclear(error: serde_json::Error) -> Failure {
    Failure::failed(format!("cannot read what the server sent: {error}"))
}
