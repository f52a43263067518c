//! Tails: each has a cursor and a window. Replay and live are one operation: whenever the session has
//! an event behind the cursor and the window has room, the next events go out, from memory or from a
//! sealed block. Nothing is buffered for a slow reader; the log itself is the buffer.

use std::collections::{BTreeMap, BTreeSet};

use model::api::{Event, TailEnd, TailMessage, TailOpen};
use model::cluster::MemberId;
use model::error::Code;
use model::ids::{GroupId, Seq, SessionId};
use model::limits::{TAIL_FETCH_EVENTS, TAIL_STALL_SECONDS, TAIL_WINDOW_BYTES, TAILS_PER_SHARD};

use crate::chunk::Damage;
use crate::effect::TailId;
use crate::machine::Machine;
use crate::reads::{Purpose, Reads, Wish};
use crate::session::Session;
use crate::sessions::Slot;

/// One reader of one session.
#[derive(Debug)]
struct Tail {
    session: SessionId,
    slot: Slot,
    /// The last event handed out.
    cursor: Seq,
    /// Bytes handed out and not yet written by the connection.
    owed: u64,
    /// Whether it had everything when it was last looked at: what comes now is live.
    caught_up: bool,
    /// Whether a block is on its way.
    fetching: bool,
    /// Since when its window is full while events wait, in monotonic microseconds.
    stalled_since: Option<u64>,
}

/// All tails of a shard.
#[derive(Debug, Default)]
pub(crate) struct Tails {
    tails: BTreeMap<TailId, Tail>,
    /// Sessions with new events in this turn.
    changed: BTreeSet<Slot>,
    /// Those that may have something to send.
    awake: BTreeSet<TailId>,
    stalled: BTreeSet<TailId>,
    /// Those that wait until their session's head is known.
    opening: BTreeSet<TailId>,
    /// What connections receive at the end of the turn.
    pub(crate) messages: Vec<(TailId, TailMessage)>,
    /// Events handed out since the shard was opened.
    pub(crate) events_sent: u64,
    /// Tails closed as too slow since the shard was opened.
    pub(crate) too_slow: u64,
}

impl Tails {
    pub(crate) fn len(&self) -> usize {
        self.tails.len()
    }

    /// Notes that a tail is to be opened once its session's head is known.
    pub(crate) fn begin(&mut self, id: TailId) {
        self.opening.insert(id);
    }

    /// It cannot be opened here.
    pub(crate) fn turn_away(&mut self, id: TailId, leader: Option<MemberId>) {
        if self.opening.remove(&id) {
            self.messages.push((id, TailMessage::Elsewhere { leader }));
        }
    }

    pub(crate) fn open(&mut self, id: TailId, open: TailOpen, machine: &mut Machine) {
        if !self.opening.remove(&id) {
            return;
        }
        let found = machine.sessions.find(open.session.as_str());
        let slot = match found {
            Some(slot) if self.tails.len() < TAILS_PER_SHARD => slot,
            Some(_) => return self.refuse(id, Code::EventStoreBackpressure),
            None => return self.refuse(id, Code::SessionNotFound),
        };
        machine.sessions.get_mut(slot).tails.push(id);
        let tail = Tail {
            session: open.session,
            slot,
            cursor: open.cursor,
            owed: 0,
            caught_up: false,
            fetching: false,
            stalled_since: None,
        };
        let before = self.tails.insert(id, tail);
        assert!(before.is_none(), "a tail's name is used once");
        self.messages.push((id, TailMessage::Opened));
        self.awake.insert(id);
    }

    /// There is no such tail.
    pub(crate) fn refuse(&mut self, id: TailId, code: Code) {
        self.messages.push((id, TailMessage::Refused(Box::new(code.into()))));
    }

    /// The connection is gone, or has been told that nothing follows.
    pub(crate) fn close(&mut self, id: TailId, machine: &mut Machine) {
        self.opening.remove(&id);
        let Some(tail) = self.tails.remove(&id) else { return };
        self.awake.remove(&id);
        self.stalled.remove(&id);
        let tails = &mut machine.sessions.get_mut(tail.slot).tails;
        let place = tails.iter().position(|other| *other == id).expect("the session knows it");
        tails.swap_remove(place);
    }

    /// Groups have left this node, or nobody leads them: whoever follows a session of one resumes elsewhere.
    pub(crate) fn close_groups(&mut self, groups: &BTreeSet<GroupId>, machine: &mut Machine) {
        let is_there =
            |(_, tail): &(&TailId, &Tail)| groups.contains(&machine.sessions.get(tail.slot).group);
        let ids: Vec<TailId> = self.tails.iter().filter(is_there).map(|(id, _)| *id).collect();
        for id in ids {
            self.end(id, TailEnd::Lost, machine);
        }
    }

    fn end(&mut self, id: TailId, end: TailEnd, machine: &mut Machine) {
        self.messages.push((id, TailMessage::Closed(end)));
        self.close(id, machine);
    }

