//! What the environment may say of a cluster.

use super::{reads, refuses, refuses_with};
use crate::cluster::NodeName;
use crate::config::{ClusterConfig, Host, Secret};

const SECRET: (&str, &str) = ("SECRET_KEY_BASE", "a secret of thirty-two bytes, all");
const THREE: (&str, &str) = ("CLUSTER_NODES", "c@10.0.0.3, a@10.0.0.1 ,,b@10.0.0.2:4200");

const FACTOR: (&str, &str) = ("STARCITE_WRITE_REPLICATION_FACTOR", "1");

/// The cluster of an environment with the secret and these variables.
#[track_caller]
fn cluster(variables: &[(&str, &str)]) -> ClusterConfig {
    reads(&[&[SECRET], variables].concat()).cluster
}

#[track_caller]
fn cluster_refuses(variables: &[(&str, &str)], text: &str) {
    refuses(&[&[SECRET], variables].concat(), text);
}

fn words<'a>(names: impl IntoIterator<Item = &'a NodeName>) -> String {
    names.into_iter().map(NodeName::as_str).collect::<Vec<_>>().join(" ")
}

/// Names, hosts and ports of the nodes, as text.
fn nodes(config: &ClusterConfig) -> Vec<String> {
    let text =
        |node: &crate::config::NodeEntry| format!("{} {}:{}", node.name, node.host, node.port);
    config.nodes.iter().map(text).collect()
}

#[test]
fn a_node_alone_needs_nothing() {
    for text in ["", " ", ",", " , ,", "a@h", "a@h, ,"] {
        let config = reads(&[("CLUSTER_NODES", text)]).cluster;
        assert!(config.is_alone() && !config.is_router(), "{text:?}");
        assert_eq!((config.factor, &config.secret, config.peer_listen), (1, &None, None));
        let name = if text.contains('a') { "a" } else { "starcite" };
        assert_eq!((config.own.as_str(), words(&config.write)), (name, name.to_owned()));
    }
    assert_eq!(reads(&[]).cluster, ClusterConfig::alone(NodeName::new("starcite").unwrap()));
    for (name, value) in [("NODE_NAME", "x"), ("NODE_NAME", " x@here "), ("RELEASE_NODE", "x@h")] {
        let config = reads(&[(name, value)]).cluster;
        assert_eq!(config, ClusterConfig::alone(NodeName::new("x").unwrap()));
    }
    reads(&[("STARCITE_WRITE_NODE_IDS", "starcite"), ("STARCITE_WRITE_REPLICATION_FACTOR", "1")]);
    refuses(
        &[("STARCITE_WRITE_NODE_IDS", "b")],
        "STARCITE_WRITE_NODE_IDS names \"b\", which is none of starcite",
    );
    refuses(
        &[("STARCITE_WRITE_REPLICATION_FACTOR", "3")],
        "STARCITE_WRITE_REPLICATION_FACTOR is 3, but there is one node to hold data (1)",
    );
    refuses(
        &[("STARCITE_ROUTING_REPLICATION_FACTOR", "2")],
        "STARCITE_ROUTING_REPLICATION_FACTOR is 2, but there is one node to hold data (1)",
    );
}

#[test]
fn three_nodes() {
    let config = cluster(&[THREE, ("NODE_NAME", "b")]);
    assert_eq!(nodes(&config), ["a 10.0.0.1:4100", "b 10.0.0.2:4200", "c 10.0.0.3:4100"]);
    assert_eq!((config.own.as_str(), words(&config.write).as_str()), ("b", "a b c"));
    assert_eq!(config.factor, 3);
    assert_eq!(config.peer_listen.map(|at| at.to_string()).as_deref(), Some("10.0.0.2:4200"));
    assert!(!config.is_alone() && !config.is_router());
    assert_eq!(config.write_tags().len(), 3);
    let knows = |name: &str| config.knows(&NodeName::new(name).unwrap());
    assert!(knows("a") && knows("b") && !knows("d") && !knows("a@10.0.0.1"));
}

