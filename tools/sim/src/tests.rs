//! The simulator is tested before it is believed.

mod disk;
mod enumerate;
mod pieces;
mod plans;
mod raft;
