//! A request's parameters: those of its body, and those of its query string where the body has none.

use bytes::Bytes;
use hyper::Request;
use hyper::body::Incoming;
use model::limits::BODY_BYTES_MAX;
use serde_json::Value;

use crate::http::api::Visit;
use crate::http::body;
use crate::http::link::Overdue;
use crate::members::Members;
use crate::params::{self, Params};
use crate::problem::{Problem, Unreadable};

/// Parameters as JSON text, from which members are borrowed.
#[derive(Debug)]
pub(super) struct Input {
    body: Bytes,
    query: Option<Vec<u8>>,
    /// The method that a form names instead of its own.
    says_patch: bool,
}

impl Input {
    /// Reads the body and the query string.
    ///
    /// # Errors
    /// What cannot be read; see [`body::read`].
    pub(super) async fn read(visit: &Visit, request: Request<Incoming>) -> Result<Input, Problem> {
        let form = body::form(request.headers())?;
        let query = match request.uri().query() {
            None | Some("") => None,
            Some(query) => Some(Value::from(params::decode(query)?).to_string().into_bytes()),
        };
        let bodies = &visit.shared.bodies;
        let read = body::read(request.into_body(), &visit.link, bodies).await;
        let meters = &visit.shared.meters;
        match &read {
            Err(Problem::Refused(_)) => meters.bodies_refused.increment(1),
            Err(Problem::Unreadable(Unreadable::TooSlow)) => meters.timed_out(Overdue::Handler),
            Ok(_) | Err(_) => {}
        }
        let raw = read?;
        let Some(pairs) = body::pairs(&form, &raw)? else {
            return Ok(Input { body: raw, query, says_patch: false });
        };
        let method = pairs.get("_method").and_then(Value::as_str);
        let says_patch = method.is_some_and(|method| method.eq_ignore_ascii_case("PATCH"));
        // A control character of a form is six bytes of JSON.
        let text = Value::from(pairs).to_string();
        if BODY_BYTES_MAX < text.len() {
            return Err(Unreadable::TooLarge.into());
        }
        Ok(Input { body: text.into(), query, says_patch })
    }

    /// The members, each as its text.
    ///
    /// # Errors
    /// `Malformed`.
    pub(super) fn members(&self) -> Result<Members<'_>, Problem> {
        let body = Members::parse(&self.body)?;
        match &self.query {
            None => Ok(body),
            Some(query) => Ok(body.over(Members::parse(query)?)),
        }
    }

    /// Whether a form asks for its `POST` to be taken as a `PATCH`.
    pub(super) fn says_patch(&self) -> bool {
        self.says_patch
    }
}

/// The parameters of a request without a body.
///
/// # Errors
/// `Malformed` or `TooLarge`.
pub(super) fn query(request: &Request<Incoming>) -> Result<Params, Problem> {
    Ok(params::decode(request.uri().query().unwrap_or_default())?)
}
