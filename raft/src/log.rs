//! The entries kept in memory, and how far they have come.
//!
//! ```text
//!  floor <= durable <= submitted <= last      our own disk
//!  floor <= applied <= handed    <= committed <= last      the group
//!                      handed    <= submitted
//! ```
//!
//! All marks name the last index that has come so far. What a quorum holds may be applied before our
//! own disk has it: then `durable < applied`.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::limits::CAPACITY_KEPT;
use crate::membership::{Members, Membership};
use crate::message::{Content, Entry, Index, NodeId, Snapshot, Term};

#[derive(Debug)]
pub(crate) struct Log {
    /// The place just before the first entry kept. Applied and durable, so it agrees with every leader.
    floor: (Term, Index),
    /// Entries `(floor, last]`, without a hole, with terms that never fall.
    entries: VecDeque<Entry>,
    /// Whether replaced entries leave their change of members behind.
    #[cfg(feature = "sabotage")]
    keeps_members: bool,
    /// Who belongs to the group along it.
    members: Members,
    submitted: Index,
    durable: Index,
    committed: Index,
    handed: Index,
    applied: Index,
}

impl Log {
    /// A log read back from disk: all of it is durable, and what is up to the floor is applied.
    pub(crate) fn new(snapshot: Snapshot, entries: Vec<Entry>) -> Log {
        let floor = snapshot.last;
        let mut members = Members::new(floor.1, snapshot.membership);
        let mut last = floor;
        for entry in &entries {
            assert!(entry.index == last.1.next(), "entries continue without a hole");
            assert!(last.0 <= entry.term, "terms never fall along a log");
            last = entry.position();
            note(&mut members, entry);
        }
        Log {
            floor,
            entries: entries.into(),
            #[cfg(feature = "sabotage")]
            keeps_members: false,
            members,
            submitted: last.1,
            durable: last.1,
            committed: floor.1,
            handed: floor.1,
            applied: floor.1,
        }
    }

    #[cfg(feature = "sabotage")]
    pub(crate) fn broken_by(mut self, sabotage: Option<crate::sabotage::Sabotage>) -> Log {
        self.keeps_members = sabotage == Some(crate::sabotage::Sabotage::KeepTruncatedMembers);
        self
    }

    /// The members that count: those named last, committed or not.
    pub(crate) fn membership(&self) -> &Arc<Membership> {
        self.members.current()
    }

    /// Whether a node has a vote, or had one that is not known to be taken from it: what takes it may
    /// yet be replaced, or need that node to be committed.
    pub(crate) fn may_elect(&self, id: NodeId) -> bool {
        self.members.any_since(self.committed, id)
    }

    /// Where those were named.
    pub(crate) fn membership_since(&self) -> Index {
        self.members.since()
    }

    /// The members as of what is applied.
    pub(crate) fn membership_applied(&self) -> &Arc<Membership> {
        self.members.at(self.applied)
    }

    /// The members as of a place that is kept.
    #[cfg(test)]
    pub(crate) fn membership_at(&self, index: Index) -> &Arc<Membership> {
        self.members.at(index)
    }

    /// The last entry, or the floor if there is none.
    pub(crate) fn last(&self) -> (Term, Index) {
        self.entries.back().map_or(self.floor, Entry::position)
    }

    /// The term of the first entry, if there is one.
    pub(crate) fn first_term(&self) -> Option<Term> {
        self.entries.front().map(|entry| entry.term)
    }

    pub(crate) fn floor(&self) -> (Term, Index) {
        self.floor
    }

    pub(crate) fn submitted(&self) -> Index {
        self.submitted
    }

    pub(crate) fn durable(&self) -> Index {
        self.durable
    }

    pub(crate) fn committed(&self) -> Index {
        self.committed
    }

    pub(crate) fn handed(&self) -> Index {
        self.handed
    }

    pub(crate) fn applied(&self) -> Index {
        self.applied
    }

