//! Health and metrics.

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{HeaderValue, RETRY_AFTER};
use model::error::Code;
use uring::Readiness;

use crate::http::api::Visit;
use crate::http::reply::{self, Reply};
use crate::http::route::Route;
use crate::problem::Problem;

pub(super) async fn serve(visit: &Visit, route: &Route) -> Result<Reply, Problem> {
    match route {
        Route::Live => Ok(reply::json(StatusCode::OK, Bytes::from_static(b"{\"status\":\"ok\"}"))),
        Route::Ready => Ok(ready(visit.shared.gateway.readiness())),
        Route::Metrics => {
            let text = visit.shared.exposition.render().await.ok_or(Code::InternalError)?;
            Ok(reply::text(StatusCode::OK, Bytes::from(text)))
        }
        _ => Err(Problem::NotFound),
    }
}

/// Whether the node takes writes, and why not.
pub(crate) fn ready(readiness: Readiness) -> Reply {
    let reason = match readiness {
        Readiness::Ready => {
            const READY: &[u8] = b"{\"status\":\"ok\",\"mode\":\"write_node\"}";
            return reply::json(StatusCode::OK, Bytes::from_static(READY));
        }
        Readiness::Starting { .. } => "raft_sync",
        Readiness::Draining => "draining",
    };
    let body = format!(r#"{{"status":"starting","mode":"write_node","reason":"{reason}"}}"#);
    let mut reply = reply::json(StatusCode::SERVICE_UNAVAILABLE, Bytes::from(body));
    reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    reply
}
