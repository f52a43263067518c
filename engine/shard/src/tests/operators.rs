//! What operators want of a cluster of shards: who leads which group, who holds data, who is relieved.

use model::api::{TailEnd, TailMessage, TailOpen};
use model::cluster::{NameTag, replicas};
use model::ids::{GroupId, Placement, Seq};
use raft::{Body, NodeId};

use super::cluster::{Net, founders, node, options};
use super::world::{FakeDisk, create, id};
use crate::cluster::tag;
use crate::effect::{Input, TailId};
use crate::peer::PeerMessage;
use crate::wishes::Wishes;

const GROUPS: u32 = 8;
const HOT_BYTES: u64 = 1 << 30;

fn tags(names: &[u32]) -> Vec<NameTag> {
    names.iter().copied().map(NameTag).collect()
}

/// What is wanted once so much was said.
fn wishes(seq: u64, write: &[u32]) -> Wishes {
    let (relieved, preferred) = (Vec::new(), Vec::new());
    Wishes { number: seq, seq, complete: true, write: tags(write), relieved, preferred }
}

impl Net {
    fn tell(&mut self, nodes: &[NodeId], wishes: &Wishes) {
        nodes.iter().for_each(|own| self.give(*own, Input::Intent(wishes.clone())));
    }

    fn tell_all(&mut self, wishes: &Wishes) {
        let all: Vec<NodeId> = self.alive().collect();
        self.tell(&all, wishes);
    }

    /// The nodes that vote in a group, as its leader says; none while it changes.
    fn voters(&self, group: u32) -> Vec<NameTag> {
        let leader = self.leaders()[&group];
        let shard = self.nodes[&leader].shard.as_ref().unwrap();
        let members = shard.memberships().nth(group as usize).unwrap();
        let settled = members.learners.is_empty() && !members.is_joint();
        let voters = members.voters.iter().filter(|_| settled);
        voters.map(|member| tag(*member)).collect()
    }

    #[track_caller]
    fn check_members(&self, write: &[u32]) {
        for group in 0..GROUPS {
            let mut wanted = replicas(GroupId(group), &tags(write), 3);
            wanted.sort_unstable();
            assert_eq!(self.voters(group), wanted, "group {group}");
        }
    }
}

/// Three nodes that have told each other how they are, and know all that was said.
fn three() -> Net {
    let mut net = Net::new(GROUPS, HOT_BYTES);
    net.tell_all(&wishes(1, &[1, 2, 3]));
    net.pass(6_000);
    net
}

/// The same and a fourth, which holds nothing yet.
fn four() -> (Net, NodeId) {
    let (mut net, fourth) = (three(), node(4, 1));
    net.call(&create("s"));
    for number in 0..20 {
        net.append("s", &format!("event {number}"));
    }
    net.add(options(fourth, GROUPS, HOT_BYTES), FakeDisk::default());
    net.tell(&[fourth], &wishes(1, &[1, 2, 3]));
    net.pass(3_000);
    net.check_members(&[1, 2, 3]);
    (net, fourth)
}

#[test]
fn a_group_is_led_by_whom_operators_prefer_as_long_as_it_can() {
    let mut net = three();
    let placed = |group: u32| replicas(GroupId(group), &tags(&[1, 2, 3]), 3);
    let leader = |net: &Net, group: u32| tag(net.leaders()[&group]);
    for group in 0..GROUPS {
        assert_eq!(leader(&net, group), placed(group)[0], "placed");
    }
    let group = 2;
    let (first, second, third) = (placed(group)[0], placed(group)[1], placed(group)[2]);
    let others = |net: &Net| {
        let kept = |other: &u32| leader(net, *other) == placed(*other)[0];
        (0..GROUPS).filter(|other| *other != group).all(|other| kept(&other))
    };
    let want = |seq, node: NameTag| Wishes {
        preferred: vec![(GroupId(group), node)],
        ..wishes(seq, &[1, 2, 3])
    };
    net.tell_all(&want(2, third));
    net.pass(3_000);
    assert!(leader(&net, group) == third && others(&net), "it is handed over, and stays");
    net.pass(6_000);
    assert_eq!(leader(&net, group), third, "nobody takes it back");
    net.tell_all(&Wishes { relieved: vec![third], ..want(3, third) });
    net.pass(3_000);
    assert_eq!(leader(&net, group), first, "whoever is relieved leads nothing");
    net.tell_all(&want(4, third));
    net.pass(3_000);
    assert_eq!(leader(&net, group), third, "it is remembered");
    let gone = founders().into_iter().find(|own| tag(*own) == third).unwrap();
    net.kill(gone);
    net.pass(6_000);
    assert_eq!(leader(&net, group), first, "whoever is dead leads nothing");
    net.restart(gone);
    net.tell(&[gone], &want(4, third));
    net.pass(6_000);
    assert_eq!(leader(&net, group), third, "and is preferred when it is back");
    net.tell_all(&want(5, NameTag(9)));
    net.pass(3_000);
    assert_eq!(leader(&net, group), first, "who holds nothing leads nothing");
    net.tell_all(&want(6, second));
    net.pass(3_000);
    assert_eq!(leader(&net, group), second);
    net.tell_all(&wishes(7, &[1, 2, 3]));
    net.pass(3_000);
    assert!(leader(&net, group) == first && others(&net), "released");
}

