//! Health, metrics, and where they are served.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::json;

use crate::http::{Connection, Request};
use crate::server::{Directory, Server, free_port};
use crate::session::{Api, loose, numbered};

fn metrics(api: &Api) -> String {
    let response = api.get("/metrics");
    assert_eq!(response.status, 200);
    let kind = response.header("content-type").expect("a content type");
    assert!(kind.starts_with("text/plain"), "{kind}");
    response.text()
}

/// The sum of a counter over its labels.
fn total(text: &str, name: &str) -> f64 {
    let of_name = |line: &&str| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with('{') || rest.starts_with(' '))
    };
    let value = |line: &str| line.rsplit(' ').next().and_then(|text| text.parse::<f64>().ok());
    text.lines().filter(of_name).filter_map(value).sum()
}

#[test]
fn health_is_told_to_anybody() {
    let server = Server::shared();
    let api = server.api();
    assert_eq!(api.get("/health/live").expect(200), json!({"status": "ok"}));
    let ready = api.get("/health/ready").expect(200);
    assert_eq!(ready, json!({"status": "ok", "mode": "write_node"}));
    let mut connection = Connection::open(server.address()).expect("it listens");
    connection.send(b"GET /health/live HTTP/1.0\r\n\r\n").expect("sent");
    assert_eq!(connection.receive("GET").expect("an answer").status, 200);
}

#[test]
fn metrics_count_what_happened() {
    let server = Server::start();
    let api = server.api();
    let id = api.session("counted");
    api.append_numbered(&id, "p", 1, 5);
    api.append(&id, &numbered("p", 5)).expect(201);
    api.append(&id, &loose("x")).expect(201);
    let text = metrics(&api);
    let appended = total(&text, "starcite_events_append_total");
    assert!((appended - 6.0).abs() < 0.5, "six events, one retry: {appended}\n{text}");
    for name in ["starcite_events_payload_bytes", "starcite_ingest_edge_total"] {
        assert!(text.contains(name), "{name} is missing in\n{text}");
    }
}

#[test]
fn metrics_have_no_label_that_grows_with_the_data() {
    let server = Server::start();
    let api = server.api();
    let series = |api: &Api| -> BTreeSet<String> {
        let text = metrics(api);
        let names = text.lines().filter(|line| !line.starts_with('#'));
        names.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect()
    };
    let work = |api: &Api, round: u64| {
        for n in 0..20 {
            let id = api.session("label-canary");
            let mut body = numbered(&format!("producer-canary-{round}-{n}"), 1);
            body["actor"] = json!(format!("agent:actor-canary-{round}-{n}"));
            api.append(&id, &body).expect(201);
            api.append(&id, &json!({})).refused(400, "invalid_event");
            let mut tail = api.tail(&id, "cursor=0");
            assert_eq!(tail.seqs(1), [1]);
        }
    };
    work(&api, 1);
    series(&api);
    let before = series(&api);
    work(&api, 2);
    let after = series(&api);
    let new: Vec<&String> = after.difference(&before).collect();
    assert!(new.is_empty(), "new series: {new:?}");
    assert!(!after.iter().any(|name| name.contains("canary")), "an id is a label");
}

#[test]
fn a_port_of_its_own_takes_health_and_metrics_away_from_the_public_one() {
    for name in ["STARCITE_OPS_PORT", "STARCITE_PPROF_PORT"] {
        let directory = Arc::new(Directory::new());
        let data = directory.path().join("data");
        let mut server = Server::stopped(directory, data);
        let port = free_port();
        server.set_environment(&[(name, &port.to_string())]);
        server.set_ops_port(port);
        server.run();
        let (api, ops) = (server.api(), server.ops_api());
        for target in ["/health/live", "/health/ready", "/metrics"] {
            api.get(target).not_found();
            assert_eq!(ops.get(target).status, 200, "{target}");
        }
        api.post("/v1/sessions", &json!({})).expect(201);
        assert_eq!(ops.get("/v1/sessions").status, 404);
        assert_eq!(server.terminate().code(), Some(0));
    }
}

#[test]
fn logs_are_json_lines_without_payloads() {
    let mut server = Server::start();
    let api = server.api();
    let id = api.session("logged");
    let body = json!({"type": "t", "payload": {"secret": "payload-canary"}});
    api.append(&id, &body).expect(201);
    api.call(&Request::post("/v1/sessions").json_text("{\"canary-broken"));
    api.get("/v1/sessions/%0a%1b%5b31mescape");
    assert_eq!(server.terminate().code(), Some(0));
    let log = server.log();
    assert!(!log.contains("canary"), "a payload is in the log:\n{log}");
    assert!(!log.contains('\u{1b}'), "an escape sequence is in the log:\n{log}");
    for line in log.lines() {
        let parsed: Result<serde_json::Value, _> = serde_json::from_str(line);
        assert!(parsed.is_ok_and(|line| line.is_object()), "not a JSON object: {line}");
    }
}
