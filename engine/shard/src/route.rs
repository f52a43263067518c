//! Where a request goes: to this node if it holds the session's group, else to one that does, and on to
//! whoever is named as the leader. Decided here, carried out by whoever has the connections.
//!
//! What was surely not done may be asked of another node. What may have been done may not, or it could
//! be done twice, unless it is a read, or an append that sessions recognize.

use model::api::{Again, Reply};
use model::cluster::{MemberId, NameTag};
use model::error::{Code, Refusal};

use crate::cluster::Timing;

/// Monotonic microseconds for which another node is looked for.
pub const PATIENCE_MICROS: u64 = 2_000_000;
// Once enough nodes live to elect a leader, a pulse says so and somebody stands within two timeouts.
const _: () =
    assert!(Timing::USUAL.pulse_micros + 2 * Timing::USUAL.election_micros() < PATIENCE_MICROS);
/// Monotonic microseconds before the second round: whoever is handed a group leads it a few writes of its
/// log later.
const PAUSE_MICROS_MIN: u64 = 2_000;
/// The same between later rounds, at most; doubled from one to the next: an election takes longer.
const PAUSE_MICROS_MAX: u64 = 16_000;

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Ask this node's shard.
    Here,
    /// Ask another node.
    There(NameTag),
    /// Ask any node that should not hold the group, and may hold it still, the so-manieth of those there
    /// are; if there is none, nobody was reached.
    Anyone(usize),
    /// Wait for so many microseconds, then say [`Outcome::Waited`].
    Wait(u64),
    /// Give up, with this answer for the client.
    End(Code),
}

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Whoever was asked does not lead, and did nothing.
    Elsewhere(Option<MemberId>),
    /// Nobody was asked: there is no connection, or no room on it.
    Unreached,
    /// Somebody was asked and did not answer.
    Unknown,
    /// The same, and somebody else leads by now.
    Replaced(MemberId),
    /// The time to wait is over.
    Waited,
}

/// One request on its way.
#[derive(Debug, Clone)]
pub struct Route {
    own: NameTag,
    /// The nodes that should hold the group, in the order in which they are asked.
    replicas: Vec<NameTag>,
    again: Again,
    /// Whether it may have been done by somebody who did not answer.
    may_be_done: bool,
    began: u64,
    /// Who was asked since the last pause.
    asked: Vec<NameTag>,
    /// Who is said to lead.
    leader: Option<NameTag>,
    /// How many of those that should not hold the group were asked, and whether one was since the last
    /// pause.
    strayed: (usize, bool),
    /// Monotonic microseconds of the next pause.
    /// Invariant: `PAUSE_MICROS_MIN` doubled some times, and never more than `PAUSE_MICROS_MAX`.
    pause: u64,
}

impl Route {
    /// A request for a group that `replicas` hold, which `leader` led when last heard of.
    pub fn new(
        own: NameTag,
        replicas: Vec<NameTag>,
        leader: Option<NameTag>,
        (again, now): (Again, u64),
    ) -> Route {
        let (asked, strayed) = (Vec::new(), (0, false));
        let (may_be_done, pause) = (false, PAUSE_MICROS_MIN);
        Route { own, replicas, again, may_be_done, began: now, asked, leader, strayed, pause }
    }

    /// Whom to ask first.
    pub fn first(&mut self) -> Step {
        if self.replicas.contains(&self.own) {
            return self.ask(self.own);
        }
        match self.leader.take().or_else(|| self.untried()) {
            Some(node) => self.ask(node),
            None => Step::End(Code::RaftUnavailable),
        }
    }

    /// What to do after a step that brought no answer.
    pub fn next(&mut self, outcome: Outcome, now: u64) -> Step {
        let unanswered = matches!(outcome, Outcome::Unknown | Outcome::Replaced(_));
        self.may_be_done |= unanswered && self.again != Again::Harmless;
        // Once somebody is said to lead he is asked, however late it is.
        let is_over = PATIENCE_MICROS <= now.saturating_sub(self.began)
            && !matches!(outcome, Outcome::Replaced(_));
        if is_over || (self.may_be_done && self.again == Again::Twice) {
            let code = if self.may_be_done { Code::RaftTimeout } else { Code::RaftUnavailable };
            return Step::End(code);
        }
        match outcome {
            Outcome::Waited => {
                self.asked.clear();
                self.strayed.1 = false;
                return match self.leader.take() {
                    Some(leader) => self.ask(leader),
                    None => self.first(),
                };
            }
            Outcome::Elsewhere(Some(leader)) | Outcome::Replaced(leader) => {
                let leader = leader.tag();
                if !self.asked.contains(&leader) {
                    return self.ask(leader);
                }
                // It was asked and said so itself, or an election is under way.
                self.leader = Some(leader);
                return self.pause();
            }
            Outcome::Elsewhere(None) | Outcome::Unreached | Outcome::Unknown => {}
        }
        match self.untried() {
            Some(node) => self.ask(node),
            // A group that is on its way to those that should hold it is still elsewhere.
            None if !self.strayed.1 => {
                self.strayed = (self.strayed.0 + 1, true);
                Step::Anyone(self.strayed.0 - 1)
            }
            None => self.pause(),
        }
    }

    /// What a client is told of an answer. Who may have been asked twice is refused by what the first time
    /// came to, or by a node that knows nothing of it: neither says what became of the request.
    pub fn answer(&self, reply: Reply) -> Reply {
        match reply {
            Reply::Refused(_) if self.may_be_done => Refusal::from(Code::RaftTimeout).into(),
            reply => reply,
        }
    }

    fn pause(&mut self) -> Step {
        let micros = self.pause;
        assert!((PAUSE_MICROS_MIN..=PAUSE_MICROS_MAX).contains(&micros), "pauses are bounded");
        self.pause = PAUSE_MICROS_MAX.min(2 * micros);
        Step::Wait(micros)
    }

    fn untried(&self) -> Option<NameTag> {
        self.replicas.iter().copied().find(|node| !self.asked.contains(node))
    }

    fn ask(&mut self, node: NameTag) -> Step {
        self.asked.push(node);
        if node == self.own { Step::Here } else { Step::There(node) }
    }
}