#[test]
fn a_node_is_added_and_another_removed_while_all_goes_on() {
    let (mut net, fourth) = four();
    net.tell_all(&wishes(2, &[1, 2, 3, 4]));
    for number in 20..40 {
        net.append("s", &format!("event {number}"));
        net.pass(300);
    }
    net.check_members(&[1, 2, 3, 4]);
    let first = |group: u32| replicas(GroupId(group), &tags(&[1, 2, 3, 4]), 3)[0];
    let its = (0..GROUPS).filter(|group| first(*group) == NameTag(4)).count() as u64;
    assert!(0 < its, "the placement gives it something to lead");
    assert_eq!(net.gauges(fourth).groups_led, its, "it leads what it is the first for");
    net.tell_all(&wishes(3, &[2, 3, 4]));
    for number in 40..60 {
        net.append("s", &format!("event {number}"));
        net.pass(300);
    }
    net.check_members(&[2, 3, 4]);
    let gone = net.gauges(node(1, 1));
    assert_eq!((gone.groups_hosted, gone.groups_led, gone.groups_not_ready), (0, 0, 0));
    for own in [node(2, 1), node(3, 1), fourth] {
        assert_eq!(net.events(own, "s").len(), 60, "{own}");
    }
    // It comes back with what it had, and is brought up to date.
    net.tell_all(&wishes(4, &[1, 2, 3]));
    net.pass(200);
    net.pass_until_counted(8_000, node(1, 1));
    net.check_members(&[1, 2, 3]);
    assert_eq!(net.events(node(1, 1), "s").len(), 60);
    assert_eq!(net.append("s", "last").seq.0, 61);
}

#[test]
fn who_knows_less_than_others_moves_nothing() {
    let (mut net, fourth) = four();
    let ignorant = founders()[0];
    let wanted = wishes(2, &[1, 2, 3, 4]);
    let incomplete = Wishes { complete: false, ..wanted.clone() };
    net.tell(&[fourth], &incomplete);
    net.tell(&founders(), &incomplete);
    net.pass(6_000);
    net.check_members(&[1, 2, 3]);
    // The ignorant node leads a group that has moved, and must not undo that.
    net.tell(&[ignorant], &wishes(1, &[1, 2, 3]));
    let knowing = [node(2, 1), node(3, 1), fourth];
    net.tell(&knowing, &wanted);
    net.pass(8_000);
    let before: Vec<Vec<NameTag>> = (0..GROUPS).map(|group| net.voters(group)).collect();
    assert!(before.iter().any(|voters| voters.contains(&NameTag(4))), "others do move groups");
    net.tell_all(&wanted);
    net.pass(8_000);
    net.check_members(&[1, 2, 3, 4]);
    for (group, before) in before.iter().enumerate().filter(|(_, b)| b.contains(&NameTag(4))) {
        assert_eq!(net.voters(u32::try_from(group).unwrap()), *before, "nothing was undone");
    }
}

