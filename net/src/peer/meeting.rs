//! Where nodes that belong to no cluster meet: a listener and one caller per other node, on plain
//! threads, before any core runs.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use model::cluster::{MemberId, NodeName};
use model::config::{ClusterConfig, Host, NodeEntry};
use model::limits::PEER_HANDSHAKE_BYTES_MAX;
use uring::Founding;
use uring::rt::listen_blocking;

use super::channel::Broken;
use super::founding::{Heard, State, Step, decide, plan};
use super::frame::{Decoder, Kind, Label, Lane, put};
use super::handshake::{
    Acceptor, Dialer, Failure, Identity, Papers, Refusal, Session, VERSIONS, judge_name,
};
use super::keys::{Key, Nonce};
use super::stream::Blocking;
use super::tls::Credentials;
use super::told::Told;

/// How long one conversation may take, and how long connecting.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two calls.
const PAUSE: Duration = Duration::from_millis(300);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// How long what a node said of itself counts.
const FRESH: Duration = Duration::from_secs(3);
/// Between two times the operator is told whom this node waits for.
const TELL: Duration = Duration::from_secs(5);
/// Conversations that others may begin at once.
const GUESTS_MAX: usize = 16;

/// A node that belongs to no cluster.
#[derive(Debug, Clone)]
pub struct Newcomer {
    /// The cluster it is configured for.
    pub cluster: ClusterConfig,
    /// Its groups.
    pub groups: u32,
    /// Its data directory.
    pub member: MemberId,
    /// When that was made, in wall-clock microseconds.
    pub made_at: u64,
    /// When this process began, in wall-clock microseconds.
    pub started_at: u64,
    /// What it shows others in TLS, if it speaks that.
    pub credentials: Option<Credentials>,
}

/// Waits until it is known to which cluster a newcomer belongs: one that others know of, or one that
/// it founds itself once all nodes that are to hold data are there. The caller makes that durable
/// before it goes on. A node alone waits for nobody.
///
/// # Errors
/// If the peer port cannot be listened on, or the operating system has no random numbers.
pub fn meet(newcomer: &Newcomer) -> io::Result<Founding> {
    let Newcomer { cluster, groups, member, .. } = newcomer;
    let found = |members: Vec<MemberId>| {
        let (groups, factor) = (*groups, cluster.factor);
        Ok(Founding { cluster: random_number()?, groups, factor, members })
    };
    let (Some(address), Some(secret)) = (cluster.peer_listen, &cluster.secret) else {
        return found(vec![*member]);
    };
    let listener = listen_blocking(address).map_err(|error| {
        io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
    })?;
    listener.set_nonblocking(true)?;
    let papers = Papers { key: Key::new(secret), own: newcomer.identity(), versions: VERSIONS };
    let meeting = Meeting {
        cluster,
        papers,
        plan: plan(cluster, *groups),
        credentials: newcomer.credentials.as_ref(),
        heard: Mutex::default(),
        guests: AtomicUsize::new(0),
        over: AtomicBool::new(false),
        told: Told::default(),
    };
    let step = thread::scope(|scope| {
        scope.spawn(|| meeting.receive(scope, &listener));
        for node in cluster.nodes.iter().filter(|node| node.name != cluster.own) {
            scope.spawn(|| meeting.call_until_over(node));
        }
        let step = meeting.wait();
        meeting.over.store(true, Ordering::Release);
        step
    });
    match step {
        Step::Join(founding) => Ok(founding),
        Step::Found(members) => found(members),
        Step::Wait(_) => unreachable!("a meeting ends with a decision"),
    }
}

impl Newcomer {
    fn identity(&self) -> Identity {
        Identity {
            cluster: 0,
            groups: self.groups,
            name: self.cluster.own.clone(),
            member: self.member,
            made_at: self.made_at,
            started_at: self.started_at,
        }
    }
}

/// What the threads of a meeting share.
struct Meeting<'a> {
    cluster: &'a ClusterConfig,
    papers: Papers,
    plan: u64,
    credentials: Option<&'a Credentials>,
    /// What each node said last, and when.
    heard: Mutex<BTreeMap<NodeName, (Heard, Instant)>>,
    guests: AtomicUsize,
    over: AtomicBool,
    told: Told,
}

