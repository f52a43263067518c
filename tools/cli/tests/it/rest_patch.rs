//! Changing, hiding and showing sessions: items 4 and 5 of the checklist.

use serde_json::{Value, json};

use crate::http::Request;
use crate::server::Server;
use crate::session::{is_timestamp, loose, unique};

#[test]
fn b04_metadata_is_merged_member_by_member() {
    let server = Server::shared();
    let api = server.api();
    let id = unique("merge");
    let metadata = json!({"keep": {"deep": [1]}, "change": 1});
    let created = api
        .post("/v1/sessions", &json!({"id": id, "title": "A", "metadata": metadata}))
        .expect(201);
    let target = format!("/v1/sessions/{id}");
    let patch = json!({"metadata": {"change": {"x": null}, "new": "n"}, "expected_version": 1});
    let row = api.patch(&target, &patch).expect(200);
    let merged = json!({"keep": {"deep": [1]}, "change": {"x": null}, "new": "n"});
    assert_eq!(row["metadata"], merged);
    assert_eq!(row["title"], "A", "what is not named stays");
    assert_eq!(row["version"], json!(2));
    assert_eq!(row["last_seq"], json!(0));
    assert_eq!(row["id"], id);
    assert_eq!(row["creator_principal"], created["creator_principal"]);
    assert_eq!(row["created_at"], created["created_at"]);
    assert!(is_timestamp(&row["updated_at"]), "{row}");
    assert_eq!(api.row(&id)["metadata"], merged);
    // A deep member is replaced, not merged.
    let row = api.patch(&target, &json!({"metadata": {"keep": {"other": 1}}})).expect(200);
    assert_eq!(row["metadata"]["keep"], json!({"other": 1}));
    let page = api.get("/v1/sessions?metadata.new=n").expect(200);
    assert_eq!(page["sessions"][0]["id"], id, "a list sees what was changed");
}

#[test]
fn b04_a_patch_leaves_the_log_alone() {
    let server = Server::shared();
    let api = server.api();
    let id = api.session("log-alone");
    api.append_numbered(&id, "p", 1, 3);
    let row = api.patch(&format!("/v1/sessions/{id}"), &json!({"title": "B"})).expect(200);
    assert_eq!(row["last_seq"], json!(3));
    assert_eq!(api.events(&id).len(), 3);
    assert_eq!(api.append(&id, &loose("next")).expect(201)["seq"], json!(4));
}

#[test]
fn b04_a_version_guards_against_a_change_unseen() {
    let server = Server::shared();
    let api = server.api();
    let id = api.session("version");
    let target = format!("/v1/sessions/{id}");
    let patch = |title: &str, version: Value| {
        api.patch(&target, &json!({"title": title, "expected_version": version}))
    };
    assert_eq!(patch("A", json!(1)).expect(200)["version"], json!(2));
    let body = patch("B", json!(1)).refused(409, "expected_version_conflict");
    assert_eq!(body["message"], "Expected version 1, current version is 2");
    assert_eq!(body["current_version"], json!(2));
    let body = patch("B", json!(9)).refused(409, "expected_version_conflict");
    assert_eq!(body["message"], "Expected version 9, current version is 2");
    assert_eq!(api.row(&id)["title"], "A");
    assert_eq!(patch("C", json!("2")).expect(200)["version"], json!(3));
    let row = api.patch(&target, &json!({"title": "D"})).expect(200);
    assert_eq!(row["version"], json!(4), "without a guard the last writer wins");
}

#[test]
fn b04_the_body_is_judged_before_the_session() {
    let server = Server::shared();
    let api = server.api();
    let bad = json!({"title": 5});
    api.patch("/v1/sessions/no-such", &bad).refused(400, "invalid_session");
    let good = json!({"title": "x", "expected_version": 5});
    api.patch("/v1/sessions/no-such", &good).refused(404, "session_not_found");
}

#[test]
fn b05_archiving_hides_and_is_reversible() {
    let server = Server::shared();
    let api = server.api();
    let id = unique("archive");
    let metadata = json!({"marker": id});
    let body = json!({"id": id, "title": "A", "metadata": metadata});
    let created = api.post("/v1/sessions", &body).expect(201);
    let list = |archived: &str| {
        let page = api.get(&format!("/v1/sessions?metadata.marker={id}&archived={archived}"));
        page.expect(200)["sessions"].as_array().expect("rows").len()
    };
    // Twice each, with every body a client may send: the deed is idempotent.
    for (verb, archived) in [("archive", true), ("unarchive", false)] {
        let target = format!("/v1/sessions/{id}/{verb}");
        let bodies = [
            Request::post(&target).json_text("{}"),
            Request::post(&target),
            Request::post(&target).body(""),
        ];
        for request in bodies {
            let row = api.call(&request).expect(200);
            assert_eq!(row["id"], id);
            assert_eq!(row["archived"], json!(archived));
            assert_eq!(row["version"], json!(1), "no version is counted");
            assert_eq!(row["title"], "A");
            assert_eq!(row["metadata"], metadata);
            assert_eq!(row["created_at"], created["created_at"]);
            assert!(is_timestamp(&row["updated_at"]), "{row}");
            assert_eq!(api.row(&id)["archived"], json!(archived), "readable by its id");
            assert_eq!(list("true"), usize::from(archived));
            assert_eq!(list("false"), usize::from(!archived));
            assert_eq!(list("all"), 1);
        }
    }
}

#[test]
fn b05_an_archived_session_takes_events_tails_and_patches() {
    let server = Server::shared();
    let api = server.api();
    let id = api.session("archived");
    api.append_numbered(&id, "p", 1, 1);
    api.post(&format!("/v1/sessions/{id}/archive"), &json!({})).expect(200);
    api.append_numbered(&id, "p", 2, 2);
    let mut tail = api.tail(&id, "cursor=0");
    api.append_numbered(&id, "p", 3, 3);
    assert_eq!(tail.seqs(3), [1, 2, 3]);
    let row = api.patch(&format!("/v1/sessions/{id}"), &json!({"title": "B"})).expect(200);
    assert_eq!(row["version"], json!(2));
    assert_eq!(api.row(&id)["archived"], json!(true), "a patch does not show it again");
    api.post("/v1/sessions", &json!({"id": id})).refused(409, "session_exists");
}
