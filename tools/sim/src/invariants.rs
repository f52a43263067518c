//! Raft's promises, by the paper's names, checked from outside: by what nodes say to each other and
//! what reaches their disks. What a node said and wrote in its past lives counts, whatever it
//! remembers of it itself.
//!
//! An entry's index and term stand for the whole log before it (Log Matching), so one map of entries
//! with the term in front of each is the log of every node.

mod rules;

use std::collections::BTreeMap;
use std::sync::Arc;

use model::ids::GroupId;
use raft::{Index, Membership, NodeId, Term};

use crate::node::FoundLog;
use crate::verdict::{Findings, Kind};

/// An entry as far as the checker is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Its term.
    pub(crate) term: Term,
    /// Its place.
    pub(crate) index: Index,
    /// The digest of its content, or [`UNKNOWN`].
    pub(crate) digest: u64,
}

/// The digest of what was not looked at.
pub(crate) const UNKNOWN: u64 = 0;

/// All groups of a cluster.
#[derive(Debug, Default)]
pub(crate) struct Court {
    /// The members each group begins with.
    first: Vec<Arc<Membership>>,
    groups: BTreeMap<u32, Group>,
    /// In which life a node named a snapshot so.
    snapshots: BTreeMap<(GroupId, NodeId, u64), u32>,
    /// How often an entry took another's place on a disk.
    pub(crate) replaced: u64,
    /// What was found.
    pub(crate) findings: Findings,
}

#[derive(Debug, Default)]
struct Group {
    /// Who led each term, and the last place known of its log.
    leaders: BTreeMap<Term, Leader>,
    /// Every entry ever seen, with the term of the one in front of it.
    entries: BTreeMap<(Index, Term), (u64, Option<Term>)>,
    /// By index from 1: the entry's term, and the term of the leader that said it was committed.
    committed: Vec<(Term, Term)>,
    /// The highest place anybody has called committed.
    told: Index,
    nodes: BTreeMap<NodeId, Node>,
    /// Memberships ever seen, by the place of their entries.
    memberships: BTreeMap<(Index, Term), Arc<Membership>>,
    /// Whose disks have ever held an entry.
    held: BTreeMap<(Index, Term), Vec<NodeId>>,
}

#[derive(Debug, Clone, Copy)]
struct Leader {
    id: NodeId,
    last: (Term, Index),
}

/// One member, in all its lives.
#[derive(Debug, Default)]
struct Node {
    /// Whom it voted for in each term.
    votes: BTreeMap<Term, NodeId>,
    /// The term of its newest promise.
    term: Term,
    /// The newest term it stood in, as far as it may remember that.
    stood: Term,
    /// What its disk holds: the term of each entry.
    log: BTreeMap<Index, Term>,
    /// What lies up to here is in a checkpoint.
    floor: Index,
    /// And ends in an entry of this term.
    floor_term: Term,
    /// The highest floor there ever was, by any member of this name.
    floor_ever: Index,
    /// Term and vote on its disk.
    hard: (Term, Option<NodeId>),
    /// How far it told the newest leader that heard of it that its disk holds the log.
    told: (Term, Index),
}

impl Court {
    /// Nobody has said anything; each group has these members.
    pub(crate) fn new(first: Vec<Arc<Membership>>) -> Court {
        Court { first, ..Court::default() }
    }

    fn group(&mut self, group: u32) -> (&mut Group, &mut Findings) {
        (self.groups.entry(group).or_default(), &mut self.findings)
    }

    /// A node speaks as the leader of a term.
    pub(crate) fn leads(&mut self, group: u32, term: Term, id: NodeId) {
        let (known, findings) = self.group(group);
        let last = (Term(0), Index(0));
        let leader = known.leaders.entry(term).or_insert(Leader { id, last });
        if leader.id != id {
            let text = format!("group {group}, term {}: {} and {id}", term.0, leader.id);
            findings.add(Kind::ElectionSafety, text);
        }
    }

