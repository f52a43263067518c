//! A directory for one run, on a device that really stores.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::leftovers;

/// What the kernel calls file systems in memory.
const MEMORY_FILE_SYSTEMS: [(u64, &str); 2] = [(0x0102_1994, "tmpfs"), (0x8584_58f6, "ramfs")];
/// Tells apart the directories of one process.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// A new directory; it goes, with all that is in it, when this is dropped.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Makes one in `parent`.
    ///
    /// # Errors
    /// If it cannot be made, or lies in memory: figures from there say nothing.
    pub(crate) fn new(parent: &Path) -> Result<Scratch, String> {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("starcite-bench-{}-{number}", process::id()));
        let path = std::path::absolute(path).map_err(|error| error.to_string())?;
        fs::create_dir_all(&path)
            .map_err(|error| format!("{} cannot be made: {error}", path.display()))?;
        leftovers::folder_made(path.clone());
        let scratch = Scratch(path);
        let kind = rustix::fs::statfs(scratch.path()).map_err(|error| error.to_string())?.f_type;
        let kind = u64::try_from(kind).unwrap_or_default();
        match MEMORY_FILE_SYSTEMS.iter().find(|(magic, _)| *magic == kind) {
            Some((_, name)) => Err(format!(
                "{} is on {name}, in memory; name another place with --dir",
                parent.display()
            )),
            None => Ok(scratch),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is no reason to lose the figures.
        let _left_behind = fs::remove_dir_all(&self.0);
        leftovers::folder_gone(&self.0);
    }
}
