//! Who holds what, and what stands in the way of readiness.

use model::api::GroupRow;
use model::cluster::{MemberId, NameTag, NodeName, replicas};
use model::config::{ClusterConfig, Secret};
use model::error::Code;
use model::ids::{GroupId, Seq};
use model::intent::{Intent, Word};
use serde_json::{Value, json};
use shard::effect::{Gauges, Lack};
use uring::ShardStanding;

use crate::http::api::detail;
use crate::operator::{Operator, OperatorConfig, Startup, shares};
use crate::tests::peer::cluster;

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
    let shard = |hosted: u64, failing: Option<(u32, Lack)>| {
        let gauges = Gauges { groups_checked: hosted, ..Gauges::default() };
        let failing = failing.map(|(group, lack)| (GroupId(group), lack));
        Some(ShardStanding { gauges, failing, ..ShardStanding::default() })
    };
    let progress = |group| Some((group, Lack::Progress));
    let (leader, membership) = (Some((2, Lack::Leader)), Some((3, Lack::Membership)));
    let cases = [
        (vec![shard(3, progress(1)), None], false, 3, json!(1), "startup_sync"),
        (vec![shard(3, progress(4)), shard(2, leader)], true, 5, json!(2), "leader_unknown"),
        (vec![shard(3, progress(0)), shard(2, None)], true, 5, json!(0), "raft_state"),
        (vec![shard(0, membership), shard(2, None)], false, 2, json!(3), "membership"),
        (vec![shard(2, Some((1, Lack::Room)))], false, 2, json!(1), "local_group_down"),
        (vec![shard(3, None)], true, 3, Value::Null, "write_timeout"),
        (vec![shard(3, None)], false, 3, Value::Null, "raft_state"),
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

fn operator(cluster: ClusterConfig) -> Operator {
    Operator::new(OperatorConfig {
        cluster,
        groups: 16,
        data_dir: "/nowhere".into(),
        token: Secret::new(*b"a token"),
        startup: Startup::Restart,
        links: None,
        keeper: None,
    })
}

/// What holds after these words, each a node that is added or removed.
fn intent(words: &[(&str, Value)]) -> Intent {
    let mut intent = Intent::default();
    for ((kind, payload), seq) in words.iter().zip(1..) {
        let event = json!({"type": kind, "payload": payload}).to_string();
        intent.take(Seq(seq), event.as_bytes());
    }
    intent
}

fn place(node: &str, port: u16) -> Value {
    json!({"node": node, "host": "127.0.0.1", "port": port})
}

#[test]
fn newcomers_are_looked_at() {
    // Nodes a, b and c at ports 1, 2 and 3; the last is a router.
    let operator = operator(cluster("a", &[1, 2, 3], 2));
    let nothing = intent(&[]);
    let added = intent(&[("add", place("d", 4))]);
    let removed = intent(&[("add", place("d", 4)), ("remove", json!({"node": "d"}))]);
    let cases = [
        (&nothing, "d@127.0.0.1:4", Ok(Some(4))),
        (&nothing, "d@127.0.0.1", Ok(Some(4100))),
        (&nothing, "c", Ok(Some(3))),
        (&nothing, "c@127.0.0.1:3", Ok(Some(3))),
        (&nothing, "a", Ok(None)),
        (&nothing, "d", Err(Code::InvalidMember)),
        (&nothing, "", Err(Code::InvalidMember)),
        (&nothing, "d@127.0.0.1:0", Err(Code::InvalidMember)),
        (&nothing, "a@127.0.0.1:9", Err(Code::MemberExists)),
        (&nothing, "c@127.0.0.2:3", Err(Code::MemberExists)),
        (&added, "d@127.0.0.1:4", Ok(None)),
        (&added, "d", Ok(None)),
        (&added, "d@127.0.0.1:5", Err(Code::MemberExists)),
        (&removed, "d", Ok(Some(4))),
        (&removed, "d@127.0.0.1:5", Ok(Some(5))),
    ];
    for (intent, text, expected) in cases {
        let found = operator.newcomer(intent, text).map_err(|refusal| refusal.code);
        let port = found.map(|(_, word)| match word {
            Some(Word::Add(node)) => Some(node.port),
            Some(word) => panic!("{word:?}"),
            None => None,
        });
        assert_eq!(port, expected, "{text:?} after {}", intent.seq());
    }
}

#[test]
fn a_cluster_has_so_many_nodes_and_more_than_one() {
    let refused = |operator: &Operator, intent: &Intent| {
        operator.newcomer(intent, "d@127.0.0.1").map_err(|refusal| refusal.code).err()
    };
    let many = |count: u16| -> Vec<(&str, Value)> {
        (0..count).map(|n| ("add", place(&format!("n{n}"), 9))).collect()
    };
    let three = operator(cluster("a", &[1, 2, 3], 2));
    assert_eq!(refused(&three, &intent(&many(60))), None, "the sixty-fourth");
    assert_eq!(refused(&three, &intent(&many(61))), Some(Code::InvalidMember));
    let alone = operator(ClusterConfig::alone(NodeName::new("a").unwrap()));
    assert_eq!(refused(&alone, &intent(&[])), Some(Code::ClusterAlone));
}

#[test]
fn enough_nodes_stay() {
    let operator = operator(ClusterConfig { factor: 2, ..cluster("a", &[1, 2, 3], 3) });
    let removed = |names: &[&str]| {
        let words: Vec<(&str, Value)> =
            names.iter().map(|name| ("remove", json!({"node": name}))).collect();
        intent(&words)
    };
    let cases = [
        (removed(&[]), "c", Ok(true)),
        (removed(&[]), "c@127.0.0.1", Ok(true)),
        (removed(&[]), "d", Err(Code::InvalidWriteNode)),
        (removed(&[]), "", Err(Code::InvalidWriteNode)),
        (removed(&["c"]), "c", Ok(false)),
        (removed(&["c"]), "b", Err(Code::TooFewMembers)),
    ];
    for (intent, name, expected) in cases {
        let found = operator.leaver(&intent, name).map_err(|refusal| refusal.code);
        assert_eq!(found.map(|(_, word)| word.is_some()), expected, "{name:?}");
    }
}
