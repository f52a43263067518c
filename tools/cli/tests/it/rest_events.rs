//! Pages of a session's events over plain HTTP.

use serde_json::{Value, json};

use crate::server::Server;
use crate::session::loose;

fn seqs(page: &Value) -> Vec<u64> {
    let events = page["events"].as_array().expect("a list of events");
    events.iter().map(|event| event["seq"].as_u64().expect("a seq")).collect()
}

#[test]
fn pages_follow_each_other_without_a_hole() {
    let server = Server::shared();
    let api = server.api();
    let id = api.session("pages");
    api.append_numbered(&id, "p", 1, 250);
    for limit in [1_u64, 7, 50, 125, 249, 250, 251, 1000] {
        let mut cursor = 0;
        loop {
            let target = format!("/v1/sessions/{id}/events?cursor={cursor}&limit={limit}");
            let page = api.get(&target).expect(200);
            assert_eq!(page["last_seq"], json!(250));
            let last = (cursor + limit).min(250);
            assert_eq!(seqs(&page), (cursor + 1..=last).collect::<Vec<u64>>(), "{target}");
            if last == 250 {
                assert_eq!(page["next_cursor"], Value::Null, "nothing follows");
                break;
            }
            assert_eq!(page["next_cursor"], json!(last));
            cursor = last;
        }
    }
}

#[test]
fn a_page_begins_at_the_start_and_holds_a_hundred_by_default() {
    let server = Server::shared();
    let api = server.api();
    let id = api.session("default-page");
    let page = api.get(&format!("/v1/sessions/{id}/events")).expect(200);
    assert_eq!(page, json!({"events": [], "next_cursor": null, "last_seq": 0}));
    api.append_numbered(&id, "p", 1, 101);
    let page = api.get(&format!("/v1/sessions/{id}/events")).expect(200);
    assert_eq!(seqs(&page), (1..=100).collect::<Vec<u64>>());
    assert_eq!(page["next_cursor"], json!(100));
    let page = api.get(&format!("/v1/sessions/{id}/events?cursor=101")).expect(200);
    assert_eq!(page, json!({"events": [], "next_cursor": null, "last_seq": 101}));
}

#[test]
fn what_a_page_does_not_understand_is_refused() {
    let server = Server::shared();
    let api = server.api();
    let id = api.session("page-query");
    api.append_numbered(&id, "p", 1, 2);
    let bad = [
        ("cursor=bad", "invalid_cursor"),
        ("cursor=-1", "invalid_cursor"),
        ("cursor=1.0", "invalid_cursor"),
        ("cursor=%201", "invalid_cursor"),
        ("cursor=", "invalid_cursor"),
        ("cursor=99999999999999999999999", "invalid_cursor"),
        ("limit=0", "invalid_limit"),
        ("limit=1001", "invalid_limit"),
        ("limit=1.5", "invalid_limit"),
        ("limit=-1", "invalid_limit"),
        ("limit=x", "invalid_limit"),
        ("limit=", "invalid_limit"),
    ];
    for (query, code) in bad {
        api.get(&format!("/v1/sessions/{id}/events?{query}")).refused(400, code);
    }
    for (query, expected) in [("cursor=1", 1), ("cursor=%2B1", 1), ("limit=1", 1), ("x=y", 2)] {
        let page = api.get(&format!("/v1/sessions/{id}/events?{query}")).expect(200);
        assert_eq!(seqs(&page).len(), expected, "{query}");
    }
}

#[test]
fn a_page_and_a_tail_show_the_same_bytes() {
    let server = Server::shared();
    let api = server.api();
    let id = api.session("same-bytes");
    for n in 0..20 {
        api.append(&id, &loose(&"x".repeat(n * 37))).expect(201);
    }
    let page = api.get(&format!("/v1/sessions/{id}/events?limit=20")).text();
    let mut tail = api.tail(&id, "cursor=0");
    for _ in 0..20 {
        let event = tail.text();
        assert!(page.contains(&event), "{event} is not in {page}");
    }
}

#[test]
fn large_events_make_short_pages_and_nothing_is_skipped() {
    let server = Server::start();
    let api = server.api();
    let id = api.session("large");
    let sizes = [3_000_000, 3_500_000, 3_000_000, 10, 7_900_000, 10, 3_000_000];
    for size in sizes {
        api.append(&id, &loose(&"y".repeat(size))).expect(201);
    }
    let mut found = Vec::new();
    let mut cursor = Some(0);
    while let Some(at) = cursor {
        let page = api.get(&format!("/v1/sessions/{id}/events?cursor={at}&limit=1000")).expect(200);
        let events = page["events"].as_array().expect("events");
        assert!(!events.is_empty(), "a page holds at least one event");
        let length = |event: &Value| event["payload"]["text"].as_str().expect("text").len();
        found.extend(events.iter().map(length));
        cursor = page["next_cursor"].as_u64();
    }
    assert_eq!(found, sizes);
    let mut tail = api.tail(&id, "cursor=0&batch_size=1000");
    assert_eq!(tail.seqs(sizes.len()), [1, 2, 3, 4, 5, 6, 7]);
}
