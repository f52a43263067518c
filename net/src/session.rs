//! From a request to what a shard is asked about sessions: create, patch, list, and pages of events.

use model::api::{EventsPage, List, Visibility};
use model::canonical::canonicalize;
use model::command::{Create, Patch, Principal, TitleChange};
use model::error::Code;
use model::ids::{Seq, SessionId};
use model::intent::INTENT_SESSION;
use model::limits::{
    LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX, PAGE_LIMIT_DEFAULT, PAGE_LIMIT_MAX, TAIL_BATCH_MAX,
};
use serde_json::Value;

use crate::identity::Identity;
use crate::members::{Members, digits, given, integer_from, is_empty, is_object, object, string};
use crate::params::Params;
use crate::problem::{Problem, Unreadable};

/// Random bytes of a generated id.
pub(crate) const ID_BYTES: usize = 12;

/// Builds a create. `random` names the session if the client does not.
///
/// # Errors
/// `InvalidEvent` for id or title, `InvalidSessionId` for one that no client may use, `InvalidMetadata`,
/// or `Malformed`.
pub(crate) fn create(
    members: &Members<'_>,
    identity: &Identity,
    random: [u8; ID_BYTES],
) -> Result<Create, Problem> {
    let creator = creator(given(members.creator_principal), identity)?;
    let session = match given(members.id) {
        Some(id) => {
            let id = string(id)?.ok_or(Code::InvalidEvent)?;
            if id == INTENT_SESSION {
                return Err(Code::InvalidSessionId.into());
            }
            SessionId::new(id).ok_or(Code::InvalidEvent)?
        }
        None => generated_id(random),
    };
    let title = match given(members.title) {
        Some(title) => Some(string(title)?.ok_or(Code::InvalidEvent)?.into()),
        None => None,
    };
    let metadata = match given(members.metadata) {
        Some(json) => self::metadata(json)?,
        None => "{}",
    };
    Ok(Create { session, title, metadata: metadata.into(), creator, at: 0 })
}

/// Who is said to have made a session: the named principal if it is a whole one, else the caller.
fn creator(member: Option<&str>, identity: &Identity) -> Result<Principal, Problem> {
    let named = match member {
        Some(json) => object(json)?.unwrap_or_default(),
        None => Members::default(),
    };
    let part = |member: Option<&str>| -> Result<Option<Box<str>>, Unreadable> {
        let Some(text) = member else { return Ok(None) };
        Ok(string(text)?.filter(|part| !part.is_empty()).map(Box::from))
    };
    let kind = part(named.kind)?.filter(|kind| matches!(&**kind, "user" | "agent" | "service"));
    Ok(match (part(named.tenant_id)?, part(named.id)?, kind) {
        (Some(tenant_id), Some(id), Some(kind)) => Principal { tenant_id, id, kind },
        _ => identity.principal.clone(),
    })
}

/// Metadata of a session: an object that can be stored.
fn metadata(json: &str) -> Result<&str, Problem> {
    if !is_object(json) {
        return Err(Code::InvalidMetadata.into());
    }
    canonicalize(json, &mut Vec::with_capacity(json.len())).ok_or(Unreadable::Malformed)?;
    Ok(json)
}

/// `ses_` and the bytes in URL-safe base64.
fn generated_id(random: [u8; ID_BYTES]) -> SessionId {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut id = String::from("ses_");
    for three in random.chunks_exact(3) {
        let bits = three.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        for shift in [18, 12, 6, 0] {
            id.push(char::from(ALPHABET[bits >> shift & 63]));
        }
    }
    SessionId::new(id).expect("it begins with a prefix")
}

/// Builds a patch.
///
/// # Errors
/// `InvalidSession`, `InvalidMetadata`, or `Malformed`.
pub(crate) fn patch(session: SessionId, members: &Members<'_>) -> Result<Patch, Problem> {
    let title = match members.title {
        None => TitleChange::Keep,
        Some("null") => TitleChange::Clear,
        Some(json) => TitleChange::Set(string(json)?.ok_or(Code::InvalidSession)?.into()),
    };
    let metadata = members.metadata.map(metadata).transpose()?;
    if title == TitleChange::Keep && metadata.is_none_or(is_empty) {
        return Err(Code::InvalidSession.into());
    }
    let expected_version = given(members.expected_version)
        .map(|text| integer_from(text, 1, Code::InvalidSession))
        .transpose()?;
    let metadata = metadata.map(Box::from);
    Ok(Patch { session, title, metadata, expected_version, at: 0 })
}

