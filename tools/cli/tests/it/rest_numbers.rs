//! Appendix A.4 as a table, over REST.

use serde_json::{Value, json};

use crate::http::Request;
use crate::server::Server;
use crate::session::unique;

/// A member of an append, as JSON text, and the refusal, or none.
const APPEND: &[(&str, &str, Option<&str>)] = &[
    ("producer_seq", "1.0", Some("invalid_event")),
    ("producer_seq", "1.5", Some("invalid_event")),
    ("producer_seq", "1e0", Some("invalid_event")),
    ("producer_seq", "true", Some("invalid_event")),
    ("producer_seq", "null", Some("invalid_event")),
    ("producer_seq", "[1]", Some("invalid_event")),
    ("producer_seq", "{}", Some("invalid_event")),
    ("producer_seq", "\"1 \"", Some("invalid_event")),
    ("producer_seq", "\" 1\"", Some("invalid_event")),
    ("producer_seq", "\"1x\"", Some("invalid_event")),
    ("producer_seq", "\"\"", Some("invalid_event")),
    ("producer_seq", "\"1.0\"", Some("invalid_event")),
    ("producer_seq", "\"0x1\"", Some("invalid_event")),
    ("producer_seq", "\"-1\"", Some("invalid_event")),
    ("producer_seq", "\"0\"", Some("invalid_event")),
    ("producer_seq", "0", Some("invalid_event")),
    ("producer_seq", "-0", Some("invalid_event")),
    ("producer_seq", "-1", Some("invalid_event")),
    ("producer_seq", "\"7\"", None),
    ("producer_seq", "\"+7\"", None),
    ("producer_seq", "\"007\"", None),
    ("producer_seq", "7", None),
    ("producer_seq", "9007199254740993", None),
    ("expected_seq", "\"0\"", None),
    ("expected_seq", "\"-0\"", None),
    ("expected_seq", "0", None),
    ("expected_seq", "null", None),
    ("expected_seq", "0.0", Some("invalid_event")),
    ("expected_seq", "-1", Some("invalid_event")),
    ("expected_seq", "\"\"", Some("invalid_event")),
    ("expected_seq", "\"0 \"", Some("invalid_event")),
    ("expected_seq", "false", Some("invalid_event")),
    ("expected_seq", "[]", Some("invalid_event")),
    ("payload", "[]", Some("invalid_event")),
    ("payload", "null", Some("invalid_event")),
    ("payload", "\"x\"", Some("invalid_event")),
    ("payload", "1", Some("invalid_event")),
    ("payload", "true", Some("invalid_event")),
    ("payload", "{}", None),
    ("type", "\"\"", Some("invalid_event")),
    ("type", "null", Some("invalid_event")),
    ("type", "1", Some("invalid_event")),
    ("type", "{}", Some("invalid_event")),
    ("type", "\" \"", None),
    ("producer_id", "\"\"", Some("invalid_event")),
    ("producer_id", "null", Some("invalid_event")),
    ("producer_id", "1", Some("invalid_event")),
    ("actor", "\"\"", Some("invalid_event")),
    ("actor", "1", Some("invalid_event")),
    ("actor", "null", None),
    ("actor", "\"anyone at all\"", None),
    ("source", "\"\"", Some("invalid_event")),
    ("source", "1", Some("invalid_event")),
    ("source", "null", None),
    ("idempotency_key", "\"\"", Some("invalid_event")),
    ("idempotency_key", "1", Some("invalid_event")),
    ("idempotency_key", "null", None),
    ("metadata", "null", None),
    ("metadata", "{}", None),
    ("metadata", "[]", Some("invalid_metadata")),
    ("metadata", "\"x\"", Some("invalid_metadata")),
    ("metadata", "1", Some("invalid_metadata")),
    ("refs", "null", None),
    ("refs", "{}", None),
    ("refs", "[]", Some("invalid_refs")),
    ("refs", "\"x\"", Some("invalid_refs")),
    ("refs", "{\"to_seq\":0}", None),
    ("refs", "{\"to_seq\":\"3\"}", None),
    ("refs", "{\"to_seq\":-1}", Some("invalid_event")),
    ("refs", "{\"to_seq\":1.0}", Some("invalid_event")),
    ("refs", "{\"to_seq\":\"x\"}", Some("invalid_event")),
    ("refs", "{\"step\":2}", None),
    ("refs", "{\"step\":\"-2\"}", Some("invalid_event")),
    ("refs", "{\"step\":true}", Some("invalid_event")),
    ("refs", "{\"request_id\":\"r\"}", None),
    ("refs", "{\"request_id\":1}", Some("invalid_event")),
    ("refs", "{\"sequence_id\":[]}", Some("invalid_event")),
    ("refs", "{\"anything\":{\"else\":[-1.5]}}", None),
];

/// A member of a create, and the refusal, or none.
const CREATE: &[(&str, &str, Option<&str>)] = &[
    ("id", "\"\"", Some("invalid_event")),
    ("id", "5", Some("invalid_event")),
    ("id", "true", Some("invalid_event")),
    ("id", "[]", Some("invalid_event")),
    ("id", "{}", Some("invalid_event")),
    ("id", "null", None),
    ("title", "5", Some("invalid_event")),
    ("title", "[]", Some("invalid_event")),
    ("title", "false", Some("invalid_event")),
    ("title", "null", None),
    ("title", "\"\"", None),
    ("metadata", "[]", Some("invalid_metadata")),
    ("metadata", "\"x\"", Some("invalid_metadata")),
    ("metadata", "5", Some("invalid_metadata")),
    ("metadata", "null", None),
    ("metadata", "{}", None),
];

