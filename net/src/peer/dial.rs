//! The dialing side: one connection of one core to one node on one lane, again and again.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_lite::future::or;
use model::cluster::NodeName;
use model::limits::{
    PEER_BACKOFF_MS_MAX, PEER_BACKOFF_MS_MIN, PEER_BATCH_BYTES, PEER_BEAT_MS, PEER_CONNECT_MS,
    PEER_FRAME_BYTES_MAX, PEER_HANDSHAKE_SECONDS, PEER_SILENCE_MS,
};
use uring::rt::{self, TcpStream};

use super::channel::{Broken, Incoming, Outgoing, within};
use super::frame::{Kind, Label, Lane};
use super::handshake::{Dialer, Failure, Session, judge};
use super::keys::Seal;
use super::links::Core;
use super::meeting::random_nonce;
use super::meters::Direction;
use super::queue::{Queue, shards_lane};
use super::stream::Stream;

/// A connection that stood this long was good: the next try comes soon.
const GOOD: Duration = Duration::from_millis(PEER_SILENCE_MS);
/// How long a node may be away before the operator is told: nodes that start together are for a
/// moment.
const AWAY: Duration = Duration::from_secs(2);

/// Connects to a node whenever there is no connection, as long as the node is known.
pub(crate) async fn keep_connected(core: &Core, name: &NodeName, lane: Lane) {
    let mut backoff_ms = PEER_BACKOFF_MS_MIN;
    let mut away_since = Instant::now();
    while let Some(addresses) = core.common.book.addresses(name) {
        for address in addresses {
            let (stood, broken) = connect(core, name, lane, address).await;
            if let Some(since) = stood {
                away_since = Instant::now();
                let good = GOOD <= since.elapsed();
                backoff_ms = if good { PEER_BACKOFF_MS_MIN } else { backoff_ms };
            }
            if AWAY <= away_since.elapsed() {
                core.tell_broken(name, address, &broken);
            }
        }
        backoff_ms = match core.pause(name, jittered(backoff_ms)).await {
            Pause::Over => (2 * backoff_ms).min(PEER_BACKOFF_MS_MAX),
            Pause::Heard => PEER_BACKOFF_MS_MIN,
        };
    }
}

/// How a pause between two tries ended.
enum Pause {
    /// Its time was over.
    Over,
    /// The other node was heard meanwhile: now it can be reached.
    Heard,
}

impl Core {
    /// Waits before the next try, but no longer than until the other node is heard again: after a
    /// partition the first connection of either side brings all others back.
    async fn pause(&self, name: &NodeName, time: Duration) -> Pause {
        let is_heard = || self.common.standing.life(name).is_some();
        let (was_heard, until) = (is_heard(), Instant::now() + time);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Pause::Over;
            }
            rt::sleep(left.min(Duration::from_millis(PEER_BACKOFF_MS_MIN))).await;
            if !was_heard && is_heard() {
                return Pause::Heard;
            }
        }
    }

    fn tell_broken(&self, name: &NodeName, address: SocketAddr, broken: &Broken) {
        // All cores and lanes have the same to say of a node.
        let text = format!("node {name}: {broken}");
        if self.common.told.is_new(&text, Instant::now()) {
            tracing::warn!(node = %name, %address, "no connection to another node: {broken}");
        }
    }
}

/// Between half and all of a time, so that nodes that fail together do not try together.
fn jittered(most_ms: u64) -> Duration {
    let random = getrandom::u64().unwrap_or(0);
    Duration::from_millis(most_ms / 2 + random % (most_ms / 2 + 1))
}

