//! JSON documents as a payload: what is valid is kept to the byte, what is not is refused, and what
//! the grammar leaves open is kept or refused but never altered.

use crate::http::Request;
use crate::server::Server;
use crate::session::{Api, unique};

/// What must become of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Kept,
    Refused,
    Either,
}

use Fate::{Either, Kept, Refused};

const DOCUMENTS: &[(&[u8], Fate)] = &[
    (b"null", Kept),
    (b"true", Kept),
    (b"false", Kept),
    (b"0", Kept),
    (b"-0", Kept),
    (b"-0.0", Kept),
    (b"1.0", Kept),
    (b"1.00", Kept),
    (b"1e2", Kept),
    (b"1E+2", Kept),
    (b"1e-2", Kept),
    (b"0.1e1", Kept),
    (b"123456789012345678901234567890", Kept),
    (b"-123456789012345678901234567890.5", Kept),
    (b"9007199254740993", Kept),
    (b"0.1000000000000000055511151231257827", Kept),
    (b"1e999", Either),
    (b"-1e-999", Either),
    (b"\"\"", Kept),
    (b"\"plain\"", Kept),
    (b"\"\xc3\xbc \xf0\x9f\x98\x80\"", Kept),
    (b"\"\\u00fc\"", Kept),
    (b"\"\\uD83D\\uDE00\"", Kept),
    (b"\"\\ud83d\\ude00\"", Kept),
    (b"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", Kept),
    (b"\"\\u0000\"", Kept),
    (b"\"a\\u0000b\\u001f\"", Kept),
    (b"\"\x7f\"", Kept),
    (b"\"\xe2\x80\xa8\xe2\x80\xa9\"", Kept),
    (b"\"\xef\xbf\xbe\xef\xbf\xbf\"", Kept),
    (b"\"\xef\xbb\xbf\"", Kept),
    (b"[]", Kept),
    (b"{}", Kept),
    (b"[1,[2,[3]]]", Kept),
    (b"{\"z\":1,\"a\":2,\"m\":3}", Kept),
    (b"{\"\":{\"\":\"\"}}", Kept),
    (b"[ 1 ,\t2\r\n,{ \"a\" : 1 } ]", Kept),
    (b"{\"a\":{\"seq\":1,\"type\":\"x\"}}", Kept),
    (b"{\"a\":1,\"a\":1}", Either),
    (b"{\"a\":1,\"a\":2}", Either),
    (b"\"\\ud800\"", Either),
    (b"\"\\udc00\\ud800\"", Either),
    (b"\"\\ud800abc\"", Either),
    (b"", Refused),
    (b"NaN", Refused),
    (b"Infinity", Refused),
    (b"-Infinity", Refused),
    (b"nul", Refused),
    (b"True", Refused),
    (b"01", Refused),
    (b"+1", Refused),
    (b"1.", Refused),
    (b".5", Refused),
    (b"1e", Refused),
    (b"0x10", Refused),
    (b"1_000", Refused),
    (b"- 1", Refused),
    (b"--1", Refused),
    (b"'a'", Refused),
    (b"\"a", Refused),
    (b"\"\\x41\"", Refused),
    (b"\"\\u12\"", Refused),
    (b"\"\\u12g4\"", Refused),
    (b"\"a\nb\"", Refused),
    (b"\"a\tb\"", Refused),
    (b"\"a\0b\"", Refused),
    (b"\"\xff\"", Refused),
    (b"\"\xc3\"", Refused),
    (b"\"\xc0\xaf\"", Refused),
    (b"\"\xed\xa0\x80\"", Refused),
    (b"\"\xf4\x90\x80\x80\"", Refused),
    (b"[1,]", Refused),
    (b"[,1]", Refused),
    (b"[1 2]", Refused),
    (b"[1", Refused),
    (b"1]", Refused),
    (b"{\"a\":1,}", Refused),
    (b"{\"a\"}", Refused),
    (b"{\"a\":}", Refused),
    (b"{a:1}", Refused),
    (b"{1:1}", Refused),
    (b"{\"a\":1", Refused),
    (b"// x\n1", Refused),
    (b"/* x */ 1", Refused),
    (b"# x\n1", Refused),
    (b"\xef\xbb\xbf1", Refused),
    (b"\x0b1", Refused),
    (b"\xc2\xa01", Refused),
    (b"undefined", Refused),
];