/// The body of a patch, and the refusal, or none.
const PATCH: &[(&str, Option<&str>)] = &[
    ("{}", Some("invalid_session")),
    ("[]", Some("invalid_session")),
    ("{\"other\":1}", Some("invalid_session")),
    ("{\"expected_version\":1}", Some("invalid_session")),
    ("{\"title\":5}", Some("invalid_session")),
    ("{\"title\":[]}", Some("invalid_session")),
    ("{\"metadata\":{}}", Some("invalid_session")),
    ("{\"metadata\":null}", Some("invalid_metadata")),
    ("{\"metadata\":[]}", Some("invalid_metadata")),
    ("{\"metadata\":\"x\"}", Some("invalid_metadata")),
    ("{\"title\":\"t\",\"metadata\":null}", Some("invalid_metadata")),
    ("{\"title\":\"t\",\"expected_version\":0}", Some("invalid_session")),
    ("{\"title\":\"t\",\"expected_version\":-1}", Some("invalid_session")),
    ("{\"title\":\"t\",\"expected_version\":1.0}", Some("invalid_session")),
    ("{\"title\":\"t\",\"expected_version\":\"1x\"}", Some("invalid_session")),
    ("{\"title\":\"t\",\"expected_version\":\"\"}", Some("invalid_session")),
    ("{\"title\":\"t\",\"expected_version\":true}", Some("invalid_session")),
    ("{\"title\":\"t\",\"expected_version\":1}", None),
    ("{\"title\":\"t\",\"expected_version\":\"1\"}", None),
    ("{\"title\":null}", None),
    ("{\"title\":\"\"}", None),
    ("{\"title\":\"t\",\"metadata\":{}}", None),
    ("{\"metadata\":{\"a\":null}}", None),
];

#[test]
fn a04_members_of_an_append() {
    let server = Server::shared();
    let api = server.api();
    let body = [
        ("type", "\"t\""),
        ("payload", "{\"a\":1}"),
        ("producer_id", "\"p\""),
        ("producer_seq", "1"),
    ];
    for (name, value, refusal) in APPEND {
        let id = api.session("number");
        let mut members: Vec<(&str, &str)> =
            body.iter().copied().filter(|(other, _)| other != name).collect();
        members.push((name, value));
        let members: Vec<String> =
            members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        let text = format!("{{{}}}", members.join(","));
        let request = Request::post(&format!("/v1/sessions/{id}/append")).json_text(text.clone());
        let response = api.call(&request);
        println!("{text}: {}", response.text());
        match refusal {
            Some(code) => drop(response.refused(400, code)),
            None => assert_eq!(response.expect(201)["seq"], json!(1)),
        }
    }
}

#[test]
fn a04_a_numeric_text_is_stored_as_a_number() {
    let server = Server::shared();
    let api = server.api();
    let id = api.session("stored-number");
    for (n, text) in [(7, "7"), (8, "+8"), (9, "009")] {
        let body = json!({"type": "t", "payload": {}, "producer_id": "p", "producer_seq": text});
        api.append(&id, &body).expect(201);
        assert_eq!(api.events(&id).last().expect("one")["producer_seq"], json!(n));
    }
}

#[test]
fn a04_members_of_a_create() {
    let server = Server::shared();
    let api = server.api();
    for (name, value, refusal) in CREATE {
        let text = format!("{{\"{name}\":{value}}}");
        let response = api.call(&Request::post("/v1/sessions").json_text(text.clone()));
        println!("{text}: {}", response.text());
        match refusal {
            Some(code) => drop(response.refused(400, code)),
            None => assert_eq!(response.expect(201)["last_seq"], json!(0)),
        }
    }
    // The first wrong one names the error.
    let both = json!({"id": "", "metadata": []});
    api.post("/v1/sessions", &both).refused(400, "invalid_event");
    let both = json!({"title": 5, "metadata": []});
    api.post("/v1/sessions", &both).refused(400, "invalid_event");
}

#[test]
fn a04_bodies_of_a_patch() {
    let server = Server::shared();
    let api = server.api();
    for (text, refusal) in PATCH {
        let id = api.session("patch-number");
        let target = format!("/v1/sessions/{id}");
        let response = api.call(&Request::new("PATCH", &target).json_text(*text));
        println!("{text}: {}", response.text());
        match refusal {
            Some(code) => {
                response.refused(400, code);
                let missing = Request::new("PATCH", "/v1/sessions/no-such").json_text(*text);
                api.call(&missing).refused(400, code);
                assert_eq!(api.row(&id)["version"], json!(1));
            }
            None => assert_eq!(response.expect(200)["version"], json!(2)),
        }
    }
}

#[test]
fn a04_title_can_be_cleared_and_emptied() {
    let server = Server::shared();
    let api = server.api();
    let id = unique("clear");
    api.post("/v1/sessions", &json!({"id": id, "title": "A"})).expect(201);
    let target = format!("/v1/sessions/{id}");
    for (title, version) in [(json!(""), 2), (Value::Null, 3), (json!("B"), 4)] {
        let row = api.patch(&target, &json!({"title": title})).expect(200);
        assert_eq!(row["title"], title);
        assert_eq!(row["version"], json!(version));
        assert_eq!(api.row(&id)["title"], title);
    }
}
