//! The canonical form of JSON, from text to text: members sorted by name, the last of several of one
//! name, no white space, strings with as few escapes as can be, numbers as they were written (so `1`
//! and `1.0` differ). Two texts have the same form only if they say the same.
//!
//! No tree of values is built. The form grows in one buffer, and the members of an object are put in
//! order once its end is reached; so the memory is about the text's own, and the time linear but for
//! the sorting.

use crate::limits::JSON_DEPTH_MAX;

/// Appends the canonical form of a JSON text to `out`. `None` if it has none: a string escapes half
/// of a surrogate pair, the text nests deeper than [`JSON_DEPTH_MAX`], or it is no JSON. What it
/// makes of a text that is no JSON but does not look so to it is unspecified: such a text is refused
/// before.
pub fn canonicalize(text: &str, out: &mut Vec<u8>) -> Option<()> {
    let mut writer = Writer { text, at: 0, out, members: Vec::new(), spare: Vec::new() };
    writer.value(0)?;
    writer.skip_space();
    (writer.at == text.len()).then_some(())
}

/// Digest of the canonical forms of JSON texts. Two lists of texts have the same digest only if they
/// say the same, up to the strength of 128 bits of BLAKE3. `None` as for [`canonicalize`].
pub fn fingerprint(texts: &[&str]) -> Option<[u8; 16]> {
    let room = texts.iter().map(|text| text.len() + 1).sum();
    let mut form = Vec::with_capacity(room);
    for text in texts {
        canonicalize(text, &mut form)?;
        // Cannot occur in a form, so it keeps neighbours apart.
        form.push(b'\n');
    }
    let mut digest = [0; 16];
    digest.copy_from_slice(&blake3::hash(&form).as_bytes()[..16]);
    Some(digest)
}

struct Writer<'a> {
    text: &'a str,
    /// Read up to here.
    at: usize,
    out: &'a mut Vec<u8>,
    /// Members of the objects in progress, innermost last.
    members: Vec<Member>,
    /// Where members are put in order.
    spare: Vec<u8>,
}

/// A member in `out`, half-open: the name with its quotes is `[start, name_end)`, all of it and a
/// comma `[start, end)`.
#[derive(Debug, Clone, Copy)]
struct Member {
    start: usize,
    name_end: usize,
    end: usize,
}

impl Writer<'_> {
    fn value(&mut self, depth: usize) -> Option<()> {
        if JSON_DEPTH_MAX < depth {
            return None;
        }
        self.skip_space();
        match self.peek()? {
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            b'"' => self.string(),
            _ => self.word(),
        }
    }

    fn array(&mut self, depth: usize) -> Option<()> {
        self.copy();
        loop {
            self.skip_space();
            match self.peek()? {
                b']' => {
                    self.copy();
                    return Some(());
                }
                b',' => self.copy(),
                _ => self.value(depth + 1)?,
            }
        }
    }

    fn object(&mut self, depth: usize) -> Option<()> {
        self.copy();
        let first = self.members.len();
        let mut is_sorted = true;
        loop {
            self.skip_space();
            match self.peek()? {
                b'}' => break,
                b',' => self.at += 1,
                b'"' => {
                    let member = self.member(depth)?;
                    is_sorted &= self.members[first..]
                        .last()
                        .is_none_or(|last| self.name(last) < self.name(&member));
                    self.members.push(member);
                }
                _ => return None,
            }
        }
        if !is_sorted {
            self.sort(first);
        }
        if first < self.members.len() {
            // The comma behind the last member.
            self.out.pop();
        }
        self.members.truncate(first);
        self.copy();
        Some(())
    }

    fn member(&mut self, depth: usize) -> Option<Member> {
        let start = self.out.len();
        self.string()?;
        let name_end = self.out.len();
        self.skip_space();
        if self.peek()? != b':' {
            return None;
        }
        self.copy();
        self.value(depth + 1)?;
        self.out.push(b',');
        Some(Member { start, name_end, end: self.out.len() })
    }

    /// Puts the members from `first` on in order, each name once.
    fn sort(&mut self, first: usize) {
        let mut members = self.members.split_off(first);
        let start = members.first().map_or(self.out.len(), |member| member.start);
        // Stable, so that of several members of one name the last stays last.
        members.sort_by(|a, b| self.name(a).cmp(self.name(b)));
        self.spare.clear();
        for (at, member) in members.iter().enumerate() {
            let next = members.get(at + 1);
            if next.is_none_or(|next| self.name(next) != self.name(member)) {
                self.spare.extend_from_slice(&self.out[member.start..member.end]);
            }
        }
        self.out.truncate(start);
        self.out.extend_from_slice(&self.spare);
        self.members.extend(members);
    }

    /// A member's name without its quotes.
    fn name(&self, member: &Member) -> &[u8] {
        &self.out[member.start + 1..member.name_end - 1]
    }

    fn string(&mut self) -> Option<()> {
        let bytes = self.text.as_bytes();
        let start = self.at;
        let mut end = start + 1;
        let mut has_escape = false;
        loop {
            end += bytes[end..].iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
            if bytes[end] == b'"' {
                break;
            }
            has_escape = true;
            end += 2;
            if bytes.len() <= end {
                return None;
            }
        }
        self.at = end + 1;
        let string = &self.text[start..=end];
        if has_escape {
            let decoded: String = serde_json::from_str(string).ok()?;
            serde_json::to_writer(&mut *self.out, &decoded).expect("memory takes every write");
        } else {
            self.out.extend_from_slice(string.as_bytes());
        }
        Some(())
    }

    /// A number, `true`, `false` or `null`.
    fn word(&mut self) -> Option<()> {
        let rest = &self.text.as_bytes()[self.at..];
        let is_end = |byte: &u8| matches!(byte, b',' | b']' | b'}' | b' ' | b'\n' | b'\r' | b'\t');
        let length = rest.iter().position(is_end).unwrap_or(rest.len());
        self.out.extend_from_slice(&rest[..length]);
        self.at += length;
        (0 < length).then_some(())
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Takes one byte over.
    fn copy(&mut self) {
        self.out.push(self.text.as_bytes()[self.at]);
        self.at += 1;
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }
}
