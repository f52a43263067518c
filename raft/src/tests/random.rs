//! Groups under everything at once: lost, doubled, delayed and reordered messages, cut links, slow
//! disks, crashes that lose writes under way. First anything may happen and nothing wrong may come of
//! it; then the faults end, and the group must come to life again. A seed names a run.

use std::collections::BTreeSet;
use std::ops::AddAssign;

use crate::leader::APPEND_BYTES_MAX;
use crate::message::{Index, NodeId};
use crate::node::{Role, Status};

use super::cluster::Cluster;
use super::{ELECTION_TICKS, print};

const SEEDS: usize = 200;
const STEPS: u32 = 3_000;
/// After this many rounds without faults the group must be where it should: a few elections, each of
/// two timeouts at most, and then a log that may travel one entry in two rounds.
const ROUNDS_MAX: u32 = 60 * ELECTION_TICKS;
/// How many entries wait for a quorum at most.
const WAITING_MAX: u64 = 64;
/// The network forgets what is beyond this.
const MESSAGES_MAX: usize = 200;

/// splitmix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let drawn = (mixed ^ (mixed >> 31)) % end as u64;
        usize::try_from(drawn).expect("below a usize")
    }

    fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }
}

/// How often the hard things happened: a test that never meets them proves nothing.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Reached {
    committed: u64,
    terms_led: usize,
    writes_lost: usize,
    entries_replaced: usize,
    compactions: usize,
    stale_receipts: usize,
    applied_before_durable: usize,
}

impl AddAssign for Reached {
    fn add_assign(&mut self, other: Reached) {
        self.committed += other.committed;
        self.terms_led += other.terms_led;
        self.writes_lost += other.writes_lost;
        self.entries_replaced += other.entries_replaced;
        self.compactions += other.compactions;
        self.stale_receipts += other.stale_receipts;
        self.applied_before_durable += other.applied_before_durable;
    }
}

/// What can happen.
#[derive(Debug, Clone, Copy)]
enum Act {
    Deliver,
    Tick,
    TakeReady,
    ReachDisk,
    Report,
    Propose,
    Compact,
    Campaign,
    CutOrHeal,
    Crash,
    Restart,
}

struct World {
    dice: Dice,
    cluster: Cluster,
    ids: Vec<NodeId>,
    /// How often each act happens in this run, in relation to the others.
    weights: [(Act, usize); 11],
    /// How many of a hundred messages are lost, and how many come twice.
    loss: usize,
    doubling: usize,
    /// Whose disk takes twenty times as long.
    slow: Option<NodeId>,
    /// Links that lose everything, one direction each.
    cut: BTreeSet<(NodeId, NodeId)>,
    proposed: u32,
    reached: Reached,
}

impl World {
    fn new(seed: u64) -> World {
        let mut dice = Dice(seed);
        let count = [1, 2, 3, 3, 3, 4, 5, 5][dice.below(8)];
        let ids: Vec<NodeId> = (1..=count).map(NodeId).collect();
        let mut one_of = |choices: [usize; 3]| choices[dice.below(3)];
        let weights = [
            (Act::Deliver, one_of([100, 200, 400])),
            (Act::Tick, one_of([10, 40, 100])),
            (Act::TakeReady, 200),
            (Act::ReachDisk, one_of([50, 100, 200])),
            (Act::Report, 100),
            (Act::Propose, one_of([10, 40, 80])),
            (Act::Compact, 10),
            (Act::Campaign, one_of([0, 5, 20])),
            (Act::CutOrHeal, one_of([0, 1, 5])),
            (Act::Crash, one_of([0, 2, 10])),
            (Act::Restart, 20),
        ];
        let (loss, doubling) = (one_of([0, 5, 30]), one_of([0, 10, 50]));
        // From one entry to a whole log.
        let append_bytes_max = one_of([1, 200, APPEND_BYTES_MAX]);
        let slow = ids.get(one_of([0, 1, 9])).copied();
        World {
            cluster: Cluster::of(count, seed).with_appends_of(append_bytes_max),
            ids,
            weights,
            loss,
            doubling,
            slow,
            cut: BTreeSet::new(),
            proposed: 0,
            reached: Reached::default(),
            dice,
        }
    }

