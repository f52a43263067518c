//! What waits for a shard's next turn. Bounded: requests by number and bytes from their admission to
//! their reply, tails by number, credit by one sum per tail, completions by what the shard asked for,
//! other nodes' messages by number and bytes, news of connections by one for each node, what operators
//! want by the last of it.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::task::{Context, Poll, Waker};

use model::api::{Reply, Request, TailMessage, TailOpen};
use model::cluster::MemberId;
use model::error::{Code, Refusal};
use model::limits::{
    INPUTS_PER_TURN, PEER_BYTES_PER_SHARD, PEER_MESSAGES_PER_SHARD, REQUEST_BYTES_PER_SHARD,
    REQUESTS_PER_SHARD, TAILS_PER_SHARD,
};
use shard::NodeId;
use shard::effect::{Completion, Input, TailId, Ticket};
use shard::peer::PeerMessage;
use shard::wishes::Wishes;

/// Why something was not taken in. It was surely not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unheard {
    /// Too much waits already.
    Busy,
    /// The shard has ended or is about to: another node may lead its groups.
    Ended,
}

impl Unheard {
    /// The answer to a request.
    pub(crate) fn reply(self) -> Reply {
        match self {
            Unheard::Busy => Refusal::from(Code::EventStoreBackpressure).into(),
            Unheard::Ended => Reply::NotLeader { leader: None },
        }
    }

    /// The answer to a wish to follow a session.
    pub(crate) fn tail(self) -> TailMessage {
        match self {
            Unheard::Busy => TailMessage::Refused(Box::new(Code::EventStoreBackpressure.into())),
            Unheard::Ended => TailMessage::Elsewhere { leader: None },
        }
    }
}

/// What an inbox takes in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// All there is.
    #[default]
    Open,
    /// What finishes the requests that were admitted.
    Finishing,
    /// What the disk has done.
    Closed,
}

/// The inbox of one shard, on its core. Whoever puts something in wakes the driver.
#[derive(Debug, Default)]
pub(crate) struct Inbox(RefCell<State>);

#[derive(Debug, Default)]
struct State {
    completions: VecDeque<Completion>,
    /// Nodes whose connections have come or gone, and which of the two.
    links: BTreeMap<MemberId, bool>,
    /// What operators want, if that is news.
    wishes: Option<Wishes>,
    /// Messages of other nodes, in order of arrival.
    peers: VecDeque<(MemberId, PeerMessage)>,
    peer_bytes: usize,
    /// Requests, tails opened and tails closed, in order of arrival.
    arrivals: VecDeque<Input>,
    /// Tails opened in `arrivals`.
    opens: usize,
    /// Bytes written per tail; one entry for each tail named in `credit_order`.
    credit: BTreeMap<TailId, u64>,
    credit_order: VecDeque<TailId>,
    /// Bytes of each admitted request that has no reply yet.
    admitted: BTreeMap<Ticket, usize>,
    admitted_bytes: usize,
    driver: Option<Waker>,
    stage: Stage,
}

impl Inbox {
    /// Takes a request in, or says why not.
    ///
    /// # Errors
    /// [`Unheard::Busy`] if too many requests or bytes wait; [`Unheard::Ended`] if the shard has
    /// stopped, or is about to.
    pub(crate) fn request(&self, ticket: Ticket, request: Request) -> Result<(), Unheard> {
        let state = &mut *self.0.borrow_mut();
        let bytes = request.bytes();
        if state.stage != Stage::Open {
            return Err(Unheard::Ended);
        }
        if REQUESTS_PER_SHARD <= state.admitted.len()
            || REQUEST_BYTES_PER_SHARD < state.admitted_bytes + bytes
        {
            return Err(Unheard::Busy);
        }
        let twin = state.admitted.insert(ticket, bytes);
        assert!(twin.is_none(), "tickets are unique among outstanding requests");
        state.admitted_bytes += bytes;
        state.arrivals.push_back(Input::Request { ticket, request });
        state.wake();
        Ok(())
    }

    /// Notes that a request has its reply: its room is free again.
    pub(crate) fn replied(&self, ticket: Ticket) {
        let state = &mut *self.0.borrow_mut();
        let bytes = state.admitted.remove(&ticket).expect("a shard answers each request once");
        state.admitted_bytes -= bytes;
    }

    /// Takes in a wish to follow a session, or says why not.
    ///
    /// # Errors
    /// As for requests.
    pub(crate) fn tail_open(&self, tail: TailId, open: TailOpen) -> Result<(), Unheard> {
        let state = &mut *self.0.borrow_mut();
        if state.stage != Stage::Open {
            return Err(Unheard::Ended);
        }
        if TAILS_PER_SHARD <= state.opens {
            return Err(Unheard::Busy);
        }
        state.opens += 1;
        state.arrivals.push_back(Input::TailOpen { tail, open });
        state.wake();
        Ok(())
    }

    /// Notes that a tail's connection has written what it was given.
    pub(crate) fn tail_credit(&self, tail: TailId, bytes: u64) {
        let state = &mut *self.0.borrow_mut();
        if state.stage == Stage::Closed {
            return;
        }
        let sum = state.credit.entry(tail).or_insert_with(|| {
            state.credit_order.push_back(tail);
            0
        });
        *sum += bytes;
        state.wake();
    }