    /// A leader hands entries over that continue `previous`, and says how far its log is committed.
    pub(crate) fn append(
        &mut self,
        group: u32,
        (term, from): (Term, NodeId),
        previous: (Term, Index),
        (entries, committed): (&[Seen], Index),
    ) {
        self.leads(group, term, from);
        let (known, findings) = self.group(group);
        let mut last = previous;
        for entry in entries {
            if entry.index.0 != last.1.0 + 1 {
                findings.add(Kind::LogMatching, format!("group {group}: a hole in an append"));
            }
            known.see(group, entry, Some(last.0), findings);
            last = (entry.term, entry.index);
        }
        known.check_complete(group, term, previous, findings);
        for entry in entries {
            known.check_complete(group, term, (entry.term, entry.index), findings);
        }
        let leader = known.leaders.get_mut(&term).expect("it was just noted");
        if leader.last.1 < last.1 {
            leader.last = last;
        }
        let before = known.committed.len();
        known.check_counted(group, (term, from), committed, findings);
        known.commit(group, term, committed, findings);
        if before < known.committed.len() {
            self.check_held(group, term);
        }
    }

    /// What a leader calls committed is on the disks of a majority of those that vote, before and behind
    /// a change that is under way.
    fn check_held(&mut self, group: u32, term: Term) {
        let Some(known) = self.groups.get(&group) else { return };
        let Some((of, _)) = known.committed.last() else { return };
        let index = Index(known.committed.len() as u64);
        let held = known.held.get(&(index, *of));
        let holds = |id: &NodeId| {
            held.is_some_and(|held| held.contains(id))
                || known.nodes.get(id).is_some_and(|node| index <= node.floor_ever)
        };
        let majority = |voters: &[NodeId]| {
            voters.is_empty() || voters.len() < 2 * voters.iter().filter(|id| holds(id)).count()
        };
        let is_committed = |members: &Arc<Membership>| {
            let mut all = known.memberships.iter();
            all.any(|(place, other)| Arc::ptr_eq(other, members) && known.is_committed(place))
        };
        // A leader ends a change as soon as its beginning is committed, before anybody hears of it.
        let agree = |members: &Arc<Membership>| {
            let outgoing = || majority(&members.outgoing) || is_committed(members);
            majority(&members.voters) && outgoing()
        };
        if !self.candidates(group).any(agree) {
            let holders: Vec<&NodeId> = known.nodes.keys().filter(|id| holds(id)).collect();
            let (term, of) = (term.0, of.0);
            let text = format!("group {group}, term {term}, index {index:?} of {of}: {holders:?}");
            self.findings.add(Kind::CommittedTooSoon, text);
        }
    }

    /// The memberships that may count now, and the one before them.
    fn candidates(&self, group: u32) -> impl Iterator<Item = &Arc<Membership>> {
        let known = self.groups.get(&group);
        let all: Vec<_> = known.iter().flat_map(|known| &known.memberships).collect();
        let newest =
            all.iter().rposition(|(place, _)| known.is_some_and(|k| k.is_committed(place)));
        // What is committed is known late: the one before may be the one that counted.
        let from = newest.unwrap_or(0).saturating_sub(1);
        let first = newest.is_none_or(|newest| newest == 0).then(|| &self.first[group as usize]);
        first.into_iter().chain(all.into_iter().skip(from).map(|(_, members)| members))
    }

    /// Every set of voters that may have a say in a group now.
    pub(crate) fn electorates(&self, group: u32) -> impl Iterator<Item = &[NodeId]> {
        let sets = self.candidates(group).flat_map(|members| [&members.voters, &members.outgoing]);
        sets.map(Vec::as_slice).filter(|voters| !voters.is_empty())
    }

