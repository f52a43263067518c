//! The simulator is tested before it is believed.

mod disk;
mod pieces;
mod plans;
mod raft;
