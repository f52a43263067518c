//! REST over real sockets: what the contract says of each route.

use serde_json::json;

use super::server::{Server, Special};
use crate::Exposition;

#[test]
fn a_session_lives() {
    let server = Server::start();
    let mut client = server.connect();
    let made =
        client.ask("POST", "/v1/sessions", r#"{"id":"a/b","title":"","metadata":{"k":"v"}}"#);
    assert_eq!(made.status, 201, "{made:?}");
    let row = made.json();
    assert_eq!(row["id"], "a/b");
    assert_eq!(row["title"], "");
    assert_eq!(row["last_seq"], 0);
    assert_eq!(row["version"], 1);
    assert!(row["created_at"].as_str().unwrap().ends_with('Z'));
    let again = client.ask("POST", "/v1/sessions", r#"{"id":"a/b"}"#);
    assert_eq!(again.refusal(), (409, "session_exists".to_owned()));
    let generated = client.ask("POST", "/v1/sessions", "").json();
    let id = generated["id"].as_str().unwrap();
    assert!(id.starts_with("ses_") && id.len() == 20, "{id}");

    let got = client.ask("GET", "/v1/sessions/a%2Fb", "");
    assert_eq!((got.status, got.json()), (200, row));
    let patch = r#"{"title":"A","metadata":{"j":1},"expected_version":"1"}"#;
    let patched = client.ask("PATCH", "/v1/sessions/a%2Fb", patch);
    assert_eq!(patched.status, 200, "{patched:?}");
    assert_eq!(patched.json()["metadata"], json!({"k": "v", "j": 1}));
    assert_eq!(patched.json()["version"], 2);
    let stale = client.ask("PATCH", "/v1/sessions/a%2Fb", patch);
    assert_eq!(stale.refusal(), (409, "expected_version_conflict".to_owned()));
    assert_eq!(stale.json()["current_version"], 2);

    let hidden = client.ask("POST", "/v1/sessions/a%2Fb/archive", "{}");
    assert_eq!((hidden.status, &hidden.json()["archived"]), (200, &json!(true)));
    let list = client.ask("GET", "/v1/sessions?metadata[k]=v", "").json();
    assert_eq!(list, json!({"sessions": [], "next_cursor": null}));
    let list = client.ask("GET", "/v1/sessions?metadata.k=v&archived=all", "").json();
    assert_eq!(list["sessions"][0]["id"], "a/b");
    let shown = client.ask("POST", "/v1/sessions/a%2Fb/unarchive", "");
    assert_eq!((shown.status, &shown.json()["archived"]), (200, &json!(false)));
    let page = client.ask("GET", "/v1/sessions?limit=1", "").json();
    let next = page["next_cursor"].as_str().unwrap().replace('/', "%2F");
    let rest = client.ask("GET", &format!("/v1/sessions?limit=1&cursor={next}"), "").json();
    assert_eq!(rest["next_cursor"], json!(null));
    assert_ne!(rest["sessions"][0]["id"], page["sessions"][0]["id"]);
}

#[test]
fn events_are_appended_and_read() {
    let server = Server::start();
    let mut client = server.connect();
    client.ask("POST", "/v1/sessions", r#"{"id":"s"}"#);
    let body = |payload: &str, seq: u64| {
        format!(r#"{{"type":"t","payload":{payload},"producer_id":"p","producer_seq":{seq}}}"#)
    };
    let first = client.ask("POST", "/v1/sessions/s/append", &body(r#"{"n":1.0}"#, 1));
    assert_eq!(first.status, 201);
    assert_eq!(
        first.body,
        r#"{"seq":1,"last_seq":1,"deduped":false,"cursor":1,"committed_cursor":0}"#
    );
    let retry = client.ask("POST", "/v1/sessions/s/append", &body(r#"{"n":1.0 }"#, 1));
    assert_eq!(retry.json()["deduped"], true);
    let other = client.ask("POST", "/v1/sessions/s/append", &body(r#"{"n":1}"#, 1));
    assert_eq!(other.refusal(), (409, "producer_replay_conflict".to_owned()));
    let skipped = client.ask("POST", "/v1/sessions/s/append", &body("{}", 3));
    assert_eq!(skipped.json()["message"], "Producer p expected seq 2, got 3");
    let guarded = r#"{"type":"t","payload":{},"expected_seq":0}"#;
    let conflict = client.ask("POST", "/v1/sessions/s/append", guarded);
    assert_eq!(conflict.json()["message"], "Expected seq 0, current seq is 1");
    for seq in 2..=3 {
        assert_eq!(client.ask("POST", "/v1/sessions/s/append", &body("{}", seq)).status, 201);
    }
    let page = client.ask("GET", "/v1/sessions/s/events?limit=2", "").json();
    assert_eq!((&page["next_cursor"], &page["last_seq"]), (&json!(2), &json!(3)));
    let event = &page["events"][0];
    assert_eq!(event["seq"], 1);
    assert_eq!(event["payload"].to_string(), r#"{"n":1.0}"#);
    assert_eq!(event["actor"], "service:service");
    assert_eq!(event["metadata"]["starcite_principal"]["principal_type"], "service");
    assert!(event["inserted_at"].as_str().unwrap().ends_with('Z'));
    let page = client.ask("GET", "/v1/sessions/s/events?cursor=2", "").json();
    assert_eq!((page["events"][0]["seq"].clone(), &page["next_cursor"]), (json!(3), &json!(null)));
    assert_eq!(client.ask("GET", "/v1/sessions/s/events?cursor=9", "").json()["events"], json!([]));
}

#[test]
fn refusals_come_in_the_contracts_order() {
    let server = Server::start();
    let mut client = server.connect();
    client.ask("POST", "/v1/sessions", r#"{"id":"s"}"#);
    let event = r#"{"type":"t","payload":{}}"#;
    let cases = [
        ("POST", "/v1/sessions/none/append", "{}", 400, "invalid_event"),
        ("POST", "/v1/sessions/none/append", event, 404, "session_not_found"),
        ("POST", "/v1/sessions/s/append", "{", 400, "internal_server_error"),
        ("POST", "/v1/sessions/s/append", "[1]", 400, "invalid_event"),
        ("GET", "/v1/sessions/none", "", 404, "session_not_found"),
        ("GET", "/v1/sessions/none/events", "", 404, "session_not_found"),
        ("GET", "/v1/sessions/none/events?cursor=x", "", 400, "invalid_cursor"),
        ("PATCH", "/v1/sessions/none", r#"{"title":"a"}"#, 404, "session_not_found"),
        ("PATCH", "/v1/sessions/none", "{}", 400, "invalid_session"),
        ("POST", "/v1/sessions/none/archive", "", 404, "session_not_found"),
        ("POST", "/v1/sessions/s/archive", "{", 400, "internal_server_error"),
        ("POST", "/v1/sessions/%ff/archive", "", 400, "invalid_session_id"),
        ("GET", "/v1/sessions?limit=0", "", 400, "invalid_limit"),
        ("GET", "/v1/sessions?a=%zz", "", 400, "internal_server_error"),
        ("GET", "/v1/sessions/s/tail?cursor=bad", "", 400, "invalid_websocket_upgrade"),
        ("DELETE", "/v1/sessions/s", "", 404, "not_found"),
        ("POST", "/v1/sessions/s", r#"{"_method":"PATCH"}"#, 404, "not_found"),
        ("GET", "/nothing", "", 404, "not_found"),
    ];
    for (method, path, body, status, code) in cases {
        let response = client.ask(method, path, body);
        assert_eq!(response.refusal(), (status, code.to_owned()), "{method} {path} {body}");
        assert_eq!(response.header("access-control-allow-origin"), Some("*"));
        assert_eq!(response.header("content-type"), Some("application/json; charset=utf-8"));
    }
}

#[test]
fn parameters_come_in_every_form() {
    let server = Server::start();
    let mut client = server.connect();
    let mut post = |path: &str, content_type: &str, body: &str| {
        let length = body.len();
        client.send(format!(
            "POST {path} HTTP/1.1\r\nhost: t\r\ncontent-type: {content_type}\r\n\
             content-length: {length}\r\n\r\n{body}"
        ));
        client.response().unwrap()
    };
    let form = "application/x-www-form-urlencoded";
    assert_eq!(post("/v1/sessions", form, "id=s&metadata[k]=v&title=a+b").json()["title"], "a b");
    let body = "type=t&payload[text]=hi&producer_id=p&producer_seq=1";
    assert_eq!(post("/v1/sessions/s/append", form, body).status, 201);
    let multipart = "multipart/form-data; boundary=B";
    let parts = "--B\r\ncontent-disposition: form-data; name=\"type\"\r\n\r\nt\r\n\
        --B\r\ncontent-disposition: form-data; name=\"payload[a]\"\r\n\r\n1\r\n--B--\r\n";
    assert_eq!(post("/v1/sessions/s/append", multipart, parts).json()["seq"], 2);
    let patched = post("/v1/sessions/s", form, "_method=patch&title=c").json();
    assert_eq!((&patched["title"], &patched["version"]), (&json!("c"), &json!(2)));
    let plain = post("/v1/sessions/s/append", "text/plain", "{}");
    assert_eq!(plain.refusal(), (415, "internal_server_error".to_owned()));
    let json = "application/json";
    let merged =
        post("/v1/sessions/s/append?type=q&payload[x]=1&payload=2", json, "{\"payload\":{}}");
    assert_eq!(merged.json()["seq"], 3, "{merged:?}");
    let made = post("/v1/sessions?id=q&title=q", json, "{\"title\":null,\"id\":\"b\"}").json();
    assert_eq!((&made["id"], &made["title"]), (&json!("b"), &json!(null)));
}

#[test]
fn headers_are_heeded_and_given() {
    let server = Server::start();
    let mut client = server.connect();
    client.send("GET /v1/sessions HTTP/1.1\r\nhost: t\r\naccept: text/html\r\n\r\n");
    assert_eq!(client.response().unwrap().refusal(), (406, "internal_server_error".to_owned()));
    client.send("GET /health/live HTTP/1.1\r\nhost: t\r\naccept: text/html\r\n\r\n");
    assert_eq!(client.response().unwrap().body, r#"{"status":"ok"}"#);
    client.send(
        "OPTIONS /v1/sessions HTTP/1.1\r\nhost: t\r\norigin: http://x\r\n\
         access-control-request-method: POST\r\naccess-control-request-headers: authorization\r\n\r\n",
    );
    let preflight = client.response().unwrap();
    assert_eq!((preflight.status, preflight.body.as_str()), (204, ""));
    assert_eq!(preflight.header("access-control-allow-headers"), Some("authorization"));
    assert_eq!(preflight.header("access-control-allow-origin"), Some("*"));
    let head = client.ask("HEAD", "/v1/sessions", "");
    assert_eq!((head.status, head.header("content-length")), (200, Some("34")));
    let ready = client.ask("GET", "/health/ready", "");
    assert_eq!(ready.body, r#"{"status":"ok","mode":"write_node"}"#);
}

#[test]
fn the_operator_may_have_a_listener() {
    let exposition = Exposition::install().unwrap();
    assert!(Exposition::install().is_err(), "a process has one recorder");
    let special = Special { has_ops_listener: true, exposition, ..Special::default() };
    let server = Server::special(special);
    server.ask("POST", "/v1/sessions", r#"{"id":"s"}"#);
    server.ask("POST", "/v1/sessions/s/append", r#"{"type":"t","payload":{}}"#);
    server.ask("POST", "/v1/sessions/s/append", "{}");
    let mut client = server.connect();
    client.send(
        "PATCH /v1/sessions/s HTTP/1.1\r\nhost: t\r\ncontent-type: text/xml\r\ncontent-length: 2\r\n\r\n{}",
    );
    assert_eq!(client.response().unwrap().status, 415);
    for path in ["/health/live", "/health/ready", "/metrics"] {
        assert_eq!(server.ask("GET", path, "").status, 404, "{path}");
    }
    let mut operator = super::server::Client::connect(server.ops_address.unwrap());
    assert_eq!(operator.ask("GET", "/health/ready", "").status, 200);
    let elsewhere = operator.ask("GET", "/v1/sessions", "");
    assert_eq!((elsewhere.status, elsewhere.body.as_str()), (404, "Oops!"));
    let metrics = operator.ask("GET", "/metrics", "");
    assert_eq!(metrics.status, 200);
    for line in [
        r#"starcite_ingest_edge_total{operation="append_event",outcome="ok",error_reason="none",tenant_id="service"} "#,
        r#"starcite_ingest_edge_total{operation="append_event",outcome="error",error_reason="invalid_request",tenant_id="service"} "#,
        r#"starcite_ingest_edge_total{operation="update_session",outcome="error",error_reason="invalid_request",tenant_id="service"} "#,
        r#"starcite_events_append_total{tenant_id="service"} "#,
        r#"starcite_edge_http_total{method="POST",status_class="2xx"} "#,
        r#"starcite_events_payload_bytes_bucket{tenant_id="service",le="128"} "#,
    ] {
        assert!(metrics.body.contains(line), "{line} in\n{}", metrics.body);
    }
}
