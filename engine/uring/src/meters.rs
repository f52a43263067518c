//! Metrics of a shard and its core: handles made once, so that counting costs nanoseconds.

use std::cell::Cell;
use std::time::{Duration, Instant};

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use model::ids::ShardId;
use shard::effect::{Facts, Gauges};

/// Names of the series, in one place.
mod name {
    pub(super) const EVENTS: &str = "starcite_events_appended_total";
    pub(super) const EVENT_BYTES: &str = "starcite_event_bytes_appended_total";
    pub(super) const DEDUPED: &str = "starcite_appends_deduped_total";
    pub(super) const CONFLICTED: &str = "starcite_appends_conflicted_total";
    pub(super) const BACKPRESSURE: &str = "starcite_backpressure_total";
    pub(super) const LOG_BATCHES: &str = "starcite_log_batches_total";
    pub(super) const LOG_BYTES: &str = "starcite_log_bytes_total";
    pub(super) const LOG_RECORDS: &str = "starcite_log_records_total";
    pub(super) const LOG_SECONDS: &str = "starcite_log_write_seconds";
    pub(super) const TAIL_EVENTS: &str = "starcite_tail_events_total";
    pub(super) const TAILS_TOO_SLOW: &str = "starcite_tails_too_slow_total";
    pub(super) const CHECKPOINTS: &str = "starcite_checkpoints_total";
    pub(super) const CHUNK_READS: &str = "starcite_chunk_reads_total";
    pub(super) const CHUNK_READ_FAILURES: &str = "starcite_chunk_read_failures_total";
    pub(super) const SESSIONS: &str = "starcite_sessions";
    pub(super) const TAILS: &str = "starcite_tails";
    pub(super) const HOT_BYTES: &str = "starcite_hot_bytes";
    pub(super) const LOG_SEGMENTS: &str = "starcite_log_segments";
    pub(super) const GROUPS_NOT_READY: &str = "starcite_groups_not_ready";
    pub(super) const NO_SPACE: &str = "starcite_no_space";
    pub(super) const REQUESTS: &str = "starcite_requests_waiting";
    pub(super) const REQUEST_BYTES: &str = "starcite_request_bytes_waiting";
    pub(super) const BEAT_LATE_SECONDS: &str = "starcite_core_heartbeat_late_seconds";
}

/// What a shard counts.
#[derive(Debug)]
pub(crate) struct ShardMeters {
    counters: [Counter; 13],
    gauges: [Gauge; 8],
}

impl ShardMeters {
    /// Handles labelled with the shard.
    pub(crate) fn new(shard: ShardId) -> ShardMeters {
        let label = shard.0.to_string();
        let counters = [
            name::EVENTS,
            name::EVENT_BYTES,
            name::DEDUPED,
            name::CONFLICTED,
            name::BACKPRESSURE,
            name::LOG_BATCHES,
            name::LOG_BYTES,
            name::LOG_RECORDS,
            name::TAIL_EVENTS,
            name::TAILS_TOO_SLOW,
            name::CHECKPOINTS,
            name::CHUNK_READS,
            name::CHUNK_READ_FAILURES,
        ];
        let gauges = [
            name::SESSIONS,
            name::TAILS,
            name::HOT_BYTES,
            name::LOG_SEGMENTS,
            name::GROUPS_NOT_READY,
            name::NO_SPACE,
            name::REQUESTS,
            name::REQUEST_BYTES,
        ];
        ShardMeters {
            counters: counters.map(|name| counter!(name, "shard" => label.clone())),
            gauges: gauges.map(|name| gauge!(name, "shard" => label.clone())),
        }
    }

    /// Shows what has happened since the start.
    pub(crate) fn count(&self, facts: &Facts) {
        let values = [
            facts.events_appended,
            facts.event_bytes_appended,
            facts.appends_deduped,
            facts.appends_conflicted,
            facts.backpressure,
            facts.log_batches,
            facts.log_bytes,
            facts.log_records,
            facts.tail_events,
            facts.tails_too_slow,
            facts.checkpoints,
            facts.chunk_reads,
            facts.chunk_read_failures,
        ];
        for (counter, value) in self.counters.iter().zip(values) {
            counter.absolute(value);
        }
    }

    /// Shows how full the shard and its inbox are.
    pub(crate) fn show(&self, gauges: &Gauges, requests: usize, request_bytes: usize) {
        let values = [
            gauges.sessions,
            gauges.tails,
            gauges.hot_bytes,
            gauges.log_segments,
            gauges.groups_not_ready,
            u64::from(gauges.no_space),
            requests as u64,
            request_bytes as u64,
        ];
        for (gauge, value) in self.gauges.iter().zip(values) {
            // Exact up to 2^53, far beyond any of these.
            gauge.set(value as f64);
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
        let seconds = histogram!(name::LOG_SECONDS, "shard" => shard.0.to_string());
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
        CoreMeters { late: histogram!(name::BEAT_LATE_SECONDS, "core" => core.to_string()) }
    }

    /// A heartbeat came so late.
    pub(crate) fn beat(&self, late: Duration) {
        self.late.record(late);
    }
}
