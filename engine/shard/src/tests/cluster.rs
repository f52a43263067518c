//! Three shards and a network of queues: elections, replication, the death of a leader, a node that
//! comes back far behind, one that comes back with nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use model::api::{Appended, Reply, Request, TailMessage, TailOpen};
use model::cluster::{MemberId, NameTag};
use model::ids::{Micros, Now, Placement, Seq, ShardId};
use raft::{Body, NodeId, Role};

use crate::cluster::{Cluster, Timing, tag};
use crate::effect::{Effect, Input, Peers, TailId, Ticket, perform};
use crate::peer::PeerMessage;
use crate::shard::{Options, Shard};

use super::world::{FakeClients, FakeDisk, SEGMENT_BYTES, append, create, id, open};

#[derive(Debug, Default)]
struct Outbox(Vec<(NodeId, PeerMessage)>);

impl Peers for Outbox {
    fn send(&mut self, to: NodeId, message: PeerMessage) {
        self.0.push((to, message));
    }
}

#[derive(Debug)]
pub(super) struct Machine {
    pub(super) shard: Option<Shard>,
    pub(super) disk: FakeDisk,
    pub(super) clients: FakeClients,
    options: Options,
}

#[derive(Debug)]
pub(super) struct Net {
    pub(super) nodes: BTreeMap<NodeId, Machine>,
    wire: VecDeque<(NodeId, NodeId, PeerMessage)>,
    /// Nodes nobody hears and who hear nobody.
    pub(super) cut: BTreeSet<NodeId>,
    /// Messages between nodes that arrive when the test wants.
    pub(super) holds: fn(&PeerMessage) -> bool,
    pub(super) held: Vec<(NodeId, NodeId, PeerMessage)>,
    now: Now,
    next: u64,
}

pub(super) fn node(name: u32, life: u32) -> NodeId {
    NodeId(MemberId::new(NameTag(name), life).0)
}

pub(super) fn founders() -> Vec<NodeId> {
    (1..=3).map(|name| node(name, 1)).collect()
}

pub(super) fn options(own: NodeId, groups: u32, hot_bytes_max: u64) -> Options {
    let cluster = Cluster {
        own,
        founders: founders(),
        founding_factor: 3,
        write: (1..=3).map(NameTag).collect(),
        factor: 3,
        timing: Timing::default(),
    };
    let names = (own.0, 1);
    Options {
        segment_bytes: SEGMENT_BYTES,
        log_kept_bytes: 32 * 1024,
        ..Options::new(Placement::new(groups, 1), ShardId(0), names, hot_bytes_max, cluster)
    }
}

impl Net {
    pub(super) fn new(groups: u32, hot_bytes_max: u64) -> Net {
        let now = Now { monotonic: 1_000_000, wall: Micros(1_700_000_000_000_000) };
        let nodes = BTreeMap::new();
        let (wire, held) = (VecDeque::new(), Vec::new());
        let cut = BTreeSet::new();
        let mut net = Net { nodes, wire, cut, holds: |_| false, held, now, next: 1 };
        for own in founders() {
            net.add(options(own, groups, hot_bytes_max), FakeDisk::default());
        }
        net
    }

    pub(super) fn add(&mut self, options: Options, mut disk: FakeDisk) {
        let own = options.cluster.own;
        let shard = open(options.clone(), &mut disk).expect("an explicable disk");
        let machine =
            Machine { shard: Some(shard), disk, clients: FakeClients::default(), options };
        self.nodes.insert(own, machine);
        let up: Vec<NodeId> = self.alive().filter(|other| *other != own).collect();
        for other in up {
            self.give(own, Input::Link { node: other, up: true });
            self.give(other, Input::Link { node: own, up: true });
        }
    }

    pub(super) fn alive(&self) -> impl Iterator<Item = NodeId> {
        self.nodes.iter().filter(|(_, machine)| machine.shard.is_some()).map(|(node, _)| *node)
    }

    pub(super) fn kill(&mut self, node: NodeId) {
        let machine = self.nodes.get_mut(&node).unwrap();
        machine.shard = None;
        machine.disk.crash();
        self.wire.retain(|(from, to, _)| *from != node && *to != node);
        for other in self.alive().collect::<Vec<_>>() {
            self.give(other, Input::Link { node, up: false });
        }
    }

