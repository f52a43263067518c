//! What clients ask: commands are proposed where their group is led, reads wait until what is applied
//! here is as new as anything that was acknowledged.

use std::sync::Arc;

use model::api::{GroupRow, GroupsPage, Reply, Request, TailOpen};
use model::cluster::MemberId;
use model::command::Command;
use model::error::{Code, Refusal};
use model::ids::{GroupId, Now, SessionId};
use model::limits::{RECORD_BYTES_MAX, REQUEST_BYTES_PER_SHARD, REQUESTS_PER_SHARD};
use raft::NodeId;

use crate::effect::{TailId, Ticket};
use crate::group::{Group, Read, UNKNOWN};
#[cfg(feature = "sabotage")]
use crate::sabotage::Sabotage;
use crate::shard::Shard;

impl Shard {
    pub(crate) fn request(&mut self, ticket: Ticket, request: Request, now: Now) {
        let session = request.session();
        let slot = session.map(|id| self.home(id.as_str()));
        match (request, slot) {
            (Request::List(list), _) => {
                let groups = self.led_groups();
                let reply = self.lists.open(ticket, list, groups);
                self.replies.extend(reply.map(|reply| (ticket, reply)));
            }
            (Request::Groups(page), _) => {
                let reply = Reply::Groups(self.rows_of_led(page));
                self.replies.push((ticket, reply));
            }
            #[cfg(feature = "sabotage")]
            (read @ (Request::Get(_) | Request::Events(_)), Some(slot))
                if self.options.sabotage == Some(Sabotage::AnswerWithoutRound) =>
            {
                self.answer_read(slot, Read::Request(ticket, Box::new(read)), now);
            }
            (read @ (Request::Get(_) | Request::Events(_)), Some(slot)) => {
                self.read(slot, Read::Request(ticket, Box::new(read)));
            }
            (command, Some(slot)) => self.command(slot, ticket, command, now),
            (_, None) => unreachable!("all others name a session"),
        }
    }

    fn led_groups(&self) -> Vec<GroupId> {
        let led = self.groups.iter().filter(|group| group.is_serving());
        led.map(|group| group.id).collect()
    }

    /// How those of some groups are doing that are led here.
    fn rows_of_led(&self, page: GroupsPage) -> Vec<GroupRow> {
        let end = page.first.0.saturating_add(page.count);
        let asked = |id: GroupId| (page.first.0..end).contains(&id.0);
        let ids = |nodes: &[NodeId]| nodes.iter().map(|id| MemberId(id.0)).collect();
        let led = self.groups.iter().filter(|group| asked(group.id) && group.is_serving());
        let row = |group: &Group| {
            let (members, status) = (group.node.membership(), group.node.status());
            let others = group.node.progress().filter(|peer| members.is_member(peer.id));
            GroupRow {
                group: group.id,
                leader: MemberId(self.options.cluster.own.0),
                term: status.term.0,
                last: status.last.0,
                voters: ids(&members.voters),
                outgoing: ids(&members.outgoing),
                learners: ids(&members.learners),
                matched: others.map(|peer| (MemberId(peer.id.0), peer.matched.0)).collect(),
            }
        };
        led.map(row).collect()
    }

    pub(crate) fn tail_open(&mut self, tail: TailId, open: TailOpen) {
        let slot = self.home(open.session.as_str());
        self.tails.begin(tail);
        self.read(slot, Read::Tail(tail, open));
    }

    /// A command: is proposed if its session is known; if not, the session may have been made by a
    /// leader this node has not heard of, so what is applied must be proven new enough first.
    fn command(&mut self, slot: usize, ticket: Ticket, request: Request, now: Now) {
        let group = &self.groups[slot];
        if !group.is_serving() {
            let leader = group.leader();
            return self.replies.push((ticket, Reply::NotLeader { leader }));
        }
        #[cfg(feature = "sabotage")]
        if self.options.sabotage == Some(Sabotage::RefuseWithoutRound) && !self.is_known(&request) {
            return self.refuse(ticket, Code::SessionNotFound);
        }
        if self.is_known(&request) {
            self.propose(slot, ticket, request, now);
        } else {
            self.read(slot, Read::Request(ticket, Box::new(request)));
        }
    }

    fn is_known(&self, request: &Request) -> bool {
        let known = |id: &SessionId| self.machine.sessions.find(id.as_str()).is_some();
        match request {
            Request::Create(_) | Request::List(_) | Request::Groups(_) => true,
            Request::Append(c) => known(&c.session),
            Request::Patch(c) => known(&c.session),
            Request::SetArchived(c) => known(&c.session),
            Request::Get(id) => known(id),
            Request::Events(page) => known(&page.session),
        }
    }

