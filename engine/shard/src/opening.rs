//! Rebuilds a shard from what is on disk, in this order: the checkpoint, the directory of the chunk
//! that was written with it, the log behind it. Whoever reads the files hands their bytes in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::command::decode;
use model::ids::GroupId;
use raft::{Config, Entry, HardState, Index, Node, NodeId, Restored, Term};

use crate::checkpoint::{GroupMark, Head, Reader};
use crate::chunk;
use crate::flush::Flush;
use crate::group::Group;
use crate::machine::Machine;
use crate::sessions::Slot;
use crate::shard::{Options, Shard};
use crate::wal::{LogFloor, Record, RecordKind, Recovered, Wal};

/// The one voter of every group until a cluster is configured.
const SELF: NodeId = NodeId(1);
/// Ticks of silence after which a follower campaigns; a group of one campaigns at once.
const ELECTION_TICKS: u32 = 10;
const HEARTBEAT_TICKS: u32 = 2;

/// A shard that is being rebuilt.
#[derive(Debug)]
pub struct Opening {
    options: Options,
    machine: Machine,
    head: Option<Head>,
    groups: BTreeMap<GroupId, GroupLog>,
}

/// What is known of one group's log.
#[derive(Debug, Default)]
struct GroupLog {
    hard_state: HardState,
    /// The last entry whose effect the checkpoint holds.
    floor: (Term, Index),
    entries: Vec<Entry>,
}

impl Opening {
    /// A shard that has nothing yet.
    pub fn new(options: Options) -> Opening {
        let groups = options.placement.groups_of(options.shard);
        Opening {
            options,
            machine: Machine::default(),
            head: None,
            groups: groups.map(|group| (group, GroupLog::default())).collect(),
        }
    }

    /// Loads the newest checkpoint. Comes first, if there is one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn checkpoint(&mut self, bytes: &[u8]) -> Result<&Head, String> {
        assert!(self.head.is_none(), "one checkpoint is loaded");
        let (head, mut reader) = Reader::open(bytes, self.options.identity())?;
        for mark in &head.groups {
            let GroupMark { group, term, index, current_term, vote } = *mark;
            let log = self.groups.get_mut(&group).ok_or("checkpoint names a foreign group")?;
            log.hard_state = HardState { term: current_term, vote };
            log.floor = (term, index);
        }
        while let Some((id, session)) = reader.next_session()? {
            if self.options.placement.group(id.as_str()) != session.group {
                return Err(format!("checkpoint holds session {id}, which lives elsewhere"));
            }
            if self.machine.sessions.find(id.as_str()).is_some() {
                return Err(format!("checkpoint holds session {id} twice"));
            }
            self.machine.sessions.insert(id, session);
        }
        Ok(self.head.insert(head))
    }

    /// Takes the directory of the chunk that was written with the checkpoint.
    ///
    /// # Errors
    /// An entry that fits no session of the checkpoint.
    pub fn newest_chunk(&mut self, directory: &[chunk::Entry]) -> Result<(), String> {
        let mut ends = BTreeMap::new();
        for entry in directory {
            let slot = self.machine.sessions.find(&entry.session);
            let slot = slot.ok_or("chunk holds events of a session the checkpoint lacks")?;
            let (first, count) = (entry.extent.first.0, u64::from(entry.count));
            let end = first.checked_add(count).ok_or("chunk holds absurd seqs")?;
            if ends.insert(slot, end).is_some_and(|before| before != first) {
                return Err(format!("chunk has a hole in session {}", entry.session));
            }
            self.machine.sessions.get_mut(slot).extents.push(entry.extent);
        }
        let torn = |(slot, end): &(&Slot, &u64)| {
            self.machine.sessions.get(**slot).last_seq.next().0 != **end
        };
        match ends.iter().find(torn) {
            None => Ok(()),
            Some(_) => Err("chunk does not hold a session's events to their end".to_owned()),
        }
    }

    /// Where the scan of the log begins; `None` for the start of the log.
    pub fn floor(&self) -> Option<LogFloor> {
        self.head.as_ref().map(|head| head.floor)
    }

    /// Chunks whose files must be there.
    pub fn chunks(&self) -> &[u64] {
        self.head.as_ref().map_or(&[], |head| &head.chunks)
    }

    /// Takes the next record of the log.
    ///
    /// # Errors
    /// A record that cannot follow those before it: the log is not what this program wrote.
    pub fn record(&mut self, record: &Record<'_>) -> Result<(), String> {
        let group = record.group;
        let log = self.groups.get_mut(&group);
        let log = log.ok_or_else(|| format!("log holds a record of foreign group {}", group.0))?;
        match record.kind {
            RecordKind::HardState { term, vote } => {
                log.hard_state = HardState { term: Term(term), vote: vote.map(NodeId) };
                Ok(())
            }
            RecordKind::Entry { term, index, payload } => {
                log.entry(Term(term), Index(index), payload)
            }
        }
    }

    /// The shard, which campaigns in all its groups at once.
    pub fn finish(self, recovered: Recovered) -> Shard {
        let identity = self.options.identity();
        let groups = self.groups.into_iter().map(|(id, log)| {
            let floor = log.floor;
            let config = Config {
                id: SELF,
                voters: vec![SELF],
                election_ticks: ELECTION_TICKS,
                heartbeat_ticks: HEARTBEAT_TICKS,
                seed: self.options.log_id ^ u64::from(id.0),
            };
            let restored =
                Restored { hard_state: log.hard_state, snapshot: floor, entries: log.entries };
            let mut node = Node::new(config, restored);
            node.campaign();
            Group::new(id, node, floor)
        });
        let (number, chunks) = match &self.head {
            Some(head) => (Some(head.number), head.chunks.iter().copied().collect()),
            None => (None, BTreeSet::new()),
        };
        let flush = Flush::new(identity, number, chunks);
        let wal = Wal::new(identity, self.options.segment_bytes, recovered);
        Shard::assemble(self.options, groups.collect(), self.machine, (wal, flush))
    }
}

impl GroupLog {
    fn entry(&mut self, term: Term, index: Index, payload: &[u8]) -> Result<(), String> {
        if index <= self.floor.1 {
            return Ok(());
        }
        let first = self.floor.1.0 + 1;
        let place = usize::try_from(index.0 - first).map_err(|_| "log index is absurd")?;
        if self.entries.len() < place {
            let last = first + self.entries.len() as u64 - 1;
            return Err(format!("log jumps from index {last} to {}", index.0));
        }
        if !payload.is_empty() {
            decode(payload)?;
        }
        // A later leader replaced what an earlier one had written from here on.
        self.entries.truncate(place);
        self.entries.push(Entry { term, index, payload: Arc::from(payload) });
        Ok(())
    }
}
