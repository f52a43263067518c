//! Which nodes form a cluster, which of them hold data, and which one this is.
//!
//! A node is called by the part of its entry before the `@` if no two nodes share that part, else by
//! the whole entry without its port. What the domain name system finds has no names: there a node is
//! a base name, `@` and its address.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::parse;
use super::tls::TlsFiles;
use super::variables::*;
use super::{Problem, Reader};
use crate::cluster::{NameTag, NodeName};

/// The peer port of an entry that names none.
const PEER_PORT_DEFAULT: u16 = 4100;
const FACTOR_DEFAULT: u32 = 3;
const DNS_POLL_MS_DEFAULT: u64 = 5_000;
/// A day: a longer wait is a mistake in the unit.
const DNS_POLL_MS_MAX: u64 = 86_400_000;
const DNS_BASENAME_DEFAULT: &str = "starcite";
/// What a node alone is called if nobody named it.
const NAME_ALONE: &str = "starcite";
/// Least bytes of a secret that strangers must not guess.
const SECRET_BYTES_MIN: usize = 16;
/// Most bytes of a name, and of a host.
const WORD_BYTES_MAX: usize = 255;
/// Most nodes of one cluster.
pub const NODES_MAX: usize = 64;

/// The cluster a node belongs to; of one node unless the configuration names others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterConfig {
    /// This node's name.
    pub own: NodeName,
    /// The nodes that are configured, this one included, in the order of their names. Others may be
    /// found by `discovery`.
    pub nodes: Vec<NodeEntry>,
    /// The nodes that hold data, in the order of their names; never empty. This node is a router if it
    /// is not among them.
    pub write: Vec<NodeName>,
    /// Nodes that hold a group, in `[1, write.len()]`.
    pub factor: u32,
    /// Where other nodes are listened for; `None` for a node alone.
    pub peer_listen: Option<SocketAddr>,
    /// How nodes that are not configured are found.
    pub discovery: Option<Discovery>,
    /// What all nodes of the cluster know and nobody else; there unless the node is alone.
    pub secret: Option<Secret>,
    /// What nodes show each other in TLS; `None` to speak without it.
    pub tls: Option<TlsFiles>,
}

/// A node and where it listens for others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeEntry {
    /// Its name.
    pub name: NodeName,
    /// Where it is.
    pub host: Host,
    /// Its peer port.
    pub port: u16,
}

/// Where a node is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// At an address.
    Address(IpAddr),
    /// At whatever addresses a name stands for; in lower case.
    Name(Box<str>),
}

/// How nodes are found that are not configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovery {
    /// The name that stands for the addresses of all nodes.
    pub query: Box<str>,
    /// What their names begin with.
    pub basename: Box<str>,
    /// Milliseconds between two questions.
    pub poll_ms: u64,
    /// Their peer port.
    pub port: u16,
}

/// What all nodes of a cluster know and nobody else. Neither shown nor logged.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// Wraps a secret.
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Secret {
        Secret(bytes.into())
    }

    /// The secret, for deriving keys and nothing else.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Host::Address(IpAddr::V4(address)) => address.fmt(f),
            Host::Name(name) => f.write_str(name),
        }
    }
}

impl Host {
    /// Reads what a host prints as; `None` if it is none.
    pub fn parse(text: &str) -> Option<Host> {
        host(text)
    }
}

impl Discovery {
    /// The node at an address that the query stands for.
    pub fn entry(&self, address: IpAddr) -> NodeEntry {
        let host = Host::Address(address);
        let name = NodeName::new(format!("{}@{host}", self.basename));
        let name = name.expect("a name with an address is not empty");
        NodeEntry { name, host, port: self.port }
    }
}

impl ClusterConfig {
    /// A cluster of one node.
    pub fn alone(own: NodeName) -> ClusterConfig {
        ClusterConfig {
            nodes: Vec::new(),
            write: vec![own.clone()],
            factor: 1,
            peer_listen: None,
            discovery: None,
            secret: None,
            tls: None,
            own,
        }
    }

    /// Whether there are no other nodes.
    pub fn is_alone(&self) -> bool {
        self.peer_listen.is_none()
    }

    /// Whether this node holds no data and forwards everything.
    pub fn is_router(&self) -> bool {
        !self.write.contains(&self.own)
    }

