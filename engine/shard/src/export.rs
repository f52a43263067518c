//! Snapshots for nodes that need what has left the log. The sessions of a group are written down at one
//! moment; their events never change, so the receiver fetches those it lacks whenever it likes, from
//! memory or from sealed chunks.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use model::api::Event;
use model::ids::{GroupId, Now, Seq, SessionId};
use model::limits::{
    EXPORTS_PER_SHARD, SNAPSHOT_PART_BYTES, SNAPSHOT_RETRY_MS, SNAPSHOT_SILENCE_MS,
};
use raft::{NodeId, Snapshot};

use crate::checkpoint::put_session;
use crate::chunk::Damage;
use crate::peer::{PeerMessage, SnapshotStep};
use crate::reads::{Purpose, Wish};
use crate::shard::Shard;
use crate::tails::hot_events;

/// Snapshots being sent, and those that wait for their turn.
#[derive(Debug, Default)]
pub(crate) struct Exports {
    running: BTreeMap<u64, Export>,
    /// Slots and receivers.
    waiting: VecDeque<(usize, NodeId)>,
    /// The number of the newest snapshot.
    newest: u64,
}

#[derive(Debug)]
struct Export {
    slot: usize,
    group: GroupId,
    to: NodeId,
    head: Snapshot,
    frames: Bytes,
    /// When the receiver was heard last.
    heard_at: u64,
    /// When the offer was made last.
    offered_at: u64,
    /// Whether the receiver has answered.
    taken: bool,
    /// Events that come from disk: the session and the last seq wanted.
    fetching: Option<(SessionId, Seq)>,
}

impl Exports {
    /// Numbers snapshots from `first` on: no life of this node uses a number another has used, or a
    /// receiver could take a part of one for a part of the other.
    pub(crate) fn new(first: u64) -> Exports {
        Exports { newest: first, ..Exports::default() }
    }

    /// Whether a group's snapshot is on its way to anybody.
    pub(crate) fn is_sending(&self, group: GroupId) -> bool {
        self.running.values().any(|export| export.group == group)
    }

    fn is_wanted(&self, slot: usize, to: NodeId) -> bool {
        self.waiting.contains(&(slot, to))
            || self.running.values().any(|export| export.slot == slot && export.to == to)
    }
}

