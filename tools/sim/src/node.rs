//! One node: its clocks, its disks, and the process that runs on them while it lives.

use std::collections::{BTreeMap, VecDeque};

use model::cluster::{MemberId, NameTag};
use model::ids::{Placement, ShardId};
use model::limits::BLOCK_BYTES;
use raft::{Index, NodeId, Term};
use shard::chunk;
use shard::cluster::Cluster;
use shard::effect::{FileName, Input, TailId, Ticket};
use shard::opening::Opening;
use shard::shard::{Options, Shard};
use shard::wal::{LogIdentity, Record, RecordKind, Recovery};

use crate::clock::Clock;
use crate::disk::Disk;
use crate::queue::Time;

/// One shard of a living process.
#[derive(Debug)]
pub(crate) struct Running {
    /// The shard.
    pub(crate) shard: Shard,
    /// What it has not looked at.
    pub(crate) inbox: VecDeque<Input>,
    /// Whether a turn is planned.
    pub(crate) turn_planned: bool,
    /// When its core is free again.
    pub(crate) free_at: Time,
    /// Turns it has taken.
    pub(crate) turns: u64,
}

/// Somebody who waits at a node for an answer or follows a session there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Caller {
    /// The client.
    pub(crate) client: usize,
    /// Which of its calls.
    pub(crate) number: u64,
}

/// A living process.
#[derive(Debug, Default)]
pub(crate) struct Process {
    /// Its shards.
    pub(crate) shards: Vec<Running>,
    /// Who waits for which reply.
    pub(crate) tickets: BTreeMap<Ticket, Caller>,
    /// Who follows what, and which shard serves it.
    pub(crate) tails: BTreeMap<TailId, (Caller, u32)>,
    /// The same, the other way around.
    pub(crate) followers: BTreeMap<Caller, TailId>,
}

impl Process {
    /// A process made of these shards.
    pub(crate) fn new(shards: Vec<Shard>) -> Process {
        let running = |shard| Running {
            shard,
            inbox: VecDeque::new(),
            turn_planned: false,
            free_at: Time(0),
            turns: 0,
        };
        Process { shards: shards.into_iter().map(running).collect(), ..Process::default() }
    }
}

/// One node.
#[derive(Debug)]
pub(crate) struct Node {
    /// Its name.
    pub(crate) tag: NameTag,
    /// Counts its data directories.
    pub(crate) incarnation: u32,
    /// How many shards its directory has.
    pub(crate) shards: u32,
    /// Its clocks.
    pub(crate) clock: Clock,
    /// One for each shard.
    pub(crate) disks: Vec<Disk>,
    /// Its process, while it lives.
    pub(crate) process: Option<Process>,
    /// Counts its processes: what was meant for one before is not heard.
    pub(crate) life: u32,
    /// Its process stands still until then.
    pub(crate) paused_until: Time,
    /// Some of its cores do.
    pub(crate) stalled_until: Vec<Time>,
    /// Why its files could not be opened.
    pub(crate) broken: Option<String>,
    /// Whether its disk has been damaged since it was new: what was damaged may not open, or read.
    pub(crate) scarred: bool,
    /// Whether a bit of a chunk or checkpoint has changed.
    pub(crate) rotten: bool,
    /// Which configuration its process was started with.
    pub(crate) config: u64,
    /// The life in which its disk was damaged last.
    pub(crate) hurt_in: u32,
}

impl Node {
    /// The member it is.
    pub(crate) fn id(&self) -> NodeId {
        NodeId(MemberId::new(self.tag, self.incarnation).0)
    }

    /// Whether its process lives.
    pub(crate) fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// A shard of its living process.
    pub(crate) fn running(&mut self, shard: u32) -> Option<&mut Running> {
        self.process.as_mut()?.shards.get_mut(shard as usize)
    }

    /// Until when a shard stands still.
    pub(crate) fn stands_until(&self, shard: u32) -> Time {
        self.paused_until.max(self.stalled_until[shard as usize])
    }
}

