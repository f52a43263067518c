//! Readiness and drain, as they follow from what is known.

use model::cluster::{MemberId, NodeName, name_tag};
use model::ids::{GroupId, Placement, Seq, ShardId};
use model::intent::Intent;
use shard::NodeId;
use shard::cluster::{Cluster, Timing};
use shard::effect::{Gauges, Lack};
use shard::neighbours::NeighbourStatus;

use crate::kept::{keep_intent, kept_intent};
use crate::standing::{Grounds, Readiness, ShardStanding, Sight, Standing};

fn node(name: &str) -> NodeId {
    NodeId(MemberId::new(name_tag(name), 7).0)
}

/// What node `own` of three knows; `a` and `b` and `c` hold data.
fn standing(own: &str) -> Standing {
    let founders = vec![node("a"), node("b"), node("c")];
    let write = ["a", "b", "c"].map(name_tag).to_vec();
    let (own, timing) = (node(own), Timing::default());
    let cluster = Cluster { own, founders, founding_factor: 3, write, factor: 3, timing };
    Standing::new(Placement::new(4, 1), &cluster, Intent::default())
}

/// A shard that knows all that is wanted.
fn shard(groups_not_ready: u64, groups_hosted: u64, groups_to_give: u64) -> ShardStanding {
    let wishes = u64::MAX;
    let gauges =
        Gauges { groups_not_ready, groups_hosted, groups_to_give, wishes, ..Gauges::default() };
    let failing = (0 < groups_not_ready).then_some((GroupId(2), Lack::Progress));
    ShardStanding { gauges, failing, groups: Vec::new() }
}

fn neighbour(name: &str, lives: bool, ready: bool, intent: u64) -> NeighbourStatus {
    NeighbourStatus { node: node(name), lives, ready, intent, relieved: false }
}

fn set(standing: &Standing, intent: &Intent, complete: bool) {
    standing.set_intent(intent, ["a", "b", "c"].map(name_tag).to_vec(), complete);
}

/// What is known after these words, each a drain or its end.
fn said(words: &[(&str, &str)]) -> Intent {
    let mut intent = Intent::default();
    for (seq, (word, name)) in (1..).zip(words) {
        let event = format!("{{\"type\":\"{word}\",\"payload\":{{\"node\":\"{name}\"}}}}");
        intent.take(Seq(seq), event.as_bytes());
    }
    intent
}

#[test]
fn reasons_come_in_the_contracts_order() {
    for bits in 0_u32..32 {
        let bit = |place: u32| bits >> place & 1 == 1;
        let grounds = Grounds {
            draining: bit(0),
            router: bit(1),
            groups_not_ready: u64::from(bit(2)),
            hears_ready: bit(3),
            aware: bit(4),
        };
        let expected = match (bit(0), bit(1), bit(2), bit(3), bit(4)) {
            (true, _, _, _, _) => Readiness::Draining,
            (_, false, true, _, _) => Readiness::Starting { groups_not_ready: 1 },
            (_, true, _, false, _) => Readiness::Unconnected,
            (_, _, _, _, false) => Readiness::Unaware,
            (_, _, _, _, true) => Readiness::Ready,
        };
        assert_eq!(Readiness::of(grounds), expected, "{grounds:?}");
    }
}

#[test]
fn a_node_that_holds_data_becomes_ready_step_by_step() {
    let standing = standing("a");
    assert_eq!(standing.readiness(), Readiness::Starting { groups_not_ready: 1 }, "silent");
    standing.report(ShardId(0), shard(2, 4, 0));
    assert_eq!(standing.readiness(), Readiness::Starting { groups_not_ready: 2 });
    standing.report(ShardId(0), shard(3, 1, 0));
    assert_eq!(standing.readiness(), Readiness::Starting { groups_not_ready: 3 }, "one copy");
    standing.report(ShardId(0), shard(0, 4, 0));
    assert_eq!(standing.readiness(), Readiness::Unaware);
    set(&standing, &said(&[("drain", "b")]), false);
    assert_eq!(standing.readiness(), Readiness::Unaware, "more may have been said");
    set(&standing, &said(&[("drain", "b"), ("drain", "c")]), true);
    assert_eq!(standing.readiness(), Readiness::Ready);
    set(&standing, &said(&[("drain", "b"), ("drain", "c"), ("drain", "a")]), false);
    assert_eq!(standing.readiness(), Readiness::Draining);
    let undrained = said(&[("drain", "b"), ("drain", "c"), ("drain", "a"), ("undrain", "a")]);
    set(&standing, &undrained, false);
    assert_eq!(standing.readiness(), Readiness::Ready, "it stays known");
    standing.note_write_timeout();
    assert_eq!(standing.readiness(), Readiness::Starting { groups_not_ready: 1 });
    standing.report(ShardId(0), shard(1, 4, 0));
    assert!(standing.write_timed_out());
    standing.report(ShardId(0), shard(0, 4, 0));
    assert_eq!(standing.readiness(), Readiness::Ready, "all groups were seen to be ready");
    standing.leave();
    assert_eq!(standing.readiness(), Readiness::Draining);
}

