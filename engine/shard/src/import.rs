//! Taking over a group's state from another node.
//!
//! 1. The sender offers; the frames of all sessions are pulled.
//! 2. Of each session the events this node has no block of are pulled, and written to a chunk.
//! 3. The chunk is published, then a file with the sessions and the places of all their events.
//! 4. In one step, while no flush runs: the sessions in memory are replaced, the group's node starts
//!    behind the snapshot, and a record in the log says so. Once that record is durable, and not
//!    before, the node acknowledges. A crash before it leaves files nobody names; after it, the log
//!    leads to the file until a checkpoint covers it.

use std::collections::BTreeSet;

use model::ids::{GroupId, Now, Seq, SessionId};
use model::limits::{SNAPSHOT_RETRY_MS, SNAPSHOT_SILENCE_MS};
use raft::{Index, NodeId, Snapshot};

use crate::checkpoint::{GroupMark, Head, put_end, put_head, put_session, take_sessions};
use crate::chunk::{Entry, put_block, put_directory, put_header};
use crate::effect::{DiskOp, FileName};
use crate::peer::{PeerMessage, SnapshotStep};
use crate::session::{Extent, Session};
use crate::shard::Shard;
use crate::stream::Stream;
use crate::wal::{LogFloor, LogIdentity};

/// The most bytes of frames that are taken: more sessions than any group should have.
const FRAMES_BYTES_MAX: u64 = 1 << 32;
/// Sessions looked at in one turn.
const SESSIONS_PER_TURN: usize = 1024;

/// A snapshot that is being taken over.
#[derive(Debug)]
pub(crate) struct Import {
    slot: usize,
    group: GroupId,
    from: NodeId,
    /// The sender's number of the snapshot.
    number: u64,
    /// The number of the files.
    file: u64,
    head: Snapshot,
    frames_total: u64,
    frames: Vec<u8>,
    sessions: Vec<(SessionId, Session)>,
    stage: Stage,
    chunk: Stream,
    /// The chunk's blocks so far.
    entries: Vec<Entry>,
    snapshot: Stream,
    /// When the sender was heard last, and asked last.
    heard_at: u64,
    asked_at: u64,
    /// Whether an answer is awaited.
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

impl Import {
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

    /// What to ask the sender for now, if anything.
    fn wish(&self) -> Option<SnapshotStep> {
        let number = self.number;
        match self.stage {
            Stage::Frames => {
                Some(SnapshotStep::PullFrames { number, offset: self.frames.len() as u64 })
            }
            Stage::Events { place, have } => {
                let (session, known) = self.sessions.get(place)?;
                let (session, last) = (session.clone(), known.last_seq);
                Some(SnapshotStep::PullEvents { number, session, after: have, last })
            }
            _ => None,
        }
    }

    /// Takes some frames; whether they were the next ones.
    fn take_frames(&mut self, offset: u64, bytes: &[u8]) -> bool {
        let room = self.frames_total - self.frames.len() as u64;
        let fits = self.stage == Stage::Frames
            && offset == self.frames.len() as u64
            && !bytes.is_empty()
            && bytes.len() as u64 <= room;
        if fits {
            self.frames.extend_from_slice(bytes);
            self.waits = false;
        }
        fits
    }