    /// The term at a place from the floor to the end; `None` elsewhere.
    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.floor.1 {
            return Some(self.floor.0);
        }
        self.get(index).map(|entry| entry.term)
    }

    /// The entry at a place, if it is kept.
    pub(crate) fn get(&self, index: Index) -> Option<&Entry> {
        let slot = index.0.checked_sub(self.floor.1.next().0)?;
        let entry = self.entries.get(usize::try_from(slot).ok()?)?;
        assert!(entry.index == index, "entries lie at their place");
        Some(entry)
    }

    /// The last place with neither index nor term above those given: the furthest that a log which
    /// holds `place` can agree with this one. The floor at the lowest, since every leader holds it.
    pub(crate) fn last_agreeable(&self, place: (Term, Index)) -> (Term, Index) {
        let within = self.slot_after(place.1);
        let slot = self.entries.partition_point(|entry| entry.term <= place.0).min(within);
        match slot.checked_sub(1) {
            Some(slot) => self.entries[slot].position(),
            None => self.floor,
        }
    }

    /// Adds an entry at the end.
    pub(crate) fn append(&mut self, entry: Entry) {
        let last = self.last();
        assert!(entry.index == last.1.next(), "an entry continues the log");
        assert!(last.0 <= entry.term, "terms never fall along a log");
        note(&mut self.members, &entry);
        self.entries.push_back(entry);
    }

    /// Adds what is new in `entries`, which continue a place this log holds. From the first entry of
    /// another term on, what was here is replaced.
    pub(crate) fn merge(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            if self.last().1 < entry.index {
                self.append(entry);
                continue;
            }
            // At or below the floor all logs agree.
            let conflicts = self.floor.1 < entry.index
                && self.term_at(entry.index).is_some_and(|term| term != entry.term);
            if conflicts {
                self.truncate(entry.index);
                self.append(entry);
            }
        }
    }

    /// Drops the entries from `from` on. What the disk holds of them will be replaced, so they count
    /// as not submitted.
    pub(crate) fn truncate(&mut self, from: Index) {
        assert!(self.committed < from, "what is committed stays");
        let kept = self.slot_after(from).checked_sub(1).expect("truncated above the floor");
        self.entries.truncate(kept);
        #[cfg(feature = "sabotage")]
        let from_members = if self.keeps_members { Index(u64::MAX) } else { from };
        #[cfg(not(feature = "sabotage"))]
        let from_members = from;
        self.members.truncate(from_members);
        let last = self.last().1;
        self.submitted = self.submitted.min(last);
        self.durable = self.durable.min(last);
        assert!(last.next() == from, "the log now ends just before");
    }

    /// Entries from `first` on, as long as they take at most `bytes_max` bytes of memory, but at least
    /// one.
    pub(crate) fn entries_from(&self, first: Index, bytes_max: usize) -> Vec<Entry> {
        assert!(self.floor.1 < first, "what has left memory cannot be sent");
        let start = self.slot_after(first) - 1;
        let mut bytes = 0;
        let fits = |entry: &&Entry| {
            let is_first = entry.index == first;
            bytes += entry.bytes();
            is_first || bytes <= bytes_max
        };
        self.entries.range(start..).take_while(fits).cloned().collect()
    }

    /// Entries that have not been handed out for writing; from now on they are.
    pub(crate) fn submit(&mut self) -> Vec<Entry> {
        let entries = self.range(self.submitted, self.last().1);
        self.submitted = self.last().1;
        entries
    }

    /// The last entry, if the disk has not reported it yet.
    pub(crate) fn unproven(&self) -> Option<(Term, Index)> {
        assert!(self.submitted == self.last().1, "asked when all is handed out");
        (self.durable < self.submitted).then(|| self.last())
    }

    /// The disk holds everything up to `place`, as it was when that was handed out for writing; it is
    /// what is here only if the entry still is. The caller vouches that no entry handed out in the
    /// current term has been replaced and put back since.
    pub(crate) fn persisted(&mut self, place: (Term, Index)) {
        let still_here = self.durable < place.1 && self.term_at(place.1) == Some(place.0);
        if still_here {
            assert!(place.1 <= self.submitted, "only what was handed out becomes durable");
            self.durable = place.1;
        }
    }

    /// Entries up to `index` are committed. Does nothing if that is known.
    pub(crate) fn commit(&mut self, index: Index) {
        assert!(index <= self.last().1, "only what is here can be committed");
        self.committed = self.committed.max(index);
    }

    /// Committed entries that have not been handed out for applying; from now on they are.
    pub(crate) fn hand_out(&mut self) -> Vec<Entry> {
        let end = self.committed.min(self.submitted);
        let entries = self.range(self.handed, end);
        self.handed = end;
        entries
    }

    /// The state machine has applied entries up to `index`.
    pub(crate) fn set_applied(&mut self, index: Index) {
        assert!(self.applied <= index, "applying never goes back");
        assert!(index <= self.handed, "only what was handed out can be applied");
        self.applied = index;
    }

    /// The log restarts behind a state that was taken over: everything up to `last` is applied. What is
    /// behind stays if it `continues` the same history.
    pub(crate) fn restore(&mut self, snapshot: &Snapshot, continues: bool) {
        let place = snapshot.last;
        assert!(self.committed < place.1, "what is committed here is not taken over");
        let kept = if continues { self.slot_after(place.1) } else { self.entries.len() };
        self.entries.drain(..kept);
        if !continues {
            self.submitted = place.1;
            self.durable = place.1;
        }
        self.floor = place;
        self.submitted = self.submitted.max(place.1);
        self.durable = self.durable.max(place.1);
        self.committed = place.1;
        self.handed = place.1;
        self.applied = place.1;
        self.members = Members::new(place.1, Arc::clone(&snapshot.membership));
        for entry in &self.entries {
            note(&mut self.members, entry);
        }
    }

    /// Lets go of entries up to `index`, but of none that the disk has not reported yet.
    pub(crate) fn compact(&mut self, index: Index) {
        assert!(index <= self.applied, "only what is applied may leave");
        let floor = index.min(self.durable);
        if self.floor.1 < floor {
            let gone = self.slot_after(floor);
            self.floor = self.entries[gone - 1].position();
            self.entries.drain(..gone);
            self.members.compact(floor);
            // What a burst took goes back, since most logs are idle most of the time; a little stays,
            // so that a log which is emptied after every write does not take it anew each time.
            let room = (self.entries.len() * 2).max(CAPACITY_KEPT);
            if 2 * room < self.entries.capacity() {
                self.entries.shrink_to(room);
            }
        }
    }

    /// Gives back what memory it does not need now.
    pub(crate) fn give_back(&mut self) {
        self.entries.shrink_to_fit();
    }

    /// What it holds beyond its own size, but for what entries and members hold.
    #[cfg(test)]
    pub(crate) fn heap_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>() + self.members.heap_bytes()
    }

    /// How many entries there is room for.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.entries.capacity()
    }

    /// Entries that were handed out for writing and are not applied.
    pub(crate) fn unapplied(&self) -> Vec<Entry> {
        let after = self.applied.min(self.submitted);
        self.range(after, self.submitted)
    }

    /// Entries `(after, last]`.
    fn range(&self, after: Index, last: Index) -> Vec<Entry> {
        assert!(after <= last, "a range that runs forward");
        self.entries.range(self.slot_after(after)..self.slot_after(last)).cloned().collect()
    }

    /// The slot of the first entry above `index`, at most the number of entries.
    fn slot_after(&self, index: Index) -> usize {
        let slot = usize::try_from(index.0.saturating_sub(self.floor.1.0)).unwrap_or(usize::MAX);
        slot.min(self.entries.len())
    }
}

/// Remembers whom an entry makes a member.
fn note(members: &mut Members, entry: &Entry) {
    if let Content::Membership(membership) = &entry.content {
        members.push(entry.index, Arc::clone(membership));
    }
}
