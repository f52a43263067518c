//! A load balancer that asks another node when one fails it, whatever the request was.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::client::{ATTEMPTS, Answer, Client, Connection, Told};
use crate::ground::PATIENCE;
use crate::node::Node;
use crate::switch::{CLIENTS, NODES, address};

/// How often a request is sent before its client is told that nobody answers.
const ATTEMPTS_MAX: u32 = 4;
/// How long a node may take.
const ANSWER: Duration = Duration::from_millis(700);

/// Where it listens, at the clients' host.
pub(crate) fn balancer() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(address(CLIENTS)), 80)
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    turn: AtomicUsize,
    repeated: AtomicU64,
}

/// A running one.
#[derive(Debug)]
pub(crate) struct Balancer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Balancer {
    /// Starts one in the network of this thread.
    pub(crate) fn start() -> Balancer {
        let listener = TcpListener::bind(balancer()).expect("nobody else listens there");
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        Balancer { shared, thread: Some(thread::spawn(move || listen(&listener, &own))) }
    }

    /// Requests that were sent again.
    pub(crate) fn repeated(&self) -> u64 {
        self.shared.repeated.load(Ordering::Relaxed)
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // Wakes it.
        let _ = TcpStream::connect_timeout(&balancer(), PATIENCE);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn listen(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        let Ok(connection) = stream.and_then(Connection::over) else { continue };
        let shared = Arc::clone(shared);
        thread::spawn(move || serve(connection, &shared));
    }
}

/// Serves a client until it goes.
fn serve(mut connection: Connection, shared: &Shared) {
    let mut client = Client::patient(ANSWER);
    while serve_one(&mut connection, &mut client, shared).is_ok() {}
}

fn serve_one(connection: &mut Connection, client: &mut Client, shared: &Shared) -> io::Result<()> {
    let (head, body) = connection.message(Instant::now() + PATIENCE)?;
    let request = [head.as_bytes(), &body].concat();
    let Answer { status, attempts, body } = ask(client, &request, shared);
    let head = format!(
        "HTTP/1.1 {status} Told\r\n{ATTEMPTS}: {attempts}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    connection.send(&[head.as_bytes(), &body].concat())
}

/// Asks node after node until one has an answer that is worth telling.
fn ask(client: &mut Client, request: &[u8], shared: &Shared) -> Answer {
    let first = shared.turn.fetch_add(1, Ordering::Relaxed);
    // What was sent once may have been done once.
    let mut sent = 0;
    let mut last = Answer { status: 502, attempts: 0, body: Vec::new() };
    for attempt in 0..ATTEMPTS_MAX as usize {
        let node = Node::address((first + attempt) % NODES);
        shared.repeated.fetch_add(u64::from(0 < attempt), Ordering::Relaxed);
        match client.ask(node, request) {
            Told::Answer(answer) => {
                sent += 1;
                let is_final = answer.status < 500;
                last = Answer { attempts: sent, ..answer };
                if is_final {
                    break;
                }
            }
            Told::NotSent => {}
            Told::Lost => {
                sent += 1;
                last = Answer { status: 504, attempts: sent, body: Vec::new() };
            }
        }
    }
    last
}
