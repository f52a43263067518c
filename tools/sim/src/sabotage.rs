//! The test of the test: every bug on purpose must be found within the seeds of a plan. A seed counts
//! only if it passes without the bug.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;

use shard::Sabotage;

use crate::command::Plan;
use crate::runner::try_run;
use crate::say;

/// Looks for one bug, or for all. Returns whether each was found.
pub(crate) fn run(plan: &Plan, name: &str) -> bool {
    let mut missed = 0;
    let (mut found, mut worst) = (0, 0);
    for sabotage in Sabotage::all() {
        let called = match sabotage {
            Sabotage::Raft(rule) => format!("{rule:?}"),
            own => format!("{own:?}"),
        };
        if name != "all" && name != called {
            continue;
        }
        match find(plan, sabotage) {
            Some((seed, what)) => {
                found += 1;
                worst = worst.max(seed + 1 - plan.first);
                say(&format!("{called}: seed {seed}: {what}"));
            }
            None => {
                missed += 1;
                say(&format!("{called}: NOT FOUND by seeds {}..{}", plan.first, plan.end));
            }
        }
    }
    say(&format!("{found} found within {worst} seeds each, {missed} missed"));
    missed == 0 && 0 < found
}

/// The first seed that notices, and what it says.
fn find(plan: &Plan, sabotage: Sabotage) -> Option<(u64, String)> {
    let next = AtomicU64::new(plan.first);
    let done = AtomicBool::new(false);
    let (sender, findings) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..plan.threads {
            let (sender, next, done) = (sender.clone(), &next, &done);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if plan.end <= seed {
                        return;
                    }
                    let Some(what) = notices(plan, seed, Some(sabotage)) else { continue };
                    if notices(plan, seed, None).is_none() {
                        done.store(true, Ordering::Relaxed);
                        // The receiver lives until all senders are gone.
                        let _sent = sender.send((seed, what));
                    }
                }
            });
        }
    });
    drop(sender);
    findings.into_iter().min()
}

/// What a run says is wrong.
fn notices(plan: &Plan, seed: u64, sabotage: Option<Sabotage>) -> Option<String> {
    let mut options = plan.options(seed).ok()?;
    options.sabotage = sabotage;
    match try_run(options, false) {
        Ok(report) => report.findings.iter().next().map(|first| {
            let text: String = first.to_string().chars().take(100).collect();
            text
        }),
        Err(what) => Some(what),
    }
}
