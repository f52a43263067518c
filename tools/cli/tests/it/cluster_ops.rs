//! What operators do to three real processes: relieve a node, restart it, let it serve again.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cluster::{Cluster, until};
use crate::http::{Request, Response};
use crate::server::{PATIENCE, Server, starcite};
use crate::session::{Api, numbered};

/// Runs a command beside a server's data; its status and what it printed.
pub(crate) fn run(server: &Server, words: &[&str]) -> (i32, String) {
    let mut command = starcite();
    command.args(words).env("STARCITE_DATA_DIR", server.data());
    let output = command.output().expect("the binary can be started");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).expect("it prints text");
    (output.status.code().expect("it ends by itself"), text.trim_end().to_owned())
}

#[track_caller]
pub(crate) fn says(server: &Server, words: &[&str], expected: &str) {
    assert_eq!(run(server, words), (0, expected.to_owned()), "{words:?}");
}

fn rpc(server: &Server, call: &str) -> (i32, String) {
    run(server, &["rpc", &format!("Starcite.ControlPlane.Ops.{call}")])
}

fn json_of(answer: &Response) -> Value {
    serde_json::from_str(&answer.text()).expect("it answers in JSON")
}

pub(crate) fn ready(server: &Server) -> Value {
    json_of(&Api::new(server.address()).get("/health/ready"))
}

/// Ends the load when it is dropped.
pub(crate) struct Ends<'a>(pub(crate) &'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Appends numbered events to sessions wherever somebody takes them, until told to stop.
pub(crate) fn load(
    addresses: &[std::net::SocketAddr],
    sessions: &[String],
    stop: &AtomicBool,
    n: &AtomicU64,
) {
    while !stop.load(Ordering::Relaxed) {
        let next = n.load(Ordering::Relaxed) + 1;
        for session in sessions {
            let target = format!("/v1/sessions/{session}/append");
            let request = Request::post(&target).json(&numbered("writer", next));
            let start = Instant::now();
            let took = |address: &std::net::SocketAddr| {
                let answer = Api::new(*address).try_call(&request);
                answer.is_ok_and(|answer| {
                    assert!(answer.status < 300 || answer.status == 503, "{answer:?}");
                    answer.status < 300
                })
            };
            while !addresses.iter().any(took) {
                assert!(start.elapsed() < PATIENCE, "nobody takes an append");
                thread::sleep(Duration::from_millis(5));
            }
        }
        n.store(next, Ordering::Relaxed);
    }
}

/// The runbook's steps for one node, the first word said at another one.
fn roll(cluster: &mut Cluster, node: usize, name: &str) {
    let other = (node + 1) % 3;
    let drained = format!("node {name} marked draining");
    says(&cluster.nodes[other], &["ops", "drain", name], &drained);
    let server = &cluster.nodes[node];
    says(server, &["ops", "wait-drained", "30000"], "local_drained=true");
    assert_eq!(cluster.sum(node, "starcite_groups_led"), 0, "it leads nothing");
    assert_eq!(ready(server)["reason"], "draining");
    until("others do not count on it", || {
        let line = run(&cluster.nodes[other], &["ops", "ready-nodes"]).1;
        let names = line.strip_prefix("ready_nodes=").expect("the line of the contract");
        !names.split(',').any(|ready| ready == name)
    });
    cluster.stop(node);
    cluster.spawn(node);
    let server = &cluster.nodes[node];
    until("it knows that it is draining", || {
        let answer = Api::new(server.address()).try_call(&Request::get("/health/ready"));
        answer.is_ok_and(|answer| answer.status == 503 && json_of(&answer)["reason"] == "draining")
    });
    let timeout = "starcite: timeout waiting for local_ready after 300ms".to_owned();
    assert_eq!(run(server, &["ops", "wait-ready", "300"]), (1, timeout));
    assert_eq!(rpc(server, "wait_local_ready(300)"), (1, "{:error, :timeout}".to_owned()));
    assert_eq!(rpc(server, "undrain_node()"), (0, ":ok".to_owned()));
    says(server, &["ops", "wait-ready", "60000"], "local_ready=true");
    assert_eq!(ready(server), json!({"status": "ok", "mode": "write_node"}));
}

