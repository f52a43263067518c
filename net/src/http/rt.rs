//! A connection's socket as hyper and a tail see it. hyper's traits ask for no `Send` here, and need
//! no unsafe code either.
//!
//! Bytes are read into a buffer the connections of a core share, and only those that came are copied
//! on: what hyper reserves for an idle connection stays untouched memory. Bytes that hyper writes are
//! gathered until the end of its turn: responses to pipelined requests leave in one write, and a
//! response leaves even if hyper ends with bytes of the client unread, which is when its own flush
//! would hold it back.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use futures_lite::{AsyncRead, AsyncWrite};
use hyper::rt::{Read, ReadBufCursor, Write};
use uring::rt::TcpStream;

use crate::http::link::Link;

/// Bytes of one read.
const READ_BYTES: usize = 16 * 1024;
/// Bytes gathered before they are written within hyper's turn.
const GATHER_BYTES: usize = 64 * 1024;
/// What a connection keeps of its gathered buffer.
const KEEP_BYTES: usize = 4 * 1024;

/// A buffer that the connections of a core read into one at a time, each within one call.
#[derive(Debug, Clone)]
pub(crate) struct Scratch(Rc<RefCell<Vec<u8>>>);

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch(Rc::new(RefCell::new(vec![0; READ_BYTES])))
    }
}

/// A socket that tells its link what it waits for. Clones are the same socket: hyper holds one and
/// the connection's task another.
#[derive(Debug, Clone)]
pub(crate) struct Socket(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    stream: RefCell<TcpStream>,
    link: Rc<Link>,
    scratch: Scratch,
    /// Gathered, not yet written.
    gathered: RefCell<Vec<u8>>,
    /// Whether hyper waits for room in it.
    is_full: Cell<bool>,
    /// Whether the client has sent all it will send.
    at_end: Cell<bool>,
}

impl Socket {
    /// Wraps a connected stream.
    pub(crate) fn new(stream: TcpStream, link: Rc<Link>, scratch: Scratch) -> Socket {
        Socket(Rc::new(Inner {
            stream: RefCell::new(stream),
            link,
            scratch,
            gathered: RefCell::default(),
            is_full: Cell::new(false),
            at_end: Cell::new(false),
        }))
    }

    /// Whether the client has sent all it will send.
    pub(crate) fn at_end(&self) -> bool {
        self.0.at_end.get()
    }

    /// Reads what is there, at most `most` bytes and those the scratch buffer holds, and hands it to
    /// `take`; an empty slice at the end of the stream.
    pub(crate) fn poll_take<T>(
        &self,
        cx: &mut Context<'_>,
        most: usize,
        take: impl FnOnce(&[u8]) -> T,
    ) -> Poll<io::Result<T>> {
        let mut scratch = self.0.scratch.0.borrow_mut();
        let room = most.min(scratch.len());
        let mut stream = self.0.stream.borrow_mut();
        let read = ready!(Pin::new(&mut *stream).poll_read(cx, &mut scratch[..room]))?;
        if read == 0 {
            self.0.at_end.set(true);
        } else {
            self.0.link.has_read();
        }
        Poll::Ready(Ok(take(&scratch[..read])))
    }

    /// Writes some bytes and tells the link.
    pub(crate) fn poll_put(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut stream = self.0.stream.borrow_mut();
        let put = Pin::new(&mut *stream).poll_write(cx, bytes);
        match &put {
            Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(Ok(written)) => self.0.link.has_written(*written as u64),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.0.link.is_blocked(),
        }
        put
    }

    /// Says that everything put so far was taken.
    pub(crate) fn flushed(&self) {
        self.0.link.is_flushed();
    }

    /// Writes what is gathered. Ready once nothing is left.
    pub(crate) fn poll_flush_gathered(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathered = self.0.gathered.borrow_mut();
        if gathered.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let mut written = 0;
        let outcome = loop {
            match self.poll_put(cx, &gathered[written..]) {
                Poll::Ready(Ok(more)) => written += more,
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Pending => break Poll::Pending,
            }
            if written == gathered.len() {
                self.flushed();
                break Poll::Ready(Ok(()));
            }
        };
        gathered.drain(..written);
        if gathered.is_empty() && KEEP_BYTES < gathered.capacity() {
            *gathered = Vec::new();
        }
        outcome
    }

    /// Whether hyper was held up for want of room since this was last asked.
    pub(crate) fn take_full(&self) -> bool {
        self.0.is_full.take()
    }

    /// Tells the client that nothing follows.
    pub(crate) fn poll_end(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut stream = self.0.stream.borrow_mut();
        Pin::new(&mut *stream).poll_close(cx)
    }

    /// Takes pieces as far as there is room.
    fn gather<'a>(
        &self,
        cx: &mut Context<'_>,
        pieces: impl Iterator<Item = &'a [u8]>,
    ) -> Poll<io::Result<usize>> {
        if GATHER_BYTES <= self.0.gathered.borrow().len() {
            let flushed = self.poll_flush_gathered(cx)?;
            if flushed.is_pending() && GATHER_BYTES <= self.0.gathered.borrow().len() {
                self.0.is_full.set(true);
                return Poll::Pending;
            }
        }
        let mut gathered = self.0.gathered.borrow_mut();
        let before = gathered.len();
        for piece in pieces {
            let room = GATHER_BYTES - gathered.len();
            gathered.extend_from_slice(&piece[..piece.len().min(room)]);
        }
        Poll::Ready(Ok(gathered.len() - before))
    }
}

impl Read for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let room = into.remaining();
        self.poll_take(cx, room, |bytes| into.put_slice(bytes))
    }
}

impl Write for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.gather(cx, std::iter::once(bytes))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.gather(cx, pieces.iter().map(|piece| &**piece))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection's task flushes at the end of hyper's turn.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_end(cx)
    }
}
