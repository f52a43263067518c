//! Blocks that cannot be read here, of sessions other nodes have too.
//!
//! 1. A block fails its checksum, or the disk does not give it. The reader waits.
//! 2. One member of its group after the other is asked for its events. They are what the block held:
//!    events never change. The reader has them now.
//! 3. They are written to a chunk of their own; once that is durable and no flush runs, it takes the
//!    block's place. The next checkpoint says so; a crash before it leaves a file nobody names and the
//!    block as it was.
//!
//! When nobody has them the reader is told that they cannot be read, and so are all others for a while:
//! those who were asked look for what they lack in the same way, and would ask in circles.

use std::collections::{BTreeMap, VecDeque};

use model::api::Event;
use model::ids::{Now, Seq, SessionId};
use model::limits::{REPAIR_PATIENCE_MS, REPAIRS_PER_SHARD, SNAPSHOT_SILENCE_MS};
use raft::NodeId;

use crate::chunk::{Damage, Entry, put_block, put_directory, put_header};
use crate::effect::{DiskOp, FileName};
use crate::peer::{PeerMessage, Run, SnapshotStep, Want};
use crate::reads::{Purpose, Wish};
use crate::session::Extent;
use crate::shard::Shard;
use crate::stream::Stream;
use crate::wal::LogIdentity;

/// Blocks in one file.
const BLOCKS_PER_PATCH: usize = 256;

/// Blocks that are fetched from other replicas, one after the other, and the file they go to.
#[derive(Debug, Default)]
pub(crate) struct Repairs {
    /// The first one is being fetched.
    lost: VecDeque<Lost>,
    patch: Option<Patch>,
    /// Blocks nobody gave, by chunk and place, and until when nobody is asked again. While they are many
    /// no new one is begun: at most twice [`REPAIRS_PER_SHARD`].
    hopeless: BTreeMap<(u64, u64), u64>,
    /// Numbers what others are asked.
    newest: u64,
}

/// A block that cannot be read.
#[derive(Debug)]
struct Lost {
    session: SessionId,
    extent: Extent,
    /// Its last event.
    last: Seq,
    /// Who waits for it.
    wishes: Vec<Wish>,
    /// What others gave.
    events: Vec<Event>,
    /// Who was asked, in vain but perhaps the last of them.
    asked: Vec<NodeId>,
    /// The question that is open, and when it was asked.
    question: Option<(NodeId, u64, u64)>,
}

/// A chunk of blocks that were fetched.
#[derive(Debug)]
struct Patch {
    number: u64,
    stream: Stream,
    entries: Vec<Entry>,
    /// What each block is in place of.
    replaced: Vec<(SessionId, Extent, Vec<Extent>)>,
    stage: Stage,
    scratch: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Blocks are added.
    Open,
    /// Its last bytes are written.
    Ending,
    Publishing,
    /// It is durable; waits until no flush runs.
    Durable,
}

impl Repairs {
    /// The stream of its file.
    pub(crate) fn stream(&mut self, file: FileName) -> Option<&mut Stream> {
        let stream = self.patch.as_mut().map(|patch| &mut patch.stream);
        stream.filter(|stream| stream.file() == file)
    }

    /// Its file is durable under its name. Whether it is its.
    pub(crate) fn published(&mut self, file: FileName) -> bool {
        let Some(patch) = self.patch.as_mut().filter(|patch| patch.stream.file() == file) else {
            return false;
        };
        assert_eq!(patch.stage, Stage::Publishing, "published when asked for");
        patch.stage = Stage::Durable;
        true
    }

    /// There was no room for its file: readers have what they waited for all the same. Whether it was
    /// its.
    pub(crate) fn give_up(&mut self, file: FileName) -> bool {
        self.patch.take_if(|patch| patch.stream.file() == file).is_some()
    }

    /// Drops what somebody who is gone has waited for.
    pub(crate) fn forget(&mut self, purpose: Purpose) {
        for lost in &mut self.lost {
            lost.wishes.retain(|wish| wish.purpose != purpose);
        }
    }
}

impl Lost {
    /// Takes events that are the next ones.
    fn take(&mut self, runs: &[Run]) {
        for run in runs.iter().filter(|run| run.session == self.session) {
            for (seq, json) in (run.first.0..).zip(&run.events) {
                let next = self.extent.first.0 + self.events.len() as u64;
                if seq == next && seq <= self.last.0 {
                    self.events.push(Event { seq: Seq(seq), json: json.clone() });
                }
            }
        }
    }

