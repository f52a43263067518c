//! The bytes of a batch. This file does no IO and knows nothing of files: it turns records into the
//! buffer that is written, and any bytes into records or the reason why there are none.
//!
//! ```text
//!  batch, at a multiple of BLOCK_BYTES of its segment, little-endian:
//!
//!    0  magic       8 bytes          48  durable      u64  newest batch known durable when sealed
//!    8  version     u16              56  previous     u64  chain value of the batch before
//!   10  zero        u16              64  body_bytes   u32  records, without the padding behind them
//!   12  shard       u32              68  records      u32
//!   16  log id      u64              72  body crc     u32  of [80, end), padding included
//!   24  segment     u64              76  header crc   u32  of [0, 76)
//!   32  offset      u64              80  records, then zeros to the next multiple of BLOCK_BYTES
//!   40  batch       u64
//!
//!  record, at a multiple of 8:
//!
//!    0  length      u32  of the payload      12  group    u32
//!    4  crc         u32  of [8, 32 + length) 16  term     u64
//!    8  kind        u16                      24  index    u64  0 in a hard state
//!   10  version     u16                      32  payload, then zeros to the next multiple of 8
//! ```
//!
//! Kinds: 1 an entry with a command, or without a payload the one a leader begins with; 2 a hard state;
//! 3 an entry with a membership; 4 a snapshot taken over from another node; 5 and 6 an entry of kind 1 or 3
//! written once more. The payloads of 3, 4 and 6 are drawn in `membership`.
//!
//! The chain value of a batch is its two checksums side by side: the header's covers every field
//! and the body's checksum, so the value stands for every bit of the batch. No length is believed
//! before the header's checksum has been compared. Every version of the format keeps these 80
//! bytes where they are.

use model::ids::{GroupId, ShardId};
use model::limits::BLOCK_BYTES;

use crate::aligned::AlignedBuffer;
use crate::effect::{BatchNumber, SegmentNumber};

/// The first bytes of every batch.
pub const MAGIC: [u8; 8] = *b"starlog\x1a";
/// The layout this program writes and reads.
pub const VERSION: u16 = 1;
/// Bytes of a batch in front of its records.
pub const HEADER_BYTES: usize = 80;
/// Bytes of a record in front of its payload.
pub const RECORD_HEAD_BYTES: usize = 32;

const HEADER_CRC_AT: usize = HEADER_BYTES - 4;
const RECORD_CRC_FROM: usize = 8;
const RECORD_ALIGN: usize = 8;
const RECORD_VERSION: u16 = 1;
const KIND_ENTRY: u16 = 1;
const KIND_HARD_STATE: u16 = 2;
const KIND_MEMBERSHIP: u16 = 3;
const KIND_SNAPSHOT: u16 = 4;
const KIND_ENTRY_AGAIN: u16 = 5;
const KIND_MEMBERSHIP_AGAIN: u16 = 6;

const _: () = assert!(HEADER_BYTES.is_multiple_of(RECORD_ALIGN));
const _: () = assert!(RECORD_HEAD_BYTES.is_multiple_of(RECORD_ALIGN));
const _: () = assert!(HEADER_BYTES < BLOCK_BYTES);

/// Whose log it is: every batch says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogIdentity {
    /// A random number from the manifest of the data directory. No client learns it, so no payload
    /// can pass for a batch.
    pub log_id: u64,
    /// The shard.
    pub shard: ShardId,
}

/// Where a segment starts, and so where a scan of the log may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogFloor {
    /// The segment.
    pub segment: SegmentNumber,
    /// The number of its first batch.
    pub batch: BatchNumber,
    /// The chain value of the batch before that one; 0 if there is none.
    pub chain: u64,
}

impl LogFloor {
    /// Where the first segment of a log starts.
    pub fn first() -> LogFloor {
        LogFloor { segment: SegmentNumber(1), batch: BatchNumber(1), chain: 0 }
    }
}

/// The head of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Whose log.
    pub identity: LogIdentity,
    /// The segment it was sealed for.
    pub segment: SegmentNumber,
    /// The byte of that segment where it starts.
    pub offset: u64,
    /// Its number.
    pub batch: BatchNumber,
    /// The newest batch that was durable when this one was sealed.
    pub durable: BatchNumber,
    /// The chain value of the batch before.
    pub previous: u64,
    /// Bytes of its records.
    pub body_bytes: u32,
    /// Its records; a batch without any is a mark.
    pub records: u32,
    /// The checksum of what follows the header.
    pub body_crc: u32,
}

