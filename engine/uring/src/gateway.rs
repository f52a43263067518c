//! The door side of a node: what a connection asks goes to the shard that hosts its session, on this
//! core or another, on this node or another, and comes back as a reply or a tail.

use std::rc::Rc;
use std::time::{Duration, Instant};

use model::api::{Again, GroupRow, GroupsPage, List, Reply, Request, TailMessage, TailOpen};
use model::cluster::{MemberId, NameTag};
use model::error::{Code, Refusal};
use model::ids::{GroupId, Seq, ShardId};
use model::limits::{FORWARD_SECONDS, GROUPS_PAGE_MAX};
use shard::cluster::tag;
use shard::effect::TailId;
use shard::peer::PeerMessage;
use shard::route::{Outcome, PATIENCE_MICROS, Route, Step};

use crate::forward::{ClientMessage, ClientQueues};
use crate::hub::{self, Call, Hub, Stopped};
use crate::lists::Parts;
use crate::mesh::Mail;
use crate::peers::PeerQueues;
use crate::pending::TailQueue;
use crate::rt;
use crate::standing::Readiness;
use crate::stop::Stopper;

/// Between two tries to find a leader for every group of a list.
const LIST_PAUSE: Duration = Duration::from_millis(20);
/// How long another node may take to answer.
const FORWARD: Duration = Duration::from_secs(FORWARD_SECONDS);
/// The same for how groups are doing: a look is not worth more.
const GROUPS_PATIENCE: Duration = Duration::from_secs(2);

/// A core's way to every shard of the node, and to other nodes. Cheap to clone; never leaves its core.
#[derive(Debug, Clone)]
pub struct Gateway(Rc<Hub>);

impl Gateway {
    pub(crate) fn new(hub: Rc<Hub>) -> Gateway {
        Gateway(hub)
    }

    /// Who led a session's group when another node last did something to it.
    #[cfg(test)]
    pub(crate) fn leader(&self, session: &str) -> Option<NameTag> {
        self.0.leader(self.0.placement.group(session))
    }

    /// What the connections of this core share.
    pub(crate) fn hub(&self) -> &Hub {
        &self.0
    }

    /// The number of this core among the node's, from 0.
    pub fn core(&self) -> usize {
        self.0.core
    }

    /// Asks the shard that leads the request's session, on whatever node, and waits for its answer. A
    /// shard or core with too much to do refuses at once with `EventStoreBackpressure`. Dropping the
    /// future withdraws nothing.
    pub async fn call(&self, request: Request) -> Reply {
        if self.0.cluster.is_alone() {
            return match self.call_here(request).await {
                // The shard has ended, and there is no other.
                Reply::NotLeader { .. } => Refusal::from(Code::RaftUnavailable).into(),
                reply => reply,
            };
        }
        let Some(session) = request.session() else {
            return match request {
                Request::List(list) => self.list(list).await,
                request => self.call_here(request).await,
            };
        };
        let (group, again) = (self.0.placement.group(session.as_str()), request.again());
        let (began, mut route) = self.route(group, again);
        let mut step = route.first();
        loop {
            let tried = match step {
                Step::Here => Ok(self.call_here(request.clone()).await),
                Step::There(node) if again == Again::Recognized => {
                    self.call_or_leave(group, node, request.clone()).await
                }
                Step::There(node) => self.call_there(node, request.clone()).await,
                Step::Anyone(nth) => match self.anyone(group, nth) {
                    Some(node) => self.call_there(node, request.clone()).await,
                    None => Err(Outcome::Unreached),
                },
                Step::Wait(micros) => {
                    rt::sleep(Duration::from_micros(micros)).await;
                    Err(Outcome::Waited)
                }
                Step::End(code) => return Refusal::from(code).into(),
            };
            let outcome = match tried {
                Ok(Reply::NotLeader { leader }) => {
                    if let Step::There(node) = step {
                        self.0.forget_leader(group, node);
                    }
                    Outcome::Elsewhere(leader)
                }
                Ok(reply) => {
                    // Any copy may answer a read, and refuse anything: only a leader does what it is told.
                    let is_led = !request.is_read() && !matches!(reply, Reply::Refused(_));
                    if let (Step::There(node), true) = (step, is_led) {
                        self.0.note_leader(group, node);
                    }
                    return route.answer(reply);
                }
                Err(outcome) => outcome,
            };
            step = route.next(outcome, micros_since(began));
        }
    }

