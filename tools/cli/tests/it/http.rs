//! A small HTTP/1.1 client that can also send what no client should.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::server::PATIENCE;

/// The texts of the contract's error catalogue that do not vary.
const MESSAGES: [(&str, &str); 13] = [
    ("invalid_event", "Invalid event payload"),
    ("invalid_metadata", "Invalid metadata payload"),
    ("invalid_refs", "Invalid refs payload"),
    ("invalid_cursor", "Invalid cursor value"),
    ("invalid_tail_batch_size", "Invalid tail batch size value"),
    ("invalid_limit", "Invalid limit value"),
    ("invalid_list_query", "Invalid list query"),
    ("invalid_session", "Invalid session payload"),
    ("invalid_websocket_upgrade", "WebSocket upgrade required"),
    ("session_not_found", "Session was not found"),
    ("session_exists", "Session already exists"),
    ("producer_replay_conflict", "Producer sequence was already used with different event content"),
    ("idempotency_conflict", "Idempotency key was already used with different event content"),
];

/// A request to be written.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

impl Request {
    pub(crate) fn new(method: &str, target: &str) -> Request {
        Request {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            body: None,
        }
    }

    pub(crate) fn get(target: &str) -> Request {
        Request::new("GET", target)
    }

    pub(crate) fn post(target: &str) -> Request {
        Request::new("POST", target)
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Request {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A JSON body.
    pub(crate) fn json(self, body: &Value) -> Request {
        self.json_text(body.to_string())
    }

    /// A body that claims to be JSON.
    pub(crate) fn json_text(self, body: impl Into<Vec<u8>>) -> Request {
        self.header("content-type", "application/json").body(body)
    }

    /// A body as an HTML form sends it.
    pub(crate) fn form(self, body: &str) -> Request {
        self.header("content-type", "application/x-www-form-urlencoded").body(body)
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Request {
        self.body = Some(body.into());
        self
    }

    /// What a WebSocket client adds.
    pub(crate) fn upgrade(self) -> Request {
        self.header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
    }

    /// The request as it travels.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nhost: localhost\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = &self.body {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// The value of a header, if it is there once or more.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body of a reply with this status.
    ///
    /// # Panics
    /// If the status is another, the body is no JSON, or says it is something else.
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "body: {}", self.text());
        let kind = self.header("content-type");
        assert_eq!(kind, Some("application/json; charset=utf-8"), "body: {}", self.text());
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in body: {}", self.text()))
    }

    /// The body of a refusal of a handler: the code, the text of the catalogue, and no more than
    /// the catalogue allows; readable from any origin.
    pub(crate) fn refused(&self, status: u16, code: &str) -> Value {
        let body = self.expect(status);
        assert_eq!(body["error"], code, "body: {body}");
        let message = body["message"].as_str().expect("a refusal has a message");
        if let Some((_, text)) = MESSAGES.iter().find(|(other, _)| *other == code) {
            assert_eq!(message, *text);
        }
        let members = body.as_object().expect("a refusal is an object").len();
        let expected = if code == "expected_version_conflict" { 3 } else { 2 };
        assert_eq!(members, expected, "body: {body}");
        self.is_readable_from_any_origin();
        body
    }

    /// The answer to a request no handler has seen.
    pub(crate) fn failed(&self, status: u16) {
        let body = self.expect(status);
        assert_eq!(body, serde_json::json!({"error": "internal_server_error"}));
        self.is_readable_from_any_origin();
    }

    /// The answer to an unknown route.
    pub(crate) fn not_found(&self) {
        assert_eq!(self.expect(404), serde_json::json!({"error": "not_found"}));
        self.is_readable_from_any_origin();
    }

    pub(crate) fn is_readable_from_any_origin(&self) {
        assert_eq!(self.header("access-control-allow-origin"), Some("*"), "{:?}", self.headers);
        assert_eq!(self.header("access-control-allow-credentials"), None);
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    pending: Vec<u8>,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> io::Result<Connection> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Connection { stream, pending: Vec::new() })
    }

    pub(crate) fn set_patience(&self, patience: Duration) {
        self.stream.set_read_timeout(Some(patience)).expect("a timeout can be set");
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Says that nothing follows.
    pub(crate) fn finish(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// Sends a request and reads its answer.
    pub(crate) fn call(&mut self, request: &Request) -> io::Result<Response> {
        self.send(&request.bytes())?;
        self.receive(&request.method)
    }

    /// Reads the answer to a request of this method.
    pub(crate) fn receive(&mut self, method: &str) -> io::Result<Response> {
        let (status, headers) = loop {
            let head = self.head()?;
            if head.0 != 100 {
                break head;
            }
        };
        let mut response = Response { status, headers, body: Vec::new() };
        if method == "HEAD" || status == 204 || status == 304 || status == 101 {
            return Ok(response);
        }
        let chunked = response.header("transfer-encoding").is_some_and(|te| te == "chunked");
        let length = response.header("content-length").map(str::to_owned);
        response.body = match length {
            _ if chunked => self.chunks()?,
            Some(length) => self.take(length.parse().map_err(|_| malformed(&length))?)?,
            None => self.read_to_end()?,
        };
        Ok(response)
    }

    fn head(&mut self) -> io::Result<(u16, Vec<(String, String)>)> {
        let first = self.line()?;
        let status = first.strip_prefix("HTTP/1.1 ").or_else(|| first.strip_prefix("HTTP/1.0 "));
        let status = status.and_then(|rest| rest.get(..3)?.parse().ok());
        let status = status.ok_or_else(|| malformed(&first))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok((status, headers));
            }
            let (name, value) = line.split_once(':').ok_or_else(|| malformed(&line))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = usize::from_str_radix(&line, 16).map_err(|_| malformed(&line))?;
            body.extend(self.take(size)?);
            self.line()?;
            if size == 0 {
                return Ok(body);
            }
        }
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.pending.windows(2).position(|two| two == b"\r\n") {
                let line: Vec<u8> = self.pending.drain(..end + 2).take(end).collect();
                return String::from_utf8(line).map_err(|_| malformed("bytes"));
            }
            self.more()?;
        }
    }

    fn take(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.pending.len() < count {
            self.more()?;
        }
        Ok(self.pending.drain(..count).collect())
    }

    fn more(&mut self) -> io::Result<()> {
        let mut buffer = [0; 64 * 1024];
        match self.stream.read(&mut buffer)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.pending.extend_from_slice(&buffer[..count]);
                Ok(())
            }
        }
    }

    /// Reads until the server closes; a reset closes too.
    pub(crate) fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        loop {
            match self.more() {
                Ok(()) => {}
                Err(error) if is_closed(&error) => return Ok(std::mem::take(&mut self.pending)),
                Err(error) => return Err(error),
            }
        }
    }

    /// The socket, for what HTTP does not know.
    pub(crate) fn into_stream(self) -> TcpStream {
        assert!(self.pending.is_empty(), "nothing has been read ahead");
        self.stream
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }
}

/// Whether the peer has ended the connection, in whatever way.
pub(crate) fn is_closed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
    )
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not HTTP: {what}"))
}
