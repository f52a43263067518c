//! The accepting side: proves whoever connects, and brings what proven nodes say to the shards and to
//! those who serve clients.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_lite::future::or;
use model::limits::{
    PEER_BEAT_MS, PEER_FRAME_BYTES_MAX, PEER_HANDSHAKE_BYTES_MAX, PEER_HANDSHAKE_SECONDS,
    PEER_STRANGERS_MAX,
};
use uring::rt::{self, TcpListener, TcpStream};

use super::callers::Caller;
use super::channel::{Broken, Incoming, Outgoing, within};
use super::client_wire;
use super::founding::State;
use super::frame::{Kind, Label, Lane};
use super::handshake::{Acceptor, Failure, Guest, Identity, Refusal, Session, judge, judge_name};
use super::keys::Seal;
use super::links::Core;
use super::meeting::random_nonce;
use super::meters::Direction;
use super::standing::{News, Place};
use super::stream::Stream;
use super::wire;

/// Before accepting is tried again after it failed.
const PAUSE: Duration = Duration::from_millis(50);

/// Takes connections as long as the core runs.
pub(crate) async fn accept(core: Rc<Core>, listener: TcpListener) {
    let strangers = Rc::new(Cell::new(0_usize));
    loop {
        match listener.accept().await {
            Ok(stream) if strangers.get() < PEER_STRANGERS_MAX => {
                let (core, stranger) = (Rc::clone(&core), Stranger::new(&strangers));
                rt::spawn_local(async move { receive(&core, stream, stranger).await });
            }
            // Whoever is closed on tries again.
            Ok(_) => {}
            Err(error) => {
                if core.common.told.is_new("accept", Instant::now()) {
                    tracing::warn!(%error, "connections of other nodes cannot be accepted");
                }
                rt::sleep(PAUSE).await;
            }
        }
    }
}

/// Counts a connection that has not proven itself.
#[derive(Debug)]
struct Stranger(Rc<Cell<usize>>);

