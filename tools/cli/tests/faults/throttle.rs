//! A slow disk for one process, where the kernel has the old group of block devices.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{major, minor};

/// A limit on what one process may write. It ends with its handle.
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
    pub(crate) fn new(pid: u32, data: &Path, writes: u32) -> io::Result<Throttle> {
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let path = own.lines().find_map(|line| line.split_once(":blkio:")).map(|(_, path)| path);
        let path = path.ok_or_else(|| io::Error::other("there is no group of block devices"))?;
        let parent = Path::new("/sys/fs/cgroup/blkio").join(path.trim_start_matches('/'));
        let group = parent.join(format!("starcite-{}-{pid}", std::process::id()));
        let limit = format!("{} {writes}", disk(data)?);
        fs::create_dir(&group)?;
        let throttle = Throttle { parent, group };
        fs::write(throttle.group.join("blkio.throttle.write_iops_device"), limit)?;
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
