//! The shard: owns groups, log, sessions and tails. `step` takes a cause and changes state, `settle`
//! speaks once for all causes of a turn.

use std::collections::VecDeque;
use std::sync::Arc;

use model::api::{Reply, Request};
use model::command::{ArchivedCommand, Command, decode};
use model::error::{Code, Refusal};
use model::ids::{GroupId, Now, Placement, ShardId};
use model::limits::{
    RECORD_BYTES_MAX, REQUEST_BYTES_PER_SHARD, REQUESTS_PER_SHARD, SEGMENTS_PER_CHECKPOINT,
};
use raft::{Entry, Receipt, Role};
use rkyv::util::AlignedVec;

use crate::effect::{
    BatchNumber, Completion, DiskOp, Effect, Facts, Gauges, Input, NoSpace, Ticket,
};
use crate::flush::{Flush, Progress, covered};
use crate::group::Group;
use crate::machine::{Machine, Outcome};
use crate::pages::{Lists, Pages};
use crate::reads::{Purpose, Reads};
use crate::tails::Tails;
use crate::wal::{LogIdentity, Wal};

/// Monotonic microseconds without a write after which the newest batch is proven durable by a mark.
const MARK_AFTER_MICROS: u64 = 100_000;
/// Monotonic microseconds between tries when the disk has no room.
const SPACE_RETRY_MICROS: u64 = 500_000;

/// What a shard is told once.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How sessions map to groups and groups to shards.
    pub placement: Placement,
    /// This shard.
    pub shard: ShardId,
    /// Names the log among all logs.
    pub log_id: u64,
    /// Bytes of events the shard may hold in memory before it refuses appends.
    pub hot_bytes_max: u64,
    /// Bytes of one log segment; `SEGMENT_BYTES` but in tests.
    pub segment_bytes: u64,
}

impl Options {
    /// Whose log it is.
    pub fn identity(&self) -> LogIdentity {
        LogIdentity { log_id: self.log_id, shard: self.shard }
    }
}

/// One shard.
#[derive(Debug)]
pub struct Shard {
    options: Options,
    /// By slot: the shard's groups are every `shards`-th of all.
    groups: Vec<Group>,
    /// Slots of groups that are awake.
    awake: Vec<usize>,
    machine: Machine,
    wal: Wal,
    flush: Flush,
    tails: Tails,
    reads: Reads,
    pages: Pages,
    lists: Lists,
    /// Receipts of writes that travel in a batch not yet durable, in batch order.
    parked: VecDeque<(BatchNumber, usize, Receipt)>,
    replies: Vec<(Ticket, Reply)>,
    ops: Vec<DiskOp>,
    /// Requests proposed and not yet applied.
    pending_requests: usize,
    pending_bytes: usize,
    /// Groups that cannot serve yet.
    not_serving: usize,
    /// When the log last had something to do.
    log_active_at: u64,
    /// When to try again after there was no room for a segment.
    segment_retry_at: Option<u64>,
    /// When to try again after there was no room for a flush.
    flush_retry_at: Option<u64>,
    /// Whether background work can go on without waiting for anything.
    more_work: bool,
    /// Whether a flush would find anything new.
    changed_since_flush: bool,
    scratch: AlignedVec,
    facts: Facts,
}

impl Shard {
    pub(crate) fn assemble(
        options: Options,
        groups: Vec<Group>,
        machine: Machine,
        (wal, flush): (Wal, Flush),
    ) -> Shard {
        let not_serving = groups.len();
        Shard {
            options,
            awake: (0..groups.len()).collect(),
            groups,
            machine,
            wal,
            flush,
            tails: Tails::default(),
            reads: Reads::default(),
            pages: Pages::default(),
            lists: Lists::default(),
            parked: VecDeque::new(),
            replies: Vec::new(),
            ops: Vec::new(),
            pending_requests: 0,
            pending_bytes: 0,
            not_serving,
            log_active_at: 0,
            segment_retry_at: None,
            flush_retry_at: None,
            more_work: false,
            changed_since_flush: false,
            scratch: AlignedVec::new(),
            facts: Facts::default(),
        }
    }

    /// Takes a cause. Changes state, does nothing.
    pub fn step(&mut self, input: Input, now: Now) {
        match input {
            Input::Request { ticket, request } => self.request(ticket, request, now),
            Input::TailOpen { tail, open } => {
                if self.serves(open.session.as_str()) {
                    self.tails.open(tail, open, &mut self.machine);
                } else {
                    self.tails.refuse(tail, Code::RaftUnavailable);
                }
            }
            Input::TailCredit { tail, bytes } => self.tails.credit(tail, bytes),
            Input::TailClose { tail } => {
                self.tails.close(tail, &mut self.machine);
                self.reads.forget(Purpose::Tail(tail));
            }
            Input::Disk(completion) => self.completed(completion, now),
            Input::Tick => self.tick(now),
        }
    }

