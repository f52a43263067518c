//! How nodes speak to each other.
//!
//! In reading order: `frame` is what goes over the wire, `keys` what follows from the cluster's
//! secret, `handshake` how two nodes prove themselves, `tls` what they show each other where that is
//! configured, over the `records` of a `stream`, `founding` how a cluster begins and `meeting`
//! where its first nodes find each other. Then, while a node runs: [`Links`] are its connections,
//! `dial` and `accept` their two sides over a `channel`, `book` says where other nodes are, `standing`
//! which of their connections count, and `wire` is what their shards say to each other.

mod accept;
pub(crate) mod book;
pub(crate) mod callers;
pub(crate) mod channel;
pub(crate) mod client_wire;
mod dial;
pub(crate) mod founding;
pub(crate) mod frame;
pub(crate) mod handshake;
pub(crate) mod keys;
mod links;
pub(crate) mod meeting;
mod meters;
mod queue;
pub(crate) mod records;
pub(crate) mod standing;
pub(crate) mod stream;
pub(crate) mod tls;
mod told;
pub(crate) mod wire;

pub use links::{CoreLinks, Links, PeerConfig};
pub use meeting::{Newcomer, meet};
pub use tls::Credentials;
