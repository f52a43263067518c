//! A connection to another node, as it is or in TLS: of an executor, and of a thread that may block.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use futures_lite::{AsyncRead, AsyncWrite};
use model::cluster::NodeName;
use uring::rt::TcpStream;

use super::channel::Broken;
use super::records::{Came, Records, text};
use super::tls::Credentials;

/// A connection of an executor. One task may read it and write it at a time.
#[derive(Debug)]
pub(crate) enum Stream {
    /// As it is.
    Plain(TcpStream),
    /// In TLS.
    Tls(Box<TlsStream>),
}

/// A connection in TLS whose ends have agreed.
#[derive(Debug)]
pub(crate) struct TlsStream {
    socket: TcpStream,
    records: RefCell<Records>,
    credentials: Credentials,
}

impl Stream {
    /// Speaks TLS to a node that was dialed, if that is configured.
    ///
    /// # Errors
    /// Why the two do not agree.
    pub(crate) async fn dialed(
        socket: TcpStream,
        credentials: Option<&Credentials>,
        name: &NodeName,
    ) -> Result<Stream, Broken> {
        let secured = credentials.map(|own| (own.clone(), own.dialing(name)));
        Stream::agreed(socket, secured).await
    }

    /// Speaks TLS to whoever has connected, if that is configured.
    ///
    /// # Errors
    /// Why the two do not agree.
    pub(crate) async fn accepted(
        socket: TcpStream,
        credentials: Option<&Credentials>,
    ) -> Result<Stream, Broken> {
        let secured = credentials.map(|own| (own.clone(), own.accepting()));
        Stream::agreed(socket, secured).await
    }

    async fn agreed(
        socket: TcpStream,
        secured: Option<(Credentials, Records)>,
    ) -> Result<Stream, Broken> {
        let Some((credentials, records)) = secured else { return Ok(Stream::Plain(socket)) };
        let stream = TlsStream { socket, records: RefCell::new(records), credentials };
        poll_fn(|cx| stream.poll_agree(cx)).await?;
        Ok(Stream::Tls(Box::new(stream)))
    }

    /// Whether the other end may be the node of this name, as far as its certificate tells.
    pub(crate) fn may_be(&self, name: &NodeName) -> bool {
        match self {
            Stream::Plain(_) => true,
            Stream::Tls(tls) => tls.credentials.is_of(&tls.records.borrow(), name),
        }
    }

    /// Reads what has come, at least one byte; 0 if nothing follows.
    ///
    /// # Errors
    /// Those of the socket and of TLS.
    pub(crate) async fn read(&self, into: &mut [u8]) -> Result<usize, Broken> {
        poll_fn(|cx| match self {
            Stream::Plain(socket) => {
                Pin::new(&mut &*socket).poll_read(cx, into).map_err(Broken::Socket)
            }
            Stream::Tls(tls) => tls.poll_read(cx, into),
        })
        .await
    }

    /// Moves on: the bytes taken of those given, which may be none if others went out before them.
    ///
    /// # Errors
    /// Those of the socket; one that takes nothing is one.
    pub(crate) async fn write(&self, bytes: &[u8]) -> Result<usize, Broken> {
        poll_fn(|cx| match self {
            Stream::Plain(socket) => match ready!(Pin::new(&mut &*socket).poll_write(cx, bytes)) {
                Ok(0) => Poll::Ready(Err(Broken::Closed)),
                written => Poll::Ready(written.map_err(Broken::Socket)),
            },
            Stream::Tls(tls) => tls.poll_write(cx, bytes),
        })
        .await
    }

    /// Whether something that was taken has not gone out.
    pub(crate) fn owes(&self) -> bool {
        match self {
            Stream::Plain(_) => false,
            Stream::Tls(tls) => tls.records.borrow().owes(),
        }
    }
}

impl TlsStream {
    fn poll_agree(&self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let mut records = self.records.borrow_mut();
        loop {
            while records.owes() {
                match records.send(&mut Sink { socket: &self.socket, cx }) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Poll::Pending,
                    sent => sent.map_err(Broken::Socket)?,
                }
            }
            if !records.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_digest(cx, &mut records))?;
        }
    }

    /// Takes in what came, or waits for more.
    fn poll_digest(&self, cx: &mut Context<'_>, records: &mut Records) -> Poll<Result<(), Broken>> {
        match records.digest() {
            Ok(true) => return Poll::Ready(Ok(())),
            Ok(false) => {}
            Err(error) => {
                // The other end is told why, if its socket takes it at once.
                let _ = records.send(&mut Sink { socket: &self.socket, cx });
                return Poll::Ready(Err(Broken::Tls(text(&error))));
            }
        }
        let read = Pin::new(&mut &self.socket).poll_read(cx, records.room());
        match ready!(read).map_err(Broken::Socket)? {
            0 if records.is_handshaking() => Poll::Ready(Err(Broken::NoTls)),
            0 => Poll::Ready(Err(Broken::Closed)),
            bytes => {
                records.filled(bytes);
                Poll::Ready(Ok(()))
            }
        }
    }

    fn poll_read(&self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<Result<usize, Broken>> {
        let mut records = self.records.borrow_mut();
        loop {
            match records.read(into) {
                Came::Bytes(bytes) => return Poll::Ready(Ok(bytes)),
                Came::End => return Poll::Ready(Ok(0)),
                Came::Nothing => ready!(self.poll_digest(cx, &mut records))?,
            }
        }
    }

    fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, Broken>> {
        let mut records = self.records.borrow_mut();
        let taken = records.write(bytes);
        match records.send(&mut Sink { socket: &self.socket, cx }) {
            Ok(()) => Poll::Ready(Ok(taken)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if 0 < taken {
                    Poll::Ready(Ok(taken))
                } else {
                    Poll::Pending
                }
            }
            Err(error) => Poll::Ready(Err(Broken::Socket(error))),
        }
    }
}