impl Shard {
    /// A follower needs a snapshot.
    pub(crate) fn begin_export(&mut self, slot: usize, to: NodeId, now: Now) {
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
            let head = Snapshot { last, membership: group.node.membership_applied() };
            let mut frames = Vec::new();
            for (id, place) in self.machine.of_group(group.id) {
                #[cfg(feature = "sabotage")]
                if self.options.sabotage == Some(crate::sabotage::Sabotage::ForgetProducers) {
                    let session = self.machine.sessions.get(*place).without_memory();
                    put_session(&mut frames, id.as_str(), &session, &[]);
                    continue;
                }
                put_session(&mut frames, id.as_str(), self.machine.sessions.get(*place), &[]);
            }
            self.exports.newest += 1;
            let export = Export {
                slot,
                group: group.id,
                to,
                head,
                frames: frames.into(),
                heard_at: now.monotonic,
                offered_at: now.monotonic,
                taken: false,
                fetching: None,
            };
            self.offer(self.exports.newest, &export);
            self.exports.running.insert(self.exports.newest, export);
        }
    }

    /// The first that waits and can be reached. A snapshot for one that cannot would be old when it can.
    fn next_export(&mut self) -> Option<(usize, NodeId)> {
        let place = self.exports.waiting.iter().position(|(slot, to)| {
            self.lives(*to, *slot) || !self.groups[*slot].node.status().role.leads()
        })?;
        self.exports.waiting.remove(place)
    }

    fn offer(&mut self, number: u64, export: &Export) {
        let step = SnapshotStep::Offer {
            number,
            head: export.head.clone(),
            frames: export.frames.len() as u64,
        };
        self.sends.push((export.to, PeerMessage::Snapshot { group: export.group, step }));
    }

    /// Offers again what nobody has answered, and gives up what nobody asks for.
    pub(crate) fn look_at_exports(&mut self, now: Now) {
        let silence = SNAPSHOT_SILENCE_MS * 1_000;
        let over = |export: &Export| silence <= now.monotonic.saturating_sub(export.heard_at);
        let ended: Vec<u64> = self
            .exports
            .running
            .iter()
            .filter(|(_, export)| over(export))
            .map(|(number, _)| *number)
            .collect();
        for number in ended {
            self.end_export(number, now);
        }
        let mut running = std::mem::take(&mut self.exports.running);
        for (number, export) in &mut running {
            let quiet =
                SNAPSHOT_RETRY_MS * 1_000 <= now.monotonic.saturating_sub(export.offered_at);
            if !export.taken && quiet {
                export.offered_at = now.monotonic;
                self.offer(*number, export);
            }
        }
        self.exports.running = running;
        self.start_exports(now);
    }

    /// Lets go of a snapshot; the follower's needs are looked at again.
    fn end_export(&mut self, number: u64, now: Now) {
        let Some(export) = self.exports.running.remove(&number) else { return };
        self.reads.forget(Purpose::Export(number));
        self.groups[export.slot].node.snapshot_ended(export.to);
        self.wake(export.slot);
        self.start_exports(now);
    }

    /// The receiver of a snapshot asks for something, or has enough.
    pub(crate) fn export_step(&mut self, from: NodeId, step: SnapshotStep, now: Now) {
        let number = match &step {
            SnapshotStep::PullFrames { number, .. }
            | SnapshotStep::PullEvents { number, .. }
            | SnapshotStep::End { number, .. } => *number,
            SnapshotStep::Offer { .. }
            | SnapshotStep::Frames { .. }
            | SnapshotStep::Events { .. } => {
                return;
            }
        };
        let Some(export) = self.exports.running.get_mut(&number).filter(|e| e.to == from) else {
            return;
        };
        export.heard_at = now.monotonic;
        export.taken = true;
        match step {
            SnapshotStep::PullFrames { offset, .. } => {
                let begin = usize::try_from(offset).unwrap_or(usize::MAX).min(export.frames.len());
                let end = (begin + SNAPSHOT_PART_BYTES).min(export.frames.len());
                let bytes = export.frames.slice(begin..end);
                let step = SnapshotStep::Frames { number, offset, bytes };
                let message = PeerMessage::Snapshot { group: export.group, step };
                self.sends.push((from, message));
            }
            SnapshotStep::PullEvents { session, after, last, .. } => {
                self.pull_events(number, session, after, last);
            }
            SnapshotStep::End { installed, .. } => {
                self.facts.snapshots_sent += u64::from(installed);
                self.end_export(number, now);
            }
            SnapshotStep::Offer { .. }
            | SnapshotStep::Frames { .. }
            | SnapshotStep::Events { .. } => {}
        }
    }

    /// Sends events of one session from memory, or asks the disk for them.
    fn pull_events(&mut self, number: u64, session: SessionId, after: Seq, last: Seq) {
        let Some(export) = self.exports.running.get_mut(&number) else { return };
        let Some(place) = self.machine.sessions.find(session.as_str()) else { return };
        let known = self.machine.sessions.get(place);
        if known.last_seq < last || last <= after || known.group != export.group {
            return;
        }
        let next = after.next();
        if known.hot_first() <= next {
            let events = hot_events(known, next, SNAPSHOT_PART_BYTES as u64);
            return self.send_events(number, session, events, last);
        }
        if export.fetching.is_some() {
            return;
        }
        let Some(extent) = known.extent_of(next) else { return };
        export.fetching = Some((session.clone(), last));
        let purpose = Purpose::Export(number);
        self.reads.want(Wish { purpose, session, extent, cursor: after });
    }

    /// Events the disk was asked for are here, or cannot be read: then the receiver hears nothing, and
    /// gives up.
    pub(crate) fn export_fetched(&mut self, number: u64, events: Result<Vec<Event>, Damage>) {
        let Some(export) = self.exports.running.get_mut(&number) else { return };
        let Some((session, last)) = export.fetching.take() else { return };
        if let Ok(events) = events {
            self.send_events(number, session, events, last);
        }
    }

    fn send_events(&mut self, number: u64, session: SessionId, events: Vec<Event>, last: Seq) {
        let Some(export) = self.exports.running.get(&number) else { return };
        let Some(first) = events.first().map(|event| event.seq) else { return };
        let wanted = events.into_iter().take_while(|event| event.seq <= last);
        let events = wanted.map(|event| event.json).collect();
        let step = SnapshotStep::Events { number, session, first, events };
        self.sends.push((export.to, PeerMessage::Snapshot { group: export.group, step }));
    }
}
