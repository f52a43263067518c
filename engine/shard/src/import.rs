//! Taking over a group's state from another node.
//!
//! 1. The sender offers; the frames of all sessions are pulled, and read as they come.
//! 2. Of each session the events this node has no block of are pulled, from the sender or, should it not
//!    answer, from the other members, and written to a chunk.
//! 3. The chunk is published, then a file with the sessions and the places of all their events.
//! 4. In one step, while no flush runs: the sessions in memory are replaced, the group's node starts
//!    behind the snapshot, and a record in the log says so. Once that record is durable, and not
//!    before, the node acknowledges. A crash before it leaves files nobody needs; after it, the log
//!    leads to the file until a checkpoint covers it.

mod install;

use std::collections::BTreeMap;

use model::ids::{GroupId, Now, Seq, SessionId};
use model::limits::{
    OFFERS_PER_SHARD, SNAPSHOT_FRAMES_BYTES_MAX, SNAPSHOT_RETRY_MS, SNAPSHOT_SILENCE_MS,
    SNAPSHOT_WANTS_MAX,
};
use raft::{Index, NodeId, Snapshot, Term};

use crate::checkpoint::take_sessions;
use crate::chunk::{Entry, put_block, put_header};
use crate::effect::{DiskOp, FileName};
use crate::peer::{PeerMessage, Run, SnapshotStep, Want};
use crate::session::{Extent, Session};
use crate::shard::Shard;
use crate::stream::Stream;
use crate::wal::LogIdentity;

/// Sessions looked at in one turn.
const SESSIONS_PER_TURN: usize = 1024;

/// A snapshot that another node has offered, and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Offer {
    from: NodeId,
    /// The sender's number of the snapshot.
    number: u64,
    last: (Term, Index),
    at: u64,
}

/// Offers that wait until the snapshot before them is taken over, the newest of each group. Each comes
/// again and again, so one that does not is forgotten.
pub(crate) type Offers = BTreeMap<usize, Offer>;

/// A snapshot that is being taken over.
#[derive(Debug)]
pub(crate) struct Import {
    slot: usize,
    group: GroupId,
    from: NodeId,
    /// The sender's number of the snapshot.
    number: u64,
    /// Who is asked for events.
    source: NodeId,
    /// The number of the files.
    file: u64,
    /// What it stands for; comes with the end of the frames.
    head: Option<Snapshot>,
    /// Bytes of frames that came, and the beginning of one that is not whole.
    offset: u64,
    partial: Vec<u8>,
    sessions: Vec<(SessionId, Session)>,
    stage: Stage,
    chunk: Stream,
    /// The chunk's blocks so far.
    entries: Vec<Entry>,
    snapshot: Stream,
    /// When something came that is of use.
    heard_at: u64,
    /// When the sender was told last that this goes on, and when events were asked for last.
    told_at: u64,
    asked_at: u64,
    /// Whether events are awaited.
    waits: bool,
    scratch: Vec<u8>,
    #[cfg(feature = "sabotage")]
    names_own_chunk_only: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Frames,
    /// Events of the session at this place; all before it are complete.
    Events {
        place: usize,
        /// The last seq of it that is here.
        have: Seq,
    },
    /// The chunk's last bytes are written.
    EndChunk,
    PublishChunk,
    /// Sessions from this place on are still to be written.
    Sessions {
        place: usize,
    },
    EndSessions,
    PublishSessions,
    /// All is durable; waits until no flush runs.
    Install,
}

impl Stage {
    fn pulls(self) -> bool {
        matches!(self, Stage::Frames | Stage::Events { .. })
    }
}

