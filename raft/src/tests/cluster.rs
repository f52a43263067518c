//! A group in memory: every node with a disk that can lose what was not yet durable, and a network
//! that does only what it is told. After every act the properties of the paper's figure 3 are checked
//! across all nodes, and that what is handed out as committed really is on a quorum of disks.

use std::collections::{BTreeMap, VecDeque};

use crate::message::{Entry, HardState, Index, Message, NodeId, Term};
use crate::node::{Config, Node, Restored, State};
use crate::ready::{Ready, Receipt};

use super::{ELECTION_TICKS, HEARTBEAT_TICKS};

/// A write that was asked for.
#[derive(Debug)]
pub(super) struct Write {
    hard_state: Option<HardState>,
    entries: Vec<Entry>,
    receipt: Receipt,
    messages: Vec<Message>,
}

/// What would be there after a crash.
#[derive(Debug, Default)]
pub(super) struct Disk {
    hard_state: HardState,
    snapshot: (Term, Index),
    pub(super) entries: Vec<Entry>,
}

impl Disk {
    fn write(&mut self, hard_state: Option<HardState>, entries: &[Entry]) {
        self.hard_state = hard_state.unwrap_or(self.hard_state);
        if let Some(first) = entries.first() {
            self.entries.retain(|entry| entry.index < first.index);
            self.entries.extend_from_slice(entries);
        }
    }

    /// Whether the disk holds this entry, or a snapshot that covers it.
    fn holds(&self, entry: &Entry) -> bool {
        entry.index <= self.snapshot.1 || self.entries.contains(entry)
    }
}

/// A node and its surroundings.
#[derive(Debug)]
pub(super) struct Member {
    config: Config,
    /// `None` while it is down.
    pub(super) node: Option<Node>,
    pub(super) disk: Disk,
    pub(super) writes: VecDeque<Write>,
    /// Durable, but the node has not been told.
    pub(super) unreported: VecDeque<(Receipt, Vec<Message>)>,
}

/// An entry some node was told to apply.
#[derive(Debug)]
struct Committed {
    entry: Entry,
    /// The term of that node: leaders of later terms hold the entry.
    term: Term,
}

/// The group and its network.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    pub(super) members: BTreeMap<NodeId, Member>,
    pub(super) network: Vec<Message>,
    /// Everything handed out as committed by anybody.
    ledger: BTreeMap<Index, Committed>,
    /// Who has led each term.
    leaders: BTreeMap<Term, NodeId>,
    /// How large an append may be, if not as large as usual.
    append_bytes_max: Option<usize>,
}

impl Cluster {
    /// Nodes 1 to `count`, all of them voters, with empty disks.
    pub(super) fn of(count: u64, seed: u64) -> Cluster {
        let mut cluster = Cluster::default();
        let voters: Vec<NodeId> = (1..=count).map(NodeId).collect();
        for id in &voters {
            cluster.add(*id, voters.clone(), seed, Restored::default());
        }
        cluster
    }

    /// The same with smaller appends.
    pub(super) fn with_appends_of(mut self, bytes_max: usize) -> Cluster {
        self.append_bytes_max = Some(bytes_max);
        for id in self.members.keys().copied().collect::<Vec<_>>() {
            self.node(id).append_bytes_max = bytes_max;
        }
        self
    }

    /// A node that has this on its disk.
    pub(super) fn add(&mut self, id: NodeId, voters: Vec<NodeId>, seed: u64, restored: Restored) {
        let config = Config {
            id,
            voters,
            election_ticks: ELECTION_TICKS,
            heartbeat_ticks: HEARTBEAT_TICKS,
            seed,
        };
        let disk = Disk {
            hard_state: restored.hard_state,
            snapshot: restored.snapshot,
            entries: restored.entries,
        };
        let (writes, unreported) = (VecDeque::new(), VecDeque::new());
        let member = Member { config, node: None, disk, writes, unreported };
        assert!(self.members.insert(id, member).is_none(), "each node once");
        self.restart(id);
    }

    pub(super) fn member(&mut self, id: NodeId) -> &mut Member {
        self.members.get_mut(&id).expect("a node of the cluster")
    }

    pub(super) fn node(&mut self, id: NodeId) -> &mut Node {
        self.member(id).node.as_mut().expect("a node that runs")
    }

    pub(super) fn is_up(&self, id: NodeId) -> bool {
        self.members[&id].node.is_some()
    }

    /// The node with the highest term that leads.
    pub(super) fn leader(&self) -> Option<NodeId> {
        let running = self.members.values().filter_map(|member| member.node.as_ref());
        let leading = running.filter(|node| matches!(node.state, State::Leader(_)));
        leading.max_by_key(|node| node.term()).map(|node| node.id)
    }

    /// Takes a Ready: starts its write, sends its messages, applies what is committed.
    pub(super) fn take_ready(&mut self, id: NodeId) -> TakenReady {
        let expected = self.node(id).has_ready();
        let ready = self.node(id).ready();
        assert_eq!(expected, ready != Ready::default(), "has_ready tells the truth");
        assert!(!self.node(id).has_ready(), "a Ready says everything");
        let Ready { hard_state, entries, receipt, messages, messages_after_persist, committed } =
            ready;
        let taken = TakenReady {
            hard_state,
            entries: entries.clone(),
            receipt: receipt.clone(),
            messages: messages.clone(),
            messages_after_persist: messages_after_persist.clone(),
            committed: committed.clone(),
        };
        assert_eq!(receipt.is_some(), hard_state.is_some() || !entries.is_empty());
        self.network.extend(messages);
        match receipt {
            Some(receipt) => {
                let messages = messages_after_persist;
                let write = Write { hard_state, entries, receipt, messages };
                self.member(id).writes.push_back(write);
            }
            None => assert!(messages_after_persist.is_empty(), "nothing to wait for"),
        }
        for entry in committed {
            self.apply(id, entry);
        }
        self.check();
        taken
    }

