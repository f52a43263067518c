//! Responses: JSON with the contract's headers, and bodies whose pieces are shared, not copied.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_REQUEST_HEADERS, CONNECTION, CONTENT_TYPE,
    HeaderMap, HeaderValue, RETRY_AFTER,
};
use hyper::{Response, StatusCode};

use crate::problem::Problem;
use crate::render;

/// A response of the doors.
pub(crate) type Reply = Response<Body>;

/// A body in pieces, all of them there.
#[derive(Debug, Default)]
pub(crate) struct Body {
    pieces: VecDeque<Bytes>,
    /// Sum of the pieces' lengths.
    bytes: u64,
}

impl From<VecDeque<Bytes>> for Body {
    fn from(pieces: VecDeque<Bytes>) -> Body {
        let bytes = pieces.iter().map(|piece| piece.len() as u64).sum();
        Body { pieces, bytes }
    }
}

impl From<Bytes> for Body {
    fn from(piece: Bytes) -> Body {
        VecDeque::from([piece]).into()
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.pieces.pop_front();
        self.bytes -= piece.as_ref().map_or(0, |piece| piece.len() as u64);
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes)
    }
}

/// JSON with a status.
pub(crate) fn json(status: StatusCode, body: impl Into<Body>) -> Reply {
    const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
    typed(status, JSON, body)
}

/// Text with a status.
pub(crate) fn text(status: StatusCode, body: impl Into<Body>) -> Reply {
    const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    typed(status, TEXT, body)
}

fn typed(status: StatusCode, content_type: HeaderValue, body: impl Into<Body>) -> Reply {
    let mut reply = Response::new(body.into());
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, content_type);
    reply
}

/// What a client is told of a problem.
pub(crate) fn problem(problem: &Problem) -> Reply {
    match problem {
        Problem::Refused(refusal) => {
            let mut reply = json(status(refusal.code.status()), render::refusal(refusal));
            if let Some(seconds) = refusal.code.retry_after_seconds() {
                reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
            }
            reply
        }
        Problem::NotFound => {
            json(StatusCode::NOT_FOUND, Bytes::from_static(b"{\"error\":\"not_found\"}"))
        }
        Problem::Unreadable(unreadable) => {
            let body = Bytes::from_static(b"{\"error\":\"internal_server_error\"}");
            let mut reply = json(status(unreadable.status()), body);
            if unreadable.ends_connection() {
                end_connection(&mut reply);
            }
            reply
        }
    }
}

/// Answers the question a browser asks before a request of another origin.
pub(crate) fn preflight(request: &HeaderMap) -> Reply {
    const METHODS: HeaderValue = HeaderValue::from_static("GET,POST,PUT,PATCH,DELETE,OPTIONS");
    let mut reply = Response::new(Body::default());
    *reply.status_mut() = StatusCode::NO_CONTENT;
    reply.headers_mut().insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    if let Some(asked) = request.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        reply.headers_mut().insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
    }
    reply
}

/// Opens a response to scripts of any origin.
pub(crate) fn share(reply: &mut Reply) {
    const ANY: HeaderValue = HeaderValue::from_static("*");
    reply.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    reply.headers_mut().insert(ACCESS_CONTROL_EXPOSE_HEADERS, ANY);
}

/// Makes a response the last of its connection. One that changes the protocol is that anyway.
pub(crate) fn end_connection(reply: &mut Reply) {
    if reply.status() != StatusCode::SWITCHING_PROTOCOLS {
        reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

/// A status of one of our tables.
fn status(number: u16) -> StatusCode {
    StatusCode::from_u16(number).expect("the tables hold statuses of three digits")
}
