//! Snapshots for nodes that need what has left the log. The sessions of a group are written down as of
//! one moment, in slices, as the receiver asks for them; their events never change, so the receiver
//! fetches those it lacks from any replica, whenever it likes.
//!
//! 1. A follower needs what is gone from the log: it is offered a snapshot. That costs nothing yet.
//! 2. The receiver asks for the first frames. This is the snapshot's moment: from here on the log keeps
//!    what follows it, up to a bound for the shard.
//! 3. It asks for the next part when it has one; the frames end with what they stand for.
//! 4. It says that it has taken the snapshot over. The log keeps what follows until the follower goes on
//!    from there, or says nothing for a while.
//! 5. A group so busy that one that learns could not go on from several snapshots in a row waits for it
//!    from the next one on, for a bounded time: while the shard has no more room to keep what follows, the
//!    group takes no commands. If that was in vain it takes commands for a while, for longer each time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use model::ids::{GroupId, Now};
use model::limits::{
    EXPORTS_PER_SHARD, LOG_KEPT_WHILE_SENDING, NEWCOMER_OUTRUN_MAX, NEWCOMER_REST_DOUBLED_MAX,
    NEWCOMER_WAIT_MAX_MS, NEWCOMER_WAIT_MS, SNAPSHOT_PART_BYTES, SNAPSHOT_RETRY_MS,
    SNAPSHOT_SILENCE_MS,
};
use raft::{Index, NodeId, PeerState, Snapshot, Term};

use crate::peer::{PeerMessage, SnapshotStep};
use crate::shard::Shard;

/// Snapshots being sent, and those that wait for their turn.
#[derive(Debug, Default)]
pub(crate) struct Exports {
    running: BTreeMap<u64, Export>,
    /// Slots and receivers.
    waiting: VecDeque<(usize, NodeId)>,
    /// Receivers that wanted none, and until when they are left alone.
    cooling: BTreeMap<(usize, NodeId), u64>,
    /// Followers that have taken over a snapshot and go on from there.
    leaving: BTreeMap<(usize, NodeId), Leaving>,
    /// Followers that could not go on from a snapshot they had taken over.
    outrun: BTreeMap<(usize, NodeId), Outrun>,
    /// Slots of groups that wait for such a follower, or have.
    waits: BTreeMap<usize, Wait>,
    /// The number of the newest snapshot.
    newest: u64,
}

#[derive(Debug)]
struct Export {
    slot: usize,
    group: GroupId,
    to: NodeId,
    /// What was applied when it was offered.
    offered: (Term, Index),
    /// When the offer was made last.
    offered_at: u64,
    /// When the receiver was heard last.
    heard_at: u64,
    /// What it stands for, from the moment it was asked for.
    head: Option<Snapshot>,
    /// When that was.
    begun_at: u64,
    /// The part that was sent last, and where it begins; empty behind the last.
    part: (u64, Bytes),
    /// What follows it and is written down.
    rest: Bytes,
}

/// A follower that goes on from a snapshot.
#[derive(Debug)]
struct Leaving {
    /// What it surely has.
    has: Index,
    /// When it came this far.
    at: u64,
    /// When its snapshot was begun.
    begun_at: u64,
    /// Whether it has asked for another since, though the log keeps what follows this one.
    asked: bool,
}

/// A follower whose snapshots are old when it has taken them over.
#[derive(Debug, Default)]
struct Outrun {
    /// Snapshots in a row it could not go on from.
    times: u32,
    /// Microseconds from the beginning of the last of them until that showed.
    took: u64,
}

/// A group that waits for one that learns, whichever that is: its waits must not add up.
#[derive(Debug, Default)]
struct Wait {
    /// Until when, if it does.
    until: Option<u64>,
    /// How often it has in vain.
    in_vain: u32,
    /// Until when it does not again.
    rests_until: u64,
}

impl Wait {
    /// Begins to wait for a follower, if the group may.
    fn begin(&mut self, outrun: &Outrun, now: Now) -> bool {
        if self.until.is_some() || now.monotonic < self.rests_until {
            return false;
        }
        let micros = outrun.took.saturating_mul(2);
        let micros = micros.clamp(NEWCOMER_WAIT_MS * 1_000, NEWCOMER_WAIT_MAX_MS * 1_000);
        self.until = Some(now.monotonic + micros);
        true
    }

