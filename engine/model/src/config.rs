//! The environment's variables become validated settings, once. The rules and names are the
//! contract's, and a server for which one of them would promise something it cannot keep refuses to
//! start: an archive, the check of tokens.

mod cluster;
mod parse;
mod tls;
mod variables;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use crate::limits::{CONNECTIONS_DEFAULT, EVENT_STORE_BYTES_DEFAULT, GROUPS_DEFAULT, GROUPS_MAX};

pub use cluster::{ClusterConfig, Discovery, Host, NODES_MAX, NodeEntry, Secret};
pub use tls::TlsFiles;
pub use variables::*;

/// The environment, or as much of it as the caller wants to be seen.
pub type Environment = BTreeMap<String, String>;

const PORT_DEFAULT: u16 = 4000;
/// The data directory if none is named.
pub const DATA_DIR_DEFAULT: &str = "/var/lib/starcite";
const SHUTDOWN_TIMEOUT_MS_DEFAULT: u64 = 30_000;
/// An hour: a longer wait is a mistake in the unit.
const SHUTDOWN_TIMEOUT_MS_MAX: u64 = 3_600_000;
/// What a core's number must fit in, with room.
const CORES_MAX: u32 = 1024;

/// All that `starcite serve` needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServeConfig {
    /// Where REST and WebSocket are served.
    pub listen: SocketAddr,
    /// Where health and metrics are served; `None` to serve them at `listen`.
    pub ops_listen: Option<SocketAddr>,
    /// Directory of log and data.
    pub data_dir: PathBuf,
    /// Raft groups, in `[1, GROUPS_MAX]`; must be what the data directory was made with.
    pub groups: u32,
    /// Shards, in `[1, groups]`; `None` for what the data directory has, or the cores for a new one.
    pub shards: Option<u32>,
    /// Cores to run on, at most; `None` for all the process may use.
    pub cores: Option<u32>,
    /// Bytes of events kept in memory, on the whole node.
    pub event_store_bytes: u64,
    /// Connections open at once, on the whole node.
    pub connections_max: u32,
    /// Milliseconds a stop waits for open requests and tails.
    pub shutdown_timeout_ms: u64,
    /// How the log is made durable.
    pub log_sync: LogSync,
    /// Form of the lines on standard error.
    pub log_format: LogFormat,
    /// The least important lines written.
    pub log_level: LogLevel,
    /// Whether metrics are collected.
    pub telemetry: bool,
    /// Who may do what.
    pub auth: AuthMode,
    /// Where old events go.
    pub archive: ArchiveAdapter,
    /// The nodes it works with.
    pub cluster: ClusterConfig,
}

/// How the log is made durable. Neither weakens durability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogSync {
    /// A write and a sync, linked.
    Link,
    /// A write through the device's cache; slow where that is not one command of the device.
    Dsync,
}

/// Form of the lines on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, else JSON.
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// The least important lines written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Something failed.
    Error,
    /// Something may fail soon.
    Warn,
    /// What an operator wants to have seen.
    Info,
    /// What explains a fault.
    Debug,
    /// Everything.
    Trace,
}

/// Who may do what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMode {
    /// Everyone who reaches the port, everything.
    None,
}

/// Where old events go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveAdapter {
    /// Nowhere: they stay on this node.
    None,
}

/// Why a configuration cannot be used, in one line for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem(String);

