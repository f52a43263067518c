//! What a data directory says of itself: text, so that an operator can read it, with a checksum, so
//! that nobody edits it. This file does no IO.
//!
//! ```text
//! starcite data directory 2
//! node a
//! incarnation 9a0a33d7
//! made-at 1763712000000000
//! groups 256
//! shards 2
//! log 0 5d29b1c2f0b3a7e1
//! log 1 e0a48c7b6d5f3921
//! cluster 3c1fbb0f86d5b1d4
//! factor 3
//! founder 5cdd8a0c9a0a33d7
//! crc32 1b2c3d4e
//! ```
//!
//! Factor and founders come with the cluster, and are missing as long as the directory belongs to
//! none, which is then `none`.

use std::collections::BTreeSet;
use std::fmt;
use std::iter::Peekable;

use model::cluster::{MemberId, NameTag, NodeName};
use model::ids::{Placement, ShardId};
use model::limits::GROUPS_MAX;
use shard::wal::LogIdentity;

const TITLE: &str = "starcite data directory";
/// Stands for a cluster while there is none.
const UNFOUNDED: &str = "cluster none";
/// The layout of the directory and of this text.
const VERSION: u32 = 2;
/// Most members a cluster is founded with.
pub const FOUNDERS_MAX: usize = 64;

/// How a cluster began: the same on every node, and never changed. A group's first members are those
/// of `members` that its placement names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Founding {
    /// A random number that all nodes of the cluster share; not 0.
    pub cluster: u64,
    /// The cluster's groups.
    pub groups: u32,
    /// Members of each group; at most as many as there are.
    pub factor: u32,
    /// The nodes that held data then, in ascending order, each once; never empty.
    pub members: Vec<MemberId>,
}

impl Founding {
    /// Whether a cluster can have begun so.
    pub fn is_sound(&self) -> bool {
        let tags: BTreeSet<NameTag> = self.members.iter().map(|member| member.tag()).collect();
        let factor = usize::try_from(self.factor).expect("a number of 32 bits");
        self.cluster != 0
            && (1..=GROUPS_MAX).contains(&self.groups)
            && (1..=self.members.len()).contains(&factor)
            && self.members.len() <= FOUNDERS_MAX
            && self.members.is_sorted()
            && tags.len() == self.members.len()
    }
}

/// What a data directory says of itself. Written when the directory is made, and once more when it
/// becomes part of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The node it belongs to.
    pub node: NodeName,
    /// A random number that tells this directory from others of the same node; not 0.
    pub incarnation: u32,
    /// When it was made, in wall-clock microseconds.
    pub made_at: u64,
    /// How sessions map to groups and shards.
    pub placement: Placement,
    /// A random number per shard. No client learns it, so no payload can pass for a part of a log.
    pub logs: Vec<u64>,
    /// The cluster it belongs to; `None` until it does.
    pub founding: Option<Founding>,
}

