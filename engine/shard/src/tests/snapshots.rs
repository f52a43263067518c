//! Snapshots of groups that go on meanwhile, and blocks that cannot be read and come from another
//! replica.

use std::collections::BTreeSet;

use model::api::{EventsPage, Reply, Request, TailEnd, TailMessage};
use model::ids::{GroupId, Seq};
use raft::{Body, Index, NodeId, Term};

use crate::effect::{Facts, FileName, Input, TailId};
use crate::peer::{PeerMessage, SnapshotStep};

use super::cluster::{Net, founders, node, options};
use super::world::{FakeDisk, append, create, id};

fn facts(net: &Net, at: NodeId) -> Facts {
    net.nodes[&at].shard.as_ref().unwrap().facts()
}

fn is_bulk(message: &PeerMessage) -> bool {
    matches!(message, PeerMessage::Snapshot { .. })
}

/// Lets time pass while one part of a snapshot arrives every ten milliseconds.
fn pass_slowly(net: &mut Net, millis: u64) {
    for _ in 0..millis / 10 {
        net.pass(10);
        if !net.held.is_empty() {
            let (from, to, message) = net.held.remove(0);
            net.give(to, Input::Peer { from, message });
        }
    }
}

/// A cluster of one busy group whose third node is lost, and snapshots are held.
fn without_one() -> Net {
    let mut net = Net::new(1, 4 << 20);
    net.pass(1_500);
    net.call(&create("s"));
    let leader = net.leaders()[&0];
    let old = founders().into_iter().find(|id| *id != leader).unwrap();
    net.kill(old);
    net.nodes.remove(&old);
    net.pass(500);
    net.holds = is_bulk;
    net
}

/// A new life of the node that is lost.
fn newcomer(net: &Net) -> NodeId {
    let lost = founders().into_iter().find(|id| !net.nodes.contains_key(id));
    NodeId(lost.expect("one is lost").0 + 1)
}

fn is_rejection(message: &PeerMessage) -> bool {
    let PeerMessage::Raft { message, .. } = message else { return false };
    matches!(message.body, Body::AppendRejected { .. })
}

fn is_answer(message: &PeerMessage) -> bool {
    let PeerMessage::Raft { message, .. } = message else { return false };
    matches!(message.body, Body::AppendAccepted { .. } | Body::AppendRejected { .. })
}

fn is_end(message: &PeerMessage) -> bool {
    matches!(message, PeerMessage::Snapshot { step: SnapshotStep::End { .. }, .. })
}

/// Flips a bit in the middle of every chunk of a node.
fn rot(net: &mut Net, at: NodeId) -> usize {
    let files = &mut net.nodes.get_mut(&at).unwrap().disk.files;
    let chunks = files.iter_mut().filter(|(name, _)| matches!(name, FileName::Chunk(_)));
    chunks.map(|(_, bytes)| bytes[200] ^= 1).count()
}

/// A cluster with a session "s" of `events`, each on disk of all nodes but for the last few.
fn filled(events: usize) -> Net {
    let mut net = Net::new(1, 64 * 1024);
    net.pass(1_500);
    net.call(&create("s"));
    for number in 0..events {
        net.append("s", &format!("{number:0500}"));
    }
    net.pass(500);
    for own in founders() {
        assert!(0 < facts(&net, own).checkpoints, "some of it has left memory");
    }
    net
}

#[test]
fn a_follower_of_a_busy_group_is_brought_up_by_one_snapshot() {
    let mut net = Net::new(1, 64 * 1024);
    net.pass(1_500);
    for name in ["a", "b", "c"] {
        net.call(&create(name));
    }
    let leader = net.leaders()[&0];
    let behind = founders().into_iter().find(|id| *id != leader).unwrap();
    net.kill(behind);
    let text = "x".repeat(500);
    let mut count = 0;
    while count < 300 {
        net.append("a", &text);
        count += 1;
    }
    net.restart(behind);
    net.holds = is_bulk;
    // More than the log keeps for a follower that is a little behind goes by meanwhile.
    let mut rounds = 0;
    while facts(&net, behind).snapshots_installed == 0 {
        for _ in 0..11 {
            net.append("a", &text);
            count += 1;
        }
        net.append("b", &text);
        pass_slowly(&mut net, 10);
        rounds += 1;
        assert!(rounds < 1_000, "a snapshot comes to its end");
    }
    assert!(32 * 1024 < rounds * 12 * text.len(), "{rounds}");
    for _ in 0..100 {
        net.append("a", &text);
        count += 1;
        pass_slowly(&mut net, 10);
    }
    net.holds = |_| false;
    net.pass(1_000);
    assert_eq!(facts(&net, behind).snapshots_installed, 1);
    assert_eq!(net.gauges(behind).groups_not_ready, 0);
    assert_eq!(net.events(behind, "a").len(), count);
}

