//! One client: a kept-alive connection with at most one request under way, its request's bytes made
//! once and patched, its reply scanned for no more than status and length. Nothing is allocated for a
//! request.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

/// Most bytes of a reply: those of this server to what is asked here are a few hundred.
const REPLY_BYTES_MAX: usize = 16 * 1024;

/// A whole reply at the start of what was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// Where the body starts.
    pub(crate) head_bytes: usize,
    /// Where it ends.
    pub(crate) bytes: usize,
    /// Whether the server closes the connection behind it.
    pub(crate) last: bool,
}

/// Why what was received is no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Garbage {
    /// It does not begin with `HTTP/1.` and a status.
    StatusLine,
    /// A length that is no number, or none where one is needed.
    Length,
    /// It is longer than anything that was asked for.
    TooLong,
    /// There is something behind the reply, though nothing else was asked.
    Behind,
}

impl fmt::Display for Garbage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Garbage::StatusLine => "a reply does not begin with a status line",
            Garbage::Length => "a reply does not say how long it is",
            Garbage::TooLong => "a reply is longer than any that was asked for",
            Garbage::Behind => "there are bytes behind a reply",
        })
    }
}

/// Looks for a whole reply at the start of `received`; `None` if there are bytes to come.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn scan(received: &[u8]) -> Result<Option<Reply>, Garbage> {
    const START: &[u8] = b"HTTP/1.";
    let known = received.len().min(START.len());
    if received[..known] != START[..known] {
        return Err(Garbage::StatusLine);
    }
    let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") else {
        return if received.len() < REPLY_BYTES_MAX { Ok(None) } else { Err(Garbage::TooLong) };
    };
    let mut lines = received[..end].split(|byte| *byte == b'\n');
    let status = status(lines.next().expect("a split has a first part"))?;
    let (mut length, mut last) = (None, false);
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            length = Some(decimal(value).ok_or(Garbage::Length)?);
        } else if name.eq_ignore_ascii_case(b"connection") {
            last |= value.eq_ignore_ascii_case(b"close");
        }
    }
    let length = match (length, status) {
        (Some(length), _) => length,
        (None, 204 | 304) => 0,
        (None, _) => return Err(Garbage::Length),
    };
    let head_bytes = end + 4;
    if REPLY_BYTES_MAX - head_bytes < length {
        return Err(Garbage::TooLong);
    }
    let bytes = head_bytes + length;
    if received.len() < bytes {
        return Ok(None);
    }
    Ok(Some(Reply { status, head_bytes, bytes, last }))
}

/// The status of `HTTP/1.1 201 Created`.
fn status(line: &[u8]) -> Result<u16, Garbage> {
    let digits = line.get(9..12).ok_or(Garbage::StatusLine)?;
    let separated = line[8] == b' ' && line.get(12).is_none_or(|byte| byte.is_ascii_whitespace());
    let number = decimal(digits).and_then(|number| u16::try_from(number).ok());
    match number {
        Some(status @ 100..=599) if separated => Ok(status),
        _ => Err(Garbage::StatusLine),
    }
}

fn decimal(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || 9 < digits.len() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |number, digit| 10 * number + usize::from(digit - b'0')))
}

/// Why a connection can be used no more.
#[derive(Debug)]
pub(crate) enum Lost {
    /// The server closed it.
    Closed,
    /// The socket failed.
    Socket(io::Error),
    /// The server sent something that is no reply.
    Garbage(Garbage),
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lost::Closed => f.write_str("the server closed the connection"),
            Lost::Socket(error) => write!(f, "a connection failed: {error}"),
            Lost::Garbage(garbage) => garbage.fmt(f),
        }
    }
}

/// A kept-alive connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    /// The request under way, or the next one.
    request: Vec<u8>,
    /// Bytes of it the socket has taken.
    sent: usize,
    received: Box<[u8]>,
    /// Bytes of `received` that are filled.
    filled: usize,
}

impl Connection {
    /// Connects, blocking.
    ///
    /// # Errors
    /// Those of connect.
    pub(crate) fn open(address: SocketAddr) -> io::Result<Connection> {
        Ok(Connection {
            stream: connect(address)?,
            request: Vec::new(),
            sent: 0,
            received: vec![0; REPLY_BYTES_MAX].into_boxed_slice(),
            filled: 0,
        })
    }

    /// Connects anew and forgets what was under way, but not the request's bytes.
    ///
    /// # Errors
    /// Those of connect.
    pub(crate) fn reopen(&mut self, address: SocketAddr) -> io::Result<()> {
        self.stream = connect(address)?;
        self.sent = 0;
        self.filled = 0;
        Ok(())
    }

    /// The request's bytes, to be patched while none is under way.
    pub(crate) fn request(&mut self) -> &mut Vec<u8> {
        &mut self.request
    }

    /// Begins to send the request. Says whether the socket took all of it; if not, [`Self::resume`]
    /// goes on when it can be written to.
    pub(crate) fn send(&mut self) -> Result<bool, Lost> {
        self.sent = 0;
        self.resume()
    }

    /// Sends what is left of the request; says whether that was all.
    pub(crate) fn resume(&mut self) -> Result<bool, Lost> {
        while self.sent < self.request.len() {
            match self.stream.write(&self.request[self.sent..]) {
                Ok(bytes) => self.sent += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Lost::Socket(error)),
            }
        }
        Ok(true)
    }

    /// Reads once and looks whether the reply is whole. If it is, its body is `self.body(..)` until
    /// [`Self::forget`].
    pub(crate) fn receive(&mut self) -> Result<Option<Reply>, Lost> {
        match self.stream.read(&mut self.received[self.filled..]) {
            Ok(0) => return Err(Lost::Closed),
            Ok(bytes) => self.filled += bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(None),
            Err(error) => return Err(Lost::Socket(error)),
        }
        let reply = scan(&self.received[..self.filled]).map_err(Lost::Garbage)?;
        if reply.is_some_and(|reply| reply.bytes < self.filled) {
            return Err(Lost::Garbage(Garbage::Behind));
        }
        Ok(reply)
    }

    /// The body of a reply just received.
    pub(crate) fn body(&self, reply: Reply) -> &[u8] {
        &self.received[reply.head_bytes..reply.bytes]
    }

    /// Makes room for the next reply.
    pub(crate) fn forget(&mut self) {
        self.filled = 0;
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}
