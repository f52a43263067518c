//! A client that follows a session: it resumes from its cursor, at any node, whenever its tail ends.

use model::api::{TailMessage, TailOpen};
use model::cluster::MemberId;
use model::error::Code;
use model::ids::Seq;

use crate::client::{Client, Move};
use crate::count::Reached;
use crate::ground::Ground;
use crate::history::{Stream, stored};
use crate::queue::{MILLI, SECOND, Time};

impl Client {
    /// Opens a tail behind what it has.
    pub(crate) fn follow(&mut self, ground: &Ground) -> Vec<Move> {
        if self.stream.is_some() {
            return Vec::new();
        }
        if !ground.is_created(self.session) {
            return vec![Move::Wake { after: 50 * MILLI }];
        }
        if self.cursor == 0 && self.dice.permille(300) {
            self.cursor = self.dice.below(ground.heads[self.session] + 1);
        }
        self.open(ground, 0)
    }

    fn open(&mut self, ground: &Ground, after: u64) -> Vec<Move> {
        self.number += 1;
        let (number, node) = (self.number, self.node);
        let session = ground.names[self.session].clone();
        let open = TailOpen { session, cursor: Seq(self.cursor) };
        let patience = Move::Patience { after: after + SECOND, number };
        vec![Move::Follow { after, node, number, open }, patience]
    }

    /// Its tail is gone: it goes to another node.
    pub(crate) fn follow_again(&mut self) -> Vec<Move> {
        self.stream = None;
        let number = self.number;
        // What still comes from the tail before is not heard.
        self.number += 1;
        self.node = self.dice.index(self.nodes);
        let after = self.dice.between(1, 100) * MILLI;
        vec![Move::HangUp { number }, Move::Wake { after }]
    }

    /// A message of the tail of this number.
    pub(crate) fn tail_message(
        &mut self,
        number: u64,
        message: TailMessage,
        ground: &mut Ground,
        now: Time,
    ) -> Vec<Move> {
        if number != self.number {
            return Vec::new();
        }
        match message {
            TailMessage::Opened => self.opened(ground),
            TailMessage::Elsewhere { leader } => self.elsewhere(leader, ground),
            TailMessage::Refused(refusal) => {
                if refusal.code == Code::SessionNotFound {
                    let text = "a tail found no session, though it is there";
                    ground.histories[self.session].wrong.push(text.to_owned());
                }
                self.follow_again()
            }
            TailMessage::Closed(_) => self.follow_again(),
            TailMessage::Events { events, replay } => {
                let Some(stream) = self.stream else { return Vec::new() };
                ground.counters.reach_times(Reached::TailReplayed, u64::from(replay));
                let bytes = events.iter().map(|event| event.json.len() as u64).sum();
                let stream = &mut ground.histories[self.session].streams[stream];
                for event in &events {
                    stream.events.push((now, stored(event.seq.0, &event.json)));
                    self.cursor = event.seq.0;
                }
                let slow = self.dice.permille(20);
                let after =
                    if slow { self.dice.between(1, SECOND) } else { self.dice.below(MILLI) };
                if self.dice.permille(5) {
                    return self.follow_again();
                }
                vec![Move::Credit { after, number, bytes }]
            }
        }
    }

    fn opened(&mut self, ground: &mut Ground) -> Vec<Move> {
        let streams = &mut ground.histories[self.session].streams;
        if !streams.is_empty() {
            ground.counters.reach(Reached::TailResumed);
        }
        streams.push(Stream { cursor: self.cursor, events: Vec::new() });
        self.stream = Some(streams.len() - 1);
        Vec::new()
    }

    fn elsewhere(&mut self, leader: Option<MemberId>, ground: &mut Ground) -> Vec<Move> {
        ground.counters.reach(Reached::ElsewhereHint);
        let Some(node) = leader.and_then(|leader| ground.node_of(leader)) else {
            return self.follow_again();
        };
        self.node = node;
        self.open(ground, 0)
    }
}
