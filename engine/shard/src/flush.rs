//! Moves events from memory to a sealed chunk and the state of all sessions to a checkpoint, so that
//! memory and log can be reused. It runs in small slices between the turns of a serving shard.
//!
//! 1. A flush begins: the applied index of every group is its moment. From then on a session that is
//!    about to change is captured first; the others are captured in id order, some each turn. A
//!    captured session is a frame of the checkpoint and a run of events still in memory.
//! 2. The runs are written to the chunk, the frames to the checkpoint.
//! 3. The chunk is published, then the checkpoint. A crash before that leaves files nobody names.
//! 4. Extents are handed to the sessions and their events leave memory, some each turn; log segments
//!    behind the moment are released, the checkpoint before is removed.

use std::collections::{BTreeSet, VecDeque};
use std::ops::ControlFlow;

use model::ids::{GroupId, Seq, SessionId};
use model::limits::CHECKPOINT_BYTES_PER_TURN;

use crate::checkpoint::{GroupMark, Head, put_end, put_head, put_session};
use crate::chunk::{Entry, put_block, put_directory, put_header};
use crate::effect::{DiskOp, FileName};
use crate::machine::Machine;
use crate::session::{Extent, Session};
use crate::sessions::Slot;
use crate::stream::Stream;
use crate::wal::{LogFloor, LogIdentity};

/// Sessions visited or installed in one turn, whatever their size.
const SESSIONS_PER_TURN: usize = 512;

/// What a running flush has taken from sessions and not yet written.
#[derive(Debug, Default)]
pub(crate) struct Capture {
    /// The flush that captures; 0 when none does.
    number: u64,
    /// Frames for the checkpoint.
    frames: Vec<u8>,
    sessions: u64,
    runs: VecDeque<Run>,
}

/// Events `[first, last]` of a session, in memory.
#[derive(Debug)]
struct Run {
    id: SessionId,
    slot: Slot,
    first: Seq,
    last: Seq,
}

impl Capture {
    /// The running flush, for sessions that are made while it runs and do not belong to it.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Takes a session's state, once per flush.
    pub(crate) fn take(&mut self, id: &str, slot: Slot, session: &mut Session) {
        if self.number == 0 || session.captured == self.number {
            return;
        }
        session.captured = self.number;
        put_session(&mut self.frames, id, session, &session.extents);
        self.sessions += 1;
        if session.hot_first() <= session.last_seq {
            let id = SessionId::new(id).expect("a stored id is not empty");
            let (first, last) = (session.hot_first(), session.last_seq);
            self.runs.push_back(Run { id, slot, first, last });
        }
    }
}

/// Flushes of one shard, one at a time.
#[derive(Debug)]
pub(crate) struct Flush {
    identity: LogIdentity,
    next_number: u64,
    /// The newest checkpoint on disk.
    published: Option<u64>,
    /// What it says of each group.
    marks: Vec<GroupMark>,
    /// Chunks that hold events.
    chunks: BTreeSet<u64>,
    job: Option<Job>,
}

#[derive(Debug)]
struct Job {
    number: u64,
    floor: LogFloor,
    marks: Vec<GroupMark>,
    stage: Stage,
    /// The last session visited in id order.
    cursor: Option<SessionId>,
    checkpoint: Stream,
    chunk: Option<Stream>,
    entries: Vec<Entry>,
    /// The session of each entry.
    slots: Vec<Slot>,
    scratch: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Sessions are visited.
    Capture,
    /// All sessions are captured; what they left is written.
    Drain,
    /// The last bytes of both files are on their way.
    Finish,
    PublishChunk,
    PublishCheckpoint,
    /// Entries before this one are installed.
    Install(usize),
}

/// What a slice of work came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// There is no flush, or it waits for the disk.
    Waiting,
    /// More can be done at once.
    More,
    /// The checkpoint is durable: the log before this place can be reused.
    Published(LogFloor),
}

impl Flush {
    /// `newest` is the highest number any other file of the shard has.
    pub(crate) fn new(
        identity: LogIdentity,
        published: Option<u64>,
        chunks: BTreeSet<u64>,
        newest: u64,
    ) -> Flush {
        let newest = published.max(chunks.last().copied()).unwrap_or(0).max(newest);
        Flush { identity, next_number: newest + 1, published, marks: Vec::new(), chunks, job: None }
    }

