//! Three real processes that form a cluster from their configuration.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::http::Request;
use crate::server::{Directory, PATIENCE, Server, free_port};
use crate::session::{Api, numbered, unique};
use crate::ws::Tail;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const SECRET: &str = "what only these nodes know";

/// Nodes of this machine, some of which may be down.
pub(crate) struct Cluster {
    /// Where nodes listen for each other.
    pub(crate) ports: Vec<u16>,
    pub(crate) nodes: Vec<Server>,
    up: Vec<bool>,
}

impl Cluster {
    /// Starts all nodes and waits until each can serve.
    pub(crate) fn start() -> Cluster {
        Cluster::stopped(3).started()
    }

    pub(crate) fn started(mut self) -> Cluster {
        self.nodes.iter_mut().for_each(Server::spawn);
        self.up.fill(true);
        self.await_ready();
        self
    }

    /// So many nodes, the first three of which hold data.
    pub(crate) fn stopped(count: usize) -> Cluster {
        let names = &NAMES[..count];
        let ports: Vec<u16> = names.iter().map(|_| free_port()).collect();
        let entry = |(name, port): (&&str, &u16)| format!("{name}@127.0.0.1:{port}");
        let list: Vec<String> = names.iter().zip(&ports).map(entry).collect();
        let node = |name: &&str| {
            let directory = Arc::new(Directory::new());
            let data = directory.path().join("data");
            let mut server = Server::stopped(directory, data);
            server.set_environment(&[
                ("NODE_NAME", name),
                ("CLUSTER_NODES", &list.join(",")),
                ("SECRET_KEY_BASE", SECRET),
                ("STARCITE_WRITE_NODE_IDS", "a,b,c"),
                ("STARCITE_NUM_GROUPS", "16"),
            ]);
            server
        };
        Cluster { nodes: names.iter().map(node).collect(), up: vec![false; count], ports }
    }

    /// Another node, not started yet, which is configured with all and which the others do not know.
    /// Returns its place, its name, and what operators call it.
    pub(crate) fn newcomer(&mut self) -> (usize, &'static str, String) {
        let place = self.nodes.len();
        let name = NAMES[place];
        self.ports.push(free_port());
        let names = &NAMES[..=place];
        let entry = |(name, port): (&&str, &u16)| format!("{name}@127.0.0.1:{port}");
        let list: Vec<String> = names.iter().zip(&self.ports).map(entry).collect();
        let directory = Arc::new(Directory::new());
        let data = directory.path().join("data");
        let mut server = Server::stopped(directory, data);
        server.set_environment(&[
            ("NODE_NAME", name),
            ("CLUSTER_NODES", &list.join(",")),
            ("SECRET_KEY_BASE", SECRET),
            ("STARCITE_NUM_GROUPS", "16"),
        ]);
        self.nodes.push(server);
        self.up.push(false);
        (place, name, list[place].clone())
    }

    pub(crate) fn await_ready(&self) {
        for node in self.nodes.iter().zip(&self.up).filter(|(_, up)| **up).map(|(node, _)| node) {
            until("a node is ready", || {
                let answer = Api::new(node.address()).try_call(&Request::get("/health/ready"));
                answer.is_ok_and(|answer| answer.status == 200)
            });
        }
    }

    /// A metric of a node, summed over its shards.
    pub(crate) fn sum(&self, node: usize, name: &str) -> u64 {
        let metrics = Api::new(self.nodes[node].address()).get("/metrics").text();
        let series = metrics.lines().filter(|line| line.starts_with(&format!("{name}{{")));
        series.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }

    pub(crate) fn kill(&mut self, node: usize) {
        self.nodes[node].kill();
        self.up[node] = false;
    }

    /// Asks a node to stop, and waits for that.
    pub(crate) fn stop(&mut self, node: usize) {
        assert_eq!(self.nodes[node].terminate().code(), Some(0), "it stops in order");
        self.up[node] = false;
    }

    /// Starts a node and waits for nothing.
    pub(crate) fn spawn(&mut self, node: usize) {
        self.nodes[node].spawn();
        self.up[node] = true;
    }

    pub(crate) fn restart(&mut self, node: usize) {
        self.nodes[node].spawn();
        self.up[node] = true;
        self.await_ready();
    }

