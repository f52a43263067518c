//! Names of things and places. *index* is a place in a Raft log, *seq* a place in a session,
//! *offset* a byte in a file, *cursor* the seq a client resumes after.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use rkyv::{Archive, Deserialize, Serialize};

/// The name a client gave to a session, or the server generated. Opaque and never empty.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(Box<str>);

impl SessionId {
    /// Wraps a non-empty name; `None` if it is empty.
    pub fn new(name: impl Into<Box<str>>) -> Option<SessionId> {
        let name = name.into();
        if name.is_empty() { None } else { Some(SessionId(name)) }
    }

    /// The name as the client sees it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ArchivedSessionId {
    /// The name as the client sees it, read in place.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Lets a map keyed by session be searched by a borrowed name.
impl std::borrow::Borrow<str> for SessionId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// A Raft group: a fixed share of all sessions. Counts from 0.
#[derive(
    Archive, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
pub struct GroupId(pub u32);

/// A shard: the groups that share one log and one core. Counts from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u32);

/// A place in a session. The first event has seq 1; as a cursor, 0 means "from the start".
#[derive(
    Archive,
    Serialize,
    Deserialize,
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
)]
pub struct Seq(pub u64);

impl Seq {
    /// The place after this one.
    pub fn next(self) -> Seq {
        Seq(self.0 + 1)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Wall-clock time in microseconds since 1970-01-01T00:00:00Z.
#[derive(
    Archive,
    Serialize,
    Deserialize,
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
)]
pub struct Micros(pub u64);

/// The last microsecond that prints with a four-digit year: 9999-12-31T23:59:59.999999Z.
const MICROS_MAX: u64 = 253_402_300_799_999_999;

impl fmt::Display for Micros {
    /// ISO 8601 in UTC with six decimals and `Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = UNIX_EPOCH + Duration::from_micros(self.0.min(MICROS_MAX));
        humantime::format_rfc3339_micros(time).fmt(f)
    }
}

/// The time of one turn, handed in by whoever drives the shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Monotonic microseconds since an arbitrary start; deadlines use this one.
    pub monotonic: u64,
    /// Wall clock; only ever stored or shown, never compared for order.
    pub wall: Micros,
}

/// How sessions map to groups and groups to shards. Both counts are fixed when a data directory is
/// made: another value would look for a session where it is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    groups: u32,
    shards: u32,
}

impl Placement {
    /// # Panics
    /// If there is no group, no shard, or a shard without a group.
    pub fn new(groups: u32, shards: u32) -> Placement {
        assert!(1 <= shards, "at least one shard");
        assert!(shards <= groups, "every shard has a group");
        Placement { groups, shards }
    }

    /// The number of Raft groups.
    pub fn groups(&self) -> u32 {
        self.groups
    }

    /// The number of shards.
    pub fn shards(&self) -> u32 {
        self.shards
    }

    /// The most groups one shard hosts.
    pub fn groups_per_shard(&self) -> usize {
        self.groups.div_ceil(self.shards) as usize
    }

    /// The group that owns a session.
    pub fn group(&self, session: &str) -> GroupId {
        let slot = hash(session.as_bytes()) % u64::from(self.groups);
        GroupId(u32::try_from(slot).expect("a remainder of a u32"))
    }

    /// The shard that hosts a group.
    pub fn shard(&self, group: GroupId) -> ShardId {
        ShardId(group.0 % self.shards)
    }

    /// The shard that hosts a session.
    pub fn shard_of(&self, session: &str) -> ShardId {
        self.shard(self.group(session))
    }

    /// The groups one shard hosts, ascending.
    pub fn groups_of(&self, shard: ShardId) -> impl Iterator<Item = GroupId> + use<> {
        (shard.0..self.groups).step_by(self.shards as usize).map(GroupId)
    }
}

/// FNV-1a with the finalizer of MurmurHash3: every stored session depends on it, so it must never
/// change. The finalizer matters, since the low bits of plain FNV-1a follow the last byte.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let mut state = 0xcbf2_9ce4_8422_2325_u64;
    for byte in bytes {
        state = (state ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    state = (state ^ (state >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    state = (state ^ (state >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    state ^ (state >> 33)
}