    /// Whether a node of this name may belong to the cluster: it is configured, or may be found.
    pub fn knows(&self, name: &NodeName) -> bool {
        let found = |discovery: &Discovery| {
            let rest = name.as_str().strip_prefix(&*discovery.basename);
            rest.is_some_and(|rest| rest.starts_with('@'))
        };
        self.nodes.iter().any(|node| node.name == *name)
            || self.discovery.as_ref().is_some_and(found)
    }

    /// Where a node of this name is: what its entry says, or its name if it may be found.
    pub fn host_of(&self, name: &NodeName) -> Option<Host> {
        if let Some(node) = self.nodes.iter().find(|node| node.name == *name) {
            return Some(node.host.clone());
        }
        let basename = &*self.discovery.as_ref()?.basename;
        let place = name.as_str().strip_prefix(basename)?.strip_prefix('@')?;
        host(place).filter(|host| matches!(host, Host::Address(_)))
    }

    /// The tags of the nodes that hold data, in the order of their names.
    pub fn write_tags(&self) -> Vec<NameTag> {
        self.write.iter().map(NodeName::tag).collect()
    }

    /// The node that operators name as `name@host[:port]`, called as this cluster's nodes are; or one
    /// that is configured, by its name alone.
    pub fn newcomer(&self, text: &str) -> Option<NodeEntry> {
        let configured = |name: &str| self.nodes.iter().find(|node| node.name.as_str() == name);
        if let Some(node) = configured(text) {
            return Some(node.clone());
        }
        let Entry { name, host, port } = parse_entry(text)?;
        let whole = format!("{name}@{host}");
        let port =
            port.unwrap_or_else(|| self.discovery.as_ref().map_or(PEER_PORT_DEFAULT, |d| d.port));
        let called = match &self.discovery {
            Some(discovery) => match host {
                Host::Address(address) if name == discovery.basename => {
                    discovery.entry(address).name
                }
                Host::Address(_) | Host::Name(_) => return None,
            },
            None if self.nodes.iter().any(|node| node.name.as_str().contains('@')) => {
                NodeName::new(whole)?
            }
            None => NodeName::new(name)?,
        };
        Some(NodeEntry { name: called, host, port })
    }
}

/// `name@host[:port]`, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    name: Box<str>,
    host: Host,
    port: Option<u16>,
}

impl Entry {
    /// The whole name, without the port.
    fn whole(&self) -> String {
        format!("{}@{}", self.name, self.host)
    }
}

/// What a node is called in a list that may leave the host out.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reference {
    name: Box<str>,
    host: Option<Host>,
}

