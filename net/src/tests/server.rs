//! A node with real shards behind real sockets, and a client that sends exactly the bytes it is told.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::ids::{Placement, ShardId};
use shard::NodeId;
use shard::cluster::Cluster;
use shard::opening::Opening;
use shard::shard::{Options, Shard};
use shard::wal::Recovery;
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};
use uring::layout::ShardDir;
use uring::rt;
use uring::{Cores, Doors, Readiness, Settings, Stopper, SyncStrategy};

use crate::{Door, DoorConfig, Exposition, Operator};

const SEGMENT_BYTES: u64 = 1024 * 1024;
/// No answer takes this long; a test that waits for one fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A node of one core; stops when dropped.
pub(super) struct Server {
    /// Where clients connect.
    pub(super) address: SocketAddr,
    /// Where the operator does, if the server has a listener for that.
    pub(super) ops_address: Option<SocketAddr>,
    pub(super) stopper: Stopper,
    cores: Option<Cores>,
    directory: PathBuf,
}

/// How a test's server differs from others.
#[derive(Debug, Clone)]
pub(super) struct Special {
    pub(super) connections_max: usize,
    pub(super) has_ops_listener: bool,
    pub(super) exposition: Exposition,
    pub(super) operator: Option<Operator>,
}

impl Default for Special {
    fn default() -> Special {
        Special {
            connections_max: 100,
            has_ops_listener: false,
            exposition: Exposition::off(),
            operator: None,
        }
    }
}

impl Server {
    pub(super) fn start() -> Server {
        Server::special(Special::default())
    }

    pub(super) fn special(special: Special) -> Server {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("starcite-net-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        let settings = Settings {
            data_dir: directory.clone(),
            cores: Some(1),
            placement: Placement::new(16, 1),
            sync: SyncStrategy::Link,
            segment_bytes: SEGMENT_BYTES,
            cluster: Cluster::alone(NodeId(1 << 32)),
            intent: Default::default(),
        };
        let (tell, told) = sync_channel(1);
        let tell = Mutex::new(Some(tell));
        let doors: Doors = Arc::new(move |gateway| {
            let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
            let config = DoorConfig {
                listen: anywhere,
                ops_listen: special.has_ops_listener.then_some(anywhere),
                connections_max: special.connections_max,
                drain: PATIENCE,
                exposition: special.exposition.clone(),
                operator: special.operator.clone(),
            };
            let tell = tell.lock().unwrap().take().expect("one core opens its doors");
            Box::pin(async move {
                let door = Door::open(config).map_err(|error| error.to_string())?;
                while gateway.readiness() != Readiness::Ready {
                    rt::sleep(Duration::from_millis(1)).await;
                }
                let addresses = (door.address().unwrap(), door.ops_address().unwrap());
                tell.send((addresses, gateway.stopper())).unwrap();
                door.serve(gateway).await;
                Ok(())
            })
        });
        let shard = fresh_shard(&settings);
        let cores = Cores::start(&settings, vec![(ShardId(0), shard)], doors).unwrap();
        let ((address, ops_address), stopper) = told.recv().unwrap();
        Server { address, ops_address, stopper, cores: Some(cores), directory }
    }

    pub(super) fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// Sends one request on a connection of its own.
    pub(super) fn ask(&self, method: &str, path: &str, body: &str) -> Response {
        self.connect().ask(method, path, body)
    }

