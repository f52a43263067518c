//! What a scenario found: figures of several rounds, summed up as least, median and greatest. A mean
//! is never given, and a percentile only where enough samples lie behind it.

use std::fmt::{self, Write as _};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use crate::cpu::Meter;

/// Names the layout of the JSON form.
const FORMAT: u32 = 1;
/// Longest latency told apart from longer ones, in nanoseconds: ten minutes.
const LATENCY_NANOS_MAX: u64 = 600_000_000_000;
/// Beyond so many CPUs taken by other programs, the machine was not at rest.
const CPUS_QUIET: f64 = 0.1;
/// Percentiles of a latency, with the samples one needs at least: one of them lies beyond it.
const PERCENTILES: [(&str, f64, u64); 5] = [
    ("p50", 50.0, 2),
    ("p90", 90.0, 10),
    ("p99", 99.0, 100),
    ("p99.9", 99.9, 1_000),
    ("p99.99", 99.99, 10_000),
];

/// Latencies, to three digits.
#[derive(Clone)]
pub(crate) struct Latencies(Histogram<u64>);

impl fmt::Debug for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Latencies({} samples)", self.count())
    }
}

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies(Histogram::new_with_bounds(1, LATENCY_NANOS_MAX, 3).expect("bounds are fixed"))
    }
}

impl Latencies {
    /// Takes one in; beyond ten minutes it counts as ten minutes.
    pub(crate) fn record(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.0.saturating_record(nanos.max(1));
    }

    /// Takes in all of another.
    pub(crate) fn merge(&mut self, other: &Latencies) {
        self.0.add(&other.0).expect("both have the same bounds");
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The percentile in microseconds, by name; `None` for other names and where there are too few
    /// samples for it.
    pub(crate) fn percentile(&self, name: &str) -> Option<f64> {
        let (_, percentile, samples_min) = PERCENTILES.iter().find(|row| row.0 == name)?;
        if self.count() < *samples_min {
            return None;
        }
        Some(micros(self.0.value_at_percentile(*percentile)))
    }

    /// Percentiles and maximum as figures whose names begin with `prefix`.
    pub(crate) fn figures(&self, prefix: &str) -> Vec<Figure> {
        let mut figures = Vec::new();
        for (name, _, _) in PERCENTILES {
            if let Some(value) = self.percentile(name) {
                figures.push(Figure::new(format!("{prefix}{name}"), Unit::Micros, value));
            }
        }
        if 0 < self.count() {
            figures.push(Figure::new(format!("{prefix}max"), Unit::Micros, micros(self.0.max())));
        }
        figures
    }
}

#[expect(clippy::cast_precision_loss, reason = "three digits are exact enough")]
fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1_000.0
}

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    PerSecond,
    MebibytesPerSecond,
    Micros,
    Millis,
    Bytes,
    Mebibytes,
    Count,
    /// One figure divided by another.
    Ratio,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unit::PerSecond => "1/s",
            Unit::MebibytesPerSecond => "MiB/s",
            Unit::Micros => "us",
            Unit::Millis => "ms",
            Unit::Bytes => "B",
            Unit::Mebibytes => "MiB",
            Unit::Count => "",
            Unit::Ratio => "x",
        })
    }
}

/// One measured value of one round.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) unit: Unit,
    pub(crate) value: f64,
}

impl Figure {
    pub(crate) fn new(name: impl Into<String>, unit: Unit, value: f64) -> Figure {
        Figure { name: name.into(), unit, value }
    }

    /// A number of things.
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
    pub(crate) fn count(name: impl Into<String>, value: u64) -> Figure {
        Figure::new(name, Unit::Count, value as f64)
    }
}

/// Rounds that were run the same way.
#[derive(Debug)]
struct Case {
    name: String,
    rounds: Vec<Vec<Figure>>,
}

/// Least, median and greatest of a figure over the rounds that have it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// The spread of some values; the median of an even number is the lower of the middle two, so
    /// that it is a value that was measured. `None` without values.
    pub(crate) fn of(values: &[f64]) -> Option<Spread> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        Some(Spread { min, median: sorted[(sorted.len() - 1) / 2], max })
    }
}

/// What a scenario found.
#[derive(Debug)]
pub(crate) struct Report {
    scenario: &'static str,
    settings: Map<String, Value>,
    cases: Vec<Case>,
    notes: Vec<String>,
    sound: bool,
    meter: Meter,
}

impl Report {
    pub(crate) fn new(scenario: &'static str) -> Report {
        let (settings, cases, notes) = (Map::new(), Vec::new(), Vec::new());
        Report { scenario, settings, cases, notes, sound: true, meter: Meter::start() }
    }

