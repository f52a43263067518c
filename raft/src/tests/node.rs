//! A single node: what it ignores, what it refuses to be told, receipts, and what it costs.

use crate::membership::Membership;
use crate::message::{Body, Index, Message, NodeId, Snapshot, Term};
use crate::node::{Config, Node, Restored};
use crate::status::Role;

use super::{
    GRANTED, HEARTBEAT_TICKS, REFUSED, accepted, append, config, entries, entry, from, ids, leader,
    node, place, rejected, restored, said, settle, stand, vote_request, voters,
};

#[test]
fn a_receipt_for_an_entry_that_was_put_back_does_not_count() {
    // Leaders of terms 1, 2 and 3 write index 2, replace it, and put it back, faster than the disk.
    let mut node = node(5, 1, &[1]);
    node.step(from(2, 1, append(place(1, 1), vec![entry(1, 2)], 0)));
    let first = node.ready().receipt.unwrap();
    node.step(from(3, 2, append(place(1, 1), vec![entry(2, 2)], 0)));
    let second = node.ready().receipt.unwrap();
    node.step(from(2, 3, append(place(1, 1), vec![entry(1, 2), entry(3, 3)], 0)));
    let third = node.ready().receipt.unwrap();
    assert_eq!(first.last, Some(place(1, 2)));
    assert_eq!(node.log.term_at(Index(2)), Some(Term(1)), "the receipt names what is there");

    // Yet what the disk holds now is about to be replaced by the second write.
    node.persisted(first);
    assert_eq!(node.status().durable, Index(1));
    node.persisted(second);
    assert_eq!(node.status().durable, Index(1));
    assert!(!node.has_ready());
    node.persisted(third);
    assert_eq!(node.status().durable, Index(3));
}

#[test]
fn a_receipt_for_an_entry_that_was_replaced_does_not_count() {
    let mut node = node(3, 1, &[1]);
    node.step(from(2, 1, append(place(1, 1), vec![entry(1, 2)], 0)));
    drop(node.ready());
    // The write that tells the disk of term 2 also stands for the entry on its way.
    node.step(from(3, 2, append(place(1, 1), Vec::new(), 0)));
    let stale = node.ready().receipt.unwrap();
    assert_eq!((stale.term, stale.last), (Term(2), Some(place(1, 2))));
    node.step(from(3, 2, append(place(1, 1), vec![entry(2, 2), entry(2, 3)], 0)));
    let current = node.ready().receipt.unwrap();
    node.persisted(stale);
    assert_eq!(node.status().durable, Index(1));
    node.persisted(current);
    assert_eq!(node.status().durable, Index(3));
}

#[test]
fn nobody_leads_whose_own_vote_is_not_durable() {
    // Should a driver let requests leave too early, all others may have voted first.
    let mut node = node(5, 0, &[]);
    stand(&mut node);
    let receipt = node.ready().receipt.unwrap();
    for voter in 2..=5 {
        node.step(from(voter, 1, GRANTED));
        assert_eq!(node.status().role, Role::Candidate);
    }
    node.persisted(receipt);
    assert_eq!(node.status().role, Role::Leader);
}

#[test]
fn a_candidate_that_was_too_slow_lets_go_of_its_log() {
    // Another is elected in the same term before our own vote is durable, and replaces what our
    // requests for votes spoke of.
    let mut node = node(3, 1, &[1, 1, 1]);
    stand(&mut node);
    node.step(from(2, 2, append(place(1, 1), vec![entry(2, 2)], 0)));
    assert_eq!(node.status().role, Role::Follower);
    let replies = said(&mut node);
    assert_eq!(replies.last(), Some(&accepted(2)));
}

#[test]
fn a_refusal_that_comes_late_costs_nothing() {
    let mut node = leader(3, 1, &[1, 1]);
    node.step(from(2, 2, accepted(2)));
    node.step(from(2, 2, rejected(2, place(0, 0))));
    assert_eq!(said(&mut node), [], "it has acknowledged that since");
}

