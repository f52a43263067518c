//! From the members of a request to an append: every field in the contract's order, the stored
//! members as the client wrote them, and the digest a retry is compared by.

use std::borrow::Cow;

use model::command::{Append, Dedupe, Producer};
use model::error::Code;
use model::ids::SessionId;
use model::json::fingerprint;
use serde_json::{Map, Value};

use crate::identity::Identity;
use crate::members::{Members, given, integer, integer_from, object, string};
use crate::problem::Problem;

/// A checked string: its text as sent and what it says.
struct Text<'a> {
    json: &'a str,
    decoded: Cow<'a, str>,
}

/// A member that the event stores as an object: text, and value for the digest.
struct Object<'a> {
    json: Cow<'a, str>,
    value: Cow<'a, Value>,
}

/// Who produced an event, and its number there.
struct ProducerText<'a> {
    id: Text<'a>,
    seq: u64,
}

/// The fields of an append in the order they are checked: the first bad one names the refusal.
struct Fields<'a> {
    kind: Text<'a>,
    payload: Object<'a>,
    producer: Option<ProducerText<'a>>,
    actor: Option<Text<'a>>,
    source: Option<Text<'a>>,
    metadata: Object<'a>,
    refs: Object<'a>,
    idempotency_key: Option<Text<'a>>,
    expected_seq: Option<u64>,
}

/// An append, and the length of its payload's text in bytes.
#[derive(Debug)]
pub(crate) struct Parsed {
    /// For the shard, which stamps the time.
    pub(crate) append: Append,
    /// Length of the payload's text.
    pub(crate) payload_bytes: usize,
}

/// Builds an append.
///
/// # Errors
/// `InvalidEvent`, `InvalidMetadata`, `InvalidRefs`, or `Malformed`.
pub(crate) fn append(
    session: SessionId,
    members: &Members<'_>,
    identity: &Identity,
) -> Result<Parsed, Problem> {
    let fields = Fields::check(members, identity)?;
    let fragment = fields.fragment(identity);
    let fingerprint = fields.fingerprint(identity);
    let payload_bytes = fields.payload.json.len();
    let append = Append {
        session,
        fragment: fragment.into(),
        fingerprint,
        expected_seq: fields.expected_seq,
        dedupe: fields.dedupe(),
        at: 0,
    };
    Ok(Parsed { append, payload_bytes })
}

impl<'a> Fields<'a> {
    fn check(members: &Members<'a>, identity: &'a Identity) -> Result<Fields<'a>, Problem> {
        Ok(Fields {
            kind: text(members.kind)?.ok_or(Code::InvalidEvent)?,
            payload: payload(members.payload)?,
            producer: producer(members)?,
            actor: text(members.actor)?,
            source: text(members.source)?,
            metadata: metadata(members.metadata, identity)?,
            refs: refs(members.refs)?,
            idempotency_key: text(members.idempotency_key)?,
            expected_seq: given(members.expected_seq)
                .map(|text| integer_from(text, 0, Code::InvalidEvent))
                .transpose()?,
        })
    }

    /// The stored members in the order they are shown, without braces.
    fn fragment(&self, identity: &Identity) -> String {
        let actor = self.actor.as_ref().map_or(&*identity.actor_json, |actor| actor.json);
        let (metadata, refs) = (&*self.metadata.json, &*self.refs.json);
        const NAMES: usize = 160;
        let room = NAMES
            + [self.kind.json, &self.payload.json, actor, metadata, refs]
                .map(str::len)
                .iter()
                .sum::<usize>();
        let mut out = String::with_capacity(room);
        let mut put = |name: &str, json: &str| {
            out.push_str(name);
            out.push_str(json);
        };
        put("\"type\":", self.kind.json);
        put(",\"payload\":", &self.payload.json);
        put(",\"actor\":", actor);
        if let Some(producer) = &self.producer {
            put(",\"producer_id\":", producer.id.json);
            put(",\"producer_seq\":", &producer.seq.to_string());
        }
        put(",\"tenant_id\":", &identity.tenant_json);
        if let Some(source) = &self.source {
            put(",\"source\":", source.json);
        }
        put(",\"metadata\":", metadata);
        put(",\"refs\":", refs);
        put(",\"idempotency_key\":", self.idempotency_key.as_ref().map_or("null", |key| key.json));
        out
    }

    fn fingerprint(&self, identity: &Identity) -> [u8; 16] {
        let value = |text: &Option<Text<'_>>| {
            text.as_ref().map_or(Value::Null, |text| Value::from(&*text.decoded))
        };
        let actor = self.actor.as_ref().map_or(&*identity.actor, |actor| &*actor.decoded);
        let producer = self.producer.as_ref();
        fingerprint(&[
            &Value::from(&*self.kind.decoded),
            &self.payload.value,
            &Value::from(actor),
            &value(&self.source),
            &self.metadata.value,
            &self.refs.value,
            &value(&self.idempotency_key),
            &producer.map_or(Value::Null, |producer| Value::from(&*producer.id.decoded)),
            &producer.map_or(Value::Null, |producer| Value::from(producer.seq)),
        ])
    }

    /// A producer's counter wins: beside it the idempotency key is only stored.
    fn dedupe(self) -> Dedupe {
        match (self.producer, self.idempotency_key) {
            (Some(producer), _) => {
                Dedupe::Producer(Producer { id: producer.id.decoded.into(), seq: producer.seq })
            }
            (None, Some(key)) => Dedupe::Key(key.decoded.into()),
            (None, None) => Dedupe::Nothing,
        }
    }
}

