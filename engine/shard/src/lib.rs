//! One shard: everything a core owns, as a pure machine.
//!
//! A driver hands in causes ([`effect::Input`]) and acts on consequences ([`effect::Effect`]):
//!
//! ```text
//!  gather   wait for an input or the next tick, then take what is there
//!  step     shard.step(input, now) for each: changes state, does nothing
//!  settle   shard.settle(now, &mut effects) once: drains every group, seals one log batch for all of
//!           them, resolves replies, moves tails on
//!  perform  effects become calls on Disk and Clients
//! ```
//!
//! All proposals of a turn share one write and one sync; while that is in flight the next batch
//! grows. Nothing here does IO, reads a clock, draws a random number or starts a thread.
//!
//! In reading order: [`effect`] is the border, [`shard`] the turn, `group` one Raft group, `machine`
//! and [`session`] what commands do, [`wal`] the log, `tails` and `pages` the readers, `flush` how
//! memory and log are freed into [`chunk`] and [`checkpoint`] files, [`opening`] the way back.
#![forbid(unsafe_code)]

pub mod aligned;
pub mod checkpoint;
pub mod chunk;
pub mod cluster;
mod codec;
mod commit;
pub mod effect;
mod export;
mod flush;
mod frames;
mod group;
mod handouts;
mod import;
mod machine;
mod members;
pub mod membership;
pub mod neighbours;
pub mod opening;
mod pace;
mod pages;
pub mod peer;
mod reads;
mod repairs;
mod requests;
mod rest;
pub mod route;
#[cfg(feature = "sabotage")]
mod sabotage;
pub mod session;
mod sessions;
pub mod shard;
mod storage;
mod stream;
mod tails;
pub mod wal;
pub mod wishes;

pub use raft::NodeId;
#[cfg(feature = "sabotage")]
pub use sabotage::Sabotage;

#[cfg(test)]
mod tests;
