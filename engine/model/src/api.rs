//! What the doors and a shard say to each other.

use bytes::Bytes;
use rkyv::{Archive, Deserialize, Serialize};

use crate::cluster::MemberId;
use crate::command::{Append, Command, Create, Dedupe, Patch, Principal, SetArchived, TitleChange};
use crate::error::Refusal;
use crate::ids::{GroupId, Micros, Seq, SessionId};

/// A request to the shard that hosts its session; a list, or a look at groups, goes to every shard.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Makes a session; answered by [`Reply::Session`].
    Create(Create),
    /// Adds an event; answered by [`Reply::Appended`].
    Append(Append),
    /// Changes title or metadata; answered by [`Reply::Session`].
    Patch(Patch),
    /// Hides or shows a session; answered by [`Reply::Session`].
    SetArchived(SetArchived),
    /// Reads a session's row; answered by [`Reply::Session`].
    Get(SessionId),
    /// Reads rows in id order; answered by [`Reply::Sessions`].
    List(List),
    /// Reads events after a cursor; answered by [`Reply::Events`].
    Events(EventsPage),
    /// Asks how groups are doing, of whoever leads them; answered by [`Reply::Groups`].
    Groups(GroupsPage),
}

/// What a request comes to that is asked once more, though it may have been done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// It changes nothing.
    Harmless,
    /// It is known for what it is, and not done twice.
    Recognized,
    /// It may be done twice, or refused for what it did itself.
    Twice,
}

impl Request {
    /// The command a request proposes, or the request back when it only reads.
    ///
    /// # Errors
    /// The request itself.
    pub fn into_command(self) -> Result<Command, Request> {
        match self {
            Request::Create(c) => Ok(Command::Create(c)),
            Request::Append(c) => Ok(Command::Append(c)),
            Request::Patch(c) => Ok(Command::Patch(c)),
            Request::SetArchived(c) => Ok(Command::SetArchived(c)),
            read @ (Request::Get(_)
            | Request::List(_)
            | Request::Events(_)
            | Request::Groups(_)) => Err(read),
        }
    }

    /// The session it is about; what goes to every shard is about none.
    pub fn session(&self) -> Option<&SessionId> {
        match self {
            Request::Create(c) => Some(&c.session),
            Request::Append(c) => Some(&c.session),
            Request::Patch(c) => Some(&c.session),
            Request::SetArchived(c) => Some(&c.session),
            Request::Get(session) => Some(session),
            Request::Events(page) => Some(&page.session),
            Request::List(_) | Request::Groups(_) => None,
        }
    }

    /// Whether it changes nothing, so that it may be asked again.
    pub fn is_read(&self) -> bool {
        matches!(self, Request::Get(_) | Request::Events(_) | Request::List(_) | Request::Groups(_))
    }

    /// What it comes to if it is asked once more, though it may have been done. Keys are remembered too few
    /// at a time to be relied on.
    pub fn again(&self) -> Again {
        match self {
            _ if self.is_read() => Again::Harmless,
            Request::Append(append)
                if append.expected_seq.is_none()
                    && matches!(append.dedupe, Dedupe::Producer(_)) =>
            {
                Again::Recognized
            }
            _ => Again::Twice,
        }
    }

    /// Roughly what the request holds in memory, for the queue's byte bound: every part whose length
    /// a client chooses.
    pub fn bytes(&self) -> usize {
        const FIXED: usize = 256;
        FIXED
            + match self {
                Request::Create(c) => {
                    let Principal { tenant_id, id, kind } = &c.creator;
                    let creator = tenant_id.len() + id.len() + kind.len();
                    let title = c.title.as_ref().map_or(0, |title| title.len());
                    c.session.as_str().len() + title + c.metadata.len() + creator
                }
                Request::Append(c) => {
                    let dedupe = match &c.dedupe {
                        Dedupe::Producer(producer) => producer.id.len(),
                        Dedupe::Key(key) => key.len(),
                        Dedupe::Nothing => 0,
                    };
                    c.session.as_str().len() + c.fragment.len() + dedupe
                }
                Request::Patch(c) => {
                    let title = match &c.title {
                        TitleChange::Set(title) => title.len(),
                        TitleChange::Keep | TitleChange::Clear => 0,
                    };
                    let metadata = c.metadata.as_ref().map_or(0, |metadata| metadata.len());
                    c.session.as_str().len() + title + metadata
                }
                Request::SetArchived(c) => c.session.as_str().len(),
                Request::Get(session) => session.as_str().len(),
                Request::Events(page) => page.session.as_str().len(),
                Request::Groups(_) => 0,
                Request::List(list) => {
                    let filters =
                        list.metadata.iter().map(|(name, value)| name.len() + value.len());
                    filters.sum::<usize>() + list.cursor.as_ref().map_or(0, |cursor| cursor.len())
                }
            }
    }
}

/// Which sessions a list shows.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// Those that are not archived.
    Active,
    /// Those that are.
    Archived,
    /// Both.
    All,
}

/// One page of sessions in ascending byte order of their ids.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// The last id of the page before; this page starts after it.
    pub cursor: Option<Box<str>>,
    /// Rows wanted, in `[1, LIST_LIMIT_MAX]`.
    pub limit: u32,
    /// Which sessions.
    pub visibility: Visibility,
    /// Top-level metadata members that must equal these strings, all of them.
    pub metadata: Vec<(Box<str>, Box<str>)>,
}

/// One page of a session's events, `seq` in `(cursor, cursor + limit]`.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct EventsPage {
    /// The session.
    pub session: SessionId,
    /// The last seq the caller has.
    pub cursor: Seq,
    /// Events wanted, in `[1, PAGE_LIMIT_MAX]`.
    pub limit: u32,
}