    /// Asks this node's own shards.
    pub(crate) async fn call_here(&self, request: Request) -> Reply {
        match request {
            Request::List(list) => match self.parts_here(&list).await {
                Ok(parts) => parts.page(),
                Err(refusal) => refusal,
            },
            Request::Groups(page) => self.groups_here(page).await,
            request => {
                let session = request.session().expect("all others name a session");
                let shard = self.0.placement.shard_of(session.as_str());
                self.0.start(shard, request).await
            }
        }
    }

    /// Asks another node's shards.
    pub(crate) async fn call_there(
        &self,
        node: NameTag,
        request: Request,
    ) -> Result<Reply, Outcome> {
        if node == tag(self.0.cluster.own) {
            return Ok(self.call_here(request).await);
        }
        let Some(member) = self.0.clients.member(node) else { return Err(Outcome::Unreached) };
        self.call_member(member, request).await
    }

    async fn call_member(&self, member: MemberId, request: Request) -> Result<Reply, Outcome> {
        let clients = &self.0.clients;
        let call = Away { clients, number: clients.begin_call(member) };
        let ticket = hub::label(self.0.core, call.number);
        if !clients.push(member, ClientMessage::Request { ticket, request }) {
            return Err(Outcome::Unreached);
        }
        let answer = rt::timeout(FORWARD, clients.answer(call.number)).await;
        answer.flatten().ok_or(Outcome::Unknown)
    }

    /// One of the nodes that should not hold a group: the so-manieth.
    fn anyone(&self, group: GroupId, nth: usize) -> Option<NameTag> {
        let mut nodes: Vec<NameTag> =
            self.0.clients.members().into_iter().map(MemberId::tag).collect();
        nodes.push(tag(self.0.cluster.own));
        let replicas = self.0.replicas(group);
        nodes.retain(|node| !replicas.contains(node));
        nodes.get(nth % nodes.len().max(1)).copied()
    }

    fn route(&self, group: GroupId, again: Again) -> (Instant, Route) {
        let cluster = &self.0.cluster;
        let leader = self.0.leader(group);
        let route = Route::new(tag(cluster.own), self.0.replicas(group), leader, (again, 0));
        (Instant::now(), route)
    }

    /// Asks all shards of all nodes for the rows of the groups they lead and merges them:
    /// [`Reply::Sessions`] with at most `list.limit` rows in id order, or the first refusal. A leader
    /// that was unseated may take an election timeout to notice: what a list shows can be that old.
    pub async fn list(&self, list: List) -> Reply {
        let began = Instant::now();
        loop {
            let mut parts = match self.parts_here(&list).await {
                Ok(parts) => parts,
                Err(refusal) => return refusal,
            };
            for member in self.0.clients.members() {
                if parts.is_complete() {
                    break;
                }
                match self.call_member(member, Request::List(list.clone())).await {
                    Ok(Reply::Sessions { rows, more, groups }) => parts.add(rows, more, groups),
                    Ok(refusal @ Reply::Refused(_)) => return refusal,
                    Ok(_) | Err(_) => {}
                }
            }
            if parts.is_complete() {
                return parts.page();
            }
            if PATIENCE_MICROS <= micros_since(began) {
                return Refusal::from(Code::RaftUnavailable).into();
            }
            rt::sleep(LIST_PAUSE).await;
        }
    }

    /// How all groups are doing, in the order of their numbers, as those say that lead them; `None` for
    /// a group that nobody says to lead.
    pub async fn groups(&self) -> Vec<Option<GroupRow>> {
        let groups = self.0.placement.groups();
        let mut rows = Vec::new();
        for first in (0..groups).step_by(GROUPS_PAGE_MAX as usize) {
            let count = GROUPS_PAGE_MAX.min(groups - first);
            rows.extend(self.groups_of(GroupsPage { first: GroupId(first), count }).await);
        }
        rows
    }

    /// How a group is doing, as the node says that leads it; `None` if nobody says to.
    pub async fn group(&self, group: GroupId) -> Option<GroupRow> {
        self.groups_of(GroupsPage { first: group, count: 1 }).await.pop().flatten()
    }

