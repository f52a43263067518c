//! The files of a data directory, read.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use model::error::Fatal;
use model::ids::ShardId;
use model::limits::SEGMENT_BYTES;
use shard::checkpoint;
use shard::effect::{FileName, SegmentNumber};
use shard::wal::recover::recover;
use shard::wal::{LogIdentity, Record, Recovered, Recovery};
use uring::layout::{ShardDir, parse_file, parse_segment};
use uring::{Manifest, data_dir};

use super::Place;
use crate::failure::Failure;

/// A data directory, looked at.
#[derive(Debug)]
pub(super) struct Files {
    path: PathBuf,
    /// What it says of itself.
    pub(super) manifest: Manifest,
}

impl Files {
    /// Reads the manifest.
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn open(place: &Place) -> Result<Files, Failure> {
        let path = place.data_dir.clone();
        match data_dir::read_manifest(&path)? {
            Some(manifest) => Ok(Files { path, manifest }),
            None => Err(Failure::failed(format!(
                "{} is no data directory: no manifest",
                path.display()
            ))),
        }
    }

    /// The shards, or the one that is asked for.
    ///
    /// # Errors
    /// If there is no such shard.
    pub(super) fn shards(&self, only: Option<u32>) -> Result<Vec<ShardFiles>, Failure> {
        let shards = self.manifest.placement.shards();
        if let Some(shard) = only.filter(|shard| shards <= *shard) {
            return Err(Failure::failed(format!("there is no shard {shard}, only 0..{shards}")));
        }
        let wanted = (0..shards).filter(|shard| only.is_none_or(|only| only == *shard));
        Ok(wanted.map(|shard| self.shard(ShardId(shard))).collect())
    }

    /// One shard.
    pub(super) fn shard(&self, shard: ShardId) -> ShardFiles {
        ShardFiles {
            identity: self.manifest.identity(shard),
            dir: ShardDir::new(&self.path, shard),
        }
    }
}

/// The files of one shard.
#[derive(Debug)]
pub(super) struct ShardFiles {
    /// Whose they are.
    pub(super) identity: LogIdentity,
    dir: ShardDir,
}

/// Segments by number.
pub(super) type Images = BTreeMap<SegmentNumber, Vec<u8>>;

impl ShardFiles {
    /// Reads every segment of the log.
    ///
    /// # Errors
    /// Which file cannot be read.
    pub(super) fn segments(&self) -> Result<Images, Failure> {
        let numbers = list(self.dir.log(), parse_segment)?;
        numbers.into_iter().map(|number| Ok((number, read(&self.dir.segment(number))?))).collect()
    }

    /// Checkpoints by number, with their bytes.
    ///
    /// # Errors
    /// Which file cannot be read.
    pub(super) fn checkpoints(&self) -> Result<BTreeMap<u64, Vec<u8>>, Failure> {
        let names = list(self.dir.path(), parse_file)?;
        let numbers = names.into_iter().filter_map(|name| match name {
            FileName::Checkpoint(number) => Some(number),
            FileName::Chunk(_) | FileName::Snapshot(_) => None,
        });
        let read = |number| Ok((number, read(&self.dir.file(FileName::Checkpoint(number)))?));
        numbers.map(read).collect()
    }

    /// The numbers of the chunks that are there, ascending.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub(super) fn chunks(&self) -> Result<Vec<u64>, Failure> {
        let names = list(self.dir.path(), parse_file)?;
        let mut numbers: Vec<u64> = names
            .into_iter()
            .filter_map(|name| match name {
                FileName::Chunk(number) => Some(number),
                FileName::Checkpoint(_) | FileName::Snapshot(_) => None,
            })
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Recovers the log as a start would, but changes nothing.
    ///
    /// # Errors
    /// Why the log cannot be explained.
    pub(super) fn recover(
        &self,
        images: &Images,
        sink: &mut impl FnMut(&Record<'_>),
    ) -> Result<Recovered, Failure> {
        let newest = self.checkpoints()?.pop_last();
        let floor = match newest {
            None => None,
            Some((number, bytes)) => {
                let opened = checkpoint::Reader::open(&bytes, self.identity);
                let (head, _) = opened.map_err(|what| self.damaged(number, &what))?;
                Some(head.floor)
            }
        };
        let recovery = Recovery::new(self.identity, SEGMENT_BYTES, floor);
        recover(recovery, images, sink).map_err(|corruption| corrupt(&corruption))
    }

    /// That a checkpoint is damaged.
    pub(super) fn damaged(&self, number: u64, what: &str) -> Failure {
        let path = self.dir.file(FileName::Checkpoint(number));
        corrupt(&format!("{}: {what}", path.display()))
    }
}

fn corrupt(what: &impl std::fmt::Display) -> Failure {
    Failure::new(Fatal::Corruption, what)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| unreadable(path, &error))
}

fn list<N>(dir: &Path, parse: impl Fn(&str) -> Option<N>) -> Result<Vec<N>, Failure> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(|error| unreadable(dir, &error))? {
        let name = entry.map_err(|error| unreadable(dir, &error))?.file_name();
        names.extend(name.to_str().and_then(&parse));
    }
    Ok(names)
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::failed(format!("cannot read {}: {error}", path.display()))
}