/// What Raft must not forget of a group besides its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HardState {
    /// The newest term seen.
    pub term: u64,
    /// Whom the group voted for in it.
    pub vote: Option<u64>,
}

/// One record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// The group it belongs to.
    pub group: GroupId,
    /// What it says.
    pub kind: RecordKind<'a>,
}

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind<'a> {
    /// An entry of the group's Raft log. It replaces every entry at its index or behind it.
    Entry {
        /// The entry's term.
        term: u64,
        /// Its place in the group's log.
        index: u64,
        /// What Raft was given.
        payload: &'a [u8],
    },
    /// The group's hard state; the last one counts.
    HardState {
        /// The newest term seen.
        term: u64,
        /// Whom the group voted for in it.
        vote: Option<u64>,
    },
    /// An entry that changes the group's members; it replaces others as an entry does.
    Membership {
        /// The entry's term.
        term: u64,
        /// Its place in the group's log.
        index: u64,
        /// The members.
        payload: &'a [u8],
    },
    /// The group's state was taken over from another node: its log goes on behind this place, and of
    /// the entries before this record only those behind it count, if the one at this place has this
    /// term.
    Snapshot {
        /// The term of the last entry in the state.
        term: u64,
        /// Its place in the group's log.
        index: u64,
        /// The file with the state, and the members.
        payload: &'a [u8],
    },
    /// An entry written once more, so that an old segment can go. It only fills a hole in the log.
    EntryAgain {
        /// The entry's term.
        term: u64,
        /// Its place in the group's log.
        index: u64,
        /// What Raft was given.
        payload: &'a [u8],
    },
    /// The same for an entry that changes the group's members.
    MembershipAgain {
        /// The entry's term.
        term: u64,
        /// Its place in the group's log.
        index: u64,
        /// The members.
        payload: &'a [u8],
    },
}

impl RecordKind<'_> {
    fn payload_bytes(&self) -> usize {
        match self {
            RecordKind::HardState { .. } => size_of::<u64>(),
            RecordKind::Entry { payload, .. }
            | RecordKind::Membership { payload, .. }
            | RecordKind::Snapshot { payload, .. }
            | RecordKind::EntryAgain { payload, .. }
            | RecordKind::MembershipAgain { payload, .. } => payload.len(),
        }
    }

    /// Bytes the record takes in a batch, at most.
    pub(super) fn bytes(&self) -> usize {
        record_bytes(self.payload_bytes())
    }
}

/// Why the bytes at some place are not a batch that belongs there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// No batch has been written here: the magic is missing.
    Blank,
    /// The header's checksum does not match.
    HeaderChecksum,
    /// A batch of another log.
    Foreign,
    /// A batch of another segment: what a recycled file held before.
    Stale(SegmentNumber),
    /// A batch that was sealed for another offset of this segment.
    Misplaced(u64),
    /// A batch in a layout this program does not know.
    Version(u16),
    /// The batch claims to reach beyond its segment.
    Length,
    /// The body's checksum does not match.
    BodyChecksum,
    /// The batch is whole but has another number than the place demands.
    Number(BatchNumber),
    /// The batch is whole but follows another batch than the one before it.
    Chain,
    /// The checksums match, yet a record at this byte of the body cannot be read.
    Record(usize),
}

impl Damage {
    /// Whether a batch was being written here: part of it is there, and it is neither the start of
    /// blank space nor what the file held in an earlier life.
    pub fn is_torn(self) -> bool {
        match self {
            Damage::Blank | Damage::Foreign | Damage::Stale(_) | Damage::Misplaced(_) => false,
            Damage::HeaderChecksum
            | Damage::Version(_)
            | Damage::Length
            | Damage::BodyChecksum
            | Damage::Number(_)
            | Damage::Chain
            | Damage::Record(_) => true,
        }
    }
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Damage::Blank => write!(f, "there is no batch"),
            Damage::HeaderChecksum => write!(f, "the header's checksum does not match"),
            Damage::Foreign => write!(f, "the batch belongs to another log"),
            Damage::Stale(segment) => write!(f, "the batch belongs to segment {}", segment.0),
            Damage::Misplaced(offset) => write!(f, "the batch belongs at byte {offset}"),
            Damage::Version(version) => {
                write!(f, "the layout {version} is unknown; this program reads {VERSION}")
            }
            Damage::Length => write!(f, "the batch reaches beyond its segment"),
            Damage::BodyChecksum => write!(f, "the body's checksum does not match"),
            Damage::Number(batch) => write!(f, "the batch has number {}", batch.0),
            Damage::Chain => write!(f, "the batch follows another than the one before it"),
            Damage::Record(at) => write!(f, "the record at byte {at} of the body is malformed"),
        }
    }
}

