//! Raft as a pure machine: no IO, no clock, no threads, no randomness but a seed.
//!
//! A [`Node`] is one member of a group. Causes are method calls; consequences wait in the node until
//! [`Node::ready`] hands them over:
//!
//! ```text
//!  tick, campaign, propose,   +---> hard state, snapshot, entries ---> disk --+
//!  read, change, transfer,    |                                               |
//!  step, restore ---> Node ---+---> messages --> network                      |
//!                      ^      +---> snapshots -> streams of state --+         |
//!                      |      +---> reads ----> whoever asked       |         |
//!                      |      +---> committed -> state machine --+  |         |
//!                      |                                         |  |         |
//!                      +--- applied(index) <---------------------+  |         |
//!                      +--- snapshot_ended(to) <--------------------+         |
//!                      +--- persisted(receipt) <------------------------------+
//! ```
//!
//! # What whoever drives a node promises
//!
//! *Writing*
//!
//! 1. Writes happen in the order of the Readys, each as one batch: hard state, then snapshot, then
//!    entries. A crash may lose a suffix of the batches and of the last one, nothing else.
//! 2. [`Node::persisted`] is called when a batch is durable, in order. Further Readys may be taken
//!    before: the next batch grows while one is written.
//! 3. [`Ready::messages`] may leave at once; [`Ready::messages_after_persist`] only when that Ready's
//!    write is durable. Messages may be lost, doubled, late and out of order, but reach only the node
//!    they name, and say who sent them.
//! 4. [`Ready::snapshot`] makes the log on disk begin behind it. Of the entries written before, those
//!    behind it stay if the one at its place has its term; otherwise none does.
//! 5. After a crash, [`Node::new`] gets exactly what was durable: the last hard state, the snapshot the
//!    log begins with (a checkpoint of the driver, or one that was taken over), and the entries behind.
//!    Whoever cannot tell whether the end of the log is missing says so ([`Restored::doubtful`], with a
//!    name that no other life of the node has), and again after every restart for as long as
//!    [`Node::is_doubtful`] said yes. A node that comes back with less, and does not say so, breaks the
//!    group; one whose disk is gone comes back under another id, as a new member.
//!
//! *Applying and snapshots*
//!
//! 6. [`Ready::committed`] is applied in order, at once, and [`Node::applied`] says so. Entries with no
//!    command in them count as well.
//! 7. A checkpoint holds the state as of what is applied *and* durable, [`Node::membership_applied`] as it
//!    was then, and [`Node::hard_state`]; after it [`Node::compact`] lets entries go. Compacting without
//!    a checkpoint is allowed: entries then still are on disk.
//! 8. A peer named in [`Ready::snapshots`] is sent the state as of what is applied, in some way of the
//!    driver's own. [`Node::snapshot_ended`] is called when that has ended, well or not; a peer is named
//!    again if it still lacks something. When a state has arrived somewhere and is durable, it is given to
//!    [`Node::restore`]: after everything handed out before has been applied, and it replaces the state
//!    only if that says so.
//!
//!    A node that joins later starts with the members the group began with, or with none, and then sends
//!    nobody its state before it knows them.
//!
//! *Time*
//!
//! 9. [`Node::tick`] is called at an even pace, on all nodes the same. If leases are used
//!    ([`Config::lease`]), ticks that are due are made up for before anything else is done, also after
//!    the process stood still.
//! 10. A node at rest ([`Node::is_quiet`]) need not be ticked. Whoever watches the *machines* of a group
//!     wakes it: [`Node::suspect_leader`] while the machine of the leader does not answer, for as long as
//!     that is so; [`Node::wake`] when a machine is back, and [`Node::peer_is_back`] on nodes without a
//!     leader. A node at rest on a machine that should not be in the group is told to
//!     [`Node::ask_whether_member`] now and then.
//! 11. A leader whose disk does not answer is told to [`Node::step_down`].
//!
//! *Asking*
//!
//! 12. No two reads of a node carry the same context, not even in two of its lives. A read is answered
//!     once, and lost with the process.
//! 13. How many proposals and reads wait is bounded by the driver; what waits here for a leader is
//!     bounded anyway, and refused beyond that.
//!
//! A failed write has no place here: end the process.
//!
//! # What a node promises
//!
//! 1. An entry is committed only when a quorum has it on disk; its own disk counts as one vote, for a
//!    group of one as for any other. While voters change, both sets of them must agree.
//! 2. A term has at most one leader; its vote and term are durable before anybody hears of them.
//! 3. What comes in [`Ready::committed`] is the same, in the same order, on every node of the group.
//! 4. What is accepted is at least what is submitted (handed out for writing), and that is at least
//!    what is durable. Whatever counts towards a quorum counts the last of these.
//! 5. A receipt that comes late, when its entries have been replaced, is harmless.
//! 6. The index of a read is at least that of everything anybody was told is committed before the read
//!    was asked for.
//! 7. A node that cannot hear does not disturb those that can: it asks before it stands, and who hears a
//!    leader refuses. A leader that hears no quorum for an election timeout steps down. After elections in
//!    vain all of them wait longer, up to nine timeouts: where a round trip takes longer than a timeout,
//!    somebody is elected all the same. When enough machines are back they wait two at most.
//! 8. A change of members counts from when it is in the log. One is made at a time, and only by a leader
//!    that has committed something of its own; it is finished by the leader, whoever that is by then.
//!    Whoever it removes is told, also if it was away: a node that hears no leader asks those it knows,
//!    and who leads sends it the log until it knows that it is no member. It counts for nothing,
//!    but a newer term of its unseats that leader once.
//! 9. A node in doubt neither votes nor stands before it has asked the others, and never for a log that
//!    ends before the longest it has heard of. That is safe as long as no other loses anything meanwhile
//!    and all others can be asked, those too that they name as voters, and those that these name; if some
//!    cannot, it goes on without them after two election timeouts. A leader that was asked counts it for
//!    nothing until it has said anew what it holds: what it acknowledged before commits nothing any more,
//!    however late it arrives.
//! 10. A group with nothing to do comes to rest if it may ([`Config::quiet_ticks`]): no messages, no ticks.
//!
//! # Example
//!
//! A group of one, from its first start to its first committed entry:
//!
//! ```
//! use std::sync::Arc;
//!
//! use starcite_raft::{Config, Content, Entry, Membership, Node, NodeId, Ready, Restored};
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
//! let config = Config {
//!     id,
//!     election_ticks: 10,
//!     heartbeat_ticks: 1,
//!     quiet_ticks: 0,
//!     seed: 7,
//!     inflight_max: 8,
//!     append_bytes_max: 1 << 20,
//!     lease: false,
//! #   #[cfg(feature = "sabotage")]
//! #   sabotage: None,
//! };
//! let members = Arc::new(Membership::new(vec![id], Vec::new()));
//! let mut node = Node::new(config, Restored::fresh(members));
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
//! assert_eq!(ready.committed[0].content, Content::Begin);
//! assert_eq!(ready.committed[1].content, Content::Command(b"hello"[..].into()));
//! node.applied(index);
//!
//! // A read needs no round among so few, and waits for nothing.
//! node.read(1);
//! let ready = node.ready();
//! assert_eq!(ready.reads[0].index, Some(index));
//! assert!(!node.has_ready());
//! ```
//!
//! # Reading order
//!
//! `message` (the words), `ready` (the conversation with the driver), `node` (the face), `log`,
//! `membership`, `quorum`, `election`, `leader`, `progress`, `follower`, `read`, `change`, `astray`,
//! `doubt`, `limits`, `invariants`; then a script in `testdata`.
//!
//! The feature `sabotage` breaks rules on purpose, for tests that must find it.

#![forbid(unsafe_code)]

mod astray;
mod change;
mod doubt;
mod election;
mod follower;
mod invariants;
mod leader;
mod limits;
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

pub use limits::ELECTION_TIMEOUTS_MAX;
pub use membership::Membership;
pub use message::{Body, Content, Entry, HardState, Index, Life, Message, NodeId, Snapshot, Term};
pub use node::{Config, Node, Restored};
pub use progress::{PeerState, PeerStatus};
pub use ready::{Read, Ready, Receipt};
#[cfg(feature = "sabotage")]
pub use sabotage::Sabotage;
pub use status::{ChangeRefused, NotLeader, Role, Status, TransferRefused};
