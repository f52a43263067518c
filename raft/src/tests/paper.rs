//! The paper (Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm", extended
//! version), section by section. Every test is named after the section it reads.

use std::collections::BTreeSet;

use crate::message::{Body, Content, Entry, HardState, Index, NodeId, Term};
use crate::node::{Node, Restored};
use crate::status::{NotLeader, Role};

use super::{
    ELECTION_TICKS, GRANTED, HEARTBEAT_TICKS, REFUSED, WOULD, accepted, append, config, entries,
    entry, from, leader, node, place, rejected, said, settle, stand, vote_request, voters,
};

fn follower() -> Node {
    let mut node = node(3, 1, &[]);
    node.step(from(2, 1, append(place(0, 0), Vec::new(), 0)));
    settle(&mut node);
    node
}

fn candidate() -> Node {
    let mut node = node(3, 0, &[]);
    stand(&mut node);
    settle(&mut node);
    node
}

/// The whole log of a node.
fn log_of(node: &Node) -> Vec<Entry> {
    let status = node.status();
    (status.first.0..=status.last.0).map(|at| node.log.get(Index(at)).unwrap().clone()).collect()
}

#[test]
fn paper_5_1_whoever_hears_of_a_newer_term_follows() {
    for mut node in [follower(), candidate(), leader(3, 0, &[])] {
        assert_eq!(node.status().term, Term(1));
        node.step(from(2, 2, append(place(0, 0), Vec::new(), 0)));
        let status = node.status();
        assert_eq!((status.role, status.term), (Role::Follower, Term(2)));
        assert_eq!(status.leader, Some(NodeId(2)));
    }
    for mut node in [follower(), candidate(), leader(3, 0, &[])] {
        node.step(from(2, 3, REFUSED));
        let status = node.status();
        assert_eq!((status.role, status.term), (Role::Follower, Term(3)));
        assert_eq!(status.leader, None, "a newer term tells nothing about its leader");
    }
}

#[test]
fn paper_5_1_requests_of_an_older_term_are_refused() {
    let mut node = node(3, 5, &[1, 2]);
    node.step(from(2, 4, vote_request(place(3, 9))));
    assert_eq!(said(&mut node), [REFUSED]);
    node.step(from(2, 4, append(place(1, 1), vec![entry(4, 2)], 2)));
    let refusal = rejected(1, place(1, 1));
    let (messages, committed) = settle(&mut node);
    assert_eq!(messages[0].body, refusal);
    assert_eq!(messages[0].term, Term(5), "so the sender learns of it");
    assert_eq!((committed.len(), log_of(&node)), (0, entries(&[1, 2])));
}

#[test]
fn paper_5_1_replies_of_an_older_term_are_ignored() {
    let mut candidate = node(3, 4, &[]);
    stand(&mut candidate);
    settle(&mut candidate);
    stand(&mut candidate);
    settle(&mut candidate);
    candidate.step(from(2, 5, GRANTED));
    assert_eq!(candidate.status().role, Role::Candidate, "that vote was for term 5");
    candidate.step(from(2, 6, GRANTED));
    assert_eq!(candidate.status().role, Role::Leader);
}

#[test]
fn paper_5_2_a_server_starts_as_follower() {
    let mut node = node(3, 7, &[1]);
    let status = node.status();
    assert_eq!((status.role, status.term, status.leader), (Role::Follower, Term(7), None));
    assert_eq!(node.propose(b"x"[..].into()), Err(NotLeader { leader: None }));
    assert!(!node.has_ready());
}

#[test]
fn paper_5_2_a_leader_sends_heartbeats() {
    let mut node = leader(3, 0, &[]);
    for _ in 0..3 {
        (1..HEARTBEAT_TICKS).for_each(|_| node.tick());
        assert!(!node.has_ready());
        node.tick();
        let heartbeat = append(place(1, 1), Vec::new(), 0);
        assert_eq!(said(&mut node), [heartbeat.clone(), heartbeat]);
    }
}