    /// How some groups are doing: as many rows as are asked for.
    async fn groups_of(&self, page: GroupsPage) -> Vec<Option<GroupRow>> {
        let mut rows: Vec<Option<GroupRow>> = Vec::new();
        rows.resize(page.count as usize, None);
        let mut replies = vec![self.groups_here(page).await];
        for member in self.0.clients.members() {
            let asked = self.call_member(member, Request::Groups(page));
            replies.extend(rt::timeout(GROUPS_PATIENCE, asked).await.and_then(Result::ok));
        }
        let found = replies.into_iter().filter_map(|reply| match reply {
            Reply::Groups(rows) => Some(rows),
            _ => None,
        });
        for row in found.flatten() {
            // A leader that was unseated may not know yet.
            let place = row.group.0.checked_sub(page.first.0).map(|place| place as usize);
            let Some(place) = place.and_then(|place| rows.get_mut(place)) else { continue };
            if place.as_ref().is_none_or(|known| known.term < row.term) {
                *place = Some(row);
            }
        }
        rows
    }

    /// How those groups are doing that are led here.
    async fn groups_here(&self, page: GroupsPage) -> Reply {
        let placement = self.0.placement;
        // Neighbours in number are of different shards.
        let last = page.first.0.saturating_add(page.count.min(placement.shards()));
        let groups = (page.first.0..last.min(placement.groups())).map(GroupId);
        let ask = |group| self.0.start(placement.shard(group), Request::Groups(page));
        let calls: Vec<Call> = groups.map(ask).collect();
        let mut all = Vec::new();
        for call in calls {
            match call.await {
                Reply::Groups(rows) => all.extend(rows),
                // The shard has ended, and leads nothing any more.
                Reply::NotLeader { .. } => {}
                refusal => return refusal,
            }
        }
        all.sort_unstable_by_key(|row| row.group);
        Reply::Groups(all)
    }

    /// What this node's shards have of a list.
    async fn parts_here(&self, list: &List) -> Result<Parts, Reply> {
        let shards = 0..self.0.placement.shards();
        let ask = |shard| self.0.start(ShardId(shard), Request::List(list.clone()));
        let calls: Vec<Call> = shards.map(ask).collect();
        let mut parts = Parts::new(self.0.placement, list.limit);
        for call in calls {
            match call.await {
                Reply::Sessions { rows, more, groups } => parts.add(rows, more, groups),
                refusal @ Reply::Refused(_) => return Err(refusal),
                // The shard has ended: what it led, another node leads, or nobody.
                Reply::NotLeader { .. } => {}
                Reply::Session(_)
                | Reply::Appended(_)
                | Reply::Events { .. }
                | Reply::Groups(_) => {
                    return Err(Refusal::from(Code::InternalError).into());
                }
            }
        }
        Ok(parts)
    }

    /// Follows a session where it is to be found; the tail is opened.
    ///
    /// # Errors
    /// Why there is no such tail.
    pub async fn follow(&self, open: TailOpen) -> Result<Tail, Refusal> {
        let group = self.0.placement.group(open.session.as_str());
        let (began, mut route) = self.route(group, Again::Harmless);
        let mut step = route.first();
        loop {
            let tail = match step {
                Step::Here => Some(self.tail(open.clone())),
                Step::There(node) => self.tail_there(node, open.clone()),
                Step::Anyone(nth) => {
                    self.anyone(group, nth).and_then(|node| self.tail_there(node, open.clone()))
                }
                Step::Wait(micros) => {
                    rt::sleep(Duration::from_micros(micros)).await;
                    step = route.next(Outcome::Waited, micros_since(began));
                    continue;
                }
                Step::End(code) => return Err(code.into()),
            };
            let outcome = match tail {
                None => Outcome::Unreached,
                Some(mut tail) => match rt::timeout(FORWARD, tail.next()).await.flatten() {
                    Some(TailMessage::Opened) => return Ok(tail),
                    Some(TailMessage::Refused(refusal)) => return Err(*refusal),
                    Some(TailMessage::Elsewhere { leader }) => Outcome::Elsewhere(leader),
                    Some(TailMessage::Events { .. } | TailMessage::Closed(_)) | None => {
                        Outcome::Unknown
                    }
                },
            };
            step = route.next(outcome, micros_since(began));
        }
    }

