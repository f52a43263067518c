//! Three real processes, each on a network of its own behind a switch that loses, delays and cuts what
//! it is told to, under clients that write down all they ask and are told. What they wrote is judged
//! when the faults are over.
//!
//! In reading order: `ground` says what the machine must allow, `namespace`, `switch` and `throttle`
//! are the fake world, `node` and `fleet` the real cluster in it, `client` and `balancer` how it is
//! talked to, `record` and `load` the clients, `judge` and `figures` what comes of it; `stage` puts
//! all of it up, the others are tests.
//!
//! The sizes of the drills are few and can be raised: see `cargo xtask drill`.

#[cfg(test)]
mod balancer;
#[cfg(test)]
mod client;
#[cfg(test)]
mod figures;
#[cfg(test)]
mod fleet;
#[cfg(test)]
mod ground;
#[cfg(test)]
mod judge;
#[cfg(test)]
mod kills;
#[cfg(test)]
mod load;
#[cfg(test)]
mod namespace;
#[cfg(test)]
mod network;
#[cfg(test)]
mod node;
#[cfg(test)]
mod record;
#[cfg(test)]
mod restarts;
#[cfg(test)]
mod sick;
#[cfg(test)]
mod stage;
#[cfg(test)]
mod switch;
#[cfg(test)]
mod throttle;
#[cfg(test)]
mod upkeep;
