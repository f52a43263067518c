//! Whether a port is free. Every core listens at the same address, and the kernel would let another
//! server of the same user join in: clients would then speak to one or the other by chance.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};

use crate::failure::Failure;

/// The state of a listening socket in the kernel's tables.
const LISTEN: &str = "0A";

/// Checks that nobody listens at an address.
///
/// # Errors
/// If somebody does, or this process may not.
pub(crate) fn is_free(address: SocketAddr) -> Result<(), Failure> {
    let Err(error) = TcpListener::bind(address) else { return Ok(()) };
    // Connections that a server before us closed keep the address for a minute; they harm nobody.
    if error.kind() == ErrorKind::AddrInUse && only_remains(address.port()).unwrap_or(false) {
        return Ok(());
    }
    Err(Failure::failed(format!("cannot listen on {address}: {error}")))
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