/// The payload of the only event of a session, as it stands in the answer.
fn stored(api: &Api, id: &str) -> Vec<u8> {
    let page = api.get(&format!("/v1/sessions/{id}/events"));
    page.expect(200);
    let start = find(&page.body, b"\"payload\":{\"d\":").expect("a payload");
    page.body[start..].to_vec()
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[test]
fn a_payload_is_kept_to_the_byte_or_refused() {
    let server = Server::shared();
    let api = server.api();
    let mut wrong = Vec::new();
    for (document, fate) in DOCUMENTS {
        let id = api.session("json");
        let body = [b"{\"type\":\"t\",\"payload\":{\"d\":", *document, b"}}"].concat();
        let target = format!("/v1/sessions/{id}/append");
        let response = api.call(&Request::post(&target).json_text(body));
        let shown = document.escape_ascii();
        match (response.status, fate) {
            (201, Kept | Either) => {
                let expected = [b"\"payload\":{\"d\":", *document, b"}"].concat();
                let found = stored(&api, &id);
                if !found.starts_with(&expected) {
                    let end = found.len().min(expected.len() + 20);
                    wrong.push(format!("{shown} became {}", found[..end].escape_ascii()));
                }
                let tailed = api.tail(&id, "cursor=0").text();
                if find(tailed.as_bytes(), &expected).is_none() {
                    wrong.push(format!("{shown} is another in a tail: {tailed}"));
                }
            }
            (400, Refused | Either) => response.failed(400),
            (status, _) => wrong.push(format!("{shown}: {status} {}", response.text())),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_surrounds_a_document_is_judged_too() {
    let server = Server::shared();
    let api = server.api();
    let id = api.session("around");
    let target = format!("/v1/sessions/{id}/append");
    let body = r#"{"type":"t","payload":{}}"#;
    let fine = [body.to_owned(), format!(" \t\r\n{body}\r\n\t ")];
    for text in fine {
        api.call(&Request::post(&target).json_text(text)).expect(201);
    }
    let bad = [
        format!("\u{feff}{body}"),
        format!("{body}{body}"),
        format!("{body},"),
        format!("{body}\0"),
        format!("[{body}"),
        format!("{body}]"),
        body.replace('{', "["),
    ];
    for text in bad {
        api.call(&Request::post(&target).json_text(text)).failed(400);
    }
    // Other encodings than UTF-8 are not guessed.
    let wide: Vec<u8> = body.bytes().flat_map(|byte| [byte, 0]).collect();
    api.call(&Request::post(&target).json_text(wide)).failed(400);
    assert_eq!(api.events(&id).len(), 2);
}

#[test]
fn metadata_and_refs_keep_their_values() {
    let server = Server::shared();
    let api = server.api();
    let id = unique("values");
    let metadata = r#"{"big":123456789012345678901234567890,"one":1.0,"e":1e2,"u":"\u00fc"}"#;
    let body = format!(r#"{{"id":"{id}","metadata":{metadata}}}"#);
    let response = api.call(&Request::post("/v1/sessions").json_text(body));
    response.expect(201);
    let row = api.get(&format!("/v1/sessions/{id}")).text();
    for number in ["123456789012345678901234567890", "1.0"] {
        assert!(row.contains(number), "{number} is not in {row}");
    }
    let body = format!(r#"{{"type":"t","payload":{{}},"refs":{metadata},"metadata":{metadata}}}"#);
    let target = format!("/v1/sessions/{id}/append");
    api.call(&Request::post(&target).json_text(body)).expect(201);
    let page = api.get(&format!("/v1/sessions/{id}/events")).text();
    assert_eq!(page.matches("123456789012345678901234567890").count(), 2, "{page}");
}

#[test]
fn text_in_every_field_comes_back_as_it_was() {
    let server = Server::shared();
    let api = server.api();
    let id = api.session("text");
    let texts = [
        "plain",
        " ",
        "\u{0}",
        "\u{1b}[31m",
        "\r\nx-injected: 1",
        "\"},{\"seq\":99",
        "\\",
        "</script>",
        "\u{fc}\u{1f600}\u{202e}",
        "\u{2028}",
        "a:b:c",
        "%00%0a",
        "${x}",
        &"long".repeat(5_000),
    ];
    for text in texts {
        let body = serde_json::json!({
            "type": text, "payload": {text: text}, "actor": text, "producer_id": text,
            "producer_seq": 1, "source": text, "idempotency_key": text,
            "metadata": {text: text}, "refs": {"request_id": text},
        });
        api.append(&id, &body).expect(201);
        let events = api.events(&id);
        let event = events.last().expect("one was appended");
        for member in ["type", "actor", "producer_id", "source", "idempotency_key"] {
            assert_eq!(event[member], text, "{member}");
        }
        assert_eq!(event["payload"][text], text);
        assert_eq!(event["metadata"][text], text);
        assert_eq!(event["refs"]["request_id"], text);
    }
    assert_eq!(api.tail(&id, "cursor=0").seqs(texts.len()).len(), texts.len());
}
