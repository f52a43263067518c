//! What the clients write down: the history of each session, with the times of one clock.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use histories::history::{Append, Attempt, History, Op, Outcome, Page, Read, Stored, stored};
use histories::time::Time;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::client::{Answer, Told};
use crate::ground::until;

/// Sessions: so many that each node leads some.
pub(crate) const SESSIONS: usize = 8;

/// A head that is not known yet.
const GROWING: u64 = u64::MAX;

/// The histories, and what all clients must know.
#[derive(Debug)]
pub(crate) struct Record {
    start: Instant,
    pub(crate) ids: Vec<String>,
    histories: Vec<Mutex<History>>,
    ops: AtomicU32,
    /// By session: when the newest append that was acknowledged was asked.
    worked: Vec<AtomicU64>,
    /// By session: where its tails end.
    heads: Vec<AtomicU64>,
    stop: AtomicBool,
    failed: AtomicBool,
}

impl Record {
    pub(crate) fn new() -> Record {
        let each = || 0..SESSIONS;
        Record {
            start: Instant::now(),
            ids: each().map(|session| format!("faults-{session}")).collect(),
            histories: each().map(|_| Mutex::default()).collect(),
            ops: AtomicU32::new(1),
            worked: each().map(|_| AtomicU64::new(0)).collect(),
            heads: each().map(|_| AtomicU64::new(GROWING)).collect(),
            stop: AtomicBool::new(false),
            failed: AtomicBool::new(false),
        }
    }

    pub(crate) fn now(&self) -> Time {
        let micros = self.start.elapsed().as_micros();
        Time(u64::try_from(micros).expect("a drill ends before the sun"))
    }

    /// Names an append.
    pub(crate) fn op(&self) -> Op {
        Op(self.ops.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn history(&self, session: usize) -> MutexGuard<'_, History> {
        self.histories[session].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down an append that is not asked again.
    pub(crate) fn append(&self, session: usize, append: Append) {
        if append.attempts.is_empty() {
            return;
        }
        let acked = append.attempts.iter().find(|attempt| is_acked(attempt));
        if let Some(attempt) = acked {
            self.worked[session].fetch_max(attempt.start.0, Ordering::Relaxed);
        }
        self.history(session).appends.push(append);
    }

    /// Waits until appends to every session that were asked since are acknowledged.
    #[track_caller]
    pub(crate) fn await_progress(&self, since: Time) {
        until("every session takes appends", || {
            assert!(!self.has_failed(), "a client has failed");
            self.worked.iter().all(|worked| since.0 <= worked.load(Ordering::Relaxed))
        });
    }

    /// Begin nothing new.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// The drill has come to nothing: end as soon as possible.
    pub(crate) fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
        self.stop();
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Says where the tails of a session end.
    pub(crate) fn set_head(&self, session: usize, head: u64) {
        self.heads[session].store(head, Ordering::Relaxed);
    }

    /// Whether a tail that has all up to `cursor` is done.
    pub(crate) fn is_all(&self, session: usize, cursor: u64) -> bool {
        self.has_failed() || self.heads[session].load(Ordering::Relaxed) <= cursor
    }

    /// Whether tails are to come to their end.
    pub(crate) fn is_head_known(&self, session: usize) -> bool {
        self.heads[session].load(Ordering::Relaxed) != GROWING
    }

    /// What the answer to an append says; `None` if it was never asked.
    pub(crate) fn outcome(&self, session: usize, told: &Told) -> Option<Outcome> {
        let answer = match told {
            Told::NotSent => return None,
            Told::Lost => return Some(Outcome::Unknown),
            Told::Answer(answer) => answer,
        };
        Some(match answer.status {
            200 | 201 => acked(&answer.body),
            409 => match conflict(&answer.body) {
                Some(current) if answer.attempts == 1 => Outcome::Conflict { current },
                // The conflict can be with what an earlier attempt of the balancer did.
                Some(_) => Outcome::Unknown,
                None => self.wrong(session, answer),
            },
            429 => Outcome::Refused,
            502..=504 => Outcome::Unknown,
            _ => self.wrong(session, answer),
        })
    }

    /// Notes an answer that no correct cluster gives.
    pub(crate) fn wrong(&self, session: usize, answer: &Answer) -> Outcome {
        let text = format!("{}: {}", answer.status, String::from_utf8_lossy(&answer.body));
        self.history(session).wrong.push(text);
        Outcome::Unknown
    }
}

/// Whether an attempt was acknowledged.
pub(crate) fn is_acked(attempt: &Attempt) -> bool {
    matches!(attempt.outcome, Outcome::Acked { .. })
}

fn acked(body: &[u8]) -> Outcome {
    let reply: Value = serde_json::from_slice(body).expect("a reply is JSON");
    let number = |name: &str| reply[name].as_u64().expect("a reply names seqs");
    let deduped = reply["deduped"].as_bool().expect("a reply says whether it was known");
    Outcome::Acked { seq: number("seq"), last_seq: number("last_seq"), deduped }
}

/// The head that a conflict names.
fn conflict(body: &[u8]) -> Option<u64> {
    let reply: Value = serde_json::from_slice(body).ok()?;
    let is_conflict = reply["error"] == "expected_seq_conflict";
    let (_, head) = reply["message"].as_str()?.rsplit_once(' ')?;
    head.parse().ok().filter(|_| is_conflict)
}

/// A page and the head it names.
pub(crate) fn page(body: &[u8], (start, end): (Time, Time), cursor: u64) -> Page {
    let members: BTreeMap<String, &RawValue> =
        serde_json::from_slice(body).expect("a page is an object");
    let events = events(members["events"].get());
    let last_seq = members["last_seq"].get().parse().ok();
    Page { read: Read { start, end, last_seq }, cursor, events }
}

/// A list of events.
pub(crate) fn events(text: &str) -> Vec<Stored> {
    let events: Vec<&RawValue> = serde_json::from_str(text).expect("a list of events");
    events.iter().map(|event| event_of(event.get())).collect()
}

fn event_of(json: &str) -> Stored {
    let rest = json.strip_prefix("{\"seq\":").and_then(|rest| rest.split_once(','));
    let seq = rest.and_then(|(seq, _)| seq.parse().ok()).expect("an event begins with its seq");
    stored(seq, json.as_bytes())
}