#[test]
fn a_tail_ends_when_its_group_leaves_the_node() {
    let (mut net, _) = four();
    // Some session's group leaves one of the founders.
    let leaves = |name: &String| {
        let group = Placement::new(GROUPS, 1).group(name);
        let stay = replicas(group, &tags(&[1, 2, 3, 4]), 3);
        let gone = founders().into_iter().find(|own| !stay.contains(&tag(*own)));
        gone.map(|own| (name.clone(), own))
    };
    let names = (0..100).map(|number| format!("s{number}"));
    let (name, at) = names.filter_map(|name| leaves(&name)).next().expect("one of a hundred");
    net.call(&create(&name));
    net.append(&name, "an event");
    net.pass(100);
    let tail = TailId(77);
    let open = TailOpen { session: id(&name), cursor: Seq(1) };
    net.give(at, Input::TailOpen { tail, open });
    net.pass(100);
    let messages = |net: &mut Net| {
        net.nodes.get_mut(&at).unwrap().clients.tails.remove(&tail).unwrap_or_default()
    };
    assert_eq!(messages(&mut net), [TailMessage::Opened]);
    net.tell_all(&wishes(2, &[1, 2, 3, 4]));
    net.pass(8_000);
    net.check_members(&[1, 2, 3, 4]);
    assert_eq!(messages(&mut net), [TailMessage::Closed(TailEnd::Lost)]);
}

#[test]
fn a_node_that_was_cut_off_when_it_was_removed_notices() {
    let (mut net, fourth) = four();
    let gone = node(1, 1);
    let tail = TailId(77);
    net.give(gone, Input::TailOpen { tail, open: TailOpen { session: id("s"), cursor: Seq(20) } });
    net.pass(100);
    let rest = [node(2, 1), node(3, 1), fourth];
    let hosted = net.gauges(gone).groups_hosted;
    net.cut.insert(gone);
    net.pass(2_000);
    net.tell(&rest, &wishes(2, &[2, 3, 4]));
    net.pass(20_000);
    net.check_members(&[2, 3, 4]);
    net.append("s", "what it does not hear");
    let tails = |net: &Net| net.nodes[&gone].clients.tails.get(&tail).cloned().unwrap_or_default();
    // It does not know what is wanted, only that nobody leads.
    assert_eq!(tails(&net), [TailMessage::Opened, TailMessage::Closed(TailEnd::Lost)]);
    assert_eq!(net.gauges(gone).groups_hosted, hosted);
    net.cut.clear();
    net.tell(&[gone], &wishes(2, &[2, 3, 4]));
    net.pass(8_000);
    let gauges = net.gauges(gone);
    assert_eq!((gauges.groups_hosted, gauges.groups_led, gauges.groups_not_ready), (0, 0, 0));
    assert_eq!(tails(&net), [TailMessage::Opened, TailMessage::Closed(TailEnd::Lost)]);
    // It is taken back, with what it has.
    net.cut.clear();
    net.tell_all(&wishes(3, &[1, 2, 3, 4]));
    net.pass(10_000);
    net.check_members(&[1, 2, 3, 4]);
    assert!(0 < net.gauges(gone).groups_hosted);
    assert_eq!(net.gauges(gone).groups_not_ready, 0);
}

#[test]
fn a_node_that_never_comes_keeps_no_other_from_its_place() {
    let (mut net, fourth) = four();
    let placed = |group: u32| replicas(GroupId(group), &tags(&[1, 2, 4, 5]), 3);
    // Five is configured and nobody has seen it; two has lost its disk, and three is wanted no more.
    let (old, new) = (node(2, 1), node(2, 2));
    net.kill(old);
    net.nodes.remove(&old);
    net.pass(500);
    net.add(options(new, GROUPS, HOT_BYTES), FakeDisk::default());
    net.tell_all(&wishes(2, &[1, 2, 4, 5]));
    net.pass(15_000);
    for group in 0..GROUPS {
        let wanted = placed(group);
        let leader = net.leaders()[&group];
        let shard = net.nodes[&leader].shard.as_ref().unwrap();
        let members = shard.memberships().nth(group as usize).unwrap();
        assert!(!members.is_joint() && members.learners.is_empty(), "{members:?}");
        assert!(!members.voters.contains(&old), "who is gone is replaced: {members:?}");
        assert_eq!(members.voters.len(), 3, "nobody is given up for nobody: {members:?}");
        for there in [node(1, 1), new, fourth] {
            let should = wanted.contains(&tag(there));
            assert!(!should || members.voters.contains(&there), "{there}: {members:?}");
        }
        // Where five is wanted another stays.
        let others = members.voters.iter().filter(|id| !wanted.contains(&tag(**id))).count();
        assert_eq!(others, usize::from(wanted.contains(&NameTag(5))), "{members:?}");
    }
    net.append("s", "still");
    // It comes after all.
    let fifth = node(5, 1);
    net.add(options(fifth, GROUPS, HOT_BYTES), FakeDisk::default());
    net.tell_all(&wishes(2, &[1, 2, 4, 5]));
    net.pass(10_000);
    for group in 0..GROUPS {
        let mut wanted = placed(group);
        wanted.sort_unstable();
        assert_eq!(net.voters(group), wanted, "group {group}");
    }
}