    /// Ends a wait that is over.
    fn end_late(&mut self, now: Now) {
        if self.until.is_some_and(|until| until <= now.monotonic) {
            let doubled = self.in_vain.min(NEWCOMER_REST_DOUBLED_MAX);
            self.rests_until = now.monotonic + ((NEWCOMER_WAIT_MAX_MS * 1_000) << doubled);
            self.in_vain += 1;
            self.until = None;
        }
    }
}

impl Exports {
    /// Numbers snapshots from `first` on: no life of this node uses a number another has used, or a
    /// receiver could take a part of one for a part of the other.
    pub(crate) fn new(first: u64) -> Exports {
        Exports { newest: first, ..Exports::default() }
    }

    /// The last entry of a group that no receiver of its snapshots will ask for; `None` if there is no
    /// receiver.
    pub(crate) fn passed(&self, slot: usize) -> Option<Index> {
        let running = self.running.values().filter(|export| export.slot == slot);
        let heads = running.filter_map(|export| export.head.as_ref().map(|head| head.last.1));
        let leaving = self.leaving.range((slot, NodeId(0))..=(slot, NodeId(u64::MAX)));
        heads.chain(leaving.map(|(_, leaving)| leaving.has)).min()
    }

    /// The slots of groups for which more of the log is kept.
    fn kept_slots(&self) -> BTreeSet<usize> {
        let taken = self.running.values().filter(|export| export.head.is_some());
        let leaving = self.leaving.keys().map(|(slot, _)| *slot);
        taken.map(|export| export.slot).chain(leaving).collect()
    }

    /// Whether a group waits for one that learns.
    pub(crate) fn holds(&self, slot: usize) -> bool {
        self.waits.get(&slot).is_some_and(|wait| wait.until.is_some())
    }

    /// A follower takes a snapshot from its beginning: whether its group begins to wait for it.
    fn wait_for(&mut self, slot: usize, to: NodeId, now: Now) -> bool {
        let outrun = self.outrun.get(&(slot, to));
        let outrun = outrun.filter(|outrun| NEWCOMER_OUTRUN_MAX <= outrun.times);
        outrun.is_some_and(|outrun| self.waits.entry(slot).or_default().begin(outrun, now))
    }

    fn is_wanted(&self, slot: usize, to: NodeId) -> bool {
        self.waiting.contains(&(slot, to))
            || self.running.values().any(|export| export.slot == slot && export.to == to)
    }
}

impl Export {
    /// Whether the receiver has everything up to here: what was sent, or its beginning.
    fn is_asked(&self, offset: u64) -> bool {
        offset == self.part.0 || offset == self.next_offset()
    }

    fn next_offset(&self) -> u64 {
        self.part.0 + self.part.1.len() as u64
    }
}

impl Shard {
    /// A follower needs a snapshot.
    pub(crate) fn begin_export(&mut self, slot: usize, to: NodeId, now: Now) {
        if let Some(leaving) = self.exports.leaving.get_mut(&(slot, to)) {
            let group = &mut self.groups[slot];
            let goes_on = group.node.status().first <= leaving.has.next();
            if goes_on && !std::mem::replace(&mut leaving.asked, true) {
                // What it said before it had the snapshot was overtaken by what it said of that.
                group.node.snapshot_ended(to);
                return self.wake(slot);
            }
            let outrun = self.exports.outrun.entry((slot, to)).or_default();
            outrun.times += 1;
            outrun.took = now.monotonic.saturating_sub(leaving.begun_at);
            self.exports.leaving.remove(&(slot, to));
        }
        if self.exports.is_wanted(slot, to) {
            return;
        }
        self.exports.waiting.push_back((slot, to));
        self.start_exports(now);
    }

    fn start_exports(&mut self, now: Now) {
        while self.exports.running.len() < EXPORTS_PER_SHARD
            && let Some((slot, to)) = self.next_export()
        {
            let group = &self.groups[slot];
            let last = group.applied();
            if last.1.0 == 0 || !group.node.status().role.leads() {
                self.groups[slot].node.snapshot_ended(to);
                continue;
            }
            self.exports.newest += 1;
            let export = Export {
                slot,
                group: group.id,
                to,
                offered: last,
                offered_at: now.monotonic,
                heard_at: now.monotonic,
                head: None,
                begun_at: now.monotonic,
                part: (0, Bytes::new()),
                rest: Bytes::new(),
            };
            self.offer(self.exports.newest, &export);
            self.exports.running.insert(self.exports.newest, export);
        }
    }