#[test]
fn an_offer_that_was_overtaken_ends_no_transfer() {
    let mut net = filled(150);
    let behind = founders().into_iter().find(|id| *id != net.leaders()[&0]).unwrap();
    net.kill(behind);
    for number in 0..300 {
        net.append("s", &format!("{number:0500}"));
    }
    net.holds = is_bulk;
    net.restart(behind);
    // All frames are at the follower, and what ends them is on its way.
    let is_end = |(_, _, message): &(NodeId, NodeId, PeerMessage)| {
        matches!(message, PeerMessage::Snapshot { step: SnapshotStep::FramesEnd { .. }, .. })
    };
    let mut rounds = 0;
    let sender = loop {
        if let Some((from, ..)) = net.held.iter().find(|held| is_end(held)) {
            break *from;
        }
        for (from, to, message) in std::mem::take(&mut net.held) {
            net.give(to, Input::Peer { from, message });
        }
        net.pass(10);
        rounds += 1;
        assert!(rounds < 1_000, "a snapshot is sent");
    };
    let step = SnapshotStep::Offer { number: 0, last: (Term(1), Index(1)) };
    let message = PeerMessage::Snapshot { group: GroupId(0), step };
    net.give(behind, Input::Peer { from: sender, message });
    pass_slowly(&mut net, 1_000);
    assert_eq!(facts(&net, behind).snapshots_installed, 1);
    assert_eq!(net.gauges(behind).groups_not_ready, 0);
}

#[test]
fn a_rejection_overtaken_by_the_end_of_a_snapshot_lets_go_of_nothing() {
    let mut net = filled(150);
    let leader = net.leaders()[&0];
    let behind = founders().into_iter().find(|id| *id != leader).unwrap();
    net.kill(behind);
    for number in 0..300 {
        net.append("s", &format!("{number:0500}"));
    }
    net.holds = |message| is_rejection(message) || is_end(message);
    net.restart(behind);
    net.pass(1_000);
    let leader = net.leaders()[&0];
    let rejection = net.held.iter().rfind(|(_, to, held)| *to == leader && is_rejection(held));
    let rejection = rejection.expect("it lacks what has left the log").2.clone();
    net.give(leader, Input::Peer { from: behind, message: rejection.clone() });
    net.holds = |message| is_end(message) || is_answer(message);
    let end = loop {
        net.pass(10);
        if let Some((.., end)) = net.held.iter().find(|(.., held)| is_end(held)) {
            break end.clone();
        }
    };
    net.holds = |_| false;
    // What it says next does not arrive for a while.
    net.cut.insert(behind);
    for message in [end, rejection] {
        net.give(leader, Input::Peer { from: behind, message });
    }
    // More than is kept for one that is a little behind, and less than while it goes on from a snapshot.
    for number in 0..150 {
        net.append("s", &format!("{number:0500}"));
    }
    net.cut.clear();
    net.pass(1_000);
    assert_eq!(net.gauges(behind).groups_not_ready, 0);
    assert_eq!(facts(&net, behind).snapshots_installed, 1, "it goes on from the first");
}

#[test]
fn a_group_does_not_wait_for_ever_for_a_newcomer_that_never_catches_up() {
    let mut net = without_one();
    let text = "x".repeat(4_000);
    // Half a minute's worth of parts.
    for number in 0..256 {
        let mut large = create(&format!("large-{number}"));
        let Request::Create(create) = &mut large else { panic!("as made") };
        create.metadata = format!("{{\"a\":\"{text}\"}}").into();
        net.call(&large);
    }
    net.add(options(newcomer(&net), 1, 4 << 20), FakeDisk::default());
    let (mut taken, mut rounds) = (0, 0);
    // Ten minutes in which each word about a snapshot takes two seconds.
    while rounds < 250 {
        let leader = net.leaders()[&0];
        for _ in 0..12 {
            let reply = net.ask(leader, Request::Append(append("s", None, &text)));
            taken += usize::from(matches!(reply, Some(Reply::Appended(_))));
        }
        net.pass(2_400);
        for (from, to, message) in std::mem::take(&mut net.held) {
            net.give(to, Input::Peer { from, message });
        }
        rounds += 1;
    }
    let waits = facts(&net, net.leaders()[&0]).newcomer_waits;
    assert!((2..6).contains(&waits), "{waits} in ten minutes");
    assert!(rounds * 12 * 3 < taken * 4, "{taken} taken in {rounds} rounds");
}

