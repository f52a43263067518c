//! Counting, exhaustively, against a second way to count.

use crate::membership::Membership;
use crate::message::{Index, NodeId};
use crate::quorum;

/// More voters than anybody runs.
const VOTERS_MAX: u64 = 7;
const INDEX_MAX: u64 = 3;

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