/// Why a text is no manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManifestError {
    /// Another version of the program wrote it.
    Version(String),
    /// It is not what was once written.
    Damaged(&'static str),
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ManifestError::Version(version) if version == "1" => write!(
                f,
                "it has version 1, of programs that were never released and worked alone; this \
                 program knows version {VERSION}"
            ),
            ManifestError::Version(version) => {
                write!(f, "it has version {version}; this program knows version {VERSION}")
            }
            ManifestError::Damaged(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for ManifestError {}

impl Manifest {
    /// Whose log a shard's is.
    ///
    /// # Panics
    /// If there is no such shard.
    pub fn identity(&self, shard: ShardId) -> LogIdentity {
        LogIdentity { log_id: self.logs[shard.0 as usize], shard }
    }

    /// This directory as a member of groups.
    pub fn member(&self) -> MemberId {
        MemberId::new(self.node.tag(), self.incarnation)
    }

    /// The text.
    ///
    /// # Panics
    /// If there is not one log per shard, or the founding is not sound.
    pub fn encode(&self) -> String {
        assert!(self.logs.len() == self.placement.shards() as usize, "one log per shard");
        let mut text = format!(
            "{TITLE} {VERSION}\nnode {}\nincarnation {:08x}\nmade-at {}\ngroups {}\nshards {}\n",
            self.node,
            self.incarnation,
            self.made_at,
            self.placement.groups(),
            self.placement.shards()
        );
        for (shard, log) in self.logs.iter().enumerate() {
            text.push_str(&format!("log {shard} {log:016x}\n"));
        }
        match &self.founding {
            Some(founding) => {
                assert!(founding.is_sound(), "a cluster that can have begun so");
                assert!(founding.groups == self.placement.groups(), "the cluster's groups");
                let Founding { cluster, factor, members, .. } = founding;
                text.push_str(&format!("cluster {cluster:016x}\nfactor {factor}\n"));
                members.iter().for_each(|member| text.push_str(&format!("founder {member}\n")));
            }
            None => text.push_str(&format!("{UNFOUNDED}\n")),
        }
        let checksum = crc32fast::hash(text.as_bytes());
        text.push_str(&format!("crc32 {checksum:08x}\n"));
        text
    }

    /// Reads the text.
    ///
    /// # Errors
    /// See [`ManifestError`].
    pub fn decode(text: &str) -> Result<Manifest, ManifestError> {
        let title = text.lines().next().and_then(|line| line.strip_prefix(TITLE));
        let version = title.ok_or(ManifestError::Damaged("it does not begin as one"))?.trim();
        if version != VERSION.to_string() {
            return Err(ManifestError::Version(version.to_owned()));
        }
        let manifest = fields(text).ok_or(ManifestError::Damaged("a line is missing or odd"))?;
        // What is read must be all that is there, checksum included, to the byte.
        if manifest.encode() != text {
            return Err(ManifestError::Damaged("its checksum does not match"));
        }
        Ok(manifest)
    }
}

fn fields(text: &str) -> Option<Manifest> {
    let mut lines = text.lines().skip(1).peekable();
    let node = NodeName::new(lines.next()?.strip_prefix("node ")?)?;
    let incarnation = u32::try_from(number(&mut lines, "incarnation ", 16)?).ok()?;
    let made_at = number(&mut lines, "made-at ", 10)?;
    let groups = u32::try_from(number(&mut lines, "groups ", 10)?).ok()?;
    let shards = u32::try_from(number(&mut lines, "shards ", 10)?).ok()?;
    if !(1..=groups).contains(&shards) || GROUPS_MAX < groups {
        return None;
    }
    let logs: Option<Vec<u64>> =
        (0..shards).map(|shard| number(&mut lines, &format!("log {shard} "), 16)).collect();
    let founding = match lines.next_if(|line| *line == UNFOUNDED) {
        Some(_) => None,
        None => Some(founding(&mut lines, groups)?),
    };
    let placement = Placement::new(groups, shards);
    Some(Manifest { node, incarnation, made_at, placement, logs: logs?, founding })
}

fn founding<'a>(
    lines: &mut Peekable<impl Iterator<Item = &'a str>>,
    groups: u32,
) -> Option<Founding> {
    let cluster = number(lines, "cluster ", 16)?;
    let factor = u32::try_from(number(lines, "factor ", 10)?).ok()?;
    let mut members = Vec::new();
    while lines.peek()?.starts_with("founder ") && members.len() < FOUNDERS_MAX {
        members.push(MemberId(number(lines, "founder ", 16)?));
    }
    let founding = Founding { cluster, groups, factor, members };
    founding.is_sound().then_some(founding)
}

fn number<'a>(lines: &mut impl Iterator<Item = &'a str>, name: &str, radix: u32) -> Option<u64> {
    u64::from_str_radix(lines.next()?.strip_prefix(name)?, radix).ok()
}
