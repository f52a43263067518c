//! Whether the random groups find a rule that is broken.

use crate::sabotage::Sabotage;

use super::random::run;
use super::world::World;

/// Every broken rule is found within so many seeds.
const SEEDS_MAX: u64 = 4_000;

/// The first seed that finds it, and how.
fn find(rule: Sabotage) -> Option<(u64, String)> {
    (0..SEEDS_MAX).find_map(|seed| {
        let broken = || run(World::with(seed, |config| config.sabotage = Some(rule)));
        let cause = std::panic::catch_unwind(broken).err()?;
        let said = cause.downcast_ref::<String>().cloned();
        let said = said.or_else(|| cause.downcast_ref::<&str>().map(|said| (*said).to_owned()));
        let said = said.unwrap_or_default();
        Some((seed, said.lines().next().unwrap_or_default().to_owned()))
    })
}

#[test]
fn every_broken_rule_is_found() {
    std::panic::set_hook(Box::new(|_| {}));
    let found: Vec<_> = Sabotage::ALL.iter().map(|rule| (*rule, find(*rule))).collect();
    drop(std::panic::take_hook());
    for (rule, found) in &found {
        println!("{rule:?}: {found:?}");
    }
    let missed: Vec<_> = found.iter().filter(|(_, found)| found.is_none()).collect();
    assert!(missed.is_empty(), "not found within {SEEDS_MAX} seeds: {missed:?}");
}
