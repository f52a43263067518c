//! Text pairs: escapes, brackets, and what is refused.

use model::limits::PARAMETERS_MAX;
use serde_json::Value;

use crate::params::{decode, percent_decode};
use crate::problem::Unreadable;

#[test]
fn names_nest_with_brackets() {
    let cases = [
        ("", "{}"),
        ("&&", "{}"),
        ("a", r#"{"a":""}"#),
        ("a=", r#"{"a":""}"#),
        ("a=1&b=2", r#"{"a":"1","b":"2"}"#),
        ("a=1&a=2", r#"{"a":"2"}"#),
        ("a=1=2", r#"{"a":"1=2"}"#),
        ("a+b=c%20d%2B", r#"{"a b":"c d+"}"#),
        ("%61%5Bb%5D=1", r#"{"a":{"b":"1"}}"#),
        ("a[b]=1&a[c][d]=2", r#"{"a":{"b":"1","c":{"d":"2"}}}"#),
        ("a[]=1&a[]=2", r#"{"a":["1","2"]}"#),
        ("a[][b]=1", r#"{"a":[{"b":"1"}]}"#),
        ("a=1&a[b]=2", r#"{"a":{"b":"2"}}"#),
        ("a[b]=2&a=1", r#"{"a":"1"}"#),
        ("a[=1&[b]=2&a]=3", r#"{"[b]":"2","a[":"1","a]":"3"}"#),
        ("metadata.k=v", r#"{"metadata.k":"v"}"#),
        ("a=%00%C3%A9", "{\"a\":\"\\u0000\u{e9}\"}"),
    ];
    for (text, expected) in cases {
        let decoded = decode(text).map(|params| Value::from(params).to_string());
        assert_eq!(decoded.as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn what_cannot_be_decoded_is_refused() {
    for text in ["a=%", "a=%4", "a=%zz", "%ff=1", "a=%c3", "a=%c3%28"] {
        assert_eq!(decode(text), Err(Unreadable::Malformed), "{text}");
    }
    let deep = format!("a{}=1", "[b]".repeat(64));
    assert_eq!(decode(&deep), Err(Unreadable::Malformed));
    assert!(decode(&format!("a{}=1", "[b]".repeat(63))).is_ok());
    assert!(decode(&"a&".repeat(PARAMETERS_MAX)).is_ok());
    assert_eq!(decode(&"a&".repeat(PARAMETERS_MAX + 1)), Err(Unreadable::TooLarge));
}

#[test]
fn a_segment_decodes_without_plus_signs() {
    assert_eq!(percent_decode("a+b%2Fc").as_deref(), Some("a+b/c"));
    assert_eq!(percent_decode("%ff"), None);
    assert_eq!(percent_decode("100%"), None);
}