#[test]
fn a_follower_that_lost_what_it_acknowledged_gets_it_again() {
    let mut node = leader(3, 1, &[1, 1]);
    node.step(from(2, 2, Body::AppendAccepted { matched: Index(3), round: 0 }));
    settle(&mut node);
    node.step(from(2, 2, Body::AppendRejected { previous: Index(3), hint: place(1, 1), round: 0 }));
    assert_eq!(said(&mut node), [], "said before it agreed");
    (0..HEARTBEAT_TICKS).for_each(|_| node.tick());
    settle(&mut node);
    node.step(from(2, 2, Body::AppendRejected { previous: Index(3), hint: place(1, 1), round: 1 }));
    let matched = node.progress().next().unwrap().matched;
    assert_eq!(matched, Index(1), "it does not count any more");
    let again = vec![entry(1, 2), node.log.get(Index(3)).unwrap().clone()];
    assert_eq!(said(&mut node), [append(place(1, 1), again, 3)]);
    assert_eq!(node.status().committed, Index(3), "what was committed stays so");
}

#[test]
fn a_receipt_stands_for_all_writes_before_it() {
    let mut node = leader(1, 0, &[]);
    let mut receipts = Vec::new();
    for _ in 0..3 {
        node.propose(b"x"[..].into()).unwrap();
        receipts.push(node.ready().receipt.unwrap());
    }
    node.persisted(receipts.pop().unwrap());
    assert_eq!(node.status().durable, Index(4));
    for late in receipts {
        node.persisted(late);
    }
    assert_eq!(node.status().durable, Index(4), "what comes late takes nothing back");
}

#[test]
fn a_new_term_proves_what_the_old_one_left_under_way() {
    let mut node = leader(3, 0, &[]);
    node.propose(b"x"[..].into()).unwrap();
    let old = node.ready().receipt.unwrap();
    node.step(from(2, 5, REFUSED));
    let ready = node.ready();
    assert!(ready.entries.is_empty(), "they were handed out before");
    let new = ready.receipt.unwrap();
    assert_eq!(new.last, Some(place(1, 2)));
    node.persisted(old);
    assert_eq!(node.status().durable, Index(1));
    node.persisted(new);
    assert_eq!(node.status().durable, Index(2));
}

#[test]
fn what_is_not_durable_does_not_leave_memory() {
    let mut node = node(3, 1, &[]);
    node.step(from(2, 1, append(place(0, 0), vec![entry(1, 1), entry(1, 2)], 2)));
    let ready = node.ready();
    assert_eq!(ready.committed, entries(&[1, 1]), "a quorum has them");
    node.applied(Index(2));
    node.compact(Index(2));
    assert_eq!(node.status().first, Index(1));
    node.persisted(ready.receipt.unwrap());
    node.compact(Index(2));
    assert_eq!(node.status().first, Index(3));
}

#[test]
fn what_has_left_memory_still_agrees_with_every_leader() {
    let snapshot = Snapshot { last: place(2, 5), membership: voters(3) };
    let entries = vec![entry(2, 6)];
    let restored = Restored { snapshot, entries, ..restored(3, 2, &[]) };
    let mut node = Node::new(config(1), restored);
    let sent = vec![entry(1, 4), entry(2, 5), entry(2, 6), entry(2, 7)];
    node.step(from(2, 2, append(place(1, 3), sent, 7)));
    assert_eq!(said(&mut node), [accepted(7)]);
    node.step(from(2, 2, append(place(1, 3), Vec::new(), 7)));
    assert_eq!(said(&mut node), [accepted(3)]);
    node.step(from(2, 2, append(place(2, 9), Vec::new(), 7)));
    let hint = place(2, 7);
    assert_eq!(said(&mut node), [rejected(9, hint)]);
}

#[test]
fn a_follower_behind_what_is_kept_hears_heartbeats_and_costs_nothing_else() {
    let mut node = leader(3, 0, &[]);
    node.propose(b"x"[..].into()).unwrap();
    settle(&mut node);
    node.step(from(2, 1, accepted(1)));
    settle(&mut node);
    node.step(from(2, 1, accepted(2)));
    settle(&mut node);
    node.compact(Index(2));
    let behind = rejected(0, place(0, 0));
    for _ in 0..3 {
        node.step(from(3, 1, rejected(1, place(0, 0))));
        node.step(from(3, 1, behind.clone()));
        assert_eq!(said(&mut node), [], "there is nothing to send it");
        node.tick();
        node.tick();
        let heartbeat = append(place(1, 2), Vec::new(), 2);
        assert_eq!(said(&mut node), [heartbeat.clone(), heartbeat]);
    }
}

