//! A group in memory: every node with a disk that can lose what was not yet durable, and a network
//! that does only what it is told. `oracle` watches all of it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::message::{
    Body, Content, Entry, HardState, Index, Life, Message, NodeId, Snapshot, Term,
};
use crate::node::{Config, Node, Restored, State};
use crate::ready::{Read, Ready, Receipt};

use super::oracle::Oracle;
use super::{config, voters};

/// A write that was asked for.
#[derive(Debug)]
pub(super) struct Write {
    hard_state: Option<HardState>,
    snapshot: Option<Snapshot>,
    entries: Vec<Entry>,
    receipt: Receipt,
    messages: Vec<Message>,
}

/// What would be there after a crash.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    pub(super) hard_state: HardState,
    pub(super) snapshot: Snapshot,
    pub(super) entries: Vec<Entry>,
}

impl Disk {
    fn write(
        &mut self,
        hard_state: Option<HardState>,
        snapshot: Option<&Snapshot>,
        entries: &[Entry],
    ) {
        self.hard_state = hard_state.unwrap_or(self.hard_state);
        if let Some(snapshot) = snapshot {
            let place = snapshot.last;
            let continues = self.entries.iter().any(|entry| entry.position() == place);
            self.entries.retain(|entry| continues && place.1 < entry.index);
            self.snapshot = snapshot.clone();
        }
        if let Some(first) = entries.first() {
            self.entries.retain(|entry| entry.index < first.index);
            self.entries.extend_from_slice(entries);
        }
    }

    /// Whether the disk holds this entry, or a snapshot that covers it.
    pub(super) fn holds(&self, entry: &Entry) -> bool {
        entry.index <= self.snapshot.last.1 || self.entries.contains(entry)
    }
}

/// A node and its surroundings.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) config: Config,
    /// `None` while it is down.
    pub(super) node: Option<Node>,
    pub(super) disk: Disk,
    /// The disk before the newest write that reached it.
    before: Option<Disk>,
    pub(super) writes: VecDeque<Write>,
    /// Durable, but the node has not been told.
    pub(super) unreported: VecDeque<(Receipt, Vec<Message>)>,
}

/// A snapshot on its way.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    pub(super) from: NodeId,
    pub(super) to: NodeId,
    pub(super) snapshot: Snapshot,
}

/// A read that was asked for.
#[derive(Debug)]
struct Asked {
    node: NodeId,
    /// What was committed anywhere at that time.
    committed: Index,
}

/// The group and its network.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    pub(super) members: BTreeMap<NodeId, Member>,
    pub(super) network: Vec<Message>,
    pub(super) streams: Vec<Stream>,
    pub(super) oracle: Oracle,
    asked: BTreeMap<u64, Asked>,
    contexts: u64,
    /// Counts lives of nodes.
    lives: u64,
}

impl Cluster {
    /// Nodes 1 to `count`, all of them voters, with empty disks.
    pub(super) fn of(count: u64) -> Cluster {
        let mut cluster = Cluster::default();
        for id in 1..=count {
            cluster.add(config(id), Restored::fresh(voters(count)));
        }
        cluster
    }

    /// A node that has this on its disk.
    pub(super) fn add(&mut self, config: Config, restored: Restored) {
        let id = config.id;
        let Restored { hard_state, snapshot, entries, doubtful } = restored;
        self.oracle.knows_beneath(snapshot.last.1);
        let member = Member {
            config,
            node: None,
            disk: Disk { hard_state, snapshot, entries },
            before: None,
            writes: VecDeque::new(),
            unreported: VecDeque::new(),
        };
        assert!(self.members.insert(id, member).is_none(), "each node once");
        self.start(id, doubtful);
    }

    /// Names a life that no node had before.
    pub(super) fn next_life(&mut self) -> Life {
        self.lives += 1;
        Life(self.lives)
    }

    pub(super) fn member(&mut self, id: NodeId) -> &mut Member {
        self.members.get_mut(&id).expect("a node of the cluster")
    }

    pub(super) fn node(&mut self, id: NodeId) -> &mut Node {
        self.member(id).node.as_mut().expect("a node that runs")
    }

    pub(super) fn running(&self) -> impl Iterator<Item = &Node> {
        self.members.values().filter_map(|member| member.node.as_ref())
    }

    pub(super) fn is_up(&self, id: NodeId) -> bool {
        self.members[&id].node.is_some()
    }

    /// The node with the highest term that leads.
    pub(super) fn leader(&self) -> Option<NodeId> {
        let leading = self.running().filter(|node| matches!(node.state, State::Leader(_)));
        leading.max_by_key(|node| node.term()).map(|node| node.id)
    }

    /// Something is done to a node, and the world is looked at.
    pub(super) fn with<T>(&mut self, id: NodeId, act: impl FnOnce(&mut Node) -> T) -> T {
        let result = act(self.node(id));
        self.check(id);
        result
    }

