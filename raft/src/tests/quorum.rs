//! Counting, exhaustively, against a second way to count.

use crate::membership::Membership;
use crate::message::{Index, NodeId};
use crate::quorum;

/// More voters than anybody runs.
const VOTERS_MAX: u64 = 7;
const INDEX_MAX: u64 = 3;
/// How many nodes joint memberships are made of.
const JOINT_NODES: u64 = 5;

fn slot(id: NodeId) -> usize {
    usize::try_from(id.0).unwrap()
}

fn voters(count: u64) -> Membership {
    Membership::new((0..count).map(NodeId).collect(), Vec::new())
}

/// Every way to give each of `count` voters a number up to `max`.
fn every_assignment(count: u64, max: u64) -> impl Iterator<Item = Vec<u64>> {
    let exponent = u32::try_from(count).unwrap();
    (0..(max + 1).pow(exponent)).map(move |mut code| {
        let digit = |_| {
            let digit = code % (max + 1);
            code /= max + 1;
            digit
        };
        (0..count).map(digit).collect()
    })
}

#[test]
fn a_majority_is_more_than_half() {
    for count in 1..=VOTERS_MAX {
        for granted in every_assignment(count, 1) {
            let yes: u64 = granted.iter().sum();
            let agrees = quorum::agrees(&voters(count), |id| granted[slot(id)] == 1);
            assert_eq!(agrees, count < 2 * yes, "{granted:?}");
        }
    }
}

#[test]
fn two_majorities_share_a_voter() {
    for count in 1..=VOTERS_MAX {
        let voters = voters(count);
        // 1: in the first set, 2: in the second, 3: in both.
        for sets in every_assignment(count, 3) {
            let first = quorum::agrees(&voters, |id| sets[slot(id)] & 1 != 0);
            let second = quorum::agrees(&voters, |id| sets[slot(id)] & 2 != 0);
            assert!(!(first && second) || sets.contains(&3), "{sets:?}");
        }
    }
}

#[test]
fn committed_is_what_the_median_voter_holds() {
    for count in 1..=VOTERS_MAX {
        for matched in every_assignment(count, INDEX_MAX) {
            let committed = quorum::committed(&voters(count), |id| Index(matched[slot(id)]));
            let mut sorted = matched.clone();
            sorted.sort_unstable();
            let median = sorted[(sorted.len() - 1) / 2];
            assert_eq!(committed, Index(median), "{matched:?}");
        }
    }
}

#[test]
fn losing_a_copy_never_raises_what_is_committed() {
    for matched in every_assignment(5, INDEX_MAX) {
        let before = quorum::committed(&voters(5), |id| Index(matched[slot(id)]));
        for voter in 0..5 {
            let mut fewer = matched.clone();
            fewer[voter] = fewer[voter].saturating_sub(1);
            let after = quorum::committed(&voters(5), |id| Index(fewer[slot(id)]));
            assert!(after <= before, "{matched:?}");
        }
    }
}

/// Every joint membership over a few nodes, each in neither set, one, or both.
fn every_joint() -> impl Iterator<Item = Membership> {
    every_assignment(JOINT_NODES, 3).filter_map(|sets| {
        let of = |bit: u64| {
            let in_it = (0..JOINT_NODES).map(NodeId).filter(|id| sets[slot(*id)] & bit != 0);
            in_it.collect::<Vec<_>>()
        };
        let membership = Membership { voters: of(1), outgoing: of(2), learners: Vec::new() };
        let both = !membership.voters.is_empty() && !membership.outgoing.is_empty();
        both.then_some(membership)
    })
}

fn majority_of(voters: &[NodeId], yes: &[u64]) -> bool {
    voters.len() < 2 * voters.iter().filter(|id| yes[slot(**id)] == 1).count()
}

#[test]
fn a_joint_quorum_is_a_majority_of_both() {
    for membership in every_joint() {
        for yes in every_assignment(JOINT_NODES, 1) {
            let expected =
                majority_of(&membership.voters, &yes) && majority_of(&membership.outgoing, &yes);
            let agrees = quorum::agrees(&membership, |id| yes[slot(id)] == 1);
            assert_eq!(agrees, expected, "{membership:?} {yes:?}");
        }
    }
}

#[test]
fn a_joint_commit_is_the_highest_index_a_joint_quorum_holds() {
    for membership in every_joint() {
        for matched in every_assignment(JOINT_NODES, 2) {
            let held = |index: u64| quorum::agrees(&membership, |id| index <= matched[slot(id)]);
            let expected = (0..=2).rev().find(|index| held(*index)).unwrap();
            let committed = quorum::committed(&membership, |id| Index(matched[slot(id)]));
            assert_eq!(committed, Index(expected), "{membership:?} {matched:?}");
        }
    }
}

#[test]
fn a_joint_quorum_meets_every_majority_of_either_set() {
    for membership in every_joint() {
        for voters in [&membership.voters, &membership.outgoing] {
            let alone = Membership::new(voters.clone(), Vec::new());
            for joint in every_assignment(JOINT_NODES, 1) {
                for other in every_assignment(JOINT_NODES, 1) {
                    let both = quorum::agrees(&membership, |id| joint[slot(id)] == 1)
                        && quorum::agrees(&alone, |id| other[slot(id)] == 1);
                    let meet =
                        voters.iter().any(|id| joint[slot(*id)] == 1 && other[slot(*id)] == 1);
                    assert!(!both || meet, "{membership:?} {joint:?} {other:?}");
                }
            }
        }
    }
}

#[test]
fn nobody_decides_where_nobody_votes() {
    let nobody = Membership::default();
    assert!(!quorum::agrees(&nobody, |_| true));
    assert_eq!(quorum::committed(&nobody, |_| Index(7)), Index(0));
}
