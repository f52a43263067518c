//! A real node with real shards, and another one that is played by the test: it says what it is told
//! to over blocking sockets.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use model::cluster::MemberId;
use model::config::{ClusterConfig, Secret, TlsFiles};
use model::ids::{GroupId, Placement, ShardId};
use model::limits::PEER_FRAME_BYTES_MAX;
use raft::{Body, Index, Life, Message, NodeId, Term};
use shard::cluster::{Cluster, Timing};
use shard::opening::Opening;
use shard::peer::{PeerMessage, Pulse};
use shard::shard::Options;
use shard::wal::Recovery;
use uring::layout::ShardDir;
use uring::{Cores, Doors, Founding, Gateway, Settings, Stopper, SyncStrategy};

use super::cluster;
use crate::peer::channel::Broken;
use crate::peer::founding::State;
use crate::peer::frame::{Decoder, Kind, Label, Lane, put};
use crate::peer::handshake::{
    Acceptor, Dialer, Failure, Identity, Papers, Refusal, Session, VERSIONS,
};
use crate::peer::keys::Key;
use crate::peer::stream::Blocking;
use crate::peer::tls::Names;
use crate::peer::{Credentials, Links, PeerConfig, wire};

pub(super) const GROUPS: u32 = 4;
const CLUSTER: u64 = 77;
/// Nothing takes this long; a test that waits for it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// Node a, which runs; node b is the test.
pub(super) struct Node {
    config: ClusterConfig,
    founding: Founding,
    /// What the test shows as b.
    pub(super) credentials: Option<Credentials>,
    /// Where the test listens as b.
    listener: TcpListener,
    stopper: Stopper,
    cores: Option<Cores>,
    directory: PathBuf,
}

fn member(config: &ClusterConfig, incarnation: u32) -> MemberId {
    MemberId::new(config.own.tag(), incarnation)
}

impl Node {
    pub(super) fn start() -> Node {
        Node::with(|_| {})
    }

    /// Runs a task on the node's core once its doors are open.
    pub(super) fn with(task: impl FnOnce(Gateway) + Send + 'static) -> Node {
        Node::new(None, task)
    }

    /// One that speaks TLS: with the first files itself, and the test with the second ones.
    pub(super) fn secured(files: [TlsFiles; 2]) -> Node {
        Node::new(Some(files), |_| {})
    }

    fn new(files: Option<[TlsFiles; 2]>, task: impl FnOnce(Gateway) + Send + 'static) -> Node {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory =
            std::env::temp_dir().join(format!("starcite-links-{}-{number}", std::process::id()));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
        let ports = [port(&taken), port(&listener)];
        drop(taken);
        let [tls, of_test] = files.map_or([None, None], |files| files.map(Some));
        let config = ClusterConfig { tls, ..cluster("a", &ports, 2) };
        let other = ClusterConfig { tls: of_test, ..cluster("b", &ports, 2) };
        let mut members = vec![member(&config, 1), member(&other, 1)];
        members.sort_unstable();
        let founding = Founding { cluster: CLUSTER, groups: GROUPS, factor: 2, members };
        let settings = Settings {
            data_dir: directory.clone(),
            cores: Some(1),
            placement: Placement::new(GROUPS, 1),
            sync: SyncStrategy::Link,
            segment_bytes: 1024 * 1024,
            cluster: of_shards(&config, &founding),
            intent: Default::default(),
        };
        let shard = open(&settings, &config, &founding);
        let (cluster, begun) = (config.clone(), founding.clone());
        let links = Links::new(PeerConfig {
            member: member(&config, 1),
            cluster,
            founding: begun,
            made_at: 1,
            started_at: 2,
            credentials: Credentials::load(&config).unwrap(),
        });
        let links = links.expect("there are two nodes");
        let (tell, told) = sync_channel(1);
        let once = Mutex::new(Some((tell, task)));
        let doors: Doors = Arc::new(move |gateway| {
            let (tell, task) = once.lock().unwrap().take().expect("one core opens its doors");
            let links = links.clone();
            Box::pin(async move {
                links.open().map_err(|error| error.to_string())?.start(gateway.clone());
                tell.send(gateway.stopper()).unwrap();
                task(gateway.clone());
                gateway.stopped().await;
                Ok(())
            })
        });
        let cores = Cores::start(&settings, vec![(ShardId(0), shard)], doors).unwrap();
        let stopper = told.recv_timeout(PATIENCE).expect("the doors open");
        let credentials = Credentials::load(&other).unwrap();
        Node { config, founding, credentials, listener, stopper, cores: Some(cores), directory }
    }