    /// The members of a group, as far as is known to be committed.
    pub(crate) fn members(&self, group: u32) -> &Membership {
        let known = self.groups.get(&group);
        let newest = known.and_then(|known| {
            let mut all = known.memberships.iter().rev();
            all.find(|(place, _)| known.is_committed(place)).map(|(_, members)| members)
        });
        newest.unwrap_or(&self.first[group as usize])
    }

    /// The members before a change that stands at this place of a group's log.
    pub(crate) fn members_before(&self, group: u32, place: (Term, Index)) -> Option<&Membership> {
        let known = self.groups.get(&group)?;
        let earlier = known.memberships.range(..(place.1, Term(0))).rev();
        let mut earlier =
            earlier.filter(|((index, of), _)| known.term_at(place, *index) == Some(*of));
        earlier.next().map(|(_, members)| &**members)
    }

    /// The leader of a term tells another to stand: it must have all that was committed by then, or nobody
    /// will elect it. What later leaders have committed an old one does not know.
    pub(crate) fn hands_over(&mut self, group: u32, term: Term, to: NodeId) {
        let committed = self.groups.get(&group).map_or(&[][..], |known| &known.committed);
        let known = committed.iter().rposition(|(_, by)| *by <= term);
        let index = Index(known.map_or(0, |place| place as u64 + 1));
        if !self.has_held(group, to, index) {
            let text = format!("group {group}: {to} lacks index {}", index.0);
            self.findings.add(Kind::HandedToLagging, text);
        }
    }

    /// Whether a node's disk has ever held a group's committed entries up to `index`.
    fn has_held(&self, group: u32, id: NodeId, index: Index) -> bool {
        let Some(known) = self.groups.get(&group) else { return index == Index(0) };
        let slot = usize::try_from(index.0).ok().and_then(|index| index.checked_sub(1));
        let Some((term, _)) = slot.and_then(|slot| known.committed.get(slot)) else { return true };
        known.held.get(&(index, *term)).is_some_and(|held| held.contains(&id))
            || known.nodes.get(&id).is_some_and(|node| index <= node.floor_ever)
    }

    /// A node grants its vote, or asks for its own.
    pub(crate) fn votes(&mut self, group: u32, term: Term, voter: NodeId, candidate: NodeId) {
        let (known, findings) = self.group(group);
        let node = known.nodes.entry(voter).or_default();
        let vote = *node.votes.entry(term).or_insert(candidate);
        if vote != candidate {
            let text =
                format!("group {group}, term {}: {voter} for {vote} and {candidate}", term.0);
            findings.add(Kind::VotedTwice, text);
        }
        if node.hard.0 < term || (node.hard.0 == term && node.hard.1 != Some(candidate)) {
            let text = format!("group {group}, term {}: the vote of {voter}", term.0);
            findings.add(Kind::SaidTooSoon, text);
        }
    }

    /// A node says something of a term that it must never go back from.
    pub(crate) fn promises(&mut self, group: u32, term: Term, id: NodeId) {
        let node = self.speaks(group, term, id);
        node.term = node.term.max(term);
    }

    /// A node asks for votes, and gives its own to itself.
    pub(crate) fn stands(&mut self, group: u32, term: Term, id: NodeId) {
        let node = self.speaks(group, term, id);
        node.stood = node.stood.max(term);
        self.votes(group, term, id, id);
    }

    fn speaks(&mut self, group: u32, term: Term, id: NodeId) -> &mut Node {
        let (known, findings) = self.group(group);
        let node = known.nodes.entry(id).or_default();
        let newest = node.term.max(node.stood);
        if term < newest {
            let text = format!("group {group}: {id} from term {} to {}", newest.0, term.0);
            findings.add(Kind::TermBackward, text);
        }
        node
    }

