//! The connections between nodes. Each core dials one connection per other node and lane, and sends
//! what its shards have to say and what its clients want; what comes back on it are signs of life.
//! Each core takes the connections that the kernel hands it, and brings what comes to whom it is for.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use model::cluster::{MemberId, NodeName};
use model::config::ClusterConfig;
use uring::rt::{self, TcpListener};
use uring::{Founding, Gateway};

use super::accept;
use super::book::Book;
use super::callers::Callers;
use super::dial;
use super::frame::Lane;
use super::handshake::{Identity, Papers, VERSIONS};
use super::keys::Key;
use super::meters::PeerMeters;
use super::queue::DIALED;
use super::standing::Standing;
use super::tls::Credentials;
use super::told::Told;

/// Between two looks for nodes that have been found.
const LOOK: Duration = Duration::from_secs(1);

/// Who a node is among others.
#[derive(Debug, Clone)]
pub struct PeerConfig {
    /// The cluster it is configured for.
    pub cluster: ClusterConfig,
    /// How that began.
    pub founding: Founding,
    /// Its data directory.
    pub member: MemberId,
    /// When that was made, in wall-clock microseconds.
    pub made_at: u64,
    /// When this process began, in wall-clock microseconds.
    pub started_at: u64,
    /// What it shows others in TLS, if it speaks that.
    pub credentials: Option<Credentials>,
}

/// A node's connections with others, all cores'. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Links(Arc<Common>);

/// What all cores share.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) founding: Founding,
    pub(crate) papers: Papers,
    pub(crate) book: Arc<Book>,
    pub(crate) standing: Standing,
    pub(crate) told: Told,
    pub(crate) credentials: Option<Credentials>,
    listen: SocketAddr,
}

impl Links {
    /// The connections of a node that is not alone; `None` for one that is.
    pub fn new(config: PeerConfig) -> Option<Links> {
        let PeerConfig { cluster, founding, member, made_at, started_at, credentials } = config;
        let (listen, secret) = (cluster.peer_listen?, cluster.secret.as_ref()?);
        let own = Identity {
            cluster: founding.cluster,
            groups: founding.groups,
            name: cluster.own.clone(),
            member,
            made_at,
            started_at,
        };
        let papers = Papers { key: Key::new(secret), own, versions: VERSIONS };
        let book = Book::start(&cluster);
        let (standing, told) = (Standing::default(), Told::default());
        let common = Common { founding, papers, book, standing, told, credentials, listen };
        Some(Links(Arc::new(common)))
    }

    /// The other nodes that are known: configured, added by operators, or found.
    pub(crate) fn names(&self) -> Vec<NodeName> {
        self.0.book.names()
    }

    /// Listens on this core; connections wait until [`CoreLinks::start`]. Must be called on an
    /// executor.
    ///
    /// # Errors
    /// If the address cannot be listened on.
    pub fn open(&self) -> io::Result<CoreLinks> {
        let listen = self.0.listen;
        let listener = TcpListener::bind(listen).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot listen on {listen}: {error}"))
        })?;
        Ok(CoreLinks { common: Arc::clone(&self.0), listener })
    }
}

/// One core's connections with other nodes.
#[derive(Debug)]
pub struct CoreLinks {
    common: Arc<Common>,
    listener: TcpListener,
}

/// What the tasks of one core share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) common: Arc<Common>,
    pub(crate) gateway: Gateway,
    pub(crate) meters: PeerMeters,
    pub(crate) callers: Callers,
}

impl CoreLinks {
    /// Dials and accepts from now on, as long as the core runs.
    pub fn start(self, gateway: Gateway) {
        let meters = PeerMeters::new(gateway.core());
        let callers = Callers::default();
        let core = Rc::new(Core { common: self.common, gateway, meters, callers });
        rt::spawn_local(accept::accept(Rc::clone(&core), self.listener));
        rt::spawn_local(dial_all(core));
    }
}

/// Keeps a task per node and lane.
async fn dial_all(core: Rc<Core>) {
    let dialed: Rc<RefCell<BTreeSet<(NodeName, Lane)>>> = Rc::default();
    let (stopper, mut known) = (core.gateway.stopper(), None);
    loop {
        // All cores share the book; one of them looks after it.
        let revision = Some(stopper.standing().revision());
        if core.gateway.core() == 0 && known != revision {
            known = revision;
            core.common.book.learn(stopper.standing().intent().places());
        }
        for name in core.common.book.names() {
            for lane in DIALED {
                let key = (name.clone(), lane);
                if !dialed.borrow_mut().insert(key.clone()) {
                    continue;
                }
                let (core, dialed) = (Rc::clone(&core), Rc::clone(&dialed));
                rt::spawn_local(async move {
                    dial::keep_connected(&core, &key.0, key.1).await;
                    dialed.borrow_mut().remove(&key);
                });
            }
        }
        rt::sleep(LOOK).await;
    }
}
