//! Only here glommio and io_uring meet a shard.
//!
//! In reading order: [`rt`] is the runtime, [`gateway`] what doors talk to.

pub mod gateway;
mod inbox;
mod mesh;
mod pending;
pub mod rt;
mod stop;

pub use gateway::{Gateway, Tail};
pub use stop::{Readiness, Stopper};
