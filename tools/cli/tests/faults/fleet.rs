//! The cluster: three nodes at the switch.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use model::cluster::{NameTag, name_tag, replicas};
use model::ids::GroupId;

use crate::client::{Client, Told};
use crate::ground::{size, until};
use crate::node::{GROUPS, NAMES, Node};
use crate::switch::{NODES, Switch};

/// Three nodes, some of which may be down. The thread that made it is at the clients' host.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) nodes: Vec<Node>,
    pub(crate) switch: Switch,
    directory: PathBuf,
}

impl Fleet {
    /// Nodes that do not run yet.
    pub(crate) fn new(switch: Switch) -> Fleet {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("faults-{}-{count}", std::process::id());
        // What nodes with disks of their own do to each other is not what those do that share one.
        let is_in_memory = 0 < size("DRILL_MEMORY", 0);
        let place = if is_in_memory { "/dev/shm" } else { env!("CARGO_TARGET_TMPDIR") };
        let directory = Path::new(place).join(name);
        let nodes = (0..NODES).map(|place| Node::new(place, &directory)).collect();
        Fleet { nodes, switch, directory }
    }

    /// Starts all nodes and waits until each can serve.
    pub(crate) fn start(&mut self) {
        (0..NODES).for_each(|node| self.spawn(node));
        self.await_ready();
    }

    /// Starts a node and waits for nothing.
    pub(crate) fn spawn(&mut self, node: usize) {
        self.nodes[node].spawn(self.switch.host(node));
    }

    /// Waits until every node that runs can serve.
    pub(crate) fn await_ready(&mut self) {
        for node in 0..NODES {
            until("a node is ready", || {
                !self.nodes[node].is_up() || get(node, "/health/ready").is_some()
            });
        }
    }

    /// How many groups a node leads.
    pub(crate) fn led(&self, node: usize) -> u64 {
        let mut metrics = None;
        until("a node tells its metrics", || {
            metrics = get(node, "/metrics");
            metrics.is_some()
        });
        let text = String::from_utf8(metrics.expect("it was told")).expect("metrics are text");
        let series = text.lines().filter(|line| line.starts_with("starcite_groups_led{"));
        series.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }

    /// Waits until every group is led by the node that should lead it when nobody says otherwise.
    pub(crate) fn await_order(&self) {
        let count =
            |node: usize| (0..GROUPS).filter(|group| leader(GroupId(*group)) == node).count();
        let is_orderly = |node: usize| self.led(node) == count(node) as u64;
        until("each leads what it should", || (0..NODES).all(is_orderly));
    }

    /// Runs a command beside a node's data; whether it succeeded, and what it printed.
    pub(crate) fn run(&self, node: usize, words: &[&str]) -> (bool, String) {
        self.nodes[node].run(self.switch.host(node), words)
    }

    /// Relieves a node of all it leads, as the runbook does.
    pub(crate) fn drain(&self, node: usize) {
        until("it can be told to drain", || self.run(node, &["ops", "drain"]).0);
        self.says(node, &["ops", "wait-drained", "60000"]);
    }

    /// Lets a node serve again that has just been started.
    pub(crate) fn undrain(&self, node: usize) {
        until("it can be told to serve", || self.run(node, &["ops", "undrain"]).0);
    }

    /// Runs a command that must succeed.
    pub(crate) fn says(&self, node: usize, words: &[&str]) -> String {
        let (succeeded, text) = self.run(node, words);
        assert!(succeeded, "{words:?} at {}: {text}", self.nodes[node].name());
        text
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let panicking = thread::panicking();
        for node in &mut self.nodes {
            node.kill();
            let log = node.log();
            if panicking {
                let tail: Vec<&str> = log.lines().rev().take(30).collect();
                tail.iter().rev().for_each(|line| println!("{}: {line}", node.name()));
            } else {
                assert!(!log.contains("panicked at"), "a node panicked:\n{log}");
            }
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The node that leads a group when nobody says otherwise.
pub(crate) fn leader(group: GroupId) -> usize {
    let names: Vec<NameTag> = NAMES.iter().map(|name| name_tag(name)).collect();
    let first = replicas(group, &names, 1);
    names.iter().position(|name| first == [*name]).expect("it is one of them")
}

/// What a node answers with 200.
pub(crate) fn get(node: usize, target: &str) -> Option<Vec<u8>> {
    match Client::new().get(Node::address(node), target) {
        Told::Answer(answer) if answer.status == 200 => Some(answer.body),
        Told::Answer(_) | Told::NotSent | Told::Lost => None,
    }
}
