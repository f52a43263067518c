//! A world in which things happen by chance: which, how often, and to whom is drawn from a seed.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::membership::Membership;
use crate::message::{Body, Content, Index, NodeId};
use crate::node::{Config, Node, Restored};
use crate::status::{Role, Status};

use super::cluster::Cluster;
use super::dice::{Dice, Reached};
use super::{ELECTION_TICKS, HEARTBEAT_TICKS, config, ids, print, voters};

/// How many entries wait for a quorum at most.
const WAITING_MAX: u64 = 64;
/// The network forgets what is beyond this.
const MESSAGES_MAX: usize = 300;
const STREAMS_MAX: usize = 6;
/// So often an act is drawn that can happen to nobody, before the step is left out.
const DRAWS_MAX: usize = 8;

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Deliver,
    Tick,
    TakeReady,
    ReachDisk,
    Report,
    Propose,
    Read,
    Checkpoint,
    Compact,
    Stream,
    Campaign,
    Suspect,
    StepDown,
    Transfer,
    Change,
    Wake,
    Offer,
    CutOrHeal,
    Crash,
    Restart,
    RestartInDoubt,
    LoseForEver,
}

/// What happens to messages on a link.
#[derive(Debug, Clone, Copy)]
enum Link {
    Open,
    Cut,
    Held,
}

impl Act {
    /// Whether it stands in the way of progress.
    fn is_fault(self) -> bool {
        matches!(
            self,
            Act::Campaign
                | Act::Suspect
                | Act::StepDown
                | Act::CutOrHeal
                | Act::Crash
                | Act::RestartInDoubt
                | Act::LoseForEver
        )
    }
}

/// What is looked for: things that happen more often than they would by themselves.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Focus {
    pub(super) lease: bool,
    pub(super) often: &'static [(Act, usize)],
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) dice: Dice,
    pub(super) cluster: Cluster,
    pub(super) ids: Vec<NodeId>,
    /// How often each act happens in this run, in relation to the others.
    weights: Vec<(Act, usize)>,
    /// How many of a hundred messages are lost, and how many come twice.
    loss: usize,
    doubling: usize,
    /// Whose disk takes twenty times as long.
    slow: Option<NodeId>,
    /// Links that lose everything, one direction each.
    cut: BTreeSet<(NodeId, NodeId)>,
    /// Links that hold everything back for a while.
    held: BTreeSet<(NodeId, NodeId)>,
    /// Steps until the weather changes.
    weather_steps: usize,
    changes: bool,
    loses: bool,
    doubts: bool,
    focus: Focus,
    /// Nodes that are gone for ever.
    pub(super) gone: BTreeSet<NodeId>,
    /// The node that asks in doubt: nothing else goes wrong until it has been answered.
    doubtful: Option<NodeId>,
    /// The node that has lost what it acknowledged, until it has it again.
    pub(super) lacking: Option<NodeId>,
    /// The fewest voters the group is changed to.
    voters_min: usize,
    pub(super) lease: bool,
    pub(super) quiet_ticks: u32,
    proposed: u32,
    reached: Reached,
    /// Whether everything that happens is printed.
    pub(super) traced: bool,
}

impl World {
    pub(super) fn new(seed: u64) -> World {
        World::with(seed, Focus::default(), |_| {})
    }

    /// With something else about every node's configuration.
    pub(super) fn with(seed: u64, focus: Focus, adjust: impl Fn(&mut Config)) -> World {
        let mut dice = Dice(seed);
        let count = dice.one_of(&[1, 2, 3, 3, 3, 4, 5, 5]);
        let changes = dice.percent(50);
        let loses = changes && 3 <= count && dice.percent(40);
        let doubts = dice.percent(30);
        let lease = dice.percent(20) || focus.lease;
        let quiet_ticks = dice.one_of(&[0, 0, 5, 20]);
        let (append_bytes_max, inflight_max) =
            (dice.one_of(&[1, 200, 1 << 20]), dice.one_of(&[1, 2, 16]));
        let election_ticks = dice.one_of(&[6, 6, ELECTION_TICKS]);
        let heartbeat_ticks = dice.one_of(&[1, HEARTBEAT_TICKS]);
        let spare = if changes { 3 } else { 0 };
        let ids = ids(1..=count + spare);
        let mut world = World {
            cluster: Cluster::default(),
            weights: Vec::new(),
            loss: 0,
            doubling: 0,
            slow: None,
            cut: BTreeSet::new(),
            held: BTreeSet::new(),
            weather_steps: 0,
            changes,
            loses,
            doubts,
            focus,
            gone: BTreeSet::new(),
            doubtful: None,
            lacking: None,
            voters_min: if loses { 3 } else { 1 },
            lease,
            quiet_ticks,
            proposed: 0,
            reached: Reached::default(),
            traced: false,
            dice,
            ids,
        };
        for id in world.ids.clone() {
            let mut config = Config {
                election_ticks,
                heartbeat_ticks,
                quiet_ticks,
                seed,
                inflight_max,
                append_bytes_max,
                lease,
                ..config(id.0)
            };
            adjust(&mut config);
            let members =
                if id.0 <= count { voters(count) } else { Arc::new(Membership::default()) };
            world.cluster.add(config, Restored::fresh(members));
        }
        world
    }

