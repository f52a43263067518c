//! Frames over a socket of an executor, with deadlines: whoever says nothing, or takes nothing, for too
//! long is given up.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::time::Duration;

use model::limits::{PEER_HANDSHAKE_BYTES_MAX, PEER_SILENCE_MS};
use uring::rt;

use super::frame::{Decoder, Frame, FrameError, Kind, Label, Lane, put};
use super::handshake::Failure;
use super::keys::Seal;
use super::stream::Stream;

/// Silence after which a connection is given up.
const SILENCE: Duration = Duration::from_millis(PEER_SILENCE_MS);

/// Why a connection has ended, or never stood.
#[derive(Debug)]
pub(crate) enum Broken {
    /// Nobody answers.
    Unreachable(io::Error),
    /// The socket failed.
    Socket(io::Error),
    /// The other end closed it.
    Closed,
    /// The other end closed it in the middle of the handshake.
    Dismissed,
    /// The other end said nothing for too long.
    Silent,
    /// The other end took nothing for too long.
    Stuck,
    /// What came is not of this protocol.
    Frame(FrameError),
    /// What came breaks the protocol.
    Protocol(&'static str),
    /// The two ends do not agree on TLS, for this reason.
    Tls(String),
    /// The other end closed it before the two agreed on TLS.
    NoTls,
    /// The handshake came to nothing.
    Handshake(Failure),
    /// Another connection has taken its place.
    Superseded,
    /// The operating system has no random numbers.
    NoRandom(String),
}

impl Broken {
    /// The value of the metric's label.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Broken::Unreachable(_) => "unreachable",
            Broken::Silent | Broken::Stuck => "timeout",
            Broken::Socket(_)
            | Broken::Closed
            | Broken::Dismissed
            | Broken::Superseded
            | Broken::NoRandom(_) => "broken",
            Broken::Tls(_) | Broken::NoTls | Broken::Frame(FrameError::Secured) => "tls",
            Broken::Frame(_) | Broken::Protocol(_) | Broken::Handshake(Failure::Malformed) => {
                "malformed"
            }
            Broken::Handshake(Failure::Secret) => "secret",
            Broken::Handshake(Failure::Refused(_)) => "refused",
            Broken::Handshake(Failure::Refuses(_)) => "refuses",
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::Unreachable(error) => write!(f, "it cannot be reached: {error}"),
            Broken::Socket(error) => write!(f, "the connection broke: {error}"),
            Broken::Closed => f.write_str("it closed the connection"),
            Broken::Dismissed => f.write_str(
                "it closed the connection without a word: it stops, or knows another secret",
            ),
            Broken::Silent => f.write_str("it said nothing for too long"),
            Broken::Stuck => f.write_str("it took nothing for too long"),
            Broken::Tls(why) => f.write_str(why),
            Broken::NoTls => {
                f.write_str("it closed the connection in the midst of TLS: it stops, or wants none")
            }
            Broken::Frame(error) => error.fmt(f),
            Broken::Protocol(what) => f.write_str(what),
            Broken::Handshake(failure) => failure.fmt(f),
            Broken::Superseded => f.write_str("another connection has taken its place"),
            Broken::NoRandom(why) => f.write_str(why),
        }
    }
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Broken {
        Broken::Handshake(failure)
    }
}

impl From<FrameError> for Broken {
    fn from(error: FrameError) -> Broken {
        Broken::Frame(error)
    }
}

/// What comes from a connection.
#[derive(Debug)]
pub(crate) struct Incoming<'a> {
    stream: &'a Stream,
    decoder: Decoder,
}

impl<'a> Incoming<'a> {
    /// Reads small frames, until more is allowed.
    pub(crate) fn new(stream: &'a Stream) -> Incoming<'a> {
        Incoming { stream, decoder: Decoder::new(PEER_HANDSHAKE_BYTES_MAX) }
    }

    /// From now on, takes bodies up to so many bytes.
    pub(crate) fn allow(&mut self, body_max: usize) {
        self.decoder.allow(body_max);
    }

    /// The next frame of those that have come already.
    pub(crate) fn next(&mut self) -> Result<Option<Frame<'_>>, Broken> {
        Ok(self.decoder.next()?)
    }

    /// Waits for more to come; gives the number of bytes. To be called when there is no frame left.
    pub(crate) async fn more(&mut self) -> Result<usize, Broken> {
        let read = within(SILENCE, self.stream.read(self.decoder.room())).await;
        match read.ok_or(Broken::Silent)?? {
            0 => Err(Broken::Closed),
            bytes => {
                self.decoder.filled(bytes);
                Ok(bytes)
            }
        }
    }

    /// Waits for one frame of a kind, on a lane if one is named; gives lane and body.
    pub(crate) async fn expect(
        &mut self,
        lane: Option<Lane>,
        kind: Kind,
    ) -> Result<(Lane, Vec<u8>), Broken> {
        loop {
            if let Some(Frame { label, body }) = self.next()? {
                if label.kind != kind || lane.is_some_and(|lane| lane != label.lane) {
                    return Err(Failure::Malformed.into());
                }
                return Ok((label.lane, body.to_vec()));
            }
            self.more().await?;
        }
    }
}

/// What goes out on a connection.
#[derive(Debug)]
pub(crate) struct Outgoing<'a> {
    stream: &'a Stream,
    lane: Lane,
    frame: Vec<u8>,
}

/// Room kept between frames.
const KEEP_BYTES: usize = 512 * 1024;

impl<'a> Outgoing<'a> {
    /// Writes frames of a lane.
    pub(crate) fn new(stream: &'a Stream, lane: Lane) -> Outgoing<'a> {
        Outgoing { stream, lane, frame: Vec::new() }
    }

    /// Sends a frame of the handshake.
    pub(crate) async fn send(&mut self, kind: Kind, body: &[u8]) -> Result<usize, Broken> {
        self.frame.clear();
        let label = self.label(kind);
        put(&mut self.frame, label, |out, _| out.extend_from_slice(body));
        self.write().await
    }

    /// Sends a sealed frame whose body `write` makes; gives its length. One that is too large is not
    /// sent, and 0 is given.
    pub(crate) async fn send_sealed(
        &mut self,
        seal: &mut Seal,
        kind: Kind,
        body_max: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<usize, Broken> {
        self.frame.clear();
        let label = self.label(kind);
        let fits = put(&mut self.frame, label, |out, start| {
            write(out);
            let fits = out.len() - start + super::keys::SEAL_BYTES <= body_max;
            if fits {
                let mark = seal.mark(label, &out[start..]);
                out.extend_from_slice(&mark);
            }
            fits
        });
        if fits { self.write().await } else { Ok(0) }
    }

    fn label(&self, kind: Kind) -> Label {
        Label { lane: self.lane, kind }
    }

    async fn write(&mut self) -> Result<usize, Broken> {
        let mut rest = &self.frame[..];
        while !rest.is_empty() || self.stream.owes() {
            // As long as some of it goes out, it may take what it takes.
            let taken = within(SILENCE, self.stream.write(rest)).await;
            rest = &rest[taken.ok_or(Broken::Stuck)??..];
        }
        let length = self.frame.len();
        if KEEP_BYTES < self.frame.capacity() {
            self.frame = Vec::new();
        }
        Ok(length)
    }
}

/// Runs a future for at most this long. One that is done at once costs no timer.
pub(crate) async fn within<T>(time: Duration, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    match futures_lite::future::poll_once(&mut future).await {
        Some(outcome) => Some(outcome),
        None => rt::timeout(time, future).await,
    }
}