    /// A node tells the leader of a term that its disk holds that leader's log up to `matched`.
    pub(crate) fn accepts(&mut self, group: u32, term: Term, id: NodeId, matched: Index) {
        let (known, findings) = self.group(group);
        let last = known.leaders.get(&term).map(|leader| leader.last);
        let told = last.and_then(|last| known.term_at(last, matched));
        let node = known.nodes.entry(id).or_default();
        node.told = node.told.max((term, matched));
        // Said in a term the node has left: one batch may hold what it accepted and what replaced that,
        // and to the leader of then it is a message that took long.
        if matched <= node.floor || term < node.hard.0 {
            return;
        }
        let held = node.log.get(&matched);
        if held.is_none() || told.is_some_and(|told| held != Some(&told)) || node.hard.0 < term {
            let text = format!("group {group}, term {}: {id} has not {}", term.0, matched.0);
            findings.add(Kind::SaidTooSoon, text);
        }
    }

    /// A term and vote are on a node's disk.
    pub(crate) fn hard_state(&mut self, group: u32, id: NodeId, hard: (Term, Option<NodeId>)) {
        let (known, findings) = self.group(group);
        let node = known.nodes.entry(id).or_default();
        if hard.0 < node.hard.0 {
            let text =
                format!("group {group}: {id} wrote term {} behind {}", hard.0.0, node.hard.0.0);
            findings.add(Kind::TermBackward, text);
        }
        node.hard = hard;
    }

    /// An entry is on a node's disk, in place of all from its index on.
    pub(crate) fn wrote(&mut self, group: u32, id: NodeId, entry: &Seen) {
        let found = self.groups.get(&group).and_then(|known| known.nodes.get(&id));
        let before = found.and_then(|node| node.log.get(&entry.index).copied());
        let before = before.filter(|before| *before != entry.term);
        self.replaced += u64::from(before.is_some());
        let (known, findings) = self.group(group);
        if let Some(before) = before {
            known.check_replaced(group, id, (before, entry), findings);
        }
        let node = known.nodes.entry(id).or_default();
        let _replaced = node.log.split_off(&entry.index);
        let previous = node.term_before(entry.index);
        node.log.insert(entry.index, entry.term);
        known.held.entry((entry.index, entry.term)).or_default().push(id);
        known.see(group, entry, previous, findings);
    }

    /// A node has taken over a snapshot: its log goes on behind `place`, with the entries it has there
    /// if the one at this place is the same.
    pub(crate) fn restart(&mut self, group: u32, id: NodeId, place: (Term, Index)) {
        let (known, _) = self.group(group);
        let node = known.nodes.entry(id).or_default();
        let continues = node.log.get(&place.1) == Some(&place.0);
        node.log = node.log.split_off(&Index(place.1.0 + 1));
        if !continues {
            node.log.clear();
        }
        if node.floor < place.1 {
            (node.floor_term, node.floor) = place;
        }
        node.floor_ever = node.floor_ever.max(node.floor);
    }

    /// What a new life finds on its disk. An honest disk keeps what it said was durable.
    pub(crate) fn reopened(&mut self, group: u32, id: NodeId, found: FoundLog, honest: bool) {
        let (known, findings) = self.group(group);
        let node = known.nodes.entry(id).or_default();
        let FoundLog { floor, floor_term, log, hard } = found;
        if honest && hard.0 < node.hard.0 {
            let text = format!("group {group}: {id} lost term {}", node.hard.0.0);
            findings.add(Kind::Forgotten, text);
        }
        node.hard = hard;
        if !honest {
            node.forget_standing(id, &known.leaders);
        }
        (node.floor, node.floor_term) = (floor, floor_term);
        node.floor_ever = node.floor_ever.max(floor);
        let before = std::mem::replace(&mut node.log, log);
        // A batch that was under way may have replaced some of it, or restarted the log behind a state of
        // another history; nothing else makes it shorter.
        let replaced = before.iter().any(|(index, term)| {
            let found = node.log.get(index).or((*index == floor).then_some(&floor_term));
            found.is_some_and(|found| found != term)
        });
        let last = before.last_key_value().filter(|(index, _)| floor < **index);
        if let Some((index, term)) = last
            && honest
            && !replaced
            && !node.log.contains_key(index)
        {
            let text = format!("group {group}: {id} lost index {} of term {}", index.0, term.0);
            findings.add(Kind::Forgotten, text);
        }
        // What was written and never said to be there is there all the same.
        let there = node.log.iter().map(|(index, term)| (*index, *term, node.term_before(*index)));
        let there: Vec<(Index, Term, Option<Term>)> = there.collect();
        for (index, term, previous) in there {
            known.held.entry((index, term)).or_default().push(id);
            known.see(group, &Seen { term, index, digest: UNKNOWN }, previous, findings);
        }
    }

