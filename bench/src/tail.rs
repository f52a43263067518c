//! The `tail` scenario: how long an event takes to its followers, and how fast a session is replayed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use crate::disk::per_second;
use crate::follow::{self, Stamped, Tails};
use crate::hog::{Company, Hogs};
use crate::load;
use crate::options::{Common, Tail};
use crate::pace::{Pace, Plan};
use crate::report::{Figure, Report, Unit};
use crate::scenario::{
    DRAIN, Under, describe, judge, lateness, quotient, rounds, seconds, troubles,
};
use crate::workload::{append_events, create_sessions};

/// Producers of the session that is followed: enough that one is free at every intended time.
const STAMPERS: usize = 8;

/// The `tail` scenario.
///
/// # Errors
/// Why it could not be run to its end.
pub(crate) fn run(options: &Tail, common: &Common) -> Result<Report, String> {
    let mut report = Report::new("tail");
    describe(&mut report, &options.place, common);
    report.set("tails", options.tails.get());
    report.set("rate", options.rate.get());
    report.set("seconds", options.seconds);
    report.set("payload_bytes", follow::payload(options.bytes).len());
    report.set("replay_events", options.replay);
    let mut under = Under::new(&options.place, common)?;
    rounds(common, |_, company| {
        let mut figures = delivery_round(options, &mut under, company, &mut report)?;
        if 0 < options.replay {
            figures.extend(replay_round(options, &mut under, company)?);
        }
        report.add(&company.name, figures);
        Ok(())
    })?;
    under.stop()?;
    Ok(report.conclude())
}

fn delivery_round(
    options: &Tail,
    under: &mut Under,
    company: &Company,
    report: &mut Report,
) -> Result<Vec<Figure>, String> {
    let target = under.target();
    create_sessions(&target, 1)?;
    let mut tails = Tails::open(&target, options.tails.get() as usize)?;
    let plan = Plan {
        address: target.address,
        pace: Pace::Open(options.rate),
        warmup: seconds(options.warmup)?,
        measured: seconds(options.seconds)?,
        drain: DRAIN,
    };
    let _hogs = Hogs::start(company.hogs);
    let (over, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    let origin = Instant::now();
    let stamped = Stamped::new(&target, STAMPERS, options.bytes, origin, &acknowledged);
    let (outcome, delivered) = thread::scope(|scope| {
        let times = (origin, origin + plan.warmup);
        let (over, acknowledged) = (&over, &acknowledged);
        let follower = scope.spawn(move || tails.follow(times, over, acknowledged));
        let outcome = load::run(&plan, vec![(STAMPERS, stamped)], &mut || {});
        over.store(true, Ordering::Relaxed);
        (outcome, follower.join().expect("a follower returns its errors"))
    });
    let (outcome, _) = outcome.map_err(|failure| failure.to_string())?;
    let delivered = delivered?;
    judge(&outcome, report);
    if 0 < delivered.missing {
        report.doubt("acknowledged events did not reach a tail");
    }
    let mut figures = delivered.latencies.figures("delivery ");
    figures.push(Figure::count("delivered", delivered.latencies.count()));
    figures.push(Figure::count("missing", delivered.missing));
    figures.extend(outcome.latencies.figures("append "));
    figures.extend(lateness(&outcome));
    figures.extend(troubles(&outcome));
    Ok(figures)
}

fn replay_round(
    options: &Tail,
    under: &mut Under,
    company: &Company,
) -> Result<Vec<Figure>, String> {
    let target = under.target();
    create_sessions(&target, 1)?;
    append_events(&target, 1, u64::from(options.replay), options.bytes)?;
    let _hogs = Hogs::start(company.hogs);
    let replayed = follow::replay(&target, u64::from(options.replay))?;
    let bytes = quotient(u128::from(replayed.bytes), 1024 * 1024);
    Ok(vec![
        per_second("replay events", replayed.events, replayed.time),
        Figure::new("replay bytes", Unit::MebibytesPerSecond, bytes / replayed.time.as_secs_f64()),
    ])
}
