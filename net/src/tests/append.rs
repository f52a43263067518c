//! From a body to an append: every field's rule, the order they are checked in, what is stored, and
//! what a retry is compared by.

use expect_test::{Expect, expect};
use model::command::{Append, Dedupe, Producer};
use model::error::Code;
use model::ids::SessionId;
use proptest::prelude::*;
use serde_json::{Map, Value};

use crate::event::{self, Parsed};
use crate::identity::Identity;
use crate::members::Members;
use crate::problem::{Problem, Unreadable};

fn parse(body: &str) -> Result<Parsed, Problem> {
    let members = Members::parse(body.as_bytes())?;
    let session = SessionId::new("ses_1").expect("a name");
    event::append(session, &members, &Identity::service())
}

fn append(body: &str) -> Append {
    let parsed = parse(body).unwrap_or_else(|problem| panic!("{body}: {problem:?}"));
    let json = format!("{{{}}}", parsed.append.fragment);
    let value: Result<Value, _> = serde_json::from_str(&json);
    assert!(value.is_ok_and(|value| value.is_object()), "the fragment of {body} is JSON: {json}");
    parsed.append
}

/// A body that is accepted, with one member replaced or removed.
fn body(name: &str, value: Option<&str>) -> String {
    let mut members = vec![
        ("type", "\"content\""),
        ("payload", "{}"),
        ("producer_id", "\"p\""),
        ("producer_seq", "1"),
    ];
    members.retain(|(member, _)| *member != name);
    members.extend(value.map(|value| (name, value)));
    let members: Vec<String> =
        members.iter().map(|(name, value)| format!("{name:?}:{value}")).collect();
    format!("{{{}}}", members.join(","))
}

