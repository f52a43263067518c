//! Listing sessions: item 2 of the checklist, on a server of its own because lists show all.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::server::Server;
use crate::session::Api;

fn ids(page: &Value) -> Vec<String> {
    let rows = page["sessions"].as_array().expect("a list of rows");
    rows.iter().map(|row| row["id"].as_str().expect("an id").to_owned()).collect()
}

fn list(api: &Api, query: &str) -> Vec<String> {
    ids(&api.get(&format!("/v1/sessions?{query}")).expect(200))
}

fn create(api: &Api, id: &str, metadata: &Value) {
    api.post("/v1/sessions", &json!({"id": id, "metadata": metadata})).expect(201);
}

#[test]
fn b02_filters_are_strings_and_all_must_hold() {
    let server = Server::start();
    let api = server.api();
    create(&api, "f1", &json!({"user": "u1", "kind": "chat", "n": 7, "yes": true}));
    create(&api, "f2", &json!({"user": "u1", "kind": "mail", "n": "7", "yes": "true"}));
    create(&api, "f3", &json!({"user": "u2", "kind": "chat", "a.b": "dot", "a b": "space"}));
    create(&api, "f4", &json!({"user": {"name": "u1"}, "kind": ["chat"], "none": null}));
    let cases: [(&str, &[&str]); 17] = [
        ("", &["f1", "f2", "f3", "f4"]),
        ("metadata.user=u1", &["f1", "f2"]),
        ("metadata[user]=u1", &["f1", "f2"]),
        ("metadata%5Buser%5D=u1", &["f1", "f2"]),
        ("metadata.user=u1&metadata.kind=chat", &["f1"]),
        ("metadata[user]=u1&metadata[kind]=mail", &["f2"]),
        ("metadata[user]=u1&metadata.kind=chat", &["f1"]),
        ("metadata[user]=u2&metadata.user=u1", &["f1", "f2"]),
        ("metadata.user=nobody", &[]),
        ("metadata.n=7", &["f2"]),
        ("metadata.yes=true", &["f2"]),
        ("metadata.none=null", &[]),
        ("metadata.none=", &[]),
        ("metadata.a.b=dot", &["f3"]),
        ("metadata[a.b]=dot", &["f3"]),
        ("metadata.a%20b=space", &["f3"]),
        ("metadata.user[name]=u1", &["f1", "f2", "f3", "f4"]),
    ];
    for (query, expected) in cases {
        assert_eq!(list(&api, query), expected, "{query}");
    }
}

#[test]
fn b02_pages_are_disjoint_ordered_by_bytes_and_complete() {
    let server = Server::start();
    let api = server.api();
    let mut expected = BTreeSet::new();
    let odd = ["A", "Z", "a", "z", "_", "~", "\u{e9}", "\u{1f600}", "a b", "a/b", "100", "20"];
    let plain = (0..60).map(|n| format!("page-{n:03}"));
    for id in odd.iter().map(|id| (*id).to_owned()).chain(plain) {
        create(&api, &id, &json!({}));
        expected.insert(id);
    }
    let expected: Vec<String> = expected.into_iter().collect();
    for limit in [1, 2, 7, 36, 71, 72, 73, 1000] {
        let mut found = Vec::new();
        let mut query = format!("limit={limit}");
        loop {
            let page = api.get(&format!("/v1/sessions?{query}")).expect(200);
            let rows = ids(&page);
            assert!(rows.len() <= limit);
            let last = rows.last().cloned();
            found.extend(rows);
            let Some(next) = page["next_cursor"].as_str() else {
                assert_eq!(page["next_cursor"], Value::Null);
                break;
            };
            assert_eq!(Some(next), last.as_deref(), "a cursor is the last id of its page");
            let bytes: String = next.bytes().map(|byte| format!("%{byte:02X}")).collect();
            query = format!("limit={limit}&cursor={bytes}");
        }
        assert_eq!(found, expected, "limit {limit}");
    }
    // A cursor need not name a session.
    assert_eq!(list(&api, "cursor=page-0305&limit=1"), ["page-031"]);
    assert_eq!(list(&api, "cursor=%F0%9F%98%81"), [] as [&str; 0]);
}

