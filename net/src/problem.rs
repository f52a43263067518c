//! Why a request gets no answer of its own: a refusal of the contract's table, or one of the bare
//! statuses that the contract gives to what never reaches a handler.

use model::error::{Code, Refusal};

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Problem {
    /// A handler or a shard said no: `{"error": code, "message": text}`.
    Refused(Box<Refusal>),
    /// Nothing is served there: `404 {"error":"not_found"}`.
    NotFound,
    /// The request could not be read: `{"error":"internal_server_error"}` with this status.
    Unreadable(Unreadable),
}

/// What is wrong with a request that could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// It could be taken for another request than it is.
    Ambiguous,
    /// Neither JSON nor form data that can be decoded.
    Malformed,
    /// The client takes no JSON.
    NotAcceptable,
    /// The body came too slowly.
    TooSlow,
    /// The body, or the number of its parameters, is beyond the limit.
    TooLarge,
    /// The body is of a type nobody reads here.
    UnsupportedMediaType,
}

impl Unreadable {
    /// The HTTP status.
    pub(crate) fn status(self) -> u16 {
        match self {
            Unreadable::Ambiguous | Unreadable::Malformed => 400,
            Unreadable::NotAcceptable => 406,
            Unreadable::TooSlow => 408,
            Unreadable::TooLarge => 413,
            Unreadable::UnsupportedMediaType => 415,
        }
    }

    /// Whether bytes of the request may be left unread, so that the connection cannot go on.
    pub(crate) fn ends_connection(self) -> bool {
        match self {
            Unreadable::Ambiguous | Unreadable::TooSlow | Unreadable::TooLarge => true,
            Unreadable::Malformed
            | Unreadable::NotAcceptable
            | Unreadable::UnsupportedMediaType => false,
        }
    }
}

impl From<Code> for Problem {
    fn from(code: Code) -> Problem {
        Problem::Refused(Box::new(code.into()))
    }
}

impl From<Box<Refusal>> for Problem {
    fn from(refusal: Box<Refusal>) -> Problem {
        Problem::Refused(refusal)
    }
}

impl From<Unreadable> for Problem {
    fn from(unreadable: Unreadable) -> Problem {
        Problem::Unreadable(unreadable)
    }
}