impl Import {
    fn new((slot, group): (usize, GroupId), offer: Offer, file: u64, now: Now) -> Import {
        Import {
            slot,
            group,
            from: offer.from,
            number: offer.number,
            source: offer.from,
            file,
            head: None,
            offset: 0,
            partial: Vec::new(),
            sessions: Vec::new(),
            stage: Stage::Frames,
            chunk: Stream::new(FileName::Chunk(file)),
            entries: Vec::new(),
            snapshot: Stream::new(FileName::Snapshot(file)),
            heard_at: now.monotonic,
            told_at: now.monotonic,
            asked_at: now.monotonic,
            waits: false,
            scratch: Vec::new(),
            #[cfg(feature = "sabotage")]
            names_own_chunk_only: false,
        }
    }

    /// The stream of one of its files.
    pub(crate) fn stream(&mut self, file: FileName) -> Option<&mut Stream> {
        let streams = [&mut self.chunk, &mut self.snapshot];
        streams.into_iter().find(|stream| stream.file() == file)
    }

    /// One of its files is durable under its name. Whether it is one of its.
    pub(crate) fn published(&mut self, file: FileName) -> bool {
        if file == self.chunk.file() {
            assert_eq!(self.stage, Stage::PublishChunk, "published when asked for");
            self.stage = Stage::Sessions { place: 0 };
        } else if file == self.snapshot.file() {
            assert_eq!(self.stage, Stage::PublishSessions, "published when asked for");
            self.stage = Stage::Install;
        } else {
            return false;
        }
        true
    }

    /// Takes some frames. `None` if they are not what was written.
    fn take_frames(&mut self, placement: model::ids::Placement, bytes: &[u8]) -> Option<()> {
        self.offset += bytes.len() as u64;
        self.partial.extend_from_slice(bytes);
        let known = self.sessions.len();
        let taken = take_sessions(&self.partial, &mut self.sessions)?;
        self.partial.drain(..taken);
        let own = |(id, session): &(SessionId, Session)| {
            session.group == self.group && placement.group(id.as_str()) == self.group
        };
        let is_whole = self.offset <= SNAPSHOT_FRAMES_BYTES_MAX;
        (is_whole && self.sessions[known..].iter().all(own)).then_some(())
    }

    /// Writes events of the session it waits for as blocks of the chunk; whether they were the next
    /// ones.
    fn take_run(&mut self, identity: LogIdentity, run: &Run) -> bool {
        let Stage::Events { place, have } = self.stage else { return false };
        let Some((id, known)) = self.sessions.get_mut(place) else { return false };
        let count = run.events.len() as u64;
        let fits = count <= known.last_seq.0 - have.0;
        if *id != run.session || run.first != have.next() || count == 0 || !fits {
            return false;
        }
        let mut next = run.first;
        let mut left = &run.events[..];
        while !left.is_empty() {
            self.scratch.clear();
            let target = (identity, self.file);
            let taken = put_block(&mut self.scratch, target, (id.as_str(), next), left.iter());
            let bytes = u32::try_from(self.scratch.len()).expect("a block is bounded by a record");
            let offset = self.chunk.position();
            let extent = Extent { first: next, chunk: self.file, offset, bytes };
            self.chunk.put(&self.scratch);
            known.extents.push(extent);
            self.entries.push(Entry { session: id.as_str().into(), count: taken, extent });
            next = Seq(next.0 + u64::from(taken));
            left = &left[taken as usize..];
        }
        self.stage = Stage::Events { place, have: Seq(next.0 - 1) };
        true
    }

    fn head(&self) -> &Snapshot {
        self.head.as_ref().expect("it came with the end of the frames")
    }
}