#[test]
fn every_node_reads_the_same_cluster() {
    let of = |name| cluster(&[THREE, ("NODE_NAME", name)]);
    for other in ["b", "c"] {
        let (one, other) = (of("a"), of(other));
        assert_eq!((&one.nodes, &one.write), (&other.nodes, &other.write));
        assert_eq!((one.factor, &one.secret), (other.factor, &other.secret));
        assert_ne!(one.own, other.own);
    }
}

#[test]
fn a_node_finds_itself() {
    for (variable, value) in [
        ("NODE_NAME", "b"),
        ("NODE_NAME", "b@10.0.0.2"),
        ("RELEASE_NODE", "b"),
        ("RELEASE_NODE", "b@10.0.0.2"),
        // Its own host may be called otherwise by others.
        ("RELEASE_NODE", "b@b.internal"),
    ] {
        assert_eq!(cluster(&[THREE, (variable, value)]).own.as_str(), "b", "{variable}={value}");
    }
    let both = [THREE, ("NODE_NAME", "a"), ("RELEASE_NODE", "b@10.0.0.2")];
    assert_eq!(cluster(&both).own.as_str(), "a");
    cluster_refuses(
        &[THREE],
        "CLUSTER_NODES names 3 nodes; NODE_NAME or RELEASE_NODE must say which of them this is",
    );
    cluster_refuses(&[THREE, ("NODE_NAME", "d")], "NODE_NAME is \"d\", which is none of a, b, c");
    let other = [("CLUSTER_NODES", "a@h"), ("RELEASE_NODE", "b@h")];
    cluster_refuses(&other, "RELEASE_NODE is \"b@h\", which is none of a");
    for bad in ["@h", "a b", "a@", "a@h h", "a@[::1"] {
        let text = format!("invalid node for NODE_NAME: {bad:?}");
        cluster_refuses(&[THREE, ("NODE_NAME", bad)], &text);
    }
}

#[test]
fn equal_name_parts_make_whole_names() {
    let list = ("CLUSTER_NODES", "s@H1, s@h2:4101, s@[fd00:0::3]:4102");
    let own = ("RELEASE_NODE", "s@[FD00::3]");
    let config = cluster(&[list, own]);
    assert_eq!(nodes(&config), ["s@[fd00::3] [fd00::3]:4102", "s@h1 h1:4100", "s@h2 h2:4101"]);
    assert_eq!(config.own.as_str(), "s@[fd00::3]");
    let write = ("STARCITE_WRITE_NODE_IDS", "s@h1");
    assert!(cluster(&[list, own, write]).is_router());
    cluster_refuses(
        &[list, ("NODE_NAME", "s")],
        "NODE_NAME is \"s\", which is none of s@[fd00::3], s@h1, s@h2",
    );
    cluster_refuses(&[("CLUSTER_NODES", "s@h, s@h:4101")], "CLUSTER_NODES names s@h twice");
}

