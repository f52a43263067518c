//! What nodes say to each other about clients, as an archive that is read where it lies. The frame
//! around it carries the checksum and the seal, which are compared before anything is read.
//!
//! Requests and rows are archived as `model` lays them out, all else as it stands here: the order of
//! variants and fields is the layout, and golden bytes in the tests keep it from changing unseen.
//! Another layout is another version in the handshake.

use bytes::{Bytes, BytesMut};
use model::api::{
    Appended, ArchivedEventsPage, ArchivedGroupRow, ArchivedGroupsPage, ArchivedList,
    ArchivedRequest, ArchivedSessionRow, Event, GroupRow, Reply, Request, SessionRow, TailEnd,
    TailMessage, TailOpen,
};
use model::cluster::MemberId;
use model::command::ArchivedDedupe;
use model::error::{Code, Refusal};
use model::ids::{GroupId, Seq};
use model::limits::{
    GROUP_MEMBERS_MAX, GROUPS_MAX, GROUPS_PAGE_MAX, LIST_LIMIT_MAX, PAGE_BYTES_MAX, PAGE_LIMIT_MAX,
    PEER_FRAME_BYTES_MAX, RECORD_BYTES_MAX, TAIL_WINDOW_BYTES,
};
use rkyv::api::high::HighDeserializer;
use rkyv::rancor::Error;
use rkyv::with::{Inline, InlineAsBox, Map};
use rkyv::{Archive, Deserialize, Serialize};
use uring::ClientMessage;

/// Most bytes that a tail can have written at once: a full window and the largest event.
const CREDIT_BYTES_MAX: u64 = TAIL_WINDOW_BYTES + RECORD_BYTES_MAX as u64;

/// More than an event, or a row besides its texts, adds to an archive; and a message to its batch.
const PART_BYTES: usize = 512;

// A frame holds the largest request, page of events and page of rows that a shard gives.
const _: () = assert!(RECORD_BYTES_MAX + 2 * PART_BYTES < PEER_FRAME_BYTES_MAX);
const _: () = assert!(
    PAGE_BYTES_MAX + (PAGE_LIMIT_MAX as usize + 1) * PART_BYTES < PEER_FRAME_BYTES_MAX
        && PAGE_BYTES_MAX + (LIST_LIMIT_MAX as usize + 1) * PART_BYTES < PEER_FRAME_BYTES_MAX
);

/// Messages of one frame; never none.
#[derive(Debug, Archive, Serialize)]
struct WireBatch<'a> {
    messages: Vec<WireMessage<'a>>,
}

#[derive(Debug, Archive, Serialize)]
enum WireMessage<'a> {
    Request {
        ticket: u64,
        #[rkyv(with = Inline)]
        request: &'a Request,
    },
    Reply {
        ticket: u64,
        reply: WireReply<'a>,
    },
    TailOpen {
        tail: u64,
        #[rkyv(with = Inline)]
        open: &'a TailOpen,
    },
    Tail {
        tail: u64,
        message: WireTail<'a>,
    },
    TailCredit {
        tail: u64,
        bytes: u64,
    },
    TailClose {
        tail: u64,
    },
}

