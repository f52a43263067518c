//! The members of an object, each as the client's own text: what is stored is what was sent.
//!
//! A body is parsed once, in place, and no tree of values is built. A member named twice counts with
//! its last value; members nobody asks for are skipped.

use std::borrow::Cow;
use std::fmt;

use model::error::Code;
use model::json::too_deep;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::problem::{Problem, Unreadable};

macro_rules! members {
    ($($field:ident $name:literal,)*) => {
        /// Members by name, as JSON text without white space around it.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub(crate) struct Members<'a> {
            $(#[doc = concat!("`", $name, "`")] pub(crate) $field: Option<&'a str>,)*
        }

        impl<'a> Members<'a> {
            /// Where a member's text goes; `None` for a member nobody asks for.
            fn slot(&mut self, name: &str) -> Option<&mut Option<&'a str>> {
                match name {
                    $($name => Some(&mut self.$field),)*
                    _ => None,
                }
            }

            /// These members, and those of `below` where there is none.
            pub(crate) fn over(self, below: Members<'a>) -> Members<'a> {
                Members { $($field: self.$field.or(below.$field),)* }
            }
        }
    };
}

members! {
    kind "type",
    payload "payload",
    actor "actor",
    producer_id "producer_id",
    producer_seq "producer_seq",
    source "source",
    metadata "metadata",
    refs "refs",
    idempotency_key "idempotency_key",
    expected_seq "expected_seq",
    id "id",
    title "title",
    creator_principal "creator_principal",
    expected_version "expected_version",
    tenant_id "tenant_id",
    to_seq "to_seq",
    step "step",
    request_id "request_id",
    sequence_id "sequence_id",
}

impl<'a> Members<'a> {
    /// Reads a JSON document. An empty one, and one that is not an object, has no members.
    ///
    /// # Errors
    /// `Malformed` if it is not JSON in UTF-8 or nests too deep.
    pub(crate) fn parse(body: &'a [u8]) -> Result<Members<'a>, Unreadable> {
        if body.is_empty() {
            return Ok(Members::default());
        }
        let text = std::str::from_utf8(body).map_err(|_| Unreadable::Malformed)?;
        if too_deep(body) {
            return Err(Unreadable::Malformed);
        }
        if text.trim_ascii_start().starts_with('{') {
            return serde_json::from_str(text).map_err(|_| Unreadable::Malformed);
        }
        let skipped: Result<IgnoredAny, _> = serde_json::from_str(text);
        skipped.map(|_| Members::default()).map_err(|_| Unreadable::Malformed)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members<'a>, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members = Members::default();
        while let Some(name) = map.next_key::<Name<'de>>()? {
            match members.slot(&name.0) {
                Some(slot) => *slot = Some(map.next_value::<&RawValue>()?.get()),
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(members)
    }
}

/// A member's name, borrowed unless it holds escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Name<'a>, D::Error> {
        struct NameVisitor;
        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E>(self, name: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(NameVisitor)
    }
}

/// A member that is there and not `null`: most members mean the same by both.
pub(crate) fn given(member: Option<&str>) -> Option<&str> {
    member.filter(|text| *text != "null")
}

/// The string behind a JSON text; `None` if it is of another type.
///
/// # Errors
/// `Malformed` if it escapes half of a surrogate pair.
pub(crate) fn string(text: &str) -> Result<Option<Cow<'_, str>>, Unreadable> {
    let Some(inner) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return Ok(None);
    };
    if !inner.as_bytes().contains(&b'\\') {
        return Ok(Some(Cow::Borrowed(inner)));
    }
    let decoded = serde_json::from_str::<String>(text).map_err(|_| Unreadable::Malformed)?;
    Ok(Some(Cow::Owned(decoded)))
}

/// The members of the object behind a JSON text that has passed [`Members::parse`]; `None` if it is of
/// another type.
///
/// # Errors
/// `Malformed` if a name in it escapes half of a surrogate pair.
pub(crate) fn object(text: &str) -> Result<Option<Members<'_>>, Unreadable> {
    if !is_object(text) {
        return Ok(None);
    }
    serde_json::from_str(text).map(Some).map_err(|_| Unreadable::Malformed)
}

/// Whether a JSON text is an object.
pub(crate) fn is_object(text: &str) -> bool {
    text.starts_with('{')
}

/// Whether the text of an object has no member.
pub(crate) fn is_empty(text: &str) -> bool {
    let inner = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    inner.is_some_and(|inner| inner.trim_ascii().is_empty())
}

/// All members of an object in their order, names decoded.
///
/// # Errors
/// `Malformed` if a name in it escapes half of a surrogate pair, or it is no object.
pub(crate) fn all(text: &str) -> Result<Vec<(Cow<'_, str>, &str)>, Unreadable> {
    let all: All<'_> = serde_json::from_str(text).map_err(|_| Unreadable::Malformed)?;
    Ok(all.0)
}

/// Every member of an object.
struct All<'a>(Vec<(Cow<'a, str>, &'a str)>);

impl<'de: 'a, 'a> Deserialize<'de> for All<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<All<'a>, D::Error> {
        struct AllVisitor;
        impl<'de> Visitor<'de> for AllVisitor {
            type Value = All<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<All<'de>, A::Error> {
                let mut all = Vec::new();
                while let Some((name, value)) = map.next_entry::<Name<'de>, &RawValue>()? {
                    all.push((name.0, value.get()));
                }
                Ok(All(all))
            }
        }
        deserializer.deserialize_map(AllVisitor)
    }
}

/// The integer behind a JSON text: a number without fraction or exponent, or a string of digits with
/// at most a sign before them. `None` if it is something else or beyond 63 bits: the successor of what
/// is stored fits 64, and the archive's databases hold it.
///
/// # Errors
/// `Malformed` as for [`string`].
pub(crate) fn integer(text: &str) -> Result<Option<i64>, Unreadable> {
    match string(text)? {
        Some(inner) => Ok(digits(&inner)),
        None => Ok(digits(text)),
    }
}

/// A decimal integer: an optional sign and at least one digit, nothing else.
pub(crate) fn digits(text: &str) -> Option<i64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if unsigned.is_empty() || !unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// An integer of at least `least` behind a member.
///
/// # Errors
/// `refusal` if it is anything else, `Malformed` as for [`string`].
pub(crate) fn integer_from(text: &str, least: i64, refusal: Code) -> Result<u64, Problem> {
    let value = integer(text)?.filter(|value| least <= *value);
    value.and_then(|value| u64::try_from(value).ok()).ok_or_else(|| refusal.into())
}
