//! The way back from files to a shard, by the shipped code, and what it read on the way.

use model::limits::BLOCK_BYTES;
use shard::chunk;
use shard::effect::{FileName, SegmentNumber};
use shard::opening::Opening;
use shard::shard::{Options, Shard};
use shard::wal::{LogIdentity, Record, Recovered, Recovery};

use crate::enumerate::ledger::Rec;
use crate::enumerate::store::Files;

/// A shard, and what it was made of.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The shard.
    pub(crate) shard: Shard,
    /// The first batch of the log that was read.
    pub(crate) first: u64,
    /// The batch behind the last one.
    pub(crate) next: u64,
    /// The records in between.
    pub(crate) records: Vec<Rec>,
    /// Whether a torn batch was cut off.
    pub(crate) cut: bool,
    /// The segments that were removed, in that order.
    pub(crate) removed: Vec<SegmentNumber>,
}

/// Opens a shard, and removes what it does not need.
///
/// # Errors
/// What cannot be explained.
pub(crate) fn open(options: Options, files: &mut Files) -> Result<Opened, String> {
    let mut opening = Opening::new(options.clone());
    load_checkpoint(&mut opening, &options, files)?;
    let first = opening.floor().map_or(1, |floor| floor.batch.0);
    let mut records = Vec::new();
    let recovered = load_log(&mut opening, &options, (files, &mut records))?;
    for file in opening.snapshots() {
        let bytes = files.named.get(&FileName::Snapshot(file)).ok_or("a snapshot is missing")?;
        for number in opening.snapshot(file, bytes)? {
            open_chunk(files, options.identity(), number)?;
        }
    }
    let all: Vec<FileName> = files.named.keys().copied().collect();
    let removable = opening.removable(&all);
    files.clean(&recovered.remove, |name| !removable.contains(name));
    let (next, cut) = (recovered.next.batch.0, recovered.cut.is_some());
    let removed = recovered.remove.clone();
    let shard = opening.finish(recovered, files.named.keys().copied().collect());
    Ok(Opened { shard, first, next, records, cut, removed })
}

fn load_checkpoint(opening: &mut Opening, options: &Options, files: &Files) -> Result<(), String> {
    let names = files.named.keys().filter(|name| matches!(name, FileName::Checkpoint(_)));
    let Some(newest) = names.max().copied() else { return Ok(()) };
    let newest_chunk = opening.checkpoint(&files.named[&newest])?.newest_chunk;
    for number in opening.chunks().clone() {
        let directory = open_chunk(files, options.identity(), number)?;
        if newest_chunk == Some(number) {
            opening.newest_chunk(&directory)?;
        }
    }
    Ok(())
}

fn load_log(
    opening: &mut Opening,
    options: &Options,
    (files, records): (&Files, &mut Vec<Rec>),
) -> Result<Recovered, String> {
    let mut recovery = Recovery::new(options.identity(), options.segment_bytes, opening.floor());
    for (number, bytes) in &files.segments {
        recovery.peek(*number, &bytes[..BLOCK_BYTES.min(bytes.len())]);
    }
    let mut refused = None;
    for (number, bytes) in &files.segments {
        let mut sink = |record: &Record<'_>| {
            records.push(Rec::of(record));
            if let Err(what) = opening.record(record) {
                refused.get_or_insert(what);
            }
        };
        let read = recovery.segment(*number, bytes, &mut sink);
        read.map_err(|corruption| corruption.to_string())?;
    }
    match refused {
        Some(what) => Err(what),
        None => recovery.finish().map_err(|corruption| corruption.to_string()),
    }
}

fn open_chunk(
    files: &Files,
    identity: LogIdentity,
    number: u64,
) -> Result<Vec<chunk::Entry>, String> {
    let bytes = files.named.get(&FileName::Chunk(number)).ok_or("a chunk is missing")?;
    read_chunk(bytes, identity, number)
}

/// Looks at both ends of a chunk and reads its directory.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn read_chunk(
    bytes: &[u8],
    identity: LogIdentity,
    number: u64,
) -> Result<Vec<chunk::Entry>, String> {
    let head = bytes.get(..BLOCK_BYTES).ok_or("a chunk is cut short")?;
    chunk::read_header(head, identity, number)?;
    let trailer = chunk::read_trailer(&bytes[bytes.len() - chunk::TRAILER_BYTES..])?;
    let begin = usize::try_from(trailer.offset).map_err(|error| error.to_string())?;
    let count = usize::try_from(trailer.bytes).map_err(|error| error.to_string())?;
    let end = begin.checked_add(count).ok_or("a chunk is cut short")?;
    let directory = bytes.get(begin..end).ok_or("a chunk is cut short")?;
    Ok(chunk::read_directory(directory, trailer, number)?)
}