#[test]
fn entries() {
    let one = |text: &str| {
        let list = format!("{text},zz@h");
        let config = cluster(&[
            ("CLUSTER_NODES", &list),
            ("NODE_NAME", "zz"),
            ("STARCITE_WRITE_REPLICATION_FACTOR", "2"),
        ]);
        let node = config.nodes.into_iter().find(|node| node.name.as_str() != "zz").unwrap();
        (node.name.as_str().to_owned(), node.host.to_string(), node.port)
    };
    let node = |name: &str, host: &str, port| (name.to_owned(), host.to_owned(), port);
    assert_eq!(one("a@h"), node("a", "h", 4100));
    assert_eq!(one("a@Host.Example:1"), node("a", "host.example", 1));
    assert_eq!(one("a_1-x.y@127.0.0.1:65535"), node("a_1-x.y", "127.0.0.1", 65535));
    assert_eq!(one("a@[::1]"), node("a", "[::1]", 4100));
    assert_eq!(one("a@[::1]:4200"), node("a", "[::1]", 4200));
    for bad in [
        "a",
        "@h",
        "a@",
        "a@h:",
        "a@h:0",
        "a@h:65536",
        "a@h:x",
        "a@h:+1",
        "a@::1",
        "a@[::1",
        "a@[h]",
        "a@[::1]4100",
        "a@h@h",
        "a b@h",
        "a@h h",
        "a/b@h",
        "a@[127.0.0.1]",
    ] {
        let text = format!(
            "CLUSTER_NODES holds {bad:?}, which is not name@host or name@host:port, an IPv6 host in \
             brackets"
        );
        cluster_refuses(&[("CLUSTER_NODES", bad)], &text);
    }
    let long = format!("{}@h", "a".repeat(256));
    refuses_with(&[SECRET, ("CLUSTER_NODES", &long)], &["CLUSTER_NODES holds"]);
    let many: Vec<String> = (0..65).map(|n| format!("n{n}@h")).collect();
    cluster_refuses(
        &[("CLUSTER_NODES", &many.join(","))],
        "CLUSTER_NODES names 65 nodes; at most 64 form a cluster",
    );
}

#[test]
fn routers_hold_no_data() {
    let write = ("STARCITE_WRITE_NODE_IDS", "c@10.0.0.3 , a");
    let factor = ("STARCITE_WRITE_REPLICATION_FACTOR", "2");
    let config = cluster(&[THREE, ("NODE_NAME", "b"), write, factor]);
    assert!(config.is_router());
    assert_eq!((words(&config.write).as_str(), config.factor), ("a c", 2));
    assert!(!cluster(&[THREE, ("NODE_NAME", "a"), write, factor]).is_router());
    let own = ("NODE_NAME", "a");
    cluster_refuses(
        &[THREE, own, ("STARCITE_WRITE_NODE_IDS", "a,d")],
        "STARCITE_WRITE_NODE_IDS names \"d\", which is none of a, b, c",
    );
    cluster_refuses(
        &[THREE, own, ("STARCITE_WRITE_NODE_IDS", "a,a@10.0.0.1")],
        "STARCITE_WRITE_NODE_IDS names a twice",
    );
    let one = cluster(&[THREE, own, ("STARCITE_WRITE_NODE_IDS", "a")]);
    assert_eq!((one.factor, one.is_alone()), (1, false));
}

#[test]
fn there_are_no_more_copies_than_nodes() {
    let own = ("NODE_NAME", "a");
    let factor = |text| [THREE, own, ("STARCITE_WRITE_REPLICATION_FACTOR", text)];
    for (text, copies) in [("1", 1), ("2", 2), ("3", 3)] {
        assert_eq!(cluster(&factor(text)).factor, copies);
    }
    cluster_refuses(
        &factor("4"),
        "STARCITE_WRITE_REPLICATION_FACTOR is 4, but there are not that many nodes to hold data (3)",
    );
    cluster_refuses(
        &[("CLUSTER_NODES", "a@h,b@h"), own],
        "STARCITE_WRITE_REPLICATION_FACTOR is 3 unless it is set, but there are not that many nodes \
         to hold data (2)",
    );
    let newer = ("STARCITE_ROUTING_REPLICATION_FACTOR", "2");
    assert_eq!(cluster(&[THREE, own, newer]).factor, 2);
    cluster_refuses(
        &[THREE, own, newer, ("STARCITE_WRITE_REPLICATION_FACTOR", "3")],
        "STARCITE_WRITE_REPLICATION_FACTOR is 3, but STARCITE_ROUTING_REPLICATION_FACTOR is 2; set \
         one of them",
    );
}

