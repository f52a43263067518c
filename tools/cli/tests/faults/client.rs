//! A client that knows whether a request left it, and gives up waiting.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long a client waits for one answer.
const ANSWER: Duration = Duration::from_secs(2);
/// How long a client waits for a connection.
const CONNECT: Duration = Duration::from_millis(500);
/// The header in which a balancer says how often it has asked.
pub(crate) const ATTEMPTS: &str = "x-attempts";

/// What an attempt came to.
#[derive(Debug, Clone)]
pub(crate) enum Told {
    /// There was an answer.
    Answer(Answer),
    /// Nobody was there to be asked.
    NotSent,
    /// It was asked, and nothing came back in time.
    Lost,
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// How often a node was asked on the way.
    pub(crate) attempts: u32,
    pub(crate) body: Vec<u8>,
}

/// One client; it keeps its connection.
#[derive(Debug)]
pub(crate) struct Client {
    connection: Option<(SocketAddr, Connection)>,
    patience: Duration,
}

impl Client {
    pub(crate) fn new() -> Client {
        Client { connection: None, patience: ANSWER }
    }

    /// One that waits so long for an answer.
    pub(crate) fn patient(patience: Duration) -> Client {
        Client { connection: None, patience }
    }

    pub(crate) fn get(&mut self, address: SocketAddr, target: &str) -> Told {
        let head = format!("GET {target} HTTP/1.1\r\nhost: starcite\r\n\r\n");
        self.ask(address, head.as_bytes())
    }

    pub(crate) fn post(&mut self, address: SocketAddr, target: &str, body: &str) -> Told {
        let head = format!(
            "POST {target} HTTP/1.1\r\nhost: starcite\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.ask(address, head.as_bytes())
    }

    /// Sends the bytes of a request once.
    pub(crate) fn ask(&mut self, address: SocketAddr, request: &[u8]) -> Told {
        let deadline = Instant::now() + self.patience;
        let kept = self.connection.take().filter(|(other, _)| *other == address);
        let connection = match kept {
            Some((_, connection)) => Ok(connection),
            None => Connection::open(address),
        };
        let Ok(mut connection) = connection else { return Told::NotSent };
        match connection.call(request, deadline) {
            Ok(answer) => {
                self.connection = Some((address, connection));
                Told::Answer(answer)
            }
            Err(_) => Told::Lost,
        }
    }
}

/// One connection, at either end.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    pending: Vec<u8>,
}

impl Connection {
    fn open(address: SocketAddr) -> io::Result<Connection> {
        let stream = TcpStream::connect_timeout(&address, CONNECT)?;
        stream.set_write_timeout(Some(ANSWER))?;
        Connection::over(stream)
    }

    pub(crate) fn over(stream: TcpStream) -> io::Result<Connection> {
        stream.set_nodelay(true)?;
        Ok(Connection { stream, pending: Vec::new() })
    }

    fn call(&mut self, request: &[u8], deadline: Instant) -> io::Result<Answer> {
        self.send(request)?;
        let (head, body) = self.message(deadline)?;
        let status = head.get(9..12).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(malformed)?;
        let attempts = header(&head, ATTEMPTS).and_then(|count| count.parse().ok()).unwrap_or(1);
        Ok(Answer { status, attempts, body })
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next message, head and body.
    pub(crate) fn message(&mut self, deadline: Instant) -> io::Result<(String, Vec<u8>)> {
        let end = loop {
            if let Some(place) = self.pending.windows(4).position(|four| four == b"\r\n\r\n") {
                break place + 4;
            }
            self.more(deadline)?;
        };
        let head: Vec<u8> = self.pending.drain(..end).collect();
        let head = String::from_utf8(head).map_err(|_| malformed())?;
        let length = header(&head, "content-length").map_or(Ok(0), str::parse::<usize>);
        let length = length.map_err(|_| malformed())?;
        while self.pending.len() < length {
            self.more(deadline)?;
        }
        Ok((head, self.pending.drain(..length).collect()))
    }

    fn more(&mut self, deadline: Instant) -> io::Result<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.pending.extend_from_slice(&buffer[..count]);
                Ok(())
            }
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let named = |line: &'a str| {
        let (other, value) = line.split_once(':')?;
        other.eq_ignore_ascii_case(name).then_some(value.trim())
    };
    head.lines().find_map(named)
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "this is not HTTP")
}