impl Problem {
    fn new(text: String) -> Problem {
        Problem(text)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Problem {}

impl ServeConfig {
    /// Reads and validates the settings; the second part lists what was set without effect, a line
    /// each. No line holds a value, since some are secrets.
    ///
    /// # Errors
    /// The first thing that cannot be used.
    pub fn read(environment: &Environment) -> Result<(ServeConfig, Vec<String>), Problem> {
        let reader = Reader(environment);
        for variable in VARIABLES {
            reader.check(variable)?;
        }
        let (auth, archive) = (reader.auth()?, reader.archive()?);
        let bind = reader.bind()?;
        let port = reader.bounded(&PORT, 1, u16::MAX)?.unwrap_or(PORT_DEFAULT);
        let groups = reader.bounded(&NUM_GROUPS, 1, GROUPS_MAX)?.unwrap_or(GROUPS_DEFAULT);
        let ops_port = reader.ops_port(port)?;
        let ports: Vec<u16> = [port].into_iter().chain(ops_port).collect();
        let config = ServeConfig {
            listen: SocketAddr::new(bind, port),
            ops_listen: ops_port.map(|port| SocketAddr::new(bind, port)),
            data_dir: reader.data_dir()?,
            groups,
            shards: reader.shards(groups)?,
            cores: reader.bounded(&CORES, 1, CORES_MAX)?,
            event_store_bytes: match reader.get(&EVENT_STORE_MAX_SIZE) {
                Some(value) => parse::size(&EVENT_STORE_MAX_SIZE, value)?,
                None => EVENT_STORE_BYTES_DEFAULT,
            },
            connections_max: reader
                .bounded(&MAX_CONNECTIONS, 1, u32::MAX)?
                .unwrap_or(CONNECTIONS_DEFAULT),
            shutdown_timeout_ms: reader
                .bounded(&SHUTDOWN_DRAIN_TIMEOUT_MS, 1, SHUTDOWN_TIMEOUT_MS_MAX)?
                .unwrap_or(SHUTDOWN_TIMEOUT_MS_DEFAULT),
            log_sync: reader.log_sync()?,
            log_format: reader.log_format()?,
            log_level: reader.log_level()?,
            telemetry: match reader.get(&ENABLE_TELEMETRY) {
                Some(value) => parse::boolean(&ENABLE_TELEMETRY, value)?,
                None => true,
            },
            auth,
            archive,
            cluster: reader.cluster(bind, &ports)?,
        };
        Ok((config, reader.warnings()))
    }
}

/// The environment, looked at through the table.
struct Reader<'a>(&'a Environment);

impl<'a> Reader<'a> {
    /// A variable's value. An empty text is none; an empty value of another kind is looked at, and
    /// then refused.
    fn get(&self, variable: &Variable) -> Option<&'a str> {
        let value = self.0.get(variable.name)?.as_str();
        if variable.kind == Kind::Text && value.trim().is_empty() { None } else { Some(value) }
    }

    fn bounded<T>(&self, variable: &Variable, min: T, max: T) -> Result<Option<T>, Problem>
    where
        T: TryFrom<u64> + Into<u64> + Copy,
    {
        self.get(variable).map(|value| parse::bounded(variable, value, min, max)).transpose()
    }

    /// Whether a value has the form its kind asks for, used or not. Archive and authentication are
    /// looked at where they are refused, with a text of their own.
    fn check(&self, variable: &Variable) -> Result<(), Problem> {
        let Some(value) = self.get(variable) else { return Ok(()) };
        match variable.kind {
            Kind::Integer => parse::integer(variable, value, 1).map(drop),
            Kind::IntegerOrZero => parse::integer(variable, value, 0).map(drop),
            Kind::Size => parse::size(variable, value).map(drop),
            Kind::Fraction => parse::fraction(variable, value).map(drop),
            Kind::Boolean => parse::boolean(variable, value).map(drop),
            Kind::Word(_) if value.trim().is_empty() && *variable == AUTH_MODE => Ok(()),
            Kind::Word(words) => parse::word(variable, value, words).map(drop),
            Kind::Text => Ok(()),
        }
    }