/// A socket that is written where a task can wait for it.
struct Sink<'a, 'b> {
    socket: &'a TcpStream,
    cx: &'a mut Context<'b>,
}

impl Write for Sink<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match Pin::new(&mut &*self.socket).poll_write_vectored(self.cx, parts) {
            Poll::Ready(written) => written,
            Poll::Pending => Err(ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A connection of a thread that may block, with the socket's own time limits.
#[derive(Debug)]
pub(crate) struct Blocking {
    socket: net::TcpStream,
    secured: Option<(Credentials, Box<Records>)>,
}

impl Blocking {
    /// Speaks TLS, if that is configured, to the node that was dialed, or to whoever has connected if
    /// none was.
    ///
    /// # Errors
    /// Why the two do not agree by then.
    pub(crate) fn new(
        socket: net::TcpStream,
        credentials: Option<&Credentials>,
        dialed: Option<&NodeName>,
        deadline: Instant,
    ) -> Result<Blocking, Broken> {
        let records = |own: &Credentials| match dialed {
            Some(name) => own.dialing(name),
            None => own.accepting(),
        };
        let secured = credentials.map(|own| (own.clone(), Box::new(records(own))));
        let mut stream = Blocking { socket, secured };
        while let Some((_, records)) = &stream.secured
            && (records.is_handshaking() || records.owes())
        {
            stream.wait_until(deadline)?;
            stream.agree()?;
        }
        Ok(stream)
    }

    fn agree(&mut self) -> Result<(), Broken> {
        let (_, records) = self.secured.as_mut().expect("there is something to agree on");
        if records.owes() {
            return records.send(&mut self.socket).map_err(Broken::Socket);
        }
        digest(&mut self.socket, records)
    }

    /// Whether the other end may be the node of this name, as far as its certificate tells.
    pub(crate) fn may_be(&self, name: &NodeName) -> bool {
        let secured = self.secured.as_ref();
        secured.is_none_or(|(credentials, records)| credentials.is_of(records, name))
    }

    /// Reads what has come, at least one byte.
    ///
    /// # Errors
    /// Those of the socket and of TLS, and [`Broken::Silent`] when the time is over.
    pub(crate) fn read(&mut self, into: &mut [u8]) -> Result<usize, Broken> {
        let Some((_, records)) = &mut self.secured else {
            return match self.socket.read(into) {
                Ok(0) => Err(Broken::Closed),
                Ok(bytes) => Ok(bytes),
                Err(error) if error.kind() == ErrorKind::WouldBlock => Err(Broken::Silent),
                Err(error) => Err(Broken::Socket(error)),
            };
        };
        loop {
            match records.read(into) {
                Came::Bytes(bytes) => return Ok(bytes),
                Came::End => return Err(Broken::Closed),
                Came::Nothing => digest(&mut self.socket, records)?,
            }
        }
    }

    /// Writes all.
    ///
    /// # Errors
    /// As for reading.
    pub(crate) fn write_all(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        let Some((_, records)) = &mut self.secured else {
            return self.socket.write_all(bytes).map_err(Broken::Socket);
        };
        let mut rest = bytes;
        while !rest.is_empty() || records.owes() {
            rest = &rest[records.write(rest)..];
            records.send(&mut self.socket).map_err(Broken::Socket)?;
        }
        Ok(())
    }

    /// Sets how long the socket waits for something to read; not at all if the time is over.
    ///
    /// # Errors
    /// [`Broken::Silent`] if it is, and those of setsockopt.
    pub(crate) fn wait_until(&self, deadline: Instant) -> Result<(), Broken> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Broken::Silent);
        }
        self.socket.set_read_timeout(Some(left)).map_err(Broken::Socket)
    }
}

/// Takes in what came, or waits for more.
fn digest(socket: &mut net::TcpStream, records: &mut Records) -> Result<(), Broken> {
    match records.digest() {
        Ok(true) => return Ok(()),
        Ok(false) => {}
        Err(error) => {
            // The other end is told why, if that is possible.
            let _ = records.send(socket);
            return Err(Broken::Tls(text(&error)));
        }
    }
    match socket.read(records.room()) {
        Ok(0) if records.is_handshaking() => Err(Broken::NoTls),
        Ok(0) => Err(Broken::Closed),
        Ok(bytes) => {
            records.filled(bytes);
            Ok(())
        }
        Err(error) => match error.kind() {
            ErrorKind::Interrupted => Ok(()),
            ErrorKind::WouldBlock => Err(Broken::Silent),
            _ => Err(Broken::Socket(error)),
        },
    }
}
