//! The thesis (Ongaro, "Consensus: Bridging Theory and Practice") where it goes beyond the paper, and the
//! cases between its rules that a single node shows. Tests about a section carry its number.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::leader::Leadership;
use crate::limits::{ELECTION_TIMEOUTS_MAX, READS_MAX};
use crate::membership::Membership;
use crate::message::{Body, Content, Index, Life, Message, NodeId, Snapshot, Term};
use crate::node::{Config, Node, Restored, State};
use crate::progress::{PeerState, Progress};
use crate::ready::{Promise, Read};
use crate::status::{ChangeRefused, Role, TransferRefused};

use super::{
    ELECTION_TICKS, GRANTED, REFUSED, WOULD, accepted, append, config, entry, from, ids, leader,
    leader_of, node, place, rejected, restored, said, settle, stand, vote_request, voters,
};

fn snapshot(term: u64, index: u64) -> Snapshot {
    Snapshot { last: place(term, index), membership: voters(3) }
}

fn pre_vote(last: (Term, Index)) -> Body {
    Body::PreVoteRequest { last }
}

fn would_not() -> Body {
    Body::PreVoteReply { granted: false }
}

#[test]
fn thesis_3_10_only_the_leader_makes_a_node_stand() {
    let mut node = node(3, 1, &[]);
    node.step(from(2, 1, Body::TimeoutNow));
    assert_eq!(node.status().role, Role::Follower, "nobody leads");
    node.step(from(2, 1, append(place(0, 0), Vec::new(), 0)));
    node.step(from(3, 1, Body::TimeoutNow));
    assert_eq!(node.status().role, Role::Follower, "another leads");
    node.step(from(2, 1, Body::TimeoutNow));
    assert_eq!(node.status().role, Role::Candidate);
    assert_eq!(node.status().term, Term(2));
}

#[test]
fn thesis_4_2_2_a_leader_that_leaves_does_not_count_itself() {
    let mut node = leader(3, 0, &[]);
    node.step(from(2, 1, accepted(1)));
    settle(&mut node);
    node.change(ids([2, 3]), Vec::new()).unwrap();
    settle(&mut node);
    node.step(from(2, 1, accepted(2)));
    assert_eq!(node.status().committed, Index(1), "of the new voters it has one of two");
    node.step(from(3, 1, accepted(2)));
    settle(&mut node);
    assert!(!node.membership().is_joint());
    node.step(from(2, 1, accepted(3)));
    assert_eq!((node.status().role, node.status().committed), (Role::Leader, Index(2)));
    node.step(from(3, 1, accepted(3)));
    assert_eq!((node.status().role, node.status().committed), (Role::Follower, Index(3)));
}

#[test]
fn thesis_4_2_3_who_hears_a_leader_is_not_disturbed() {
    for mut node in [leader(3, 0, &[]), {
        let mut follower = node(3, 1, &[]);
        follower.step(from(3, 1, append(place(0, 0), Vec::new(), 0)));
        follower
    }] {
        settle(&mut node);
        let before = node.status();
        node.step(from(2, 9, vote_request(place(8, 8))));
        assert_eq!(node.status(), before);
        assert_eq!(said(&mut node), []);
        node.step(from(2, 9, pre_vote(place(8, 8))));
        assert_eq!(node.status(), before);
        assert_eq!(said(&mut node), [would_not()]);
    }
}

#[test]
fn thesis_4_3_a_change_waits_for_the_one_before() {
    let mut node = leader(3, 0, &[]);
    assert_eq!(node.change(ids([1, 2]), Vec::new()), Err(ChangeRefused::Busy), "no own commit");
    node.step(from(2, 1, accepted(1)));
    assert_eq!(node.change(ids([]), Vec::new()), Err(ChangeRefused::Pointless));
    assert_eq!(node.change(ids([1, 2]), ids([2])), Err(ChangeRefused::Pointless));
    assert_eq!(node.change(ids([3, 2, 1, 1]), Vec::new()), Err(ChangeRefused::Pointless));
    assert_eq!(node.change(ids([1, 2, 3]), ids([4])), Ok(place(1, 2)));
    assert_eq!(node.change(ids([1, 2]), Vec::new()), Err(ChangeRefused::Busy), "not committed");
}

