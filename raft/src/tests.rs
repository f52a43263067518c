//! Tests of the machine. `cluster` is the world most of them run in: nodes with disks and a network,
//! whose properties are checked after every step. The others talk to a single node by hand.

use crate::message::{Body, Entry, HardState, Index, Message, NodeId, Term};
use crate::node::{Config, Node, Restored};

mod cluster;
mod log;
mod node;
mod paper;
mod print;
mod quorum;
mod random;
mod script;

const ELECTION_TICKS: u32 = 10;
const HEARTBEAT_TICKS: u32 = 2;

fn config(id: u64, voters: u64) -> Config {
    Config {
        id: NodeId(id),
        voters: (1..=voters).map(NodeId).collect(),
        election_ticks: ELECTION_TICKS,
        heartbeat_ticks: HEARTBEAT_TICKS,
        seed: 0,
    }
}

fn entry(term: u64, index: u64) -> Entry {
    let payload = format!("{term}.{index}").into_bytes().into();
    Entry { term: Term(term), index: Index(index), payload }
}

/// Entries of these terms, from index 1 on.
fn entries(terms: &[u64]) -> Vec<Entry> {
    terms.iter().zip(1..).map(|(term, index)| entry(*term, index)).collect()
}

/// Node 1 of `voters`, with a log of these terms on its disk.
fn node(voters: u64, term: u64, log: &[u64]) -> Node {
    let hard_state = HardState { term: Term(term), vote: None };
    let restored = Restored { hard_state, entries: entries(log), ..Restored::default() };
    Node::new(config(1, voters), restored)
}

/// A message to node 1.
fn from(from: u64, term: u64, body: Body) -> Message {
    Message { from: NodeId(from), to: NodeId(1), term: Term(term), body }
}

fn place(term: u64, index: u64) -> (Term, Index) {
    (Term(term), Index(index))
}

fn append(previous: (Term, Index), entries: Vec<Entry>, committed: u64) -> Body {
    Body::Append { previous, entries, committed: Index(committed) }
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
    settle(node).0.into_iter().map(|message| message.body).collect()
}

/// Node 1 of `voters` as the leader of the term after `term`, its first entry durable on its own disk
/// and under way to the others.
fn leader(voters: u64, term: u64, log: &[u64]) -> Node {
    let mut node = node(voters, term, log);
    node.campaign();
    settle(&mut node);
    for voter in 2..=voters {
        node.step(from(voter, term + 1, Body::VoteReply { granted: true }));
    }
    settle(&mut node);
    node
}
