//! `multipart/form-data`, read whole: parts with a name become parameters, files are skipped.

use model::limits::PARAMETERS_MAX;
use serde_json::Map;

use crate::params::{self, Params};
use crate::problem::Unreadable;

/// Longest boundary the format allows.
const BOUNDARY_BYTES_MAX: usize = 70;

/// The boundary among the parameters of a content type.
pub(crate) fn boundary(parameters: &str) -> Option<String> {
    let value = parameter(parameters, "boundary")?;
    (!value.is_empty() && value.len() <= BOUNDARY_BYTES_MAX).then_some(value)
}

/// Reads the parts.
///
/// # Errors
/// `Malformed` if the parts are not divided as the format says or a value is not UTF-8; `TooLarge` if
/// there are too many.
pub(crate) fn decode(body: &[u8], boundary: &str) -> Result<Params, Unreadable> {
    let mut params = Map::new();
    let line = format!("\r\n--{boundary}");
    let first = &line.as_bytes()[2..];
    // What stands before the first boundary is no part.
    let mut rest = match body.strip_prefix(first) {
        Some(rest) => rest,
        None => split(body, line.as_bytes()).ok_or(Unreadable::Malformed)?.1,
    };
    for _ in 0..=PARAMETERS_MAX {
        if rest.starts_with(b"--") {
            return Ok(params);
        }
        let (padding, after) = split(rest, b"\r\n").ok_or(Unreadable::Malformed)?;
        if !padding.iter().all(|byte| matches!(byte, b' ' | b'\t')) {
            return Err(Unreadable::Malformed);
        }
        // A part without headers begins with the empty line that would end them.
        let (headers, after) = match after.strip_prefix(b"\r\n") {
            Some(after) => (&b""[..], after),
            None => split(after, b"\r\n\r\n").ok_or(Unreadable::Malformed)?,
        };
        let (value, after) = split(after, line.as_bytes()).ok_or(Unreadable::Malformed)?;
        if let Some(name) = name(headers)? {
            let value = std::str::from_utf8(value).map_err(|_| Unreadable::Malformed)?;
            params::insert(&mut params, &name, value.to_owned())?;
        }
        rest = after;
    }
    Err(Unreadable::TooLarge)
}

/// The name of a part that is no file.
fn name(headers: &[u8]) -> Result<Option<String>, Unreadable> {
    let headers = std::str::from_utf8(headers).map_err(|_| Unreadable::Malformed)?;
    let disposition = headers.split("\r\n").find_map(|header| {
        let (name, value) = header.split_once(':')?;
        name.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
    });
    let Some((kind, parameters)) = disposition.and_then(|value| value.split_once(';')) else {
        return Ok(None);
    };
    let is_field = kind.trim().eq_ignore_ascii_case("form-data")
        && parameter(parameters, "filename").is_none();
    Ok(if is_field { parameter(parameters, "name") } else { None })
}

/// A parameter of a header, without its quotes.
fn parameter(parameters: &str, wanted: &str) -> Option<String> {
    let mut rest = parameters;
    loop {
        let (name, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let (value, next) = after.split_once(';').unwrap_or((after, ""));
                (value.trim().to_owned(), next)
            }
        };
        if name.trim_matches([' ', '\t', ';']).eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        rest = next;
    }
}

/// The text up to the closing quote, and what follows it.
fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            other => value.push(other),
        }
    }
    None
}

/// The bytes before and after the first `mark`.
fn split<'a>(bytes: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let first = *mark.first()?;
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|byte| *byte == first) {
        let at = from + at;
        if bytes[at..].starts_with(mark) {
            return Some((&bytes[..at], &bytes[at + mark.len()..]));
        }
        from = at + 1;
    }
    None
}
