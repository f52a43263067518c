//! The log's turn, what the disk has done, and when memory moves to files.

use model::api::Event;
use model::ids::{GroupId, Now};
use model::limits::{LOG_STALL_MS, SEGMENTS_MAX, SEGMENTS_PER_CHECKPOINT};

use crate::chunk::Damage;
use crate::effect::{BatchNumber, Completion, DiskOp, NoSpace, SegmentNumber};
use crate::flush::{Progress, covered};
use crate::group::Group;
use crate::reads::Purpose;
use crate::shard::Shard;

/// Monotonic microseconds without a write after which the newest batch is proven durable by a mark.
const MARK_AFTER_MICROS: u64 = 100_000;
/// Monotonic microseconds between tries when the disk has no room.
const SPACE_RETRY_MICROS: u64 = 500_000;

/// Monotonic microseconds for which entries may keep an old segment before they are written once more:
/// most of the time they are applied within an election.
const REWRITE_AFTER_MICROS: u64 = 3_000_000;

/// Whether the log takes what comes in.
#[derive(Debug, Default)]
pub(crate) struct Room {
    /// Since when records wait that cannot even be handed to the disk.
    stuck_since: Option<u64>,
    /// Whether it does not, and others can.
    pub(crate) is_lacking: bool,
}

impl Shard {
    pub(crate) fn completed(&mut self, completion: Completion, now: Now) {
        match completion {
            Completion::LogDurable { batch, buffer } => {
                self.wal.durable(batch, buffer);
                self.note_rewritten(batch);
                self.log_active_at = now.monotonic;
                let unnamed = self.unnamed.drain(..);
                self.ops.extend(unnamed.map(|file| DiskOp::FileRemove { file }));
                while let Some(parked) = self.parked.pop_front_if(|parked| parked.batch <= batch) {
                    self.groups[parked.slot].node.persisted(parked.receipt);
                    self.send_all(parked.slot, parked.messages);
                    self.wake(parked.slot);
                }
            }
            Completion::SegmentReady { number } => {
                self.wal.segment_ready(number);
                self.segment_retry_at = None;
            }
            Completion::FileWritten { file, buffer } => {
                let import = self.import.as_mut().and_then(|import| import.stream(file));
                match import.or(self.repairs.stream(file)) {
                    Some(stream) => stream.written(buffer),
                    None => self.flush.written(file, buffer),
                }
            }
            Completion::FilePublished { file } => {
                let is_imports = self.import.as_mut().is_some_and(|import| import.published(file));
                if !is_imports && !self.repairs.published(file) {
                    let progress = self.flush.published(file, &mut self.ops);
                    self.flushed(progress);
                }
            }
            Completion::NoSpace { what } => self.no_space_for(what, now),
            Completion::FileRead { read, result } => {
                let shard = self.options.shard.0;
                self.facts.chunk_reads += 1;
                let (wish, events) = self.reads.done(shard, read, result);
                self.facts.chunk_read_failures += u64::from(events.is_err());
                match events {
                    Ok(events) => self.fetched(wish.purpose, Ok(events)),
                    Err(damage) => self.block_lost(wish, damage),
                }
            }
        }
    }

    /// Events somebody waits for are here, or cannot be read.
    pub(crate) fn fetched(&mut self, purpose: Purpose, events: Result<Vec<Event>, Damage>) {
        match purpose {
            Purpose::Tail(tail) => self.tails.fetched(tail, events, &mut self.machine),
            Purpose::Page(ticket) => {
                let reads = &mut self.reads;
                let reply = self.pages.fetched(ticket, events, &self.machine, reads);
                self.replies.extend(reply.map(|reply| (ticket, reply)));
            }
            Purpose::Handout(id, place) => self.handout_fetched((id, place), events),
        }
    }

    fn no_space_for(&mut self, what: NoSpace, now: Now) {
        let retry_at = Some(now.monotonic + SPACE_RETRY_MICROS);
        match what {
            NoSpace::Segment(number) => {
                self.segment_retry_at = retry_at;
                self.wal.prepare_failed(number);
            }
            NoSpace::File(file) => {
                if self.import.as_mut().is_some_and(|import| import.stream(file).is_some()) {
                    self.end_import(false);
                } else if !self.repairs.give_up(file)
                    && self.flush.give_up(&mut self.machine, file, &mut self.ops)
                {
                    self.flush_retry_at = retry_at;
                    self.changed_since_flush = true;
                }
            }
        }
    }

    pub(crate) fn work_on_flush(&mut self, now: Now) {
        if self.looked_at != self.wal.current_segment() {
            self.looked_at = self.wal.current_segment();
            self.look_at_log(now);
        }
        let retry = self.flush_retry_at.is_none_or(|at| at <= now.monotonic);
        if !self.flush.is_running() && self.wants_flush() && retry {
            let marks: Vec<_> = self.groups.iter().map(Group::mark).collect();
            let floor = self.wal.floor_after(|group| covered(&marks, group));
            #[cfg(feature = "sabotage")]
            if self.options.sabotage == Some(crate::sabotage::Sabotage::ReleaseBeforeCheckpoint) {
                self.ops.extend(self.wal.release(floor));
            }
            self.flush.begin(&mut self.machine, floor, marks);
            self.changed_since_flush = false;
            self.flush_due = false;
        }
        let progress = self.flush.work(&mut self.machine, &mut self.ops);
        self.more_work |= progress == Progress::More;
        self.flushed(progress);
    }

