//! A node in doubt about its log, and what those make of it that hear it.

use crate::message::{Body, Index, Life, NodeId};
use crate::node::{Node, Restored};

use super::{
    ELECTION_TICKS, GRANTED, HEARTBEAT_TICKS, accepted, config, from, ids, leader, node, place,
    restored, said, settle, stand, vote_request, voters,
};

/// What who knows of nothing answers to a life of node 1.
fn answer(life: Life) -> Body {
    let (last, voters) = (place(1, 1), ids(1..=3));
    Body::DoubtReply { life, remembered: Index(0), last, voters }
}

#[test]
fn a_node_in_doubt_does_not_vote_a_second_time() {
    // It may have voted for node 2 in term 5, and lost it.
    let mut node =
        Node::new(config(1), Restored { doubtful: Some(Life(7)), ..restored(3, 4, &[1]) });
    settle(&mut node);
    let reply = answer(Life(7));
    node.step(from(3, 4, reply.clone()));
    node.step(from(3, 5, vote_request(place(1, 1))));
    node.step(from(2, 5, reply));
    node.step(from(3, 5, vote_request(place(1, 1))));
    assert!(!node.is_doubtful());
    assert!(!said(&mut node).contains(&GRANTED));
    node.step(from(3, 6, vote_request(place(1, 1))));
    assert_eq!(said(&mut node), [GRANTED], "a term nobody had come to");
}

#[test]
fn answers_to_an_earlier_life_dispel_no_doubt() {
    let mut node =
        Node::new(config(1), Restored { doubtful: Some(Life(7)), ..restored(3, 4, &[1]) });
    settle(&mut node);
    for (life, is_doubtful) in [(Life(6), true), (Life(7), false)] {
        for other in [2, 3] {
            node.step(from(other, 4, answer(life)));
        }
        assert_eq!(node.is_doubtful(), is_doubtful, "answers to life {life}");
    }
}

/// What a follower says that it has up to an index, in a round.
fn accepted_in(round: u64, matched: u64) -> Body {
    Body::AppendAccepted { matched: Index(matched), round }
}

/// What `node` is told that remembers what `asker` acknowledged up to an index.
fn remembers(node: &mut Node, asker: u64, life: Life) -> Index {
    node.step(from(asker, 0, Body::Doubt { life, last: place(0, 0) }));
    let said = settle(node).0.into_iter();
    let answers = said.filter(|message| message.to == NodeId(asker));
    let mut remembered = answers.filter_map(|message| match message.body {
        Body::DoubtReply { remembered, .. } => Some(remembered),
        _ => None,
    });
    remembered.next().expect("an answer")
}

#[test]
fn what_an_earlier_life_acknowledged_counts_no_more() {
    let mut node = leader(3, 0, &[]);
    node.propose(b"x"[..].into()).unwrap();
    settle(&mut node);
    assert_eq!(remembers(&mut node, 2, Life(7)), Index(0));
    // Under way since before its disk forgot it; still it is what the node had.
    node.step(from(2, 1, accepted(2)));
    assert_eq!(node.status().committed, Index(0));
    assert_eq!(remembers(&mut node, 2, Life(7)), Index(2));
    // Asked anew: in this life it has it.
    (0..HEARTBEAT_TICKS).for_each(|_| node.tick());
    settle(&mut node);
    node.step(from(2, 1, accepted_in(1, 1)));
    assert_eq!(node.status().committed, Index(1));
    node.step(from(2, 1, accepted_in(2, 2)));
    assert_eq!(node.status().committed, Index(2));
}

#[test]
fn what_was_acknowledged_and_may_be_forgotten_commits_nothing_any_more() {
    let mut node = node(3, 0, &[]);
    stand(&mut node);
    settle(&mut node);
    node.step(from(2, 1, GRANTED));
    // Its own disk does not have it yet.
    let own = node.ready().receipt.unwrap();
    node.step(from(2, 1, accepted(1)));
    assert_eq!(remembers(&mut node, 2, Life(7)), Index(1), "it was there");
    node.persisted(own);
    settle(&mut node);
    assert_eq!(node.status().committed, Index(0));
    node.step(from(3, 1, accepted(1)));
    assert_eq!(node.status().committed, Index(1));
    // Not even when it led last.
    node.step_down();
    assert_eq!(remembers(&mut node, 2, Life(8)), Index(1));
}

#[test]
fn what_was_acknowledged_before_a_node_was_removed_counts_no_more() {
    let mut node = leader(3, 0, &[]);
    node.step(from(2, 1, accepted(1)));
    node.change(ids([1, 2]), Vec::new()).unwrap();
    settle(&mut node);
    for index in [2, 3] {
        node.step(from(2, 1, accepted(index)));
        settle(&mut node);
    }
    assert_eq!(**node.membership(), *voters(2));
    for _ in 0..ELECTION_TICKS {
        node.step(from(2, 1, accepted(3)));
        node.tick();
    }
    assert_eq!(node.progress().count(), 1, "it is forgotten");
    node.change(ids([1, 2]), ids([3])).unwrap();
    settle(&mut node);
    node.step(from(3, 1, accepted(3)));
    let matched = |node: &Node| node.progress().find(|peer| peer.id == NodeId(3)).unwrap().matched;
    assert_eq!(matched(&node), Index(0));
    (0..HEARTBEAT_TICKS).for_each(|_| node.tick());
    let asked = settle(&mut node).0.into_iter().rev().find_map(|message| match message.body {
        Body::Append { round, .. } => Some(round),
        _ => None,
    });
    node.step(from(3, 1, accepted_in(asked.unwrap(), 4)));
    assert_eq!(matched(&node), Index(4));
}

#[test]
fn who_has_too_many_voters_to_name_is_not_counted() {
    let mut node =
        Node::new(config(1), Restored { doubtful: Some(Life(7)), ..restored(3, 4, &[1]) });
    settle(&mut node);
    let mut absurd = answer(Life(7));
    if let Body::DoubtReply { voters, .. } = &mut absurd {
        *voters = ids(1..100);
    }
    node.step(from(2, 4, absurd));
    node.step(from(3, 4, answer(Life(7))));
    assert!(node.is_doubtful());
    node.step(from(2, 4, answer(Life(7))));
    assert!(!node.is_doubtful());
}

#[test]
fn nobody_waits_for_the_log_of_who_cannot_be_elected() {
    let mut node =
        Node::new(config(1), Restored { doubtful: Some(Life(7)), ..restored(3, 4, &[1]) });
    settle(&mut node);
    node.step(from(3, 4, answer(Life(7))));
    let (last, voters) = (place(1, 5), ids([1, 3, 4]));
    let left = Body::DoubtReply { life: Life(7), remembered: Index(0), last, voters };
    node.step(from(2, 4, left));
    assert!(node.is_doubtful(), "another votes");
    let (last, voters) = (place(1, 1), ids([1, 3, 4]));
    let votes = Body::DoubtReply { life: Life(7), remembered: Index(0), last, voters };
    node.step(from(4, 4, votes));
    assert!(!node.is_doubtful());
}