    /// An entry that changes the members of a group.
    pub(crate) fn membership(&mut self, group: u32, place: (Index, Term), to: &Arc<Membership>) {
        let (known, _) = self.group(group);
        known.memberships.entry(place).or_insert_with(|| Arc::clone(to));
    }

    /// Whether the newest committed change of a group's members has ended with a node among those
    /// that vote; `None` if its members were never changed.
    pub(crate) fn is_voter(&self, group: u32, id: NodeId) -> Option<bool> {
        let known = self.groups.get(&group)?;
        let mut all = known.memberships.iter().rev();
        let (_, membership) = all.find(|(place, _)| known.is_committed(place))?;
        Some(membership.is_voter(id) && !membership.is_joint())
    }

    /// Whether a node's disk holds a group's committed entries up to `index`.
    pub(crate) fn holds(&self, group: u32, id: NodeId, index: Index) -> bool {
        let slot = usize::try_from(index.0).ok().and_then(|index| index.checked_sub(1));
        let Some(slot) = slot else { return true };
        let Some(known) = self.groups.get(&group) else { return false };
        let term = known.committed.get(slot).map(|(term, _)| term);
        known.nodes.get(&id).is_some_and(|node| index <= node.floor || node.log.get(&index) == term)
    }

    /// Whether a node's disk holds as much of a group's log as it told the newest leader. One that does not may
    /// be counted on yet, for what is not committed so far, if that leader has not taken in what it was told.
    pub(crate) fn holds_what_it_told(&self, group: u32, id: NodeId) -> bool {
        let Some(known) = self.groups.get(&group) else { return true };
        let newest = known.leaders.last_key_value().map(|(term, _)| *term);
        known.nodes.get(&id).is_none_or(|node| {
            let (term, told) = node.told;
            Some(term) < newest || told <= node.floor || node.log.contains_key(&told)
        })
    }

    /// How far a group is known to be committed.
    pub(crate) fn committed(&self, group: u32) -> Index {
        Index(self.groups.get(&group).map_or(0, |group| group.committed.len() as u64))
    }

    /// Terms that had a leader, over all groups.
    pub(crate) fn terms_led(&self) -> u64 {
        self.groups.values().map(|group| group.leaders.len() as u64).sum()
    }
}

impl Node {
    /// The term in front of a place of its log, if that is known.
    fn term_before(&self, index: Index) -> Option<Term> {
        let before = Index(index.0.checked_sub(1)?);
        let behind_floor = (before == self.floor).then_some(self.floor_term);
        self.log.get(&before).copied().or(behind_floor)
    }

    /// Whoever has forgotten that it stood cannot win by the vote it gave itself, if it has not yet: it may
    /// give another one, and nobody may have heard of the term.
    fn forget_standing(&mut self, id: NodeId, leaders: &BTreeMap<Term, Leader>) {
        let found = self.hard.0;
        let led = |term: &Term| leaders.get(term).is_some_and(|leader| leader.id == id);
        self.votes.retain(|term, vote| *term <= found || *vote != id || led(term));
        if found < self.stood && !led(&self.stood) {
            self.stood = found;
        }
    }
}

impl Group {
    fn is_committed(&self, place: &(Index, Term)) -> bool {
        let slot = usize::try_from(place.0.0).ok().and_then(|index| index.checked_sub(1));
        let term = slot.and_then(|slot| self.committed.get(slot)).map(|(term, _)| *term);
        term == Some(place.1)
    }

