//! A shard over a disk of vectors: every effect is carried out, every completion comes back, and a
//! crash keeps only what was durable.

use std::collections::{BTreeMap, VecDeque};

use model::api::{Appended, Event, Reply, Request, TailMessage, TailOpen};
use model::command::{Append, Create, Dedupe, Principal, Producer};
use model::error::Code;
use model::ids::{Micros, Now, Placement, Seq, SessionId, ShardId};

use raft::NodeId;

use crate::aligned::AlignedBuffer;
use crate::chunk;
use crate::cluster::Cluster;
use crate::effect::{
    Clients, Completion, Disk, DiskOp, Effect, FileName, Input, NoPeers, NoSpace, SegmentNumber,
    TailId, Ticket, perform,
};
use crate::opening::Opening;
use crate::shard::{Options, Shard};
use crate::wal::Recovery;

pub(super) const SEGMENT_BYTES: u64 = 64 * 1024;

/// What survives a crash, and what is on its way.
#[derive(Debug, Default)]
pub(super) struct FakeDisk {
    pub(super) segments: BTreeMap<SegmentNumber, Vec<u8>>,
    pub(super) files: BTreeMap<FileName, Vec<u8>>,
    pub(super) temporary: BTreeMap<FileName, Vec<u8>>,
    done: VecDeque<Completion>,
    /// Whether new files and segments find room.
    pub(super) full: bool,
    /// Whether only chunks and checkpoints find none.
    pub(super) full_for_files: bool,
    /// Whether only checkpoints find none, and how often one was tried.
    pub(super) full_for_checkpoints: bool,
    pub(super) checkpoints_tried: u64,
    /// Whether reads fail.
    pub(super) unreadable: bool,
    /// Log writes are held back while set.
    pub(super) hold_log: bool,
    held: Vec<Completion>,
    pub(super) log_writes: u64,
}

impl FakeDisk {
    /// What is done and was not told yet.
    pub(super) fn take_done(&mut self) -> Vec<Completion> {
        self.done.drain(..).collect()
    }

    /// The process is gone.
    pub(super) fn crash(&mut self) {
        self.temporary.clear();
        self.done.clear();
        self.held.clear();
    }
}

impl Disk for FakeDisk {
    fn submit(&mut self, op: DiskOp) {
        let completion = match op {
            DiskOp::LogWrite(write) => {
                self.log_writes += 1;
                let segment = self.segments.get_mut(&write.segment).expect("prepared");
                put(segment, write.offset, write.buffer.as_slice());
                assert!(segment.len() as u64 <= SEGMENT_BYTES, "a segment does not grow");
                let done = Completion::LogDurable { batch: write.batch, buffer: write.buffer };
                if self.hold_log {
                    return self.held.push(done);
                }
                done
            }
            DiskOp::SegmentPrepare { number, recycle } => {
                let old = recycle.map(|old| self.segments.remove(&old).expect("it is there"));
                if self.full && old.is_none() {
                    Completion::NoSpace { what: NoSpace::Segment(number) }
                } else {
                    let fresh = || vec![0; usize::try_from(SEGMENT_BYTES).unwrap()];
                    self.segments.insert(number, old.unwrap_or_else(fresh));
                    Completion::SegmentReady { number }
                }
            }
            DiskOp::SegmentRemove { number } => {
                self.segments.remove(&number).expect("it is there");
                return;
            }
            DiskOp::FileWrite { file, offset, buffer } => {
                let is_checkpoint = matches!(file, FileName::Checkpoint(_));
                self.checkpoints_tried += u64::from(is_checkpoint && offset == 0);
                if self.full || self.full_for_files || is_checkpoint && self.full_for_checkpoints {
                    self.temporary.remove(&file);
                    Completion::NoSpace { what: NoSpace::File(file) }
                } else {
                    put(self.temporary.entry(file).or_default(), offset, buffer.as_slice());
                    Completion::FileWritten { file, buffer }
                }
            }
            DiskOp::FilePublish { file } => {
                let bytes = self.temporary.remove(&file).expect("it was written");
                self.files.insert(file, bytes);
                Completion::FilePublished { file }
            }
            DiskOp::FileRead { read, file, offset, bytes } => {
                let begin = usize::try_from(offset).unwrap();
                let mut buffer = AlignedBuffer::with_capacity(bytes);
                buffer.extend_from_slice(&self.files[&file][begin..begin + bytes]);
                let result = if self.unreadable { Err("EIO".to_owned()) } else { Ok(buffer) };
                Completion::FileRead { read, result }
            }
            DiskOp::FileRemove { file } => {
                self.files.remove(&file);
                self.temporary.remove(&file);
                return;
            }
        };
        self.done.push_back(completion);
    }
}

