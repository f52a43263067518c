//! The long form of the drills of real processes. The gate runs the short one among the tests.

use std::path::Path;

use crate::gate;

/// What can be said, the variable that the drills read, and what counts if nothing is said.
const SIZES: [(&str, &str, u64); 8] = [
    ("--kills", "DRILL_KILLS", 200),
    ("--all", "DRILL_ALL", 50),
    ("--rounds", "DRILL_ROUNDS", 5),
    ("--cycles", "DRILL_CYCLES", 20),
    ("--seconds", "DRILL_SECONDS", 20),
    ("--memory", "DRILL_MEMORY", 0),
    ("--rest", "DRILL_REST_MS", 70),
    ("--seed", "DRILL_SEED", 1),
];

/// Runs the drills whose names hold one of the words, all of them if there is none.
///
/// # Errors
/// A size that is not a number, or a drill that failed.
pub(crate) fn run(root: &Path, words: &[&str]) -> Result<(), String> {
    let (sizes, names) = parse(words)?;
    let test = ["test", "--release", "--package", "starcite-cli", "--test", "faults", "--"];
    let words: Vec<&str> = [&test[..], &["--nocapture"], &names].concat();
    gate::cargo_with(root, &words, &sizes)
}

/// Variables with their values, and names.
type Parsed<'a> = (Vec<(&'static str, String)>, Vec<&'a str>);

/// Sizes and names.
pub(crate) fn parse<'a>(words: &[&'a str]) -> Result<Parsed<'a>, String> {
    let mut sizes = SIZES.map(|(_, variable, usual)| (variable, usual));
    let mut names = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let Some(place) = SIZES.iter().position(|(said, ..)| said == word) else {
            if word.starts_with('-') {
                return Err(format!("unknown flag `{word}`"));
            }
            names.push(*word);
            continue;
        };
        let number = words.next().and_then(|text| text.parse().ok());
        sizes[place].1 = number.ok_or_else(|| format!("`{word}` wants a number"))?;
    }
    Ok((sizes.map(|(variable, size)| (variable, size.to_string())).to_vec(), names))
}