    /// Waits until the node has stopped.
    pub(super) fn stop(mut self) {
        self.stopper.begin();
        self.cores.take().expect("a server stops once").join().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopper.begin();
        if let Some(cores) = self.cores.take() {
            let _ = cores.join();
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn fresh_shard(settings: &Settings) -> Shard {
    let shard = ShardId(0);
    ShardDir::new(&settings.data_dir, shard).create().unwrap();
    let cluster = Cluster::alone(NodeId(1 << 32));
    let options = Options {
        segment_bytes: SEGMENT_BYTES,
        log_kept_bytes: 1 << 20,
        ..Options::new(settings.placement, shard, (7, 1), 64 * 1024 * 1024, cluster)
    };
    let opening = Opening::new(options.clone());
    let recovery = Recovery::new(options.identity(), options.segment_bytes, opening.floor());
    opening.finish(recovery.finish().unwrap(), Vec::new())
}

/// A response as it came over the wire.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) status: u16,
    /// Names in lower case.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Response {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?} holds JSON"))
    }

    /// Status and error code.
    pub(super) fn refusal(&self) -> (u16, String) {
        (self.status, self.json()["error"].as_str().unwrap_or_default().to_owned())
    }
}

/// A stream whose reads outlive signals, which those with a timeout otherwise do not.
#[derive(Debug)]
pub(super) struct Stream(TcpStream);

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        loop {
            match self.0.read(into) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// A connection.
pub(super) struct Client {
    stream: Stream,
    /// Read, not yet taken.
    buffer: Vec<u8>,
}

impl Client {
    pub(super) fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream: Stream(stream), buffer: Vec::new() }
    }

    /// Sends bytes; a server that has closed may not take them.
    pub(super) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    pub(super) fn finish(&self) {
        self.stream.0.shutdown(Shutdown::Write).unwrap();
    }

    pub(super) fn ask(&mut self, method: &str, path: &str, body: &str) -> Response {
        let length = body.len();
        self.send(format!(
            "{method} {path} HTTP/1.1\r\nhost: test\r\ncontent-length: {length}\r\n\r\n{body}"
        ));
        self.read_response(method == "HEAD").expect("a response")
    }

    /// The next response; `None` at the end of the connection.
    pub(super) fn response(&mut self) -> Option<Response> {
        self.read_response(false)
    }

    fn read_response(&mut self, is_head: bool) -> Option<Response> {
        let end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at;
            }
            if self.fill() == 0 {
                assert!(self.buffer.is_empty(), "half a response: {:?}", self.buffer);
                return None;
            }
        };
        let head = String::from_utf8(self.buffer[..end].to_vec()).unwrap();
        self.buffer.drain(..end + 4);
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<(String, String)> = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let mut response = Response { status, headers, body: String::new() };
        let length = response.header("content-length").map_or(0, |length| length.parse().unwrap());
        let length: usize = if is_head { 0 } else { length };
        while self.buffer.len() < length {
            assert_ne!(self.fill(), 0, "half a body");
        }
        response.body = String::from_utf8(self.buffer.drain(..length).collect()).unwrap();
        Some(response)
    }

    /// Reads until the server closes, and gives what was left.
    pub(super) fn rest(mut self) -> Vec<u8> {
        while self.fill() != 0 {}
        self.buffer
    }

    fn fill(&mut self) -> usize {
        let mut part = [0; 64 * 1024];
        // A reset is the end as well.
        let read = match self.stream.read(&mut part) {
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => 0,
            Err(error) => panic!("the server neither answers nor closes: {error}"),
        };
        self.buffer.extend_from_slice(&part[..read]);
        read
    }

    /// Becomes a tail.
    pub(super) fn tail(self, path: &str) -> Tail {
        let request = format!("ws://test{path}").into_client_request().unwrap();
        let (socket, response) = tungstenite::client(request, self.stream).unwrap();
        assert_eq!(response.status(), 101);
        Tail(socket)
    }
}

fn find(bytes: &[u8], mark: &[u8]) -> Option<usize> {
    bytes.windows(mark.len()).position(|window| window == mark)
}

/// A tail as a client sees it.
pub(super) struct Tail(pub(super) WebSocket<Stream>);

impl Tail {
    /// The next frame of text.
    pub(super) fn frame(&mut self) -> serde_json::Value {
        match self.0.read().unwrap() {
            Message::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("{other:?} is no text"),
        }
    }

    /// The code and reason the server closes with.
    pub(super) fn end(mut self) -> (u16, String) {
        loop {
            if let Message::Close(frame) = self.0.read().unwrap() {
                let frame = frame.expect("the server says why");
                return (frame.code.into(), frame.reason.to_string());
            }
        }
    }
}
