//! The composition root: settings, data directory, shards, cores, doors.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use model::config::{self, AuthMode, Environment, LogSync, ServeConfig};
use model::error::Fatal;
use model::ids::ShardId;
use model::intent::Intent;
use model::limits::SEGMENT_BYTES;
use model::metric::Metric;
use net::{Exposition, Operator, OperatorConfig};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use shard::cluster::Cluster;
use shard::shard::{Options, Shard};
use uring::{Cores, DataDir, Keeper, Settings, SyncStrategy, Wanted, kept_intent, open};

use crate::cluster;
use crate::doctor::FILES_RESERVED;
use crate::failure::Failure;
use crate::output;
use crate::settings::ServeFlags;
use crate::signals::Guard;
use crate::{doors, logging, ops, ports};

/// The arguments of `dev`.
#[derive(Debug, Args)]
pub(crate) struct Dev {
    /// The port to serve at, on this machine's loopback.
    #[arg(long, default_value_t = 4000)]
    port: u16,
    /// Where the data is kept.
    #[arg(long, default_value = "starcite-data", value_name = "DIRECTORY")]
    data_dir: PathBuf,
    /// The least important lines written: error, warn, info, debug or trace.
    #[arg(long, default_value = "info")]
    log_level: String,
}

/// Runs a server until it is told to stop.
pub(crate) fn serve(flags: &ServeFlags) -> Result<(), Failure> {
    run(&flags.over_process()?, || Ok(()))
}

/// Runs a server to try things out.
pub(crate) fn dev(dev: &Dev) -> Result<(), Failure> {
    let data_dir = dev.data_dir.to_str();
    let data_dir = data_dir
        .ok_or_else(|| Failure::new(Fatal::Configuration, "the data directory is not UTF-8"))?;
    let port = dev.port.to_string();
    let environment: Environment = [
        (config::BIND, "127.0.0.1"),
        (config::PORT, port.as_str()),
        (config::DATA_DIR, data_dir),
        (config::AUTH_MODE, "none"),
        (config::LOG_FORMAT, "text"),
        (config::LOG_LEVEL, dev.log_level.as_str()),
    ]
    .map(|(variable, value)| (variable.name.to_owned(), value.to_owned()))
    .into();
    run(&environment, || welcome(dev.port))
}

/// What to try first.
fn welcome(port: u16) -> Result<(), Failure> {
    let url = format!("http://127.0.0.1:{port}/v1/sessions");
    output::line(&format!(
        "
Everyone on this machine may do everything. Try:

  curl -s -X POST {url} -H 'content-type: application/json' -d '{{\"id\":\"ses_demo\",\"title\":\"Draft\"}}'

  curl -s -X POST {url}/ses_demo/append -H 'content-type: application/json' \\
    -d '{{\"type\":\"content\",\"payload\":{{\"text\":\"hello\"}},\"actor\":\"agent:drafter\",\"producer_id\":\"writer-1\",\"producer_seq\":1}}'

  curl -s '{url}/ses_demo/events?cursor=0'

  starcite tail ses_demo --url http://127.0.0.1:{port}
"
    ))
}

fn run(
    environment: &Environment,
    when_up: impl FnOnce() -> Result<(), Failure>,
) -> Result<(), Failure> {
    let (config, warnings) = ServeConfig::read(environment)?;
    logging::start(config.log_format, config.log_level);
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    serve_configured(config, when_up).map_err(Failure::log)
}

fn serve_configured(
    mut config: ServeConfig,
    when_up: impl FnOnce() -> Result<(), Failure>,
) -> Result<(), Failure> {
    if config.auth == AuthMode::None && !config.listen.ip().is_loopback() {
        tracing::warn!(listen = %config.listen, "whoever reaches this address may do everything");
    }
    let timeout = Duration::from_millis(config.shutdown_timeout_ms);
    let guard = Guard::start(timeout)?;
    config.connections_max = connections_max(config.connections_max)?;
    let cores = config.cores.unwrap_or_else(cores_default);
    let wanted = Wanted { groups: config.groups, shards: config.shards, shards_default: cores };
    let mut data_dir = DataDir::open(&config.data_dir, &config.cluster.own, wanted)?;
    ports::await_free(config.listen)?;
    config.ops_listen.map_or(Ok(()), ports::await_free)?;
    config.cluster.peer_listen.map_or(Ok(()), ports::await_free)?;
    let membership = cluster::join(&mut data_dir, &config)?;
    // Before anything counts: what is counted earlier is lost.
    let exposition = if config.telemetry { Exposition::install() } else { Ok(Exposition::off()) };
    let exposition = exposition.map_err(Failure::failed)?;
    tell_constants(&config, cores);
    let intent = wanted_last(&data_dir);
    let cluster = membership.for_shards(&config, &intent);
    let shards = open_shards(&data_dir, cores, &config, &cluster)?;
    let settings = Settings {
        data_dir: data_dir.path().to_owned(),
        cores: Some(usize::try_from(cores).expect("a number of 32 bits")),
        placement: data_dir.manifest().placement,
        sync: match config.log_sync {
            LogSync::Link => SyncStrategy::Link,
            LogSync::Dsync => SyncStrategy::Dsync,
        },
        segment_bytes: SEGMENT_BYTES,
        cluster,
        intent,
    };
    let startup = membership.startup();
    let links = membership.links(&config);
    let operator = Operator::new(OperatorConfig {
        cluster: config.cluster.clone(),
        groups: config.groups,
        data_dir: config.data_dir.clone(),
        token: ops::leave_token(data_dir.path())?,
        startup,
        links: links.clone(),
        keeper: Some(Keeper::start(data_dir.path()).map_err(Failure::failed)?),
    });
    let (doors, opened) = doors::of(&config, cores, (exposition, operator), links);
    let node = Cores::start(&settings, shards, doors)?;
    guard.watch(node.stopper());
    if (0..cores).all(|_| opened.recv() == Ok(true)) {
        ops::leave_address(data_dir.path(), config.ops_listen.unwrap_or(config.listen))?;
        tell_up(&config, &settings, cores);
        when_up()?;
    }
    node.join()?;
    tracing::info!("stopped");
    drop(data_dir);
    Ok(())
}

