//! Which groups time passes for. Most groups rest most of the time, so nothing that happens at every
//! tick looks at all of them: whatever changes a group wakes it, and a group that was awake is noted
//! here when its turn is over.

use std::collections::BTreeSet;

use model::ids::Now;
use model::limits::{DEPOSED_WAIT_MS, FORWARD_SECONDS};
use raft::Role;

use crate::group::Group;
use crate::shard::Shard;

/// Slots of groups that need looking at though nothing happens to them.
#[derive(Debug, Default)]
pub(crate) struct Restless {
    /// Those that count time.
    ticking: BTreeSet<usize>,
    /// Those with requests or reads that wait.
    waiting: BTreeSet<usize>,
    /// Those hosted here that cannot commit or are behind.
    failing: BTreeSet<usize>,
}

impl Restless {
    /// Of so many groups, of which nothing is known yet.
    pub(crate) fn new(groups: usize) -> Restless {
        Restless { failing: (0..groups).collect(), ..Restless::default() }
    }

    /// Groups hosted here that cannot commit or are behind.
    pub(crate) fn failing(&self) -> usize {
        self.failing.len()
    }

    /// Groups that count time.
    pub(crate) fn ticking(&self) -> usize {
        self.ticking.len()
    }
}

fn put(slots: &mut BTreeSet<usize>, slot: usize, belongs: bool) {
    if belongs {
        slots.insert(slot);
    } else {
        slots.remove(&slot);
    }
}

impl Shard {
    /// A group has had its turn.
    pub(crate) fn note_rest(&mut self, slot: usize) {
        let (group, own) = (&self.groups[slot], self.options.cluster.own);
        let restless = &mut self.restless;
        put(&mut restless.ticking, slot, !is_at_rest(group));
        put(&mut restless.waiting, slot, group.has_waiting() || group.has_reads());
        put(&mut restless.failing, slot, group.is_hosted(own) && !group.is_ready());
    }

    pub(crate) fn tick_groups(&mut self) {
        for slot in self.restless.ticking.clone() {
            self.groups[slot].node.tick();
            self.wake(slot);
        }
    }

    /// Requests whose group another node leads by now are answered after a while, should their entries
    /// never come; reads are turned away when nobody leads, or what they wait for never comes.
    pub(crate) fn look_at_waiting(&mut self, now: Now) {
        let patience = DEPOSED_WAIT_MS * 1_000;
        for slot in self.restless.waiting.clone() {
            let group = &mut self.groups[slot];
            let status = group.node.status();
            let is_led = status.leader.is_some() && group.is_hosted(self.options.cluster.own);
            let since = if is_led { FORWARD_SECONDS * 1_000_000 } else { patience };
            let late = group.late_reads(now.monotonic.saturating_sub(since));
            let leads = status.role == Role::Leader && !group.leads_anew();
            let deposed = if leads || !group.has_waiting() { None } else { group.deposed_at };
            let begins = deposed.is_none() && group.has_waiting() && !leads;
            group.deposed_at = if begins { Some(now.monotonic) } else { deposed };
            let is_over = deposed.is_some_and(|at| patience <= now.monotonic.saturating_sub(at));
            let leader = group.leader();
            late.into_iter().for_each(|read| self.turn_away(read, leader));
            if is_over {
                self.give_up_waiting(slot);
            }
            self.note_rest(slot);
        }
    }
}

/// Whether time means nothing to a group: its node is at rest, or was told to go and hears nobody.
fn is_at_rest(group: &Group) -> bool {
    let is_gone = || {
        let status = group.node.status();
        group.node.is_outside() && status.role == Role::Follower && status.leader.is_none()
    };
    group.node.is_quiet() || (!group.node.is_doubtful() && !group.has_reads() && is_gone())
}
