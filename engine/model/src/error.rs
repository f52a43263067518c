//! One [`Code`] per cause, with its tables; branch on the code, print the text. [`Fatal`] names the
//! ends of the process.

use std::borrow::Cow;

/// Whether the deed that was asked for is surely undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing happened and nothing will.
    None,
    /// It may have happened, or may yet; the client retries with the same producer seq.
    Unknown,
}

macro_rules! codes {
    ($($variant:ident $name:literal $status:literal $effect:ident $message:literal;)*) => {
        /// Why a request was refused. Names and statuses are the contract's.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Code {
            $(#[doc = concat!("`", $name, "`, HTTP ", stringify!($status), ": ", $message)] $variant,)*
        }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &[Code] = &[$(Code::$variant),*];

            /// The name in the `error` member of a reply.
            pub fn name(self) -> &'static str {
                match self { $(Code::$variant => $name),* }
            }

            /// The HTTP status.
            pub fn status(self) -> u16 {
                match self { $(Code::$variant => $status),* }
            }

            /// The text for the `message` member when the refusal brings none of its own.
            pub fn message(self) -> &'static str {
                match self { $(Code::$variant => $message),* }
            }

            /// Whether the deed is surely undone.
            pub fn effect(self) -> Effect {
                match self { $(Code::$variant => Effect::$effect),* }
            }
        }
    };
}

codes! {
    InvalidEvent             "invalid_event"              400 None    "Invalid event payload";
    InvalidMetadata          "invalid_metadata"           400 None    "Invalid metadata payload";
    InvalidRefs              "invalid_refs"               400 None    "Invalid refs payload";
    InvalidCursor            "invalid_cursor"             400 None    "Invalid cursor value";
    InvalidTailBatchSize     "invalid_tail_batch_size"    400 None    "Invalid tail batch size value";
    InvalidLimit             "invalid_limit"              400 None    "Invalid limit value";
    InvalidListQuery         "invalid_list_query"         400 None    "Invalid list query";
    InvalidSession           "invalid_session"            400 None    "Invalid session payload";
    InvalidSessionId         "invalid_session_id"         400 None    "Invalid session id";
    InvalidWebsocketUpgrade  "invalid_websocket_upgrade"  400 None    "WebSocket upgrade required";
    InvalidWriteNode         "invalid_write_node"         400 None    "Invalid write node";
    InvalidGroupId           "invalid_group_id"           400 None    "Invalid write group id";
    InvalidMember            "invalid_member"             400 None    "Invalid cluster member";
    Unauthorized             "unauthorized"               401 None    "Unauthorized";
    SessionNotFound          "session_not_found"          404 None    "Session was not found";
    SessionExists            "session_exists"             409 None    "Session already exists";
    ExpectedSeqConflict      "expected_seq_conflict"      409 None    "Expected seq conflict";
    ProducerSeqConflict      "producer_seq_conflict"      409 None    "Producer seq conflict";
    ProducerReplayConflict   "producer_replay_conflict"   409 None    "Producer sequence was already used with different event content";
    IdempotencyConflict      "idempotency_conflict"       409 None    "Idempotency key was already used with different event content";
    ExpectedVersionConflict  "expected_version_conflict"  409 None    "Expected version conflict";
    NodeNotMember            "node_not_member"            409 None    "Node holds no copy of the group";
    NodeDraining             "node_draining"              409 None    "Node is draining";
    NodeUnreachable          "node_unreachable"           409 None    "Node is not heard";
    MemberExists             "member_exists"              409 None    "Node is known at another address";
    TooFewMembers            "too_few_members"            409 None    "Too few nodes would be left to hold data";
    ClusterAlone             "cluster_alone"              409 None    "Node was started without others";
    EventStoreBackpressure   "event_store_backpressure"   429 None    "Node is backpressuring writes due to event-store capacity";
    InternalError            "internal_error"             500 Unknown "Internal server error";
    RaftTimeout              "raft_timeout"               503 Unknown "Cluster request timed out";
    RaftUnavailable          "raft_unavailable"           503 Unknown "No available replicas";
    ArchiveReadUnavailable   "archive_read_unavailable"   503 None    "Archive read unavailable";
    EventGapDetected         "event_gap_detected"         503 None    "Ordered replay gap detected";
}

impl Code {
    /// Seconds after which a client may try again, for the `retry-after` header.
    pub fn retry_after_seconds(self) -> Option<u32> {
        match self.status() {
            429 | 503 => Some(1),
            _ => None,
        }
    }
}

/// A refusal on its way to the caller. Boxed where it travels: refusals are rare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The cause.
    pub code: Code,
    /// The text shown to the caller.
    pub message: Cow<'static, str>,
    /// The version a session has now; only with [`Code::ExpectedVersionConflict`].
    pub current_version: Option<u64>,
}

impl From<Code> for Refusal {
    fn from(code: Code) -> Refusal {
        Refusal { code, message: Cow::Borrowed(code.message()), current_version: None }
    }
}

impl Refusal {
    /// `expected_seq` named another head than the session has.
    pub fn expected_seq(expected: u64, current: u64) -> Refusal {
        Refusal {
            message: format!("Expected seq {expected}, current seq is {current}").into(),
            ..Code::ExpectedSeqConflict.into()
        }
    }

    /// A producer skipped a seq or went back.
    pub fn producer_seq(producer: &str, expected: u64, got: u64) -> Refusal {
        Refusal {
            message: format!("Producer {producer} expected seq {expected}, got {got}").into(),
            ..Code::ProducerSeqConflict.into()
        }
    }

    /// `expected_version` named another version than the session has.
    pub fn expected_version(expected: u64, current: u64) -> Refusal {
        Refusal {
            message: format!("Expected version {expected}, current version is {current}").into(),
            current_version: Some(current),
            ..Code::ExpectedVersionConflict.into()
        }
    }
}

/// An end of the process that is not a clean stop; the number is the exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fatal {
    /// A command failed for a reason it printed.
    Failed = 1,
    /// The command line or the environment holds a value that cannot be used.
    Configuration = 64,
    /// The machine refuses what the server needs: io_uring, locked memory, direct IO.
    Machine = 69,
    /// The log or a checkpoint cannot be explained; restarting will not help.
    Corruption = 70,
    /// A write or sync of the log failed; a restart reads what is on the platter.
    LogWrite = 74,
    /// Another process holds the data directory.
    DataDirectoryInUse = 75,
}

impl Fatal {
    /// Every end, in the order of their numbers.
    pub const ALL: &[Fatal] = &[
        Fatal::Failed,
        Fatal::Configuration,
        Fatal::Machine,
        Fatal::Corruption,
        Fatal::LogWrite,
        Fatal::DataDirectoryInUse,
    ];

    /// The exit status; systemd's `RestartPreventExitStatus` names 64, 69, 70 and 75.
    pub fn status(self) -> u8 {
        self as u8
    }

    /// What the operator is told about it.
    pub fn meaning(self) -> &'static str {
        match self {
            Fatal::Failed => "A command failed for a reason it printed.",
            Fatal::Configuration => {
                "The command line or the environment holds a value that cannot be used."
            }
            Fatal::Machine => {
                "The machine refuses what the server needs; `starcite doctor` says what and how to \
                 mend it."
            }
            Fatal::Corruption => {
                "The log or a checkpoint cannot be explained; restarting will not help."
            }
            Fatal::LogWrite => {
                "A write or sync of the log failed; a restart reads what is on the platter."
            }
            Fatal::DataDirectoryInUse => "Another process holds the data directory.",
        }
    }
}