    pub(super) fn reached(&self) -> Reached {
        let mut reached = self.reached.clone();
        let oracle = &self.cluster.oracle;
        reached.count("entries committed", usize::try_from(oracle.committed().0).expect("few"));
        reached.count("terms led", oracle.terms_led());
        reached.count("reads answered", oracle.reached.reads);
        reached.count("reads in vain", oracle.reached.reads_in_vain);
        reached.count("memberships committed", oracle.reached.memberships);
        reached
    }

    /// What is likely changes now and then.
    fn change_weather(&mut self) {
        if let Some(left) = self.weather_steps.checked_sub(1) {
            self.weather_steps = left;
            return;
        }
        self.weather_steps = 50 + self.dice.below(300);
        let dice = &mut self.dice;
        self.weights = draw_weights(dice, self.lease);
        let (changes, loses, doubts) = (self.changes, self.loses, self.doubts);
        self.weights.retain(|(act, _)| match act {
            Act::Change => changes,
            Act::LoseForEver => loses,
            Act::RestartInDoubt => doubts,
            _ => true,
        });
        self.loss = dice.one_of(&[0, 0, 5, 30]);
        self.doubling = dice.one_of(&[0, 10, 50]);
        self.slow = Some(dice.one_of(&self.ids)).filter(|_| dice.percent(30));
        let is_fair = dice.percent(50);
        if is_fair {
            self.loss = 0;
            self.weights.retain(|(act, _)| !act.is_fault());
        }
        self.weights.extend(self.focus.often);
        if is_fair || dice.percent(30) {
            self.held.clear();
            self.cut.clear();
        }
    }

    /// Something happens to somebody.
    pub(super) fn act(&mut self) {
        self.change_weather();
        let possible = (0..DRAWS_MAX).find_map(|_| {
            let act = self.draw();
            self.someone(act).map(|id| (act, id))
        });
        let Some((act, id)) = possible else { return };
        match act {
            Act::Deliver => self.deliver(),
            Act::Tick => self.tick(id),
            Act::TakeReady => self.take_ready(id),
            Act::ReachDisk if self.slow == Some(id) && self.dice.percent(95) => {}
            Act::ReachDisk => drop(self.cluster.reach_disk(id)),
            Act::Report => self.report(id),
            Act::Propose => self.propose(id),
            Act::Read => self.read_somewhere(id),
            Act::Checkpoint => {
                let new = self.cluster.checkpoint(id, Index(u64::MAX));
                self.reached.count("checkpoints", usize::from(new));
            }
            Act::Compact => self.compact(id),
            Act::Stream => self.stream(),
            Act::Campaign => self.cluster.with(id, |node| node.campaign()),
            Act::Suspect => self.cluster.with(id, |node| node.suspect_leader()),
            Act::StepDown => self.cluster.with(id, |node| node.step_down()),
            Act::Transfer => self.transfer(id),
            Act::Change => self.change(id),
            Act::Wake => self.cluster.with(id, Node::wake),
            Act::Offer => self.offer(id),
            Act::CutOrHeal => self.cut_or_heal(id),
            Act::Crash => self.crash(id),
            Act::Restart if self.lacking == Some(id) => self.ask_in_doubt(id),
            Act::Restart => self.cluster.restart(id, self.dice.percent(10)),
            Act::RestartInDoubt => self.restart_in_doubt(id),
            Act::LoseForEver => self.lose_for_ever(id),
        }
        if self.traced && !matches!(act, Act::Deliver | Act::Tick) {
            println!("{act:?} {id}");
            self.summary().iter().for_each(|line| println!("    {line}"));
        }
        self.end_doubt();
    }

