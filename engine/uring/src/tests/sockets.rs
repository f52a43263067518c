//! Sockets of an executor, against blocking ones on other threads.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream as Peer};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, channel};
use std::task::Poll;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use futures_lite::future::or;
use futures_lite::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use crate::rt::{self, TcpListener, TcpStream};

/// More than the kernel buffers for both ends of a connection.
const MUCH: usize = 32 * 1024 * 1024;

fn listen() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap()
}

/// Runs `server` on an executor with one connection, and `peer` with the other end of it.
fn connected<G, F, T>(
    peer: impl FnOnce(Peer) -> T + Send + 'static,
    server: G,
) -> (Result<(), String>, T)
where
    G: FnOnce(TcpStream) -> F + Send + 'static,
    F: Future<Output = ()> + 'static,
    T: Send + 'static,
{
    let (tell, address) = channel::<SocketAddr>();
    let peer = thread::spawn(move || peer(Peer::connect(address.recv().unwrap()).unwrap()));
    let served = rt::run(None, move || async move {
        let listener = listen();
        tell.send(listener.local_addr().unwrap()).unwrap();
        server(listener.accept().await.unwrap()).await;
    });
    (served, peer.join().unwrap())
}

async fn echo(mut stream: TcpStream) {
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes).await.unwrap() {
            0 => break,
            read => stream.write_all(&bytes[..read]).await.unwrap(),
        }
    }
    stream.close().await.unwrap();
}

#[test]
fn bytes_go_both_ways_though_one_end_is_slow() {
    // A peer that sends everything before it reads stops the server's writes, then its own.
    let (served, received) = connected(
        |mut peer| {
            let mut writer = peer.try_clone().unwrap();
            let sender = thread::spawn(move || {
                writer.write_all(&vec![7; MUCH]).unwrap();
                writer.shutdown(Shutdown::Write).unwrap();
            });
            thread::sleep(Duration::from_millis(20));
            let mut received = Vec::new();
            peer.read_to_end(&mut received).unwrap();
            sender.join().unwrap();
            received
        },
        echo,
    );
    served.unwrap();
    assert_eq!(received.len(), MUCH);
    assert!(received.iter().all(|byte| *byte == 7));
}

#[test]
fn a_reader_sees_the_end_that_came_with_the_last_bytes() {
    // Told of both at once, it reads less than it has room for and must still try again.
    for pause in [false, true] {
        let (served, ()) = connected(
            |mut peer| {
                peer.write_all(b"last").unwrap();
                peer.shutdown(Shutdown::Write).unwrap();
                assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0);
            },
            move |mut stream| async move {
                if pause {
                    rt::sleep(Duration::from_millis(5)).await;
                }
                let mut all = Vec::new();
                stream.read_to_end(&mut all).await.unwrap();
                assert_eq!(all, b"last");
            },
        );
        served.unwrap();
    }
}

#[test]
fn half_a_connection_may_be_closed() {
    let (served, heard) = connected(
        |mut peer| {
            peer.shutdown(Shutdown::Write).unwrap();
            let mut heard = Vec::new();
            peer.read_to_end(&mut heard).unwrap();
            heard
        },
        |mut stream| async move {
            stream.set_nodelay(true).unwrap();
            assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
            stream.write_all(b"still here").await.unwrap();
            stream.close().await.unwrap();
            assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
        },
    );
    served.unwrap();
    assert_eq!(heard, b"still here");
}

#[test]
fn a_writer_hears_of_a_peer_that_is_gone() {
    let (served, ()) = connected(drop, |mut stream| async move {
        let error = loop {
            if let Err(error) = stream.write_all(&[0; 4096]).await {
                break error;
            }
        };
        assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset));
    });
    served.unwrap();
}

#[test]
fn an_executor_that_slept_is_woken_every_time() {
    let (served, rounds) = connected(
        |mut peer| {
            for round in 0..200_u8 {
                // Now and then long enough for the other end to fall asleep.
                thread::sleep(Duration::from_micros(u64::from(round % 8) * 300));
                peer.write_all(&[round]).unwrap();
                let mut answer = [0];
                peer.read_exact(&mut answer).unwrap();
                assert_eq!(answer, [round]);
            }
            200
        },
        echo,
    );
    served.unwrap();
    assert_eq!(rounds, 200);
}

#[test]
fn a_stream_is_dropped_with_a_reader_waiting() {
    let (served, ended) = connected(
        |mut peer| peer.read(&mut [0; 8]).unwrap(),
        |stream| async move {
            let mut stream = Some(stream);
            // Its waker stays behind with the stream's place, which the next connection takes.
            poll_fn(|cx| {
                let reading = stream.as_mut().unwrap();
                assert!(Pin::new(reading).poll_read(cx, &mut [0; 8]).is_pending());
                Poll::Ready(())
            })
            .await;
            drop(stream.take());
            let listener = listen();
            let mut peer = Peer::connect(listener.local_addr().unwrap()).unwrap();
            let mut next = listener.accept().await.unwrap();
            peer.write_all(b"next").unwrap();
            let mut heard = [0; 4];
            next.read_exact(&mut heard).await.unwrap();
            assert_eq!(&heard, b"next");
        },
    );
    served.unwrap();
    assert_eq!(ended, 0);
}

