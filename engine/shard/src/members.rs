//! Who belongs to a group. What configuration and operators want, the group's leader brings about, one
//! change at a time: a node that should be a member first learns, and gets a vote when it has caught up; one
//! that should be none leaves in the same step. A node that lost its disk is a new member under an old
//! name and takes the place of its predecessor in just that way.

use std::collections::BTreeSet;

use model::ids::Now;
use model::limits::{
    CHANGES_PER_SECOND, LEADERLESS_TAIL_MS, MEMBERSHIP_ASK_SECONDS, ORPHAN_TIMEOUTS,
};
use raft::{ELECTION_TIMEOUTS_MAX, Membership, NodeId};

use crate::cluster::{Timing, tag};
use crate::shard::Shard;
use crate::wishes::is_caught_up;

// Whoever may still stand in time is not taken for removed, and its tails do not end for it.
const _: () = assert!((ELECTION_TIMEOUTS_MAX as u64) < ORPHAN_TIMEOUTS);
const _: () = assert!(
    ELECTION_TIMEOUTS_MAX as u64 * Timing::USUAL.election_micros() < LEADERLESS_TAIL_MS * 1_000
);

impl Shard {
    /// Begins the changes of members that are due in groups led here.
    pub(crate) fn order_members(&mut self) {
        // Who does not know yet what operators said last would undo it.
        if self.options.cluster.is_alone() || !self.wishes.complete || self.knows_less() {
            return;
        }
        let mut left = CHANGES_PER_SECOND;
        for slot in 0..self.groups.len() {
            if left == 0 {
                return;
            }
            if !self.groups[slot].is_serving() {
                continue;
            }
            let Some((voters, learners)) = self.next_members(slot) else { continue };
            if self.groups[slot].node.change(voters, learners).is_ok() {
                left -= 1;
                self.wake(slot);
            }
        }
    }

    /// Whether another node says that it knows more of what operators said.
    fn knows_less(&self) -> bool {
        self.wishes.seq < self.neighbours.intent_known()
    }

    /// Ends the tails and reads of groups that have left this node, and the tails of those that nobody
    /// leads: they hear of no event, and may elsewhere. A node that was cut off when it was removed is not
    /// told: no leader speaks to it any more. It counts as removed where nobody wants it to hold the group.
    pub(crate) fn look_at_hosting(&mut self, now: Now) {
        let own = self.options.cluster.own;
        let patience = ORPHAN_TIMEOUTS * self.options.cluster.timing.election_micros();
        let (mut reads, mut forsaken) = (Vec::new(), BTreeSet::new());
        for group in &mut self.groups {
            let is_led = group.node.status().leader.is_some();
            let is_wanted = group.wanted.contains(&tag(own));
            let leaderless = lasts(&mut group.leaderless_since, !is_led, now);
            let lost = lasts(&mut group.lost_since, !is_led && !is_wanted, now);
            assert!(lost <= leaderless, "who is lost has no leader for at least as long");
            group.is_orphan = lost.is_some_and(|lost| patience <= lost);
            let is_forsaken = leaderless.is_some_and(|silent| LEADERLESS_TAIL_MS * 1_000 <= silent);
            if !std::mem::replace(&mut group.is_forsaken, is_forsaken) && is_forsaken {
                forsaken.insert(group.id);
            }
            let is_hosted = group.is_hosted(own);
            if std::mem::replace(&mut group.was_hosted, is_hosted) && !is_hosted {
                forsaken.insert(group.id);
                reads.append(&mut group.give_up_reads());
            }
        }
        if !forsaken.is_empty() {
            self.tails.close_groups(&forsaken, &mut self.machine);
        }
        reads.into_iter().for_each(|read| self.turn_away(read, None));
    }

    /// Has followers at rest ask whether they still are members, where this node should hold nothing, or
    /// others know more of what it should: one that was removed and heard nothing of it, since all that was
    /// sent to it was lost, goes on resting, and its tails with it. Called once a second with how often it
    /// was; each follower asks in one of some. Those that should be members do not: in a cluster where
    /// nothing happens nobody asks.
    pub(crate) fn ask_where_unwanted(&mut self, looks: u64) {
        let own = self.options.cluster.own;
        let may_be_wrong = self.knows_less();
        for slot in 0..self.groups.len() {
            let group = &mut self.groups[slot];
            let due = slot as u64 % MEMBERSHIP_ASK_SECONDS == looks % MEMBERSHIP_ASK_SECONDS;
            let doubted = may_be_wrong || !group.wanted.contains(&tag(own));
            if due && doubted && group.node.is_quiet() && group.is_hosted(own) {
                group.node.ask_whether_member();
                self.wake(slot);
            }
        }
    }