    /// Something happens to somebody.
    fn act(&mut self) {
        let act = self.draw();
        let Some(id) = self.someone(act) else {
            return;
        };
        match act {
            Act::Deliver => self.deliver(),
            Act::Tick => self.cluster.node(id).tick(),
            Act::TakeReady => self.take_ready(id),
            Act::ReachDisk if self.slow == Some(id) && self.dice.percent(95) => {}
            Act::ReachDisk => drop(self.cluster.reach_disk(id)),
            Act::Report => self.report(id),
            Act::Propose => self.propose(id),
            Act::Compact => self.compact(id),
            Act::Campaign => self.cluster.node(id).campaign(),
            Act::CutOrHeal => self.cut_or_heal(id),
            Act::Crash => {
                let kept = self.dice.below(3);
                let torn = [None, Some(0), Some(1)][self.dice.below(3)];
                self.reached.writes_lost += self.cluster.crash(id, kept, torn);
            }
            Act::Restart => self.cluster.restart(id),
        }
    }

    /// A node that an act can happen to.
    fn someone(&mut self, act: Act) -> Option<NodeId> {
        let start = self.dice.below(self.ids.len());
        let turned = self.ids[start..].iter().chain(&self.ids[..start]);
        let can = |id: &&NodeId| {
            let member = &self.cluster.members[*id];
            match (act, &member.node) {
                (Act::Restart, node) => node.is_none(),
                (_, None) => false,
                (Act::TakeReady, Some(node)) => node.has_ready(),
                (Act::ReachDisk, Some(_)) => !member.writes.is_empty(),
                (Act::Report, Some(_)) => !member.unreported.is_empty(),
                (Act::Propose, Some(node)) => has_room(&node.status()),
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
        if under_way == 0 {
            return;
        }
        // Mostly in order, sometimes not.
        let slot = if self.dice.percent(80) { 0 } else { self.dice.below(under_way) };
        let message = &self.cluster.network[slot];
        let is_cut = self.cut.contains(&(message.from, message.to));
        if is_cut || self.dice.percent(self.loss) || MESSAGES_MAX < under_way {
            self.cluster.network.remove(slot);
            return;
        }
        if self.dice.percent(self.doubling) {
            let copy = message.clone();
            self.cluster.network.push(copy);
        }
        self.cluster.deliver(slot);
    }

    fn take_ready(&mut self, id: NodeId) {
        let submitted = self.cluster.node(id).log.submitted();
        let disk_last = self.cluster.member(id).disk.entries.last().map(|entry| entry.index);
        let ready = self.cluster.take_ready(id);
        if let (Some(first), Some(last)) = (ready.entries.first(), disk_last) {
            self.reached.entries_replaced += usize::from(first.index <= last && submitted <= last);
        }
        if let Some(applied) = ready.committed.last() {
            let durable = self.cluster.node(id).log.durable();
            self.reached.applied_before_durable += usize::from(durable < applied.index);
        }
    }

    fn report(&mut self, id: NodeId) {
        let term = self.cluster.node(id).term();
        if let Some(receipt) = self.cluster.report(id) {
            self.reached.stale_receipts += usize::from(receipt.term < term);
        }
    }

    fn propose(&mut self, id: NodeId) {
        self.proposed += 1;
        let payload = self.proposed.to_string().into_bytes().into();
        // A refusal is as good as any other outcome.
        let _ = self.cluster.node(id).propose(payload);
    }

    fn compact(&mut self, id: NodeId) {
        let index = self.cluster.compactable().min(self.cluster.node(id).log.applied());
        if self.cluster.node(id).log.floor().1 < index {
            self.reached.compactions += 1;
            self.cluster.compact(id, index);
        }
    }

    fn cut_or_heal(&mut self, id: NodeId) {
        if self.dice.percent(40) {
            self.cut.clear();
            return;
        }
        let other = self.ids[self.dice.below(self.ids.len())];
        self.cut.insert((id, other));
        if self.dice.percent(50) {
            self.cut.insert((other, id));
        }
    }

    /// One round of a world without faults.
    fn round(&mut self) {
        for id in self.ids.clone() {
            self.cluster.node(id).tick();
            self.cluster.take_ready(id);
            while self.cluster.persist(id).is_some() {}
        }
        for _ in 0..self.cluster.network.len() {
            self.cluster.deliver(0);
        }
    }

    /// The faults end; the group must take a proposal and bring it to all, and all logs must be equal.
    fn recover(&mut self) {
        for id in self.ids.clone() {
            if !self.cluster.is_up(id) {
                self.cluster.restart(id);
            }
        }
        let before = self.cluster.committed();
        let lags = |world: &World| world.ids.iter().any(|id| world.applied(*id) <= before);
        self.go_on_while(lags, |world| {
            if let Some(leader) = world.cluster.leader() {
                // More is proposed when what is there is on its way.
                let log = &world.cluster.node(leader).log;
                if log.last().1 == log.committed() {
                    world.propose(leader);
                }
            }
        });
        // Nothing new: all come to rest at the same place.
        let differ = |world: &World| {
            let committed = world.cluster.committed();
            world
                .ids
                .iter()
                .any(|id| world.end(*id) != committed || world.applied(*id) != committed)
        };
        self.go_on_while(differ, |_| {});
    }

    fn go_on_while(&mut self, waiting: impl Fn(&World) -> bool, act: impl Fn(&mut World)) {
        let mut rounds = 0;
        while waiting(self) {
            act(self);
            self.round();
            rounds += 1;
            assert!(rounds < ROUNDS_MAX, "no life after {rounds} rounds");
        }
    }

    fn applied(&self, id: NodeId) -> Index {
        self.cluster.members[&id].node.as_ref().expect("all run").log.applied()
    }

    fn end(&self, id: NodeId) -> Index {
        self.cluster.members[&id].node.as_ref().expect("all run").log.last().1
    }

    /// What is there at the end, to compare runs.
    fn summary(&mut self) -> Vec<String> {
        let ids = self.ids.clone();
        ids.iter().map(|id| print::status(&self.cluster.node(*id).status())).collect()
    }
}

/// Whether a leader may be given more: whoever admits proposals lets only so many wait.
fn has_room(status: &Status) -> bool {
    status.role == Role::Leader && status.last.0 < status.committed.0 + WAITING_MAX
}

fn run(seed: u64) -> (Reached, Vec<String>) {
    let mut world = World::new(seed);
    for _ in 0..STEPS {
        world.act();
    }
    world.recover();
    world.reached.committed = world.cluster.committed().0;
    world.reached.terms_led = world.cluster.terms_led();
    (world.reached, world.summary())
}

#[test]
fn groups_survive_faults() {
    let mut all = Reached::default();
    for seed in 0..SEEDS as u64 {
        let (reached, _) = std::panic::catch_unwind(|| run(seed)).unwrap_or_else(|cause| {
            println!("seed {seed}");
            std::panic::resume_unwind(cause)
        });
        all += reached;
    }
    println!("{all:?}");
    assert!(20 * (SEEDS as u64) < all.committed, "{all:?}");
    assert!(2 * SEEDS < all.terms_led, "{all:?}");
    assert!(SEEDS / 2 < all.writes_lost, "{all:?}");
    assert!(SEEDS / 4 < all.entries_replaced, "{all:?}");
    assert!(SEEDS / 2 < all.compactions, "{all:?}");
    assert!(SEEDS / 2 < all.stale_receipts, "{all:?}");
    assert!(SEEDS / 2 < all.applied_before_durable, "{all:?}");
}

#[test]
fn a_seed_names_a_run() {
    for seed in 0..5 {
        assert_eq!(run(seed), run(seed));
    }
}
