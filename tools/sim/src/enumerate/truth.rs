//! What a script comes to: the entries each group committed, what the sessions are after each of
//! them by the shipped code fed one entry at a time, and which events they must hold by a model of
//! a few lines.

use std::collections::BTreeMap;

use model::command::{ArchivedCommand, ArchivedDedupe, decode};
use model::ids::Placement;
use raft::{Body, Content, Entry, Index, NodeId, Term};
use shard::peer::PeerMessage;

use crate::dice::Digest;
use crate::enumerate::puppet::Puppet;
use crate::enumerate::trio::{Size, dawn, founders, options};
use crate::history::stored;

/// What one group committed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Chain {
    /// From index 1 on.
    pub(crate) entries: Vec<Entry>,
    /// The state's digest after each; that of nothing first.
    pub(crate) digests: Vec<u64>,
}

impl Chain {
    /// The term of the entry at an index; 0 at 0.
    pub(crate) fn term(&self, index: u64) -> Option<u64> {
        let Some(place) = index.checked_sub(1) else { return Some(0) };
        let entry = self.entries.get(usize::try_from(place).ok()?)?;
        Some(entry.term.0)
    }

    /// The term of the last entry.
    pub(crate) fn last_term(&self) -> u64 {
        self.entries.last().map_or(0, |entry| entry.term.0)
    }

    /// The last index.
    pub(crate) fn last(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Entries `[first, end)`, as far as there are.
    pub(crate) fn slice(&self, first: u64, end: u64) -> Vec<Entry> {
        let wanted = |entry: &&Entry| (first..end).contains(&entry.index.0);
        self.entries.iter().filter(wanted).cloned().collect()
    }
}

/// An event a session must hold: the entry it came with, and what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    /// The index of the entry.
    pub(crate) index: u64,
    /// The digest of its fragment.
    pub(crate) digest: u64,
}

/// What a script comes to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Truth {
    /// By group.
    pub(crate) chains: BTreeMap<u32, Chain>,
    /// By session, in seq order.
    pub(crate) events: BTreeMap<String, Vec<Held>>,
}

impl Truth {
    /// From what leaders sent, and the last place of each group that is committed: an entry and its term
    /// tell all that is before it.
    pub(crate) fn of(size: Size, ears: &Ears, ends: &BTreeMap<u32, (u64, u64)>) -> Truth {
        let mut truth = Truth::default();
        for (group, end) in ends {
            let chain = truth.chains.entry(*group).or_default();
            let (mut term, mut index) = *end;
            while 0 < index {
                let (before, content) = &ears.written[&(*group, term, index)];
                let (own, content) = (Term(term), content.clone());
                chain.entries.push(Entry { term: own, index: Index(index), content });
                (term, index) = (*before, index - 1);
            }
            chain.entries.reverse();
        }
        truth.model(size);
        truth.replay(size);
        truth
    }

    /// The events by a model of its own: a session exists once made, an append of a producer counts
    /// once.
    fn model(&mut self, size: Size) {
        let mut counters: BTreeMap<(String, String), u64> = BTreeMap::new();
        for (group, chain) in &self.chains {
            for entry in &chain.entries {
                let Content::Command(payload) = &entry.content else { continue };
                let command = decode(payload).expect("a command that was committed");
                let session = command.session().to_owned();
                let home = Placement::new(size.groups, 1).group(&session);
                assert_eq!(home.0, *group, "a command is in its session's group");
                match command {
                    ArchivedCommand::Create(_) => {
                        self.events.entry(session).or_default();
                    }
                    ArchivedCommand::Append(append) => {
                        let ArchivedDedupe::Producer(producer) = &append.dedupe else {
                            unreachable!("scripts name producers");
                        };
                        let key = (session.clone(), producer.id.to_string());
                        let known = counters.entry(key).or_default();
                        let events = self.events.get_mut(&session);
                        if let Some(events) = events.filter(|_| *known < producer.seq.to_native()) {
                            *known = producer.seq.to_native();
                            let digest = Digest::of(append.fragment.as_bytes());
                            events.push(Held { index: entry.index.0, digest });
                        }
                    }
                    ArchivedCommand::Patch(_) | ArchivedCommand::SetArchived(_) => {}
                }
            }
        }
    }

    /// The digests, by a follower that is fed one entry at a time and forgets nothing.
    fn replay(&mut self, size: Size) {
        let roomy = Size { hot_bytes_max: 1 << 30, log_kept_bytes: 1 << 30, ..size };
        let roomy = Size { segment_bytes: 8 << 20, ..roomy };
        #[cfg(feature = "sabotage")]
        let roomy = Size { sabotage: None, ..roomy };
        let own = founders()[0];
        let mut puppet = Puppet::new(options(own, roomy), dawn());
        for (group, chain) in &mut self.chains {
            chain.digests.push(puppet.digest(*group).1);
            let mut previous = (Term(0), Index(0));
            for entry in &chain.entries {
                puppet.append(*group, (entry.term, previous), vec![entry.clone()], entry.index);
                previous = entry.position();
                let (applied, digest) = puppet.digest(*group);
                assert_eq!(applied, entry.index.0, "a follower applies what it is told");
                chain.digests.push(digest);
            }
        }
    }

    /// Whether a node is a member of every group in the end.
    pub(crate) fn serves(&self, node: NodeId) -> bool {
        self.chains.values().all(|chain| {
            let members = chain.entries.iter().rev().find_map(|entry| match &entry.content {
                Content::Membership(members) => Some(members),
                Content::Begin | Content::Command(_) => None,
            });
            members.is_none_or(|members| members.voters.contains(&node))
        })
    }

    /// Compares what a session holds at a node with what it must hold once `index` of its group is
    /// applied.
    pub(crate) fn check(
        &self,
        session: &str,
        index: u64,
        found: &[(u64, Vec<u8>)],
    ) -> Result<(), String> {
        let events = self.events.get(session).map_or(&[][..], Vec::as_slice);
        let wanted = events.partition_point(|event| event.index <= index);
        if found.len() != wanted {
            return Err(format!("{session} holds {} events, not {wanted}", found.len()));
        }
        for (place, ((seq, json), event)) in found.iter().zip(events).enumerate() {
            let stored = stored(*seq, json);
            if *seq != place as u64 + 1 || stored.digest != event.digest || stored.op.is_none() {
                return Err(format!("event {seq} of {session} is not the one that was appended"));
            }
        }
        Ok(())
    }
}

/// Notes the entries of messages as they leave.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ears {
    /// By group, term and index: the term of the entry before, and what it holds.
    written: BTreeMap<(u32, u64, u64), (u64, Content)>,
}

impl Ears {
    /// A message leaves.
    pub(crate) fn hear(&mut self, message: &PeerMessage) {
        let PeerMessage::Raft { group, message } = message else { return };
        let Body::Append { previous, entries, .. } = &message.body else { return };
        let mut before = previous.0;
        for entry in entries {
            let key = (group.0, entry.term.0, entry.index.0);
            let is = (before.0, entry.content.clone());
            let known = self.written.entry(key).or_insert_with(|| is.clone());
            assert_eq!(*known, is, "a term has one leader");
            before = entry.term;
        }
    }
}