/// Some groups, by their numbers.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupsPage {
    /// The first.
    pub first: GroupId,
    /// How many, in `[1, GROUPS_PAGE_MAX]`.
    pub count: u32,
}

/// How a group is doing, as the node that leads it says.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct GroupRow {
    /// The group.
    pub group: GroupId,
    /// Who leads it.
    pub leader: MemberId,
    /// Since which term. Of two rows the one with the later term is newer.
    pub term: u64,
    /// The end of the leader's log.
    pub last: u64,
    /// Those who vote.
    pub voters: Vec<MemberId>,
    /// Those who voted before a change that is under way; none otherwise.
    pub outgoing: Vec<MemberId>,
    /// Those who are sent the log and do not vote.
    pub learners: Vec<MemberId>,
    /// What each of the others has acknowledged.
    pub matched: Vec<(MemberId, u64)>,
}

/// A shard's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A session as it is now.
    Session(Box<SessionRow>),
    /// An event is in the log, durable on a quorum.
    Appended(Appended),
    /// Rows of this shard; `more` says that others follow.
    Sessions {
        /// Rows in id order.
        rows: Vec<SessionRow>,
        /// Whether the shard has rows behind the last one.
        more: bool,
        /// The groups whose sessions the rows are from: those led here.
        groups: Vec<GroupId>,
    },
    /// A page of events.
    Events {
        /// Events in seq order, without a hole after the cursor.
        events: Vec<Event>,
        /// The session's head.
        last_seq: Seq,
    },
    /// Those of the groups asked about that are led here, in the order of their numbers.
    Groups(Vec<GroupRow>),
    /// No, and why.
    Refused(Box<Refusal>),
    /// Nothing was done here and nothing will be: the node that leads the session's group decides, if
    /// it is known. Clients never see this.
    NotLeader {
        /// Who leads, as far as is known here.
        leader: Option<MemberId>,
    },
}

impl Reply {
    /// Roughly what the reply holds in memory.
    pub fn bytes(&self) -> usize {
        const FIXED: usize = 256;
        FIXED
            + match self {
                Reply::Session(session) => session.bytes(),
                Reply::Sessions { rows, .. } => rows.iter().map(SessionRow::bytes).sum(),
                Reply::Events { events, .. } => {
                    events.iter().map(|event| event.json.len() + size_of::<Event>()).sum()
                }
                Reply::Groups(rows) => rows.iter().map(GroupRow::bytes).sum(),
                Reply::Refused(refusal) => refusal.message.len(),
                Reply::Appended(_) | Reply::NotLeader { .. } => 0,
            }
    }
}

impl GroupRow {
    /// Roughly what the row holds in memory, and takes on the wire.
    pub fn bytes(&self) -> usize {
        let members = self.voters.len() + self.outgoing.len() + self.learners.len();
        size_of::<GroupRow>() + (members + 2 * self.matched.len()) * size_of::<u64>()
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Reply {
        Reply::Refused(Box::new(refusal))
    }
}

/// The place of an appended event.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The event's seq; the first one's if this was a retry.
    pub seq: Seq,
    /// The session's head.
    pub last_seq: Seq,
    /// Whether the event was there already.
    pub deduped: bool,
    /// The highest seq the archive holds without a hole before it.
    pub archived_seq: Seq,
}

/// A session as clients see it.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// Its name.
    pub id: SessionId,
    /// Its title.
    pub title: Option<Box<str>>,
    /// A JSON object as text.
    pub metadata: Box<str>,
    /// Who made it.
    pub creator: Principal,
    /// Its head.
    pub last_seq: Seq,
    /// When it was made.
    pub created_at: Micros,
    /// When title, metadata or visibility last changed.
    pub updated_at: Micros,
    /// Counts changes of title and metadata, from 1.
    pub version: u64,
    /// Whether lists hide it.
    pub archived: bool,
}

impl SessionRow {
    /// Roughly what the row holds in memory, and takes on the wire.
    pub fn bytes(&self) -> usize {
        const FIXED: usize = 256;
        let title = self.title.as_ref().map_or(0, |title| title.len());
        FIXED + self.id.as_str().len() + title + self.metadata.len()
    }
}

/// An event as clients see it; the bytes are shared by everyone who sends them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its place in the session.
    pub seq: Seq,
    /// The JSON object of the event.
    pub json: Bytes,
}

/// Asks for a session's events after a cursor, and all that follow.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct TailOpen {
    /// The session.
    pub session: SessionId,
    /// The last seq the client has; 0 for all.
    pub cursor: Seq,
}

/// What a tail receives, in this order: `Opened`, `Refused` or `Elsewhere`, then events, then perhaps `Closed`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TailMessage {
    /// The session exists; events follow as they are there.
    Opened,
    /// There is no such tail, and why.
    Refused(Box<Refusal>),
    /// There is no such tail here: this node does not hold the session, or cannot know its head now.
    /// Clients never see this.
    Elsewhere {
        /// Who leads the session's group, as far as is known here.
        leader: Option<MemberId>,
    },
    /// Events in seq order; the first follows the last one sent without a hole. `replay` says that
    /// they were in the log before the tail had caught up.
    Events {
        /// The events; never empty.
        events: Vec<Event>,
        /// Whether the tail is still catching up.
        replay: bool,
    },
    /// Nothing follows, and why.
    Closed(TailEnd),
}

/// Why a shard ended a tail.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum TailEnd {
    /// The connection took longer than `TAIL_STALL_SECONDS` to write what it was given.
    TooSlow,
    /// Events after the cursor could not be read; the client resumes from its cursor.
    Unreadable,
    /// The node that served it is gone; the client resumes from its cursor.
    Lost,
}
