//! The gate. `cargo xtask ci` is everything a change must pass; only `cargo xtask fix` and
//! `cargo xtask docs` edit.
//!
//! In reading order: [`gate`] runs the stages, [`tidy`] holds the house rules, [`source`] tells code
//! from strings and comments, [`manifest`] reads the edges between crates, [`tree`] reads the files,
//! [`documents`] writes what follows from tables, [`drill`] runs the drills at length.
#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that talks to a terminal"
)]

mod documents;
mod drill;
mod gate;
mod manifest;
mod source;
mod tidy;
mod tree;

#[cfg(test)]
mod tests;

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask ci          format, clippy, tidy, tests, documentation; edits nothing
cargo xtask ci --fast   format, clippy, tidy
cargo xtask tidy        the house rules alone
cargo xtask docs        writes the documents that follow from tables
cargo xtask drill       real processes and real faults, at length; --kills 200 --all 50 --rounds 5
                        --cycles 20 --seconds 20 --memory 0 --rest 70 --seed 1 and names of drills may follow
cargo xtask fix         applies what clippy can mend, formats, and does what docs does";

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = root().and_then(|root| match words.as_slice() {
        ["ci"] => gate::run(&root, gate::FULL),
        ["ci", "--fast"] => gate::run(&root, gate::FAST),
        ["tidy"] => gate::run(&root, gate::TIDY),
        ["docs"] => gate::run(&root, gate::DOCS),
        ["drill", rest @ ..] => drill::run(&root, rest),
        ["fix"] => gate::run(&root, gate::FIX),
        _ => Err(format!("unknown command\n{USAGE}")),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}

/// The top of the tree. Cargo tells where this package lies; run by hand, the current directory is it.
fn root() -> Result<PathBuf, String> {
    let root = match env::var_os("CARGO_MANIFEST_DIR") {
        Some(package) => Path::new(&package).join("../.."),
        None => PathBuf::from("."),
    };
    root.canonicalize().map_err(|error| format!("{}: {error}", root.display()))
}
