//! Events: append, and pages of them.

use std::time::Instant;

use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use model::api::{self, Appended};
use model::ids::SessionId;

use crate::http::api::input;
use crate::http::api::{Read, Visit, unexpected};
use crate::http::reply::{self, Reply};
use crate::meters::Operation;
use crate::problem::Problem;
use crate::{event, render, session};

pub(super) async fn append(
    visit: &Visit,
    session: SessionId,
    input: Read,
) -> Result<Reply, Problem> {
    let outcome = try_append(visit, session, input).await;
    visit.shared.meters.ingested(Operation::AppendEvent, &outcome);
    Ok(reply::json(StatusCode::CREATED, render::appended(&outcome?)))
}

async fn try_append(visit: &Visit, session: SessionId, input: Read) -> Result<Appended, Problem> {
    let parsed = event::append(session, &input?.members()?, &visit.shared.identity)?;
    let asked = Instant::now();
    let answer = match visit.ask(api::Request::Append(parsed.append)).await {
        Ok(api::Reply::Appended(appended)) => Ok(appended),
        Ok(_) => Err(unexpected()),
        Err(problem) => Err(problem),
    };
    let meters = &visit.shared.meters;
    meters.append_answered(&answer, asked.elapsed());
    if answer.as_ref().is_ok_and(|appended| !appended.deduped) {
        meters.appended(parsed.payload_bytes);
    }
    answer
}

pub(super) async fn page(
    visit: &Visit,
    session: SessionId,
    request: &Request<Incoming>,
) -> Result<Reply, Problem> {
    let page = session::events(session, &input::query(request)?)?;
    match visit.ask(api::Request::Events(page)).await? {
        api::Reply::Events { events, last_seq } => {
            Ok(reply::json(StatusCode::OK, render::events(&events, last_seq)))
        }
        _ => Err(unexpected()),
    }
}