#[test]
fn nodes_are_restarted_one_by_one_under_load() {
    let mut cluster = Cluster::start();
    let sessions = cluster.sessions(4);
    let (stop, n) = (AtomicBool::new(false), AtomicU64::new(0));
    let addresses: Vec<_> = cluster.nodes.iter().map(Server::address).collect();
    thread::scope(|scope| {
        // Also when a step fails.
        let ends = Ends(&stop);
        let writer = scope.spawn(|| load(&addresses, &sessions, &stop, &n));
        for (node, name) in ["a", "b", "c"].into_iter().enumerate() {
            roll(&mut cluster, node, name);
        }
        drop(ends);
        writer.join().expect("every append is taken");
    });
    until("all are ready at each", || {
        let all = |server: &Server| rpc(server, "ready_nodes()").1 == r#"["a", "b", "c"]"#;
        cluster.nodes.iter().all(all)
    });
    cluster.check(&sessions, n.into_inner());
}

#[test]
fn operators_are_told_and_strangers_are_not() {
    let cluster = Cluster::start();
    let server = &cluster.nodes[1];
    let api = server.api();
    for target in ["/ops/status", "/ops/ready-nodes", "/ops/drained", "/ops/groups/0"] {
        api.get(target).refused(401, "unauthorized");
        let wrong = Request::get(target).header("x-starcite-ops-token", "0123");
        api.call(&wrong).refused(401, "unauthorized");
    }
    for target in ["/ops/drain", "/ops/undrain?node=a"] {
        api.call(&Request::post(target)).refused(401, "unauthorized");
    }
    let (status, refused) = run(server, &["ops", "drain", "stranger"]);
    assert!(status == 1 && refused.contains("invalid_write_node"), "{refused}");
    let invalid = (1, "{:error, :invalid_write_node}".to_owned());
    assert_eq!(rpc(server, r#"drain_node("stranger")"#), invalid);
    assert_eq!(rpc(server, r#"parse_known_node("stranger@b")"#), invalid);
    assert_eq!(rpc(server, r#"parse_known_node("a@host")"#), (0, r#"{:ok, "a"}"#.to_owned()));
    assert_eq!(rpc(server, r#"parse_group_id("15")"#), (0, "{:ok, 15}".to_owned()));
    let invalid = (1, "{:error, :invalid_group_id}".to_owned());
    assert_eq!(rpc(server, r#"parse_group_id("16")"#), invalid);
    assert_eq!(rpc(server, "local_mode()"), (0, ":write_node".to_owned()));
    assert_eq!(rpc(server, "local_drained()"), (0, "false".to_owned()));
    let (status, why) = run(server, &["rpc", "System.halt()"]);
    assert!(status == 64 && why.contains("cannot evaluate"), "{why}");
    let (status, replicas) = run(server, &["ops", "group-replicas", "3"]);
    let mut names: Vec<&str> = replicas.trim_start_matches("group_replicas=").split(',').collect();
    names.sort_unstable();
    assert_eq!((status, names), (0, vec!["a", "b", "c"]));
    let status: Value = serde_json::from_str(&run(server, &["ops", "status"]).1).expect("JSON");
    assert_eq!(status["node"], "b");
    assert_eq!(status["local_groups"].as_array().map(Vec::len), Some(16));
    assert_eq!(status["observer"]["node_statuses"]["c"], "ready");
    // Said twice it is said; and nobody sees where.
    for _ in 0..2 {
        assert_eq!(rpc(server, r#"drain_node("c")"#), (0, ":ok".to_owned()));
    }
    let sessions = api.get("/v1/sessions?archived=all").expect(200);
    assert_eq!(sessions["sessions"], json!([]));
    api.post("/v1/sessions", &json!({"id": "\0starcite.intent"}))
        .refused(400, "invalid_session_id");
    api.get("/v1/sessions/%00starcite.intent").refused(400, "invalid_session_id");
    let token = std::fs::read_to_string(server.data().join("ops-token")).expect("there is one");
    assert!(!server.log().contains(token.trim()), "the token is in the log");
}
