//! The shard: owns groups, log, sessions and tails. `step` takes a cause and changes state, `settle`
//! speaks once for all causes of a turn.
//!
//! What it does is told in other files: `requests` (what clients ask), `commit` (entries to the log,
//! committed ones to the sessions), `neighbours` (other nodes' signs of life, leadership), `rest`
//! (which groups time passes for), `wishes` (what operators want), `members` (who belongs to a group),
//! `export` and `import` (snapshots), `handouts` and `repairs` (events of other replicas), `storage` (the log's turn, and
//! what the disk has done).

use std::collections::{BTreeMap, VecDeque};

use model::api::Reply;
use model::error::{Code, Refusal};
use model::ids::{GroupId, Now, Placement, ShardId};
use model::limits::{LOG_KEPT_BYTES_PER_SHARD, SEGMENT_BYTES};
use raft::{Message, NodeId, Receipt, Role};
use rkyv::util::AlignedVec;

use crate::checkpoint::put_session;
use crate::cluster::{Cluster, tag};
use crate::effect::{
    BatchNumber, DiskOp, Effect, Facts, FileName, Gauges, Input, Lack, SegmentNumber, Ticket,
};
use crate::export::Exports;
use crate::flush::Flush;
use crate::group::Group;
use crate::handouts::Handouts;
use crate::import::{Import, Offers};
use crate::machine::Machine;
use crate::neighbours::{NeighbourStatus, Neighbours};
use crate::pace::Pace;
use crate::pages::{Lists, Pages};
use crate::peer::PeerMessage;
use crate::reads::{Purpose, Reads};
use crate::repairs::Repairs;
use crate::rest::Restless;
#[cfg(feature = "sabotage")]
use crate::sabotage::Sabotage;
use crate::storage::Room;
use crate::tails::Tails;
use crate::wal::{LogIdentity, Wal};
use crate::wishes::Wishes;

/// Snapshots one life of a shard can send for each batch of its log: more than it can make.
const EXPORT_NUMBER_BITS: u32 = 20;

/// What a shard is told once.
#[derive(Debug, Clone)]
pub struct Options {
    /// How sessions map to groups and groups to shards.
    pub placement: Placement,
    /// This shard.
    pub shard: ShardId,
    /// Names the log among all logs.
    pub log_id: u64,
    /// A number that no other life of this node has, but for luck: messages to an earlier one may still
    /// be under way.
    pub life: u64,
    /// Bytes of events the shard may hold in memory before it refuses appends.
    pub hot_bytes_max: u64,
    /// Bytes of one log segment; `SEGMENT_BYTES` but in tests.
    pub segment_bytes: u64,
    /// Bytes of applied entries kept in memory for followers that are behind.
    pub log_kept_bytes: usize,
    /// The node's place among others.
    pub cluster: Cluster,
    /// A rule to break.
    #[cfg(feature = "sabotage")]
    pub sabotage: Option<crate::sabotage::Sabotage>,
}

impl Options {
    /// What a server tells a shard: which it is, what names its log (and which of its lives this is), how
    /// many bytes of events it may hold, and its node's place. All else is as it is everywhere.
    pub fn new(
        placement: Placement,
        shard: ShardId,
        (log_id, life): (u64, u64),
        hot_bytes_max: u64,
        cluster: Cluster,
    ) -> Options {
        Options {
            placement,
            shard,
            log_id,
            life,
            hot_bytes_max,
            segment_bytes: SEGMENT_BYTES,
            log_kept_bytes: LOG_KEPT_BYTES_PER_SHARD,
            cluster,
            #[cfg(feature = "sabotage")]
            sabotage: None,
        }
    }

    /// Whose log it is.
    pub fn identity(&self) -> LogIdentity {
        LogIdentity { log_id: self.log_id, shard: self.shard }
    }
}