#[test]
fn each_field_has_its_rule() {
    use Code::{InvalidEvent, InvalidMetadata, InvalidRefs};
    let cases: &[(&str, Option<Code>, &[&str])] = &[
        ("type", None, &[r#""a""#, r#"" ""#, r#""\u0000""#]),
        ("type", Some(InvalidEvent), &["", r#""""#, "null", "1", "true", "[]", "{}"]),
        ("payload", None, &["{}", r#"{"a":1}"#, "{ }"]),
        ("payload", Some(InvalidEvent), &["", "[]", "null", r#""x""#, "1", "true"]),
        ("producer_id", None, &[r#""p""#]),
        ("producer_id", Some(InvalidEvent), &["", r#""""#, "null", "1", "[]"]),
        ("producer_seq", None, &["1", r#""7""#, r#""+7""#, r#""007""#, "9223372036854775807"]),
        ("producer_seq", Some(InvalidEvent), &["", "null", "1.0", "true", r#""1 ""#, r#""1x""#]),
        ("producer_seq", Some(InvalidEvent), &["0", "-1", "-0", r#""""#, r#""+""#, "1e2", "[1]"]),
        ("producer_seq", Some(InvalidEvent), &["9223372036854775808", r#""1.0""#, r#"" 1""#]),
        ("actor", None, &["", "null", r#""agent:x""#, r#""anything""#]),
        ("actor", Some(InvalidEvent), &[r#""""#, "1", "{}"]),
        ("source", None, &["", "null", r#""agent""#]),
        ("source", Some(InvalidEvent), &[r#""""#, "1", "[]"]),
        ("metadata", None, &["", "null", "{}", r#"{"a":[1]}"#, r#"{"starcite_principal":1}"#]),
        ("metadata", Some(InvalidMetadata), &["[]", r#""x""#, "1", "true", r#""""#]),
        ("refs", None, &["", "null", "{}", r#"{"to_seq":0}"#, r#"{"to_seq":"12","step":"+3"}"#]),
        ("refs", None, &[r#"{"request_id":"r","sequence_id":""}"#, r#"{"other":[-1]}"#]),
        ("refs", None, &[r#"{"to_seq":null,"request_id":null}"#]),
        ("refs", Some(InvalidRefs), &["[]", r#""x""#, "1", "false"]),
        ("refs", Some(InvalidEvent), &[r#"{"to_seq":-1}"#, r#"{"to_seq":1.0}"#, r#"{"step":"x"}"#]),
        ("refs", Some(InvalidEvent), &[r#"{"step":true}"#, r#"{"request_id":1}"#]),
        ("refs", Some(InvalidEvent), &[r#"{"sequence_id":{}}"#, r#"{"to_seq":[]}"#]),
        ("idempotency_key", None, &["", "null", r#""k""#]),
        ("idempotency_key", Some(InvalidEvent), &[r#""""#, "1", "{}"]),
        ("expected_seq", None, &["", "null", "0", r#""0""#, "12", "-0"]),
        ("expected_seq", Some(InvalidEvent), &["-1", "1.5", r#""x""#, "true", r#""""#, "[]"]),
    ];
    for (name, refusal, values) in cases {
        for value in *values {
            let body = body(name, Some(*value).filter(|value| !value.is_empty()));
            let expected = refusal.map_or(Ok(()), |code| Err(Problem::from(code)));
            assert_eq!(parse(&body).map(|_| ()), expected, "{body}");
        }
    }
}

#[test]
fn the_first_bad_field_names_the_refusal() {
    use Code::{InvalidEvent, InvalidMetadata, InvalidRefs};
    let good = r#""type":"a","payload":{}"#;
    let cases = [
        (r#"{"metadata":1,"refs":1}"#.to_owned(), InvalidEvent),
        (format!(r#"{{{good},"source":1,"metadata":1}}"#), InvalidEvent),
        (format!(r#"{{{good},"producer_seq":1,"metadata":1}}"#), InvalidEvent),
        (format!(r#"{{{good},"refs":1,"metadata":1}}"#), InvalidMetadata),
        (format!(r#"{{{good},"idempotency_key":"","refs":1}}"#), InvalidRefs),
        (format!(r#"{{{good},"expected_seq":"","refs":{{"step":-1}}}}"#), InvalidEvent),
        ("[]".to_owned(), InvalidEvent),
        ("\"text\"".to_owned(), InvalidEvent),
        ("null".to_owned(), InvalidEvent),
        (String::new(), InvalidEvent),
    ];
    for (body, code) in cases {
        assert_eq!(parse(&body).map(|_| ()), Err(code.into()), "{body}");
    }
}

#[test]
fn what_is_not_json_never_reaches_a_field() {
    let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
    let cases: &[&[u8]] = &[
        b"{",
        b"{\"type\"}",
        b" ",
        b"nul",
        b"{\"a\":NaN}",
        b"{} {}",
        b"\xef\xbb\xbf{}",
        b"{\"a\":\"\xff\"}",
        b"{'a':1}",
        b"{\"a\":01}",
        b"{\"a\":\"\n\"}",
        b"{\"a\":1,}",
        b"[1,",
        deep.as_bytes(),
    ];
    for body in cases {
        let parsed = Members::parse(body);
        assert_eq!(parsed, Err(Unreadable::Malformed), "{:?}", String::from_utf8_lossy(body));
    }
    let half = r#"{"type":"a","payload":{"x":"\ud800"}}"#;
    assert_eq!(parse(half).map(|_| ()), Err(Unreadable::Malformed.into()));
    let half = r#"{"type":"\udc00","payload":{}}"#;
    assert_eq!(parse(half).map(|_| ()), Err(Unreadable::Malformed.into()));
}

fn check_fragment(body: &str, expected: Expect) {
    expected.assert_eq(&append(body).fragment);
}

#[test]
fn the_stored_members_are_the_clients_own_text() {
    check_fragment(
        r#"{"type":"content","payload":{"b":1.0,"a":1e400, "c":"\u00e9"},"extra":1}"#,
        expect![[
            r#""type":"content","payload":{"b":1.0,"a":1e400, "c":"\u00e9"},"actor":"service:service","tenant_id":"service","metadata":{"starcite_principal":{"tenant_id":"service","actor":"service:service","principal_type":"service","principal_id":"service"}},"refs":{},"idempotency_key":null"#
        ]],
    );
    check_fragment(
        r#"{"type":"t","payload":{},"producer_id":"p","producer_seq":"07","actor":"a\n","source":"s",
            "metadata":{"z":1 , "a":2},"refs":{"step":1},"idempotency_key":"k","expected_seq":"0"}"#,
        expect![[
            r#""type":"t","payload":{},"actor":"a\n","producer_id":"p","producer_seq":7,"tenant_id":"service","source":"s","metadata":{"z":1 , "a":2,"starcite_principal":{"tenant_id":"service","actor":"service:service","principal_type":"service","principal_id":"service"}},"refs":{"step":1},"idempotency_key":"k""#
        ]],
    );
    check_fragment(
        r#"{"type":"t","payload":{"a":1},"payload":{"a":2},"metadata":{ },"refs":null}"#,
        expect![[
            r#""type":"t","payload":{"a":2},"actor":"service:service","tenant_id":"service","metadata":{ "starcite_principal":{"tenant_id":"service","actor":"service:service","principal_type":"service","principal_id":"service"}},"refs":{},"idempotency_key":null"#
        ]],
    );
}

#[test]
fn the_stamp_is_put_over_what_a_client_sends() {
    let stamp = |metadata: &str| {
        let append = append(&body("metadata", Some(metadata)));
        let event: Value = serde_json::from_str(&format!("{{{}}}", append.fragment)).unwrap();
        event["metadata"]["starcite_principal"].to_string()
    };
    let bare = stamp("{}");
    expect![[r#"{"actor":"service:service","principal_id":"service","principal_type":"service","tenant_id":"service"}"#]]
        .assert_eq(&bare);
    for replaced in ["1", "null", "[]", r#"{"actor":"user:mallory"}"#] {
        assert_eq!(stamp(&format!(r#"{{"starcite_principal":{replaced}}}"#)), bare, "{replaced}");
    }
    expect![[r#"{"actor":"service:service","more":1,"principal_id":"service","principal_type":"service","tenant_id":"service"}"#]]
        .assert_eq(&stamp(r#"{"starcite_\u0070rincipal":{"tenant_id":"x","more":1}}"#));
}

#[test]
fn a_retry_is_recognized_by_content() {
    let same: &[(&str, &str)] = &[
        (r#"{"type":"t","payload":{"a":1,"b":2}}"#, r#"{"payload":{"b":2, "a":1},"type":"t"}"#),
        (r#"{"type":"t","payload":{}}"#, r#"{"type":"\u0074","payload":{ },"unknown":1}"#),
        (r#"{"type":"t","payload":{}}"#, r#"{"type":"t","payload":{},"refs":{},"metadata":null}"#),
        (r#"{"type":"t","payload":{}}"#, r#"{"type":"t","payload":{},"actor":"service:service"}"#),
        (r#"{"type":"t","payload":{}}"#, r#"{"type":"t","payload":{},"expected_seq":3}"#),
        (r#"{"type":"t","payload":{"a":2}}"#, r#"{"type":"t","payload":{"a":1,"a":2}}"#),
        ("{\"type\":\"t\",\"payload\":{\"\u{e9}\":1}}", r#"{"type":"t","payload":{"\u00e9":1}}"#),
    ];
    for (one, other) in same {
        assert_eq!(append(one).fingerprint, append(other).fingerprint, "{one} {other}");
    }
    let different = [
        r#"{"type":"t","payload":{"a":1}}"#,
        r#"{"type":"t","payload":{"a":1.0}}"#,
        r#"{"type":"t","payload":{"a":"1"}}"#,
        r#"{"type":"t","payload":{"a":10000000000000000000000}}"#,
        r#"{"type":"t","payload":{"a":10000000000000000000001}}"#,
        r#"{"type":"u","payload":{"a":1}}"#,
        r#"{"type":"t","payload":{"a":1},"actor":"x"}"#,
        r#"{"type":"t","payload":{"a":1},"source":"x"}"#,
        r#"{"type":"t","payload":{"a":1},"metadata":{"x":1}}"#,
        r#"{"type":"t","payload":{"a":1},"refs":{"x":1}}"#,
        r#"{"type":"t","payload":{"a":1},"idempotency_key":"x"}"#,
        r#"{"type":"t","payload":{"a":1},"producer_id":"x","producer_seq":1}"#,
        r#"{"type":"t","payload":{"a":1},"producer_id":"x","producer_seq":2}"#,
        r#"{"type":"t","payload":{"a":1},"producer_id":"y","producer_seq":1}"#,
    ];
    for (at, one) in different.iter().enumerate() {
        for other in &different[at + 1..] {
            assert_ne!(append(one).fingerprint, append(other).fingerprint, "{one} {other}");
        }
    }
    let number = append(r#"{"type":"t","payload":{},"producer_id":"p","producer_seq":7}"#);
    let text = append(r#"{"type":"t","payload":{},"producer_id":"p","producer_seq":"7"}"#);
    assert_eq!(number, text);
}

#[test]
fn a_producer_wins_over_a_key() {
    let both =
        r#"{"type":"t","payload":{},"producer_id":"p","producer_seq":3,"idempotency_key":"k"}"#;
    let producer = Producer { id: "p".into(), seq: 3 };
    assert_eq!(append(both).dedupe, Dedupe::Producer(producer));
    let key = r#"{"type":"t","payload":{},"idempotency_key":"\u006b"}"#;
    assert_eq!(append(key).dedupe, Dedupe::Key("k".into()));
    assert_eq!(append(r#"{"type":"t","payload":{}}"#).dedupe, Dedupe::Nothing);
}

/// JSON values of a few levels.
fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(".{0,4}", inner, 0..5)
                .prop_map(|members| Value::from(Map::from_iter(members))),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_parsed_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = Members::parse(&bytes).map(|members| {
            event::append(SessionId::new("s").unwrap(), &members, &Identity::service())
        });
    }

    #[test]
    fn any_json_is_parsed_or_refused(values in prop::collection::vec(json(), 9)) {
        let names = ["type", "payload", "producer_id", "producer_seq", "actor", "source", "metadata",
            "refs", "idempotency_key"];
        let members = names.iter().zip(values).map(|(name, value)| (String::from(*name), value));
        let _ = parse(&Value::from(Map::from_iter(members)).to_string());
    }

    #[test]
    fn an_accepted_payload_is_kept_byte_for_byte(
        payload in prop::collection::btree_map(".{0,4}", json(), 0..5),
        pretty in any::<bool>(),
    ) {
        let payload = Value::from(Map::from_iter(payload));
        let text = if pretty { format!("{payload:#}") } else { payload.to_string() };
        let append = append(&format!("{{\"type\":\"t\",\"payload\":{text}}}"));
        let start = "\"type\":\"t\",\"payload\":";
        prop_assert_eq!(&append.fragment[start.len()..start.len() + text.len()], &text);
    }
}