    /// A number for files that are not a flush's own.
    pub(crate) fn take_number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        number
    }

    /// A chunk that did not come from a flush holds events.
    pub(crate) fn adopt_chunk(&mut self, number: u64) {
        assert!(self.job.is_none(), "a running flush has named its chunks");
        self.chunks.insert(number);
    }

    pub(crate) fn is_running(&self) -> bool {
        self.job.is_some()
    }

    /// Begins a flush at this moment. `floor` is where the log begins once the checkpoint is durable.
    pub(crate) fn begin(&mut self, machine: &mut Machine, floor: LogFloor, marks: Vec<GroupMark>) {
        assert!(self.job.is_none(), "one flush at a time");
        assert_eq!(machine.capture.number, 0, "no flush captures");
        let number = self.take_number();
        machine.capture = Capture { number, ..Capture::default() };
        let chunk = (0 < machine.hot_bytes).then(|| Stream::new(FileName::Chunk(number)));
        let mut chunks: Vec<u64> = self.chunks.iter().copied().collect();
        chunks.extend(chunk.as_ref().map(|_| number));
        let newest_chunk = chunk.as_ref().map(|_| number);
        let head = Head { number, floor, groups: marks.clone(), newest_chunk, chunks };
        let mut job = Job {
            number,
            floor,
            marks,
            stage: Stage::Capture,
            cursor: None,
            checkpoint: Stream::new(FileName::Checkpoint(number)),
            chunk,
            entries: Vec::new(),
            slots: Vec::new(),
            scratch: Vec::new(),
        };
        put_head(&mut job.scratch, self.identity, &head);
        job.checkpoint.put(&job.scratch);
        if let Some(chunk) = &mut job.chunk {
            job.scratch.clear();
            put_header(&mut job.scratch, self.identity, number);
            chunk.put(&job.scratch);
        }
        self.job = Some(job);
    }

    /// Does a slice of work.
    pub(crate) fn work(&mut self, machine: &mut Machine, ops: &mut Vec<DiskOp>) -> Progress {
        let Some(job) = &mut self.job else { return Progress::Waiting };
        match job.stage {
            Stage::Capture => {
                job.visit(machine);
                job.drain(machine, self.identity);
            }
            Stage::Drain => job.drain(machine, self.identity),
            Stage::Finish | Stage::PublishChunk | Stage::PublishCheckpoint => {}
            Stage::Install(next) => {
                return if job.install(machine, next) {
                    self.job = None;
                    Progress::Waiting
                } else {
                    Progress::More
                };
            }
        }
        job.write(ops);
        let waits = match job.stage {
            Stage::Capture | Stage::Drain => job.is_full(),
            Stage::Finish | Stage::PublishChunk | Stage::PublishCheckpoint => true,
            Stage::Install(_) => false,
        };
        if waits { Progress::Waiting } else { Progress::More }
    }

    /// A write of one of the files is done.
    pub(crate) fn written(&mut self, file: FileName, buffer: crate::aligned::AlignedBuffer) {
        // A flush that was given up may still have had a write in flight.
        if let Some(job) = &mut self.job
            && let Some(stream) = job.stream(file)
        {
            stream.written(buffer);
        }
    }

    /// One of the files is durable under its name.
    pub(crate) fn published(&mut self, file: FileName, ops: &mut Vec<DiskOp>) -> Progress {
        let Some(job) = &mut self.job else { return Progress::Waiting };
        match file {
            FileName::Chunk(number) => {
                assert_eq!((number, job.stage), (job.number, Stage::PublishChunk));
                job.stage = Stage::PublishCheckpoint;
                ops.push(DiskOp::FilePublish { file: job.checkpoint.file() });
                Progress::Waiting
            }
            FileName::Checkpoint(number) => {
                assert_eq!((number, job.stage), (job.number, Stage::PublishCheckpoint));
                job.stage = Stage::Install(0);
                self.chunks.extend(job.chunk.as_ref().map(|_| number));
                self.marks = std::mem::take(&mut job.marks);
                if let Some(before) = self.published.replace(number) {
                    ops.push(DiskOp::FileRemove { file: FileName::Checkpoint(before) });
                }
                Progress::Published(job.floor)
            }
            FileName::Snapshot(_) => unreachable!("a flush writes no snapshot"),
        }
    }

    /// What the newest checkpoint of this process says of each group.
    pub(crate) fn covered_by_published(&self) -> &[GroupMark] {
        &self.marks
    }

    /// There was no room for a file: its flush is given up, what it wrote is removed, memory and log
    /// stay as they are. Returns whether a flush ended so: the file may be of one given up before.
    pub(crate) fn give_up(
        &mut self,
        machine: &mut Machine,
        file: FileName,
        ops: &mut Vec<DiskOp>,
    ) -> bool {
        let Some(job) = self.job.take_if(|job| job.stream(file).is_some()) else { return false };
        assert!(!matches!(job.stage, Stage::Install(_)), "published files are written to no more");
        machine.capture = Capture::default();
        let other = [Some(job.checkpoint.file()), job.chunk.as_ref().map(Stream::file)];
        for name in other.into_iter().flatten().filter(|name| *name != file) {
            ops.push(DiskOp::FileRemove { file: name });
        }
        true
    }
}

impl Job {
    fn stream(&mut self, file: FileName) -> Option<&mut Stream> {
        let streams = [Some(&mut self.checkpoint), self.chunk.as_mut()];
        streams.into_iter().flatten().find(|stream| stream.file() == file)
    }

    fn is_full(&self) -> bool {
        self.checkpoint.is_full() || self.chunk.as_ref().is_some_and(Stream::is_full)
    }

