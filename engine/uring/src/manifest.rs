//! What a data directory says of itself: text, so that an operator can read it, with a checksum, so
//! that nobody edits it. This file does no IO.
//!
//! ```text
//! starcite data directory 1
//! cluster 3c1fbb0f86d5b1d4
//! node 9a0a33d7a9cbd83e
//! groups 256
//! shards 2
//! log 0 5d29b1c2f0b3a7e1
//! log 1 e0a48c7b6d5f3921
//! crc32 1b2c3d4e
//! ```

use std::fmt;

use model::ids::{Placement, ShardId};
use model::limits::GROUPS_MAX;
use shard::wal::LogIdentity;

const TITLE: &str = "starcite data directory";
/// The layout of the directory and of this text.
const VERSION: u32 = 1;

/// What a data directory says of itself. Written once, when the directory is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// A random number that all nodes of a cluster share.
    pub cluster: u64,
    /// A random number that names this node.
    pub node: u64,
    /// How sessions map to groups and shards.
    pub placement: Placement,
    /// A random number per shard. No client learns it, so no payload can pass for a part of a log.
    pub logs: Vec<u64>,
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

    /// The text.
    ///
    /// # Panics
    /// If there is not one log per shard.
    pub fn encode(&self) -> String {
        assert!(self.logs.len() == self.placement.shards() as usize, "one log per shard");
        let mut text = format!(
            "{TITLE} {VERSION}\ncluster {:016x}\nnode {:016x}\ngroups {}\nshards {}\n",
            self.cluster,
            self.node,
            self.placement.groups(),
            self.placement.shards()
        );
        for (shard, log) in self.logs.iter().enumerate() {
            text.push_str(&format!("log {shard} {log:016x}\n"));
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
    let mut lines = text.lines().skip(1);
    let cluster = number(&mut lines, "cluster ", 16)?;
    let node = number(&mut lines, "node ", 16)?;
    let groups = u32::try_from(number(&mut lines, "groups ", 10)?).ok()?;
    let shards = u32::try_from(number(&mut lines, "shards ", 10)?).ok()?;
    if !(1..=groups).contains(&shards) || GROUPS_MAX < groups {
        return None;
    }
    let logs: Option<Vec<u64>> =
        (0..shards).map(|shard| number(&mut lines, &format!("log {shard} "), 16)).collect();
    Some(Manifest { cluster, node, placement: Placement::new(groups, shards), logs: logs? })
}

fn number<'a>(lines: &mut impl Iterator<Item = &'a str>, name: &str, radix: u32) -> Option<u64> {
    u64::from_str_radix(lines.next()?.strip_prefix(name)?, radix).ok()
}