#[test]
fn a_voter_that_becomes_a_learner_votes_until_the_change_is_over() {
    let mut node = leader(3, 0, &[]);
    node.step(from(2, 1, accepted(1)));
    node.change(ids([1, 2]), ids([3])).unwrap();
    assert!(node.membership().is_voter(NodeId(3)));
    assert_eq!(node.membership().members().count(), 3, "each once");
    settle(&mut node);
    node.step(from(2, 1, accepted(2)));
    settle(&mut node);
    assert_eq!(**node.membership(), Membership::new(ids([1, 2]), ids([3])));
}

#[test]
fn truncation_brings_the_members_before_back() {
    let mut node = node(3, 1, &[1]);
    let change = Content::Membership(Arc::new(Membership {
        voters: ids([1, 2, 3, 4]),
        outgoing: ids([1, 2, 3]),
        learners: Vec::new(),
    }));
    let joint = crate::Entry { content: change, ..entry(1, 2) };
    node.step(from(2, 1, append(place(1, 1), vec![joint], 0)));
    assert!(node.membership().is_joint());
    node.step(from(3, 2, append(place(1, 1), vec![entry(2, 2)], 0)));
    assert_eq!(node.membership(), &voters(3));
}

#[test]
fn thesis_6_4_reads_beyond_the_bound_end_in_vain() {
    let mut node = leader(3, 0, &[]);
    let asked = READS_MAX as u64 + 5;
    (0..asked).for_each(|context| node.read(context));
    let reads = node.ready().reads;
    assert_eq!(reads.len(), 5);
    assert!(reads.iter().all(|read| read.index.is_none()));
}

#[test]
fn thesis_6_4_a_lone_leader_answers_at_once_but_not_before_its_first_commit() {
    let mut node = node(1, 0, &[]);
    node.campaign();
    let vote = node.ready().receipt.unwrap();
    node.persisted(vote);
    node.read(7);
    let ready = node.ready();
    assert_eq!(ready.reads, [], "nothing of its term is durable");
    node.persisted(ready.receipt.unwrap());
    assert_eq!(node.ready().reads, [Read { context: 7, index: Some(Index(1)) }]);
}

#[test]
fn thesis_9_6_asking_changes_nothing_and_is_repeated() {
    let mut node = node(3, 4, &[1]);
    for _ in 0..5 {
        node.campaign();
        assert_eq!(said(&mut node), [pre_vote(place(1, 1)), pre_vote(place(1, 1))]);
        assert_eq!((node.status().term, node.hard_state().vote), (Term(4), None));
        node.step(from(2, 4, would_not()));
        node.step(from(2, 4, WOULD));
        assert_eq!(node.status().term, Term(4), "granted for another term");
    }
    node.step(from(3, 9, would_not()));
    assert_eq!((node.status().role, node.status().term), (Role::Follower, Term(9)));
}

#[test]
fn a_candidate_that_takes_over_a_state_stands_no_longer() {
    let mut node = node(3, 1, &[1]);
    stand(&mut node);
    settle(&mut node);
    assert!(node.restore(snapshot(1, 5)));
    assert_eq!(node.status().role, Role::Follower);
    node.step(from(2, 2, GRANTED));
    assert_eq!(node.status().role, Role::Follower, "its log is not what was voted for");
}

#[test]
fn a_receipt_of_an_older_restart_of_the_log_does_not_stand_for_the_newer() {
    let mut node = node(3, 1, &[]);
    node.step(from(2, 1, append(place(0, 0), Vec::new(), 0)));
    settle(&mut node);
    assert!(node.restore(snapshot(1, 5)));
    let first = node.ready().receipt.unwrap();
    assert!(node.restore(snapshot(1, 9)));
    let second = node.ready();
    assert_eq!(second.snapshot, Some(snapshot(1, 9)));
    node.persisted(first);
    node.step(from(2, 1, append(place(1, 9), Vec::new(), 9)));
    assert!(!node.has_ready(), "what it would say is not on disk");
    node.persisted(second.receipt.unwrap());
    assert_eq!(said(&mut node), [accepted(9)]);
}

#[test]
fn a_deposed_leader_adds_nothing_behind_a_state_of_its_successor() {
    let mut node = node(5, 2, &[1]);
    node.step(from(2, 2, append(place(1, 1), vec![entry(2, 2)], 0)));
    settle(&mut node);
    assert!(node.restore(Snapshot { last: place(1, 2), membership: voters(5) }));
    settle(&mut node);
    node.step(from(2, 2, append(place(1, 1), vec![entry(2, 2), entry(2, 3)], 0)));
    assert_eq!(said(&mut node), []);
    assert_eq!(node.status().last, Index(2));
}

