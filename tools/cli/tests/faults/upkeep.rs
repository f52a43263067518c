//! What operators do and what disks do, under load.

use std::fs;

use crate::ground::{rest, size, skipped, until};
use crate::node::NAMES;
use crate::stage::Stage;
use crate::switch::NODES;
use crate::throttle::Throttle;

/// Writes a second of a slow disk.
const SLOW_WRITES: u32 = 5;
/// Milliseconds a disk is slow.
const SLOW_MS: u64 = 3_000;

/// The runbook's steps for one node.
fn roll(stage: &mut Stage, node: usize) {
    stage.fleet.drain(node);
    until("it leads nothing", || stage.fleet.led(node) == 0);
    assert_eq!(stage.fleet.nodes[node].stop().code(), Some(0), "it stops in order");
    stage.fleet.spawn(node);
    stage.fleet.undrain(node);
    stage.fleet.says(node, &["ops", "wait-ready", "60000"]);
}

#[test]
fn a_rolling_restart_is_seen_by_nobody() {
    let Some(mut stage) = Stage::up("rolling restart") else { return };
    for _ in 0..size("DRILL_ROUNDS", 1) {
        for (node, name) in NAMES.iter().enumerate() {
            stage.phase_and_ready(format!("restart of {name}"), |stage| roll(stage, node));
        }
    }
    for node in 0..NODES {
        until("all are ready at each", || {
            stage.fleet.run(node, &["ops", "ready-nodes"]).1 == "ready_nodes=a,b,c"
        });
    }
    stage.finish();
}

/// Slows the disk of a node down; whether that can be done here.
fn slow(stage: &Stage, node: usize) -> bool {
    let node = &stage.fleet.nodes[node];
    match Throttle::disk(node.pid(), &node.data(), SLOW_WRITES) {
        Ok(_throttle) => {
            rest(SLOW_MS);
            true
        }
        Err(error) => {
            skipped("a slow disk", error);
            false
        }
    }
}

#[test]
fn a_slow_disk_and_an_empty_one_lose_nothing() {
    let Some(mut stage) = Stage::up("disks") else { return };
    stage.phase("as it should be", |_| rest(SLOW_MS / 2));
    for round in 0..size("DRILL_ROUNDS", 1) {
        let node = usize::try_from(round).expect("small") % NODES;
        let name = NAMES[node];
        stage.phase_and_ready(format!("slow disk at {name}, which leads"), |stage| {
            slow(stage, node);
        });
        stage.phase_and_ready(format!("slow disk at {name}, which follows"), |stage| {
            stage.fleet.drain(node);
            slow(stage, node);
            stage.fleet.undrain(node);
        });
        stage.phase_and_ready(format!("{name} with an empty disk"), |stage| replace(stage, node));
        // Its copies count from now on.
        let other = (node + 1) % NODES;
        stage.phase_and_ready(format!("{} dies after that", NAMES[other]), |stage| {
            let at = stage.record.now();
            stage.kill("a node died beside a new one", &[other]);
            stage.record.await_progress(at);
            stage.fleet.spawn(other);
        });
    }
    stage.finish();
}

/// A node comes back under its name and knows nothing.
fn replace(stage: &mut Stage, node: usize) {
    stage.fleet.nodes[node].kill();
    fs::remove_dir_all(stage.fleet.nodes[node].data()).expect("its data can be removed");
    let at = stage.record.now();
    stage.record.await_progress(at);
    stage.fleet.spawn(node);
    stage.fleet.await_ready();
    until("it leads what its predecessor led", || 0 < stage.fleet.led(node));
}