/// Builds a list.
///
/// # Errors
/// `InvalidLimit`, `InvalidCursor`, `InvalidListQuery`, or `InvalidMetadata`.
pub(crate) fn list(params: &Params) -> Result<List, Problem> {
    let limit = limit(params, LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX)?;
    let cursor = match params.get("cursor") {
        None => None,
        Some(Value::String(id)) if !id.is_empty() => Some(id.as_str().into()),
        Some(_) => return Err(Code::InvalidCursor.into()),
    };
    let visibility = match params.get("archived") {
        None => Visibility::Active,
        Some(value) => match value.as_str() {
            Some("false") => Visibility::Active,
            Some("true") => Visibility::Archived,
            Some("all") => Visibility::All,
            Some(_) | None => return Err(Code::InvalidListQuery.into()),
        },
    };
    Ok(List { cursor, limit, visibility, metadata: filters(params)? })
}

/// A member of the metadata and the string it must equal.
type Filter = (Box<str>, Box<str>);

/// The metadata filters of a list: `metadata[key]=value` and, before it, `metadata.key=value`.
fn filters(params: &Params) -> Result<Vec<Filter>, Problem> {
    let mut filters = std::collections::BTreeMap::new();
    match params.get("metadata") {
        None => {}
        Some(Value::Object(members)) => {
            for (key, value) in members {
                let value = value.as_str().filter(|_| !key.is_empty());
                filters.insert(key.as_str(), value.ok_or(Code::InvalidMetadata)?);
            }
        }
        Some(_) => return Err(Code::InvalidMetadata.into()),
    }
    for (name, value) in params {
        let Some(key) = name.strip_prefix("metadata.") else { continue };
        if key.is_empty() {
            return Err(Code::InvalidMetadata.into());
        }
        if let Some(value) = value.as_str() {
            filters.insert(key, value);
        }
    }
    Ok(filters.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
}

/// Builds a page of events.
///
/// # Errors
/// `InvalidCursor` or `InvalidLimit`.
pub(crate) fn events(session: SessionId, params: &Params) -> Result<EventsPage, Problem> {
    let cursor = cursor(params)?;
    let limit = limit(params, PAGE_LIMIT_DEFAULT, PAGE_LIMIT_MAX)?;
    Ok(EventsPage { session, cursor, limit })
}

/// The place a tail or a page starts after; the session's start if none is named.
///
/// # Errors
/// `InvalidCursor`.
pub(crate) fn cursor(params: &Params) -> Result<Seq, Problem> {
    let Some(value) = params.get("cursor") else { return Ok(Seq(0)) };
    let seq = value.as_str().and_then(digits).and_then(|seq| u64::try_from(seq).ok());
    seq.map(Seq).ok_or_else(|| Code::InvalidCursor.into())
}

/// Events per frame of a tail; 1 if no number is named.
///
/// # Errors
/// `InvalidTailBatchSize`.
pub(crate) fn batch_size(params: &Params) -> Result<u32, Problem> {
    let Some(value) = params.get("batch_size") else { return Ok(1) };
    counted(value, TAIL_BATCH_MAX).ok_or_else(|| Code::InvalidTailBatchSize.into())
}

fn limit(params: &Params, default: u32, max: u32) -> Result<u32, Problem> {
    let Some(value) = params.get("limit") else { return Ok(default) };
    counted(value, max).ok_or_else(|| Code::InvalidLimit.into())
}

/// An integer in `[1, max]`.
fn counted(value: &Value, max: u32) -> Option<u32> {
    let number = u32::try_from(digits(value.as_str()?)?).ok()?;
    (1..=max).contains(&number).then_some(number)
}