    /// The first that waits and can be reached. A snapshot for one that cannot would be old when it can.
    fn next_export(&mut self) -> Option<(usize, NodeId)> {
        let place = self.exports.waiting.iter().position(|(slot, to)| {
            let reached =
                self.lives(*to, *slot) && !self.exports.cooling.contains_key(&(*slot, *to));
            reached || !self.groups[*slot].node.status().role.leads()
        })?;
        self.exports.waiting.remove(place)
    }

    fn offer(&mut self, number: u64, export: &Export) {
        let step = SnapshotStep::Offer { number, last: export.offered };
        self.sends.push((export.to, PeerMessage::Snapshot { group: export.group, step }));
    }

    /// Offers again what nobody has answered, and gives up what nobody asks for.
    pub(crate) fn look_at_exports(&mut self, now: Now) {
        let is_over = |at: u64| SNAPSHOT_SILENCE_MS * 1_000 <= now.monotonic.saturating_sub(at);
        let running = self.exports.running.iter();
        let over = running.filter(|(_, export)| is_over(export.heard_at));
        for number in over.map(|(number, _)| *number).collect::<Vec<_>>() {
            self.end_export(number, now);
        }
        let mut running = std::mem::take(&mut self.exports.running);
        for (number, export) in &mut running {
            let quiet =
                SNAPSHOT_RETRY_MS * 1_000 <= now.monotonic.saturating_sub(export.offered_at);
            if export.head.is_none() && quiet {
                export.offered_at = now.monotonic;
                self.offer(*number, export);
            }
        }
        self.exports.running = running;
        self.exports.cooling.retain(|_, until| now.monotonic < *until);
        self.look_at_leaving(now);
        self.start_exports(now);
    }

    /// Lets go of followers that go on and have what the log would keep for them anyway, or do not go on.
    fn look_at_leaving(&mut self, now: Now) {
        let (groups, limit) = (&self.groups, self.kept_limit());
        let outrun = &mut self.exports.outrun;
        self.exports.leaving.retain(|(slot, to), leaving| {
            let group = &groups[*slot];
            let peer = group.node.progress().find(|progress| progress.id == *to);
            let Some(peer) = peer else { return false };
            if leaving.has < peer.matched {
                *leaving = Leaving { has: peer.matched, at: now.monotonic, ..*leaving };
            }
            if peer.state == PeerState::Replicate && group.kept_bytes <= limit {
                outrun.remove(&(*slot, *to));
                return false;
            }
            let silent = now.monotonic.saturating_sub(leaving.at);
            silent < SNAPSHOT_SILENCE_MS * 1_000
        });
        // Who votes is behind for a while; who learns would never come to vote.
        outrun.retain(|(slot, to), _| {
            let node = &groups[*slot].node;
            node.status().role.leads() && node.membership().learners.contains(to)
        });
        let is_outrun = |slot: usize| outrun.keys().any(|(other, _)| *other == slot);
        self.exports.waits.retain(|slot, wait| {
            wait.end_late(now);
            is_outrun(*slot)
        });
    }

    /// Bytes of applied entries each group keeps for followers that are a little behind.
    pub(crate) fn kept_limit(&self) -> usize {
        self.options.log_kept_bytes / self.options.placement.groups_per_shard()
    }

    /// Bytes by which all groups whose snapshots are sent may yet keep more than that.
    pub(crate) fn room_to_keep(&self) -> usize {
        let slots = self.exports.kept_slots().into_iter();
        let kept: usize = slots.map(|slot| self.groups[slot].kept_bytes).sum();
        (self.options.log_kept_bytes * LOG_KEPT_WHILE_SENDING).saturating_sub(kept)
    }

    /// Whether a group takes no commands for now: the log has no room for what one that learns could go on
    /// with.
    pub(crate) fn waits_for_newcomer(&self, slot: usize) -> bool {
        let holds = self.exports.holds(slot) && self.exports.passed(slot).is_some();
        holds && self.room_to_keep() == 0
    }

