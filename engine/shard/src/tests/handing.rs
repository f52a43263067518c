//! When leaderships are handed over: by a node whose disk is full, by one that operators relieve, and to
//! whom.

use model::api::{Reply, Request};
use model::cluster::{NameTag, replicas};
use model::error::Code;
use model::ids::GroupId;
use raft::{Body, NodeId};

use super::cluster::{Net, founders, node};
use super::world::{append, create};
use crate::cluster::tag;
use crate::effect::{Input, Lack};
use crate::peer::PeerMessage;
use crate::wishes::Wishes;

const GROUPS: u32 = 8;
const HOT_BYTES: u64 = 1 << 30;

fn wishes(seq: u64, write: &[u32], relieved: &[u32]) -> Wishes {
    let tags = |names: &[u32]| names.iter().copied().map(NameTag).collect();
    let (write, relieved) = (tags(write), tags(relieved));
    Wishes { number: seq, seq, complete: true, write, relieved, preferred: Vec::new() }
}

impl Net {
    fn want(&mut self, wishes: &Wishes) {
        for own in self.alive().collect::<Vec<_>>() {
            self.give(own, Input::Intent(wishes.clone()));
        }
    }

    fn given(&self) -> u64 {
        let facts = self.alive().map(|own| self.nodes[&own].shard.as_ref().unwrap().facts());
        facts.map(|facts| facts.leaderships_given).sum()
    }

    fn led(&self, own: NodeId) -> u64 {
        self.gauges(own).groups_led
    }

    /// Appends to every session once; how many were refused for lack of room.
    fn append_all(&mut self, text: &str) -> usize {
        let mut refused = 0;
        for number in 0..GROUPS * 4 {
            let request = Request::Append(append(&format!("s{number}"), None, text));
            match self.call(&request) {
                Reply::Appended(_) => {}
                Reply::Refused(refusal) if refusal.code == Code::EventStoreBackpressure => {
                    refused += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        refused
    }

    fn set_full(&mut self, own: NodeId, full: bool) {
        self.nodes.get_mut(&own).unwrap().disk.full = full;
    }
}

fn spread() -> Net {
    let mut net = Net::new(GROUPS, HOT_BYTES);
    net.pass(6_000);
    for number in 0..GROUPS * 4 {
        net.call(&create(&format!("s{number}")));
    }
    net
}

#[test]
fn a_node_without_room_for_its_log_hands_over_what_it_leads() {
    let mut net = spread();
    let text = "x".repeat(700);
    let full = founders().into_iter().find(|own| 0 < net.led(*own)).unwrap();
    let led = net.led(full);
    net.set_full(full, true);
    // What is left of its log takes some more.
    let mut rounds = 0;
    while net.append_all(&text) == 0 {
        rounds += 1;
        assert!(rounds < 20, "it is refused in the end");
    }
    net.pass(3_000);
    assert_eq!(net.led(full), 0, "others lead its groups");
    let shard = net.nodes[&full].shard.as_ref().unwrap();
    assert!(!shard.is_ready() && matches!(shard.failing(), Some((_, Lack::Room))));
    assert_eq!(net.gauges(full).groups_not_ready, u64::from(GROUPS));
    // They keep them, also when nothing at all can be written there any more.
    let given = net.given();
    for _ in 0..10 {
        assert_eq!(net.append_all(&text), 0, "nothing is refused");
        net.pass(500);
    }
    assert_eq!((net.given(), net.led(full)), (given, 0), "nobody hands it anything");
    for own in founders().into_iter().filter(|own| *own != full) {
        let neighbours = net.nodes[&own].shard.as_ref().unwrap().neighbours();
        let seen = neighbours.iter().find(|other| other.node == full).unwrap();
        assert!(seen.lives && seen.relieved && !seen.ready, "{seen:?}");
    }
    net.set_full(full, false);
    net.pass(6_000);
    assert_eq!((net.gauges(full).groups_not_ready, net.led(full)), (0, led), "it is back");
    assert_eq!(net.append_all(&text), 0);
}

#[test]
fn nodes_that_are_all_full_keep_what_they_lead() {
    let mut net = spread();
    let text = "x".repeat(700);
    founders().into_iter().for_each(|own| net.set_full(own, true));
    let mut rounds = 0;
    while net.append_all(&text) < GROUPS as usize * 4 {
        rounds += 1;
        assert!(rounds < 20, "all is refused in the end");
    }
    net.pass(2_000);
    let given = net.given();
    net.pass(5_000);
    assert_eq!((net.given(), net.leaders().len()), (given, GROUPS as usize));
    founders().into_iter().for_each(|own| net.set_full(own, false));
    net.pass(6_000);
    assert_eq!(net.append_all(&text), 0);
    assert!(founders().into_iter().all(|own| net.gauges(own).groups_not_ready == 0));
}

#[test]
fn who_does_not_take_a_group_is_not_handed_it_at_every_look() {
    let mut net = spread();
    net.holds = |message| match message {
        PeerMessage::Raft { message, .. } => matches!(message.body, Body::TimeoutNow),
        _ => false,
    };
    let group = GroupId(2);
    let last = replicas(group, &[NameTag(1), NameTag(2), NameTag(3)], 3)[2];
    let wanted = Wishes { preferred: vec![(group, last)], ..wishes(2, &[1, 2, 3], &[]) };
    let before = net.given();
    net.want(&wanted);
    net.pass(12_000);
    let tried = net.given() - before;
    assert!((2..=4).contains(&tried), "{tried} times in twelve seconds");
    net.holds = |_| false;
    net.pass(6_000);
    assert_eq!(tag(net.leaders()[&group.0]), last, "it is asked again");
}

#[test]
fn a_relieved_node_hands_over_to_whoever_votes() {
    let mut net = spread();
    let relieved = node(1, 1);
    // Two that should hold its groups are not there, so its groups cannot move.
    net.want(&wishes(2, &[1, 4, 5], &[]));
    net.pass(3_000);
    let led = net.led(relieved);
    assert!(0 < led);
    net.want(&wishes(3, &[1, 4, 5], &[1]));
    net.pass(3_000);
    let gauges = net.gauges(relieved);
    assert_eq!((gauges.groups_led, gauges.groups_to_give), (0, 0));
    assert_eq!(net.leaders().len(), GROUPS as usize);
    assert_eq!(net.append_all("after"), 0);
}

#[test]
fn a_relieved_node_hands_over_a_quarter_at_each_look() {
    let groups = 300;
    let mut net = Net::new(groups, HOT_BYTES);
    net.pass(20_000);
    let own = founders().into_iter().max_by_key(|own| net.led(*own)).unwrap();
    let (led, given) = (net.led(own), net.given());
    net.want(&wishes(2, &[1, 2, 3], &[tag(own).0]));
    net.pass(500);
    assert_eq!(net.given() - given, led.div_ceil(4), "of {led}");
    assert!(64 < led, "more than the usual number at a time");
    net.pass(10_000);
    assert_eq!(net.led(own), 0);
}
