//! JSON that must not be altered: the depth check before parsing, and what a shard does with metadata.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::limits::JSON_DEPTH_MAX;

/// Whether a JSON text nests deeper than [`JSON_DEPTH_MAX`]. Looks at brackets outside strings only;
/// the text need not be valid.
pub fn too_deep(text: &[u8]) -> bool {
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut escaped = false;
    for byte in text {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => {
                depth += 1;
                if JSON_DEPTH_MAX < depth {
                    return true;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// The top-level members of text that is known to be a JSON object, because the door checked it. What
/// they hold stays text: a parser that builds values gives some member names a meaning of its own.
fn members(text: &str) -> BTreeMap<String, &RawValue> {
    serde_json::from_str(text).expect("metadata is stored only when it is a JSON object")
}

/// `old` with the top-level members of `patch` put in place of those of the same name.
///
/// # Panics
/// If one of the two is not a JSON object: the door refuses such metadata.
pub fn merge(old: &str, patch: &str) -> String {
    let mut merged = members(old);
    merged.extend(members(patch));
    serde_json::to_string(&merged).expect("a map of JSON texts is JSON")
}

/// Whether every named top-level member of `metadata` is a string equal to the given one.
///
/// # Panics
/// If `metadata` is not a JSON object.
pub fn has_members(metadata: &str, wanted: &[(Box<str>, Box<str>)]) -> bool {
    if wanted.is_empty() {
        return true;
    }
    let metadata = members(metadata);
    let equals = |found: &&RawValue, value: &str| {
        serde_json::from_str::<String>(found.get()).is_ok_and(|found| found == value)
    };
    wanted
        .iter()
        .all(|(name, value)| metadata.get(&**name).is_some_and(|found| equals(found, value)))
}
