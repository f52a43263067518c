//! How transcripts show things: an entry is `term/index`, its payload follows in quotes.

use crate::message::{Body, Entry, Index, Message, NodeId, Term};
use crate::node::{Role, Status};
use crate::ready::Receipt;

use super::cluster::TakenReady;

/// More of a payload than this is not shown.
const SHOWN_MAX: usize = 16;

pub(super) fn position((term, index): (Term, Index)) -> String {
    format!("{term}/{index}")
}

pub(super) fn entry(entry: &Entry) -> String {
    let payload = String::from_utf8_lossy(&entry.payload);
    let (shown, rest) = payload.split_at_checked(SHOWN_MAX).unwrap_or((&payload, ""));
    let more = if rest.is_empty() { String::new() } else { format!("... {} bytes", payload.len()) };
    format!("{} '{}'{more}", position(entry.position()), shown.trim_end())
}

fn node(id: Option<NodeId>) -> String {
    id.map_or("-".into(), |id| id.to_string())
}

pub(super) fn message(message: &Message) -> String {
    let Message { from, to, term, body } = message;
    let body = match body {
        Body::VoteRequest { last } => format!("vote-request last={}", position(*last)),
        Body::VoteReply { granted: true } => "vote granted".into(),
        Body::VoteReply { granted: false } => "vote refused".into(),
        Body::Append { previous, entries, committed } => {
            let mut text = format!("append after={} committed={committed}", position(*previous));
            for appended in entries {
                text.push_str(&format!(" [{}]", entry(appended)));
            }
            text
        }
        Body::AppendAccepted { matched } => format!("accepted matched={matched}"),
        Body::AppendRejected { previous, hint } => {
            format!("rejected after={previous} hint={}", position(*hint))
        }
    };
    format!("{from}->{to} term={term} {body}")
}

pub(super) fn receipt(receipt: &Receipt) -> String {
    let last = receipt.last.map_or("-".into(), position);
    format!("term={} last={last}", receipt.term)
}

pub(super) fn status(status: &Status) -> String {
    let Status { role, term, leader, last, durable, committed, applied, first } = status;
    let role = match role {
        Role::Follower => "follower",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
    };
    let leader = node(*leader);
    let log = format!("first={first} last={last} durable={durable}");
    format!("{role} term={term} leader={leader} {log} committed={committed} applied={applied}")
}

/// One line each.
pub(super) fn ready(ready: &TakenReady) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(hard) = ready.hard_state {
        lines.push(format!("write term={} vote={}", hard.term, node(hard.vote)));
    }
    lines.extend(ready.entries.iter().map(|written| format!("write {}", entry(written))));
    lines.extend(ready.receipt.iter().map(|asked| format!("receipt {}", receipt(asked))));
    lines.extend(ready.messages.iter().map(|sent| format!("send {}", message(sent))));
    let parked = ready.messages_after_persist.iter();
    lines.extend(parked.map(|sent| format!("send-after-persist {}", message(sent))));
    lines.extend(ready.committed.iter().map(|applied| format!("apply {}", entry(applied))));
    if lines.is_empty() {
        lines.push("nothing".into());
    }
    lines
}