#[test]
fn paper_5_2_whoever_hears_nothing_stands_again_and_again() {
    for mut node in [follower(), candidate()] {
        let mut term = node.status().term;
        for _ in 0..8 {
            (1..ELECTION_TICKS).for_each(|_| node.tick());
            assert_eq!(node.status().term, term, "not before the time is up");
            let mut waited = ELECTION_TICKS - 1;
            while said(&mut node).is_empty() {
                node.tick();
                waited += 1;
            }
            assert!(waited < (1 + node.width()) * ELECTION_TICKS, "{waited} ticks");
            node.step(from(2, term.0 + 1, WOULD));
            term = term.next();
            let status = node.status();
            assert_eq!((status.role, status.term, status.leader), (Role::Candidate, term, None));
            let request = vote_request(place(0, 0));
            assert_eq!(said(&mut node), [request.clone(), request]);
        }
    }
}

#[test]
fn paper_5_2_an_append_or_a_granted_vote_restarts_the_clock() {
    let mut node = follower();
    for round in 0..20 {
        (1..ELECTION_TICKS).for_each(|_| node.tick());
        node.step(from(2, 1, append(place(0, 0), Vec::new(), 0)));
        assert_eq!(node.status().role, Role::Follower, "round {round}");
    }
    node.suspect_leader();
    for term in 2..20 {
        node.step(from(2, term, REFUSED));
        node.step(from(3, term, vote_request(place(0, 0))));
        (1..ELECTION_TICKS).for_each(|_| node.tick());
        assert_eq!(node.status().role, Role::Follower, "term {term}");
    }
}

#[test]
fn paper_5_2_a_majority_elects() {
    for voters in 1..=7 {
        for others in 0..voters {
            let mut node = node(voters, 0, &[]);
            stand(&mut node);
            settle(&mut node);
            for other in 0..others {
                // Twice, to see that a vote is counted once.
                node.step(from(other + 2, 1, GRANTED));
                node.step(from(other + 2, 1, GRANTED));
            }
            for other in others + 1..voters {
                node.step(from(other + 1, 1, REFUSED));
            }
            let leads = node.status().role == Role::Leader;
            assert_eq!(leads, voters < 2 * (others + 1), "{others} others of {voters}");
        }
    }
}

#[test]
fn paper_5_2_a_vote_is_given_once_a_term() {
    let request = |id| from(id, 1, vote_request(place(0, 0)));
    let mut node = node(3, 0, &[]);
    node.step(request(2));
    node.step(request(3));
    node.step(request(2));
    let (messages, _) = settle(&mut node);
    let votes: Vec<_> = messages.iter().map(|vote| (vote.to.0, vote.body == GRANTED)).collect();
    assert_eq!(votes, [(2, true), (3, false)], "said once while it waits for the disk");
    node.step(request(3));
    node.step(request(2));
    assert_eq!(said(&mut node), [REFUSED, GRANTED]);
    node.step(from(3, 2, vote_request(place(0, 0))));
    assert_eq!(said(&mut node), [GRANTED], "a new term, a new vote");
}

#[test]
fn paper_5_2_a_candidate_gives_way_to_the_leader_of_its_term() {
    let mut node = candidate();
    node.step(from(3, 1, append(place(0, 0), Vec::new(), 0)));
    let status = node.status();
    assert_eq!((status.role, status.leader), (Role::Follower, Some(NodeId(3))));
    node.step(from(2, 1, GRANTED));
    assert_eq!(node.status().role, Role::Follower, "votes that come late elect nobody");
}

#[test]
fn paper_5_2_timeouts_are_spread() {
    let mut drawn = BTreeSet::new();
    let mut first = BTreeSet::new();
    for id in 1..=5 {
        let mut node = Node::new(config(id), Restored::fresh(voters(5)));
        first.insert(node.timeout);
        for _ in 0..200 {
            drawn.insert(node.timeout);
            node.restart_timer();
        }
    }
    let all: BTreeSet<u32> = (ELECTION_TICKS..2 * ELECTION_TICKS).collect();
    assert_eq!(drawn, all);
    assert!(1 < first.len(), "nodes with one seed do not stand at the same time");
}

