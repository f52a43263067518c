//! What is replicated: a [`Command`] is proposed by a leader, written to every replica's log and
//! applied by each in the same order. On disk it is an rkyv archive behind a format number; the log
//! record around it carries the checksum, which is compared before the archive is looked at.

use rkyv::rancor::Error;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};

use crate::ids::SessionId;

/// Names the layout of an archived [`Command`]. A new layout takes the next number; the old one stays
/// readable for a release.
pub const COMMAND_FORMAT: u16 = 1;

/// A change to the sessions of one group. `at` is wall-clock microseconds chosen by the proposing
/// leader, so that every replica stores the same time.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Makes a session.
    Create(Create),
    /// Adds an event to a session.
    Append(Append),
    /// Changes title or metadata of a session.
    Patch(Patch),
    /// Hides a session from the default list, or shows it again.
    SetArchived(SetArchived),
}

/// Who acts: `"<kind>:<id>"` of a tenant.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The tenant that fences sessions.
    pub tenant_id: Box<str>,
    /// The name within the tenant.
    pub id: Box<str>,
    /// `user`, `agent` or `service`.
    pub kind: Box<str>,
}

impl Principal {
    /// The principal of every request when authentication is off.
    pub fn service() -> Principal {
        Principal { tenant_id: "service".into(), id: "service".into(), kind: "service".into() }
    }
}

/// Makes a session.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct Create {
    /// Its name.
    pub session: SessionId,
    /// Its title, if any; may be empty.
    pub title: Option<Box<str>>,
    /// A JSON object as text.
    pub metadata: Box<str>,
    /// Who made it; its tenant is the session's tenant.
    pub creator: Principal,
    /// When, in wall-clock microseconds.
    pub at: u64,
}

/// Adds an event to a session.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// The session.
    pub session: SessionId,
    /// The members of the event's JSON object that the door knows, from `"type"` to
    /// `"idempotency_key"`, without braces: the shard adds `seq` in front and `inserted_at` behind.
    /// Never empty, valid JSON between braces.
    pub fragment: Box<str>,
    /// What a retry is recognized by.
    pub dedupe: Dedupe,
    /// The `last_seq` the client requires, if any.
    pub expected_seq: Option<u64>,
    /// Digest of the event's content in canonical form.
    pub fingerprint: [u8; 16],
    /// When, in wall-clock microseconds.
    pub at: u64,
}

/// What a retry of an append is recognized by.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub enum Dedupe {
    /// The producer's own counter.
    Producer(Producer),
    /// A key the client chose, for appends without a producer.
    Key(Box<str>),
    /// Nothing: every append is a new event.
    Nothing,
}

/// Changes title or metadata of a session.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// The session.
    pub session: SessionId,
    /// The new title, or what to do with the old one.
    pub title: TitleChange,
    /// A JSON object whose members replace those of the same name, as text.
    pub metadata: Option<Box<str>>,
    /// The version the client requires, if any.
    pub expected_version: Option<u64>,
    /// When, in wall-clock microseconds.
    pub at: u64,
}

/// A place in a producer's own count of its appends.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct Producer {
    /// The producer's name; never empty.
    pub id: Box<str>,
    /// Its counter, from 1.
    pub seq: u64,
}

/// What a patch does to the title.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub enum TitleChange {
    /// Leaves it.
    Keep,
    /// Removes it.
    Clear,
    /// Replaces it.
    Set(Box<str>),
}

/// Hides a session from the default list, or shows it again.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct SetArchived {
    /// The session.
    pub session: SessionId,
    /// Hidden or shown.
    pub archived: bool,
    /// When, in wall-clock microseconds.
    pub at: u64,
}

impl Command {
    /// The session it speaks of.
    pub fn session(&self) -> &SessionId {
        match self {
            Command::Create(c) => &c.session,
            Command::Append(c) => &c.session,
            Command::Patch(c) => &c.session,
            Command::SetArchived(c) => &c.session,
        }
    }

    /// Stamps the leader's clock.
    pub fn set_at(&mut self, micros: u64) {
        match self {
            Command::Create(c) => c.at = micros,
            Command::Append(c) => c.at = micros,
            Command::Patch(c) => c.at = micros,
            Command::SetArchived(c) => c.at = micros,
        }
    }

    /// Writes the format number and the archive behind it to `bytes`, which is cleared first: a
    /// caller keeps one buffer for all its commands.
    pub fn encode(&self, bytes: &mut AlignedVec) {
        bytes.clear();
        bytes.extend_from_slice(&COMMAND_FORMAT.to_le_bytes());
        let vec = std::mem::take(bytes);
        *bytes = rkyv::api::high::to_bytes_in::<_, Error>(self, vec)
            .expect("a command holds nothing that cannot be archived in memory");
    }
}

impl ArchivedCommand {
    /// The session it speaks of.
    pub fn session(&self) -> &str {
        match self {
            ArchivedCommand::Create(c) => c.session.as_str(),
            ArchivedCommand::Append(c) => c.session.as_str(),
            ArchivedCommand::Patch(c) => c.session.as_str(),
            ArchivedCommand::SetArchived(c) => c.session.as_str(),
        }
    }
}

/// Reads a command in place. The bytes have passed their checksum already, so a failure here means
/// that the writer was another program or another version.
///
/// # Errors
/// A text that says which of the two is wrong.
pub fn decode(bytes: &[u8]) -> Result<&ArchivedCommand, String> {
    let Some((format, archive)) = bytes.split_first_chunk::<2>() else {
        return Err(format!("a command of {} bytes is too short for its format", bytes.len()));
    };
    let format = u16::from_le_bytes(*format);
    if format != COMMAND_FORMAT {
        return Err(format!(
            "command format {format} is unknown; this program reads {COMMAND_FORMAT}"
        ));
    }
    rkyv::access::<ArchivedCommand, Error>(archive).map_err(|error| error.to_string())
}
