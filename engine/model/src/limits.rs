//! Every bound of the system, with the sum it comes from. Relations between bounds are proved at
//! compile time at the end of the file.

/// Largest request body, in bytes: the contract's figure.
pub const BODY_BYTES_MAX: usize = 8_000_000;
/// Deepest nesting of a JSON document; deeper ones are refused before they are parsed.
pub const JSON_DEPTH_MAX: usize = 64;
/// Largest request head, in bytes; hyper answers 431 beyond it.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Most headers in one request.
pub const HEADERS_MAX: usize = 100;
/// Most parameters of one query string or form.
pub const PARAMETERS_MAX: usize = 1_000;

/// Seconds from the first byte of a request's head to its last.
pub const HEAD_SECONDS: u64 = 10;
/// Seconds a connection may wait between requests.
pub const KEEP_ALIVE_SECONDS: u64 = 75;
/// Seconds a body may take before its rate counts.
pub const BODY_SECONDS: u64 = 10;
/// Bytes per second a body must then have brought since it began: the largest takes four minutes.
pub const BODY_BYTES_PER_SECOND: u64 = 32 * 1024;
/// Bytes that bodies being read may hold in one core; one no larger than `BODY_BYTES_SMALL` is
/// always taken.
pub const BODIES_BYTES_MAX: usize = 16 * BODY_BYTES_MAX;
/// A body up to this size is read whatever others hold.
pub const BODY_BYTES_SMALL: usize = 64 * 1024;
/// Seconds a door waits for a shard's answer before it says that the outcome is unknown.
pub const ANSWER_SECONDS: u64 = 10;
/// Seconds a blocked response may stand still before its rate counts.
pub const WRITE_SECONDS: u64 = 30;
/// The same for a tail: long enough for the shard to notice first and say why.
pub const TAIL_WRITE_SECONDS: u64 = 2 * TAIL_STALL_SECONDS;
/// Bytes per second a blocked connection must then have taken since it blocked: the largest page of
/// events holds its memory for less than three minutes.
pub const WRITE_BYTES_PER_SECOND: u64 = 64 * 1024;
/// Bytes read and thrown away from a connection that is being closed, so that the client sees the
/// last response instead of a reset: what a client that did not ask first may still be sending.
pub const LINGER_BYTES_MAX: usize = 2 * BODY_BYTES_MAX;
/// Seconds that may take.
pub const LINGER_SECONDS: u64 = 2;

/// Seconds between pings on a tail.
pub const PING_SECONDS: u64 = 30;
/// Seconds without a byte from the client before a tail is closed.
pub const TAIL_IDLE_SECONDS: u64 = 120;
/// Largest message or frame a client may send on a tail; none has a meaning.
pub const TAIL_INBOUND_BYTES_MAX: usize = 64 * 1024;
/// Messages a client may send between two pings.
pub const TAIL_INBOUND_MESSAGES_PER_PING: u32 = 600;
/// Bytes a client may send between two pings.
pub const TAIL_INBOUND_BYTES_PER_PING: u64 = 4 * TAIL_INBOUND_BYTES_MAX as u64;
/// Encoded bytes a tail holds for its socket: what ten thousand stalled tails hold is 160 MB.
pub const TAIL_OUT_BYTES: usize = 16 * 1024;

/// Unit of direct IO: offsets, lengths and addresses of log writes are multiples of it.
pub const BLOCK_BYTES: usize = 4096;
/// A batch is sealed no larger than this unless one record alone exceeds it: 64 KiB costs what
/// 4 KiB costs, 256 KiB half as much again.
pub const BATCH_BYTES: usize = 256 * 1024;
/// Largest log record: a body at its bound, doubled by escapes added when its strings are written
/// anew, plus stamped metadata.
pub const RECORD_BYTES_MAX: usize = 2 * BODY_BYTES_MAX + 1024 * 1024;
/// A log segment; room for the largest record several times over.
pub const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
/// Segments in use before a checkpoint is due: what a restart replays at most is this many and those
/// that fill while the checkpoint is written.
pub const SEGMENTS_PER_CHECKPOINT: usize = 8;
/// Segments on disk before appends are refused with backpressure: twice what a checkpoint waits for,
/// and one spare.
pub const SEGMENTS_MAX: usize = 2 * SEGMENTS_PER_CHECKPOINT + 1;

