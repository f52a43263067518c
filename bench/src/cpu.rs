//! CPU time as the kernel tells it: of a process, and of everybody else.

use std::fs;
use std::time::{Duration, Instant};

/// What the kernel counts CPU time in, on every Linux of today: hundredths of a second.
const TICK_MILLIS: u64 = 10;

/// Tells what other programs took of the CPUs while something was measured.
#[derive(Debug)]
pub(crate) struct Meter {
    start: Instant,
    before: Option<Taken>,
}

/// CPU time since boot, or since the process began.
#[derive(Debug, Clone, Copy)]
struct Taken {
    /// By everybody, the kernel included.
    all: Duration,
    /// By this process, its threads, and its children that have ended.
    own: Duration,
}

impl Meter {
    /// Counts from now on.
    pub(crate) fn start() -> Meter {
        Meter { start: Instant::now(), before: Taken::now() }
    }

    /// CPUs that others kept busy on average since the start; `None` if the kernel does not tell.
    /// Right once this process's children have ended.
    pub(crate) fn others(&self) -> Option<f64> {
        let (before, now) = (self.before?, Taken::now()?);
        let all = now.all.saturating_sub(before.all);
        let own = now.own.saturating_sub(before.own);
        let others = all.saturating_sub(own).as_secs_f64();
        Some(others / self.start.elapsed().as_secs_f64())
    }
}

impl Taken {
    fn now() -> Option<Taken> {
        let all = fs::read_to_string("/proc/stat").ok()?;
        let own = fs::read_to_string("/proc/self/stat").ok()?;
        Some(Taken { all: of_all(&all)?, own: of_process(&own, 4)? })
    }
}

/// Time that was not idle, of `/proc/stat`: user, nice, system, interrupts. What a host takes away is
/// nobody's here.
pub(crate) fn of_all(stat: &str) -> Option<Duration> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> =
        fields.split_ascii_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    let busy = ticks.get(..3)?.iter().chain(ticks.get(5..7)?).sum();
    Some(time(busy))
}

/// The first `fields` of user and system time of `/proc/<pid>/stat`: its own, then those of its
/// children. The name before them may hold spaces and parentheses.
pub(crate) fn of_process(stat: &str, fields: usize) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(')')?;
    let ticks: Vec<u64> = rest
        .split_ascii_whitespace()
        .skip(11)
        .take(fields)
        .map(str::parse)
        .collect::<Result<_, _>>()
        .ok()?;
    (ticks.len() == fields).then(|| time(ticks.iter().sum()))
}

fn time(ticks: u64) -> Duration {
    Duration::from_millis(ticks.saturating_mul(TICK_MILLIS))
}