impl Meeting<'_> {
    /// Waits for a decision.
    fn wait(&self) -> Step {
        let mut told: Option<Instant> = None;
        loop {
            let now = Instant::now();
            let heard: BTreeMap<NodeName, Heard> = {
                let heard = self.heard.lock().expect("nobody panics holding it");
                let fresh = heard.iter().filter(|(_, (_, at))| now < *at + FRESH);
                fresh.map(|(name, (heard, _))| (name.clone(), heard.clone())).collect()
            };
            match decide(self.cluster, self.papers.own.member, self.plan, &heard) {
                Step::Wait(why) => {
                    // The first look comes before anybody can have answered.
                    let since = *told.get_or_insert(now);
                    if TELL <= now.saturating_duration_since(since) {
                        told = Some(now);
                        tracing::info!("waiting for a cluster: {why}");
                    }
                }
                step => return step,
            }
            thread::sleep(LOOK);
        }
    }

    /// Calls one node again and again.
    fn call_until_over(&self, node: &NodeEntry) {
        while !self.over() {
            let heard = self.call(node);
            self.note(&node.name, heard);
            let next = Instant::now() + PAUSE;
            while !self.over() && Instant::now() < next {
                thread::sleep(LOOK);
            }
        }
    }

    /// Asks one node at whichever of its addresses answers.
    fn call(&self, node: &NodeEntry) -> Heard {
        let addresses = resolve(&node.host, node.port)?;
        let mut heard = Err(format!("{} has no address", node.host));
        for address in addresses {
            heard = self.ask(node, address);
            if heard.is_ok() || self.over() {
                break;
            }
        }
        heard
    }

    fn ask(&self, node: &NodeEntry, address: SocketAddr) -> Heard {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)
            .map_err(|error| format!("{address}: {error}"))?;
        let wire = Wire::new(stream, self.credentials, Some(&node.name));
        let mut wire = wire.map_err(|broken| format!("{address}: {broken}"))?;
        let talk = || -> Result<(MemberId, State), String> {
            let papers = self.papers.clone();
            let (mut dialer, hello) = Dialer::begin(papers, Lane::Founding, 0, random_nonce()?);
            wire.send(Kind::Hello, &hello)?;
            let challenge = wire.receive(Kind::Challenge)?;
            let introduction = dialer.challenged(&challenge).map_err(text)?;
            wire.send(Kind::Introduction, &introduction)?;
            let welcome = wire.receive(Kind::Welcome)?;
            let mut session = dialer.welcomed(&welcome).map_err(text)?;
            self.judge(&session.other, Some(&node.name)).map_err(Failure::Refuses).map_err(text)?;
            wire.send_sealed(&mut session, &State::Empty { plan: self.plan })?;
            let state = wire.receive_sealed(&mut session)?;
            Ok((session.other.member, state))
        };
        let mut talk = talk;
        talk().map_err(|why| format!("{address}: {why}"))
    }

    /// Answers whoever calls.
    fn receive<'scope>(
        &'scope self,
        scope: &'scope thread::Scope<'scope, '_>,
        listener: &TcpListener,
    ) {
        while !self.over() {
            match listener.accept() {
                Ok((stream, from)) if self.guests.load(Ordering::Relaxed) < GUESTS_MAX => {
                    self.guests.fetch_add(1, Ordering::Relaxed);
                    scope.spawn(move || {
                        if let Err(why) = self.answer(stream) {
                            let text = format!("{}: {why}", from.ip());
                            if self.told.is_new(&text, Instant::now()) {
                                tracing::warn!(%from, "a call came to nothing: {why}");
                            }
                        }
                        self.guests.fetch_sub(1, Ordering::Relaxed);
                    });
                }
                // Whoever is not answered calls again.
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(LOOK),
                Err(error) => {
                    tracing::warn!(%error, "a call cannot be taken");
                    thread::sleep(PAUSE);
                }
            }
        }
    }

    fn answer(&self, stream: TcpStream) -> Result<(), String> {
        stream.set_nonblocking(false).map_err(|error| error.to_string())?;
        let wire = Wire::new(stream, self.credentials, None);
        let mut wire = wire.map_err(|broken| broken.to_string())?;
        let (lane, hello) = wire.receive_any(Kind::Hello)?;
        wire.lane = lane;
        let (mut acceptor, challenge) =
            Acceptor::hello(self.papers.clone(), &hello, random_nonce()?).map_err(text)?;
        wire.send(Kind::Challenge, &challenge)?;
        let introduction = wire.receive(Kind::Introduction)?;
        let guest = acceptor.introduced(&introduction).map_err(text)?;
        let name = guest.identity.name.clone();
        let verdict = self.judge(&guest.identity, None).and_then(|()| {
            if wire.stream.may_be(&name) { Ok(()) } else { Err(Refusal::Certificate) }
        });
        let (welcome, session) = acceptor.welcome(guest, verdict);
        wire.send(Kind::Welcome, &welcome)?;
        let mut session = session.map_err(|failure| format!("{name}: {failure}"))?;
        if lane != Lane::Founding {
            // It learns from the welcome that there is no cluster here, and calls again.
            return Ok(());
        }
        let state = wire.receive_sealed(&mut session)?;
        wire.send_sealed(&mut session, &State::Empty { plan: self.plan })?;
        self.note(&name, Ok((session.other.member, state)));
        Ok(())
    }

    fn judge(&self, other: &Identity, dialed: Option<&NodeName>) -> Result<(), Refusal> {
        judge_name(&self.papers.own, other, dialed, self.cluster.knows(&other.name))?;
        if other.groups != self.papers.own.groups {
            return Err(Refusal::Groups);
        }
        Ok(())
    }

    fn note(&self, name: &NodeName, heard: Heard) {
        let now = Instant::now();
        let mut all = self.heard.lock().expect("nobody panics holding it");
        let before = all.get(name).filter(|(_, at)| now < *at + FRESH);
        // A node that calls is there, though it may not be reached.
        if heard.is_ok() || !matches!(before, Some((Ok(_), _))) {
            all.insert(name.clone(), (heard, now));
        }
    }

    fn over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }
}

