//! The server under test: started here on a free port, or already running elsewhere.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use model::config;
use rustix::process::{Pid, Signal, kill_process};

use crate::client::{self, Garbage};
use crate::cpu;
use crate::leftovers;

/// Longest wait for a server to become ready: a million sessions and a full log are read back.
const READY_TIMEOUT: Duration = Duration::from_secs(120);
/// Longest wait for a reply to a single request.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);
/// Time between looks at a server that is starting; what a measured start may be too long by.
const READY_POLL: Duration = Duration::from_millis(1);
/// Longest wait for a server that was asked to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// The name of the server's program.
const PROGRAM: &str = "starcite";

/// The server's program: `given`, or the one that lies beside this program.
///
/// # Errors
/// If it is not there.
pub(crate) fn program(given: Option<&Path>) -> Result<PathBuf, String> {
    let path = match given {
        Some(path) => path.to_owned(),
        None => {
            let own = std::env::current_exe().map_err(|error| error.to_string())?;
            own.with_file_name(PROGRAM)
        }
    };
    if path.is_file() {
        return Ok(path);
    }
    Err(format!(
        "there is no {}: build the server, or name it with --server, or a running one with --url",
        path.display()
    ))
}

/// A server process. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
    /// From exec to the first positive answer of `/health/ready`.
    start_time: Duration,
}

impl Server {
    /// Starts the server on a free port with its data in `dir`, and waits until it is ready.
    ///
    /// # Errors
    /// If it does not become ready, with the last lines it wrote.
    pub(crate) fn start(program: &Path, dir: &Path) -> Result<Server, String> {
        let address = free_address()?;
        let log_path = dir.join("server.log");
        let log = File::create(&log_path).map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        command
            .arg("serve")
            .env(config::DATA_DIR.name, dir.join("data"))
            .env(config::PORT.name, address.port().to_string())
            .env(config::BIND.name, address.ip().to_string())
            .env(config::AUTH_MODE.name, "none")
            .env(config::LOG_LEVEL.name, "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let started = Instant::now();
        let child = command
            .spawn()
            .map_err(|error| format!("{} cannot be run: {error}", program.display()))?;
        let mut server = Server { child, address, start_time: Duration::ZERO };
        leftovers::server_started(server.pid());
        while !ready(address) {
            let end = server.child.try_wait().map_err(|error| error.to_string())?;
            if end.is_some() || READY_TIMEOUT < started.elapsed() {
                let end = end.map_or("is not ready in time".to_owned(), |end| end.to_string());
                return Err(format!("the server {end}: {}", last_lines(&log_path)));
            }
            thread::sleep(READY_POLL);
        }
        server.start_time = started.elapsed();
        Ok(server)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn start_time(&self) -> Duration {
        self.start_time
    }

    /// CPU time it has taken so far, all its threads together, to a hundredth of a second.
    ///
    /// # Errors
    /// If it is gone.
    pub(crate) fn cpu(&self) -> Result<Duration, String> {
        let stat = self.read("stat")?;
        cpu::of_process(&stat, 2).ok_or_else(|| "the kernel tells no CPU time".to_owned())
    }

    /// Memory it has in use now, in bytes.
    ///
    /// # Errors
    /// If it is gone.
    pub(crate) fn memory(&self) -> Result<u64, String> {
        self.status_bytes("VmRSS:")
    }

    /// The most memory it has ever had in use, in bytes.
    ///
    /// # Errors
    /// If it is gone.
    pub(crate) fn memory_peak(&self) -> Result<u64, String> {
        self.status_bytes("VmHWM:")
    }

    fn status_bytes(&self, name: &str) -> Result<u64, String> {
        let status = self.read("status")?;
        kibibytes_of_status(&status, name)
            .map(|kibibytes| kibibytes * 1024)
            .ok_or_else(|| format!("the kernel tells no {name}"))
    }

    fn read(&self, name: &str) -> Result<String, String> {
        fs::read_to_string(format!("/proc/{}/{name}", self.child.id()))
            .map_err(|error| format!("the server is gone: {error}"))
    }

    fn pid(&self) -> Pid {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        pid.expect("the kernel gave it")
    }

    /// Kills it, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        leftovers::server_ends(self.pid());
        // Both fail only if it is gone already.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }

    /// Asks it to stop, and kills it if it does not.
    ///
    /// # Errors
    /// If it did not, or ended with a complaint.
    pub(crate) fn stop(mut self) -> Result<(), String> {
        leftovers::server_ends(self.pid());
        kill_process(self.pid(), Signal::TERM).map_err(|error| error.to_string())?;
        let asked = Instant::now();
        while asked.elapsed() < STOP_TIMEOUT {
            if let Some(end) = self.child.try_wait().map_err(|error| error.to_string())? {
                return if end.success() {
                    Ok(())
                } else {
                    Err(format!("the server stopped with {end}"))
                };
            }
            thread::sleep(READY_POLL);
        }
        Err("the server did not stop in time and was killed".to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A line of `/proc/<pid>/status` that ends with `kB`.
pub(crate) fn kibibytes_of_status(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find(|line| line.starts_with(name))?;
    line[name.len()..].trim().strip_suffix("kB")?.trim().parse().ok()
}

/// An address nobody listens at. Somebody could take it before the server does; the server then
/// fails to start and says so.
fn free_address() -> Result<SocketAddr, String> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map_err(|error| format!("there is no free port: {error}"))
}

fn ready(address: SocketAddr) -> bool {
    let request = format!("GET /health/ready HTTP/1.1\r\nhost: {address}\r\n\r\n");
    exchange(address, request.as_bytes()).is_ok_and(|(status, _)| status == 200)
}

fn last_lines(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(5)..];
    if last.is_empty() { "it wrote nothing".to_owned() } else { last.join("\n") }
}

/// Sends one request on a connection of its own and waits for the reply: status and body.
///
/// # Errors
/// Why there is none.
pub(crate) fn exchange(address: SocketAddr, request: &[u8]) -> Result<(u16, Vec<u8>), String> {
    let failed = |error: std::io::Error| format!("{address}: {error}");
    let mut stream = TcpStream::connect_timeout(&address, REPLY_TIMEOUT).map_err(failed)?;
    stream.set_read_timeout(Some(REPLY_TIMEOUT)).map_err(failed)?;
    stream.write_all(request).map_err(failed)?;
    let mut received = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match client::scan(&received) {
            Ok(Some(reply)) => {
                return Ok((reply.status, received[reply.head_bytes..reply.bytes].to_vec()));
            }
            Ok(None) => {}
            Err(garbage) => return Err(format!("{address}: {garbage}")),
        }
        match stream.read(&mut piece) {
            Ok(0) => return Err(format!("{address}: {}", Garbage::Length)),
            Ok(bytes) => received.extend_from_slice(&piece[..bytes]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
}

/// The address of `http://host:port/`, or of `host:port`.
///
/// # Errors
/// If it is no such thing or the name is unknown.
pub(crate) fn address_of(url: &str) -> Result<SocketAddr, String> {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let host = rest.split('/').next().expect("a split has a first part");
    let with_port = if host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    let mut addresses = with_port.to_socket_addrs().map_err(|error| format!("{url}: {error}"))?;
    addresses.next().ok_or_else(|| format!("{url}: the name has no address"))
}
