//! The simulator is tested before it is believed.

mod admin;
mod agreement;
mod disk;
mod forge;
mod maker;
mod pieces;
mod plans;
mod raft;
mod regressions;
