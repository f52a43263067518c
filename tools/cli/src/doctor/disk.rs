//! What the data directory's file system and device can do.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use model::limits::{BLOCK_BYTES, SEGMENT_BYTES, SEGMENTS_MAX};
use rustix::fs::{major, minor, statfs, statvfs};
use shard::aligned::AlignedBuffer;
use uring::{Ring, SyncStrategy, data_dir, direct};

use super::Finding;
use crate::failure::Failure;

/// Bytes of the file that is written to; each write goes to a block of its own.
const PROBE_BYTES: u64 = 16 * 1024 * 1024;
/// Writes not counted, and counted at most.
const WARM_UP: usize = 50;
const WRITES_MAX: usize = 2_000;
/// Longest time spent on writing.
const WRITE_TIME: Duration = Duration::from_secs(3);
/// Half of all syncs slower than this make every append slow.
const SYNC_SLOW: Duration = Duration::from_millis(5);

/// Everything about the data directory, as it is found.
///
/// # Errors
/// Those of `show`.
pub(super) fn findings(
    data_dir: &Path,
    show: &mut impl FnMut(Finding) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let (place, finding) = place(data_dir);
    show(finding)?;
    let Some(place) = place else { return Ok(()) };
    show(file_system(&place))?;
    show(space(&place, data_dir))?;
    show(device(&place))?;
    match probe(&place) {
        Ok(latencies) => show(latency(&latencies)),
        Err(why) => {
            let mend = "use a local file system that allows direct IO, such as ext4 or xfs, and let \
                        the server's user write there";
            show(Finding::bad("direct IO", why, mend))
        }
    }
}

/// The data directory, or the nearest one above that is there.
fn place(data_dir: &Path) -> (Option<PathBuf>, Finding) {
    const WHAT: &str = "data directory";
    let shown = data_dir.display();
    match data_dir::read_manifest(data_dir) {
        Ok(Some(manifest)) => {
            let (groups, shards) = (manifest.placement.groups(), manifest.placement.shards());
            let found = format!("{shown} with {groups} groups and {shards} shards");
            return (Some(data_dir.to_owned()), Finding::good(WHAT, found));
        }
        Ok(None) => {}
        Err(error) => {
            let mend = "restore the manifest, or name another directory";
            return (None, Finding::bad(WHAT, error.to_string(), mend));
        }
    }
    let whole = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.to_owned());
    let above = whole.ancestors().find(|dir| dir.is_dir()).map(Path::to_owned);
    let found = match &above {
        Some(above) if *above != whole => {
            format!("{shown} is not there yet; looking at {}", above.display())
        }
        Some(_) | None => format!("{shown} is not in use yet"),
    };
    (above, Finding::good(WHAT, found))
}

fn file_system(place: &Path) -> Finding {
    const WHAT: &str = "file system";
    match statfs(place) {
        Ok(stat) => file_system_type(u64::try_from(stat.f_type).unwrap_or(0)),
        Err(error) => Finding::poor(WHAT, format!("unknown: {error}"), "name a local directory"),
    }
}

/// Judges the type number of a file system.
pub(crate) fn file_system_type(number: u64) -> Finding {
    const WHAT: &str = "file system";
    let local = "use ext4 or xfs on a local disk";
    match number {
        0xef53 => Finding::good(WHAT, "ext4"),
        0x5846_5342 => Finding::good(WHAT, "xfs"),
        0xf2f5_2010 => Finding::good(WHAT, "f2fs"),
        0x9123_683e => Finding::poor(WHAT, "btrfs writes every block to a new place", local),
        0x2fc1_2fc1 => Finding::poor(WHAT, "zfs writes every block to a new place", local),
        0x0102_1994 => Finding::poor(WHAT, "tmpfs forgets everything at a reboot", local),
        0x794c_7630 => {
            Finding::poor(WHAT, "overlay, a container's own layer", "mount a volume there")
        }
        0x6969 => Finding::poor(WHAT, "nfs: another machine decides what durable means", local),
        other => Finding::poor(WHAT, format!("type {other:#x}, not tried"), local),
    }
}

fn space(place: &Path, data_dir: &Path) -> Finding {
    const WHAT: &str = "free space";
    let free = match statvfs(place) {
        Ok(stat) => stat.f_bavail.saturating_mul(stat.f_frsize),
        Err(error) => {
            return Finding::poor(WHAT, format!("unknown: {error}"), "name a local directory");
        }
    };
    let shards = match data_dir::read_manifest(data_dir) {
        Ok(Some(_)) => return space_left(free, 0),
        _ => std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64),
    };
    space_left(free, shards)
}

