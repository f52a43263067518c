//! The house rules that neither the compiler nor clippy knows. Each rule looks at one file, but for
//! the edges between crates; what it finds names file, line and rule.

use std::fmt;

use model::error::Code;
use model::metric::Metric;

use crate::manifest::Manifest;
use crate::source::Source;
use crate::tree::File;

/// Most lines of a Rust file.
const LINES_MAX: usize = 600;
/// Most bytes of any file.
const BYTES_MAX: usize = 512 * 1024;
/// All that may lie at the top beside files whose names begin with a dot.
const TOP: [&str; 10] = [
    "Cargo.toml",
    "Cargo.lock",
    "README.md",
    "archive",
    "bench",
    "docs",
    "engine",
    "net",
    "raft",
    "tools",
];
/// Where `unsafe` may be written.
const UNSAFE_ALLOWED: &str = "engine/uring/src/";
/// Who may know whom, always downward. A new edge is a change of the design.
const EDGES: [(&str, &[&str]); 10] = [
    ("raft", &[]),
    ("model", &[]),
    ("shard", &["raft", "model"]),
    ("uring", &["shard", "model"]),
    ("net", &["uring", "shard", "raft", "model"]),
    ("histories", &[]),
    ("cli", &["net", "uring", "shard", "model", "histories"]),
    ("bench", &["net", "uring", "shard", "raft", "model"]),
    ("sim", &["shard", "raft", "model", "histories"]),
    ("xtask", &["model"]),
];
/// Work that is not done. Written in two parts, so that this file passes its own rule.
const UNFINISHED: [&str; 2] = [concat!("TO", "DO"), concat!("FIX", "ME")];
const UNFINISHED_CODE: [&str; 3] = ["todo!", "unimplemented!", "#[ignore"];
/// Paths of one machine.
const MACHINE_PATHS: [&str; 3] =
    [concat!("/wo", "rk/"), concat!("/tm", "p/"), concat!("/ho", "me/")];
const ENVIRONMENT_PREFIX: &str = concat!("STAR", "CITE_");

/// Something against the rules.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The file.
    pub(crate) path: String,
    /// The line, from 1; 0 for the whole file.
    pub(crate) line: usize,
    /// The rule, and what to do.
    pub(crate) rule: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.rule),
            line => write!(f, "{}:{line}: {}", self.path, self.rule),
        }
    }
}

/// Holds every rule against every file.
pub(crate) fn check(files: &[File]) -> Vec<Finding> {
    let mut findings = Findings(Vec::new());
    for file in files {
        any_file(file, &mut findings);
        if file.path.ends_with(".rs") {
            rust_file(file, &mut findings);
        }
    }
    edges(files, &mut findings);
    findings.0
}

/// Compares documents with what they must say.
pub(crate) fn documents(files: &[File], texts: &[(&str, String)]) -> Vec<Finding> {
    let stale = texts.iter().filter(|(path, text)| {
        let found = files.iter().find(|file| file.path == *path);
        found.is_none_or(|file| file.text != *text)
    });
    let rule = "does not say what the tables say; run `cargo xtask docs`";
    stale
        .map(|(path, _)| Finding { path: (*path).to_owned(), line: 0, rule: rule.to_owned() })
        .collect()
}

struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, file: &File, line: usize, rule: impl Into<String>) {
        self.0.push(Finding { path: file.path.clone(), line, rule: rule.into() });
    }
}

fn any_file(file: &File, findings: &mut Findings) {
    if BYTES_MAX < file.bytes {
        findings.add(
            file,
            0,
            format!("{} bytes; at most {BYTES_MAX} belong in the tree", file.bytes),
        );
    }
    let top = file.path.split('/').next().expect("a split has a first part");
    if !top.starts_with('.') && !TOP.contains(&top) {
        findings.add(file, 0, format!("`{top}` has no place at the top of the tree"));
    }
    if file.path == "Cargo.lock" {
        return;
    }
    for (number, line) in numbered(&file.text) {
        for word in UNFINISHED.iter().filter(|word| line.contains(**word)) {
            findings.add(
                file,
                number,
                format!("{word}: finish it, or write it down as a known gap"),
            );
        }
        for path in MACHINE_PATHS.iter().filter(|path| line.contains(**path)) {
            findings.add(file, number, format!("`{path}` is a path of one machine"));
        }
    }
}