#[test]
fn a_state_that_knows_no_members_is_not_taken_over() {
    let mut node = node(3, 1, &[]);
    let nobody = Arc::new(Membership::default());
    assert!(!node.restore(Snapshot { last: place(1, 5), membership: nobody }));
    assert_eq!(node.membership(), &voters(3));
}

#[test]
fn a_stream_nobody_asked_for_may_end() {
    let mut node = leader(3, 1, &[1, 1]);
    node.step(from(2, 2, accepted(3)));
    settle(&mut node);
    node.compact(Index(3));
    node.snapshot_ended(NodeId(3));
    node.snapshot_ended(NodeId(9));
    assert_eq!(said(&mut node), [append(place(2, 3), Vec::new(), 3)]);
}

#[test]
fn a_follower_that_is_far_behind_is_named_once() {
    let mut node = leader(3, 1, &[1, 1]);
    node.step(from(2, 2, accepted(3)));
    settle(&mut node);
    node.compact(Index(3));
    for round in 0..3 {
        node.step(from(3, 2, rejected(2, place(0, 0))));
        let expected = if round == 0 { ids([3]) } else { Vec::new() };
        assert_eq!(node.ready().snapshots, expected);
    }
    let peer = node.progress().find(|peer| peer.id == NodeId(3)).unwrap();
    assert_eq!(peer.state, PeerState::Snapshot);
}

#[test]
fn suspicion_that_is_repeated_delays_nothing() {
    let mut node = node(3, 1, &[]);
    node.step(from(2, 1, append(place(0, 0), Vec::new(), 0)));
    settle(&mut node);
    for _ in 0..ELECTION_TICKS {
        node.suspect_leader();
        node.tick();
    }
    assert!(said(&mut node).contains(&pre_vote(place(0, 0))));
}

#[test]
fn a_leader_told_to_step_down_gives_others_time() {
    let mut node = leader(3, 0, &[]);
    node.step_down();
    assert_eq!(node.status().role, Role::Follower);
    (1..2 * ELECTION_TICKS).for_each(|_| node.tick());
    assert_eq!(said(&mut node), []);
    node.step(from(2, 2, vote_request(place(1, 1))));
    assert_eq!(said(&mut node), [GRANTED]);
}

#[test]
fn who_steps_down_after_rounds_in_vain_stands_in_time() {
    let election_timeouts = |count: u32| count * ELECTION_TICKS;
    let mut waits = Vec::new();
    for seed in 0..200 {
        let mut node = leader_of(Node::new(Config { seed, ..config(1) }, restored(3, 0, &[])));
        node.rounds_in_vain = 20;
        node.step_down();
        waits.push(node.timeout);
    }
    let (shortest, longest) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
    assert!(election_timeouts(2) <= *shortest, "it gives others time: {shortest}");
    assert_eq!(*longest, election_timeouts(ELECTION_TIMEOUTS_MAX), "it would have been longer");
}

#[test]
fn with_leases_nobody_stands_or_votes_where_one_may_hold() {
    let mut node = Node::new(Config { lease: true, ..config(1) }, restored(3, 1, &[]));
    node.campaign();
    assert_eq!(said(&mut node), [], "it may have answered before it stopped");
    node.step(from(2, 5, vote_request(place(0, 0))));
    assert_eq!(node.status().term, Term(1));
    (0..ELECTION_TICKS).for_each(|_| node.tick());
    node.step(from(2, 5, append(place(0, 0), Vec::new(), 0)));
    node.step(from(3, 7, REFUSED));
    assert_eq!(node.status().leader, None, "a newer term");
    said(&mut node);
    node.step(from(3, 7, vote_request(place(0, 0))));
    node.step(from(3, 8, vote_request(place(0, 0))));
    assert_eq!(node.status().term, Term(7), "the lease of the older one may still hold");
}

#[test]
fn a_removed_node_wakes_nobody_who_cannot_tell_it() {
    let resting = Config { quiet_ticks: 1, ..config(1) };
    let mut follower = Node::new(resting.clone(), restored(3, 1, &[1]));
    follower.step(from(2, 1, append(place(1, 1), Vec::new(), 1)));
    settle(&mut follower);
    follower.step(from(2, 1, Body::Rest { last: place(1, 1) }));
    follower.step(from(9, 7, pre_vote(place(0, 0))));
    assert!(follower.is_quiet());
    assert!(said(&mut follower).contains(&Body::Astray { node: NodeId(9) }), "passed on");
    follower.step(from(3, 7, Body::Astray { node: NodeId(9) }));
    assert_eq!(said(&mut follower), [], "only once");
    let mut node = leader_of(Node::new(resting, restored(3, 0, &[])));
    for voter in [2, 3] {
        node.step(from(voter, 1, accepted(1)));
    }
    settle(&mut node);
    node.tick();
    assert!(node.is_quiet());
    node.step(from(9, 7, Body::Doubt { life: Life(1), last: place(0, 0) }));
    node.step(from(2, 1, accepted(1)));
    assert!(node.is_quiet());
    node.step(from(9, 7, pre_vote(place(0, 0))));
    assert!(!node.is_quiet(), "it is told");
    assert_eq!(node.status().term, Term(1));
}

