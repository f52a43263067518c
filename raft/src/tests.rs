//! Tests of the machine. `cluster` is the world most of them run in: nodes with disks and a network,
//! whose properties are checked after every step. The others talk to a single node by hand.

use std::sync::Arc;

use crate::membership::Membership;
use crate::message::{Body, Content, Entry, HardState, Index, Message, NodeId, Term};
use crate::node::{Config, Node, Restored};

mod cluster;
mod dice;
mod doubt;
mod log;
mod node;
mod oracle;
mod paper;
mod print;
mod quorum;
mod random;
mod recovery;
#[cfg(feature = "sabotage")]
mod sabotage;
mod script;
mod thesis;
mod world;

const ELECTION_TICKS: u32 = 10;
const HEARTBEAT_TICKS: u32 = 2;
const GRANTED: Body = Body::VoteReply { granted: true };
const REFUSED: Body = Body::VoteReply { granted: false };
const WOULD: Body = Body::PreVoteReply { granted: true };

fn config(id: u64) -> Config {
    Config {
        id: NodeId(id),
        election_ticks: ELECTION_TICKS,
        heartbeat_ticks: HEARTBEAT_TICKS,
        quiet_ticks: 0,
        seed: 0,
        inflight_max: 8,
        append_bytes_max: 1 << 20,
        lease: false,
        #[cfg(feature = "sabotage")]
        sabotage: None,
    }
}

fn ids(ids: impl IntoIterator<Item = u64>) -> Vec<NodeId> {
    ids.into_iter().map(NodeId).collect()
}

/// Voters 1 to `count`.
fn voters(count: u64) -> Arc<Membership> {
    Arc::new(Membership::new(ids(1..=count), Vec::new()))
}

fn command(text: &str) -> Content {
    Content::Command(text.as_bytes().into())
}

fn entry(term: u64, index: u64) -> Entry {
    let content = command(&format!("{term}.{index}"));
    Entry { term: Term(term), index: Index(index), content }
}

/// Entries of these terms, from index 1 on.
fn entries(terms: &[u64]) -> Vec<Entry> {
    terms.iter().zip(1..).map(|(term, index)| entry(*term, index)).collect()
}

/// What a node has on its disk: this term, nobody's vote, and a log of these terms.
fn restored(count: u64, term: u64, log: &[u64]) -> Restored {
    let hard_state = HardState { term: Term(term), vote: None };
    Restored { hard_state, entries: entries(log), ..Restored::fresh(voters(count)) }
}

/// Node 1 of `voters`, with a log of these terms on its disk.
fn node(count: u64, term: u64, log: &[u64]) -> Node {
    Node::new(config(1), restored(count, term, log))
}

/// A message to node 1.
fn from(from: u64, term: u64, body: Body) -> Message {
    Message { from: NodeId(from), to: NodeId(1), term: Term(term), body }
}

fn place(term: u64, index: u64) -> (Term, Index) {
    (Term(term), Index(index))
}

fn append(previous: (Term, Index), entries: Vec<Entry>, committed: u64) -> Body {
    Body::Append { previous, entries, committed: Index(committed), round: 0 }
}

fn accepted(matched: u64) -> Body {
    Body::AppendAccepted { matched: Index(matched), round: 0 }
}

fn rejected(previous: u64, hint: (Term, Index)) -> Body {
    Body::AppendRejected { previous: Index(previous), hint, round: 0 }
}

fn vote_request(last: (Term, Index)) -> Body {
    Body::VoteRequest { last, transferred: false }
}

/// The same, whatever round it belongs to.
fn without_round(mut body: Body) -> Body {
    if let Body::Append { round, .. }
    | Body::AppendAccepted { round, .. }
    | Body::AppendRejected { round, .. } = &mut body
    {
        *round = 0;
    }
    body
}

/// Lets a node do all it wants, with a disk that takes no time. What it said, and what it was told to
/// apply.
fn settle(node: &mut Node) -> (Vec<Message>, Vec<Entry>) {
    let (mut messages, mut committed) = (Vec::new(), Vec::new());
    while node.has_ready() {
        let ready = node.ready();
        messages.extend(ready.messages);
        messages.extend(ready.messages_after_persist);
        committed.extend(ready.committed);
        if let Some(receipt) = ready.receipt {
            node.persisted(receipt);
        }
    }
    if let Some(last) = committed.last() {
        node.applied(last.index);
    }
    (messages, committed)
}

/// What a node says when it has settled.
fn said(node: &mut Node) -> Vec<Body> {
    settle(node).0.into_iter().map(|message| without_round(message.body)).collect()
}

/// Has node 1 stand: all others say that they would vote for it.
fn stand(node: &mut Node) {
    let term = node.status().term.0 + 1;
    node.campaign();
    settle(node);
    let electors: Vec<NodeId> = node.membership().electors().collect();
    for voter in electors {
        node.step(from(voter.0, term, WOULD));
    }
}

/// Node 1 of `voters` as the leader of the term after `term`, its first entry durable on its own disk
/// and under way to the others.
fn leader(voters: u64, term: u64, log: &[u64]) -> Node {
    leader_of(node(voters, term, log))
}

/// The same node, elected by all.
fn leader_of(mut node: Node) -> Node {
    let term = node.status().term.0 + 1;
    stand(&mut node);
    settle(&mut node);
    let electors: Vec<NodeId> = node.membership().electors().collect();
    for voter in electors {
        node.step(from(voter.0, term, GRANTED));
    }
    settle(&mut node);
    node
}
