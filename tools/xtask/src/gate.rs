//! The stages of the gate, in order; the first that fails ends it.

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::{documents, tidy, tree};

/// One stage.
#[derive(Debug)]
pub(crate) struct Stage {
    name: &'static str,
    work: Work,
}

/// What a stage does.
#[derive(Debug)]
enum Work {
    /// Looks whether the programs the build calls are there.
    Programs,
    /// Calls cargo with these words.
    Cargo(&'static [&'static str]),
    /// Runs simulated clusters: the same ones always, and some that only this commit has.
    Simulation,
    /// Checks the house rules, and that written documents say what the tables say.
    Tidy,
    /// Writes those documents.
    Documents,
}

const PROGRAMS: Stage = Stage { name: "programs", work: Work::Programs };
const FORMAT: Stage = Stage { name: "format", work: Work::Cargo(&["fmt", "--all", "--check"]) };
const CLIPPY: Stage = Stage {
    name: "clippy",
    work: Work::Cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
};
const HOUSE: Stage = Stage { name: "tidy", work: Work::Tidy };
const TESTS: Stage = Stage { name: "tests", work: Work::Cargo(&["test", "--workspace"]) };
const DOC: Stage =
    Stage { name: "doc", work: Work::Cargo(&["doc", "--workspace", "--no-deps", "--quiet"]) };

const SIMULATION: Stage = Stage { name: "sim", work: Work::Simulation };

const DOCUMENTS: Stage = Stage { name: "documents", work: Work::Documents };

/// All that a change must pass.
pub(crate) const FULL: &[Stage] = &[PROGRAMS, FORMAT, CLIPPY, HOUSE, TESTS, SIMULATION, DOC];
/// What a commit hook has time for.
pub(crate) const FAST: &[Stage] = &[PROGRAMS, FORMAT, CLIPPY, HOUSE];
/// The house rules alone.
pub(crate) const TIDY: &[Stage] = &[HOUSE];
/// The written documents alone.
pub(crate) const DOCS: &[Stage] = &[DOCUMENTS];
/// All that can be mended without thought.
pub(crate) const FIX: &[Stage] = &[
    Stage {
        name: "clippy",
        work: Work::Cargo(&[
            "clippy",
            "--fix",
            "--workspace",
            "--all-targets",
            "--allow-dirty",
            "--allow-staged",
        ]),
    },
    Stage { name: "format", work: Work::Cargo(&["fmt", "--all"]) },
    DOCUMENTS,
];

/// Runs stages in order and prints how long each took.
///
/// # Errors
/// Which stage failed; the stages after it have not run.
pub(crate) fn run(root: &Path, stages: &[Stage]) -> Result<(), String> {
    let mut times: Vec<(&str, Duration)> = Vec::new();
    for stage in stages {
        println!("== {}", stage.name);
        let start = Instant::now();
        let result = stage.run(root);
        times.push((stage.name, start.elapsed()));
        if let Err(reason) = result {
            print_times(&times);
            return Err(format!("stage `{}` failed: {reason}", stage.name));
        }
    }
    print_times(&times);
    println!("xtask: all {} stages passed", times.len());
    Ok(())
}

fn print_times(times: &[(&str, Duration)]) {
    for (name, time) in times {
        println!("{name:>10} {:7.1} s", time.as_secs_f64());
    }
}

impl Stage {
    fn run(&self, root: &Path) -> Result<(), String> {
        match self.work {
            Work::Programs => programs(),
            Work::Cargo(words) => cargo(root, words),
            Work::Simulation => simulate(root),
            Work::Tidy => house(root),
            Work::Documents => documents::write(root),
        }
    }
}

/// The build needs more than Rust: without these it fails late and with a riddle.
fn programs() -> Result<(), String> {
    let needed: [(&[&str], &str); 4] = [
        (&["git"], "git is missing: glommio's build script calls it and panics without"),
        (&["cc"], "a C compiler is missing: the bundled liburing is compiled with it"),
        (&["cargo", "clippy"], "clippy is missing: rustup component add clippy"),
        (&["cargo", "fmt"], "rustfmt is missing: rustup component add rustfmt"),
    ];
    for (words, complaint) in needed {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg("--version");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if !command.status().is_ok_and(|status| status.success()) {
            return Err(complaint.to_owned());
        }
    }
    Ok(())
}

fn cargo(root: &Path, words: &[&str]) -> Result<(), String> {
    cargo_with(root, words, &[])
}

/// Calls cargo with these words and variables.
///
/// # Errors
/// What it ended with.
pub(crate) fn cargo_with(
    root: &Path,
    words: &[&str],
    variables: &[(&str, String)],
) -> Result<(), String> {
    let program = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(root).args(words);
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    if words.first() == Some(&"doc") {
        command.env("RUSTDOCFLAGS", "-D warnings");
    }
    let status = command.status().map_err(|error| format!("cargo cannot be run: {error}"))?;
    if status.success() {
        return Ok(());
    }
    Err(format!("`cargo {}` ended with {status}", words.join(" ")))
}

/// Seeds that are run twice, before anything else: what cannot be repeated cannot be explained.
const TWICE: &str = "6..26";
/// Seeds that are run at every commit: with what seeds meant at first, and with all there is.
const SEEDS: &str = "500..580";
const LATER_SEEDS: &str = "700000..700400";
/// Plans that are known to be hard, with a seed or two each.
const PLANS: &[&str] =
    &["all-links-of-three", "links-of-five", "power-loop", "replace-each", "long-pause"];
/// Seeds of a commit's own.
const OWN_SEEDS: u64 = 20;
/// What may happen in those: faults after which a cluster that works owes everything to everybody.
const OWN_FAULTS: &str = "faults=kill,power-cut,power-cut-all,partition,one-way,clog,slow-link,\
                          slow-disk,pause,stall,wall-jump,wall-freeze,drift";

fn simulate(root: &Path) -> Result<(), String> {
    const RUN: [&str; 7] =
        ["run", "--quiet", "--profile", "sim", "--package", "starcite-sim", "--"];
    let run = |words: &[&str]| {
        let all: Vec<&str> = RUN.iter().chain(words).copied().collect();
        cargo(root, &all)
    };
    run(&["--seeds", TWICE, "--twice"])?;
    for plan in PLANS {
        run(&["--seeds", "0..2", &format!("scenario={plan}")])?;
    }
    run(&["--seeds", SEEDS, "extras=none"])?;
    run(&["--seeds", LATER_SEEDS])?;
    let first = commit(root)? % 1_000_000_000;
    run(&["--seeds", &format!("{first}..{}", first + OWN_SEEDS), "extras=none", OWN_FAULTS])
}

/// A number that each commit has another of.
fn commit(root: &Path) -> Result<u64, String> {
    let mut git = Command::new("git");
    let output = git.current_dir(root).args(["rev-parse", "HEAD"]).output();
    let output = output.map_err(|error| format!("git cannot be run: {error}"))?;
    let hash = String::from_utf8_lossy(&output.stdout);
    let digits = hash.get(..15).ok_or("git does not know the commit")?;
    u64::from_str_radix(digits, 16).map_err(|_| format!("git names the commit {digits}"))
}

fn house(root: &Path) -> Result<(), String> {
    let files = tree::read(root)?;
    let mut findings = tidy::check(&files);
    findings.extend(tidy::documents(&files, &documents::all()));
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => Ok(()),
        count => Err(format!("{count} finding(s)")),
    }
}
