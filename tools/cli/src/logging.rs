//! Lines on standard error: JSON for machines, text for a terminal.

use std::env;
use std::io::{self, IsTerminal};

use model::config::{LogFormat, LogLevel};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

/// Sends what this process logs to standard error, from now on.
pub(crate) fn start(format: LogFormat, level: LogLevel) {
    let terminal = io::stderr().is_terminal();
    let builder = fmt().with_writer(io::stderr).with_env_filter(EnvFilter::new(directives(level)));
    match format {
        LogFormat::Json => builder.json().flatten_event(true).init(),
        LogFormat::Auto if !terminal => builder.json().flatten_event(true).init(),
        LogFormat::Auto | LogFormat::Text => {
            let colour = terminal && env::var_os("NO_COLOR").is_none();
            builder.with_ansi(colour).with_target(false).init();
        }
    }
}

/// Our own lines down to the level, those of libraries only if they warn of something.
fn directives(level: LogLevel) -> String {
    let ours = match level {
        LogLevel::Error => return "error".to_owned(),
        LogLevel::Warn => return "warn".to_owned(),
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    // Every crate of ours begins with this name.
    format!("warn,starcite={ours}")
}