    fn wants_flush(&self) -> bool {
        let memory = self.options.hot_bytes_max / 2 <= self.machine.hot_bytes;
        // One that found no room is tried again whether or not it is needed yet: only a whole one shows that
        // there is some, since what it had written until then was given back.
        let failed = self.flush_retry_at.is_some();
        BatchNumber(0) < self.wal.durable_batch()
            && (self.flush_due || failed || (memory && self.changed_since_flush))
    }

    /// Looks whether the log is long enough for a flush that lets a part of it go. Entries that are old
    /// and still not applied would keep it: they are written once more.
    pub(crate) fn look_at_log(&mut self, now: Now) {
        self.flush_due = false;
        if self.flush.is_running() {
            return;
        }
        if self.wal.segments_in_use() < SEGMENTS_PER_CHECKPOINT {
            self.pinned_since = None;
            return;
        }
        let applied = |group: GroupId| self.groups[self.slot_of(group)].applied().1.0;
        let due = self.wal.would_release(applied);
        let pinning = if due { Vec::new() } else { self.wal.pinning(applied) };
        self.flush_due = due;
        if pinning.is_empty() {
            self.pinned_since = None;
            return;
        }
        let since = *self.pinned_since.get_or_insert(now.monotonic);
        let patient = now.monotonic.saturating_sub(since) < REWRITE_AFTER_MICROS
            && self.wal.segments_in_use() < SEGMENTS_MAX;
        if !patient {
            let due = |group: &GroupId| self.may_rewrite(*group);
            let pinning: Vec<_> = pinning.into_iter().filter(due).collect();
            pinning.into_iter().for_each(|group| self.rewrite(group));
        }
    }

    /// Whether enough was written since a group's entries were written once more. If they alone fill the
    /// log to where it is looked at, writing them once more frees nothing and would go on for ever.
    fn may_rewrite(&self, group: GroupId) -> bool {
        let Some(ended) = self.rewritten.get(&group) else { return true };
        let next = SegmentNumber(ended.0 + SEGMENTS_PER_CHECKPOINT as u64);
        self.wal.current_segment().is_some_and(|current| next <= current)
    }

    /// Writes a group's entries that are not applied once more.
    fn rewrite(&mut self, group: GroupId) {
        let slot = self.slot_of(group);
        let Some(from) = self.wal.current_segment() else { return };
        let entries = self.groups[slot].node.unapplied();
        if !entries.is_empty() && self.rewriting.iter().any(|(known, _, _)| *known == group) {
            return;
        }
        let mut batch = None;
        for entry in &entries {
            batch = Some(self.accept(group, entry, true));
        }
        match batch {
            Some(batch) => self.rewriting.push((group, batch, from)),
            // What keeps the segment was replaced: all there is of the group is applied.
            None => self.wal.note_rewritten(group, from),
        }
    }

    /// Notes what was written once more and is durable.
    fn note_rewritten(&mut self, durable: BatchNumber) {
        let (wal, rewritten) = (&mut self.wal, &mut self.rewritten);
        self.rewriting.retain(|(group, batch, from)| {
            let waits = durable < *batch;
            if !waits {
                wal.note_rewritten(*group, *from);
                rewritten.extend(wal.current_segment().map(|current| (*group, current)));
            }
            waits
        });
    }

    fn flushed(&mut self, progress: Progress) {
        let Progress::Published(floor) = progress else { return };
        self.facts.checkpoints += 1;
        self.flush_retry_at = None;
        self.more_work = true;
        #[cfg(feature = "sabotage")]
        if self.options.sabotage == Some(crate::sabotage::Sabotage::ReleaseBeforeCheckpoint) {
            return self.drop_snapshot_files();
        }
        self.ops.extend(self.wal.release(floor));
        self.drop_snapshot_files();
    }

    pub(crate) fn write_log(&mut self, now: Now) {
        if self.segment_retry_at.is_none_or(|at| at <= now.monotonic) {
            self.ops.extend(self.wal.segments_wanted(!self.rewriting.is_empty()));
        }
        let idle = MARK_AFTER_MICROS <= now.monotonic.saturating_sub(self.log_active_at);
        let write = match self.wal.seal() {
            None if idle => self.wal.mark(),
            sealed => sealed,
        };
        if let Some(write) = write {
            self.log_active_at = now.monotonic;
            self.facts.log_batches += 1;
            self.facts.log_bytes += write.buffer.len() as u64;
            self.ops.insert(0, DiskOp::LogWrite(write));
        }
        self.look_at_room(now);
    }

    /// Notes whether this node refuses what another could take: the disk says that it has no room, or
    /// there has been no segment to write to for long.
    fn look_at_room(&mut self, now: Now) {
        let is_stuck = self.wal.in_flight().is_none() && self.wal.pending();
        let since = self.room.stuck_since.unwrap_or(now.monotonic);
        self.room.stuck_since = is_stuck.then_some(since);
        let is_over = is_stuck && LOG_STALL_MS * 1_000 <= now.monotonic.saturating_sub(since);
        let is_full = !self.wal.has_room() || self.options.hot_bytes_max <= self.machine.hot_bytes;
        let is_refused =
            self.segment_retry_at.is_some() || (self.flush_retry_at.is_some() && is_full);
        self.room.is_lacking = !self.options.cluster.is_alone() && (is_over || is_refused);
    }
}
