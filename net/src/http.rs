//! HTTP/1.1 on one core: the accept loop, the bound on connections, and each connection from its
//! first byte to its last. hyper reads and writes the protocol; what it leaves to us is when to give
//! up, and a connection that becomes a tail.

pub(crate) mod api;
pub(crate) mod body;
pub(crate) mod link;
pub(crate) mod reply;
pub(crate) mod route;
pub(crate) mod rt;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use model::error::Code;
use model::limits::{HEAD_BYTES_MAX, HEADERS_MAX, LINGER_BYTES_MAX, LINGER_SECONDS};
use uring::Gateway;
use uring::rt::{self as runtime, TcpListener, TcpStream};

use crate::exposition::Exposition;
use crate::identity::Identity;
use crate::meters::Meters;
use crate::operator::Operator;
use crate::{render, tail};

use api::{Face, Visit};
use body::Bodies;
use link::{Link, Links, Overdue};
use rt::{Scratch, Socket};

/// Between sweeps over the connections.
const SWEEP: Duration = Duration::from_millis(500);
/// Between looks at whether the last connection is gone.
const DRAIN_LOOK: Duration = Duration::from_millis(5);
/// What an accept loop waits after the system refused it a connection.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Connections told at once that there are too many; others are closed without a word.
const REFUSING_MAX: usize = 64;
/// Connections to the operator's listener, which those of clients do not fill: a full server must
/// still say that it lives.
const OPS_CONNECTIONS_MAX: usize = 16;

/// What all connections of one core share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) gateway: Gateway,
    pub(crate) identity: Identity,
    pub(crate) meters: Meters,
    pub(crate) exposition: Exposition,
    /// What operators are told, if they are told anything.
    pub(crate) operator: Option<Operator>,
    /// Whether health and metrics have a listener of their own.
    pub(crate) has_ops_listener: bool,
    pub(crate) bodies: Bodies,
    links: Links,
    scratch: Scratch,
    connections_max: usize,
    /// Those of `links` that came through the operator's listener.
    operators: Cell<usize>,
    /// Connections being told that there are too many.
    refusing: Cell<usize>,
    draining: Cell<bool>,
}

impl Shared {
    /// For a core without connections yet.
    pub(crate) fn new(
        gateway: Gateway,
        exposition: Exposition,
        operator: Option<Operator>,
        has_ops_listener: bool,
        connections_max: usize,
    ) -> Shared {
        let identity = Identity::service();
        Shared {
            meters: Meters::new(gateway.core(), &identity.principal.tenant_id),
            gateway,
            identity,
            exposition,
            operator,
            has_ops_listener,
            bodies: Bodies::default(),
            links: Links::new(Instant::now()),
            scratch: Scratch::default(),
            connections_max,
            operators: Cell::new(0),
            refusing: Cell::new(0),
            draining: Cell::new(false),
        }
    }

    /// Whether connections end as soon as they can.
    pub(crate) fn draining(&self) -> bool {
        self.draining.get()
    }

    /// Open connections of clients.
    fn clients(&self) -> usize {
        self.links.count() - self.operators.get()
    }

    /// Whether a listener's connections are as many as may be.
    fn is_full(&self, face: Face) -> bool {
        match face {
            Face::Public => self.connections_max <= self.clients(),
            Face::Ops => OPS_CONNECTIONS_MAX <= self.operators.get(),
        }
    }
}

/// Lets time pass for all connections of a core, for as long as it has any or may get one.
pub(crate) async fn sweep(shared: Rc<Shared>) {
    while !shared.draining() || 0 < shared.links.count() {
        runtime::sleep(SWEEP).await;
        shared.links.sweep(Instant::now());
    }
}

/// Takes connections without end.
pub(crate) async fn accept(shared: &Rc<Shared>, listener: &TcpListener, face: Face) {
    let mut is_failing = false;
    loop {
        let accepted = listener.accept().await;
        // Said once, not twenty times a second, when the process is out of descriptors.
        if let Err(error) = &accepted
            && !is_failing
        {
            tracing::warn!(%error, "connections cannot be accepted");
        }
        is_failing = accepted.is_err();
        match accepted {
            Ok(stream) if shared.is_full(face) => {
                shared.meters.refused.increment(1);
                if shared.refusing.get() < REFUSING_MAX {
                    shared.refusing.set(shared.refusing.get() + 1);
                    runtime::spawn_local(refuse(Rc::clone(shared), stream));
                }
            }
            Ok(stream) => runtime::spawn_local(serve(Rc::clone(shared), stream, face)),
            Err(_) => runtime::sleep(ACCEPT_RETRY).await,
        }
    }
}

/// Ends all connections of clients: requests under way are answered, tails closed, idle connections
/// dropped. The operator's stay until the process ends, so that they can be asked how far it is.
/// Returns when none is left or the deadline has passed.
pub(crate) async fn drain(shared: &Shared, deadline: Duration) {
    let began = Instant::now();
    shared.draining.set(true);
    shared.links.poke_all();
    while 0 < shared.clients() {
        if deadline <= began.elapsed() {
            let connections = shared.clients();
            tracing::warn!(connections, "the doors close with connections open");
            return;
        }
        runtime::sleep(DRAIN_LOOK).await;
    }
}

