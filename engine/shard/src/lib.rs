//! One shard: everything a core owns.
#![forbid(unsafe_code)]

pub mod aligned;
pub mod effect;
pub mod wal;

#[cfg(test)]
mod tests;