    /// Writes events of the session it waits for as blocks of the chunk; whether they were the next
    /// ones.
    fn take_events(
        &mut self,
        identity: LogIdentity,
        (session, first): (&SessionId, Seq),
        events: &[bytes::Bytes],
    ) -> bool {
        let Stage::Events { place, have } = self.stage else { return false };
        let Some((id, known)) = self.sessions.get_mut(place) else { return false };
        let count = events.len() as u64;
        if id != session || first != have.next() || count == 0 || known.last_seq.0 < have.0 + count
        {
            return false;
        }
        self.waits = false;
        let mut next = first;
        let mut left = events;
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

    /// The head of the file with the sessions.
    fn file_head(&self) -> Head {
        let (term, index) = self.head.last;
        let mark = GroupMark {
            group: self.group,
            term,
            index,
            current_term: term,
            vote: None,
            membership: std::sync::Arc::clone(&self.head.membership),
        };
        // Also those an earlier snapshot brought: no checkpoint may have named them yet.
        let extents = self.sessions.iter().flat_map(|(_, session)| &session.extents);
        let chunks: BTreeSet<u64> = extents.map(|extent| extent.chunk).collect();
        #[cfg(feature = "sabotage")]
        let chunks = if self.names_own_chunk_only { BTreeSet::from([self.file]) } else { chunks };
        Head {
            number: self.file,
            floor: LogFloor::first(),
            groups: vec![mark],
            newest_chunk: None,
            chunks: chunks.into_iter().collect(),
        }
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
            SnapshotStep::Offer { number, head, frames } => {
                self.offered((from, slot, number), head, frames, now);
            }
            SnapshotStep::Frames { number, offset, bytes } => {
                let Some(import) = self.import_from(from, number) else { return };
                if import.take_frames(offset, &bytes) {
                    import.heard_at = now.monotonic;
                    self.ask_sender(now);
                }
            }
            SnapshotStep::Events { number, session, first, events } => {
                let identity = self.options.identity();
                let Some(import) = self.import_from(from, number) else { return };
                if import.take_events(identity, (&session, first), &events) {
                    import.heard_at = now.monotonic;
                    self.more_work = true;
                }
            }
            ask @ (SnapshotStep::PullFrames { .. }
            | SnapshotStep::PullEvents { .. }
            | SnapshotStep::End { .. }) => self.export_step(from, ask, now),
        }
    }

    fn import_from(&mut self, from: NodeId, number: u64) -> Option<&mut Import> {
        self.import.as_mut().filter(|import| import.from == from && import.number == number)
    }

    /// The sender of a snapshot is gone, with what it had not sent.
    pub(crate) fn lose_sender(&mut self, node: NodeId) {
        let pulls = |import: &Import| {
            import.from == node && matches!(import.stage, Stage::Frames | Stage::Events { .. })
        };
        if self.import.as_ref().is_some_and(pulls) {
            self.give_up_import();
        }
    }

    fn offered(
        &mut self,
        (from, slot, number): (NodeId, usize, u64),
        head: Snapshot,
        frames: u64,
        now: Now,
    ) {
        let group = &self.groups[slot];
        if head.last.1 <= group.applied().1 || FRAMES_BYTES_MAX < frames {
            let installed = head.last.1 <= group.applied().1;
            let step = SnapshotStep::End { number, installed };
            let group = group.id;
            return self.sends.push((from, PeerMessage::Snapshot { group, step }));
        }
        if let Some(import) = &self.import {
            if import.slot == slot && (import.from, import.number) != (from, number) {
                // A newer offer for the same group: what was begun is for another sender or moment.
                if !matches!(import.stage, Stage::Frames | Stage::Events { .. }) {
                    return;
                }
                self.give_up_import();
            } else {
                return;
            }
        }
        let file = self.flush.take_number();
        let group = self.groups[slot].id;
        let mut import = Import {
            slot,
            group,
            from,
            number,
            file,
            head,
            frames_total: frames,
            frames: Vec::new(),
            sessions: Vec::new(),
            stage: Stage::Frames,
            chunk: Stream::new(FileName::Chunk(file)),
            entries: Vec::new(),
            snapshot: Stream::new(FileName::Snapshot(file)),
            heard_at: now.monotonic,
            asked_at: now.monotonic,
            waits: false,
            scratch: Vec::new(),
            #[cfg(feature = "sabotage")]
            names_own_chunk_only: self.options.sabotage
                == Some(crate::sabotage::Sabotage::NameOwnChunkOnly),
        };
        put_header(&mut import.scratch, self.options.identity(), file);
        import.chunk.put(&import.scratch);
        self.import = Some(import);
        self.ask_sender(now);
        self.more_work = true;
    }

