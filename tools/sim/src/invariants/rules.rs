//! Rules whose breach does harm only when much else happens: they are looked at by themselves, where
//! somebody speaks.

use model::ids::GroupId;
use raft::{Index, NodeId, Term};
use shard::peer::SnapshotStep;

use super::{Court, Group};
use crate::verdict::{Findings, Kind};

impl Court {
    /// Somebody says that a group's log is committed up to a place.
    pub(crate) fn tells(&mut self, group: u32, index: Index) {
        let (known, _) = self.group(group);
        known.told = known.told.max(index);
    }

    /// The leader of a term hands over an entry of its own that changes the members: something of its
    /// term was committed before (thesis, 4.1), and so was the change before.
    pub(crate) fn changes(&mut self, group: u32, term: Term, place: Index, committed: Index) {
        let (known, findings) = self.group(group);
        let begin = known.begin_of(term, place);
        if begin.is_some_and(|begin| committed < begin) {
            let text = format!("group {group}, term {}, index {}: at once", term.0, place.0);
            findings.add(Kind::ChangedTooSoon, text);
        }
        let earlier = known.memberships.range(..(place, Term(0))).rev();
        let mut earlier = earlier.map(|((index, of), _)| (*index, *of));
        let before = earlier.find(|(index, of)| known.term_at((term, place), *index) == Some(*of));
        if before.is_some_and(|(before, _)| committed < before) {
            let text = format!("group {group}, term {}, index {}: two", term.0, place.0);
            findings.add(Kind::ChangedTooSoon, text);
        }
    }

    /// A node in one of its lives says something of a snapshot.
    pub(crate) fn hands_state(
        &mut self,
        group: GroupId,
        (id, life): (NodeId, u32),
        step: &SnapshotStep,
    ) {
        let number = match step {
            SnapshotStep::Offer { number, last } => {
                self.tells(group.0, last.1);
                *number
            }
            SnapshotStep::FramesEnd { number, head, .. } => {
                self.tells(group.0, head.last.1);
                *number
            }
            _ => return,
        };
        let named = *self.snapshots.entry((group, id, number)).or_insert(life);
        if named != life {
            let text = format!("{id}: {number} in lives {named} and {life}");
            self.findings.add(Kind::SnapshotNamedTwice, text);
        }
    }
}

impl Group {
    /// What a leader calls committed, and nobody did before, it has counted itself, in this term or when
    /// it led before: then it ends in a term of its own (paper, 5.4.2).
    pub(super) fn check_counted(
        &mut self,
        group: u32,
        (term, from): (Term, NodeId),
        committed: Index,
        findings: &mut Findings,
    ) {
        if committed <= self.told {
            return;
        }
        self.told = committed;
        let Some(of) = self.term_at(self.leaders[&term].last, committed) else { return };
        let counted = self.leaders.get(&of).is_some_and(|leader| leader.id == from);
        let restored = self.nodes.get(&from).is_some_and(|node| committed <= node.floor_ever);
        if !counted && !restored {
            let text = format!("group {group}, term {}: index {committed:?} of {of:?}", term.0);
            findings.add(Kind::CountedOlder, text);
        }
    }

    /// The first entry of a term, as far as is known from one of its entries.
    fn begin_of(&self, term: Term, from: Index) -> Option<Index> {
        let mut at = from;
        loop {
            let (_, before) = self.entries.get(&(at, term))?;
            match *before {
                Some(before) if before == term => at.0 -= 1,
                Some(_) => return Some(at),
                None => return None,
            }
        }
    }
}
