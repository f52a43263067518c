//! The protocol between nodes.

mod book;
mod callers;
mod client;
mod client_wire;
mod founding;
mod frame;
mod fuzz;
mod handshake;
mod links;
mod meeting;
mod standing;
mod stop;
mod tls;
mod wire;

use model::cluster::NodeName;
use model::config::{ClusterConfig, Host, NodeEntry, Secret};

fn name(text: &str) -> NodeName {
    NodeName::new(text).unwrap()
}

/// A node's configuration, of a cluster whose nodes listen at these ports of this machine and are
/// called a, b, c and so on; the first `write` hold data.
pub(super) fn cluster(own: &str, ports: &[u16], write: usize) -> ClusterConfig {
    let localhost = std::net::IpAddr::from([127, 0, 0, 1]);
    let nodes: Vec<NodeEntry> = (b'a'..)
        .zip(ports)
        .map(|(letter, port)| NodeEntry {
            name: name(&char::from(letter).to_string()),
            host: Host::Address(localhost),
            port: *port,
        })
        .collect();
    let own_entry = nodes.iter().find(|node| node.name.as_str() == own).unwrap();
    ClusterConfig {
        own: name(own),
        write: nodes[..write].iter().map(|node| node.name.clone()).collect(),
        factor: u32::try_from(write).unwrap(),
        peer_listen: Some((localhost, own_entry.port).into()),
        discovery: None,
        secret: Some(Secret::new(*b"a secret of nodes")),
        tls: None,
        nodes,
    }
}
