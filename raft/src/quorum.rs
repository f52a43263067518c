//! Counting: who won, and what a majority has. Nothing else.

use crate::message::{Index, NodeId};

/// How many of the voters are more than half of them.
fn majority(voters: &[NodeId]) -> usize {
    assert!(!voters.is_empty(), "nobody can decide anything");
    voters.len() / 2 + 1
}

/// Whether more than half of the voters are `for_it`.
pub(crate) fn agrees(voters: &[NodeId], for_it: impl Fn(NodeId) -> bool) -> bool {
    voters.iter().filter(|&&voter| for_it(voter)).count() >= majority(voters)
}

/// The highest index that more than half of the voters hold. Voters are few, so counting for each of
/// them costs less than sorting would: no memory is taken.
pub(crate) fn committed(voters: &[NodeId], matched: impl Fn(NodeId) -> Index) -> Index {
    let held = |&index: &Index| agrees(voters, |voter| index <= matched(voter));
    let highest = voters.iter().map(|&voter| matched(voter)).filter(held).max();
    highest.expect("all voters hold the lowest index among them")
}
