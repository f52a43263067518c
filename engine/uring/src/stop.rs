//! What all cores of a node share: whether the server is stopping, and which shards can commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use model::ids::ShardId;

/// Whether the server takes requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// Every group hosted here can commit.
    Ready,
    /// Some groups cannot commit yet.
    Starting {
        /// How many.
        groups_not_ready: u64,
    },
    /// A stop was asked for.
    Draining,
}

/// Asks all cores to stop. Cheap to clone; usable from any thread, a signal handler's included.
#[derive(Debug, Clone)]
pub struct Stopper(Arc<Shared>);

/// The facts behind [`Stopper`] and [`Readiness`]. Cores look at them on their heartbeat, so nothing
/// here wakes anyone.
#[derive(Debug)]
struct Shared {
    stopping: AtomicBool,
    /// Cores whose doors may still bring requests.
    open_doors: AtomicUsize,
    /// Per shard, groups that cannot commit yet.
    groups_not_ready: Vec<AtomicU64>,
}

impl Stopper {
    /// For a node of so many cores and shards; a shard counts as one group that is not ready until
    /// it has said otherwise.
    pub(crate) fn new(cores: usize, shards: usize) -> Stopper {
        Stopper(Arc::new(Shared {
            stopping: AtomicBool::new(false),
            open_doors: AtomicUsize::new(cores),
            groups_not_ready: (0..shards).map(|_| AtomicU64::new(1)).collect(),
        }))
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
        if self.stopping() {
            return Readiness::Draining;
        }
        let not_ready = self.0.groups_not_ready.iter().map(|g| g.load(Ordering::Relaxed)).sum();
        match not_ready {
            0 => Readiness::Ready,
            groups_not_ready => Readiness::Starting { groups_not_ready },
        }
    }

    /// Says how many groups of a shard cannot commit yet.
    pub(crate) fn report(&self, shard: ShardId, groups_not_ready: u64) {
        self.0.groups_not_ready[shard.0 as usize].store(groups_not_ready, Ordering::Relaxed);
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
