//! Members of a group as bytes, in the log and in checkpoints.
//!
//! ```text
//!  members:            three lists, each a count u32 and as many u64: voters, outgoing voters, learners
//!  snapshot's record:  number of the file u64 | members
//! ```

use raft::{Membership, NodeId};

use crate::codec::{Put, Take};

/// Appends members.
pub(crate) fn put_membership(out: &mut Vec<u8>, membership: &Membership) {
    for list in [&membership.voters, &membership.outgoing, &membership.learners] {
        out.put_u32(u32::try_from(list.len()).expect("a group has few members"));
        for member in list {
            out.put_u64(member.0);
        }
    }
}

/// Takes members; `None` if they are not what was once written.
pub(crate) fn take_membership(take: &mut Take<'_>) -> Option<Membership> {
    let mut lists = [Vec::new(), Vec::new(), Vec::new()];
    for list in &mut lists {
        for _ in 0..take.u32()? {
            list.push(NodeId(take.u64()?));
        }
        if !list.is_sorted_by(|a, b| a < b) {
            return None;
        }
    }
    let [voters, outgoing, learners] = lists;
    let overlaps = learners.iter().any(|id| voters.contains(id) || outgoing.contains(id));
    (!overlaps).then_some(Membership { voters, outgoing, learners })
}

/// The payload of the record that says a snapshot was taken over.
pub(crate) fn snapshot_record(file: u64, membership: &Membership) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u64(file);
    put_membership(&mut out, membership);
    out
}

/// Reads it back: the number of the file, and the members.
pub(crate) fn read_snapshot_record(payload: &[u8]) -> Option<(u64, Membership)> {
    let mut take = Take(payload);
    let file = take.u64()?;
    let membership = take_membership(&mut take)?;
    take.0.is_empty().then_some((file, membership))
}

/// Reads the payload of an entry that changes the members; `None` if it is not what was once written.
pub fn read_membership(payload: &[u8]) -> Option<Membership> {
    let mut take = Take(payload);
    let membership = take_membership(&mut take)?;
    take.0.is_empty().then_some(membership)
}