#[test]
fn a_busy_group_waits_for_a_newcomer_that_it_outruns() {
    let mut net = without_one();
    let new = newcomer(&net);
    let text = "x".repeat(4_000);
    let (mut count, mut rounds) = (0, 0);
    let votes = |net: &Net| {
        let shard = net.nodes[&net.leaders()[&0]].shard.as_ref().unwrap();
        let members = shard.memberships().next().unwrap();
        members.is_voter(new) && !members.is_joint()
    };
    while !votes(&net) {
        let leader = net.leaders()[&0];
        // More than is kept while a snapshot is sent goes by before it has been taken over.
        for _ in 0..12 {
            let reply = net.ask(leader, Request::Append(append("s", None, &text)));
            count += usize::from(matches!(reply, Some(Reply::Appended(_))));
        }
        pass_slowly(&mut net, 10);
        if rounds == 20 {
            net.add(options(new, 1, 4 << 20), FakeDisk::default());
        }
        rounds += 1;
        assert!(rounds < 2_000, "a newcomer comes to vote");
    }
    assert!(3 <= facts(&net, new).snapshots_installed, "it was outrun");
    let leader = net.leaders()[&0];
    assert!(0 < facts(&net, leader).backpressure, "its group has waited");
    assert!(12 * rounds < 2 * count, "and not for long: {count} in {rounds} rounds");
    net.holds = |_| false;
    net.pass(1_000);
    assert_eq!(net.events(new, "s").len(), count);
}

#[test]
fn a_block_that_rots_comes_from_another_replica() {
    let mut net = filled(150);
    let whole = net.events(founders()[0], "s");
    let rotten = founders()[1];
    let blocks = rot(&mut net, rotten);
    assert!(0 < blocks);
    assert!(net.events(rotten, "s") == whole, "a tail does not notice");
    net.pass(200);
    let repaired = facts(&net, rotten).chunk_blocks_repaired;
    assert_eq!(repaired, facts(&net, rotten).chunk_read_failures);
    // From now on it needs nobody, also after a checkpoint and a restart.
    for number in 0..150 {
        net.append("s", &format!("{number:0500}"));
    }
    net.pass(500);
    net.kill(rotten);
    net.restart(rotten);
    net.pass(1_000);
    assert!(net.events(rotten, "s")[..150] == whole);
    assert_eq!(facts(&net, rotten).chunk_read_failures, 0);
}

#[test]
fn a_page_waits_for_the_block_of_another_replica() {
    let mut net = filled(150);
    let leader = net.leaders()[&0];
    rot(&mut net, leader);
    let page = Request::Events(EventsPage { session: id("s"), cursor: Seq(0), limit: 1_000 });
    let Some(Reply::Events { events, .. }) = net.ask(leader, page) else { panic!("a page") };
    assert_eq!(events.len(), 150);
    assert!(0 < facts(&net, leader).chunk_read_failures);
}

#[test]
fn a_block_nobody_has_ends_the_tail() {
    let mut net = filled(150);
    for own in founders() {
        rot(&mut net, own);
    }
    let at = founders()[2];
    let (tail, cursor) = (TailId(1 << 40), Seq(0));
    let open = model::api::TailOpen { session: id("s"), cursor };
    net.give(at, Input::TailOpen { tail, open });
    net.settle();
    let messages = net.nodes.get_mut(&at).unwrap().clients.tails.remove(&tail).unwrap();
    assert_eq!(messages.last(), Some(&TailMessage::Closed(TailEnd::Unreadable)));
    assert_eq!(facts(&net, at).chunk_blocks_repaired, 0);
    // What can be read is still served.
    net.append("s", "after");
}

#[test]
fn a_leader_with_a_rotten_block_brings_up_a_node_that_lost_its_disk() {
    let mut net = filled(300);
    net.pass(4_000);
    let leader = net.leaders()[&0];
    let whole = net.events(leader, "s");
    let lost = founders().into_iter().find(|id| *id != leader).unwrap();
    net.kill(lost);
    net.nodes.remove(&lost);
    rot(&mut net, leader);
    let name = (1..=3).find(|name| node(*name, 1) == lost).unwrap();
    let new = node(name, 2);
    net.add(options(new, 1, 64 * 1024), FakeDisk::default());
    net.pass(10_000);
    assert!(net.events(new, "s") == whole);
    let others: BTreeSet<NodeId> = founders().into_iter().filter(|id| *id != lost).collect();
    for own in others {
        assert_eq!(net.gauges(own).groups_not_ready, 0);
    }
    assert!(0 < facts(&net, leader).chunk_blocks_repaired, "the leader mends itself");
}

#[test]
fn many_small_blocks_come_together() {
    let mut net = Net::new(1, 64 * 1024);
    net.pass(1_500);
    let names: Vec<String> = (0..200).map(|number| format!("s{number}")).collect();
    for name in &names {
        net.call(&create(name));
        net.append(name, "one");
    }
    let behind = founders()[2];
    net.kill(behind);
    let text = "x".repeat(700);
    for name in &names {
        net.append(name, &text);
    }
    net.restart(behind);
    net.holds = is_bulk;
    // A part each ten milliseconds: one by one, 200 blocks would take four seconds.
    pass_slowly(&mut net, 1_500);
    assert!(0 < facts(&net, behind).snapshots_installed);
    net.holds = |_| false;
    net.pass(500);
    for name in &names {
        assert_eq!(net.events(behind, name).len(), 2);
    }
}
