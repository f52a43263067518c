//! Leading: appending, replicating, committing, handing over, and coming to rest.

use crate::log::Log;
use crate::message::{Body, Content, Entry, Index, Life, NodeId, Term};
use crate::node::{Node, State};
use crate::progress::{PeerState, Progress};
use crate::quorum;
use crate::read::Rounds;
#[cfg(feature = "sabotage")]
use crate::sabotage::Sabotage;
use crate::status::{NotLeader, TransferRefused};

/// What a leader knows.
#[derive(Debug)]
pub(crate) struct Leadership {
    /// All other members, and those that are none and are to be told, in the order of their ids.
    pub(crate) peers: Vec<Progress>,
    /// The entry it began with: what is committed from there on is of its term.
    pub(crate) began: Index,
    /// Reads, and the rounds that prove that it still leads.
    pub(crate) rounds: Rounds,
    /// To whom it hands over, and for how many ticks it has tried.
    transfer: Option<(NodeId, u32)>,
    /// Ticks without anything to do.
    idle_ticks: u32,
    /// Ticks until it steps down without a quorum, if it has not committed anything of its own by then:
    /// where elections take long, so does the first answer.
    grace: u32,
}

impl Leadership {
    /// To whom it hands over.
    pub(crate) fn heir(&self) -> Option<NodeId> {
        self.transfer.map(|(heir, _)| heir)
    }

    /// What a follower has acknowledged, as far as it counts.
    pub(crate) fn matched(&self, id: NodeId) -> Option<Index> {
        self.peers.iter().find(|peer| peer.id == id).map(|peer| peer.matched)
    }

    /// What it has acknowledged in any life of its.
    pub(crate) fn acknowledged(&self, id: NodeId) -> Option<Index> {
        self.peers.iter().find(|peer| peer.id == id).map(|peer| peer.acknowledged)
    }

    /// A follower may have lost what it acknowledged before this life of its. Whatever an earlier one
    /// acknowledged answers rounds that had begun by then, since it ended before this one asked.
    pub(crate) fn meet(&mut self, id: NodeId, life: Life) {
        let Some(peer) = self.peers.iter_mut().find(|peer| peer.id == id) else { return };
        if peer.life != Some(life) {
            peer.live_anew(life, self.rounds.begin());
        }
    }

    fn peer(&mut self, id: NodeId) -> Option<&mut Progress> {
        self.peers.iter_mut().find(|peer| peer.id == id)
    }

    /// Time goes on: nobody can be blamed for having been silent while it stood still.
    pub(crate) fn woken(&mut self) {
        self.idle_ticks = 0;
        self.rounds.forget_lease();
        for peer in &mut self.peers {
            peer.silent_ticks = 0;
        }
    }
}

impl Node {
    /// Begins to lead the current term, with an entry of its own: entries of older terms are never
    /// committed by counting, only beneath it.
    pub(crate) fn lead(&mut self) {
        let began = self.log.last().1.next();
        let grace = match self.width() {
            1 => 0,
            width => width * self.election_ticks,
        };
        self.state = State::Leader(Box::new(Leadership {
            peers: Vec::new(),
            began,
            rounds: Rounds::default(),
            transfer: None,
            idle_ticks: 0,
            grace,
        }));
        self.leader = Some(self.id);
        self.elapsed = 0;
        self.doubt = None;
        self.follow_members(began);
        self.append_own(Content::Begin);
    }

    /// Adds an entry of our own term.
    pub(crate) fn append_own(&mut self, content: Content) -> (Term, Index) {
        assert!(matches!(self.state, State::Leader(_)), "only a leader makes entries");
        let index = self.log.last().1.next();
        let changes = matches!(content, Content::Membership(_));
        let entry = Entry { term: self.term(), index, content };
        let position = entry.position();
        self.log.append(entry);
        if changes {
            self.follow_members(index);
        }
        if let State::Leader(leadership) = &mut self.state {
            leadership.idle_ticks = 0;
        }
        position
    }

