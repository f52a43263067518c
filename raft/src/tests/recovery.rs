//! The end of every run in a world: the faults stop, and what must live lives.

use crate::message::{Index, NodeId};
use crate::node::Node;

use super::world::World;
use super::{ELECTION_TICKS, print};

/// After this many rounds without faults the group must be where it should: a few elections, each of
/// two timeouts at most, and then a log that may travel one entry in two rounds.
const ROUNDS_MAX: u32 = 60 * ELECTION_TICKS;
/// A read is answered, one way or another, within so many.
const READ_ROUNDS_MAX: u32 = 3 * ELECTION_TICKS;

impl World {
    /// One round of a world without faults.
    fn round(&mut self) {
        if self.traced {
            self.summary().iter().for_each(|line| println!("    {line}"));
        }
        let up: Vec<NodeId> =
            self.ids.iter().copied().filter(|id| !self.gone.contains(id)).collect();
        for id in up {
            // Who watches the nodes wakes what waits for one that is gone.
            let leader = self.cluster.node(id).status().leader;
            if leader.is_some_and(|leader| self.gone.contains(&leader)) {
                self.cluster.with(id, Node::suspect_leader);
            }
            self.cluster.with(id, Node::tick);
            self.take_ready(id);
            while self.cluster.persist(id).is_some() {}
        }
        for _ in 0..self.cluster.network.len() {
            let message = self.cluster.deliver(0);
            if self.traced {
                println!("deliver {}", print::message(&message));
            }
        }
        for _ in 0..self.cluster.streams.len() {
            self.cluster.end_stream(0, true);
        }
    }

    /// Those who belong to the group now.
    fn members(&self) -> Vec<NodeId> {
        let leader = self.cluster.leader().expect("a leader");
        let node = self.cluster.members[&leader].node.as_ref().expect("a leader runs");
        node.membership().members().collect()
    }

    /// The faults end; the group must take a proposal and bring it to all, all logs must be equal, reads
    /// must be answered, and if it may rest, it does.
    pub(super) fn recover(&mut self) {
        for id in self.ids.clone() {
            if !self.cluster.is_up(id) && !self.gone.contains(&id) {
                self.cluster.restart(id, self.lacking == Some(id));
            }
            if self.cluster.is_up(id) {
                self.cluster.with(id, Node::wake);
            }
        }
        let before = self.cluster.oracle.committed();
        self.go_on_while("a leader commits", |world| {
            world.lead_on();
            world.cluster.oracle.committed() <= before || !world.is_settled()
        });
        self.replace_the_gone();
        let before = self.cluster.oracle.committed();
        self.go_on_while("all have a new entry", |world| {
            world.lead_on();
            !world.is_settled() || world.members().iter().any(|id| world.applied(*id) <= before)
        });
        self.go_on_while("all logs are equal", |world| {
            let committed = world.cluster.oracle.committed();
            let is_behind =
                |id: &NodeId| world.end(*id) != committed || world.applied(*id) != committed;
            !world.is_settled() || world.members().iter().any(is_behind)
        });
        self.go_on_while("who was removed knows it", |world| {
            if !world.is_settled() {
                return true;
            }
            let members = world.members();
            let unaware = |node: &Node| !members.contains(&node.id) && !node.is_outside();
            world.cluster.running().any(unaware)
        });
        self.read_everywhere();
        if 0 < self.quiet_ticks {
            self.rest();
        }
    }

    /// A leader with nothing under way is given more.
    fn lead_on(&mut self) {
        if let Some(leader) = self.cluster.leader() {
            let log = &self.cluster.node(leader).log;
            if log.last().1 == log.committed() {
                self.propose(leader);
            }
        }
    }

    /// A leader leads, and no change is under way.
    fn is_settled(&self) -> bool {
        let Some(leader) = self.cluster.leader() else { return false };
        let node = self.cluster.members[&leader].node.as_ref().expect("a leader runs");
        !node.membership().is_joint()
            && node.log.membership_since() <= node.log.committed()
            && node.membership().is_voter(leader)
    }

    /// Members that are gone for ever make room.
    fn replace_the_gone(&mut self) {
        self.go_on_while("the gone are no members any more", |world| {
            let Some(leader) = world.cluster.leader() else { return true };
            let membership = world.cluster.node(leader).membership().clone();
            if !membership.members().any(|id| world.gone.contains(&id)) {
                return !world.is_settled();
            }
            let left = |list: &[NodeId]| -> Vec<NodeId> {
                list.iter().copied().filter(|id| !world.gone.contains(id)).collect()
            };
            let (mut voters, learners) = (left(&membership.voters), left(&membership.learners));
            let spare = |id: &&NodeId| !world.gone.contains(id) && !membership.is_member(**id);
            voters.extend(world.ids.iter().find(spare));
            let _ = world.cluster.with(leader, |node| node.change(voters, learners));
            true
        });
    }

    /// Every member can read. A transfer that began among the faults may still be under way and end one
    /// read in vain, but not one after the other.
    fn read_everywhere(&mut self) {
        for id in self.members() {
            let before = self.cluster.oracle.reached.reads;
            let mut attempts = 0;
            while self.cluster.oracle.reached.reads == before {
                attempts += 1;
                assert!(attempts < 10, "a read that never succeeds");
                self.read(id);
            }
        }
    }

    fn read(&mut self, id: NodeId) {
        let context = self.cluster.read(id);
        let mut rounds = 0;
        while self.cluster.waits(context) {
            self.round();
            rounds += 1;
            assert!(rounds < READ_ROUNDS_MAX, "no answer after {rounds} rounds");
        }
        self.round();
    }

    /// All members come to rest, and stay so.
    fn rest(&mut self) {
        self.go_on_while("all rest", |world| {
            let rests =
                |id: &NodeId| world.cluster.members[id].node.as_ref().is_some_and(Node::is_quiet);
            world.cluster.leader().is_none() || !world.members().iter().all(rests)
        });
        for _ in 0..3 * ELECTION_TICKS {
            self.round();
        }
        for id in self.members() {
            assert!(self.cluster.node(id).is_quiet(), "nothing disturbs their rest");
        }
    }

    fn go_on_while(&mut self, what: &str, waiting: impl Fn(&mut World) -> bool) {
        let mut rounds = 0;
        while waiting(self) {
            self.round();
            rounds += 1;
            assert!(
                rounds < ROUNDS_MAX,
                "not after {rounds} rounds: {what}\n{:#?}",
                self.summary()
            );
        }
    }

    fn applied(&self, id: NodeId) -> Index {
        self.cluster.members[&id].node.as_ref().map_or(Index(0), |node| node.log.applied())
    }

    fn end(&self, id: NodeId) -> Index {
        self.cluster.members[&id].node.as_ref().map_or(Index(0), |node| node.log.last().1)
    }

    /// What is there at the end, to compare runs.
    pub(super) fn summary(&self) -> Vec<String> {
        let running = self.cluster.running();
        running
            .map(|node| {
                let members = print::membership(node.membership());
                format!("{}: {} {members}", node.id, print::status(&node.status()))
            })
            .collect()
    }
}
