//! Appending: items 3 and 17 of the checklist and the examples of appendix A.1, without
//! authentication.

use serde_json::{Value, json};

use crate::server::{Server, alone};
use crate::session::{Api, is_timestamp, loose, numbered};

/// `change` over the first example of the appendix; a null removes nothing, it is sent.
fn example(change: &Value) -> Value {
    let mut body = json!({
        "type": "content",
        "payload": {"text": "hi"},
        "actor": "agent:planner",
        "producer_id": "p1",
        "producer_seq": 1,
        "source": "agent",
        "idempotency_key": "k1",
    });
    let members = body.as_object_mut().expect("it is an object");
    for (name, value) in change.as_object().expect("a change is an object") {
        members.insert(name.clone(), value.clone());
    }
    body
}

fn reply(seq: u64, last_seq: u64, deduped: bool) -> Value {
    json!({
        "seq": seq,
        "last_seq": last_seq,
        "deduped": deduped,
        "cursor": seq,
        "committed_cursor": 0,
    })
}

#[test]
fn b03_the_examples_of_the_contract_hold() {
    let server = Server::shared();
    let api = server.api();
    let id = api.session("example");
    let append = |change: Value| api.append(&id, &example(&change));
    assert_eq!(append(json!({})).expect(201), reply(1, 1, false));
    assert_eq!(append(json!({})).expect(201), reply(1, 1, true));
    append(json!({"payload": {"text": "other"}})).refused(409, "producer_replay_conflict");
    let body = append(json!({"producer_seq": 3})).refused(409, "producer_seq_conflict");
    assert_eq!(body["message"], "Producer p1 expected seq 2, got 3");
    let guarded = json!({"producer_seq": 2, "expected_seq": 0});
    let body = append(guarded).refused(409, "expected_seq_conflict");
    assert_eq!(body["message"], "Expected seq 0, current seq is 1");
    append(json!({"expected_seq": 0})).refused(409, "expected_seq_conflict");
    append(json!({"refs": []})).refused(400, "invalid_refs");
    append(json!({"refs": {"to_seq": -1}})).refused(400, "invalid_event");
    append(json!({"metadata": "x"})).refused(400, "invalid_metadata");
    assert_eq!(api.row(&id)["id"], id);
    assert_eq!(api.events(&id).len(), 1, "no refusal has left anything");
}

#[test]
fn b03_a_stored_event_is_what_was_sent_and_who_sent_it() {
    let server = Server::shared();
    let api = server.api();
    let id = api.session("stored");
    let body = example(&json!({
        "metadata": {"trace": "t1", "starcite_principal": {"actor": "forged", "own": 1}},
        "refs": {"to_seq": 0, "step": "12", "request_id": "r", "sequence_id": "s", "more": [1]},
    }));
    api.append(&id, &body).expect(201);
    let event = &api.events(&id)[0];
    for member in ["type", "payload", "actor", "producer_id", "source", "idempotency_key"] {
        assert_eq!(event[member], body[member], "{member}");
    }
    assert_eq!(event["seq"], json!(1));
    assert_eq!(event["producer_seq"], json!(1));
    assert_eq!(event["tenant_id"], "service");
    assert_eq!(event["refs"]["request_id"], "r");
    assert_eq!(event["refs"]["more"], json!([1]), "unknown members are kept");
    assert_eq!(event["metadata"]["trace"], "t1");
    let stamp = &event["metadata"]["starcite_principal"];
    assert_eq!(stamp["tenant_id"], "service");
    assert_eq!(stamp["principal_type"], "service");
    assert_eq!(stamp["principal_id"], "service");
    assert_ne!(stamp["actor"], "forged");
    assert_eq!(stamp["own"], json!(1), "the stamp is laid over what was there");
    assert!(is_timestamp(&event["inserted_at"]), "{event}");
    let inserted = event["inserted_at"].as_str().expect("a text");
    assert_eq!(inserted.len(), "2026-02-08T15:00:01.123456Z".len(), "with microseconds");
}

#[test]
fn b03_what_is_left_out_is_not_sent_as_null() {
    let server = Server::shared();
    let api = server.api();
    let id = api.session("absent");
    let null = Value::Null;
    let bodies = [
        json!({"type": "a", "payload": {}, "producer_id": "p", "producer_seq": 1}),
        json!({"type": "a", "payload": {}, "producer_id": "p", "producer_seq": 2,
               "source": null, "metadata": null, "refs": null, "idempotency_key": null,
               "expected_seq": null, "actor": null}),
    ];
    for body in &bodies {
        api.append(&id, body).expect(201);
    }
    for event in api.events(&id) {
        assert_eq!(event["actor"], "service:service");
        assert_eq!(event["payload"], json!({}));
        // The official client drops a whole push over one null among these.
        for member in ["source", "metadata", "refs", "producer_id", "producer_seq"] {
            assert_ne!(event.get(member), Some(&null), "{member}");
        }
        let stamp = json!({
            "tenant_id": "service",
            "actor": "service:service",
            "principal_type": "service",
            "principal_id": "service",
        });
        assert_eq!(event["metadata"], json!({"starcite_principal": stamp}));
    }
}