    /// Has the leader look after the members there are; of new ones it guesses that they lack nothing
    /// before `next`. Those that are none any more are still sent the log until they know it, or do not
    /// answer: who never hears that it was removed would wait for a leader for ever.
    fn follow_members(&mut self, next: Index) {
        let State::Leader(leadership) = &mut self.state else { return };
        let membership = self.log.membership();
        for id in membership.members().filter(|id| *id != self.id) {
            if leadership.peers.iter().all(|peer| peer.id != id) {
                // What it acknowledged when it was looked after last may be lost.
                let round = if next == leadership.began { 0 } else { leadership.rounds.begin() };
                leadership.peers.push(Progress::new(id, next, round));
            }
        }
        leadership.peers.sort_unstable_by_key(|peer| peer.id);
    }

    /// One tick of a leader: it looks whether a quorum still hears it, speaks, and comes to rest.
    pub(crate) fn tick_leader(&mut self) {
        let (id, patience) = (self.id, self.election_ticks);
        let State::Leader(leadership) = &mut self.state else { return };
        leadership.rounds.tick();
        for peer in &mut leadership.peers {
            peer.silent_ticks = peer.silent_ticks.saturating_add(1);
        }
        if let Some((_, ticks)) = &mut leadership.transfer {
            *ticks += 1;
            if patience <= *ticks {
                leadership.transfer = None;
            }
        }
        let (membership, since) = (self.log.membership(), self.log.membership_since());
        leadership.peers.retain(|peer| {
            let knows = since <= peer.matched && since <= peer.told;
            membership.is_member(peer.id) || (!knows && peer.is_active(patience))
        });
        let peers = &leadership.peers;
        let heard = |voter: NodeId| {
            voter == id || peers.iter().any(|peer| peer.id == voter && peer.is_active(patience))
        };
        let proven = leadership.began <= self.log.committed();
        leadership.grace = if proven { 0 } else { leadership.grace.saturating_sub(1) };
        if leadership.grace == 0 && !quorum::agrees(self.log.membership(), heard) {
            return self.become_follower();
        }
        leadership.idle_ticks = leadership.idle_ticks.saturating_add(1);
        self.rest_if_idle();
        if !self.quiet && self.heartbeat_ticks <= self.elapsed {
            self.send_heartbeats();
        }
    }

    /// A follower gives a sign of life.
    pub(crate) fn note_life(&mut self, from: NodeId) {
        if let State::Leader(leadership) = &mut self.state
            && let Some(peer) = leadership.peer(from)
        {
            peer.silent_ticks = 0;
        }
    }

    /// Whether some follower is to be sent something now, or reads wait for a round.
    pub(crate) fn has_news(&self) -> bool {
        let State::Leader(leadership) = &self.state else {
            return false;
        };
        let wants = |peer: &Progress| {
            peer.wants_entries(&self.log, self.in_flight_max)
                || peer.wants_news(&self.log)
                || peer.wants_snapshot(&self.log)
        };
        leadership.peers.iter().any(wants)
            || (leadership.rounds.has_fresh() && self.may_read(leadership))
    }

    /// Sends each follower what it lacks. Called once per Ready, so that what was proposed since the
    /// last one travels together.
    pub(crate) fn send_appends(&mut self) {
        let State::Leader(leadership) = &mut self.state else {
            return;
        };
        let round = leadership.rounds.current();
        let mut appends = Vec::new();
        for peer in &mut leadership.peers {
            let before = appends.len();
            while peer.wants_entries(&self.log, self.in_flight_max) {
                let body = continue_with_entries(&self.log, peer, (self.append_bytes_max, round));
                appends.push((peer.id, body));
            }
            if before == appends.len() && peer.wants_news(&self.log) {
                // Continues what it surely has, so that it is believed at once.
                appends.push((peer.id, continue_from(&self.log, peer.matched, round)));
            }
            if before < appends.len() {
                peer.told = self.log.committed();
            }
        }
        for (to, body) in appends {
            self.send(to, body);
        }
    }

    /// Names followers that need what has left memory.
    pub(crate) fn ask_for_snapshots(&mut self) -> Vec<NodeId> {
        let State::Leader(leadership) = &mut self.state else {
            return Vec::new();
        };
        let mut wanted = Vec::new();
        for peer in leadership.peers.iter_mut().filter(|peer| peer.wants_snapshot(&self.log)) {
            peer.await_snapshot();
            wanted.push(peer.id);
        }
        wanted
    }