    /// Notes an entry. The same index and term are the same entry everywhere.
    fn see(&mut self, group: u32, entry: &Seen, previous: Option<Term>, findings: &mut Findings) {
        let Seen { term, index, digest } = *entry;
        let known = self.entries.entry((index, term)).or_insert((digest, previous));
        let same = digest == UNKNOWN || known.0 == UNKNOWN || known.0 == digest;
        let follows = previous.is_none() || known.1.is_none() || known.1 == previous;
        if !same || !follows {
            let text = format!("group {group}, index {}, term {}", index.0, term.0);
            findings.add(Kind::LogMatching, text);
        }
        if known.0 == UNKNOWN {
            known.0 = digest;
        }
        known.1 = known.1.or(previous);
    }

    /// The term at `index` in the log that ends in `last`, if all between is known.
    fn term_at(&self, last: (Term, Index), index: Index) -> Option<Term> {
        let (mut term, mut at) = last;
        while index < at {
            term = self.entries.get(&(at, term))?.1?;
            at.0 -= 1;
        }
        (at == index).then_some(term)
    }

    /// The leader of a term holds every entry that was committed by then.
    fn check_complete(
        &self,
        group: u32,
        term: Term,
        place: (Term, Index),
        findings: &mut Findings,
    ) {
        let slot = usize::try_from(place.1.0).ok().and_then(|index| index.checked_sub(1));
        let Some(&(there, by)) = slot.and_then(|slot| self.committed.get(slot)) else { return };
        if by < term && there != place.0 {
            let text = format!(
                "group {group}, term {}: index {} has term {}, not {}",
                term.0, place.1.0, place.0.0, there.0
            );
            findings.add(Kind::LeaderCompleteness, text);
        }
    }

    /// The leader of a term says that its log is committed up to `index`.
    fn commit(&mut self, group: u32, term: Term, index: Index, findings: &mut Findings) {
        let known = self.committed.len() as u64;
        let leader = self.leaders[&term];
        if index.0 <= known || leader.last.1 < index {
            return;
        }
        let Some(mut at_term) = self.term_at(leader.last, index) else { return };
        let mut terms = Vec::new();
        let mut at = index;
        while known < at.0 {
            terms.push((at_term, term));
            let Some((_, Some(before))) = self.entries.get(&(at, at_term)) else { break };
            at_term = *before;
            at.0 -= 1;
        }
        if at.0 != known {
            return;
        }
        if self.committed.last().is_some_and(|(there, _)| *there != at_term) {
            let text = format!("group {group}, index {known}: committed by term {}", term.0);
            findings.add(Kind::StateMachineSafety, text);
        }
        self.committed.extend(terms.into_iter().rev());
    }

    /// A node replaced an entry on its disk: it must not have been committed, nor its own of this
    /// term.
    fn check_replaced(
        &self,
        group: u32,
        id: NodeId,
        (before, entry): (Term, &Seen),
        findings: &mut Findings,
    ) {
        let index = entry.index;
        let slot = usize::try_from(index.0).expect("an index in memory") - 1;
        // A slow disk may write what an older leader wanted after a newer one has committed without it.
        let is_bad = |(there, by): &(Term, Term)| *there == before && *by <= entry.term;
        if self.committed.get(slot).is_some_and(is_bad) {
            let text =
                format!("group {group}: {id} replaced index {} of term {}", index.0, before.0);
            findings.add(Kind::CommitBackward, text);
        }
        let leads = self.leaders.get(&entry.term).is_some_and(|leader| leader.id == id);
        if leads && self.nodes.get(&id).is_some_and(|node| node.hard.0 == entry.term) {
            let text = format!("group {group}, term {}: {id}, index {}", entry.term.0, index.0);
            findings.add(Kind::LeaderAppendOnly, text);
        }
    }
}