    /// A node that an act can happen to.
    fn someone(&mut self, act: Act) -> Option<NodeId> {
        let start = self.dice.below(self.ids.len());
        let turned = self.ids[start..].iter().chain(&self.ids[..start]);
        let can = |id: &&NodeId| {
            let member = &self.cluster.members[*id];
            match (act, &member.node) {
                (Act::Deliver, _) => !self.cluster.network.is_empty(),
                (Act::Stream, _) => !self.cluster.streams.is_empty(),
                (Act::Restart | Act::RestartInDoubt, node) => {
                    node.is_none() && !self.gone.contains(*id)
                }
                (_, None) => false,
                (Act::TakeReady, Some(node)) => node.has_ready(),
                (Act::ReachDisk, Some(_)) => !member.writes.is_empty(),
                (Act::Report, Some(_)) => !member.unreported.is_empty(),
                (Act::Propose, Some(node)) => has_room(&node.status()),
                (Act::Change | Act::Transfer | Act::StepDown, Some(node)) => {
                    node.status().role.leads()
                }
                (_, Some(_)) => true,
            }
        };
        turned.copied().find(|id| can(&id))
    }

    fn draw(&mut self) -> Act {
        let all = self.weights.iter().map(|(_, weight)| weight).sum();
        let mut drawn = self.dice.below(all);
        for (act, weight) in &self.weights {
            match drawn.checked_sub(*weight) {
                Some(rest) => drawn = rest,
                None => return *act,
            }
        }
        unreachable!("drawn below the sum of all weights")
    }

    fn deliver(&mut self) {
        let under_way = self.cluster.network.len();
        // Mostly in order, sometimes not.
        let slot = if self.dice.percent(80) { 0 } else { self.dice.below(under_way) };
        let message = &self.cluster.network[slot];
        let link = (message.from, message.to);
        if self.held.contains(&link) && self.doubtful.is_none() {
            let message = self.cluster.network.remove(slot);
            self.cluster.network.push(message);
            return;
        }
        let is_cut = self.cut.contains(&link);
        let lost = is_cut || self.dice.percent(self.loss) || MESSAGES_MAX < under_way;
        if lost && self.doubtful.is_none() {
            self.cluster.network.remove(slot);
            return;
        }
        if self.dice.percent(self.doubling) {
            let copy = message.clone();
            self.cluster.network.push(copy);
        }
        if self.traced {
            println!("deliver {}", print::message(&self.cluster.network[slot]));
        }
        let message = self.cluster.deliver(slot);
        match message.body {
            Body::Rest { .. } => self.reached.count("rests", 1),
            Body::TimeoutNow => self.reached.count("orders to stand", 1),
            Body::DoubtReply { .. } => self.reached.count("answers in doubt", 1),
            _ => {}
        }
    }

    /// Clocks differ at will, unless a lease counts on them.
    fn tick(&mut self, id: NodeId) {
        let together = if self.lease { self.ids.clone() } else { vec![id] };
        for id in together {
            let waits =
                self.lacking == Some(id) && (self.doubtful.is_some() || !self.all_up_but(id));
            if self.cluster.is_up(id) && !waits {
                self.cluster.with(id, Node::tick);
            }
        }
    }

    pub(super) fn take_ready(&mut self, id: NodeId) {
        let submitted = self.cluster.node(id).log.submitted();
        let disk_last = self.cluster.disk_last(id).1;
        let ready = self.cluster.take_ready(id);
        if let Some(first) = ready.entries.first() {
            let replaced = first.index <= disk_last && submitted <= disk_last;
            self.reached.count("entries replaced", usize::from(replaced));
        }
        if let Some(applied) = ready.committed.last() {
            let durable = self.cluster.node(id).log.durable();
            let early = durable < applied.index;
            self.reached.count("applied before durable", usize::from(early));
        }
        self.reached.count("logs restarted", usize::from(ready.snapshot.is_some()));
    }

    fn report(&mut self, id: NodeId) {
        let term = self.cluster.node(id).term();
        if let Some(receipt) = self.cluster.report(id) {
            self.reached.count("stale receipts", usize::from(receipt.term < term));
        }
    }

    pub(super) fn propose(&mut self, id: NodeId) {
        self.proposed += 1;
        let payload = self.proposed.to_string().into_bytes().into();
        // A refusal is as good as any other outcome.
        let _ = self.cluster.with(id, |node| node.propose(payload));
    }