    /// What the test brings as b.
    pub(super) fn papers(&self) -> Papers {
        let config = ClusterConfig { own: super::name("b"), ..self.config.clone() };
        let own = Identity {
            cluster: CLUSTER,
            groups: GROUPS,
            name: config.own.clone(),
            member: member(&config, 1),
            made_at: 1,
            started_at: 2,
        };
        let key = Key::new(config.secret.as_ref().unwrap());
        Papers { key, own, versions: VERSIONS }
    }

    /// A connection to the node that has said nothing.
    pub(super) fn socket(&self) -> TcpStream {
        TcpStream::connect(self.config.peer_listen.unwrap()).unwrap()
    }

    fn dial(&self) -> Wire {
        let names = Names::of(&self.config.own, self.config.host_of(&self.config.own));
        Wire::new(self.socket(), self.credentials.as_ref(), Some(names)).unwrap()
    }

    /// Connects as b, and says so.
    pub(super) fn connect(&self, papers: Papers, lane: Lane) -> Result<(Wire, Session), Failure> {
        let mut wire = self.dial();
        let (mut dialer, hello) = Dialer::begin(papers, lane, 0, [3; 32]);
        wire.send(lane, Kind::Hello, &hello);
        let challenge = wire.receive().ok_or(Failure::Malformed)?.1;
        wire.send(lane, Kind::Introduction, &dialer.challenged(&challenge)?);
        let (label, welcome) = wire.receive().ok_or(Failure::Secret)?;
        assert_eq!(label, Label { lane, kind: Kind::Welcome });
        Ok((wire, dialer.welcomed(&welcome)?))
    }