    /// Lets go of a snapshot; the follower's needs are looked at again.
    fn end_export(&mut self, number: u64, now: Now) {
        let Some(export) = self.exports.running.remove(&number) else { return };
        self.machine.end_frames(number);
        self.groups[export.slot].node.snapshot_ended(export.to);
        self.wake(export.slot);
        self.start_exports(now);
    }

    /// The sessions of a group are about to be replaced: its snapshots show no moment any more.
    pub(crate) fn drop_exports(&mut self, slot: usize, now: Now) {
        let running = self.exports.running.iter();
        let of_it = running.filter(|(_, export)| export.slot == slot);
        for number in of_it.map(|(number, _)| *number).collect::<Vec<_>>() {
            self.end_export(number, now);
        }
    }

    /// The receiver of a snapshot asks for frames.
    pub(crate) fn pull_frames(
        &mut self,
        from: NodeId,
        slot: usize,
        (number, offset): (u64, u64),
        now: Now,
    ) {
        let group = self.groups[slot].id;
        let part = self.next_part((from, slot), number, offset, now);
        if offset == 0 && matches!(part, Part::Bytes(_)) {
            self.facts.newcomer_waits += u64::from(self.exports.wait_for(slot, from, now));
        }
        let step = match part {
            Part::Bytes(bytes) => SnapshotStep::Frames { number, offset, bytes },
            Part::End(head) => SnapshotStep::FramesEnd { number, offset, head },
            Part::Nothing => return,
            Part::Gone => {
                self.end_export_to(from, number, now);
                SnapshotStep::Gone { number }
            }
        };
        self.sends.push((from, PeerMessage::Snapshot { group, step }));
    }

    fn end_export_to(&mut self, to: NodeId, number: u64, now: Now) {
        if self.exports.running.get(&number).is_some_and(|export| export.to == to) {
            self.end_export(number, now);
        }
    }

    fn next_part(
        &mut self,
        (from, slot): (NodeId, usize),
        number: u64,
        offset: u64,
        now: Now,
    ) -> Part {
        let known = self.exports.running.get_mut(&number);
        let Some(export) = known.filter(|export| export.to == from && export.slot == slot) else {
            return Part::Gone;
        };
        if !export.is_asked(offset) {
            return Part::Nothing;
        }
        export.heard_at = now.monotonic;
        if export.head.is_none() {
            let group = &self.groups[slot];
            let membership = group.node.membership_applied();
            export.head = Some(Snapshot { last: group.applied(), membership });
            export.begun_at = now.monotonic;
            let frames = self.machine.begin_frames(number, export.group);
            #[cfg(feature = "sabotage")]
            {
                let broken = self.options.sabotage;
                frames.forgets = broken == Some(crate::sabotage::Sabotage::ForgetProducers);
            }
            assert_eq!(frames.group(), group.id, "a slot is of one group");
        }
        if offset == export.next_offset() {
            if export.rest.is_empty() {
                let Some(frames) = self.machine.next_frames(number) else { return Part::Gone };
                export.rest = frames.into();
            }
            let length = export.rest.len().min(SNAPSHOT_PART_BYTES);
            export.part = (offset, export.rest.split_to(length));
        }
        if export.part.1.is_empty() {
            return Part::End(export.head.clone().expect("it was taken when the first part was"));
        }
        Part::Bytes(export.part.1.clone())
    }

    /// The receiver of a snapshot has taken it over, or does not want it.
    pub(crate) fn export_ended(&mut self, from: NodeId, number: u64, installed: bool, now: Now) {
        let known = self.exports.running.get(&number);
        let Some(export) = known.filter(|export| export.to == from) else { return };
        let key = (export.slot, from);
        if installed {
            self.facts.snapshots_sent += 1;
            let has = export.head.as_ref().map_or(export.offered, |head| head.last).1;
            let (at, begun_at) = (now.monotonic, export.begun_at);
            let leaving = Leaving { has, at, begun_at, asked: false };
            self.exports.leaving.insert(key, leaving);
        } else {
            let until = now.monotonic + SNAPSHOT_SILENCE_MS * 1_000;
            self.exports.cooling.insert(key, until);
        }
        self.end_export(number, now);
    }
}

/// What a receiver is told that asks for frames.
enum Part {
    Bytes(Bytes),
    End(Snapshot),
    /// It asks for what it has.
    Nothing,
    /// There is no such snapshot.
    Gone,
}
