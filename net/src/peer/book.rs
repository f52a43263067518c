//! Where other nodes are: those that are configured, those that operators have added, and those that a
//! query brings. Names are looked up on a thread of its own, again and again: an executor must not wait
//! for the domain name system, and a node may move.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
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
pub(crate) struct Book {
    cluster: ClusterConfig,
    pages: Mutex<Pages>,
}

#[derive(Debug, Default)]
struct Pages {
    /// Of each node that is known, which may be none.
    addresses: BTreeMap<NodeName, Vec<SocketAddr>>,
    /// Nodes that are not configured and that operators have added.
    added: BTreeMap<NodeName, NodeEntry>,
    /// Whether there is a thread that looks names up.
    looking: bool,
}

impl Book {
    /// A book of a cluster's nodes but this one, kept up to date as long as somebody holds it.
    pub(crate) fn start(cluster: &ClusterConfig) -> Arc<Book> {
        let others = cluster.nodes.iter().filter(|node| node.name != cluster.own);
        let addresses = others.map(|node| (node.name.clone(), literal(node))).collect();
        let pages = Pages { addresses, ..Pages::default() };
        let book = Arc::new(Book { cluster: cluster.clone(), pages: Mutex::new(pages) });
        book.look_if_needed();
        book
    }

    /// The nodes that are known.
    pub(crate) fn names(&self) -> Vec<NodeName> {
        self.pages().addresses.keys().cloned().collect()
    }

    /// A node's addresses, which may be none; `None` if it is not known any more.
    pub(crate) fn addresses(&self, name: &NodeName) -> Option<Vec<SocketAddr>> {
        self.pages().addresses.get(name).cloned()
    }

    /// Whether a node of this name may belong to the cluster.
    pub(crate) fn knows(&self, name: &NodeName) -> bool {
        self.cluster.knows(name) || self.pages().added.contains_key(name)
    }

    /// Takes in the nodes that operators have added, and forgets those that are none any more. What is
    /// configured counts for the node that it names.
    pub(crate) fn learn<'a>(self: &Arc<Book>, places: impl Iterator<Item = &'a NodeEntry>) {
        let configured = |name: &NodeName| {
            *name == self.cluster.own || self.cluster.nodes.iter().any(|node| node.name == *name)
        };
        let places = places.filter(|node| !configured(&node.name));
        let added: BTreeMap<NodeName, NodeEntry> =
            places.map(|node| (node.name.clone(), node.clone())).collect();
        {
            let pages = &mut *self.pages();
            for name in pages.added.keys().filter(|name| !added.contains_key(*name)) {
                pages.addresses.remove(name);
            }
            for (name, node) in &added {
                if pages.added.get(name) != Some(node) {
                    pages.addresses.insert(name.clone(), literal(node));
                }
            }
            pages.added = added;
        }
        self.look_if_needed();
    }

    /// The nodes but this one whose places are told, one way or the other.
    fn entries(&self) -> Vec<NodeEntry> {
        let others = self.cluster.nodes.iter().filter(|node| node.name != self.cluster.own);
        others.chain(self.pages().added.values()).cloned().collect()
    }

    fn look_if_needed(self: &Arc<Book>) {
        let named = self.entries().iter().any(|node| matches!(node.host, Host::Name(_)));
        let needed = named || self.cluster.discovery.is_some();
        if needed && !std::mem::replace(&mut self.pages().looking, true) {
            let weak = Arc::downgrade(self);
            let look = move || keep_looking(&weak);
            if let Err(error) = thread::Builder::new().name("resolver".to_owned()).spawn(look) {
                tracing::error!(%error, "names of other nodes cannot be looked up");
            }
        }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts in what was found, and takes out what a query does not bring any more.
    fn update(&self, found: BTreeMap<NodeName, Vec<SocketAddr>>, all: bool) {
        let pages = &mut *self.pages();
        let told = |name: &NodeName| {
            let configured = self.cluster.nodes.iter().any(|node| node.name == *name);
            configured || pages.added.contains_key(name)
        };
        if all {
            pages.addresses.retain(|name, _| told(name) || found.contains_key(name));
        }
        pages.addresses.extend(found.into_iter().filter(|(name, _)| all || told(name)));
    }
}

/// Where a node is that is told by its address; nowhere yet if by a name.
fn literal(node: &NodeEntry) -> Vec<SocketAddr> {
    match &node.host {
        Host::Address(address) => vec![SocketAddr::new(*address, node.port)],
        Host::Name(_) => Vec::new(),
    }
}

fn keep_looking(weak: &Weak<Book>) {
    let told = Told::default();
    let complain = |why: &str| {
        if told.is_new(why, Instant::now()) {
            tracing::warn!("{why}");
        }
    };
    loop {
        let Some(book) = weak.upgrade() else { return };
        let discovery = book.cluster.discovery.clone();
        let (entries, mut found) = (book.entries(), BTreeMap::new());
        for node in entries.iter().filter(|node| matches!(node.host, Host::Name(_))) {
            match resolve(&node.host, node.port) {
                Ok(addresses) => drop(found.insert(node.name.clone(), addresses)),
                Err(why) => complain(&why),
            }
        }
        let asked = discovery.as_ref().map(|discovery| query(&book.cluster, discovery));
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
        book.update(found, all);
        drop(book);
        thread::sleep(discovery.map_or(LOOK, |d| Duration::from_millis(d.poll_ms)));
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