    fn check(&mut self, id: NodeId) {
        self.oracle.look_at(id, &self.members);
    }

    /// Takes a Ready: starts its write, sends its messages, applies what is committed.
    pub(super) fn take_ready(&mut self, id: NodeId) -> TakenReady {
        let expected = self.node(id).has_ready();
        let ready = self.node(id).ready();
        assert_eq!(expected, ready != Ready::default(), "has_ready tells the truth");
        assert!(!self.node(id).has_ready(), "a Ready says everything");
        let taken = TakenReady::of(&ready);
        let Ready { hard_state, snapshot, entries, receipt, .. } = ready;
        let writes = hard_state.is_some() || snapshot.is_some() || !entries.is_empty();
        assert_eq!(receipt.is_some(), writes);
        for message in &ready.messages {
            if message.body == Body::TimeoutNow && message.term == self.node(id).term() {
                let node = self.members[&id].node.as_ref().expect("it runs");
                self.oracle.hands_over(node, &self.members[&message.to]);
            }
        }
        self.network.extend(ready.messages);
        match receipt {
            Some(receipt) => {
                let messages = ready.messages_after_persist;
                let write = Write { hard_state, snapshot, entries, receipt, messages };
                self.member(id).writes.push_back(write);
            }
            None => assert!(ready.messages_after_persist.is_empty(), "nothing to wait for"),
        }
        for entry in ready.committed {
            let node = self.members[&id].node.as_ref().expect("it runs");
            self.oracle.applies(node, &entry);
            self.node(id).applied(entry.index);
        }
        for read in &ready.reads {
            self.end_read(id, read);
        }
        for to in ready.snapshots {
            self.offer(id, to);
        }
        self.check(id);
        taken
    }

    /// A node sends its state to another.
    pub(super) fn offer(&mut self, from: NodeId, to: NodeId) {
        let snapshot = self.snapshot(from);
        self.streams.push(Stream { from, to, snapshot });
    }

    /// The state a node's machine has now.
    fn snapshot(&mut self, id: NodeId) -> Snapshot {
        let node = self.node(id);
        let index = node.log.applied();
        let term = node.log.term_at(index).expect("applied entries are kept, or the last of them");
        Snapshot { last: (term, index), membership: node.membership_applied() }
    }

    /// Asks a node how far it must apply.
    pub(super) fn read(&mut self, id: NodeId) -> u64 {
        self.contexts += 1;
        let committed = self.oracle.committed();
        self.asked.insert(self.contexts, Asked { node: id, committed });
        let context = self.contexts;
        self.with(id, |node| node.read(context));
        context
    }

    /// Whether a read still waits.
    pub(super) fn waits(&self, context: u64) -> bool {
        self.asked.contains_key(&context)
    }

    fn end_read(&mut self, id: NodeId, read: &Read) {
        let asked = self.asked.remove(&read.context).expect("answered once, and only if asked");
        assert_eq!(asked.node, id, "answered where it was asked");
        match read.index {
            Some(index) => {
                assert!(asked.committed <= index, "a read shows what was acknowledged before it");
                self.oracle.reached.reads += 1;
            }
            None => self.oracle.reached.reads_in_vain += 1,
        }
    }

    /// Makes the oldest write durable, without a word to the node. `None` if there is no write.
    pub(super) fn reach_disk(&mut self, id: NodeId) -> Option<()> {
        let member = self.member(id);
        let write = member.writes.pop_front()?;
        member.before = Some(member.disk.clone());
        member.disk.write(write.hard_state, write.snapshot.as_ref(), &write.entries);
        member.unreported.push_back((write.receipt, write.messages));
        Some(())
    }

    /// Hands back the oldest receipt whose write is durable and sends what waited for it.
    pub(super) fn report(&mut self, id: NodeId) -> Option<Receipt> {
        let (receipt, messages) = self.member(id).unreported.pop_front()?;
        self.network.extend(messages);
        self.with(id, |node| node.persisted(receipt.clone()));
        Some(receipt)
    }

    /// Both: the oldest write is durable and the node knows.
    pub(super) fn persist(&mut self, id: NodeId) -> Option<Receipt> {
        if self.member(id).unreported.is_empty() {
            self.reach_disk(id)?;
        }
        self.report(id)
    }

    /// Delivers the message at this place of the network; lost if its receiver is down.
    pub(super) fn deliver(&mut self, slot: usize) -> Message {
        let message = self.network.remove(slot);
        let known = self.members.get(&message.to);
        if known.is_some_and(|member| member.node.is_some()) {
            self.with(message.to, |node| node.step(message.clone()));
        }
        message
    }

    /// A stream ends: its snapshot has arrived, or not. Returns whether the log restarted there.
    pub(super) fn end_stream(&mut self, slot: usize, arrives: bool) -> (Stream, bool) {
        let stream = self.streams.remove(slot);
        let taken = arrives && self.is_up(stream.to) && self.hand_over(&stream);
        if self.is_up(stream.from) {
            self.with(stream.from, |node| node.snapshot_ended(stream.to));
        }
        (stream, taken)
    }