    fn ask_sender(&mut self, now: Now) {
        let Some(import) = &mut self.import else { return };
        import.asked_at = now.monotonic;
        if import.stage == Stage::Frames && import.frames.len() as u64 == import.frames_total {
            self.more_work = true;
            return;
        }
        if let Some(step) = import.wish() {
            import.waits = true;
            let message = PeerMessage::Snapshot { group: import.group, step };
            self.sends.push((import.from, message));
        }
    }

    /// Asks again for what did not come, and gives up on a sender that is gone.
    pub(crate) fn look_at_import(&mut self, now: Now) {
        let Some(import) = &self.import else { return };
        if !matches!(import.stage, Stage::Frames | Stage::Events { .. }) {
            return;
        }
        let since = |at: u64| now.monotonic.saturating_sub(at);
        if SNAPSHOT_SILENCE_MS * 1_000 <= since(import.heard_at) {
            self.give_up_import();
        } else if SNAPSHOT_RETRY_MS * 1_000 <= since(import.asked_at) {
            self.ask_sender(now);
        }
    }

    /// Forgets a snapshot that is not installed, and its files.
    pub(crate) fn give_up_import(&mut self) {
        let Some(import) = self.import.take() else { return };
        for file in [import.chunk.file(), import.snapshot.file()] {
            self.ops.push(DiskOp::FileRemove { file });
        }
    }

    /// Does a slice of work on the snapshot that is being taken over.
    pub(crate) fn work_on_import(&mut self, now: Now) {
        self.more_work = false;
        let Some(mut import) = self.import.take() else { return };
        let before = import.stage;
        let going = self.import_slice(&mut import, now);
        if !going {
            self.import = Some(import);
            return self.give_up_import();
        }
        let changed = import.stage != before;
        if import.stage == Stage::Install && !self.flush.is_running() {
            return self.install(import);
        }
        self.import = Some(import);
        self.more_work |= changed;
    }

    /// Returns whether to go on.
    fn import_slice(&mut self, import: &mut Import, now: Now) -> bool {
        match import.stage {
            Stage::Frames => {
                if import.frames.len() as u64 == import.frames_total {
                    let Some(sessions) = take_sessions(&import.frames) else { return false };
                    let foreign = |(id, session): &(SessionId, Session)| {
                        session.group != import.group
                            || self.options.placement.group(id.as_str()) != import.group
                    };
                    if sessions.iter().any(foreign) {
                        return false;
                    }
                    import.sessions = sessions;
                    import.frames = Vec::new();
                    self.enter_session(import, 0);
                }
                true
            }
            Stage::Events { .. } => {
                self.go_through_sessions(import, now);
                self.ops.extend(import.chunk.write());
                true
            }
            Stage::EndChunk => {
                self.ops.extend(import.chunk.finish());
                if import.chunk.is_written() {
                    import.stage = Stage::PublishChunk;
                    self.ops.push(DiskOp::FilePublish { file: import.chunk.file() });
                }
                true
            }
            Stage::Sessions { place } => {
                self.write_sessions(import, place);
                true
            }
            Stage::EndSessions => {
                self.ops.extend(import.snapshot.finish());
                if import.snapshot.is_written() {
                    import.stage = Stage::PublishSessions;
                    self.ops.push(DiskOp::FilePublish { file: import.snapshot.file() });
                }
                true
            }
            Stage::PublishChunk | Stage::PublishSessions | Stage::Install => true,
        }
    }

    /// Begins with the session at a place: what this node has blocks of is kept, the rest is pulled.
    fn enter_session(&self, import: &mut Import, place: usize) {
        let mut have = Seq(0);
        if let Some((id, session)) = import.sessions.get_mut(place)
            && let Some(slot) = self.machine.sessions.find(id.as_str())
        {
            let known = self.machine.sessions.get(slot);
            session.extents.clone_from(&known.extents);
            have = Seq(known.hot_first().0 - 1);
            #[cfg(feature = "sabotage")]
            if self.options.sabotage == Some(crate::sabotage::Sabotage::TrustMemory) {
                have = known.last_seq;
            }
        }
        import.waits = false;
        import.stage = Stage::Events { place, have };
    }

