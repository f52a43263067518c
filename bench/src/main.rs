//! Measures a Starcite server, its log and its disk.
//!
//! In reading order: [`options`] are the words of the command line, [`scenario`] is what scenarios
//! share; [`append`], [`tail`], [`disk`], [`log`] and [`restart`] are the scenarios, and [`smoke`] runs
//! them all for a moment. Below them [`load`] sends what a [`workload`] asks for, over a [`client`] for
//! each connection with the bytes of a [`request`]; [`follow`] reads tails, [`server`] starts the
//! server, [`hog`] keeps cores busy, [`scratch`] finds a place on the device, [`leftovers`] clears up
//! behind an interrupted run, [`report`] sums up and [`cpu`] says who else was busy.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::options::{Common, Options, Scenario};
use crate::report::Report;

mod append;
mod client;
mod cpu;
mod disk;
mod follow;
mod hog;
mod leftovers;
mod load;
mod log;
mod options;
mod outcome;
mod pace;
mod report;
mod request;
mod restart;
mod scenario;
mod scratch;
mod server;
mod smoke;
mod tail;
#[cfg(test)]
mod tests;
mod workload;

fn main() -> ExitCode {
    let options = Options::parse();
    match leftovers::remove_on_signals().and_then(|()| run(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            complain("the figures above cannot be believed; the notes say why");
            ExitCode::FAILURE
        }
        Err(reason) => {
            complain(&reason);
            ExitCode::FAILURE
        }
    }
}

/// Runs what was named; whether its figures can be believed.
fn run(options: &Options) -> Result<bool, String> {
    match (&options.scenario, options.common.smoke) {
        (None, false) => Err(format!("name a scenario, or --smoke\n\n{}", usage())),
        (None, true) => smoke::all(&options.common, &mut show),
        (Some(scenario), _) => one(scenario, &options.common).map(|report| {
            show(&report, &options.common);
            report.sound()
        }),
    }
}

fn one(scenario: &Scenario, common: &Common) -> Result<Report, String> {
    match scenario {
        Scenario::Append(options) => append::run(options, common),
        Scenario::Tail(options) => tail::run(options, common),
        Scenario::Disk(options) => disk::run(options, common),
        Scenario::Log(options) => log::run(options, common),
        Scenario::Restart(options) => restart::run(options, common),
    }
}

fn usage() -> String {
    Options::command().render_usage().to_string()
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a report is what people came for")]
fn show(report: &Report, common: &Common) {
    if common.json {
        println!("{}", report.json());
        eprint!("{}", report.table());
    } else {
        print!("{}", report.table());
    }
}

#[expect(clippy::print_stderr, reason = "the last line of a program that failed")]
fn complain(reason: &str) {
    eprintln!("starcite-bench: {reason}");
}