/// One conversation, to be over in [`PATIENCE`].
struct Wire {
    stream: Blocking,
    lane: Lane,
    decoder: Decoder,
    deadline: Instant,
}

impl Wire {
    /// With the node that was dialed, or with whoever has connected if none was.
    fn new(
        socket: TcpStream,
        credentials: Option<&Credentials>,
        dialed: Option<&NodeName>,
    ) -> Result<Wire, Broken> {
        socket.set_nodelay(true).map_err(Broken::Socket)?;
        socket.set_write_timeout(Some(PATIENCE)).map_err(Broken::Socket)?;
        let deadline = Instant::now() + PATIENCE;
        let stream = Blocking::new(socket, credentials, dialed, deadline)?;
        let decoder = Decoder::new(PEER_HANDSHAKE_BYTES_MAX);
        Ok(Wire { stream, lane: Lane::Founding, decoder, deadline })
    }

    fn send(&mut self, kind: Kind, body: &[u8]) -> Result<(), String> {
        let mut frame = Vec::new();
        let label = Label { lane: self.lane, kind };
        put(&mut frame, label, |out, _| out.extend_from_slice(body));
        self.stream.write_all(&frame).map_err(|error| error.to_string())
    }

    fn send_sealed(&mut self, session: &mut Session, state: &State) -> Result<(), String> {
        let mut body = state.encode();
        let label = Label { lane: self.lane, kind: Kind::State };
        let mark = session.sending.mark(label, &body);
        body.extend_from_slice(&mark);
        self.send(Kind::State, &body)
    }

    fn receive(&mut self, kind: Kind) -> Result<Vec<u8>, String> {
        let wanted = self.lane;
        match self.receive_any(kind)? {
            (lane, body) if lane == wanted => Ok(body),
            _ => Err(text(Failure::Malformed)),
        }
    }

    /// The next frame's body, which is of this kind on whatever lane.
    fn receive_any(&mut self, kind: Kind) -> Result<(Lane, Vec<u8>), String> {
        loop {
            if let Some(frame) = self.decoder.next().map_err(|error| error.to_string())? {
                if frame.label.kind != kind {
                    return Err(text(Failure::Malformed));
                }
                return Ok((frame.label.lane, frame.body.to_vec()));
            }
            let waits = self.stream.wait_until(self.deadline);
            let read = waits.and_then(|()| self.stream.read(self.decoder.room()));
            self.decoder.filled(read.map_err(|broken| broken.to_string())?);
        }
    }

    fn receive_sealed(&mut self, session: &mut Session) -> Result<State, String> {
        let body = self.receive(Kind::State)?;
        let label = Label { lane: self.lane, kind: Kind::State };
        let state = session.receiving.open(label, &body).and_then(State::decode);
        state.ok_or_else(|| text(Failure::Malformed))
    }
}

/// The addresses of a host.
///
/// # Errors
/// Why there are none.
pub(crate) fn resolve(host: &Host, port: u16) -> Result<Vec<SocketAddr>, String> {
    match host {
        Host::Address(address) => Ok(vec![SocketAddr::new(*address, port)]),
        Host::Name(name) => (&**name, port)
            .to_socket_addrs()
            .map(Iterator::collect)
            .map_err(|error| format!("{name} cannot be resolved: {error}")),
    }
}

fn text(failure: Failure) -> String {
    failure.to_string()
}

/// A number that nobody can guess.
///
/// # Errors
/// If the operating system has none.
pub(crate) fn random_nonce() -> Result<Nonce, String> {
    let mut nonce = Nonce::default();
    getrandom::fill(&mut nonce).map_err(|error| format!("no random numbers: {error}"))?;
    Ok(nonce)
}

/// Any number but zero, which stands for no cluster.
fn random_number() -> io::Result<u64> {
    loop {
        let number = getrandom::u64().map_err(|error| io::Error::other(error.to_string()))?;
        if number != 0 {
            return Ok(number);
        }
    }
}
