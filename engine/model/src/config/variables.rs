//! The table of all variables: read by the parser, by the command line's flags and by the document
//! that lists them.

/// A variable of the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// The flag of the same meaning, without dashes in front; empty if there is none.
    pub flag: &'static str,
    /// How a value is read.
    pub kind: Kind,
    /// What holds when it is not set: a value if it is in back quotes, else a description.
    pub default: &'static str,
    /// Whether it does anything here.
    pub standing: Standing,
    /// What it says; for one without effect, why it has none.
    pub meaning: &'static str,
}

/// How a value is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A whole number above zero.
    Integer,
    /// A whole number.
    IntegerOrZero,
    /// Digits with an optional unit in powers of 1024; megabytes without.
    Size,
    /// A number in [0.01, 0.99].
    Fraction,
    /// `1|true|yes|on` or `0|false|no|off`.
    Boolean,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Any text; empty is as if it were not set.
    Text,
}

/// Whether a variable does anything here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It does.
    Used,
    /// It must have a form that can be read, and is named in a warning.
    Inert,
}

macro_rules! variables {
    ($($id:ident $name:literal $flag:literal $kind:expr, $default:literal $standing:ident $meaning:literal;)*) => {
        $(
            #[doc = $meaning]
            pub const $id: Variable = Variable {
                name: $name,
                flag: $flag,
                kind: $kind,
                default: $default,
                standing: Standing::$standing,
                meaning: $meaning,
            };
        )*

        /// Every variable, in the order of the document.
        pub const VARIABLES: &[Variable] = &[$($id),*];
    };
}

use Kind::{Boolean, Fraction, Integer, IntegerOrZero, Size, Text, Word};

