//! A connection's socket as hyper and a tail see it. hyper's traits ask for no `Send` here, and need
//! no unsafe code either: bytes are read into a buffer the connections of a core share, and only
//! those that came are copied on. So a buffer that hyper keeps for an idle connection stays untouched
//! memory. The same buffer gathers a response's pieces for one write; large pieces are written from
//! where they are.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use futures_lite::{AsyncRead, AsyncWrite};
use hyper::rt::{Read, ReadBufCursor, Write};
use uring::rt::TcpStream;

use crate::http::link::Link;

/// Bytes of one read, and of one write of small pieces.
const SCRATCH_BYTES: usize = 16 * 1024;

/// A buffer that the connections of a core use one at a time, each within one call.
#[derive(Debug, Clone)]
pub(crate) struct Scratch(Rc<RefCell<Vec<u8>>>);

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch(Rc::new(RefCell::new(vec![0; SCRATCH_BYTES])))
    }
}

/// A socket that tells its link what it waits for.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    link: Rc<Link>,
    scratch: Scratch,
    /// Whether the client has sent all it will send.
    at_end: bool,
}

impl Socket {
    /// Wraps a connected stream.
    pub(crate) fn new(stream: TcpStream, link: Rc<Link>, scratch: Scratch) -> Socket {
        Socket { stream, link, scratch, at_end: false }
    }

    /// Whether the client has sent all it will send.
    pub(crate) fn at_end(&self) -> bool {
        self.at_end
    }

    /// Reads what is there, at most `most` bytes and those the scratch buffer holds, and hands it to
    /// `take`; an empty slice at the end of the stream.
    pub(crate) fn poll_take<T>(
        &mut self,
        cx: &mut Context<'_>,
        most: usize,
        take: impl FnOnce(&[u8]) -> T,
    ) -> Poll<io::Result<T>> {
        let mut scratch = self.scratch.0.borrow_mut();
        let room = most.min(scratch.len());
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut scratch[..room]))?;
        self.at_end |= read == 0;
        self.link.has_read();
        Poll::Ready(Ok(take(&scratch[..read])))
    }

    /// Writes some bytes and tells the link.
    pub(crate) fn poll_put(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let put = Pin::new(&mut self.stream).poll_write(cx, bytes);
        match &put {
            Poll::Ready(Ok(written)) => self.link.has_written(*written as u64),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.link.is_blocked(),
        }
        put
    }

    /// Says that everything put so far was taken.
    pub(crate) fn flushed(&self) {
        self.link.is_flushed();
    }

    /// Tells the client that nothing follows.
    pub(crate) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

impl Read for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let room = into.remaining();
        self.poll_take(cx, room, |bytes| into.put_slice(bytes))
    }
}

impl Write for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_put(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = pieces.iter().find(|piece| !piece.is_empty());
        match first {
            None => Poll::Ready(Ok(0)),
            Some(first) if SCRATCH_BYTES <= first.len() => self.poll_put(cx, first),
            Some(_) => {
                let scratch = self.scratch.clone();
                let mut scratch = scratch.0.borrow_mut();
                let mut filled = 0;
                for piece in pieces {
                    let part = &piece[..piece.len().min(SCRATCH_BYTES - filled)];
                    scratch[filled..filled + part.len()].copy_from_slice(part);
                    filled += part.len();
                }
                self.poll_put(cx, &scratch[..filled])
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes once its own buffer is empty, and the stream has none.
        self.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_end(cx)
    }
}