#[test]
fn a_router_needs_a_node_that_is_ready() {
    let standing = standing("r");
    set(&standing, &Intent::default(), true);
    standing.report(ShardId(0), shard(0, 0, 0));
    assert!(standing.is_router());
    let cases = [
        (neighbour("a", false, true, 0), Readiness::Unconnected),
        (neighbour("a", true, false, 0), Readiness::Unconnected),
        (
            NeighbourStatus { relieved: true, ..neighbour("a", true, true, 0) },
            Readiness::Unconnected,
        ),
        (neighbour("other", true, true, 0), Readiness::Unconnected),
        (neighbour("a", true, true, 0), Readiness::Ready),
    ];
    for (status, expected) in cases {
        standing.report_neighbours(vec![status]);
        assert_eq!(standing.readiness(), expected, "{status:?}");
    }
    set(&standing, &said(&[("drain", "a")]), true);
    assert_eq!(standing.readiness(), Readiness::Unconnected);
}

#[test]
fn a_drained_node_that_is_to_hold_no_data_drains_no_more() {
    let standing = standing("c");
    let drained = said(&[("drain", "c")]);
    set(&standing, &drained, true);
    standing.report(ShardId(0), shard(0, 4, 0));
    standing.report_neighbours(vec![neighbour("a", true, true, 1)]);
    assert_eq!((standing.readiness(), standing.is_drained()), (Readiness::Draining, true));
    standing.set_intent(&drained, ["a", "b"].map(name_tag).to_vec(), true);
    assert_eq!((standing.readiness(), standing.is_drained()), (Readiness::Ready, false));
    assert!(!standing.is_relieved(name_tag("c")));
    assert_eq!(told(&standing), (1, Vec::new()));
    // It is meant again once the node is to hold data again.
    set(&standing, &drained, true);
    assert_eq!(standing.readiness(), Readiness::Draining);
}

#[test]
fn a_node_is_drained_when_all_who_live_know() {
    let standing = standing("a");
    standing.report(ShardId(0), shard(0, 4, 0));
    let others = |b: u64, c: u64, c_lives: bool| {
        vec![neighbour("b", true, true, b), neighbour("c", c_lives, true, c)]
    };
    standing.report_neighbours(others(9, 9, true));
    assert!(!standing.is_drained(), "nobody wants it");
    set(&standing, &said(&[("drain", "b"), ("drain", "a"), ("drain", "c")]), true);
    for (b, c, c_lives, drained) in [
        (3, 3, true, true),
        (2, 2, true, true),
        (2, 1, true, false),
        (1, 2, true, false),
        (2, 0, false, true),
        (0, 0, false, false),
    ] {
        standing.report_neighbours(others(b, c, c_lives));
        assert_eq!(standing.is_drained(), drained, "b knows {b}, c knows {c}, lives: {c_lives}");
    }
    standing.report_neighbours(others(3, 3, true));
    standing.report(ShardId(0), shard(0, 4, 1));
    assert!(!standing.is_drained(), "it leads what another could");
    let mut late = shard(0, 4, 0);
    late.gauges.wishes = standing.revision() - 1;
    standing.report(ShardId(0), late);
    assert!(!standing.is_drained(), "what it led was seen before it knew");
    standing.report(ShardId(0), shard(0, 4, 0));
    assert!(standing.is_drained());
    // Not being ready for another reason is not being drained.
    set(&standing, &said(&[("drain", "a"), ("undrain", "a")]), true);
    standing.leave();
    assert!(!standing.is_drained());
}

/// How much shards are told to know, and whom to relieve.
fn told(standing: &Standing) -> (u64, Vec<model::cluster::NameTag>) {
    let wishes = standing.wishes();
    (wishes.seq, wishes.relieved)
}