fn rust_file(file: &File, findings: &mut Findings) {
    let lines = file.text.lines().count();
    if LINES_MAX < lines {
        findings.add(file, 0, format!("{lines} lines; a file has at most {LINES_MAX}"));
    }
    for (number, line) in numbered(&file.text) {
        if let Some(character) = line.chars().find(|character| !character.is_ascii()) {
            findings.add(file, number, format!("`{}` is not ASCII", character.escape_unicode()));
        }
    }
    let source = Source::parse(&file.text);
    code(file, &source, findings);
    if !is_test(&file.path) {
        literals(file, &source, findings);
    }
    forbids_unsafe(file, &source, findings);
}

fn code(file: &File, source: &Source, findings: &mut Findings) {
    let unsafe_allowed = file.path.starts_with(UNSAFE_ALLOWED);
    for (place, line) in source.code.iter().enumerate() {
        for word in UNFINISHED_CODE.iter().filter(|word| line.contains(**word)) {
            findings.add(file, place + 1, format!("`{word}` does not land"));
        }
        if !unsafe_allowed && words(line).any(|word| word == "unsafe") {
            let rule = format!("unsafe code is written in {UNSAFE_ALLOWED} only");
            findings.add(file, place + 1, rule);
        }
    }
}

/// Names that people outside depend on stand in one file each.
fn literals(file: &File, source: &Source, findings: &mut Findings) {
    for (line, literal) in &source.strings {
        let home = if Code::ALL.iter().any(|code| code.name() == literal) {
            ("an error code", "engine/model/src/error.rs")
        } else if Metric::ALL.iter().any(|metric| metric.name() == literal) {
            ("a metric", "engine/model/src/metric.rs")
        } else if literal.starts_with(ENVIRONMENT_PREFIX) {
            ("an environment variable", "engine/model/src/config")
        } else {
            continue;
        };
        if !file.path.starts_with(home.1) {
            let rule = format!("\"{literal}\" names {}; only {} spells it", home.0, home.1);
            findings.add(file, *line, rule);
        }
    }
}

fn forbids_unsafe(file: &File, source: &Source, findings: &mut Findings) {
    let root = file.path.ends_with("/src/lib.rs") || file.path.ends_with("/src/main.rs");
    let exempt = file.path.starts_with(UNSAFE_ALLOWED);
    let forbidden = source.code.iter().any(|line| line.contains("#![forbid(unsafe_code)]"));
    if root && !exempt && !forbidden {
        findings.add(file, 0, "the crate's root lacks #![forbid(unsafe_code)]");
    }
}

fn edges(files: &[File], findings: &mut Findings) {
    let members: Vec<(&File, Manifest)> = files
        .iter()
        .filter(|file| file.path.ends_with("/Cargo.toml"))
        .map(|file| (file, Manifest::parse(&file.text)))
        .collect();
    for (file, manifest) in &members {
        if !manifest.workspace_lints {
            findings.add(file, 0, "lacks `[lints] workspace = true`");
        }
        let Some((_, allowed)) = EDGES.iter().find(|(name, _)| *name == manifest.name) else {
            findings.add(file, 0, format!("crate `{}` has no line in tidy's EDGES", manifest.name));
            continue;
        };
        for dependency in &manifest.dependencies {
            let ours = members.iter().any(|(_, other)| other.name == *dependency);
            if ours && !allowed.contains(&dependency.as_str()) {
                let rule = format!("`{}` must not depend on `{dependency}`", manifest.name);
                findings.add(file, 0, rule);
            }
        }
    }
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(place, line)| (place + 1, line))
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|character: char| !character.is_alphanumeric() && character != '_')
}

fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}