    /// A connection has written what it was given.
    pub(crate) fn credit(&mut self, id: TailId, bytes: u64) {
        let Some(tail) = self.tails.get_mut(&id) else { return };
        assert!(bytes <= tail.owed, "a connection writes what it was given");
        tail.owed -= bytes;
        tail.stalled_since = None;
        self.stalled.remove(&id);
        self.awake.insert(id);
    }

    /// A session has new events.
    pub(crate) fn wake(&mut self, slot: Slot) {
        self.changed.insert(slot);
    }

    /// Sends what can be sent, to every tail that may have something.
    pub(crate) fn pump(&mut self, monotonic: u64, machine: &mut Machine, reads: &mut Reads) {
        for slot in std::mem::take(&mut self.changed) {
            self.awake.extend(&machine.sessions.get(slot).tails);
        }
        for id in std::mem::take(&mut self.awake) {
            let unreadable = self.pump_one(id, monotonic, machine, reads);
            if unreadable {
                self.end(id, TailEnd::Unreadable, machine);
            }
        }
    }

    /// Returns whether events behind the cursor are nowhere.
    fn pump_one(
        &mut self,
        id: TailId,
        monotonic: u64,
        machine: &Machine,
        reads: &mut Reads,
    ) -> bool {
        let Some(tail) = self.tails.get_mut(&id) else { return false };
        let session = machine.sessions.get(tail.slot);
        while !tail.fetching && tail.cursor < session.last_seq {
            let next = tail.cursor.next();
            // What a block holds is not known before it is read; it may exceed the window by itself.
            let bytes = session.hot_event(next).map_or(1, |event| event.json.len() as u64);
            if 0 < tail.owed && TAIL_WINDOW_BYTES < tail.owed + bytes {
                tail.stalled_since.get_or_insert(monotonic);
                self.stalled.insert(id);
                return false;
            }
            if next < session.hot_first() {
                let Some(extent) = session.extent_of(next) else { return true };
                let wish = Wish {
                    purpose: Purpose::Tail(id),
                    session: tail.session.clone(),
                    extent,
                    cursor: tail.cursor,
                };
                tail.fetching = true;
                tail.caught_up = false;
                reads.want(wish);
            } else {
                let room = TAIL_WINDOW_BYTES.saturating_sub(tail.owed);
                let events = hot_events(session, next, room);
                self.events_sent += events.len() as u64;
                let message = tail.hand_out(events, session.last_seq);
                self.messages.push((id, message));
            }
        }
        if session.last_seq <= tail.cursor {
            tail.caught_up = true;
        }
        false
    }

    /// A block a tail waits for is here.
    pub(crate) fn fetched(
        &mut self,
        id: TailId,
        events: Result<Vec<Event>, Damage>,
        machine: &mut Machine,
    ) {
        let Some(tail) = self.tails.get_mut(&id) else { return };
        assert!(tail.fetching, "a block comes to those who wait for it");
        tail.fetching = false;
        match events {
            Ok(events) => {
                self.events_sent += events.len() as u64;
                let last_seq = machine.sessions.get(tail.slot).last_seq;
                let message = tail.hand_out(events, last_seq);
                self.messages.push((id, message));
                self.awake.insert(id);
            }
            Err(_) => self.end(id, TailEnd::Unreadable, machine),
        }
    }

    /// Closes tails whose connection has not written anything for too long.
    pub(crate) fn close_stalled(&mut self, monotonic: u64, machine: &mut Machine) {
        let patience = TAIL_STALL_SECONDS * 1_000_000;
        let is_over = |id: &&TailId| {
            let since = self.tails.get(*id).and_then(|tail| tail.stalled_since);
            since.is_some_and(|since| patience <= monotonic.saturating_sub(since))
        };
        let over: Vec<TailId> = self.stalled.iter().filter(is_over).copied().collect();
        for id in over {
            self.too_slow += 1;
            self.end(id, TailEnd::TooSlow, machine);
        }
    }

    pub(crate) fn has_stalled(&self) -> bool {
        !self.stalled.is_empty()
    }
}

impl Tail {
    fn hand_out(&mut self, events: Vec<Event>, last_seq: Seq) -> TailMessage {
        let first = events.first().expect("something is handed out");
        assert_eq!(first.seq, self.cursor.next(), "a tail has no hole");
        self.cursor = events[events.len() - 1].seq;
        assert!(self.cursor <= last_seq, "a tail is never ahead of what is committed");
        self.owed += events.iter().map(|event| event.json.len() as u64).sum::<u64>();
        TailMessage::Events { events, replay: !self.caught_up }
    }
}

/// Events in memory from `next`: as many as fit the room, at least one.
pub(crate) fn hot_events(session: &Session, next: Seq, room: u64) -> Vec<Event> {
    assert!(session.hot_first() <= next && next <= session.last_seq);
    let skip = usize::try_from(next.0 - session.hot_first().0).expect("in memory");
    let mut bytes = 0;
    let mut events = Vec::new();
    for (seq, json) in (next.0..).zip(session.hot.range(skip..)).take(TAIL_FETCH_EVENTS) {
        bytes += json.len() as u64;
        if room < bytes && !events.is_empty() {
            break;
        }
        events.push(Event { seq: Seq(seq), json: json.clone() });
    }
    events
}
