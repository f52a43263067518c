//! What operators want, kept beside the data: a node that starts with an old configuration knows at once
//! whom to call and what it is to do. The log of their words stays the authority; this is a copy, which
//! may be behind, and may be lost.
//!
//! ```text
//! starcite intent 1
//! {"seq":3,"draining":{"b":2},...}
//! crc32 1b2c3d4e
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use model::intent::Intent;

use crate::layout;

const FILE: &str = "intent";
const FILE_TEMPORARY: &str = "intent.tmp";
const TITLE: &str = "starcite intent 1\n";
/// More than operators say of all groups there can be.
const BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Keeps what is wanted, on a thread of its own: a core must not wait for a disk. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Keeper(Arc<Shelf>);

#[derive(Debug)]
struct Shelf {
    /// What is not kept yet; the newest alone counts.
    next: Mutex<Option<Intent>>,
    /// Wakes the thread, which ends when this is gone.
    bell: SyncSender<()>,
}

impl Keeper {
    /// Keeps beside the data of this directory.
    ///
    /// # Errors
    /// If there can be no further thread.
    pub fn start(data_dir: &Path) -> io::Result<Keeper> {
        let (bell, rung) = sync_channel(1);
        let shelf = Arc::new(Shelf { next: Mutex::default(), bell });
        let (data_dir, weak) = (data_dir.to_owned(), Arc::downgrade(&shelf));
        let work = move || {
            while rung.recv().is_ok() {
                let Some(shelf) = weak.upgrade() else { return };
                let next = shelf.next.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(intent) = next
                    && let Err(error) = keep_intent(&data_dir, &intent)
                {
                    tracing::warn!(%error, "what operators want cannot be kept");
                }
            }
        };
        thread::Builder::new().name("keeper".to_owned()).spawn(work)?;
        Ok(Keeper(shelf))
    }

    /// Has it kept soon. Blocks for nothing.
    pub fn keep(&self, intent: &Intent) {
        *self.0.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(intent.clone());
        match self.0.bell.try_send(()) {
            Ok(()) | Err(TrySendError::Full(())) => {}
            Err(TrySendError::Disconnected(())) => tracing::warn!("nobody keeps what is wanted"),
        }
    }
}

/// Puts what is wanted now in the place of what was, durably. Blocks.
///
/// # Errors
/// If the operating system refuses; what was there before still is.
pub(crate) fn keep_intent(data_dir: &Path, intent: &Intent) -> io::Result<()> {
    let mut text = format!("{TITLE}{}\n", intent.encode());
    text.push_str(&format!("crc32 {:08x}\n", crc32fast::hash(text.as_bytes())));
    let temporary = data_dir.join(FILE_TEMPORARY);
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, data_dir.join(FILE))?;
    layout::sync_dir(data_dir)
}

/// What was wanted when that was kept last; nothing if it never was.
///
/// # Errors
/// Why what is there cannot be used, for the log: others tell the node what it says.
pub fn kept_intent(data_dir: &Path) -> Result<Intent, String> {
    let (path, mut text) = (data_dir.join(FILE), String::new());
    let read = File::open(&path).and_then(|file| file.take(BYTES_MAX).read_to_string(&mut text));
    match read {
        Ok(_) => decode(&text).ok_or_else(|| format!("{} is damaged", path.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Intent::default()),
        Err(error) => Err(format!("cannot read {}: {error}", path.display())),
    }
}

fn decode(text: &str) -> Option<Intent> {
    let (sealed, checksum) = text.strip_suffix('\n')?.split_once("\ncrc32 ")?;
    let line = sealed.strip_prefix(TITLE)?;
    let hash = crc32fast::hash(format!("{sealed}\n").as_bytes());
    (format!("{hash:08x}") == checksum).then(|| Intent::decode(line))?
}
