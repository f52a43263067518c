//! Frames between nodes: where one begins, how long it is, and whether it arrived as it was sent.
//! Nothing here knows a secret, a socket or what a body means.
//!
//! ```text
//!  magic u32 | version u8 | lane u8 | kind u8 | 0 u8 | length u32 | crc32 u32 of the body
//!  | crc32 u32 of all before | body
//! ```
//!
//! Numbers are little-endian. The head has a checksum of its own, so that a length is believed only
//! if it arrived as it was sent; it is compared with the bound of its place before room is made.

use std::fmt;

/// Begins every frame: `STCP` in the order of the bytes.
const MAGIC: u32 = u32::from_le_bytes(*b"STCP");
/// With what a record of TLS begins: an alert, and a handshake.
const TLS_KINDS: [u8; 2] = [21, 22];
/// The layout of heads.
const VERSION: u8 = 1;
/// Bytes of a head.
pub(crate) const HEAD_BYTES: usize = 20;
/// Room made for reading at once.
const READ_BYTES: usize = 64 * 1024;
/// Room kept between frames.
const KEEP_BYTES: usize = 512 * 1024;

/// What a connection carries. Each has its own, so that bulk delays no heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// Raft's messages and signs of life.
    Log = 1,
    /// Parts of snapshots.
    Bulk = 2,
    /// Requests of clients, and what comes back.
    Client = 3,
    /// Questions of nodes that do not belong to a cluster yet.
    Founding = 4,
}

impl Lane {
    /// The lane of a number.
    pub(crate) fn from_number(number: u8) -> Option<Lane> {
        let all = [Lane::Log, Lane::Bulk, Lane::Client, Lane::Founding];
        all.into_iter().find(|lane| lane.number() == number)
    }

    /// Its number on the wire.
    pub(crate) fn number(self) -> u8 {
        self as u8
    }

    /// Its name, for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Lane::Log => "log",
            Lane::Bulk => "bulk",
            Lane::Client => "client",
            Lane::Founding => "founding",
        }
    }
}

/// What a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The dialing side begins.
    Hello = 1,
    /// The accepting side wants a proof.
    Challenge = 2,
    /// The dialing side proves what it knows and says who it is.
    Introduction = 3,
    /// The accepting side does the same, and says whether it takes the other.
    Welcome = 4,
    /// The dialing side does not take the other.
    Refusal = 5,
    /// Nothing, so that silence means something.
    Beat = 6,
    /// Messages.
    Batch = 7,
    /// How far a node has come with founding.
    State = 8,
}

impl Kind {
    fn from_number(number: u8) -> Option<Kind> {
        let all = [
            Kind::Hello,
            Kind::Challenge,
            Kind::Introduction,
            Kind::Welcome,
            Kind::Refusal,
            Kind::Beat,
            Kind::Batch,
            Kind::State,
        ];
        all.into_iter().find(|kind| *kind as u8 == number)
    }
}

/// What stands in a head beside its checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Label {
    /// What the connection carries.
    pub(crate) lane: Lane,
    /// What the body is.
    pub(crate) kind: Kind,
}

/// A frame that arrived as it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    /// From its head.
    pub(crate) label: Label,
    /// Its body.
    pub(crate) body: &'a [u8],
}

/// Why bytes are no frames. The connection they came from is of no more use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameError {
    /// They begin with something else.
    Magic,
    /// They begin as TLS does.
    Secured,
    /// The head was changed on its way.
    Head,
    /// The head has another layout.
    Version(u8),
    /// Lane, kind or padding is none of those that exist.
    Label,
    /// The body is larger than this place takes.
    Length(u32),
    /// The body was changed on its way.
    Body,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::Magic => f.write_str("what it sent is not of this protocol"),
            FrameError::Secured => f.write_str("it speaks TLS, which is not configured here"),
            FrameError::Head => f.write_str("a frame's head failed its checksum"),
            FrameError::Version(version) => write!(f, "frames of version {version} are unknown"),
            FrameError::Label => f.write_str("a frame of an unknown kind"),
            FrameError::Length(length) => write!(f, "a frame of {length} bytes is too large here"),
            FrameError::Body => f.write_str("a frame's body failed its checksum"),
        }
    }
}

