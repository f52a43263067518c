//! What clients asked and were told, with true times: the only evidence the checkers have besides
//! what is in the log at the end.

use crate::dice::Digest;
use crate::time::Time;

/// Names an append a client wants. All its attempts carry the same content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Op(pub u32);

/// What an attempt came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The event is in the log.
    Acked {
        /// Where.
        seq: u64,
        /// The head of the session at that moment.
        last_seq: u64,
        /// Whether it was there before.
        deduped: bool,
    },
    /// Surely nothing was done.
    Refused,
    /// Surely nothing was done, since the head was this one and not the expected one.
    Conflict {
        /// The head at that moment.
        current: u64,
    },
    /// It may have been done, or may yet be.
    Unknown,
}

/// One try, from the request to its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// When it was asked.
    pub start: Time,
    /// When it was answered or given up.
    pub end: Time,
    /// What it came to.
    pub outcome: Outcome,
}

/// An append and its attempts, in the order they were made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// Its name.
    pub op: Op,
    /// The digest of its fragment.
    pub digest: u64,
    /// The head it requires.
    pub expected: Option<u64>,
    /// The producer and its count, if it has one.
    pub producer: Option<(u32, u64)>,
    /// Its tries.
    pub attempts: Vec<Attempt>,
}

/// Somebody asked for the head of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    /// When it was asked.
    pub start: Time,
    /// When it was answered.
    pub end: Time,
    /// The head; `None` if there was no such session.
    pub last_seq: Option<u64>,
}

/// An event as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its place.
    pub seq: u64,
    /// Who wanted it; `None` if the event does not say.
    pub op: Option<Op>,
    /// The digest of its fragment.
    pub digest: u64,
    /// The digits of the time it carries, from the year's decade on.
    pub at: u64,
}

/// A page of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The read it is.
    pub read: Read,
    /// The seq before its first event.
    pub cursor: u64,
    /// What it held.
    pub events: Vec<Stored>,
}

/// What one subscription received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// The seq before its first event.
    pub cursor: u64,
    /// What came, and when.
    pub events: Vec<(Time, Stored)>,
}

/// All that is known of one session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// When somebody first asked for it to be made.
    pub create_asked: Option<Time>,
    /// When somebody was first told that it was made.
    pub created: Option<Time>,
    /// Its appends.
    pub appends: Vec<Append>,
    /// Reads of its head.
    pub reads: Vec<Read>,
    /// Pages of its events.
    pub pages: Vec<Page>,
    /// What its subscribers received.
    pub streams: Vec<Stream>,
    /// Refusals that no correct cluster gives.
    pub wrong: Vec<String>,
}

impl History {
    /// How many operations were answered or given up.
    pub fn operations(&self) -> u64 {
        let attempts: usize = self.appends.iter().map(|append| append.attempts.len()).sum();
        (attempts + self.reads.len() + self.pages.len()) as u64
    }
}

/// The fragment of an append: it names its op, and is padded so that sizes differ.
pub fn fragment(op: Op, padding: usize) -> String {
    let pad = "x".repeat(padding);
    format!(r#""type":"t","payload":{{"op":{},"pad":"{pad}"}}"#, op.0)
}

/// The digest of a fragment.
pub fn digest(fragment: &str) -> u64 {
    Digest::of(fragment.as_bytes())
}

/// Reads an event's JSON. A byte that is not what the shard writes around a fragment leaves the
/// event without a name.
pub fn stored(seq: u64, json: &[u8]) -> Stored {
    let nameless = Stored { seq, op: None, digest: Digest::of(json), at: 0 };
    let parse = || {
        let text = std::str::from_utf8(json).ok()?;
        let rest = text.strip_prefix(&format!(r#"{{"seq":{seq},"#))?;
        let (fragment, rest) = rest.rsplit_once(r#","inserted_at":""#)?;
        let at = rest.strip_suffix(r#""}"#)?;
        let name = fragment.strip_prefix(r#""type":"t","payload":{"op":"#)?;
        let (name, _) = name.split_once(',')?;
        let op = Some(Op(name.parse().ok()?));
        let digits: String = at.chars().skip(2).filter(char::is_ascii_digit).collect();
        Some(Stored { seq, op, digest: digest(fragment), at: digits.parse().ok()? })
    };
    parse().unwrap_or(nameless)
}
