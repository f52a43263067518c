//! Counting: who won, and what a majority has. While a change of members is under way both sets of
//! voters must agree. Nothing else is here.

use crate::membership::Membership;
use crate::message::{Index, NodeId};

/// How many of the voters are more than half of them.
fn majority(voters: &[NodeId]) -> usize {
    voters.len() / 2 + 1
}

fn most(voters: &[NodeId], for_it: &impl Fn(NodeId) -> bool) -> bool {
    voters.iter().filter(|&&voter| for_it(voter)).count() >= majority(voters)
}

/// Whether a quorum is `for_it`. Nobody decides anything where there are no voters.
pub(crate) fn agrees(membership: &Membership, for_it: impl Fn(NodeId) -> bool) -> bool {
    most(&membership.voters, &for_it)
        && (membership.outgoing.is_empty() || most(&membership.outgoing, &for_it))
}

/// The highest number that a quorum has reached; the lowest there is if there are no voters. Voters are
/// few, so counting for each of them costs less than sorting would: no memory is taken.
fn reached<T: Ord + Copy + Default>(voters: &[NodeId], by: &impl Fn(NodeId) -> T) -> T {
    let held = |number: &T| voters.iter().filter(|&&voter| *number <= by(voter)).count();
    let numbers = voters.iter().map(|&voter| by(voter));
    numbers.filter(|number| majority(voters) <= held(number)).max().unwrap_or_default()
}

/// The highest number that a quorum has reached.
pub(crate) fn reached_by<T: Ord + Copy + Default>(
    membership: &Membership,
    by: impl Fn(NodeId) -> T,
) -> T {
    let incoming = reached(&membership.voters, &by);
    if membership.outgoing.is_empty() {
        return incoming;
    }
    incoming.min(reached(&membership.outgoing, &by))
}

/// The highest index that a quorum holds.
pub(crate) fn committed(membership: &Membership, matched: impl Fn(NodeId) -> Index) -> Index {
    reached_by(membership, matched)
}
