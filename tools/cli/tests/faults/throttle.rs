//! A slow disk or little of a CPU for one process, where the kernel has the groups of version 1.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{major, minor};

/// Microseconds of the period in which a process has its share of a CPU: the kernel's usual one.
const PERIOD_MICROS: u32 = 100_000;

/// A limit on what one process may write or compute. It ends with its handle.
#[derive(Debug)]
pub(crate) struct Throttle {
    parent: PathBuf,
    group: PathBuf,
}

impl Throttle {
    /// Lets a process make no more than so many writes a second to the disk that holds `data`.
    ///
    /// # Errors
    /// What the machine forbids, or does not have.
    pub(crate) fn disk(pid: u32, data: &Path, writes: u32) -> io::Result<Throttle> {
        let limit = format!("{} {writes}", disk(data)?);
        Throttle::new("blkio", pid, &[("blkio.throttle.write_iops_device", limit)])
    }

    /// Lets a process have no more than so much of one CPU.
    ///
    /// # Errors
    /// What the machine forbids, or does not have.
    pub(crate) fn cpu(pid: u32, percent: u32) -> io::Result<Throttle> {
        let quota = PERIOD_MICROS * percent / 100;
        let period = ("cpu.cfs_period_us", PERIOD_MICROS.to_string());
        Throttle::new("cpu", pid, &[period, ("cpu.cfs_quota_us", quota.to_string())])
    }

    fn new(controller: &str, pid: u32, limits: &[(&str, String)]) -> io::Result<Throttle> {
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let is_it = |names: &str| names.split(',').any(|name| name == controller);
        let path = own.lines().find_map(|line| {
            let (names, path) = line.split_once(':')?.1.split_once(':')?;
            is_it(names).then_some(path)
        });
        let missing = || io::Error::other(format!("there is no group `{controller}` of version 1"));
        let path = path.ok_or_else(missing)?;
        let parent =
            Path::new("/sys/fs/cgroup").join(controller).join(path.trim_start_matches('/'));
        let group = parent.join(format!("starcite-{}-{pid}", std::process::id()));
        fs::create_dir(&group)?;
        let throttle = Throttle { parent, group };
        for (file, limit) in limits {
            fs::write(throttle.group.join(file), limit)?;
        }
        fs::write(throttle.group.join("cgroup.procs"), pid.to_string())?;
        Ok(throttle)
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        let members = fs::read_to_string(self.group.join("cgroup.procs")).unwrap_or_default();
        for pid in members.lines() {
            let _ = fs::write(self.parent.join("cgroup.procs"), pid);
        }
        // One that has just died stays for a moment.
        for _ in 0..100 {
            if fs::remove_dir(&self.group).is_ok() {
                return;
            }
            crate::ground::rest(10);
        }
    }
}

/// The number of the whole disk a file lies on.
fn disk(path: &Path) -> io::Result<String> {
    let device = fs::metadata(path)?.dev();
    let number = format!("{}:{}", major(device), minor(device));
    let entry = fs::canonicalize(format!("/sys/dev/block/{number}"))?;
    if !entry.join("partition").exists() {
        return Ok(number);
    }
    let whole = entry.parent().ok_or_else(|| io::Error::other("a partition of nothing"))?;
    Ok(fs::read_to_string(whole.join("dev"))?.trim().to_owned())
}
