//! Every series by name: kind, unit, labels, help, and the bounds of its buckets. Whoever records one
//! asks here for its name, so a name occurs once in the project.
//!
//! Labels hold values of closed sets only, never an id of a session, an event or a client: the number
//! of series does not depend on what clients send. `shard` and `core` are numbers from 0. `tenant_id`
//! is the tenant of the authenticated principal; without authentication it is always `service`.

/// How a series behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts samples by size; upper bounds of the buckets, ascending, in the unit of the metric.
    Histogram(&'static [f64]),
}

/// What a series counts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Things.
    Count,
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
    /// Milliseconds, where the contract's name says so.
    Milliseconds,
}

/// Edges of what clients wait for, in milliseconds.
const EDGE_MS: &[f64] = &[
    1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 75.0, 100.0, 125.0, 150.0, 200.0, 300.0, 500.0,
    1000.0, 2000.0,
];

/// Edges of an event's payload, in bytes.
const PAYLOAD_BYTES: &[f64] =
    &[128.0, 512.0, 1024.0, 4096.0, 16384.0, 65536.0, 262_144.0, 1_048_576.0];

/// Edges of one write and sync, in seconds: a good device needs 0.1 ms, a poor one 10 ms.
const SYNC_SECONDS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_15, 0.000_2, 0.000_3, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05,
    0.1, 0.5, 1.0, 5.0,
];

/// Edges of how long a core kept others waiting, in seconds.
const STALL_SECONDS: &[f64] = &[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0];

macro_rules! metrics {
    ($($variant:ident $name:literal $kind:expr, $unit:ident, $labels:expr, $help:literal;)*) => {
        /// A series, or one for each set of its labels' values.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Metric {
            $(#[doc = concat!("`", $name, "`: ", $help)] $variant,)*
        }

        impl Metric {
            /// Every metric, in the order of the table.
            pub const ALL: &[Metric] = &[$(Metric::$variant),*];

            /// The name in the exposition.
            pub const fn name(self) -> &'static str {
                match self { $(Metric::$variant => $name),* }
            }

            /// How it behaves.
            pub const fn kind(self) -> Kind {
                use Kind::{Counter, Gauge, Histogram};
                match self { $(Metric::$variant => $kind),* }
            }

            /// What it counts in.
            pub const fn unit(self) -> Unit {
                match self { $(Metric::$variant => Unit::$unit),* }
            }

            /// The names of its labels.
            pub const fn labels(self) -> &'static [&'static str] {
                match self { $(Metric::$variant => &$labels),* }
            }

            /// One sentence for the reader of the exposition.
            pub const fn help(self) -> &'static str {
                match self { $(Metric::$variant => $help),* }
            }
        }
    };
}

