//! The simulator is tested before it is believed.

mod admin;
mod disk;
mod pieces;
mod plans;
mod raft;
mod regressions;
