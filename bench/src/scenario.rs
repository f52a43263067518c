//! How the scenarios are put together: rounds, company, server, figures.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::hog::{Company, companies};
use crate::options::{Common, Where};
use crate::outcome::Outcome;
use crate::report::{Figure, Report, Unit};
use crate::request::Target;
use crate::scratch::Scratch;
use crate::server::{self, Server};
use crate::workload::refusals;

/// How long replies are waited for behind the end of a round.
pub(crate) const DRAIN: Duration = Duration::from_secs(5);

/// Seconds of an option.
///
/// # Errors
/// If they are no time.
pub(crate) fn seconds(value: f64) -> Result<Duration, String> {
    Duration::try_from_secs_f64(value).map_err(|error| format!("{value} seconds: {error}"))
}

/// A server to ask; the one that was started, if any, ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Under {
    /// Declared before the directory, so that the server is gone before its data.
    pub(crate) server: Option<Server>,
    address: SocketAddr,
    token: Option<String>,
    /// Tells rounds apart.
    rounds: u32,
    _scratch: Option<Scratch>,
}

impl Under {
    /// Starts a server, or takes the one that is named.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn new(place: &Where, common: &Common) -> Result<Under, String> {
        let (server, scratch) = match &place.url {
            Some(_) => (None, None),
            None => {
                let program = server::program(common.server.as_deref())?;
                let scratch = Scratch::new(&common.dir)?;
                (Some(Server::start(&program, scratch.path())?), Some(scratch))
            }
        };
        let address = match (&server, &place.url) {
            (Some(server), _) => server.address(),
            (None, Some(url)) => server::address_of(url)?,
            (None, None) => unreachable!("a server was started"),
        };
        let token = place.token.clone();
        Ok(Under { server, address, token, rounds: 0, _scratch: scratch })
    }

    /// Sessions of a new round; no other round, of this run or another, has the same.
    pub(crate) fn target(&mut self) -> Target {
        self.rounds += 1;
        target(self.address, self.token.clone(), self.rounds)
    }

    /// Stops the server that was started.
    pub(crate) fn stop(mut self) -> Result<(), String> {
        self.server.take().map_or(Ok(()), Server::stop)
    }
}

/// Sessions whose names begin with the time and a number.
pub(crate) fn target(address: SocketAddr, token: Option<String>, number: u32) -> Target {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Target { address, token, prefix: format!("bench-{:x}-{number}", now.as_millis()) }
}

pub(crate) fn describe(report: &mut Report, place: &Where, common: &Common) {
    report.set("server", place.url.clone().unwrap_or_else(|| "started here".to_owned()));
    if place.url.is_none() {
        report.set("shares_cores_with_generator", true);
    }
    report.set("dir", common.dir.display().to_string());
}

/// Calls `round` for each run and company, with the hogs of that company beside it. Runs are outside,
/// so that slow changes of the machine meet every company alike.
pub(crate) fn rounds(
    common: &Common,
    mut round: impl FnMut(u32, &Company) -> Result<(), String>,
) -> Result<(), String> {
    for run in 0..common.runs.get() {
        for company in companies(common.hog) {
            round(run, &company)?;
        }
    }
    Ok(())
}

/// What of the latency is the generator's own.
pub(crate) fn lateness(outcome: &Outcome) -> impl Iterator<Item = Figure> {
    let wanted = ["sent late p50", "sent late p99", "sent late max"];
    let figures = outcome.lateness.figures("sent late ");
    figures.into_iter().filter(move |figure| wanted.contains(&figure.name.as_str()))
}

/// What went wrong, as figures: always there, so that a zero is said.
pub(crate) fn troubles(outcome: &Outcome) -> [Figure; 3] {
    [
        Figure::count("refused", outcome.refused.values().sum()),
        Figure::count("unanswered", outcome.unanswered),
        Figure::count("connections lost", outcome.lost),
    ]
}

/// Says in words what makes figures worthless, or needs explaining.
pub(crate) fn judge(outcome: &Outcome, report: &mut Report) {
    if let Some(reply) = &outcome.wrong_reply {
        report.doubt(format!("the server answered wrongly, first with: {reply}"));
    }
    if let Some(reason) = &outcome.lost_reason {
        report.doubt(format!("connections were lost: {reason}"));
    }
    if !outcome.refused.is_empty() {
        report.note(format!("the server {}", refusals(outcome)));
    }
    if 0 < outcome.unanswered {
        report.note(
            "requests unanswered at the end are in the latencies with the time they had waited",
        );
    }
}

pub(crate) fn cpu_per_request(name: &str, cpu: Duration, requests: u64) -> Figure {
    Figure::new(name, Unit::Micros, quotient(cpu.as_nanos(), u128::from(requests) * 1_000))
}

pub(crate) fn mebibytes(name: &str, bytes: u64) -> Figure {
    Figure::new(name, Unit::Mebibytes, quotient(u128::from(bytes), 1024 * 1024))
}

/// One number by another; by zero it is zero, for want of anything to divide among.
#[expect(clippy::cast_precision_loss, reason = "three digits are exact enough")]
pub(crate) fn quotient(number: u128, by: u128) -> f64 {
    if by == 0 { 0.0 } else { number as f64 / by as f64 }
}