    /// Captures some sessions in id order.
    fn visit(&mut self, machine: &mut Machine) {
        if self.is_full() {
            return;
        }
        let Machine { sessions, capture, .. } = machine;
        let mut left = SESSIONS_PER_TURN;
        let mut last = None;
        let mut ended = true;
        sessions.visit(self.cursor.as_ref().map(SessionId::as_str), |id, slot, session| {
            capture.take(id.as_str(), slot, session);
            left -= 1;
            if left == 0 || CHECKPOINT_BYTES_PER_TURN <= capture.frames.len() {
                last = Some(id.clone());
                ended = false;
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        if ended {
            capture.number = 0;
            self.stage = Stage::Drain;
        } else {
            self.cursor = last;
        }
    }

    /// Moves what was captured to the files' streams, within the turn's budget.
    fn drain(&mut self, machine: &mut Machine, identity: LogIdentity) {
        self.checkpoint.put(&machine.capture.frames);
        machine.capture.frames.clear();
        let mut left = CHECKPOINT_BYTES_PER_TURN;
        let mut runs_left = SESSIONS_PER_TURN;
        while 0 < left && 0 < runs_left && !self.is_full() {
            let Some(run) = machine.capture.runs.front_mut() else { break };
            let session = machine.sessions.get(run.slot);
            let written = self.scratch_block(identity, run, session);
            left = left.saturating_sub(written);
            runs_left -= 1;
            if run.last < run.first {
                machine.capture.runs.pop_front();
            }
        }
        if self.stage == Stage::Drain && machine.capture.runs.is_empty() {
            self.end(machine);
        }
    }

    /// Writes the first events of a run as one block. Returns its length.
    fn scratch_block(&mut self, identity: LogIdentity, run: &mut Run, session: &Session) -> usize {
        let chunk = self.chunk.as_mut().expect("a run begins only when events are in memory");
        let skip = usize::try_from(run.first.0 - session.hot_first().0).expect("in memory");
        let take = usize::try_from(run.last.0 - run.first.0 + 1).expect("in memory");
        let events = session.hot.range(skip..skip + take);
        self.scratch.clear();
        let place = (identity, self.number);
        let count = put_block(&mut self.scratch, place, (run.id.as_str(), run.first), events);
        let bytes = u32::try_from(self.scratch.len()).expect("a block is bounded by a record");
        let offset = chunk.position();
        let extent = Extent { first: run.first, chunk: self.number, offset, bytes };
        chunk.put(&self.scratch);
        self.entries.push(Entry { session: run.id.as_str().into(), count, extent });
        self.slots.push(run.slot);
        run.first = Seq(run.first.0 + u64::from(count));
        self.scratch.len()
    }

    /// Everything was captured and written to the streams: adds the ends of both files.
    fn end(&mut self, machine: &mut Machine) {
        self.scratch.clear();
        put_end(&mut self.scratch, machine.capture.sessions);
        self.checkpoint.put(&self.scratch);
        if let Some(chunk) = &mut self.chunk {
            self.scratch.clear();
            put_directory(&mut self.scratch, chunk.position(), &self.entries);
            chunk.put(&self.scratch);
        }
        machine.capture = Capture::default();
        self.stage = Stage::Finish;
    }

    /// Hands pieces of both files to the disk, and asks to publish once all is written.
    fn write(&mut self, ops: &mut Vec<DiskOp>) {
        let finishing = self.stage == Stage::Finish;
        for stream in [Some(&mut self.checkpoint), self.chunk.as_mut()].into_iter().flatten() {
            ops.extend(if finishing { stream.finish() } else { stream.write() });
        }
        let written =
            self.checkpoint.is_written() && self.chunk.as_ref().is_none_or(Stream::is_written);
        if finishing && written {
            let (stage, file) = match &self.chunk {
                Some(chunk) => (Stage::PublishChunk, chunk.file()),
                None => (Stage::PublishCheckpoint, self.checkpoint.file()),
            };
            self.stage = stage;
            ops.push(DiskOp::FilePublish { file });
        }
    }

    /// Hands some extents to their sessions and lets their events leave memory. Returns whether all
    /// are done.
    fn install(&mut self, machine: &mut Machine, next: usize) -> bool {
        let mut left = CHECKPOINT_BYTES_PER_TURN;
        let mut place = next;
        while place < self.entries.len() && 0 < left && place - next < SESSIONS_PER_TURN {
            let entry = &self.entries[place];
            let session = machine.sessions.get_mut(self.slots[place]);
            session.extents.push(entry.extent);
            let last = Seq(entry.extent.first.0 + u64::from(entry.count) - 1);
            machine.hot_bytes -= session.evict(last);
            left = left.saturating_sub(entry.extent.bytes as usize);
            place += 1;
        }
        self.stage = Stage::Install(place);
        place == self.entries.len()
    }
}

/// What each group had applied at the moment of a checkpoint.
pub(crate) fn covered(marks: &[GroupMark], group: GroupId) -> u64 {
    assert!(marks.is_sorted_by_key(|mark| mark.group));
    let place = marks.binary_search_by_key(&group, |mark| mark.group);
    place.map_or(0, |place| marks[place].index.0)
}
