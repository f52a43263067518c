//! The canonical form against trees of values: the same form if and only if the same value.

use proptest::prelude::*;
use serde_json::{Map, Value};

use crate::canonical::{canonicalize, fingerprint};
use crate::limits::JSON_DEPTH_MAX;

fn form(text: &str) -> Option<String> {
    let mut out = Vec::new();
    canonicalize(text, &mut out)?;
    Some(String::from_utf8(out).expect("a form is UTF-8"))
}

#[test]
fn forms_are_sorted_and_compact() {
    let cases = [
        (" null ", "null"),
        ("1.0", "1.0"),
        ("-0", "-0"),
        ("1E+400", "1E+400"),
        ("\"a\"", "\"a\""),
        (r#""\u0061\/\u00e9\"\n\u001F""#, "\"a/\u{e9}\\\"\\n\\u001f\""),
        (r#""\ud83d\ude00""#, "\"\u{1f600}\""),
        ("{ }", "{}"),
        ("[ ]", "[]"),
        ("[1 , [ ] ,{}]", "[1,[],{}]"),
        (r#"{"b":1,"a":2}"#, r#"{"a":2,"b":1}"#),
        (r#"{"a":1,"b":{"d":1,"c":2},"a":3}"#, r#"{"a":3,"b":{"c":2,"d":1}}"#),
        (r#"{"a":1,"\u0061":2}"#, r#"{"a":2}"#),
        (r#"{"a":{"z":1,"y":2},"a":1}"#, r#"{"a":1}"#),
        (r#"{"":1,"!":2,"a!":3,"a":4}"#, r#"{"":1,"!":2,"a":4,"a!":3}"#),
        ("{\"\u{e9}\":1,\"z\":2}", "{\"z\":2,\"\u{e9}\":1}"),
    ];
    for (text, expected) in cases {
        assert_eq!(form(text).as_deref(), Some(expected), "{text}");
    }
}

#[test]
fn what_has_no_form_is_refused() {
    let deep = |depth| "[".repeat(depth) + &"]".repeat(depth);
    assert!(form(&deep(JSON_DEPTH_MAX)).is_some());
    for text in [
        r#""\ud800""#,
        r#"{"\udc00":1}"#,
        r#"["\ud800\u0041"]"#,
        "",
        "{",
        "[1",
        "\"a",
        "\"a\\",
        "\"a\\\"",
        "{\"a\"}",
        "{1:2}",
        "1 2",
        &deep(JSON_DEPTH_MAX + 2),
    ] {
        assert_eq!(form(text), None, "{text}");
    }
}

#[test]
fn neighbours_are_kept_apart() {
    assert_ne!(fingerprint(&["\"a\"", "\"b\""]), fingerprint(&["\"ab\"", "\"\""]));
    assert_ne!(fingerprint(&["1", "null"]), fingerprint(&["null", "1"]));
    assert_ne!(fingerprint(&["1"]), fingerprint(&["1", "1"]));
}

#[test]
fn fingerprints_are_pinned() {
    // Stored in logs and checkpoints: another digest would take a retry for another event.
    let digest = fingerprint(&[r#"{"b":[1.0,"\u00e9"],"a":null}"#, "\"x\""]).unwrap();
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    expect_test::expect!["33c2a181f7415ef8bb345c7f907d621b"].assert_eq(&hex);
}

/// Values with names and leaves from small sets, so that equal ones and duplicates occur.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-1_i64..2).prop_map(Value::from),
        Just(Value::from(1.0)),
        "[a\"\\\\\n\u{e9}]{0,2}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[ab!\"\n]{0,2}", inner, 0..4)
                .prop_map(|members| Value::from(Map::from_iter(members))),
        ]
    })
}

/// Writes a value in one of its many forms: members reversed or named twice, escapes, white space.
fn write(value: &Value, style: u8, out: &mut String) {
    let space = if style & 1 == 0 { "" } else { " \n" };
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| written(item, style)).collect();
            out.push_str(&format!("[{space}{}{space}]", items.join(&format!("{space},"))));
        }
        Value::Object(members) => {
            let mut texts: Vec<String> = members
                .iter()
                .map(|(name, value)| {
                    format!(
                        "{}{space}:{}",
                        written(&Value::from(&**name), style),
                        written(value, style)
                    )
                })
                .collect();
            if style & 2 != 0 {
                texts.reverse();
            }
            if let Some((name, _)) = members.iter().next().filter(|_| style & 4 != 0) {
                texts.insert(0, format!("{}:[]", Value::from(&**name)));
            }
            out.push_str(&format!("{{{space}{}}}", texts.join(",")));
        }
        Value::String(text) if style & 8 != 0 => {
            let escaped: String =
                text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
            out.push_str(&format!("\"{escaped}\""));
        }
        leaf => out.push_str(&leaf.to_string()),
    }
}

fn written(value: &Value, style: u8) -> String {
    let mut out = String::new();
    write(value, style, &mut out);
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_way_to_write_a_value_has_one_form(value in value(), style in 0_u8..16) {
        let form = form(&written(&value, style)).unwrap();
        prop_assert_eq!(super::canonical::form(&value.to_string()).unwrap(), form.clone());
        prop_assert_eq!(serde_json::from_str::<Value>(&form).unwrap(), value);
    }

    #[test]
    fn other_values_have_other_forms(one in value(), other in value()) {
        let same = form(&one.to_string()) == form(&other.to_string());
        prop_assert_eq!(same, one == other);
    }

    #[test]
    fn any_text_is_survived(text in "[\\[\\]{}\",:\\\\u0d8 a1]{0,40}") {
        let _ = form(&text);
    }
}