#[test]
fn where_other_nodes_are_listened_for() {
    let listen = |variables: &[(&str, &str)]| {
        let all = [&[THREE, ("NODE_NAME", "a")], variables].concat();
        cluster(&all).peer_listen.expect("it is not alone").to_string()
    };
    assert_eq!(listen(&[]), "10.0.0.1:4100");
    assert_eq!(listen(&[("STARCITE_PEER_PORT", "5000")]), "10.0.0.1:5000");
    assert_eq!(listen(&[("STARCITE_PEER_BIND", "::")]), "[::]:4100");
    let named = ("CLUSTER_NODES", "a@h:7,b@h:8,c@h");
    assert_eq!(listen(&[named]), "0.0.0.0:7");
    assert_eq!(listen(&[named, ("STARCITE_BIND", "127.0.0.1")]), "127.0.0.1:7");
    let config = cluster(&[named, ("NODE_NAME", "c"), ("STARCITE_PEER_PORT", "9")]);
    assert_eq!(nodes(&config), ["a h:7", "b h:8", "c h:9"]);
    let own = ("NODE_NAME", "a");
    cluster_refuses(
        &[THREE, own, ("STARCITE_PEER_BIND", "here")],
        "invalid address for STARCITE_PEER_BIND: \"here\"",
    );
    for (variable, port) in [("PORT", "4100"), ("STARCITE_OPS_PORT", "4100")] {
        cluster_refuses(
            &[THREE, own, (variable, port)],
            "the peer port is 4100, which serves clients; set STARCITE_PEER_PORT to another",
        );
    }
}

#[test]
fn more_than_one_node_shares_a_secret() {
    let own = ("NODE_NAME", "a");
    let missing = "SECRET_KEY_BASE must be set, to the same on every node: it is how nodes know each \
                   other";
    refuses(&[THREE, own], missing);
    refuses(&[THREE, own, ("SECRET_KEY_BASE", " ")], missing);
    refuses(
        &[THREE, own, ("SECRET_KEY_BASE", "fifteen bytes..")],
        "SECRET_KEY_BASE is too short for a secret; 16 bytes are the least",
    );
    let config = reads(&[SECRET, THREE, own]);
    assert_eq!(config.cluster.secret, Some(Secret::new(SECRET.1.as_bytes())));
    let shown = format!("{config:?} {config:#?}");
    assert!(!shown.contains("thirty") && shown.contains("Secret(..)"), "{shown}");
    // A node alone has nobody to prove anything to.
    assert_eq!(reads(&[("SECRET_KEY_BASE", "x")]).cluster.secret, None);
}

#[test]
fn names_found_by_a_query() {
    let query = ("DNS_CLUSTER_QUERY", "starcite.internal");
    let write = ("STARCITE_WRITE_NODE_IDS", "starcite@10.0.0.2,starcite@fd00::1,starcite@10.0.0.1");
    let own = ("RELEASE_NODE", "starcite@10.0.0.1");
    // The query wins over names, even over those that would be refused.
    let config = cluster(&[query, write, own, ("CLUSTER_NODES", "??")]);
    let write_nodes = "starcite@10.0.0.1 starcite@10.0.0.2 starcite@[fd00::1]";
    assert_eq!(words(&config.write), write_nodes);
    assert_eq!(words(config.nodes.iter().map(|node| &node.name)), write_nodes);
    assert_eq!((config.own.as_str(), config.is_router()), ("starcite@10.0.0.1", false));
    assert_eq!(config.peer_listen.map(|at| at.to_string()).as_deref(), Some("10.0.0.1:4100"));
    let discovery = config.discovery.expect("a query");
    assert_eq!((&*discovery.query, discovery.poll_ms), ("starcite.internal", 5_000));
    let found = discovery.entry("10.0.0.9".parse().unwrap());
    assert_eq!((found.name.as_str(), found.port), ("starcite@10.0.0.9", 4100));
    assert_eq!(found.host, Host::Address("10.0.0.9".parse().unwrap()));
    let router = cluster(&[query, write, ("NODE_NAME", "starcite@10.0.0.9")]);
    assert!(router.is_router() && router.nodes.len() == 4);
    let knows = |name: &str| router.knows(&NodeName::new(name).unwrap());
    assert!(knows("starcite@10.0.0.1") && knows("starcite@10.0.0.77"));
    assert!(!knows("starcite") && !knows("starcit@10.0.0.1") && !knows("starcite2@10.0.0.1"));
    let base = ("DNS_CLUSTER_NODE_BASENAME", "log");
    let logs =
        [query, base, ("STARCITE_WRITE_NODE_IDS", "log@10.0.0.1"), ("NODE_NAME", "log@10.0.0.1")];
    let alone_for_now = cluster(&[&logs[..], &[("DNS_POLL_INTERVAL_MS", "100")]].concat());
    assert!(!alone_for_now.is_alone(), "others may be found");
    assert_eq!(alone_for_now.discovery.map(|d| d.poll_ms), Some(100));
    assert_eq!(cluster(&[("DNS_CLUSTER_QUERY", " ")]).discovery, None);
}