impl Shard {
    /// One step of a snapshot's transfer, whichever side this node is on.
    pub(crate) fn snapshot_step(
        &mut self,
        from: NodeId,
        slot: usize,
        step: SnapshotStep,
        now: Now,
    ) {
        match step {
            SnapshotStep::Offer { number, last } => {
                self.offered(slot, Offer { from, number, last, at: now.monotonic });
            }
            SnapshotStep::Frames { number, offset, bytes } => {
                let placement = self.options.placement;
                let Some(import) = self.import_at((from, number), offset) else { return };
                import.heard_at = now.monotonic;
                match import.take_frames(placement, &bytes) {
                    Some(()) => self.ask_for_frames(now),
                    None => self.end_import(false),
                }
            }
            SnapshotStep::FramesEnd { number, offset, head } => {
                if self.import_at((from, number), offset).is_some() {
                    self.end_frames(head, now);
                }
            }
            SnapshotStep::Events { number, runs } => {
                if !self.block_came(from, number, &runs) {
                    self.events_came(from, number, &runs, now);
                }
            }
            SnapshotStep::Gone { number } => {
                let of_it =
                    |i: &Import| (i.from, i.number, i.stage) == (from, number, Stage::Frames);
                if self.import.as_ref().is_some_and(of_it) {
                    self.give_up_import();
                }
            }
            SnapshotStep::PullFrames { number, offset } => {
                self.pull_frames(from, slot, (number, offset), now);
            }
            SnapshotStep::PullEvents { number, wants } => {
                self.hand_out(from, self.groups[slot].id, number, &wants);
            }
            SnapshotStep::End { number, installed } => {
                self.export_ended(from, number, installed, now);
            }
        }
    }

    /// The import whose frames are pulled from a sender and have come up to here.
    fn import_at(&mut self, (from, number): (NodeId, u64), offset: u64) -> Option<&mut Import> {
        let asked = (from, number, Stage::Frames, offset);
        self.import.as_mut().filter(|i| (i.from, i.number, i.stage, i.offset) == asked)
    }

    /// A connection is gone, with what was under way on it.
    pub(crate) fn lose_sender(&mut self, node: NodeId) {
        self.offers.retain(|_, offer| offer.from != node);
        let pulls = |import: &Import| import.from == node && import.stage == Stage::Frames;
        if self.import.as_ref().is_some_and(pulls) {
            self.give_up_import();
        }
    }

    /// Another node has a snapshot: it is taken over when it is its turn.
    fn offered(&mut self, slot: usize, offer: Offer) {
        if let Some(import) = &self.import
            && import.slot == slot
            && import.from == offer.from
        {
            // A sender's numbers rise: an offer that was overtaken is void.
            if offer.number <= import.number || !import.stage.pulls() {
                return;
            }
            // The sender has given up what was begun.
            self.give_up_import();
        }
        let known = self.offers.get(&slot).filter(|known| known.from == offer.from);
        if known.is_some_and(|known| offer.number < known.number) {
            return;
        }
        if self.offers.len() < OFFERS_PER_SHARD || self.offers.contains_key(&slot) {
            self.offers.insert(slot, offer);
        }
        self.more_work = true;
    }

    /// Begins with the next snapshot that was offered.
    fn next_import(&mut self, now: Now) {
        while let Some((slot, offer)) = self.offers.pop_first() {
            let Offer { from, number, last, at } = offer;
            let group = &self.groups[slot];
            let (group, applied) = (group.id, group.applied().1);
            if 2 * SNAPSHOT_RETRY_MS * 1_000 < now.monotonic.saturating_sub(at) {
                continue;
            }
            if last.1 <= applied {
                let step = SnapshotStep::End { number, installed: true };
                self.sends.push((from, PeerMessage::Snapshot { group, step }));
                continue;
            }
            let file = self.flush.take_number();
            let mut import = Import::new((slot, group), offer, file, now);
            #[cfg(feature = "sabotage")]
            {
                let broken = self.options.sabotage;
                import.names_own_chunk_only =
                    broken == Some(crate::sabotage::Sabotage::NameOwnChunkOnly);
            }
            put_header(&mut import.scratch, self.options.identity(), file);
            import.chunk.put(&import.scratch);
            self.import = Some(import);
            return self.ask_for_frames(now);
        }
    }

    fn ask_for_frames(&mut self, now: Now) {
        let Some(import) = &mut self.import else { return };
        import.told_at = now.monotonic;
        let step = SnapshotStep::PullFrames { number: import.number, offset: import.offset };
        let message = PeerMessage::Snapshot { group: import.group, step };
        self.sends.push((import.from, message));
    }

