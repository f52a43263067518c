//! One node is sick, but not dead: what that costs sessions that others lead, and those it leads itself.

use model::ids::Placement;

use crate::figures::{Phase, print_ratio};
use crate::fleet::leader;
use crate::ground::{rest, size, skipped, until};
use crate::node::{GROUPS, SHARDS};
use crate::record::SESSIONS;
use crate::stage::Stage;
use crate::switch::{Link, NODES};
use crate::throttle::Throttle;

/// The node that is sick.
const NODE: usize = 0;
/// Writes a second of a sick disk: each takes 10 ms, a hundred times what a good one needs.
const DISK_WRITES: u32 = 100;
/// Percent of one CPU that a sick process has.
const CPU_PERCENT: u32 = 10;
/// Packets of a thousand that a sick network loses, in either direction.
const LOSS_PERMILLE: u32 = 300;
/// Milliseconds after which whoever can lead better should: two election timeouts, and a look.
const REPLACED_MS: u64 = 1_600;

#[derive(Debug, Clone, Copy)]
enum Sickness {
    Disk,
    Cpu,
    Network,
}

impl Sickness {
    fn name(self) -> &'static str {
        match self {
            Sickness::Disk => "a slow disk",
            Sickness::Cpu => "a tenth of a CPU",
            Sickness::Network => "30 % loss",
        }
    }

    /// Makes the node sick for as long as what is returned lives, or the network is not healed.
    fn begin(self, stage: &Stage) -> std::io::Result<Option<Throttle>> {
        let node = &stage.fleet.nodes[NODE];
        match self {
            Sickness::Disk => Throttle::disk(node.pid(), &node.data(), DISK_WRITES).map(Some),
            Sickness::Cpu => Throttle::cpu(node.pid(), CPU_PERCENT).map(Some),
            Sickness::Network => {
                let link = Link { loss_permille: LOSS_PERMILLE, ..Link::default() };
                for other in (0..NODES).filter(|other| *other != NODE) {
                    stage.fleet.switch.set(NODE, other, link);
                    stage.fleet.switch.set(other, NODE, link);
                }
                Ok(None)
            }
        }
    }
}

/// The sessions whose groups the sick node leads when nobody says otherwise, and all others.
fn sessions(stage: &Stage) -> (Vec<usize>, Vec<usize>) {
    let placement = Placement::new(GROUPS, SHARDS);
    let group = |session: usize| placement.group(&stage.record.ids[session]);
    (0..SESSIONS).partition(|session| leader(group(*session)) == NODE)
}

/// Lets the load go on for a while and says when that was.
fn watch(stage: &Stage, name: String, milliseconds: u64) -> Phase {
    let from = stage.record.now();
    rest(milliseconds);
    Phase { name, from, to: stage.record.now() }
}

/// A while in which all is well, and one in which the node is sick.
fn fall_ill(stage: &Stage, sickness: Sickness, leads: bool) {
    let milliseconds = 1_000 * size("DRILL_SECONDS", 1);
    let (own, others) = sessions(stage);
    let well = watch(stage, "well".to_owned(), milliseconds / 2);
    let what = sickness.name();
    let throttle = match sickness.begin(stage) {
        Ok(throttle) => throttle,
        Err(error) => return skipped(what, error),
    };
    if leads {
        let first = watch(stage, format!("{what}, leads: at first"), REPLACED_MS);
        let later = watch(stage, format!("{what}, leads: later"), milliseconds);
        let led = stage.fleet.led(NODE);
        for ill in [first, later] {
            print_ratio(&stage.record, &own, (&well, &ill));
            let name = format!("{}, others", ill.name);
            print_ratio(&stage.record, &others, (&well, &Phase { name, ..ill }));
        }
        println!("{what}: it leads {led} groups at the end");
    } else {
        let ill = watch(stage, format!("{what}, follows"), milliseconds);
        let all: Vec<usize> = (0..SESSIONS).collect();
        print_ratio(&stage.record, &all, (&well, &ill));
    }
    drop(throttle);
}

#[test]
fn a_sick_node_loses_and_repeats_nothing() {
    let Some(mut stage) = Stage::steady("a sick node", Some(NODE)) else { return };
    stage.fleet.await_order();
    for sickness in [Sickness::Disk, Sickness::Cpu, Sickness::Network] {
        stage.fleet.drain(NODE);
        until("it leads nothing", || stage.fleet.led(NODE) == 0);
        // Who drains is not ready.
        let name = format!("{}, follows", sickness.name());
        stage.phase(name, |stage| fall_ill(stage, sickness, false));
        stage.fleet.undrain(NODE);
        stage.fleet.await_order();
        let name = format!("{}, leads", sickness.name());
        stage.phase_and_ready(name, |stage| fall_ill(stage, sickness, true));
        stage.fleet.await_order();
    }
    stage.finish();
}
