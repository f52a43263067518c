//! Creating and reading sessions: item 1 of the checklist, and ids of every shape.

use serde_json::{Value, json};

use crate::http::Request;
use crate::server::Server;
use crate::session::{is_timestamp, loose, unique};

/// An id as it stands in a path.
fn encoded(id: &str) -> String {
    id.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[test]
fn b01_a_generated_id_has_the_prefix_and_form_clients_expect() {
    let server = Server::shared();
    let api = server.api();
    let bodies = ["{}", "", r#"{"id":null}"#, r#"{"id":null,"title":null,"metadata":null}"#];
    for body in bodies {
        let row = api.call(&Request::post("/v1/sessions").json_text(body)).expect(201);
        let id = row["id"].as_str().expect("an id is a string");
        let random = id.strip_prefix("ses_").expect("the prefix clients look for");
        assert_eq!(random.len(), 16, "twelve bytes in base64");
        let url_safe = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        assert!(random.bytes().all(url_safe), "id: {id}");
        assert_eq!(api.row(id)["id"], id);
    }
}

#[test]
fn b01_a_created_session_is_returned_whole() {
    let server = Server::shared();
    let api = server.api();
    let id = unique("whole");
    let body = json!({"id": id, "title": "Draft", "metadata": {"workflow": "contract"}});
    let response = api.post("/v1/sessions", &body);
    let row = response.expect(201);
    response.is_readable_from_any_origin();
    assert_eq!(row["id"], id);
    assert_eq!(row["title"], "Draft");
    assert_eq!(row["metadata"], json!({"workflow": "contract"}), "nothing is added to it");
    assert_eq!(row["last_seq"], json!(0));
    assert_eq!(row["version"], json!(1));
    assert_eq!(row["archived"], json!(false));
    assert!(is_timestamp(&row["created_at"]), "{row}");
    assert!(is_timestamp(&row["updated_at"]), "{row}");
    let creator = json!({"tenant_id": "service", "id": "service", "type": "service"});
    assert_eq!(row["creator_principal"], creator);

    let read = api.row(&id);
    for member in ["id", "title", "metadata", "created_at", "version", "archived"] {
        assert_eq!(read[member], row[member], "{member}");
    }
    assert_eq!(read["creator_principal"], creator);
    assert_eq!(read["tenant_id"], "service");
    assert!(is_timestamp(&read["updated_at"]), "{read}");
}

#[test]
fn b01_titles_may_be_empty_or_absent() {
    let server = Server::shared();
    let api = server.api();
    let cases = [(json!({"title": ""}), json!("")), (json!({}), Value::Null)];
    for (body, title) in cases {
        let row = api.post("/v1/sessions", &body).expect(201);
        assert_eq!(row["title"], title);
        let id = row["id"].as_str().expect("an id").to_owned();
        assert_eq!(api.row(&id)["title"], title);
    }
}

#[test]
fn b01_an_id_is_given_once() {
    let server = Server::shared();
    let api = server.api();
    let id = api.session("once");
    api.post("/v1/sessions", &json!({"id": id})).refused(409, "session_exists");
    let other = json!({"id": id, "title": "other", "metadata": {"a": 1}});
    api.post("/v1/sessions", &other).refused(409, "session_exists");
    assert_eq!(api.row(&id)["title"], Value::Null, "the first one stays as it is");
}

#[test]
fn b01_a_tenant_in_the_metadata_is_ordinary_data() {
    let server = Server::shared();
    let api = server.api();
    let body = json!({"metadata": {"tenant_id": "elsewhere"}});
    let row = api.post("/v1/sessions", &body).expect(201);
    assert_eq!(row["metadata"], json!({"tenant_id": "elsewhere"}));
    let row = api.post("/v1/sessions", &json!({})).expect(201);
    assert_eq!(row["metadata"], json!({}));
}

#[test]
fn b01_without_authentication_a_creator_may_be_named() {
    let server = Server::shared();
    let api = server.api();
    let creator = json!({"tenant_id": "acme", "id": "planner", "type": "agent"});
    let id = unique("creator");
    let body = json!({"id": id, "creator_principal": creator});
    let row = api.post("/v1/sessions", &body).expect(201);
    assert_eq!(row["creator_principal"], creator);
    assert_eq!(api.row(&id)["tenant_id"], "acme");
    api.append(&id, &loose("anybody's")).expect(201);
}

#[test]
fn an_unknown_session_is_not_found() {
    let server = Server::shared();
    let api = server.api();
    api.get("/v1/sessions/none").refused(404, "session_not_found");
    api.get("/v1/sessions/none/events").refused(404, "session_not_found");
    api.post("/v1/sessions/none/archive", &json!({})).refused(404, "session_not_found");
    api.post("/v1/sessions/none/unarchive", &json!({})).refused(404, "session_not_found");
    api.patch("/v1/sessions/none", &json!({"title": "x"})).refused(404, "session_not_found");
    api.append("none", &loose("x")).refused(404, "session_not_found");
}

#[test]
fn ids_are_opaque() {
    let server = Server::shared();
    let api = server.api();
    let long = "long".repeat(1_000);
    let ids = [
        "a b",
        "a/b",
        "a//b/../c",
        ".",
        "..",
        "../../etc/passwd",
        "%",
        "%41",
        "a%2Fb",
        "?cursor=1",
        "#",
        "a+b",
        "a&b=c",
        "\"quoted\"",
        "back\\slash",
        "'; drop table sessions; --",
        "\u{fc}ml\u{e4}ut",
        "\u{1f600}",
        "e\u{301}",
        "\u{e9}",
        "\u{202e}right to left",
        "\u{feff}mark",
        "\u{0}",
        "nul\u{0}inside",
        "tab\tline\nreturn\r",
        " ",
        " leading",
        "trailing ",
        "null",
        "undefined",
        "sessions",
        "append",
        "-1",
        "0",
        "1e999",
        "${jndi:ldap://127.0.0.1/a}",
        "<script>alert(1)</script>",
        &long,
    ];
    for id in ids {
        let row = api.post("/v1/sessions", &json!({"id": id})).expect(201);
        assert_eq!(row["id"], id);
    }
    for id in ids {
        let path = encoded(id);
        assert_eq!(api.row(&path)["id"], id, "{id:?} is found by its own name");
        api.append(&path, &loose(id)).expect(201);
        let events = api.events(&path);
        assert_eq!(events.len(), 1, "{id:?} is one session and no other's");
        assert_eq!(events[0]["payload"]["text"], id);
    }
}

#[test]
fn an_id_that_is_no_text_is_refused() {
    let server = Server::shared();
    let api = server.api();
    for id in ["%FF", "%C3%28", "a%80", "%ED%A0%80"] {
        let response = api.get(&format!("/v1/sessions/{id}"));
        assert!(matches!(response.status, 400 | 404), "{id}: {}", response.status);
        let response = api.append(id, &loose("x"));
        assert!(matches!(response.status, 400 | 404), "{id}: {}", response.status);
    }
}

#[test]
fn a_created_session_is_there_at_once_on_every_way_in() {
    let server = Server::shared();
    let api = server.api();
    for _ in 0..50 {
        let id = unique("at-once");
        let body = json!({"id": id, "metadata": {"marker": id}});
        api.post("/v1/sessions", &body).expect(201);
        // Each on a connection of its own, which may end at another core.
        let list = server.api().get(&format!("/v1/sessions?metadata.marker={id}")).expect(200);
        assert_eq!(list["sessions"][0]["id"], id);
        assert_eq!(server.api().row(&id)["id"], id);
        let mut tail = server.api().tail(&id, "cursor=0");
        server.api().append(&id, &loose("x")).expect(201);
        assert_eq!(tail.seqs(1), [1]);
    }
}