    pub(super) fn restart(&mut self, node: NodeId) {
        let Machine { disk, mut options, .. } = self.nodes.remove(&node).unwrap();
        options.life += 1 << 32;
        self.add(options, disk);
    }

    pub(super) fn give(&mut self, node: NodeId, input: Input) {
        let now = self.now;
        if let Some(shard) = &mut self.nodes.get_mut(&node).unwrap().shard {
            shard.step(input, now);
        }
    }

    /// Turns and deliveries until nothing moves.
    pub(super) fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 200_000, "a cluster comes to rest");
            let mut quiet = true;
            for own in self.alive().collect::<Vec<_>>() {
                let machine = self.nodes.get_mut(&own).unwrap();
                let shard = machine.shard.as_mut().unwrap();
                let mut effects: Vec<Effect> = Vec::new();
                shard.settle(self.now, &mut effects);
                let mut outbox = Outbox::default();
                quiet &= effects.is_empty() && !shard.has_work();
                perform(&mut effects, &mut machine.disk, &mut machine.clients, &mut outbox);
                for done in machine.disk.take_done() {
                    quiet = false;
                    shard.step(Input::Disk(done), self.now);
                }
                let messages = outbox.0.into_iter().map(|(to, message)| (own, to, message));
                self.wire.extend(messages);
            }
            while let Some((from, to, message)) = self.wire.pop_front() {
                let cut = self.cut.contains(&from) || self.cut.contains(&to);
                if !cut && (self.holds)(&message) {
                    self.held.push((from, to, message));
                    continue;
                }
                if !cut && self.nodes.get(&to).is_some_and(|machine| machine.shard.is_some()) {
                    quiet = false;
                    self.give(to, Input::Peer { from, message });
                }
            }
            if quiet {
                return;
            }
        }
    }

    pub(super) fn pass(&mut self, millis: u64) {
        self.pass_without(&[], millis);
    }

    /// Time passes everywhere but at some nodes, which stand still.
    pub(super) fn pass_without(&mut self, still: &[NodeId], millis: u64) {
        for _ in 0..millis / 10 {
            self.now.monotonic += 10_000;
            self.now.wall.0 += 10_000;
            let moving = self.alive().filter(|own| !still.contains(own));
            for own in moving.collect::<Vec<_>>() {
                self.give(own, Input::Tick);
            }
            self.settle();
        }
    }

    /// Time passes, in which a node becomes ready: never before all groups' leaders count on it, and
    /// nobody else thinks so.
    pub(super) fn pass_until_counted(&mut self, millis: u64, newcomer: NodeId) {
        let mut was_ready = false;
        for _ in 0..millis / 10 {
            self.pass(10);
            let says = |node: NodeId| {
                let shard = self.nodes[&node].shard.as_ref().unwrap();
                shard.neighbours().iter().any(|other| other.node == newcomer && other.ready)
            };
            let others = self.alive().filter(|node| *node != newcomer).any(says);
            let own = self.nodes[&newcomer].shard.as_ref().unwrap();
            was_ready = own.is_ready();
            let Some(lack) = self.lacks_votes(newcomer) else { continue };
            assert!(!was_ready && !others, "{lack}");
            assert!(0 < own.gauges().groups_not_ready && own.failing().is_some());
        }
        assert!(was_ready, "{newcomer} is ready in the end");
    }

    /// A group that should be held by a node and whose leader does not count on it.
    fn lacks_votes(&self, node: NodeId) -> Option<String> {
        let leaders = self.leaders();
        let own = self.nodes[&node].shard.as_ref().unwrap();
        let wanted = own.groups.iter().filter(|group| group.wanted.contains(&tag(node)));
        let lacks = |group: &&crate::group::Group| {
            let leader = leaders.get(&group.id.0)?;
            let shard = self.nodes[leader].shard.as_ref().unwrap();
            let members = shard.memberships().nth(shard.slot_of(group.id)).unwrap();
            let counts = members.voters.contains(&node)
                && (!members.is_joint() || members.outgoing.contains(&node));
            (!counts).then(|| format!("{node} is ready, but of {:?}: {members:?}", group.id))
        };
        wanted.into_iter().find_map(|group| lacks(&group))
    }

    pub(super) fn ask(&mut self, at: NodeId, request: Request) -> Option<Reply> {
        let ticket = Ticket(self.next);
        self.next += 1;
        self.give(at, Input::Request { ticket, request });
        self.settle();
        self.nodes.get_mut(&at).unwrap().clients.replies.remove(&ticket)
    }

    /// Asks any node, and goes where it says.
    pub(super) fn call(&mut self, request: &Request) -> Reply {
        let mut at = self.alive().find(|node| !self.cut.contains(node)).unwrap();
        for _ in 0..400 {
            match self.ask(at, request.clone()) {
                Some(Reply::NotLeader { leader: Some(leader) }) if NodeId(leader.0) != at => {
                    at = NodeId(leader.0);
                }
                Some(Reply::NotLeader { leader: None }) => {
                    // It may hold nothing: another is asked.
                    self.pass(10);
                    let next = self.alive().find(|node| at < *node && !self.cut.contains(node));
                    at = next
                        .or_else(|| self.alive().find(|node| !self.cut.contains(node)))
                        .unwrap();
                }
                Some(Reply::NotLeader { .. }) | None => self.pass(10),
                Some(reply) => return reply,
            }
            if self.cut.contains(&at) || self.nodes[&at].shard.is_none() {
                self.pass(10);
                at = self.alive().find(|node| !self.cut.contains(node)).unwrap();
            }
        }
        panic!("nobody answers {request:?}")
    }

    pub(super) fn append(&mut self, name: &str, text: &str) -> Appended {
        match self.call(&Request::Append(append(name, None, text))) {
            Reply::Appended(appended) => appended,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn leaders(&self) -> BTreeMap<u32, NodeId> {
        let mut leaders = BTreeMap::new();
        for own in self.alive().filter(|node| !self.cut.contains(node)) {
            for (group, status) in self.nodes[&own].shard.as_ref().unwrap().statuses() {
                if status.role == Role::Leader {
                    assert!(leaders.insert(group.0, own).is_none(), "one leader of {group:?}");
                }
            }
        }
        leaders
    }

    /// What a tail from the start delivers at a node.
    pub(super) fn events(&mut self, at: NodeId, name: &str) -> Vec<String> {
        let tail = TailId(self.next);
        self.next += 1;
        self.give(
            at,
            Input::TailOpen { tail, open: TailOpen { session: id(name), cursor: Seq(0) } },
        );
        let mut texts = Vec::new();
        for _ in 0..200 {
            self.settle();
            let clients = &mut self.nodes.get_mut(&at).unwrap().clients;
            let mut bytes = 0;
            for message in clients.tails.remove(&tail).unwrap_or_default() {
                if let TailMessage::Events { events, .. } = message {
                    for event in events {
                        bytes += event.json.len() as u64;
                        assert_eq!(event.seq.0, texts.len() as u64 + 1);
                        texts.push(String::from_utf8(event.json.to_vec()).unwrap());
                    }
                }
            }
            if bytes == 0 {
                break;
            }
            self.give(at, Input::TailCredit { tail, bytes });
        }
        self.give(at, Input::TailClose { tail });
        texts
    }

    pub(super) fn gauges(&self, at: NodeId) -> crate::effect::Gauges {
        self.nodes[&at].shard.as_ref().unwrap().gauges()
    }
}

#[test]
fn every_group_finds_a_leader_and_comes_to_rest() {
    let mut net = Net::new(8, 1 << 30);
    net.pass(6_000);
    assert_eq!(net.leaders().len(), 8);
    for own in founders() {
        let gauges = net.gauges(own);
        assert_eq!((gauges.groups_not_ready, gauges.groups_quiet), (0, 8), "{own}: {gauges:?}");
    }
}

#[test]
fn what_is_acknowledged_is_on_every_node() {
    let mut net = Net::new(4, 1 << 30);
    net.pass(1_500);
    net.call(&create("s"));
    for number in 1..=50 {
        assert_eq!(net.append("s", &format!("event {number}")).seq.0, number);
    }
    net.pass(100);
    let first = net.events(founders()[0], "s");
    assert_eq!(first.len(), 50);
    for own in founders() {
        assert_eq!(net.events(own, "s"), first);
    }
}

#[test]
fn a_leader_may_die() {
    let mut net = Net::new(4, 1 << 30);
    net.pass(1_500);
    net.call(&create("s"));
    for round in 0..6 {
        net.append("s", "before");
        let group = Placement::new(4, 1).group("s").0;
        let leader = net.leaders()[&group];
        net.kill(leader);
        let appended = net.append("s", "after");
        assert_eq!(appended.seq.0, 2 * (round + 1));
        net.restart(leader);
        net.pass(1_000);
    }
    net.pass(3_000);
    let first = net.events(founders()[0], "s");
    assert_eq!(first.len(), 12);
    for own in founders() {
        assert_eq!(net.events(own, "s"), first);
        assert_eq!(net.gauges(own).groups_not_ready, 0);
    }
}

#[test]
fn a_leader_cut_off_acknowledges_nothing() {
    let mut net = Net::new(1, 1 << 30);
    net.pass(1_500);
    net.call(&create("s"));
    net.append("s", "seen");
    let old = net.leaders()[&0];
    net.cut.insert(old);
    let lost = net.ask(old, Request::Append(append("s", None, "lost")));
    assert_eq!(lost, None);
    net.pass(2_000);
    assert_eq!(net.append("s", "kept").seq.0, 2);
    let unseen = net.ask(old, Request::Get(id("s")));
    assert!(!matches!(unseen, Some(Reply::Session(_))), "{unseen:?}");
    net.cut.clear();
    net.pass(3_000);
    let events = net.events(old, "s");
    assert_eq!(events.len(), 2);
    assert!(events[1].contains("kept"));
}

#[test]
fn who_was_cut_off_for_long_elects_soon() {
    let mut net = Net::new(32, 1 << 30);
    net.pass(3_000);
    let (one, another) = (founders()[0], founders()[1]);
    net.cut.extend([one, another]);
    // Long enough that nobody has led for a while, and all stand seldom.
    net.pass(30_000);
    assert_eq!(net.leaders().len(), 0);
    net.cut.clear();
    net.pass(700);
    assert_eq!(net.leaders().len(), 32, "a pulse, two election timeouts, and an election");
}

#[test]
fn a_node_far_behind_is_brought_up_by_a_snapshot() {
    let mut net = Net::new(2, 64 * 1024);
    net.pass(1_500);
    for name in ["a", "b", "c", "d"] {
        net.call(&create(name));
        net.append(name, "early");
    }
    let behind = founders()[2];
    net.kill(behind);
    let text = "x".repeat(700);
    for number in 0..400 {
        let name = ["a", "b", "c", "d"][number % 4];
        net.append(name, &format!("{text}{number}"));
    }
    net.restart(behind);
    net.pass(5_000);
    assert!(0 < net.nodes[&behind].shard.as_ref().unwrap().facts().snapshots_installed);
    for name in ["a", "b", "c", "d"] {
        let wanted = net.events(founders()[0], name);
        assert_eq!(wanted.len(), 101);
        let got = net.events(behind, name);
        assert!(got == wanted, "{} events of {name}", got.len());
    }
    // What was taken over is still there after a restart, and the node goes on from it.
    net.kill(behind);
    net.restart(behind);
    net.pass(3_000);
    net.append("a", "late");
    net.pass(200);
    assert_eq!(net.events(behind, "a").len(), 102);
}

#[test]
fn a_node_that_lost_its_disk_takes_its_own_place() {
    let mut net = Net::new(2, 64 * 1024);
    net.pass(1_500);
    net.call(&create("s"));
    for number in 0..50 {
        net.append("s", &format!("event {number}"));
    }
    let (old, new) = (node(3, 1), node(3, 2));
    net.kill(old);
    net.nodes.remove(&old);
    net.pass(500);
    net.add(options(new, 2, 64 * 1024), FakeDisk::default());
    net.pass_until_counted(8_000, new);
    for own in [node(1, 1), node(2, 1), new] {
        let shard = net.nodes[&own].shard.as_ref().unwrap();
        for members in shard.memberships() {
            assert_eq!(members.voters, [node(1, 1), node(2, 1), new]);
            assert!(members.learners.is_empty() && !members.is_joint());
        }
        assert_eq!(net.events(own, "s").len(), 50);
    }
    // The newcomer counts: another may go.
    net.kill(node(1, 1));
    assert_eq!(net.append("s", "after").seq.0, 51);
}

#[test]
fn who_is_sent_to_rest_by_a_dead_leader_wakes() {
    let mut net = Net::new(1, 1 << 30);
    net.pass(1_500);
    net.call(&create("s"));
    let leader = net.leaders()[&0];
    net.holds = |message| match message {
        PeerMessage::Raft { message, .. } => matches!(message.body, Body::Rest { .. }),
        _ => false,
    };
    while net.held.len() < 2 {
        net.pass(10);
    }
    // The leave to rest was under way when its sender died, and arrives after that is known.
    net.kill(leader);
    for (from, to, message) in std::mem::take(&mut net.held) {
        net.give(to, Input::Peer { from, message });
    }
    net.holds = |_| false;
    net.settle();
    assert!(net.alive().all(|own| net.gauges(own).groups_quiet == 1), "both rest");
    net.pass(3_000);
    assert_eq!(net.append("s", "after").seq.0, 1);
}

#[test]
fn a_leader_that_rests_without_a_newcomer_comes_back_to_it() {
    let mut net = Net::new(1, 1 << 30);
    net.pass(1_500);
    net.call(&create("s"));
    let (old, new) = (node(3, 1), node(3, 2));
    net.kill(old);
    net.nodes.remove(&old);
    net.pass(500);
    // Its pulse is heard, but nothing of the log passes until the group has come to rest.
    net.holds = |message| match message {
        PeerMessage::Raft { message, .. } => message.from == node(3, 2) || message.to == node(3, 2),
        _ => false,
    };
    net.add(options(new, 1, 64 * 1024), FakeDisk::default());
    let leads = |net: &Net| net.leaders()[&0];
    net.pass(2_000);
    while net.gauges(leads(&net)).groups_quiet == 0 {
        net.pass(10);
    }
    net.held.clear();
    net.holds = |_| false;
    net.pass(8_000);
    let shard = net.nodes[&new].shard.as_ref().unwrap();
    assert!(shard.memberships().all(|members| members.voters.contains(&new)));
    assert_eq!(net.gauges(new).groups_not_ready, 0);
}

#[test]
fn who_comes_back_asks_what_its_log_may_lack() {
    let mut net = Net::new(1, 1 << 30);
    net.pass(1_500);
    net.call(&create("s"));
    let back = *founders().iter().find(|own| **own != net.leaders()[&0]).unwrap();
    net.kill(back);
    net.holds = |message| match message {
        PeerMessage::Raft { message, .. } => matches!(message.body, Body::Doubt { .. }),
        _ => false,
    };
    net.restart(back);
    net.pass(100);
    assert!(2 <= net.held.len() && net.held.iter().all(|(from, ..)| *from == back));
}

#[test]
fn an_answer_to_an_earlier_life_answers_no_read() {
    let mut net = Net::new(1, 1 << 30);
    net.pass(1_500);
    net.call(&create("s"));
    net.append("s", "before");
    let follower = *founders().iter().find(|own| **own != net.leaders()[&0]).unwrap();
    net.holds = |message| match message {
        PeerMessage::Raft { message, .. } => matches!(message.body, Body::ReadReply { .. }),
        _ => false,
    };
    assert_eq!(net.ask(follower, Request::Get(id("s"))), None);
    let late = std::mem::take(&mut net.held);
    assert!(!late.is_empty());
    net.kill(follower);
    net.append("s", "after");
    net.restart(follower);
    net.pass(50);
    assert_eq!(net.ask(follower, Request::Get(id("s"))), None);
    let asked = Ticket(net.next - 1);
    for (from, to, message) in late {
        net.give(to, Input::Peer { from, message });
    }
    net.settle();
    assert!(!net.nodes[&follower].clients.replies.contains_key(&asked), "it is not its answer");
}

#[test]
fn nodes_that_are_gone_for_good_are_forgotten() {
    let mut net = Net::new(1, 1 << 30);
    net.pass(1_500);
    // Routers that start with an empty disk again and again, and a member that is away for as long.
    for life in 1..=5 {
        net.add(options(node(9, life), 1, 1 << 30), FakeDisk::default());
        net.pass(500);
        net.kill(node(9, life));
        net.nodes.remove(&node(9, life));
    }
    let away = founders()[2];
    net.kill(away);
    let known = |net: &Net| {
        let neighbours = net.nodes[&founders()[0]].shard.as_ref().unwrap().neighbours();
        neighbours.into_iter().map(|status| status.node).collect::<Vec<_>>()
    };
    assert_eq!(known(&net).len(), 2 + 5);
    net.pass(125_000);
    assert_eq!(known(&net), founders()[1..]);
    net.restart(away);
    net.pass(3_000);
    assert_eq!(net.gauges(away).groups_not_ready, 0);
}