/// Requests waiting in one shard before the door refuses with backpressure.
pub const REQUESTS_PER_SHARD: usize = 16 * 1024;
/// Bytes of those requests: four of the largest records, or a hundred thousand small ones.
pub const REQUEST_BYTES_PER_SHARD: usize = 4 * RECORD_BYTES_MAX;
/// Milliseconds that requests wait for their entries once their group is led by another node; what
/// becomes of them is unknown until that leader has caught up with them.
pub const DEPOSED_WAIT_MS: u64 = 1_000;
/// Milliseconds one batch of the log may take before the shard gives up the groups it leads: a leader
/// that cannot write would hold up others that can.
pub const LOG_STALL_MS: u64 = 1_000;
/// Milliseconds between two ticks of a shard from which on it stood still: ticks are 25 apart at most.
pub const STILL_MS: u64 = 50;
/// Milliseconds in which a shard is slow that stood still for half of them, and more than once.
pub const PACE_WINDOW_MS: u64 = 500;
/// Milliseconds for which a slow shard has to keep pace before it leads again. Doubled if that made it
/// slow at once, up to the maximum.
pub const SLOW_REST_MS_MIN: u64 = 10_000;
/// See [`SLOW_REST_MS_MIN`].
pub const SLOW_REST_MS_MAX: u64 = 320_000;
/// Bytes of applied entries a shard keeps in memory for followers that are behind, in equal shares for
/// its groups: two seconds of a core's fastest appends. One further behind is sent what its sessions
/// lack instead.
pub const LOG_KEPT_BYTES_PER_SHARD: usize = 64 * 1024 * 1024;
/// How many times as much a shard keeps for the groups whose snapshots it sends: their receivers go on
/// behind them.
pub const LOG_KEPT_WHILE_SENDING: usize = 4;
/// Snapshots in a row that a node that learns could not go on from, since the log keeps too little of what
/// came meanwhile; after so many its group waits for it.
pub const NEWCOMER_OUTRUN_MAX: u32 = 3;
/// Milliseconds for which a group may then refuse commands that the log has no room to keep, from the
/// beginning of the next snapshot: at least so many, and twice as many as the one before took, if that is
/// more.
pub const NEWCOMER_WAIT_MS: u64 = 5_000;
/// Milliseconds for which it may refuse them at most. A group that has waited in vain takes commands for so
/// many before it waits again, and for twice as many each time it has.
pub const NEWCOMER_WAIT_MAX_MS: u64 = 30_000;
/// How often that time is doubled at most.
pub const NEWCOMER_REST_DOUBLED_MAX: u32 = 5;
/// Snapshots one shard sends at a time.
pub const EXPORTS_PER_SHARD: usize = 2;
/// Bytes of one part of a snapshot, unless one event alone is longer.
pub const SNAPSHOT_PART_BYTES: usize = 256 * 1024;
/// Bytes of sessions that changed before their turn in a snapshot and wait to be sent; a snapshot for
/// which more would wait is begun anew.
pub const SNAPSHOT_AHEAD_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of all sessions' frames in one snapshot: more than any group should have.
pub const SNAPSHOT_FRAMES_BYTES_MAX: u64 = 1 << 32;
/// Bytes of one session's frame: what it remembers, its metadata, and what is said around them.
pub const SESSION_FRAME_BYTES_MAX: usize = 3 * REMEMBERED_BYTES_PER_SESSION + 4 * BODY_BYTES_MAX;
/// Sessions whose events a replica asks another one for at once.
pub const SNAPSHOT_WANTS_MAX: usize = 64;
/// Blocks another replica is read for one answer.
pub const SNAPSHOT_BLOCKS_MAX: usize = 64;
/// Answers with events that one shard puts together for other replicas at a time; more are not begun.
pub const HANDOUTS_PER_SHARD: usize = 32;
/// Offers of snapshots that wait for their turn in one shard: each comes again.
pub const OFFERS_PER_SHARD: usize = 256;
/// Blocks that wait in one shard to be fetched from another replica, since they cannot be read here.
pub const REPAIRS_PER_SHARD: usize = 64;
/// Milliseconds after which another replica is asked for such a block.
pub const REPAIR_PATIENCE_MS: u64 = 1_000;
/// Milliseconds after which a part of a snapshot is asked for again.
pub const SNAPSHOT_RETRY_MS: u64 = 500;
/// Milliseconds without a word after which either side gives a snapshot up.
pub const SNAPSHOT_SILENCE_MS: u64 = 5_000;
/// Leaderships a shard hands over in a second to spread them evenly; a quarter of what it leads, if that
/// is more, when its node is to lead nothing.
pub const TRANSFERS_PER_SECOND: usize = 16;
/// Milliseconds for which a node is not handed a group again that it did not take: while it is tried,
/// nobody takes the group's commands.
pub const DECLINED_MS: u64 = 5_000;
/// Seconds for which a node that is no member here is remembered once it is gone: each start with an empty
/// disk makes another one.
pub const NEIGHBOUR_FORGET_SECONDS: u64 = 120;
/// Changes of members a shard begins in a second.
pub const CHANGES_PER_SECOND: usize = 8;
/// Seconds after which a replica at rest, on a node that should not hold its group, asks once more whether
/// it still is a member; in each of them a part of the groups does.
pub const MEMBERSHIP_ASK_SECONDS: u64 = 5;
/// Election timeouts without a leader after which a replica on a node that should not hold its group counts
/// as removed: more than it takes anybody to stand, however often that was in vain.
pub const ORPHAN_TIMEOUTS: u64 = 10;
/// Entries a new member may lack when it gets a vote.
pub const LEARNER_LAG_MAX: u64 = 256;
/// Appends under way to one follower of one group.
pub const APPENDS_IN_FLIGHT_MAX: usize = 64;
/// Bytes of entries in one append, unless one entry alone is longer.
pub const APPEND_BYTES_MAX: usize = 256 * 1024;
/// Messages about clients that wait for one connection to another node; more wait where they come from.
pub const CLIENT_QUEUE_MESSAGES: usize = 16 * 1024;
/// Bytes of those: some of the largest requests. One message may exceed it alone.
pub const CLIENT_QUEUE_BYTES: usize = 4 * RECORD_BYTES_MAX;
/// Answers that one core owes one other node's clients; more requests are refused. As many as may wait
/// for the connection.
pub const CLIENT_ANSWERS_MAX: usize = CLIENT_QUEUE_MESSAGES;
/// Bytes of those answers that are found and wait for room on the connection: some of the largest
/// pages. One may exceed it alone.
pub const CLIENT_ANSWER_BYTES: usize = 4 * PAGE_BYTES_MAX;
/// Tails that one core serves for other nodes' clients; more are refused.
pub const CLIENT_TAILS_MAX: usize = TAILS_PER_SHARD;
/// Seconds a node waits for another one's answer to a client's request before it says that the outcome
/// is unknown.
pub const FORWARD_SECONDS: u64 = 5;
/// Milliseconds a node waits for that answer before it looks whether another one leads by now: less than an
/// election takes.
pub const FORWARD_SILENCE_MS: u64 = 200;
/// Milliseconds another node may take to say whether it leads.
pub const LEADER_LOOK_MS: u64 = 1_000;
/// Inputs a shard takes in one turn, so that no burst starves the log or the tails.
pub const INPUTS_PER_TURN: usize = 1024;
/// Messages in flight from one core to another.
pub const MESH_SLOTS: usize = 4096;

