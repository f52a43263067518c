//! The network between the nodes fails in every shape; clients reach all nodes all the time.

use std::time::Duration;

use crate::ground::{rest, size};
use crate::node::NAMES;
use crate::stage::Stage;
use crate::switch::{Link, NODES};

/// Milliseconds a partition lasts: long enough for an election and what follows it.
const PARTITION_MS: u64 = 1_600;
/// Milliseconds a bad network lasts.
const BAD_MS: u64 = 3_000;

/// Links that are cut, from node to node.
type Cuts = Vec<(usize, usize)>;

/// The shapes: each node alone, each node deaf, each node mute, each pair parted while the third
/// hears both.
fn shapes() -> Vec<(String, Cuts)> {
    let mut shapes = Vec::new();
    for (node, name) in NAMES.iter().enumerate() {
        let others = || (0..NODES).filter(move |other| *other != node);
        let deaf: Cuts = others().map(|other| (other, node)).collect();
        let mute: Cuts = others().map(|other| (node, other)).collect();
        let pair: Vec<usize> = others().collect();
        shapes.push((format!("{name} is alone"), [deaf.clone(), mute.clone()].concat()));
        shapes.push((format!("{name} is deaf"), deaf));
        shapes.push((format!("{name} is mute"), mute));
        let parted = vec![(pair[0], pair[1]), (pair[1], pair[0])];
        shapes.push((format!("all but {name} are parted"), parted));
    }
    assert_eq!(shapes.len(), 12, "four for each node");
    shapes
}

#[test]
fn no_partition_parts_a_log() {
    let Some(mut stage) = Stage::up("partitions") else { return };
    for _ in 0..size("DRILL_ROUNDS", 1) {
        for (name, cuts) in shapes() {
            stage.phase(name, |stage| {
                for (from, to) in cuts {
                    let link = Link { cut: true, ..Link::default() };
                    stage.fleet.switch.set(from, to, link);
                }
                rest(PARTITION_MS);
            });
        }
    }
    stage.finish();
}

#[test]
fn a_slow_and_lossy_network_loses_no_event() {
    let Some(mut stage) = Stage::up("bad network") else { return };
    let late =
        |milliseconds| Link { delay: Duration::from_millis(milliseconds), ..Link::default() };
    let lossy = Link { loss_permille: 50, ..Link::default() };
    let worst = Link { loss_permille: 50, ..late(100) };
    let bad = [("200 ms each way", late(200)), ("5 % lost", lossy), ("100 ms, 5 % lost", worst)];
    for _ in 0..size("DRILL_ROUNDS", 1) {
        stage.phase("as it should be", |_| rest(BAD_MS / 2));
        for (name, link) in bad {
            stage.phase(name, |stage| {
                stage.fleet.switch.set_nodes(link);
                rest(BAD_MS);
            });
        }
        // To find a leader takes two rounds: they must fit into the time after which another stands.
        stage.phase("100 ms each way, a node dies", |stage| {
            stage.fleet.switch.set_nodes(late(100));
            rest(BAD_MS / 4);
            let at = stage.record.now();
            stage.kill("a node died in a late network", &[1]);
            stage.record.await_progress(at);
            stage.fleet.spawn(1);
        });
    }
    stage.finish();
}