#[test]
fn paper_5_3_a_leader_begins_with_an_entry_of_its_own_and_replicates() {
    let mut node = node(3, 1, &[1]);
    stand(&mut node);
    settle(&mut node);
    node.step(from(2, 2, GRANTED));
    assert_eq!(node.propose(b"x"[..].into()), Ok(place(2, 3)));
    let ready = node.ready();
    let positions: Vec<_> = ready.entries.iter().map(Entry::position).collect();
    assert_eq!(positions, [place(2, 2), place(2, 3)]);
    assert_eq!(ready.entries[0].content, Content::Begin);
    let sent = append(place(1, 1), ready.entries.clone(), 0);
    assert_eq!(ready.messages.len(), 2, "at once, beside the own write");
    assert!(ready.messages.iter().all(|message| message.body == sent));
}

#[test]
fn paper_5_3_an_entry_on_a_majority_is_committed_with_all_before_it() {
    for voters in 1..=7 {
        for others in 0..voters {
            let mut node = leader(voters, 1, &[1, 1]);
            for other in 0..others {
                node.step(from(other + 2, 2, accepted(3)));
            }
            let expected = if voters < 2 * (others + 1) { 3 } else { 0 };
            let status = node.status();
            assert_eq!(status.committed, Index(expected), "{others} others of {voters}");
            let handed = settle(&mut node).1.len() as u64;
            assert_eq!(if voters == 1 { 0 } else { expected }, handed, "a lone voter did before");
        }
    }
}

#[test]
fn paper_5_3_the_own_disk_is_one_vote_and_can_be_outvoted() {
    let mut node = leader(3, 0, &[]);
    node.step(from(2, 1, accepted(1)));
    settle(&mut node);
    node.propose(b"x"[..].into()).unwrap();
    let slow = node.ready().receipt.unwrap();
    node.step(from(2, 1, accepted(2)));
    assert_eq!(node.status().committed, Index(1), "one disk of three");
    node.step(from(3, 1, accepted(2)));
    assert_eq!(node.status().committed, Index(2), "two others");
    assert_eq!(node.status().durable, Index(1));
    node.persisted(slow);
    assert_eq!(node.status().durable, Index(2));
}

#[test]
fn paper_5_3_a_follower_commits_what_it_shares_with_the_leader() {
    // (committed by the leader, new entries, committed here)
    for (known, new, expected) in [(0, 0, 0), (1, 0, 1), (3, 0, 2), (3, 1, 3), (2, 1, 2), (9, 1, 3)]
    {
        let mut node = node(3, 1, &[1, 1, 1, 1]);
        let sent: Vec<Entry> = (0..new).map(|_| entry(1, 3)).collect();
        node.step(from(2, 1, append(place(1, 2), sent, known)));
        assert_eq!(node.status().committed, Index(expected), "{known} {new}");
    }
}

#[test]
fn paper_5_3_an_append_must_continue_the_log() {
    // (previous, answer, place to try next)
    for (previous, expected) in [
        (place(0, 0), accepted(0)),
        (place(1, 1), accepted(1)),
        (place(2, 2), accepted(2)),
        (place(1, 2), rejected(2, place(1, 1))),
        (place(3, 2), rejected(2, place(2, 2))),
        (place(2, 3), rejected(3, place(2, 2))),
        (place(1, 9), rejected(9, place(1, 1))),
    ] {
        let mut node = node(3, 3, &[1, 2]);
        node.step(from(2, 3, append(previous, Vec::new(), 0)));
        assert_eq!(said(&mut node), [expected], "{previous:?}");
        assert_eq!(log_of(&node), entries(&[1, 2]));
    }
}

#[test]
fn paper_5_3_conflicting_entries_are_replaced() {
    // (place, terms from there on, terms of the whole log afterwards)
    let cases: [(_, &[u64], &[u64]); 6] = [
        (place(2, 2), &[3], &[1, 2, 3]),
        (place(1, 1), &[3, 4], &[1, 3, 4]),
        (place(0, 0), &[1], &[1, 2]),
        (place(0, 0), &[1, 2], &[1, 2]),
        (place(0, 0), &[3], &[3]),
        (place(1, 1), &[2, 4], &[1, 2, 4]),
    ];
    for (previous, new, expected) in cases {
        let mut node = node(3, 4, &[1, 2]);
        let sent = new.iter().zip(previous.1.0 + 1..).map(|(term, at)| entry(*term, at)).collect();
        node.step(from(2, 4, append(previous, sent, 0)));
        assert_eq!(log_of(&node), entries(expected), "{previous:?} {new:?}");
        let matched = previous.1.0 + new.len() as u64;
        assert_eq!(said(&mut node), [accepted(matched)]);
    }
}

