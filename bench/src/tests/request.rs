use serde_json::Value;

use crate::request::{Target, Template, digits, payload, seq_of};

fn target(token: Option<&str>) -> Target {
    let address = "127.0.0.1:4000".parse().unwrap();
    Target { address, token: token.map(str::to_owned), prefix: "bench-1".to_owned() }
}

/// The request line, the headers and the body, whose length must be what the head says.
fn parse(request: &[u8]) -> (String, Vec<String>, Value) {
    let text = std::str::from_utf8(request).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines().map(str::to_owned);
    let line = lines.next().unwrap();
    let headers: Vec<String> = lines.collect();
    assert!(headers.contains(&format!("content-length: {}", body.len())), "{headers:?}");
    (line, headers, serde_json::from_str(body).unwrap())
}

#[test]
fn an_append_is_patched_in_place() {
    let template = Template::append(&target(None), "bench-7", &payload(256).unwrap());
    let mut request = Vec::new();
    for (session, seq) in [(0, 1), (99_999_999, u64::MAX), (7, 10)] {
        template.write(&mut request, session, seq);
        let (line, _, body) = parse(&request);
        assert_eq!(line, format!("POST /v1/sessions/bench-1-{session:08}/append HTTP/1.1"));
        assert_eq!(body["producer_id"], "bench-7");
        assert_eq!(body["producer_seq"], seq);
        assert_eq!(body["payload"].to_string().len(), 256);
        assert_eq!(request.len(), template.bytes());
    }
}

#[test]
fn a_token_goes_with_every_request() {
    let target = target(Some("abc"));
    let mut append = Vec::new();
    Template::append(&target, "p", "{}").write(&mut append, 0, 1);
    let wanted = "authorization: Bearer abc".to_owned();
    for request in [append, target.create(3)] {
        assert!(parse(&request).1.contains(&wanted));
    }
    assert!(std::str::from_utf8(&target.get(3)).unwrap().contains(&wanted));
}

#[test]
fn a_create_names_the_session() {
    let (line, _, body) = parse(&target(None).create(42));
    assert_eq!(line, "POST /v1/sessions HTTP/1.1");
    assert_eq!(body["id"], "bench-1-00000042");
}

#[test]
fn a_number_fills_its_field_from_the_right() {
    let cases = [(0, b' ', "   0"), (7, b'0', "0007"), (12, b' ', "  12"), (9_999, b' ', "9999")];
    for (number, fill, expected) in cases {
        let mut field = *b"....";
        digits(&mut field, number, fill);
        assert_eq!(field, expected.as_bytes());
    }
}

#[test]
#[should_panic(expected = "the field has room")]
fn a_number_too_large_for_its_field_is_not_cut() {
    digits(&mut [0; 3], 1_000, b' ');
}

#[test]
fn a_payload_has_the_bytes_it_should_have() {
    for bytes in [11, 12, 256, 4_096] {
        let payload = payload(bytes).unwrap();
        assert_eq!(payload.len(), bytes);
        assert!(serde_json::from_str::<Value>(&payload).unwrap().is_object());
    }
    assert!(payload(10).is_err());
}

#[test]
fn the_seq_of_a_reply_is_found_wherever_it_stands() {
    let cases = [
        ("{\"seq\":7,\"last_seq\":9}", Some(7)),
        ("{\"last_seq\":9,\"seq\": 12}", Some(12)),
        ("{\"last_seq\":9}", None),
        ("{\"seq\":null}", None),
        ("", None),
    ];
    for (body, seq) in cases {
        assert_eq!(seq_of(body.as_bytes()), seq, "{body}");
    }
}
