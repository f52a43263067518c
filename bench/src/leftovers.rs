//! What must not outlive this program: servers it has started and directories it has made. Whoever
//! makes one says so here, so that an interrupted run leaves nothing behind either.

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

static LEFTOVERS: Mutex<Leftovers> = Mutex::new(Leftovers { servers: vec![], folders: vec![] });
/// What a shell reports for a program that was interrupted.
const STATUS_INTERRUPTED: i32 = 130;

/// What there is now.
#[derive(Debug)]
struct Leftovers {
    servers: Vec<Pid>,
    folders: Vec<PathBuf>,
}

fn leftovers() -> MutexGuard<'static, Leftovers> {
    // Whoever panicked with the lock held has left two lists that still say the truth.
    LEFTOVERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A server was started.
pub(crate) fn server_started(pid: Pid) {
    leftovers().servers.push(pid);
}

/// A server is about to be waited for: its id may soon be another's.
pub(crate) fn server_ends(pid: Pid) {
    leftovers().servers.retain(|known| *known != pid);
}

/// A directory was made.
pub(crate) fn folder_made(path: PathBuf) {
    leftovers().folders.push(path);
}

/// A directory is gone.
pub(crate) fn folder_gone(path: &PathBuf) {
    leftovers().folders.retain(|known| known != path);
}

/// On an interrupt or a request to end: kills the servers, removes the directories, ends.
///
/// # Errors
/// If the signals cannot be listened to.
pub(crate) fn remove_on_signals() -> Result<(), String> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(|error| error.to_string())?;
    thread::spawn(move || {
        if signals.forever().next().is_some() {
            remove();
            exit();
        }
    });
    Ok(())
}

/// Kills the servers, removes the directories.
fn remove() {
    let leftovers = leftovers();
    for pid in &leftovers.servers {
        // It may have ended by itself.
        let _gone = kill_process(*pid, Signal::KILL);
    }
    for path in &leftovers.folders {
        // What cannot be removed is left.
        let _left = fs::remove_dir_all(path);
    }
}

#[expect(clippy::exit, reason = "the scenario under way would go on")]
fn exit() -> ! {
    std::process::exit(STATUS_INTERRUPTED)
}
