//! Who holds what, and what stands in the way of readiness.

use model::api::GroupRow;
use model::cluster::{MemberId, NameTag, NodeName, replicas};
use model::ids::GroupId;
use serde_json::{Value, json};
use shard::effect::Gauges;
use uring::ShardStanding;

use crate::http::api::detail;
use crate::operator::{Startup, shares};

fn tag(name: &str) -> NameTag {
    NodeName::new(name).unwrap().tag()
}

/// A group with these voters, the first of which leads.
fn row(voters: &[MemberId], outgoing: &[MemberId], learners: &[MemberId]) -> GroupRow {
    GroupRow {
        group: GroupId(0),
        leader: voters[0],
        term: 1,
        last: 5,
        voters: voters.to_vec(),
        outgoing: outgoing.to_vec(),
        learners: learners.to_vec(),
        matched: Vec::new(),
    }
}

#[test]
fn shares_add_up() {
    let write = ["a", "b", "c", "d"].map(tag);
    let wanted = replicas(GroupId(0), &write, 3);
    let left = *write.iter().find(|tag| !wanted.contains(tag)).unwrap();
    let id = |tag: &NameTag| MemberId::new(*tag, 1);
    let settled: Vec<MemberId> = wanted.iter().map(id).collect();
    let old = [id(&wanted[0]), id(&wanted[1]), id(&left)];
    let twin = MemberId::new(wanted[2], 2);
    let cases = [
        ("settled", row(&settled, &[], &[]), 0, (0, 0, 0)),
        ("not begun", row(&old, &[], &[]), 1, (1, 0, 1)),
        ("learning", row(&old, &[], &[id(&wanted[2])]), 1, (1, 0, 1)),
        ("joint", row(&settled, &old, &[]), 1, (0, 0, 1)),
        ("to come", row(&settled, &[], &[id(&left)]), 1, (0, 1, 0)),
        ("twins", row(&[settled[0], settled[1], settled[2], twin], &[], &[]), 1, (0, 0, 0)),
    ];
    for (case, row, moving, (votes, learns, leaves)) in cases {
        let leader = row.leader.tag();
        let (shares, found) = shares(&[Some(row)], (&write, 3));
        let share = shares.get(&left).copied().unwrap_or_default();
        assert_eq!(found, moving, "{case}");
        assert_eq!((share.votes, share.learns, share.leaves), (votes, learns, leaves), "{case}");
        assert_eq!(shares[&leader].leads, 1, "{case}");
    }
    assert_eq!(shares(&[None, None], (&write, 3)).1, 2, "nobody leads them");
}

#[test]
fn a_node_that_is_not_ready_says_why() {
    let shard = |hosted: u64, failing: Option<(u32, bool)>| {
        let gauges = Gauges { groups_hosted: hosted, ..Gauges::default() };
        let failing = failing.map(|(group, known)| (GroupId(group), known));
        Some(ShardStanding { gauges, failing, ..ShardStanding::default() })
    };
    let cases = [
        (vec![shard(3, Some((1, true))), None], false, 3, json!(1), "startup_sync"),
        (
            vec![shard(3, Some((4, true))), shard(2, Some((2, false)))],
            true,
            5,
            json!(2),
            "leader_unknown",
        ),
        (vec![shard(3, Some((0, true))), shard(2, None)], true, 5, json!(0), "raft_state"),
        (vec![shard(3, None)], true, 3, Value::Null, "write_timeout"),
        (vec![shard(0, None)], false, 0, Value::Null, "membership"),
    ];
    for (shards, timed_out, checked, group, result) in cases {
        let expected = json!({
            "startup_mode": "joining",
            "checked_groups": checked,
            "failing_groups": 7,
            "failing_group_id": group,
            "probe_result": result,
        });
        assert_eq!(detail(&shards, timed_out, 7, Some(Startup::Joining)), expected, "{result}");
    }
    let modes = [Startup::Founding, Startup::Joining, Startup::Restart];
    let told = modes.map(|mode| detail(&[], false, 1, Some(mode))["startup_mode"].clone());
    assert_eq!(told, ["founding", "joining", "restart"]);
    assert_eq!(detail(&[], false, 1, None)["startup_mode"], Value::Null);
}
