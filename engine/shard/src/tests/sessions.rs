//! What commands do to sessions: the contract's order of decisions.

use model::api::{Event, List, Reply, Request, SessionRow, Visibility};
use model::command::{Append, Dedupe, Patch, SetArchived, TitleChange};
use model::error::Code;
use model::ids::{GroupId, Seq};

use super::world::{World, append, create, id};
use crate::session::{Memory, Remembered};

fn world() -> World {
    let mut world = World::new(4, 1 << 30);
    assert!(matches!(world.create("s"), Reply::Session(_)));
    world
}

fn code(reply: Reply) -> Code {
    match reply {
        Reply::Refused(refusal) => refusal.code,
        other => panic!("not refused: {other:?}"),
    }
}

fn row(reply: Reply) -> SessionRow {
    match reply {
        Reply::Session(row) => *row,
        other => panic!("not a session: {other:?}"),
    }
}

#[test]
fn a_session_is_made_once() {
    let mut world = world();
    assert_eq!(code(world.create("s")), Code::SessionExists);
    let made = row(world.create("t"));
    assert_eq!((made.last_seq, made.version, made.archived), (Seq(0), 1, false));
    assert_eq!(made.created_at, made.updated_at);
    assert_eq!(row(world.answer(Request::Get(id("t")))), made);
    assert_eq!(code(world.answer(Request::Get(id("u")))), Code::SessionNotFound);
}

#[test]
fn concurrent_creates_of_one_id_have_one_winner() {
    let mut world = world();
    let tickets: Vec<_> = (0..8).map(|_| world.ask(create("x"))).collect();
    world.run();
    let made =
        tickets.iter().filter(|t| matches!(world.clients.replies[t], Reply::Session(_))).count();
    assert_eq!(made, 1);
}

/// Appends in order, each with what it must come to: seq and whether it was a retry, or the code.
#[test]
fn decisions_follow_the_contract() {
    type Case = (Option<(&'static str, u64)>, Option<u64>, &'static str, Result<(u64, bool), Code>);
    let cases: &[Case] = &[
        (Some(("p", 1)), None, "a", Ok((1, false))),
        (Some(("p", 1)), None, "a", Ok((1, true))),
        (Some(("p", 1)), None, "b", Err(Code::ProducerReplayConflict)),
        (Some(("p", 3)), None, "c", Err(Code::ProducerSeqConflict)),
        (Some(("p", 2)), Some(0), "c", Err(Code::ExpectedSeqConflict)),
        (Some(("p", 1)), Some(0), "a", Err(Code::ExpectedSeqConflict)),
        (Some(("p", 1)), Some(1), "a", Ok((1, true))),
        (Some(("p", 2)), Some(1), "c", Ok((2, false))),
        (Some(("p", 1)), None, "a", Err(Code::ProducerSeqConflict)),
        (Some(("q", 42)), None, "d", Ok((3, false))),
        (Some(("q", 43)), None, "e", Ok((4, false))),
        (Some(("p", 2)), None, "c", Ok((2, true))),
        (None, None, "f", Ok((5, false))),
        (None, None, "f", Ok((6, false))),
        (None, Some(6), "f", Ok((7, false))),
        (None, Some(6), "f", Err(Code::ExpectedSeqConflict)),
        (Some(("r", u64::MAX)), None, "g", Ok((8, false))),
        (Some(("r", 1)), None, "g", Err(Code::ProducerSeqConflict)),
    ];
    let mut world = world();
    for (producer, expected_seq, text, wanted) in cases {
        let attempt = Append { expected_seq: *expected_seq, ..append("s", *producer, text) };
        let got = world.append(attempt).map(|done| (done.seq.0, done.deduped));
        assert_eq!(&got, wanted, "{producer:?} {expected_seq:?} {text}");
    }
    assert_eq!(world.append(append("none", None, "a")), Err(Code::SessionNotFound));
}

#[test]
fn an_idempotency_key_stands_for_one_event() {
    let mut world = world();
    let keyed =
        |key: &str, text| Append { dedupe: Dedupe::Key(key.into()), ..append("s", None, text) };
    assert_eq!(world.append(keyed("k", "a")).unwrap().seq, Seq(1));
    let again = world.append(keyed("k", "a")).unwrap();
    assert_eq!((again.seq, again.deduped), (Seq(1), true));
    assert_eq!(world.append(keyed("k", "b")), Err(Code::IdempotencyConflict));
    assert_eq!(world.append(keyed("l", "b")).unwrap().seq, Seq(2));
}

#[test]
fn the_oldest_producer_is_forgotten_first() {
    let mut remembered = Remembered::new(2);
    let memory = |seq| Memory { counter: 1, seq: Seq(seq), fingerprint: [0; 16] };
    remembered.set("a", memory(1));
    remembered.set("b", memory(2));
    remembered.set("a", memory(3));
    assert_eq!(remembered.iter().len(), 2, "a known producer pushes nobody out");
    remembered.set("c", memory(4));
    let names: Vec<_> = remembered.iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["a", "c"]);
}