/// One connection, from its beginning to its end; also since when it stood, if it did.
async fn connect(
    core: &Core,
    name: &NodeName,
    lane: Lane,
    address: SocketAddr,
) -> (Option<Instant>, Broken) {
    let patience = Duration::from_secs(PEER_HANDSHAKE_SECONDS);
    let failed = |broken: Broken| {
        core.meters.handshake_failed(Direction::Out, broken.reason());
        (None, broken)
    };
    let connecting = TcpStream::connect(address);
    let socket = match rt::timeout(Duration::from_millis(PEER_CONNECT_MS), connecting).await {
        Some(Ok(socket)) => socket,
        Some(Err(error)) => return failed(Broken::Unreachable(error)),
        None => return failed(Broken::Silent),
    };
    // Without it small frames wait for the answers to those before.
    if let Err(error) = socket.set_nodelay(true) {
        return failed(Broken::Socket(error));
    }
    let until = Instant::now() + patience;
    let securing = Stream::dialed(socket, core.common.credentials.as_ref(), name);
    let stream = match within(patience, securing).await.unwrap_or(Err(Broken::Silent)) {
        Ok(stream) => stream,
        Err(broken) => return failed(broken),
    };
    let mut incoming = Incoming::new(&stream);
    let mut outgoing = Outgoing::new(&stream, lane);
    let meeting = meet(core, name, lane, &mut incoming, &mut outgoing);
    let left = until.saturating_duration_since(Instant::now());
    let session = match rt::timeout(left, meeting).await {
        Some(Ok(session)) => session,
        Some(Err(Broken::Closed | Broken::Socket(_))) => return failed(Broken::Dismissed),
        Some(Err(broken)) => return failed(broken),
        None => return failed(Broken::Silent),
    };
    let Session { other, sending, mut receiving } = session;
    let _open = core.meters.opened(lane, Direction::Out);
    tracing::debug!(node = %name, member = %other.member, lane = lane.name(), "connected");
    let listen = listen(lane, &mut receiving, &mut incoming);
    let since = Instant::now();
    let broken = match shards_lane(lane) {
        Some(of_shards) => {
            let queue = core.gateway.peers().open(other.member, of_shards);
            or(talk(core, lane, queue, sending, outgoing), listen).await
        }
        None => {
            let queue = core.gateway.clients().open(other.member);
            or(talk(core, lane, queue, sending, outgoing), listen).await
        }
    };
    (Some(since), broken)
}

/// The handshake.
async fn meet(
    core: &Core,
    name: &NodeName,
    lane: Lane,
    incoming: &mut Incoming<'_>,
    outgoing: &mut Outgoing<'_>,
) -> Result<Session, Broken> {
    let papers = core.common.papers.clone();
    let own_core = u32::try_from(core.gateway.core()).expect("cores are few");
    let nonce = random_nonce().map_err(Broken::NoRandom)?;
    let (mut dialer, hello) = Dialer::begin(papers, lane, own_core, nonce);
    outgoing.send(Kind::Hello, &hello).await?;
    let (_, challenge) = incoming.expect(Some(lane), Kind::Challenge).await?;
    outgoing.send(Kind::Introduction, &dialer.challenged(&challenge)?).await?;
    let (_, welcome) = incoming.expect(Some(lane), Kind::Welcome).await?;
    let mut session = dialer.welcomed(&welcome)?;
    let (own, other) = (&core.common.papers.own, &session.other);
    let life = core.common.standing.life(&other.name);
    let known = core.common.book.knows(&other.name);
    if let Err(refusal) = judge(own, other, Some(name), known, life.as_ref()) {
        let told = refusal.encode();
        let write = |out: &mut Vec<u8>| out.extend_from_slice(&told);
        outgoing
            .send_sealed(&mut session.sending, Kind::Refusal, PEER_FRAME_BYTES_MAX, write)
            .await?;
        return Err(Failure::Refuses(refusal).into());
    }
    Ok(session)
}

/// Sends what waits, as much as there is together, and signs of life in between. The first one comes
/// at once: it tells the other side that it is taken.
async fn talk<Q: Queue>(
    core: &Core,
    lane: Lane,
    queue: Q,
    mut seal: Seal,
    mut outgoing: Outgoing<'_>,
) -> Broken {
    let mut batch = Vec::new();
    let mut kind = Kind::Beat;
    loop {
        let write = |out: &mut Vec<u8>| {
            if !batch.is_empty() {
                Q::encode(&batch, out);
            }
        };
        match outgoing.send_sealed(&mut seal, kind, PEER_FRAME_BYTES_MAX, write).await {
            Ok(0) => {
                tracing::error!(lane = lane.name(), "a message is too large for a frame");
                core.meters.too_large(batch.len());
            }
            Ok(bytes) => core.meters.frame(lane, Direction::Out, bytes),
            Err(broken) => return broken,
        }
        batch.clear();
        let beat = Duration::from_millis(PEER_BEAT_MS);
        kind = match within(beat, queue.waiting()).await {
            Some(()) => Kind::Batch,
            None => Kind::Beat,
        };
        queue.take(PEER_BATCH_BYTES, &mut batch);
        if !batch.is_empty() {
            kind = Kind::Batch;
        }
    }
}

/// Hears the other side's signs of life.
async fn listen(lane: Lane, seal: &mut Seal, incoming: &mut Incoming<'_>) -> Broken {
    let beat = Label { lane, kind: Kind::Beat };
    loop {
        match incoming.next() {
            Ok(Some(frame)) if frame.label == beat && seal.open(beat, frame.body).is_some() => {}
            Ok(Some(_)) => return Broken::Protocol("it sent something else than a sign of life"),
            Ok(None) => {
                if let Err(broken) = incoming.more().await {
                    return broken;
                }
            }
            Err(broken) => return broken,
        }
    }
}
