//! What a node has written, as whoever watches it knows: batch by batch, and folded into what its
//! groups must find again. Kept by the script, never by the node.

use std::collections::BTreeMap;

use shard::effect::LogWrite;
use shard::wal::{LogIdentity, Record, RecordKind};

use crate::dice::Digest;
use crate::observe::for_each_record;

/// One record, without its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rec {
    /// The group.
    pub(crate) group: u32,
    /// What it says.
    pub(crate) says: Says,
}

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Says {
    /// An entry: term, index, digest of its content; and whether it was written once more.
    Entry { term: u64, index: u64, digest: u64, again: bool },
    /// Term and vote.
    Hard { term: u64, vote: Option<u64> },
    /// The state up to here was taken over.
    Restart { term: u64, index: u64 },
}

impl Rec {
    /// What a record of the log says.
    pub(crate) fn of(record: &Record<'_>) -> Rec {
        let entry = |(term, index): (u64, u64), payload: &[u8], (members, again): (bool, bool)| {
            // Members and commands never pass for each other.
            let digest = Digest::of(payload) ^ u64::from(members);
            Says::Entry { term, index, digest, again }
        };
        let says = match record.kind {
            RecordKind::Entry { term, index, payload } => {
                entry((term, index), payload, (false, false))
            }
            RecordKind::EntryAgain { term, index, payload } => {
                entry((term, index), payload, (false, true))
            }
            RecordKind::Membership { term, index, payload } => {
                entry((term, index), payload, (true, false))
            }
            RecordKind::MembershipAgain { term, index, payload } => {
                entry((term, index), payload, (true, true))
            }
            RecordKind::HardState { term, vote } => Says::Hard { term, vote },
            RecordKind::Snapshot { term, index, .. } => Says::Restart { term, index },
        };
        Rec { group: record.group.0, says }
    }
}

/// What one group has written.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fold {
    /// Term and vote.
    pub(crate) hard: (u64, Option<u64>),
    /// The last place of a state that was taken over: term and index.
    pub(crate) base: (u64, u64),
    /// By index: term and digest. Also what a checkpoint holds long since.
    pub(crate) entries: BTreeMap<u64, (u64, u64)>,
    /// Entries that were replaced, entries written again, states taken over.
    pub(crate) replaced: u64,
    pub(crate) again: u64,
    pub(crate) taken: u64,
}

impl Fold {
    fn take(&mut self, says: Says) {
        match says {
            Says::Entry { again: true, .. } => self.again += 1,
            Says::Entry { term, index, digest, again: false } => {
                self.replaced += self.entries.split_off(&index).len() as u64;
                self.entries.insert(index, (term, digest));
            }
            Says::Hard { term, vote } => {
                assert!(self.hard.0 <= term, "terms never go back");
                self.hard = (term, vote);
            }
            Says::Restart { term, index } => {
                self.taken += 1;
                let continues = self.entries.get(&index).is_some_and(|(own, _)| *own == term);
                if !continues {
                    let behind = self.entries.split_off(&(index + 1));
                    self.replaced += behind.len() as u64;
                }
                self.base = (term, index);
            }
        }
    }

    /// The last place of the log if everything up to `floor` is in files: what was written behind it,
    /// as far as it is one history.
    pub(crate) fn last_behind(&self, floor: (u64, u64)) -> u64 {
        let mut last = floor;
        for (index, (term, _)) in self.entries.range(floor.1 + 1..) {
            if *index != last.1 + 1 || *term < last.0 {
                break;
            }
            last = (*term, *index);
        }
        last.1
    }

    /// The end of what was written.
    pub(crate) fn last(&self) -> u64 {
        let entries = self.entries.last_key_value().map_or(0, |(index, _)| *index);
        entries.max(self.base.1)
    }
}

/// What a node has written.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    /// The records of each batch that is durable.
    batches: BTreeMap<u64, Vec<Rec>>,
    /// By group, as of the newest durable batch.
    pub(crate) folds: BTreeMap<u32, Fold>,
    /// The batch in flight.
    pub(crate) flying: Option<(u64, Vec<Rec>)>,
}

impl Ledger {
    /// A batch is on its way.
    pub(crate) fn submitted(&mut self, identity: LogIdentity, write: &LogWrite) {
        assert!(self.flying.is_none(), "one batch is in flight");
        assert_eq!(self.durable() + 1, write.batch.0, "batches have no hole");
        let mut records = Vec::new();
        for_each_record(identity, write, |record| records.push(Rec::of(record)));
        self.flying = Some((write.batch.0, records));
    }

    /// The batch in flight is durable.
    pub(crate) fn landed(&mut self) {
        let (number, records) = self.flying.take().expect("a batch was in flight");
        for rec in &records {
            self.folds.entry(rec.group).or_default().take(rec.says);
        }
        self.batches.insert(number, records);
    }

    /// The newest durable batch.
    pub(crate) fn durable(&self) -> u64 {
        self.batches.last_key_value().map_or(0, |(number, _)| *number)
    }

    /// A process began that found batches up to `next`, not included.
    ///
    /// # Errors
    /// That is not what was written.
    pub(crate) fn reopened(&mut self, next: u64) -> Result<(), String> {
        let durable = self.durable();
        match (&self.flying, next.checked_sub(durable + 1)) {
            (_, Some(0)) => self.flying = None,
            (Some(_), Some(1)) => self.landed(),
            _ => return Err(format!("the log ends before batch {next}; {durable} was durable")),
        }
        Ok(())
    }

    /// Whether these are the records of batches `[first, next)`.
    pub(crate) fn agrees(&self, first: u64, next: u64, records: &[Rec]) -> bool {
        let mut left = records;
        let none = Vec::new();
        for number in first..next {
            let flying = self.flying.as_ref().filter(|(flying, _)| *flying == number);
            let flying = flying.map(|(_, records)| records);
            let known = self.batches.get(&number).or(flying).unwrap_or(&none);
            match left.split_at_checked(known.len()) {
                Some((found, rest)) if found == known => left = rest,
                _ => return false,
            }
        }
        left.is_empty()
    }

    /// What a group must find, with or without the batch in flight.
    pub(crate) fn fold(&self, group: u32, flying: bool) -> Fold {
        let mut fold = self.folds.get(&group).cloned().unwrap_or_default();
        if let (true, Some((_, records))) = (flying, &self.flying) {
            for rec in records.iter().filter(|rec| rec.group == group) {
                fold.take(rec.says);
            }
        }
        fold
    }
}