    fn go_through_sessions(&mut self, import: &mut Import, now: Now) {
        for _ in 0..SESSIONS_PER_TURN {
            let Stage::Events { place, have } = import.stage else { return };
            if import.chunk.is_full() {
                return;
            }
            let Some((_, session)) = import.sessions.get(place) else {
                return self.end_chunk(import);
            };
            if have < session.last_seq {
                // Asked once for each answer; whoever waits in vain asks again by the clock.
                if !import.waits
                    && let Some(step) = import.wish()
                {
                    (import.waits, import.asked_at) = (true, now.monotonic);
                    let message = PeerMessage::Snapshot { group: import.group, step };
                    self.sends.push((import.from, message));
                }
                return;
            }
            self.enter_session(import, place + 1);
        }
        self.more_work = true;
    }

    fn end_chunk(&self, import: &mut Import) {
        let file_head = import.file_head();
        import.scratch.clear();
        put_head(&mut import.scratch, self.options.identity(), &file_head);
        import.snapshot.put(&import.scratch);
        if import.entries.is_empty() {
            // Nothing was missing; the chunk was never written to.
            import.stage = Stage::Sessions { place: 0 };
            return;
        }
        import.scratch.clear();
        put_directory(&mut import.scratch, import.chunk.position(), &import.entries);
        import.chunk.put(&import.scratch);
        import.stage = Stage::EndChunk;
    }

    fn write_sessions(&mut self, import: &mut Import, mut place: usize) {
        let mut left = SESSIONS_PER_TURN;
        while 0 < left && !import.snapshot.is_full() {
            import.scratch.clear();
            let Some((id, session)) = import.sessions.get(place) else {
                put_end(&mut import.scratch, import.sessions.len() as u64);
                import.snapshot.put(&import.scratch);
                import.stage = Stage::EndSessions;
                return;
            };
            put_session(&mut import.scratch, id.as_str(), session, &session.extents);
            import.snapshot.put(&import.scratch);
            place += 1;
            left -= 1;
        }
        import.stage = Stage::Sessions { place };
        self.ops.extend(import.snapshot.write());
        self.more_work |= left == 0;
    }

    /// Replaces the group's state in one step.
    fn install(&mut self, import: Import) {
        let Import { slot, group, from, number, file, head, sessions, entries, .. } = import;
        let step = |installed| {
            let step = SnapshotStep::End { number, installed };
            (from, PeerMessage::Snapshot { group, step })
        };
        if !self.groups[slot].node.restore(head.clone()) {
            self.wake(slot);
            self.sends.push(step(true));
            for file in [FileName::Chunk(file), FileName::Snapshot(file)] {
                self.ops.push(DiskOp::FileRemove { file });
            }
            return;
        }
        for (id, session) in sessions {
            let place = self.machine.install(id, session);
            self.tails.wake(place);
        }
        if !entries.is_empty() {
            self.flush.adopt_chunk(file);
        }
        self.snapshot_files.insert(file, (group, head.last.1.0));
        self.give_up_waiting(slot);
        self.groups[slot].note_installed(&head);
        self.changed_since_flush = true;
        self.facts.snapshots_installed += 1;
        self.sends.push(step(true));
        self.more_work = true;
        self.wake(slot);
    }

    /// The file that holds the state a group's node was told to start behind.
    pub(crate) fn import_file(&self, group: GroupId, index: Index) -> u64 {
        let files = self.snapshot_files.iter().rev();
        let mut of_it = files.filter(|(_, place)| **place == (group, index.0));
        *of_it.next().expect("a snapshot is taken over from a file").0
    }

    /// Removes the files of snapshots that the newest checkpoint covers.
    pub(crate) fn drop_snapshot_files(&mut self) {
        let covered = self.flush.covered_by_published();
        let ops = &mut self.ops;
        self.snapshot_files.retain(|file, (group, index)| {
            let needed = crate::flush::covered(covered, *group) < *index;
            if !needed {
                ops.push(DiskOp::FileRemove { file: FileName::Snapshot(*file) });
            }
            needed
        });
    }
}
