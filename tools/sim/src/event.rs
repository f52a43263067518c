//! What can happen in the world.

use model::api::{Reply, Request, TailMessage, TailOpen};
use raft::NodeId;
use shard::peer::PeerMessage;

use crate::disk::OpNumber;
use crate::nemesis::Deed;
use crate::node::Caller;

/// What is going to happen.
#[derive(Debug)]
pub(crate) enum Event {
    /// A shard takes a turn.
    Turn { node: usize, shard: u32, life: u32 },
    /// A shard is told that time has passed.
    Tick { node: usize, shard: u32, life: u32 },
    /// A message arrives.
    Deliver { from: usize, life: u32, sender: NodeId, to: NodeId, message: PeerMessage },
    /// Connections that do not stand are tried again.
    Dial,
    /// A node notices that a connection stands or broke.
    Link { to: usize, node: NodeId, up: bool },
    /// A disk has had its time.
    Disk { node: usize, shard: u32, life: u32, op: OpNumber },
    /// A process starts.
    Start { node: usize },
    /// Writes of a killed process land.
    LandLate { node: usize },
    /// A client goes on.
    Wake { client: usize },
    /// A client has waited long enough.
    Patience(Caller),
    /// A request arrives at a node.
    Arrive { caller: Caller, node: usize, request: Request },
    /// An answer arrives at a client.
    Answer(Caller, Reply),
    /// A tail is opened at a node.
    Follow { caller: Caller, node: usize, open: TailOpen },
    /// A tail's message arrives.
    TailMessage(Caller, TailMessage),
    /// A node learns that a connection has written so much.
    Credit { caller: Caller, bytes: u64 },
    /// A node learns that a tail's connection is gone.
    HangUp(Caller),
    /// A client learns that its node is gone.
    CutOff(Caller),
    /// The nemesis acts.
    Nemesis,
    /// Something planned happens.
    Deed(Deed),
    /// A fault ends, if it has not been followed by another of its kind.
    Mend(Mend),
    /// A node hears what operators want.
    Intent { node: usize },
}

/// The end of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mend {
    /// Links are whole, unless they were cut again since.
    Links { cut: u64 },
    /// A link is as fast as ever.
    Link { from: usize, to: usize },
    /// A disk is well.
    Disk { node: usize },
    /// A disk that lied loses power.
    Lie { node: usize, down: u64 },
    /// A wall clock goes on.
    Wall { node: usize },
    /// A node is restarted with the configuration of the day, if it has an older one.
    Configure { node: usize },
    /// A node may lead again; whether it led nothing until now must be looked at.
    Relief { node: usize, looked_at: bool },
}

impl Event {
    /// A number for the digest: what kind of event it is and whom it happens to.
    pub(crate) fn number(&self) -> u64 {
        let (kind, who) = match self {
            Event::Turn { node, shard, .. } => (1, node * 8 + *shard as usize),
            Event::Tick { node, shard, .. } => (2, node * 8 + *shard as usize),
            Event::Deliver { from, to, .. } => (3, from ^ (to.0 >> 32) as usize),
            Event::Link { to, up, .. } => (4, to * 2 + usize::from(*up)),
            Event::Disk { node, shard, .. } => (5, node * 8 + *shard as usize),
            Event::Start { node } => (6, *node),
            Event::LandLate { node } => (7, *node),
            Event::Wake { client } => (8, *client),
            Event::Patience(caller) => (9, caller.client),
            Event::Arrive { caller, .. } => (10, caller.client),
            Event::Answer(caller, _) => (11, caller.client),
            Event::Follow { caller, .. } => (12, caller.client),
            Event::TailMessage(caller, _) => (13, caller.client),
            Event::Credit { caller, .. } => (14, caller.client),
            Event::HangUp(caller) => (15, caller.client),
            Event::CutOff(caller) => (16, caller.client),
            Event::Nemesis => (17, 0),
            Event::Deed(_) => (18, 0),
            Event::Mend(_) => (19, 0),
            Event::Dial => (20, 0),
            Event::Intent { node } => (21, *node),
        };
        (kind << 32) + (who as u64 & 0xffff_ffff)
    }
}
