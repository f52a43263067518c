//! How nodes speak to each other.
//!
//! In reading order: `frame` is what goes over the wire, `keys` what follows from the cluster's
//! secret, `handshake` how two nodes prove themselves, `founding` how a cluster begins and [`meeting`]
//! where its first nodes find each other.

pub(crate) mod founding;
pub(crate) mod frame;
pub(crate) mod handshake;
pub(crate) mod keys;
pub(crate) mod meeting;
mod told;

pub use meeting::{Newcomer, meet};