    fn is_here(&self) -> bool {
        self.events.last().is_some_and(|event| event.seq == self.last)
    }

    fn want(&self) -> Want {
        let after = Seq(self.extent.first.0 - 1 + self.events.len() as u64);
        Want { session: self.session.clone(), after, last: self.last }
    }
}

impl Patch {
    fn new(identity: LogIdentity, number: u64) -> Patch {
        let mut scratch = Vec::new();
        put_header(&mut scratch, identity, number);
        let mut stream = Stream::new(FileName::Chunk(number));
        stream.put(&scratch);
        let (entries, replaced) = (Vec::new(), Vec::new());
        Patch { number, stream, entries, replaced, stage: Stage::Open, scratch }
    }

    fn has_room(&self) -> bool {
        self.stage == Stage::Open && !self.stream.is_full() && self.entries.len() < BLOCKS_PER_PATCH
    }

    fn add(&mut self, identity: LogIdentity, lost: &Lost) {
        let mut extents = Vec::new();
        let mut left = &lost.events[..];
        while let Some(first) = left.first().map(|event| event.seq) {
            self.scratch.clear();
            let place = (identity, self.number);
            let events = left.iter().map(|event| &event.json);
            let head = (lost.session.as_str(), first);
            let count = put_block(&mut self.scratch, place, head, events);
            let bytes = u32::try_from(self.scratch.len()).expect("a block is bounded by a record");
            let offset = self.stream.position();
            let extent = Extent { first, chunk: self.number, offset, bytes };
            self.stream.put(&self.scratch);
            self.entries.push(Entry { session: lost.session.as_str().into(), count, extent });
            extents.push(extent);
            left = &left[count as usize..];
        }
        self.replaced.push((lost.session.clone(), lost.extent, extents));
    }

    /// Writes its end.
    fn end(&mut self) {
        self.scratch.clear();
        put_directory(&mut self.scratch, self.stream.position(), &self.entries);
        self.stream.put(&self.scratch);
        self.stage = Stage::Ending;
    }
}

impl Shard {
    /// A block somebody waits for cannot be read.
    pub(crate) fn block_lost(&mut self, wish: Wish, damage: Damage) {
        let Some(slot) = self.machine.sessions.find(wish.session.as_str()) else {
            return self.fetched(wish.purpose, Err(damage));
        };
        let block = self.machine.sessions.get(slot).block_of(wish.cursor.next());
        let Some((extent, last)) = block else { return self.fetched(wish.purpose, Err(damage)) };
        if extent != wish.extent {
            // Another one has taken its place since it was asked for.
            return self.reads.want(Wish { extent, ..wish });
        }
        // Another replica is not kept waiting: it has others to ask, perhaps this one.
        let waits = !matches!(wish.purpose, Purpose::Handout(..));
        let known = self.repairs.lost.iter().position(|lost| lost.extent == extent);
        let is_hopeless = self.repairs.hopeless.contains_key(&(extent.chunk, extent.offset))
            || REPAIRS_PER_SHARD <= self.repairs.hopeless.len()
            || self.options.cluster.is_alone();
        let has_room = self.repairs.lost.len() < REPAIRS_PER_SHARD && !is_hopeless;
        let purpose = wish.purpose;
        let wishes = if waits { vec![wish.clone()] } else { Vec::new() };
        match known {
            Some(place) => self.repairs.lost[place].wishes.extend(wishes),
            None if has_room => self.repairs.lost.push_back(Lost {
                session: wish.session,
                extent,
                last,
                wishes,
                events: Vec::new(),
                asked: Vec::new(),
                question: None,
            }),
            None => return self.fetched(purpose, Err(damage)),
        }
        self.more_work = true;
        if !waits {
            self.fetched(purpose, Err(damage));
        }
    }

    /// Asks for the next block, and moves on with the file.
    pub(crate) fn work_on_repairs(&mut self, now: Now) {
        while self.repairs.lost.front().is_some_and(|lost| lost.question.is_none()) {
            self.ask_for_block(now);
        }
        let is_last = self.repairs.lost.is_empty();
        let Some(patch) = &mut self.repairs.patch else { return };
        match patch.stage {
            Stage::Open if is_last || !patch.has_room() => patch.end(),
            Stage::Durable if !self.flush.is_running() => return self.put_patch(),
            Stage::Open | Stage::Ending | Stage::Publishing | Stage::Durable => {}
        }
        if patch.stage == Stage::Ending {
            self.ops.extend(patch.stream.finish());
            if patch.stream.is_written() {
                patch.stage = Stage::Publishing;
                self.ops.push(DiskOp::FilePublish { file: patch.stream.file() });
            }
        }
    }

