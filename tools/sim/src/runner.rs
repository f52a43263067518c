//! Runs seeds, several at a time: each world lives in one thread and knows nothing of the others.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use crate::command::Plan;
use crate::count::Counters;
use crate::options::Options;
use crate::queue::SECOND;
use crate::run::Report;
use crate::say;

/// What became of one seed.
struct Outcome {
    seed: u64,
    /// The report; or what an assertion said.
    result: Result<Report, String>,
    /// Whether a second run came to something else.
    differs: bool,
}

/// Runs all seeds of a plan and prints what was found. Returns whether nothing was.
pub(crate) fn run(plan: &Plan) -> bool {
    let started = now();
    let next = AtomicU64::new(plan.first);
    let (sender, outcomes) = mpsc::channel();
    let mut summary = Summary::new();
    std::thread::scope(|scope| {
        for _ in 0..plan.threads {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if plan.end <= seed || sender.send(run_one(plan, seed)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for outcome in outcomes {
            summary.take(plan, outcome);
        }
    });
    summary.print(plan, now().duration_since(started).as_secs_f64());
    summary.failed == 0
}

#[expect(clippy::disallowed_methods, reason = "how fast worlds run; nothing in a world sees it")]
fn now() -> Instant {
    Instant::now()
}

fn run_one(plan: &Plan, seed: u64) -> Outcome {
    let once = || try_run(plan.options(seed)?, plan.trace);
    let result: Result<Report, String> = once();
    let differs = plan.twice && once() != result;
    Outcome { seed, result, differs }
}

/// Runs a world; an assertion that fails in it is an error.
///
/// # Errors
/// What the assertion said.
pub(crate) fn try_run(options: Options, trace: bool) -> Result<Report, String> {
    let result = catch_unwind(AssertUnwindSafe(|| crate::run::run(options, trace)));
    result.map_err(|cause| {
        let text = cause.downcast_ref::<String>().cloned();
        let text = text.or_else(|| Some((*cause.downcast_ref::<&str>()?).to_owned()));
        format!("panicked: {}", text.unwrap_or_default())
    })
}

/// What all runs came to.
struct Summary {
    runs: u64,
    failed: u64,
    counters: Counters,
    micros: u64,
    events: u64,
    operations: u64,
    appended: u64,
    recoveries: Vec<u64>,
}

/// Failures printed in full; the others are counted.
const FAILURES_SHOWN: u64 = 10;

impl Summary {
    fn new() -> Summary {
        Summary {
            runs: 0,
            failed: 0,
            counters: Counters::new(),
            micros: 0,
            events: 0,
            operations: 0,
            appended: 0,
            recoveries: Vec::new(),
        }
    }

    fn take(&mut self, plan: &Plan, outcome: Outcome) {
        let Outcome { seed, result, differs } = outcome;
        self.runs += 1;
        let alone = plan.end == plan.first + 1;
        let failed = match &result {
            Ok(report) => {
                self.counters.add(&report.counters);
                self.micros += report.micros;
                self.events += report.events;
                self.operations += report.operations;
                self.appended += report.appended;
                self.recoveries.push(report.recovery);
                if alone || (!report.findings.is_empty() && self.failed < FAILURES_SHOWN) {
                    say(&report.to_string());
                }
                !report.findings.is_empty()
            }
            Err(what) => {
                say(&format!("seed {seed} FAILED: {what}"));
                true
            }
        };
        if differs {
            say(&format!("seed {seed} FAILED: a second run came to something else"));
        }
        if failed || differs {
            self.failed += 1;
            if self.failed <= FAILURES_SHOWN {
                let changes = plan.changes.join(" ");
                say(&format!("  replay at {}: cargo sim {seed} {changes}", commit()));
            }
        }
    }

    fn print(&mut self, plan: &Plan, wall: f64) {
        self.recoveries.sort_unstable();
        let at = |share: usize| {
            let last = self.recoveries.len().saturating_sub(1);
            self.recoveries.get(last * share / 100).map_or(0, |micros| micros / 1_000)
        };
        say(&self.counters.to_string());
        let seconds = self.micros / SECOND;
        say(&format!(
            "{} of {} runs failed (seeds {}..{}); {seconds} s simulated in {wall:.1} s, {:.0} times \
             real time; {} events, {} operations, {} appended; well after {} ms in the middle, {} \
             ms for 99 in 100, {} ms at most",
            self.failed,
            self.runs,
            plan.first,
            plan.end,
            self.micros as f64 / 1e6 / wall,
            self.events,
            self.operations,
            self.appended,
            at(50),
            at(99),
            at(100),
        ));
    }
}

/// The commit that is checked out, for whoever replays a run.
fn commit() -> String {
    let output = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    let text = output.ok().and_then(|output| String::from_utf8(output.stdout).ok());
    text.map_or_else(|| "an unknown commit".to_owned(), |text| text.trim().to_owned())
}