impl Reader<'_> {
    /// The cluster; `bind` is where other ports are bound, `ports` are those.
    pub(super) fn cluster(&self, bind: IpAddr, ports: &[u16]) -> Result<ClusterConfig, Problem> {
        let own = self.own_reference()?;
        let (discovery, nodes) = match self.get(&DNS_CLUSTER_QUERY) {
            Some(query) => {
                let discovery = self.discovery(query)?;
                let nodes = self.found_nodes(&discovery, own.as_ref())?;
                (Some(discovery), nodes)
            }
            None => (None, self.named_nodes()?),
        };
        let name = self.own_name(own.as_ref(), &nodes)?;
        let write = self.write_nodes(&name, &nodes)?;
        let factor = self.factor(write.len())?;
        let alone = discovery.is_none() && nodes.len() <= 1;
        distinct_tags(&nodes)?;
        Ok(ClusterConfig {
            peer_listen: if alone { None } else { Some(self.peer_listen(&name, &nodes, bind)?) }
                .map(|listen| differs(listen, ports))
                .transpose()?,
            secret: if alone { None } else { Some(self.secret()?) },
            tls: self.tls()?.filter(|_| !alone),
            own: name,
            nodes,
            write,
            factor,
            discovery,
        })
    }

    /// The nodes of `CLUSTER_NODES`.
    fn named_nodes(&self) -> Result<Vec<NodeEntry>, Problem> {
        let entries: Result<Vec<Entry>, Problem> =
            self.list(&CLUSTER_NODES).map(|text| entry(&CLUSTER_NODES, text)).collect();
        let (entries, port) = (entries?, self.entry_port()?);
        let short = distinct(entries.iter().map(|entry| &*entry.name));
        let mut nodes = Vec::new();
        for entry in entries {
            let name = if short { entry.name.to_string() } else { entry.whole() };
            let name = NodeName::new(name).expect("an entry's name is not empty");
            nodes.push(NodeEntry { name, host: entry.host, port: entry.port.unwrap_or(port) });
        }
        in_order(&CLUSTER_NODES, nodes)
    }

    /// The nodes known before anybody was asked: those that hold data, and this one.
    fn found_nodes(
        &self,
        discovery: &Discovery,
        own: Option<&Reference>,
    ) -> Result<Vec<NodeEntry>, Problem> {
        let query = DNS_CLUSTER_QUERY.name;
        let mut nodes = Vec::new();
        for text in self.list(&WRITE_NODE_IDS) {
            let node = reference(&WRITE_NODE_IDS, text)?;
            nodes.push(found(discovery, &node).ok_or_else(|| {
                let (name, base) = (WRITE_NODE_IDS.name, &discovery.basename);
                Problem::new(format!(
                    "{name} names {text:?}; with {query} a node is called {base}@address"
                ))
            })?);
        }
        if nodes.is_empty() {
            return Err(Problem::new(format!(
                "{} must name the nodes that hold data when {query} finds the others",
                WRITE_NODE_IDS.name
            )));
        }
        let nodes = in_order(&WRITE_NODE_IDS, nodes)?;
        let own = own.and_then(|own| found(discovery, own)).ok_or_else(|| {
            let (ours, theirs, base) = (NODE_NAME.name, RELEASE_NODE.name, &discovery.basename);
            Problem::new(format!("{ours} or {theirs} must be {base}@address with {query}"))
        })?;
        let known = nodes.iter().any(|node| node.name == own.name);
        in_order(&WRITE_NODE_IDS, if known { nodes } else { [nodes, vec![own]].concat() })
    }

    fn discovery(&self, query: &str) -> Result<Discovery, Problem> {
        let query = query.trim();
        let basename = self.get(&DNS_CLUSTER_NODE_BASENAME).map_or(DNS_BASENAME_DEFAULT, str::trim);
        if !is_name(basename) {
            return Err(parse::invalid("name", &DNS_CLUSTER_NODE_BASENAME, basename));
        }
        Ok(Discovery {
            query: host(query)
                .map(|_| query.into())
                .ok_or_else(|| parse::invalid("name", &DNS_CLUSTER_QUERY, query))?,
            basename: basename.into(),
            poll_ms: self
                .bounded(&DNS_POLL_INTERVAL_MS, 1, DNS_POLL_MS_MAX)?
                .unwrap_or(DNS_POLL_MS_DEFAULT),
            port: self.entry_port()?,
        })
    }

    /// What this node is told of itself.
    fn own_reference(&self) -> Result<Option<Reference>, Problem> {
        for variable in [NODE_NAME, RELEASE_NODE] {
            if let Some(text) = self.get(&variable) {
                return reference(&variable, text.trim()).map(Some);
            }
        }
        Ok(None)
    }

    /// This node's name among those of the cluster.
    fn own_name(&self, own: Option<&Reference>, nodes: &[NodeEntry]) -> Result<NodeName, Problem> {
        let variable = if self.get(&NODE_NAME).is_some() { NODE_NAME } else { RELEASE_NODE };
        match (own, nodes) {
            (None, []) => Ok(NodeName::new(NAME_ALONE).expect("a name")),
            (None, [node]) => Ok(node.name.clone()),
            (None, _) => Err(Problem::new(format!(
                "{} names {} nodes; {} or {} must say which of them this is",
                CLUSTER_NODES.name,
                nodes.len(),
                NODE_NAME.name,
                RELEASE_NODE.name
            ))),
            (Some(own), []) => Ok(NodeName::new(own.name.clone()).expect("a name is not empty")),
            (Some(own), _) => choose(own, nodes).map(|node| node.name.clone()).ok_or_else(|| {
                let given = self.get(&variable).unwrap_or_default().trim();
                let text = format!("{} is {given:?}, which is none of", variable.name);
                Problem::new(format!("{text} {}", names(nodes.iter().map(|node| &node.name))))
            }),
        }
    }

    /// The nodes that hold data.
    fn write_nodes(&self, own: &NodeName, nodes: &[NodeEntry]) -> Result<Vec<NodeName>, Problem> {
        let mut write = Vec::new();
        for text in self.list(&WRITE_NODE_IDS) {
            let node = reference(&WRITE_NODE_IDS, text)?;
            let name = match nodes {
                [] if *node.name == *own.as_str() => Some(own.clone()),
                [] => None,
                _ => choose(&node, nodes).map(|node| node.name.clone()),
            };
            let name = name.ok_or_else(|| {
                let known = names(nodes.iter().map(|node| &node.name));
                let known = if known.is_empty() { own.as_str() } else { &known };
                let text = format!("{} names {text:?}, which is none of", WRITE_NODE_IDS.name);
                Problem::new(format!("{text} {known}"))
            })?;
            if write.contains(&name) {
                let text = format!("{} names {name} twice", WRITE_NODE_IDS.name);
                return Err(Problem::new(text));
            }
            write.push(name);
        }
        if write.is_empty() {
            write = nodes.iter().map(|node| node.name.clone()).collect();
        }
        if write.is_empty() {
            write.push(own.clone());
        }
        write.sort_unstable();
        Ok(write)
    }

    /// How many nodes hold a group.
    fn factor(&self, write: usize) -> Result<u32, Problem> {
        let read = |variable: &Variable| self.bounded(variable, 1, u32::MAX);
        let (ours, newer) = (WRITE_REPLICATION_FACTOR, ROUTING_REPLICATION_FACTOR);
        let given = match (read(&ours)?, read(&newer)?) {
            (Some(a), Some(b)) if a != b => {
                let text = format!("{} is {a}, but {} is {b}", ours.name, newer.name);
                return Err(Problem::new(format!("{text}; set one of them")));
            }
            (given, other) => given.or(other),
        };
        let factor = match given {
            None if write == 1 => 1,
            None => FACTOR_DEFAULT,
            Some(factor) => factor,
        };
        if write < usize::try_from(factor).expect("a number of 32 bits") {
            let name = if read(&ours)?.is_none() && given.is_some() { newer } else { ours }.name;
            let nodes = if write == 1 { "is one node" } else { "are not that many nodes" };
            let unless = if given.is_some() { "" } else { " unless it is set" };
            return Err(Problem::new(format!(
                "{name} is {factor}{unless}, but there {nodes} to hold data ({write})"
            )));
        }
        Ok(factor)
    }

    /// The port of an entry that names none: where this node is told to listen, since the nodes of a
    /// cluster are mostly told the same.
    fn entry_port(&self) -> Result<u16, Problem> {
        Ok(self.bounded(&PEER_PORT, 1, u16::MAX)?.unwrap_or(PEER_PORT_DEFAULT))
    }

    fn peer_listen(
        &self,
        own: &NodeName,
        nodes: &[NodeEntry],
        bind: IpAddr,
    ) -> Result<SocketAddr, Problem> {
        let own = nodes.iter().find(|node| node.name == *own).expect("this node is one of them");
        let port = self.bounded(&PEER_PORT, 1, u16::MAX)?.unwrap_or(own.port);
        let address = match (self.get(&PEER_BIND), &own.host) {
            (Some(value), _) => {
                value.trim().parse().map_err(|_| parse::invalid("address", &PEER_BIND, value))?
            }
            (None, Host::Address(address)) => *address,
            (None, Host::Name(_)) => bind,
        };
        Ok(SocketAddr::new(address, port))
    }

    fn secret(&self) -> Result<Secret, Problem> {
        let name = SECRET_KEY_BASE.name;
        let secret = self.get(&SECRET_KEY_BASE).unwrap_or_default().trim();
        if secret.is_empty() {
            return Err(Problem::new(format!(
                "{name} must be set, to the same on every node: it is how nodes know each other"
            )));
        }
        if secret.len() < SECRET_BYTES_MIN {
            let text = format!("{name} is too short for a secret; {SECRET_BYTES_MIN} bytes");
            return Err(Problem::new(format!("{text} are the least")));
        }
        Ok(Secret::new(secret.as_bytes()))
    }

    /// The parts of a list that say something.
    fn list(&self, variable: &Variable) -> impl Iterator<Item = &str> {
        let parts = self.get(variable).unwrap_or_default().split(',');
        parts.map(str::trim).filter(|part| !part.is_empty())
    }
}

