//! One Raft group: its node, the requests that wait for an entry to be committed, and the reads that
//! wait until it is known that nothing newer was acknowledged elsewhere.

use std::collections::VecDeque;
use std::sync::Arc;

use model::api::{Request, TailOpen};
use model::cluster::{MemberId, NameTag};
use model::error::Code;
use model::ids::GroupId;
use raft::{Entry, Index, Node, NodeId, Role, Snapshot, Term};

use crate::checkpoint::GroupMark;
use crate::cluster::tag;
use crate::effect::{Lack, TailId, Ticket};

/// A group of this shard.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) id: GroupId,
    pub(crate) node: Node,
    /// The nodes that should hold the group, the one that should lead it first.
    pub(crate) wanted: Vec<NameTag>,
    /// Requests whose entries are not applied yet, in index order.
    waiting: VecDeque<Waiting>,
    /// Reads that came in this turn.
    gathering: Vec<Read>,
    /// Reads that wait for a round among the members, oldest first.
    rounds: VecDeque<Round>,
    /// The last entry applied.
    applied: (Term, Index),
    /// The term this node leads and has applied an entry of: from then on what it has applied is as
    /// new as what any client was told before.
    serving: Option<Term>,
    /// Whether the leader's commit index, as last heard, is within our log.
    pub(crate) caught_up: bool,
    /// The length of each applied entry that stays in memory for followers that are behind, and the sum.
    pub(crate) kept: VecDeque<u32>,
    pub(crate) kept_bytes: usize,
    /// Whether the shard looks at the node before the turn ends.
    pub(crate) awake: bool,
    /// When the node was seen to lead no longer, while requests wait.
    pub(crate) deposed_at: Option<u64>,
    /// Whether the node was a member when that was last looked at.
    pub(crate) was_hosted: bool,
    /// Since when no leader is known.
    /// Invariant: `None` if one was known when hosting was last looked at.
    pub(crate) leaderless_since: Option<u64>,
    /// Since when no leader is known and nobody wants the node to hold the group.
    /// Invariant: only with `leaderless_since`, and not before it.
    pub(crate) lost_since: Option<u64>,
    /// Whether no leader has been known for so long that its tails have ended.
    /// Invariant: only with `leaderless_since`.
    pub(crate) is_forsaken: bool,
    /// To whom it was last handed over, in which term, and when.
    /// Invariant: never this node, and no term it did not lead; means nothing in a later one.
    pub(crate) offered: Option<(NodeId, Term, u64)>,
    /// Whether the group has left the node, as far as one can know that was cut off when it did.
    /// Invariant: only with `lost_since`.
    pub(crate) is_orphan: bool,
}

#[derive(Debug)]
struct Waiting {
    term: Term,
    index: Index,
    ticket: Ticket,
    bytes: usize,
}

/// Something that is answered from what is applied, once that is known to be new enough.
#[derive(Debug)]
pub(crate) enum Read {
    /// A read, or a command for a session that is not known: it is looked up again.
    Request(Ticket, Box<Request>),
    /// A tail.
    Tail(TailId, TailOpen),
}

#[derive(Debug)]
struct Round {
    context: u64,
    /// When it was asked for.
    at: u64,
    /// What must be applied, once that is known.
    index: Option<Index>,
    reads: Vec<Read>,
}

/// A request whose entry's place in the log is decided.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Resolved {
    pub(crate) ticket: Ticket,
    /// What the request held of the shard's bound.
    pub(crate) bytes: usize,
    /// Whether the entry is the one the request proposed; if another leader's took its place, nobody
    /// knows yet what became of it.
    pub(crate) own: bool,
}

impl Group {
    /// A group whose state machine has applied everything up to `applied`.
    pub(crate) fn new(
        id: GroupId,
        node: Node,
        applied: (Term, Index),
        wanted: Vec<NameTag>,
    ) -> Group {
        Group {
            id,
            node,
            wanted,
            waiting: VecDeque::new(),
            gathering: Vec::new(),
            rounds: VecDeque::new(),
            applied,
            serving: None,
            caught_up: false,
            kept: VecDeque::new(),
            kept_bytes: 0,
            awake: true,
            deposed_at: None,
            was_hosted: false,
            leaderless_since: None,
            lost_since: None,
            is_forsaken: false,
            offered: None,
            is_orphan: false,
        }
    }

    /// Whether this node leads the group and has applied all that was acknowledged before it did.
    pub(crate) fn is_serving(&self) -> bool {
        let status = self.node.status();
        status.role == Role::Leader && self.serving == Some(status.term)
    }

    /// Whether this node is a member, learners included, and was not forgotten.
    pub(crate) fn is_hosted(&self, own: NodeId) -> bool {
        self.node.membership().is_member(own) && !self.is_orphan
    }

    /// What keeps this node from doing for the group what it should. A node that should hold the group
    /// must vote in it, and in the members before a change too as long as those have a say: until then
    /// the group's quorum is one of others, which cannot spare any of them for this node's sake.
    pub(crate) fn lack(&self, own: NodeId) -> Option<Lack> {
        let members = self.node.membership();
        let counts = members.voters.contains(&own)
            && (!members.is_joint() || members.outgoing.contains(&own));
        if self.wanted.contains(&tag(own)) && !(counts && self.is_hosted(own)) {
            return Some(Lack::Membership);
        }
        if !self.is_hosted(own) || self.is_ready() {
            return None;
        }
        let is_led = self.node.status().leader.is_some();
        Some(if is_led { Lack::Progress } else { Lack::Leader })
    }

