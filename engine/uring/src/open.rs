//! Reads a shard's files before its core serves: checkpoint, newest chunk's directory, log. Blocking
//! IO on a plain thread; nothing here decides what the bytes mean.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use model::error::Fatal;
use model::limits::{BLOCK_BYTES, EVENT_STORE_BYTES_PER_SHARD_MIN};
use shard::chunk;
use shard::effect::FileName;
use shard::opening::Opening;
use shard::shard::{Options, Shard};
use shard::wal::{Record, Recovered, Recovery};

use crate::layout::{self, ShardDir};

/// Why a shard cannot be opened: a line for the operator, and how the process ends.
#[derive(Debug)]
pub struct OpenError {
    /// The exit status.
    pub fatal: Fatal,
    /// Which file, and what is wrong with it.
    pub text: String,
}

/// What opening a shard found, for the log.
#[derive(Debug, Clone, Copy, Default)]
pub struct Found {
    /// Segments read.
    pub segments: usize,
    /// Records that were handed to the shard.
    pub records: u64,
    /// Where a batch that was never acknowledged was cut off: segment and byte.
    pub cut: Option<(u64, usize)>,
}

/// Opens a shard from its directory, making an empty one if `fresh` says that this is its first
/// start.
///
/// # Errors
/// Files that cannot be read, are missing, or cannot be explained.
pub fn open(data_dir: &Path, options: Options, fresh: bool) -> Result<(Shard, Found), OpenError> {
    let hot_bytes_max = options.hot_bytes_max.max(EVENT_STORE_BYTES_PER_SHARD_MIN);
    let options = Options { hot_bytes_max, ..options };
    let dir = ShardDir::new(data_dir, options.shard);
    if fresh {
        dir.create().map_err(|error| failed(dir.path(), &error))?;
    } else if !dir.log().is_dir() {
        let text = format!(
            "{} is missing, though the data directory was in use: restore it from a backup; \
             starting without it would forget acknowledged events",
            dir.log().display()
        );
        return Err(OpenError { fatal: Fatal::Corruption, text });
    }
    let mut opening = Opening::new(options.clone());
    let (mut files, mut leftovers) = list(dir.path(), layout::parse_file)?;
    let newest = newest_checkpoint(&files);
    if let Some(number) = newest {
        load_checkpoint(&dir, number, &mut opening, &options)?;
    }
    let (recovered, found) = load_log(&dir, &mut opening, &options)?;
    load_snapshots(&dir, &mut opening, &options)?;
    let removable = opening.removable(&files);
    files.retain(|name| !removable.contains(name));
    leftovers.extend(removable.iter().map(|name| dir.file(*name)));
    clean(&dir, &recovered, &leftovers)?;
    Ok((opening.finish(recovered, files), found))
}

fn newest_checkpoint(files: &[FileName]) -> Option<u64> {
    let numbers = files.iter().filter_map(|name| match name {
        FileName::Checkpoint(number) => Some(*number),
        FileName::Chunk(_) | FileName::Snapshot(_) => None,
    });
    numbers.max()
}

fn load_checkpoint(
    dir: &ShardDir,
    number: u64,
    opening: &mut Opening,
    options: &Options,
) -> Result<(), OpenError> {
    let path = dir.file(FileName::Checkpoint(number));
    let bytes = fs::read(&path).map_err(|error| failed(&path, &error))?;
    let head = opening.checkpoint(&bytes).map_err(|what| corrupt(&path, &what))?;
    let newest_chunk = head.newest_chunk;
    for chunk in opening.chunks().iter().copied().collect::<Vec<_>>() {
        let path = dir.file(FileName::Chunk(chunk));
        let (file, trailer) = open_chunk(&path, chunk, options)?;
        if newest_chunk != Some(chunk) {
            continue;
        }
        let count = usize::try_from(trailer.bytes).map_err(|_| corrupt(&path, "too long"))?;
        let mut directory = vec![0; count];
        file.read_exact_at(&mut directory, trailer.offset)
            .map_err(|error| failed(&path, &error))?;
        let entries = chunk::read_directory(&directory, trailer, chunk);
        let entries = entries.map_err(|what| corrupt(&path, what))?;
        opening.newest_chunk(&entries).map_err(|what| corrupt(&path, &what))?;
    }
    Ok(())
}

/// Loads the snapshots of other nodes that the log says were taken over.
fn load_snapshots(
    dir: &ShardDir,
    opening: &mut Opening,
    options: &Options,
) -> Result<(), OpenError> {
    for number in opening.snapshots() {
        let path = dir.file(FileName::Snapshot(number));
        let bytes = fs::read(&path).map_err(|error| failed(&path, &error))?;
        let chunks = opening.snapshot(number, &bytes).map_err(|what| corrupt(&path, &what))?;
        for chunk in chunks {
            open_chunk(&dir.file(FileName::Chunk(chunk)), chunk, options)?;
        }
    }
    Ok(())
}

