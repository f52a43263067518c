//! What the kernel and its limits allow.

use std::fs;
use std::thread::available_parallelism;

use model::limits::CONNECTIONS_DEFAULT;
use rustix::process::{Resource, getrlimit};
use uring::{Ring, SyncStrategy};

use super::Finding;

/// The oldest kernel the executors run on.
const KERNEL_MIN: (u32, u32) = (5, 11);
/// Locked memory without which an executor does not start, and with which it does best, in bytes.
const MEMLOCK_MIN: u64 = 512 * 1024;
const MEMLOCK_BEST: u64 = 30 * 1024 * 1024;
/// Files open beside connections: segments, chunks, rings, sockets.
pub(crate) const FILES_RESERVED: u64 = 512;

/// Everything about the machine.
pub(super) fn findings() -> Vec<Finding> {
    let cores = available_parallelism().map_or(1, |cores| cores.get() as u64);
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ring = Ring::new(SyncStrategy::Link).map(drop).map_err(|error| error.to_string());
    let disabled = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    vec![
        kernel(fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim()),
        io_uring(ring, disabled.trim(), filtered(&status)),
        locked_memory(getrlimit(Resource::Memlock).maximum, cores),
        open_files(getrlimit(Resource::Nofile).maximum),
        Finding::good("cores", format!("{cores} to run on")),
    ]
}

/// Whether a line of `/proc/self/status` says that system calls are filtered.
pub(crate) fn filtered(status: &str) -> bool {
    status.lines().any(|line| line.strip_prefix("Seccomp:").is_some_and(|mode| mode.trim() == "2"))
}

pub(crate) fn kernel(release: &str) -> Finding {
    let mut parts = release.split(['.', '-']).map(str::parse::<u32>);
    let version = match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor),
        _ => {
            let mend = "see that /proc is mounted";
            return Finding::poor("kernel", format!("unknown version {release:?}"), mend);
        }
    };
    if version < KERNEL_MIN {
        let (major, minor) = KERNEL_MIN;
        return Finding::bad("kernel", release, format!("use Linux {major}.{minor} or newer"));
    }
    Finding::good("kernel", release)
}

pub(crate) fn io_uring(ring: Result<(), String>, disabled: &str, seccomp: bool) -> Finding {
    let Err(why) = ring else { return Finding::good("io_uring", "a ring can be made") };
    let mend = match disabled {
        "1" | "2" => "sysctl -w kernel.io_uring_disabled=0".to_owned(),
        _ if seccomp => "let the container's seccomp profile allow io_uring_setup, io_uring_enter \
                         and io_uring_register"
            .to_owned(),
        _ => {
            "use a kernel with io_uring, and look for a security module that forbids it".to_owned()
        }
    };
    Finding::bad("io_uring", format!("refused: {why}"), mend)
}

/// The executors look at the limit alone, whatever the user may do; they raise it as far as it goes.
pub(crate) fn locked_memory(hard: Option<u64>, cores: u64) -> Finding {
    const WHAT: &str = "locked memory";
    const MEND: &str = "LimitMEMLOCK=infinity in the unit, or ulimit -l unlimited";
    let best = MEMLOCK_BEST * cores;
    match hard {
        None => Finding::good(WHAT, "no limit"),
        Some(hard) if hard < MEMLOCK_MIN => {
            Finding::bad(WHAT, format!("{hard} bytes at most, {MEMLOCK_MIN} are needed"), MEND)
        }
        Some(hard) if hard < best => {
            let found = format!("{hard} bytes at most; {cores} cores do best with {best}");
            Finding::poor(WHAT, found, MEND)
        }
        Some(hard) => Finding::good(WHAT, format!("{hard} bytes at most")),
    }
}

pub(crate) fn open_files(hard: Option<u64>) -> Finding {
    const WHAT: &str = "open files";
    const MEND: &str = "LimitNOFILE=1048576 in the unit, or ulimit -Hn 1048576";
    let wanted = u64::from(CONNECTIONS_DEFAULT) + FILES_RESERVED;
    match hard {
        Some(hard) if hard <= FILES_RESERVED => {
            Finding::bad(WHAT, format!("{hard} at most leave no room for connections"), MEND)
        }
        Some(hard) if hard < wanted => {
            let connections = hard - FILES_RESERVED;
            let found = format!("{hard} at most: room for {connections} connections");
            Finding::poor(WHAT, found, MEND)
        }
        Some(hard) => Finding::good(WHAT, format!("{hard} at most")),
        None => Finding::good(WHAT, "no limit"),
    }
}
