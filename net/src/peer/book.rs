//! Where other nodes are. Names are looked up on a thread of its own, again and again: an executor must
//! not wait for the domain name system, and a node may move.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use model::cluster::NodeName;
use model::config::{ClusterConfig, Discovery, Host, NodeEntry};

use super::meeting::resolve;
use super::told::Told;

/// Between two looks for names of hosts where no interval is configured.
const LOOK: Duration = Duration::from_secs(5);
/// Nodes that a query may bring.
const FOUND_MAX: usize = 256;

/// Addresses of the other nodes.
#[derive(Debug)]
pub(crate) struct Book(Mutex<BTreeMap<NodeName, Vec<SocketAddr>>>);

impl Book {
    /// A book of a cluster's nodes but this one, kept up to date as long as somebody holds it.
    pub(crate) fn start(cluster: &ClusterConfig) -> Arc<Book> {
        let known = |node: &NodeEntry| {
            let addresses = match &node.host {
                Host::Address(address) => vec![SocketAddr::new(*address, node.port)],
                Host::Name(_) => Vec::new(),
            };
            (node.name.clone(), addresses)
        };
        let others = cluster.nodes.iter().filter(|node| node.name != cluster.own);
        let book = Arc::new(Book(Mutex::new(others.map(known).collect())));
        let named = cluster.nodes.iter().any(|node| matches!(node.host, Host::Name(_)));
        if named || cluster.discovery.is_some() {
            let (weak, cluster) = (Arc::downgrade(&book), cluster.clone());
            let look = move || keep_looking(&weak, &cluster);
            if let Err(error) = thread::Builder::new().name("resolver".to_owned()).spawn(look) {
                tracing::error!(%error, "names of other nodes cannot be looked up");
            }
        }
        book
    }

    /// The nodes that are known.
    pub(crate) fn names(&self) -> Vec<NodeName> {
        self.entries().keys().cloned().collect()
    }

    /// A node's addresses, which may be none; `None` if it is not known any more.
    pub(crate) fn addresses(&self, name: &NodeName) -> Option<Vec<SocketAddr>> {
        self.entries().get(name).cloned()
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, BTreeMap<NodeName, Vec<SocketAddr>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts in what was found, and takes out what a query does not bring any more.
    fn update(
        &self,
        cluster: &ClusterConfig,
        found: BTreeMap<NodeName, Vec<SocketAddr>>,
        all: bool,
    ) {
        let mut entries = self.entries();
        if all {
            let configured = |name: &NodeName| cluster.nodes.iter().any(|node| node.name == *name);
            entries.retain(|name, _| configured(name) || found.contains_key(name));
        }
        entries.extend(found);
    }
}

fn keep_looking(book: &Weak<Book>, cluster: &ClusterConfig) {
    let told = Told::default();
    let pause = cluster.discovery.as_ref().map_or(LOOK, |d| Duration::from_millis(d.poll_ms));
    let complain = |why: &str| {
        if told.is_new(why, Instant::now()) {
            tracing::warn!("{why}");
        }
    };
    loop {
        let mut found = BTreeMap::new();
        let others = cluster.nodes.iter().filter(|node| node.name != cluster.own);
        for node in others.filter(|node| matches!(node.host, Host::Name(_))) {
            match resolve(&node.host, node.port) {
                Ok(addresses) => drop(found.insert(node.name.clone(), addresses)),
                Err(why) => complain(&why),
            }
        }
        let asked = cluster.discovery.as_ref().map(|discovery| query(cluster, discovery));
        let all = match asked {
            Some(Ok(nodes)) => {
                found.extend(nodes);
                true
            }
            Some(Err(why)) => {
                complain(&why);
                false
            }
            None => false,
        };
        match book.upgrade() {
            Some(book) => book.update(cluster, found, all),
            None => return,
        }
        thread::sleep(pause);
    }
}

/// The nodes that a query stands for, but this one and those that are configured.
fn query(
    cluster: &ClusterConfig,
    discovery: &Discovery,
) -> Result<BTreeMap<NodeName, Vec<SocketAddr>>, String> {
    let addresses = (&*discovery.query, discovery.port)
        .to_socket_addrs()
        .map_err(|error| format!("{} cannot be resolved: {error}", discovery.query))?;
    let mut found: BTreeMap<NodeName, Vec<SocketAddr>> = BTreeMap::new();
    for address in addresses.take(FOUND_MAX) {
        let node = discovery.entry(address.ip());
        let same_tag = |name: &NodeName| name.tag() == node.name.tag();
        let known = cluster.nodes.iter().any(|other| same_tag(&other.name));
        if !known && !found.keys().any(same_tag) {
            found.insert(node.name, vec![address]);
        }
    }
    Ok(found)
}