    /// Acts once for all causes of a turn. A second call in a row has nothing to add but the next
    /// slice of background work.
    pub fn settle(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.drain_groups();
        if let Some((ticket, reply)) = self.lists.work(&self.machine.sessions) {
            self.replies.push((ticket, reply));
        }
        self.work_on_flush(now);
        self.write_log(now);
        self.tails.pump(now.monotonic, &mut self.machine, &mut self.reads);
        self.ops.append(&mut self.reads.ops);
        effects.extend(self.ops.drain(..).map(Effect::Disk));
        let replies = self.replies.drain(..);
        effects.extend(replies.map(|(ticket, reply)| Effect::Reply { ticket, reply }));
        let messages = self.tails.messages.drain(..);
        effects.extend(messages.map(|(tail, message)| Effect::Tail { tail, message }));
    }

    /// Whether the next turn should follow at once: background work can go on without an input.
    pub fn has_work(&self) -> bool {
        self.more_work || !self.lists.is_empty()
    }

    /// Whether something waits for time to pass: ticks should come every few milliseconds.
    pub fn busy(&self) -> bool {
        self.has_work()
            || self.flush.is_running()
            || self.wal.in_flight().is_some()
            || self.wal.wants_mark()
            || self.tails.has_stalled()
            || self.no_space()
            || 0 < self.not_serving
    }

    /// What happened since the shard was opened.
    pub fn facts(&self) -> Facts {
        Facts {
            tail_events: self.tails.events_sent,
            tails_too_slow: self.tails.too_slow,
            ..self.facts
        }
    }

    /// How full the shard is.
    pub fn gauges(&self) -> Gauges {
        Gauges {
            sessions: self.machine.sessions.len() as u64,
            tails: self.tails.len() as u64,
            hot_bytes: self.machine.hot_bytes,
            log_segments: self.wal.segments_in_use() as u64,
            groups_not_ready: self.not_serving as u64,
            no_space: self.no_space(),
        }
    }

    fn no_space(&self) -> bool {
        self.segment_retry_at.is_some() || self.flush_retry_at.is_some()
    }

    fn slot_of(&self, group: GroupId) -> usize {
        ((group.0 - self.options.shard.0) / self.options.placement.shards()) as usize
    }

    fn serves(&self, session: &str) -> bool {
        let group = self.options.placement.group(session);
        assert_eq!(self.options.placement.shard(group), self.options.shard, "routed here");
        self.groups[self.slot_of(group)].is_serving()
    }

    /// Looks at a group before the turn ends.
    fn wake(&mut self, slot: usize) {
        if !std::mem::replace(&mut self.groups[slot].awake, true) {
            self.awake.push(slot);
        }
    }

    fn refuse(&mut self, ticket: Ticket, code: Code) {
        if code == Code::EventStoreBackpressure {
            self.facts.backpressure += 1;
        }
        self.replies.push((ticket, Refusal::from(code).into()));
    }

    fn request(&mut self, ticket: Ticket, request: Request, now: Now) {
        let bytes = request.bytes();
        let read = match request.into_command() {
            Ok(command) => return self.propose(ticket, command, bytes, now),
            Err(read) => read,
        };
        let serving = match &read {
            Request::Get(id) => self.serves(id.as_str()),
            Request::Events(page) => self.serves(page.session.as_str()),
            _ => self.not_serving == 0,
        };
        let sessions = &self.machine.sessions;
        let reply = match read {
            _ if !serving => Some(Refusal::from(Code::RaftUnavailable).into()),
            Request::List(list) => self.lists.open(ticket, list),
            Request::Events(page) => self.pages.open(ticket, page, &self.machine, &mut self.reads),
            Request::Get(id) => Some(match sessions.find(id.as_str()) {
                Some(slot) => Reply::Session(Box::new(sessions.get(slot).row(id.as_str()))),
                None => Refusal::from(Code::SessionNotFound).into(),
            }),
            Request::Create(_)
            | Request::Append(_)
            | Request::Patch(_)
            | Request::SetArchived(_) => unreachable!("these became commands"),
        };
        self.replies.extend(reply.map(|reply| (ticket, reply)));
    }

