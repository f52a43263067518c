//! Only here glommio and io_uring meet a shard.
//!
//! In reading order: [`rt`] is the runtime, `hearts` keeps it awake and `sockets` join it through a
//! `reactor` and its `tripwire`, [`cores`] starts an executor per core, `core` runs one,
//! `driver` takes a shard's turns over an `inbox`, [`gateway`] is what doors talk to and `mesh` the
//! way to other cores, `peers` and [`forward`] the ones to other nodes, to whom `answers` are owed. `disk` does what a
//! shard asks of its disk: the log through [`log_writer`] and its [`ring`], all else on the threads of
//! `files`, named by [`layout`]. [`data_dir`] holds the directory, [`manifest`] is what it says of itself, [`open`] reads a shard back. What a node knows of
//! itself and of others is in `standing`.

mod answers;
mod backoff;
mod core;
pub mod cores;
pub mod data_dir;
pub mod direct;
mod disk;
mod driver;
pub mod fatal;
mod files;
pub mod forward;
pub mod gateway;
mod hearts;
mod hub;
mod inbox;
mod kept;
pub mod layout;
mod lists;
pub mod log_writer;
pub mod manifest;
mod mesh;
mod meters;
pub mod open;
mod peers;
mod pending;
mod reactor;
pub mod ring;
pub mod rt;
mod seek;
mod sockets;
mod standing;
mod stop;
mod tripwire;

pub use cores::{Cores, CoresError, Doors, Settings};
pub use data_dir::{DataDir, DataDirError, Wanted};
pub use driver::DRAIN;
pub use forward::{ClientMessage, ClientQueue, ClientQueues};
pub use gateway::{Gateway, Tail};
pub use kept::{Keeper, kept_intent};
pub use log_writer::LogWriter;
pub use manifest::{FOUNDERS_MAX, Founding, Manifest};
pub use peers::{PeerLane, PeerQueue, PeerQueues};
pub use ring::{LogError, Ring, SyncStrategy};
pub use standing::{Readiness, ShardStanding, Sight, Standing};
pub use stop::Stopper;

#[cfg(test)]
mod tests;
