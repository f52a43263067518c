//! Readiness and drain, as they follow from what is known.

use model::cluster::{MemberId, NodeName, name_tag};
use model::ids::{GroupId, Placement, Seq, ShardId};
use model::intent::Intent;
use shard::NodeId;
use shard::cluster::{Cluster, Timing};
use shard::effect::Gauges;
use shard::neighbours::NeighbourStatus;

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
    Standing::new(Placement::new(4, 1), &cluster)
}

fn shard(groups_not_ready: u64, groups_hosted: u64, groups_to_give: u64) -> ShardStanding {
    let gauges = Gauges { groups_not_ready, groups_hosted, groups_to_give, ..Gauges::default() };
    let failing = (0 < groups_not_ready).then_some((GroupId(2), true));
    ShardStanding { gauges, failing, groups: Vec::new() }
}

fn neighbour(name: &str, lives: bool, ready: bool, intent: u64) -> NeighbourStatus {
    NeighbourStatus { node: node(name), lives, ready, intent, relieved: false }
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
    standing.report(ShardId(0), shard(0, 0, 0));
    assert_eq!(standing.readiness(), Readiness::Starting { groups_not_ready: 1 }, "no copy yet");
    standing.report(ShardId(0), shard(0, 4, 0));
    assert_eq!(standing.readiness(), Readiness::Unaware);
    standing.set_intent(&said(&[("drain", "b")]), false);
    assert_eq!(standing.readiness(), Readiness::Unaware, "more may have been said");
    standing.set_intent(&said(&[("drain", "b"), ("drain", "c")]), true);
    assert_eq!(standing.readiness(), Readiness::Ready);
    standing.set_intent(&said(&[("drain", "b"), ("drain", "c"), ("drain", "a")]), false);
    assert_eq!(standing.readiness(), Readiness::Draining);
    let undrained = said(&[("drain", "b"), ("drain", "c"), ("drain", "a"), ("undrain", "a")]);
    standing.set_intent(&undrained, false);
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
    standing.set_intent(&Intent::default(), true);
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
    standing.set_intent(&said(&[("drain", "a")]), true);
    assert_eq!(standing.readiness(), Readiness::Unconnected);
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
    standing.set_intent(&said(&[("drain", "b"), ("drain", "a"), ("drain", "c")]), true);
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
    standing.report(ShardId(0), shard(0, 4, 0));
    assert!(standing.is_drained());
    // Not being ready for another reason is not being drained.
    standing.set_intent(&said(&[("drain", "a"), ("undrain", "a")]), true);
    standing.leave();
    assert!(!standing.is_drained());
}

#[test]
fn shards_are_told_whom_to_relieve_whenever_that_changes() {
    let standing = standing("a");
    let mut seen = standing.revision();
    let mut changed = || {
        let now = standing.revision();
        std::mem::replace(&mut seen, now) != now
    };
    standing.set_intent(&said(&[]), true);
    assert!(!changed());
    standing.set_intent(&said(&[("drain", "b")]), true);
    assert!(changed());
    assert_eq!(standing.wishes(), (1, vec![name_tag("b")]));
    standing.set_intent(&said(&[("drain", "b")]), true);
    assert!(!changed());
    standing.leave();
    assert!(changed());
    assert_eq!(standing.wishes(), (1, vec![name_tag("b"), name_tag("a")]));
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
