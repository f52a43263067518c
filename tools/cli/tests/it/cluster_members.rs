//! What operators do to who holds data and who leads, while clients append.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::cluster::{Cluster, until};
use crate::cluster_ops::{Ends, load, ready, run, says};
use crate::http::Request;
use crate::server::{Directory, Server, free_port};
use crate::session::Api;

/// What a node answers to who knows its token.
fn ask(server: &Server, target: &str) -> Value {
    let token = std::fs::read_to_string(server.data().join("ops-token")).expect("there is one");
    let request = Request::get(target).header("x-starcite-ops-token", token.trim());
    Api::new(server.address()).call(&request).expect(200)
}

fn leader(server: &Server, group: u32) -> Value {
    ask(server, &format!("/ops/groups/{group}"))["leader"].clone()
}

/// Says something until it is taken: groups may be without a leader for a moment.
#[track_caller]
fn insists(server: &Server, words: &[&str], expected: &str) {
    let mut said = (0, String::new());
    until("it is taken", || {
        said = run(server, words);
        said.0 == 0 || !["raft_", "no answer"].iter().any(|why| said.1.contains(why))
    });
    assert_eq!(said, (0, expected.to_owned()), "{words:?}");
}

#[track_caller]
fn refuses(server: &Server, words: &[&str], code: &str) {
    let (status, text) = run(server, words);
    assert!(status == 1 && text.contains(code), "{words:?}: {status} {text}");
}

/// Waits until so many events were appended to every session.
fn await_events(n: &AtomicU64, more: u64) {
    let wanted = n.load(Ordering::Relaxed) + more;
    until("appends go on", || wanted <= n.load(Ordering::Relaxed));
}

#[test]
fn a_node_joins_and_another_leaves_under_load() {
    let mut cluster = Cluster::start();
    let sessions = cluster.sessions(4);
    let (stop, n) = (AtomicBool::new(false), AtomicU64::new(0));
    // Those that stay are asked.
    let addresses: Vec<SocketAddr> = cluster.nodes[1..].iter().map(Server::address).collect();
    let (fourth, name, entry) = cluster.newcomer();
    cluster.spawn(fourth);
    thread::scope(|scope| {
        let ends = Ends(&stop);
        let writer = scope.spawn(|| load(&addresses, &sessions, &stop, &n));
        let stranger = "its name is not among the configured nodes";
        until("it is a stranger", || cluster.nodes[fourth].log().contains(stranger));
        join(&cluster, fourth, (name, &entry));
        await_events(&n, 3);
        leave(&cluster);
        await_events(&n, 3);
        cluster.stop(0);
        await_events(&n, 3);
        drop(ends);
        writer.join().expect("every append is taken");
    });
    let events = n.into_inner();
    cluster.check(&sessions, events);
    // Their configurations still say a, b and c, and they still know better.
    (1..4).for_each(|node| cluster.kill(node));
    (1..4).for_each(|node| cluster.spawn(node));
    cluster.await_ready();
    cluster.append(&sessions, events + 1);
    cluster.check(&sessions, events + 1);
    until("nothing is moved back", || ask(&cluster.nodes[1], "/ops/members")["settled"] == true);
    let status = ask(&cluster.nodes[1], "/ops/status");
    assert_eq!(status["write_nodes"], json!(["b", "c", "d"]));
}

/// A node that others do not know is added at one of them.
fn join(cluster: &Cluster, newcomer: usize, (name, entry): (&str, &str)) {
    let server = &cluster.nodes[1];
    refuses(server, &["ops", "members", "add", "a@"], "invalid_member");
    refuses(server, &["ops", "members", "add", "a@127.0.0.1:1"], "member_exists");
    refuses(server, &["ops", "members", "add", name], "invalid_member");
    for _ in 0..2 {
        let added = format!("node {name} is to hold data");
        insists(server, &["ops", "members", "add", entry], &added);
    }
    cluster.await_ready();
    says(server, &["ops", "members", "wait", "60000"], "settled=true");
    let newcomer = &cluster.nodes[newcomer];
    let serving = json!({"status": "ok", "mode": "write_node"});
    until("it serves", || ready(newcomer) == serving);
    // A leader that is asked in the middle of a change of leaders says nothing.
    until("there are three copies of each group, some of them at the newcomer", || {
        let members = ask(newcomer, "/ops/members");
        let row = &members["members"][3];
        let groups = |node: usize| members["members"][node]["groups"].as_u64();
        let sum: u64 = (0..4).filter_map(groups).sum();
        row["node"] == name && row["status"] == "ready" && row["groups"] != 0 && sum == 3 * 16
    });
}

/// The first node is removed at another one.
fn leave(cluster: &Cluster) {
    let server = &cluster.nodes[2];
    refuses(server, &["ops", "members", "remove", "stranger"], "invalid_write_node");
    for _ in 0..2 {
        insists(server, &["ops", "members", "remove", "a"], "node a is to hold no data");
    }
    says(server, &["ops", "members", "wait", "60000"], "settled=true");
    until("it holds nothing", || cluster.sum(0, "starcite_groups_hosted") == 0);
    let router = json!({"status": "ok", "mode": "router_node"});
    until("it serves what others hold", || ready(&cluster.nodes[0]) == router);
    refuses(server, &["ops", "members", "remove", "b"], "too_few_members");
    let list = run(server, &["ops", "members"]).1;
    let gone =
        |line: &str| line.starts_with("node=a ") && line.contains(" data=false groups=0 leads=0 ");
    assert!(list.lines().any(gone), "{list}");
}