/// One shard.
#[derive(Debug)]
pub struct Shard {
    pub(crate) options: Options,
    /// By slot: the shard's groups are every `shards`-th of all.
    pub(crate) groups: Vec<Group>,
    /// Slots of groups that are awake.
    pub(crate) awake: Vec<usize>,
    pub(crate) machine: Machine,
    pub(crate) wal: Wal,
    pub(crate) flush: Flush,
    pub(crate) tails: Tails,
    pub(crate) reads: Reads,
    pub(crate) pages: Pages,
    pub(crate) lists: Lists,
    pub(crate) neighbours: Neighbours,
    pub(crate) wishes: Wishes,
    pub(crate) exports: Exports,
    pub(crate) handouts: Handouts,
    pub(crate) repairs: Repairs,
    /// Snapshots that are offered and wait for their turn, by group.
    pub(crate) offers: Offers,
    /// The snapshot that is being taken over.
    pub(crate) import: Option<Import>,
    /// Files of snapshots taken over that no checkpoint covers: group and last index of each.
    pub(crate) snapshot_files: BTreeMap<u64, (GroupId, u64)>,
    /// Files of earlier lives that nothing names. They stay until the log's first batch of this life is
    /// durable: before, a batch of the life before may land late, and name them.
    pub(crate) unnamed: Vec<FileName>,
    /// What waits for a batch that is not yet durable, in batch order.
    pub(crate) parked: VecDeque<Parked>,
    pub(crate) replies: Vec<(Ticket, Reply)>,
    pub(crate) sends: Vec<(NodeId, PeerMessage)>,
    pub(crate) ops: Vec<DiskOp>,
    /// Slots of groups with reads that came in this turn.
    pub(crate) gathering: Vec<usize>,
    /// Names rounds for reads.
    pub(crate) next_context: u64,
    /// Requests proposed and not yet applied.
    pub(crate) pending_requests: usize,
    pub(crate) pending_bytes: usize,
    /// When the log last had something to do.
    pub(crate) log_active_at: u64,
    /// When to try again after there was no room for a segment.
    pub(crate) segment_retry_at: Option<u64>,
    /// When to try again after there was no room for a flush; until one is whole.
    pub(crate) flush_retry_at: Option<u64>,
    /// What the disk's room means for the groups here and elsewhere.
    pub(crate) room: Room,
    pub(crate) pace: Pace,
    /// Whether background work can go on without waiting for anything.
    pub(crate) more_work: bool,
    /// Whether a flush would find anything new.
    pub(crate) changed_since_flush: bool,
    /// Whether the log is long and a flush would let a part of it go.
    pub(crate) flush_due: bool,
    /// The segment the log was in when it was last looked at for that.
    pub(crate) looked_at: Option<SegmentNumber>,
    /// Since when entries that are not applied keep the oldest segment.
    pub(crate) pinned_since: Option<u64>,
    /// Groups whose entries are being written once more: the batch that ends it, and the segment it
    /// began in.
    pub(crate) rewriting: Vec<(GroupId, BatchNumber, SegmentNumber)>,
    /// The segment in which a group's entries were last written once more to their end.
    pub(crate) rewritten: BTreeMap<GroupId, SegmentNumber>,
    pub(crate) scratch: AlignedVec,
    pub(crate) facts: Facts,
    pub(crate) restless: Restless,
}

/// What waits for a batch: a receipt for the group's node, and what it may then say.
#[derive(Debug)]
pub(crate) struct Parked {
    pub(crate) batch: BatchNumber,
    pub(crate) slot: usize,
    pub(crate) receipt: Receipt,
    pub(crate) messages: Vec<Message>,
}

impl Shard {
    pub(crate) fn assemble(
        options: Options,
        groups: Vec<Group>,
        machine: Machine,
        (wal, flush): (Wal, Flush),
    ) -> Shard {
        let newest = wal.durable_batch();
        #[cfg(feature = "sabotage")]
        let newest = match options.sabotage {
            Some(Sabotage::RepeatSnapshotNumbers) => BatchNumber(0),
            _ => newest,
        };
        Shard {
            next_context: options.life,
            wishes: Wishes::of(&options.cluster),
            options,
            awake: (0..groups.len()).collect(),
            restless: Restless::new(groups.len()),
            groups,
            machine,
            wal,
            flush,
            tails: Tails::default(),
            reads: Reads::default(),
            pages: Pages::default(),
            lists: Lists::default(),
            neighbours: Neighbours::default(),
            // A life that sends snapshots has led, and so has written at least a batch.
            exports: Exports::new(newest.0 << EXPORT_NUMBER_BITS),
            handouts: Handouts::default(),
            repairs: Repairs::default(),
            offers: Offers::default(),
            import: None,
            snapshot_files: BTreeMap::new(),
            unnamed: Vec::new(),
            parked: VecDeque::new(),
            replies: Vec::new(),
            sends: Vec::new(),
            ops: Vec::new(),
            gathering: Vec::new(),
            pending_requests: 0,
            pending_bytes: 0,
            log_active_at: 0,
            segment_retry_at: None,
            flush_retry_at: None,
            room: Room::default(),
            pace: Pace::default(),
            more_work: false,
            changed_since_flush: false,
            flush_due: false,
            looked_at: None,
            pinned_since: None,
            rewriting: Vec::new(),
            rewritten: BTreeMap::new(),
            scratch: AlignedVec::new(),
            facts: Facts::default(),
        }
    }

