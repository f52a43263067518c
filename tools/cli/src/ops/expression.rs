//! The expressions of runbooks: one call of one module, with plain arguments. Everything else is
//! refused, since nothing here is a console.

use super::WAIT_MS;

const MODULE: &str = "Starcite.ControlPlane.Ops.";

/// What an expression asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    Status,
    ReadyNodes,
    LocalMode,
    LocalReady,
    LocalDrained,
    DrainNode(Option<String>),
    UndrainNode(Option<String>),
    WaitLocalReady(u64),
    WaitLocalDrained(u64),
    GroupReplicas(u64),
    ParseKnownNode(String),
    ParseGroupId(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Argument {
    Integer(u64),
    /// A string or an atom.
    Text(String),
}

/// Reads an expression.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parse(expression: &str) -> Result<Call, String> {
    let bad = |why: &str| format!("cannot evaluate {expression:?}: {why}");
    let form = || bad(&format!("only {MODULE}<function>(<arguments>) is understood"));
    let rest = expression.trim().strip_prefix(MODULE).ok_or_else(form)?;
    let (name, rest) = rest.split_once('(').ok_or_else(form)?;
    let inside = rest.strip_suffix(')').ok_or_else(form)?;
    let arguments = arguments(inside).map_err(|why| bad(&why))?;
    call(name, &arguments).ok_or_else(|| {
        let count = arguments.len();
        bad(&format!("there is no function {name}/{count} that takes such arguments"))
    })
}

fn call(name: &str, arguments: &[Argument]) -> Option<Call> {
    use Argument::{Integer, Text};
    Some(match (name, arguments) {
        ("status", []) => Call::Status,
        ("ready_nodes", []) => Call::ReadyNodes,
        ("local_mode", []) => Call::LocalMode,
        ("local_ready", []) => Call::LocalReady,
        ("local_drained", []) => Call::LocalDrained,
        ("drain_node", []) => Call::DrainNode(None),
        ("drain_node", [Text(node)]) => Call::DrainNode(Some(node.clone())),
        ("undrain_node", []) => Call::UndrainNode(None),
        ("undrain_node", [Text(node)]) => Call::UndrainNode(Some(node.clone())),
        ("wait_local_ready", []) => Call::WaitLocalReady(WAIT_MS),
        ("wait_local_ready", [Integer(ms)]) => Call::WaitLocalReady(*ms),
        ("wait_local_drained", []) => Call::WaitLocalDrained(WAIT_MS),
        ("wait_local_drained", [Integer(ms)]) => Call::WaitLocalDrained(*ms),
        ("group_replicas", [Integer(group)]) => Call::GroupReplicas(*group),
        ("parse_known_node", [Text(node)]) => Call::ParseKnownNode(node.clone()),
        ("parse_group_id", [Text(group)]) => Call::ParseGroupId(group.clone()),
        _ => return None,
    })
}

fn arguments(inside: &str) -> Result<Vec<Argument>, String> {
    let mut arguments = Vec::new();
    let mut rest = inside.trim();
    while !rest.is_empty() {
        let (argument, after) = argument(rest)?;
        arguments.push(argument);
        rest = after.trim_start();
        if rest.is_empty() {
            break;
        }
        let next = rest.strip_prefix(',').map(str::trim_start).filter(|next| !next.is_empty());
        rest = next.ok_or_else(|| format!("{rest:?} follows an argument"))?;
    }
    Ok(arguments)
}

/// The first argument, and what stands behind it.
fn argument(text: &str) -> Result<(Argument, &str), String> {
    if let Some(quoted) = text.strip_prefix(":\"").or_else(|| text.strip_prefix('"')) {
        return string(quoted).map(|(text, rest)| (Argument::Text(text), rest));
    }
    let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    if let Some(atom) = word.strip_prefix(':') {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'@');
        let is_atom = !atom.is_empty() && atom.bytes().all(plain);
        let first = atom.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
        return match is_atom && first {
            true => Ok((Argument::Text(atom.to_owned()), rest)),
            false => Err(format!("{word:?} is no atom")),
        };
    }
    let digits = word.replace('_', "");
    let plain = word.starts_with(|first: char| first.is_ascii_digit()) && !word.ends_with('_');
    let number = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok());
    match number.flatten().filter(|_| plain) {
        Some(number) => Ok((Argument::Integer(number), rest)),
        None => Err(format!("{word:?} is neither a whole number nor a string nor an atom")),
    }
}

/// What a string says whose first quote is taken off, and what stands behind the last.
fn string(quoted: &str) -> Result<(String, &str), String> {
    let mut text = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Ok((text, &quoted[at + 1..])),
            '\\' => match chars.next() {
                Some((_, escaped @ ('"' | '\\'))) => text.push(escaped),
                _ => return Err("a string with an escape that is not understood".to_owned()),
            },
            '#' if quoted[at + 1..].starts_with('{') => {
                return Err("nothing is put into strings".to_owned());
            }
            plain => text.push(plain),
        }
    }
    Err("a string that does not end".to_owned())
}
