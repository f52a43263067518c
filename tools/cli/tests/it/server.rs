//! The real server as a child process: started on a directory and port of its own, killed, restarted,
//! and always gone when its handle is.

use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::http::{Connection, Request};
use crate::session::Api;

/// How long a start, a stop or an answer may take before the test calls it a hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Serializes tests that keep both cores busy or count memory.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A directory that is removed with its handle.
#[derive(Debug)]
pub(crate) struct Directory(PathBuf);

impl Directory {
    /// Makes an empty one, on the disk that holds the build.
    pub(crate) fn new() -> Directory {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("starcite-{}-{count}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).expect("a directory for a test can be made");
        Directory(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A port nobody listens on. Servers may share a port by `SO_REUSEPORT`, so no two tests get the
/// same one, and it lies below the range the kernel gives to clients.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let base = std::process::id() % 100 * 100;
    for _ in 0..10_000 {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(20_000 + (base + step) % 10_000).expect("below 30000");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free");
}

/// The binary under test with a clean environment.
pub(crate) fn starcite() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_starcite"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("RUST_BACKTRACE", "1").stdin(Stdio::null());
    command
}

/// `starcite serve` on a directory and a port, without authentication; on two cores where there are
/// two, so that requests cross from one to the other.
pub(crate) fn serve(directory: &Path, port: u16) -> Command {
    let mut command = starcite();
    command.arg("serve").env("STARCITE_AUTH_MODE", "none").env("STARCITE_BIND", "127.0.0.1");
    command.env("STARCITE_DATA_DIR", directory).env("PORT", port.to_string());
    let cores = thread::available_parallelism().map_or(1, usize::from).min(2);
    command.env("STARCITE_CORES", cores.to_string()).env("STARCITE_SHARDS", "2");
    command
}

/// A running (or killed) server.
#[derive(Debug)]
pub(crate) struct Server {
    directory: Arc<Directory>,
    data: PathBuf,
    port: u16,
    /// Where health is told, if not on the public port.
    ops_port: Option<u16>,
    environment: Vec<(String, String)>,
    unset: Vec<String>,
    child: Option<Child>,
    readers: Vec<JoinHandle<()>>,
    log: Arc<Mutex<Vec<u8>>>,
}

impl Server {
    /// Starts one on an empty directory and waits until it is ready.
    pub(crate) fn start() -> Server {
        Server::start_with(&[])
    }

    /// Starts one with additions to the environment.
    pub(crate) fn start_with(environment: &[(&str, &str)]) -> Server {
        let directory = Directory::new();
        let data = directory.path().join("data");
        let mut server = Server::stopped(Arc::new(directory), data);
        server.set_environment(environment);
        server.run();
        server
    }

    /// One that does not run yet, on `data`, which may lie outside the directory it keeps.
    pub(crate) fn stopped(directory: Arc<Directory>, data: PathBuf) -> Server {
        Server {
            directory,
            data,
            port: free_port(),
            ops_port: None,
            environment: Vec::new(),
            unset: Vec::new(),
            child: None,
            readers: Vec::new(),
            log: Arc::default(),
        }
    }

    /// One that several tests share, alive as long as one of them holds it.
    pub(crate) fn shared() -> Arc<Server> {
        static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Server::start());
            *shared = Arc::downgrade(&server);
            server
        })
    }

    /// Additions to the environment of the next start.
    pub(crate) fn set_environment(&mut self, environment: &[(&str, &str)]) {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        self.environment = environment.iter().map(owned).collect();
    }

    /// More of them, which win over those before.
    pub(crate) fn add_environment(&mut self, environment: &[(&str, &str)]) {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        self.environment.extend(environment.iter().map(owned));
    }

    /// Leaves a variable out of every later start.
    pub(crate) fn unset(&mut self, name: &str) {
        self.unset.push(name.to_owned());
    }

    /// Says that health is told on another port than the public one.
    pub(crate) fn set_ops_port(&mut self, port: u16) {
        self.ops_port = Some(port);
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// If it ends or is not ready in time.
    pub(crate) fn run(&mut self) {
        self.spawn();
        let start = Instant::now();
        while !self.is_ready() {
            let child = self.child.as_mut().expect("it was just started");
            if let Some(status) = child.try_wait().expect("a child can be asked") {
                self.reap();
                panic!("the server ended at its start with {status}:\n{}", self.log());
            }
            assert!(start.elapsed() < PATIENCE, "the server is not ready:\n{}", self.log());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts it and waits until it ends by itself.
    pub(crate) fn run_to_end(&mut self) -> ExitStatus {
        self.spawn();
        self.wait()
    }

    /// Starts it and waits for nothing.
    pub(crate) fn spawn(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let mut command = serve(&self.data, self.port);
        for name in &self.unset {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary can be started");
        let outputs: [Box<dyn Read + Send>; 2] = [
            Box::new(child.stdout.take().expect("it is piped")),
            Box::new(child.stderr.take().expect("it is piped")),
        ];
        for output in outputs {
            let log = Arc::clone(&self.log);
            self.readers.push(thread::spawn(move || collect(output, &log)));
        }
        self.child = Some(child);
    }

    fn is_ready(&self) -> bool {
        let Ok(mut connection) = Connection::open(self.ops_address()) else {
            return false;
        };
        let answer = connection.call(&Request::get("/health/ready"));
        answer.is_ok_and(|answer| answer.status == 200)
    }

    /// Ends it as a power cut would, as far as the process goes.
    pub(crate) fn kill(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.reap();
    }

    /// Asks it to stop and waits for that.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).expect("a pid fits");
        let pid = Pid::from_raw(pid).expect("a pid is not 0");
        kill_process(pid, signal).expect("a child can be signalled");
    }

    /// Waits until it ends.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        let child = self.child.as_mut().expect("it runs");
        loop {
            if let Some(status) = child.try_wait().expect("a child can be asked") {
                self.reap();
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "the server does not end:\n{}", self.log());
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn reap(&mut self) {
        self.child = None;
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    fn ops_address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.ops_port.unwrap_or(self.port)))
    }

    /// A client of the port where health is told.
    pub(crate) fn ops_api(&self) -> Api {
        Api::new(self.ops_address())
    }

    /// A client of it.
    pub(crate) fn api(&self) -> Api {
        Api::new(self.address())
    }

    /// Where its data is.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// The directory that holds the data, unless that was put elsewhere.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// All it has printed, over all its lives.
    pub(crate) fn log(&self) -> String {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Bytes of memory it occupies.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.expect("a running process has a status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.expect("the status names VmRSS").trim().trim_end_matches(" kB");
        kilobytes.parse::<u64>().expect("VmRSS is a number") * 1024
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let log = self.log();
        if thread::panicking() {
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            for line in tail.iter().rev() {
                println!("server: {line}");
            }
        } else {
            assert!(!log.contains("panicked at"), "the server panicked:\n{log}");
        }
    }
}

fn collect(mut output: impl Read, log: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 4096];
    while let Ok(count) = output.read(&mut buffer) {
        if count == 0 {
            return;
        }
        log.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..count]);
    }
}
