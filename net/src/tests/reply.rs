//! Statuses, headers and bodies of responses.

use hyper::HeaderMap;
use hyper::body::Body;
use hyper::header::{ACCESS_CONTROL_REQUEST_HEADERS, HeaderValue};
use model::error::Code;

use crate::http::api::{ready, takes_json};
use crate::http::reply::{self, Reply};
use crate::problem::{Problem, Unreadable};
use expect_test::{Expect, expect};
use serde_json::json;
use uring::Readiness;

/// Status, headers in order of their names, body.
fn show(mut reply: Reply) -> String {
    let mut lines: Vec<String> = reply
        .headers()
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    lines.sort();
    let mut body = Vec::new();
    let length = reply.body().size_hint().exact().unwrap();
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    while let std::task::Poll::Ready(Some(Ok(frame))) =
        std::pin::Pin::new(reply.body_mut()).poll_frame(&mut cx)
    {
        body.extend(frame.into_data().unwrap());
    }
    assert_eq!(body.len() as u64, length);
    let body = String::from_utf8(body).unwrap();
    format!("{} {}\n{body}", reply.status().as_u16(), lines.join("; "))
}

fn check(reply: Reply, expected: Expect) {
    expected.assert_eq(&show(reply));
}

#[test]
fn problems_are_told_in_the_contracts_words() {
    check(
        reply::problem(&Problem::NotFound),
        expect![[r#"
            404 content-type: application/json; charset=utf-8
            {"error":"not_found"}"#]],
    );
    check(
        reply::problem(&Code::SessionNotFound.into()),
        expect![[r#"
            404 content-type: application/json; charset=utf-8
            {"error":"session_not_found","message":"Session was not found"}"#]],
    );
    check(
        reply::problem(&Code::RaftTimeout.into()),
        expect![[r#"
            503 content-type: application/json; charset=utf-8; retry-after: 1
            {"error":"raft_timeout","message":"Cluster request timed out"}"#]],
    );
    check(
        reply::problem(&Code::EventStoreBackpressure.into()),
        expect![[r#"
            429 content-type: application/json; charset=utf-8; retry-after: 1
            {"error":"event_store_backpressure","message":"Node is backpressuring writes due to event-store capacity"}"#]],
    );
    check(
        reply::problem(&Unreadable::Malformed.into()),
        expect![[r#"
            400 content-type: application/json; charset=utf-8
            {"error":"internal_server_error"}"#]],
    );
    check(
        reply::problem(&Unreadable::TooLarge.into()),
        expect![[r#"
            413 connection: close; content-type: application/json; charset=utf-8
            {"error":"internal_server_error"}"#]],
    );
}

#[test]
fn every_code_has_a_response() {
    for code in Code::ALL {
        let reply = reply::problem(&(*code).into());
        assert_eq!(reply.status().as_u16(), code.status());
        let authenticates = *code == Code::Unauthorized;
        assert_eq!(matches!(code.status(), 401 | 403), authenticates, "{code:?}");
    }
}

#[test]
fn a_preflight_echoes_the_headers_asked_for() {
    let mut asked = HeaderMap::new();
    let headers = HeaderValue::from_static("authorization, content-type");
    asked.insert(ACCESS_CONTROL_REQUEST_HEADERS, headers);
    let mut reply = reply::preflight(&asked);
    reply::share(&mut reply);
    check(
        reply,
        expect![[r#"
            204 access-control-allow-headers: authorization, content-type; access-control-allow-methods: GET,POST,PUT,PATCH,DELETE,OPTIONS; access-control-allow-origin: *; access-control-expose-headers: *
        "#]],
    );
}

#[test]
fn readiness_is_told_in_the_contracts_words() {
    check(
        ready(Readiness::Ready, false, None),
        expect![[r#"
            200 content-type: application/json; charset=utf-8
            {"status":"ok","mode":"write_node"}"#]],
    );
    let detail = json!({"checked_groups": 8, "probe_result": "leader_unknown"});
    check(
        ready(Readiness::Starting { groups_not_ready: 3 }, false, Some(&detail)),
        expect![[r#"
            503 content-type: application/json; charset=utf-8; retry-after: 1
            {"status":"starting","mode":"write_node","reason":"raft_sync","detail":{"checked_groups":8,"probe_result":"leader_unknown"}}"#]],
    );
    let cases = [
        (Readiness::Draining, "draining"),
        (Readiness::Unconnected, "router_sync"),
        (Readiness::Unaware, "observer_sync"),
    ];
    for (readiness, reason) in cases {
        let reply = ready(readiness, true, None);
        assert_eq!(reply.status(), 503, "{reason}");
        let body = format!("{:?}", reply.into_body());
        assert!(body.contains(reason) && body.contains("router_node"), "{body}");
    }
}

#[test]
fn accept_need_not_be_sent_but_is_heeded() {
    let takes = |accept: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("accept", HeaderValue::from_str(accept).unwrap());
        takes_json(&headers)
    };
    assert!(takes_json(&HeaderMap::new()));
    for accept in [
        "*/*",
        "application/json",
        "Application/JSON; q=0.5",
        "text/html, application/json;q=0.1",
        "application/*",
        "text/html,*/*;q=0.8",
    ] {
        assert!(takes(accept), "{accept}");
    }
    for accept in ["text/html", "application/jsonx", "text/*", "application/xml"] {
        assert!(!takes(accept), "{accept}");
    }
}
