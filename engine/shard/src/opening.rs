//! Rebuilds a shard from what is on disk, in this order: the checkpoint, the directory of the chunk
//! that was written with it, the log behind it, and the snapshots of other nodes that the log says were
//! taken over. Whoever reads the files hands their bytes in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::command::decode;
use model::ids::GroupId;
use model::limits::{APPEND_BYTES_MAX, APPENDS_IN_FLIGHT_MAX};
use raft::{
    Config, Content, Entry, HardState, Index, Life, Membership, Node, NodeId, Restored, Snapshot,
    Term,
};

use crate::checkpoint::{GroupMark, Head, Reader};
use crate::chunk;
use crate::effect::FileName;
use crate::flush::Flush;
use crate::group::Group;
use crate::machine::Machine;
use crate::membership::{read_membership, read_snapshot_record};
#[cfg(feature = "sabotage")]
use crate::sabotage::Sabotage;
use crate::sessions::Slot;
use crate::shard::{Options, Shard};
use crate::wal::{self, LogFloor, Record, RecordKind, Recovered, Wal};

/// A shard that is being rebuilt.
#[derive(Debug)]
pub struct Opening {
    options: Options,
    machine: Machine,
    head: Option<Head>,
    groups: BTreeMap<GroupId, GroupLog>,
    /// Chunks whose files must be there.
    chunks: BTreeSet<u64>,
}

/// What is known of one group's log.
#[derive(Debug)]
struct GroupLog {
    hard_state: HardState,
    /// The last entry whose effect the sessions hold, and the members as of it.
    floor: (Term, Index),
    membership: Arc<Membership>,
    /// The file that effect is in, if it came from another node and no checkpoint has it.
    snapshot: Option<u64>,
    /// By index, perhaps with holes until the end of the log is reached.
    entries: BTreeMap<Index, (Term, Content)>,
    /// The terms of entries up to the floor that the log still has.
    below: BTreeMap<Index, Term>,
}

impl Opening {
    /// A shard that has nothing yet.
    pub fn new(options: Options) -> Opening {
        let groups = options.placement.groups_of(options.shard);
        let fresh = |group| {
            let log = GroupLog {
                hard_state: HardState::default(),
                floor: (Term(0), Index(0)),
                membership: options.cluster.first_members(group),
                snapshot: None,
                entries: BTreeMap::new(),
                below: BTreeMap::new(),
            };
            (group, log)
        };
        let groups = groups.map(fresh).collect();
        let machine = Machine::new(!options.cluster.is_alone());
        Opening { machine, head: None, groups, chunks: BTreeSet::new(), options }
    }

    /// Loads the newest checkpoint. Comes first, if there is one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn checkpoint(&mut self, bytes: &[u8]) -> Result<&Head, String> {
        assert!(self.head.is_none(), "one checkpoint is loaded");
        let (head, mut reader) = Reader::open(bytes, self.options.identity())?;
        for mark in &head.groups {
            let GroupMark { group, term, index, current_term, vote, membership } = mark;
            let log = self.groups.get_mut(group).ok_or("checkpoint names a foreign group")?;
            log.hard_state = HardState { term: *current_term, vote: *vote };
            log.floor = (*term, *index);
            log.membership = Arc::clone(membership);
        }
        while let Some((id, session)) = reader.next_session()? {
            if self.options.placement.group(id.as_str()) != session.group {
                return Err(format!("checkpoint holds session {id}, which lives elsewhere"));
            }
            if self.machine.sessions.find(id.as_str()).is_some() {
                return Err(format!("checkpoint holds session {id} twice"));
            }
            self.machine.insert(id, session);
        }
        self.chunks.extend(&head.chunks);
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

