//! JSON that must not be altered: depth check before parsing, and the canonical digest of an event.

use serde_json::Value;

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

/// Digest of values in canonical form: members sorted by name, no white space, numbers as the client
/// wrote them (so `1` and `1.0` differ). Two lists of values have the same digest only if they are
/// equal, up to the strength of 128 bits of BLAKE3.
pub fn fingerprint(values: &[&Value]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    for value in values {
        // `serde_json` keeps objects sorted, so its compact form is the canonical one; the newline
        // cannot occur in it and keeps neighbours apart.
        serde_json::to_writer(&mut hasher, value).expect("a hasher takes every write");
        hasher.update(b"\n");
    }
    let mut digest = [0; 16];
    digest.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    digest
}