#[test]
fn what_no_correct_peer_sends_is_ignored() {
    let misled = Message { from: NodeId(2), to: NodeId(3), term: Term(9), body: GRANTED };
    let too_far = from(2, u64::MAX, GRANTED);
    let future = from(2, 3, append(place(1, 2), vec![entry(4, 3)], 0));
    let hole = from(2, 3, append(place(1, 2), vec![entry(3, 4)], 0));
    let falling = from(2, 3, append(place(2, 2), vec![entry(1, 3)], 0));
    let own_term = from(2, 3, vote_request(place(3, 3)));
    let forward = rejected(1, place(1, 2));
    let echo = Message { from: NodeId(1), ..from(2, 9, GRANTED) };
    for message in [misled, too_far, future, hole, falling, own_term, from(2, 9, forward), echo] {
        let mut node = node(3, 2, &[1, 2]);
        let before = node.status();
        node.step(message.clone());
        assert!(!node.has_ready(), "{message:?}");
        assert_eq!(node.status(), before, "{message:?}");
    }
}

#[test]
fn an_acknowledgement_of_what_does_not_exist_is_ignored() {
    let mut node = leader(3, 0, &[]);
    node.step(from(2, 1, accepted(u64::MAX)));
    node.step(from(3, 1, accepted(2)));
    assert_eq!(node.status().committed, Index(0));
}

#[test]
fn a_slow_disk_does_not_make_answers_pile_up() {
    let mut node = node(3, 1, &[]);
    let message = from(2, 1, append(place(0, 0), vec![entry(1, 1)], 0));
    node.step(message.clone());
    let under_way = node.ready().receipt.unwrap();
    for _ in 0..100 {
        node.step(message.clone());
        assert!(!node.has_ready());
    }
    node.persisted(under_way);
    assert_eq!(said(&mut node).len(), 1);
}

#[test]
fn a_lone_voter_stands_by_itself_when_nobody_tells_it_to() {
    let mut node = node(1, 0, &[]);
    while node.status().role == Role::Follower {
        node.tick();
    }
    settle(&mut node);
    assert_eq!(node.status().role, Role::Leader);
}

#[test]
fn a_lone_voter_never_commits_what_is_not_durable() {
    let mut node = leader(1, 0, &[]);
    for round in 2..50 {
        node.propose(b"x"[..].into()).unwrap();
        let ready = node.ready();
        assert!(ready.committed.is_empty());
        node.tick();
        assert_eq!(node.status().committed, Index(round - 1));
        node.persisted(ready.receipt.unwrap());
        assert_eq!(node.ready().committed.len(), 1);
        node.applied(Index(round));
    }
}

#[test]
fn an_idle_node_is_small() {
    let node = leader(1, 0, &[]);
    let on_heap = node.log.capacity() * size_of::<crate::Entry>();
    let bytes = size_of::<Node>() + on_heap;
    assert!(bytes <= 800, "{bytes} bytes");
}

fn start(config: Config) {
    drop(Node::new(config, restored(3, 0, &[])));
}

#[test]
#[should_panic(expected = "a node is voter or learner, not both")]
fn a_learner_has_no_vote() {
    drop(Membership::new(ids([1, 2]), ids([2])));
}

#[test]
#[should_panic(expected = "followers hear from a leader before they stand")]
fn heartbeats_come_before_elections() {
    start(Config { heartbeat_ticks: 10, ..config(1) });
}

#[test]
#[should_panic(expected = "something can be under way")]
fn appends_can_be_under_way() {
    start(Config { inflight_max: 0, ..config(1) });
}

#[test]
#[should_panic(expected = "entries continue without a hole")]
fn a_restored_log_has_no_hole() {
    let entries = vec![entry(1, 1), entry(1, 3)];
    drop(Node::new(config(1), Restored { entries, ..restored(1, 1, &[]) }));
}

#[test]
#[should_panic(expected = "no entry is newer than the term")]
fn a_restored_log_is_not_newer_than_the_term() {
    drop(Node::new(config(1), restored(1, 0, &[2])));
}

#[test]
#[should_panic(expected = "only what was handed out can be applied")]
fn nothing_is_applied_that_was_not_handed_out() {
    leader(1, 0, &[]).applied(Index(2));
}

#[test]
#[should_panic(expected = "only what is applied may leave")]
fn nothing_leaves_that_is_not_applied() {
    leader(1, 0, &[]).compact(Index(2));
}
