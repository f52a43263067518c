//! A data directory: held by one process at a time, and made only where there is nothing yet.
//!
//! ```text
//! data directory/
//!   lock          held while a server runs; holds its process id, for people
//!   manifest      see the module of that name; durable only after all shards' directories
//!   shard-0000/   see `layout`
//! ```
//!
//! The manifest is written last. So where one is, every shard's directory must be, and a shard's
//! directory without a manifest is either empty, left by a start that was interrupted, or the
//! remains of something that must not be written over.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use model::cluster::NodeName;
use model::config::{NODE_NAME, NUM_GROUPS, SHARDS};
use model::error::Fatal;
use model::ids::{Placement, ShardId};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::layout::{self, ShardDir};
use crate::manifest::{Founding, Manifest, ManifestError};

const LOCK: &str = "lock";
const MANIFEST: &str = "manifest";
const MANIFEST_TEMPORARY: &str = "manifest.tmp";
/// What a file system puts into its root.
const LOST_AND_FOUND: &str = "lost+found";
/// A manifest with the most shards there can be is smaller.
const MANIFEST_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// A data directory that this process holds.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    manifest: Manifest,
    /// Locked as long as it is open.
    _lock: File,
}

/// What a data directory is wanted to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Its groups.
    pub groups: u32,
    /// Its shards; `None` if any number will do.
    pub shards: Option<u32>,
    /// The shards of a new one where any number will do; more than groups count as that many.
    pub shards_default: u32,
}

/// Why a data directory cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataDirError {
    end: Fatal,
    message: String,
}

impl DataDirError {
    /// The status to exit with.
    pub fn fatal(&self) -> Fatal {
        self.end
    }
}

impl fmt::Display for DataDirError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for DataDirError {}

impl DataDir {
    /// A random number that tells this life of the node from its others.
    ///
    /// # Errors
    /// If the operating system has none.
    pub fn draw_life() -> io::Result<u64> {
        random()
    }

    /// Takes hold of a node's directory, and makes it if there is nothing yet.
    ///
    /// # Errors
    /// If another process holds it, if it was made with other counts or for another node, if it cannot be explained, or
    /// if the operating system refuses.
    pub fn open(path: &Path, node: &NodeName, wanted: Wanted) -> Result<DataDir, DataDirError> {
        make_dirs(path).map_err(|error| refused("make", path, &error))?;
        let lock = lock(path)?;
        let manifest = match read_manifest(path)? {
            Some(manifest) => {
                compare(path, &manifest, wanted)?;
                belongs(path, &manifest, node)?;
                all_shards_exist(path, &manifest)?;
                manifest
            }
            None => {
                nothing_is_there(path)?;
                make(path, node, wanted).map_err(|error| refused("set up", path, &error))?
            }
        };
        Ok(DataDir { path: path.to_owned(), manifest, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Makes the directory part of a cluster, durably.
    ///
    /// # Errors
    /// If the operating system refuses; the directory may then be part of it or not.
    ///
    /// # Panics
    /// If it is part of one already, or the cluster has other groups.
    pub fn join(&mut self, founding: Founding) -> Result<(), DataDirError> {
        assert!(self.manifest.founding.is_none(), "a directory joins once");
        let joined = Manifest { founding: Some(founding), ..self.manifest.clone() };
        write_manifest(&self.path, &joined)
            .map_err(|error| refused("write the manifest of", &self.path, &error))?;
        self.manifest = joined;
        Ok(())
    }
}

/// Reads the manifest of a directory, which another process may hold; `None` if there is none.
///
/// # Errors
/// If it cannot be read or is not what was once written.
pub fn read_manifest(path: &Path) -> Result<Option<Manifest>, DataDirError> {
    let file = path.join(MANIFEST);
    let mut text = String::new();
    let read = File::open(&file).and_then(|f| f.take(MANIFEST_BYTES_MAX).read_to_string(&mut text));
    match read {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == ErrorKind::InvalidData => text.clear(),
        Err(error) => return Err(refused("read", &file, &error)),
    }
    Manifest::decode(&text).map(Some).map_err(|error| DataDirError {
        end: match error {
            ManifestError::Version(_) => Fatal::Configuration,
            ManifestError::Damaged(_) => Fatal::Corruption,
        },
        message: format!("{} cannot be used: {error}", file.display()),
    })
}

/// Makes a directory and those above it, each readable by its owner alone, and makes their names
/// durable.
fn make_dirs(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> =
        path.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists()).collect();
    for dir in missing.into_iter().rev() {
        match DirBuilder::new().mode(0o700).create(dir) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        match dir.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => layout::sync_dir(parent)?,
            Some(_) | None => layout::sync_dir(Path::new("."))?,
        }
    }
    Ok(())
}

fn lock(path: &Path) -> Result<File, DataDirError> {
    let place = path.join(LOCK);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(&place).map_err(|error| refused("open", &place, &error))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            // Only for people: who holds it may be writing it just now.
            let _ = file.take(32).read_to_string(&mut holder);
            let holder = if holder.is_empty() { "unknown" } else { holder.trim_end() };
            let message = format!("{} is held by process {holder}", path.display());
            return Err(DataDirError { end: Fatal::DataDirectoryInUse, message });
        }
        Err(error) => return Err(refused("lock", &place, &error.into())),
    }
    let noted = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    noted.map_err(|error| refused("write", &place, &error))?;
    Ok(file)
}

