//! Tests with real files, rings and executors.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

mod answers;
mod data_dir;
mod files;
mod forward;
mod log;
mod manifest;
mod node;
mod peers;
mod pieces;
mod seek;
mod sockets;
mod standing;

/// A directory that is gone when the test is.
struct TempDir(PathBuf);

impl TempDir {
    fn new() -> TempDir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("starcite-uring-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        TempDir(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
