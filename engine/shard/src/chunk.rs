//! A sealed chunk: events that left the log, immutable, one file.
//!
//! ```text
//!  header frame | block frame | block frame | ... | directory frame | ... | zeros | trailer, in the last 40 bytes
//!
//!  block:      shard u32 | chunk u64 | session id | first seq u64 | count u32 | (length u32, JSON) x count
//!  directory:  (session id, first seq u64, count u32, offset u64, bytes u32) x many
//!  trailer:    magic | directory offset u64 | directory bytes u64 | directory entries u64 | crc32 u32 | zero u32
//! ```
//!
//! A block holds consecutive events of one session, at most [`CHUNK_BLOCK_BYTES`] of them unless one
//! event alone is larger. It names its shard, chunk, session and first seq, so a block that was
//! written to the wrong place is noticed when it is read.

use bytes::Bytes;
use model::api::Event;
use model::ids::Seq;
use model::limits::{BLOCK_BYTES, CHUNK_BLOCK_BYTES};

use crate::codec::{Put, Take, put_frame};
use crate::session::Extent;
use crate::wal::LogIdentity;

const HEADER_MAGIC: &[u8; 8] = b"STARCHNK";
const TRAILER_MAGIC: &[u8; 8] = b"STARCEND";
const FORMAT: u16 = 1;
/// Length of the trailer, at the very end of the file.
pub const TRAILER_BYTES: usize = 40;
/// Directory entries in one frame.
const ENTRIES_PER_FRAME: usize = 1024;

/// Where the events of one block are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The session's id.
    pub session: Box<str>,
    /// Events in the block.
    pub count: u32,
    /// Where the block is.
    pub extent: Extent,
}

/// Appends the file's first frame.
pub(crate) fn put_header(out: &mut Vec<u8>, identity: LogIdentity, chunk: u64) {
    put_frame(out, |out| {
        out.put(HEADER_MAGIC);
        out.put_u16(FORMAT);
        out.put_u64(identity.log_id);
        out.put_u32(identity.shard.0);
        out.put_u64(chunk);
    });
}

/// Appends a block of the first of `events`, as many as fit. Returns how many those are.
pub(crate) fn put_block<'a>(
    out: &mut Vec<u8>,
    (identity, chunk): (LogIdentity, u64),
    (session, first): (&str, Seq),
    events: impl Iterator<Item = &'a Bytes>,
) -> u32 {
    let mut count = 0_u32;
    put_frame(out, |out| {
        out.put_u32(identity.shard.0);
        out.put_u64(chunk);
        out.put_bytes(session.as_bytes());
        out.put_u64(first.0);
        let count_at = out.len();
        out.put_u32(0);
        let start = out.len();
        for json in events {
            if 0 < count && CHUNK_BLOCK_BYTES < out.len() - start + json.len() {
                break;
            }
            out.put_bytes(json);
            count += 1;
        }
        out[count_at..count_at + 4].copy_from_slice(&count.to_le_bytes());
    });
    assert!(1 <= count, "a block holds an event");
    count
}

/// Why a block cannot be used; the text names what is wrong, not what it should have held.
pub type Damage = &'static str;

/// Reads the events of a block.
///
/// # Errors
/// What is wrong with it: its checksum, or that it belongs elsewhere.
pub fn read_block(
    bytes: &[u8],
    shard: u32,
    session: &str,
    extent: Extent,
) -> Result<Vec<Event>, Damage> {
    let content = Take(bytes).frame().ok_or("block checksum mismatch")?;
    let mut take = Take(content);
    let head = (take.u32(), take.u64(), take.str(), take.u64());
    if head != (Some(shard), Some(extent.chunk), Some(session), Some(extent.first.0)) {
        return Err("block belongs to another place");
    }
    let count = take.u32().ok_or("block is cut short")?;
    // One copy for all events of the block: each then shares it.
    let shared = Bytes::copy_from_slice(take.0);
    let mut events = Vec::new();
    for place in 0..count {
        let json = take.bytes().ok_or("block is cut short")?;
        let end = shared.len() - take.0.len();
        let json = shared.slice(end - json.len()..end);
        events.push(Event { seq: Seq(extent.first.0 + u64::from(place)), json });
    }
    Ok(events)
}

