//! The border of a shard: causes come in as [`Input`], consequences leave as [`Effect`]. Nothing else
//! crosses it, so the same shard runs under io_uring and under a simulator.

use model::api::{Reply, Request, TailMessage, TailOpen};
use raft::NodeId;

use crate::aligned::AlignedBuffer;
use crate::peer::PeerMessage;
use crate::wishes::Wishes;

/// Names one request until its reply. Chosen by the driver, unique among those outstanding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// Names one tail until it is closed. Chosen by the driver, never used twice in one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TailId(pub u64);

/// Names one segment of the log: its file carries this number, and so does every batch in it. Grows
/// by one with each segment put to use; a recycled file takes the next number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentNumber(pub u64);

/// Names one batch of the log. The first batch ever written has number 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BatchNumber(pub u64);

/// A file of a shard beside its log. Numbers grow; one is used again only if a crash kept the
/// checkpoint or the snapshot of that number from being published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileName {
    /// Events, sorted and immutable.
    Chunk(u64),
    /// The state of all sessions at one moment.
    Checkpoint(u64),
    /// The state of one group's sessions, taken over from another node.
    Snapshot(u64),
}

impl FileName {
    /// Its number.
    pub fn number(self) -> u64 {
        match self {
            FileName::Chunk(number) | FileName::Checkpoint(number) | FileName::Snapshot(number) => {
                number
            }
        }
    }
}

/// A cause.
#[derive(Debug)]
pub enum Input {
    /// A client asks; the reply carries the same ticket.
    Request {
        /// Where the reply goes.
        ticket: Ticket,
        /// What is asked.
        request: Request,
    },
    /// A client wants to follow a session.
    TailOpen {
        /// Where its messages go.
        tail: TailId,
        /// What to follow, from where.
        open: TailOpen,
    },
    /// A connection has written events it was given.
    TailCredit {
        /// The tail.
        tail: TailId,
        /// Sum of the lengths of the events' JSON.
        bytes: u64,
    },
    /// A connection is gone. Harmless for a tail that has ended.
    TailClose {
        /// The tail.
        tail: TailId,
    },
    /// Something the disk was asked for is done.
    Disk(Completion),
    /// Another node's shard says something.
    Peer {
        /// Who.
        from: NodeId,
        /// What.
        message: PeerMessage,
    },
    /// A connection from another node stands, or the last one has broken: then its process has
    /// probably ended.
    Link {
        /// The node.
        node: NodeId,
        /// Whether there is a connection.
        up: bool,
    },
    /// What operators want of the cluster has changed.
    Intent(Wishes),
    /// Time has passed; sent every few milliseconds while anything is under way, less often when idle.
    Tick,
}

/// A consequence.
#[derive(Debug)]
pub enum Effect {
    /// For the disk.
    Disk(DiskOp),
    /// For the client that holds the ticket. Replies of a turn come before its tail messages.
    Reply {
        /// The request's ticket.
        ticket: Ticket,
        /// The answer.
        reply: Reply,
    },
    /// For the connection that opened the tail.
    Tail {
        /// The tail.
        tail: TailId,
        /// What it receives.
        message: TailMessage,
    },
    /// For another node. May be lost on the way.
    Send {
        /// The node.
        to: NodeId,
        /// What it is told.
        message: PeerMessage,
    },
}

/// What a shard asks of its disk. A failed write or sync ends the process: no completion reports one.
/// At most one `LogWrite` is in flight.
#[derive(Debug)]
pub enum DiskOp {
    /// Writes a sealed batch and makes it durable; answered by [`Completion::LogDurable`].
    LogWrite(LogWrite),
    /// Makes a segment file of `SEGMENT_BYTES` written bytes (zeros, or a recycled file's old
    /// content) that carries `number`, durable under its name; answered by
    /// [`Completion::SegmentReady`].
    SegmentPrepare {
        /// The number the file will carry.
        number: SegmentNumber,
        /// A file no longer needed that can be renamed instead of made.
        recycle: Option<SegmentNumber>,
    },
    /// Removes a segment no longer needed. Not answered.
    SegmentRemove {
        /// The segment.
        number: SegmentNumber,
    },
    /// Writes to a file under its temporary name, making it at offset 0; not yet durable. Answered by
    /// [`Completion::FileWritten`].
    FileWrite {
        /// The file.
        file: FileName,
        /// Where, a multiple of `BLOCK_BYTES`.
        offset: u64,
        /// What; its length is a multiple of `BLOCK_BYTES`.
        buffer: AlignedBuffer,
    },
    /// Syncs a written file, gives it its name and syncs the directory; answered by
    /// [`Completion::FilePublished`].
    FilePublish {
        /// The file.
        file: FileName,
    },
    /// Reads from a published file; answered by [`Completion::FileRead`].
    FileRead {
        /// Comes back with the bytes.
        read: ReadId,
        /// The file.
        file: FileName,
        /// Where, a multiple of `BLOCK_BYTES`.
        offset: u64,
        /// How much, a multiple of `BLOCK_BYTES`.
        bytes: usize,
    },
    /// Removes a file. Not answered.
    FileRemove {
        /// The file.
        file: FileName,
    },
}

/// A sealed batch on its way to the log.
#[derive(Debug)]
pub struct LogWrite {
    /// The segment.
    pub segment: SegmentNumber,
    /// Where in it, a multiple of `BLOCK_BYTES`.
    pub offset: u64,
    /// The batch; its length is a multiple of `BLOCK_BYTES`.
    pub buffer: AlignedBuffer,
    /// Its number.
    pub batch: BatchNumber,
}

/// Names one read of a file until its completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReadId(pub u64);

