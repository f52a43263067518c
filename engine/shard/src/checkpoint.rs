//! A checkpoint: all sessions of a shard at one moment, so that the log behind it can be reused.
//!
//! ```text
//!  head frame | session frame | ... | end frame (sessions u64, magic) | zeros to a whole block
//! ```
//!
//! The newest events are not in the sessions' frames: they are in the one chunk the same flush wrote,
//! whose directory completes the sessions' extents when the checkpoint is loaded.
//!
//! A snapshot that was taken over from another node is written in the same form: its head names one
//! group, and its sessions' extents are complete.

use std::sync::Arc;

use model::command::Principal;
use model::ids::{GroupId, Micros, Seq, SessionId};
use model::limits::SESSION_FRAME_BYTES_MAX;
use raft::{Index, Membership, NodeId, Term};

use crate::codec::{FRAME_HEAD_BYTES, Put, Take, put_frame};
use crate::membership::{put_membership, take_membership};
use crate::session::{Extent, Memory, Remembered, Session};
use crate::wal::{LogFloor, LogIdentity};

const HEAD_MAGIC: &[u8; 8] = b"STARCKPT";
const END_MAGIC: &[u8; 8] = b"STARCKND";
const FORMAT: u16 = 2;

/// What a checkpoint says of the shard as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Its own number, also that of the chunk written with it.
    pub number: u64,
    /// Where a scan of the log that follows it must begin.
    pub floor: LogFloor,
    /// What each group has applied and promised, in group order.
    pub groups: Vec<GroupMark>,
    /// The chunk that holds the events that left memory with this checkpoint, if there were any.
    pub newest_chunk: Option<u64>,
    /// Every chunk that holds events, the newest included, ascending.
    pub chunks: Vec<u64>,
}

/// One group at the moment of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMark {
    /// The group.
    pub group: GroupId,
    /// The term of the last entry applied.
    pub term: Term,
    /// The last entry applied.
    pub index: Index,
    /// The group's current term.
    pub current_term: Term,
    /// Its vote in that term.
    pub vote: Option<NodeId>,
    /// Its members as of the last entry applied.
    pub membership: Arc<Membership>,
}

/// Appends the first frame.
pub(crate) fn put_head(out: &mut Vec<u8>, identity: LogIdentity, head: &Head) {
    put_frame(out, |out| {
        out.put(HEAD_MAGIC);
        out.put_u16(FORMAT);
        out.put_u64(identity.log_id);
        out.put_u32(identity.shard.0);
        out.put_u64(head.number);
        out.put_u64(head.floor.segment.0);
        out.put_u64(head.floor.batch.0);
        out.put_u64(head.floor.chain);
        out.put_u32(u32::try_from(head.groups.len()).expect("a shard's groups are few"));
        for mark in &head.groups {
            out.put_u32(mark.group.0);
            out.put_u64(mark.term.0);
            out.put_u64(mark.index.0);
            out.put_u64(mark.current_term.0);
            put_optional(out, mark.vote.map(|node| node.0));
            put_membership(out, &mark.membership);
        }
        put_optional(out, head.newest_chunk);
        out.put_u32(u32::try_from(head.chunks.len()).expect("chunks are numbered by flushes"));
        for chunk in &head.chunks {
            out.put_u64(*chunk);
        }
    });
}

fn put_optional(out: &mut Vec<u8>, value: Option<u64>) {
    out.put_u16(u16::from(value.is_some()));
    out.put_u64(value.unwrap_or(0));
}

/// Appends the frame of a session whose events are in these extents.
pub(crate) fn put_session(out: &mut Vec<u8>, id: &str, session: &Session, extents: &[Extent]) {
    put_frame(out, |out| {
        out.put_bytes(id.as_bytes());
        out.put_u32(session.group.0);
        out.put_u16(u16::from(session.title.is_some()));
        out.put_bytes(session.title.as_deref().unwrap_or("").as_bytes());
        out.put_bytes(session.metadata.as_bytes());
        out.put_u16(u16::from(session.creator.is_some()));
        if let Some(creator) = &session.creator {
            out.put_bytes(creator.tenant_id.as_bytes());
            out.put_bytes(creator.id.as_bytes());
            out.put_bytes(creator.kind.as_bytes());
        }
        out.put_u64(session.created_at.0);
        out.put_u64(session.updated_at.0);
        out.put_u64(session.last_at.0);
        out.put_u64(session.version);
        out.put_u16(u16::from(session.archived));
        out.put_u64(session.last_seq.0);
        out.put_u64(session.archived_seq.0);
        put_remembered(out, &session.producers);
        put_remembered(out, &session.keys);
        out.put_u32(u32::try_from(extents.len()).expect("a session's blocks fit a vector"));
        for extent in extents {
            out.put_u64(extent.first.0);
            out.put_u64(extent.chunk);
            out.put_u64(extent.offset);
            out.put_u32(extent.bytes);
        }
    });
}

fn put_remembered(out: &mut Vec<u8>, remembered: &Remembered) {
    let names = remembered.iter();
    out.put_u32(u32::try_from(names.len()).expect("the table is bounded"));
    for (name, memory) in names {
        out.put_bytes(name.as_bytes());
        out.put_u64(memory.counter);
        out.put_u64(memory.seq.0);
        out.put(&memory.fingerprint);
    }
}

