//! Whether a port is free. Every core listens at the same address, and the kernel would let another
//! server of the same user join in: clients would then speak to one or the other by chance.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use crate::failure::Failure;

/// How long the listeners of a server that was killed may take to go.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between looks.
const LOOK: Duration = Duration::from_millis(20);
/// The state of a listening socket in the kernel's tables.
const LISTEN: &str = "0A";

/// Waits until nobody listens at an address. A killed server's listeners go a moment after its
/// process has: the kernel takes its rings down in the background.
///
/// # Errors
/// If somebody still does after [`PATIENCE`], or this process may not.
pub(crate) fn await_free(address: SocketAddr) -> Result<(), Failure> {
    let start = Instant::now();
    let mut told = false;
    loop {
        let Err(error) = TcpListener::bind(address) else { return Ok(()) };
        let in_use = error.kind() == ErrorKind::AddrInUse;
        // Connections that a server before us closed keep the address for a minute and harm nobody.
        if in_use && only_remains(address.port()).unwrap_or(false) {
            return Ok(());
        }
        if !in_use || PATIENCE < start.elapsed() {
            return Err(Failure::failed(format!("cannot listen on {address}: {error}")));
        }
        if !told {
            tracing::info!(%address, "somebody listens there; waiting for it to go");
            told = true;
        }
        thread::sleep(LOOK);
    }
}

fn only_remains(port: u16) -> io::Result<bool> {
    let mut listens = listens_in(&fs::read_to_string("/proc/net/tcp")?, port);
    match fs::read_to_string("/proc/net/tcp6") {
        Ok(table) => listens |= listens_in(&table, port),
        // A kernel without IPv6.
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(!listens)
}

/// Whether a table of the kernel's sockets has one that listens at a port.
pub(crate) fn listens_in(table: &str, port: u16) -> bool {
    let port = format!(":{port:04X}");
    table.lines().any(|line| {
        let mut columns = line.split_ascii_whitespace().skip(1);
        let local = columns.next();
        let state = columns.nth(1);
        local.is_some_and(|local| local.ends_with(&port)) && state == Some(LISTEN)
    })
}
