//! Three real processes that speak TLS to each other, and one that does so in another way.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::cluster::{Cluster, until};
use crate::server::{Directory, PATIENCE, Server};

/// Begins a record of TLS that says why nothing follows.
const ALERT: u8 = 21;

/// Who signs certificates.
struct Authority {
    directory: Directory,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Authority {
        let directory = Directory::new();
        let mut params = CertificateParams::new(Vec::new()).expect("no names are names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("there are random numbers");
        let certificate = params.self_signed(&key).expect("the key is its own");
        fs::write(directory.path().join("ca.pem"), certificate.pem()).expect("it can be written");
        Authority { directory, issuer: Issuer::new(params, key) }
    }

    /// Gives a node a certificate of its name.
    fn equip(&self, node: &mut Server, name: &str) {
        let params = CertificateParams::new(vec![name.to_owned()]).expect("it is a name");
        let key = KeyPair::generate().expect("there are random numbers");
        let certificate = params.signed_by(&key, &self.issuer).expect("the authority has its key");
        let write = |kind: &str, text: String| {
            let path = self.directory.path().join(format!("{name}.{kind}"));
            fs::write(&path, text).expect("it can be written");
            path
        };
        let certificate = write("pem", certificate.pem());
        let files = [certificate, write("key", key.serialize_pem()), self.file("ca.pem")];
        let [certificate, key, authority] =
            files.each_ref().map(|file| file.to_str().expect("paths of tests are texts"));
        node.add_environment(&[
            ("STARCITE_PEER_TLS_CERT", certificate),
            ("STARCITE_PEER_TLS_KEY", key),
            ("STARCITE_PEER_TLS_CA", authority),
        ]);
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

#[test]
fn nodes_speak_tls_and_refuse_who_does_not() {
    let [ours, other] = ["ours", "another"].map(Authority::new);
    let mut cluster = Cluster::stopped(3);
    for (node, name) in cluster.nodes.iter_mut().zip(["a", "b", "c"]) {
        ours.equip(node, name);
    }
    let mut cluster = cluster.started();
    let sessions = cluster.sessions(4);
    cluster.append(&sessions, 1);
    cluster.check(&sessions, 1);
    // A stranger who speaks the protocol as it is hears of TLS alone.
    let mut stranger = TcpStream::connect((Ipv4Addr::LOCALHOST, cluster.ports[0]))
        .expect("the port can be reached");
    stranger.set_read_timeout(Some(PATIENCE)).expect("it can be set");
    stranger.write_all(b"STCP\x01\x01\x01\x00").expect("it can be written");
    let mut first = [0];
    stranger.read_exact(&mut first).expect("it is told");
    assert_eq!(first, [ALERT]);

    // Another authority, no TLS at all, and a file that is not there.
    let both_say = |cluster: &Cluster, words: [&str; 2]| {
        until("both sides say so", || {
            [0, 1].iter().all(|node| cluster.nodes[*node].log().contains(words[*node]))
        });
    };
    cluster.kill(1);
    other.equip(&mut cluster.nodes[1], "b");
    cluster.spawn(1);
    both_say(&cluster, ["is not signed by the configured authorities"; 2]);
    cluster.kill(1);
    let none = ["CERT", "KEY", "CA"].map(|kind| format!("STARCITE_PEER_TLS_{kind}"));
    cluster.nodes[1].add_environment(&none.each_ref().map(|name| (name.as_str(), "")));
    cluster.spawn(1);
    let words = ["it does not speak TLS, which is", "it speaks TLS, which is not configured here"];
    both_say(&cluster, words);
    cluster.append(&sessions, 2);
    cluster.kill(1);
    ours.equip(&mut cluster.nodes[1], "b");
    fs::rename(ours.file("b.key"), ours.file("kept")).expect("it can be moved");
    assert_eq!(cluster.nodes[1].run_to_end().code(), Some(64));
    assert!(cluster.nodes[1].log().contains("b.key: No such file"), "it says which");

    fs::rename(ours.file("kept"), ours.file("b.key")).expect("it can be moved");
    cluster.restart(1);
    cluster.check(&sessions, 2);
    cluster.append(&sessions, 3);
    cluster.check(&sessions, 3);
}
