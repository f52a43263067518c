//! From a request to a response: routes, what every route has in common, and the handlers.

mod event;
mod input;
mod ops;
#[cfg(test)]
pub(crate) use ops::{detail, ready};
mod sessions;
mod tail;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::header::{ACCEPT, HOST};
use hyper::{HeaderMap, Method, Request, StatusCode, Version};
use model::api;
use model::error::Code;
use model::limits::ANSWER_SECONDS;

use crate::http::Shared;
use crate::http::link::Link;
use crate::http::reply::{self, Reply};
use crate::http::route::{Route, route};
use crate::problem::{Problem, Unreadable};
use crate::tail::Opened;

use input::Input;

/// Which of the listeners a connection came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Face {
    /// The clients' and, unless it has one of its own, the operator's.
    Public,
    /// The operator's.
    Ops,
}

/// One connection, as its requests see it.
#[derive(Debug)]
pub(crate) struct Visit {
    /// What all connections of the core share.
    pub(crate) shared: Rc<Shared>,
    /// The connection's deadlines.
    pub(crate) link: Rc<Link>,
    /// Where it came in.
    pub(crate) face: Face,
    /// The tail that the connection becomes after its last response.
    pub(crate) tail: RefCell<Option<Opened>>,
}

/// A request's parameters, or why they cannot be read: handlers count that as well.
type Read = Result<Input, Problem>;

/// Answers a request.
pub(crate) async fn answer(visit: Rc<Visit>, request: Request<Incoming>) -> Reply {
    let began = Instant::now();
    visit.link.request_begins();
    let method = request.method().clone();
    let mut reply = if method == Method::OPTIONS {
        reply::preflight(request.headers())
    } else {
        serve(&visit, request).await.unwrap_or_else(|problem| reply::problem(&problem))
    };
    reply::share(&mut reply);
    if visit.must_end() {
        reply::end_connection(&mut reply);
    }
    visit.link.request_ends();
    visit.shared.meters.answered(&method, reply.status(), began.elapsed());
    reply
}

async fn serve(visit: &Visit, request: Request<Incoming>) -> Result<Reply, Problem> {
    if !names_one_host(&request) {
        return Err(Unreadable::Ambiguous.into());
    }
    let route = route(request.method(), request.uri().path());
    if visit.face == Face::Ops {
        return match route {
            Ok(route) if route.is_ops() => ops::serve(visit, &route, &request).await,
            // The reference's operator port answers anything else in these words.
            Ok(_) | Err(_) => Ok(reply::text(StatusCode::NOT_FOUND, bytes::Bytes::from("Oops!"))),
        };
    }
    let route = route?;
    if route.is_ops() {
        if visit.shared.has_ops_listener {
            return Err(Problem::NotFound);
        }
        return ops::serve(visit, &route, &request).await;
    }
    if !takes_json(request.headers()) {
        return Err(Unreadable::NotAcceptable.into());
    }
    match route {
        Route::List => sessions::list(visit, &request).await,
        Route::Get(session) => sessions::get(visit, session).await,
        Route::Events(session) => event::page(visit, session, &request).await,
        Route::Tail(session) => tail::open(visit, session, &request).await,
        Route::Create => sessions::create(visit, Input::read(visit, request).await).await,
        Route::Append(session) => {
            event::append(visit, session, Input::read(visit, request).await).await
        }
        Route::Patch(session) => {
            sessions::patch(visit, session, Input::read(visit, request).await).await
        }
        Route::Override(session) => {
            let input = Input::read(visit, request).await;
            if input.as_ref().is_ok_and(|input| !input.says_patch()) {
                return Err(Problem::NotFound);
            }
            sessions::patch(visit, session, input).await
        }
        Route::Archive(session) => {
            sessions::set_archived(visit, (session, true), Input::read(visit, request).await).await
        }
        Route::Unarchive(session) => {
            sessions::set_archived(visit, (session, false), Input::read(visit, request).await).await
        }
        Route::Live | Route::Ready | Route::Metrics | Route::Ops(_) => Err(Problem::NotFound),
    }
}

/// Whether a request says exactly once whom it is for, as HTTP/1.1 demands: whoever stands between
/// may have chosen another of two names.
fn names_one_host(request: &Request<Incoming>) -> bool {
    let hosts = request.headers().get_all(HOST).iter().count();
    hosts == 1 || (hosts == 0 && request.version() == Version::HTTP_10)
}

/// Whether the client takes JSON, which it need not say.
pub(crate) fn takes_json(headers: &HeaderMap) -> bool {
    let mut accepts = headers.get_all(ACCEPT).iter().peekable();
    if accepts.peek().is_none() {
        return true;
    }
    accepts.any(|value| {
        let ranges = value.as_bytes().split(|byte| *byte == b',');
        ranges.into_iter().any(|range| {
            let range = range.split(|byte| *byte == b';').next().unwrap_or_default();
            let range = range.trim_ascii();
            [&b"*/*"[..], b"application/*", b"application/json"]
                .iter()
                .any(|json| range.eq_ignore_ascii_case(json))
        })
    })
}

impl Visit {
    /// Whether the connection is to end as soon as it can: the operator's outlive the clients'.
    pub(crate) fn must_end(&self) -> bool {
        self.face == Face::Public && self.shared.draining()
    }

    /// Asks a shard, and waits for its answer no longer than [`ANSWER_SECONDS`]: by then the outcome
    /// is unknown.
    async fn ask(&self, request: api::Request) -> Result<api::Reply, Problem> {
        let deadline = self.link.now() + Duration::from_secs(ANSWER_SECONDS);
        let is_read = request.is_read();
        let answer = self.link.until(deadline, self.shared.gateway.call(request)).await;
        let timed_out = match &answer {
            None => true,
            Some(api::Reply::Refused(refusal)) => refusal.code == Code::RaftTimeout,
            Some(_) => false,
        };
        if timed_out && !is_read {
            self.shared.gateway.stopper().standing().note_write_timeout();
        }
        match answer {
            None => Err(Code::RaftTimeout.into()),
            Some(api::Reply::Refused(refusal)) => Err(refusal.into()),
            Some(api::Reply::NotLeader { .. }) => Err(Code::RaftUnavailable.into()),
            Some(reply) => Ok(reply),
        }
    }
}

/// A shard answered another question than it was asked.
fn unexpected() -> Problem {
    tracing::error!("a shard gave an answer of another kind than was asked for");
    Code::InternalError.into()
}
