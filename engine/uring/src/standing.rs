//! What a node knows of itself and of the nodes beside it, gathered from its shards and from what
//! operators said: for readiness, and for those who ask. Cores look here on their heartbeat, so nothing
//! here wakes anyone.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use model::cluster::NameTag;
use model::ids::{GroupId, Placement, Seq, ShardId};
use model::intent::Intent;
use shard::NodeId;
use shard::cluster::{Cluster, tag};
use shard::effect::{Gauges, Lack};
use shard::neighbours::NeighbourStatus;
use shard::wishes::Wishes;

/// How long a node may be silent before it counts as lost.
const LOST: Duration = Duration::from_secs(120);

/// Whether the server takes requests. The first that applies holds, in the order below but for
/// [`Readiness::Ready`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// Nothing stands in the way.
    Ready,
    /// A stop was asked for, or operators want the node to be relieved.
    Draining,
    /// Some groups should be held here and do not count on it yet, cannot commit, or are behind here.
    Starting {
        /// How many.
        groups_not_ready: u64,
    },
    /// A node without data hears no other that has some and is ready.
    Unconnected,
    /// What operators want of the node is not known yet.
    Unaware,
}

/// What readiness follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grounds {
    /// A stop was asked for, or operators want the node to be relieved.
    pub(crate) draining: bool,
    /// The node holds no data.
    pub(crate) router: bool,
    /// Groups that should be held here and do not count on it yet, cannot commit, or are behind here; a
    /// shard that has said nothing counts as one.
    pub(crate) groups_not_ready: u64,
    /// Whether another node that holds data is ready.
    pub(crate) hears_ready: bool,
    /// Whether it is known what operators want.
    pub(crate) aware: bool,
}

impl Readiness {
    /// The contract's order of reasons.
    pub(crate) fn of(grounds: Grounds) -> Readiness {
        let Grounds { draining, router, groups_not_ready, hears_ready, aware } = grounds;
        match () {
            () if draining => Readiness::Draining,
            () if router && !hears_ready => Readiness::Unconnected,
            () if !router && 0 < groups_not_ready => Readiness::Starting { groups_not_ready },
            () if !aware => Readiness::Unaware,
            () => Readiness::Ready,
        }
    }
}

/// What a shard says of itself, every half second at least.
#[derive(Debug, Clone, Default)]
pub struct ShardStanding {
    /// How full it is.
    pub gauges: Gauges,
    /// A group that the node cannot serve as it should, and why.
    pub failing: Option<(GroupId, Lack)>,
    /// Its groups: who leads, as far as is known here, and whether this node holds a copy.
    pub groups: Vec<(GroupId, Option<NodeId>, bool)>,
}

/// How another node is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// It gives signs of life.
    Alive {
        /// Whether it votes in all it should hold, and all that can commit and is caught up, as it says
        /// itself, and it is not about to stop.
        ready: bool,
        /// The last of operators' words that it knows.
        intent: Seq,
    },
    /// It has been silent for less than two minutes.
    Suspect,
    /// It has been silent for longer.
    Lost,
}

/// What all cores of a node share about it.
#[derive(Debug)]
pub struct Standing {
    own: NameTag,
    alone: bool,
    began: Instant,
    shards: Vec<Mutex<Option<ShardStanding>>>,
    neighbours: Mutex<Neighbours>,
    wanted: Mutex<Wanted>,
    /// The last word that was said at this node.
    said: AtomicU64,
    leaving: AtomicBool,
    /// Grows whenever shards must be told what is wanted.
    revision: AtomicU64,
    /// Whether a client's write has timed out since all groups were last seen to be ready.
    write_timed_out: AtomicBool,
}

#[derive(Debug, Default)]
struct Neighbours {
    statuses: Vec<NeighbourStatus>,
    /// When each name was last alive.
    alive_at: BTreeMap<NameTag, Instant>,
}

/// What operators want, as far as is known here.
#[derive(Debug)]
struct Wanted {
    intent: Intent,
    /// Whether that was ever known to be all they said.
    complete: bool,
    /// The nodes that should hold data.
    write: Vec<NameTag>,
}