#[test]
fn a_member_that_asks_whether_it_is_one_wakes_nobody() {
    let resting = Config { quiet_ticks: 1, ..config(1) };
    let mut node = leader_of(Node::new(resting.clone(), restored(3, 0, &[])));
    node.step(from(2, 1, Body::Astray { node: NodeId(2) }));
    assert_eq!(said(&mut node), [], "who does not rest speaks anyway");
    for voter in [2, 3] {
        node.step(from(voter, 1, accepted(1)));
    }
    settle(&mut node);
    node.tick();
    assert!(node.is_quiet());
    said(&mut node);
    node.ask_whether_member();
    assert_eq!(said(&mut node), [], "a leader knows");
    node.step(from(2, 1, Body::Astray { node: NodeId(2) }));
    assert!(node.is_quiet());
    let rest = Body::Rest { last: place(1, 1) };
    assert_eq!(said(&mut node), std::slice::from_ref(&rest), "what it may have lost");
    node.step(from(2, 1, rejected(1, place(0, 0))));
    assert!(!node.is_quiet(), "it had lost more");

    let mut follower = Node::new(resting, restored(3, 1, &[1]));
    follower.step(from(2, 1, append(place(1, 1), Vec::new(), 1)));
    settle(&mut follower);
    follower.step(from(2, 1, rest.clone()));
    follower.step(from(3, 1, Body::Astray { node: NodeId(3) }));
    assert_eq!(said(&mut follower), []);
    follower.ask_whether_member();
    let asks = Body::Astray { node: NodeId(1) };
    assert_eq!(said(&mut follower), [asks.clone(), asks]);
    follower.step(from(2, 1, rest));
    assert!(follower.is_quiet() && follower.status().leader == Some(NodeId(2)));
}

#[test]
fn a_leader_tells_few_at_once_and_those_that_answer_alone() {
    let restored = Restored { snapshot: snapshot(1, 1), ..restored(3, 1, &[]) };
    let mut node = leader_of(Node::new(config(1), restored));
    for outsider in 10..30 {
        node.step(from(outsider, 7, pre_vote(place(0, 0))));
        node.step(from(2, 2, Body::Astray { node: NodeId(outsider) }));
    }
    assert_eq!(node.progress().count(), 2 + 8);
    for _ in 0..ELECTION_TICKS - 1 {
        node.tick();
        node.step(from(2, 2, accepted(1)));
    }
    node.step(from(11, 2, rejected(2, place(0, 0))));
    node.tick();
    let looked_after: Vec<NodeId> = node.progress().map(|peer| peer.id).collect();
    assert_eq!(looked_after, ids([2, 3, 11]));
    // Whatever it acknowledges commits nothing, and it cannot be the heir.
    node.step(from(11, 2, accepted(2)));
    assert_eq!(node.status().committed, Index(1));
    assert_eq!(node.transfer(NodeId(11)), Err(TransferRefused::NoHeir));
}

/// Ticks until two of three nodes that have lost their leader have another that has committed something,
/// when a message takes `delay` ticks.
fn ticks_to_replace_a_leader(seed: u64, delay: u64) -> u64 {
    let mut nodes: Vec<Node> =
        (1..=2).map(|id| Node::new(Config { seed, ..config(id) }, restored(3, 1, &[1]))).collect();
    let mut network: VecDeque<(u64, Message)> = VecDeque::new();
    for now in 0..1_000 {
        for node in &mut nodes {
            node.tick();
        }
        while let Some((_, message)) = network.pop_front_if(|(at, _)| *at <= now) {
            let to = nodes.iter_mut().find(|node| node.id == message.to);
            to.into_iter().for_each(|node| node.step(message.clone()));
        }
        for node in &mut nodes {
            let said = settle(node).0.into_iter().map(|message| (now + delay, message));
            network.extend(said);
        }
        let proven =
            |node: &Node| node.status().role == Role::Leader && Index(1) < node.status().committed;
        if nodes.iter().any(proven) {
            return now;
        }
    }
    panic!("seed {seed}: nobody leads where messages take {delay} ticks");
}