#[derive(Debug, Archive, Serialize)]
enum WireReply<'a> {
    Session(#[rkyv(with = Inline)] &'a SessionRow),
    Appended(Appended),
    Sessions {
        #[rkyv(with = InlineAsBox)]
        rows: &'a [SessionRow],
        more: bool,
        #[rkyv(with = InlineAsBox)]
        groups: &'a [GroupId],
    },
    Events {
        events: WireEvents<'a>,
        last_seq: Seq,
    },
    Refused(WireRefusal<'a>),
    NotLeader {
        leader: Option<MemberId>,
    },
    Groups(#[rkyv(with = InlineAsBox)] &'a [GroupRow]),
}

#[derive(Debug, Archive, Serialize)]
enum WireTail<'a> {
    Opened,
    Refused(WireRefusal<'a>),
    Elsewhere { leader: Option<MemberId> },
    Events { events: WireEvents<'a>, replay: bool },
    Closed(TailEnd),
}

/// Events whose seqs follow each other, from `first`; that is 0 if there are none.
#[derive(Debug, Archive, Serialize)]
struct WireEvents<'a> {
    first: Seq,
    #[rkyv(with = Map<InlineAsBox>)]
    json: Vec<&'a [u8]>,
}

/// The code goes by its name, which is the contract's; its place in the table is not.
#[derive(Debug, Archive, Serialize)]
struct WireRefusal<'a> {
    #[rkyv(with = InlineAsBox)]
    code: &'a str,
    #[rkyv(with = InlineAsBox)]
    message: &'a str,
    current_version: Option<u64>,
}

/// Writes messages to the end of a vector, as one archive.
///
/// # Panics
/// If there are none, or if events have a hole.
pub(crate) fn encode(messages: &[ClientMessage], out: &mut Vec<u8>) {
    assert!(!messages.is_empty(), "a batch says something");
    let batch = WireBatch { messages: messages.iter().map(WireMessage::from).collect() };
    let vec = std::mem::take(out);
    *out = rkyv::api::high::to_bytes_in::<_, Error>(&batch, vec)
        .expect("messages hold nothing that cannot be archived in memory");
}

/// Reads an archive of messages and gives them one by one.
///
/// # Errors
/// What is wrong with it: the sender is another program, or breaks the protocol.
pub(crate) fn decode(
    archive: &[u8],
    mut each: impl FnMut(ClientMessage),
) -> Result<(), &'static str> {
    const DAMAGED: &str = "its messages about clients cannot be read";
    let batch = rkyv::access::<ArchivedWireBatch<'_>, Error>(archive).map_err(|_| DAMAGED)?;
    if batch.messages.is_empty() {
        return Err(DAMAGED);
    }
    for wire in batch.messages.iter() {
        each(message(wire).ok_or("it asks or answers what makes no sense")?);
    }
    Ok(())
}

impl<'a> From<&'a ClientMessage> for WireMessage<'a> {
    fn from(message: &'a ClientMessage) -> WireMessage<'a> {
        match message {
            ClientMessage::Request { ticket, request } => {
                WireMessage::Request { ticket: *ticket, request }
            }
            ClientMessage::Reply { ticket, reply } => {
                WireMessage::Reply { ticket: *ticket, reply: reply.into() }
            }
            ClientMessage::TailOpen { tail, open } => WireMessage::TailOpen { tail: *tail, open },
            ClientMessage::Tail { tail, message } => {
                WireMessage::Tail { tail: *tail, message: message.into() }
            }
            ClientMessage::TailCredit { tail, bytes } => {
                WireMessage::TailCredit { tail: *tail, bytes: *bytes }
            }
            ClientMessage::TailClose { tail } => WireMessage::TailClose { tail: *tail },
        }
    }
}

impl<'a> From<&'a Reply> for WireReply<'a> {
    fn from(reply: &'a Reply) -> WireReply<'a> {
        match reply {
            Reply::Session(row) => WireReply::Session(row),
            Reply::Appended(appended) => WireReply::Appended(*appended),
            Reply::Sessions { rows, more, groups } => {
                WireReply::Sessions { rows, more: *more, groups }
            }
            Reply::Events { events, last_seq } => {
                WireReply::Events { events: events[..].into(), last_seq: *last_seq }
            }
            Reply::Refused(refusal) => WireReply::Refused((&**refusal).into()),
            Reply::NotLeader { leader } => WireReply::NotLeader { leader: *leader },
            Reply::Groups(rows) => WireReply::Groups(rows),
        }
    }
}

impl<'a> From<&'a TailMessage> for WireTail<'a> {
    fn from(message: &'a TailMessage) -> WireTail<'a> {
        match message {
            TailMessage::Opened => WireTail::Opened,
            TailMessage::Refused(refusal) => WireTail::Refused((&**refusal).into()),
            TailMessage::Elsewhere { leader } => WireTail::Elsewhere { leader: *leader },
            TailMessage::Events { events, replay } => {
                WireTail::Events { events: events[..].into(), replay: *replay }
            }
            TailMessage::Closed(end) => WireTail::Closed(*end),
        }
    }
}

