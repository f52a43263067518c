//! A real node that another one, which is proven, tells whatever can be read.

use std::sync::Arc;

use bytes::Bytes;
use model::ids::GroupId;
use raft::{Body, Index, Membership, Message, NodeId, Snapshot, Term};
use shard::peer::{PeerMessage, SnapshotStep};

use super::super::links::{GROUPS, Node};
use super::super::{client_wire, wire};
use super::messages::{of_clients, of_shards};
use super::{Dice, cases};
use crate::peer::frame::{Kind, Label, Lane};

/// Whether a node must survive a message whatever it says. Entries that no leader made may contradict
/// what is committed: a node that is told so ends.
fn is_harmless(message: &PeerMessage) -> bool {
    match message {
        PeerMessage::Raft { message: Message { body, .. }, .. } => {
            !matches!(body, Body::Append { entries, .. } if !entries.is_empty())
        }
        PeerMessage::Pulse(_) | PeerMessage::Snapshot { .. } => true,
    }
}

/// What the other node believes the term of all groups is: most of what it says is of that one, so that
/// it is not put aside as old.
struct Story {
    term: u64,
}

impl Story {
    /// Makes a message concern a group that exists, and mostly the time it is said at.
    fn place(&mut self, message: &mut PeerMessage, dice: &mut Dice) {
        match message {
            PeerMessage::Raft { group, message } => {
                group.0 %= GROUPS;
                self.term += u64::from(dice.once_in(8));
                if !dice.once_in(50) {
                    message.term = Term(self.term.saturating_sub(u64::from(dice.once_in(10))));
                }
                self.term = self.term.max(message.term.0.min(self.term + 1_000));
            }
            PeerMessage::Snapshot { group, .. } => group.0 %= GROUPS,
            PeerMessage::Pulse(_) => {}
        }
    }

    /// A batch for a lane, which does not end the connection by its form.
    fn batch(&mut self, lane: Lane, dice: &mut Dice) -> Vec<u8> {
        loop {
            if lane == Lane::Client {
                let messages = of_clients(&client_wire::samples(), dice);
                if !messages.is_empty() {
                    return client_wire::encoded(&messages);
                }
                continue;
            }
            let mut messages = of_shards(&samples(), dice);
            messages.retain(is_harmless);
            messages.iter_mut().for_each(|message| self.place(message, dice));
            if !messages.is_empty() {
                return wire::encoded(&messages);
            }
        }
    }
}

/// Beside one of each kind, snapshots that are small enough to be taken.
fn samples() -> Vec<PeerMessage> {
    let (number, group) = (12, GroupId(1));
    let members = [1, 2].map(NodeId).to_vec();
    let head = Snapshot {
        last: (Term(4), Index(17)),
        membership: Arc::new(Membership::new(members, Vec::new())),
    };
    let frames = Bytes::from_static(b"no sessions at all");
    let length = frames.len() as u64;
    let steps = [
        SnapshotStep::Offer { number, head: head.clone(), frames: length },
        SnapshotStep::Offer { number, head, frames: 0 },
        SnapshotStep::Frames { number, offset: 0, bytes: frames },
    ];
    let steps = steps.map(|step| PeerMessage::Snapshot { group, step });
    wire::samples().into_iter().chain(steps).collect()
}

#[test]
fn a_node_outlives_what_another_says() {
    cases(3, |dice| {
        let node = Node::start();
        let mut story = Story { term: 1 };
        for round in 0..30 {
            let lane = [Lane::Log, Lane::Bulk, Lane::Client][round % 3];
            let batch = Label { lane, kind: Kind::Batch };
            let (mut wire, mut session) = node.connect(node.papers(), lane).expect("it lives");
            for _ in 0..40 {
                let archive = story.batch(lane, dice);
                wire.send_sealed(&mut session, batch, &archive);
            }
            // A batch that may not be said ends the connection, and nothing else.
            wire.send_sealed(&mut session, Label { kind: Kind::Hello, ..batch }, b"");
            wire.await_end();
        }
        assert!(node.connect(node.papers(), Lane::Log).is_ok(), "it lives");
    });
}