    fn word(&self, variable: &Variable, default: &'static str) -> Result<&'static str, Problem> {
        let Kind::Word(words) = variable.kind else { panic!("{} is a word", variable.name) };
        self.get(variable).map_or(Ok(default), |value| parse::word(variable, value, words))
    }

    fn auth(&self) -> Result<AuthMode, Problem> {
        let name = AUTH_MODE.name;
        let given = self.get(&AUTH_MODE).filter(|value| !value.trim().is_empty());
        let why = match given.map(|value| parse::word(&AUTH_MODE, value, &["none", "jwt"])) {
            Some(Ok("none")) => return Ok(AuthMode::None),
            Some(Err(problem)) => return Err(problem),
            Some(Ok(_)) => "is jwt",
            None => "is not set, which means jwt",
        };
        Err(Problem::new(format!(
            "{name} {why}, but this server cannot check tokens yet; set {name}=none to let everyone \
             who reaches its port do everything"
        )))
    }

    fn archive(&self) -> Result<ArchiveAdapter, Problem> {
        const NOWHERE: &str = "but this server has no archive yet and keeps every event itself";
        let adapter = self.word(&ARCHIVE_ADAPTER, "none")?;
        if adapter != "none" {
            let name = ARCHIVE_ADAPTER.name;
            return Err(Problem::new(format!("{name} is {adapter}, {NOWHERE}; set {name}=none")));
        }
        let enabled = self.get(&ARCHIVER_ENABLED);
        if enabled.map_or(Ok(false), |value| parse::boolean(&ARCHIVER_ENABLED, value))? {
            let name = ARCHIVER_ENABLED.name;
            return Err(Problem::new(format!("{name} asks for an archive, {NOWHERE}; unset it")));
        }
        Ok(ArchiveAdapter::None)
    }

    fn bind(&self) -> Result<IpAddr, Problem> {
        let value = self.get(&BIND).unwrap_or("0.0.0.0");
        value.trim().parse().map_err(|_| parse::invalid("address", &BIND, value))
    }

    fn ops_port(&self, port: u16) -> Result<Option<u16>, Problem> {
        for variable in [OPS_PORT, PPROF_PORT] {
            if let Some(ops_port) = self.bounded(&variable, 1, u16::MAX)? {
                if ops_port == port {
                    let text = format!("{} and {} are both {port}", variable.name, PORT.name);
                    return Err(Problem::new(text));
                }
                return Ok(Some(ops_port));
            }
        }
        Ok(None)
    }

    fn data_dir(&self) -> Result<PathBuf, Problem> {
        match (self.get(&DATA_DIR), self.get(&RAFT_DATA_DIR)) {
            (Some(ours), Some(older)) if ours != older => Err(Problem::new(format!(
                "{} is {ours:?}, but {} is {older:?}; set one of them",
                DATA_DIR.name, RAFT_DATA_DIR.name
            ))),
            (Some(path), _) | (None, Some(path)) => Ok(PathBuf::from(path)),
            (None, None) => Ok(PathBuf::from(DATA_DIR_DEFAULT)),
        }
    }

    fn shards(&self, groups: u32) -> Result<Option<u32>, Problem> {
        let shards = self.bounded(&SHARDS, 1, GROUPS_MAX)?;
        if let Some(shards) = shards.filter(|shards| groups < *shards) {
            let (ours, theirs) = (SHARDS.name, NUM_GROUPS.name);
            let text = format!("{ours} is {shards}, more than the {groups} groups of {theirs}");
            return Err(Problem::new(text));
        }
        Ok(shards)
    }

    fn log_sync(&self) -> Result<LogSync, Problem> {
        Ok(match self.word(&LOG_SYNC, "link")? {
            "dsync" => LogSync::Dsync,
            _ => LogSync::Link,
        })
    }

    fn log_format(&self) -> Result<LogFormat, Problem> {
        Ok(match self.word(&LOG_FORMAT, "auto")? {
            "json" => LogFormat::Json,
            "text" => LogFormat::Text,
            _ => LogFormat::Auto,
        })
    }

    fn log_level(&self) -> Result<LogLevel, Problem> {
        Ok(match self.word(&LOG_LEVEL, "info")? {
            "error" => LogLevel::Error,
            "warn" => LogLevel::Warn,
            "debug" => LogLevel::Debug,
            "trace" => LogLevel::Trace,
            _ => LogLevel::Info,
        })
    }

    /// What is set without effect, and what looks like ours but is not known: a typing mistake would
    /// otherwise stay unseen.
    fn warnings(&self) -> Vec<String> {
        let known = VARIABLES
            .iter()
            .filter(|variable| variable.standing == Standing::Inert)
            .filter(|variable| self.get(variable).is_some())
            .map(|variable| format!("{} has no effect: {}", variable.name, variable.meaning));
        let unknown = self
            .0
            .keys()
            .filter(|name| OWN_PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
            .filter(|name| VARIABLES.iter().all(|variable| variable.name != name.as_str()))
            .map(|name| format!("{name} has no effect: this server does not know it."));
        known.chain(unknown).collect()
    }
}

/// Names that are meant for this server, this one's or its predecessors'.
const OWN_PREFIXES: [&str; 2] = ["STARCITE_", "FASTPACA_"];