/// Largest body of a frame between nodes: the largest record, and what is said around it.
pub const PEER_FRAME_BYTES_MAX: usize = RECORD_BYTES_MAX + 1024 * 1024;
/// The same before a node has proven that it knows the cluster's secret.
pub const PEER_HANDSHAKE_BYTES_MAX: usize = 4096;
/// Bytes that wait in TLS to be sent on one connection to another node.
pub const PEER_TLS_BYTES_MAX: usize = 256 * 1024;
/// Messages to one node that wait are sent together up to this many bytes: at ten gigabits a second
/// they take a fifth of a millisecond, in which a heartbeat behind them waits.
pub const PEER_BATCH_BYTES: usize = 256 * 1024;
/// Messages that wait for one connection to another node; more are dropped.
pub const PEER_QUEUE_MESSAGES: usize = 16 * 1024;
/// Bytes of those: one of the largest, and as much again.
pub const PEER_QUEUE_BYTES: usize = 2 * PEER_FRAME_BYTES_MAX;
/// Bytes of other nodes' messages that wait for a shard's next turn; more are dropped.
pub const PEER_BYTES_PER_SHARD: usize = 2 * PEER_FRAME_BYTES_MAX;
/// Messages of other nodes that wait for a shard's next turn; more are dropped.
pub const PEER_MESSAGES_PER_SHARD: usize = 64 * 1024;
/// Connections in one core at once that have not proven to be of a node; more are closed. Those that
/// have are as many as other nodes' cores have lanes.
pub const PEER_STRANGERS_MAX: usize = 256;
/// Seconds in which two nodes must have proven themselves to each other.
pub const PEER_HANDSHAKE_SECONDS: u64 = 5;
/// Milliseconds in which a node must have answered at all: what is lost on the way is sent again after
/// one second.
pub const PEER_CONNECT_MS: u64 = 1_500;
/// Milliseconds between two signs of life on a connection between nodes.
pub const PEER_BEAT_MS: u64 = 1_000;
/// Milliseconds of silence after which such a connection is given up, and of a socket that takes
/// nothing.
pub const PEER_SILENCE_MS: u64 = 4 * PEER_BEAT_MS;
/// Milliseconds before a connection that broke is tried again; doubled with every try.
pub const PEER_BACKOFF_MS_MIN: u64 = 50;
/// The most that this becomes.
pub const PEER_BACKOFF_MS_MAX: u64 = 2_000;

