//! Groups under everything at once: lost, doubled, delayed and reordered messages, cut links, slow
//! disks, crashes that lose writes under way, disks that lose what was acknowledged, snapshots that come
//! late or twice, changes of members, nodes that never come back. First anything may happen and nothing
//! wrong may come of it; then the faults end, and the group must come to life again, and to rest. A seed
//! names a run.

use super::dice::Reached;
use super::world::{Act, Focus, World};

pub(super) const SEEDS: u64 = 200;
const STEPS: u32 = 10_000;

pub(super) fn run(mut world: World) -> (Reached, Vec<String>) {
    for _ in 0..STEPS {
        world.act();
    }
    world.recover();
    (world.reached(), world.summary())
}

/// A run that prints its seed if it fails.
pub(super) fn run_seed(seed: u64) -> Reached {
    let traced = std::env::args().any(|arg| arg == "trace");
    let ended = std::panic::catch_unwind(|| {
        let asked = |word: &str| std::env::args().any(|arg| arg == word);
        let often: &[(Act, usize)] = if asked("stormy") {
            &[(Act::Crash, 30), (Act::Restart, 60), (Act::Campaign, 30)]
        } else if asked("cutting") {
            &[(Act::Crash, 20), (Act::Restart, 20), (Act::CutOrHeal, 10)]
        } else if asked("compacting") {
            &[(Act::Compact, 30), (Act::CutOrHeal, 10)]
        } else {
            &[]
        };
        let mut world = World::with(seed, Focus { lease: false, often }, |_| {});
        world.traced = traced;
        run(world).0
    });
    ended.unwrap_or_else(|cause| {
        println!("seed {seed}");
        std::panic::resume_unwind(cause)
    })
}

#[test]
fn groups_survive_faults() {
    // Long runs, and a look at one, are made by hand: -- groups_survive seeds=0..1000 [stormy|cutting|compacting]
    // [trace]
    let given = std::env::args().find_map(|arg| arg.strip_prefix("seeds=").map(str::to_owned));
    let range = given.and_then(|range| {
        let (first, last) = range.split_once("..")?;
        Some(first.parse().ok()?..last.parse().ok()?)
    });
    let range = range.unwrap_or(0..SEEDS);
    let mut all = Reached::default();
    for seed in range.clone() {
        all += run_seed(seed);
    }
    println!("{all:?}");
    for (name, count) in &all.0 {
        assert!(0 < *count, "{name} was never reached");
    }
    assert!(20 * (range.end - range.start) < all.0["entries committed"], "{all:?}");
}

#[test]
fn a_seed_names_a_run() {
    for seed in 0..5 {
        assert_eq!(run(World::new(seed)), run(World::new(seed)));
    }
}
