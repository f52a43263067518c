//! Lines on standard output, for programs to read. A reader that goes away ends the command without a
//! word, as it ends others in a pipe.

use std::io::{self, Write};

use model::error::Fatal;

use crate::failure::Failure;

/// Prints a line at once.
///
/// # Errors
/// If nobody can read it.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = out
        .write_all(text.as_bytes())
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush());
    written.map_err(|error| {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Failure::told(Fatal::Failed);
        }
        Failure::failed(format!("cannot write to standard output: {error}"))
    })
}

/// Prints a line for the person at the terminal; not worth a failure.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr(), "starcite: {text}");
}
