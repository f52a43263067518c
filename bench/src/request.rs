//! The requests a client sends, made once as bytes and patched in place, and the one thing read from
//! their replies.

use std::fmt::Write as _;
use std::net::SocketAddr;

/// Digits of a session's number in its name, so that every request has the same length.
const SESSION_DIGITS: usize = 8;
/// Digits of the largest producer sequence. A JSON number has no leading zeros, but may have spaces in
/// front, so a request's length does not change with it.
const SEQ_DIGITS: usize = 20;

/// Where and how requests go.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// A bearer token, if the server wants one.
    pub(crate) token: Option<String>,
    /// Begins the names of all sessions, so that runs against one server do not meet.
    pub(crate) prefix: String,
}

impl Target {
    /// The name of a session.
    pub(crate) fn session(&self, number: usize) -> String {
        format!("{}-{number:0width$}", self.prefix, width = SESSION_DIGITS)
    }

    /// The request that makes a session.
    pub(crate) fn create(&self, number: usize) -> Vec<u8> {
        self.post("/v1/sessions", &format!("{{\"id\":\"{}\"}}", self.session(number)))
    }

    /// The request that reads a session.
    pub(crate) fn get(&self, number: usize) -> Vec<u8> {
        let mut text = format!("GET /v1/sessions/{} HTTP/1.1\r\n", self.session(number));
        self.headers(&mut text);
        text.push_str("\r\n");
        text.into_bytes()
    }

    fn headers(&self, text: &mut String) {
        write!(text, "host: {}\r\n", self.address).expect("a string takes everything");
        if let Some(token) = &self.token {
            write!(text, "authorization: Bearer {token}\r\n").expect("a string takes everything");
        }
    }

    fn post(&self, path: &str, body: &str) -> Vec<u8> {
        let mut text = format!("POST {path} HTTP/1.1\r\n");
        self.headers(&mut text);
        write!(
            text,
            "content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .expect("a string takes everything");
        text.into_bytes()
    }
}

/// A request with two places to patch.
#[derive(Debug)]
pub(crate) struct Template {
    bytes: Vec<u8>,
    session_at: usize,
    seq_at: usize,
}

impl Template {
    /// An append by a producer whose payload is `payload`, a JSON object.
    pub(crate) fn append(target: &Target, producer: &str, payload: &str) -> Template {
        let session = target.session(0);
        let body = format!(
            "{{\"type\":\"content\",\"payload\":{payload},\"producer_id\":\"{producer}\",\
             \"producer_seq\":{:>SEQ_DIGITS$}}}",
            1
        );
        let bytes = target.post(&format!("/v1/sessions/{session}/append"), &body);
        let name = bytes.windows(session.len()).position(|part| part == session.as_bytes());
        let session_at = name.expect("the name is in the path") + session.len() - SESSION_DIGITS;
        let seq_at = bytes.len() - 1 - SEQ_DIGITS;
        Template { bytes, session_at, seq_at }
    }

    /// Bytes of the whole request.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Writes the request to an empty buffer, or patches the one that is there.
    pub(crate) fn write(&self, request: &mut Vec<u8>, session: usize, seq: u64) {
        if request.is_empty() {
            request.extend_from_slice(&self.bytes);
        }
        assert_eq!(request.len(), self.bytes.len(), "a client keeps its template");
        let end = self.session_at + SESSION_DIGITS;
        digits(&mut request[self.session_at..end], session as u64, b'0');
        digits(&mut request[self.seq_at..self.seq_at + SEQ_DIGITS], seq, b' ');
    }
}

/// Writes a number to the end of a field, and `fill` before it.
pub(crate) fn digits(field: &mut [u8], mut number: u64, fill: u8) {
    for (place, byte) in field.iter_mut().rev().enumerate() {
        let digit = u8::try_from(number % 10).expect("a remainder of ten");
        *byte = if 0 < number || place == 0 { b'0' + digit } else { fill };
        number /= 10;
    }
    assert_eq!(number, 0, "the field has room for the number");
}

/// A payload of exactly `bytes` bytes of JSON.
///
/// # Errors
/// If it cannot be that small.
pub(crate) fn payload(bytes: usize) -> Result<String, String> {
    const FRAME: &str = "{\"text\":\"\"}";
    let Some(text) = bytes.checked_sub(FRAME.len()) else {
        return Err(format!("a payload has at least {} bytes", FRAME.len()));
    };
    Ok(format!("{{\"text\":\"{}\"}}", "x".repeat(text)))
}

/// The `seq` of an append's reply.
pub(crate) fn seq_of(body: &[u8]) -> Option<u64> {
    const NAME: &[u8] = b"\"seq\":";
    let at = body.windows(NAME.len()).position(|part| part == NAME)? + NAME.len();
    let text = body[at..].trim_ascii_start();
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&text[..digits]).ok()?.parse().ok()
}
