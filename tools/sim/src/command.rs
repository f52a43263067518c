//! The command line.

use crate::options::Options;

/// What can be asked for.
pub(crate) const USAGE: &str = "\
cargo sim SEED [OPTION=VALUE ...] [--twice] [--trace]
cargo sim --seeds FROM..TO [OPTION=VALUE ...] [--twice] [--threads N]
cargo sim --enumerate [--seeds FROM..TO] [--threads N]
cargo sabotage NAME|all --seeds FROM..TO
  options: nodes=N seconds=N clients=N calm=MILLISECONDS weather=calm
           faults=all|none|NAME,NAME... without=NAME,NAME... scenario=NAME theme=NAME extras=none|old";

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Seeds `[first, end)`.
    pub(crate) first: u64,
    pub(crate) end: u64,
    /// Options changed in every run.
    pub(crate) changes: Vec<String>,
    /// Whether each seed runs twice and must come to the same.
    pub(crate) twice: bool,
    /// Whether each event is printed.
    pub(crate) trace: bool,
    /// Runs at a time.
    pub(crate) threads: usize,
    /// Which bug on purpose is looked for, or all.
    pub(crate) sabotage: Option<String>,
    /// Whether everything that can happen to files is gone through instead.
    pub(crate) enumerate: bool,
}

impl Plan {
    /// The options of one seed.
    ///
    /// # Errors
    /// A change that cannot be understood.
    pub(crate) fn options(&self, seed: u64) -> Result<Options, String> {
        let mut options = Options::of(seed);
        for change in &self.changes {
            options.set(change)?;
        }
        if let Some(nodes) = options.scenario.and_then(crate::scenario::Scenario::nodes) {
            options.set(&format!("nodes={nodes}"))?;
        }
        Ok(options)
    }
}

/// Reads the command line.
///
/// # Errors
/// What cannot be understood.
pub(crate) fn parse(arguments: &[String]) -> Result<Plan, String> {
    let mut plan = Plan {
        first: 0,
        end: 0,
        changes: Vec::new(),
        twice: false,
        trace: false,
        threads: 2,
        sabotage: None,
        enumerate: false,
    };
    let mut words = arguments.iter().map(String::as_str);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} wants a value"));
        match word {
            "--twice" => plan.twice = true,
            "--enumerate" => {
                plan.enumerate = true;
                (plan.first, plan.end) = crate::enumerate::SEEDS;
            }
            "--trace" => plan.trace = true,
            "--sabotage" => plan.sabotage = Some(value()?.to_owned()),
            "--threads" => plan.threads = number(value()?)?,
            "--seeds" => {
                let (first, end) = value()?.split_once("..").ok_or("--seeds wants FROM..TO")?;
                (plan.first, plan.end) = (number(first)?, number(end)?);
            }
            _ if word.contains('=') => plan.changes.push(word.to_owned()),
            _ => {
                plan.first = number(word)?;
                plan.end = plan.first + 1;
            }
        }
    }
    if plan.end <= plan.first {
        return Err("no seed".to_owned());
    }
    if plan.threads == 0 {
        return Err("no thread".to_owned());
    }
    plan.options(plan.first)?;
    Ok(plan)
}

fn number<N: std::str::FromStr>(text: &str) -> Result<N, String> {
    text.parse().map_err(|_| format!("{text} is no number"))
}
