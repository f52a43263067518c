//! Whole clusters in one thread, in a world worse than the real one: the shipped shard over wires
//! that lose and double, disks that tear and lie, clocks that drift and processes that die. A seed
//! decides everything.
//!
//! ```text
//!  options   what a seed's run is like: nodes, limits, which faults
//!  nemesis   which fault happens when; `scenario`: the ones with a name
//!  world     nodes, wires, disks, clocks, clients; one event at a time
//!  run       safety: faults happen. liveness: faults end and everything must work. audit
//!  checkers  what clients were told, what tails received, what nodes said and wrote
//! ```
//!
//! In reading order: `options`, `nemesis`, `run`, `world`; `histories` is a crate of its own.
#![forbid(unsafe_code)]

mod admin;
mod ambush;
mod atlas;
mod client;
mod clock;
mod command;
mod count;
mod deeds;
mod dice;
mod disk;
mod doors;
mod enumerate;
mod event;
mod ground;
mod health;
mod invariants;
mod librarian;
mod life;
mod links;
mod nemesis;
mod network;
mod node;
mod observe;
mod options;
mod orders;
mod queue;
mod run;
mod runner;
#[cfg(feature = "sabotage")]
mod sabotage;
mod scenario;
mod tailer;
mod theme;
mod world;

#[cfg(test)]
mod tests;

use std::process::ExitCode;

use histories::{checker, history, tail_checker, verdict};

/// Prints a line for whoever runs the simulator.
#[expect(clippy::print_stdout, reason = "the output of a command line program")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match command::parse(&arguments) {
        Ok(plan) if plan.enumerate && enumerate::run(&plan) => ExitCode::SUCCESS,
        Ok(plan) if !plan.enumerate && carry_out(&plan) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(what) => {
            say(&what);
            say(command::USAGE);
            ExitCode::from(64)
        }
    }
}

#[cfg(feature = "sabotage")]
fn carry_out(plan: &command::Plan) -> bool {
    match &plan.sabotage {
        Some(name) => sabotage::run(plan, name),
        None => runner::run(plan),
    }
}

#[cfg(not(feature = "sabotage"))]
fn carry_out(plan: &command::Plan) -> bool {
    if plan.sabotage.is_some() {
        say("bugs on purpose need the feature `sabotage`: cargo sabotage all --seeds 0..500");
        return false;
    }
    runner::run(plan)
}