    /// The stream of a snapshot to a follower is over, whether it arrived or not.
    pub fn snapshot_ended(&mut self, to: NodeId) {
        self.wake();
        if let State::Leader(leadership) = &mut self.state
            && let Some(peer) = leadership.peer(to)
        {
            peer.snapshot_ended(&self.log);
            let previous = Index(peer.next.0 - 1).max(self.log.floor().1);
            let body = continue_from(&self.log, previous, leadership.rounds.current());
            self.send(to, body);
        }
        self.check();
    }

    /// Tells all followers that we are here. They are asked for the end of what they were sent: one
    /// that has lost it refuses, one whose acknowledgement was lost repeats it.
    pub(crate) fn send_heartbeats(&mut self) {
        self.elapsed = 0;
        let State::Leader(leadership) = &mut self.state else {
            return;
        };
        let round = leadership.rounds.begin();
        let mut heartbeats = Vec::with_capacity(leadership.peers.len());
        for peer in &mut leadership.peers {
            let previous = Index(peer.next.0 - 1).max(self.log.floor().1);
            peer.told = self.log.committed().min(previous);
            heartbeats.push((peer.id, continue_from(&self.log, previous, round)));
        }
        for (to, body) in heartbeats {
            self.send(to, body);
        }
    }

    /// A follower has everything up to `matched`.
    pub(crate) fn on_accepted(&mut self, from: NodeId, matched: Index, round: u64) {
        let last = self.log.last().1;
        let State::Leader(leadership) = &mut self.state else {
            return;
        };
        let newest = leadership.rounds.current();
        let Some(peer) = leadership.peer(from) else {
            return;
        };
        if last < matched || newest < round {
            return;
        }
        peer.acknowledged = peer.acknowledged.max(matched);
        if round < peer.counts_from {
            return;
        }
        peer.round = peer.round.max(round);
        peer.agreed_round = peer.agreed_round.max(round);
        peer.accepted(matched, &self.log);
        self.end_rounds();
        self.advance_commit();
        self.hand_over_if_ready();
    }

    /// A follower does not have `previous`; at best it agrees with us up to `hint`.
    pub(crate) fn on_rejected(
        &mut self,
        from: NodeId,
        previous: Index,
        hint: (Term, Index),
        round: u64,
    ) {
        let floor = self.log.floor();
        let agreed = match self.log.last_agreeable(hint).1.min(hint.1) {
            #[cfg(feature = "sabotage")]
            agreed if self.sabotage == Some(Sabotage::AgreeAtFloor) => agreed,
            // What it holds at our floor is older than that: it lacks what has left memory.
            agreed if agreed == floor.1 && hint.0 < floor.0 => Index(agreed.0.saturating_sub(1)),
            agreed => agreed,
        };
        let State::Leader(leadership) = &mut self.state else {
            return;
        };
        let newest = leadership.rounds.current();
        let Some(peer) = leadership.peer(from) else {
            return;
        };
        if newest < round {
            return;
        }
        peer.round = peer.round.max(round);
        peer.rejected((previous, round), agreed);
        self.end_rounds();
    }

    /// Our own disk has come further: it counts as one vote like any other.
    pub(crate) fn count_own_entries(&mut self) {
        if matches!(self.state, State::Leader(_)) {
            self.advance_commit();
        }
    }

    /// Commits what a quorum holds, if it ends in our own term (paper, 5.4.2).
    fn advance_commit(&mut self) {
        let State::Leader(leadership) = &self.state else {
            return;
        };
        let matched = |id: NodeId| {
            #[cfg(feature = "sabotage")]
            if id == self.id && self.breaks(Sabotage::CountOwnBeforeDurable) {
                return self.log.last().1;
            }
            if id == self.id {
                return self.log.durable();
            }
            leadership.matched(id).unwrap_or_default()
        };
        let held = quorum::committed(self.log.membership(), matched);
        #[cfg(feature = "sabotage")]
        let held = match self.breaks(Sabotage::CountLearners) {
            true => held.max(quorum::committed(&self.log.membership().with_learners(), matched)),
            false => held,
        };
        let of_own_term = self.log.term_at(held) == Some(self.term());
        #[cfg(feature = "sabotage")]
        let of_own_term = of_own_term || self.breaks(Sabotage::CountOlderTerms);
        if self.log.committed() < held && of_own_term {
            self.log.commit(held);
            self.rounds_in_vain = 0;
            self.finish_change();
        }
    }