#[test]
fn a_node_that_was_away_when_it_was_removed_is_told() {
    let (mut net, fourth) = four();
    let gone = node(1, 1);
    net.cut.insert(gone);
    net.pass(2_000);
    net.tell(&[node(2, 1), node(3, 1), fourth], &wishes(2, &[2, 3, 4]));
    net.pass(20_000);
    net.check_members(&[2, 3, 4]);
    assert!(0 < net.gauges(gone).groups_not_ready, "it waits for leaders");
    net.cut.clear();
    net.pass(5_000);
    // Its groups' leaders have told it. It still believes that it should hold them: it is not ready.
    let gauges = net.gauges(gone);
    assert_eq!((gauges.groups_hosted, gauges.groups_led), (0, 0));
    assert!(0 < gauges.groups_not_ready);
    net.tell(&[gone], &wishes(2, &[2, 3, 4]));
    net.pass(1_000);
    assert_eq!(net.gauges(gone).groups_not_ready, 0);
    net.check_members(&[2, 3, 4]);
}

/// A group that leaves node 1, which does not lead it.
const UNHEARD: GroupId = GroupId(3);

#[test]
fn a_node_that_rested_when_it_was_removed_is_told() {
    let (mut net, _) = four();
    let gone = node(1, 1);
    let stay = tags(&[2, 3, 4]);
    let names = (0..100).map(|number| format!("s{number}"));
    let name = names.into_iter().find(|name| Placement::new(GROUPS, 1).group(name) == UNHEARD);
    let name = name.expect("one of a hundred");
    net.call(&create(&name));
    net.append(&name, "an event");
    let tail = TailId(77);
    net.give(gone, Input::TailOpen { tail, open: TailOpen { session: id(&name), cursor: Seq(1) } });
    net.pass(3_000);
    let rests = |net: &Net| {
        let shard = net.nodes[&gone].shard.as_ref().unwrap();
        let status = shard.statuses().find(|(group, _)| *group == UNHEARD).unwrap().1;
        status.quiet && status.leader.is_some_and(|leader| leader != gone)
    };
    let told = |net: &mut Net| {
        net.nodes.get_mut(&gone).unwrap().clients.tails.remove(&tail).unwrap_or_default()
    };
    assert_eq!(told(&mut net), [TailMessage::Opened]);
    assert!(rests(&net));
    // All signs of life arrive, and nothing that is sent to it about the group.
    net.holds = |message| match message {
        PeerMessage::Raft { group, message } => *group == UNHEARD && message.to == node(1, 1),
        _ => false,
    };
    net.tell_all(&wishes(2, &[2, 3, 4]));
    net.pass(20_000);
    net.append(&name, "what it does not hear yet");
    let mut wanted = replicas(UNHEARD, &stay, 3);
    wanted.sort_unstable();
    assert_eq!(net.voters(UNHEARD.0), wanted);
    assert!(rests(&net), "it believes that nothing happens");
    assert_eq!(told(&mut net), []);
    net.held.clear();
    net.holds = |_| false;
    net.pass(6_000);
    let messages = told(&mut net);
    let [TailMessage::Events { events, .. }, end] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!((events.len(), end), (1, &TailMessage::Closed(TailEnd::Lost)));
    assert_eq!(net.gauges(gone).groups_hosted, 0);
}

#[test]
fn members_that_nobody_wants_rest() {
    let mut net = three();
    // Four is configured and nobody has seen it: where it should be, another stays and asks.
    net.tell_all(&wishes(2, &[1, 2, 4]));
    net.pass(3_000);
    net.holds = |message| {
        let PeerMessage::Raft { message, .. } = message else { return false };
        matches!(message.body, Body::Astray { .. })
    };
    net.pass(6_000);
    assert!(!net.held.is_empty(), "it asks");
    net.holds = |_| false;
    for (from, to, message) in std::mem::take(&mut net.held) {
        net.give(to, Input::Peer { from, message });
    }
    for _ in 0..600 {
        net.pass(10);
        for own in founders() {
            assert_eq!(net.gauges(own).groups_quiet, u64::from(GROUPS), "{own}");
        }
    }
}

