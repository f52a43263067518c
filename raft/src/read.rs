//! Reads that see everything acknowledged before they were asked for (thesis, 6.4). A leader notes its
//! commit index and then proves by a round of heartbeats that it still leads; a follower asks its
//! leader. The state may be read once that index is applied.

use std::collections::VecDeque;

use crate::leader::{Leadership, continue_from};
use crate::limits::{READS_MAX, ROUNDS_REMEMBERED};
use crate::message::{Body, Index, NodeId};
use crate::node::{Node, State};
use crate::quorum;
#[cfg(feature = "sabotage")]
use crate::sabotage::Sabotage;

/// A read a follower has asked its leader about.
#[derive(Debug)]
pub(crate) struct Asked {
    context: u64,
    ticks: u32,
}

/// Who asked: this node's driver, or another node.
#[derive(Debug, Clone, Copy)]
struct Asker {
    from: Option<NodeId>,
    context: u64,
}

/// A leader's reads, and the rounds that prove that it leads.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    /// The newest round begun; 0 is before all.
    newest: u64,
    /// Reads for which no round has begun.
    fresh: Vec<Asker>,
    /// Reads that wait for a round, with the commit index of its beginning, oldest first.
    waiting: VecDeque<(u64, Index, Vec<Asker>)>,
    /// Ticks since this node leads, not counting rest.
    clock: u64,
    /// When recent rounds began.
    begun: VecDeque<(u64, u64)>,
    /// Until when the clock surely finds no other leader, if leases are trusted.
    lease_until: u64,
    /// Somebody may stand although we are heard.
    lease_void: bool,
}

impl Rounds {
    pub(crate) fn current(&self) -> u64 {
        self.newest
    }

    pub(crate) fn tick(&mut self) {
        self.clock += 1;
    }

    /// Begins a round: whoever answers it knew this leader after now.
    pub(crate) fn begin(&mut self) -> u64 {
        self.newest += 1;
        self.begun.push_back((self.newest, self.clock));
        if ROUNDS_REMEMBERED < self.begun.len() {
            self.begun.pop_front();
        }
        self.newest
    }

    pub(crate) fn has_fresh(&self) -> bool {
        !self.fresh.is_empty()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.waiting.is_empty()
    }

    /// Gives back what memory it does not need now.
    pub(crate) fn give_back(&mut self) {
        self.begun = VecDeque::new();
        self.waiting.shrink_to_fit();
    }

    #[cfg(test)]
    pub(crate) fn heap_bytes(&self) -> usize {
        self.begun.capacity() * size_of::<(u64, u64)>()
            + self.waiting.capacity() * size_of::<(u64, Index, Vec<Asker>)>()
    }

    pub(crate) fn forget_lease(&mut self) {
        self.lease_until = 0;
        self.begun.clear();
    }

    /// There is no lease until another leads.
    pub(crate) fn void_lease(&mut self) {
        self.lease_void = true;
    }

    fn has_lease(&self) -> bool {
        !self.lease_void && self.clock < self.lease_until
    }

    fn count(&self) -> usize {
        self.fresh.len() + self.waiting.iter().map(|(_, _, askers)| askers.len()).sum::<usize>()
    }
}

impl Node {
    /// Asks how far the state machine must have come to show everything acknowledged by now. Answered by
    /// a [`Read`](crate::Read) with the same context in some later Ready, within an election timeout of
    /// ticks on a node that does not lead; on a leader when a quorum has answered or it leads no longer.
    /// No two reads of a node have the same context, not even in two of its lives: an answer may come
    /// late.
    pub fn read(&mut self, context: u64) {
        self.wake();
        match &mut self.state {
            State::Leader(leadership) if leadership.rounds.count() < READS_MAX => {
                leadership.rounds.fresh.push(Asker { from: None, context });
            }
            State::Follower if self.asked.len() < READS_MAX => match self.leader {
                Some(leader) => {
                    self.asked.push(Asked { context, ticks: 0 });
                    self.send(leader, Body::ReadRequest { context });
                }
                None => self.end_read(context, None),
            },
            _ => self.end_read(context, None),
        }
        self.check();
    }

    /// A follower asks.
    pub(crate) fn on_read_request(&mut self, from: NodeId, context: u64) {
        match &mut self.state {
            State::Leader(leadership) if leadership.rounds.count() < READS_MAX => {
                leadership.rounds.fresh.push(Asker { from: Some(from), context });
            }
            _ => self.send(from, Body::ReadReply { context, index: None }),
        }
    }

