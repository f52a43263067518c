//! Expressions of runbooks, and values as their console prints them.

use serde_json::json;

use crate::ops::{Call, inspect, members_text, parse};

fn text(text: &str) -> String {
    text.to_owned()
}

#[test]
fn expressions_of_runbooks_are_understood() {
    let cases = [
        ("status()", Call::Status),
        ("ready_nodes()", Call::ReadyNodes),
        ("local_mode()", Call::LocalMode),
        ("local_ready()", Call::LocalReady),
        ("local_drained( )", Call::LocalDrained),
        ("drain_node()", Call::DrainNode(None)),
        (r#"drain_node("b")"#, Call::DrainNode(Some(text("b")))),
        (r#"drain_node(:"b@10.0.0.2")"#, Call::DrainNode(Some(text("b@10.0.0.2")))),
        ("undrain_node(:b@host)", Call::UndrainNode(Some(text("b@host")))),
        ("undrain_node()", Call::UndrainNode(None)),
        ("wait_local_ready()", Call::WaitLocalReady(30_000)),
        ("wait_local_ready( 60000 )", Call::WaitLocalReady(60_000)),
        ("wait_local_drained(30_000)", Call::WaitLocalDrained(30_000)),
        ("group_replicas(0)", Call::GroupReplicas(0)),
        (r#"parse_known_node("x\"y\\")"#, Call::ParseKnownNode(text(r#"x"y\"#))),
        (r#"parse_group_id("12")"#, Call::ParseGroupId(text("12"))),
    ];
    for (expression, call) in cases {
        let whole = format!(" Starcite.ControlPlane.Ops.{expression}\n");
        assert_eq!(parse(&whole), Ok(call), "{expression}");
    }
}

#[test]
fn nothing_else_is_evaluated() {
    let module = "Starcite.ControlPlane.Ops.";
    for expression in ["", "1 + 1", "System.halt()", "Starcite.ControlPlane.Ops", "status()"] {
        let why = parse(expression).unwrap_err();
        assert!(why.contains("is understood"), "{why}");
    }
    let calls = [
        "status",
        "status(",
        "status() |> IO.inspect()",
        "status(1)",
        "halt()",
        "drain_node(1)",
        "drain_node(a)",
        r#"drain_node("a)"#,
        r#"drain_node("a" "b")"#,
        r#"drain_node("a",)"#,
        r#"drain_node("a", "b")"#,
        "drain_node(\"#{x}\")",
        r#"drain_node("\n")"#,
        "drain_node(:)",
        "drain_node(:1)",
        "wait_local_ready(-1)",
        "wait_local_ready(1.5)",
        "wait_local_ready(_1)",
        "wait_local_ready(1_)",
        "wait_local_ready(99999999999999999999)",
        r#"wait_local_ready("1")"#,
        "group_replicas()",
    ];
    for call in calls {
        let why = parse(&format!("{module}{call}")).unwrap_err();
        assert!(why.starts_with("cannot evaluate"), "{why}");
    }
}

#[test]
fn values_look_as_in_the_console() {
    let cases = [
        (json!(null), "nil"),
        (json!(true), "true"),
        (json!(7), "7"),
        (json!([]), "[]"),
        (json!(["a", "b@h"]), r#"["a", "b@h"]"#),
        (
            json!({"local_mode": "write_node", "node": "a"}),
            r#"%{local_mode: :write_node, node: "a"}"#,
        ),
        (
            json!({"observer": {"status": "ok", "node_statuses": {"a@h": "draining"}}}),
            r#"%{observer: %{node_statuses: %{"a@h" => :draining}, status: :ok}}"#,
        ),
    ];
    for (value, expected) in cases {
        assert_eq!(inspect(&value, false), expected);
    }
}

#[test]
fn members_are_lines() {
    let answer = json!({
        "members": [
            {"node": "a", "address": "10.0.0.1:4100", "status": "ready", "data": true,
             "groups": 16, "leads": 9, "learning": 0, "leaving": 2},
            {"node": "r@10.0.0.9", "address": null, "status": "lost", "data": false,
             "groups": 0, "leads": 0, "learning": 1, "leaving": 0},
        ],
        "preferred": [{"group": 3, "node": "a", "leader": null}],
        "groups_moving": 2, "groups_without_leader": 1, "settled": false,
    });
    let lines = [
        "node=a address=10.0.0.1:4100 status=ready data=true groups=16 leads=9 learning=0 leaving=2",
        "node=r@10.0.0.9 address=- status=lost data=false groups=0 leads=0 learning=1 leaving=0",
        "group=3 preferred=a leader=-",
        "settled=false groups_moving=2 groups_without_leader=1",
    ];
    assert_eq!(members_text(&answer), lines.join("\n"));
}
