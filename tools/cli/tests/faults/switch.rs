//! The switch: every host is a network of its own whose only way out ends in this process, which
//! carries each packet on, late or not at all as it is told.

use std::io;
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use histories::dice::{Dice, Salt};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tun_rs::{DeviceBuilder, SyncDevice};

use crate::namespace::Namespace;

/// Nodes at the switch.
pub(crate) const NODES: usize = 3;
/// The host of all clients.
pub(crate) const CLIENTS: usize = NODES;
const HOSTS: usize = NODES + 1;
/// Packets under way to one host; what finds no room is lost, as it would be anywhere.
const QUEUE_MAX: usize = 4096;
const MTU: u16 = 1500;

/// The address of a host.
pub(crate) fn address(host: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, u8::try_from(host + 1).expect("hosts are few"))
}

/// What happens to packets from one host to another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Link {
    /// None arrives.
    pub(crate) cut: bool,
    /// Each arrives so much later.
    pub(crate) delay: Duration,
    /// So many of a thousand do not arrive.
    pub(crate) loss_permille: u32,
}

/// From host to host.
type Links = [[Link; HOSTS]; HOSTS];

#[derive(Debug)]
struct Shared {
    links: Mutex<Links>,
    stop: AtomicBool,
    lost: AtomicU64,
}

impl Shared {
    fn links(&self) -> MutexGuard<'_, Links> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Three nodes' hosts, one of clients, and what carries their packets.
#[derive(Debug)]
pub(crate) struct Switch {
    hosts: Vec<Namespace>,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// A packet that is late.
type Late = (Instant, Vec<u8>);

impl Switch {
    /// Makes the hosts and joins them.
    ///
    /// # Errors
    /// What the machine forbids.
    pub(crate) fn new() -> io::Result<Switch> {
        let shared = Arc::new(Shared {
            links: Mutex::default(),
            stop: AtomicBool::new(false),
            lost: AtomicU64::new(0),
        });
        let (mut hosts, mut devices, mut lines, mut threads) = (vec![], vec![], vec![], vec![]);
        for host in 0..HOSTS {
            let namespace = Namespace::new()?;
            let device = Arc::new(namespace.inside(|| plug(host))??);
            let (line, late) = sync_channel(QUEUE_MAX);
            let to = Arc::clone(&device);
            threads.push(thread::spawn(move || deliver(&late, &to)));
            hosts.push(namespace);
            devices.push(device);
            lines.push(line);
        }
        for host in 0..HOSTS {
            let port = Port {
                host,
                devices: devices.clone(),
                lines: lines.clone(),
                dice: Dice::new(host as u64, Salt(7)),
                shared: Arc::clone(&shared),
            };
            threads.push(thread::spawn(move || port.carry()));
        }
        Ok(Switch { hosts, shared, threads })
    }

    /// The network of a host.
    pub(crate) fn host(&self, host: usize) -> &Namespace {
        &self.hosts[host]
    }

    /// Says what happens between two nodes, in one direction.
    pub(crate) fn set(&self, from: usize, to: usize, link: Link) {
        self.shared.links()[from][to] = link;
    }

    /// Says what happens between all nodes.
    pub(crate) fn set_nodes(&self, link: Link) {
        let mut links = self.shared.links();
        for from in 0..NODES {
            links[from][..NODES].fill(link);
        }
    }

    /// All is well again.
    pub(crate) fn heal(&self) {
        *self.shared.links() = Links::default();
    }

    /// Packets that did not arrive.
    pub(crate) fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Makes the only way out of the network this thread is in.
fn plug(host: usize) -> io::Result<SyncDevice> {
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status()?;
    if !up.success() {
        return Err(io::Error::other("the loopback cannot be used"));
    }
    DeviceBuilder::new().name("eth0").mtu(MTU).ipv4(address(host), 24, None).build_sync()
}

/// Hands over what is late, in its order.
fn deliver(late: &Receiver<Late>, to: &SyncDevice) {
    for (due, packet) in late {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let _ = to.send(&packet);
    }
}

/// Where packets of one host arrive.
struct Port {
    host: usize,
    devices: Vec<Arc<SyncDevice>>,
    lines: Vec<SyncSender<Late>>,
    dice: Dice,
    shared: Arc<Shared>,
}

impl Port {
    fn carry(mut self) {
        const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        let device = Arc::clone(&self.devices[self.host]);
        let mut packet = vec![0; 2 * usize::from(MTU)];
        while !self.shared.stop.load(Ordering::Relaxed) {
            let mut waiting = [PollFd::new(&*device, PollFlags::IN)];
            if !poll(&mut waiting, Some(&LOOK)).is_ok_and(|ready| 0 < ready) {
                continue;
            }
            if let Ok(length) = device.recv(&mut packet) {
                self.pass(&packet[..length]);
            }
        }
    }

    fn pass(&mut self, packet: &[u8]) {
        let Some(to) = receiver(packet).filter(|to| *to < HOSTS) else { return };
        let link = self.shared.links()[self.host][to];
        let dropped = link.cut || self.dice.permille(link.loss_permille);
        let arrives = if dropped {
            false
        } else if link.delay.is_zero() {
            self.devices[to].send(packet).is_ok()
        } else {
            self.lines[to].try_send((Instant::now() + link.delay, packet.to_vec())).is_ok()
        };
        if !arrives {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The host an IPv4 packet is for.
fn receiver(packet: &[u8]) -> Option<usize> {
    let is_ours = packet.first()? >> 4 == 4 && packet.get(16..19)? == &address(0).octets()[..3];
    usize::from(*packet.get(19)?).checked_sub(1).filter(|_| is_ours)
}
