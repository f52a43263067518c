//! Reads whose answer never comes, and groups that nothing happens to.

use model::api::{Reply, Request};
use model::cluster::NameTag;
use raft::Body;

use crate::peer::PeerMessage;

use super::cluster::{Net, founders, options};
use super::world::{FakeDisk, create, id};

#[test]
fn a_read_for_what_never_comes_is_turned_away() {
    let mut net = Net::new(1, 1 << 30);
    net.pass(4_000);
    net.call(&create("s"));
    let leader = net.leaders()[&0];
    let behind = founders()[1];
    assert!(leader != behind, "the first in the order of the group leads");
    // The entries for one follower are on their way for ever.
    net.holds = |message| {
        let PeerMessage::Raft { message, .. } = message else { return false };
        let brings = matches!(&message.body, Body::Append { entries, .. } if !entries.is_empty());
        brings && message.to == founders()[1]
    };
    net.append("s", "one");
    assert_eq!(net.ask(behind, Request::Get(id("s"))), None, "it waits for what it lacks");
    net.cut.insert(behind);
    net.pass(2_000);
    let reply = net.nodes.get_mut(&behind).unwrap().clients.replies.pop_last();
    assert!(matches!(reply, Some((_, Reply::NotLeader { leader: None }))), "{reply:?}");
}

#[test]
fn groups_of_other_nodes_rest() {
    let mut net = Net::new(16, 1 << 30);
    for own in founders() {
        net.nodes.remove(&own);
        let mut options = options(own, 16, 1 << 30);
        options.cluster.founding_factor = 1;
        options.cluster.factor = 1;
        options.cluster.write = (1..=3).map(NameTag).collect();
        net.add(options, FakeDisk::default());
    }
    net.pass(3_000);
    assert_eq!(net.leaders().len(), 16);
    for own in founders() {
        let gauges = net.gauges(own);
        assert!(0 < gauges.groups_hosted && gauges.groups_hosted < 16, "{gauges:?}");
        assert_eq!((gauges.groups_quiet, gauges.groups_not_ready), (16, 0), "{own}");
    }
}
