use bytes::Bytes;
use expect_test::expect;
use model::api::{
    Appended, Event, EventsPage, GroupRow, GroupsPage, List, Reply, Request, SessionRow, TailEnd,
    TailMessage, TailOpen, Visibility,
};
use model::cluster::MemberId;
use model::command::{
    Append, Create, Dedupe, Patch, Principal, Producer, SetArchived, TitleChange,
};
use model::error::{Code, Refusal};
use model::ids::{GroupId, Micros, Seq, SessionId};
use model::limits::{
    GROUP_MEMBERS_MAX, GROUPS_MAX, GROUPS_PAGE_MAX, LIST_LIMIT_MAX, PAGE_BYTES_MAX, PAGE_LIMIT_MAX,
    PEER_FRAME_BYTES_MAX, RECORD_BYTES_MAX,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use uring::ClientMessage;

use crate::peer::client_wire::{decode, encode};
use crate::peer::keys::SEAL_BYTES;

fn session(name: &str) -> SessionId {
    SessionId::new(name).unwrap()
}

fn row(id: &str) -> SessionRow {
    SessionRow {
        id: session(id),
        title: Some("a title".into()),
        metadata: "{}".into(),
        creator: Principal::service(),
        last_seq: Seq(7),
        created_at: Micros(1),
        updated_at: Micros(2),
        version: 3,
        archived: false,
    }
}

/// How a group is doing whose members are so many.
fn group_row(group: u32, members: usize) -> GroupRow {
    let ids = |first: u64| (first..).take(members).map(MemberId).collect::<Vec<MemberId>>();
    GroupRow {
        group: GroupId(group),
        leader: MemberId(1),
        term: 7,
        last: 99,
        voters: ids(1),
        outgoing: ids(2),
        learners: ids(1_000),
        matched: ids(1).into_iter().map(|id| (id, 98)).collect(),
    }
}

/// Events from a seq on.
fn events(first: u64, json: &[&'static str]) -> Vec<Event> {
    let each = json.iter().zip(0..);
    let seq = |nth: u64| Seq(first.checked_add(nth).expect("the test's seqs exist"));
    each.map(|(json, nth)| Event { seq: seq(nth), json: Bytes::from(*json) }).collect()
}

fn append(dedupe: Dedupe) -> Append {
    Append {
        session: session("ses_1"),
        fragment: "\"type\":\"content\"".into(),
        dedupe,
        expected_seq: Some(6),
        fingerprint: *b"0123456789abcdef",
        at: 0,
    }
}

fn requests() -> Vec<Request> {
    let producer = Producer { id: "writer".into(), seq: 1 };
    vec![
        Request::Create(Create {
            session: session("ses_1"),
            title: Some("".into()),
            metadata: "{\"a\":1}".into(),
            creator: Principal::service(),
            at: 5,
        }),
        Request::Append(append(Dedupe::Producer(producer))),
        Request::Append(append(Dedupe::Key("key".into()))),
        Request::Append(append(Dedupe::Nothing)),
        Request::Patch(Patch {
            session: session("ses_1"),
            title: TitleChange::Set("new".into()),
            metadata: Some("{}".into()),
            expected_version: Some(2),
            at: 0,
        }),
        Request::SetArchived(SetArchived { session: session("ses_1"), archived: true, at: 0 }),
        Request::Get(session("ses_1")),
        Request::List(List {
            cursor: Some("ses_0".into()),
            limit: 100,
            visibility: Visibility::All,
            metadata: vec![("team".into(), "blue".into())],
        }),
        Request::Events(EventsPage { session: session("ses_1"), cursor: Seq(u64::MAX), limit: 1 }),
        Request::Groups(GroupsPage { first: GroupId(3), count: 2 }),
    ]
}

fn replies() -> Vec<Reply> {
    let appended = Appended { seq: Seq(6), last_seq: Seq(7), deduped: true, archived_seq: Seq(0) };
    vec![
        Reply::Session(Box::new(row("ses_1"))),
        Reply::Appended(appended),
        Reply::Sessions {
            rows: vec![row("ses_1"), row("ses_2")],
            more: true,
            groups: vec![GroupId(0), GroupId(3)],
        },
        Reply::Sessions { rows: Vec::new(), more: false, groups: Vec::new() },
        Reply::Events { events: events(6, &["{\"seq\":6}", "{\"seq\":7}"]), last_seq: Seq(7) },
        Reply::Events { events: Vec::new(), last_seq: Seq(0) },
        Reply::Events { events: events(u64::MAX - 1, &["{}"]), last_seq: Seq(u64::MAX) },
        Refusal::expected_version(1, 2).into(),
        Refusal::from(Code::RaftUnavailable).into(),
        Reply::NotLeader { leader: Some(MemberId(0x0102_0304_0506_0708)) },
        Reply::NotLeader { leader: None },
        Reply::Groups(vec![group_row(3, 3), group_row(4, 0)]),
        Reply::Groups(Vec::new()),
    ]
}

fn tail_messages() -> Vec<TailMessage> {
    vec![
        TailMessage::Opened,
        TailMessage::Refused(Box::new(Code::SessionNotFound.into())),
        TailMessage::Elsewhere { leader: Some(MemberId(9)) },
        TailMessage::Elsewhere { leader: None },
        TailMessage::Events { events: events(1, &["{}", "{\"b\":2}"]), replay: true },
        TailMessage::Closed(TailEnd::TooSlow),
        TailMessage::Closed(TailEnd::Unreadable),
        TailMessage::Closed(TailEnd::Lost),
    ]
}

/// One of each kind.
pub(super) fn samples() -> Vec<ClientMessage> {
    let (ticket, tail) = (1 << 48 | 5, 2 << 48 | 6);
    let open = TailOpen { session: session("ses_1"), cursor: Seq(4) };
    let mut samples: Vec<ClientMessage> =
        requests().into_iter().map(|request| ClientMessage::Request { ticket, request }).collect();
    samples.extend(replies().into_iter().map(|reply| ClientMessage::Reply { ticket, reply }));
    samples.push(ClientMessage::TailOpen { tail, open });
    let messages = tail_messages().into_iter();
    samples.extend(messages.map(|message| ClientMessage::Tail { tail, message }));
    samples.push(ClientMessage::TailCredit { tail, bytes: 4096 });
    samples.push(ClientMessage::TailClose { tail });
    samples
}

pub(super) fn encoded(messages: &[ClientMessage]) -> Vec<u8> {
    let mut out = Vec::new();
    encode(messages, &mut out);
    out
}

pub(super) fn decoded(archive: &[u8]) -> Result<Vec<ClientMessage>, &'static str> {
    let mut messages = Vec::new();
    decode(archive, |message| messages.push(message))?;
    Ok(messages)
}

#[test]
fn messages_come_back_as_they_were() {
    for message in samples() {
        let one = [message];
        assert_eq!(decoded(&encoded(&one)).as_deref(), Ok(&one[..]));
    }
    assert_eq!(decoded(&encoded(&samples())), Ok(samples()));
}

#[test]
fn an_archive_is_read_wherever_it_lies() {
    for place in 0..16 {
        let mut out = vec![0xee; place];
        encode(&samples(), &mut out);
        assert_eq!(out[..place], vec![0xee; place]);
        assert_eq!(decoded(&out[place..]), Ok(samples()), "at {place}");
    }
}

#[test]
fn every_code_goes_by_its_name() {
    for code in Code::ALL {
        let refusal = |message: &str| Refusal {
            code: *code,
            message: message.to_owned().into(),
            current_version: (*code == Code::ExpectedVersionConflict).then_some(u64::MAX),
        };
        for message in [code.message(), "", "another text"] {
            let reply = ClientMessage::Reply { ticket: 1, reply: refusal(message).into() };
            let archive = encoded(std::slice::from_ref(&reply));
            let name = code.name().as_bytes();
            assert!(archive.windows(name.len()).any(|window| window == name));
            assert_eq!(decoded(&archive), Ok(vec![reply]));
        }
    }
}

/// The archive of one request or reply, with some of its bytes replaced by others.
fn bent(message: ClientMessage, from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut archive = encoded(&[message]);
    let at = archive.windows(from.len()).position(|window| window == from).expect("it is in there");
    archive[at..at + to.len()].copy_from_slice(to);
    archive
}

#[test]
fn what_makes_no_sense_is_refused() {
    let get = || ClientMessage::Request { ticket: 1, request: Request::Get(session("ses_1")) };
    assert!(decoded(&bent(get(), b"ses_1", b"\xff")).is_err(), "not UTF-8");
    let refused = || ClientMessage::Reply {
        ticket: 1,
        reply: Refusal { message: "".into(), ..Code::RaftTimeout.into() }.into(),
    };
    assert!(decoded(&bent(refused(), b"raft_timeout", b"raft_timeouT")).is_err(), "no such code");
    assert!(decoded(&bent(refused(), b"raft_timeout", b"raft_timeout")).is_ok());
    let bad = |message: ClientMessage| {
        let outcome = decoded(&encoded(std::slice::from_ref(&message)));
        assert!(outcome.is_err(), "{message:?}");
    };
    let request = |request: Request| bad(ClientMessage::Request { ticket: 1, request });
    let producer = |id: &str, seq| Dedupe::Producer(Producer { id: id.into(), seq });
    request(Request::Append(append(producer("", 1))));
    request(Request::Append(append(producer("writer", 0))));
    request(Request::Append(Append { fragment: "".into(), ..append(Dedupe::Nothing) }));
    for limit in [0, LIST_LIMIT_MAX + 1, u32::MAX] {
        let metadata = Vec::new();
        let list = List { cursor: None, limit, visibility: Visibility::Active, metadata };
        request(Request::List(list));
    }
    for limit in [0, PAGE_LIMIT_MAX + 1, u32::MAX] {
        request(Request::Events(EventsPage { session: session("s"), cursor: Seq(0), limit }));
    }
    for (first, count) in [(GROUPS_MAX, 1), (0, 0), (0, GROUPS_PAGE_MAX + 1)] {
        request(Request::Groups(GroupsPage { first: GroupId(first), count }));
    }
    let reply = |reply: Reply| bad(ClientMessage::Reply { ticket: 1, reply });
    reply(Reply::Groups(vec![group_row(1, 1), group_row(0, 1)]));
    reply(Reply::Groups(vec![group_row(GROUPS_MAX, 1)]));
    reply(Reply::Groups(vec![group_row(0, GROUP_MEMBERS_MAX + 1)]));
    reply(Reply::Groups((0..=GROUPS_PAGE_MAX).map(|group| group_row(group, 1)).collect()));
    for (seq, last_seq) in [(0, 0), (0, 1), (2, 1)] {
        let (seq, last_seq) = (Seq(seq), Seq(last_seq));
        reply(Reply::Appended(Appended { seq, last_seq, deduped: false, archived_seq: Seq(0) }));
    }
    let rows = |rows: Vec<SessionRow>, groups: Vec<GroupId>| {
        reply(Reply::Sessions { rows, more: false, groups });
    };
    rows(vec![row("b"), row("a")], Vec::new());
    rows(vec![row("a"), row("a")], Vec::new());
    rows(vec![SessionRow { metadata: "".into(), ..row("a") }], Vec::new());
    rows(Vec::new(), vec![GroupId(GROUPS_MAX)]);
    rows((0..=LIST_LIMIT_MAX).map(|n| row(&format!("{n:05}"))).collect(), Vec::new());
    let page = |events: Vec<Event>, last_seq| {
        reply(Reply::Events { events, last_seq: Seq(last_seq) });
    };
    page(events(1, &["{}", "{}"]), 1);
    page(events(0, &["{}"]), 1);
    page(events(1, &[""]), 1);
    page(events(u64::MAX, &["{}"]), u64::MAX);
    page(events(1, &["{}"; PAGE_LIMIT_MAX as usize + 1]), 5_000);
    let version = Refusal { current_version: Some(1), ..Code::SessionExists.into() };
    reply(version.into());
    bad(ClientMessage::Tail {
        tail: 1,
        message: TailMessage::Events { events: Vec::new(), replay: false },
    });
    bad(ClientMessage::TailCredit { tail: 1, bytes: 0 });
    bad(ClientMessage::TailCredit { tail: 1, bytes: u64::MAX });
}

#[test]
fn a_session_has_a_name() {
    // A name of one byte lies in front; where its length is said, none is said instead.
    let mut refused = 0;
    let open = TailOpen { session: session("s"), cursor: Seq(0) };
    for message in [
        ClientMessage::Request { ticket: 0, request: Request::Get(session("s")) },
        ClientMessage::TailOpen { tail: 0, open },
    ] {
        let whole = encoded(&[message]);
        assert_eq!(whole[0], b's');
        // The pointer to it leads back from where it stands to the first byte.
        for at in 1..whole.len() - 8 {
            let pointer = i32::from_le_bytes(whole[at..at + 4].try_into().unwrap());
            let length = &whole[at + 4..at + 8];
            if usize::try_from(-pointer).is_ok_and(|back| back == at) && length == [1, 0, 0, 0] {
                let mut bytes = whole.clone();
                bytes[at + 4] = 0;
                assert!(decoded(&bytes).is_err(), "a session without a name");
                refused += 1;
            }
        }
    }
    assert_eq!(refused, 2);
}

#[test]
#[should_panic(expected = "no hole")]
fn events_with_a_hole_are_not_sent() {
    let mut events = events(1, &["{}", "{}"]);
    events[1].seq = Seq(3);
    encoded(&[ClientMessage::Tail {
        tail: 1,
        message: TailMessage::Events { events, replay: false },
    }]);
}

/// What a shard takes and gives at most, as one message of one frame.
#[test]
fn the_largest_messages_fit_a_frame() {
    let fits = |message: ClientMessage| {
        let bytes = encoded(&[message]).len() + SEAL_BYTES;
        assert!(bytes <= PEER_FRAME_BYTES_MAX, "{bytes} bytes");
    };
    let fragment = "x".repeat(RECORD_BYTES_MAX).into();
    let request = Request::Append(Append { fragment, ..append(Dedupe::Nothing) });
    fits(ClientMessage::Request { ticket: 0, request });
    let event = |seq, bytes| Event { seq: Seq(seq), json: vec![b'x'; bytes].into() };
    let pages = [
        vec![event(1, RECORD_BYTES_MAX)],
        (1..=1_000).map(|seq| event(seq, PAGE_BYTES_MAX / 1_000)).collect(),
    ];
    for events in pages {
        let reply = Reply::Events { events: events.clone(), last_seq: Seq(9_999) };
        fits(ClientMessage::Reply { ticket: 0, reply });
        let message = TailMessage::Events { events, replay: true };
        fits(ClientMessage::Tail { tail: 0, message });
    }
    let metadata: Box<str> = "x".repeat(PAGE_BYTES_MAX / 1_000).into();
    let rows = (0..LIST_LIMIT_MAX)
        .map(|n| SessionRow { metadata: metadata.clone(), ..row(&format!("{n:05}")) })
        .collect();
    let groups = (0..GROUPS_MAX).map(GroupId).collect();
    fits(ClientMessage::Reply { ticket: 0, reply: Reply::Sessions { rows, more: true, groups } });
    let rows = (0..GROUPS_PAGE_MAX).map(|group| group_row(group, 9)).collect();
    fits(ClientMessage::Reply { ticket: 0, reply: Reply::Groups(rows) });
}

/// Neighbouring versions of the program depend on it.
#[test]
fn the_layout_does_not_change() {
    let digest = blake3::hash(&encoded(&samples())).to_hex();
    expect!["e66d0081fdd33bdef35d7951e58c9a5bd7c7e90e9775f663dd35e93af90c4778"].assert_eq(&digest);
    let hex = |message: ClientMessage| {
        encoded(&[message]).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let request = Request::Get(session("ses_1"));
    expect!["7365735f3100050000000000000004f1ffffff050000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000a4ffffff01000000"].assert_eq(&hex(ClientMessage::Request { ticket: 5, request }));
    let message = TailMessage::Events { events: events(7, &["{}"]), replay: false };
    expect!["7b7dfeffffff02000000030600000000000000030700000000000000e6ffffff01000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000a4ffffff01000000"].assert_eq(&hex(ClientMessage::Tail { tail: 6, message }));
}

#[test]
fn every_cut_is_refused_and_no_flip_does_harm() {
    let whole = encoded(&samples());
    for length in 0..whole.len() {
        assert!(decoded(&whole[..length]).is_err(), "cut at {length}");
    }
    for sample in samples() {
        let whole = encoded(&[sample]);
        for length in 0..whole.len() {
            assert!(decoded(&whole[..length]).is_err(), "cut at {length}");
        }
        for bit in 0..8 * whole.len() {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let _ = decoded(&bytes);
        }
    }
}

fn text() -> impl Strategy<Value = Box<str>> {
    "\\PC{0,12}".prop_map(Into::into)
}

fn name() -> impl Strategy<Value = SessionId> {
    "\\PC{1,40}".prop_map(|name| SessionId::new(name).unwrap())
}

fn object() -> impl Strategy<Value = Box<str>> {
    "\\PC{0,12}".prop_map(|inner| format!("{{{inner}}}").into())
}

fn principal() -> impl Strategy<Value = Principal> {
    (text(), text(), text()).prop_map(|(tenant_id, id, kind)| Principal { tenant_id, id, kind })
}

fn any_append() -> impl Strategy<Value = Request> {
    let dedupe = prop_oneof![
        ("\\PC{1,12}", 1..=u64::MAX)
            .prop_map(|(id, seq)| Dedupe::Producer(Producer { id: id.into(), seq })),
        text().prop_map(Dedupe::Key),
        Just(Dedupe::Nothing),
    ];
    let given = (name(), "\\PC{1,40}", dedupe, option::of(any::<u64>()), any::<([u8; 16], u64)>());
    given.prop_map(|(session, fragment, dedupe, expected_seq, (fingerprint, at))| {
        let fragment = fragment.into();
        Request::Append(Append { session, fragment, dedupe, expected_seq, fingerprint, at })
    })
}

fn any_patch() -> impl Strategy<Value = Request> {
    let title = prop_oneof![
        Just(TitleChange::Keep),
        Just(TitleChange::Clear),
        text().prop_map(TitleChange::Set)
    ];
    let given = (name(), title, option::of(object()), any::<(Option<u64>, u64)>());
    given.prop_map(|(session, title, metadata, (expected_version, at))| {
        Request::Patch(Patch { session, title, metadata, expected_version, at })
    })
}

fn any_list() -> impl Strategy<Value = Request> {
    let visibility =
        prop_oneof![Just(Visibility::Active), Just(Visibility::Archived), Just(Visibility::All)];
    let cursor = option::of("\\PC{1,12}".prop_map(Box::from));
    let given = (cursor, 1..=LIST_LIMIT_MAX, visibility, vec((text(), text()), 0..4));
    given.prop_map(|(cursor, limit, visibility, metadata)| {
        Request::List(List { cursor, limit, visibility, metadata })
    })
}

fn any_request() -> impl Strategy<Value = Request> {
    prop_oneof![
        (name(), option::of(text()), object(), principal(), any::<u64>()).prop_map(
            |(session, title, metadata, creator, at)| {
                Request::Create(Create { session, title, metadata, creator, at })
            }
        ),
        any_append(),
        any_patch(),
        (name(), any::<(bool, u64)>()).prop_map(|(session, (archived, at))| {
            Request::SetArchived(SetArchived { session, archived, at })
        }),
        name().prop_map(Request::Get),
        any_list(),
        (name(), any::<u64>(), 1..=PAGE_LIMIT_MAX).prop_map(|(session, cursor, limit)| {
            Request::Events(EventsPage { session, cursor: Seq(cursor), limit })
        }),
        (0..GROUPS_MAX, 1..=GROUPS_PAGE_MAX).prop_map(|(first, count)| {
            Request::Groups(GroupsPage { first: GroupId(first), count })
        }),
    ]
}

fn any_row() -> impl Strategy<Value = SessionRow> {
    let texts = (name(), option::of(text()), object(), principal());
    (texts, any::<(u64, u64, u64, u64, bool)>()).prop_map(|(texts, numbers)| {
        let (id, title, metadata, creator) = texts;
        let (last_seq, created_at, updated_at, version, archived) = numbers;
        let (last_seq, created_at) = (Seq(last_seq), Micros(created_at));
        let updated_at = Micros(updated_at);
        SessionRow {
            id,
            title,
            metadata,
            creator,
            last_seq,
            created_at,
            updated_at,
            version,
            archived,
        }
    })
}

fn any_events(least: usize) -> impl Strategy<Value = Vec<Event>> {
    (1..=u64::MAX - 20, vec(vec(any::<u8>(), 1..30), least..20)).prop_map(|(first, json)| {
        let each = (first..).zip(json);
        each.map(|(seq, json)| Event { seq: Seq(seq), json: json.into() }).collect()
    })
}

fn any_refusal() -> impl Strategy<Value = Refusal> {
    let given = (prop::sample::select(Code::ALL), option::of(text()), any::<Option<u64>>());
    given.prop_map(|(code, message, version)| {
        let usual = Refusal::from(code);
        let message = message.map_or(usual.message, |message| String::from(message).into());
        let current_version = version.filter(|_| code == Code::ExpectedVersionConflict);
        Refusal { code, message, current_version }
    })
}

fn any_leader() -> impl Strategy<Value = Option<MemberId>> {
    option::of(any::<u64>().prop_map(MemberId))
}

fn any_reply() -> impl Strategy<Value = Reply> {
    prop_oneof![
        any_row().prop_map(|row| Reply::Session(Box::new(row))),
        (1..=u64::MAX, any::<(u64, bool, u64)>()).prop_map(|(seq, (more, deduped, archived))| {
            let last_seq = Seq(seq.saturating_add(more));
            let archived_seq = Seq(archived);
            Reply::Appended(Appended { seq: Seq(seq), last_seq, deduped, archived_seq })
        }),
        (vec(any_row(), 0..4), any::<bool>(), vec(0..GROUPS_MAX, 0..9)).prop_map(
            |(mut rows, more, groups)| {
                rows.sort_by(|a, b| a.id.cmp(&b.id));
                rows.dedup_by(|a, b| a.id == b.id);
                Reply::Sessions { rows, more, groups: groups.into_iter().map(GroupId).collect() }
            }
        ),
        (any_events(0), any::<u64>()).prop_map(|(events, more)| {
            let last = events.last().map_or(0, |event| event.seq.0);
            Reply::Events { events, last_seq: Seq(last.saturating_add(more)) }
        }),
        any_refusal().prop_map(Reply::from),
        any_leader().prop_map(|leader| Reply::NotLeader { leader }),
    ]
}

fn any_tail_message() -> impl Strategy<Value = TailMessage> {
    let ends = [TailEnd::TooSlow, TailEnd::Unreadable, TailEnd::Lost];
    prop_oneof![
        Just(TailMessage::Opened),
        any_refusal().prop_map(|refusal| TailMessage::Refused(Box::new(refusal))),
        any_leader().prop_map(|leader| TailMessage::Elsewhere { leader }),
        (any_events(1), any::<bool>())
            .prop_map(|(events, replay)| TailMessage::Events { events, replay }),
        prop::sample::select(ends.to_vec()).prop_map(TailMessage::Closed),
    ]
}

fn any_message() -> impl Strategy<Value = ClientMessage> {
    prop_oneof![
        3 => (any::<u64>(), any_request())
            .prop_map(|(ticket, request)| ClientMessage::Request { ticket, request }),
        3 => (any::<u64>(), any_reply())
            .prop_map(|(ticket, reply)| ClientMessage::Reply { ticket, reply }),
        1 => (any::<u64>(), name(), any::<u64>()).prop_map(|(tail, session, cursor)| {
            ClientMessage::TailOpen { tail, open: TailOpen { session, cursor: Seq(cursor) } }
        }),
        2 => (any::<u64>(), any_tail_message())
            .prop_map(|(tail, message)| ClientMessage::Tail { tail, message }),
        1 => (any::<u64>(), 1..=RECORD_BYTES_MAX as u64)
            .prop_map(|(tail, bytes)| ClientMessage::TailCredit { tail, bytes }),
        1 => any::<u64>().prop_map(|tail| ClientMessage::TailClose { tail }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn any_messages_come_back(messages in vec(any_message(), 1..8)) {
        prop_assert_eq!(decoded(&encoded(&messages)), Ok(messages));
    }

    /// What a proven node that is another program might send.
    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..300)) {
        let _ = decoded(&bytes);
    }

    #[test]
    fn bent_archives_do_no_harm(
        messages in vec(any_message(), 1..4),
        bends in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = encoded(&messages);
        for (at, to) in bends {
            let at = at.index(bytes.len());
            bytes[at] = to;
        }
        let _ = decoded(&bytes);
    }
}
