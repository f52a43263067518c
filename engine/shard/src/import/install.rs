//! What comes when all of a snapshot is here: its files, and the step that replaces a group's state.

use std::collections::BTreeSet;

use model::ids::{GroupId, Now};
use raft::{Index, Snapshot};

use super::{Import, SESSIONS_PER_TURN, Stage};
use crate::checkpoint::{GroupMark, Head, put_end, put_head, put_session};
use crate::chunk::put_directory;
use crate::effect::{DiskOp, FileName};
use crate::peer::{PeerMessage, SnapshotStep};
use crate::shard::Shard;
use crate::wal::LogFloor;

impl Import {
    /// The head of the file with the sessions.
    fn file_head(&self) -> Head {
        let Snapshot { last: (term, index), membership } = self.head();
        let mark = GroupMark {
            group: self.group,
            term: *term,
            index: *index,
            current_term: *term,
            vote: None,
            membership: std::sync::Arc::clone(membership),
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
    pub(super) fn end_chunk(&self, import: &mut Import) {
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

    pub(super) fn write_sessions(&mut self, import: &mut Import, mut place: usize) {
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
    pub(super) fn install(&mut self, import: Import, now: Now) {
        let head = import.head().clone();
        let Import { slot, group, from, number, file, sessions, entries, .. } = import;
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
            self.more_work = true;
            return;
        }
        self.drop_exports(slot, now);
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