variables! {
    PORT "PORT" "port" Integer, "`4000`" Used
        "Port of REST, WebSocket and, without an operator's port, health and metrics.";
    BIND "STARCITE_BIND" "bind" Text, "`0.0.0.0`" Used
        "Address all ports are bound to; `::` for IPv6 and IPv4.";
    OPS_PORT "STARCITE_OPS_PORT" "ops-port" Integer, "`STARCITE_PPROF_PORT`, else none" Used
        "Port of health and metrics alone; if set, `PORT` serves them no longer.";
    PPROF_PORT "STARCITE_PPROF_PORT" "" Integer, "none" Used
        "Used as `STARCITE_OPS_PORT` where that is not set.";
    DATA_DIR "STARCITE_DATA_DIR" "data-dir" Text, "`STARCITE_RAFT_DATA_DIR`, else `/var/lib/starcite`" Used
        "Directory of log and data; held by one process at a time.";
    RAFT_DATA_DIR "STARCITE_RAFT_DATA_DIR" "" Text, "none" Used
        "An older name of `STARCITE_DATA_DIR`.";
    NUM_GROUPS "STARCITE_NUM_GROUPS" "groups" Integer, "`256`" Used
        "Shares that sessions are divided into. Fixed when a data directory is made.";
    SHARDS "STARCITE_SHARDS" "shards" Integer, "what the data directory has; for a new one, the number of cores" Used
        "Logs that the groups are divided over. Fixed when a data directory is made.";
    CORES "STARCITE_CORES" "cores" Integer, "all that the process may use but one, at least one" Used
        "Cores to run on, one thread each.";
    EVENT_STORE_MAX_SIZE "STARCITE_EVENT_STORE_MAX_SIZE" "event-store-max-size" Size, "`2GB`" Used
        "Memory for events, on the whole node.";
    MAX_CONNECTIONS "STARCITE_MAX_CONNECTIONS" "max-connections" Integer, "`65536`" Used
        "Connections open at once; lowered to what the limit of open files leaves room for.";
    SHUTDOWN_DRAIN_TIMEOUT_MS "STARCITE_SHUTDOWN_DRAIN_TIMEOUT_MS" "shutdown-drain-timeout-ms" Integer, "`30000`" Used
        "Milliseconds a stop waits for open requests and tails before it cuts them off.";
    LOG_SYNC "STARCITE_LOG_SYNC" "log-sync" Word(&["link", "dsync"]), "`link`" Used
        "How the log is made durable: `link` writes and then syncs, `dsync` writes through; the second is faster only on devices with forced unit access.";
    LOG_FORMAT "STARCITE_LOG_FORMAT" "log-format" Word(&["auto", "json", "text"]), "`auto`" Used
        "Form of the lines on standard error; `auto` is `text` on a terminal, else `json`.";
    LOG_LEVEL "STARCITE_LOG_LEVEL" "log-level" Word(&["error", "warn", "info", "debug", "trace"]), "`info`" Used
        "The least important lines written.";
    ENABLE_TELEMETRY "STARCITE_ENABLE_TELEMETRY" "enable-telemetry" Boolean, "`true`" Used
        "Whether metrics are collected and shown.";
    AUTH_MODE "STARCITE_AUTH_MODE" "auth-mode" Word(&["none", "jwt"]), "must be given" Used
        "Must be `none`, which lets everyone who reaches the port do everything; `jwt` is not there yet and stops the start.";
    ARCHIVE_ADAPTER "STARCITE_ARCHIVE_ADAPTER" "archive-adapter" Word(&["none", "s3", "postgres"]), "`none`" Used
        "Must be `none`, which keeps every event on this node; `s3` and `postgres` are not there yet and stop the start.";
    NODE_NAME "NODE_NAME" "node-name" Text, "that of `RELEASE_NODE`" Used
        "This node's name in its cluster, with or without `@host`; it stays with the data directory.";
    RELEASE_NODE "RELEASE_NODE" "" Text, "none" Used
        "As `NODE_NAME`, where that is not set.";
    CLUSTER_NODES "CLUSTER_NODES" "cluster-nodes" Text, "none" Used
        "Comma-separated `name@host` or `name@host:port` of all nodes, this one included; the port is the peer port, an IPv6 host stands in brackets.";
    PEER_PORT "STARCITE_PEER_PORT" "peer-port" Integer, "the port in this node's entry, else 4100" Used
        "Port at which other nodes are listened for, and the port of entries that name none.";
    PEER_BIND "STARCITE_PEER_BIND" "peer-bind" Text, "the address in this node's entry, else `STARCITE_BIND`" Used
        "Address at which other nodes are listened for.";
    WRITE_NODE_IDS "STARCITE_WRITE_NODE_IDS" "write-node-ids" Text, "all of `CLUSTER_NODES`" Used
        "Comma-separated names, with or without `@host`, of the nodes that hold data; the others forward.";
    WRITE_REPLICATION_FACTOR "STARCITE_WRITE_REPLICATION_FACTOR" "write-replication-factor" Integer, "3; 1 for a node alone" Used
        "Nodes that hold each event; no more than there are nodes that hold data.";
    ROUTING_REPLICATION_FACTOR "STARCITE_ROUTING_REPLICATION_FACTOR" "" Integer, "none" Used
        "Used as `STARCITE_WRITE_REPLICATION_FACTOR` where that is not set.";
    SECRET_KEY_BASE "SECRET_KEY_BASE" "" Text, "must be given to more than one node" Used
        "What all nodes of a cluster know and nobody else, at least 16 bytes; with it they prove to each other who they are.";
    PEER_TLS_CERT "STARCITE_PEER_TLS_CERT" "peer-tls-cert" Text, "none" Used
        "File in PEM of the certificate that this node shows others, and those between it and an authority's; with the two files below, nodes speak TLS with each other, all of them or none.";
    PEER_TLS_KEY "STARCITE_PEER_TLS_KEY" "peer-tls-key" Text, "none" Used
        "File in PEM of that certificate's key.";
    PEER_TLS_CA "STARCITE_PEER_TLS_CA" "peer-tls-ca" Text, "none" Used
        "File in PEM of the authorities that sign the nodes' certificates, and nobody else's.";
    DNS_CLUSTER_QUERY "DNS_CLUSTER_QUERY" "" Text, "none" Used
        "A name that stands for the addresses of all nodes, instead of `CLUSTER_NODES`; nodes are then called by base name, `@` and address, also in `STARCITE_WRITE_NODE_IDS`, which must be set.";
    DNS_CLUSTER_NODE_BASENAME "DNS_CLUSTER_NODE_BASENAME" "" Text, "`starcite`" Used
        "What the names of nodes found by `DNS_CLUSTER_QUERY` begin with.";
    DNS_POLL_INTERVAL_MS "DNS_POLL_INTERVAL_MS" "" Integer, "`5000`" Used
        "Milliseconds between two looks at what names of nodes stand for.";
    ARCHIVER_ENABLED "STARCITE_ARCHIVER_ENABLED" "" Boolean, "`false`" Used
        "A yes stops the start: there is no archive to write to yet.";

    PHX_SERVER "PHX_SERVER" "" Text, "none" Inert "`starcite serve` always serves.";
    PHX_HOST "PHX_HOST" "" Text, "none" Inert "No reply holds an absolute address.";
    MIGRATE_ON_BOOT "MIGRATE_ON_BOOT" "" Boolean, "none" Inert "There is no database.";
    RELEASE_NODE_BASENAME "RELEASE_NODE_BASENAME" "" Text, "none" Inert "`NODE_NAME` names the node.";
    RELEASE_COOKIE "RELEASE_COOKIE" "" Text, "none" Inert "Nodes know each other by `SECRET_KEY_BASE`.";
    RELEASE_DISTRIBUTION "RELEASE_DISTRIBUTION" "" Text, "none" Inert "`CLUSTER_NODES` makes a cluster.";
    FLY_PRIVATE_IP "FLY_PRIVATE_IP" "" Text, "none" Inert "`STARCITE_BIND` names the address.";
    ROUTE_LEADER_PROBE_ON_MISS "STARCITE_ROUTE_LEADER_PROBE_ON_MISS" "" Boolean, "none" Inert "Any node knows who leads a group.";
    ROUTE_LEADER_CACHE_TTL_MS "STARCITE_ROUTE_LEADER_CACHE_TTL_MS" "" Integer, "none" Inert "Any node knows who leads a group.";
    ROUTING_STORE_DIR "STARCITE_ROUTING_STORE_DIR" "" Text, "none" Inert "All lies in `STARCITE_DATA_DIR`.";
    RA_WAL_DATA_DIR "STARCITE_RA_WAL_DATA_DIR" "" Text, "none" Inert "All lies in `STARCITE_DATA_DIR`.";
    RA_WAL_WRITE_STRATEGY "STARCITE_RA_WAL_WRITE_STRATEGY" "" Text, "none" Inert "`STARCITE_LOG_SYNC` chooses; no choice weakens durability.";
    RA_WAL_SYNC_METHOD "STARCITE_RA_WAL_SYNC_METHOD" "" Text, "none" Inert "`STARCITE_LOG_SYNC` chooses; no choice weakens durability.";
    ARCHIVE_FLUSH_INTERVAL_MS "STARCITE_ARCHIVE_FLUSH_INTERVAL_MS" "" Integer, "none" Inert "There is no archive yet.";
    ARCHIVE_DB_WRITE_BATCH_SIZE "STARCITE_ARCHIVE_DB_WRITE_BATCH_SIZE" "" Integer, "none" Inert "There is no archive yet.";
    ARCHIVE_DB_READ_BATCH_SIZE "STARCITE_ARCHIVE_DB_READ_BATCH_SIZE" "" Integer, "none" Inert "There is no archive yet.";
    DATABASE_URL "DATABASE_URL" "" Text, "none" Inert "There is no archive yet.";
    POSTGRES_URL "STARCITE_POSTGRES_URL" "" Text, "none" Inert "There is no archive yet.";
    DB_POOL_SIZE "DB_POOL_SIZE" "" Integer, "none" Inert "There is no archive yet.";
    S3_BUCKET "STARCITE_S3_BUCKET" "" Text, "none" Inert "There is no archive yet.";
    S3_REGION "STARCITE_S3_REGION" "" Text, "none" Inert "There is no archive yet.";
    S3_ENDPOINT "STARCITE_S3_ENDPOINT" "" Text, "none" Inert "There is no archive yet.";
    S3_ACCESS_KEY_ID "STARCITE_S3_ACCESS_KEY_ID" "" Text, "none" Inert "There is no archive yet.";
    S3_SECRET_ACCESS_KEY "STARCITE_S3_SECRET_ACCESS_KEY" "" Text, "none" Inert "There is no archive yet.";
    S3_SESSION_TOKEN "STARCITE_S3_SESSION_TOKEN" "" Text, "none" Inert "There is no archive yet.";
    S3_PREFIX "STARCITE_S3_PREFIX" "" Text, "none" Inert "There is no archive yet.";
    S3_PATH_STYLE "STARCITE_S3_PATH_STYLE" "" Text, "none" Inert "There is no archive yet.";
    S3_MAX_WRITE_RETRIES "STARCITE_S3_MAX_WRITE_RETRIES" "" Text, "none" Inert "There is no archive yet.";
    EVENT_STORE_CAPACITY_CHECK_INTERVAL "STARCITE_EVENT_STORE_CAPACITY_CHECK_INTERVAL" "" Integer, "none" Inert "Room is checked before every append.";
    ARCHIVE_READ_CACHE_MAX_SIZE "STARCITE_ARCHIVE_READ_CACHE_MAX_SIZE" "" Size, "none" Inert "There is no archive to read from yet.";
    ARCHIVE_READ_CACHE_RECLAIM_FRACTION "STARCITE_ARCHIVE_READ_CACHE_RECLAIM_FRACTION" "" Fraction, "none" Inert "There is no archive to read from yet.";
    ARCHIVE_READ_CACHE_COMPRESSED "STARCITE_ARCHIVE_READ_CACHE_COMPRESSED" "" Boolean, "none" Inert "There is no archive to read from yet.";
    ARCHIVE_READ_CACHE_TTL_MS "STARCITE_ARCHIVE_READ_CACHE_TTL_MS" "" Integer, "none" Inert "There is no archive to read from yet.";
    ARCHIVE_READ_CACHE_CLEANUP_INTERVAL_MS "STARCITE_ARCHIVE_READ_CACHE_CLEANUP_INTERVAL_MS" "" Integer, "none" Inert "There is no archive to read from yet.";
    SESSION_STORE_TTL_MS "STARCITE_SESSION_STORE_TTL_MS" "" Integer, "none" Inert "Sessions stay in memory.";
    SESSION_STORE_PURGE_INTERVAL_MS "STARCITE_SESSION_STORE_PURGE_INTERVAL_MS" "" Integer, "none" Inert "Sessions stay in memory.";
    SESSION_STORE_COMPRESSED "STARCITE_SESSION_STORE_COMPRESSED" "" Boolean, "none" Inert "Sessions stay in memory.";
    SESSION_STORE_TOUCH_ON_READ "STARCITE_SESSION_STORE_TOUCH_ON_READ" "" Boolean, "none" Inert "Sessions stay in memory.";
    AUTH_JWT_ISSUER "STARCITE_AUTH_JWT_ISSUER" "" Text, "none" Inert "Tokens are not checked yet.";
    AUTH_JWT_AUDIENCE "STARCITE_AUTH_JWT_AUDIENCE" "" Text, "none" Inert "Tokens are not checked yet.";
    AUTH_JWKS_URL "STARCITE_AUTH_JWKS_URL" "" Text, "none" Inert "Tokens are not checked yet.";
    AUTH_JWT_LEEWAY_SECONDS "STARCITE_AUTH_JWT_LEEWAY_SECONDS" "" IntegerOrZero, "none" Inert "Tokens are not checked yet.";
    AUTH_JWKS_REFRESH_MS "STARCITE_AUTH_JWKS_REFRESH_MS" "" Integer, "none" Inert "Tokens are not checked yet.";
    AUTH_JWKS_HARD_EXPIRY_MS "STARCITE_AUTH_JWKS_HARD_EXPIRY_MS" "" Integer, "none" Inert "Tokens are not checked yet.";
    AUTH_PRINCIPAL_TOKEN_SALT "STARCITE_AUTH_PRINCIPAL_TOKEN_SALT" "" Text, "none" Inert "Tokens are not checked yet.";
    AUTH_PRINCIPAL_TOKEN_DEFAULT_TTL_SECONDS "STARCITE_AUTH_PRINCIPAL_TOKEN_DEFAULT_TTL_SECONDS" "" Integer, "none" Inert "Tokens are not checked yet.";
    AUTH_PRINCIPAL_TOKEN_MAX_TTL_SECONDS "STARCITE_AUTH_PRINCIPAL_TOKEN_MAX_TTL_SECONDS" "" Integer, "none" Inert "Tokens are not checked yet.";
    PPROF_TIMEOUT_MS "STARCITE_PPROF_TIMEOUT_MS" "" Integer, "none" Inert "There is no profile to fetch.";
    PAYLOAD_PLANE "STARCITE_PAYLOAD_PLANE" "" Word(&["legacy", "dual_write"]), "none" Inert "There is one way to store payloads.";
    TAIL_SOURCE "STARCITE_TAIL_SOURCE" "" Word(&["legacy", "ets"]), "none" Inert "There is one source of tails.";
    REDIS_HOST "REDIS_HOST" "" Text, "none" Inert "Nodes need no bus.";
    REDIS_PORT "REDIS_PORT" "" Text, "none" Inert "Nodes need no bus.";
    SLOT_LOG_DIR "SLOT_LOG_DIR" "" Text, "none" Inert "All lies in `STARCITE_DATA_DIR`.";
}
