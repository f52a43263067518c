//! Opening a tail: everything that can be refused is refused as JSON, before the protocol changes.

use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::{Method, Request, Response, StatusCode, Version};
use model::api::TailOpen;
use model::error::Code;
use model::ids::SessionId;
use model::limits::ANSWER_SECONDS;
use tungstenite::handshake::derive_accept_key;

use crate::http::api::Visit;
use crate::http::api::input;
use crate::http::reply::{Body, Reply};
use crate::problem::Problem;
use crate::session;
use crate::tail::Opened;

pub(super) async fn open(
    visit: &Visit,
    session: SessionId,
    request: &Request<Incoming>,
) -> Result<Reply, Problem> {
    let accept = accept(request).ok_or(Code::InvalidWebsocketUpgrade)?;
    let params = input::query(request)?;
    let cursor = session::cursor(&params)?;
    let batch_size = session::batch_size(&params)?;
    let follow = visit.shared.gateway.follow(TailOpen { session, cursor });
    let deadline = visit.link.now() + Duration::from_secs(ANSWER_SECONDS);
    let followed = visit.link.until(deadline, follow).await.ok_or(Code::RaftTimeout)?;
    let tail = followed.map_err(Box::new)?;
    visit.shared.meters.tail_opened(cursor.0 == 0);
    *visit.tail.borrow_mut() = Some(Opened { tail, batch_size });
    let mut reply = Response::new(Body::default());
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = reply.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    Ok(reply)
}

/// The proof that a request for a WebSocket was understood; `None` if it is none.
fn accept(request: &Request<Incoming>) -> Option<HeaderValue> {
    const KEY_BYTES: usize = 24;
    let headers = request.headers();
    let is_upgrade = request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && lists(headers, &UPGRADE, b"websocket")
        && lists(headers, &CONNECTION, b"upgrade")
        && headers.get(SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
    let mut keys = headers.get_all(SEC_WEBSOCKET_KEY).iter();
    let key = keys.next().filter(|key| key.len() == KEY_BYTES)?;
    if !is_upgrade || keys.next().is_some() {
        return None;
    }
    let accept = derive_accept_key(key.as_bytes());
    Some(HeaderValue::from_str(&accept).expect("base64 is fit for a header"))
}

/// Whether a header lists a word, in whatever case.
fn lists(headers: &HeaderMap, name: &HeaderName, word: &[u8]) -> bool {
    headers.get_all(name).iter().any(|value| {
        let mut words = value.as_bytes().split(|byte| *byte == b',');
        words.any(|listed| listed.trim_ascii().eq_ignore_ascii_case(word))
    })
}