    /// Chunks whose files must be there, as far as is known by now.
    pub fn chunks(&self) -> &BTreeSet<u64> {
        &self.chunks
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
                let hard_state = HardState { term: Term(term), vote: vote.map(NodeId) };
                #[cfg(feature = "sabotage")]
                if self.options.sabotage == Some(Sabotage::ForgetPromises) {
                    log.hard_state = hard_state;
                }
                log.promised(hard_state);
                Ok(())
            }
            RecordKind::Entry { term, index, payload } => {
                log.entry(Term(term), Index(index), command(payload)?);
                Ok(())
            }
            RecordKind::Membership { term, index, payload } => {
                log.entry(Term(term), Index(index), members(payload)?);
                Ok(())
            }
            RecordKind::EntryAgain { term, index, payload } => {
                log.entry_again(Term(term), Index(index), command(payload)?);
                Ok(())
            }
            RecordKind::MembershipAgain { term, index, payload } => {
                log.entry_again(Term(term), Index(index), members(payload)?);
                Ok(())
            }
            RecordKind::Snapshot { term, index, payload } => {
                let (file, members) =
                    read_snapshot_record(payload).ok_or("log holds an absurd snapshot")?;
                log.restart((Term(term), Index(index)), file, members);
                Ok(())
            }
        }
    }

    /// Files of snapshots that must be loaded once the log is read.
    pub fn snapshots(&self) -> Vec<u64> {
        self.groups.values().filter_map(|log| log.snapshot).collect()
    }

    /// Loads the file of a snapshot. Returns the chunks it names, which must be there.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn snapshot(&mut self, file: u64, bytes: &[u8]) -> Result<Vec<u64>, String> {
        let (head, mut reader) = Reader::open(bytes, self.options.identity())?;
        let [mark] = head.groups.as_slice() else {
            return Err("a snapshot is of one group".to_owned());
        };
        let log = self.groups.get(&mark.group).ok_or("snapshot names a foreign group")?;
        if head.number != file || log.snapshot != Some(file) || log.floor != (mark.term, mark.index)
        {
            return Err("the snapshot is not the one the log speaks of".to_owned());
        }
        let group = mark.group;
        while let Some((id, session)) = reader.next_session()? {
            if session.group != group || self.options.placement.group(id.as_str()) != group {
                return Err(format!("snapshot holds session {id}, which lives elsewhere"));
            }
            self.machine.install(id, session);
        }
        self.chunks.extend(&head.chunks);
        Ok(head.chunks)
    }

    /// Which of these files, all that the shard has beside its log, nothing names and nothing ever will:
    /// they may be removed at once.
    ///
    /// Snapshots, and the chunks that came with them, are not among them: a batch of the life before
    /// may land only after its log was read, and name one.
    pub fn removable(&self, files: &[FileName]) -> Vec<FileName> {
        let removable = |name: &FileName| match name {
            FileName::Chunk(file) => !files.contains(&FileName::Snapshot(*file)),
            FileName::Checkpoint(_) => true,
            FileName::Snapshot(_) => false,
        };
        let unnamed = files.iter().filter(|name| !self.names(**name));
        unnamed.filter(|name| removable(name)).copied().collect()
    }

    /// Whether the newest checkpoint or the log needs a file.
    fn names(&self, name: FileName) -> bool {
        match name {
            FileName::Chunk(file) => self.chunks.contains(&file),
            FileName::Checkpoint(file) => {
                self.head.as_ref().is_some_and(|head| head.number == file)
            }
            FileName::Snapshot(file) => self.groups.values().any(|log| log.snapshot == Some(file)),
        }
    }

    /// The shard. `files` are all that it has beside its log and that need not be removed: it removes
    /// those that nothing names once nothing can any more.
    ///
    /// # Panics
    /// If a snapshot was not loaded.
    pub fn finish(self, mut recovered: Recovered, files: Vec<FileName>) -> Shard {
        let identity = self.options.identity();
        let mut unnamed = files.clone();
        unnamed.retain(|name| !self.names(*name));
        let mut snapshot_files = BTreeMap::new();
        let mut groups = Vec::with_capacity(self.groups.len());
        for (id, mut log) in self.groups {
            let entries = log.history();
            if let Some(file) = log.snapshot {
                snapshot_files.insert(file, (id, log.floor.1.0));
            }
            let HardState { term, vote } = log.hard_state;
            let vote = vote.map(|node| node.0);
            if term != Term(0) {
                recovered.hard_states.insert(id, wal::HardState { term: term.0, vote });
            }
            groups.push(open_group(&self.options, id, (log, entries)));
        }
        let (number, chunks) = (self.head.as_ref().map(|head| head.number), self.chunks);
        // No number is given twice: a record that names the first may still be on its way to the log.
        let newest = files.iter().map(|name| name.number()).max().unwrap_or(0);
        let flush = Flush::new(identity, number, chunks, newest);
        let wal = Wal::new(identity, self.options.segment_bytes, recovered);
        let mut shard = Shard::assemble(self.options, groups, self.machine, (wal, flush));
        shard.snapshot_files = snapshot_files;
        shard.unnamed = unnamed;
        shard
    }
}