fn put(file: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let begin = usize::try_from(offset).unwrap();
    let end = begin + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[begin..end].copy_from_slice(bytes);
}

/// What clients were told.
#[derive(Debug, Default)]
pub(super) struct FakeClients {
    pub(super) replies: BTreeMap<Ticket, Reply>,
    pub(super) tails: BTreeMap<TailId, Vec<TailMessage>>,
}

impl Clients for FakeClients {
    fn reply(&mut self, ticket: Ticket, reply: Reply) {
        let before = self.replies.insert(ticket, reply);
        assert!(before.is_none(), "one reply for each request");
    }

    fn tail(&mut self, tail: TailId, message: TailMessage) {
        self.tails.entry(tail).or_default().push(message);
    }
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) shard: Shard,
    pub(super) disk: FakeDisk,
    pub(super) clients: FakeClients,
    pub(super) now: Now,
    options: Options,
    next: u64,
}

pub(super) fn options(groups: u32, hot_bytes_max: u64) -> Options {
    let cluster = Cluster::alone(NodeId(1 << 32));
    Options {
        segment_bytes: SEGMENT_BYTES,
        log_kept_bytes: 1 << 20,
        ..Options::new(Placement::new(groups, 1), ShardId(0), (7, 1), hot_bytes_max, cluster)
    }
}

impl World {
    /// A new shard that serves.
    pub(super) fn new(groups: u32, hot_bytes_max: u64) -> World {
        let options = options(groups, hot_bytes_max);
        let mut disk = FakeDisk::default();
        let shard = open(options.clone(), &mut disk).expect("an empty disk opens");
        World::with(shard, disk, options)
    }

    fn with(shard: Shard, disk: FakeDisk, options: Options) -> World {
        let now = Now { monotonic: 1_000_000, wall: Micros(1_700_000_000_000_000) };
        let clients = FakeClients::default();
        let mut world = World { shard, disk, clients, now, options, next: 1 };
        world.run();
        world
    }

    /// What a new process finds after this one is gone.
    pub(super) fn restart(self) -> World {
        let World { mut disk, options, .. } = self;
        disk.crash();
        let shard = open(options.clone(), &mut disk).expect("a crash leaves an explicable disk");
        World::with(shard, disk, options)
    }

    /// Turns until nothing is left to do.
    pub(super) fn run(&mut self) {
        let mut effects = Vec::new();
        for turn in 0.. {
            assert!(turn < 20_000, "a shard comes to rest: {:?}", self.shard.gauges());
            self.shard.settle(self.now, &mut effects);
            let quiet = effects.is_empty();
            for effect in &effects {
                if let Effect::Disk(DiskOp::LogWrite(_)) = effect {
                    assert!(self.disk.held.is_empty(), "one batch in flight");
                }
            }
            perform(&mut effects, &mut self.disk, &mut self.clients, &mut NoPeers);
            if quiet && self.disk.done.is_empty() && !self.shard.has_work() {
                return;
            }
            while let Some(done) = self.disk.done.pop_front() {
                self.shard.step(Input::Disk(done), self.now);
            }
        }
    }

    /// Lets a held batch become durable.
    pub(super) fn release_log(&mut self) {
        self.disk.done.extend(self.disk.held.drain(..));
    }

    pub(super) fn pass(&mut self, micros: u64) {
        self.now.monotonic += micros;
        self.now.wall.0 += micros;
        self.shard.step(Input::Tick, self.now);
        self.run();
    }

