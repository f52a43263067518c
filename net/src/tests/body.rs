//! Forms of bodies.

use hyper::HeaderMap;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use model::limits::PARAMETERS_MAX;
use proptest::prelude::*;
use serde_json::Value;

use crate::http::body::{Form, form};
use crate::multipart;
use crate::problem::Unreadable;

fn form_of(content_type: &str) -> Result<Form, Unreadable> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_str(content_type).unwrap());
    form(&headers)
}

#[test]
fn a_content_type_names_a_form() {
    assert_eq!(form(&HeaderMap::new()), Ok(Form::Json));
    for json in [
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON;x",
        "application/vnd.api+json",
    ] {
        assert_eq!(form_of(json), Ok(Form::Json), "{json}");
    }
    let urlencoded = "application/x-www-form-urlencoded";
    assert_eq!(form_of(urlencoded), Ok(Form::Urlencoded));
    for (parameters, boundary) in [
        ("boundary=ab", "ab"),
        ("charset=utf-8; Boundary=\"a b\\\"c\"", "a b\"c"),
        ("boundary=ab; x=y", "ab"),
    ] {
        let content_type = format!("multipart/form-data; {parameters}");
        assert_eq!(form_of(&content_type), Ok(Form::Multipart(boundary.into())), "{parameters}");
    }
    for other in [
        "text/plain",
        "json",
        "",
        "application/xml",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=\"a",
        "multipart/mixed; boundary=a",
    ] {
        assert_eq!(form_of(other), Err(Unreadable::UnsupportedMediaType), "{other}");
    }
}

fn decode(body: &str) -> Result<String, Unreadable> {
    let body = body.replace('\n', "\r\n");
    multipart::decode(body.as_bytes(), "B").map(|params| Value::from(params).to_string())
}

#[test]
fn parts_become_parameters() {
    let part = "Content-Disposition: form-data; name=";
    let cases = [
        ("--B--".to_owned(), "{}"),
        (format!("--B\n{part}\"a\"\n\n1\n--B--\n"), r#"{"a":"1"}"#),
        (format!("skipped\n--B  \n{part}a\n\n1\n2\n--B--skipped"), r#"{"a":"1\r\n2"}"#),
        (format!("--B\nX: y\n{part}\"a[b]\"\n\n--B-\n--B--"), r#"{"a":{"b":"--B-"}}"#),
        (format!("--B\n{part}\"a\"; filename=\"f\"\n\n1\n--B--"), "{}"),
        (format!("--B\n\n1\n--B\n{part}\"b\"\n\n\n--B--"), r#"{"b":""}"#),
        ("--B\nContent-Disposition: attachment; name=a\n\n1\n--B--".to_owned(), "{}"),
    ];
    for (body, expected) in cases {
        assert_eq!(decode(&body).as_deref(), Ok(expected), "{body}");
    }
}

#[test]
fn parts_that_are_not_divided_are_refused() {
    let part = "Content-Disposition: form-data; name=a\n\n";
    for body in [
        String::new(),
        "x".to_owned(),
        "--B".to_owned(),
        format!("--B\n{part}1"),
        format!("--B\n{part}1\n--B"),
        format!("--Bx\n{part}1\n--B--"),
        "--B\nno end of headers\n--B--".to_owned(),
    ] {
        assert_eq!(decode(&body), Err(Unreadable::Malformed), "{body}");
    }
    let many = format!("--B\n{part}1\n").repeat(PARAMETERS_MAX + 1) + "--B--";
    assert_eq!(decode(&many), Err(Unreadable::TooLarge));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_decoded_or_refused(
        parts in prop::collection::vec(
            prop_oneof![
                Just(b"--B".to_vec()),
                Just(b"\r\n".to_vec()),
                Just(b"\r\n--B".to_vec()),
                Just(b"Content-Disposition: form-data; name=\"a\"".to_vec()),
                prop::collection::vec(any::<u8>(), 0..8),
            ],
            0..12,
        ),
    ) {
        let _ = multipart::decode(&parts.concat(), "B");
    }
}
