//! Says whether this machine can run a server, and how to mend what stands in the way.

pub(crate) mod disk;
pub(crate) mod machine;

pub(crate) use self::machine::FILES_RESERVED;

use std::path::PathBuf;

use clap::Args;
use model::error::Fatal;

use crate::failure::Failure;
use crate::output;

/// The arguments of `doctor`.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// The data directory a server is to use; need not exist yet.
    #[arg(long, value_name = "DIRECTORY", default_value = "/var/lib/starcite")]
    data_dir: PathBuf,
}

/// What came of looking at one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The thing.
    pub(crate) what: &'static str,
    /// What was found.
    pub(crate) found: String,
    /// What that means.
    pub(crate) verdict: Verdict,
}

/// What a finding means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// As it should be.
    Good,
    /// A server starts, but not as well as it could; how to mend that.
    Poor(String),
    /// A server does not start; how to mend that.
    Bad(String),
}

impl Finding {
    pub(crate) fn good(what: &'static str, found: impl Into<String>) -> Finding {
        Finding { what, found: found.into(), verdict: Verdict::Good }
    }

    pub(crate) fn poor(
        what: &'static str,
        found: impl Into<String>,
        mend: impl Into<String>,
    ) -> Finding {
        Finding { what, found: found.into(), verdict: Verdict::Poor(mend.into()) }
    }

    pub(crate) fn bad(
        what: &'static str,
        found: impl Into<String>,
        mend: impl Into<String>,
    ) -> Finding {
        Finding { what, found: found.into(), verdict: Verdict::Bad(mend.into()) }
    }

    /// One line for what was found, and one for how to mend it.
    pub(crate) fn lines(&self) -> Vec<String> {
        let (mark, mend) = match &self.verdict {
            Verdict::Good => ("ok  ", None),
            Verdict::Poor(mend) => ("poor", Some(mend)),
            Verdict::Bad(mend) => ("BAD ", Some(mend)),
        };
        let mut lines = vec![format!("{mark}  {:<16}{}", self.what, self.found)];
        lines.extend(mend.map(|mend| format!("{:22}mend: {mend}", "")));
        lines
    }
}

impl Doctor {
    /// Looks at everything, and fails if something keeps a server from starting.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let mut bad = 0;
        let mut show = |finding: Finding| -> Result<(), Failure> {
            bad += usize::from(matches!(finding.verdict, Verdict::Bad(_)));
            finding.lines().iter().try_for_each(|line| output::line(line))
        };
        machine::findings().into_iter().try_for_each(&mut show)?;
        disk::findings(&self.data_dir, &mut show)?;
        match bad {
            0 => Ok(()),
            1 => Err(Failure::failed("one thing keeps a server from starting")),
            _ => Err(Failure::new(
                Fatal::Failed,
                format!("{bad} things keep a server from starting"),
            )),
        }
    }
}