    /// Applied entries leave memory, with or without a checkpoint on disk.
    fn compact(&mut self, id: NodeId) {
        let applied = self.cluster.node(id).log.applied().0;
        let index = Index(applied.saturating_sub(self.dice.below(4) as u64));
        self.cluster.with(id, |node| node.compact(index));
    }

    /// Somebody reads; best somebody who leads no longer, but does not know.
    fn read_somewhere(&mut self, id: NodeId) {
        let newest = self.cluster.leader();
        let leading = self.cluster.running().filter(|node| node.status().role.leads());
        let deposed = leading.map(|node| node.id).find(|id| Some(*id) != newest);
        self.cluster.read(deposed.filter(|_| self.dice.percent(70)).unwrap_or(id));
    }

    /// A snapshot arrives, perhaps not for the last time, or is lost.
    fn stream(&mut self) {
        let under_way = self.cluster.streams.len();
        let slot = self.dice.below(under_way);
        if self.dice.percent(30) && under_way < STREAMS_MAX {
            let copy = self.cluster.streams[slot].clone();
            self.cluster.streams.push(copy);
        }
        let arrives = self.dice.percent(70);
        let (_, taken) = self.cluster.end_stream(slot, arrives);
        self.reached.count("snapshots taken over", usize::from(taken));
        self.reached.count("snapshots of no use", usize::from(arrives && !taken));
    }

    /// Somebody sends its state to somebody, asked or not.
    fn offer(&mut self, id: NodeId) {
        let node = self.cluster.node(id);
        let (applied, term) = (node.log.applied(), node.log.term_at(node.log.applied()));
        // Best to somebody who holds something else at that place.
        let differs = |other: &&Node| other.log.term_at(applied).is_some_and(|at| Some(at) != term);
        let wrong = self.cluster.running().find(differs).map(|node| node.id);
        let any = self.dice.one_of(&self.ids);
        let to = wrong.filter(|_| self.dice.percent(50)).unwrap_or(any);
        if to != id && self.cluster.streams.len() < STREAMS_MAX {
            self.cluster.offer(id, to);
        }
    }

    fn transfer(&mut self, id: NodeId) {
        let to = self.dice.one_of(&self.ids);
        let begun = self.cluster.with(id, |node| node.transfer(to)).is_ok();
        self.reached.count("transfers", usize::from(begun));
        // A leader that hears nothing from then on may go on for a while.
        if begun && self.dice.percent(30) {
            self.cut.extend(self.ids.iter().map(|other| (*other, id)));
        }
    }

    fn change(&mut self, id: NodeId) {
        let alive: Vec<NodeId> =
            self.ids.iter().copied().filter(|id| !self.gone.contains(id)).collect();
        let mut voters = self.cluster.node(id).membership().voters.clone();
        let mut learners = Vec::new();
        if self.dice.percent(60) {
            // One comes, or one goes.
            let one = self.dice.one_of(&alive);
            match voters.iter().position(|voter| *voter == one) {
                Some(slot) => drop(voters.remove(slot)),
                None => voters.push(one),
            }
        } else {
            voters.clear();
            for member in alive {
                match self.dice.below(5) {
                    0..3 => voters.push(member),
                    3 => learners.push(member),
                    _ => {}
                }
            }
        }
        voters.retain(|voter| !self.gone.contains(voter));
        if voters.len() < self.voters_min {
            return;
        }
        let begun = self.cluster.with(id, |node| node.change(voters, learners)).is_ok();
        self.reached.count("changes begun", usize::from(begun));
    }

    /// Links are cut, or hold back what they are given: one of them, or all of a node.
    fn cut_or_heal(&mut self, id: NodeId) {
        if self.dice.percent(30) {
            self.cut.clear();
            self.held.clear();
            return;
        }
        let others = if self.dice.percent(50) {
            vec![self.dice.one_of(&self.ids)]
        } else {
            self.ids.clone()
        };
        let (outward, inward) = self.dice.one_of(&[
            (Link::Cut, Link::Cut),
            (Link::Cut, Link::Held),
            (Link::Cut, Link::Open),
            (Link::Open, Link::Cut),
            (Link::Open, Link::Held),
            (Link::Held, Link::Held),
        ]);
        for other in others {
            for (link, fate) in [((id, other), outward), ((other, id), inward)] {
                match fate {
                    Link::Open => false,
                    Link::Cut => self.cut.insert(link),
                    Link::Held => self.held.insert(link),
                };
            }
        }
    }

