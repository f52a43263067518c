//! Meetings over real sockets.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use model::cluster::MemberId;
use model::config::{ClusterConfig, Secret};
use uring::Founding;

use super::cluster;
use crate::peer::{Newcomer, meet};

/// Ports nobody listens at.
fn ports(count: usize) -> Vec<u16> {
    let taken: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
    taken.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

fn newcomer(cluster: ClusterConfig) -> Newcomer {
    let member = MemberId::new(cluster.own.tag(), 7);
    Newcomer { cluster, groups: 8, member, made_at: 1, started_at: 2, credentials: None }
}

#[test]
fn a_node_alone_waits_for_nobody() {
    let alone = newcomer(ClusterConfig::alone(super::name("x")));
    let founding = meet(&alone).unwrap();
    assert!(founding.is_sound());
    let expected =
        Founding { cluster: founding.cluster, groups: 8, factor: 1, members: vec![alone.member] };
    assert_eq!(founding, expected);
    assert_ne!(meet(&alone).unwrap().cluster, founding.cluster);
}

/// The founder of three, with strangers at its door: it founds the cluster once the others are there.
/// What the others then hear from its running node is tested elsewhere.
#[test]
fn the_lowest_of_three_founds_a_cluster() {
    let ports = ports(3);
    let (tell, told) = channel();
    // These wait for the founder's running node, which never comes: they end with the test.
    for own in ["b", "c"] {
        let late = newcomer(cluster(own, &ports, 3));
        thread::spawn(move || meet(&late));
    }
    let other_secret = Some(Secret::new(*b"another cluster's"));
    let stranger = ClusterConfig { secret: other_secret, ..cluster("b", &ports[..2], 1) };
    let stranger = ClusterConfig { peer_listen: Some((Ipv4Addr::LOCALHOST, 0).into()), ..stranger };
    thread::spawn(move || meet(&newcomer(stranger)));
    let first = newcomer(cluster("a", &ports, 3));
    thread::spawn(move || tell.send(meet(&first)));
    let door = ports[0];
    thread::spawn(move || {
        // Somebody who speaks another protocol, and somebody who says nothing.
        while let Ok(mut visitor) = TcpStream::connect((Ipv4Addr::LOCALHOST, door)) {
            let _ = visitor.write_all(b"GET / HTTP/1.1\r\n\r\n");
            let _ = visitor.read(&mut [0; 64]);
        }
    });
    let founding = told.recv_timeout(Duration::from_secs(60)).unwrap().unwrap();
    assert!(founding.is_sound());
    assert_eq!((founding.groups, founding.factor, founding.members.len()), (8, 3, 3));
    for own in ["a", "b", "c"] {
        assert!(founding.members.contains(&newcomer(cluster(own, &ports, 3)).member), "{own}");
    }
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = meet(&newcomer(cluster("a", &[port, 1], 2))).unwrap_err();
    let text = format!("cannot listen on 127.0.0.1:{port}: ");
    assert!(error.to_string().starts_with(&text), "{error}");
}