    /// Proposes a command, unless it can be refused at the door. Room is checked here and never when
    /// a command is applied: replicas must agree on what an entry does.
    fn propose(&mut self, ticket: Ticket, mut command: Command, bytes: usize, now: Now) {
        let id = command.session().as_str();
        let group = self.options.placement.group(id);
        let slot = self.slot_of(group);
        let is_new = matches!(command, Command::Create(_));
        if !self.groups[slot].is_serving() {
            return self.refuse(ticket, Code::RaftUnavailable);
        }
        // What is applied here was committed, so an unknown session was never acknowledged.
        if !is_new && self.machine.sessions.find(id).is_none() {
            return self.refuse(ticket, Code::SessionNotFound);
        }
        if !self.has_room(bytes) {
            return self.refuse(ticket, Code::EventStoreBackpressure);
        }
        command.set_at(now.wall.0);
        command.encode(&mut self.scratch);
        if RECORD_BYTES_MAX < self.scratch.len() {
            return self.refuse(ticket, Code::InvalidEvent);
        }
        let payload: Arc<[u8]> = Arc::from(self.scratch.as_slice());
        if self.groups[slot].propose(payload, ticket, bytes).is_err() {
            return self.refuse(ticket, Code::RaftUnavailable);
        }
        self.pending_requests += 1;
        self.pending_bytes += bytes;
        self.wake(slot);
    }

    fn has_room(&self, bytes: usize) -> bool {
        let pending = self.pending_bytes + bytes;
        let hot_bytes = self.machine.hot_bytes;
        // One request may exceed what is left, or a large event would be refused for ever.
        let fits = hot_bytes + pending as u64 <= self.options.hot_bytes_max
            || (self.pending_requests == 0 && hot_bytes < self.options.hot_bytes_max);
        self.pending_requests < REQUESTS_PER_SHARD
            && pending <= REQUEST_BYTES_PER_SHARD
            && fits
            && self.wal.has_room()
    }

    fn completed(&mut self, completion: Completion, now: Now) {
        match completion {
            Completion::LogDurable { batch, buffer } => {
                self.wal.durable(batch, buffer);
                self.log_active_at = now.monotonic;
                while let Some((_, slot, receipt)) =
                    self.parked.pop_front_if(|(parked, _, _)| *parked <= batch)
                {
                    self.groups[slot].node.persisted(receipt);
                    self.wake(slot);
                }
            }
            Completion::SegmentReady { number } => {
                self.wal.segment_ready(number);
                self.segment_retry_at = None;
            }
            Completion::FileWritten { file, buffer } => self.flush.written(file, buffer),
            Completion::FilePublished { file } => {
                let progress = self.flush.published(file, &mut self.ops);
                self.flushed(progress);
            }
            Completion::NoSpace { what } => {
                let retry_at = Some(now.monotonic + SPACE_RETRY_MICROS);
                match what {
                    NoSpace::Segment(number) => {
                        self.segment_retry_at = retry_at;
                        self.wal.prepare_failed(number);
                    }
                    NoSpace::File(file) => {
                        if self.flush.give_up(&mut self.machine, file, &mut self.ops) {
                            self.flush_retry_at = retry_at;
                            self.changed_since_flush = true;
                        }
                    }
                }
            }
            Completion::FileRead { read, result } => {
                let shard = self.options.shard.0;
                self.facts.chunk_reads += 1;
                let (wish, events) = self.reads.done(shard, read, result);
                self.facts.chunk_read_failures += u64::from(events.is_err());
                match wish.purpose {
                    Purpose::Tail(tail) => self.tails.fetched(tail, events, &mut self.machine),
                    Purpose::Page(ticket) => {
                        let reads = &mut self.reads;
                        let reply = self.pages.fetched(ticket, events, &self.machine, reads);
                        self.replies.extend(reply.map(|reply| (ticket, reply)));
                    }
                }
            }
        }
    }

    fn tick(&mut self, now: Now) {
        self.tails.close_stalled(now.monotonic, &mut self.machine);
        for slot in 0..self.groups.len() {
            let node = &mut self.groups[slot].node;
            if node.status().role != Role::Leader {
                node.tick();
                self.wake(slot);
            }
        }
    }

    /// Does what the nodes of awake groups ask for: entries go to the log, committed ones are applied.
    fn drain_groups(&mut self) {
        while let Some(slot) = self.awake.pop() {
            while self.groups[slot].node.has_ready() {
                let ready = self.groups[slot].node.ready();
                assert!(ready.messages.is_empty(), "a group of one has no peers");
                assert!(ready.messages_after_persist.is_empty(), "a group of one has no peers");
                self.persist(slot, ready.hard_state, &ready.entries, ready.receipt);
                self.apply(slot, &ready.committed);
            }
            self.groups[slot].awake = false;
        }
    }

