//! Sessions: create, read, list, change, hide.

use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use model::api;
use model::command::SetArchived;
use model::error::Code;
use model::ids::SessionId;

use crate::http::api::input;
use crate::http::api::{Read, Visit, unexpected};
use crate::http::reply::{self, Reply};
use crate::meters::Operation;
use crate::problem::Problem;
use crate::{render, session};

pub(super) async fn create(visit: &Visit, input: Read) -> Result<Reply, Problem> {
    let outcome = try_create(visit, input).await;
    visit.shared.meters.ingested(Operation::CreateSession, &outcome);
    if outcome.is_ok() {
        visit.shared.meters.created();
    }
    outcome
}

async fn try_create(visit: &Visit, input: Read) -> Result<Reply, Problem> {
    let input = input?;
    let mut random = [0; session::ID_BYTES];
    getrandom::fill(&mut random).map_err(|error| {
        tracing::error!(%error, "the system gives no random bytes");
        Problem::from(Code::InternalError)
    })?;
    let create = session::create(&input.members()?, &visit.shared.identity, random)?;
    row(visit, api::Request::Create(create), StatusCode::CREATED).await
}

pub(super) async fn get(visit: &Visit, session: SessionId) -> Result<Reply, Problem> {
    row(visit, api::Request::Get(session), StatusCode::OK).await
}

pub(super) async fn patch(
    visit: &Visit,
    session: SessionId,
    input: Read,
) -> Result<Reply, Problem> {
    let outcome = async {
        let patch = session::patch(session, &input?.members()?)?;
        row(visit, api::Request::Patch(patch), StatusCode::OK).await
    }
    .await;
    visit.shared.meters.ingested(Operation::UpdateSession, &outcome);
    outcome
}

/// Hides a session, or shows it again. The body says nothing, but must be readable.
pub(super) async fn set_archived(
    visit: &Visit,
    (session, archived): (SessionId, bool),
    input: Read,
) -> Result<Reply, Problem> {
    let outcome = async {
        input?.members()?;
        let change = SetArchived { session, archived, at: 0 };
        row(visit, api::Request::SetArchived(change), StatusCode::OK).await
    }
    .await;
    visit.shared.meters.ingested(Operation::UpdateSession, &outcome);
    outcome
}

pub(super) async fn list(visit: &Visit, request: &Request<Incoming>) -> Result<Reply, Problem> {
    let list = session::list(&input::query(request)?)?;
    match visit.ask(api::Request::List(list)).await? {
        api::Reply::Sessions { rows, more, .. } => {
            Ok(reply::json(StatusCode::OK, render::sessions(&rows, more)))
        }
        _ => Err(unexpected()),
    }
}

/// Asks for something that is answered by a session's row.
async fn row(visit: &Visit, request: api::Request, status: StatusCode) -> Result<Reply, Problem> {
    match visit.ask(request).await? {
        api::Reply::Session(row) => Ok(reply::json(status, render::session(&row))),
        _ => Err(unexpected()),
    }
}
