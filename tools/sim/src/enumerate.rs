//! Everything that can happen to files, one thing after another, instead of some of it by chance.
//!
//! ```text
//!  script    three nodes and a thousand appends; logs roll, are cut back, taken over, written again
//!  crash     what a crash may leave, at every boundary of every write, is opened and compared
//!  failing   every deed of a disk fails once, in every way, at every place of a script
//!  rot       every bit, length, sector and batch of a node's files is damaged
//!
//!  trio      the shipped shards over queues, their disks in memory; `store` one disk
//!  ledger    what a node wrote, as whoever watches knows; `truth` what a script comes to
//!  opening   the shipped way back from files to a shard; `puppet` a shard led by hand
//! ```
//!
//! No clock, no chance: dice only choose what a script is made of, and which of too many ways a large
//! write is torn in.

mod crash;
mod failing;
mod ledger;
mod opening;
mod puppet;
mod rot;
mod script;
mod store;
mod trio;
mod truth;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::command::Plan;
use crate::enumerate::crash::{Counts, Crasher, Depth};
use crate::enumerate::failing::Kind;
use crate::enumerate::rot::{Classes, HARMS, Harm, Patient};
use crate::enumerate::script::{Script, play};
use crate::enumerate::trio::Nobody;
use crate::enumerate::truth::Truth;
use crate::say;

/// The scripts that are played if nobody says which.
pub(crate) const SEEDS: (u64, u64) = (1, 3);
/// Appends of a script whose writes are cut short.
const CRASH_APPENDS: u32 = 1_000;
/// Of so many images one is gone on with.
const HEALED: u64 = 100;
/// Appends of a script whose deeds fail: each failure plays it once.
const FAILING_APPENDS: u32 = 150;
/// Appends of a script whose files are damaged.
const ROT_APPENDS: u32 = 200;
/// Pieces a script's moments, or a file's places, are shared out in.
const PIECES: u32 = 16;

/// How much of everything is done: one of so many.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Share {
    /// Moments of disks.
    pub(crate) moments: u32,
    /// Places of failures.
    pub(crate) places: u32,
    /// Places of damage.
    pub(crate) damage: u32,
    /// Workers.
    pub(crate) threads: usize,
}

/// What came of it: a table, and what is wrong.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// For people.
    pub(crate) lines: Vec<String>,
    /// What no shard may do.
    pub(crate) findings: Vec<String>,
    /// Images opened.
    pub(crate) images: u64,
    /// Failures.
    pub(crate) failures: u64,
    /// Damages.
    pub(crate) damages: u64,
}

/// Does all there is, for some seeds. Whether nothing was wrong.
pub(crate) fn run(plan: &Plan) -> bool {
    #[cfg(feature = "sabotage")]
    if let Some(name) = &plan.sabotage {
        return seek(plan, name);
    }
    let share = Share { moments: 1, places: 1, damage: 1, threads: plan.threads };
    let mut sound = true;
    for seed in plan.first..plan.end {
        for report in [crashes(seed, share), failures(seed, share), damages(seed, share)] {
            report.lines.iter().for_each(|line| say(line));
            report.findings.iter().for_each(|what| say(&format!("WRONG: {what}")));
            sound &= report.findings.is_empty();
        }
    }
    sound
}

/// Looks for bugs on purpose, a part of all places each. Whether any was found.
#[cfg(feature = "sabotage")]
fn seek(plan: &Plan, name: &str) -> bool {
    let share = Share { moments: 5, places: 11, damage: 97, threads: plan.threads };
    let mut found = 0;
    for sabotage in shard::Sabotage::all() {
        let called = format!("{sabotage:?}");
        if name != "all" && name != called {
            continue;
        }
        let broken = |appends| Script::broken(plan.first, appends, sabotage);
        let mut report = crashes_of(broken(CRASH_APPENDS), share);
        if report.findings.is_empty() {
            report = failures_of(broken(FAILING_APPENDS), share);
        }
        let first = report.findings.first();
        found += u64::from(first.is_some());
        let text: String = first.map_or("not found here", |what| what).chars().take(160).collect();
        say(&format!("{called}: {text}"));
    }
    say(&format!("{found} found"));
    0 < found
}

/// Crashes at every boundary of a script.
pub(crate) fn crashes(seed: u64, share: Share) -> Report {
    crashes_of(Script::new(seed, CRASH_APPENDS), share)
}

fn crashes_of(script: Script, share: Share) -> Report {
    let (seed, mut report) = (script.seed, Report::default());
    let played = caught(|| {
        let mut player = play(script, Nobody);
        let findings = player.verdict();
        let truth = findings.is_empty().then(|| player.truth());
        (player.told(), findings, truth)
    });
    let (told, findings, truth) = played.unwrap_or_else(|what| (String::new(), vec![what], None));
    report.findings.extend(findings);
    let Some(truth) = truth else { return report };
    // Each piece plays the script anew.
    let pieces = if share.moments == 1 { PIECES } else { 2 };
    let offsets: Vec<u32> = (0..pieces).collect();
    let moments = u64::from(share.moments * pieces);
    let done = each(share.threads, &offsets, |offset| {
        let depth = Depth { moments, offset: u64::from(*offset * share.moments), healed: HEALED };
        look_at_crashes(script, &truth, depth)
    });
    let mut counts = Counts::default();
    for (some, findings) in done {
        counts.add(&some);
        report.findings.extend(findings);
    }
    report.images = counts.images;
    report.lines.push(format!("crashes, seed {seed}, {CRASH_APPENDS} appends: {told}"));
    report.lines.push(format!("  {counts}"));
    report
}