/// Producers remembered per session; beyond it the one with the lowest seq is forgotten.
pub const PRODUCERS_PER_SESSION: usize = 10_000;
/// Bytes of the producers' names a session remembers, and likewise of its keys; beyond it those with
/// the lowest seq are forgotten. Ten thousand names of 400 bytes fit.
pub const REMEMBERED_BYTES_PER_SESSION: usize = 4 * 1024 * 1024;
/// Idempotency keys remembered per session, for appends that name no producer.
pub const IDEMPOTENCY_KEYS_PER_SESSION: usize = 1_000;

/// Events per replay fetch of a tail.
pub const TAIL_FETCH_EVENTS: usize = 1_000;
/// Largest `batch_size` of a tail.
pub const TAIL_BATCH_MAX: u32 = 1_000;
/// Bytes a tail may have on their way to a connection before the shard waits for it to write them.
/// One event larger than this is sent alone; a block read from disk is sent whole.
pub const TAIL_WINDOW_BYTES: u64 = 256 * 1024;
/// Seconds a tail may owe its window before it is closed as too slow.
pub const TAIL_STALL_SECONDS: u64 = 30;
/// Milliseconds without a leader after which the tails of a group end: several elections. Its events may
/// go on elsewhere, and whoever follows them must not take silence for rest.
pub const LEADERLESS_TAIL_MS: u64 = 5_000;
/// Tails open in one shard.
pub const TAILS_PER_SHARD: usize = 100_000;