impl<'a> From<&'a [Event]> for WireEvents<'a> {
    fn from(events: &'a [Event]) -> WireEvents<'a> {
        let joined = events.windows(2).all(|pair| pair[0].seq.next() == pair[1].seq);
        assert!(joined, "events that go together have no hole");
        WireEvents {
            first: events.first().map_or(Seq(0), |event| event.seq),
            json: events.iter().map(|event| &event.json[..]).collect(),
        }
    }
}

impl<'a> From<&'a Refusal> for WireRefusal<'a> {
    fn from(refusal: &'a Refusal) -> WireRefusal<'a> {
        let Refusal { code, message, current_version } = refusal;
        WireRefusal { code: code.name(), message, current_version: *current_version }
    }
}

/// Copies what an archive holds that has passed its checks.
fn owned<T>(archived: &impl Deserialize<T, HighDeserializer<Error>>) -> T {
    rkyv::deserialize(archived).expect("what is there can be copied")
}

/// `None` if something in it makes no sense, here and below.
fn message(wire: &ArchivedWireMessage<'_>) -> Option<ClientMessage> {
    use ArchivedWireMessage as W;
    Some(match wire {
        W::Request { ticket, request } => {
            if !is_sound(request) {
                return None;
            }
            ClientMessage::Request { ticket: ticket.to_native(), request: owned(request) }
        }
        W::Reply { ticket, reply: wire } => {
            ClientMessage::Reply { ticket: ticket.to_native(), reply: reply(wire)? }
        }
        W::TailOpen { tail, open } => {
            if open.session.as_str().is_empty() {
                return None;
            }
            ClientMessage::TailOpen { tail: tail.to_native(), open: owned(open) }
        }
        W::Tail { tail, message } => {
            ClientMessage::Tail { tail: tail.to_native(), message: tail_message(message)? }
        }
        W::TailCredit { tail, bytes } => {
            let (tail, bytes) = (tail.to_native(), bytes.to_native());
            if !(1..=CREDIT_BYTES_MAX).contains(&bytes) {
                return None;
            }
            ClientMessage::TailCredit { tail, bytes }
        }
        W::TailClose { tail } => ClientMessage::TailClose { tail: tail.to_native() },
    })
}

/// Whether a request is one that a door could have made.
fn is_sound(request: &ArchivedRequest) -> bool {
    use ArchivedRequest as W;
    match request {
        W::Create(create) => !create.session.as_str().is_empty() && is_object(&create.metadata),
        W::Append(append) => {
            let dedupe = match &append.dedupe {
                ArchivedDedupe::Producer(producer) => !producer.id.is_empty() && producer.seq != 0,
                ArchivedDedupe::Key(_) | ArchivedDedupe::Nothing => true,
            };
            !append.session.as_str().is_empty() && !append.fragment.is_empty() && dedupe
        }
        W::Patch(patch) => {
            let metadata = patch.metadata.as_ref().is_none_or(|metadata| is_object(metadata));
            !patch.session.as_str().is_empty() && metadata
        }
        W::SetArchived(set) => !set.session.as_str().is_empty(),
        W::Get(session) => !session.as_str().is_empty(),
        W::List(ArchivedList { limit, cursor, .. }) => {
            let cursor = cursor.as_ref().is_none_or(|cursor| !cursor.is_empty());
            (1..=LIST_LIMIT_MAX).contains(&limit.to_native()) && cursor
        }
        W::Events(ArchivedEventsPage { session, limit, .. }) => {
            !session.as_str().is_empty() && (1..=PAGE_LIMIT_MAX).contains(&limit.to_native())
        }
        W::Groups(ArchivedGroupsPage { first, count }) => {
            let (first, count) = (first.0.to_native(), count.to_native());
            first < GROUPS_MAX && (1..=GROUPS_PAGE_MAX).contains(&count)
        }
    }
}

/// Whether a text may be a JSON object; the door that took it has read it.
fn is_object(text: &str) -> bool {
    text.len() >= 2 && text.starts_with('{') && text.ends_with('}')
}