impl Header {
    /// Reads the header at the start of `bytes`. Only magic and checksum are compared here.
    ///
    /// # Errors
    /// [`Damage::Blank`] or [`Damage::HeaderChecksum`].
    pub fn decode(bytes: &[u8]) -> Result<Header, Damage> {
        let Some(head) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(Damage::Blank);
        };
        if head[..8] != MAGIC {
            return Err(Damage::Blank);
        }
        if crc32fast::hash(&head[..HEADER_CRC_AT]) != u32_at(head, HEADER_CRC_AT) {
            return Err(Damage::HeaderChecksum);
        }
        Ok(Header {
            identity: LogIdentity { log_id: u64_at(head, 16), shard: ShardId(u32_at(head, 12)) },
            segment: SegmentNumber(u64_at(head, 24)),
            offset: u64_at(head, 32),
            batch: BatchNumber(u64_at(head, 40)),
            durable: BatchNumber(u64_at(head, 48)),
            previous: u64_at(head, 56),
            body_bytes: u32_at(head, 64),
            records: u32_at(head, 68),
            body_crc: u32_at(head, 72),
        })
    }

    /// Writes the header to the front of `head` and returns the batch's chain value.
    fn encode(&self, head: &mut [u8; HEADER_BYTES]) -> u64 {
        head[..8].copy_from_slice(&MAGIC);
        head[8..10].copy_from_slice(&VERSION.to_le_bytes());
        head[10..12].fill(0);
        head[12..16].copy_from_slice(&self.identity.shard.0.to_le_bytes());
        head[16..24].copy_from_slice(&self.identity.log_id.to_le_bytes());
        head[24..32].copy_from_slice(&self.segment.0.to_le_bytes());
        head[32..40].copy_from_slice(&self.offset.to_le_bytes());
        head[40..48].copy_from_slice(&self.batch.0.to_le_bytes());
        head[48..56].copy_from_slice(&self.durable.0.to_le_bytes());
        head[56..64].copy_from_slice(&self.previous.to_le_bytes());
        head[64..68].copy_from_slice(&self.body_bytes.to_le_bytes());
        head[68..72].copy_from_slice(&self.records.to_le_bytes());
        head[72..76].copy_from_slice(&self.body_crc.to_le_bytes());
        let crc = crc32fast::hash(&head[..HEADER_CRC_AT]);
        head[HEADER_CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        self.chain(crc)
    }

    fn chain(&self, header_crc: u32) -> u64 {
        u64::from(header_crc) << 32 | u64::from(self.body_crc)
    }

    /// Whether the batch was sealed for this place.
    ///
    /// # Errors
    /// [`Damage::Foreign`], [`Damage::Stale`] or [`Damage::Misplaced`].
    pub fn check_place(
        &self,
        identity: LogIdentity,
        segment: SegmentNumber,
        offset: usize,
    ) -> Result<(), Damage> {
        if self.identity != identity {
            return Err(Damage::Foreign);
        }
        if self.segment != segment {
            return Err(Damage::Stale(self.segment));
        }
        if usize::try_from(self.offset) != Ok(offset) {
            return Err(Damage::Misplaced(self.offset));
        }
        Ok(())
    }
}

/// A batch whose header and body match their checksums and its place.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// Its header.
    pub header: Header,
    /// What the next batch must name as `previous`.
    pub chain: u64,
    /// Bytes it takes in its segment, a multiple of `BLOCK_BYTES`.
    pub bytes: usize,
    body: &'a [u8],
}