#[test]
fn ten_thousand_producers_are_remembered() {
    let mut world = world();
    for number in 0..10_001 {
        let name = format!("p{number}");
        world.ask(Request::Append(append("s", Some((&name, 1)), "x")));
    }
    world.run();
    let retry = world.append(append("s", Some(("p1", 1)), "x")).unwrap();
    assert_eq!((retry.seq, retry.deduped), (Seq(2), true));
    let forgotten = world.append(append("s", Some(("p0", 1)), "x")).unwrap();
    assert_eq!((forgotten.seq, forgotten.deduped), (Seq(10_002), false));
}

fn patch(title: TitleChange, metadata: Option<&str>, expected_version: Option<u64>) -> Request {
    let metadata = metadata.map(Into::into);
    Request::Patch(Patch { session: id("s"), title, metadata, expected_version, at: 0 })
}

#[test]
fn a_patch_merges_and_counts() {
    let mut world = world();
    let set = TitleChange::Set("A".into());
    let patched = row(world.answer(patch(set, Some(r#"{"a":1.0,"b":{"c":1}}"#), Some(1))));
    assert_eq!((patched.title.as_deref(), patched.version), (Some("A"), 2));
    let patched = row(world.answer(patch(TitleChange::Keep, Some(r#"{"b":2}"#), None)));
    assert_eq!(&*patched.metadata, r#"{"a":1.0,"b":2}"#);
    assert_eq!((patched.title.as_deref(), patched.version), (Some("A"), 3));
    match world.answer(patch(TitleChange::Clear, None, Some(1))) {
        Reply::Refused(refusal) => {
            assert_eq!(refusal.code, Code::ExpectedVersionConflict);
            assert_eq!(refusal.current_version, Some(3));
            assert_eq!(refusal.message, "Expected version 1, current version is 3");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(row(world.answer(patch(TitleChange::Clear, None, None))).title, None);
}

#[test]
fn archiving_hides_and_bumps_no_version() {
    let mut world = world();
    let set = |archived| Request::SetArchived(SetArchived { session: id("s"), archived, at: 0 });
    world.pass(5);
    let hidden = row(world.answer(set(true)));
    assert!(hidden.archived && hidden.version == 1 && hidden.created_at < hidden.updated_at);
    world.pass(5);
    let again = row(world.answer(set(true)));
    assert_eq!(again.updated_at, hidden.updated_at, "nothing changed");
    assert_eq!(world.append(append("s", None, "still open")).unwrap().seq, Seq(1));
    assert!(!row(world.answer(set(false))).archived);
}

fn list(
    world: &mut World,
    cursor: Option<&str>,
    limit: u32,
    visibility: Visibility,
) -> Vec<String> {
    let cursor = cursor.map(Into::into);
    let list = List { cursor, limit, visibility, metadata: Vec::new() };
    match world.answer(Request::List(list)) {
        Reply::Sessions { rows, more, .. } => {
            let mut names: Vec<_> = rows.iter().map(|row| row.id.to_string()).collect();
            names.extend(more.then(|| "...".to_owned()));
            names
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn lists_page_in_byte_order() {
    let mut world = World::new(4, 1 << 30);
    for name in ["b", "a", "B", "\u{e9}", "c"] {
        world.create(name);
    }
    world.answer(Request::SetArchived(SetArchived { session: id("b"), archived: true, at: 0 }));
    assert_eq!(list(&mut world, None, 10, Visibility::All), ["B", "a", "b", "c", "\u{e9}"]);
    assert_eq!(list(&mut world, None, 2, Visibility::Active), ["B", "a", "..."]);
    assert_eq!(list(&mut world, Some("a"), 2, Visibility::Active), ["c", "\u{e9}"]);
    assert_eq!(list(&mut world, None, 9, Visibility::Archived), ["b"]);
}

#[test]
fn a_list_looks_at_thousands_without_blocking_a_turn() {
    let mut world = World::new(4, 1 << 30);
    for number in 0..3_000 {
        world.ask(create(&format!("s{number:05}")));
    }
    world.run();
    let wanted = vec![("k".into(), "v".into())];
    let list = List { cursor: None, limit: 5, visibility: Visibility::All, metadata: wanted };
    let ticket = world.ask(Request::List(list.clone()));
    let mut effects = Vec::new();
    world.shard.settle(world.now, &mut effects);
    assert!(effects.is_empty() && world.shard.has_work(), "the list goes on in the next turn");
    world.run();
    let groups = (0..4).map(GroupId).collect();
    let nothing = Reply::Sessions { rows: Vec::new(), more: false, groups };
    assert_eq!(world.clients.replies[&ticket], nothing);
}

#[test]
fn events_carry_place_and_time() {
    let mut world = world();
    let at = world.now.wall;
    world.append(append("s", None, "a")).unwrap();
    let tail = world.tail("s", 0);
    let json = format!(r#"{{"seq":1,"type":"t","payload":{{"text":"a"}},"inserted_at":"{at}"}}"#);
    assert_eq!(world.drain(tail), [Event { seq: Seq(1), json: json.into() }]);
}

#[test]
fn time_does_not_run_backward_in_a_session() {
    let mut world = world();
    world.append(append("s", None, "a")).unwrap();
    world.now.wall.0 -= 3_600_000_000;
    world.append(append("s", None, "b")).unwrap();
    let tail = world.tail("s", 0);
    let events = world.drain(tail);
    let time = |event: &Event| {
        let text = String::from_utf8(event.json.to_vec()).unwrap();
        text.split_once("inserted_at").unwrap().1.to_owned()
    };
    assert_eq!(time(&events[0]), time(&events[1]));
}

/// A parser that builds values reads these names as its own marks.
#[test]
fn metadata_may_use_any_name() {
    let mut world = world();
    let odd = r#"{"a":{"$serde_json::private::Number":"x"},"$serde_json::private::RawValue":"y"}"#;
    let patched = row(world.answer(patch(TitleChange::Keep, Some(odd), None)));
    assert!(patched.metadata.contains("private::Number") && patched.metadata.contains("RawValue"));
    let wanted = vec![("$serde_json::private::RawValue".into(), "y".into())];
    let list = List { cursor: None, limit: 5, visibility: Visibility::All, metadata: wanted };
    match world.answer(Request::List(list)) {
        Reply::Sessions { rows, .. } => assert_eq!(rows, std::slice::from_ref(&patched)),
        other => panic!("{other:?}"),
    }
    let mut world = world.restart();
    assert_eq!(row(world.answer(Request::Get(id("s")))), patched);
}

#[test]
fn metadata_does_not_grow_without_end() {
    let mut world = World::new(1, 1 << 30);
    world.create("s");
    let huge = |name: &str| format!(r#"{{"{name}":"{}"}}"#, "x".repeat(12_000));
    for number in 0..20 {
        let metadata = huge(&format!("m{number}"));
        row(world.answer(patch(TitleChange::Keep, Some(&metadata), None)));
    }
    let kept = row(world.answer(Request::Get(id("s"))));
    assert!(240_000 < kept.metadata.len() && kept.metadata.len() < model::limits::BODY_BYTES_MAX);
}
