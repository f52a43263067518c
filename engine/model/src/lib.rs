//! The words of the house. Everyone may depend on this crate; it depends on nothing of ours and does
//! no IO, reads no clock and draws no random number.
//!
//! In reading order: [`ids`] names things, [`limits`] bounds them, [`error`] says why something was
//! refused, [`command`] is what is replicated, [`api`] is what the doors and a shard say to each
//! other, [`canonical`] holds the form behind a fingerprint, [`json`] checks and merges metadata,
//! [`cluster`] says which nodes hold a group, [`config`] turns the environment into validated settings, [`metric`] names every series.
#![forbid(unsafe_code)]

pub mod api;
pub mod canonical;
pub mod cluster;
pub mod command;
pub mod config;
pub mod error;
pub mod ids;
pub mod intent;
pub mod json;
pub mod limits;
pub mod metric;

#[cfg(test)]
mod tests;