#[test]
fn b03_a_body_that_lacks_something_is_refused_before_the_session_is_looked_for() {
    let server = Server::shared();
    let api = server.api();
    let id = api.session("lacking");
    for member in ["type", "payload"] {
        let mut body = example(&json!({}));
        body.as_object_mut().expect("an object").remove(member);
        api.append(&id, &body).refused(400, "invalid_event");
        api.append("no-such-session", &body).refused(400, "invalid_event");
    }
    for member in ["producer_id", "producer_seq"] {
        let mut body = example(&json!({}));
        body.as_object_mut().expect("an object").remove(member);
        api.append(&id, &body).refused(400, "invalid_event");
    }
    for body in [json!({}), json!([]), json!([1]), json!("x"), json!(1), json!(null)] {
        api.append(&id, &body).refused(400, "invalid_event");
    }
    api.append("no-such-session", &example(&json!({}))).refused(404, "session_not_found");
    assert_eq!(api.events(&id).len(), 0);
}

#[test]
fn b03_the_first_wrong_field_names_the_error() {
    let server = Server::shared();
    let api = server.api();
    let id = api.session("first");
    let cases = [
        (json!({"type": "", "metadata": 1, "refs": 1}), "invalid_event"),
        (json!({"producer_seq": 0, "metadata": 1}), "invalid_event"),
        (json!({"source": "", "metadata": 1}), "invalid_event"),
        (json!({"metadata": 1, "refs": 1}), "invalid_metadata"),
        (json!({"metadata": 1, "expected_seq": -1}), "invalid_metadata"),
        (json!({"refs": 1, "idempotency_key": ""}), "invalid_refs"),
        (json!({"refs": {"step": -1}, "idempotency_key": ""}), "invalid_event"),
        (json!({"idempotency_key": "", "expected_seq": -1}), "invalid_event"),
    ];
    for (change, code) in cases {
        api.append(&id, &example(&change)).refused(400, code);
    }
}