/// Peers that connect, talk and leave, so many each, on several threads.
fn crowd(address: Receiver<SocketAddr>, threads: usize, each: u8) -> JoinHandle<()> {
    thread::spawn(move || {
        let address = address.recv().unwrap();
        let talk = move |number: u8| {
            let mut peer = Peer::connect(address).unwrap();
            peer.write_all(&[number; 100]).unwrap();
            peer.shutdown(Shutdown::Write).unwrap();
            let mut answer = Vec::new();
            peer.read_to_end(&mut answer).unwrap();
            assert_eq!(answer, [number; 100]);
        };
        let crowd: Vec<_> =
            (0..threads).map(|_| thread::spawn(move || (0..each).for_each(talk))).collect();
        crowd.into_iter().for_each(|peer| peer.join().unwrap());
    })
}

#[test]
fn a_crowd_at_the_door_is_let_in_beside_a_busy_task() {
    let (tell, address) = channel();
    let crowd = crowd(address, 8, 50);
    let served = rt::run(None, move || async move {
        let listener = listen();
        tell.send(listener.local_addr().unwrap()).unwrap();
        let served = Rc::new(Cell::new(0));
        let busy = async {
            while served.get() < 400 {
                rt::yield_now().await;
            }
        };
        let door = async {
            loop {
                let (stream, served) = (listener.accept().await.unwrap(), Rc::clone(&served));
                rt::spawn_local(async move {
                    echo(stream).await;
                    served.set(served.get() + 1);
                });
            }
        };
        or(busy, door).await;
    });
    served.unwrap();
    crowd.join().unwrap();
}

#[test]
fn each_of_many_connections_hears_what_was_meant_for_it() {
    const CONNECTIONS: usize = 300;
    let (tell, address) = channel::<SocketAddr>();
    let peers = thread::spawn(move || {
        let address = address.recv().unwrap();
        let mut peers: Vec<Peer> =
            (0..CONNECTIONS).map(|_| Peer::connect(address).unwrap()).collect();
        for round in 0..3_u32 {
            for (number, peer) in (0_u32..).zip(&mut peers) {
                peer.write_all(&(number + round).to_le_bytes()).unwrap();
            }
            for (number, peer) in (0_u32..).zip(&mut peers) {
                let mut answer = [0; 4];
                peer.read_exact(&mut answer).unwrap();
                assert_eq!(u32::from_le_bytes(answer), number + round);
            }
        }
    });
    let served = rt::run(None, move || async move {
        let listener = listen();
        tell.send(listener.local_addr().unwrap()).unwrap();
        let open = Rc::new(RefCell::new(0));
        for _ in 0..CONNECTIONS {
            let (stream, open) = (listener.accept().await.unwrap(), Rc::clone(&open));
            *open.borrow_mut() += 1;
            rt::spawn_local(async move {
                echo(stream).await;
                *open.borrow_mut() -= 1;
            });
        }
        while 0 < *open.borrow() {
            rt::sleep(Duration::from_millis(1)).await;
        }
    });
    served.unwrap();
    peers.join().unwrap();
}

#[test]
fn connects_to_a_listener_and_hears_of_none() {
    let served = rt::run(None, || async {
        let listener = listen();
        let address = listener.local_addr().unwrap();
        rt::spawn_local(async move { echo(listener.accept().await.unwrap()).await });
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address);
        let mut heard = [0; 5];
        for word in [b"first", b"other"] {
            stream.write_all(word).await.unwrap();
            stream.read_exact(&mut heard).await.unwrap();
            assert_eq!(&heard, word);
        }
        // A port that was free a moment ago, and where nobody listens.
        let closed = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = closed.local_addr().unwrap();
        drop(closed);
        let error = TcpStream::connect(address).await.expect_err("nobody listens");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    });
    served.unwrap();
}

#[test]
fn a_slow_connection_can_be_given_up() {
    // A listener whose queue is full answers nobody: its kernel drops what comes.
    let full = socket_with_full_queue();
    let served = rt::run(None, move || async move {
        let address = full.0.local_addr().unwrap();
        let connecting = TcpStream::connect(address);
        assert!(rt::timeout(Duration::from_millis(100), connecting).await.is_none());
        // The executor goes on.
        echo_once().await;
    });
    served.unwrap();
}

/// A listener with room for one, which is taken.
fn socket_with_full_queue() -> (std::net::TcpListener, Vec<Peer>) {
    use rustix::net::{AddressFamily, SocketType, bind, listen, socket};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    listen(&socket, 0).unwrap();
    let listener = std::net::TcpListener::from(socket);
    let address = listener.local_addr().unwrap();
    let connect = || Peer::connect_timeout(&address, Duration::from_millis(50)).ok();
    let peers = std::iter::from_fn(connect).collect();
    (listener, peers)
}

async fn echo_once() {
    let listener = listen();
    let address = listener.local_addr().unwrap();
    rt::spawn_local(async move { echo(listener.accept().await.unwrap()).await });
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"word").await.unwrap();
    stream.read_exact(&mut [0; 4]).await.unwrap();
}

#[test]
fn cores_take_an_address_over_from_a_blocking_listener() {
    let blocking = rt::listen_blocking((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let address = blocking.local_addr().unwrap();
    let peer = Peer::connect(address).unwrap();
    // The side that closes first keeps the address for a while.
    drop(blocking.accept().unwrap());
    drop((blocking, peer));
    rt::run(None, move || async move { drop(TcpListener::bind(address).unwrap()) }).unwrap();
}
