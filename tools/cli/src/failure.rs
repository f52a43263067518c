//! Why a command failed, and how the operator is told: once, in one line.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use model::error::Fatal;

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    end: Fatal,
    /// `None` if the operator has been told already.
    message: Option<String>,
}

impl Failure {
    /// A failure with its exit status.
    pub(crate) fn new(end: Fatal, message: impl fmt::Display) -> Failure {
        Failure { end, message: Some(message.to_string()) }
    }

    /// A failure of a command, for which no status of its own is laid down.
    pub(crate) fn failed(message: impl fmt::Display) -> Failure {
        Failure::new(Fatal::Failed, message)
    }

    /// A failure that was printed or logged where it happened.
    pub(crate) fn told(end: Fatal) -> Failure {
        Failure { end, message: None }
    }

    /// What clap made of the command line: help, or a mistake.
    pub(crate) fn arguments(error: &clap::Error) -> Result<(), Failure> {
        // Help that cannot be printed is nobody's concern.
        let _ = error.print();
        if error.use_stderr() { Err(Failure::told(Fatal::Configuration)) } else { Ok(()) }
    }

    /// Logs the failure, so that it need not be printed; for a server whose lines have a form.
    pub(crate) fn log(self) -> Failure {
        if let Some(message) = &self.message {
            tracing::error!(status = self.end.status(), "{message}");
        }
        Failure::told(self.end)
    }

    /// Tells the operator, if nobody has, and names the status to exit with.
    pub(crate) fn exit_code(self) -> ExitCode {
        if let Some(message) = self.message {
            // There is nowhere else to say it.
            let _ = writeln!(io::stderr(), "starcite: {message}");
        }
        ExitCode::from(self.end.status())
    }
}

impl From<model::config::Problem> for Failure {
    fn from(problem: model::config::Problem) -> Failure {
        Failure::new(Fatal::Configuration, problem)
    }
}

impl From<uring::DataDirError> for Failure {
    fn from(error: uring::DataDirError) -> Failure {
        Failure::new(error.fatal(), error)
    }
}

impl From<uring::CoresError> for Failure {
    fn from(error: uring::CoresError) -> Failure {
        Failure::new(error.fatal(), error)
    }
}
