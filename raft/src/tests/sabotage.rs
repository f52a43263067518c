//! Whether the random groups find a rule that is broken.

use crate::sabotage::Sabotage;

use super::random::run;
use super::world::{Act, Focus, World};

/// Every broken rule is found within so many seeds.
const SEEDS_MAX: u64 = 4_000;

/// What brings out some of them: the rest turns up anyway.
fn focus(rule: Sabotage) -> Focus {
    let often: &[(Act, usize)] = match rule {
        Sabotage::VoteBeforeDurable => &[(Act::Crash, 40), (Act::Restart, 60), (Act::Campaign, 20)],
        Sabotage::VoteInDoubt => &[(Act::RestartInDoubt, 10), (Act::Crash, 10)],
        Sabotage::CountOlderTerms => &[(Act::StepDown, 8), (Act::Suspect, 20), (Act::Campaign, 20)],
        Sabotage::AgreeAtFloor => &[(Act::Compact, 30), (Act::CutOrHeal, 10)],
        _ => &[],
    };
    Focus { lease: rule == Sabotage::LeaseDespiteTransfer, often }
}

/// A world for this rule, broken or not.
fn world(seed: u64, rule: Sabotage, broken: bool) -> World {
    World::with(seed, focus(rule), |config| {
        config.sabotage = Some(rule).filter(|_| broken);
        if rule == Sabotage::CountOlderTerms {
            // Each entry travels alone, as in figure 8 of the paper.
            config.append_bytes_max = 1;
        }
    })
}

/// The first seed that finds it, and how.
fn find(rule: Sabotage) -> Option<(u64, String)> {
    (0..SEEDS_MAX).find_map(|seed| {
        let cause = std::panic::catch_unwind(|| run(world(seed, rule, true))).err()?;
        let whole = std::panic::catch_unwind(|| run(world(seed, rule, false)));
        assert!(whole.is_ok(), "seed {seed} fails without {rule:?} as well");
        let said = cause.downcast_ref::<String>().cloned();
        let said = said.or_else(|| cause.downcast_ref::<&str>().map(|said| (*said).to_owned()));
        let said = said.unwrap_or_default();
        Some((seed, said.lines().next().unwrap_or_default().to_owned()))
    })
}

#[test]
fn every_broken_rule_is_found() {
    std::panic::set_hook(Box::new(|_| {}));
    let wanted: Vec<String> = std::env::args().collect();
    let wanted = |rule: &&Sabotage| {
        let named = |rule: &Sabotage| wanted.contains(&format!("{rule:?}"));
        named(rule) || !Sabotage::ALL.iter().any(named)
    };
    let rules = Sabotage::ALL.iter().filter(wanted);
    let found: Vec<_> = rules.map(|rule| (*rule, find(*rule))).collect();
    drop(std::panic::take_hook());
    for (rule, found) in &found {
        println!("{rule:?}: {found:?}");
    }
    let missed: Vec<_> = found.iter().filter(|(_, found)| found.is_none()).collect();
    assert!(missed.is_empty(), "not found within {SEEDS_MAX} seeds: {missed:?}");
}
