//! Where groups live: the same on every node, evenly spread, and stable when nodes come and go.

use crate::cluster::{MemberId, NameTag, name_tag, replicas};
use crate::ids::GroupId;

fn tags(names: &[&str]) -> Vec<NameTag> {
    names.iter().map(|name| name_tag(name)).collect()
}

const FIVE: [&str; 5] = ["starcite-1", "starcite-2", "starcite-3", "starcite-4", "starcite-5"];

#[test]
fn placement_never_changes() {
    let tags = tags(&FIVE);
    let place = |group| {
        let chosen = replicas(GroupId(group), &tags, 3);
        chosen.iter().map(|tag| tags.iter().position(|t| t == tag).unwrap()).collect::<Vec<_>>()
    };
    expect_test::expect!["[[3, 0, 1], [0, 3, 2], [2, 3, 4], [4, 3, 1]]"]
        .assert_eq(&format!("{:?}", [place(0), place(1), place(2), place(255)]));
}

#[test]
fn the_order_of_names_does_not_matter() {
    let mut backward = tags(&FIVE);
    backward.reverse();
    for group in (0..256).map(GroupId) {
        assert_eq!(replicas(group, &tags(&FIVE), 3), replicas(group, &backward, 3));
    }
}

#[test]
fn groups_and_their_leaders_spread_evenly() {
    let tags = tags(&FIVE);
    let (mut held, mut led) = ([0; 5], [0; 5]);
    for group in (0..1000).map(GroupId) {
        let chosen = replicas(group, &tags, 3);
        assert_eq!(chosen.len(), 3);
        for (rank, tag) in chosen.iter().enumerate() {
            let node = tags.iter().position(|t| t == tag).unwrap();
            held[node] += 1;
            led[node] += u32::from(rank == 0);
        }
    }
    assert!(held.iter().all(|count| (500..700).contains(count)), "{held:?}");
    assert!(led.iter().all(|count| (150..250).contains(count)), "{led:?}");
}

#[test]
fn a_node_that_goes_moves_no_group_between_others() {
    let (all, without) = (tags(&FIVE), tags(&FIVE[..4]));
    let gone = name_tag(FIVE[4]);
    for group in (0..256).map(GroupId) {
        let before = replicas(group, &all, 3);
        let after = replicas(group, &without, 3);
        for tag in before.iter().filter(|tag| **tag != gone) {
            assert!(after.contains(tag), "group {} moved", group.0);
        }
    }
}

#[test]
fn fewer_nodes_than_copies_hold_everything() {
    assert_eq!(replicas(GroupId(7), &tags(&FIVE[..2]), 3).len(), 2);
    assert_eq!(replicas(GroupId(7), &tags(&FIVE[..2]), 1).len(), 1);
}

#[test]
fn a_member_names_its_node_and_its_life() {
    let tag = name_tag("starcite-1");
    let (first, second) = (MemberId::new(tag, 1), MemberId::new(tag, 2));
    assert_ne!(first, second);
    assert_eq!(first.tag(), second.tag());
    assert_eq!(first.tag(), tag);
}