/// Rows of one page of a session list.
pub const LIST_LIMIT_MAX: u32 = 1_000;
/// Rows of a page when the request names no limit.
pub const LIST_LIMIT_DEFAULT: u32 = 100;
/// Sessions a list looks at in one turn: about a tenth of a millisecond.
pub const LIST_SCAN_PER_TURN: usize = 256;
/// Bytes of titles and metadata a list looks at in one turn, and one session more.
pub const LIST_SCAN_BYTES_PER_TURN: usize = 256 * 1024;
/// Lists under way in one shard.
pub const LISTS_PER_SHARD: usize = 256;
/// Events of one page of a session's events.
pub const PAGE_LIMIT_MAX: u32 = 1_000;
/// Events of a page when the request names no limit.
pub const PAGE_LIMIT_DEFAULT: u32 = 100;
/// Pages of events that wait for the disk in one shard.
pub const PAGES_PER_SHARD: usize = 256;
/// Bytes of one page of events; a page ends early rather than exceed it, but holds one event.
pub const PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Raft groups when the configuration names no number.
pub const GROUPS_DEFAULT: u32 = 256;
/// Most Raft groups in one cluster.
pub const GROUPS_MAX: u32 = 65_536;
/// Groups that one answer speaks of: with a few members each it stays far below a frame.
pub const GROUPS_PAGE_MAX: u32 = 1_024;
/// Members that one group can have while it changes: all nodes before and after, and learners.
pub const GROUP_MEMBERS_MAX: usize = 192;
/// Least memory for events of one shard, however little the configuration gives the node: less would
/// refuse every append.
pub const EVENT_STORE_BYTES_PER_SHARD_MIN: u64 = 1024 * 1024;
/// Events kept in memory per node when the configuration names no size: the contract's 2 GiB.
pub const EVENT_STORE_BYTES_DEFAULT: u64 = 2 * 1024 * 1024 * 1024;
/// Connections open at once per node when the configuration names no number: with the largest heads
/// half-read on all of them they hold 4 GiB, in practice a hundredth of it.
pub const CONNECTIONS_DEFAULT: u32 = 64 * 1024;

/// Bytes of events in one block of a sealed chunk; one event larger than this fills a block alone.
pub const CHUNK_BLOCK_BYTES: usize = 64 * 1024;
/// Work a checkpoint does in one turn, in bytes written to its buffer.
pub const CHECKPOINT_BYTES_PER_TURN: usize = 64 * 1024;
/// Bytes of one write of a chunk or checkpoint file.
pub const FILE_WRITE_BYTES: usize = 1024 * 1024;
/// Reads of sealed chunks under way in one shard.
pub const READS_IN_FLIGHT_MAX: usize = 32;

const _: () = assert!(BATCH_BYTES.is_multiple_of(BLOCK_BYTES));
const _: () = assert!(SEGMENT_BYTES.is_multiple_of(BLOCK_BYTES as u64));
const _: () = assert!(2 * (RECORD_BYTES_MAX + BATCH_BYTES) as u64 <= SEGMENT_BYTES);
const _: () = assert!(RECORD_BYTES_MAX <= REQUEST_BYTES_PER_SHARD);
const _: () = assert!(SEGMENTS_PER_CHECKPOINT < SEGMENTS_MAX);
// Requests under way fit the segments that may fill while a checkpoint is written.
const _: () = assert!(
    REQUEST_BYTES_PER_SHARD as u64
        <= (SEGMENTS_MAX - SEGMENTS_PER_CHECKPOINT - 1) as u64 * SEGMENT_BYTES
);
const _: () = assert!(PEER_BATCH_BYTES < PEER_FRAME_BYTES_MAX);
const _: () = assert!(PEER_FRAME_BYTES_MAX <= PEER_QUEUE_BYTES);
const _: () = assert!(PEER_FRAME_BYTES_MAX <= PEER_BYTES_PER_SHARD);
const _: () = assert!(LIST_LIMIT_DEFAULT <= LIST_LIMIT_MAX);
const _: () = assert!(PAGE_LIMIT_DEFAULT <= PAGE_LIMIT_MAX);
const _: () = assert!(GROUPS_DEFAULT <= GROUPS_MAX);
