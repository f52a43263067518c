//! The ends of the process that are not a clean stop.

use std::sync::atomic::{AtomicBool, Ordering};

use model::error::Fatal;

/// Set before the process ends, so that no core answers anyone while the last line is written.
static ENDING: AtomicBool = AtomicBool::new(false);

/// Logs one line and ends the process with the status of `end`. From any thread. Drivers that still
/// run on other cores hold their replies back from now on.
pub fn fatal(end: Fatal, message: &str) -> ! {
    ENDING.store(true, Ordering::SeqCst);
    tracing::error!(status = end.status(), cause = ?end, "{message}");
    exit(end)
}

#[expect(clippy::exit, reason = "after a failed write nothing may go on, destructors included")]
fn exit(end: Fatal) -> ! {
    std::process::exit(i32::from(end.status()))
}

/// Whether the process is about to end: no reply may leave it any more.
pub(crate) fn ending() -> bool {
    ENDING.load(Ordering::Relaxed)
}