    /// Takes a cause. Changes state, does nothing.
    pub fn step(&mut self, input: Input, now: Now) {
        match input {
            Input::Request { ticket, request } => self.request(ticket, request, now),
            Input::TailOpen { tail, open } => self.tail_open(tail, open),
            Input::TailCredit { tail, bytes } => self.tails.credit(tail, bytes),
            Input::TailClose { tail } => {
                self.tails.close(tail, &mut self.machine);
                self.reads.forget(Purpose::Tail(tail));
                self.repairs.forget(Purpose::Tail(tail));
            }
            Input::Disk(completion) => self.completed(completion, now),
            Input::Peer { from, message } => self.peer(from, message, now),
            Input::Link { node, up } => self.link(node, up, now),
            Input::Intent(wishes) => self.intent(wishes),
            Input::Tick => self.tick(now),
        }
    }

    /// Acts once for all causes of a turn. A second call in a row has nothing to add but the next
    /// slice of background work.
    pub fn settle(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.ask_rounds(now);
        self.drain_groups(now);
        let groups = &self.groups;
        let placement = self.options.placement;
        let led = |group: GroupId| groups[(group.0 / placement.shards()) as usize].is_serving();
        if let Some((ticket, reply)) = self.lists.work(&self.machine.sessions, led) {
            self.replies.push((ticket, reply));
        }
        self.work_on_import(now);
        self.work_on_repairs(now);
        self.work_on_flush(now);
        self.write_log(now);
        self.tails.pump(now.monotonic, &mut self.machine, &mut self.reads);
        self.ops.append(&mut self.reads.ops);
        let sends = self.sends.drain(..);
        effects.extend(sends.map(|(to, message)| Effect::Send { to, message }));
        effects.extend(self.ops.drain(..).map(Effect::Disk));
        let replies = self.replies.drain(..);
        effects.extend(replies.map(|(ticket, reply)| Effect::Reply { ticket, reply }));
        let messages = self.tails.messages.drain(..);
        effects.extend(messages.map(|(tail, message)| Effect::Tail { tail, message }));
    }

    /// Whether the next turn should follow at once: background work can go on without an input.
    pub fn has_work(&self) -> bool {
        self.more_work || !self.lists.is_empty()
    }

    /// Whether something waits for time to pass: ticks should come every few milliseconds.
    pub fn busy(&self) -> bool {
        self.has_work()
            || self.flush.is_running()
            || self.wal.in_flight().is_some()
            || self.wal.wants_mark()
            || self.tails.has_stalled()
            || self.no_space()
            || !self.is_ready()
    }

    /// What happened since the shard was opened.
    pub fn facts(&self) -> Facts {
        Facts {
            tail_events: self.tails.events_sent,
            tails_too_slow: self.tails.too_slow,
            ..self.facts
        }
    }

    /// Whether this node has its vote in every group it should hold, every group held here can commit and
    /// is caught up, and what comes in finds room, as of the last turn.
    pub fn is_ready(&self) -> bool {
        self.restless.failing() == 0 && !self.room.is_lacking
    }

    /// The other nodes as this shard hears them.
    pub fn neighbours(&self) -> Vec<NeighbourStatus> {
        self.neighbours.statuses()
    }

