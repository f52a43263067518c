//! Leading: appending, replicating, committing.

use std::sync::Arc;

use crate::log::Log;
use crate::message::{Body, Entry, Index, NodeId, Term};
use crate::node::{Node, State};
use crate::quorum;

/// The most bytes of entries in one append, unless a single one is longer.
pub(crate) const APPEND_BYTES_MAX: usize = 1 << 20;

/// One follower as the leader sees it. One append with entries is under way at a time; a heartbeat
/// asks for its end, so a lost one is found out.
#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) id: NodeId,
    /// It has acknowledged everything up to here.
    pub(crate) matched: Index,
    /// What it is sent next. Invariant: above `matched`, at most one more than our last.
    pub(crate) next: Index,
    /// Whether entries below `next` are under way.
    pub(crate) is_waiting: bool,
    /// The highest commit index it was told.
    pub(crate) told: Index,
}

impl Progress {
    fn wants_entries(&self, log: &Log) -> bool {
        // A follower that needs what has left memory is beyond help by appends.
        !self.is_waiting && self.next <= log.last().1 && log.floor().1 < self.next
    }

    /// Whether it can learn of commits that no entries on their way will tell.
    fn wants_news(&self, log: &Log) -> bool {
        self.told < log.committed().min(self.matched) && log.floor().1 <= self.matched
    }
}

impl Node {
    /// Begins to lead the current term, with an entry of its own: entries of older terms are never
    /// committed by counting, only beneath it.
    pub(crate) fn lead(&mut self) {
        let next = self.log.last().1.next();
        let progress = |&id: &NodeId| Progress {
            id,
            matched: Index(0),
            next,
            is_waiting: false,
            told: Index(0),
        };
        let peers = self.voters.iter().filter(|&&id| id != self.id);
        self.state = State::Leader(peers.map(progress).collect());
        self.leader = Some(self.id);
        self.elapsed = 0;
        self.append_own(Arc::new([]));
    }

    /// Adds an entry of our own term.
    pub(crate) fn append_own(&mut self, payload: Arc<[u8]>) -> (Term, Index) {
        assert!(matches!(self.state, State::Leader(_)), "only a leader makes entries");
        let entry = Entry { term: self.term(), index: self.log.last().1.next(), payload };
        let position = entry.position();
        self.log.append(entry);
        position
    }

    /// Whether some follower is to be sent something now.
    pub(crate) fn has_appends(&self) -> bool {
        let State::Leader(peers) = &self.state else {
            return false;
        };
        peers.iter().any(|peer| peer.wants_entries(&self.log) || peer.wants_news(&self.log))
    }

    /// Sends each follower what it lacks. Called once per Ready, so that what was proposed since the
    /// last one travels together.
    pub(crate) fn send_appends(&mut self) {
        let State::Leader(peers) = &mut self.state else {
            return;
        };
        let mut appends = Vec::new();
        for peer in peers {
            let body = if peer.wants_entries(&self.log) {
                continue_with_entries(&self.log, peer, self.append_bytes_max)
            } else if peer.wants_news(&self.log) {
                // Continues what it surely has, so that it is believed at once.
                continue_from(&self.log, peer.matched)
            } else {
                continue;
            };
            peer.told = self.log.committed();
            appends.push((peer.id, body));
        }
        for (to, body) in appends {
            self.send(to, body);
        }
    }

    /// Tells all followers that we are here. They are asked for the end of what they were sent: one
    /// that has lost it refuses, one whose acknowledgement was lost repeats it.
    pub(crate) fn send_heartbeats(&mut self) {
        self.elapsed = 0;
        let State::Leader(peers) = &mut self.state else {
            return;
        };
        let mut heartbeats = Vec::with_capacity(peers.len());
        for peer in peers {
            let previous = Index(peer.next.0 - 1).max(self.log.floor().1);
            peer.told = self.log.committed().min(previous);
            heartbeats.push((peer.id, continue_from(&self.log, previous)));
        }
        for (to, body) in heartbeats {
            self.send(to, body);
        }
    }

    /// A follower has everything up to `matched`.
    pub(crate) fn on_accepted(&mut self, from: NodeId, matched: Index) {
        let last = self.log.last().1;
        let Some(peer) = self.peer(from) else {
            return;
        };
        if last < matched {
            return;
        }
        peer.matched = peer.matched.max(matched);
        peer.next = peer.next.max(matched.next());
        if peer.matched.next() == peer.next {
            peer.is_waiting = false;
        }
        self.advance_commit();
    }

    /// A follower does not have `previous`; at best it agrees with us up to `hint`.
    pub(crate) fn on_rejected(&mut self, from: NodeId, previous: Index, hint: (Term, Index)) {
        let agreeable = self.log.last_agreeable(hint).1;
        let Some(peer) = self.peer(from) else {
            return;
        };
        // A refusal of something that it has acknowledged since is late.
        if peer.matched < previous {
            peer.next = agreeable.min(hint.1).next().min(peer.next).max(peer.matched.next());
            peer.is_waiting = false;
        }
    }

    /// Our own disk has come further: it counts as one vote like any other.
    pub(crate) fn count_own_entries(&mut self) {
        if matches!(self.state, State::Leader(_)) {
            self.advance_commit();
        }
    }

    /// Commits what a quorum holds, if it ends in our own term (paper, 5.4.2).
    fn advance_commit(&mut self) {
        let State::Leader(peers) = &self.state else {
            return;
        };
        let matched = |id: NodeId| match peers.iter().find(|peer| peer.id == id) {
            Some(peer) => peer.matched,
            None => self.log.durable(),
        };
        let held = quorum::committed(&self.voters, matched);
        if self.log.committed() < held && self.log.term_at(held) == Some(self.term()) {
            self.log.commit(held);
        }
    }

    fn peer(&mut self, id: NodeId) -> Option<&mut Progress> {
        match &mut self.state {
            State::Leader(peers) => peers.iter_mut().find(|peer| peer.id == id),
            State::Follower | State::Candidate(_) => None,
        }
    }
}

/// An append with the entries a follower lacks, which is waited for from now on.
fn continue_with_entries(log: &Log, peer: &mut Progress, bytes_max: usize) -> Body {
    let entries = log.entries_from(peer.next, bytes_max);
    let (previous, committed) = (place(log, Index(peer.next.0 - 1)), log.committed());
    peer.next = entries.last().expect("a follower that wants entries gets one").index.next();
    peer.is_waiting = true;
    Body::Append { previous, entries, committed }
}

/// An append without entries.
fn continue_from(log: &Log, previous: Index) -> Body {
    let (previous, committed) = (place(log, previous), log.committed());
    Body::Append { previous, entries: Vec::new(), committed }
}

fn place(log: &Log, index: Index) -> (Term, Index) {
    let term = log.term_at(index).expect("appends continue what is in memory");
    (term, index)
}
