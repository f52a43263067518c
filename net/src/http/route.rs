//! What a method and a path ask for. The tables are the contract's; an unknown path and a known path
//! with another method are the same: not there.

use hyper::Method;
use model::error::Code;
use model::ids::SessionId;
use model::intent::INTENT_SESSION;

use crate::params::percent_decode;
use crate::problem::Problem;

/// A thing that is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// `POST /v1/sessions`
    Create,
    /// `GET /v1/sessions`
    List,
    /// `GET /v1/sessions/:id`
    Get(SessionId),
    /// `PATCH /v1/sessions/:id`
    Patch(SessionId),
    /// `POST /v1/sessions/:id`, which is a patch if the form in its body says so.
    Override(SessionId),
    /// `POST /v1/sessions/:id/append`
    Append(SessionId),
    /// `POST /v1/sessions/:id/archive`
    Archive(SessionId),
    /// `POST /v1/sessions/:id/unarchive`
    Unarchive(SessionId),
    /// `GET /v1/sessions/:id/tail`
    Tail(SessionId),
    /// `GET /v1/sessions/:id/events`
    Events(SessionId),
    /// `GET /health/live`
    Live,
    /// `GET /health/ready`
    Ready,
    /// `GET /metrics`
    Metrics,
    /// What operators ask and say.
    Ops(Ops),
}

/// What operators ask and say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ops {
    /// `GET /ops/status`
    Status,
    /// `GET /ops/ready-nodes`
    ReadyNodes,
    /// `GET /ops/drained`
    Drained,
    /// `GET /ops/groups/:number`
    Group(Box<str>),
    /// `GET /ops/members`
    Members,
    /// A word that changes what is wanted.
    Say(Say),
}

/// What operators say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Say {
    /// `POST /ops/drain?node=`
    Drain,
    /// `POST /ops/undrain?node=`
    Undrain,
    /// `POST /ops/transfer?group=&node=`
    Prefer,
    /// `POST /ops/release?group=`
    Release,
    /// `POST /ops/members/add?node=`
    Add,
    /// `POST /ops/members/remove?node=`
    Remove,
}

impl Route {
    /// Whether it is an operator's matter rather than a client's.
    pub(crate) fn is_ops(&self) -> bool {
        matches!(self, Route::Live | Route::Ready | Route::Metrics | Route::Ops(_))
    }
}

/// Finds the route. `HEAD` is served as `GET`; empty segments of a path do not count.
///
/// # Errors
/// `NotFound`, or `InvalidSessionId` if the id cannot be decoded.
pub(crate) fn route(method: &Method, path: &str) -> Result<Route, Problem> {
    const SEGMENTS_MAX: usize = 4;
    let mut segments = [""; SEGMENTS_MAX];
    let mut count = 0;
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        *segments.get_mut(count).ok_or(Problem::NotFound)? = segment;
        count += 1;
    }
    let method = if method == Method::HEAD { &Method::GET } else { method };
    match (method.as_str(), &segments[..count]) {
        ("POST", ["v1", "sessions"]) => Ok(Route::Create),
        ("GET", ["v1", "sessions"]) => Ok(Route::List),
        ("GET", ["v1", "sessions", id]) => session(id).map(Route::Get),
        ("PATCH", ["v1", "sessions", id]) => session(id).map(Route::Patch),
        ("POST", ["v1", "sessions", id]) => session(id).map(Route::Override),
        ("POST", ["v1", "sessions", id, "append"]) => session(id).map(Route::Append),
        ("POST", ["v1", "sessions", id, "archive"]) => session(id).map(Route::Archive),
        ("POST", ["v1", "sessions", id, "unarchive"]) => session(id).map(Route::Unarchive),
        ("GET", ["v1", "sessions", id, "tail"]) => session(id).map(Route::Tail),
        ("GET", ["v1", "sessions", id, "events"]) => session(id).map(Route::Events),
        ("GET", ["health", "live"]) => Ok(Route::Live),
        ("GET", ["health", "ready"]) => Ok(Route::Ready),
        ("GET", ["metrics"]) => Ok(Route::Metrics),
        ("GET", ["ops", "status"]) => Ok(Route::Ops(Ops::Status)),
        ("GET", ["ops", "ready-nodes"]) => Ok(Route::Ops(Ops::ReadyNodes)),
        ("GET", ["ops", "drained"]) => Ok(Route::Ops(Ops::Drained)),
        ("GET", ["ops", "groups", number]) => Ok(Route::Ops(Ops::Group((*number).into()))),
        ("GET", ["ops", "members"]) => Ok(Route::Ops(Ops::Members)),
        ("POST", ["ops", rest @ ..]) => say(rest).map(|say| Route::Ops(Ops::Say(say))),
        _ => Err(Problem::NotFound),
    }
}

fn say(segments: &[&str]) -> Result<Say, Problem> {
    match segments {
        ["drain"] => Ok(Say::Drain),
        ["undrain"] => Ok(Say::Undrain),
        ["transfer"] => Ok(Say::Prefer),
        ["release"] => Ok(Say::Release),
        ["members", "add"] => Ok(Say::Add),
        ["members", "remove"] => Ok(Say::Remove),
        _ => Err(Problem::NotFound),
    }
}

fn session(segment: &str) -> Result<SessionId, Problem> {
    let id = percent_decode(segment).and_then(SessionId::new);
    id.filter(|id| id.as_str() != INTENT_SESSION).ok_or_else(|| Code::InvalidSessionId.into())
}
