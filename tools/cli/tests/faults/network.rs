//! The network between the nodes fails in every shape; clients reach all nodes all the time.

use std::time::Duration;

use histories::time::MILLI;

use crate::ground::{rest, size};
use crate::node::NAMES;
use crate::stage::Stage;
use crate::switch::{Link, NODES};

/// Milliseconds a partition lasts: long enough for an election and what follows it.
const PARTITION_MS: u64 = 1_600;
/// Milliseconds a bad network lasts.
const BAD_MS: u64 = 3_000;

/// A shape of a partition.
struct Shape {
    kind: &'static str,
    node: usize,
    /// Links that are cut, from node to node.
    cuts: Vec<(usize, usize)>,
}

/// The shapes: each node alone, each node deaf, each node mute, each pair parted while the third
/// hears both. In all of them there is a quorum that hears each other.
fn shapes() -> Vec<Shape> {
    let mut shapes = Vec::new();
    for node in 0..NODES {
        let others = || (0..NODES).filter(move |other| *other != node);
        let deaf: Vec<_> = others().map(|other| (other, node)).collect();
        let mute: Vec<_> = others().map(|other| (node, other)).collect();
        let pair: Vec<usize> = others().collect();
        let parted = vec![(pair[0], pair[1]), (pair[1], pair[0])];
        shapes.extend([
            Shape { kind: "alone", node, cuts: [deaf.clone(), mute.clone()].concat() },
            Shape { kind: "deaf", node, cuts: deaf },
            Shape { kind: "mute", node, cuts: mute },
            Shape { kind: "between two that are parted", node, cuts: parted },
        ]);
    }
    assert_eq!(shapes.len(), 12, "four for each node");
    shapes
}

#[test]
fn no_partition_parts_a_log() {
    let Some(mut stage) = Stage::up("partitions") else { return };
    for _ in 0..size("DRILL_ROUNDS", 1) {
        for Shape { kind, node, cuts } in shapes() {
            stage.phase(format!("{} is {kind}", NAMES[node]), |stage| {
                let at = stage.record.now();
                for (from, to) in cuts {
                    let link = Link { cut: true, ..Link::default() };
                    stage.fleet.switch.set(from, to, link);
                }
                stage.hit(kind, at);
                stage.record.await_progress(at);
                let lasted = (stage.record.now() - at) / MILLI;
                rest(PARTITION_MS.saturating_sub(lasted));
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
        // A round trip takes longer than the time after which a node stands: the first elections end in vain.
        stage.phase("200 ms each way, a node dies", |stage| {
            stage.fleet.switch.set_nodes(late(200));
            rest(BAD_MS / 4);
            let at = stage.record.now();
            stage.kill("a node died in a late network", &[1]);
            stage.record.await_progress(at);
            stage.fleet.spawn(1);
        });
    }
    stage.finish();
}