    /// Hands leadership to another voter, as soon as it has all there is (thesis, 3.10). Until then
    /// proposals are refused; after an election timeout the attempt is given up.
    ///
    /// # Errors
    /// Why it was not even tried.
    pub fn transfer(&mut self, to: NodeId) -> Result<(), TransferRefused> {
        let heir_votes = to != self.id && self.log.membership().is_voter(to);
        let State::Leader(leadership) = &mut self.state else {
            return Err(TransferRefused::NotLeader(NotLeader { leader: self.leader }));
        };
        if leadership.transfer.is_some() {
            return Err(TransferRefused::Busy);
        }
        if !heir_votes {
            return Err(TransferRefused::NoHeir);
        }
        leadership.transfer = Some((to, 0));
        self.wake();
        self.hand_over_if_ready();
        self.check();
        Ok(())
    }

    /// Tells the heir to stand, if it has all there is.
    pub(crate) fn hand_over_if_ready(&mut self) {
        let State::Leader(leadership) = &self.state else { return };
        let Some(heir) = leadership.heir() else { return };
        let has_all = leadership.matched(heir) == Some(self.log.last().1);
        #[cfg(feature = "sabotage")]
        let has_all = has_all || self.breaks(Sabotage::HandOverToLagging);
        if has_all {
            self.have_stand(heir);
        }
    }

    /// Tells a voter to stand at once. It may do so at any time from now on, asking others to vote
    /// although they hear us: our lease is worth nothing any more.
    pub(crate) fn have_stand(&mut self, heir: NodeId) {
        #[cfg(feature = "sabotage")]
        if self.breaks(Sabotage::LeaseDespiteTransfer) {
            return self.send(heir, Body::TimeoutNow);
        }
        if let State::Leader(leadership) = &mut self.state {
            leadership.rounds.void_lease();
        }
        self.send(heir, Body::TimeoutNow);
    }

    /// The voter that could best take over: the one with most of the log among those that answer and
    /// have all that is committed.
    pub(crate) fn best_heir(&self) -> Option<NodeId> {
        let State::Leader(leadership) = &self.state else { return None };
        let voters = &self.log.membership().voters;
        let fit = leadership
            .peers
            .iter()
            .filter(|peer| voters.contains(&peer.id) && peer.is_active(self.election_ticks))
            .filter(|peer| self.log.committed() <= peer.matched);
        fit.max_by_key(|peer| peer.matched).map(|peer| peer.id)
    }

    /// Comes to rest with all followers that answer, if there has been nothing to do for a while. A
    /// follower that is gone does not keep the others awake: whoever watches the nodes wakes the group
    /// when it is back.
    fn rest_if_idle(&mut self) {
        let State::Leader(leadership) = &self.state else { return };
        let last = self.log.last();
        let told_all = |peer: &Progress| {
            !peer.is_active(self.election_ticks)
                || (peer.state == PeerState::Replicate
                    && peer.matched == last.1
                    && peer.told == last.1)
        };
        let idle = 0 < self.quiet_ticks
            && self.quiet_ticks <= leadership.idle_ticks
            && leadership.transfer.is_none()
            && leadership.rounds.is_empty()
            && !self.log.membership().is_joint()
            && self.log.applied() == last.1
            && self.log.durable() == last.1
            && leadership.peers.iter().all(told_all);
        if !idle {
            return;
        }
        let resting: Vec<NodeId> = leadership
            .peers
            .iter()
            .filter(|peer| peer.is_active(self.election_ticks))
            .map(|peer| peer.id)
            .collect();
        for peer in resting {
            self.send(peer, Body::Rest { last });
        }
        self.come_to_rest();
    }
}

/// An append with the entries a follower lacks.
fn continue_with_entries(log: &Log, peer: &mut Progress, (bytes_max, round): (usize, u64)) -> Body {
    let entries = log.entries_from(peer.next, bytes_max);
    let (previous, committed) = (place(log, Index(peer.next.0 - 1)), log.committed());
    peer.sent(entries.last().expect("a follower that wants entries gets one").index);
    Body::Append { previous, entries, committed, round }
}

/// An append without entries.
pub(crate) fn continue_from(log: &Log, previous: Index, round: u64) -> Body {
    let (previous, committed) = (place(log, previous), log.committed());
    Body::Append { previous, entries: Vec::new(), committed, round }
}

fn place(log: &Log, index: Index) -> (Term, Index) {
    let term = log.term_at(index).expect("appends continue what is in memory");
    (term, index)
}
