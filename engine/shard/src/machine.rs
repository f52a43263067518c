//! The state machine: commands of all groups of a shard, applied in log order. It decides by what is
//! replicated alone, so every replica comes to the same outcome.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::Bytes;
use model::api::Appended;
use model::command::{ArchivedAppend, ArchivedCommand, ArchivedCreate, ArchivedDedupe};
use model::command::{ArchivedPatch, ArchivedPrincipal, ArchivedTitleChange, Principal};
use model::error::{Code, Refusal};
use model::ids::{GroupId, Micros, SessionId};
use model::json;
use model::limits::BODY_BYTES_MAX;

use crate::flush::Capture;
use crate::frames::Frames;
use crate::session::{Attempt, AttemptDedupe, Decision, Session, event_cost};
use crate::sessions::{Sessions, Slot};

/// All sessions of a shard and what they hold in memory.
#[derive(Debug, Default)]
pub(crate) struct Machine {
    pub(crate) sessions: Sessions,
    /// The sessions of each group, in the order they were made; kept only where another node may ask
    /// for all of them.
    by_group: Option<BTreeMap<GroupId, Vec<(SessionId, Slot)>>>,
    /// Bytes of events in memory.
    pub(crate) hot_bytes: u64,
    /// What a running flush must see before a session changes.
    pub(crate) capture: Capture,
    /// The same for snapshots that are sent, by their numbers.
    frames: BTreeMap<u64, Frames>,
}

/// What a command came to.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The session in the slot was made or changed, or is as it was asked to be.
    Session(Slot),
    /// An event is in the session, new or from before.
    Appended(Slot, Appended),
    /// Nothing changed, and why.
    Refused(Box<Refusal>),
}

impl From<Code> for Outcome {
    fn from(code: Code) -> Outcome {
        Outcome::Refused(Box::new(code.into()))
    }
}

impl Machine {
    /// A machine without sessions; `shared` if other nodes may ask for all sessions of a group.
    pub(crate) fn new(shared: bool) -> Machine {
        Machine { by_group: shared.then(BTreeMap::new), ..Machine::default() }
    }

    /// Applies a committed command.
    pub(crate) fn apply(&mut self, group: GroupId, command: &ArchivedCommand) -> Outcome {
        match command {
            ArchivedCommand::Create(create) => self.create(group, create),
            ArchivedCommand::Append(append) => self.append(append),
            ArchivedCommand::Patch(patch) => self.patch(patch),
            ArchivedCommand::SetArchived(set) => {
                let id = set.session.as_str();
                let Some(slot) = self.sessions.find(id) else {
                    return Code::SessionNotFound.into();
                };
                if self.sessions.get(slot).archived != set.archived {
                    let session = self.change(id, slot);
                    session.archived = set.archived;
                    session.updated_at = later(session.updated_at, set.at.to_native());
                }
                Outcome::Session(slot)
            }
        }
    }

    /// A session about to change: a running flush takes its state first.
    fn change(&mut self, id: &str, slot: Slot) -> &mut Session {
        let session = self.sessions.get_mut(slot);
        self.capture.take(id, slot, session);
        for frames in self.frames.values_mut() {
            frames.take(id, slot, session);
        }
        session
    }

    /// Begins to write a group's sessions down as they are now.
    pub(crate) fn begin_frames(&mut self, number: u64, group: GroupId) -> &mut Frames {
        let frames = Frames::begin(group, self.of_group(group));
        let before = self.frames.insert(number, frames);
        assert!(before.is_none(), "a snapshot is begun once");
        self.frames.get_mut(&number).expect("it was just begun")
    }

    /// The next of these frames; none behind the last. `None` if the moment is lost.
    pub(crate) fn next_frames(&mut self, number: u64) -> Option<Vec<u8>> {
        let frames = self.frames.get_mut(&number)?;
        let groups = self.by_group.as_ref().expect("a node that is alone is not asked");
        let group = groups.get(&frames.group()).map_or(&[][..], Vec::as_slice);
        frames.next(group, &self.sessions)
    }

    /// Nobody asks for more of these frames.
    pub(crate) fn end_frames(&mut self, number: u64) {
        self.frames.remove(&number);
    }

    fn create(&mut self, group: GroupId, create: &ArchivedCreate) -> Outcome {
        let id = create.session.as_str();
        if self.sessions.find(id).is_some() {
            return Code::SessionExists.into();
        }
        let mut session = Session::new(group, Micros(create.at.to_native()));
        session.title = create.title.as_ref().map(|title| (**title).into());
        session.set_metadata(&create.metadata);
        session.set_creator(principal(&create.creator));
        session.captured = self.capture.number();
        let id = SessionId::new(id).expect("the door refuses an empty id");
        Outcome::Session(self.insert(id, session))
    }

    /// Adds a session whose id is new.
    pub(crate) fn insert(&mut self, id: SessionId, session: Session) -> Slot {
        let group = session.group;
        let named = self.by_group.is_some().then(|| id.clone());
        let slot = self.sessions.insert(id, session);
        if let (Some(groups), Some(id)) = (&mut self.by_group, named) {
            groups.entry(group).or_default().push((id, slot));
        }
        slot
    }