    /// Follows a session at this node alone; see [`TailMessage`] for what comes.
    pub fn tail(&self, open: TailOpen) -> Tail {
        let hub = Rc::clone(&self.0);
        let shard = hub.placement.shard_of(open.session.as_str());
        let (id, queue) = hub.new_tail();
        let cursor = open.cursor;
        let opened = match hub.route(shard) {
            hub::Route::Here(inbox) => hub.admitted(inbox.tail_open(id, open)),
            hub::Route::There(outbox) => {
                hub.carried(outbox.ask(Mail::TailOpen { shard, tail: id, open }))
            }
        };
        if let Err(unheard) = opened {
            queue.push(unheard.tail());
        }
        Tail { hub, id, home: Home::Shard(shard), cursor, queue }
    }

    /// Follows a session at another node; `None` if it cannot be reached.
    fn tail_there(&self, node: NameTag, open: TailOpen) -> Option<Tail> {
        if node == tag(self.0.cluster.own) {
            return Some(self.tail(open));
        }
        let hub = Rc::clone(&self.0);
        let member = hub.clients.member(node)?;
        let (id, queue) = hub.new_tail();
        hub.note_remote_tail(id, member);
        let tail = Tail { hub, id, home: Home::Node(member), cursor: open.cursor, queue };
        let asked = ClientMessage::TailOpen { tail: id.0, open };
        if tail.hub.clients.push(member, asked) {
            return Some(tail);
        }
        // Nobody has heard of it: a close would have no open that bounds it.
        tail.queue.release();
        None
    }

    /// The queues of what this core's shards tell other nodes.
    pub fn peers(&self) -> &PeerQueues {
        &self.0.peers
    }

    /// The queues of what this core tells other nodes about clients.
    pub fn clients(&self) -> &ClientQueues {
        &self.0.clients
    }

    /// Brings what another node says to the shard it is for, or to all. Dropped, and counted, if there
    /// is too much.
    ///
    /// # Errors
    /// If it speaks of a group that does not exist.
    pub fn hear(&self, from: MemberId, message: PeerMessage) -> Result<(), &'static str> {
        let groups = self.0.placement.groups();
        match &message {
            PeerMessage::Raft { group: GroupId(group), .. }
            | PeerMessage::Snapshot { group: GroupId(group), .. } => {
                if groups <= *group {
                    return Err("it speaks of a group that does not exist");
                }
                self.0.hear(self.0.placement.shard(GroupId(*group)), from, message);
            }
            PeerMessage::Pulse(_) => {
                let shards = 0..self.0.placement.shards();
                shards.for_each(|shard| self.0.hear(ShardId(shard), from, message.clone()));
            }
        }
        Ok(())
    }

    /// Brings what another node says about a client, its own or one of ours.
    pub fn hear_client(&self, from: MemberId, message: ClientMessage) {
        match message {
            ClientMessage::Request { ticket, request } => self.serve(from, ticket, request),
            ClientMessage::TailOpen { tail, open } => self.serve_tail(from, tail, open),
            ClientMessage::TailCredit { tail, bytes } => {
                self.0.credit_served(from, tail, bytes);
            }
            ClientMessage::TailClose { tail } => self.0.close_served(from, tail),
            answer @ (ClientMessage::Reply { .. } | ClientMessage::Tail { .. }) => {
                self.0.client_answer(answer);
            }
        }
    }

    /// Answers another node's client.
    fn serve(&self, from: MemberId, ticket: u64, request: Request) {
        let hub = Rc::clone(&self.0);
        let Some(mut answer) = hub.answers.owe(from) else {
            let reply = Refusal::from(Code::EventStoreBackpressure).into();
            // If this finds no room, whoever asked takes the silence for an answer.
            hub.clients.push(from, ClientMessage::Reply { ticket, reply });
            hub.refused_client();
            return;
        };
        let gateway = self.clone();
        rt::spawn_local(async move {
            let is_read = request.is_read();
            let found = gateway.call_here(request).await;
            let reply = answer.settle(found, is_read).unwrap_or_else(|code| {
                hub.refused_client();
                Refusal::from(code).into()
            });
            hub.clients.send(from, ClientMessage::Reply { ticket, reply }).await;
        });
    }

    /// Follows a session for another node's client.
    fn serve_tail(&self, from: MemberId, tail: u64, open: TailOpen) {
        if self.0.is_full_of_tails() {
            let refusal = Refusal::from(Code::EventStoreBackpressure);
            let message = TailMessage::Refused(Box::new(refusal));
            self.0.clients.push(from, ClientMessage::Tail { tail, message });
            self.0.refused_client();
            return;
        }
        let mut served = self.tail(open);
        let Home::Shard(shard) = served.home else { unreachable!("a tail of this node") };
        // Known at once: what follows on the same connection is about it.
        self.0.serve_tail((from, tail), (shard, served.id), &served.queue);
        let hub = Rc::clone(&self.0);
        rt::spawn_local(async move {
            while let Some(message) = served.next().await {
                if let TailMessage::Events { events, .. } = &message {
                    let bytes = events.iter().map(|event| event.json.len() as u64).sum();
                    if !hub.owe_served(from, (tail, served.id), bytes) {
                        break;
                    }
                }
                if !hub.clients.send(from, ClientMessage::Tail { tail, message }).await {
                    break;
                }
            }
            hub.end_served(from, tail, served.id);
        });
    }

    /// Tells this node whether the connection from another one that brings its clients' matters stands.
    pub fn client_link(&self, member: MemberId, up: bool) {
        if !up {
            self.0.lost_node(member);
        }
    }

    /// Tells all shards of the node whether a connection from another node stands.
    pub fn link(&self, member: MemberId, up: bool) {
        self.0.heard.set(member, up);
        let others = self.0.outboxes().iter().enumerate().filter(|(core, _)| *core != self.0.core);
        others.for_each(|(_, outbox)| outbox.tell(Mail::Link { member }));
        self.0.link(member);
    }

    /// Whether the node takes requests.
    pub fn readiness(&self) -> Readiness {
        self.0.stopper.readiness()
    }

    /// Whether a stop was asked for.
    pub fn stopping(&self) -> bool {
        self.0.stopper.stopping()
    }

    /// Resolves when a stop was asked for. Safe to drop and to wait for again, any number of times.
    pub async fn stopped(&self) {
        Stopped { hub: &self.0, place: None }.await;
    }

    /// The handle that stops all cores, from any thread.
    pub fn stopper(&self) -> Stopper {
        self.0.stopper.clone()
    }
}