fn tell_up(config: &ServeConfig, settings: &Settings, cores: u32) {
    tracing::info!(
        listen = %config.listen,
        ops_listen = config.ops_listen.map(tracing::field::display),
        peer_listen = config.cluster.peer_listen.map(tracing::field::display),
        data_dir = %config.data_dir.display(),
        groups = config.groups,
        shards = settings.placement.shards(),
        cores,
        event_store_bytes = config.event_store_bytes,
        connections_max = config.connections_max,
        version = env!("CARGO_PKG_VERSION"),
        "up"
    );
}

/// Metrics that do not change while the process runs.
fn tell_constants(config: &ServeConfig, cores: u32) {
    // Exact up to 2^53, which is more memory than there is.
    let bytes = config.event_store_bytes as f64;
    metrics::gauge!(Metric::EventStoreLimitBytes.name()).set(bytes);
    metrics::gauge!(Metric::Cores.name()).set(f64::from(cores));
    let version = env!("CARGO_PKG_VERSION");
    metrics::gauge!(Metric::BuildInfo.name(), "version" => version).set(1.0);
}

/// The cores this process may run on, a container's quota counted, but for one: the kernel's writers
/// and the disk's interrupts need a place too, and a sync that waits for one delays everybody.
fn cores_default() -> u32 {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    u32::try_from(cores).expect("no machine has that many").saturating_sub(1).max(1)
}

/// Raises the limit on open files as far as it goes, and keeps connections below it.
fn connections_max(wanted: u32) -> Result<u32, Failure> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let files = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let room = files.map_or(u64::MAX, |files| files.saturating_sub(FILES_RESERVED));
    let fits =
        u32::try_from(room.min(u64::from(wanted))).expect("no more than a number of 32 bits");
    if fits == 0 {
        let files = files.unwrap_or(0);
        let text = format!("the limit of {files} open files leaves no room for connections");
        return Err(Failure::new(Fatal::Machine, text));
    }
    if fits < wanted {
        tracing::info!(wanted, connections_max = fits, "the limit on open files allows no more");
    }
    Ok(fits)
}

/// What operators wanted when the node ran last, as far as it was kept: others tell the rest.
fn wanted_last(data_dir: &DataDir) -> Intent {
    kept_intent(data_dir.path()).unwrap_or_else(|why| {
        tracing::warn!("{why}; other nodes tell what operators want");
        Intent::default()
    })
}

/// Reads all shards back, as many at once as there are cores: each holds a segment in memory.
fn open_shards(
    data_dir: &DataDir,
    cores: u32,
    config: &ServeConfig,
    cluster: &Cluster,
) -> Result<Vec<(ShardId, Shard)>, Failure> {
    let manifest = data_dir.manifest();
    let shards = manifest.placement.shards();
    let life = DataDir::draw_life()
        .map_err(|error| Failure::new(Fatal::Failed, format!("no random numbers: {error}")))?;
    let hot_bytes_max = config.event_store_bytes / u64::from(shards);
    let options = |shard: ShardId| {
        let names = (manifest.identity(shard).log_id, life);
        Options::new(manifest.placement, shard, names, hot_bytes_max, cluster.clone())
    };
    let all: Vec<ShardId> = (0..shards).map(ShardId).collect();
    let mut opened = Vec::with_capacity(all.len());
    for some in all.chunks(usize::try_from(cores).expect("a number of 32 bits")) {
        thread::scope(|scope| {
            let start = |shard: &ShardId| {
                let options = options(*shard);
                (*shard, scope.spawn(move || open_shard(data_dir, options)))
            };
            let openings: Vec<_> = some.iter().map(start).collect();
            for (shard, opening) in openings {
                let shard_opened = opening.join().expect("a panic would have ended the process");
                opened.push((shard, shard_opened?));
            }
            Ok::<(), Failure>(())
        })?;
    }
    Ok(opened)
}

fn open_shard(data_dir: &DataDir, options: Options) -> Result<Shard, Failure> {
    let (start, number) = (Instant::now(), options.shard.0);
    let opened = open::open(data_dir.path(), options, false);
    let (shard, found) = opened.map_err(|error| Failure::new(error.fatal, error.text))?;
    tracing::info!(
        shard = number,
        segments = found.segments,
        records = found.records,
        milliseconds = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
        "log read"
    );
    if let Some((segment, byte)) = found.cut {
        tracing::warn!(
            shard = number,
            segment,
            byte,
            "the log ended in the middle of a batch that was never acknowledged; it is cut there"
        );
    }
    Ok(shard)
}