impl Stranger {
    fn new(count: &Rc<Cell<usize>>) -> Stranger {
        count.set(count.get() + 1);
        Stranger(Rc::clone(count))
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// One connection, from its beginning to its end.
async fn receive(core: &Core, socket: TcpStream, stranger: Stranger) {
    let from = socket.peer_addr().map_or("nobody".to_owned(), |from| from.ip().to_string());
    let seconds = Duration::from_secs(PEER_HANDSHAKE_SECONDS);
    let until = Instant::now() + seconds;
    let secured = within(seconds, secure(core, socket)).await;
    let refused = |who: Option<Identity>, broken: Broken| {
        core.meters.handshake_failed(Direction::In, broken.reason());
        core.tell_refused(&from, who.as_ref(), &broken);
    };
    let stream = match secured.unwrap_or(Err(Broken::Silent)) {
        Ok(stream) => stream,
        Err(broken) => return refused(None, broken),
    };
    let mut incoming = Incoming::new(&stream);
    let left = until.saturating_duration_since(Instant::now());
    let met = rt::timeout(left, meet(core, &stream, &mut incoming)).await;
    let (lane, guest, session) = match met.unwrap_or(Err((None, Broken::Silent))) {
        Ok(met) => met,
        Err((who, broken)) => return refused(who, broken),
    };
    drop(stranger);
    let broken = match lane {
        Lane::Founding => answer_state(core, &stream, &mut incoming, session).await.err(),
        Lane::Log | Lane::Bulk | Lane::Client => {
            let heard = hear_all(core, &stream, &mut incoming, (lane, guest), session);
            Some(heard.await)
        }
    };
    if let Some(broken) = broken {
        tracing::debug!(%broken, "another node's connection ended");
    }
}

/// The part of the handshake that is TLS's, if that is configured.
async fn secure(core: &Core, socket: TcpStream) -> Result<Stream, Broken> {
    socket.set_nodelay(true).map_err(Broken::Socket)?;
    Stream::accepted(socket, core.common.credentials.as_ref()).await
}

/// Who failed to be met, if that is known, and why.
type Unmet = (Option<Identity>, Broken);

/// The handshake.
async fn meet(
    core: &Core,
    stream: &Stream,
    incoming: &mut Incoming<'_>,
) -> Result<(Lane, Guest, Session), Unmet> {
    let unknown = |broken: Broken| (None, broken);
    let (lane, hello) = incoming.expect(None, Kind::Hello).await.map_err(unknown)?;
    let nonce = random_nonce().map_err(Broken::NoRandom).map_err(unknown)?;
    let papers = core.common.papers.clone();
    let (mut acceptor, challenge) =
        Acceptor::hello(papers, &hello, nonce).map_err(|failure| unknown(failure.into()))?;
    if acceptor.lane() != lane {
        return Err(unknown(Failure::Malformed.into()));
    }
    let mut outgoing = Outgoing::new(stream, lane);
    outgoing.send(Kind::Challenge, &challenge).await.map_err(unknown)?;
    let introduction = incoming.expect(Some(lane), Kind::Introduction).await.map_err(unknown)?.1;
    let guest = acceptor.introduced(&introduction).map_err(|failure| unknown(failure.into()))?;
    let named = |broken: Broken| (Some(guest.identity.clone()), broken);
    let verdict = core.judge(lane, &guest.identity).and_then(|()| {
        if stream.may_be(&guest.identity.name) { Ok(()) } else { Err(Refusal::Certificate) }
    });
    let (welcome, session) = acceptor.welcome(guest.clone(), verdict);
    outgoing.send(Kind::Welcome, &welcome).await.map_err(named)?;
    let session = session.map_err(|failure| named(failure.into()))?;
    Ok((lane, guest, session))
}

impl Core {
    fn judge(&self, lane: Lane, other: &Identity) -> Result<(), Refusal> {
        let (own, known) = (&self.common.papers.own, self.common.book.knows(&other.name));
        match lane {
            Lane::Founding if other.groups != own.groups => Err(Refusal::Groups),
            Lane::Founding => judge_name(own, other, None, known),
            Lane::Log | Lane::Bulk | Lane::Client => {
                let life = self.common.standing.life(&other.name);
                judge(own, other, None, known, life.as_ref())
            }
        }
    }

    fn tell_refused(&self, from: &str, who: Option<&Identity>, broken: &Broken) {
        let node = who.map_or("unproven", |who| who.name.as_str());
        let text = format!("{from} {node}: {broken}");
        if self.common.told.is_new(&text, Instant::now()) {
            tracing::warn!(from, node, "another node's connection is refused: {broken}");
        }
    }

    /// Tells the shards, and the operator, who can be heard.
    fn tell_news(&self, guest: &Guest) -> impl FnMut(News) {
        let (gateway, name) = (self.gateway.clone(), guest.identity.name.clone());
        move |(member, up)| {
            gateway.link(member, up);
            let text = if up { "another node is heard" } else { "another node is heard no more" };
            tracing::info!(node = %name, %member, "{text}");
        }
    }
}

/// Tells a node that belongs to no cluster yet about this one.
async fn answer_state(
    core: &Core,
    stream: &Stream,
    incoming: &mut Incoming<'_>,
    mut session: Session,
) -> Result<(), Broken> {
    let seconds = Duration::from_secs(PEER_HANDSHAKE_SECONDS);
    let asked = rt::timeout(seconds, incoming.expect(Some(Lane::Founding), Kind::State)).await;
    let (lane, body) = asked.ok_or(Broken::Silent)??;
    let label = Label { lane, kind: Kind::State };
    let said = session.receiving.open(label, &body).and_then(State::decode);
    said.ok_or(Broken::Protocol("it says nothing of its cluster"))?;
    let state = State::Founded(core.common.founding.clone()).encode();
    let write = |out: &mut Vec<u8>| out.extend_from_slice(&state);
    let mut outgoing = Outgoing::new(stream, lane);
    let max = PEER_HANDSHAKE_BYTES_MAX;
    outgoing.send_sealed(&mut session.sending, Kind::State, max, write).await?;
    Ok(())
}

/// Hears a node to its end.
async fn hear_all(
    core: &Core,
    stream: &Stream,
    incoming: &mut Incoming<'_>,
    (lane, guest): (Lane, Guest),
    session: Session,
) -> Broken {
    incoming.allow(PEER_FRAME_BYTES_MAX);
    let Session { sending, mut receiving, .. } = session;
    let mut listening = Listening { core, lane, guest, place: None, caller: None };
    let hear = listening.hear(incoming, &mut receiving);
    let broken = or(hear, beat(Outgoing::new(stream, lane), sending)).await;
    if let Some(place) = &listening.place {
        core.common.standing.leave(place, core.tell_news(&listening.guest));
    }
    if let Some(caller) = &listening.caller {
        core.callers.leave(caller, |member, up| core.gateway.client_link(member, up));
    }
    broken
}

/// Sends signs of life.
async fn beat(mut outgoing: Outgoing<'_>, mut seal: Seal) -> Broken {
    loop {
        let sent = outgoing.send_sealed(&mut seal, Kind::Beat, PEER_HANDSHAKE_BYTES_MAX, |_| ());
        if let Err(broken) = sent.await {
            return broken;
        }
        rt::sleep(Duration::from_millis(PEER_BEAT_MS)).await;
    }
}

/// A proven node's connection.
struct Listening<'a> {
    core: &'a Core,
    lane: Lane,
    guest: Guest,
    /// Where it is counted, once the other side has taken this node too.
    place: Option<Place>,
    /// The same on the lane of clients' matters, which are this core's alone.
    caller: Option<Caller>,
}

impl Listening<'_> {
    async fn hear(&mut self, incoming: &mut Incoming<'_>, seal: &mut Seal) -> Broken {
        let _open = self.core.meters.opened(self.lane, Direction::In);
        loop {
            loop {
                match incoming.next() {
                    Ok(Some(frame)) => {
                        if let Err(broken) = self.take(frame.label, frame.body, seal) {
                            return broken;
                        }
                    }
                    Ok(None) => break,
                    Err(broken) => return broken,
                }
            }
            if let Err(broken) = incoming.more().await {
                return broken;
            }
        }
    }