    /// The sessions of a group.
    pub(crate) fn of_group(&self, group: GroupId) -> &[(SessionId, Slot)] {
        let groups = self.by_group.as_ref().expect("a node that is alone is not asked");
        groups.get(&group).map_or(&[], Vec::as_slice)
    }

    /// Takes over a session as another replica has it, in place of what was known of it: an earlier
    /// state of the same session. Its tails go on.
    pub(crate) fn install(&mut self, id: SessionId, mut session: Session) -> Slot {
        assert!(self.capture.number() == 0, "no flush looks at sessions that are replaced");
        let sent = self.frames.values().any(|frames| frames.group() == session.group);
        assert!(!sent, "no snapshot is made of sessions that are replaced");
        assert!(session.hot.is_empty(), "what is taken over is on disk");
        let Some(slot) = self.sessions.find(id.as_str()) else {
            return self.insert(id, session);
        };
        let known = self.sessions.get_mut(slot);
        assert!(known.last_seq <= session.last_seq, "a snapshot is ahead of what it replaces");
        assert!(known.group == session.group, "a session stays in its group");
        session.tails = std::mem::take(&mut known.tails);
        self.hot_bytes -= known.hot.iter().map(event_cost).sum::<u64>();
        *known = session;
        slot
    }

    fn append(&mut self, append: &ArchivedAppend) -> Outcome {
        let id = append.session.as_str();
        let Some(slot) = self.sessions.find(id) else {
            return Code::SessionNotFound.into();
        };
        let attempt = Attempt {
            expected_seq: append.expected_seq.as_ref().map(|seq| seq.to_native()),
            dedupe: match &append.dedupe {
                ArchivedDedupe::Producer(producer) => {
                    AttemptDedupe::Producer(&producer.id, producer.seq.to_native())
                }
                ArchivedDedupe::Key(key) => AttemptDedupe::Key(key),
                ArchivedDedupe::Nothing => AttemptDedupe::Nothing,
            },
            fingerprint: append.fingerprint,
        };
        let session = self.sessions.get(slot);
        match session.decide(&attempt) {
            Err(refusal) => Outcome::Refused(Box::new(refusal)),
            Ok(Decision::Deduped(seq)) => Outcome::Appended(slot, session.appended(seq, true)),
            Ok(Decision::Append(seq)) => {
                let at = later(session.last_at, append.at.to_native());
                let json = event_json(seq.0, &append.fragment, at);
                self.hot_bytes += event_cost(&json);
                let session = self.change(id, slot);
                session.push(&attempt, at, json);
                Outcome::Appended(slot, session.appended(seq, false))
            }
        }
    }

    fn patch(&mut self, patch: &ArchivedPatch) -> Outcome {
        let id = patch.session.as_str();
        let Some(slot) = self.sessions.find(id) else {
            return Code::SessionNotFound.into();
        };
        let version = self.sessions.get(slot).version;
        if let Some(expected) = patch.expected_version.as_ref()
            && expected.to_native() != version
        {
            let refusal = Refusal::expected_version(expected.to_native(), version);
            return Outcome::Refused(Box::new(refusal));
        }
        let merged = patch
            .metadata
            .as_ref()
            .map(|metadata| json::merge(self.sessions.get(slot).metadata(), metadata));
        // Merging could let metadata grow without end, a patch at a time.
        if merged.as_ref().is_some_and(|merged| BODY_BYTES_MAX < merged.len()) {
            return Code::InvalidMetadata.into();
        }
        let session = self.change(id, slot);
        match &patch.title {
            ArchivedTitleChange::Keep => {}
            ArchivedTitleChange::Clear => session.title = None,
            ArchivedTitleChange::Set(title) => session.title = Some((**title).into()),
        }
        if let Some(merged) = merged {
            session.set_metadata(&merged);
        }
        session.version += 1;
        session.updated_at = later(session.updated_at, patch.at.to_native());
        Outcome::Session(slot)
    }
}

/// A leader's clock may be behind that of the leader before it; what clients see never goes back.
fn later(known: Micros, at: u64) -> Micros {
    known.max(Micros(at))
}

fn principal(archived: &ArchivedPrincipal) -> Principal {
    Principal {
        tenant_id: (*archived.tenant_id).into(),
        id: (*archived.id).into(),
        kind: (*archived.kind).into(),
    }
}

/// The event as clients see it: built once, shared by everyone who sends it.
fn event_json(seq: u64, fragment: &str, at: Micros) -> Bytes {
    const AROUND: usize =
        r#"{"seq":18446744073709551615,,"inserted_at":"2026-01-01T00:00:00.000000Z"}"#.len();
    let mut json = String::with_capacity(fragment.len() + AROUND);
    let written = write!(json, r#"{{"seq":{seq},{fragment},"inserted_at":"{at}"}}"#);
    assert!(written.is_ok(), "a string takes every write");
    Bytes::from(json)
}
