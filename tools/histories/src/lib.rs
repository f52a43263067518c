//! What clients asked and were told, and whether it can be true. The simulator and the tests of real
//! processes record histories of sessions and hold them against the logs that are there at the end.
//!
//! In reading order: [`history`] is the evidence, [`checker`] and [`tail_checker`] judge it,
//! [`linearize`] keeps the first of them honest, [`verdict`] names what can be wrong; [`time`] and
//! [`dice`] are what all of it needs.
#![forbid(unsafe_code)]

pub mod checker;
pub mod dice;
pub mod history;
pub mod linearize;
pub mod tail_checker;
pub mod time;
pub mod verdict;

#[cfg(test)]
mod tests;