fn reply(wire: &ArchivedWireReply<'_>) -> Option<Reply> {
    use ArchivedWireReply as W;
    Some(match wire {
        W::Session(row) => Reply::Session(Box::new(session_row(row)?)),
        W::Appended(appended) => {
            let appended: Appended = owned(appended);
            if appended.seq == Seq(0) || appended.last_seq < appended.seq {
                return None;
            }
            Reply::Appended(appended)
        }
        W::Sessions { rows, more, groups } => {
            let groups: Vec<GroupId> = groups.iter().map(owned).collect();
            let in_order = rows.is_sorted_by(|a, b| a.id.as_str() < b.id.as_str());
            let known = groups.iter().all(|group| group.0 < GROUPS_MAX);
            if (LIST_LIMIT_MAX as usize) < rows.len() || !in_order || !known {
                return None;
            }
            let rows: Option<Vec<SessionRow>> = rows.iter().map(session_row).collect();
            Reply::Sessions { rows: rows?, more: *more, groups }
        }
        W::Events { events: wire, last_seq } => {
            let (events, last_seq): (Vec<Event>, Seq) = (events(wire)?, owned(last_seq));
            let known_to = events.last().map_or(Seq(0), |event| event.seq);
            if (PAGE_LIMIT_MAX as usize) < events.len() || last_seq < known_to {
                return None;
            }
            Reply::Events { events, last_seq }
        }
        W::Refused(wire) => Reply::Refused(Box::new(refusal(wire)?)),
        W::NotLeader { leader } => Reply::NotLeader { leader: owned(leader) },
        W::Groups(rows) => {
            let in_order = rows.is_sorted_by(|a, b| a.group.0 < b.group.0);
            if (GROUPS_PAGE_MAX as usize) < rows.len() || !in_order {
                return None;
            }
            Reply::Groups(rows.iter().map(group_row).collect::<Option<Vec<GroupRow>>>()?)
        }
    })
}

fn group_row(wire: &ArchivedGroupRow) -> Option<GroupRow> {
    let lists = [&wire.voters, &wire.outgoing, &wire.learners];
    let few = lists.iter().all(|list| list.len() <= GROUP_MEMBERS_MAX)
        && wire.matched.len() <= GROUP_MEMBERS_MAX;
    (few && wire.group.0 < GROUPS_MAX).then(|| owned(wire))
}

fn session_row(wire: &ArchivedSessionRow) -> Option<SessionRow> {
    let sound = !wire.id.as_str().is_empty() && is_object(&wire.metadata);
    sound.then(|| owned(wire))
}

fn tail_message(wire: &ArchivedWireTail<'_>) -> Option<TailMessage> {
    use ArchivedWireTail as W;
    Some(match wire {
        W::Opened => TailMessage::Opened,
        W::Refused(wire) => TailMessage::Refused(Box::new(refusal(wire)?)),
        W::Elsewhere { leader } => TailMessage::Elsewhere { leader: owned(leader) },
        W::Events { events: wire, replay } => {
            let events = events(wire)?;
            if events.is_empty() {
                return None;
            }
            TailMessage::Events { events, replay: *replay }
        }
        W::Closed(end) => TailMessage::Closed(owned(end)),
    })
}

/// The events lie in one piece of memory: they came together, and go to one client.
fn events(wire: &ArchivedWireEvents<'_>) -> Option<Vec<Event>> {
    let first = wire.first.0.to_native();
    // The seq behind the last one can be named.
    first.checked_add(wire.json.len() as u64)?;
    let sound =
        wire.json.is_empty() == (first == 0) && wire.json.iter().all(|json| !json.is_empty());
    if !sound {
        return None;
    }
    let mut joined = BytesMut::with_capacity(wire.json.iter().map(|json| json.len()).sum());
    wire.json.iter().for_each(|json| joined.extend_from_slice(json));
    let mut rest: Bytes = joined.freeze();
    let each = wire.json.iter().zip(first..);
    Some(each.map(|(json, seq)| Event { seq: Seq(seq), json: rest.split_to(json.len()) }).collect())
}

fn refusal(wire: &ArchivedWireRefusal<'_>) -> Option<Refusal> {
    let code = Code::ALL.iter().copied().find(|code| code.name() == &*wire.code)?;
    let current_version = wire.current_version.as_ref().map(|version| version.to_native());
    if current_version.is_some() && code != Code::ExpectedVersionConflict {
        return None;
    }
    let message = match &*wire.message {
        usual if usual == code.message() => code.message().into(),
        other => other.to_owned().into(),
    };
    Some(Refusal { code, message, current_version })
}
