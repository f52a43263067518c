//! How transcripts show things: an entry is `term/index`, its payload follows in quotes.

use crate::membership::Membership;
use crate::message::{Body, Content, Entry, Index, Message, NodeId, Snapshot, Term};
use crate::progress::{PeerState, PeerStatus};
use crate::ready::{Read, Receipt};
use crate::status::{Role, Status};

use super::cluster::TakenReady;

/// More of a payload than this is not shown.
const SHOWN_MAX: usize = 16;

pub(super) fn position((term, index): (Term, Index)) -> String {
    format!("{term}/{index}")
}

pub(super) fn entry(entry: &Entry) -> String {
    let content = match &entry.content {
        Content::Begin => "begin".into(),
        Content::Membership(members) => membership(members),
        Content::Command(payload) => {
            let payload = String::from_utf8_lossy(payload);
            let (shown, rest) = payload.split_at_checked(SHOWN_MAX).unwrap_or((&payload, ""));
            let more = if rest.is_empty() {
                String::new()
            } else {
                format!("... {} bytes", payload.len())
            };
            format!("'{}'{more}", shown.trim_end())
        }
    };
    format!("{} {content}", position(entry.position()))
}

fn list(ids: &[NodeId]) -> String {
    let ids: Vec<String> = ids.iter().map(NodeId::to_string).collect();
    ids.join(",")
}

pub(super) fn membership(membership: &Membership) -> String {
    let mut text = format!("voters={}", list(&membership.voters));
    if membership.is_joint() {
        text.push_str(&format!(" outgoing={}", list(&membership.outgoing)));
    }
    if !membership.learners.is_empty() {
        text.push_str(&format!(" learners={}", list(&membership.learners)));
    }
    text
}

pub(super) fn snapshot(snapshot: &Snapshot) -> String {
    format!("snapshot {} {}", position(snapshot.last), membership(&snapshot.membership))
}

fn node(id: Option<NodeId>) -> String {
    id.map_or("-".into(), |id| id.to_string())
}

pub(super) fn message(message: &Message) -> String {
    let Message { from, to, term, body } = message;
    format!("{from}->{to} term={term} {}", self::body(body))
}

fn granted(granted: bool) -> &'static str {
    if granted { "granted" } else { "refused" }
}

/// The round of a read is shown where there is one.
fn in_round(round: u64) -> String {
    if round == 0 { String::new() } else { format!(" round={round}") }
}

fn body(body: &Body) -> String {
    match body {
        Body::PreVoteRequest { last } => format!("pre-vote-request last={}", position(*last)),
        Body::PreVoteReply { granted } => format!("pre-vote {}", self::granted(*granted)),
        Body::VoteRequest { last, transferred } => {
            let why = if *transferred { " transferred" } else { "" };
            format!("vote-request last={}{why}", position(*last))
        }
        Body::VoteReply { granted } => format!("vote {}", self::granted(*granted)),
        Body::Append { previous, entries, committed, round } => {
            let mut text = format!("append after={} committed={committed}", position(*previous));
            text.push_str(&in_round(*round));
            for appended in entries {
                text.push_str(&format!(" [{}]", entry(appended)));
            }
            text
        }
        Body::AppendAccepted { matched, round } => {
            format!("accepted matched={matched}{}", in_round(*round))
        }
        Body::AppendRejected { previous, hint, round } => {
            let round = in_round(*round);
            format!("rejected after={previous} hint={}{round}", position(*hint))
        }
        Body::Rest { last } => format!("rest last={}", position(*last)),
        Body::ReadRequest { context } => format!("read-request {context}"),
        Body::ReadReply { context, index } => format!("read-reply {context} {}", at(*index)),
        Body::TimeoutNow => "timeout-now".into(),
        Body::Astray { node } => format!("astray {node}"),
        Body::Doubt { life, last } => format!("doubt life={life} last={}", position(*last)),
        Body::DoubtReply { life, remembered, last, voters } => {
            let (last, voters) = (position(*last), list(voters));
            format!("doubt-reply life={life} remembered={remembered} last={last} voters={voters}")
        }
    }
}

fn at(index: Option<Index>) -> String {
    index.map_or("in vain".into(), |index| format!("at {index}"))
}

fn read(read: &Read) -> String {
    format!("read {} {}", read.context, at(read.index))
}

pub(super) fn progress(peer: &PeerStatus) -> String {
    let PeerStatus { id, matched, state, active } = peer;
    let state = match state {
        PeerState::Probe => "probe",
        PeerState::Replicate => "replicate",
        PeerState::Snapshot => "snapshot",
    };
    format!("{id}: {state} matched={matched}{}", if *active { "" } else { " silent" })
}

pub(super) fn receipt(receipt: &Receipt) -> String {
    let last = receipt.last.map_or("-".into(), position);
    format!("term={} last={last}", receipt.term)
}

pub(super) fn status(status: &Status) -> String {
    let Status { role, term, leader, last, durable, committed, applied, first, .. } = status;
    let role = match role {
        Role::Follower => "follower",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
    };
    let leader = node(*leader);
    let log = format!("first={first} last={last} durable={durable}");
    let quiet = if status.quiet { " quiet" } else { "" };
    let heir = status.transferring.map_or(String::new(), |heir| format!(" hands over to {heir}"));
    let state = format!("committed={committed} applied={applied}{quiet}{heir}");
    format!("{role} term={term} leader={leader} {log} {state}")
}

/// One line each.
pub(super) fn ready(ready: &TakenReady) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(hard) = ready.hard_state {
        lines.push(format!("write term={} vote={}", hard.term, node(hard.vote)));
    }
    lines.extend(ready.snapshot.iter().map(|taken| format!("write {}", snapshot(taken))));
    lines.extend(ready.entries.iter().map(|written| format!("write {}", entry(written))));
    lines.extend(ready.receipt.iter().map(|asked| format!("receipt {}", receipt(asked))));
    lines.extend(ready.messages.iter().map(|sent| format!("send {}", message(sent))));
    let parked = ready.messages_after_persist.iter();
    lines.extend(parked.map(|sent| format!("send-after-persist {}", message(sent))));
    lines.extend(ready.committed.iter().map(|applied| format!("apply {}", entry(applied))));
    lines.extend(ready.reads.iter().map(read));
    lines.extend(ready.snapshots.iter().map(|to| format!("snapshot for {to}")));
    if lines.is_empty() {
        lines.push("nothing".into());
    }
    lines
}
