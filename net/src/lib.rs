//! The doors: bytes of clients and of other nodes become words for the shards, and words become bytes.
//!
//! In reading order: [`Door`] listens on one core, `http` serves connections, `http::api` answers
//! requests, `members` and `params` read what clients send, `event` and `session` check it, `render`
//! writes what clients read, `tail` follows a session over `ws`, [`Exposition`] shows the metrics;
//! `peer` is how nodes speak to each other, `operator` what operators are told and what they say.
//!
//! A composition root makes one [`Exposition`] per process, before anything is counted, and on each
//! core opens a [`Door`] and has it serve with the core's gateway; that returns once the gateway says
//! that the server stops and the last connection is gone.
//!
//! # Invariants
//! - `answered-once`: a request is answered by one response; a refusal that may hide a done deed is a
//!   503, never a 4xx.
//! - `bytes-kept`: payload, metadata and refs are stored as the client wrote them, or refused.
//! - `proven-first`: nothing of another node is read but its handshake before it has proven that it
//!   knows the cluster's secret, and nothing it sends after that without its seal.
//! - `bounded`: heads, bodies, parameters, connections, and what a tail holds for its socket have
//!   bounds of `model::limits`; whatever waits for a client waits until a deadline.
//! - `refused-before-101`: a tail is refused in JSON, before the protocol changes.
//! - `never-1000`: no close frame that the server begins carries code 1000, which clients take for
//!   "do not come back"; a client's own is answered with its code.
//!
//! # Absences
//! No timer per request or connection of a client: `http::link` looks at all of them at once. No lock
//! but on what all cores know of other nodes, which changes when connections do. No task that outlives
//! its connection, no unsafe code, no name of glommio.
#![forbid(unsafe_code)]

mod event;
mod exposition;
mod http;
mod identity;
mod members;
mod meters;
mod multipart;
mod operator;
mod params;
mod peer;
mod problem;
mod render;
mod session;
mod tail;
mod ws;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use uring::Gateway;
use uring::rt::{TcpListener, spawn_local};

pub use exposition::{Exposition, ExpositionError};
pub use operator::{Operator, OperatorConfig, Startup};
pub use peer::{CoreLinks, Credentials, Links, Newcomer, PeerConfig, meet};

use http::Shared;
use http::api::Face;

/// What the doors of one core need to know.
#[derive(Debug, Clone)]
pub struct DoorConfig {
    /// Where REST and WebSocket are served; every core listens here and the kernel spreads
    /// connections over them.
    pub listen: SocketAddr,
    /// Where health and metrics are served, and only there; `None` to serve them at `listen`.
    pub ops_listen: Option<SocketAddr>,
    /// Connections open at once on this core, beside a few at `ops_listen`; more are answered 503.
    pub connections_max: usize,
    /// How long a stop waits for requests under way and for clients of tails to say good-bye.
    pub drain: Duration,
    /// The process's metrics.
    pub exposition: Exposition,
    /// What operators are told, if they are told anything.
    pub operator: Option<Operator>,
}

/// Why the doors of a core cannot open.
#[derive(Debug)]
pub struct DoorError {
    address: SocketAddr,
    error: io::Error,
}

impl fmt::Display for DoorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen on {}: {}", self.address, self.error)
    }
}

impl std::error::Error for DoorError {}

/// The listeners of one core.
#[derive(Debug)]
pub struct Door {
    public: TcpListener,
    ops: Option<TcpListener>,
    config: DoorConfig,
}

impl Door {
    /// Listens; connections wait until [`Door::serve`]. Must be called on an executor.
    ///
    /// # Errors
    /// If an address cannot be listened on.
    pub fn open(config: DoorConfig) -> Result<Door, DoorError> {
        let listen =
            |address| TcpListener::bind(address).map_err(|error| DoorError { address, error });
        let public = listen(config.listen)?;
        let ops = config.ops_listen.map(listen).transpose()?;
        Ok(Door { public, ops, config })
    }

    /// Where clients connect: `listen`, with the port the system chose if that was 0.
    ///
    /// # Errors
    /// Those of getsockname.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.public.local_addr()
    }

    /// Where the operator connects, if not there.
    ///
    /// # Errors
    /// Those of getsockname.
    pub fn ops_address(&self) -> io::Result<Option<SocketAddr>> {
        self.ops.as_ref().map(TcpListener::local_addr).transpose()
    }

    /// Serves connections until the gateway says that the server stops, then ends those that are
    /// open: requests under way are answered, tails are closed with 1012, and what is left after
    /// `drain` is cut off. The operator is answered to the end.
    pub async fn serve(self, gateway: Gateway) {
        let Door { public, ops, config } = self;
        let shared = Rc::new(Shared::new(
            gateway.clone(),
            config.exposition,
            config.operator,
            ops.is_some(),
            config.connections_max,
        ));
        spawn_local(http::sweep(Rc::clone(&shared)));
        if let Some(operator) = shared.operator.clone().filter(|_| gateway.core() == 0) {
            spawn_local(operator::follow(gateway.clone(), operator));
        }
        let operator = async {
            match &ops {
                Some(ops) => http::accept(&shared, ops, Face::Ops).await,
                None => std::future::pending().await,
            }
        };
        let clients = async {
            futures_lite::future::or(
                http::accept(&shared, &public, Face::Public),
                gateway.stopped(),
            )
            .await;
            drop(public);
            http::drain(&shared, config.drain).await;
        };
        futures_lite::future::or(clients, operator).await;
    }
}

#[cfg(test)]
mod tests;