    /// Has a read wait for a round among the group's members.
    fn read(&mut self, slot: usize, read: Read) {
        let own = self.options.cluster.own;
        let group = &mut self.groups[slot];
        if !group.is_hosted(own) {
            return self.turn_away(read, None);
        }
        if !group.gathers() {
            self.gathering.push(slot);
        }
        group.read(read);
    }

    /// Asks for one round for all reads of each group that came in this turn.
    pub(crate) fn ask_rounds(&mut self, now: Now) {
        for slot in std::mem::take(&mut self.gathering) {
            let context = self.next_context;
            self.next_context = context.wrapping_add(1);
            self.groups[slot].ask_round(context, now.monotonic);
            self.wake(slot);
        }
    }

    /// Says that a read cannot be answered here, and who may.
    pub(crate) fn turn_away(&mut self, read: Read, leader: Option<MemberId>) {
        match read {
            Read::Request(ticket, _) => self.replies.push((ticket, Reply::NotLeader { leader })),
            Read::Tail(tail, _) => self.tails.turn_away(tail, leader),
        }
    }

    /// Answers a read: what is applied is new enough.
    pub(crate) fn answer_read(&mut self, slot: usize, read: Read, now: Now) {
        let (ticket, request) = match read {
            Read::Tail(tail, open) => return self.tails.open(tail, open, &mut self.machine),
            Read::Request(ticket, request) => (ticket, *request),
        };
        let reply = match request {
            Request::Get(id) => Some(match self.machine.sessions.find(id.as_str()) {
                Some(place) => {
                    let row = self.machine.sessions.get(place).row(id.as_str());
                    Reply::Session(Box::new(row))
                }
                None => Refusal::from(Code::SessionNotFound).into(),
            }),
            Request::Events(page) => self.pages.open(ticket, page, &self.machine, &mut self.reads),
            command if !self.is_known(&command) => {
                Some(Refusal::from(Code::SessionNotFound).into())
            }
            command => return self.command(slot, ticket, command, now),
        };
        self.replies.extend(reply.map(|reply| (ticket, reply)));
    }

    /// Proposes a command, unless there is no room. Room is checked here and never when a command is
    /// applied: replicas must agree on what an entry does.
    fn propose(&mut self, slot: usize, ticket: Ticket, request: Request, now: Now) {
        let bytes = request.bytes();
        let mut command: Command =
            request.into_command().expect("reads are answered, not proposed");
        if !self.has_room(bytes) || self.waits_for_newcomer(slot) {
            return self.refuse(ticket, Code::EventStoreBackpressure);
        }
        command.set_at(now.wall.0);
        command.encode(&mut self.scratch);
        if RECORD_BYTES_MAX < self.scratch.len() {
            return self.refuse(ticket, Code::InvalidEvent);
        }
        let payload: Arc<[u8]> = Arc::from(self.scratch.as_slice());
        if self.groups[slot].leads_anew() {
            self.give_up_waiting(slot);
        }
        if let Err(not) = self.groups[slot].propose(payload, ticket, bytes) {
            let leader = not.leader.map(|id| MemberId(id.0));
            return self.replies.push((ticket, Reply::NotLeader { leader }));
        }
        self.pending_requests += 1;
        self.pending_bytes += bytes;
        self.wake(slot);
    }

    fn has_room(&self, bytes: usize) -> bool {
        let pending = self.pending_bytes + bytes;
        let hot_bytes = self.machine.hot_bytes;
        // One request may exceed what is left, or a large event would be refused for ever.
        let fits = hot_bytes + pending as u64 <= self.options.hot_bytes_max
            || (self.pending_requests == 0 && hot_bytes < self.options.hot_bytes_max);
        self.pending_requests < REQUESTS_PER_SHARD
            && pending <= REQUEST_BYTES_PER_SHARD
            && fits
            && self.wal.has_room()
    }

    /// Answers all requests of a group whose entries are not applied: nobody here can know what will
    /// become of them.
    pub(crate) fn give_up_waiting(&mut self, slot: usize) {
        let group = &mut self.groups[slot];
        group.deposed_at = None;
        for resolved in group.give_up_waiting() {
            self.pending_requests -= 1;
            self.pending_bytes -= resolved.bytes;
            self.replies.push((resolved.ticket, Refusal::from(UNKNOWN).into()));
        }
    }
}