/// Tells a client that there are too many.
async fn refuse(shared: Rc<Shared>, stream: TcpStream) {
    let body = render::refusal(&Code::RaftUnavailable.into());
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json; charset=utf-8\r\n\
         access-control-allow-origin: *\r\naccess-control-expose-headers: *\r\nretry-after: 1\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let whole = [head.as_bytes(), &body].concat();
    let socket = Socket::new(stream, shared.links.loose(), shared.scratch.clone());
    let told = async {
        if poll_fn(|cx| socket.poll_put(cx, &whole)).await.is_ok() {
            linger(&socket).await;
        }
    };
    // A client that does not read it is cut off.
    let _ = runtime::timeout(Duration::from_secs(LINGER_SECONDS), told).await;
    shared.refusing.set(shared.refusing.get() - 1);
}

/// A connection among its core's, until it is dropped.
struct Place {
    shared: Rc<Shared>,
    number: u64,
    face: Face,
}

impl Place {
    fn take(shared: &Rc<Shared>, face: Face) -> (Place, Rc<Link>) {
        let (number, link) = shared.links.open();
        if face == Face::Ops {
            shared.operators.set(shared.operators.get() + 1);
        }
        shared.meters.connections.set(shared.links.count() as f64);
        (Place { shared: Rc::clone(shared), number, face }, link)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.links.close(self.number);
        if self.face == Face::Ops {
            self.shared.operators.set(self.shared.operators.get() - 1);
        }
        self.shared.meters.connections.set(self.shared.links.count() as f64);
    }
}

/// Serves a connection to its end.
async fn serve(shared: Rc<Shared>, stream: TcpStream, face: Face) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection ended before it began");
        return;
    }
    let (_place, link) = Place::take(&shared, face);
    let socket = Socket::new(stream, Rc::clone(&link), shared.scratch.clone());
    let visit = Rc::new(Visit {
        shared: Rc::clone(&shared),
        link: Rc::clone(&link),
        face,
        tail: RefCell::default(),
    });
    let early = match http(&visit, &socket).await {
        Ended::Done(early) => early,
        Ended::Late(overdue) => {
            shared.meters.timed_out(overdue);
            return;
        }
        Ended::Broken => return,
        Ended::Unused => {
            let _ = poll_fn(|cx| socket.poll_end(cx)).await;
            return;
        }
    };
    let opened = visit.tail.take();
    drop(visit);
    match opened {
        Some(opened) => tail::run((shared, link), socket, early, opened).await,
        None => {
            let time = Duration::from_secs(LINGER_SECONDS);
            let _ = link.until(link.now() + time, linger(&socket)).await;
        }
    }
}

/// How the HTTP part of a connection ended.
enum Ended {
    /// Nothing follows in HTTP. Beside it, what the client sent behind its last request.
    Done(Bytes),
    /// Something took too long.
    Late(Overdue),
    /// The socket failed.
    Broken,
    /// The server stops while the client has nothing under way, and does not wait for it.
    Unused,
}

/// Speaks HTTP until the client leaves, the server stops, or the connection becomes a tail.
async fn http(visit: &Rc<Visit>, socket: &Socket) -> Ended {
    let service = service_fn(|request| {
        let visit = Rc::clone(visit);
        // hyper wants a future that can be moved.
        Box::pin(async move { Ok::<_, Infallible>(api::answer(visit, request).await) })
    });
    // The bound on headers is hyper's own, which it checks without filling a table for each request.
    const _: () = assert!(HEADERS_MAX == 100);
    let mut connection = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .header_read_timeout(None)
        .serve_connection(socket.clone(), service);
    let (link, mut told, mut is_done, mut is_unused) = (&visit.link, false, false, false);
    let ended = poll_fn(|cx| {
        link.watch(cx.waker());
        if link.take_poke()
            && let Some(late @ (Overdue::Idle | Overdue::Head | Overdue::Write)) = link.overdue()
        {
            return Poll::Ready(Err(Ended::Late(late)));
        }
        loop {
            if !is_done && let Poll::Ready(outcome) = connection.poll_without_shutdown(cx) {
                is_done = true;
                if let Err(error) = outcome {
                    // Its own response to what is no HTTP is still to be flushed.
                    tracing::debug!(%error, "a connection broke");
                }
            }
            match socket.poll_flush_gathered(cx) {
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Ended::Broken)),
                Poll::Ready(Ok(())) if is_done => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) if socket.take_full() => {}
                // A response of this turn has said that it is the last: what is idle was so before.
                Poll::Ready(Ok(())) | Poll::Pending if visit.must_end() && !told => {
                    told = true;
                    is_unused = link.is_idle();
                    Pin::new(&mut connection).graceful_shutdown();
                }
                Poll::Ready(Ok(())) | Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
    match ended {
        Ok(()) if is_unused => Ended::Unused,
        Ok(()) => Ended::Done(connection.into_parts().read_buf),
        Err(ended) => ended,
    }
}

/// Says that nothing follows and reads on for a moment: closing with bytes unread would reset the
/// connection, and the client might not see its last response.
async fn linger(socket: &Socket) {
    if socket.at_end() || poll_fn(|cx| socket.poll_end(cx)).await.is_err() {
        return;
    }
    let mut left = LINGER_BYTES_MAX;
    while 0 < left && !socket.at_end() {
        let Ok(read) = poll_fn(|cx| socket.poll_take(cx, left, <[u8]>::len)).await else { return };
        left -= read;
    }
}
