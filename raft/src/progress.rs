//! One follower as the leader sees it.
//!
//! ```text
//!            an answer that it agrees
//!   Probe ------------------------------> Replicate      several appends under way
//!   one append under way <--------------- |
//!    ^  |        a refusal                |
//!    |  +--- needs what left memory ------+----> Snapshot    the driver sends the state
//!    +------------- the stream has ended ----------+
//! ```

use std::collections::VecDeque;

use crate::log::Log;
use crate::message::{Index, Life, NodeId};

/// What a leader does about a follower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerState {
    /// Finds out where the logs agree, an append at a time.
    Probe,
    /// Sends what there is, several appends ahead.
    Replicate,
    /// Waits for a snapshot to arrive.
    Snapshot,
}

/// A follower, for those who look from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerStatus {
    /// Who.
    pub id: NodeId,
    /// It has acknowledged everything up to here.
    pub matched: Index,
    /// What is done about it.
    pub state: PeerState,
    /// Whether it has answered within an election timeout.
    pub active: bool,
}

/// A follower.
#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) id: NodeId,
    pub(crate) state: PeerState,
    /// It has acknowledged everything up to here, and may count on it.
    pub(crate) matched: Index,
    /// The most it has ever acknowledged: more than `matched` if it may have lost it since.
    pub(crate) acknowledged: Index,
    /// The life in which it was in doubt last, if it ever was.
    pub(crate) life: Option<Life>,
    /// What it says of earlier rounds may be said by an earlier life, and does not count.
    pub(crate) counts_from: u64,
    /// What it is sent next. Invariant: above `matched`, at most one more than our last.
    pub(crate) next: Index,
    /// The last index of each append with entries that is under way, ascending.
    in_flight: VecDeque<Index>,
    /// The highest commit index it was told.
    pub(crate) told: Index,
    /// The newest round it has answered.
    pub(crate) round: u64,
    /// The newest round in which it agreed.
    pub(crate) agreed_round: u64,
    /// Ticks since it was heard.
    pub(crate) silent_ticks: u32,
    /// Whether the driver was told that it needs a snapshot.
    pub(crate) asked_for_snapshot: bool,
}

impl Progress {
    /// A follower of which nothing is known yet: `next` is a guess. What it says counts from a round on.
    pub(crate) fn new(id: NodeId, next: Index, counts_from: u64) -> Progress {
        Progress {
            id,
            state: PeerState::Probe,
            matched: Index(0),
            acknowledged: Index(0),
            life: None,
            counts_from,
            next,
            in_flight: VecDeque::new(),
            told: Index(0),
            round: 0,
            agreed_round: 0,
            silent_ticks: 0,
            asked_for_snapshot: false,
        }
    }

    /// Whether an append with entries may leave now.
    pub(crate) fn wants_entries(&self, log: &Log, in_flight_max: usize) -> bool {
        let room = match self.state {
            PeerState::Probe => self.in_flight.is_empty(),
            PeerState::Replicate => self.in_flight.len() < in_flight_max,
            PeerState::Snapshot => false,
        };
        room && self.next <= log.last().1 && log.floor().1 < self.next
    }

    /// Whether it lacks what has left memory, and nobody was told so far.
    pub(crate) fn wants_snapshot(&self, log: &Log) -> bool {
        self.next <= log.floor().1 && !self.asked_for_snapshot
    }

    /// Whether it can learn of commits that no entries on their way will tell.
    pub(crate) fn wants_news(&self, log: &Log) -> bool {
        self.told < log.committed().min(self.matched) && log.floor().1 <= self.matched
    }

    /// Entries up to `last` are on their way.
    pub(crate) fn sent(&mut self, last: Index) {
        assert!(self.next <= last, "entries are sent in order");
        self.in_flight.push_back(last);
        self.next = last.next();
    }

    /// It has everything up to `matched`.
    pub(crate) fn accepted(&mut self, matched: Index, log: &Log) {
        self.matched = self.matched.max(matched);
        self.acknowledged = self.acknowledged.max(self.matched);
        self.next = self.next.max(self.matched.next());
        while self.in_flight.pop_front_if(|last| *last <= self.matched).is_some() {}
        let within_reach = log.floor().1 < self.next;
        match self.state {
            PeerState::Probe => {
                if self.matched.next() == self.next {
                    self.state = PeerState::Replicate;
                }
            }
            PeerState::Snapshot if within_reach => {
                self.state = PeerState::Replicate;
                self.asked_for_snapshot = false;
            }
            PeerState::Replicate | PeerState::Snapshot => {}
        }
    }

    /// It does not have `previous`; at best it agrees with us up to `agreed`. That it has since agreed to
    /// more shows that the refusal comes late. But a follower that refuses in a later round what it once
    /// acknowledged has lost a part of its log; counting on it would be wrong, and never sending it again
    /// would leave it behind for ever.
    pub(crate) fn rejected(&mut self, (previous, round): (Index, u64), agreed: Index) {
        let is_late = previous <= self.matched && round <= self.agreed_round;
        if is_late || self.state == PeerState::Snapshot {
            return;
        }
        if agreed < self.matched {
            self.matched = agreed;
            self.told = Index(0);
        }
        self.next = agreed.next().min(self.next);
        self.probe();
    }

    /// It lives anew, and its disk may have forgotten what it acknowledged before: it counts for nothing
    /// until it has answered a round that is younger than that.
    ///
    /// No later leader need know of it. What an earlier life acknowledged counts in the term in which it did
    /// alone, and by then that term had its leader.
    pub(crate) fn live_anew(&mut self, life: Life, round: u64) {
        assert!(self.counts_from < round, "a round that nobody has been asked in");
        self.life = Some(life);
        self.counts_from = round;
        self.matched = Index(0);
        self.told = Index(0);
        if self.state == PeerState::Replicate {
            self.probe();
        }
    }

    /// Gives back what memory it does not need now.
    pub(crate) fn give_back(&mut self) {
        self.in_flight.shrink_to_fit();
    }

    #[cfg(test)]
    pub(crate) fn heap_bytes(&self) -> usize {
        self.in_flight.capacity() * size_of::<Index>()
    }

    /// Finds out anew where the logs agree.
    pub(crate) fn probe(&mut self) {
        self.state = PeerState::Probe;
        self.in_flight.clear();
    }

    /// The driver was told that it needs a snapshot.
    pub(crate) fn await_snapshot(&mut self) {
        self.state = PeerState::Snapshot;
        self.asked_for_snapshot = true;
        self.in_flight.clear();
    }

    /// The snapshot has arrived, or will not.
    pub(crate) fn snapshot_ended(&mut self, log: &Log) {
        if self.state == PeerState::Snapshot {
            self.asked_for_snapshot = false;
            self.next = log.last().1.next();
            self.probe();
        }
    }

    /// Whether it was heard within so many ticks.
    pub(crate) fn is_active(&self, ticks: u32) -> bool {
        self.silent_ticks < ticks
    }
}
