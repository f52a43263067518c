//! Health and metrics for anybody, and what operators ask and say for those who know the token.

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{HeaderValue, RETRY_AFTER};
use hyper::{Request, StatusCode};
use model::error::Code;
use serde_json::{Value, json};
use shard::effect::Lack;
use uring::{Readiness, ShardStanding};

use crate::http::api::{Visit, input};
use crate::http::reply::{self, Reply};
use crate::http::route::{Ops, Route, Say};
use crate::operator::{self, Operator, Startup, mode};
use crate::problem::Problem;

/// Holds the operator's token.
const TOKEN: &str = "x-starcite-ops-token";

pub(super) async fn serve(
    visit: &Visit,
    route: &Route,
    request: &Request<Incoming>,
) -> Result<Reply, Problem> {
    match route {
        Route::Live => Ok(reply::json(StatusCode::OK, Bytes::from_static(b"{\"status\":\"ok\"}"))),
        Route::Ready => {
            let stopper = visit.shared.gateway.stopper();
            let (readiness, standing) = (stopper.readiness(), stopper.standing());
            let detail = match readiness {
                Readiness::Starting { groups_not_ready } if !standing.is_alone() => {
                    let startup = visit.shared.operator.as_ref().map(Operator::startup);
                    let shards: Vec<_> = standing.shards().collect();
                    let timed_out = standing.write_timed_out();
                    Some(detail(&shards, timed_out, groups_not_ready, startup))
                }
                _ => None,
            };
            Ok(ready(readiness, standing.is_router(), detail.as_ref()))
        }
        Route::Metrics => {
            let text = visit.shared.exposition.render().await.ok_or(Code::InternalError)?;
            Ok(reply::text(StatusCode::OK, Bytes::from(text)))
        }
        Route::Ops(ops) => asked(visit, ops, request).await,
        _ => Err(Problem::NotFound),
    }
}

/// Answers an operator.
async fn asked(visit: &Visit, ops: &Ops, request: &Request<Incoming>) -> Result<Reply, Problem> {
    let operator = visit.shared.operator.as_ref().ok_or(Problem::NotFound)?;
    let token = request.headers().get(TOKEN).map(HeaderValue::as_bytes);
    if !token.is_some_and(|token| operator.admits(token)) {
        return Err(Code::Unauthorized.into());
    }
    let stopper = visit.shared.gateway.stopper();
    let (standing, own) = (stopper.standing(), stopper.readiness());
    let answer = match ops {
        Ops::Status => operator.status(standing, own),
        Ops::ReadyNodes => json!({"ready_nodes": operator.ready_nodes(standing, own)}),
        Ops::Drained => json!({"drained": standing.is_drained()}),
        Ops::Group(number) => {
            operator.holders(&visit.shared.gateway, operator.group(number)?).await
        }
        Ops::Members => operator::members(operator, &visit.shared.gateway).await,
        Ops::Say(word) => say(visit, operator, *word, request).await?,
    };
    Ok(reply::json(StatusCode::OK, Bytes::from(answer.to_string())))
}

async fn say(
    visit: &Visit,
    operator: &Operator,
    word: Say,
    request: &Request<Incoming>,
) -> Result<Value, Problem> {
    let (params, gateway) = (input::query(request)?, &visit.shared.gateway);
    let param = |name: &str| params.get(name).and_then(Value::as_str);
    let node = param("node");
    let group = || operator.group(param("group").unwrap_or_default());
    let said = match word {
        Say::Drain => operator::drain(operator, gateway, node).await,
        Say::Undrain => operator::undrain(operator, gateway, node).await,
        Say::Prefer => {
            let about = (group()?, node.unwrap_or_default());
            operator::prefer(operator, gateway, about).await
        }
        Say::Release => operator::release(gateway, group()?).await,
        Say::Add => operator::add(operator, gateway, node.unwrap_or_default()).await,
        Say::Remove => operator::remove(operator, gateway, node.unwrap_or_default()).await,
    };
    Ok(said.map_err(Box::new)?)
}

/// Whether the node takes requests, and why not.
pub(crate) fn ready(readiness: Readiness, is_router: bool, detail: Option<&Value>) -> Reply {
    let mode = mode(is_router);
    let reason = match readiness {
        Readiness::Ready => {
            let body = format!("{{\"status\":\"ok\",\"mode\":\"{mode}\"}}");
            return reply::json(StatusCode::OK, Bytes::from(body));
        }
        Readiness::Draining => "draining",
        Readiness::Starting { .. } => "raft_sync",
        Readiness::Unconnected => "router_sync",
        Readiness::Unaware => "observer_sync",
    };
    let mut body = format!("{{\"status\":\"starting\",\"mode\":\"{mode}\",\"reason\":\"{reason}\"");
    if let Some(detail) = detail {
        body.push_str(",\"detail\":");
        body.push_str(&detail.to_string());
    }
    body.push('}');
    let mut reply = reply::json(StatusCode::SERVICE_UNAVAILABLE, Bytes::from(body));
    reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    reply
}

/// What stands in the way, in the contract's words.
pub(crate) fn detail(
    shards: &[Option<ShardStanding>],
    write_timed_out: bool,
    failing_groups: u64,
    startup: Option<Startup>,
) -> Value {
    let said = shards.iter().flatten();
    let checked: u64 = said.clone().map(|shard| shard.gauges.groups_checked).sum();
    let failing = said.filter_map(|shard| shard.failing).min();
    let result = match failing {
        _ if shards.iter().any(Option::is_none) => "startup_sync",
        Some((_, Lack::Membership)) => "membership",
        Some((_, Lack::Leader)) => "leader_unknown",
        Some((_, Lack::Progress)) => "raft_state",
        Some((_, Lack::Room)) => "local_group_down",
        None if write_timed_out => "write_timeout",
        // It stood in the way when readiness was looked at, and does no more.
        None => "raft_state",
    };
    json!({
        "startup_mode": startup.map(Startup::name),
        "checked_groups": checked,
        "failing_groups": failing_groups,
        "failing_group_id": failing.map(|(group, _)| group.0),
        "probe_result": result,
    })
}