#[test]
fn b02_the_default_page_holds_a_hundred() {
    let server = Server::start();
    let api = server.api();
    for n in 0..101 {
        create(&api, &format!("many-{n:03}"), &json!({"odd": (n % 2).to_string()}));
    }
    let page = api.get("/v1/sessions").expect(200);
    assert_eq!(ids(&page).len(), 100);
    assert_eq!(page["next_cursor"], "many-099");
    let page = api.get("/v1/sessions?cursor=many-099").expect(200);
    assert_eq!(ids(&page), ["many-100"]);
    assert_eq!(page["next_cursor"], Value::Null, "nothing follows");
    // A filter does not shorten pages.
    let page = api.get("/v1/sessions?metadata.odd=1&limit=30").expect(200);
    assert_eq!(ids(&page).len(), 30);
    assert_eq!(page["next_cursor"], "many-059");
    let page = api.get("/v1/sessions?metadata.odd=1&limit=30&cursor=many-059").expect(200);
    assert_eq!(ids(&page).len(), 20);
    assert_eq!(page["next_cursor"], Value::Null);
}

#[test]
fn b02_archived_sessions_are_hidden_unless_asked_for() {
    let server = Server::start();
    let api = server.api();
    for id in ["v1", "v2", "v3"] {
        create(&api, id, &json!({}));
    }
    api.post("/v1/sessions/v2/archive", &json!({})).expect(200);
    let cases: [(&str, &[&str]); 5] = [
        ("", &["v1", "v3"]),
        ("archived=false", &["v1", "v3"]),
        ("archived=true", &["v2"]),
        ("archived=all", &["v1", "v2", "v3"]),
        ("archived=all&limit=2&cursor=v1", &["v2", "v3"]),
    ];
    for (query, expected) in cases {
        assert_eq!(list(&api, query), expected, "{query}");
    }
    for bad in ["yes", "", "TRUE", "1", "none"] {
        let response = api.get(&format!("/v1/sessions?archived={bad}"));
        response.refused(400, "invalid_list_query");
    }
    let page = api.get("/v1/sessions?archived=true").expect(200);
    assert_eq!(page["sessions"][0]["archived"], json!(true));
    api.post("/v1/sessions/v2/unarchive", &json!({})).expect(200);
    assert_eq!(list(&api, ""), ["v1", "v2", "v3"]);
}

#[test]
fn b02_what_a_list_does_not_understand_is_refused() {
    let server = Server::shared();
    let api = server.api();
    let cases = [
        ("limit=0", "invalid_limit"),
        ("limit=1001", "invalid_limit"),
        ("limit=-1", "invalid_limit"),
        ("limit=10.5", "invalid_limit"),
        ("limit=ten", "invalid_limit"),
        ("limit=", "invalid_limit"),
        ("limit=%2010", "invalid_limit"),
        ("limit=10x", "invalid_limit"),
        ("limit=99999999999999999999999", "invalid_limit"),
        ("cursor=", "invalid_cursor"),
        ("archived=yes", "invalid_list_query"),
        ("metadata=x", "invalid_metadata"),
        ("metadata[a][b]=c", "invalid_metadata"),
        ("metadata[a][]=c", "invalid_metadata"),
        ("metadata[]=c", "invalid_metadata"),
    ];
    for (query, code) in cases {
        api.get(&format!("/v1/sessions?{query}")).refused(400, code);
    }
    for fine in ["limit=1", "limit=1000", "limit=10", "limit=%2B10", "unknown=1", "metadata.a=b"] {
        api.get(&format!("/v1/sessions?{fine}")).expect(200);
    }
}

#[test]
fn rows_are_whole_and_hold_no_null_creator() {
    let server = Server::start();
    let api = server.api();
    let creator = json!({"tenant_id": "acme", "id": "u1", "type": "user"});
    let body = json!({
        "id": "row",
        "title": "A",
        "metadata": {"a": {"b": [1, 2.50, null]}},
        "creator_principal": creator,
    });
    let created = api.post("/v1/sessions", &body).expect(201);
    create(&api, "row2", &json!({}));
    let page = api.get("/v1/sessions").expect(200);
    let row = &page["sessions"][0];
    for member in ["id", "title", "metadata", "created_at", "updated_at", "version", "archived"] {
        assert_eq!(row[member], created[member], "{member}");
    }
    assert_eq!(row["creator_principal"], creator);
    assert_eq!(row["tenant_id"], "acme");
    let other = page["sessions"][1].as_object().expect("a row is an object");
    for (member, value) in other {
        assert!(!value.is_null() || member == "title", "{member} is null");
    }
}