    /// Notes that a tail's connection is gone. At most one for each tail that was opened.
    pub(crate) fn tail_close(&self, tail: TailId) {
        let state = &mut *self.0.borrow_mut();
        if state.stage != Stage::Closed {
            state.arrivals.push_back(Input::TailClose { tail });
            state.wake();
        }
    }

    /// Takes in another node's message; `false` if there is no room, and it is lost.
    pub(crate) fn peer(&self, from: MemberId, message: PeerMessage) -> bool {
        let state = &mut *self.0.borrow_mut();
        let bytes = state.peer_bytes + message.bytes();
        if state.stage == Stage::Closed
            || PEER_MESSAGES_PER_SHARD <= state.peers.len()
            || PEER_BYTES_PER_SHARD < bytes
        {
            return false;
        }
        state.peer_bytes = bytes;
        state.peers.push_back((from, message));
        state.wake();
        true
    }

    /// Notes whether a connection from another node stands.
    pub(crate) fn link(&self, member: MemberId, up: bool) {
        let state = &mut *self.0.borrow_mut();
        if state.stage != Stage::Closed {
            state.links.insert(member, up);
            state.wake();
        }
    }

    /// Notes what operators want; what they wanted before no longer counts.
    pub(crate) fn wishes(&self, wishes: Wishes) {
        let state = &mut *self.0.borrow_mut();
        if state.stage != Stage::Closed {
            state.wishes = Some(wishes);
            state.wake();
        }
    }

    /// Brings a completion.
    pub(crate) fn completion(&self, completion: Completion) {
        let state = &mut *self.0.borrow_mut();
        state.completions.push_back(completion);
        state.wake();
    }

    /// Wakes the driver though nothing has come: time has.
    pub(crate) fn nudge(&self) {
        self.0.borrow_mut().wake();
    }

    /// Ready when something waits; else the driver is woken by whatever comes first.
    pub(crate) fn poll_waiting(&self, cx: &Context<'_>) -> Poll<()> {
        let state = &mut *self.0.borrow_mut();
        if state.is_empty() {
            state.driver = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// Moves at most a turn's worth of inputs to `turn`: completions first, since they free what the
    /// others need, then half a turn of other nodes' messages, since they finish what was begun, then
    /// half of the rest of credit, then what clients ask as it came.
    pub(crate) fn take_turn(&self, turn: &mut Vec<Input>) {
        let state = &mut *self.0.borrow_mut();
        assert!(turn.is_empty(), "the turn before is done");
        while turn.len() < INPUTS_PER_TURN
            && let Some(completion) = state.completions.pop_front()
        {
            turn.push(Input::Disk(completion));
        }
        while turn.len() < INPUTS_PER_TURN
            && let Some((member, up)) = state.links.pop_first()
        {
            turn.push(Input::Link { node: NodeId(member.0), up });
        }
        if turn.len() < INPUTS_PER_TURN
            && let Some(wishes) = state.wishes.take()
        {
            turn.push(Input::Intent(wishes));
        }
        let peers_end = turn.len() + (INPUTS_PER_TURN - turn.len()) / 2;
        while turn.len() < peers_end
            && let Some((from, message)) = state.peers.pop_front()
        {
            state.peer_bytes -= message.bytes();
            turn.push(Input::Peer { from: NodeId(from.0), message });
        }
        let credits_end = turn.len() + (INPUTS_PER_TURN - turn.len()) / 2;
        while turn.len() < credits_end
            && let Some(tail) = state.credit_order.pop_front()
        {
            let bytes = state.credit.remove(&tail).expect("each tail in the order has its sum");
            turn.push(Input::TailCredit { tail, bytes });
        }
        while turn.len() < INPUTS_PER_TURN
            && let Some(input) = state.arrivals.pop_front()
        {
            if matches!(input, Input::TailOpen { .. }) {
                state.opens -= 1;
            }
            turn.push(input);
        }
        assert!(turn.len() <= INPUTS_PER_TURN);
    }

    /// Whether the disk has done something.
    pub(crate) fn completed(&self) -> bool {
        !self.0.borrow().completions.is_empty()
    }

    /// Whether something waits for a turn.
    pub(crate) fn waiting(&self) -> bool {
        !self.0.borrow().is_empty()
    }

    /// Requests admitted and not yet answered.
    pub(crate) fn outstanding(&self) -> usize {
        self.0.borrow().admitted.len()
    }

    /// Bytes of those requests.
    pub(crate) fn outstanding_bytes(&self) -> usize {
        self.0.borrow().admitted_bytes
    }

    /// Turns clients away from now on, those of other nodes too; the requests that were admitted go on.
    pub(crate) fn finish(&self) {
        let state = &mut *self.0.borrow_mut();
        state.stage = state.stage.max(Stage::Finishing);
    }

    /// Takes in nothing from now on but what the disk has done, and forgets what waits: the driver
    /// takes no more turns.
    pub(crate) fn close(&self) {
        let state = &mut *self.0.borrow_mut();
        let completions = std::mem::take(&mut state.completions);
        let admitted = std::mem::take(&mut state.admitted);
        *state = State {
            stage: Stage::Closed,
            completions,
            admitted,
            admitted_bytes: state.admitted_bytes,
            driver: state.driver.take(),
            ..State::default()
        };
    }
}

impl State {
    fn is_empty(&self) -> bool {
        self.completions.is_empty()
            && self.links.is_empty()
            && self.wishes.is_none()
            && self.peers.is_empty()
            && self.arrivals.is_empty()
            && self.credit_order.is_empty()
    }

    fn wake(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }
}
