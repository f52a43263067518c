//! Metrics of a shard and its core: handles made once, so that counting costs nanoseconds.

use std::cell::Cell;
use std::time::{Duration, Instant};

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use model::ids::ShardId;
use model::metric::Metric;
use shard::effect::{Facts, Gauges};

/// What a shard counts and shows.
#[derive(Debug)]
pub(crate) struct ShardMeters {
    /// With [`COUNTERS`], in its order.
    counters: [Counter; COUNTERS.len()],
    /// With [`GAUGES`], in its order.
    gauges: [Gauge; GAUGES.len()],
}

/// How to read a count.
type Count = fn(&Facts) -> u64;
/// How to read a level.
type Level = fn(&Levels) -> u64;

const COUNTERS: [(Metric, Count); 20] = [
    (Metric::EventStoreWrites, |f| f.events_appended),
    (Metric::EventStorePayloadBytes, |f| f.event_bytes_appended),
    (Metric::EventStoreBackpressure, |f| f.backpressure),
    (Metric::AppendsDeduped, |f| f.appends_deduped),
    (Metric::AppendsConflicted, |f| f.appends_conflicted),
    (Metric::LogBatches, |f| f.log_batches),
    (Metric::LogBytes, |f| f.log_bytes),
    (Metric::LogRecords, |f| f.log_records),
    (Metric::TailEvents, |f| f.tail_events),
    (Metric::TailsTooSlow, |f| f.tails_too_slow),
    (Metric::Checkpoints, |f| f.checkpoints),
    (Metric::ChunkReads, |f| f.chunk_reads),
    (Metric::ChunkReadFailures, |f| f.chunk_read_failures),
    (Metric::ChunkBlocksRepaired, |f| f.chunk_blocks_repaired),
    (Metric::ElectionsWon, |f| f.elections_won),
    (Metric::LeadershipsGiven, |f| f.leaderships_given),
    (Metric::LeadershipsDropped, |f| f.leaderships_dropped),
    (Metric::SnapshotsSent, |f| f.snapshots_sent),
    (Metric::SnapshotsInstalled, |f| f.snapshots_installed),
    (Metric::NewcomerWaits, |f| f.newcomer_waits),
];

const GAUGES: [(Metric, Level); 12] = [
    (Metric::Sessions, |l| l.shard.sessions),
    (Metric::Tails, |l| l.shard.tails),
    (Metric::EventStoreBytes, |l| l.shard.hot_bytes),
    (Metric::LogSegments, |l| l.shard.log_segments),
    (Metric::GroupsNotReady, |l| l.shard.groups_not_ready),
    (Metric::GroupsHosted, |l| l.shard.groups_hosted),
    (Metric::GroupsLed, |l| l.shard.groups_led),
    (Metric::GroupsQuiet, |l| l.shard.groups_quiet),
    (Metric::NoSpace, |l| u64::from(l.shard.no_space)),
    (Metric::Slow, |l| u64::from(l.shard.slow)),
    (Metric::RequestsWaiting, |l| l.requests as u64),
    (Metric::RequestBytesWaiting, |l| l.request_bytes as u64),
];

/// How full a shard and its inbox are.
#[derive(Debug)]
pub(crate) struct Levels {
    /// The shard.
    pub(crate) shard: Gauges,
    /// Requests admitted and not yet answered.
    pub(crate) requests: usize,
    /// Bytes of those.
    pub(crate) request_bytes: usize,
}

impl ShardMeters {
    /// Handles labelled with the shard.
    pub(crate) fn new(shard: ShardId) -> ShardMeters {
        let label = shard.0.to_string();
        let counters = COUNTERS.map(|(metric, _)| match metric {
            // The one reason a shard refuses for; the door names others.
            Metric::EventStoreBackpressure => {
                counter!(metric.name(), "shard" => label.clone(), "reason" => "memory_limit")
            }
            _ => counter!(metric.name(), "shard" => label.clone()),
        });
        let gauges = GAUGES.map(|(metric, _)| gauge!(metric.name(), "shard" => label.clone()));
        ShardMeters { counters, gauges }
    }

    /// Shows what has happened since the start.
    pub(crate) fn count(&self, facts: &Facts) {
        for (counter, (_, read)) in self.counters.iter().zip(COUNTERS) {
            counter.absolute(read(facts));
        }
    }

    /// Shows how full the shard is.
    pub(crate) fn show(&self, levels: &Levels) {
        for (gauge, (_, read)) in self.gauges.iter().zip(GAUGES) {
            // Exact up to 2^53, far beyond any of these.
            gauge.set(read(levels) as f64);
        }
    }
}

/// How long log writes take, from submission to durable.
#[derive(Debug)]
pub(crate) struct LogMeters {
    seconds: Histogram,
    submitted: Cell<Option<Instant>>,
}

impl LogMeters {
    /// A handle labelled with the shard.
    pub(crate) fn new(shard: ShardId) -> LogMeters {
        let seconds = histogram!(Metric::LogSync.name(), "shard" => shard.0.to_string());
        LogMeters { seconds, submitted: Cell::new(None) }
    }

    /// A batch is on its way.
    pub(crate) fn submitted(&self) {
        self.submitted.set(Some(Instant::now()));
    }

    /// It is durable.
    pub(crate) fn durable(&self) {
        if let Some(at) = self.submitted.take() {
            self.seconds.record(at.elapsed());
        }
    }
}

/// How late a core's heartbeat comes: what a task, or another program, held it up for.
#[derive(Debug)]
pub(crate) struct CoreMeters {
    late: Histogram,
}

impl CoreMeters {
    /// A handle labelled with the core.
    pub(crate) fn new(core: usize) -> CoreMeters {
        CoreMeters { late: histogram!(Metric::TurnStall.name(), "core" => core.to_string()) }
    }

    /// A heartbeat came so late.
    pub(crate) fn beat(&self, late: Duration) {
        self.late.record(late);
    }
}

/// Refusals of a core's queues.
#[derive(Debug)]
pub(crate) struct QueueMeters {
    /// Inboxes of this core's shards.
    pub(crate) inbox: Counter,
    /// The way to other cores.
    pub(crate) mesh: Counter,
    /// Answers and tails that other nodes' clients are owed.
    pub(crate) clients: Counter,
    /// Inboxes of this core's shards, of what other nodes say.
    pub(crate) peer_inbox: Counter,
    /// The way to other cores, of what other nodes say.
    pub(crate) peer_mesh: Counter,
}

impl QueueMeters {
    /// Handles labelled with the core.
    pub(crate) fn new(core: usize) -> QueueMeters {
        let refusals = |queue: &'static str| {
            let core = core.to_string();
            counter!(Metric::QueueRefusals.name(), "core" => core, "queue" => queue)
        };
        let dropped = |reason: &'static str| {
            let core = core.to_string();
            counter!(Metric::PeerMessagesDropped.name(), "core" => core, "reason" => reason)
        };
        QueueMeters {
            inbox: refusals("inbox"),
            mesh: refusals("mesh"),
            clients: refusals("clients"),
            peer_inbox: dropped("inbox"),
            peer_mesh: dropped("mesh"),
        }
    }
}
