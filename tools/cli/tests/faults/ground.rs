//! What the machine must allow, how large the drills are, and how long anybody waits.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a start, a stop or an answer may take before it counts as a hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// One drill at a time: each keeps both cores busy.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says what the machine forbids, past whatever keeps the output of tests back.
pub(crate) fn skipped(what: &str, why: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "skipped: {what}: {why}");
}

/// A size of a drill: that of the variable, else the one that every change pays for.
pub(crate) fn size(variable: &str, usual: u64) -> u64 {
    let given = std::env::var(variable).ok();
    given.map_or(usual, |text| text.parse().expect("the size of a drill is a number"))
}

/// Waits for something that must come.
///
/// # Panics
/// If it does not come in time.
#[track_caller]
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "{what}: not in time");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Lets the load do its work.
pub(crate) fn rest(milliseconds: u64) {
    thread::sleep(Duration::from_millis(milliseconds));
}