    fn crash(&mut self, id: NodeId) {
        if self.doubtful.is_none() {
            let kept = self.dice.below(3);
            let torn = self.dice.one_of(&[None, Some(0), Some(1)]);
            let lost = self.cluster.crash(id, kept, torn);
            self.reached.count("writes lost", lost);
        }
    }

    /// The disk of a node has lost what was acknowledged last. That is made good if all others can be
    /// asked, and nothing else goes wrong in the meantime.
    fn restart_in_doubt(&mut self, id: NodeId) {
        // What one node alone had, nobody can make good.
        let decides = |members: &Membership| members.voters == [id] || members.outgoing == [id];
        let alone = self.memberships().any(decides);
        if self.all_up_but(id) && !alone && self.lacking.is_none() && self.cluster.lose_newest(id) {
            self.lacking = Some(id);
            self.ask_in_doubt(id);
            self.reached.count("acknowledged writes lost", 1);
        }
    }

    fn all_up_but(&self, id: NodeId) -> bool {
        self.ids.iter().all(|other| *other == id || self.cluster.is_up(*other))
    }

    fn ask_in_doubt(&mut self, id: NodeId) {
        if self.all_up_but(id) {
            self.cluster.restart(id, true);
            self.doubtful = Some(id);
        }
    }

    /// When the node has heard all others, things may go wrong again; but no other disk loses anything
    /// before this one holds it again.
    fn end_doubt(&mut self) {
        let Some(id) = self.lacking else { return };
        let Some(node) = &self.cluster.members[&id].node else { return };
        let asks = node.doubt.as_ref().is_some_and(|doubt| !doubt.is_settled());
        self.doubtful = Some(id).filter(|_| asks);
        if !node.is_doubtful() {
            self.lacking = None;
        }
    }

    /// A node never comes back, if the group can do without it.
    fn lose_for_ever(&mut self, id: NodeId) {
        let is_needed =
            self.memberships().any(|members| self.gone.iter().any(|id| members.is_voter(*id)));
        if self.lacking.is_none() && !is_needed {
            self.cluster.crash(id, 0, None);
            self.gone.insert(id);
            self.reached.count("nodes gone for ever", 1);
        }
    }

    /// All that any node or disk knows of.
    fn memberships(&self) -> impl Iterator<Item = &Membership> {
        self.cluster.members.values().flat_map(|member| {
            let named = member.disk.entries.iter().filter_map(|entry| match &entry.content {
                Content::Membership(membership) => Some(membership),
                Content::Begin | Content::Command(_) => None,
            });
            let running = member.node.iter().map(Node::membership);
            named.chain(running).chain([&member.disk.snapshot.membership]).map(|known| &**known)
        })
    }
}

fn draw_weights(dice: &mut Dice, lease: bool) -> Vec<(Act, usize)> {
    let mut one_of = |choices: [usize; 3]| dice.one_of(&choices);
    vec![
        (Act::Deliver, one_of([100, 200, 400])),
        (Act::Tick, if lease { one_of([5, 15, 40]) } else { one_of([20, 60, 120]) }),
        (Act::TakeReady, 200),
        (Act::ReachDisk, one_of([20, 100, 200])),
        (Act::Report, 100),
        (Act::Propose, one_of([2, 40, 80])),
        (Act::Read, if lease { one_of([10, 30, 60]) } else { one_of([0, 5, 20]) }),
        (Act::Checkpoint, one_of([0, 2, 10])),
        (Act::Compact, one_of([0, 2, 10])),
        (Act::Stream, one_of([1, 5, 30])),
        (Act::Campaign, one_of([0, 2, 10])),
        (Act::Suspect, one_of([0, 2, 10])),
        (Act::StepDown, one_of([0, 0, 2])),
        (Act::Transfer, one_of([0, 2, 10])),
        (Act::Change, one_of([1, 5, 20])),
        (Act::Wake, one_of([0, 2, 5])),
        (Act::Offer, one_of([0, 1, 5])),
        (Act::CutOrHeal, one_of([0, 2, 8])),
        (Act::Crash, one_of([0, 2, 10])),
        (Act::Restart, 20),
        (Act::RestartInDoubt, one_of([0, 1, 5])),
        (Act::LoseForEver, 1),
    ]
}

/// Whether a leader may be given more: whoever admits proposals lets only so many wait.
fn has_room(status: &Status) -> bool {
    status.role == Role::Leader && status.last.0 < status.committed.0 + WAITING_MAX
}