    fn take(&mut self, label: Label, body: &[u8], seal: &mut Seal) -> Result<(), Broken> {
        if label.lane != self.lane {
            return Err(Broken::Protocol("it changed the lane"));
        }
        let content = seal.open(label, body).ok_or(Broken::Protocol("a seal is broken"))?;
        let bytes = super::frame::HEAD_BYTES + body.len();
        self.core.meters.frame(self.lane, Direction::In, bytes);
        if label.kind == Kind::Refusal {
            let refusal = Refusal::decode(content).ok_or(Failure::Malformed)?;
            let broken = Broken::from(Failure::Refused(refusal));
            tracing::warn!(node = %self.guest.identity.name, "{broken}");
            return Err(broken);
        }
        if self.place()?.is_over() {
            return Err(Broken::Superseded);
        }
        match label.kind {
            Kind::Beat => Ok(()),
            Kind::Batch => self.hand_on(content),
            Kind::Hello
            | Kind::Challenge
            | Kind::Introduction
            | Kind::Welcome
            | Kind::Refusal
            | Kind::State => Err(Broken::Protocol("it sent a frame that has no place here")),
        }
    }

    /// Where the connection is counted, from now on if it was not.
    fn place(&mut self) -> Result<&Place, Broken> {
        let Listening { core, lane, guest, place, caller } = self;
        if place.is_none() {
            let entered = core.common.standing.enter(guest, *lane, core.tell_news(guest));
            *place = Some(entered.map_err(Failure::Refuses)?);
            if *lane == Lane::Client {
                let tell = |member, up| core.gateway.client_link(member, up);
                *caller = Some(core.callers.enter(guest, tell));
            }
        }
        Ok(place.as_ref().expect("just entered"))
    }

    fn hand_on(&self, archive: &[u8]) -> Result<(), Broken> {
        let (from, to) = (self.guest.identity.member, self.core.common.papers.own.member);
        let gateway = &self.core.gateway;
        let heard = if self.lane == Lane::Client {
            client_wire::decode(archive, |message| gateway.hear_client(from, message))
        } else {
            wire::decode(archive, from, to, |message| gateway.hear(from, message))
        };
        heard.map_err(Broken::Protocol)
    }
}