/// A call that another node was asked to answer; nobody waits for it once this is dropped.
struct Away<'a> {
    clients: &'a ClientQueues,
    number: u64,
}

impl Drop for Away<'_> {
    fn drop(&mut self) {
        self.clients.end_call(self.number);
    }
}

fn micros_since(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_micros()).expect("five hundred thousand years")
}

/// Where a tail is served.
#[derive(Debug, Clone, Copy)]
enum Home {
    Shard(ShardId),
    Node(MemberId),
}

/// A session being followed. Dropping it ends the tail.
#[derive(Debug)]
pub struct Tail {
    hub: Rc<Hub>,
    id: TailId,
    home: Home,
    /// The last event that was received, or what the tail was opened with.
    cursor: Seq,
    queue: Rc<TailQueue>,
}

impl Tail {
    /// The next message; `None` after the last one. Events come without a hole: should another node
    /// leave some out, the tail is closed as lost.
    pub async fn next(&mut self) -> Option<TailMessage> {
        loop {
            let message = std::future::poll_fn(|cx| self.queue.poll_next(cx)).await;
            let Some(TailMessage::Events { events, .. }) = &message else { return message };
            let mut follows = events.iter().zip(self.cursor.0 + 1..);
            if follows.all(|(event, seq)| event.seq.0 == seq) {
                self.cursor = events.last().map_or(self.cursor, |event| event.seq);
                return message;
            }
            tracing::error!(home = ?self.home, "a tail has a hole");
            self.queue.cut();
        }
    }

    /// Says that events have been written to the connection: as many bytes again may come. `bytes` is
    /// the sum of the lengths of their JSON.
    pub fn written(&mut self, bytes: u64) {
        if bytes == 0 || self.queue.ended() {
            return;
        }
        match self.home {
            Home::Shard(shard) => self.hub.credit(shard, self.id, bytes),
            Home::Node(member) => {
                let credit = ClientMessage::TailCredit { tail: self.id.0, bytes };
                if !self.hub.clients.push(member, credit) {
                    self.queue.end();
                }
            }
        }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.hub.drop_tail(self.id);
        // Whoever serves it has said its last word, or was told already.
        if !self.queue.release() {
            return;
        }
        match self.home {
            Home::Shard(shard) => self.hub.close(shard, self.id),
            Home::Node(member) => {
                // If this is lost, so is the connection, and the tail with it.
                self.hub.clients.push(member, ClientMessage::TailClose { tail: self.id.0 });
            }
        }
    }
}
