//! Health and metrics.

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{HeaderValue, RETRY_AFTER};
use model::error::Code;
use uring::Readiness;

use crate::Mode;
use crate::http::api::Visit;
use crate::http::reply::{self, Reply};
use crate::http::route::Route;
use crate::problem::Problem;

pub(super) async fn serve(visit: &Visit, route: &Route) -> Result<Reply, Problem> {
    match route {
        Route::Live => Ok(reply::json(StatusCode::OK, Bytes::from_static(b"{\"status\":\"ok\"}"))),
        Route::Ready => {
            let gateway = &visit.shared.gateway;
            Ok(ready(visit.shared.mode, gateway.readiness(), gateway.hears_anybody()))
        }
        Route::Metrics => {
            let text = visit.shared.exposition.render().await.ok_or(Code::InternalError)?;
            Ok(reply::text(StatusCode::OK, Bytes::from(text)))
        }
        _ => Err(Problem::NotFound),
    }
}

/// Whether the node takes writes, and why not. A router takes them once it hears another node.
pub(crate) fn ready(mode: Mode, readiness: Readiness, hears_anybody: bool) -> Reply {
    let name = match mode {
        Mode::WriteNode => "write_node",
        Mode::RouterNode => "router_node",
    };
    let reason = match (mode, readiness) {
        (_, Readiness::Draining) => "draining",
        (Mode::RouterNode, _) if !hears_anybody => "router_sync",
        (_, Readiness::Ready) => {
            let body = format!(r#"{{"status":"ok","mode":"{name}"}}"#);
            return reply::json(StatusCode::OK, Bytes::from(body));
        }
        (Mode::RouterNode, Readiness::Starting { .. }) => "router_sync",
        (Mode::WriteNode, Readiness::Starting { .. }) => "raft_sync",
    };
    let body = format!(r#"{{"status":"starting","mode":"{name}","reason":"{reason}"}}"#);
    let mut reply = reply::json(StatusCode::SERVICE_UNAVAILABLE, Bytes::from(body));
    reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    reply
}