fn look_at_crashes(script: Script, truth: &Truth, depth: Depth) -> (Counts, Vec<String>) {
    let played = caught(|| play(script, Crasher::new(truth, script.seed, depth)));
    match played {
        Ok(player) => (player.trio.watch.counts, player.trio.watch.findings),
        Err(what) => (Counts::default(), vec![what]),
    }
}

/// Failures at every place of a script.
pub(crate) fn failures(seed: u64, share: Share) -> Report {
    failures_of(Script::new(seed, FAILING_APPENDS), share)
}

fn failures_of(script: Script, share: Share) -> Report {
    let (seed, mut report) = (script.seed, Report::default());
    let step = usize::try_from(share.places).expect("small");
    let kinds: Vec<Kind> = failing::KINDS.to_vec();
    let count = |kind: &Kind| (*kind, caught(|| failing::places(script, *kind)));
    let mut places: BTreeMap<Kind, u64> = BTreeMap::new();
    for (kind, count) in each(share.threads, &kinds, count) {
        match count {
            Ok(count) => drop(places.insert(kind, count)),
            Err(what) => report.findings.push(what),
        }
    }
    let all = places.iter().flat_map(|(kind, count)| (0..*count).map(|place| (*kind, place)));
    let some: Vec<(Kind, u64)> = all.step_by(step).collect();
    let done = each(share.threads, &some, |(kind, place)| {
        let findings =
            caught(|| failing::fail(script, *kind, *place)).unwrap_or_else(|what| vec![what]);
        findings
            .into_iter()
            .map(|what| format!("seed {seed}, {kind:?} at {place}: {what}"))
            .collect::<Vec<_>>()
    });
    report.findings.extend(done.into_iter().flatten());
    report.failures = some.len() as u64;
    let line = format!("failures, seed {seed}, {FAILING_APPENDS} appends: {}", some.len());
    report.lines.push(line);
    for (kind, count) in places {
        report.lines.push(format!("  {:<24} {count:>6} places", format!("{kind:?}")));
    }
    report
}

/// Damage to every part of the files of two nodes: one that was stopped while its newest batch was not
/// proven, one at rest.
pub(crate) fn damages(seed: u64, share: Share) -> Report {
    let player = play(Script::new(seed, ROT_APPENDS), Nobody);
    let mut report = Report { findings: player.trio.findings.clone(), ..Report::default() };
    let busy = player.busy.values().map(|(options, files)| Patient::new(options, files));
    let busy = busy.flatten().find(|patient| !patient.is_proven());
    let rests = player.trio.nodes.values().map(|node| (&node.options, &node.store.files));
    let rests = rests.filter_map(|(options, files)| Patient::new(options, files));
    let rests = rests.into_iter().find(Patient::is_proven);
    for (name, patient) in [("in the middle", busy), ("at rest", rests)] {
        let Some(patient) = patient else {
            report.findings.push(format!("seed {seed}: no node stopped {name}"));
            continue;
        };
        report.lines.push(format!("damage, seed {seed}, a node {name}: {patient}"));
        damage(&patient, share, &mut report);
    }
    report
}

fn damage(patient: &Patient, share: Share, report: &mut Report) {
    let pieces = HARMS.into_iter().flat_map(|harm| (0..PIECES).map(move |piece| (harm, piece)));
    let pieces: Vec<(Harm, u32)> = pieces.collect();
    let size = |number: u32| usize::try_from(number).expect("small");
    let done = each(share.threads, &pieces, |(harm, piece)| {
        let places = (size(piece * share.damage), size(PIECES * share.damage));
        (*harm, patient.harm(*harm, places))
    });
    let mut classes: BTreeMap<Harm, Classes> = BTreeMap::new();
    for (harm, (some, findings)) in done {
        classes.entry(harm).or_default().add(&some);
        report.findings.extend(findings);
    }
    for (harm, classes) in classes {
        report.damages += classes.all();
        report.lines.push(format!("  {:<16} {classes}", format!("{harm:?}")));
    }
}

/// What something comes to; an assertion that fails in it is an error.
///
/// # Errors
/// What the assertion said.
fn caught<R>(work: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|cause| {
        let text = cause.downcast_ref::<String>().cloned();
        let text = text.or_else(|| Some((*cause.downcast_ref::<&str>()?).to_owned()));
        format!("panicked: {}", text.unwrap_or_default())
    })
}

/// Does something for each of many things, some at a time; results in no order.
fn each<T: Sync, R: Send>(threads: usize, things: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut done = Vec::new();
        while let Some(thing) = things.get(next.fetch_add(1, Ordering::Relaxed)) {
            done.push(work(thing));
        }
        done
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        let done = workers.into_iter().map(|worker| worker.join());
        done.flat_map(|done| done.expect("what may panic is caught")).collect()
    })
}