    /// The leader answers.
    pub(crate) fn on_read_reply(&mut self, from: NodeId, context: u64, index: Option<Index>) {
        let known = self.asked.iter().position(|asked| asked.context == context);
        if let Some(place) = known
            && (self.leader == Some(from) || index.is_none())
        {
            self.asked.swap_remove(place);
            self.end_read(context, index);
        }
    }

    /// Reads the leader has not answered in time end in vain.
    pub(crate) fn tick_asked(&mut self) {
        let mut late = Vec::new();
        let patience = self.election_ticks;
        self.asked.retain_mut(|asked| {
            asked.ticks += 1;
            let keep = asked.ticks < patience;
            if !keep {
                late.push(asked.context);
            }
            keep
        });
        for context in late {
            self.end_read(context, None);
        }
    }

    /// The leader is another one or unknown: nobody will answer what it was asked.
    pub(crate) fn lose_asked(&mut self) {
        for asked in std::mem::take(&mut self.asked) {
            self.end_read(asked.context, None);
        }
    }

    /// Reads end in vain with the leadership that was to prove them.
    pub(crate) fn end_leaders_reads(&mut self) {
        let State::Leader(leadership) = &mut self.state else { return };
        let fresh = std::mem::take(&mut leadership.rounds.fresh);
        let waiting = std::mem::take(&mut leadership.rounds.waiting);
        let askers = fresh.into_iter().chain(waiting.into_iter().flat_map(|(_, _, a)| a));
        for asker in askers.collect::<Vec<_>>() {
            self.answer(asker, None);
        }
    }

    /// Nothing is known to be committed before an entry of our own term is (thesis, 6.4, step 1).
    pub(crate) fn may_read(&self, leadership: &Leadership) -> bool {
        #[cfg(feature = "sabotage")]
        if self.breaks(Sabotage::ReadBeforeOwnCommit) {
            return true;
        }
        leadership.began <= self.log.committed()
    }

    /// Begins one round for all reads that came since the last Ready.
    pub(crate) fn begin_rounds(&mut self) {
        let committed = self.log.committed();
        let alone = self.log.membership().is_ruled_by(self.id);
        let may_read = match &self.state {
            State::Leader(leadership) => self.may_read(leadership),
            _ => return,
        };
        let State::Leader(leadership) = &mut self.state else { return };
        let rounds = &mut leadership.rounds;
        if !rounds.has_fresh() || !may_read {
            return;
        }
        let askers = std::mem::take(&mut rounds.fresh);
        #[cfg(feature = "sabotage")]
        let alone = alone || self.sabotage == Some(Sabotage::ReadWithoutRound);
        if alone || (self.lease && rounds.has_lease()) {
            askers.into_iter().for_each(|asker| self.answer(asker, Some(committed)));
            return;
        }
        let round = rounds.begin();
        rounds.waiting.push_back((round, committed, askers));
        let membership = self.log.membership();
        let floor = self.log.floor().1;
        let electors = leadership.peers.iter().filter(|peer| membership.is_voter(peer.id));
        // Continues what each surely has, so that it can answer without waiting for its disk.
        let heartbeats: Vec<_> = electors
            .map(|peer| (peer.id, continue_from(&self.log, peer.matched.max(floor), round)))
            .collect();
        for (to, body) in heartbeats {
            self.send(to, body);
        }
    }

    /// Answers reads whose round a quorum has answered.
    pub(crate) fn end_rounds(&mut self) {
        let (id, election_ticks) = (self.id, u64::from(self.election_ticks));
        let State::Leader(leadership) = &mut self.state else { return };
        let peers = &leadership.peers;
        let newest = leadership.rounds.newest;
        let answered = |voter: NodeId| {
            if voter == id {
                return newest;
            }
            peers.iter().find(|peer| peer.id == voter).map_or(0, |peer| peer.round)
        };
        let proven = quorum::reached_by(self.log.membership(), answered);
        let rounds = &mut leadership.rounds;
        while let Some((_, began)) = rounds.begun.pop_front_if(|(round, _)| *round <= proven) {
            // One tick for clocks that differ, and one since a tick may come right after it is counted.
            let until = (began + election_ticks).saturating_sub(2);
            rounds.lease_until = rounds.lease_until.max(until);
        }
        let mut ended = Vec::new();
        while let Some((_, index, askers)) =
            rounds.waiting.pop_front_if(|(round, _, _)| *round <= proven)
        {
            ended.extend(askers.into_iter().map(|asker| (asker, index)));
        }
        for (asker, index) in ended {
            self.answer(asker, Some(index));
        }
    }

    fn answer(&mut self, asker: Asker, index: Option<Index>) {
        match asker.from {
            None => self.end_read(asker.context, index),
            Some(from) => self.send(from, Body::ReadReply { context: asker.context, index }),
        }
    }
}