    fn persist(
        &mut self,
        slot: usize,
        hard_state: Option<raft::HardState>,
        entries: &[Entry],
        receipt: Option<Receipt>,
    ) {
        let id = self.groups[slot].id;
        let mut batch = None;
        let mut before: Option<(BatchNumber, &Entry)> = None;
        if let Some(state) = hard_state {
            let vote = state.vote.map(|node| node.0);
            batch = Some(self.wal.accept_hard_state(id, state.term.0, vote));
        }
        for entry in entries {
            let (term, index) = (entry.term.0, entry.index.0);
            let into = self.wal.accept_entry(id, term, index, &entry.payload);
            if let (Some((full, last)), Some(receipt)) = (before, &receipt)
                && full < into
            {
                self.parked.push_back((full, slot, receipt.up_to(last)));
            }
            before = Some((into, entry));
            batch = Some(into);
        }
        assert_eq!(batch.is_some(), receipt.is_some(), "a receipt stands for a write");
        if let (Some(batch), Some(receipt)) = (batch, receipt) {
            self.parked.push_back((batch, slot, receipt));
        }
    }

    fn apply(&mut self, slot: usize, committed: &[Entry]) {
        let Some(last) = committed.last() else { return };
        self.changed_since_flush = true;
        let status = self.groups[slot].node.status();
        let leads = (status.role == Role::Leader).then_some(status.term);
        let was_serving = self.groups[slot].is_serving();
        for entry in committed {
            let group = &mut self.groups[slot];
            group.note_applied(entry, leads);
            let resolved = group.resolve(entry);
            let outcome =
                (!entry.payload.is_empty()).then(|| self.apply_command(slot, entry, was_serving));
            let Some(resolved) = resolved else { continue };
            self.pending_requests -= 1;
            self.pending_bytes -= resolved.bytes;
            let reply = match outcome {
                Some(outcome) if resolved.own => self.reply(entry, outcome),
                _ => Refusal::from(Code::RaftTimeout).into(),
            };
            self.replies.push((resolved.ticket, reply));
        }
        let group = &mut self.groups[slot];
        if !was_serving && group.is_serving() {
            self.not_serving -= 1;
        }
        group.node.applied(last.index);
        // A group of one has nobody to send old entries to.
        group.node.compact(last.index);
    }

    /// Applies a command; `counts` unless it is an old one that a restart applies again.
    fn apply_command(&mut self, slot: usize, entry: &Entry, counts: bool) -> Outcome {
        let command = decode(&entry.payload)
            .expect("encoded by this process, or decoded when the log was read");
        let outcome = self.machine.apply(self.groups[slot].id, command);
        let is_new = matches!(&outcome, Outcome::Appended(_, appended) if !appended.deduped);
        if let (true, Outcome::Appended(slot, _)) = (is_new, &outcome) {
            self.tails.wake(*slot);
        }
        if counts && let ArchivedCommand::Append(append) = command {
            match &outcome {
                Outcome::Appended(..) if is_new => {
                    self.facts.events_appended += 1;
                    self.facts.event_bytes_appended += append.fragment.len() as u64;
                }
                Outcome::Appended(..) => self.facts.appends_deduped += 1,
                Outcome::Session(_) | Outcome::Refused(_) => self.facts.appends_conflicted += 1,
            }
        }
        outcome
    }

    fn reply(&self, entry: &Entry, outcome: Outcome) -> Reply {
        match outcome {
            Outcome::Appended(_, appended) => Reply::Appended(appended),
            Outcome::Refused(refusal) => Reply::Refused(refusal),
            Outcome::Session(slot) => {
                let command = decode(&entry.payload).expect("it was just applied");
                let row = self.machine.sessions.get(slot).row(command.session());
                Reply::Session(Box::new(row))
            }
        }
    }

    fn work_on_flush(&mut self, now: Now) {
        let retry = self.flush_retry_at.is_none_or(|at| at <= now.monotonic);
        if !self.flush.is_running() && self.wants_flush() && retry {
            let marks: Vec<_> = self.groups.iter().map(Group::mark).collect();
            let floor = self.wal.floor_after(|group| covered(&marks, group));
            self.flush.begin(&mut self.machine, floor, marks);
            self.changed_since_flush = false;
        }
        let progress = self.flush.work(&mut self.machine, &mut self.ops);
        self.more_work = progress == Progress::More;
        self.flushed(progress);
    }

    fn wants_flush(&self) -> bool {
        self.not_serving == 0
            && self.changed_since_flush
            && (SEGMENTS_PER_CHECKPOINT <= self.wal.segments_in_use()
                || self.options.hot_bytes_max / 2 <= self.machine.hot_bytes)
    }

    fn flushed(&mut self, progress: Progress) {
        let Progress::Published(floor) = progress else { return };
        self.facts.checkpoints += 1;
        self.flush_retry_at = None;
        self.more_work = true;
        self.ops.extend(self.wal.release(floor));
    }

    fn write_log(&mut self, now: Now) {
        if self.segment_retry_at.is_none_or(|at| at <= now.monotonic) {
            self.ops.extend(self.wal.segments_wanted());
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
    }
}
