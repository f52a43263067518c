//! Certificates: of the right authority, of another, of nobody; and nodes that speak TLS or not.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use model::cluster::NodeName;
use model::config::{ClusterConfig, TlsFiles};
use raft::{Body, Term};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, version};
use shard::peer::PeerMessage;

use super::links::{Node, vote};
use super::{cluster, name};
use crate::peer::Credentials;
use crate::peer::frame::Lane;
use crate::peer::handshake::{Failure, Refusal};
use crate::peer::stream::Blocking;

/// Nothing takes this long; a test that waits for it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who signs certificates, and a directory for what is signed.
pub(super) struct Authority {
    directory: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    signed: AtomicU32,
}

impl Authority {
    pub(super) fn new() -> Authority {
        Authority::called("an authority")
    }

    fn called(name: &str) -> Authority {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory =
            std::env::temp_dir().join(format!("starcite-tls-{}-{count}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        fs::write(directory.join("ca.pem"), certificate.pem()).unwrap();
        Authority { directory, issuer: Issuer::new(params, key), signed: AtomicU32::new(0) }
    }

    fn pem(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// A certificate that holds one name, and its key.
    pub(super) fn sign(&self, name: &str) -> TlsFiles {
        self.sign_as(name, |_| {})
    }

    fn sign_as(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> TlsFiles {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let number = self.signed.fetch_add(1, Ordering::Relaxed);
        let at = |kind: &str| self.directory.join(format!("{number}.{kind}"));
        fs::write(at("pem"), certificate.pem()).unwrap();
        fs::write(at("key"), key.serialize_pem()).unwrap();
        TlsFiles { certificate: at("pem"), key: at("key"), authorities: self.pem() }
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The configuration of a node of two, with these files.
fn config(own: &str, tls: Option<TlsFiles>) -> ClusterConfig {
    ClusterConfig { tls, ..cluster(own, &[1, 2], 2) }
}

pub(super) fn load(own: &str, files: TlsFiles) -> Result<Credentials, String> {
    Credentials::load(&config(own, Some(files))).map(|some| some.expect("files are named"))
}

/// The same certificate, and another authority.
fn trusting(files: TlsFiles, authority: &Authority) -> TlsFiles {
    TlsFiles { authorities: authority.pem(), ..files }
}

/// Two ends of one connection.
fn sockets() -> [TcpStream; 2] {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let dialing = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    [dialing, listener.accept().unwrap().0]
}

/// What each end says of a conversation in which a dials b, or in what words it came to nothing.
fn converse(dialing: Option<&Credentials>, accepting: Option<&Credentials>) -> [String; 2] {
    let [ours, theirs] = sockets();
    let until = || Instant::now() + PATIENCE;
    let (a, b) = (name("a"), name("b"));
    thread::scope(|scope| {
        let talk = |socket, own: Option<&Credentials>, dialed: Option<&NodeName>| {
            let mut stream = Blocking::new(socket, own, dialed, until()).map_err(text)?;
            let (word, other) = if dialed.is_some() { ("to b", &b) } else { ("to a", &a) };
            stream.write_all(word.as_bytes()).map_err(text)?;
            let mut heard = [0; 4];
            let mut at = 0;
            while at < heard.len() {
                stream.wait_until(until()).map_err(text)?;
                at += stream.read(&mut heard[at..]).map_err(text)?;
            }
            let heard = String::from_utf8_lossy(&heard).into_owned();
            Ok(if stream.may_be(other) { heard } else { format!("{heard}, of another") })
        };
        let accepted = scope.spawn(move || talk(theirs, accepting, None));
        let dialed = talk(ours, dialing, Some(&name("b")));
        [dialed, accepted.join().unwrap()].map(|said| said.unwrap_or_else(|why: String| why))
    })
}

fn text(broken: impl std::fmt::Display) -> String {
    broken.to_string()
}

#[test]
fn two_nodes_of_one_authority_understand_each_other() {
    let authority = Authority::new();
    for names in [["a", "b"], ["127.0.0.1", "127.0.0.1"], ["a", "127.0.0.1"]] {
        let [a, b] = names.map(|name| authority.sign(name));
        let [a, b] = [load("a", a).unwrap(), load("b", b).unwrap()];
        assert_eq!(converse(Some(&a), Some(&b)), ["to a", "to b"], "{names:?}");
    }
    assert_eq!(converse(None, None), ["to a", "to b"]);
}

#[test]
fn two_nodes_of_different_authorities_do_not() {
    let unsigned = "its certificate is not signed by the configured authorities";
    let told = "it refuses this node's TLS: its authorities did not sign this node's certificate";
    // Also if the authorities go by the same name.
    for name in ["another authority", "an authority"] {
        let (one, two) = (Authority::new(), Authority::called(name));
        let a = load("a", one.sign("a")).unwrap();
        let b = load("b", two.sign("b")).unwrap();
        assert_eq!(converse(Some(&a), Some(&b)), [unsigned, told], "{name}");
        // The dialing side takes the accepting one, which does not take it.
        let mut both = fs::read(one.pem()).unwrap();
        both.extend(fs::read(two.pem()).unwrap());
        let file = one.directory.join("both.pem");
        fs::write(&file, both).unwrap();
        let a = load("a", TlsFiles { authorities: file, ..one.sign("a") }).unwrap();
        let [_, accepting] = converse(Some(&a), Some(&b));
        assert_eq!(accepting, unsigned, "{name}");
    }
}

#[test]
fn a_node_is_not_taken_for_another() {
    let authority = Authority::new();
    let a = load("a", authority.sign("a")).unwrap();
    // Node a is dialed where b should be.
    let [dialing, accepting] = converse(Some(&a), Some(&a));
    assert_eq!(dialing, "its certificate holds neither the node's name nor its host");
    assert_eq!(accepting, "it refuses this node's TLS: this node's certificate is not taken");
    // The dialing side finds b where it looks for it; the accepting one does not find a.
    let b = load("b", authority.sign("b")).unwrap();
    assert_eq!(converse(Some(&b), Some(&b)), ["to a", "to b, of another"]);
}

#[test]
fn who_speaks_tls_alone_is_told_apart() {
    let authority = Authority::new();
    let secured = load("a", authority.sign("127.0.0.1")).unwrap();
    let plain = "it does not speak TLS, which is configured here";
    let [_, accepting] = converse(None, Some(&secured));
    assert_eq!(accepting, plain);
    let [dialing, _] = converse(Some(&secured), None);
    assert_eq!(dialing, plain);
}

#[test]
fn what_others_would_refuse_is_refused_at_the_start() {
    let (authority, other) = (Authority::new(), Authority::new());
    let good = authority.sign("a");
    let (certificate, key) = (good.certificate.clone(), good.key.clone());
    let expired = authority.sign_as("a", |params| {
        (params.not_before, params.not_after) =
            (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    });
    let early = authority.sign_as("a", |params| params.not_before = date_time_ymd(3000, 1, 1));
    let one_sided = authority.sign_as("a", |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let missing = authority.directory.join("missing.pem");
    let large = authority.directory.join("large.pem");
    fs::write(&large, vec![b'\n'; 1024 * 1024]).unwrap();
    let at = |path: &Path, why: &str| format!("{}: {why}", path.display());
    let own = |files: &TlsFiles, why: &str| {
        at(&files.certificate, &format!("this node's certificate {why}"))
    };
    let of_other = trusting(good.clone(), &other);
    let named_b = authority.sign("b");
    let cases = [
        (of_other.clone(), own(&of_other, "is not signed by the configured authorities")),
        (expired.clone(), own(&expired, "has expired")),
        (early.clone(), own(&early, "is not valid yet")),
        (named_b.clone(), own(&named_b, "holds neither the node's name nor its host")),
        (one_sided.clone(), own(&one_sided, "is not for both ends of a connection")),
        (
            TlsFiles { key: named_b.key, ..good.clone() },
            format!("the key is not that of {}", certificate.display()),
        ),
        (TlsFiles { key: certificate, ..good.clone() }, "it holds no key: ".to_owned()),
        (
            TlsFiles { certificate: key.clone(), ..good.clone() },
            at(&key, "it holds no certificate in PEM"),
        ),
        (TlsFiles { authorities: missing.clone(), ..good.clone() }, at(&missing, "No such file")),
        (TlsFiles { key: large.clone(), ..good }, at(&large, "it is too large for certificates")),
    ];
    for (files, expected) in cases {
        let why = load("a", files).unwrap_err();
        assert!(why.contains(&expected), "{why} instead of {expected}");
    }
}

#[test]
fn certificates_are_renewed_while_the_node_runs() {
    let (old, new) = (Authority::new(), Authority::new());
    let (files, next) = (old.sign("a"), new.sign("a"));
    let a = load("a", files.clone()).unwrap();
    let b = load("b", new.sign("b")).unwrap();
    assert_eq!(a.look(), Ok(false));
    assert_ne!(converse(Some(&a), Some(&b)), ["to a", "to b"]);
    // What is half written changes nothing.
    fs::copy(&next.certificate, &files.certificate).unwrap();
    assert!(a.look().unwrap_err().contains("is not signed by the configured authorities"));
    fs::copy(new.pem(), &files.authorities).unwrap();
    assert!(a.look().unwrap_err().contains("the key is not that of"));
    fs::copy(&next.key, &files.key).unwrap();
    assert_eq!((a.look(), a.look()), (Ok(true), Ok(false)));
    assert_eq!(converse(Some(&a), Some(&b)), ["to a", "to b"]);
}

#[test]
fn a_running_node_speaks_tls() {
    let authority = Authority::new();
    let node = Node::secured([authority.sign("a"), authority.sign("b")]);
    let own = node.papers().own.member;
    let (mut theirs, mut hearing) = node.accept(Lane::Log);
    let (mut ours, mut saying) = node.connect(node.papers(), Lane::Log).unwrap();
    // Much at once: many records of TLS, and frames that begin in the midst of one.
    for term in 1_000..1_004 {
        let requests = vec![vote(&node, &saying, term); 10_000];
        ours.say(&mut saying, &requests);
    }
    let granted = |message: &PeerMessage| match message {
        PeerMessage::Raft { message, .. } => {
            (message.term, &message.body) == (Term(1_003), &Body::VoteReply { granted: true })
        }
        _ => false,
    };
    while !theirs.hear(&mut hearing, own).iter().any(granted) {}
}

#[test]
fn a_running_node_takes_no_strangers() {
    let authority = Authority::new();
    let mut node = Node::secured([authority.sign("a"), authority.sign("b")]);
    let read_all = |mut stream: TcpStream| {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answer = Vec::new();
        // It may be told so, or cut off.
        let _ = stream.read_to_end(&mut answer);
        answer.len()
    };
    // Somebody who speaks this protocol without TLS, and somebody who speaks nothing, hear an alert
    // at most.
    for bytes in [&b"STCP\x01\x01\x01\x00"[..], b"\x16\x03\x01\xff\xff", b"GET / HTTP/1.1\r\n\r\n"]
    {
        let mut stranger = node.socket();
        stranger.write_all(bytes).unwrap();
        stranger.shutdown(Shutdown::Write).unwrap();
        assert!(read_all(stranger) <= 7);
    }
    // Somebody who has no certificate.
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority.pem()).unwrap()).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let nameless = ClientConnection::new(Arc::new(client), "a".try_into().unwrap()).unwrap();
    let mut stranger = StreamOwned::new(nameless, node.socket());
    stranger.sock.set_read_timeout(Some(PATIENCE)).unwrap();
    let why = stranger.read(&mut [0; 64]).unwrap_err().to_string();
    assert!(why.contains("CertificateRequired"), "{why}");
    // Somebody who knows the secret, and shows the certificate of another node.
    let tls = Some(authority.sign("c"));
    let other = ClusterConfig { tls, ..cluster("c", &[1, 2, 3], 2) };
    let own = std::mem::replace(&mut node.credentials, Credentials::load(&other).unwrap());
    let refused = node.connect(node.papers(), Lane::Log).map(drop);
    assert_eq!(refused, Err(Failure::Refused(Refusal::Certificate)));
    // And the node itself.
    node.credentials = own;
    assert_eq!(node.connect(node.papers(), Lane::Log).map(drop), Ok(()));
}
