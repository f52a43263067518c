//! One node: the shipped binary in a network of its own.

use std::fs::{self, File, OpenOptions};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use crate::ground::{PATIENCE, rest};
use crate::namespace::Namespace;
use crate::switch::{NODES, address};

/// Where nodes serve clients.
const PORT: u16 = 4000;
/// Where nodes hear each other.
const PEER_PORT: u16 = 4100;
/// What nodes are called.
pub(crate) const NAMES: [&str; NODES] = ["a", "b", "c"];
/// Raft groups, and the shards of each node.
pub(crate) const GROUPS: u32 = 16;
pub(crate) const SHARDS: u32 = 2;
const SECRET: &str = "what only these nodes know";
/// Small stores make a node write chunks and checkpoints all the time.
const STORES: [&str; NODES] = ["64MB", "1MB", "2GB"];

/// One node, which may be down.
#[derive(Debug)]
pub(crate) struct Node {
    place: usize,
    directory: PathBuf,
    child: Option<Child>,
}

impl Node {
    /// A node that does not run yet.
    pub(crate) fn new(place: usize, directory: &Path) -> Node {
        let directory = directory.join(NAMES[place]);
        fs::create_dir_all(&directory).expect("a directory can be made");
        Node { place, directory, child: None }
    }

    /// Where it serves clients.
    pub(crate) fn address(place: usize) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(address(place)), PORT)
    }

    /// Its name.
    pub(crate) fn name(&self) -> &'static str {
        NAMES[self.place]
    }

    /// Its data.
    pub(crate) fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// All it has printed, over all its lives.
    pub(crate) fn log(&self) -> String {
        let bytes = fs::read(self.directory.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// The binary with this node's environment.
    fn command(&self) -> Command {
        let entry =
            |(place, name): (usize, &&str)| format!("{name}@{}:{PEER_PORT}", address(place));
        let list: Vec<String> = NAMES.iter().enumerate().map(entry).collect();
        let mut command = Command::new(env!("CARGO_BIN_EXE_starcite"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("RUST_BACKTRACE", "1").env("STARCITE_DATA_DIR", self.data());
        command.env("STARCITE_AUTH_MODE", "none").env("PORT", PORT.to_string());
        command.env("STARCITE_CORES", "1").env("STARCITE_SHARDS", SHARDS.to_string());
        command.env("STARCITE_NUM_GROUPS", GROUPS.to_string()).env("NODE_NAME", self.name());
        command.env("CLUSTER_NODES", list.join(",")).env("SECRET_KEY_BASE", SECRET);
        command.env("STARCITE_EVENT_STORE_MAX_SIZE", STORES[self.place]);
        command.stdin(Stdio::null());
        command
    }

    /// Starts it and waits for nothing.
    pub(crate) fn spawn(&mut self, host: &Namespace) {
        assert!(self.child.is_none(), "it runs already");
        let mut options = OpenOptions::new();
        let log = options.create(true).append(true).open(self.directory.join("log"));
        let log = log.expect("a log can be written");
        let mut command = self.command();
        command.arg("serve").stdout(copy(&log)).stderr(copy(&log));
        let child = host.inside(|| command.spawn()).expect("a network can be entered");
        self.child = Some(child.expect("the binary can be started"));
    }

    /// Ends it as a power cut would, as far as the process goes.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks it to stop and waits for that.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a pid");
        kill_process(pid, Signal::TERM).expect("a child can be signalled");
        let start = Instant::now();
        loop {
            if let Some(status) = child.try_wait().expect("a child can be asked") {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "it does not stop:\n{}", self.log());
            rest(10);
        }
    }

    /// Runs a command beside its data; whether it succeeded, and what it printed.
    pub(crate) fn run(&self, host: &Namespace, words: &[&str]) -> (bool, String) {
        let mut command = self.command();
        let output = host.inside(|| command.args(words).output()).expect("a network is entered");
        let output = output.expect("the binary can be started");
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).trim_end().to_owned())
    }

    /// Whether it runs. One that has ended by itself should not have.
    pub(crate) fn is_up(&mut self) -> bool {
        let Some(child) = &mut self.child else { return false };
        if let Some(status) = child.try_wait().expect("a child can be asked") {
            panic!("node {} ended with {status}:\n{}", NAMES[self.place], self.log());
        }
        true
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

fn copy(file: &File) -> Stdio {
    Stdio::from(file.try_clone().expect("a file can be shared"))
}
