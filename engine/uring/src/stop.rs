//! What all cores of a node share: whether the server is stopping, and how it is doing until then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::standing::{Readiness, Standing};

/// Asks all cores to stop. Cheap to clone; usable from any thread, a signal handler's included.
#[derive(Debug, Clone)]
pub struct Stopper(Arc<Shared>);

/// The facts behind [`Stopper`]. Cores look at them on their heartbeat, so nothing here wakes anyone.
#[derive(Debug)]
struct Shared {
    stopping: AtomicBool,
    /// Cores whose doors may still bring requests.
    open_doors: AtomicUsize,
    standing: Standing,
}

impl Stopper {
    /// For a node of so many cores.
    pub(crate) fn new(cores: usize, standing: Standing) -> Stopper {
        Stopper(Arc::new(Shared {
            stopping: AtomicBool::new(false),
            open_doors: AtomicUsize::new(cores),
            standing,
        }))
    }

    /// What the node knows of itself and of others.
    pub fn standing(&self) -> &Standing {
        &self.0.standing
    }

    /// Says that a stop is near: leaderships go to other nodes, and the server counts as not ready.
    /// Returns whether there is anybody to hand them to. Takes effect within a heartbeat.
    pub fn leave(&self) -> bool {
        self.0.standing.leave();
        !self.0.standing.is_alone()
    }

    /// Asks all cores to stop: doors close, requests under way are answered, then the cores end.
    /// Takes effect within a heartbeat; asking again changes nothing.
    pub fn begin(&self) {
        self.0.stopping.store(true, Ordering::Release);
    }

    /// Whether a stop was asked for.
    pub fn stopping(&self) -> bool {
        self.0.stopping.load(Ordering::Acquire)
    }

    /// Whether the server takes requests.
    pub fn readiness(&self) -> Readiness {
        if self.stopping() { Readiness::Draining } else { self.0.standing.readiness() }
    }

    /// Says that a core's doors are closed for good. Once per core.
    pub(crate) fn door_closed(&self) {
        let before = self.0.open_doors.fetch_sub(1, Ordering::AcqRel);
        assert!(0 < before, "a core closes its doors once");
    }

    /// Whether no core can bring another request.
    pub(crate) fn doors_closed(&self) -> bool {
        self.0.open_doors.load(Ordering::Acquire) == 0
    }
}
