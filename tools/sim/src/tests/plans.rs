//! Options, faults and scenarios.

use std::collections::BTreeSet;

use crate::atlas::Atlas;
use crate::command::parse;
use crate::count::{Counters, Fault, Reached};
use crate::dice::{Concern, Dice};
use crate::nemesis::{Act, Deed, Nemesis, Overlaps};
use crate::options::Options;
use crate::queue::Time;
use crate::scenario::Scenario;

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn seeds_differ_and_switch_everything_on() {
    let mut acts = BTreeSet::new();
    let mut nodes = BTreeSet::new();
    for seed in 0..100 {
        let options = Options::of(seed);
        assert_eq!(options, Options::of(seed));
        assert!(options.shards.iter().all(|shards| *shards <= options.groups));
        assert_eq!(options.shards.len(), options.nodes);
        acts.extend(options.acts.iter().copied());
        nodes.insert(options.nodes);
    }
    assert_eq!(acts.len(), Act::ALL.len());
    assert!(nodes.is_superset(&BTreeSet::from([3, 5])) && nodes.iter().all(|nodes| *nodes < 8));
}

#[test]
fn the_nemesis_draws_every_fault_it_has() {
    for act in Act::ALL {
        let mut options = Options::of(1);
        options.acts = vec![*act];
        let mut nemesis = Nemesis::new(&options, Dice::new(1, Concern::Nemesis));
        assert!(nemesis.pause().is_some());
        for _ in 0..200 {
            let (kind, lasts) = nemesis.draw().kind();
            let cut = [Act::Partition, Act::OneWay];
            assert!(kind == *act || (cut.contains(&kind) && cut.contains(act)), "{act:?} {kind:?}");
            assert!(0 < lasts);
        }
    }
    let mut options = Options::of(1);
    options.acts.clear();
    assert_eq!(Nemesis::new(&options, Dice::new(1, Concern::Nemesis)).pause(), None);
}

#[test]
fn all_sets_of_links_of_three_nodes_are_cut() {
    let deeds = Scenario::AllLinksOfThree.deeds(7, 3, 300_000);
    let shapes: BTreeSet<Vec<(usize, usize)>> = deeds
        .into_iter()
        .map(|(_, deed)| match deed {
            Deed::Cut { links, .. } => links,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(shapes.len(), 64);
}

#[test]
fn sixteen_seeds_cut_all_sets_of_whole_links_of_five() {
    let mut shapes = BTreeSet::new();
    for seed in 0..16 {
        for (_, deed) in Scenario::LinksOfFive.deeds(seed, 5, 300_000) {
            let Deed::Cut { links, .. } = deed else { panic!("{deed:?}") };
            assert!(links.iter().all(|(from, to)| links.contains(&(*to, *from))));
            shapes.insert(links);
        }
    }
    assert_eq!(shapes.len(), 1_024);
}

#[test]
fn overlapping_faults_are_counted() {
    let mut overlaps = Overlaps::default();
    let mut counters = Counters::new();
    let all = Act::ALL.len() * (Act::ALL.len() + 1) / 2;
    overlaps.begin(&Deed::Full { node: 0, lasts: 100 }, Time(0), &mut counters);
    overlaps.begin(&Deed::Kill { node: 1, down: 10 }, Time(50), &mut counters);
    overlaps.begin(&Deed::Kill { node: 1, down: 10 }, Time(200), &mut counters);
    assert_eq!(counters.pairs_missing().len(), all - 1);
    assert!(!counters.pairs_missing().contains(&(Act::Kill, Act::DiskFull)));
    counters.count(Fault::Kill);
    counters.reach(Reached::Checkpoint);
    let mut sum = Counters::new();
    sum.add(&counters);
    sum.add(&counters);
    assert_eq!((sum.faults(Fault::Kill), sum.reached(Reached::Checkpoint)), (2, 2));
}

#[test]
fn damage_leaves_a_majority_whole() {
    let mut atlas = Atlas::new(5);
    assert!(atlas.allows_known(0) && atlas.allows_unknown(0));
    atlas.hurt(0);
    atlas.hurt(1);
    assert!(!atlas.allows_known(2) && atlas.allows_known(1));
    assert!(!atlas.allows_unknown(2), "whoever may have lost something needs the others");
    atlas.healed(0);
    atlas.healed(1);
    atlas.hurt_unknown(3);
    assert!(!atlas.allows_known(0) && !atlas.allows_absence(0) && atlas.allows_absence(3));
    atlas.found_out(3);
    assert!(atlas.is_damaged(3) && atlas.allows_known(0));
    assert_eq!(atlas.damaged().collect::<Vec<_>>(), [3]);
}

#[test]
fn command_lines_are_understood() {
    let plan = parse(&words("12 nodes=5 faults=kill,rot --twice")).unwrap();
    assert_eq!((plan.first, plan.end, plan.twice), (12, 13, true));
    let options = plan.options(12).unwrap();
    assert_eq!((options.nodes, options.acts), (5, vec![Act::Kill, Act::Rot]));
    let plan = parse(&words("--seeds 3..9 scenario=all-links-of-three")).unwrap();
    assert_eq!((plan.first, plan.end), (3, 9));
    assert_eq!(plan.options(3).unwrap().nodes, 3);
    for bad in ["", "x", "1 nodes=0", "1 faults=no", "--seeds 3", "--seeds 3..3", "1 a=b"] {
        assert!(parse(&words(bad)).is_err(), "{bad}");
    }
}