    /// The next step from the members a group has to those it should have.
    fn next_members(&self, slot: usize) -> Option<(Vec<NodeId>, Vec<NodeId>)> {
        let group = &self.groups[slot];
        let members = group.node.membership();
        if members.is_joint() {
            return None;
        }
        let wanted = self.wanted_members(slot, members)?;
        if wanted == members.voters && members.learners.is_empty() {
            return None;
        }
        let missing = |id: &&NodeId| !members.is_member(**id);
        let mut learners = members.learners.clone();
        learners.retain(|id| wanted.contains(id));
        if let Some(&newcomer) = wanted.iter().find(missing) {
            learners.push(newcomer);
            return Some((members.voters.clone(), learners));
        }
        if learners != members.learners {
            return Some((members.voters.clone(), learners));
        }
        let voters = self.next_voters(slot, members, &wanted);
        assert!(voters.is_sorted_by(|one, next| one < next), "ascending, each once");
        assert!(
            members.voters.len().min(wanted.len()) <= voters.len(),
            "none is given up for nobody"
        );
        if voters == members.voters || !self.hears_most(slot, &voters) {
            return None;
        }
        learners.retain(|id| !voters.contains(id));
        Some((voters, learners))
    }

    /// Those who should vote next, ascending: all that are wanted, or, while some of them have not caught
    /// up, as many others of them as have, each in the place of one that is to go, once there are as many
    /// as there should be. Who has caught up need not wait for the rest: they may never have at one and the
    /// same moment.
    fn next_voters(&self, slot: usize, members: &Membership, wanted: &[NodeId]) -> Vec<NodeId> {
        let (node, own) = (&self.groups[slot].node, self.options.cluster.own);
        let new = wanted.iter().filter(|id| !members.voters.contains(id)).copied();
        let (ready, late): (Vec<_>, Vec<_>) = new.partition(|id| is_caught_up(node, *id));
        if late.is_empty() {
            return wanted.to_vec();
        }
        let mut leaving: Vec<_> =
            members.voters.iter().filter(|id| !wanted.contains(id)).copied().collect();
        let is_replaced = |id: NodeId| ready.iter().any(|new| tag(*new) == tag(id));
        leaving.sort_by_key(|id| (!is_replaced(*id), *id == own, self.lives(*id, slot)));
        // Where there are fewer than there should be nobody else goes: two that vote bear no loss.
        let replaced = leaving.iter().filter(|id| is_replaced(**id)).count();
        let lacking = wanted.len().saturating_sub(members.voters.len());
        let rest = ready.len().saturating_sub(lacking);
        leaving.truncate(replaced.max(rest).min(ready.len()));
        let stay = members.voters.iter().filter(|id| !leaving.contains(id)).copied();
        let mut next: Vec<_> = stay.chain(ready).collect();
        next.sort_unstable();
        next
    }

    /// Whether most of some voters are heard. Without that a change to them would never end, and until
    /// it did nobody could lead the group: who is wanted and not heard may have lost its disk.
    fn hears_most(&self, slot: usize, voters: &[NodeId]) -> bool {
        let own = self.options.cluster.own;
        let answers = |id: NodeId| {
            let mut all = self.groups[slot].node.progress();
            all.any(|progress| progress.id == id && progress.active)
        };
        let heard =
            voters.iter().filter(|id| **id == own || (self.lives(**id, slot) && answers(**id)));
        voters.len() < 2 * heard.count()
    }

    /// The members a group should have, ascending: of each wanted node the life that is a member and
    /// lives, else the one that is connected, else the one that learns, else the one that is a member. For
    /// a wanted node that is not known at all a voter of now stays, one that lives if there is any. `None` if
    /// the group would be left with fewer voters than it has.
    fn wanted_members(&self, slot: usize, members: &Membership) -> Option<Vec<NodeId>> {
        let group = &self.groups[slot];
        let own = self.options.cluster.own;
        let lives = |id: &NodeId| *id == own || self.lives(*id, slot);
        let mut wanted = Vec::new();
        for name in &group.wanted {
            let known: Vec<NodeId> = members.members().filter(|id| tag(*id) == *name).collect();
            let linked: Vec<NodeId> =
                self.neighbours.linked().filter(|id| tag(*id) == *name).collect();
            let all = known.iter().chain(&linked).copied();
            // One that learns goes on even if it is not heard for a moment: it holds more than a new one.
            let learns = |id: &NodeId| members.learners.contains(id);
            let chosen = all.clone().find(lives).or_else(|| all.clone().find(learns));
            let chosen = chosen.or_else(|| all.clone().next());
            let chosen = if tag(own) == *name { Some(own) } else { chosen };
            wanted.extend(chosen);
        }
        let unknown = group.wanted.len() - wanted.len();
        let spare = |id: &&NodeId| !group.wanted.contains(&tag(**id));
        let mut stay: Vec<NodeId> = members.voters.iter().filter(spare).copied().collect();
        stay.sort_by_key(|id| !lives(id));
        wanted.extend(stay.into_iter().take(unknown));
        wanted.sort_unstable();
        assert!(wanted.is_sorted_by(|one, next| one < next), "ascending, each once");
        let enough = members.voters.len().min(group.wanted.len());
        (enough <= wanted.len()).then_some(wanted)
    }
}

/// For how long something has been so, which is known to be so since a while, or begins now.
fn lasts(since: &mut Option<u64>, is_so: bool, now: Now) -> Option<u64> {
    *since = is_so.then(|| since.unwrap_or(now.monotonic));
    since.map(|since| now.monotonic.saturating_sub(since))
}