#[test]
fn paper_5_3_a_leader_steps_back_to_where_the_logs_agree() {
    let mut node = leader(3, 6, &[1, 1, 4, 4, 6]);
    node.step(from(2, 7, rejected(5, place(4, 5))));
    let sent = said(&mut node);
    let Body::Append { previous, entries, .. } = &sent[0] else { panic!("{sent:?}") };
    assert_eq!(*previous, place(4, 4), "the last entry of a term that is not above 4");
    assert_eq!(entries.len(), 2);
}

#[test]
fn paper_5_4_1_a_vote_needs_a_log_at_least_as_up_to_date() {
    // Our log ends in 2/2.
    for (last, granted) in [
        (place(0, 0), false),
        (place(1, 1), false),
        (place(1, 9), false),
        (place(2, 1), false),
        (place(2, 2), true),
        (place(2, 3), true),
        (place(3, 1), true),
    ] {
        let mut node = node(3, 3, &[1, 2]);
        node.step(from(2, 4, vote_request(last)));
        assert_eq!(said(&mut node), [Body::VoteReply { granted }], "{last:?}");
    }
}

#[test]
fn paper_5_4_1_entries_under_way_to_the_disk_count_for_a_vote() {
    let mut node = node(3, 1, &[1]);
    node.step(from(2, 1, append(place(1, 1), vec![entry(1, 2)], 0)));
    let under_way = node.ready().receipt.expect("a write");
    node.suspect_leader();
    node.step(from(3, 2, vote_request(place(1, 1))));
    assert_eq!(said(&mut node), [REFUSED]);
    node.persisted(under_way);
}

#[test]
fn paper_5_4_2_entries_of_older_terms_are_not_committed_by_counting() {
    let mut node = leader(5, 3, &[1, 2]);
    for voter in 2..=5 {
        node.step(from(voter, 4, accepted(2)));
        assert_eq!(node.status().committed, Index(0), "index 2 is of term 2");
    }
    node.step(from(2, 4, accepted(3)));
    assert_eq!(node.status().committed, Index(0), "two of five");
    node.step(from(3, 4, accepted(3)));
    assert_eq!(node.status().committed, Index(3), "with its own entry all before it");
}

#[test]
fn paper_5_5_requests_may_come_twice_and_late() {
    let mut node = node(3, 1, &[]);
    let first = from(2, 1, append(place(0, 0), vec![entry(1, 1)], 0));
    let second = from(2, 1, append(place(1, 1), vec![entry(1, 2)], 1));
    for message in [&first, &second, &first, &second, &first] {
        node.step(message.clone());
    }
    settle(&mut node);
    assert_eq!(log_of(&node), entries(&[1, 1]), "an old append cuts nothing off");
    assert_eq!(node.status().committed, Index(1));
}

#[test]
fn paper_figure_2_term_vote_and_log_are_on_disk_before_an_answer() {
    let mut node = node(3, 0, &[]);
    node.step(from(2, 1, vote_request(place(0, 0))));
    let ready = node.ready();
    let vote = HardState { term: Term(1), vote: Some(NodeId(2)) };
    assert_eq!((ready.hard_state, ready.messages.len()), (Some(vote), 0));
    assert_eq!(ready.messages_after_persist.len(), 1);
    let vote_receipt = ready.receipt.unwrap();

    node.step(from(2, 1, append(place(0, 0), vec![entry(1, 1)], 0)));
    let ready = node.ready();
    assert_eq!((ready.entries.len(), ready.messages.len()), (1, 0));
    assert_eq!(ready.messages_after_persist.len(), 1);

    // The same append again, while its entries are on their way: the answer has no write of its own
    // to wait for, so the node keeps it.
    node.step(from(2, 1, append(place(0, 0), vec![entry(1, 1)], 0)));
    assert!(!node.has_ready());
    node.persisted(vote_receipt);
    assert!(!node.has_ready());
    node.persisted(ready.receipt.unwrap());
    assert_eq!(said(&mut node), [accepted(1)]);
}
