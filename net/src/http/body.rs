//! Reading a request's body: never more than its bound, never slower than its rate, and as JSON
//! whatever form it came in.

use std::cell::Cell;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::HeaderMap;
use hyper::body::{Body, Incoming};
use hyper::header::CONTENT_TYPE;
use model::error::Code;
use model::limits::{
    BODIES_BYTES_MAX, BODY_BYTES_MAX, BODY_BYTES_PER_SECOND, BODY_BYTES_SMALL, BODY_SECONDS,
};

use crate::http::link::Link;
use crate::multipart;
use crate::params::{self, Params};
use crate::problem::{Problem, Unreadable};

/// The form of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Form {
    /// JSON, also when nothing is said.
    Json,
    /// Pairs as in a query string.
    Urlencoded,
    /// Parts between lines that hold this text.
    Multipart(String),
}

/// Reads the form from the headers.
///
/// # Errors
/// `UnsupportedMediaType`.
pub(crate) fn form(headers: &HeaderMap) -> Result<Form, Unreadable> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(Form::Json) };
    let value = value.to_str().map_err(|_| Unreadable::UnsupportedMediaType)?;
    let (kind, parameters) = value.split_once(';').unwrap_or((value, ""));
    let kind = kind.trim().to_ascii_lowercase();
    match kind.split_once('/') {
        Some(("application", "x-www-form-urlencoded")) => Ok(Form::Urlencoded),
        Some(("application", subtype)) if subtype == "json" || subtype.ends_with("+json") => {
            Ok(Form::Json)
        }
        Some(("multipart", "form-data")) => multipart::boundary(parameters)
            .map(Form::Multipart)
            .ok_or(Unreadable::UnsupportedMediaType),
        Some(_) | None => Err(Unreadable::UnsupportedMediaType),
    }
}

/// The pairs of a form that is not JSON.
///
/// # Errors
/// `Malformed` or `TooLarge`.
pub(crate) fn pairs(form: &Form, body: &[u8]) -> Result<Option<Params>, Unreadable> {
    match form {
        Form::Json => Ok(None),
        Form::Urlencoded => {
            let text = std::str::from_utf8(body).map_err(|_| Unreadable::Malformed)?;
            params::decode(text).map(Some)
        }
        Form::Multipart(boundary) => multipart::decode(body, boundary).map(Some),
    }
}

/// Bytes that bodies being read hold in one core.
#[derive(Debug, Default)]
pub(crate) struct Bodies(Cell<usize>);

/// A body's share of them.
struct Share<'a> {
    bodies: &'a Bodies,
    bytes: usize,
}

impl Share<'_> {
    /// Takes more, if there is room or the body is small.
    fn grow(&mut self, bytes: usize) -> Result<(), Code> {
        let all = self.bodies.0.get() + bytes;
        if BODIES_BYTES_MAX < all && BODY_BYTES_SMALL < self.bytes + bytes {
            return Err(Code::EventStoreBackpressure);
        }
        self.bodies.0.set(all);
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.bodies.0.set(self.bodies.0.get() - self.bytes);
    }
}

/// Reads a body.
///
/// # Errors
/// `TooLarge` without reading it if its length is announced, else when it exceeds the bound;
/// `TooSlow`; `Malformed` if the connection breaks or its chunks cannot be read;
/// `EventStoreBackpressure` if the bodies of this core hold too much.
pub(crate) async fn read(
    mut body: Incoming,
    link: &Link,
    bodies: &Bodies,
) -> Result<Bytes, Problem> {
    if (BODY_BYTES_MAX as u64) < body.size_hint().lower() {
        return Err(Unreadable::TooLarge.into());
    }
    let begun = link.now();
    let mut share = Share { bodies, bytes: 0 };
    let mut whole = Pieces::Nothing;
    while !body.is_end_stream() {
        let seconds = BODY_SECONDS + share.bytes as u64 / BODY_BYTES_PER_SECOND;
        let deadline = begun + Duration::from_secs(seconds);
        let frame = link.until(deadline, body.frame()).await.ok_or(Unreadable::TooSlow)?;
        let Some(frame) = frame else { break };
        let Ok(data) = frame.map_err(|_| Unreadable::Malformed)?.into_data() else { continue };
        if BODY_BYTES_MAX < share.bytes + data.len() {
            return Err(Unreadable::TooLarge.into());
        }
        share.grow(data.len())?;
        whole = whole.add(data);
    }
    Ok(whole.join())
}

/// A body as it comes: mostly one piece, which is not copied.
enum Pieces {
    Nothing,
    One(Bytes),
    Many(BytesMut),
}

impl Pieces {
    fn add(self, piece: Bytes) -> Pieces {
        match self {
            Pieces::Nothing => Pieces::One(piece),
            Pieces::One(first) => {
                let mut many = BytesMut::with_capacity(2 * (first.len() + piece.len()));
                many.extend_from_slice(&first);
                many.extend_from_slice(&piece);
                Pieces::Many(many)
            }
            Pieces::Many(mut many) => {
                many.extend_from_slice(&piece);
                Pieces::Many(many)
            }
        }
    }

    fn join(self) -> Bytes {
        match self {
            Pieces::Nothing => Bytes::new(),
            Pieces::One(piece) => piece,
            Pieces::Many(many) => many.freeze(),
        }
    }
}
