use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use model::config::{ClusterConfig, Discovery, Host, NodeEntry};

use super::{cluster, name};
use crate::peer::book::Book;

/// Waits until the thread that looks names up has done so.
fn await_addresses(book: &Book, node: &str) -> Vec<SocketAddr> {
    let start = Instant::now();
    loop {
        let found = book.addresses(&name(node)).unwrap_or_default();
        if !found.is_empty() {
            return found;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "{node} is not found");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn addresses_need_no_looking_up() {
    let book = Book::start(&cluster("b", &[1, 2, 3], 3));
    assert_eq!(book.names(), [name("a"), name("c")], "all but this node");
    assert_eq!(book.addresses(&name("a")), Some(vec![([127, 0, 0, 1], 1).into()]));
    assert_eq!(book.addresses(&name("b")), None);
    assert_eq!(Arc::strong_count(&book), 1, "nobody keeps it up to date");
}

#[test]
fn names_are_looked_up() {
    let mut config = cluster("a", &[1, 2, 3], 3);
    config.nodes[1].host = Host::Name("localhost".into());
    config.nodes[2].host = Host::Name("no.such.host.invalid".into());
    let book = Book::start(&config);
    assert_eq!(book.addresses(&name("c")), Some(Vec::new()), "known, but not where");
    let found = await_addresses(&book, "b");
    assert!(found.iter().all(|at| at.ip().is_loopback() && at.port() == 2), "{found:?}");
    assert_eq!(book.names(), [name("b"), name("c")]);
}

#[test]
fn a_query_finds_nodes() {
    let discovery =
        Discovery { query: "localhost".into(), basename: "s".into(), poll_ms: 10, port: 7 };
    let own = discovery.entry([10, 0, 0, 1].into());
    let other: NodeEntry = discovery.entry([10, 0, 0, 2].into());
    let config = ClusterConfig {
        own: own.name.clone(),
        nodes: vec![own, other],
        discovery: Some(discovery),
        ..cluster("a", &[1, 2], 2)
    };
    let book = Book::start(&config);
    assert_eq!(await_addresses(&book, "s@127.0.0.1"), [SocketAddr::from(([127, 0, 0, 1], 7))]);
    let configured = name("s@10.0.0.2");
    assert_eq!(book.addresses(&configured), Some(vec![([10, 0, 0, 2], 7).into()]));
    assert!(book.names().contains(&configured), "what is configured stays");
}

#[test]
fn operators_add_nodes_and_move_them() {
    let book = Book::start(&cluster("a", &[1, 2, 3], 3));
    let node = |named: &str, host: Host, port| NodeEntry { name: name(named), host, port };
    let at = |number: u8| Host::Address([10, 0, 0, number].into());
    assert!(!book.knows(&name("d")));
    let added = [node("d", at(4), 4), node("a", at(9), 9), node("b", at(9), 9)];
    book.learn(added.iter());
    assert!(book.knows(&name("d")));
    assert_eq!(book.addresses(&name("d")), Some(vec![([10, 0, 0, 4], 4).into()]));
    assert_eq!(book.addresses(&name("a")), None, "this node");
    assert_eq!(book.addresses(&name("b")), Some(vec![([127, 0, 0, 1], 2).into()]), "configured");
    book.learn([node("d", at(5), 5)].iter());
    assert_eq!(book.addresses(&name("d")), Some(vec![([10, 0, 0, 5], 5).into()]));
    book.learn([node("e", Host::Name("localhost".into()), 6)].iter());
    assert!(!book.knows(&name("d")));
    assert_eq!(book.addresses(&name("d")), None);
    assert!(await_addresses(&book, "e").iter().all(|at| at.port() == 6), "it is looked up");
}
