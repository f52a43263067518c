//! What operators ask a running server and tell it: readable lines, and the expressions that runbooks
//! of the reference give to its remote console.

mod console;
mod elixir;
mod expression;

use std::env;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use model::config;
use model::error::Fatal;

use crate::failure::Failure;
use crate::output;

use console::{Console, Wait};
pub(crate) use console::{leave_address, leave_token};
#[cfg(test)]
pub(crate) use elixir::inspect;
#[cfg(test)]
pub(crate) use expression::{Call, parse};

/// Milliseconds that are waited if none are named.
const WAIT_MS: u64 = 30_000;

/// Whose server is asked.
#[derive(Debug, Args)]
struct Whose {
    /// The server's data directory; its owner may ask. [env: STARCITE_DATA_DIR]
    #[arg(long, global = true, value_name = "DIRECTORY")]
    data_dir: Option<PathBuf>,
}

impl Whose {
    fn console(self) -> Console {
        let named = || env::var_os(config::DATA_DIR.name).map(PathBuf::from);
        let default = || PathBuf::from(config::DATA_DIR_DEFAULT);
        Console::new(self.data_dir.or_else(named).unwrap_or_else(default))
    }
}

/// The arguments of `ops`.
#[derive(Debug, Args)]
pub(crate) struct Ops {
    #[command(flatten)]
    whose: Whose,
    #[command(subcommand)]
    deed: Deed,
}

#[derive(Debug, Subcommand)]
enum Deed {
    /// Prints all that the node knows of itself and of others, as JSON.
    Status,
    /// Prints the nodes that may be asked for anything.
    ReadyNodes,
    /// Has a node relieved: it hands over what it leads and counts as not ready, until it is undrained.
    Drain {
        /// The node; this one if none is named.
        node: Option<String>,
    },
    /// Has a node do its share again.
    Undrain {
        /// The node; this one if none is named.
        node: Option<String>,
    },
    /// Prints the nodes that should hold a group, the one that should lead it first.
    GroupReplicas {
        /// The group's number.
        id: String,
    },
    /// Waits until this node takes requests.
    WaitReady {
        /// Milliseconds.
        #[arg(default_value_t = WAIT_MS)]
        milliseconds: u64,
    },
    /// Waits until this node is relieved and every node that is alive knows.
    WaitDrained {
        /// Milliseconds.
        #[arg(default_value_t = WAIT_MS)]
        milliseconds: u64,
    },
}

impl Ops {
    /// Does it and prints what came of it.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let console = self.whose.console();
        let wait = |wait: Wait, milliseconds: u64| {
            if console.wait(wait, milliseconds) {
                return Ok(format!("{}=true", wait.key()));
            }
            let key = wait.key();
            Err(Failure::failed(format!("timeout waiting for {key} after {milliseconds}ms")))
        };
        let line = match self.deed {
            Deed::Status => console.status()?.to_string(),
            Deed::ReadyNodes => format!("ready_nodes={}", console.ready_nodes()?.join(",")),
            Deed::Drain { node } => {
                format!("node {} marked draining", console.say("drain", node.as_deref())?)
            }
            Deed::Undrain { node } => {
                format!("node {} marked ready", console.say("undrain", node.as_deref())?)
            }
            Deed::GroupReplicas { id } => {
                format!("group_replicas={}", console.replicas(&id)?.join(","))
            }
            Deed::WaitReady { milliseconds } => wait(Wait::Ready, milliseconds)?,
            Deed::WaitDrained { milliseconds } => wait(Wait::Drained, milliseconds)?,
        };
        output::line(&line)
    }
}

/// The arguments of `rpc`.
#[derive(Debug, Args)]
pub(crate) struct Rpc {
    #[command(flatten)]
    whose: Whose,
    /// `Starcite.ControlPlane.Ops.<function>(<arguments>)`
    expression: String,
}

impl Rpc {
    /// Evaluates the expression and prints its value. An `{:error, _}` is printed, and a failure.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let call = expression::parse(&self.expression)
            .map_err(|why| Failure::new(Fatal::Configuration, why))?;
        let value = elixir::evaluate(&self.whose.console(), call)?;
        output::line(&value)?;
        if value.starts_with("{:error,") { Err(Failure::told(Fatal::Failed)) } else { Ok(()) }
    }
}