    /// Asks the nodes that are up, one after another, until one does it; says which.
    fn anywhere(&self, request: &Request) -> (usize, Value) {
        let start = Instant::now();
        loop {
            for (place, node) in self.nodes.iter().enumerate().filter(|(n, _)| self.up[*n]) {
                match Api::new(node.address()).try_call(request) {
                    Ok(answer) if answer.status < 400 => {
                        return (place, answer.expect(answer.status));
                    }
                    // Nobody knows who leads, or whether it is done: it is asked again.
                    Ok(answer) => assert_eq!(answer.status, 503, "{answer:?}"),
                    Err(_) => {}
                }
            }
            assert!(start.elapsed() < PATIENCE, "nobody does {request:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Makes sessions, so many that each node leads some.
    pub(crate) fn sessions(&self, count: usize) -> Vec<String> {
        let make = |_| {
            let id = unique("cluster");
            self.anywhere(&Request::post("/v1/sessions").json(&json!({"id": id})));
            id
        };
        (0..count).map(make).collect()
    }

    /// Appends one event to each session; says which node took the last one.
    pub(crate) fn append(&self, sessions: &[String], n: u64) -> usize {
        let mut last = 0;
        for session in sessions {
            let target = format!("/v1/sessions/{session}/append");
            let (node, reply) = self.anywhere(&Request::post(&target).json(&numbered("writer", n)));
            assert_eq!(reply["seq"], n, "{reply}");
            last = node;
        }
        last
    }

    /// Every node that is up has every event once and in order.
    pub(crate) fn check(&self, sessions: &[String], events: u64) {
        for node in self.nodes.iter().zip(&self.up).filter(|(_, up)| **up).map(|(node, _)| node) {
            for session in sessions {
                let target = format!("/v1/sessions/{session}/events?cursor=0&limit=1000");
                let mut found = Value::Null;
                until("a node can be read", || {
                    let answer = Api::new(node.address()).try_call(&Request::get(&target));
                    let Some(answer) = answer.ok().filter(|a| a.status == 200) else {
                        return false;
                    };
                    found = answer.expect(200)["events"].clone();
                    true
                });
                let seen: Vec<(u64, u64)> = found
                    .as_array()
                    .expect("a page of events")
                    .iter()
                    .map(|e| {
                        (e["seq"].as_u64().unwrap_or(0), e["payload"]["n"].as_u64().unwrap_or(0))
                    })
                    .collect();
                let expected: Vec<(u64, u64)> = (1..=events).map(|n| (n, n)).collect();
                assert_eq!(seen, expected, "{session} at {}", node.address());
            }
        }
    }
}

#[track_caller]
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "{what}: not in time");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_was_acknowledged_survives_any_node() {
    let mut cluster = Cluster::start();
    let sessions = cluster.sessions(8);
    let mut n = 1;
    let mut victim = cluster.append(&sessions, n);
    for _ in 0..4 {
        cluster.kill(victim);
        n += 1;
        let next = cluster.append(&sessions, n);
        cluster.restart(victim);
        victim = next;
        n += 1;
        cluster.append(&sessions, n);
    }
    cluster.check(&sessions, n);
}

#[test]
fn all_nodes_at_once_may_lose_power() {
    let mut cluster = Cluster::start();
    let sessions = cluster.sessions(4);
    for n in 1..=10 {
        cluster.append(&sessions, n);
    }
    (0..3).for_each(|node| cluster.kill(node));
    cluster.nodes.iter_mut().for_each(Server::spawn);
    cluster.up = vec![true; 3];
    cluster.await_ready();
    cluster.check(&sessions, 10);
    cluster.append(&sessions, 11);
    cluster.check(&sessions, 11);
}

#[test]
fn a_node_is_replaced_with_an_empty_disk() {
    let mut cluster = Cluster::start();
    let sessions = cluster.sessions(4);
    for n in 1..=5 {
        cluster.append(&sessions, n);
    }
    cluster.kill(2);
    std::fs::remove_dir_all(cluster.nodes[2].data()).expect("its data can be removed");
    for n in 6..=8 {
        cluster.append(&sessions, n);
    }
    cluster.restart(2);
    cluster.check(&sessions, 8);
    // It counts: it has a vote, and leads what its predecessor led.
    until("the new member holds every group", || cluster.sum(2, "starcite_groups_hosted") == 16);
    until("the new member leads", || 0 < cluster.sum(2, "starcite_groups_led"));
    cluster.append(&sessions, 9);
    cluster.check(&sessions, 9);
}

#[test]
fn once_a_replaced_node_is_ready_another_may_go() {
    let mut cluster = Cluster::start();
    // Some in every group.
    let sessions = cluster.sessions(48);
    cluster.append(&sessions, 1);
    cluster.kill(2);
    std::fs::remove_dir_all(cluster.nodes[2].data()).expect("its data can be removed");
    cluster.restart(2);
    cluster.kill(0);
    cluster.append(&sessions, 2);
    cluster.check(&sessions, 2);
}

#[test]
fn a_tail_that_would_hear_nothing_more_is_told_to_come_back() {
    let mut cluster = Cluster::start();
    let sessions = cluster.sessions(4);
    cluster.append(&sessions, 1);
    let left = Api::new(cluster.nodes[0].address());
    let mut tails: Vec<_> = sessions.iter().map(|session| left.tail(session, "cursor=0")).collect();
    for tail in &mut tails {
        assert_eq!(tail.seqs(1), [1]);
    }
    cluster.kill(1);
    cluster.kill(2);
    for tail in &mut tails {
        assert_eq!(tail.closed().0, 1012);
    }
    let target = format!("/v1/sessions/{}/tail?cursor=1", sessions[0]);
    left.call(&Request::get(&target).upgrade()).refused(503, "raft_unavailable");
    cluster.spawn(2);
    cluster.append(&sessions, 2);
    for session in &sessions {
        until("it resumes", || {
            let resumed = Tail::open(left.address(), session, "cursor=1");
            resumed.is_ok_and(|mut tail| tail.seqs(1) == [2])
        });
    }
}

#[test]
fn nobody_founds_a_cluster_before_all_are_there() {
    let mut cluster = Cluster::stopped(3);
    cluster.nodes[0].spawn();
    cluster.nodes[2].spawn();
    until("it is told who is missing", || {
        cluster.nodes[0].log().contains("missing: b (")
            && cluster.nodes[2].log().contains("a is to found the cluster")
    });
    assert!(!cluster.nodes[0].log().contains("belongs to a cluster\""));
    cluster.nodes[1].spawn();
    cluster.up = vec![true; 3];
    cluster.await_ready();
    let sessions = cluster.sessions(1);
    cluster.append(&sessions, 1);
    cluster.check(&sessions, 1);
}

#[test]
fn a_node_with_another_secret_is_refused_on_both_sides() {
    let mut cluster = Cluster::start();
    cluster.kill(1);
    let entry = |(name, port): (&&str, &u16)| format!("{name}@127.0.0.1:{port}");
    let list: Vec<String> = NAMES.iter().zip(&cluster.ports).map(entry).collect();
    cluster.nodes[1].set_environment(&[
        ("NODE_NAME", "b"),
        ("CLUSTER_NODES", &list.join(",")),
        ("SECRET_KEY_BASE", "what other nodes know"),
        ("STARCITE_NUM_GROUPS", "16"),
    ]);
    cluster.nodes[1].spawn();
    let refused = "does not know this cluster's secret";
    until("both sides say so", || {
        [0, 1].iter().all(|node| cluster.nodes[*node].log().contains(refused))
    });
    let sessions = cluster.sessions(2);
    cluster.append(&sessions, 1);
    let canary = [SECRET, "what other nodes know"];
    for node in &cluster.nodes {
        assert!(canary.iter().all(|secret| !node.log().contains(secret)), "a secret is told");
    }
}

#[test]
fn a_router_serves_what_others_hold() {
    let mut cluster = Cluster::stopped(4).started();
    let router = Api::new(cluster.nodes[3].address());
    let ready = router.get("/health/ready").expect(200);
    assert_eq!(ready, json!({"status": "ok", "mode": "router_node"}));
    let sessions: Vec<String> = (0..4).map(|_| router.session("routed")).collect();
    for session in &sessions {
        router.append_numbered(session, "writer", 1, 5);
    }
    cluster.check(&sessions, 5);
    assert_eq!(
        (cluster.sum(3, "starcite_groups_hosted"), cluster.sum(3, "starcite_groups_led")),
        (0, 0)
    );
    // Its clients leave nothing behind where they were served: each node follows what operators say,
    // and nothing else.
    let followers =
        |cluster: &Cluster| -> u64 { (0..4).map(|node| cluster.sum(node, "starcite_tails")).sum() };
    let tails: Vec<_> = (0..20).map(|tail| router.tail(&sessions[tail % 4], "cursor=5")).collect();
    until("the tails are seen", || 20 <= followers(&cluster));
    drop(tails);
    until("the tails are gone", || followers(&cluster) <= 4);
    // It is missed by nobody.
    cluster.kill(3);
    cluster.append(&sessions, 6);
    cluster.restart(3);
    cluster.check(&sessions, 6);
    for node in 0..3 {
        cluster.kill(node);
    }
    let alone = json!({"status": "starting", "mode": "router_node", "reason": "router_sync"});
    until("a router alone says so", || {
        let answer = Api::new(cluster.nodes[3].address()).get("/health/ready");
        answer.status == 503 && answer.expect(503) == alone
    });
}
