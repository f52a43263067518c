//! Black-box tests: they start the real binary on a data directory of its own and talk to it over
//! HTTP and WebSocket. What they demand is the contract, not the implementation.
//!
//! In reading order: `server`, `http`, `ws` and `session` are the tools; the others are tests.

#[cfg(test)]
mod cluster;
#[cfg(test)]
mod cluster_members;
mod cluster_ops;
#[cfg(test)]
mod cluster_tls;
#[cfg(test)]
mod commands;
#[cfg(test)]
mod config;
#[cfg(test)]
mod disk;
#[cfg(test)]
mod drill;
#[cfg(test)]
mod drill_ledger;
#[cfg(test)]
mod hostile_http;
#[cfg(test)]
mod hostile_json;
#[cfg(test)]
mod hostile_load;
#[cfg(test)]
mod hostile_ws;
#[cfg(test)]
mod http;
#[cfg(test)]
mod ops;
#[cfg(test)]
mod random;
#[cfg(test)]
mod rest_append;
#[cfg(test)]
mod rest_conventions;
#[cfg(test)]
mod rest_events;
#[cfg(test)]
mod rest_list;
#[cfg(test)]
mod rest_numbers;
#[cfg(test)]
mod rest_patch;
#[cfg(test)]
mod rest_sessions;
#[cfg(test)]
mod rest_together;
#[cfg(test)]
mod server;
#[cfg(test)]
mod session;
#[cfg(test)]
mod shutdown;
#[cfg(test)]
mod tail;
#[cfg(test)]
mod tail_slow;
#[cfg(test)]
mod ws;