#[test]
fn a_leader_is_found_where_a_round_trip_takes_longer_than_a_timeout() {
    let timeout = u64::from(ELECTION_TICKS);
    for seed in 0..100 {
        for delay in [2 * timeout / 3, timeout] {
            ticks_to_replace_a_leader(seed, delay);
        }
        // Where it takes no time, nothing is slower for it: luck is bad twice at most.
        let ticks = ticks_to_replace_a_leader(seed, 1);
        assert!(ticks <= 12 * timeout, "{ticks}");
    }
}

#[test]
fn who_waits_long_waits_less_when_somebody_is_back() {
    let mut node = node(3, 1, &[1]);
    for _ in 0..40 * ELECTION_TICKS {
        node.tick();
    }
    settle(&mut node);
    assert_eq!(node.width(), 8);
    let signs: [fn(&mut Node); 3] = [
        |node| node.step(from(2, 2, pre_vote(place(0, 0)))),
        |node| node.step(from(2, 2, Body::Doubt { life: Life(1), last: place(0, 0) })),
        Node::peer_is_back,
    ];
    for sign in signs {
        node.restart_timer();
        while node.timeout <= 3 * ELECTION_TICKS {
            node.restart_timer();
        }
        sign(&mut node);
        let soon = node.timeout;
        assert!((ELECTION_TICKS + 1..=2 * ELECTION_TICKS).contains(&soon), "{soon}");
        sign(&mut node);
        assert_eq!(node.timeout, soon, "once");
    }
    node.step(from(2, 2, append(place(1, 1), vec![entry(2, 2)], 1)));
    assert_eq!(node.width(), 8, "a leader that may not last");
    node.step(from(2, 2, append(place(2, 2), Vec::new(), 2)));
    assert_eq!(node.width(), 1, "one that leads");
}

#[test]
fn a_slow_disk_bounds_what_is_promised() {
    let mut node = node(3, 1, &[]);
    for index in 1..3_000 {
        let previous = place(u64::from(1 < index), index - 1);
        node.step(from(2, 1, append(previous, vec![entry(1, index)], 0)));
    }
    assert_eq!(node.promises.len(), 1024);
    assert_eq!(node.status().last, Index(2_999));
}

#[test]
fn a_node_at_rest_is_small() {
    let resting = Config { quiet_ticks: 1, ..config(1) };
    let mut node = leader_of(Node::new(resting, restored(3, 0, &[])));
    for _ in 0..100 {
        node.propose(b"x"[..].into()).unwrap();
    }
    settle(&mut node);
    for voter in [2, 3] {
        node.step(from(voter, 1, accepted(101)));
    }
    settle(&mut node);
    node.compact(Index(101));
    let at_work = node.heap_bytes();
    node.tick();
    assert!(node.is_quiet());
    said(&mut node);
    let (fixed, heap) = (size_of::<Node>(), node.heap_bytes());
    assert!(heap < at_work, "what it does not need goes back");
    assert!(fixed + heap <= 1_200, "a leader of three: {fixed} and {heap} bytes");

    let mut node = Node::new(config(1), restored(3, 1, &[]));
    node.step(from(2, 1, append(place(0, 0), vec![entry(1, 1)], 1)));
    settle(&mut node);
    node.compact(Index(1));
    node.step(from(2, 1, Body::Rest { last: place(1, 1) }));
    assert!(node.is_quiet());
    said(&mut node);
    let (fixed, heap) = (size_of::<Node>(), node.heap_bytes());
    assert!(fixed + heap <= 800, "a follower: {fixed} and {heap} bytes");
}

impl Node {
    /// What it holds beyond its own size, but for the members, which groups may share.
    fn heap_bytes(&self) -> usize {
        let leading = match &self.state {
            State::Leader(leadership) => {
                let peers = leadership.peers.capacity() * size_of::<Progress>();
                let in_flight: usize = leadership.peers.iter().map(Progress::heap_bytes).sum();
                size_of::<Leadership>() + peers + in_flight + leadership.rounds.heap_bytes()
            }
            _ => 0,
        };
        let messages = self.messages.capacity() * size_of::<Message>();
        let promises = self.promises.capacity() * size_of::<Promise>();
        leading + messages + promises + self.log.heap_bytes()
    }
}
