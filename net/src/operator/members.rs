//! Who holds what, as those say that lead the groups.

use std::collections::{BTreeMap, BTreeSet};

use model::api::GroupRow;
use model::cluster::{MemberId, NameTag, NodeName, replicas};
use model::config::{ClusterConfig, NodeEntry};
use model::ids::GroupId;
use model::intent::Intent;
use serde_json::{Value, json};
use uring::Gateway;

use super::{Operator, name_of};

/// What one node has to do with groups.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    /// Groups it votes in.
    pub(crate) votes: u32,
    /// Those among them that it leads.
    pub(crate) leads: u32,
    /// Groups it is being sent.
    pub(crate) learns: u32,
    /// Groups it is about to leave.
    pub(crate) leaves: u32,
}

/// The shares of all nodes in what is known of groups; and how many groups are not held by just those
/// that should hold them, or are not known to be.
pub(crate) fn shares(
    rows: &[Option<GroupRow>],
    (write, factor): (&[NameTag], u32),
) -> (BTreeMap<NameTag, Share>, usize) {
    let mut shares: BTreeMap<NameTag, Share> = BTreeMap::new();
    let mut moving = rows.len();
    for row in rows.iter().flatten() {
        let wanted: BTreeSet<NameTag> = replicas(row.group, write, factor).into_iter().collect();
        let tags = |members: &[MemberId]| members.iter().map(|member| member.tag()).collect();
        let voters: BTreeSet<NameTag> = tags(&row.voters);
        let outgoing: BTreeSet<NameTag> = tags(&row.outgoing);
        for voter in &voters {
            shares.entry(*voter).or_default().votes += 1;
        }
        for leaving in outgoing.difference(&voters).chain(voters.difference(&wanted)) {
            shares.entry(*leaving).or_default().leaves += 1;
        }
        for learner in &row.learners {
            shares.entry(learner.tag()).or_default().learns += 1;
        }
        shares.entry(row.leader.tag()).or_default().leads += 1;
        // A node that lost its disk is two members under one name for a while.
        let settled = voters == wanted
            && voters.len() == row.voters.len()
            && row.outgoing.is_empty()
            && row.learners.is_empty();
        moving -= usize::from(settled);
    }
    (shares, moving)
}

/// The nodes, what they hold, and whether all groups are where they should be.
pub(crate) async fn members(operator: &Operator, gateway: &Gateway) -> Value {
    let rows = gateway.groups().await;
    let stopper = gateway.stopper();
    let standing = stopper.standing();
    let (cluster, intent) = (&operator.0.cluster, standing.intent());
    let (known, write) = (operator.known(standing), operator.write(standing));
    let tags: Vec<NameTag> = write.iter().map(NodeName::tag).collect();
    let (shares, moving) = shares(&rows, (&tags, cluster.factor));
    let share = |tag: NameTag| shares.get(&tag).copied().unwrap_or_default();
    let node = |name: &NodeName| {
        let place = place(cluster, &intent, name);
        let Share { votes, leads, learns, leaves } = share(name.tag());
        json!({
            "node": name.as_str(),
            "address": place.map(|place| format!("{}:{}", place.host, place.port)),
            "status": operator.word(standing, name),
            "data": write.contains(name),
            "groups": votes,
            "leads": leads,
            "learning": learns,
            "leaving": leaves,
        })
    };
    let preferred = |(group, node): (&GroupId, &NodeName)| {
        let row = rows.get(group.0 as usize).and_then(Option::as_ref);
        let leader = row.map(|row| name_of(&known, row.leader.tag()));
        json!({"group": group.0, "node": node.as_str(), "leader": leader})
    };
    json!({
        "members": known.iter().map(node).collect::<Vec<Value>>(),
        "preferred": intent.preferred().iter().map(preferred).collect::<Vec<Value>>(),
        "groups_moving": moving,
        "groups_without_leader": rows.iter().filter(|row| row.is_none()).count(),
        "settled": moving == 0 && standing.is_up_to_date(),
    })
}

/// Where a node is, if that is told.
fn place<'a>(
    cluster: &'a ClusterConfig,
    intent: &'a Intent,
    name: &NodeName,
) -> Option<&'a NodeEntry> {
    cluster.nodes.iter().chain(intent.places()).find(|node| node.name == *name)
}