    /// Asks the next member for the first block, or says that nobody has it.
    fn ask_for_block(&mut self, now: Now) {
        let Some(mut lost) = self.repairs.lost.pop_front() else { return };
        let slot = self.home(lost.session.as_str());
        let group = &self.groups[slot];
        let own = self.options.cluster.own;
        let fit = |id: &NodeId| *id != own && !lost.asked.contains(id) && self.lives(*id, slot);
        let Some(member) = group.node.membership().members().find(fit) else {
            let place = (lost.extent.chunk, lost.extent.offset);
            self.repairs.hopeless.insert(place, now.monotonic + SNAPSHOT_SILENCE_MS * 1_000);
            for wish in lost.wishes {
                self.fetched(wish.purpose, Err("block cannot be read, and nobody else has it"));
            }
            return;
        };
        self.repairs.newest += 1;
        let number = self.repairs.newest;
        let step = SnapshotStep::PullEvents { number, wants: vec![lost.want()] };
        self.sends.push((member, PeerMessage::Snapshot { group: group.id, step }));
        lost.asked.push(member);
        lost.question = Some((member, number, now.monotonic));
        self.repairs.lost.push_front(lost);
    }

    /// A member does not answer: the next one is asked.
    pub(crate) fn look_at_repairs(&mut self, now: Now) {
        self.repairs.hopeless.retain(|_, until| now.monotonic < *until);
        let patience = REPAIR_PATIENCE_MS * 1_000;
        if let Some(lost) = self.repairs.lost.front_mut() {
            let late = |(_, _, at): &(_, _, u64)| patience <= now.monotonic.saturating_sub(*at);
            self.more_work |= lost.question.take_if(|question| late(question)).is_some();
        }
    }

    /// Events came. Whether they were asked for to repair a block.
    pub(crate) fn block_came(&mut self, from: NodeId, number: u64, runs: &[Run]) -> bool {
        let Some(lost) = self.repairs.lost.front_mut() else { return false };
        if lost.question.is_none_or(|(member, asked, _)| (member, asked) != (from, number)) {
            return false;
        }
        let had = lost.events.len();
        lost.take(runs);
        lost.question = None;
        if had < lost.events.len() {
            // It has more than fits one answer.
            lost.asked.retain(|id| *id != from);
        }
        self.more_work = true;
        if lost.is_here()
            && let Some(lost) = self.repairs.lost.pop_front()
        {
            self.keep_block(&lost);
            for wish in lost.wishes {
                let known = usize::try_from(wish.cursor.next().0 - lost.extent.first.0);
                let behind = lost.events[known.expect("within a block")..].to_vec();
                self.fetched(wish.purpose, Ok(behind));
            }
        }
        true
    }

    /// Adds a block to the file that takes the place of those that cannot be read.
    fn keep_block(&mut self, lost: &Lost) {
        let identity = self.options.identity();
        if self.repairs.patch.is_none() {
            let number = self.flush.take_number();
            self.repairs.patch = Some(Patch::new(identity, number));
        }
        if let Some(patch) = self.repairs.patch.as_mut().filter(|patch| patch.has_room()) {
            patch.add(identity, lost);
        }
    }

    /// Puts the file's blocks in the place of those that cannot be read.
    fn put_patch(&mut self) {
        let Some(Patch { number, replaced, .. }) = self.repairs.patch.take() else { return };
        let mut used = 0;
        for (id, before, extents) in replaced {
            let Some(slot) = self.machine.sessions.find(id.as_str()) else { continue };
            let known = &mut self.machine.sessions.get_mut(slot).extents;
            if let Some(place) = known.iter().position(|extent| *extent == before) {
                known.splice(place..=place, extents);
                used += 1;
            }
        }
        self.facts.chunk_blocks_repaired += used;
        if used == 0 {
            return self.ops.push(DiskOp::FileRemove { file: FileName::Chunk(number) });
        }
        self.flush.adopt_chunk(number);
        self.changed_since_flush = true;
    }
}
