//! Values as the reference's console prints them.

use model::error::Code;
use serde_json::Value;

use super::console::{Console, Trouble, Wait};
use super::expression::Call;
use crate::failure::Failure;

/// Members of a status whose values are atoms, or are maps or lists of them.
const ATOMS: [&str; 3] = ["local_mode", "status", "node_statuses"];

/// Does what an expression asks for. Returns its value as text.
///
/// # Errors
/// If the server cannot be asked, or refuses for a reason that the reference does not know.
pub(crate) fn evaluate(console: &Console, call: Call) -> Result<String, Failure> {
    let scalar = |key: &str| -> Result<String, Failure> {
        let status = console.status()?;
        Ok(inspect(&status[key], ATOMS.contains(&key)))
    };
    let wait = |wait, ms| {
        let text = if console.wait(wait, ms) { ":ok" } else { "{:error, :timeout}" };
        Ok(text.to_owned())
    };
    match call {
        Call::Status => Ok(inspect(&console.status()?, false)),
        Call::ReadyNodes => Ok(list(console.ready_nodes()?)),
        Call::LocalMode => scalar("local_mode"),
        Call::LocalReady => scalar(Wait::Ready.key()),
        Call::LocalDrained => scalar(Wait::Drained.key()),
        Call::DrainNode(node) => said(console.say("drain", node.as_deref())),
        Call::UndrainNode(node) => said(console.say("undrain", node.as_deref())),
        Call::WaitLocalReady(ms) => wait(Wait::Ready, ms),
        Call::WaitLocalDrained(ms) => wait(Wait::Drained, ms),
        Call::GroupReplicas(group) => {
            console.replicas(&group.to_string()).map(list).or_else(refused)
        }
        Call::ParseKnownNode(node) => {
            let status = console.status()?;
            let short = node.split_once('@').map_or(&*node, |(short, _)| short);
            let known = status["write_nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
            let found =
                [&*node, short].into_iter().find(|name| known.contains(&Value::from(*name)));
            Ok(found.map_or("{:error, :invalid_write_node}".to_owned(), |name| {
                format!("{{:ok, {}}}", Value::from(name))
            }))
        }
        Call::ParseGroupId(group) => match console.replicas(&group) {
            Ok(_) => {
                Ok(format!("{{:ok, {}}}", group.trim_start_matches('0').parse().unwrap_or(0_u64)))
            }
            Err(trouble) => refused(trouble),
        },
    }
}

fn said(outcome: Result<String, Trouble>) -> Result<String, Failure> {
    outcome.map(|_| ":ok".to_owned()).or_else(refused)
}

/// A refusal that the reference would return as a value.
fn refused(trouble: Trouble) -> Result<String, Failure> {
    match trouble {
        Trouble::Refused { code, .. } if code != Code::Unauthorized.name() => {
            Ok(format!("{{:error, :{code}}}"))
        }
        trouble => Err(trouble.into()),
    }
}

fn list(names: Vec<String>) -> String {
    inspect(&Value::from(names), false)
}

/// A value as text; strings as atoms where they stand for words.
pub(crate) fn inspect(value: &Value, as_atoms: bool) -> String {
    match value {
        Value::Null => "nil".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(word) if as_atoms => format!(":{word}"),
        Value::String(_) => value.to_string(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| inspect(item, as_atoms)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(members) => {
            let member = |(key, value): (&String, &Value)| {
                let value = inspect(value, as_atoms || ATOMS.contains(&key.as_str()));
                // Names of nodes are no words of ours.
                if as_atoms {
                    format!("{} => {value}", Value::from(key.as_str()))
                } else {
                    format!("{key}: {value}")
                }
            };
            let members: Vec<String> = members.iter().map(member).collect();
            format!("%{{{}}}", members.join(", "))
        }
    }
}
