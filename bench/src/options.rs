//! The words of the command line.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Measures a Starcite server, its log and its disk.
#[derive(Debug, Parser)]
#[command(name = "starcite-bench", version)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) scenario: Option<Scenario>,
}

/// What every scenario has.
#[derive(Debug, Clone, Args)]
pub(crate) struct Common {
    /// Run every scenario for a moment, to see that it works; the figures say nothing.
    #[arg(long, global = true)]
    pub(crate) smoke: bool,
    /// Rounds; least, median and greatest of each figure are shown.
    #[arg(long, global = true, default_value = "5")]
    pub(crate) runs: NonZeroU32,
    /// Repeat each round beside this many busy threads; one for each CPU if no number is given.
    #[arg(long, global = true, num_args = 0..=1, default_missing_value = "0", value_name = "N")]
    pub(crate) hog: Option<usize>,
    /// Print JSON, and the table on standard error.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// A directory on the device to measure; files of a run are made in it and removed.
    #[arg(long, global = true, default_value = ".", value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// The server's program; by default the one beside this program.
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) server: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Scenario {
    /// Time from an append to its acknowledgement, and appends a second.
    Append(Append),
    /// Time from an append to its delivery on a tail, and the speed of a replay.
    Tail(Tail),
    /// The device alone: one block written and synced at a time.
    Disk(Disk),
    /// The log alone, beside raft-engine.
    Log(Log),
    /// Time from start to readiness after a kill, and memory for each idle session.
    Restart(Restart),
}

/// Which server.
#[derive(Debug, Clone, Args)]
pub(crate) struct Where {
    /// A running server, as http://host:port or host:port; by default one is started.
    #[arg(long, visible_alias = "addr", value_name = "URL")]
    pub(crate) url: Option<String>,
    /// A bearer token for it.
    #[arg(long, requires = "url")]
    pub(crate) token: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Append {
    #[command(flatten)]
    pub(crate) place: Where,
    /// Connections, each with at most one request under way.
    #[arg(long, default_value = "64")]
    pub(crate) clients: NonZeroU32,
    /// Sessions appended to; as many as clients if not given.
    #[arg(long)]
    pub(crate) sessions: Option<NonZeroU32>,
    /// Appends a second by all clients together, at times fixed beforehand.
    #[arg(long, required_unless_present = "closed", conflicts_with = "closed")]
    pub(crate) rate: Option<NonZeroU32>,
    /// Every client sends its next append after the reply to the last one.
    #[arg(long)]
    pub(crate) closed: bool,
    /// Seconds measured in each round.
    #[arg(long, default_value_t = 10.0)]
    pub(crate) seconds: f64,
    /// Seconds before those.
    #[arg(long, default_value_t = 2.0)]
    pub(crate) warmup: f64,
    /// Bytes of the payload's JSON; the request's body has about 110 more.
    #[arg(long, default_value_t = 256)]
    pub(crate) bytes: usize,
    /// Threads of the load generator.
    #[arg(long, default_value = "1")]
    pub(crate) threads: NonZeroU32,
    /// Probe the device before and after each round, in the same place and company.
    #[arg(long)]
    pub(crate) against_disk: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Tail {
    #[command(flatten)]
    pub(crate) place: Where,
    /// Followers of the session.
    #[arg(long, default_value = "1")]
    pub(crate) tails: NonZeroU32,
    /// Appends a second to the session.
    #[arg(long, default_value = "100")]
    pub(crate) rate: NonZeroU32,
    /// Seconds measured in each round.
    #[arg(long, default_value_t = 10.0)]
    pub(crate) seconds: f64,
    /// Seconds before those.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) warmup: f64,
    /// Bytes of the payload's JSON, at least 49.
    #[arg(long, default_value_t = 256)]
    pub(crate) bytes: usize,
    /// Events of the session that is replayed; 0 for no replay.
    #[arg(long, default_value_t = 100_000)]
    pub(crate) replay: u32,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Disk {
    /// Seconds of each round.
    #[arg(long, default_value_t = 2.0)]
    pub(crate) seconds: f64,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Log {
    /// Numbers of writers.
    #[arg(long, value_delimiter = ',', default_value = "1,8,64,512")]
    pub(crate) writers: Vec<NonZeroU32>,
    /// Seconds of each round.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) seconds: f64,
    /// Bytes of a record's payload.
    #[arg(long, default_value_t = 256)]
    pub(crate) bytes: usize,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Restart {
    /// Sessions made before.
    #[arg(long, default_value = "1000000")]
    pub(crate) sessions: NonZeroU32,
    /// Events appended to them before.
    #[arg(long, default_value_t = 0)]
    pub(crate) events: u32,
    /// Bytes of the payload's JSON.
    #[arg(long, default_value_t = 256)]
    pub(crate) bytes: usize,
}