#[test]
fn a_group_is_led_where_operators_want_it() {
    let mut cluster = Cluster::start();
    let sessions = cluster.sessions(2);
    let (first, group) = (&cluster.nodes[0], "3");
    refuses(first, &["ops", "transfer", "16", "a"], "invalid_group_id");
    refuses(first, &["ops", "transfer", "3", "stranger"], "invalid_write_node");
    for (server, name) in cluster.nodes.iter().zip(["b", "c", "a"]) {
        insists(server, &["ops", "transfer", group, name], &format!("group 3 led by {name}"));
    }
    insists(first, &["ops", "transfer", group, "c"], "group 3 led by c");
    insists(first, &["ops", "drain", "c"], "node c marked draining");
    until("another leads it meanwhile", || {
        let leader = leader(first, 3);
        leader != "c" && !leader.is_null()
    });
    until("it is known to drain", || {
        ask(first, "/ops/status")["observer"]["node_statuses"]["c"] == "draining"
    });
    until("it is not handed anything", || {
        let (status, text) = run(first, &["ops", "transfer", group, "c"]);
        assert_eq!(status, 1, "{text}");
        text.contains("node_draining")
    });
    cluster.stop(2);
    cluster.append(&sessions, 1);
    cluster.spawn(2);
    until("it can be told", || run(&cluster.nodes[2], &["ops", "undrain"]).0 == 0);
    cluster.await_ready();
    until("it is remembered", || leader(&cluster.nodes[0], 3) == "c");
    let preferred = json!([{"group": 3, "node": "c", "leader": "c"}]);
    until("it is listed", || ask(&cluster.nodes[1], "/ops/members")["preferred"] == preferred);
    let released = "group 3 may be led by any node that holds it";
    insists(&cluster.nodes[1], &["ops", "transfer", group, "--release"], released);
    let placed = ask(&cluster.nodes[1], "/ops/groups/3")["replicas"][0].clone();
    until("it is led by the first of its place", || leader(&cluster.nodes[0], 3) == placed);
    until("it is listed no more", || {
        ask(&cluster.nodes[0], "/ops/members")["preferred"] == json!([])
    });
    cluster.check(&sessions, 1);
}

/// Two nodes of one machine's loopback: one holds all data, the other is found by a query.
#[test]
fn routers_that_were_found_have_names() {
    let (port, mut nodes) = (free_port().to_string(), Vec::new());
    for address in ["127.0.0.2", "127.0.0.1"] {
        let directory = Arc::new(Directory::new());
        let data = directory.path().join("data");
        let mut server = Server::stopped(directory, data);
        server.set_environment(&[
            ("NODE_NAME", &format!("starcite@{address}")),
            ("DNS_CLUSTER_QUERY", "localhost"),
            ("STARCITE_WRITE_NODE_IDS", "starcite@127.0.0.2"),
            ("STARCITE_PEER_PORT", &port),
            ("SECRET_KEY_BASE", "what only these nodes know"),
            ("STARCITE_NUM_GROUPS", "4"),
        ]);
        server.spawn();
        nodes.push(server);
    }
    for node in &nodes {
        until("a node is ready", || {
            let answer = Api::new(node.address()).try_call(&Request::get("/health/ready"));
            answer.is_ok_and(|answer| answer.status == 200)
        });
    }
    for node in &nodes {
        until("each knows the other", || {
            let observer = ask(node, "/ops/status")["observer"].clone();
            ["starcite@127.0.0.1", "starcite@127.0.0.2"].iter().all(|name| {
                let visible = observer["visible_nodes"].as_array();
                observer["node_statuses"][name] == "ready"
                    && visible.is_some_and(|all| all.contains(&json!(name)))
            })
        });
    }
    until("it is listed", || {
        let members = ask(&nodes[0], "/ops/members")["members"].clone();
        let router = |row: &Value| row["node"] == "starcite@127.0.0.1" && row["data"] == false;
        members.as_array().is_some_and(|all| all.iter().any(router))
    });
}

#[test]
fn a_node_alone_has_nobody_to_move_anything_to() {
    let server = Server::start();
    refuses(&server, &["ops", "members", "add", "d@127.0.0.1"], "cluster_alone");
    refuses(&server, &["ops", "members", "remove", "starcite"], "too_few_members");
    insists(&server, &["ops", "transfer", "3", "starcite"], "group 3 led by starcite");
    insists(&server, &["ops", "members", "wait", "60000"], "settled=true");
    let list = run(&server, &["ops", "members"]).1;
    let lines: Vec<&str> = list.lines().collect();
    let [node, wish, settled] = lines[..] else { panic!("three lines: {list}") };
    let begins = "node=starcite address=- status=ready data=true groups=256 leads=256 ";
    assert!(node.starts_with(begins), "{list}");
    assert_eq!(wish, "group=3 preferred=starcite leader=starcite");
    assert_eq!(settled, "settled=true groups_moving=0 groups_without_leader=0");
    let (status, text) = run(&server, &["ops", "transfer", "3"]);
    assert!(status != 0 && text.contains("NODE"), "{text}");
}