    /// Takes a connection of a on a lane, as b.
    pub(super) fn accept(&self, lane: Lane) -> (Wire, Session) {
        loop {
            let (stream, _) = self.listener.accept().unwrap();
            let wire = Wire::new(stream, self.credentials.as_ref(), None);
            let Ok(mut wire) = wire else { continue };
            let Some((label, hello)) = wire.receive() else { continue };
            if label != (Label { lane, kind: Kind::Hello }) {
                continue;
            }
            let (mut acceptor, challenge) =
                Acceptor::hello(self.papers(), &hello, [4; 32]).unwrap();
            wire.send(lane, Kind::Challenge, &challenge);
            let guest = acceptor.introduced(&wire.receive().unwrap().1).unwrap();
            assert_eq!(guest.identity.member, member(&self.config, 1));
            let (welcome, session) = acceptor.welcome(guest, Ok(()));
            wire.send(lane, Kind::Welcome, &welcome);
            return (wire, session.unwrap());
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stopper.begin();
        if let Some(cores) = self.cores.take() {
            let ended = cores.join();
            assert!(std::thread::panicking() || ended.is_ok(), "{ended:?}");
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn of_shards(config: &ClusterConfig, founding: &Founding) -> Cluster {
    Cluster {
        own: NodeId(member(config, 1).0),
        founders: founding.members.iter().map(|member| NodeId(member.0)).collect(),
        founding_factor: 2,
        write: config.write_tags(),
        factor: 2,
        timing: Timing::default(),
    }
}

fn open(settings: &Settings, config: &ClusterConfig, founding: &Founding) -> shard::shard::Shard {
    let shard = ShardId(0);
    ShardDir::new(&settings.data_dir, shard).create().unwrap();
    let cluster = of_shards(config, founding);
    let options = Options {
        segment_bytes: settings.segment_bytes,
        log_kept_bytes: 1024 * 1024,
        ..Options::new(settings.placement, shard, (7, 1), 64 * 1024 * 1024, cluster)
    };
    let opening = Opening::new(options.clone());
    let recovery = Recovery::new(options.identity(), options.segment_bytes, opening.floor());
    opening.finish(recovery.finish().unwrap(), Vec::new())
}

/// One end of a connection.
pub(super) struct Wire {
    stream: Blocking,
    decoder: Decoder,
}

impl Wire {
    fn new(
        socket: TcpStream,
        credentials: Option<&Credentials>,
        dialed: Option<Names>,
    ) -> Result<Wire, Broken> {
        socket.set_nodelay(true).unwrap();
        let stream = Blocking::new(socket, credentials, dialed, Instant::now() + PATIENCE)?;
        Ok(Wire { stream, decoder: Decoder::new(PEER_FRAME_BYTES_MAX) })
    }

    pub(super) fn send(&mut self, lane: Lane, kind: Kind, body: &[u8]) {
        let mut frame = Vec::new();
        put(&mut frame, Label { lane, kind }, |out, _| out.extend_from_slice(body));
        // The other side may have closed it, which the test then sees when it reads.
        let _ = self.stream.write_all(&frame);
    }

    pub(super) fn send_sealed(&mut self, session: &mut Session, label: Label, content: &[u8]) {
        let mark = session.sending.mark(label, content);
        self.send(label.lane, label.kind, &[content, &mark].concat());
    }

    pub(super) fn say(&mut self, session: &mut Session, messages: &[PeerMessage]) {
        let mut archive = Vec::new();
        wire::encode(messages, &mut archive);
        self.send_sealed(session, Label { lane: Lane::Log, kind: Kind::Batch }, &archive);
    }

    /// The next frame; `None` if the connection is closed.
    pub(super) fn receive(&mut self) -> Option<(Label, Vec<u8>)> {
        loop {
            if let Some(frame) = self.decoder.next().unwrap() {
                return Some((frame.label, frame.body.to_vec()));
            }
            self.stream.wait_until(Instant::now() + PATIENCE).unwrap();
            match self.stream.read(self.decoder.room()) {
                Ok(bytes) => self.decoder.filled(bytes),
                Err(Broken::Closed) => return None,
                Err(Broken::Socket(error)) if error.kind() == ErrorKind::ConnectionReset => {
                    return None;
                }
                Err(Broken::Socket(error)) if error.kind() == ErrorKind::Interrupted => {}
                Err(broken) => panic!("nothing came: {broken}"),
            }
        }
    }

    /// Reads signs of life until the connection is closed.
    pub(super) fn await_end(&mut self) {
        while let Some((label, _)) = self.receive() {
            assert_eq!(label.kind, Kind::Beat);
        }
    }

    /// The next messages.
    pub(super) fn hear(&mut self, session: &mut Session, own: MemberId) -> Vec<PeerMessage> {
        loop {
            let (label, body) = self.receive().expect("the connection stands");
            let content = session.receiving.open(label, &body).expect("its seal fits");
            if label.kind == Kind::Batch {
                let mut messages = Vec::new();
                let taken = wire::decode(content, session.other.member, own, |message| {
                    messages.push(message);
                    Ok(())
                });
                assert_eq!(taken, Ok(()));
                return messages;
            }
        }
    }
}

fn raft(node: &Node, session: &Session, term: u64, body: Body) -> PeerMessage {
    let (from, to) = (NodeId(node.papers().own.member.0), NodeId(session.other.member.0));
    PeerMessage::Raft { group: GroupId(1), message: Message { from, to, term: Term(term), body } }
}

/// The end of a log that is empty.
const NOTHING: (Term, Index) = (Term(0), Index(0));

pub(super) fn vote(node: &Node, session: &Session, term: u64) -> PeerMessage {
    raft(node, session, term, Body::VoteRequest { last: NOTHING, transferred: true })
}

/// What a node that has just started asks before it votes: that the other knows of nothing it lacks.
pub(super) fn nothing_lacks(node: &Node, session: &Session) -> PeerMessage {
    let (life, remembered) = (Life(1), Index(0));
    raft(node, session, 0, Body::DoubtReply { life, remembered, last: NOTHING, voters: Vec::new() })
}

#[test]
fn what_is_said_to_a_shard_is_answered_on_the_other_connection() {
    let node = Node::start();
    let own = node.papers().own.member;
    let (mut theirs, mut hearing) = node.accept(Lane::Log);
    let (mut ours, mut saying) = node.connect(node.papers(), Lane::Log).unwrap();
    assert_eq!(saying.other, hearing.other);
    // Groups of two that hear nobody stand for election; this node votes for whoever stands later.
    let messages = [nothing_lacks(&node, &saying), vote(&node, &saying, 1_000)];
    ours.say(&mut saying, &messages);
    let answered = |message: &PeerMessage| match message {
        PeerMessage::Raft { group, message } => {
            *group == GroupId(1)
                && message.term == Term(1_000)
                && message.body == Body::VoteReply { granted: true }
        }
        _ => false,
    };
    let mut pulses = 0;
    loop {
        let messages = theirs.hear(&mut hearing, own);
        pulses += messages.iter().filter(|m| matches!(m, PeerMessage::Pulse(_))).count();
        if messages.iter().any(answered) {
            break;
        }
    }
    while pulses == 0 {
        let messages = theirs.hear(&mut hearing, own);
        pulses += messages.iter().filter(|m| matches!(m, PeerMessage::Pulse(_))).count();
    }
}

#[test]
fn a_node_dials_again_when_a_connection_breaks() {
    let node = Node::start();
    for _ in 0..3 {
        let (mut theirs, mut hearing) = node.accept(Lane::Log);
        theirs.hear(&mut hearing, node.papers().own.member);
    }
    drop(node.accept(Lane::Bulk));
    drop(node.accept(Lane::Bulk));
}

#[test]
fn who_does_not_belong_here_is_refused() {
    let node = Node::start();
    let papers = node.papers();
    let with = |own: Identity| Papers { own, ..papers.clone() };
    let own = &papers.own;
    let refused = |own: Identity| node.connect(with(own), Lane::Log).map(drop);
    let refusal = |refusal| Err(Failure::Refused(refusal));
    assert_eq!(refused(Identity { cluster: 78, ..own.clone() }), refusal(Refusal::Cluster));
    assert_eq!(refused(Identity { cluster: 0, ..own.clone() }), refusal(Refusal::Unfounded));
    assert_eq!(refused(Identity { groups: 5, ..own.clone() }), refusal(Refusal::Groups));
    let stranger = super::name("x");
    assert_eq!(refused(Identity { name: stranger, ..own.clone() }), refusal(Refusal::Stranger));
    let twin = super::name("a");
    assert_eq!(refused(Identity { name: twin, ..own.clone() }), refusal(Refusal::OwnName));
    let member = MemberId(own.member.0 ^ 1 << 40);
    assert_eq!(refused(Identity { member, ..own.clone() }), refusal(Refusal::Member));
    let versions = Papers { versions: (VERSIONS.1 + 1, VERSIONS.1 + 2), ..papers.clone() };
    assert_eq!(node.connect(versions, Lane::Log).map(drop), refusal(Refusal::Version));
    // Who does not know the secret hears nothing at all.
    let key = Key::new(&Secret::new(*b"another secret.."));
    let guess = Papers { key, ..papers.clone() };
    assert_eq!(node.connect(guess, Lane::Log).map(drop), Err(Failure::Secret));
    assert_eq!(refused(own.clone()), Ok(()));
}

#[test]
fn whoever_breaks_the_protocol_is_cut_off() {
    let node = Node::start();
    let batch = Label { lane: Lane::Log, kind: Kind::Batch };
    let connect = || node.connect(node.papers(), Lane::Log).unwrap();
    let pulse = PeerMessage::Pulse(Pulse {
        shard: ShardId(0),
        shards: 1,
        intent: 0,
        ready: true,
        relieved: false,
    });
    let mut archive = Vec::new();
    wire::encode(&[pulse], &mut archive);
    // Without a seal, with one of another frame, and the same frame twice.
    let (mut wire, _) = connect();
    wire.send(batch.lane, batch.kind, &archive);
    wire.await_end();
    let (mut wire, mut session) = connect();
    session.sending.mark(batch, b"");
    wire.send_sealed(&mut session, batch, &archive);
    wire.await_end();
    let (mut wire, mut session) = connect();
    let sealed = [&archive[..], &session.sending.mark(batch, &archive)].concat();
    wire.send(batch.lane, batch.kind, &sealed);
    wire.send(batch.lane, batch.kind, &sealed);
    wire.await_end();
    // Sealed, but not what belongs here.
    for (label, content) in [
        (Label { lane: Lane::Bulk, ..batch }, &archive[..]),
        (Label { kind: Kind::Hello, ..batch }, &archive[..]),
        (batch, b"no archive"),
    ] {
        let (mut wire, mut session) = connect();
        wire.send_sealed(&mut session, label, content);
        wire.await_end();
    }
    let mut beyond = vote(&node, &connect().1, 5);
    if let PeerMessage::Raft { group, .. } = &mut beyond {
        *group = GroupId(GROUPS);
    }
    let (mut wire, mut session) = connect();
    wire.say(&mut session, &[beyond]);
    wire.await_end();
    // No frames at all.
    let mut wire = node.dial();
    wire.stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(wire.receive(), None);
}

#[test]
fn the_last_proven_connection_counts() {
    let node = Node::start();
    let (mut first, mut one) = node.connect(node.papers(), Lane::Log).unwrap();
    let beat = Label { lane: Lane::Log, kind: Kind::Beat };
    first.send_sealed(&mut one, beat, b"");
    let (mut second, mut other) = node.connect(node.papers(), Lane::Log).unwrap();
    second.send_sealed(&mut other, beat, b"");
    // A sign of life comes back on it, so it is counted by now or will be before the next frame.
    assert_eq!(second.receive().unwrap().0, beat);
    assert_eq!(second.receive().unwrap().0, beat);
    first.send_sealed(&mut one, beat, b"");
    first.await_end();
    second.send_sealed(&mut other, beat, b"");
    assert_eq!(second.receive().unwrap().0, beat);
}

#[test]
fn a_node_that_is_new_hears_of_the_cluster() {
    let node = Node::start();
    let new = Identity { cluster: 0, ..node.papers().own };
    let papers = Papers { own: new, ..node.papers() };
    let (mut wire, mut session) = node.connect(papers, Lane::Founding).unwrap();
    let label = Label { lane: Lane::Founding, kind: Kind::State };
    wire.send_sealed(&mut session, label, &State::Empty { plan: 1 }.encode());
    let (_, body) = wire.receive().unwrap();
    let state = session.receiving.open(label, &body).and_then(State::decode);
    assert_eq!(state, Some(State::Founded(node.founding.clone())));
    assert_eq!(wire.receive(), None);
}
