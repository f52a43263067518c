//! Nodes die at any moment, one or all of them.

use histories::dice::{Dice, Salt};

use crate::ground::{rest, size};
use crate::node::NAMES;
use crate::stage::Stage;
use crate::switch::NODES;

/// Kills a node under load and starts it again.
fn kill_one(stage: &mut Stage, node: usize, dice: &mut Dice) {
    rest(dice.between(0, 300));
    let what = if 0 < stage.fleet.led(node) { "a leader died" } else { "a follower died" };
    let at = stage.record.now();
    stage.kill(what, &[node]);
    stage.record.await_progress(at);
    rest(dice.between(0, 300));
    stage.fleet.spawn(node);
}

/// Kills a node that leads nothing.
fn kill_follower(stage: &mut Stage, node: usize, dice: &mut Dice) {
    stage.fleet.drain(node);
    kill_one(stage, node, dice);
    stage.fleet.undrain(node);
}

#[test]
fn killed_nodes_lose_and_repeat_nothing() {
    let Some(mut stage) = Stage::up("kills") else { return };
    let mut dice = Dice::new(size("DRILL_SEED", 1), Salt(13));
    let kills = size("DRILL_KILLS", 3);
    for kill in 0..kills {
        let node = dice.index(NODES);
        let is_follower = kill % 3 == 2;
        let what = if is_follower { "follower" } else { "node" };
        stage.phase_and_ready(format!("kill {kill}: {what} {}", NAMES[node]), |stage| {
            if is_follower {
                kill_follower(stage, node, &mut dice);
            } else {
                kill_one(stage, node, &mut dice);
            }
        });
    }
    for kill in 0..size("DRILL_ALL", 1) {
        stage.phase_and_ready(format!("kill of all {kill}"), |stage| {
            rest(dice.between(100, 700));
            stage.kill("all died", &[0, 1, 2]);
            (0..NODES).for_each(|node| stage.fleet.spawn(node));
        });
    }
    stage.finish();
}