/// An optional string that must not be empty.
fn text(member: Option<&str>) -> Result<Option<Text<'_>>, Problem> {
    let Some(json) = given(member) else { return Ok(None) };
    match string(json)? {
        Some(decoded) if !decoded.is_empty() => Ok(Some(Text { json, decoded })),
        Some(_) | None => Err(Code::InvalidEvent.into()),
    }
}

fn payload(member: Option<&str>) -> Result<Object<'_>, Problem> {
    let json = member.ok_or(Code::InvalidEvent)?;
    let value = object(json)?.ok_or(Code::InvalidEvent)?;
    Ok(Object { json: json.into(), value: Cow::Owned(value.into()) })
}

/// Both members or neither.
fn producer<'a>(members: &Members<'a>) -> Result<Option<ProducerText<'a>>, Problem> {
    let seq = given(members.producer_seq);
    match (text(members.producer_id)?, seq) {
        (None, None) => Ok(None),
        (Some(id), Some(seq)) => {
            Ok(Some(ProducerText { id, seq: integer_from(seq, 1, Code::InvalidEvent)? }))
        }
        (Some(_), None) | (None, Some(_)) => Err(Code::InvalidEvent.into()),
    }
}

fn metadata<'a>(member: Option<&'a str>, identity: &'a Identity) -> Result<Object<'a>, Problem> {
    let Some(json) = given(member) else {
        let (json, value) = identity.bare_metadata();
        return Ok(Object { json: json.into(), value: Cow::Borrowed(value) });
    };
    let members = object(json)?.ok_or(Code::InvalidMetadata)?;
    let (json, value) = identity.stamped(json, members);
    Ok(Object { json: json.into(), value: Cow::Owned(value) })
}

fn refs(member: Option<&str>) -> Result<Object<'_>, Problem> {
    let Some(json) = given(member) else {
        return Ok(Object { json: "{}".into(), value: Cow::Owned(Map::new().into()) });
    };
    let members = object(json)?.ok_or(Code::InvalidRefs)?;
    for (name, value) in &members {
        let is_valid = match name.as_str() {
            "to_seq" | "step" => is_place(value)?,
            "request_id" | "sequence_id" => value.is_string() || value.is_null(),
            _ => true,
        };
        if !is_valid {
            return Err(Code::InvalidEvent.into());
        }
    }
    Ok(Object { json: json.into(), value: Cow::Owned(members.into()) })
}

/// Whether a value is an integer of at least 0, as a number or a string, or `null`.
fn is_place(value: &Value) -> Result<bool, Problem> {
    Ok(match value {
        Value::Null => true,
        Value::Number(_) | Value::String(_) => {
            integer(&value.to_string())?.is_some_and(|place| 0 <= place)
        }
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => false,
    })
}