/// Judges free bytes for the logs of so many new shards; none are new in a directory that is in use.
pub(crate) fn space_left(free: u64, shards: u64) -> Finding {
    const WHAT: &str = "free space";
    let gib = |bytes: u64| format!("{}.{:01} GiB", bytes >> 30, ((bytes % (1 << 30)) * 10) >> 30);
    let needed = 2 * SEGMENT_BYTES * shards.max(1);
    let full = SEGMENT_BYTES * SEGMENTS_MAX as u64 * shards;
    let mend = "free some, or use a larger disk";
    if free < needed {
        return Finding::bad(WHAT, format!("{}; {} are needed", gib(free), gib(needed)), mend);
    }
    if free < full {
        let found = format!("{}; the logs of {shards} shards may take {}", gib(free), gib(full));
        return Finding::poor(WHAT, found, mend);
    }
    Finding::good(WHAT, gib(free))
}

fn device(place: &Path) -> Finding {
    const WHAT: &str = "device";
    let queue = |name: &str| -> Option<String> {
        let device = fs::metadata(place).ok()?.dev();
        let base = format!("/sys/dev/block/{}:{}", major(device), minor(device));
        // A partition has its queue one level up.
        let own = fs::read_to_string(format!("{base}/queue/{name}"));
        let text = own.or_else(|_| fs::read_to_string(format!("{base}/../queue/{name}"))).ok()?;
        Some(text.trim().to_owned())
    };
    let (Some(cache), Some(fua)) = (queue("write_cache"), queue("fua")) else {
        return Finding::good(WHAT, "the kernel does not describe it");
    };
    let spins = queue("rotational").as_deref() == Some("1");
    let fua = if fua == "1" { "forced unit access" } else { "no forced unit access" };
    let found = format!("{cache} cache, {fua}");
    // Virtual disks say so, too; the latency below tells the truth.
    let spins = if spins { ", said to spin" } else { "" };
    Finding::good(WHAT, format!("{found}{spins}"))
}

/// Writes blocks the way the log does, and returns how long each took to be durable.
fn probe(place: &Path) -> Result<Vec<Duration>, String> {
    let path = place.join(format!("doctor-{}.tmp", std::process::id()));
    let refused = |step: &str, why: &dyn std::fmt::Display| {
        format!("cannot {step} {}: {why}", path.display())
    };
    let file = direct::create(&path).map_err(|error| refused("open for direct IO", &error))?;
    // Without a name it is gone however this ends.
    fs::remove_file(&path).map_err(|error| refused("remove", &error))?;
    direct::fill_with_zeros(&file, PROBE_BYTES).map_err(|error| refused("fill", &error))?;
    file.sync_all().map_err(|error| refused("sync", &error))?;
    let file = Rc::new(file);
    let mut ring =
        Ring::new(SyncStrategy::Link).map_err(|error| refused("make a ring for", &error))?;
    let mut buffer = AlignedBuffer::zeroed(BLOCK_BYTES);
    let mut latencies = Vec::new();
    let start = Instant::now();
    for count in 0..WARM_UP + WRITES_MAX {
        buffer.as_mut_slice().fill(0x5a);
        let offset = (count * BLOCK_BYTES) as u64 % PROBE_BYTES;
        let before = Instant::now();
        ring.submit(Rc::clone(&file), offset, buffer)
            .map_err(|error| refused("write to", &error))?;
        buffer = ring.wait().map_err(|error| refused("write to", &error))?;
        if WARM_UP <= count {
            latencies.push(before.elapsed());
        }
        if WRITE_TIME < start.elapsed() && !latencies.is_empty() {
            break;
        }
    }
    latencies.sort_unstable();
    Ok(latencies)
}

/// Judges how long writes took to be durable, ascending.
pub(crate) fn latency(latencies: &[Duration]) -> Finding {
    const WHAT: &str = "commit latency";
    let at = |part: usize| latencies[(latencies.len() * part / 100).min(latencies.len() - 1)];
    let (half, most) = (at(50), at(99));
    let found = format!(
        "p50 {} us, p99 {} us over {} writes of {BLOCK_BYTES} bytes, each written and synced",
        half.as_micros(),
        most.as_micros(),
        latencies.len()
    );
    if SYNC_SLOW < half {
        let mend = "use a faster device; one with a protected cache answers a sync in microseconds";
        return Finding::poor(WHAT, found, mend);
    }
    Finding::good(WHAT, found)
}
