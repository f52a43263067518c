//! What operators ask a running server and tell it: readable lines, and the expressions that runbooks
//! of the reference give to its remote console.

mod console;
mod elixir;
mod expression;
mod listing;

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
#[cfg(test)]
pub(crate) use listing::members as members_text;

/// Milliseconds that are waited if none are named.
const WAIT_MS: u64 = 30_000;

/// The same for groups to move, which takes as long as copying what they hold.
const WAIT_MEMBERS_MS: u64 = 600_000;

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
    /// Has a group led by a node whenever that can lead it, and waits until it does.
    Transfer {
        /// The group's number.
        group: String,
        /// The node, which must hold a copy of the group.
        #[arg(required_unless_present = "release")]
        node: Option<String>,
        /// Lets the group be led by whichever node its place gives, as before.
        #[arg(long, conflicts_with = "node")]
        release: bool,
    },
    /// Prints who holds data, or changes that while all goes on.
    Members {
        #[command(subcommand)]
        deed: Option<MembersDeed>,
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

#[derive(Debug, Subcommand)]
enum MembersDeed {
    /// Prints each node, what it holds and leads, and what is being moved.
    List,
    /// Has a node hold data. It is told to the others if it is not in their configuration.
    Add {
        /// `name@host[:port]`, the port that of its peers; its name alone if it is configured.
        node: String,
    },
    /// Has a node hold no data any more: its groups move to others, online.
    Remove {
        /// The node.
        node: String,
    },
    /// Waits until every group is held by just the nodes that should hold it.
    Wait {
        /// Milliseconds.
        #[arg(default_value_t = WAIT_MEMBERS_MS)]
        milliseconds: u64,
    },
}

impl Ops {
    /// Does it and prints what came of it.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let console = self.whose.console();
        let line = match self.deed {
            Deed::Status => console.status()?.to_string(),
            Deed::ReadyNodes => format!("ready_nodes={}", console.ready_nodes()?.join(",")),
            Deed::Drain { node } => {
                format!("node {} marked draining", console.say("drain", node.as_deref())?)
            }
            Deed::Undrain { node } => {
                format!("node {} marked ready", console.say("undrain", node.as_deref())?)
            }
            Deed::Transfer { group, node, .. } => transfer(&console, &group, node.as_deref())?,
            Deed::Members { deed } => members(&console, deed.unwrap_or(MembersDeed::List))?,
            Deed::GroupReplicas { id } => {
                format!("group_replicas={}", console.replicas(&id)?.join(","))
            }
            Deed::WaitReady { milliseconds } => wait(&console, Wait::Ready, milliseconds)?,
            Deed::WaitDrained { milliseconds } => wait(&console, Wait::Drained, milliseconds)?,
        };
        output::line(&line)
    }
}

fn wait(console: &Console, wait: Wait, milliseconds: u64) -> Result<String, Failure> {
    let key = wait.key();
    if console.wait(wait, milliseconds) {
        return Ok(format!("{key}=true"));
    }
    Err(Failure::failed(format!("timeout waiting for {key} after {milliseconds}ms")))
}

fn transfer(console: &Console, group: &str, node: Option<&str>) -> Result<String, Failure> {
    let Some(node) = node else {
        console.release(group)?;
        return Ok(format!("group {group} may be led by any node that holds it"));
    };
    let node = console.transfer(group, node)?;
    let leads = || console.leader(group).is_ok_and(|leader| leader.as_deref() == Some(&*node));
    if console.wait_until(WAIT_MS, leads) {
        return Ok(format!("group {group} led by {node}"));
    }
    let text = format!("{node} does not lead group {group} after {WAIT_MS}ms; it is still to");
    Err(Failure::failed(text))
}

fn members(console: &Console, deed: MembersDeed) -> Result<String, Failure> {
    Ok(match deed {
        MembersDeed::List => listing::members(&console.members()?),
        MembersDeed::Add { node } => {
            format!("node {} is to hold data", console.member("add", &node)?)
        }
        MembersDeed::Remove { node } => {
            format!("node {} is to hold no data", console.member("remove", &node)?)
        }
        MembersDeed::Wait { milliseconds } => wait(console, Wait::Settled, milliseconds)?,
    })
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