    /// Whether the group can commit and what is applied here is not behind.
    fn is_ready(&self) -> bool {
        let status = self.node.status();
        match status.role {
            Role::Leader => self.is_serving(),
            _ => status.leader.is_some() && self.caught_up && status.applied == status.committed,
        }
    }

    /// Who leads, for those who must ask there.
    pub(crate) fn leader(&self) -> Option<MemberId> {
        self.node.status().leader.map(|id| MemberId(id.0))
    }

    /// The last entry applied.
    pub(crate) fn applied(&self) -> (Term, Index) {
        self.applied
    }

    /// Proposes a command for a request.
    ///
    /// # Errors
    /// This node does not lead the group.
    pub(crate) fn propose(
        &mut self,
        payload: Arc<[u8]>,
        ticket: Ticket,
        bytes: usize,
    ) -> Result<(), raft::NotLeader> {
        let (term, index) = self.node.propose(payload)?;
        if let Some(last) = self.waiting.back() {
            assert!(last.term < term || last.index < index, "proposals take rising places");
        }
        self.waiting.push_back(Waiting { term, index, ticket, bytes });
        Ok(())
    }

    /// Has a read wait until what is applied is as new as anything acknowledged by now.
    pub(crate) fn read(&mut self, read: Read) {
        self.gathering.push(read);
    }

    /// Whether reads have come in this turn.
    pub(crate) fn gathers(&self) -> bool {
        !self.gathering.is_empty()
    }

    /// Asks for a round among the members for the reads of this turn.
    pub(crate) fn ask_round(&mut self, context: u64, now: u64) {
        let reads = std::mem::take(&mut self.gathering);
        self.rounds.push_back(Round { context, at: now, index: None, reads });
        self.node.read(context);
    }

    /// A round has come to an end. Returns its reads if it was in vain.
    pub(crate) fn round_ended(&mut self, context: u64, index: Option<Index>) -> Vec<Read> {
        let Some(place) = self.rounds.iter().position(|round| round.context == context) else {
            return Vec::new();
        };
        if index.is_none() {
            return self.rounds.remove(place).map_or_else(Vec::new, |round| round.reads);
        }
        self.rounds[place].index = index;
        Vec::new()
    }

    /// Reads that can be answered now.
    pub(crate) fn ripe_reads(&mut self) -> Vec<Read> {
        let applied = self.applied.1;
        let mut ripe = Vec::new();
        self.rounds.retain_mut(|round| {
            let is_ripe = round.index.is_some_and(|index| index <= applied);
            if is_ripe {
                ripe.append(&mut round.reads);
            }
            !is_ripe
        });
        ripe
    }

    /// Reads whose rounds were asked for before `at`: their leader is gone, or what they wait for is not
    /// coming.
    pub(crate) fn late_reads(&mut self, at: u64) -> Vec<Read> {
        let late = self.rounds.iter().take_while(|round| round.at < at).count();
        self.rounds.drain(..late).flat_map(|round| round.reads).collect()
    }

    /// Whether anybody waits for a read.
    pub(crate) fn has_reads(&self) -> bool {
        !self.rounds.is_empty() || self.gathers()
    }

    /// Gives up on all reads whose rounds are under way.
    pub(crate) fn give_up_reads(&mut self) -> Vec<Read> {
        self.rounds.drain(..).flat_map(|round| round.reads).collect()
    }

    /// Notes that an entry is applied.
    pub(crate) fn note_applied(&mut self, entry: &Entry) {
        assert_eq!(entry.index.0, self.applied.1.0 + 1, "entries are applied in order, each once");
        self.applied = (entry.term, entry.index);
        let status = self.node.status();
        if status.role == Role::Leader && status.term == entry.term {
            self.serving = Some(entry.term);
        }
    }

    /// Notes that the state was taken over from another node.
    pub(crate) fn note_installed(&mut self, head: &Snapshot) {
        assert!(self.applied.1 < head.last.1, "a snapshot is ahead of what it replaces");
        self.applied = head.last;
        self.kept.clear();
        self.kept_bytes = 0;
    }

    /// The request that waits for an applied entry, if it came through this node.
    pub(crate) fn resolve(&mut self, entry: &Entry) -> Option<Resolved> {
        let front = self.waiting.front()?;
        assert!(entry.index <= front.index, "requests are resolved in order");
        if front.index != entry.index {
            return None;
        }
        let Waiting { term, ticket, bytes, .. } = self.waiting.pop_front()?;
        Some(Resolved { ticket, bytes, own: term == entry.term })
    }

    /// Whether requests wait whose entries were made in another term than the current one.
    pub(crate) fn leads_anew(&self) -> bool {
        self.waiting.back().is_some_and(|waiting| waiting.term != self.node.status().term)
    }

    /// Whether requests wait for their entries.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Gives up on all requests that wait: their outcome is unknown.
    pub(crate) fn give_up_waiting(&mut self) -> impl Iterator<Item = Resolved> + use<> {
        let waiting = std::mem::take(&mut self.waiting);
        let unknown = |Waiting { ticket, bytes, .. }| Resolved { ticket, bytes, own: false };
        waiting.into_iter().map(unknown)
    }

    /// What a checkpoint says of the group.
    pub(crate) fn mark(&self) -> GroupMark {
        let hard_state = self.node.hard_state();
        GroupMark {
            group: self.id,
            term: self.applied.0,
            index: self.applied.1,
            current_term: hard_state.term,
            vote: hard_state.vote,
            membership: self.node.membership_applied(),
        }
    }
}

/// What is said of a request whose entry may or may not be committed one day.
pub(crate) const UNKNOWN: Code = Code::RaftTimeout;