    fn hand_over(&mut self, stream: &Stream) -> bool {
        self.oracle.restores(&stream.snapshot);
        let snapshot = stream.snapshot.clone();
        self.with(stream.to, |node| node.restore(snapshot))
    }

    /// Stops a node. Of the writes under way all but the first `kept` are lost; says how many. Of the
    /// first one lost, the hard state and `torn` entries may have reached the disk.
    pub(super) fn crash(&mut self, id: NodeId, kept: usize, torn: Option<usize>) -> usize {
        for _ in 0..kept {
            self.reach_disk(id);
        }
        let member = self.member(id);
        if let (Some(write), Some(torn)) = (member.writes.front(), torn) {
            let entries = &write.entries[..torn.min(write.entries.len())];
            let snapshot = write.snapshot.as_ref().filter(|_| 0 < torn);
            member.disk.write(write.hard_state, snapshot, entries);
        }
        let member = self.member(id);
        member.node = None;
        member.unreported.clear();
        self.asked.retain(|_, asked| asked.node != id);
        self.member(id).writes.drain(..).count()
    }

    /// The newest write of a node that is down turns out not to be there, though it was acknowledged.
    /// Returns whether there was one that can be lost: a change of members is not looked for there.
    pub(super) fn lose_newest(&mut self, id: NodeId) -> bool {
        let member = self.members.get_mut(&id).expect("a node of the cluster");
        assert!(member.node.is_none(), "a node that is down");
        let Some(before) = member.before.take() else { return false };
        let lost = |entry: &&Entry| !before.holds(entry);
        let changes = |entry: &Entry| matches!(entry.content, Content::Membership(_));
        let lost: Vec<Entry> = member.disk.entries.iter().filter(lost).cloned().collect();
        let restarted = before.snapshot != member.disk.snapshot;
        let kept = |entry: &&Entry| !member.disk.holds(entry);
        let changed = lost.iter().any(changes) || before.entries.iter().filter(kept).any(changes);
        if restarted || changed {
            return false;
        }
        self.oracle.loses(id, &lost);
        member.disk = before;
        true
    }

    /// Starts a node from its disk.
    pub(super) fn restart(&mut self, id: NodeId, doubtful: bool) {
        let life = self.next_life();
        self.start(id, doubtful.then_some(life));
    }

    fn start(&mut self, id: NodeId, doubtful: Option<Life>) {
        let member = self.member(id);
        assert!(member.node.is_none(), "a node that is down");
        let Disk { hard_state, snapshot, entries } = member.disk.clone();
        let restored = Restored { hard_state, snapshot, entries, doubtful };
        member.node = Some(Node::new(member.config.clone(), restored));
        member.before = None;
        self.check(id);
    }

    /// Puts a snapshot of what is applied and durable on a node's disk and drops what is behind it.
    /// Returns whether there was anything new.
    pub(super) fn checkpoint(&mut self, id: NodeId, index: Index) -> bool {
        let node = self.node(id);
        let index = index.min(node.log.applied()).min(node.log.durable());
        let known = node.log.term_at(index).filter(|_| node.restoring.is_none());
        let Some(term) = known else { return false };
        let membership = Arc::clone(node.log.membership_at(index));
        let member = self.member(id);
        let new = member.disk.snapshot.last.1 < index;
        if new {
            member.disk.snapshot = Snapshot { last: (term, index), membership };
            member.disk.entries.retain(|entry| index < entry.index);
            member.before = None;
        }
        new
    }

    /// The term of the newest entry the disk of a node holds.
    pub(super) fn disk_last(&self, id: NodeId) -> (Term, Index) {
        let disk = &self.members[&id].disk;
        disk.entries.last().map_or(disk.snapshot.last, Entry::position)
    }
}

/// A copy of a Ready, for those who want to see it.
#[derive(Debug)]
pub(super) struct TakenReady {
    pub(super) hard_state: Option<HardState>,
    pub(super) snapshot: Option<Snapshot>,
    pub(super) entries: Vec<Entry>,
    pub(super) receipt: Option<Receipt>,
    pub(super) messages: Vec<Message>,
    pub(super) messages_after_persist: Vec<Message>,
    pub(super) committed: Vec<Entry>,
    pub(super) reads: Vec<Read>,
    pub(super) snapshots: Vec<NodeId>,
}

impl TakenReady {
    fn of(ready: &Ready) -> TakenReady {
        TakenReady {
            hard_state: ready.hard_state,
            snapshot: ready.snapshot.clone(),
            entries: ready.entries.clone(),
            receipt: ready.receipt.clone(),
            messages: ready.messages.clone(),
            messages_after_persist: ready.messages_after_persist.clone(),
            committed: ready.committed.clone(),
            reads: ready.reads.clone(),
            snapshots: ready.snapshots.clone(),
        }
    }
}
