//! What the doors of one core count: handles made once, so that counting costs nanoseconds.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use hyper::{Method, StatusCode};
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use model::error::Code;
use model::metric::Metric;

use crate::http::link::Overdue;
use crate::problem::Problem;

/// Methods that have a series of their own; the last stands for all others.
const METHODS: [&str; 6] = ["GET", "POST", "PATCH", "HEAD", "OPTIONS", "other"];
/// Classes of statuses, from 1xx.
const STATUS_CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// A write as the contract's metrics name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    /// A session is made.
    CreateSession,
    /// Title, metadata or visibility of a session changes.
    UpdateSession,
    /// An event is appended.
    AppendEvent,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Operation::CreateSession => "create_session",
            Operation::UpdateSession => "update_session",
            Operation::AppendEvent => "append_event",
        }
    }
}

/// Why a tail ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TailClosed {
    /// The client closed it or went away.
    Client,
    /// The client sent nothing for too long.
    Idle,
    /// The client broke the protocol or sent too much.
    Protocol,
    /// The client read too slowly.
    TooSlow,
    /// Events could not be read.
    Unreadable,
    /// The server stops.
    Stopping,
}

impl TailClosed {
    const ALL: [TailClosed; 6] = [
        TailClosed::Client,
        TailClosed::Idle,
        TailClosed::Protocol,
        TailClosed::TooSlow,
        TailClosed::Unreadable,
        TailClosed::Stopping,
    ];

    fn name(self) -> &'static str {
        match self {
            TailClosed::Client => "client",
            TailClosed::Idle => "idle",
            TailClosed::Protocol => "protocol",
            TailClosed::TooSlow => "too_slow",
            TailClosed::Unreadable => "unreadable",
            TailClosed::Stopping => "stopping",
        }
    }
}

/// Handles of one core's doors. Without authentication every request is of the tenant `service`.
#[derive(Debug)]
pub(crate) struct Meters {
    tenant: String,
    http: Vec<[Counter; STATUS_CLASSES.len()]>,
    http_ms: Vec<Histogram>,
    ingest: RefCell<BTreeMap<(Operation, &'static str), Counter>>,
    appends: RefCell<BTreeMap<&'static str, (Counter, Histogram)>>,
    events: Counter,
    payload_bytes: Histogram,
    sessions_created: Counter,
    catchup: Counter,
    live: Counter,
    pub(crate) tail_bytes: Counter,
    tails_opened: [Counter; 3],
    tails_closed: [Counter; TailClosed::ALL.len()],
    pub(crate) connections: Gauge,
    pub(crate) refused: Counter,
    timed_out: [Counter; 4],
    pub(crate) bodies_refused: Counter,
}

impl Meters {
    /// Makes the handles.
    pub(crate) fn new(core: usize, tenant: &str) -> Meters {
        let core = core.to_string();
        let tenant = tenant.to_owned();
        let http = METHODS.map(|method| {
            STATUS_CLASSES.map(|class| {
                counter!(Metric::EdgeHttp.name(), "method" => method, "status_class" => class)
            })
        });
        let http_ms =
            METHODS.map(|method| histogram!(Metric::EdgeHttpDuration.name(), "method" => method));
        let read = |operation: &'static str| counter!(Metric::Read.name(), "operation" => operation, "outcome" => "ok");
        let lookup = |(source, result): (&'static str, &'static str)| {
            let name = Metric::TailCursorLookup.name();
            counter!(name, "source" => source, "result" => result, "tenant_id" => tenant.clone())
        };
        let timed_out =
            |reason: &'static str| counter!(Metric::ConnectionsTimedOut.name(), "reason" => reason);
        Meters {
            http: http.into(),
            http_ms: http_ms.into(),
            ingest: RefCell::default(),
            appends: RefCell::default(),
            events: counter!(Metric::EventsAppend.name(), "tenant_id" => tenant.clone()),
            payload_bytes: histogram!(Metric::EventsPayloadBytes.name(), "tenant_id" => tenant.clone()),
            sessions_created: counter!(Metric::SessionCreate.name(), "tenant_id" => tenant.clone()),
            catchup: read("tail_catchup"),
            live: read("tail_live"),
            tail_bytes: counter!(Metric::TailWriteBytes.name()),
            tails_opened: [("live", "hit"), ("replay", "hit"), ("replay", "error")].map(lookup),
            tails_closed: TailClosed::ALL
                .map(|why| counter!(Metric::TailsClosed.name(), "reason" => why.name())),
            connections: gauge!(Metric::Connections.name(), "core" => core.clone()),
            refused: counter!(Metric::ConnectionsRefused.name(), "core" => core.clone()),
            timed_out: ["idle", "head", "body", "write"].map(timed_out),
            bodies_refused: counter!(Metric::QueueRefusals.name(), "core" => core, "queue" => "bodies"),
            tenant,
        }
    }

