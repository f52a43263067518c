//! Which connections stand. A node dials every other again and again until it gets through; a
//! connection that is cut breaks when somebody notices; the end of a process is noticed at once where
//! the wires are whole.

use raft::NodeId;

use crate::event::Event;
use crate::queue::{MILLI, SECOND, Time};
use crate::world::World;

/// Microseconds between two tries.
const RETRY: u64 = 100 * MILLI;
/// Most microseconds until a node notices that a connection stands or broke.
const NOTICE: u64 = 5 * MILLI;
/// Most microseconds until a cut is noticed, or the end of a process behind one.
const KEEP_ALIVE: u64 = 2 * SECOND;

/// One direction: what the receiver believes.
#[derive(Debug, Clone, Copy, Default)]
struct Connection {
    /// The lives of receiver and sender it connects, and the sender's name; `None` if there is none.
    lives: Option<(u32, u32, NodeId)>,
    /// When the receiver was last told something of it: what it hears is in order.
    told_at: Time,
    /// Since when the wires are cut.
    cut_since: Option<Time>,
}

/// All connections.
#[derive(Debug)]
pub(crate) struct Links {
    nodes: usize,
    connections: Vec<Connection>,
}

impl Links {
    /// Nothing is connected.
    pub(crate) fn new(nodes: usize) -> Links {
        Links { nodes, connections: vec![Connection::default(); nodes * nodes] }
    }

    /// What a process believed ends with it.
    pub(crate) fn ended(&mut self, node: usize) {
        for sender in 0..self.nodes {
            self.connections[node * self.nodes + sender].lives = None;
        }
    }
}

impl World {
    /// Tries all connections, and again later.
    pub(crate) fn dial_again(&mut self) {
        self.dial();
        let at = self.now() + RETRY;
        self.queue.plan(at, Event::Dial);
    }

    /// Looks at each connection: one that can stand is made, one that cannot breaks.
    pub(crate) fn dial(&mut self) {
        for to in 0..self.nodes.len() {
            for from in (0..self.nodes.len()).filter(|from| *from != to) {
                if self.nodes[to].is_up() {
                    self.look_at(to, from);
                }
            }
        }
    }

    fn look_at(&mut self, to: usize, from: usize) {
        let now = self.now();
        let cut = self.network.is_cut(from, to) || self.network.is_cut(to, from);
        let sender_up = self.nodes[from].is_up();
        let lives = (self.nodes[to].life, self.nodes[from].life, self.nodes[from].id());
        let connection = &mut self.links.connections[to * self.links.nodes + from];
        connection.cut_since = cut.then(|| connection.cut_since.unwrap_or(now));
        let cut_for = connection.cut_since.map_or(0, |since| now - since);
        let noticed = !cut || KEEP_ALIVE <= cut_for;
        let stands = connection.lives == Some(lives) && sender_up;
        if let Some((.., id)) = connection.lives
            && (!stands || cut)
            && noticed
        {
            connection.lives = None;
            self.tell((to, from), id, false);
        }
        let connection = &mut self.links.connections[to * self.links.nodes + from];
        if connection.lives.is_none() && sender_up && !cut {
            connection.lives = Some(lives);
            self.tell((to, from), lives.2, true);
        }
    }

    fn tell(&mut self, (to, from): (usize, usize), node: NodeId, up: bool) {
        let soon = self.now() + 100 + self.turns.below(NOTICE);
        let connection = &mut self.links.connections[to * self.links.nodes + from];
        connection.told_at = soon.max(connection.told_at + 1);
        let at = connection.told_at;
        self.queue.plan(at, Event::Link { to, node, up });
    }
}