#[test]
fn b03_a_retry_is_recognized_by_content_not_by_its_spelling() {
    let server = Server::shared();
    let api = server.api();
    let id = api.session("retry");
    let raw = |text: &str| {
        let target = format!("/v1/sessions/{id}/append");
        api.call(&crate::http::Request::post(&target).json_text(text))
    };
    let first = r#"{"type":"t","payload":{"a":1,"b":{"c":"x","d":[1,2]}},"producer_id":"p",
                   "producer_seq":1,"metadata":{"x":1,"y":2}}"#;
    assert_eq!(raw(first).expect(201)["deduped"], json!(false));
    let spelled = r#"{"producer_seq":"1","metadata":{"y":2,"x":1},"producer_id":"p",
                     "payload":{ "b":{"d":[1,2],"c":"\u0078"} ,"a":1},"type":"t"}"#;
    assert_eq!(raw(spelled).expect(201), reply(1, 1, true));
    let others = [
        first.replace("[1,2]", "[2,1]"),
        first.replace(r#""a":1"#, r#""a":1.0"#),
        first.replace(r#""a":1"#, r#""a":"1""#),
        first.replace(r#""y":2"#, r#""y":3"#),
        first.replace(r#""type":"t""#, r#""type":"u""#),
        first.replace(r#""type":"t""#, r#""type":"t","actor":"agent:x""#),
        first.replace(r#""type":"t""#, r#""type":"t","source":"s""#),
        first.replace(r#""type":"t""#, r#""type":"t","refs":{"x":1}"#),
        first.replace(r#""type":"t""#, r#""type":"t","idempotency_key":"k""#),
    ];
    for other in others {
        raw(&other).refused(409, "producer_replay_conflict");
    }
    // The guard is not content: a retry that happens to guess the head right is still a retry.
    let guarded = first.replace(r#""type":"t""#, r#""type":"t","expected_seq":1"#);
    assert_eq!(raw(&guarded).expect(201), reply(1, 1, true));
}

#[test]
fn b03_producers_count_each_for_itself() {
    let server = Server::shared();
    let api = server.api();
    let id = api.session("producers");
    let append = |producer: &str, n: u64| api.append(&id, &numbered(producer, n));
    assert_eq!(append("a", 1).expect(201), reply(1, 1, false));
    assert_eq!(append("b", 42).expect(201), reply(2, 2, false), "an unknown one starts anywhere");
    assert_eq!(append("a", 2).expect(201), reply(3, 3, false));
    assert_eq!(append("b", 42).expect(201), reply(2, 3, true), "the head is the current one");
    let body = append("b", 41).refused(409, "producer_seq_conflict");
    assert_eq!(body["message"], "Producer b expected seq 43, got 41");
    let body = append("a", 1).refused(409, "producer_seq_conflict");
    assert_eq!(body["message"], "Producer a expected seq 3, got 1", "only the latest is a retry");
    let body = append("a", 4).refused(409, "producer_seq_conflict");
    assert_eq!(body["message"], "Producer a expected seq 3, got 4");
    assert_eq!(append("b", 43).expect(201), reply(4, 4, false));
    let other = api.session("producers");
    assert_eq!(api.append(&other, &numbered("a", 9)).expect(201), reply(1, 1, false));
}

#[test]
fn b17_a_conflict_changes_nothing() {
    let server = Server::shared();
    let api = server.api();
    let id = api.session("unchanged");
    api.append_numbered(&id, "p", 1, 3);
    let before = (api.row(&id), api.events(&id));
    for _ in 0..3 {
        api.append(&id, &numbered("p", 9)).refused(409, "producer_seq_conflict");
        api.append(&id, &numbered("p", 1)).refused(409, "producer_seq_conflict");
        let mut other = numbered("p", 3);
        other["payload"] = json!({"n": "other"});
        api.append(&id, &other).refused(409, "producer_replay_conflict");
        let mut guarded = numbered("q", 1);
        guarded["expected_seq"] = json!(2);
        api.append(&id, &guarded).refused(409, "expected_seq_conflict");
    }
    assert_eq!((api.row(&id), api.events(&id)), before);
    assert_eq!(api.append(&id, &numbered("p", 4)).expect(201), reply(4, 4, false));
    assert_eq!(api.append(&id, &numbered("q", 1)).expect(201), reply(5, 5, false));
}

#[test]
fn b17_ten_thousand_producers_are_remembered_and_the_oldest_is_forgotten() {
    let _alone = alone();
    let server = Server::start();
    let api = server.api();
    let id = api.session("bound");
    let append = |api: &Api, n: u64, seq: u64| {
        api.append(
            &id,
            &json!({"type": "t", "payload": {}, "producer_id": format!("p{n}"),
                                "producer_seq": seq}),
        )
    };
    assert_eq!(append(&api, 1, 1).expect(201), reply(1, 1, false));
    assert_eq!(append(&api, 2, 1).expect(201), reply(2, 2, false));
    // The order of those between does not matter, so many hands bring them.
    std::thread::scope(|scope| {
        for hand in 0..32 {
            let (server, append) = (&server, &append);
            scope.spawn(move || {
                let api = server.api();
                for n in (3..10_000).filter(|n| n % 32 == hand) {
                    append(&api, n, 1).expect(201);
                }
            });
        }
    });
    assert_eq!(append(&api, 10_000, 1).expect(201), reply(10_000, 10_000, false));
    assert_eq!(append(&api, 1, 1).expect(201), reply(1, 10_000, true), "all are remembered");
    // A known producer does not push another out, and moves to the young end.
    assert_eq!(append(&api, 1, 2).expect(201), reply(10_001, 10_001, false));
    // A new one pushes out the one whose latest event is oldest, which is then unknown.
    assert_eq!(append(&api, 10_001, 5).expect(201), reply(10_002, 10_002, false));
    assert_eq!(append(&api, 2, 1).expect(201), reply(10_003, 10_003, false));
    assert_eq!(append(&api, 1, 2).expect(201), reply(10_001, 10_003, true));
    assert_eq!(append(&api, 10_001, 5).expect(201), reply(10_002, 10_003, true));
}

#[test]
fn without_a_producer_a_key_recognizes_retries() {
    let server = Server::shared();
    let api = server.api();
    let id = api.session("key");
    let keyed = |text: &str, key: &str| {
        let mut body = loose(text);
        body["idempotency_key"] = json!(key);
        api.append(&id, &body)
    };
    assert_eq!(keyed("one", "k1").expect(201), reply(1, 1, false));
    assert_eq!(keyed("two", "k2").expect(201), reply(2, 2, false));
    assert_eq!(keyed("one", "k1").expect(201), reply(1, 2, true));
    keyed("other", "k1").refused(409, "idempotency_conflict");
    assert_eq!(api.append(&id, &loose("one")).expect(201), reply(3, 3, false));
    assert_eq!(api.append(&id, &loose("one")).expect(201), reply(4, 4, false));
    // With a producer the key is stored and compared, and recognizes nothing.
    let mut body = numbered("p", 1);
    body["idempotency_key"] = json!("k1");
    assert_eq!(api.append(&id, &body).expect(201), reply(5, 5, false));
    assert_eq!(api.events(&id)[4]["idempotency_key"], "k1");
}

#[test]
fn expected_seq_guards_the_head() {
    let server = Server::shared();
    let api = server.api();
    let id = api.session("guard");
    let guarded = |n: u64, expected: Value| {
        let mut body = numbered("p", n);
        body["expected_seq"] = expected;
        api.append(&id, &body)
    };
    let body = guarded(1, json!(1)).refused(409, "expected_seq_conflict");
    assert_eq!(body["message"], "Expected seq 1, current seq is 0");
    assert_eq!(guarded(1, json!(0)).expect(201), reply(1, 1, false));
    assert_eq!(guarded(2, json!("1")).expect(201), reply(2, 2, false));
    // Decided before the producer is looked at.
    let body = guarded(9, json!(7)).refused(409, "expected_seq_conflict");
    assert_eq!(body["message"], "Expected seq 7, current seq is 2");
    guarded(9, json!(2)).refused(409, "producer_seq_conflict");
}