/// The node that a reference means.
fn choose<'a>(reference: &Reference, nodes: &'a [NodeEntry]) -> Option<&'a NodeEntry> {
    let whole = reference.host.as_ref().map(|host| format!("{}@{host}", reference.name));
    let named = |name: &str| nodes.iter().find(|node| node.name.as_str() == name);
    whole.and_then(|whole| named(&whole)).or_else(|| named(&reference.name))
}

/// The node that a reference with an address means where nodes are found by their addresses.
fn found(discovery: &Discovery, node: &Reference) -> Option<NodeEntry> {
    match node.host {
        Some(Host::Address(address)) if node.name == discovery.basename => {
            Some(discovery.entry(address))
        }
        Some(_) | None => None,
    }
}

/// Sorts nodes by name; each name is there once.
fn in_order(variable: &Variable, mut nodes: Vec<NodeEntry>) -> Result<Vec<NodeEntry>, Problem> {
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(twins) = nodes.windows(2).find(|pair| pair[0].name == pair[1].name) {
        let text = format!("{} names {} twice", variable.name, twins[0].name);
        return Err(Problem::new(text));
    }
    if NODES_MAX < nodes.len() {
        let text = format!("{} names {} nodes", variable.name, nodes.len());
        return Err(Problem::new(format!("{text}; at most {NODES_MAX} form a cluster")));
    }
    Ok(nodes)
}

