//! Parameters that come as text pairs: query strings, urlencoded and multipart bodies. Names nest with
//! brackets: `a[b]=1` is `{"a":{"b":"1"}}`, `a[]=1` is `{"a":["1"]}`. Every value is a string.

use std::borrow::Cow;

use model::limits::{JSON_DEPTH_MAX, PARAMETERS_MAX};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use crate::problem::Unreadable;

/// Parameters by name.
pub(crate) type Params = Map<String, Value>;

/// Decodes a query string or an urlencoded body.
///
/// # Errors
/// `Malformed` if an escape is none or does not decode to UTF-8, or a name nests too deep; `TooLarge`
/// if there are too many pairs.
pub(crate) fn decode(text: &str) -> Result<Params, Unreadable> {
    let mut params = Params::new();
    for (count, pair) in text.split('&').filter(|pair| !pair.is_empty()).enumerate() {
        if PARAMETERS_MAX <= count {
            return Err(Unreadable::TooLarge);
        }
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        insert(&mut params, &form_decode(name)?, form_decode(value)?.into_owned())?;
    }
    Ok(params)
}

/// Adds one parameter; a later one of the same name replaces the earlier.
///
/// # Errors
/// `Malformed` if the name nests too deep.
pub(crate) fn insert(params: &mut Params, name: &str, value: String) -> Result<(), Unreadable> {
    let nested = name.find('[').filter(|at| 0 < *at && name.ends_with(']'));
    let Some(at) = nested else {
        params.insert(name.to_owned(), Value::String(value));
        return Ok(());
    };
    let inner: Vec<&str> = name[at + 1..name.len() - 1].split("][").collect();
    if JSON_DEPTH_MAX <= inner.len() {
        return Err(Unreadable::Malformed);
    }
    let mut place = params.entry(&name[..at]).or_insert(Value::Null);
    for key in inner {
        place = descend(place, key);
    }
    *place = Value::String(value);
    Ok(())
}

/// The place of `key` in a value, which becomes a list for an empty key and an object for any other.
fn descend<'a>(place: &'a mut Value, key: &str) -> &'a mut Value {
    if key.is_empty() {
        if !place.is_array() {
            *place = Value::Array(Vec::new());
        }
        let list = place.as_array_mut().expect("it has just been made a list");
        list.push(Value::Null);
        return list.last_mut().expect("an element has just been added");
    }
    if !place.is_object() {
        *place = Value::Object(Map::new());
    }
    let object = place.as_object_mut().expect("it has just been made an object");
    object.entry(key).or_insert(Value::Null)
}

/// Decodes a name or value of a form: `+` is a space, `%` begins an escape.
fn form_decode(text: &str) -> Result<Cow<'_, str>, Unreadable> {
    let spaced =
        if text.contains('+') { Cow::Owned(text.replace('+', " ")) } else { Cow::Borrowed(text) };
    match spaced {
        Cow::Borrowed(text) => percent_decode(text).ok_or(Unreadable::Malformed),
        Cow::Owned(text) => percent_decode(&text)
            .map(|decoded| Cow::Owned(decoded.into_owned()))
            .ok_or(Unreadable::Malformed),
    }
}

/// Decodes percent escapes; `None` if a `%` begins none or the result is not UTF-8.
pub(crate) fn percent_decode(text: &str) -> Option<Cow<'_, str>> {
    let bytes = text.as_bytes();
    let is_hex = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
    let mut escapes = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'%');
    if !escapes.all(|(at, _)| is_hex(at + 1) && is_hex(at + 2)) {
        return None;
    }
    percent_decode_str(text).decode_utf8().ok()
}