/// Looks at both ends of a chunk: a file that is missing, cut short or another's is noticed at
/// start, not when somebody wants to read from it.
fn open_chunk(
    path: &Path,
    number: u64,
    options: &Options,
) -> Result<(File, chunk::Trailer), OpenError> {
    let read = || -> io::Result<(File, Vec<u8>, [u8; chunk::TRAILER_BYTES], u64)> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut head = vec![0; BLOCK_BYTES];
        file.read_exact_at(&mut head, 0)?;
        let mut tail = [0; chunk::TRAILER_BYTES];
        file.read_exact_at(&mut tail, length.saturating_sub(chunk::TRAILER_BYTES as u64))?;
        Ok((file, head, tail, length))
    };
    let (file, head, tail, length) = read().map_err(|error| failed(path, &error))?;
    chunk::read_header(&head, options.identity(), number).map_err(|what| corrupt(path, what))?;
    let trailer = chunk::read_trailer(&tail).map_err(|what| corrupt(path, what))?;
    if length < trailer.offset.saturating_add(trailer.bytes) {
        return Err(corrupt(path, "the directory lies beyond the end of the file"));
    }
    Ok((file, trailer))
}

fn load_log(
    dir: &ShardDir,
    opening: &mut Opening,
    options: &Options,
) -> Result<(Recovered, Found), OpenError> {
    let (mut numbers, leftovers) = list(dir.log(), layout::parse_segment)?;
    numbers.sort_unstable();
    remove(dir.log(), &leftovers)?;
    let mut recovery = Recovery::new(options.identity(), options.segment_bytes, opening.floor());
    for number in &numbers {
        let path = dir.segment(*number);
        recovery.peek(*number, &first_block(&path).map_err(|error| failed(&path, &error))?);
    }
    let mut found = Found::default();
    let mut refused = None;
    for number in numbers {
        let path = dir.segment(number);
        let image = fs::read(&path).map_err(|error| failed(&path, &error))?;
        let mut sink = |record: &Record<'_>| {
            found.records += 1;
            if let Err(what) = opening.record(record) {
                refused.get_or_insert(what);
            }
        };
        let corruption = recovery.segment(number, &image, &mut sink).err();
        if let Some(corruption) = corruption {
            return Err(corrupt(&dir.segment(corruption.segment), &corruption.to_string()));
        }
        if let Some(what) = refused.take() {
            return Err(corrupt(&path, &what));
        }
        found.segments += 1;
        // What a killed process wrote last was read, but may not be on the platter yet.
        let synced = File::open(&path).and_then(|file| file.sync_data());
        synced.map_err(|error| failed(&path, &error))?;
    }
    let recovered = recovery
        .finish()
        .map_err(|corruption| corrupt(&dir.segment(corruption.segment), &corruption.to_string()))?;
    found.cut = recovered.cut.map(|place| (place.segment.0, place.offset));
    Ok((recovered, found))
}

fn first_block(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len().min(BLOCK_BYTES as u64);
    let mut block = vec![0; usize::try_from(length).expect("a block")];
    file.read_exact_at(&mut block, 0)?;
    Ok(block)
}

/// Removes segments that recovery does not need, in its order, each durably before the next: their
/// numbers must never have a hole. Then the other files.
fn clean(dir: &ShardDir, recovered: &Recovered, files: &[PathBuf]) -> Result<(), OpenError> {
    for number in &recovered.remove {
        remove(dir.log(), &[dir.segment(*number)])?;
    }
    remove(dir.path(), files)
}

fn remove(dir: &Path, paths: &[PathBuf]) -> Result<(), OpenError> {
    for path in paths {
        fs::remove_file(path).map_err(|error| failed(path, &error))?;
    }
    if paths.is_empty() {
        return Ok(());
    }
    layout::sync_dir(dir).map_err(|error| failed(dir, &error))
}

/// The named files of a directory, and the paths of files that never got their name. Anything else
/// is left alone: it is not ours.
fn list<N>(
    dir: &Path,
    parse: impl Fn(&str) -> Option<N>,
) -> Result<(Vec<N>, Vec<PathBuf>), OpenError> {
    let entries = fs::read_dir(dir).map_err(|error| failed(dir, &error))?;
    let (mut named, mut temporary) = (Vec::new(), Vec::new());
    for entry in entries {
        let entry = entry.map_err(|error| failed(dir, &error))?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        named.extend(parse(name));
        if layout::is_temporary(name) {
            temporary.push(entry.path());
        }
    }
    Ok((named, temporary))
}

fn failed(path: &Path, error: &io::Error) -> OpenError {
    let text = format!("{}: {error}", path.display());
    let fatal = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof => Fatal::Corruption,
        _ => Fatal::Machine,
    };
    OpenError { fatal, text }
}

fn corrupt(path: &Path, what: &str) -> OpenError {
    OpenError { fatal: Fatal::Corruption, text: format!("{}: {what}", path.display()) }
}
