//! What clients read, byte for byte.

use bytes::Bytes;
use expect_test::{Expect, expect};
use model::api::{Appended, Event, SessionRow};
use model::command::Principal;
use model::error::{Code, Refusal};
use model::ids::{Micros, Seq, SessionId};
use model::limits::PAGE_BYTES_MAX;

use crate::render;

fn row(id: &str) -> SessionRow {
    SessionRow {
        id: SessionId::new(id).unwrap(),
        title: Some("A \"title\"\n".into()),
        metadata: r#"{"b":1, "a":2}"#.into(),
        creator: Principal { tenant_id: "acme".into(), id: "u1".into(), kind: "user".into() },
        last_seq: Seq(3),
        created_at: Micros(1_771_240_000_000_001),
        updated_at: Micros(1_771_240_001_500_000),
        version: 2,
        archived: false,
    }
}

fn check(json: &Bytes, expected: Expect) {
    let text = std::str::from_utf8(json).expect("JSON is UTF-8");
    let value: Result<serde_json::Value, _> = serde_json::from_str(text);
    assert!(value.is_ok(), "{text}");
    expected.assert_eq(text);
}

fn joined(pieces: impl IntoIterator<Item = Bytes>) -> Bytes {
    pieces.into_iter().flatten().collect()
}

#[test]
fn a_row_has_every_member() {
    check(
        &render::session(&row("ses_1")),
        expect![[
            r#"{"id":"ses_1","title":"A \"title\"\n","tenant_id":"acme","creator_principal":{"tenant_id":"acme","id":"u1","type":"user"},"metadata":{"b":1, "a":2},"last_seq":3,"created_at":"2026-02-16T11:06:40.000001Z","updated_at":"2026-02-16T11:06:41.500000Z","version":2,"archived":false}"#
        ]],
    );
    let accented = render::session(&row("ses_\u{e9}"));
    assert!(accented.starts_with("{\"id\":\"ses_\u{e9}\",".as_bytes()));
    let untitled = SessionRow { title: None, archived: true, ..row("s") };
    let json = String::from_utf8(render::session(&untitled).to_vec()).unwrap();
    assert!(json.contains(r#""title":null"#));
    assert!(json.contains(r#""archived":true"#));
}

#[test]
fn a_page_names_the_next_cursor_only_if_more_follows() {
    let next = |rows: &[SessionRow], more| {
        let json: serde_json::Value =
            serde_json::from_slice(&render::sessions(rows, more)).unwrap();
        (json["sessions"].as_array().unwrap().len(), json["next_cursor"].clone())
    };
    check(&render::sessions(&[], false), expect![[r#"{"sessions":[],"next_cursor":null}"#]]);
    assert_eq!(next(&[row("a"), row("b")], false), (2, serde_json::Value::Null));
    assert_eq!(next(&[row("a"), row("b")], true), (2, "b".into()));
    let metadata = format!("{{\"a\":\"{}\"}}", "x".repeat(PAGE_BYTES_MAX)).into_boxed_str();
    let large = |id| SessionRow { metadata: metadata.clone(), ..row(id) };
    assert_eq!(next(&[large("a"), large("b")], false), (1, "a".into()));
}

#[test]
fn an_append_answers_with_places() {
    let place = Appended { seq: Seq(7), last_seq: Seq(9), deduped: true, archived_seq: Seq(5) };
    check(
        &render::appended(&place),
        expect![[r#"{"seq":7,"last_seq":9,"deduped":true,"cursor":7,"committed_cursor":5}"#]],
    );
}

#[test]
fn a_page_of_events_says_where_to_go_on() {
    let event = |seq| Event { seq: Seq(seq), json: format!("{{\"seq\":{seq}}}").into() };
    check(
        &joined(render::events(&[event(1), event(2)], Seq(5))),
        expect![[r#"{"events":[{"seq":1},{"seq":2}],"next_cursor":2,"last_seq":5}"#]],
    );
    check(
        &joined(render::events(&[event(5)], Seq(5))),
        expect![[r#"{"events":[{"seq":5}],"next_cursor":null,"last_seq":5}"#]],
    );
    check(
        &joined(render::events(&[], Seq(5))),
        expect![[r#"{"events":[],"next_cursor":null,"last_seq":5}"#]],
    );
}

#[test]
fn a_refusal_names_code_and_text() {
    check(
        &render::refusal(&Code::SessionExists.into()),
        expect![[r#"{"error":"session_exists","message":"Session already exists"}"#]],
    );
    check(
        &render::refusal(&Refusal::expected_version(1, 2)),
        expect![[
            r#"{"error":"expected_version_conflict","message":"Expected version 1, current version is 2","current_version":2}"#
        ]],
    );
    check(
        &render::refusal(&Refusal::producer_seq("\"\u{1}", 2, 3)),
        expect![[
            r#"{"error":"producer_seq_conflict","message":"Producer \"\u0001 expected seq 2, got 3"}"#
        ]],
    );
}