    /// Notes what other programs took of the machine since the report was begun. Right once the
    /// servers started by this process have ended.
    pub(crate) fn conclude(mut self) -> Report {
        if let Some(others) = self.meter.others() {
            let others = (others * 1_000.0).round() / 1_000.0;
            self.set("cpus_of_others", others);
            if CPUS_QUIET < others {
                self.note(format!(
                    "other programs kept {others} CPUs busy meanwhile: quote ratios from one run, \
                     never these figures alone"
                ));
            }
        }
        self
    }

    /// Notes how the scenario was run.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.settings.insert(name.to_owned(), value.into());
    }

    /// Adds a round to a case; cases appear in the order of their first rounds.
    pub(crate) fn add(&mut self, case: &str, figures: Vec<Figure>) {
        match self.cases.iter_mut().find(|known| known.name == case) {
            Some(known) => known.rounds.push(figures),
            None => self.cases.push(Case { name: case.to_owned(), rounds: vec![figures] }),
        }
    }

    /// Adds a sentence for the reader, once.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Adds a sentence about something that makes the figures worthless.
    pub(crate) fn doubt(&mut self, reason: impl Into<String>) {
        self.sound = false;
        self.note(reason);
    }

    /// Whether the figures can be believed.
    pub(crate) fn sound(&self) -> bool {
        self.sound
    }

    /// The JSON form.
    pub(crate) fn json(&self) -> Value {
        let cases: Vec<Value> = self.cases.iter().map(Case::json).collect();
        json!({
            "format": FORMAT,
            "scenario": self.scenario,
            "machine": machine(),
            "settings": self.settings,
            "cases": cases,
            "notes": self.notes,
            "sound": self.sound,
        })
    }

    /// The form for people: one block a case, one line a figure.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        let settings: Vec<String> =
            self.settings.iter().map(|(name, value)| format!("{name} {value}")).collect();
        let mut line = |words: fmt::Arguments<'_>| {
            writeln!(text, "{words}").expect("a string takes everything");
        };
        line(format_args!("{}: {}", self.scenario, settings.join(", ")));
        for case in &self.cases {
            line(format_args!(
                "  {:<32} {:>5}  {:>12} {:>12} {:>12}",
                format!("[{}, runs {}]", case.name, case.rounds.len()),
                "",
                "min",
                "median",
                "max"
            ));
            for (name, unit, spread) in case.spreads() {
                line(format_args!(
                    "    {name:<30} {:>5}  {:>12} {:>12} {:>12}",
                    unit.to_string(),
                    number(spread.min),
                    number(spread.median),
                    number(spread.max)
                ));
            }
        }
        for note in &self.notes {
            line(format_args!("  note: {note}"));
        }
        text
    }

    /// The median of a figure of a case.
    #[cfg(test)]
    pub(crate) fn median(&self, case: &str, figure: &str) -> Option<f64> {
        let case = self.cases.iter().find(|known| known.name == case)?;
        let (_, _, spread) = case.spreads().into_iter().find(|(name, _, _)| name == figure)?;
        Some(spread.median)
    }
}

impl Case {
    /// Every figure in the order of its first appearance.
    fn spreads(&self) -> Vec<(String, Unit, Spread)> {
        let mut names: Vec<(&str, Unit)> = Vec::new();
        for figure in self.rounds.iter().flatten() {
            if !names.iter().any(|(name, _)| *name == figure.name) {
                names.push((&figure.name, figure.unit));
            }
        }
        let spread = |name| Spread::of(&self.values(name)).expect("a figure with this name");
        names.into_iter().map(|(name, unit)| (name.to_owned(), unit, spread(name))).collect()
    }

    fn values(&self, name: &str) -> Vec<f64> {
        let figures = self.rounds.iter().flatten();
        figures.filter(|figure| figure.name == name).map(|figure| figure.value).collect()
    }

    fn json(&self) -> Value {
        let figures: Vec<Value> = self
            .spreads()
            .into_iter()
            .map(|(name, unit, spread)| {
                json!({
                    "values": self.values(&name),
                    "name": name,
                    "unit": unit.to_string(),
                    "min": spread.min,
                    "median": spread.median,
                    "max": spread.max,
                })
            })
            .collect();
        json!({ "name": self.name, "runs": self.rounds.len(), "figures": figures })
    }
}

/// Three digits behind the point for small numbers, none for large ones.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size < 10.0 => format!("{value:.3}"),
        size if size < 10_000.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// Where the figures come from.
fn machine() -> Value {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    json!({ "cores": cores, "kernel": kernel.trim() })
}