    /// A request was answered.
    pub(crate) fn answered(&self, method: &Method, status: StatusCode, took: Duration) {
        let place = METHODS.iter().position(|name| *name == method.as_str());
        let method = place.unwrap_or(METHODS.len() - 1);
        let class = usize::from(status.as_u16() / 100).clamp(1, STATUS_CLASSES.len()) - 1;
        self.http[method][class].increment(1);
        self.http_ms[method].record(milliseconds(took));
    }

    /// A write was answered.
    pub(crate) fn ingested<T>(&self, operation: Operation, outcome: &Result<T, Problem>) {
        let reason = reason(outcome.as_ref().err());
        let mut ingest = self.ingest.borrow_mut();
        let counter = ingest.entry((operation, reason)).or_insert_with(|| {
            counter!(
                Metric::IngestEdge.name(),
                "operation" => operation.name(),
                "outcome" => if reason == "none" { "ok" } else { "error" },
                "error_reason" => reason,
                "tenant_id" => self.tenant.clone(),
            )
        });
        counter.increment(1);
    }

    /// A shard answered an append.
    pub(crate) fn append_answered<T>(&self, outcome: &Result<T, Problem>, took: Duration) {
        let reason = reason(outcome.as_ref().err());
        let mut appends = self.appends.borrow_mut();
        let (counter, ms) = appends.entry(reason).or_insert_with(|| {
            let outcome = match reason {
                "none" => "ok",
                "timeout" => "timeout",
                _ => "error",
            };
            let labels = [
                ("operation", Operation::AppendEvent.name()),
                ("phase", "total"),
                ("outcome", outcome),
            ];
            let histogram = histogram!(Metric::RequestDuration.name(), &labels);
            let labels = [labels[0], labels[1], labels[2], ("error_reason", reason)];
            (counter!(Metric::Request.name(), &labels), histogram)
        });
        counter.increment(1);
        ms.record(milliseconds(took));
    }

    /// An event is in the log that was not there before.
    pub(crate) fn appended(&self, payload_bytes: usize) {
        self.events.increment(1);
        self.payload_bytes.record(payload_bytes as f64);
    }

    /// A session was made.
    pub(crate) fn created(&self) {
        self.sessions_created.increment(1);
    }

    /// A tail received events, replayed or new.
    pub(crate) fn tail_received(&self, replay: bool) {
        if replay { &self.catchup } else { &self.live }.increment(1);
    }

    /// A tail was opened, at 0 or at a later cursor.
    pub(crate) fn tail_opened(&self, from_start: bool) {
        self.tails_opened[usize::from(from_start)].increment(1);
    }

    /// A tail ended.
    pub(crate) fn tail_closed(&self, why: TailClosed) {
        if why == TailClosed::Unreadable {
            self.tails_opened[2].increment(1);
        }
        self.tails_closed[why as usize].increment(1);
    }

    /// A connection was closed because something took too long.
    pub(crate) fn timed_out(&self, overdue: Overdue) {
        let place = match overdue {
            Overdue::Idle => 0,
            Overdue::Head => 1,
            Overdue::Handler => 2,
            Overdue::Write => 3,
        };
        self.timed_out[place].increment(1);
    }
}

fn milliseconds(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}

/// The contract's word for why a write was refused.
fn reason(problem: Option<&Problem>) -> &'static str {
    let code = match problem {
        None => return "none",
        Some(Problem::NotFound | Problem::Unreadable(_)) => return "invalid_request",
        Some(Problem::Refused(refusal)) => refusal.code,
    };
    match code {
        Code::ExpectedSeqConflict | Code::ProducerSeqConflict | Code::ProducerReplayConflict => {
            "seq_conflict"
        }
        Code::RaftTimeout => "timeout",
        Code::RaftUnavailable => "unavailable",
        code if code.status() == 400 => "invalid_request",
        code => code.name(),
    }
}
