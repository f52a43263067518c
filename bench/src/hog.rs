//! Busy threads that share the cores with whatever is measured: rankings of designs turn over when a
//! core is shared, so no figure without them is worth much.

use std::hint;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Busy threads; they end when this is dropped.
#[derive(Debug)]
pub(crate) struct Hogs {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Hogs {
    /// Starts `count` threads, each pinned to a CPU of its own from the highest down, as long as there
    /// are CPUs.
    pub(crate) fn start(count: usize) -> Hogs {
        let stop = Arc::new(AtomicBool::new(false));
        let cpus = cpus();
        let hog = |place: usize| {
            let stop = Arc::clone(&stop);
            let cpu = cpus.iter().rev().nth(place).copied();
            thread::spawn(move || spin(cpu, &stop))
        };
        Hogs { threads: (0..count).map(hog).collect(), stop }
    }
}

impl Drop for Hogs {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("a hog does nothing that could fail");
        }
    }
}

fn spin(cpu: Option<usize>, stop: &AtomicBool) {
    if let Some(cpu) = cpu {
        let mut set = CpuSet::new();
        set.set(cpu);
        // A hog that may not be pinned still takes a CPU's time.
        let _unpinned = sched_setaffinity(None, &set);
    }
    while !stop.load(Ordering::Relaxed) {
        hint::spin_loop();
    }
}

/// The CPUs this process may use, ascending; empty if that cannot be told.
pub(crate) fn cpus() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(None) else { return Vec::new() };
    (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect()
}

/// One way to run a round: its name, and how many hogs run beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Company {
    pub(crate) name: String,
    pub(crate) hogs: usize,
}

/// Quiet, and with hogs if they are asked for; 0 hogs mean one for each CPU.
pub(crate) fn companies(hogs: Option<usize>) -> Vec<Company> {
    let quiet = Company { name: "quiet".to_owned(), hogs: 0 };
    let Some(hogs) = hogs else { return vec![quiet] };
    let hogs = if hogs == 0 { cpus().len().max(1) } else { hogs };
    vec![quiet, Company { name: format!("hogs {hogs}"), hogs }]
}
