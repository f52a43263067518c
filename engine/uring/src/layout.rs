//! Where a shard keeps its files.
//!
//! ```text
//! data directory/
//!   shard-0000/
//!     log/0000000000000001.log      a segment of the log, named by its number
//!     chunk-0000000000000001        sealed events
//!     checkpoint-0000000000000001   all sessions at one moment
//!     snapshot-0000000000000001     one group's sessions, taken over from another node
//!     *.tmp                         a file without a name yet; whoever finds one at start removes it
//! ```

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use model::ids::ShardId;
use shard::effect::{FileName, SegmentNumber};

/// Begins the name of a shard's directory.
pub const SHARD: &str = "shard-";
/// Ends the name of a file that is not durable yet.
const TEMPORARY: &str = ".tmp";
/// Ends the name of a segment.
const SEGMENT: &str = ".log";
/// Digits of a number in a file name: 64 bits in hexadecimal, so that names sort as numbers do.
const DIGITS: usize = 16;

/// The directory of one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardDir {
    path: PathBuf,
    log: PathBuf,
}

impl ShardDir {
    /// The directory of a shard below the data directory; makes nothing.
    pub fn new(data_dir: &Path, shard: ShardId) -> ShardDir {
        let path = data_dir.join(format!("{SHARD}{:04}", shard.0));
        let log = path.join("log");
        ShardDir { path, log }
    }

    /// Makes what is missing of the directory and makes its names durable.
    ///
    /// # Errors
    /// Those of making and syncing directories.
    pub fn create(&self) -> io::Result<()> {
        fs::create_dir_all(&self.log)?;
        sync_dir(&self.path)?;
        self.path.parent().map_or(Ok(()), sync_dir)
    }

    /// Where chunks and checkpoints are.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where segments are.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// A segment's file.
    pub fn segment(&self, number: SegmentNumber) -> PathBuf {
        self.log.join(format!("{:0DIGITS$x}{SEGMENT}", number.0))
    }

    /// A segment's file until it is durable.
    pub fn segment_temporary(&self, number: SegmentNumber) -> PathBuf {
        self.log.join(format!("{:0DIGITS$x}{SEGMENT}{TEMPORARY}", number.0))
    }

    /// A chunk's or checkpoint's file.
    pub fn file(&self, file: FileName) -> PathBuf {
        self.path.join(file_name(file))
    }

    /// A chunk's or checkpoint's file until it is published.
    pub fn file_temporary(&self, file: FileName) -> PathBuf {
        self.path.join(format!("{}{TEMPORARY}", file_name(file)))
    }
}

fn file_name(file: FileName) -> String {
    match file {
        FileName::Chunk(number) => format!("chunk-{number:0DIGITS$x}"),
        FileName::Checkpoint(number) => format!("checkpoint-{number:0DIGITS$x}"),
        FileName::Snapshot(number) => format!("snapshot-{number:0DIGITS$x}"),
    }
}

/// The file behind a name in a shard's directory, if it is one of a published file.
pub fn parse_file(name: &str) -> Option<FileName> {
    if let Some(digits) = name.strip_prefix("chunk-") {
        return parse_number(digits).map(FileName::Chunk);
    }
    if let Some(digits) = name.strip_prefix("snapshot-") {
        return parse_number(digits).map(FileName::Snapshot);
    }
    name.strip_prefix("checkpoint-").and_then(parse_number).map(FileName::Checkpoint)
}

/// The segment behind a name in a log directory, if it is one of a durable segment.
pub fn parse_segment(name: &str) -> Option<SegmentNumber> {
    name.strip_suffix(SEGMENT).and_then(parse_number).map(SegmentNumber)
}

/// Whether a name is one of a file that never became durable.
pub fn is_temporary(name: &str) -> bool {
    name.ends_with(TEMPORARY)
}

/// Exactly what `{:016x}` prints, so that no two names mean one file.
fn parse_number(digits: &str) -> Option<u64> {
    let plain = digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if digits.len() != DIGITS || !plain {
        return None;
    }
    u64::from_str_radix(digits, 16).ok()
}

/// Makes the names in a directory durable.
///
/// # Errors
/// Those of opening and syncing it.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