    /// Makes the oldest write durable, without a word to the node. `None` if there is no write.
    pub(super) fn reach_disk(&mut self, id: NodeId) -> Option<()> {
        let member = self.member(id);
        let write = member.writes.pop_front()?;
        member.disk.write(write.hard_state, &write.entries);
        member.unreported.push_back((write.receipt, write.messages));
        Some(())
    }

    /// Hands back the oldest receipt whose write is durable and sends what waited for it.
    pub(super) fn report(&mut self, id: NodeId) -> Option<Receipt> {
        let (receipt, messages) = self.member(id).unreported.pop_front()?;
        self.network.extend(messages);
        self.node(id).persisted(receipt.clone());
        self.check();
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
        if self.is_up(message.to) {
            self.node(message.to).step(message.clone());
            self.check();
        }
        message
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
            member.disk.write(write.hard_state, entries);
        }
        let member = self.member(id);
        member.node = None;
        member.unreported.clear();
        member.writes.drain(..).count()
    }

    /// Starts a node from its disk.
    pub(super) fn restart(&mut self, id: NodeId) {
        let append_bytes_max = self.append_bytes_max;
        let member = self.member(id);
        assert!(member.node.is_none(), "a node that is down");
        let Disk { hard_state, snapshot, entries } = &member.disk;
        let (hard_state, snapshot) = (*hard_state, *snapshot);
        let restored = Restored { hard_state, snapshot, entries: entries.clone() };
        let mut node = Node::new(member.config.clone(), restored);
        node.append_bytes_max = append_bytes_max.unwrap_or(node.append_bytes_max);
        member.node = Some(node);
        self.check();
    }

    /// Puts a snapshot of everything up to `index` on a node's disk and drops what is behind it.
    pub(super) fn compact(&mut self, id: NodeId, index: Index) {
        let term = self.node(id).log.term_at(index).expect("compacted within the log");
        self.node(id).compact(index);
        let disk = &mut self.member(id).disk;
        if disk.snapshot.1 < index {
            disk.snapshot = (term, index);
            disk.entries.retain(|entry| index < entry.index);
        }
        self.check();
    }

    /// How far every disk agrees with what was committed: compacting beyond it would leave a node
    /// behind for good.
    pub(super) fn compactable(&self) -> Index {
        let agreed = |member: &Member| {
            let held = self.ledger.values().take_while(|known| member.disk.holds(&known.entry));
            held.last().map_or(Index(0), |known| known.entry.index)
        };
        self.members.values().map(agreed).min().expect("a cluster of some nodes")
    }

    /// The last index handed out as committed by anybody.
    pub(super) fn committed(&self) -> Index {
        self.ledger.last_key_value().map_or(Index(0), |(index, _)| *index)
    }

    /// How many terms had a leader.
    pub(super) fn terms_led(&self) -> usize {
        self.leaders.len()
    }

    fn apply(&mut self, id: NodeId, entry: Entry) {
        let holders = self.members.values().filter(|member| member.disk.holds(&entry)).count();
        assert!(self.members.len() < 2 * holders, "{entry:?} is committed by {holders} disks");
        let node = self.node(id);
        let (term, index) = (node.term(), entry.index);
        assert_eq!(index, node.log.applied().next(), "committed in order");
        let known =
            self.ledger.entry(index).or_insert_with(|| Committed { entry: entry.clone(), term });
        assert_eq!(known.entry, entry, "state machine safety");
        self.node(id).applied(index);
    }

    fn check(&mut self) {
        for member in self.members.values() {
            let Some(node) = &member.node else {
                continue;
            };
            if matches!(node.state, State::Leader(_)) {
                let leader = *self.leaders.entry(node.term()).or_insert(node.id);
                assert_eq!(leader, node.id, "election safety");
                check_leader_completeness(node, &self.ledger);
            }
        }
        let logs: Vec<_> =
            self.members.values().filter_map(|member| member.node.as_ref()).collect();
        for (slot, one) in logs.iter().enumerate() {
            for other in &logs[..slot] {
                check_log_matching(one, other);
            }
        }
    }
}

/// A copy of a Ready, for those who want to see it.
#[derive(Debug)]
pub(super) struct TakenReady {
    pub(super) hard_state: Option<HardState>,
    pub(super) entries: Vec<Entry>,
    pub(super) receipt: Option<Receipt>,
    pub(super) messages: Vec<Message>,
    pub(super) messages_after_persist: Vec<Message>,
    pub(super) committed: Vec<Entry>,
}

fn check_leader_completeness(leader: &Node, ledger: &BTreeMap<Index, Committed>) {
    for (index, known) in ledger.range(leader.log.floor().1.next()..) {
        if known.term < leader.term() {
            let held = leader.log.get(*index);
            assert_eq!(held, Some(&known.entry), "leader completeness");
        }
    }
}

fn check_log_matching(one: &Node, other: &Node) {
    let first = one.log.floor().1.max(other.log.floor().1).0;
    let last = one.log.last().1.min(other.log.last().1).0;
    let mut agrees_above = false;
    for index in (first..=last).rev().map(Index) {
        let agrees = one.log.term_at(index) == other.log.term_at(index);
        assert!(agrees || !agrees_above, "log matching at {index}");
        if agrees && first < index.0 {
            assert_eq!(one.log.get(index), other.log.get(index), "log matching");
        }
        agrees_above = agrees;
    }
}