/// A group as it was when its node stopped. One whose members are nobody else leads itself at once.
fn open_group(options: &Options, id: GroupId, (log, entries): (GroupLog, Vec<Entry>)) -> Group {
    let timing = options.cluster.timing;
    let config = Config {
        id: options.cluster.own,
        election_ticks: timing.election_ticks,
        heartbeat_ticks: timing.heartbeat_ticks,
        quiet_ticks: timing.quiet_ticks,
        seed: options.log_id ^ u64::from(id.0),
        inflight_max: APPENDS_IN_FLIGHT_MAX,
        append_bytes_max: APPEND_BYTES_MAX,
        lease: false,
        #[cfg(feature = "sabotage")]
        sabotage: match options.sabotage {
            Some(Sabotage::Raft(rule)) => Some(rule),
            _ => None,
        },
    };
    let snapshot = Snapshot { last: log.floor, membership: log.membership };
    let floor = log.floor;
    // A torn end cannot be told from one that had been acknowledged, and a disk that lied about a sync
    // may have lost an end without a trace: who comes back asks, whatever its log looks like.
    let doubtful = Some(Life(options.life));
    let restored = Restored { hard_state: log.hard_state, snapshot, entries, doubtful };
    let mut node = Node::new(config, restored);
    if node.membership().voters == [options.cluster.own] && !node.membership().is_joint() {
        node.campaign();
    }
    Group::new(id, node, floor, options.cluster.wanted(id))
}

/// What an entry's payload holds.
fn command(payload: &[u8]) -> Result<Content, String> {
    if payload.is_empty() {
        return Ok(Content::Begin);
    }
    decode(payload)?;
    Ok(Content::Command(Arc::from(payload)))
}

fn members(payload: &[u8]) -> Result<Content, String> {
    let members = read_membership(payload).ok_or("log holds absurd members")?;
    Ok(Content::Membership(Arc::new(members)))
}

impl GroupLog {
    /// A hard state was written. The checkpoint's may be newer than what the log has: it holds what was
    /// accepted, and is published without waiting for the log.
    fn promised(&mut self, hard_state: HardState) {
        let known = self.hard_state;
        let is_newer =
            known.term < hard_state.term || (known.term == hard_state.term && known.vote.is_none());
        if is_newer {
            self.hard_state = hard_state;
        }
    }

    /// An entry was written: it replaced whatever stood at its index and behind.
    fn entry(&mut self, term: Term, index: Index, content: Content) {
        if self.floor.1 < index {
            self.entries.split_off(&index);
            self.entries.insert(index, (term, content));
        } else if self.below.get(&index) != Some(&term) {
            self.below.split_off(&index);
            self.below.insert(index, term);
            self.entries.clear();
        }
    }

    /// An entry was written once more: it is the one the log had there.
    fn entry_again(&mut self, term: Term, index: Index, content: Content) {
        if self.floor.1 < index {
            self.entries.entry(index).or_insert((term, content));
        }
    }

    /// The end of the log is reached: what of it follows the floor, as far as it is one history.
    ///
    /// What does not was replaced, in a segment that is gone or by something that was applied before it
    /// was durable here: a quorum has that. An older history has a lower term than what replaced it, or
    /// its beginning was replaced and is missing. What the log has at the floor itself says nothing: it
    /// may be of an older history although what follows is not, since the floor's entry was durable in the
    /// checkpoint and never written to the log again.
    fn history(&mut self) -> Vec<Entry> {
        let mut last = self.floor;
        let mut history = Vec::new();
        for (index, (term, content)) in std::mem::take(&mut self.entries) {
            if index != last.1.next() || term < last.0 {
                break;
            }
            last = (term, index);
            history.push(Entry { term, index, content });
        }
        history
    }

    /// The state up to `place` was taken over from another node.
    fn restart(&mut self, place: (Term, Index), file: u64, members: Membership) {
        if place.1 <= self.floor.1 {
            return;
        }
        let continues = self.entries.get(&place.1).is_some_and(|(term, _)| *term == place.0);
        let behind = self.entries.split_off(&place.1.next());
        self.entries = if continues { behind } else { BTreeMap::new() };
        self.floor = place;
        self.below = BTreeMap::from([(place.1, place.0)]);
        self.membership = Arc::new(members);
        self.snapshot = Some(file);
    }
}