metrics! {
    // The doors.
    IngestEdge "starcite_ingest_edge_total" Counter, Count, ["operation", "outcome", "error_reason", "tenant_id"],
        "Writes answered: create_session, update_session, append_event.";
    EventsAppend "starcite_events_append_total" Counter, Count, ["tenant_id"],
        "Events appended and acknowledged, retries not counted.";
    EventsPayloadBytes "starcite_events_payload_bytes" Histogram(PAYLOAD_BYTES), Bytes, ["tenant_id"],
        "Payload of events appended and acknowledged.";
    SessionCreate "starcite_session_create_total" Counter, Count, ["tenant_id"],
        "Sessions created.";
    EdgeHttp "starcite_edge_http_total" Counter, Count, ["method", "status_class"],
        "HTTP requests answered.";
    EdgeHttpDuration "starcite_edge_http_duration_ms" Histogram(EDGE_MS), Milliseconds, ["method"],
        "From a request's head to its response.";
    Request "starcite_request_total" Counter, Count, ["operation", "phase", "outcome", "error_reason"],
        "Appends handed to a shard, by what it answered.";
    RequestDuration "starcite_request_duration_ms" Histogram(EDGE_MS), Milliseconds, ["operation", "phase", "outcome"],
        "From an append's hand-over to a shard to the shard's answer.";
    Read "starcite_read_total" Counter, Count, ["operation", "outcome"],
        "Batches of events a tail received: tail_catchup from the log, tail_live as they were appended.";
    TailCursorLookup "starcite_tail_cursor_lookup_total" Counter, Count, ["source", "result", "tenant_id"],
        "Tails opened, at 0 (replay, hit) or at a later cursor (live, hit), and those that failed to read (replay, error).";
    TailWriteBytes "starcite_tail_write_bytes_total" Counter, Bytes, [],
        "Bytes of events written to tails.";
    TailsClosed "starcite_tails_closed_total" Counter, Count, ["reason"],
        "Tails ended, by why.";
    Connections "starcite_connections" Gauge, Count, ["core"],
        "Connections open, tails included.";
    ConnectionsRefused "starcite_connections_refused_total" Counter, Count, ["core"],
        "Connections answered 503 because too many were open.";
    ConnectionsTimedOut "starcite_connections_timed_out_total" Counter, Count, ["reason"],
        "Connections closed for being idle or slow, by what was awaited: idle, head, body, write.";
    // The shards.
    EventStoreWrites "starcite_event_store_writes_total" Counter, Count, ["shard"],
        "Events stored, retries not counted.";
    EventStorePayloadBytes "starcite_event_store_payload_bytes" Counter, Bytes, ["shard"],
        "Bytes of events stored.";
    EventStoreBackpressure "starcite_event_store_backpressure_total" Counter, Count, ["shard", "reason"],
        "Requests refused for lack of room: in memory, in the log, or on disk.";
    EventStoreBytes "starcite_memory_layout_event_store_bytes" Gauge, Bytes, ["shard"],
        "Bytes of events in memory.";
    EventStoreLimitBytes "starcite_memory_layout_event_store_limit_bytes" Gauge, Bytes, [],
        "Bytes of events kept in memory at most, on the whole node.";
    AppendsDeduped "starcite_appends_deduped_total" Counter, Count, ["shard"],
        "Appends recognized as retries.";
    AppendsConflicted "starcite_appends_conflicted_total" Counter, Count, ["shard"],
        "Appends refused for a conflict.";
    Sessions "starcite_sessions" Gauge, Count, ["shard"],
        "Sessions.";
    Tails "starcite_tails" Gauge, Count, ["shard"],
        "Open tails.";
    TailEvents "starcite_tail_events_total" Counter, Count, ["shard"],
        "Events handed to tails.";
    TailsTooSlow "starcite_tails_too_slow_total" Counter, Count, ["shard"],
        "Tails ended because their connections did not keep up.";
    GroupsNotReady "starcite_groups_not_ready" Gauge, Count, ["shard"],
        "Groups that should be held here and do not count on it yet, cannot commit, or are not caught up here.";
    GroupsHosted "starcite_groups_hosted" Gauge, Count, ["shard"],
        "Groups this node is a member of.";
    GroupsLed "starcite_groups_led" Gauge, Count, ["shard"],
        "Groups led here.";
    GroupsQuiet "starcite_groups_quiet" Gauge, Count, ["shard"],
        "Groups that have nothing to do and say nothing.";
    ElectionsWon "starcite_elections_won_total" Counter, Count, ["shard"],
        "Times a group began to be led here.";
    LeadershipsGiven "starcite_leaderships_given_total" Counter, Count, ["shard"],
        "Leaderships handed to another node on purpose.";
    LeadershipsDropped "starcite_leaderships_dropped_total" Counter, Count, ["shard"],
        "Leaderships given up because the log's disk stood still.";
    SnapshotsSent "starcite_snapshots_sent_total" Counter, Count, ["shard"],
        "Snapshots sent to other nodes, to their end.";
    SnapshotsInstalled "starcite_snapshots_installed_total" Counter, Count, ["shard"],
        "Snapshots taken over from other nodes.";
    NewcomerWaits "starcite_newcomer_waits_total" Counter, Count, ["shard"],
        "Times a group began to wait for a member that learns: what the log has no room to keep is refused.";
    NoSpace "starcite_no_space" Gauge, Count, ["shard"],
        "1 while appends are refused for lack of disk space, else 0.";
    Slow "starcite_slow" Gauge, Count, ["shard"],
        "1 while a shard has too little of a CPU and leads nothing that another node can lead, else 0.";
    LogBatches "starcite_log_batches_total" Counter, Count, ["shard"],
        "Batches written to the log.";
    LogBytes "starcite_log_bytes_total" Counter, Bytes, ["shard"],
        "Bytes of those batches.";
    LogRecords "starcite_log_records_total" Counter, Count, ["shard"],
        "Records in those batches.";
    LogSync "starcite_log_sync_seconds" Histogram(SYNC_SECONDS), Seconds, ["shard"],
        "From handing a batch to the device until it is durable.";
    LogSegments "starcite_log_segments" Gauge, Count, ["shard"],
        "Segments the log holds.";
    Checkpoints "starcite_checkpoints_total" Counter, Count, ["shard"],
        "Checkpoints published.";
    ChunkReads "starcite_chunk_reads_total" Counter, Count, ["shard"],
        "Blocks of sealed chunks read for replay.";
    ChunkReadFailures "starcite_chunk_read_failures_total" Counter, Count, ["shard"],
        "Blocks of sealed chunks that could not be read or failed their checksum.";
    ChunkBlocksRepaired "starcite_chunk_blocks_repaired_total" Counter, Count, ["shard"],
        "Of those, blocks that were fetched from another node and written anew.";
    RequestsWaiting "starcite_requests_waiting" Gauge, Count, ["shard"],
        "Requests waiting for the shard's next turn.";
    RequestBytesWaiting "starcite_request_bytes_waiting" Gauge, Bytes, ["shard"],
        "Bytes those requests hold.";
    QueueRefusals "starcite_queue_refusals_total" Counter, Count, ["core", "queue"],
        "Requests refused because a queue was full: inbox of a shard, mesh between cores, body budget, answers and tails owed to other nodes' clients.";
    // Other nodes.
    PeerConnections "starcite_peer_connections" Gauge, Count, ["core", "lane", "direction"],
        "Connections with other nodes that stand: out to them and in from them.";
    PeerBytes "starcite_peer_bytes_total" Counter, Bytes, ["core", "lane", "direction"],
        "Bytes of frames sent out to other nodes and taken in from them.";
    PeerFrames "starcite_peer_frames_total" Counter, Count, ["core", "lane", "direction"],
        "Those frames.";
    PeerMessagesDropped "starcite_peer_messages_dropped_total" Counter, Count, ["core", "reason"],
        "Messages to and from other nodes that were dropped, to be sent again: unconnected, full, too_large, inbox, mesh.";
    PeerHandshakesFailed "starcite_peer_handshakes_failed_total" Counter, Count, ["core", "direction", "reason"],
        "Connections with other nodes that came to nothing: unreachable, timeout, broken, malformed, secret, refused, refuses.";
    // The cores.
    TurnStall "starcite_turn_stall_seconds" Histogram(STALL_SECONDS), Seconds, ["core"],
        "How much later than due a core's heartbeat came.";
    Cores "starcite_cores" Gauge, Count, [],
        "Cores the node runs on.";
    BuildInfo "starcite_build_info" Gauge, Count, ["version"],
        "Always 1; the label names the version.";
}