/// What is the same for all shards of a node.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    /// Groups of the cluster.
    pub(crate) groups: u32,
    /// Bytes of a segment.
    pub(crate) segment_bytes: u64,
    /// Bytes of events in memory.
    pub(crate) hot_bytes_max: u64,
    /// Bytes of applied entries kept for followers that are behind.
    pub(crate) log_kept_bytes: usize,
    /// How often it has been started before.
    pub(crate) life: u32,
    /// What it is told of the cluster.
    pub(crate) cluster: Cluster,
    /// The rule it breaks.
    #[cfg(feature = "sabotage")]
    pub(crate) sabotage: Option<shard::Sabotage>,
}

impl Frame {
    /// What one shard is told.
    pub(crate) fn options(&self, shards: u32, shard: u32) -> Options {
        Options {
            placement: Placement::new(self.groups, shards),
            shard: ShardId(shard),
            log_id: log_id(self.cluster.own),
            life: u64::from(self.life) << 32,
            hot_bytes_max: self.hot_bytes_max,
            segment_bytes: self.segment_bytes,
            log_kept_bytes: self.log_kept_bytes,
            cluster: self.cluster.clone(),
            #[cfg(feature = "sabotage")]
            sabotage: self.sabotage,
        }
    }
}

/// The name of a node's logs.
pub(crate) fn log_id(own: NodeId) -> u64 {
    own.0 ^ 0x51
}

/// What a process finds of a group in its log.
#[derive(Debug, Clone, Default)]
pub(crate) struct FoundLog {
    /// What lies up to here is in a checkpoint.
    pub(crate) floor: Index,
    /// The term of the last entry there.
    pub(crate) floor_term: Term,
    /// Entries.
    pub(crate) log: BTreeMap<Index, Term>,
    /// Term and vote.
    pub(crate) hard: (Term, Option<NodeId>),
}

/// What a process finds on its disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    /// By group.
    pub(crate) groups: BTreeMap<u32, FoundLog>,
    /// Whether a torn batch was cut off.
    pub(crate) cut: bool,
}

/// Rebuilds a shard from its disk, as the server does.
///
/// # Errors
/// What cannot be explained.
pub(crate) fn open(options: Options, disk: &mut Disk) -> Result<(Shard, Found), String> {
    let (identity, segment_bytes) = (options.identity(), options.segment_bytes);
    let mut opening = Opening::new(options);
    let mut found = Found::default();
    let checkpoints = disk.files().keys().filter(|name| matches!(name, FileName::Checkpoint(_)));
    let newest = checkpoints.max().copied();
    if let Some(name) = newest {
        let head = opening.checkpoint(&disk.files()[&name])?;
        let newest_chunk = head.newest_chunk;
        for mark in &head.groups {
            let group = found.groups.entry(mark.group.0).or_default();
            (group.floor, group.floor_term) = (mark.index, mark.term);
            group.hard = (mark.current_term, mark.vote);
        }
        for number in opening.chunks().clone() {
            let directory = open_chunk(disk, identity, number)?;
            if newest_chunk == Some(number) {
                opening.newest_chunk(&directory)?;
            }
        }
    }
    let mut recovery = Recovery::new(identity, segment_bytes, opening.floor());
    for (number, bytes) in disk.segments() {
        recovery.peek(*number, &bytes[..BLOCK_BYTES.min(bytes.len())]);
    }
    let mut refused = None;
    for (number, bytes) in disk.segments() {
        let mut sink = |record: &Record<'_>| {
            found.take(record);
            if let Err(what) = opening.record(record) {
                refused.get_or_insert(what);
            }
        };
        let read = recovery.segment(*number, bytes, &mut sink);
        read.map_err(|corruption| corruption.to_string())?;
    }
    if let Some(what) = refused {
        return Err(what);
    }
    let recovered = recovery.finish().map_err(|corruption| corruption.to_string())?;
    found.cut = recovered.cut.is_some();
    found.groups.values_mut().for_each(FoundLog::cut);
    for file in opening.snapshots() {
        let bytes = disk.files().get(&FileName::Snapshot(file)).ok_or("a snapshot is missing")?;
        for number in opening.snapshot(file, bytes)? {
            open_chunk(disk, identity, number)?;
        }
    }
    let files: Vec<FileName> = disk.files().keys().copied().collect();
    let removable = opening.removable(&files);
    disk.clean(&recovered.remove, |name| !removable.contains(name));
    let files = disk.files().keys().copied().collect();
    Ok((opening.finish(recovered, files), found))
}