#[test]
fn shards_are_told_whom_to_relieve_whenever_that_changes() {
    let standing = standing("a");
    let mut seen = standing.revision();
    let mut changed = || {
        let now = standing.revision();
        std::mem::replace(&mut seen, now) != now
    };
    set(&standing, &said(&[]), false);
    assert!(!changed());
    assert!(!standing.wishes().complete, "groups stay where they are");
    set(&standing, &said(&[]), true);
    assert!(changed() && standing.wishes().complete);
    set(&standing, &said(&[("drain", "b")]), true);
    assert!(changed());
    assert_eq!(told(&standing), (1, vec![name_tag("b")]));
    set(&standing, &said(&[("drain", "b")]), true);
    assert!(!changed());
    standing.leave();
    assert!(changed());
    assert_eq!(told(&standing), (1, vec![name_tag("b"), name_tag("a")]));
    let names: Vec<NodeName> = standing.intent().draining().keys().cloned().collect();
    assert_eq!(names, [NodeName::new("b").unwrap()], "leaving is nobody's word");
}

#[test]
fn a_silent_node_is_suspect() {
    let standing = standing("a");
    assert_eq!(standing.sight(name_tag("b")), Sight::Suspect, "it may yet come");
    standing.report_neighbours(vec![neighbour("b", true, true, 4)]);
    assert_eq!(standing.sight(name_tag("b")), Sight::Alive { ready: true, intent: Seq(4) });
    // An earlier life of its disk is another member under the same name.
    let before =
        NeighbourStatus { node: NodeId(node("b").0 ^ 1), ..neighbour("b", false, true, 0) };
    standing.report_neighbours(vec![before, neighbour("b", true, false, 5)]);
    assert_eq!(standing.sight(name_tag("b")), Sight::Alive { ready: false, intent: Seq(5) });
    standing.report_neighbours(vec![before]);
    assert_eq!(standing.sight(name_tag("b")), Sight::Suspect);
}

#[test]
fn what_operators_add_and_remove_changes_who_should_hold_data() {
    let standing = standing("d");
    assert!(standing.is_router());
    let added = r#"{"type":"add","payload":{"node":"d","host":"h","port":1}}"#;
    let preferred = r#"{"type":"prefer","payload":{"group":2,"node":"d"}}"#;
    let mut intent = Intent::default();
    for (seq, event) in (1..).zip([added, preferred]) {
        intent.take(Seq(seq), event.as_bytes());
    }
    let four = ["a", "b", "c", "d"].map(name_tag).to_vec();
    standing.set_intent(&intent, four.clone(), true);
    assert!(!standing.is_router());
    let wishes = standing.wishes();
    assert_eq!((wishes.write, wishes.preferred), (four, vec![(GroupId(2), name_tag("d"))]));
    standing.report(ShardId(0), shard(4, 0, 0));
    assert_eq!(standing.readiness(), Readiness::Starting { groups_not_ready: 4 }, "no copy yet");
    intent.take(Seq(3), br#"{"type":"remove","payload":{"node":"d"}}"#);
    let three = ["a", "b", "c"].map(name_tag).to_vec();
    standing.set_intent(&intent, three, true);
    assert!(standing.is_router());
    assert_eq!(standing.readiness(), Readiness::Unconnected, "it forwards, or would");
}

#[test]
fn a_node_is_behind_what_others_know() {
    let standing = standing("a");
    assert!(!standing.is_behind());
    let cases = [
        (neighbour("b", true, true, 1), true),
        (neighbour("b", false, true, 1), false),
        (neighbour("b", true, false, 0), false),
    ];
    for (neighbour, expected) in cases {
        standing.report_neighbours(vec![neighbour]);
        assert_eq!(standing.is_behind(), expected, "{neighbour:?}");
    }
    standing.note_said(Seq(2));
    assert!(standing.is_behind());
    set(&standing, &said(&[("drain", "b"), ("drain", "c")]), false);
    assert!(!standing.is_behind() && !standing.is_up_to_date(), "there may be more");
    set(&standing, &said(&[("drain", "b"), ("drain", "c")]), true);
    assert!(standing.is_up_to_date());
    standing.note_said(Seq(3));
    assert!(!standing.is_up_to_date());
}

#[test]
fn what_was_wanted_is_kept() {
    let dir = super::TempDir::new();
    assert_eq!(kept_intent(dir.path()), Ok(Intent::default()));
    for intent in [said(&[("drain", "b")]), said(&[("drain", "b"), ("remove", "c")])] {
        keep_intent(dir.path(), &intent).unwrap();
        assert_eq!(kept_intent(dir.path()), Ok(intent));
    }
    let path = dir.path().join("intent");
    let good = std::fs::read(&path).unwrap();
    for place in 0..good.len() {
        let mut bad = good.clone();
        bad[place] ^= 1;
        std::fs::write(&path, &bad).unwrap();
        assert!(kept_intent(dir.path()).is_err(), "byte {place}");
        std::fs::write(&path, &good[..place]).unwrap();
        assert!(kept_intent(dir.path()).is_err(), "the first {place} bytes");
    }
}
