//! Every scenario for a moment, to see that it works. The figures say nothing.

use std::num::NonZeroU32;

use crate::options::{Append, Common, Disk, Log, Restart, Tail, Where};
use crate::report::Report;
use crate::{append, disk, log, restart, tail};

/// Seconds of a round.
const SECONDS: f64 = 0.2;
/// Seconds before a round.
const WARMUP: f64 = 0.05;
/// Bytes of a payload.
const BYTES: usize = 256;
/// Events replayed, or appended before a restart.
const EVENTS: u32 = 2_000;

/// Runs everything; whether all figures could be believed if the rounds were longer. Needs a server's
/// program.
///
/// # Errors
/// What could not be run.
pub(crate) fn all(common: &Common, show: &mut dyn FnMut(&Report, &Common)) -> Result<bool, String> {
    let common = Common { runs: number(1), hog: None, smoke: true, ..common.clone() };
    let mut sound = true;
    let mut run = |result: Result<Report, String>| -> Result<(), String> {
        let report = result?;
        show(&report, &common);
        sound &= report.sound();
        Ok(())
    };
    run(device(&Common { hog: Some(1), ..common.clone() }))?;
    run(logs(&common))?;
    run(appends(&common, None, None))?;
    run(appends(&common, None, Some(number(500))))?;
    run(tails(&common, None))?;
    run(restarts(&common))?;
    Ok(sound)
}

fn number(value: u32) -> NonZeroU32 {
    NonZeroU32::new(value).expect("it is not zero")
}

/// The server at `url`, or one that is started.
fn place(url: Option<String>) -> Where {
    Where { url, token: None }
}

/// `disk`.
pub(crate) fn device(common: &Common) -> Result<Report, String> {
    disk::run(&Disk { seconds: SECONDS / 4.0 }, common)
}

/// `log`.
pub(crate) fn logs(common: &Common) -> Result<Report, String> {
    let writers = vec![number(1), number(16)];
    log::run(&Log { writers, seconds: SECONDS / 4.0, bytes: BYTES }, common)
}

/// `append`, in an open loop if there is a rate.
pub(crate) fn appends(
    common: &Common,
    url: Option<String>,
    rate: Option<NonZeroU32>,
) -> Result<Report, String> {
    let options = Append {
        place: place(url),
        clients: number(8),
        sessions: Some(number(16)),
        rate,
        closed: rate.is_none(),
        seconds: SECONDS,
        warmup: WARMUP,
        bytes: BYTES,
        threads: number(2),
        against_disk: rate.is_none(),
    };
    append::run(&options, common)
}

/// `tail`.
pub(crate) fn tails(common: &Common, url: Option<String>) -> Result<Report, String> {
    let options = Tail {
        place: place(url),
        tails: number(3),
        rate: number(200),
        seconds: SECONDS,
        warmup: WARMUP,
        bytes: BYTES,
        replay: EVENTS,
    };
    tail::run(&options, common)
}

/// `restart`.
pub(crate) fn restarts(common: &Common) -> Result<Report, String> {
    let options = Restart { sessions: number(500), events: EVENTS, bytes: BYTES };
    restart::run(&options, common)
}