/// Appends directory frames, then pads so that the trailer ends the file on a block boundary.
/// `offset` is where `out` will begin in the file.
pub(crate) fn put_directory(out: &mut Vec<u8>, offset: u64, entries: &[Entry]) {
    let start = out.len();
    let directory_offset = offset + start as u64;
    for some in entries.chunks(ENTRIES_PER_FRAME) {
        put_frame(out, |out| {
            for entry in some {
                out.put_bytes(entry.session.as_bytes());
                out.put_u64(entry.extent.first.0);
                out.put_u32(entry.count);
                out.put_u64(entry.extent.offset);
                out.put_u32(entry.extent.bytes);
            }
        });
    }
    let directory_bytes = (out.len() - start) as u64;
    let block = BLOCK_BYTES as u64;
    while !(offset + (out.len() + TRAILER_BYTES) as u64).is_multiple_of(block) {
        out.push(0);
    }
    let trailer = out.len();
    out.put(TRAILER_MAGIC);
    out.put_u64(directory_offset);
    out.put_u64(directory_bytes);
    out.put_u64(entries.len() as u64);
    let crc = crc32fast::hash(&out[trailer..]);
    out.put_u32(crc);
    out.put_u32(0);
    assert_eq!(out.len() - trailer, TRAILER_BYTES);
}

/// Where the directory of a chunk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trailer {
    /// Its first byte in the file.
    pub offset: u64,
    /// Its length.
    pub bytes: u64,
    /// Its entries.
    pub entries: u64,
}

/// Reads the last [`TRAILER_BYTES`] of a chunk.
///
/// # Errors
/// What is wrong with them.
pub fn read_trailer(bytes: &[u8]) -> Result<Trailer, Damage> {
    let mut take = Take(bytes);
    let damaged = "chunk trailer is damaged";
    let magic = take.take(8).ok_or(damaged)?;
    let fields = (take.u64(), take.u64(), take.u64());
    let (Some(offset), Some(directory), Some(entries)) = fields else { return Err(damaged) };
    let crc = take.u32().ok_or(damaged)?;
    if magic != TRAILER_MAGIC || crc != crc32fast::hash(&bytes[..TRAILER_BYTES - 8]) {
        return Err(damaged);
    }
    Ok(Trailer { offset, bytes: directory, entries })
}

/// Reads the first frame of a chunk: whose it is.
///
/// # Errors
/// What is wrong with it.
pub fn read_header(bytes: &[u8], identity: LogIdentity, chunk: u64) -> Result<(), Damage> {
    let mut take = Take(Take(bytes).frame().ok_or("chunk header is damaged")?);
    if take.take(8) != Some(HEADER_MAGIC) {
        return Err("not a chunk");
    }
    if take.u16() != Some(FORMAT) {
        return Err("chunk format is unknown to this program");
    }
    let whose = (take.u64(), take.u32(), take.u64());
    if whose != (Some(identity.log_id), Some(identity.shard.0), Some(chunk)) {
        return Err("chunk belongs to another shard or number");
    }
    Ok(())
}

/// Reads the directory of a chunk.
///
/// # Errors
/// What is wrong with it.
pub fn read_directory(bytes: &[u8], trailer: Trailer, chunk: u64) -> Result<Vec<Entry>, Damage> {
    let damaged = "chunk directory is damaged";
    let mut frames = Take(bytes);
    let mut entries = Vec::new();
    while !frames.0.is_empty() {
        let mut take = Take(frames.frame().ok_or(damaged)?);
        while !take.0.is_empty() {
            let session = take.str().ok_or(damaged)?.into();
            let first = Seq(take.u64().ok_or(damaged)?);
            let count = take.u32().ok_or(damaged)?;
            let offset = take.u64().ok_or(damaged)?;
            let bytes = take.u32().ok_or(damaged)?;
            let extent = Extent { first, chunk, offset, bytes };
            entries.push(Entry { session, count, extent });
        }
    }
    if entries.len() as u64 == trailer.entries { Ok(entries) } else { Err(damaged) }
}