#[test]
fn queries_that_are_refused() {
    let query = ("DNS_CLUSTER_QUERY", "starcite.internal");
    let write = ("STARCITE_WRITE_NODE_IDS", "starcite@10.0.0.1");
    let own = ("NODE_NAME", "starcite@10.0.0.1");
    cluster_refuses(
        &[query, own],
        "STARCITE_WRITE_NODE_IDS must name the nodes that hold data when DNS_CLUSTER_QUERY finds the \
         others",
    );
    let whole = "NODE_NAME or RELEASE_NODE must be starcite@address with DNS_CLUSTER_QUERY";
    cluster_refuses(&[query, write], whole);
    for name in ["a", "starcite", "other@10.0.0.1", "starcite@host"] {
        cluster_refuses(&[query, write, ("NODE_NAME", name)], whole);
        let text = format!(
            "STARCITE_WRITE_NODE_IDS names {name:?}; with DNS_CLUSTER_QUERY a node is called \
             starcite@address"
        );
        cluster_refuses(&[query, own, ("STARCITE_WRITE_NODE_IDS", name)], &text);
    }
    refuses_with(&[query, write, own], &["SECRET_KEY_BASE must be set"]);
    refuses_with(&[SECRET, ("DNS_CLUSTER_QUERY", "a b")], &["invalid name for DNS_CLUSTER_QUERY"]);
    refuses_with(
        &[SECRET, query, write, own, ("DNS_CLUSTER_NODE_BASENAME", "a@b")],
        &["invalid name for DNS_CLUSTER_NODE_BASENAME"],
    );
    refuses_with(
        &[SECRET, query, write, own, ("DNS_POLL_INTERVAL_MS", "86400001")],
        &["DNS_POLL_INTERVAL_MS must be at most 86400000"],
    );
}

#[test]
fn a_newcomer_is_called_as_the_others_are() {
    let seen = |config: &ClusterConfig, text: &str| -> Option<String> {
        config.newcomer(text).map(|node| format!("{} {}:{}", node.name, node.host, node.port))
    };
    let short = cluster(&[THREE, ("NODE_NAME", "a")]);
    let whole = cluster(&[
        ("CLUSTER_NODES", "n@10.0.0.1,n@10.0.0.2"),
        ("NODE_NAME", "n@10.0.0.1"),
        ("STARCITE_WRITE_REPLICATION_FACTOR", "2"),
    ]);
    let found = cluster(&[
        ("DNS_CLUSTER_QUERY", "starcite.internal"),
        ("STARCITE_WRITE_NODE_IDS", "starcite@10.0.0.1"),
        ("STARCITE_WRITE_REPLICATION_FACTOR", "1"),
        ("NODE_NAME", "starcite@10.0.0.1"),
    ]);
    let cases: [(&ClusterConfig, &str, Option<&str>); 14] = [
        (&short, "d@10.0.0.4", Some("d 10.0.0.4:4100")),
        (&short, "d@Host-4:7", Some("d host-4:7")),
        (&short, "d@[::1]:7", Some("d [::1]:7")),
        (&short, "b", Some("b 10.0.0.2:4200")),
        (&short, "d", None),
        (&short, "d@", None),
        (&short, "@h", None),
        (&short, "d@h:0", None),
        (&short, "d@h@i", None),
        (&whole, "n@10.0.0.3", Some("n@10.0.0.3 10.0.0.3:4100")),
        (&whole, "n@10.0.0.2", Some("n@10.0.0.2 10.0.0.2:4100")),
        (&found, "starcite@10.0.0.9", Some("starcite@10.0.0.9 10.0.0.9:4100")),
        (&found, "starcite@host", None),
        (&found, "d@10.0.0.9", None),
    ];
    for (config, text, expected) in cases {
        assert_eq!(seen(config, text).as_deref(), expected, "{text}");
    }
}