/// Two names that share a tag cannot be told apart once they are numbers.
fn distinct_tags(nodes: &[NodeEntry]) -> Result<(), Problem> {
    for (place, node) in nodes.iter().enumerate() {
        let twin = nodes[..place].iter().find(|other| other.name.tag() == node.name.tag());
        if let Some(twin) = twin {
            let text = format!("the nodes {} and {} share a number", twin.name, node.name);
            return Err(Problem::new(format!("{text}; call one of them something else")));
        }
    }
    Ok(())
}

fn differs(listen: SocketAddr, ports: &[u16]) -> Result<SocketAddr, Problem> {
    if ports.contains(&listen.port()) {
        let text = format!("the peer port is {}, which serves clients", listen.port());
        return Err(Problem::new(format!("{text}; set {} to another", PEER_PORT.name)));
    }
    Ok(listen)
}

/// Reads `name@host[:port]`.
fn entry(variable: &Variable, text: &str) -> Result<Entry, Problem> {
    parse_entry(text).ok_or_else(|| {
        let form = "not name@host or name@host:port, an IPv6 host in brackets";
        Problem::new(format!("{} holds {text:?}, which is {form}", variable.name))
    })
}

fn parse_entry(text: &str) -> Option<Entry> {
    let (name, place) = text.split_once('@')?;
    let (place, port) = split_port(place)?;
    Some(Entry { name: is_name(name).then(|| name.into())?, host: host(place)?, port })
}

/// Reads `name` or `name@host`; a port behind the host says nothing.
fn reference(variable: &Variable, text: &str) -> Result<Reference, Problem> {
    let (name, place) = match text.split_once('@') {
        Some((name, place)) => (name, Some(place)),
        None => (text, None),
    };
    // An address without brackets is taken here, where no port needs to be told from it.
    let read = |place: &str| match place.parse::<IpAddr>() {
        Ok(address) => Some(Host::Address(address)),
        Err(_) => split_port(place).and_then(|(place, _)| host(place)),
    };
    let host = match place {
        Some(place) => Some(read(place).ok_or_else(|| parse::invalid("node", variable, text))?),
        None => None,
    };
    if !is_name(name) {
        return Err(parse::invalid("node", variable, text));
    }
    Ok(Reference { name: name.into(), host })
}

/// Takes the port off a host, if there is one; brackets stay.
fn split_port(place: &str) -> Option<(&str, Option<u16>)> {
    let colon = match place.strip_prefix('[') {
        Some(_) => place.find(']')? + 1,
        None => place.find(':').unwrap_or(place.len()),
    };
    match place.split_at(colon) {
        (host, "") => Some((host, None)),
        (host, rest) => {
            let digits = rest.strip_prefix(':')?;
            let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            let port = if plain { digits.parse().ok()? } else { 0 };
            (0 < port).then_some((host, Some(port)))
        }
    }
}

fn host(text: &str) -> Option<Host> {
    if let Some(inner) = text.strip_prefix('[') {
        let address: Ipv6Addr = inner.strip_suffix(']')?.parse().ok()?;
        return Some(Host::Address(address.into()));
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return address.is_ipv4().then_some(Host::Address(address));
    }
    is_name(text).then(|| Host::Name(text.to_ascii_lowercase().into()))
}

/// Whether a text can stand for a node or a host.
fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=WORD_BYTES_MAX).contains(&text.len()) && text.bytes().all(plain)
}

fn distinct<'a>(words: impl Iterator<Item = &'a str>) -> bool {
    let mut words: Vec<&str> = words.collect();
    words.sort_unstable();
    words.windows(2).all(|pair| pair[0] != pair[1])
}

fn names<'a>(names: impl Iterator<Item = &'a NodeName>) -> String {
    names.map(NodeName::as_str).collect::<Vec<_>>().join(", ")
}