/// The counts are part of where everything lies.
fn compare(path: &Path, manifest: &Manifest, wanted: Wanted) -> Result<(), DataDirError> {
    let have = manifest.placement;
    let counts = [
        (NUM_GROUPS.name, "groups", have.groups(), wanted.groups),
        (SHARDS.name, "shards", have.shards(), wanted.shards.unwrap_or(have.shards())),
    ];
    for (name, what, have, wanted) in counts {
        if have != wanted {
            let path = path.display();
            let message =
                format!("{path} was made with {have} {what}, not {wanted}; set {name}={have}");
            return Err(DataDirError { end: Fatal::Configuration, message });
        }
    }
    Ok(())
}

/// Another node's name would make another member of what this one has promised.
fn belongs(path: &Path, manifest: &Manifest, node: &NodeName) -> Result<(), DataDirError> {
    if manifest.node == *node {
        return Ok(());
    }
    let (path, owner, name) = (path.display(), &manifest.node, NODE_NAME.name);
    let message = format!("{path} belongs to node {owner}, not {node}; set {name}={owner}");
    Err(DataDirError { end: Fatal::Configuration, message })
}

fn all_shards_exist(path: &Path, manifest: &Manifest) -> Result<(), DataDirError> {
    let missing = (0..manifest.placement.shards())
        .map(|shard| ShardDir::new(path, ShardId(shard)))
        .find(|dir| !dir.log().is_dir());
    match missing {
        None => Ok(()),
        Some(dir) => Err(corrupt(format!(
            "{} is missing, but the manifest beside it names it; restore it from a backup",
            dir.log().display()
        ))),
    }
}

/// Without a manifest there must be no data: making a new one beside it would be its end.
fn nothing_is_there(path: &Path) -> Result<(), DataDirError> {
    let entries = fs::read_dir(path).map_err(|error| refused("read", path, &error))?;
    for entry in entries {
        let entry = entry.map_err(|error| refused("read", path, &error))?;
        let name = entry.file_name();
        let known = [LOCK, MANIFEST_TEMPORARY, LOST_AND_FOUND];
        if known.iter().any(|known| name == *known) {
            continue;
        }
        if !name.to_string_lossy().starts_with(layout::SHARD) {
            let message = format!(
                "{} is no data directory and not empty: it holds {}; name another",
                path.display(),
                name.display()
            );
            return Err(DataDirError { end: Fatal::Configuration, message });
        }
        let empty = holds_no_file(&entry.path());
        if !empty.map_err(|error| refused("read", &entry.path(), &error))? {
            return Err(corrupt(format!(
                "{} holds data, but {} is missing; restore it from a backup",
                entry.path().display(),
                path.join(MANIFEST).display()
            )));
        }
    }
    Ok(())
}

fn holds_no_file(dir: &Path) -> io::Result<bool> {
    if !dir.is_dir() {
        return Ok(false);
    }
    for entry in fs::read_dir(dir)? {
        if !holds_no_file(&entry?.path())? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn make(path: &Path, node: &NodeName, wanted: Wanted) -> io::Result<Manifest> {
    let shards = wanted.shards.unwrap_or(wanted.shards_default.clamp(1, wanted.groups));
    let logs: io::Result<Vec<u64>> = (0..shards).map(|_| random()).collect();
    // A clock before 1970 is as good as one that says 1970.
    let made_at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let manifest = Manifest {
        node: node.clone(),
        incarnation: u32::try_from(random()? >> 32).expect("the upper half").max(1),
        made_at: u64::try_from(made_at.as_micros()).expect("five hundred thousand years"),
        placement: Placement::new(wanted.groups, shards),
        logs: logs?,
        founding: None,
    };
    for shard in 0..shards {
        ShardDir::new(path, ShardId(shard)).create()?;
    }
    write_manifest(path, &manifest)?;
    Ok(manifest)
}

/// Puts a manifest in the place of the one before, if there is one, durably and at once.
fn write_manifest(path: &Path, manifest: &Manifest) -> io::Result<()> {
    let temporary = path.join(MANIFEST_TEMPORARY);
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(manifest.encode().as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path.join(MANIFEST))?;
    layout::sync_dir(path)
}

/// Any number but zero, which stands for "none" to people.
fn random() -> io::Result<u64> {
    loop {
        let number = getrandom::u64().map_err(|error| io::Error::other(error.to_string()))?;
        if number != 0 {
            return Ok(number);
        }
    }
}

fn refused(deed: &str, path: &Path, error: &io::Error) -> DataDirError {
    let message = format!("cannot {deed} {}: {error}", path.display());
    DataDirError { end: Fatal::Failed, message }
}

fn corrupt(message: String) -> DataDirError {
    DataDirError { end: Fatal::Corruption, message }
}