/// Writes one frame to the end of a vector: a head, whatever `write` adds, and the checksums.
///
/// # Panics
/// If the body is larger than a frame can say.
pub(crate) fn put<T>(
    out: &mut Vec<u8>,
    label: Label,
    write: impl FnOnce(&mut Vec<u8>, usize) -> T,
) -> T {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD_BYTES]);
    let body = start + HEAD_BYTES;
    let written = write(out, body);
    assert!(body <= out.len(), "a body only adds");
    let length = u32::try_from(out.len() - body).expect("bodies are bounded far below");
    let checksum = crc32fast::hash(&out[body..]);
    let head = &mut out[start..body];
    head[..4].copy_from_slice(&MAGIC.to_le_bytes());
    head[4..8].copy_from_slice(&[VERSION, label.lane.number(), label.kind as u8, 0]);
    head[8..12].copy_from_slice(&length.to_le_bytes());
    head[12..16].copy_from_slice(&checksum.to_le_bytes());
    let checksum = crc32fast::hash(&head[..16]);
    head[16..].copy_from_slice(&checksum.to_le_bytes());
    written
}

/// The head of the frame that bytes begin with.
#[derive(Debug, Clone, Copy)]
struct Head {
    label: Label,
    length: usize,
    checksum: u32,
}

/// Reads a head; `None` if it is not all there.
fn head(bytes: &[u8], body_max: usize) -> Result<Option<Head>, FrameError> {
    let magic = MAGIC.to_le_bytes();
    let seen = bytes.len().min(magic.len());
    if bytes[..seen] != magic[..seen] {
        let secured = TLS_KINDS.contains(&bytes[0]);
        return Err(if secured { FrameError::Secured } else { FrameError::Magic });
    }
    let Some(head) = bytes.first_chunk::<HEAD_BYTES>() else { return Ok(None) };
    let number =
        |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    if crc32fast::hash(&head[..16]) != number(16) {
        return Err(FrameError::Head);
    }
    if head[4] != VERSION {
        return Err(FrameError::Version(head[4]));
    }
    let label = match (Lane::from_number(head[5]), Kind::from_number(head[6]), head[7]) {
        (Some(lane), Some(kind), 0) => Label { lane, kind },
        _ => return Err(FrameError::Label),
    };
    let length = usize::try_from(number(8)).expect("a number of 32 bits");
    if body_max < length {
        return Err(FrameError::Length(number(8)));
    }
    Ok(Some(Head { label, length, checksum: number(12) }))
}

/// Takes the first frame off bytes as they came: the frame and its length on the wire, or `None` if
/// it is not all there.
///
/// # Errors
/// See [`FrameError`].
pub(crate) fn split(
    bytes: &[u8],
    body_max: usize,
) -> Result<Option<(Frame<'_>, usize)>, FrameError> {
    let Some(head) = head(bytes, body_max)? else { return Ok(None) };
    let end = HEAD_BYTES + head.length;
    let Some(body) = bytes.get(HEAD_BYTES..end) else { return Ok(None) };
    if crc32fast::hash(body) != head.checksum {
        return Err(FrameError::Body);
    }
    Ok(Some((Frame { label: head.label, body }, end)))
}

/// Bytes as they come from a connection, until they are frames.
///
/// Invariant: `start <= end <= buffer.len()`; `buffer[start..end]` has come and is not taken.
#[derive(Debug)]
pub(crate) struct Decoder {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    body_max: usize,
}

impl Decoder {
    /// Takes frames with bodies up to so many bytes.
    pub(crate) fn new(body_max: usize) -> Decoder {
        Decoder { buffer: Vec::new(), start: 0, end: 0, body_max }
    }

    /// From the next frame on, takes bodies up to so many bytes.
    pub(crate) fn allow(&mut self, body_max: usize) {
        self.body_max = body_max;
    }

    /// Room for bytes to come. Grows with what has come, never by what a frame says of itself alone:
    /// whoever announces much must send half of it before room is made for the other half.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        if 0 < self.start {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == 0 && KEEP_BYTES < self.buffer.len() {
            self.buffer = Vec::new();
        }
        let wanted = (2 * self.end).max(READ_BYTES);
        if self.buffer.len() < wanted && self.buffer.len() - self.end < READ_BYTES / 2 {
            let most = HEAD_BYTES + self.body_max + READ_BYTES;
            self.buffer.resize(wanted.min(most).max(self.buffer.len()), 0);
        }
        assert!(self.end < self.buffer.len(), "a whole frame is taken before more is read");
        &mut self.buffer[self.end..]
    }

    /// Notes that the first bytes of the room are filled.
    pub(crate) fn filled(&mut self, bytes: usize) {
        assert!(bytes <= self.buffer.len() - self.end, "no more than there is room for");
        self.end += bytes;
    }

    /// Takes the next frame, if it is all there.
    ///
    /// # Errors
    /// See [`FrameError`]; nothing that follows is a frame.
    pub(crate) fn next(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        match split(&self.buffer[self.start..self.end], self.body_max)? {
            Some((frame, length)) => {
                self.start += length;
                Ok(Some(frame))
            }
            None => Ok(None),
        }
    }
}
