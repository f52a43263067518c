//! TCP sockets of one core: plain ones that do not block, tried first and waited for in the
//! `reactor` if they would.

use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{self, Shutdown, SocketAddr};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_lite::{AsyncRead, AsyncWrite};
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_reuseport;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, accept_with, bind, connect, listen, socket_with,
};

use crate::reactor::{Reactor, Registration};

/// Connections the kernel holds until they are accepted.
const BACKLOG: i32 = 1024;

/// A listening TCP socket of one core. Sockets of several cores may share an address; the kernel
/// spreads connections over them.
#[derive(Debug)]
pub struct TcpListener {
    listener: net::TcpListener,
    registration: Registration,
}

impl TcpListener {
    /// Listens; port 0 picks a free one. Must be called on an executor.
    ///
    /// # Errors
    /// Those of socket, bind and listen.
    pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = listening(address, flags)?;
        let registration = Reactor::here()?.watch(&socket)?;
        Ok(TcpListener { listener: socket.into(), registration })
    }

    /// The next connection.
    ///
    /// # Errors
    /// Those of accept; most of them pass.
    pub async fn accept(&self) -> io::Result<TcpStream> {
        // A crowd at the door does not hold up those who are inside.
        futures_lite::future::yield_now().await;
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let accept = || Ok(accept_with(&self.listener, flags)?);
        let accepted = poll_fn(|cx| self.registration.source().read.poll(cx, accept)).await?;
        TcpStream::new(accepted.into())
    }

    /// Where it listens.
    ///
    /// # Errors
    /// Those of getsockname.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Listens on behalf of a node whose cores do not run yet: blocking, and so that the cores' own sockets
/// may take the address over at once.
///
/// # Errors
/// Those of socket, bind and listen.
pub fn listen_blocking(address: SocketAddr) -> io::Result<net::TcpListener> {
    Ok(listening(address, SocketFlags::CLOEXEC)?.into())
}

fn listening(address: SocketAddr, flags: SocketFlags) -> io::Result<OwnedFd> {
    let socket = socket_with(family(address), SocketType::STREAM, flags, None)?;
    set_socket_reuseport(&socket, true)?;
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

fn family(address: SocketAddr) -> AddressFamily {
    match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    }
}

/// A connection. One task may read it and one may write it at a time.
#[derive(Debug)]
pub struct TcpStream {
    stream: net::TcpStream,
    registration: Registration,
}

impl TcpStream {
    /// Takes over a connected socket that does not block.
    fn new(stream: net::TcpStream) -> io::Result<TcpStream> {
        let registration = Reactor::here()?.watch(&stream)?;
        Ok(TcpStream { stream, registration })
    }

    /// Connects to a listening socket. Must be called on an executor.
    ///
    /// # Errors
    /// Those of socket and connect. A peer that cannot be reached may take minutes to be given up.
    pub async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(family(address), SocketType::STREAM, flags, None)?;
        match connect(&socket, &address) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let stream = TcpStream::new(socket.into())?;
        let connected = || match stream.stream.take_error()? {
            Some(error) => Err(error),
            None => match stream.stream.peer_addr() {
                Err(error) if error.kind() == ErrorKind::NotConnected => {
                    Err(ErrorKind::WouldBlock.into())
                }
                outcome => outcome.map(drop),
            },
        };
        poll_fn(|cx| stream.registration.source().write.poll(cx, connected)).await?;
        Ok(stream)
    }

    /// The other end.
    ///
    /// # Errors
    /// Those of getpeername.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }

    /// Whether small writes leave at once.
    ///
    /// # Errors
    /// Those of setsockopt.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.stream.set_nodelay(nodelay)
    }
}

/// Through a reference, so that one task may read while another writes.
impl AsyncRead for &TcpStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let read = &self.registration.source().read;
        let outcome = read.poll(cx, || (&self.stream).read(&mut *into));
        if let Poll::Ready(Ok(bytes)) = &outcome
            && 0 < *bytes
            && *bytes < into.len()
        {
            read.exhausted();
        }
        outcome
    }
}

impl AsyncWrite for &TcpStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.registration.source().write.poll(cx, || (&self.stream).write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let write = || (&self.stream).write_vectored(parts);
        self.registration.source().write.poll(cx, write)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.stream.shutdown(Shutdown::Write))
    }
}

impl AsyncRead for TcpStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self).poll_read(cx, into)
    }
}

impl AsyncWrite for TcpStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self).poll_close(cx)
    }
}
