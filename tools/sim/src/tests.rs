//! The simulator is tested before it is believed.

mod admin;
mod disk;
mod enumerate;
mod pieces;
mod plans;
mod raft;
mod regressions;