const TLS: [(&str, &str); 3] = [
    ("STARCITE_PEER_TLS_CERT", "node.pem"),
    ("STARCITE_PEER_TLS_KEY", "node.key"),
    ("STARCITE_PEER_TLS_CA", "ca.pem"),
];

#[test]
fn tls_needs_all_its_files() {
    let node = [THREE, ("NODE_NAME", "b")];
    let tls = cluster(&[&node[..], &TLS].concat()).tls.unwrap();
    let files = [&tls.certificate, &tls.key, &tls.authorities];
    assert_eq!(files.map(|file| file.to_str().unwrap()), ["node.pem", "node.key", "ca.pem"]);
    assert_eq!(cluster(&node).tls, None);
    // Empty is not given; and a node alone speaks to nobody.
    let empty = TLS.map(|(name, _)| (name, " "));
    assert_eq!(cluster(&[&node[..], &empty].concat()).tls, None);
    assert_eq!(reads(&TLS).cluster.tls, None);
    for given in 1..7 {
        let some = TLS.iter().enumerate().filter(|(place, _)| given >> place & 1 == 1);
        let some: Vec<(&str, &str)> = some.map(|(_, variable)| *variable).collect();
        let missing = TLS.iter().filter(|variable| !some.contains(variable));
        let missing: Vec<&str> = missing.map(|(name, _)| *name).collect();
        let (first, missing) = (some[0].0, missing.join(" and "));
        let text = format!("{first} is set, but not {missing}; TLS between nodes needs all three");
        cluster_refuses(&[&node[..], &some].concat(), &text);
    }
}

#[test]
fn every_node_is_somewhere() {
    let at = |config: &ClusterConfig, name: &str| {
        config.host_of(&NodeName::new(name).unwrap()).map(|host| host.to_string())
    };
    let named = cluster(&[("CLUSTER_NODES", "a@10.0.0.1,b@Host"), ("NODE_NAME", "b"), FACTOR]);
    assert_eq!(at(&named, "a").as_deref(), Some("10.0.0.1"));
    assert_eq!(at(&named, "b").as_deref(), Some("host"));
    assert_eq!(at(&named, "c"), None);
    let found = cluster(&[
        ("DNS_CLUSTER_QUERY", "nodes.local"),
        ("STARCITE_WRITE_NODE_IDS", "starcite@10.0.0.1"),
        ("NODE_NAME", "starcite@10.0.0.1"),
    ]);
    for (name, host) in [
        ("starcite@10.0.0.1", Some("10.0.0.1")),
        ("starcite@10.0.0.9", Some("10.0.0.9")),
        ("starcite@[fd00::1]", Some("[fd00::1]")),
        ("starcite@elsewhere", None),
        ("starcite", None),
        ("other@10.0.0.1", None),
    ] {
        assert_eq!(at(&found, name).as_deref(), host, "{name}");
    }
}