/// Appends the last frame.
pub(crate) fn put_end(out: &mut Vec<u8>, sessions: u64) {
    put_frame(out, |out| {
        out.put(END_MAGIC);
        out.put_u64(sessions);
    });
}

/// Reads a checkpoint from its bytes, front to back.
#[derive(Debug)]
pub struct Reader<'a> {
    frames: Take<'a>,
    read: u64,
}

/// What a session's frame holds.
pub type Loaded = (SessionId, Session);

impl<'a> Reader<'a> {
    /// Reads the first frame.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn open(bytes: &'a [u8], identity: LogIdentity) -> Result<(Head, Reader<'a>), String> {
        let mut frames = Take(bytes);
        let mut take = Take(frames.frame().ok_or("checkpoint head is damaged")?);
        if take.take(8) != Some(HEAD_MAGIC) {
            return Err("not a checkpoint".to_owned());
        }
        let format = take.u16();
        if format != Some(FORMAT) {
            return Err(format!("checkpoint format {format:?} is unknown to this program"));
        }
        let whose = (take.u64(), take.u32());
        if whose != (Some(identity.log_id), Some(identity.shard.0)) {
            return Err("checkpoint belongs to another shard or data directory".to_owned());
        }
        let head = take_head(&mut take).ok_or("checkpoint head is cut short")?;
        Ok((head, Reader { frames, read: 0 }))
    }

    /// Reads the next session; `None` behind the last.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn next_session(&mut self) -> Result<Option<Loaded>, String> {
        let damaged = || format!("checkpoint is damaged behind session {}", self.read);
        let content = self.frames.frame().ok_or_else(damaged)?;
        if content.starts_with(END_MAGIC) {
            let counted = Take(&content[END_MAGIC.len()..]).u64();
            return if counted == Some(self.read) { Ok(None) } else { Err(damaged()) };
        }
        let loaded = take_session(&mut Take(content)).ok_or_else(damaged)?;
        self.read += 1;
        Ok(Some(loaded))
    }
}

fn take_head(take: &mut Take<'_>) -> Option<Head> {
    let number = take.u64()?;
    let floor = LogFloor {
        segment: crate::effect::SegmentNumber(take.u64()?),
        batch: crate::effect::BatchNumber(take.u64()?),
        chain: take.u64()?,
    };
    let mut groups = Vec::new();
    for _ in 0..take.u32()? {
        groups.push(GroupMark {
            group: GroupId(take.u32()?),
            term: Term(take.u64()?),
            index: Index(take.u64()?),
            current_term: Term(take.u64()?),
            vote: take_optional(take)?.map(NodeId),
            membership: Arc::new(take_membership(take)?),
        });
    }
    let newest_chunk = take_optional(take)?;
    let mut chunks = Vec::new();
    for _ in 0..take.u32()? {
        chunks.push(take.u64()?);
    }
    Some(Head { number, floor, groups, newest_chunk, chunks })
}

fn take_optional(take: &mut Take<'_>) -> Option<Option<u64>> {
    let present = take_flag(take)?;
    let value = take.u64()?;
    Some(present.then_some(value))
}

fn take_flag(take: &mut Take<'_>) -> Option<bool> {
    match take.u16()? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

/// Reads the sessions whose frames are whole, as another node sends them. Returns how many bytes those
/// were; `None` if one is not what was written.
pub(crate) fn take_sessions(bytes: &[u8], sessions: &mut Vec<Loaded>) -> Option<usize> {
    let mut rest = Take(bytes);
    loop {
        let taken = bytes.len() - rest.0.len();
        let Some(length) = rest.frame_length() else { return Some(taken) };
        if SESSION_FRAME_BYTES_MAX < length {
            return None;
        }
        if rest.0.len() < FRAME_HEAD_BYTES + length {
            return Some(taken);
        }
        sessions.push(take_session(&mut Take(rest.frame()?))?);
    }
}

fn take_session(take: &mut Take<'_>) -> Option<Loaded> {
    let id = SessionId::new(take.str()?)?;
    let mut session = Session::new(GroupId(take.u32()?), Micros(0));
    let titled = take_flag(take)?;
    let title = take.str()?;
    session.title = titled.then(|| title.into());
    session.metadata = take.str()?.into();
    if take_flag(take)? {
        session.creator = Some(Box::new(Principal {
            tenant_id: take.str()?.into(),
            id: take.str()?.into(),
            kind: take.str()?.into(),
        }));
    }
    session.created_at = Micros(take.u64()?);
    session.updated_at = Micros(take.u64()?);
    session.last_at = Micros(take.u64()?);
    session.version = take.u64()?;
    session.archived = take_flag(take)?;
    session.last_seq = Seq(take.u64()?);
    session.archived_seq = Seq(take.u64()?);
    take_remembered(take, &mut session.producers)?;
    take_remembered(take, &mut session.keys)?;
    for _ in 0..take.u32()? {
        session.extents.push(Extent {
            first: Seq(take.u64()?),
            chunk: take.u64()?,
            offset: take.u64()?,
            bytes: take.u32()?,
        });
    }
    Some((id, session))
}

fn take_remembered(take: &mut Take<'_>, remembered: &mut Remembered) -> Option<()> {
    for _ in 0..take.u32()? {
        let name = take.str()?;
        let counter = take.u64()?;
        let seq = Seq(take.u64()?);
        remembered.set(name, Memory { counter, seq, fingerprint: take.digest()? });
    }
    Some(())
}