    /// All frames are here.
    fn end_frames(&mut self, head: Snapshot, now: Now) {
        let Some(mut import) = self.import.take() else { return };
        let is_news = self.groups[import.slot].applied().1 < head.last.1;
        if !is_news || !import.partial.is_empty() {
            self.import = Some(import);
            return self.end_import(!is_news);
        }
        (import.head, import.partial, import.heard_at) = (Some(head), Vec::new(), now.monotonic);
        self.enter_session(&mut import, 0);
        self.import = Some(import);
        self.more_work = true;
    }

    /// Events came: those that are the next ones are taken.
    fn events_came(&mut self, from: NodeId, number: u64, runs: &[Run], now: Now) {
        let identity = self.options.identity();
        let asked = (from, number);
        let Some(mut import) = self.import.take_if(|i| (i.source, i.number) == asked) else {
            return;
        };
        for run in runs {
            self.pass_complete(&mut import);
            if !import.take_run(identity, run) {
                break;
            }
            import.heard_at = now.monotonic;
            import.waits = false;
            self.more_work = true;
        }
        self.import = Some(import);
    }

    /// Asks for the events that are missing next.
    fn ask_for_events(&mut self, import: &mut Import, now: Now) {
        let wants = self.wants(import);
        if wants.is_empty() {
            return;
        }
        (import.waits, import.asked_at) = (true, now.monotonic);
        let step = SnapshotStep::PullEvents { number: import.number, wants };
        self.sends.push((import.source, PeerMessage::Snapshot { group: import.group, step }));
    }

    /// The events that are missing next, of some sessions.
    fn wants(&self, import: &Import) -> Vec<Want> {
        let Stage::Events { place, have } = import.stage else { return Vec::new() };
        let ahead = import.sessions.iter().skip(place).take(SESSIONS_PER_TURN).enumerate();
        let wants = ahead.map(|(behind, (id, session))| {
            let after = if behind == 0 { have } else { self.in_blocks(id) };
            Want { session: id.clone(), after, last: session.last_seq }
        });
        wants.filter(|want| want.after < want.last).take(SNAPSHOT_WANTS_MAX).collect()
    }

    /// Asks again for what did not come, another one if it is events, and gives up when nothing comes.
    pub(crate) fn look_at_import(&mut self, now: Now) {
        let Some(mut import) = self.import.take() else { return };
        let since = |at: u64| now.monotonic.saturating_sub(at);
        let is_late = SNAPSHOT_RETRY_MS * 1_000 <= since(import.asked_at);
        let is_asking = import.stage == Stage::Frames || import.waits;
        let is_over = is_asking && SNAPSHOT_SILENCE_MS * 1_000 <= since(import.heard_at);
        if is_late && import.waits {
            import.source = self.next_source(&import);
            self.ask_for_events(&mut import, now);
        }
        // Also when all frames are here: the sender's log waits for a receiver that gives signs of life.
        let tells = SNAPSHOT_RETRY_MS * 1_000 <= since(import.told_at);
        self.import = Some(import);
        if is_over {
            self.end_import(false);
        } else if tells {
            self.ask_for_frames(now);
        }
    }

    /// The member to ask for events after one that did not answer.
    fn next_source(&self, import: &Import) -> NodeId {
        let own = self.options.cluster.own;
        let reached = |id: &NodeId| *id != own && self.lives(*id, import.slot);
        let mut members: Vec<NodeId> = import.head().membership.members().filter(reached).collect();
        members.sort_unstable();
        let next = members.iter().find(|id| import.source < **id).or(members.first());
        next.copied().unwrap_or(import.from)
    }

    /// Forgets a snapshot that is not installed, and says whether that is since it brings nothing new.
    pub(crate) fn end_import(&mut self, installed: bool) {
        if let Some(Import { from, group, number, .. }) = &self.import {
            let step = SnapshotStep::End { number: *number, installed };
            self.sends.push((*from, PeerMessage::Snapshot { group: *group, step }));
        }
        self.give_up_import();
    }