    /// How full the shard is. Looks at every group.
    pub fn gauges(&self) -> Gauges {
        let own = self.options.cluster.own;
        let count =
            |is: &dyn Fn(&Group) -> bool| self.groups.iter().filter(|g| is(g)).count() as u64;
        let hosted = count(&|group| group.is_hosted(own));
        let unwritable = if self.room.is_lacking { hosted.max(1) } else { 0 };
        Gauges {
            sessions: self.machine.sessions.len() as u64,
            tails: self.tails.len() as u64,
            hot_bytes: self.machine.hot_bytes,
            log_segments: self.wal.segments_in_use() as u64,
            groups_not_ready: (self.restless.failing() as u64).max(unwritable),
            groups_hosted: hosted,
            groups_checked: count(&|group| {
                group.is_hosted(own) || group.wanted.contains(&tag(own))
            }),
            groups_led: count(&|group| group.node.status().role == Role::Leader),
            groups_to_give: count(&|group| self.could_be_given(group)),
            wishes: self.wishes.number,
            groups_quiet: (self.groups.len() - self.restless.ticking()) as u64,
            no_space: self.no_space(),
            slow: self.is_slow(),
        }
    }

    /// Whether a group is led here that another node could lead.
    fn could_be_given(&self, group: &Group) -> bool {
        let own = self.options.cluster.own;
        let could = |id: &&NodeId| **id != own && self.takes(**id, group.id);
        group.node.status().role == Role::Leader
            && group.node.membership().voters.iter().any(|id| could(&id))
    }

    /// A group that this node cannot serve as it should, and why.
    pub fn failing(&self) -> Option<(GroupId, Lack)> {
        let own = self.options.cluster.own;
        let found = self.groups.iter().find_map(|group| Some((group.id, group.lack(own)?)));
        let unwritable = self.groups.first().filter(|_| self.room.is_lacking);
        found.or_else(|| Some((unwritable?.id, Lack::Room)))
    }

    /// Who leads each of the shard's groups, as far as is known here, and whether it is hosted here.
    pub fn leaders(&self) -> impl Iterator<Item = (GroupId, Option<NodeId>, bool)> {
        let own = self.options.cluster.own;
        self.groups
            .iter()
            .map(move |group| (group.id, group.node.status().leader, group.is_hosted(own)))
    }

    /// How each of the shard's groups is doing.
    pub fn statuses(&self) -> impl Iterator<Item = (GroupId, raft::Status)> {
        self.groups.iter().map(|group| (group.id, group.node.status()))
    }

    /// Who belongs to each of the shard's groups.
    pub fn memberships(&self) -> impl Iterator<Item = &raft::Membership> {
        self.groups.iter().map(|group| &**group.node.membership())
    }

    /// What a group's sessions are and have, in one number, and the last entry applied to them: replicas
    /// that have applied as much have the same. Where events are kept does not count.
    pub fn digest(&self, group: GroupId) -> (raft::Index, u64) {
        let mut sessions: Vec<_> = self.machine.of_group(group).iter().collect();
        sessions.sort_unstable();
        let mut frame = Vec::new();
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for (id, place) in sessions {
            frame.clear();
            put_session(&mut frame, id.as_str(), self.machine.sessions.get(*place), &[]);
            for byte in &frame {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        }
        (self.groups[self.slot_of(group)].applied().1, hash)
    }

    /// Whether the disk had no room for a segment of the log, or for what memory is to be relieved of, when
    /// it was asked last.
    pub fn no_space(&self) -> bool {
        self.segment_retry_at.is_some() || self.flush_retry_at.is_some()
    }

    /// Whether the shard has too little of a CPU to lead anything that another node can lead.
    pub fn is_slow(&self) -> bool {
        self.pace.is_slow()
    }

    /// The slot of a group of this shard.
    pub(crate) fn slot_of(&self, group: GroupId) -> usize {
        assert_eq!(self.options.placement.shard(group), self.options.shard, "routed here");
        ((group.0 - self.options.shard.0) / self.options.placement.shards()) as usize
    }

    /// The slot of the group that decides about a session.
    pub(crate) fn home(&self, session: &str) -> usize {
        self.slot_of(self.options.placement.group(session))
    }

    /// Looks at a group before the turn ends.
    pub(crate) fn wake(&mut self, slot: usize) {
        if !std::mem::replace(&mut self.groups[slot].awake, true) {
            self.awake.push(slot);
        }
    }

    pub(crate) fn refuse(&mut self, ticket: Ticket, code: Code) {
        if code == Code::EventStoreBackpressure {
            self.facts.backpressure += 1;
        }
        self.replies.push((ticket, Refusal::from(code).into()));
    }
}
