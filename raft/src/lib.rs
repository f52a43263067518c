//! Raft as a pure machine: no IO, no clock, no threads, no randomness but a seed.
//!
//! A [`Node`] is one member of a group. Causes are method calls; consequences wait in the node until
//! [`Node::ready`] hands them over:
//!
//! ```text
//!  tick, campaign,            +---> hard state, entries ---> disk ----+
//!  propose, step ---> Node ---+---> messages --> network              |
//!                      ^      +---> committed -> state machine ---+   |
//!                      |                                          |   |
//!                      +--- applied(index) <----------------------+   |
//!                      +--- persisted(receipt) <----------------------+
//! ```
//!
//! # What whoever drives a node promises
//!
//! 1. Writes happen in the order of the Readys, each as one batch: hard state first, then entries. A
//!    crash may lose a suffix of the batches and of the last one, nothing else.
//! 2. [`Node::persisted`] is called when a batch is durable, in order. Further Readys may be taken
//!    before: the next batch grows while one is written.
//! 3. [`Ready::messages`] may leave at once; [`Ready::messages_after_persist`] only when that Ready's
//!    write is durable. Messages may be lost and doubled.
//! 4. [`Ready::committed`] is applied in order, and [`Node::applied`] says so.
//! 5. After a crash, [`Node::new`] gets exactly what was durable. A node that comes back with less
//!    breaks the group.
//!
//! A failed write has no place here: end the process.
//!
//! # What a node promises
//!
//! 1. An entry is committed only when a quorum has it on disk; its own disk counts as one vote, for a
//!    group of one as for any other.
//! 2. A term has at most one leader; its vote and term are durable before anybody hears of them.
//! 3. What comes in [`Ready::committed`] is the same, in the same order, on every node of the group.
//! 4. What is accepted is at least what is submitted (handed out for writing), and that is at least
//!    what is durable. Whatever counts towards a quorum counts the last of these.
//! 5. A receipt that comes late, when its entries have been replaced, is harmless.
//!
//! # Example
//!
//! A group of one, from its first start to its first committed entry:
//!
//! ```
//! use starcite_raft::{Config, Entry, Node, NodeId, Ready, Restored};
//!
//! /// Writes what a Ready asks for, as if the disk took no time.
//! fn persist(node: &mut Node, disk: &mut Vec<Entry>) -> Ready {
//!     let mut ready = node.ready();
//!     disk.extend(ready.entries.iter().cloned());
//!     if let Some(receipt) = ready.receipt.take() {
//!         node.persisted(receipt);
//!     }
//!     ready
//! }
//!
//! let id = NodeId(1);
//! let config =
//!     Config { id, voters: vec![id], election_ticks: 10, heartbeat_ticks: 1, seed: 7 };
//! let mut node = Node::new(config, Restored::default());
//! let mut disk = Vec::new();
//!
//! // A group of one need not wait for silence.
//! node.campaign();
//! let ready = persist(&mut node, &mut disk);
//! assert_eq!(ready.hard_state.expect("a vote").vote, Some(id));
//!
//! // Its vote is durable, so it leads.
//! let (_, index) = node.propose(b"hello"[..].into()).expect("it leads");
//! let ready = persist(&mut node, &mut disk);
//! assert!(ready.committed.is_empty(), "nothing is committed before it is durable");
//!
//! // Now it is: the entry a leader begins with, then ours.
//! let ready = node.ready();
//! assert_eq!(ready.committed, disk);
//! assert_eq!(ready.committed[1].payload[..], b"hello"[..]);
//! node.applied(index);
//! assert!(!node.has_ready());
//! ```
//!
//! # Reading order
//!
//! `message` (the words), `ready` (the conversation with the driver), `node` (the face), `log`,
//! `quorum`, `election`, `leader`, `follower`, `invariants`; then a script in `testdata`.
//!
//! There is no pre-vote, no snapshot, no change of members and no read index here yet; a follower that
//! needs what has left the leader's memory cannot catch up.

#![forbid(unsafe_code)]

mod change;
mod doubt;
mod election;
mod follower;
mod invariants;
mod leader;
mod log;
mod membership;
mod message;
mod node;
mod progress;
mod quorum;
mod read;
mod ready;
#[cfg(feature = "sabotage")]
mod sabotage;
mod status;
#[cfg(test)]
mod tests;

pub use membership::Membership;
pub use message::{Body, Content, Entry, HardState, Index, Message, NodeId, Snapshot, Term};
pub use node::{Config, Node, Restored};
pub use progress::{PeerState, PeerStatus};
pub use ready::{Read, Ready, Receipt};
#[cfg(feature = "sabotage")]
pub use sabotage::Sabotage;
pub use status::{ChangeRefused, NotLeader, Role, Status, TransferRefused};