/// What the disk has done.
#[derive(Debug)]
pub enum Completion {
    /// A batch is durable.
    LogDurable {
        /// Its number.
        batch: BatchNumber,
        /// Its buffer, for the next batch.
        buffer: AlignedBuffer,
    },
    /// A segment can be written to.
    SegmentReady {
        /// Its number.
        number: SegmentNumber,
    },
    /// Bytes are on their way to a file.
    FileWritten {
        /// The file.
        file: FileName,
        /// The buffer, for the next write.
        buffer: AlignedBuffer,
    },
    /// A file is durable under its name.
    FilePublished {
        /// The file.
        file: FileName,
    },
    /// There is no room for a segment or a file; the shard refuses appends until a later try
    /// succeeds. Only preparing and writing files can end so: the log's own space is there already.
    NoSpace {
        /// What could not be made.
        what: NoSpace,
    },
    /// Bytes of a file, or why there are none.
    FileRead {
        /// The read.
        read: ReadId,
        /// Exactly the bytes asked for, or the operating system's error.
        result: Result<AlignedBuffer, String>,
    },
}

/// What the disk had no room for. The file is gone again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSpace {
    /// A new segment.
    Segment(SegmentNumber),
    /// A chunk or checkpoint.
    File(FileName),
}

/// Where disk effects go.
pub trait Disk {
    /// Starts an operation; its completion comes back as an input.
    fn submit(&mut self, op: DiskOp);
}

/// Where replies and tail messages go.
pub trait Clients {
    /// Answers a request.
    fn reply(&mut self, ticket: Ticket, reply: Reply);
    /// Hands a message to a tail.
    fn tail(&mut self, tail: TailId, message: TailMessage);
}

/// Where messages to other nodes go.
pub trait Peers {
    /// Sends a message if there is a way and room on it; drops it otherwise.
    fn send(&mut self, to: NodeId, message: PeerMessage);
}

/// The peers of a node that is alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoPeers;

impl Peers for NoPeers {
    fn send(&mut self, _: NodeId, _: PeerMessage) {}
}

/// Acts on the effects of a turn, in order.
pub fn perform(
    effects: &mut Vec<Effect>,
    disk: &mut impl Disk,
    clients: &mut impl Clients,
    peers: &mut impl Peers,
) {
    for effect in effects.drain(..) {
        match effect {
            Effect::Disk(op) => disk.submit(op),
            Effect::Reply { ticket, reply } => clients.reply(ticket, reply),
            Effect::Tail { tail, message } => clients.tail(tail, message),
            Effect::Send { to, message } => peers.send(to, message),
        }
    }
}

/// What happened in a shard since it was opened; the driver turns it into metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Facts {
    /// Events appended, retries not counted.
    pub events_appended: u64,
    /// Bytes of their fragments.
    pub event_bytes_appended: u64,
    /// Appends answered from what is remembered of their producer or key.
    pub appends_deduped: u64,
    /// Appends refused when they were applied: a conflict.
    pub appends_conflicted: u64,
    /// Requests refused for lack of room.
    pub backpressure: u64,
    /// Batches written to the log.
    pub log_batches: u64,
    /// Bytes of those batches.
    pub log_bytes: u64,
    /// Records in those batches.
    pub log_records: u64,
    /// Events handed to tails.
    pub tail_events: u64,
    /// Tails closed because they were too slow.
    pub tails_too_slow: u64,
    /// Checkpoints published.
    pub checkpoints: u64,
    /// Blocks of chunks read for replay.
    pub chunk_reads: u64,
    /// Blocks of chunks that could not be read or failed their checksum.
    pub chunk_read_failures: u64,
    /// Of those, blocks another replica gave, which are written anew.
    pub chunk_blocks_repaired: u64,
    /// Times a group of this shard began to be led here.
    pub elections_won: u64,
    /// Leaderships given to another node on purpose.
    pub leaderships_given: u64,
    /// Leaderships given up because the log's disk stood still.
    pub leaderships_dropped: u64,
    /// Snapshots sent to other nodes, to their end.
    pub snapshots_sent: u64,
    /// Snapshots taken over from other nodes.
    pub snapshots_installed: u64,
    /// Times a group began to wait for one that learns: it refuses what the log has no room to keep.
    pub newcomer_waits: u64,
}

/// What a node lacks to serve a group that it holds, or should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lack {
    /// Its vote: it should hold the group, and the members do not count on it yet.
    Membership,
    /// A leader that it knows.
    Leader,
    /// Some of what is committed.
    Progress,
    /// Room for the group's log on disk.
    Room,
}

/// How full a shard is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gauges {
    /// Sessions.
    pub sessions: u64,
    /// Open tails.
    pub tails: u64,
    /// Bytes of events in memory.
    pub hot_bytes: u64,
    /// Segments the log holds.
    pub log_segments: u64,
    /// Groups that should be held here and do not count on it yet, cannot commit, or are not caught up
    /// here; all that are held if there is no room for the log.
    pub groups_not_ready: u64,
    /// Groups this node is a member of.
    pub groups_hosted: u64,
    /// Those, and groups it should be a member of.
    pub groups_checked: u64,
    /// Groups led here.
    pub groups_led: u64,
    /// Groups led here that another living voter could lead.
    pub groups_to_give: u64,
    /// The number of the wishes that the rest follows from.
    pub wishes: u64,
    /// Groups whose nodes are at rest.
    pub groups_quiet: u64,
    /// Whether appends are refused for lack of disk space.
    pub no_space: bool,
    /// Whether the shard has too little of a CPU to lead what others can lead.
    pub slow: bool,
}