/// Looks at both ends of a chunk and reads its directory.
fn open_chunk(
    disk: &Disk,
    identity: LogIdentity,
    number: u64,
) -> Result<Vec<chunk::Entry>, String> {
    let bytes = disk.files().get(&FileName::Chunk(number)).ok_or("a chunk is missing")?;
    chunk::read_header(bytes, identity, number)?;
    let trailer = chunk::read_trailer(&bytes[bytes.len() - chunk::TRAILER_BYTES..])?;
    let begin = usize::try_from(trailer.offset).map_err(|error| error.to_string())?;
    let count = usize::try_from(trailer.bytes).map_err(|error| error.to_string())?;
    let directory = bytes.get(begin..begin + count).ok_or("a chunk is cut short")?;
    Ok(chunk::read_directory(directory, trailer, number)?)
}

impl FoundLog {
    /// Entries without a checkpoint in front of them.
    #[cfg(test)]
    pub(crate) fn of(log: BTreeMap<Index, Term>, hard: (Term, Option<NodeId>)) -> FoundLog {
        FoundLog { log, hard, ..FoundLog::default() }
    }

    /// An entry replaces all that was written behind it.
    fn entry(&mut self, index: Index, term: Term) {
        let _replaced = self.log.split_off(&index);
        if self.floor < index {
            self.log.insert(index, term);
        }
    }

    /// An entry was written once more: it fills a place that is empty.
    fn again(&mut self, index: Index, term: Term) {
        if self.floor < index {
            self.log.entry(index).or_insert(term);
        }
    }

    /// The log restarts behind a snapshot.
    fn restart(&mut self, index: Index, term: Term) {
        if index <= self.floor {
            return;
        }
        let continues = self.log.get(&index) == Some(&term);
        self.log = self.log.split_off(&Index(index.0 + 1));
        if !continues {
            self.log.clear();
        }
        (self.floor, self.floor_term) = (index, term);
    }

    /// What was written behind another entry than the floor's does not count: its term is older. Nor
    /// does what has lost the entries in front of it.
    fn cut(&mut self) {
        let mut last = (self.floor, self.floor_term);
        self.log.retain(|index, term| {
            let follows = index.0 == last.0.0 + 1 && last.1 <= *term;
            if follows {
                last = (*index, *term);
            }
            follows
        });
    }
}

impl Found {
    fn take(&mut self, record: &Record<'_>) {
        let group = self.groups.entry(record.group.0).or_default();
        match record.kind {
            RecordKind::HardState { term, vote } => {
                let newer = group.hard.0 < Term(term) || group.hard.1.is_none();
                if group.hard.0 <= Term(term) && newer {
                    group.hard = (Term(term), vote.map(NodeId));
                }
            }
            RecordKind::Entry { term, index, .. } | RecordKind::Membership { term, index, .. } => {
                group.entry(Index(index), Term(term));
            }
            RecordKind::EntryAgain { term, index, .. }
            | RecordKind::MembershipAgain { term, index, .. } => {
                group.again(Index(index), Term(term));
            }
            RecordKind::Snapshot { term, index, .. } => {
                group.restart(Index(index), Term(term));
            }
        }
    }
}
