//! Planned restarts with the runbook's steps, one after another, and how long anybody waits in each part.

use crate::fleet::get;
use crate::ground::{rest, size, until};
use crate::node::NAMES;
use crate::stage::Stage;
use crate::switch::NODES;

/// Milliseconds in which nothing happens, before each restart.
const CALM_MS: u64 = 1_500;
/// Milliseconds that a part goes on once it has come to its end, so that what it brought is seen in it.
const AFTER_MS: u64 = 300;

/// One part of a restart; those of all restarts are reported together.
fn part(stage: &mut Stage, name: &str, work: impl FnOnce(&mut Stage)) {
    stage.phase(name, |stage| {
        work(stage);
        rest(AFTER_MS);
    });
}

/// The runbook's steps for one node.
fn restart(stage: &mut Stage, node: usize) {
    assert!(0 < stage.fleet.led(node), "there is something to hand over");
    part(stage, "as it should be", |_| rest(CALM_MS));
    part(stage, "handed over", |stage| {
        stage.fleet.drain(node);
        until("it leads nothing", || stage.fleet.led(node) == 0);
    });
    part(stage, "stopped", |stage| {
        assert_eq!(stage.fleet.nodes[node].stop().code(), Some(0), "it stops in order");
    });
    part(stage, "started", |stage| {
        stage.fleet.spawn(node);
        until("it answers", || get(node, "/metrics").is_some());
    });
    part(stage, "handed back", |stage| {
        stage.fleet.undrain(node);
        stage.fleet.says(node, &["ops", "wait-ready", "60000"]);
        stage.fleet.await_order();
    });
}

#[test]
fn planned_restarts_lose_and_repeat_nothing() {
    let cycles = size("DRILL_CYCLES", 1);
    let Some(mut stage) = Stage::steady("planned restarts", None) else { return };
    stage.fleet.await_order();
    for node in (0..NODES).cycle().take(usize::try_from(cycles).expect("small")) {
        restart(&mut stage, node);
        stage.fleet.await_ready();
        println!("{} was restarted", NAMES[node]);
    }
    stage.finish();
}