impl Wanted {
    /// The nodes that are to be relieved, each with the word from which on it is.
    fn relieved(&self) -> impl Iterator<Item = (NameTag, Seq)> {
        let draining = self.intent.draining().iter().map(|(node, since)| (node.tag(), *since));
        draining.filter(|(node, _)| self.write.contains(node))
    }
}

impl Standing {
    /// A node's, before its shards have said anything. `cluster` and `intent` are as it knew them when
    /// it ran last.
    pub(crate) fn new(placement: Placement, cluster: &Cluster, intent: Intent) -> Standing {
        let own = tag(cluster.own);
        let wanted = Wanted { intent, complete: false, write: cluster.write.clone() };
        Standing {
            own,
            alone: cluster.is_alone(),
            began: Instant::now(),
            shards: (0..placement.shards()).map(|_| Mutex::default()).collect(),
            neighbours: Mutex::default(),
            wanted: Mutex::new(wanted),
            said: AtomicU64::new(0),
            leaving: AtomicBool::new(false),
            revision: AtomicU64::new(0),
            write_timed_out: AtomicBool::new(false),
        }
    }

    /// Whether the server takes requests.
    pub fn readiness(&self) -> Readiness {
        let write = lock(&self.wanted).write.clone();
        let others = write.iter().filter(|name| **name != self.own);
        let is_ready = |name: &NameTag| {
            matches!(self.sight(*name), Sight::Alive { ready: true, .. })
                && !self.is_relieved(*name)
        };
        Readiness::of(Grounds {
            draining: self.leaving() || self.is_relieved(self.own),
            router: self.is_router(),
            groups_not_ready: self.groups_not_ready(),
            hears_ready: others.into_iter().any(is_ready),
            aware: self.alone || lock(&self.wanted).complete,
        })
    }

    /// Whether the node should hold no data.
    pub fn is_router(&self) -> bool {
        !lock(&self.wanted).write.contains(&self.own)
    }

    fn groups_not_ready(&self) -> u64 {
        let failing: u64 =
            self.shards().map(|shard| shard.map_or(1, |s| s.gauges.groups_not_ready)).sum();
        failing.max(u64::from(self.write_timed_out()))
    }

    /// What each shard last said; `None` for one that has said nothing yet.
    pub fn shards(&self) -> impl Iterator<Item = Option<ShardStanding>> {
        self.shards.iter().map(|shard| lock(shard).clone())
    }

    /// A shard says how it is doing.
    pub(crate) fn report(&self, shard: ShardId, standing: ShardStanding) {
        *lock(&self.shards[shard.0 as usize]) = Some(standing);
        let ready = |shard: Option<ShardStanding>| shard.is_some_and(|s| s.failing.is_none());
        if self.write_timed_out() && self.shards().all(ready) {
            self.write_timed_out.store(false, Ordering::Relaxed);
        }
    }

    /// Groups led here that another node could lead. A shard that has not yet said so of what is wanted now
    /// counts for one at least.
    pub fn groups_to_give(&self) -> u64 {
        let revision = self.revision();
        let to_give =
            |gauges: Gauges| gauges.groups_to_give.max(u64::from(gauges.wishes < revision));
        self.shards().map(|shard| shard.map_or(1, |shard| to_give(shard.gauges))).sum()
    }

    /// Notes that nobody knows what became of a client's write: the node counts as not ready until all
    /// groups are seen to be ready again. A node alone has nobody else to send clients to.
    pub fn note_write_timeout(&self) {
        self.write_timed_out.store(!self.alone, Ordering::Relaxed);
    }

    /// Whether a write has timed out since all groups were last seen to be ready.
    pub fn write_timed_out(&self) -> bool {
        self.write_timed_out.load(Ordering::Relaxed)
    }

    /// What a shard hears of other nodes.
    pub(crate) fn report_neighbours(&self, statuses: Vec<NeighbourStatus>) {
        let mut neighbours = lock(&self.neighbours);
        let now = Instant::now();
        for status in statuses.iter().filter(|status| status.lives) {
            neighbours.alive_at.insert(tag(status.node), now);
        }
        // One that was alive before that counts as lost, known or not.
        neighbours.alive_at.retain(|_, at| now.duration_since(*at) < LOST);
        neighbours.statuses = statuses;
    }