    /// Asks without waiting.
    pub(super) fn ask(&mut self, request: Request) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        self.shard.step(Input::Request { ticket, request }, self.now);
        ticket
    }

    pub(super) fn answer(&mut self, request: Request) -> Reply {
        let ticket = self.ask(request);
        self.run();
        self.clients.replies.remove(&ticket).expect("every request is answered")
    }

    pub(super) fn create(&mut self, name: &str) -> Reply {
        self.answer(create(name))
    }

    pub(super) fn append(&mut self, append: Append) -> Result<Appended, Code> {
        match self.answer(Request::Append(append)) {
            Reply::Appended(appended) => Ok(appended),
            Reply::Refused(refusal) => Err(refusal.code),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn tail(&mut self, name: &str, cursor: u64) -> TailId {
        let tail = TailId(self.next);
        self.next += 1;
        let open = TailOpen { session: id(name), cursor: Seq(cursor) };
        self.shard.step(Input::TailOpen { tail, open }, self.now);
        self.run();
        tail
    }

    /// What a tail received since it was asked last, credited at once until nothing follows.
    pub(super) fn drain(&mut self, tail: TailId) -> Vec<Event> {
        let mut all = Vec::new();
        loop {
            let messages = self.clients.tails.remove(&tail).unwrap_or_default();
            let mut bytes = 0;
            for message in messages {
                if let TailMessage::Events { events, .. } = message {
                    bytes += events.iter().map(|event| event.json.len() as u64).sum::<u64>();
                    all.extend(events);
                }
            }
            if bytes == 0 {
                return all;
            }
            self.shard.step(Input::TailCredit { tail, bytes }, self.now);
            self.run();
        }
    }
}

/// Rebuilds a shard from what is durable, as a program would.
pub(super) fn open(options: Options, disk: &mut FakeDisk) -> Result<Shard, String> {
    let mut opening = Opening::new(options.clone());
    let newest = disk.files.keys().filter(|name| matches!(name, FileName::Checkpoint(_))).max();
    if let Some(name) = newest {
        let chunk = opening.checkpoint(&disk.files[name])?.newest_chunk;
        if let Some(number) = chunk {
            let bytes = &disk.files[&FileName::Chunk(number)];
            let trailer = chunk::read_trailer(&bytes[bytes.len() - chunk::TRAILER_BYTES..])?;
            let begin = usize::try_from(trailer.offset).unwrap();
            let end = begin + usize::try_from(trailer.bytes).unwrap();
            opening.newest_chunk(&chunk::read_directory(&bytes[begin..end], trailer, number)?)?;
        }
    }
    let mut recovery = Recovery::new(options.identity(), options.segment_bytes, opening.floor());
    for (number, bytes) in &disk.segments {
        recovery.peek(*number, &bytes[..model::limits::BLOCK_BYTES.min(bytes.len())]);
    }
    let mut failed = None;
    for (number, bytes) in &disk.segments {
        let mut sink = |record: &crate::wal::Record<'_>| {
            if let Err(what) = opening.record(record) {
                failed.get_or_insert(what);
            }
        };
        let read = recovery.segment(*number, bytes, &mut sink);
        read.map_err(|corruption| corruption.to_string())?;
    }
    if let Some(what) = failed {
        return Err(what);
    }
    let recovered = recovery.finish().map_err(|corruption| corruption.to_string())?;
    for file in opening.snapshots() {
        opening.snapshot(file, &disk.files[&FileName::Snapshot(file)])?;
    }
    let files: Vec<FileName> = disk.files.keys().copied().collect();
    for name in opening.removable(&files) {
        disk.files.remove(&name);
    }
    Ok(opening.finish(recovered, disk.files.keys().copied().collect()))
}

pub(super) fn id(name: &str) -> SessionId {
    SessionId::new(name).unwrap()
}

pub(super) fn create(name: &str) -> Request {
    Request::Create(Create {
        session: id(name),
        title: None,
        metadata: "{}".into(),
        creator: Principal::service(),
        at: 0,
    })
}

/// An append whose content is `text`.
pub(super) fn append(name: &str, producer: Option<(&str, u64)>, text: &str) -> Append {
    let mut fingerprint = [0; 16];
    fingerprint[..4].copy_from_slice(&crc32fast::hash(text.as_bytes()).to_le_bytes());
    Append {
        session: id(name),
        fragment: format!(r#""type":"t","payload":{{"text":"{text}"}}"#).into(),
        dedupe: match producer {
            Some((id, seq)) => Dedupe::Producer(Producer { id: id.into(), seq }),
            None => Dedupe::Nothing,
        },
        expected_seq: None,
        fingerprint,
        at: 0,
    }
}