#[test]
fn no_group_is_left_to_voters_most_of_which_nobody_hears() {
    let mut net = three();
    net.call(&create("s"));
    let (old, new) = (node(3, 1), node(3, 2));
    net.kill(old);
    net.pass(500);
    net.tell_all(&wishes(2, &[1, 3]));
    net.pass(6_000);
    net.check_members(&[1, 2, 3]);
    net.append("s", "still");
    // It has lost its disk: it would never have agreed to its being needed.
    net.nodes.remove(&old);
    net.add(options(new, GROUPS, HOT_BYTES), FakeDisk::default());
    net.tell(&[new], &wishes(2, &[1, 3]));
    net.pass(10_000);
    net.check_members(&[1, 3]);
    assert_eq!(net.events(new, "s").len(), 1);
}

#[test]
fn who_has_caught_up_need_not_wait_for_others() {
    let (mut net, fourth) = four();
    let fifth = node(5, 1);
    net.add(options(fifth, GROUPS, HOT_BYTES), FakeDisk::default());
    net.cut.insert(fifth);
    net.tell_all(&wishes(2, &[1, 4, 5]));
    net.pass(10_000);
    for group in 0..GROUPS {
        let leader = net.leaders()[&group];
        let shard = net.nodes[&leader].shard.as_ref().unwrap();
        let members = shard.memberships().nth(group as usize).unwrap();
        let voters: Vec<bool> =
            [node(1, 1), fourth, fifth].iter().map(|id| members.is_voter(*id)).collect();
        assert_eq!((voters, members.voters.len()), (vec![true, true, false], 3), "{members:?}");
        assert_eq!(members.learners, [fifth]);
    }
    net.cut.clear();
    net.pass(10_000);
    net.check_members(&[1, 4, 5]);
    assert_eq!(net.events(fifth, "s").len(), 20);
}

#[test]
fn nobody_leaves_a_group_that_is_too_small_until_it_is_not() {
    let (mut net, fourth) = four();
    net.tell_all(&wishes(2, &[1, 2]));
    net.pass(6_000);
    net.check_members(&[1, 2]);
    let fifth = node(5, 1);
    net.add(options(fifth, GROUPS, HOT_BYTES), FakeDisk::default());
    net.cut.insert(fifth);
    net.tell_all(&wishes(3, &[1, 4, 5]));
    net.pass(10_000);
    let voters = vec![node(1, 1), node(2, 1), fourth];
    for group in 0..GROUPS {
        let leader = net.leaders()[&group];
        let shard = net.nodes[&leader].shard.as_ref().unwrap();
        let members = shard.memberships().nth(group as usize).unwrap();
        assert_eq!(members.voters, voters, "not {fourth} in the place of another");
    }
    net.cut.clear();
    net.pass(10_000);
    net.check_members(&[1, 4, 5]);
}

#[test]
fn a_shard_that_stands_still_again_and_again_leads_nothing() {
    let mut net = three();
    net.call(&create("s"));
    let slow = net.leaders()[&0];
    assert!(0 < net.gauges(slow).groups_led && !net.gauges(slow).slow);
    // One long pause is no habit, as long as it is taken for nobody's death.
    net.pass_without(&[slow], 200);
    net.pass(1_000);
    assert!(0 < net.gauges(slow).groups_led && !net.gauges(slow).slow);
    for _ in 0..15 {
        net.pass_without(&[slow], 90);
        net.pass(10);
    }
    assert_eq!((net.gauges(slow).groups_led, net.gauges(slow).slow), (0, true));
    net.append("s", "goes on");
    net.pass(9_000);
    assert_eq!(net.gauges(slow).groups_led, 0, "it is asked to keep pace for a while first");
    net.pass(6_000);
    assert!(0 < net.gauges(slow).groups_led && !net.gauges(slow).slow);
    assert_eq!(net.leaders()[&0], slow);
    for _ in 0..15 {
        net.pass_without(&[slow], 90);
        net.pass(10);
    }
    net.pass(15_000);
    assert_eq!(net.gauges(slow).groups_led, 0, "it was slow as soon as it led");
    net.pass(10_000);
    assert_eq!(net.leaders()[&0], slow, "but not for ever");
}