    /// How another node is seen.
    pub fn sight(&self, name: NameTag) -> Sight {
        let neighbours = lock(&self.neighbours);
        let alive = |status: &&NeighbourStatus| tag(status.node) == name && status.lives;
        if let Some(status) = neighbours.statuses.iter().find(alive) {
            let ready = status.ready && !status.relieved;
            return Sight::Alive { ready, intent: Seq(status.intent) };
        }
        let since = neighbours.alive_at.get(&name).copied().unwrap_or(self.began);
        if since.elapsed() < LOST { Sight::Suspect } else { Sight::Lost }
    }

    /// What operators want, as far as is known here.
    pub fn intent(&self) -> Intent {
        lock(&self.wanted).intent.clone()
    }

    /// Says what operators want, which nodes are to hold data then, and whether that is all they said
    /// until a moment ago.
    pub fn set_intent(&self, intent: &Intent, write: Vec<NameTag>, complete: bool) {
        let mut known = lock(&self.wanted);
        let is_news = known.intent != *intent || known.write != write;
        if is_news || (complete && !known.complete) {
            *known = Wanted { intent: intent.clone(), complete: known.complete || complete, write };
            // Before anybody sees what is wanted: shards that do not know it yet are told apart by this.
            self.revision.fetch_add(1, Ordering::Release);
        }
    }

    /// Whether it was ever known to be all that operators said, and nobody says that there is more.
    pub fn is_up_to_date(&self) -> bool {
        lock(&self.wanted).complete && !self.is_behind()
    }

    /// Notes that a word was said at this node.
    pub fn note_said(&self, seq: Seq) {
        self.said.fetch_max(seq.0, Ordering::Relaxed);
    }

    /// Whether operators have said more than this node knows, as it or another one has heard.
    pub fn is_behind(&self) -> bool {
        let known = lock(&self.wanted).intent.seq().0;
        let statuses = &lock(&self.neighbours).statuses;
        let heard = statuses.iter().filter(|status| status.lives).map(|status| status.intent);
        known < heard.max().unwrap_or(0).max(self.said.load(Ordering::Relaxed))
    }

    /// Whether operators want a node to be relieved. Of a node that is to hold no data that means nothing.
    pub fn is_relieved(&self, name: NameTag) -> bool {
        lock(&self.wanted).relieved().any(|(node, _)| node == name)
    }

    /// Whether the node is relieved: operators want it, it leads nothing that another could lead, and
    /// every node that is alive knows.
    pub fn is_drained(&self) -> bool {
        let own = lock(&self.wanted).relieved().find(|(node, _)| *node == self.own);
        let Some((_, since)) = own else { return false };
        let statuses = lock(&self.neighbours).statuses.clone();
        let everybody = statuses.iter().filter(|s| s.lives).all(|s| since.0 <= s.intent);
        everybody && self.groups_to_give() == 0
    }

    /// Hands leaderships away from now on, whatever operators want: the node is about to stop.
    pub(crate) fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
        self.revision.fetch_add(1, Ordering::Release);
    }

    /// Whether the node is about to stop.
    pub(crate) fn leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    /// Whether there is no other node.
    pub fn is_alone(&self) -> bool {
        self.alone
    }

    /// Changes whenever operators want something else.
    pub fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }

    /// What shards are told.
    pub(crate) fn wishes(&self) -> Wishes {
        // Looked at first: what is wanted may be newer than its number, and is told once more then.
        let number = self.revision();
        let wanted = lock(&self.wanted);
        let intent = &wanted.intent;
        let mut relieved: Vec<NameTag> = wanted.relieved().map(|(node, _)| node).collect();
        if self.leaving() && !relieved.contains(&self.own) {
            relieved.push(self.own);
        }
        Wishes {
            number,
            seq: intent.seq().0,
            complete: wanted.complete,
            write: wanted.write.clone(),
            relieved,
            preferred: intent
                .preferred()
                .iter()
                .map(|(group, node)| (*group, node.tag()))
                .collect(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
