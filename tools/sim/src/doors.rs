//! Where clients and nodes meet: requests and tails on their way to a node, answers on their way back.

use model::api::{Reply, Request, TailMessage, TailOpen};
use shard::effect::{Input, TailId, Ticket};

use crate::client::Move;
use crate::event::Event;
use crate::node::Caller;
use crate::world::{HARNESS, World};

/// Microseconds between a client and a node.
const CLIENT_MICROS: u64 = 200;

impl World {
    /// Something happens between a client and a node.
    pub(crate) fn client_event(&mut self, event: Event) {
        let now = self.now();
        let (client, moves) = match event {
            Event::Wake { client } => (client, self.clients[client].wake(&mut self.ground, now)),
            Event::Patience(Caller { client, number }) => {
                let ground = &mut self.ground;
                (client, self.clients[client].lose_patience(number, ground, now))
            }
            Event::CutOff(Caller { client, number }) if client != HARNESS => {
                (client, self.clients[client].cut_off(number, &mut self.ground, now))
            }
            Event::Answer(Caller { client: HARNESS, number }, reply) => {
                // An answer to an older question says nothing.
                if number == self.asked {
                    self.heard = Some(reply);
                }
                return;
            }
            Event::Answer(Caller { client, number }, reply) => {
                let ground = &mut self.ground;
                (client, self.clients[client].answer(number, reply, ground, now))
            }
            Event::TailMessage(Caller { client, number }, message) => {
                let ground = &mut self.ground;
                (client, self.clients[client].tail_message(number, message, ground, now))
            }
            Event::Arrive { caller, node, request } => return self.arrive(caller, node, request),
            Event::Follow { caller, node, open } => return self.follow(caller, node, open),
            Event::Credit { caller, bytes } => {
                let input = |tail| Input::TailCredit { tail, bytes };
                return self.tell_tail(caller, false, input);
            }
            Event::HangUp(caller) => {
                return self.tell_tail(caller, true, |tail| Input::TailClose { tail });
            }
            _ => return,
        };
        self.carry_out(client, moves);
    }

    /// Does what a client wants done.
    pub(crate) fn carry_out(&mut self, client: usize, moves: Vec<Move>) {
        let now = self.now();
        for step in moves {
            let caller = |number| Caller { client, number };
            let (at, event) = match step {
                Move::Wake { after } => (now + after, Event::Wake { client }),
                Move::Patience { after, number } => (now + after, Event::Patience(caller(number))),
                Move::Ask { after, node, number, request } => {
                    let at = now + after + CLIENT_MICROS + self.turns.below(CLIENT_MICROS);
                    (at, Event::Arrive { caller: caller(number), node, request })
                }
                Move::Follow { after, node, number, open } => {
                    let caller = caller(number);
                    (now + after + CLIENT_MICROS, Event::Follow { caller, node, open })
                }
                Move::Credit { after, number, bytes } => {
                    let caller = caller(number);
                    (now + after + CLIENT_MICROS, Event::Credit { caller, bytes })
                }
                Move::HangUp { number } => (now + CLIENT_MICROS, Event::HangUp(caller(number))),
            };
            self.queue.plan(at, event);
        }
    }

    /// A request arrives. A node that is down refuses the connection.
    pub(crate) fn arrive(&mut self, caller: Caller, node: usize, request: Request) {
        let shards = u64::from(self.nodes[node].shards);
        let shard = match request.session() {
            Some(session) => self.placement(node).shard_of(session.as_str()).0,
            // Whoever wants all sessions asks each shard, one after the other.
            None => u32::try_from(caller.number % shards).expect("a shard of the node"),
        };
        self.next_name += 1;
        let ticket = Ticket(self.next_name);
        let Some(process) = &mut self.nodes[node].process else {
            let at = self.now() + CLIENT_MICROS;
            return self.queue.plan(at, Event::CutOff(caller));
        };
        process.tickets.insert(ticket, caller);
        self.input(node, shard, Input::Request { ticket, request });
    }

    fn follow(&mut self, caller: Caller, node: usize, open: TailOpen) {
        let shard = self.placement(node).shard_of(open.session.as_str()).0;
        self.next_name += 1;
        let tail = TailId(self.next_name);
        let Some(process) = &mut self.nodes[node].process else {
            let at = self.now() + CLIENT_MICROS;
            return self.queue.plan(at, Event::CutOff(caller));
        };
        process.tails.insert(tail, (caller, shard));
        process.followers.insert(caller, tail);
        self.input(node, shard, Input::TailOpen { tail, open });
    }

    fn tell_tail(&mut self, caller: Caller, ends: bool, input: impl Fn(TailId) -> Input) {
        for node in 0..self.nodes.len() {
            let Some(process) = &mut self.nodes[node].process else { continue };
            let Some(tail) = process.followers.get(&caller).copied() else { continue };
            let (_, shard) = process.tails[&tail];
            if ends {
                process.followers.remove(&caller);
                process.tails.remove(&tail);
            }
            return self.input(node, shard, input(tail));
        }
    }

    pub(crate) fn reply(&mut self, node: usize, ticket: Ticket, reply: Reply) {
        let at = self.now() + CLIENT_MICROS + self.turns.below(CLIENT_MICROS);
        let Some(process) = &mut self.nodes[node].process else { return };
        let caller = process.tickets.remove(&ticket);
        let caller = caller.expect("a reply answers a request, once");
        self.queue.plan(at, Event::Answer(caller, reply));
    }

    pub(crate) fn tail(&mut self, node: usize, tail: TailId, message: TailMessage) {
        let at = self.now() + CLIENT_MICROS;
        let Some(process) = &mut self.nodes[node].process else { return };
        let Some((caller, _)) = process.tails.get(&tail).copied() else { return };
        if !matches!(message, TailMessage::Opened | TailMessage::Events { .. }) {
            process.tails.remove(&tail);
            process.followers.remove(&caller);
        }
        self.queue.plan(at, Event::TailMessage(caller, message));
    }
}