    /// Forgets a snapshot that is not installed, and its files.
    pub(crate) fn give_up_import(&mut self) {
        let Some(import) = self.import.take() else { return };
        for file in [import.chunk.file(), import.snapshot.file()] {
            self.ops.push(DiskOp::FileRemove { file });
        }
        self.more_work = true;
    }

    /// Does a slice of work on the snapshot that is being taken over.
    pub(crate) fn work_on_import(&mut self, now: Now) {
        self.more_work = false;
        if self.import.is_none() {
            self.next_import(now);
        }
        let Some(mut import) = self.import.take() else { return };
        let before = import.stage;
        self.import_slice(&mut import, now);
        let changed = import.stage != before;
        if import.stage == Stage::Install && !self.flush.is_running() {
            return self.install(import, now);
        }
        self.import = Some(import);
        self.more_work |= changed;
    }

    fn import_slice(&mut self, import: &mut Import, now: Now) {
        match import.stage {
            Stage::Events { .. } => {
                self.go_through_sessions(import, now);
                self.ops.extend(import.chunk.write());
            }
            Stage::EndChunk => {
                self.ops.extend(import.chunk.finish());
                if import.chunk.is_written() {
                    import.stage = Stage::PublishChunk;
                    self.ops.push(DiskOp::FilePublish { file: import.chunk.file() });
                }
            }
            Stage::Sessions { place } => self.write_sessions(import, place),
            Stage::EndSessions => {
                self.ops.extend(import.snapshot.finish());
                if import.snapshot.is_written() {
                    import.stage = Stage::PublishSessions;
                    self.ops.push(DiskOp::FilePublish { file: import.snapshot.file() });
                }
            }
            Stage::Frames | Stage::PublishChunk | Stage::PublishSessions | Stage::Install => {}
        }
    }

    /// Begins with the session at a place: what this node has blocks of is kept, the rest is pulled.
    fn enter_session(&self, import: &mut Import, place: usize) {
        let mut have = Seq(0);
        if let Some((id, session)) = import.sessions.get_mut(place)
            && let Some(slot) = self.machine.sessions.find(id.as_str())
        {
            session.extents.clone_from(&self.machine.sessions.get(slot).extents);
            have = self.in_blocks(id);
        }
        import.stage = Stage::Events { place, have };
    }

    /// The last seq of a session this node has in a block.
    fn in_blocks(&self, id: &SessionId) -> Seq {
        let Some(slot) = self.machine.sessions.find(id.as_str()) else { return Seq(0) };
        let known = self.machine.sessions.get(slot);
        #[cfg(feature = "sabotage")]
        if self.options.sabotage == Some(crate::sabotage::Sabotage::TrustMemory) {
            return known.last_seq;
        }
        Seq(known.hot_first().0 - 1)
    }

    /// Passes by sessions that lack nothing, some at a time. Whether one is reached that does, or the
    /// end.
    fn pass_complete(&self, import: &mut Import) -> bool {
        for _ in 0..SESSIONS_PER_TURN {
            let Stage::Events { place, have } = import.stage else { return true };
            if import.sessions.get(place).is_none_or(|(_, session)| have < session.last_seq) {
                return true;
            }
            self.enter_session(import, place + 1);
        }
        false
    }

    fn go_through_sessions(&mut self, import: &mut Import, now: Now) {
        if import.chunk.is_full() {
            return;
        }
        let Stage::Events { place: before, .. } = import.stage else { return };
        let is_there = self.pass_complete(import);
        let Stage::Events { place, .. } = import.stage else { return };
        self.more_work |= !is_there;
        // What was asked for before is of no use for a session behind those.
        import.waits &= place == before;
        if place == import.sessions.len() {
            self.end_chunk(import);
        } else if is_there && !import.waits {
            self.ask_for_events(import, now);
        }
    }
}
