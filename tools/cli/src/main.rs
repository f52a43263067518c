//! The `starcite` binary: parses, dispatches, maps to an exit status; nothing else.
//!
//! In reading order: [`serve`] puts the pieces of a server together from [`settings`] and [`cluster`], [`remote`] and
//! [`tail`] are clients of a running one, [`ops`] is for who operates it, [`inspect`] reads the files of a stopped or crashed one,
//! [`doctor`] says whether this machine can run one.
#![forbid(unsafe_code)]

mod cluster;
mod doctor;
mod doors;
mod failure;
mod inspect;
mod logging;
mod ops;
mod output;
mod ports;
mod remote;
mod serve;
mod settings;
mod signals;
mod tail;

#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::failure::Failure;

/// A session event log: ordered, durable, tailed from a cursor.
#[derive(Debug, Parser)]
#[command(name = "starcite", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a server, configured by the environment; a flag says the same and wins.
    Serve(settings::ServeFlags),
    /// Runs a server to try things out: on this machine only, without authentication.
    Dev(serve::Dev),
    /// Creates a session.
    Create(remote::Create),
    /// Appends events to a session.
    Append(remote::Append),
    /// Prints a session's events as they come, one JSON object a line.
    Tail(tail::Tail),
    /// Asks a running server how it and its cluster are, and tells it what operators want.
    Ops(ops::Ops),
    /// Evaluates an expression of the reference's runbooks: one call of `Starcite.ControlPlane.Ops`.
    Rpc(ops::Rpc),
    /// Shows what is in the files of a data directory; never writes, needs no server.
    #[command(subcommand)]
    Inspect(inspect::Inspect),
    /// Says whether this machine can run a server, and how to mend what stands in the way.
    Doctor(doctor::Doctor),
}

impl Command {
    fn run(self) -> Result<(), Failure> {
        match self {
            Command::Serve(flags) => serve::serve(&flags),
            Command::Dev(dev) => serve::dev(&dev),
            Command::Create(create) => create.run(),
            Command::Append(append) => append.run(),
            Command::Tail(tail) => tail.run(),
            Command::Ops(ops) => ops.run(),
            Command::Rpc(rpc) => rpc.run(),
            Command::Inspect(inspect) => inspect.run(),
            Command::Doctor(doctor) => doctor.run(),
        }
    }
}

fn main() -> ExitCode {
    let outcome = match Arguments::try_parse() {
        Ok(arguments) => arguments.command.run(),
        Err(error) => Failure::arguments(&error),
    };
    outcome.map_or_else(|failure| failure.exit_code(), |()| ExitCode::SUCCESS)
}
