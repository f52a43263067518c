//! Shows what is in the files of a data directory. Opens everything for reading only and takes no
//! lock, so that it works on a crashed directory, on a copy, and beside a running server, whose files
//! may change while they are read.

mod checkpoint;
mod files;
mod session;
mod wal;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::failure::Failure;

/// What to look at.
#[derive(Debug, Subcommand)]
pub(crate) enum Inspect {
    /// The log of each shard: its segments, and whether it is whole.
    Wal(wal::Wal),
    /// The checkpoints of each shard.
    Checkpoint(checkpoint::Checkpoint),
    /// All that the files know of one session.
    Session(session::Session),
}

impl Inspect {
    /// Looks.
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Inspect::Wal(wal) => wal.run(),
            Inspect::Checkpoint(checkpoint) => checkpoint.run(),
            Inspect::Session(session) => session.run(),
        }
    }
}

/// Where to look.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// The data directory.
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: PathBuf,
}