impl<'a> Batch<'a> {
    /// Reads the batch at `offset` of a segment's `image`.
    ///
    /// # Errors
    /// Why there is none that belongs there. [`Damage::Number`], [`Damage::Chain`] and
    /// [`Damage::Record`] are not among the reasons.
    pub fn read(
        identity: LogIdentity,
        segment: SegmentNumber,
        image: &'a [u8],
        offset: usize,
    ) -> Result<Batch<'a>, Damage> {
        let bytes = image.get(offset..).unwrap_or(&[]);
        let header = Header::decode(bytes)?;
        header.check_place(identity, segment, offset)?;
        // Unknown layouts count only here: elsewhere the header might be a client's bytes.
        let version = u16_at(bytes, 8);
        if version != VERSION {
            return Err(Damage::Version(version));
        }
        let body_bytes = usize::try_from(header.body_bytes).map_err(|_| Damage::Length)?;
        let end = HEADER_BYTES.checked_add(body_bytes).ok_or(Damage::Length)?;
        let padded = end.checked_next_multiple_of(BLOCK_BYTES).ok_or(Damage::Length)?;
        let batch = bytes.get(..padded).ok_or(Damage::Length)?;
        if crc32fast::hash(&batch[HEADER_BYTES..]) != header.body_crc {
            return Err(Damage::BodyChecksum);
        }
        let chain = header.chain(u32_at(batch, HEADER_CRC_AT));
        Ok(Batch { header, chain, bytes: padded, body: &batch[HEADER_BYTES..end] })
    }

    /// Its records in order. After an error nothing follows.
    pub fn records(&self) -> Records<'a> {
        Records { body: self.body, at: 0, left: self.header.records }
    }
}

/// The records of one batch.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    body: &'a [u8],
    at: usize,
    left: u32,
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, Damage>;

    fn next(&mut self) -> Option<Result<Record<'a>, Damage>> {
        if self.left == 0 && self.at == self.body.len() {
            return None;
        }
        let at = self.at;
        let record = if self.left == 0 { None } else { self.read() };
        if record.is_none() {
            (self.left, self.at) = (0, self.body.len());
        }
        Some(record.ok_or(Damage::Record(at)))
    }
}

impl<'a> Records<'a> {
    fn read(&mut self) -> Option<Record<'a>> {
        let bytes = self.body.get(self.at..)?;
        let head = bytes.first_chunk::<RECORD_HEAD_BYTES>()?;
        let end = RECORD_HEAD_BYTES.checked_add(usize::try_from(u32_at(head, 0)).ok()?)?;
        let record = bytes.get(..end)?;
        if crc32fast::hash(&record[RECORD_CRC_FROM..]) != u32_at(head, 4) {
            return None;
        }
        if u16_at(head, 10) != RECORD_VERSION {
            return None;
        }
        let (term, index) = (u64_at(head, 16), u64_at(head, 24));
        let payload = &record[RECORD_HEAD_BYTES..];
        let kind = match u16_at(head, 8) {
            KIND_ENTRY => RecordKind::Entry { term, index, payload },
            KIND_HARD_STATE if payload.is_empty() => RecordKind::HardState { term, vote: None },
            KIND_HARD_STATE => {
                let vote = Some(u64::from_le_bytes(payload.try_into().ok()?));
                RecordKind::HardState { term, vote }
            }
            KIND_MEMBERSHIP => RecordKind::Membership { term, index, payload },
            KIND_SNAPSHOT => RecordKind::Snapshot { term, index, payload },
            KIND_ENTRY_AGAIN => RecordKind::EntryAgain { term, index, payload },
            KIND_MEMBERSHIP_AGAIN => RecordKind::MembershipAgain { term, index, payload },
            _ => return None,
        };
        self.at += end.checked_next_multiple_of(RECORD_ALIGN)?;
        self.left -= 1;
        Some(Record { group: GroupId(u32_at(head, 12)), kind })
    }
}

/// Bytes a record takes in a batch.
pub(super) const fn record_bytes(payload_bytes: usize) -> usize {
    (RECORD_HEAD_BYTES + payload_bytes).next_multiple_of(RECORD_ALIGN)
}

/// A batch being filled. Records go straight into the buffer that will be written.
#[derive(Debug)]
pub(super) struct Builder {
    buffer: AlignedBuffer,
    records: u32,
}

