//! Reads whose answer never comes, and groups that nothing happens to.

use model::api::{Reply, Request, TailEnd, TailMessage, TailOpen};
use model::cluster::NameTag;
use model::ids::Seq;
use raft::{Body, NodeId};

use crate::effect::{Input, TailId};
use crate::peer::PeerMessage;

use super::cluster::{Net, founders, options};
use super::world::{FakeDisk, create, id};

#[test]
fn a_read_for_what_never_comes_is_turned_away() {
    let mut net = Net::new(1, 1 << 30);
    net.pass(4_000);
    net.call(&create("s"));
    let leader = net.leaders()[&0];
    let behind = founders()[1];
    assert!(leader != behind, "the first in the order of the group leads");
    // The entries for one follower are on their way for ever.
    net.holds = |message| {
        let PeerMessage::Raft { message, .. } = message else { return false };
        let brings = matches!(&message.body, Body::Append { entries, .. } if !entries.is_empty());
        brings && message.to == founders()[1]
    };
    net.append("s", "one");
    assert_eq!(net.ask(behind, Request::Get(id("s"))), None, "it waits for what it lacks");
    net.cut.insert(behind);
    net.pass(2_000);
    let reply = net.nodes.get_mut(&behind).unwrap().clients.replies.pop_last();
    assert!(matches!(reply, Some((_, Reply::NotLeader { leader: None }))), "{reply:?}");
}

#[test]
fn groups_of_other_nodes_rest() {
    let mut net = Net::new(16, 1 << 30);
    for own in founders() {
        net.nodes.remove(&own);
        let mut options = options(own, 16, 1 << 30);
        options.cluster.founding_factor = 1;
        options.cluster.factor = 1;
        options.cluster.write = (1..=3).map(NameTag).collect();
        net.add(options, FakeDisk::default());
    }
    net.pass(3_000);
    assert_eq!(net.leaders().len(), 16);
    for own in founders() {
        let gauges = net.gauges(own);
        assert!(0 < gauges.groups_hosted && gauges.groups_hosted < 16, "{gauges:?}");
        assert_eq!((gauges.groups_quiet, gauges.groups_not_ready), (16, 0), "{own}");
    }
}

impl Net {
    fn follow(&mut self, at: NodeId, tail: TailId, cursor: u64) -> Vec<TailMessage> {
        let open = TailOpen { session: id("s"), cursor: Seq(cursor) };
        self.give(at, Input::TailOpen { tail, open });
        self.pass(2_000);
        self.told(at, tail)
    }

    fn told(&mut self, at: NodeId, tail: TailId) -> Vec<TailMessage> {
        self.nodes.get_mut(&at).unwrap().clients.tails.remove(&tail).unwrap_or_default()
    }
}

fn seqs(messages: &[TailMessage]) -> Vec<u64> {
    let mut seqs = Vec::new();
    for message in messages {
        if let TailMessage::Events { events, .. } = message {
            seqs.extend(events.iter().map(|event| event.seq.0));
        }
    }
    seqs
}

#[test]
fn a_tail_where_nobody_leads_ends() {
    const LOST: [TailMessage; 1] = [TailMessage::Closed(TailEnd::Lost)];
    let mut net = Net::new(1, 1 << 30);
    net.pass(4_000);
    net.call(&create("s"));
    net.append("s", "first");
    let leader = net.leaders()[&0];
    let others: Vec<NodeId> = founders().into_iter().filter(|own| *own != leader).collect();
    let (alone, other) = (others[0], others[1]);
    let tails = [(alone, TailId(71)), (other, TailId(72)), (leader, TailId(73))];
    for (at, tail) in tails {
        assert_eq!(net.follow(at, tail, 1), [TailMessage::Opened]);
    }
    // Out of sight for a moment: nothing is missed.
    net.cut.insert(alone);
    net.append("s", "second");
    net.pass(3_000);
    net.cut.clear();
    net.pass(2_000);
    for (at, tail) in tails {
        assert_eq!(seqs(&net.told(at, tail)), [2]);
    }
    // For longer: it says so, and others go on.
    net.cut.insert(alone);
    net.pass(7_000);
    net.append("s", "third");
    assert_eq!(net.told(alone, TailId(71)), LOST);
    let turned_away = net.follow(alone, TailId(74), 2);
    assert!(matches!(turned_away[..], [TailMessage::Elsewhere { .. }]), "{turned_away:?}");
    assert_eq!(seqs(&net.told(other, TailId(72))), [3]);
    assert_eq!(seqs(&net.told(leader, TailId(73))), [3]);
    // Without a quorum nobody leads; whoever led says so too.
    net.kill(other);
    net.pass(7_000);
    assert_eq!(net.told(leader, TailId(73)), LOST);
    net.cut.clear();
    net.pass(3_000);
    assert_eq!(seqs(&net.follow(alone, TailId(75), 2)), [3]);
    net.append("s", "fourth");
    net.pass(100);
    assert_eq!(seqs(&net.told(alone, TailId(75))), [4]);
}
