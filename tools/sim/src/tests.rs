//! The simulator is tested before it is believed.

mod agreement;
mod disk;
mod enumerate;
mod forge;
mod maker;
mod pieces;
mod plans;
mod raft;