/// What a batch learns when it is sealed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seal {
    pub(super) identity: LogIdentity,
    pub(super) segment: SegmentNumber,
    pub(super) offset: usize,
    pub(super) batch: BatchNumber,
    pub(super) durable: BatchNumber,
    pub(super) previous: u64,
}

impl Builder {
    /// A batch without records, in a buffer whose old bytes are forgotten.
    pub(super) fn new(mut buffer: AlignedBuffer) -> Builder {
        buffer.clear();
        buffer.extend_from_slice(&[0; HEADER_BYTES]);
        Builder { buffer, records: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Gives the buffer back.
    pub(super) fn into_buffer(self) -> AlignedBuffer {
        self.buffer
    }

    /// Bytes of header and records.
    pub(super) fn bytes(&self) -> usize {
        self.buffer.len()
    }

    pub(super) fn push(&mut self, record: &Record<'_>) {
        let group = record.group;
        match record.kind {
            RecordKind::Entry { term, index, payload } => {
                self.put((KIND_ENTRY, group), term, index, payload);
            }
            RecordKind::HardState { term, vote: None } => {
                self.put((KIND_HARD_STATE, group), term, 0, &[]);
            }
            RecordKind::HardState { term, vote: Some(vote) } => {
                self.put((KIND_HARD_STATE, group), term, 0, &vote.to_le_bytes());
            }
            RecordKind::Membership { term, index, payload } => {
                self.put((KIND_MEMBERSHIP, group), term, index, payload);
            }
            RecordKind::Snapshot { term, index, payload } => {
                self.put((KIND_SNAPSHOT, group), term, index, payload);
            }
            RecordKind::EntryAgain { term, index, payload } => {
                self.put((KIND_ENTRY_AGAIN, group), term, index, payload);
            }
            RecordKind::MembershipAgain { term, index, payload } => {
                self.put((KIND_MEMBERSHIP_AGAIN, group), term, index, payload);
            }
        }
    }

    fn put(&mut self, (kind, group): (u16, GroupId), term: u64, index: u64, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("a record is bounded by its segment");
        let mut head = [0; RECORD_HEAD_BYTES];
        head[..4].copy_from_slice(&length.to_le_bytes());
        head[8..10].copy_from_slice(&kind.to_le_bytes());
        head[10..12].copy_from_slice(&RECORD_VERSION.to_le_bytes());
        head[12..16].copy_from_slice(&group.0.to_le_bytes());
        head[16..24].copy_from_slice(&term.to_le_bytes());
        head[24..].copy_from_slice(&index.to_le_bytes());
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&head[RECORD_CRC_FROM..]);
        hasher.update(payload);
        head[4..8].copy_from_slice(&hasher.finalize().to_le_bytes());
        self.buffer.extend_from_slice(&head);
        self.buffer.extend_from_slice(payload);
        self.buffer.pad_to(RECORD_ALIGN);
        self.records = self.records.checked_add(1).expect("a batch is bounded by its segment");
    }

    /// Pads the batch to whole blocks, writes its header, and returns what to write and its chain
    /// value.
    pub(super) fn seal(mut self, seal: &Seal) -> (AlignedBuffer, u64) {
        assert!(seal.offset.is_multiple_of(BLOCK_BYTES), "a batch starts on a fresh block");
        assert!(seal.durable < seal.batch, "a batch is not durable before it is written");
        let body_bytes = self.buffer.len() - HEADER_BYTES;
        self.buffer.pad_to(BLOCK_BYTES);
        let (head, body) = self
            .buffer
            .as_mut_slice()
            .split_first_chunk_mut::<HEADER_BYTES>()
            .expect("a builder starts with room for its header");
        let header = Header {
            identity: seal.identity,
            segment: seal.segment,
            offset: u64::try_from(seal.offset).expect("an offset fits 64 bits"),
            batch: seal.batch,
            durable: seal.durable,
            previous: seal.previous,
            body_bytes: u32::try_from(body_bytes).expect("a batch is bounded by its segment"),
            records: self.records,
            body_crc: crc32fast::hash(body),
        };
        let chain = header.encode(head);
        assert_eq!(Header::decode(head), Ok(header), "what is written can be read");
        (self.buffer, chain)
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("a range of N bytes")
}
