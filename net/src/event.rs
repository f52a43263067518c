//! From the members of a request to an append: every field in the contract's order, the stored
//! members as the client wrote them, and the digest a retry is compared by.

use std::borrow::Cow;

use model::canonical::fingerprint;
use model::command::{Append, Dedupe, Producer};
use model::error::Code;
use model::ids::SessionId;

use crate::identity::Identity;
use crate::members::{Members, given, integer_from, is_object, object, string};
use crate::problem::{Problem, Unreadable};

/// A checked string: its text as sent and what it says.
struct Text<'a> {
    json: &'a str,
    decoded: Cow<'a, str>,
}

/// Who produced an event, and its number there.
struct ProducerText<'a> {
    id: Text<'a>,
    seq: u64,
}

/// The fields of an append in the order they are checked: the first bad one names the refusal.
struct Fields<'a> {
    kind: Text<'a>,
    /// An object, as are metadata and refs.
    payload: &'a str,
    producer: Option<ProducerText<'a>>,
    actor: Option<Text<'a>>,
    source: Option<Text<'a>>,
    metadata: Cow<'a, str>,
    refs: &'a str,
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
    let fingerprint = fields.fingerprint(identity).ok_or(Unreadable::Malformed)?;
    let fragment = fields.fragment(identity);
    let payload_bytes = fields.payload.len();
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

    /// The actor as JSON.
    fn actor<'b>(&'b self, identity: &'b Identity) -> &'b str {
        self.actor.as_ref().map_or(&identity.actor_json, |actor| actor.json)
    }

    /// The stored members in the order they are shown, without braces.
    fn fragment(&self, identity: &Identity) -> String {
        /// Room for names and short values.
        const NAMES: usize = 320;
        let long = [self.kind.json, self.payload, &self.metadata, self.refs];
        let room = NAMES + long.iter().map(|json| json.len()).sum::<usize>();
        let mut out = String::with_capacity(room);
        let mut put = |name: &str, json: &str| {
            out.push_str(name);
            out.push_str(json);
        };
        put("\"type\":", self.kind.json);
        put(",\"payload\":", self.payload);
        put(",\"actor\":", self.actor(identity));
        if let Some(producer) = &self.producer {
            put(",\"producer_id\":", producer.id.json);
            put(",\"producer_seq\":", &producer.seq.to_string());
        }
        put(",\"tenant_id\":", &identity.tenant_json);
        if let Some(source) = &self.source {
            put(",\"source\":", source.json);
        }
        put(",\"metadata\":", &self.metadata);
        put(",\"refs\":", self.refs);
        put(",\"idempotency_key\":", json(&self.idempotency_key));
        out
    }

    /// `None` if a string somewhere escapes half of a surrogate pair.
    fn fingerprint(&self, identity: &Identity) -> Option<[u8; 16]> {
        let producer_id = self.producer.as_ref().map_or("null", |producer| producer.id.json);
        let producer_seq = self.producer.as_ref().map(|producer| producer.seq.to_string());
        fingerprint(&[
            self.kind.json,
            self.payload,
            self.actor(identity),
            json(&self.source),
            &self.metadata,
            self.refs,
            json(&self.idempotency_key),
            producer_id,
            producer_seq.as_deref().unwrap_or("null"),
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

/// The text of an optional member.
fn json<'a>(text: &Option<Text<'a>>) -> &'a str {
    text.as_ref().map_or("null", |text| text.json)
}

/// An optional string that must not be empty.
fn text(member: Option<&str>) -> Result<Option<Text<'_>>, Problem> {
    let Some(json) = given(member) else { return Ok(None) };
    match string(json)? {
        Some(decoded) if !decoded.is_empty() => Ok(Some(Text { json, decoded })),
        Some(_) | None => Err(Code::InvalidEvent.into()),
    }
}

fn payload(member: Option<&str>) -> Result<&str, Problem> {
    member.filter(|json| is_object(json)).ok_or_else(|| Code::InvalidEvent.into())
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

fn metadata<'a>(member: Option<&'a str>, identity: &'a Identity) -> Result<Cow<'a, str>, Problem> {
    match given(member) {
        None => Ok(Cow::Borrowed(&identity.bare_metadata)),
        Some(json) if is_object(json) => Ok(Cow::Owned(identity.stamped(json)?)),
        Some(_) => Err(Code::InvalidMetadata.into()),
    }
}

/// An object whose members of known names are places in a session or names of requests.
fn refs(member: Option<&str>) -> Result<&str, Problem> {
    let Some(json) = given(member) else { return Ok("{}") };
    let members = object(json)?.ok_or(Code::InvalidRefs)?;
    for place in [members.to_seq, members.step] {
        given(place).map(|text| integer_from(text, 0, Code::InvalidEvent)).transpose()?;
    }
    for name in [members.request_id, members.sequence_id] {
        if let Some(text) = given(name) {
            string(text)?.ok_or(Code::InvalidEvent)?;
        }
    }
    Ok(json)
}
