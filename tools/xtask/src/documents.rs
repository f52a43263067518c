//! The documents that are written from tables of the model, so that they cannot say anything else.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use model::config::{Kind, Standing, VARIABLES, Variable};
use model::error::{Code, Effect, Fatal};
use model::metric::{self, Metric};

const NOTE: &str = "<!-- Written by `cargo xtask docs` from the tables of `engine/model`. -->";

/// Every such document: its path, and what it must say.
pub(crate) fn all() -> Vec<(&'static str, String)> {
    vec![("docs/config.md", config()), ("docs/errors.md", errors()), ("docs/metrics.md", metrics())]
}

/// Writes those that say something else.
///
/// # Errors
/// Which file cannot be written.
pub(crate) fn write(root: &Path) -> Result<(), String> {
    for (path, text) in all() {
        let place = root.join(path);
        if fs::read_to_string(&place).is_ok_and(|old| old == text) {
            continue;
        }
        let folder = place.parent().expect("a document lies in a folder");
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        fs::write(&place, text).map_err(|error| format!("{path}: {error}"))?;
    }
    Ok(())
}

fn config() -> String {
    let mut text = format!(
        "# Configuration\n\n{NOTE}\n\n\
         `starcite serve` is configured by its environment; a flag says the same and wins. A value \
         that cannot be read stops the start with one line that names the variable and exit status \
         {}.\n\n\
         Numbers are whole and above zero. Sizes are digits with a unit in powers of 1024, upper or \
         lower case (`B`, `K`, `KB`, `KiB`, `M`, ... `T`); **without a unit they count megabytes**. \
         A yes or no is `1`, `true`, `yes`, `on` or `0`, `false`, `no`, `off`.\n\n",
        Fatal::Configuration.status()
    );
    table(&mut text, ["variable", "flag", "value", "when not set", "meaning"]);
    for variable in VARIABLES.iter().filter(|variable| variable.standing == Standing::Used) {
        row(
            &mut text,
            [name(variable), flag(variable), kind(variable), default(variable), meaning(variable)],
        );
    }
    text.push_str(
        "\n## Taken without effect\n\n\
         These are known from elsewhere. Each is checked for its form and then named in a warning, \
         as is every other variable that begins with `STARCITE_` or `FASTPACA_`.\n\n",
    );
    table(&mut text, ["variable", "value", "why it has no effect"]);
    for variable in VARIABLES.iter().filter(|variable| variable.standing == Standing::Inert) {
        row(&mut text, [name(variable), kind(variable), meaning(variable)]);
    }
    text
}

fn errors() -> String {
    let mut text = format!(
        "# Errors\n\n{NOTE}\n\n\
         A refusal is a JSON object `{{\"error\": code, \"message\": text}}`; branch on the code, \
         print the text. *Undone* means that nothing happened and nothing will. *Unknown* means \
         that it may have happened or may yet: repeat an append with the same `producer_id` and \
         `producer_seq`, and it is in the log once.\n\n"
    );
    table(
        &mut text,
        ["code", "status", "the deed is", "try again after", "text, unless it is more exact"],
    );
    for code in Code::ALL {
        let effect = match code.effect() {
            Effect::None => "undone",
            Effect::Unknown => "unknown",
        };
        let retry = code.retry_after_seconds().map(|seconds| format!("{seconds} s"));
        row(
            &mut text,
            [
                format!("`{}`", code.name()),
                code.status().to_string(),
                effect.to_owned(),
                retry.unwrap_or_default(),
                code.message().to_owned(),
            ],
        );
    }
    text.push_str("\n## Exit status\n\n");
    table(&mut text, ["status", "why the process ended"]);
    row(&mut text, ["0".to_owned(), "It was asked to.".to_owned()]);
    for fatal in Fatal::ALL {
        row(&mut text, [fatal.status().to_string(), fatal.meaning().to_owned()]);
    }
    text
}

fn metrics() -> String {
    let mut text = format!(
        "# Metrics\n\n{NOTE}\n\n\
         `GET /metrics` shows them in the Prometheus text format, unless `STARCITE_ENABLE_TELEMETRY` \
         is off. Labels hold values of closed sets, never an id of a session, an event or a client.\n\n"
    );
    table(&mut text, ["metric", "kind", "unit", "labels", "meaning"]);
    for metric in Metric::ALL {
        let kind = match metric.kind() {
            metric::Kind::Counter => "counter",
            metric::Kind::Gauge => "gauge",
            metric::Kind::Histogram(_) => "histogram",
        };
        let unit = match metric.unit() {
            metric::Unit::Count => "",
            metric::Unit::Bytes => "bytes",
            metric::Unit::Seconds => "seconds",
            metric::Unit::Milliseconds => "milliseconds",
        };
        let labels: Vec<String> =
            metric.labels().iter().map(|label| format!("`{label}`")).collect();
        row(
            &mut text,
            [
                format!("`{}`", metric.name()),
                kind.to_owned(),
                unit.to_owned(),
                labels.join(", "),
                metric.help().to_owned(),
            ],
        );
    }
    text
}

fn name(variable: &Variable) -> String {
    format!("`{}`", variable.name)
}

fn flag(variable: &Variable) -> String {
    if variable.flag.is_empty() { String::new() } else { format!("`--{}`", variable.flag) }
}

fn default(variable: &Variable) -> String {
    variable.default.to_owned()
}

fn meaning(variable: &Variable) -> String {
    variable.meaning.to_owned()
}

fn kind(variable: &Variable) -> String {
    match variable.kind {
        Kind::Integer => "number".to_owned(),
        Kind::IntegerOrZero => "number or 0".to_owned(),
        Kind::Size => "size".to_owned(),
        Kind::Fraction => "0.01 to 0.99".to_owned(),
        Kind::Boolean => "yes or no".to_owned(),
        Kind::Word(words) => {
            words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
        }
        Kind::Text => "text".to_owned(),
    }
}

fn table<const COLUMNS: usize>(text: &mut String, heads: [&str; COLUMNS]) {
    row(text, heads.map(str::to_owned));
    row(text, heads.map(|_| "---".to_owned()));
}

fn row<const COLUMNS: usize>(text: &mut String, cells: [String; COLUMNS]) {
    let cells = cells.map(|cell| cell.replace('|', "\\|")).join(" | ");
    writeln!(text, "| {cells} |").expect("a string takes every write");
}
