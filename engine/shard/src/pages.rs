//! Requests that take more than one turn: a page of events that are partly on disk, a page of
//! sessions that many do not match.

use std::collections::{BTreeMap, VecDeque};

use model::api::{Event, EventsPage, List, Reply, SessionRow, Visibility};
use model::error::{Code, Refusal};
use model::ids::{GroupId, Seq, SessionId};
use model::intent::INTENT_SESSION;
use model::json::has_members;
use model::limits::{
    LIST_SCAN_BYTES_PER_TURN, LIST_SCAN_PER_TURN, LISTS_PER_SHARD, PAGE_BYTES_MAX, PAGES_PER_SHARD,
};

use crate::chunk::Damage;
use crate::effect::Ticket;
use crate::machine::Machine;
use crate::reads::{Purpose, Reads, Wish};
use crate::session::Session;
use crate::sessions::{Sessions, Slot};
use crate::tails::hot_events;

/// Pages of events under way.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    pages: BTreeMap<Ticket, Page>,
}

#[derive(Debug)]
struct Page {
    session: SessionId,
    slot: Slot,
    cursor: Seq,
    limit: usize,
    bytes: usize,
    events: Vec<Event>,
}

impl Pages {
    /// Begins a page. Returns its reply at once when memory holds all of it.
    pub(crate) fn open(
        &mut self,
        ticket: Ticket,
        ask: EventsPage,
        machine: &Machine,
        reads: &mut Reads,
    ) -> Option<Reply> {
        if PAGES_PER_SHARD <= self.pages.len() {
            return Some(Reply::from(Refusal::from(Code::EventStoreBackpressure)));
        }
        let Some(slot) = machine.sessions.find(ask.session.as_str()) else {
            return Some(Reply::from(Refusal::from(Code::SessionNotFound)));
        };
        let page = Page {
            session: ask.session,
            slot,
            cursor: ask.cursor,
            limit: ask.limit as usize,
            bytes: 0,
            events: Vec::new(),
        };
        self.go_on(ticket, page, machine, reads)
    }

    /// A block a page waits for is here.
    pub(crate) fn fetched(
        &mut self,
        ticket: Ticket,
        events: Result<Vec<Event>, Damage>,
        machine: &Machine,
        reads: &mut Reads,
    ) -> Option<Reply> {
        let mut page = self.pages.remove(&ticket).expect("a page waits for the blocks it wants");
        match events {
            Ok(events) => page.take(events),
            Err(_) => {
                return Some(Reply::from(Refusal::from(Code::ArchiveReadUnavailable)));
            }
        }
        self.go_on(ticket, page, machine, reads)
    }

    fn go_on(
        &mut self,
        ticket: Ticket,
        mut page: Page,
        machine: &Machine,
        reads: &mut Reads,
    ) -> Option<Reply> {
        let session = machine.sessions.get(page.slot);
        while !page.is_full() && page.cursor < session.last_seq {
            let next = page.cursor.next();
            if session.hot_first() <= next {
                let room = (PAGE_BYTES_MAX - page.bytes) as u64;
                page.take(hot_events(session, next, room));
                continue;
            }
            let Some(extent) = session.extent_of(next) else {
                return Some(Reply::from(Refusal::from(Code::EventGapDetected)));
            };
            let (session, cursor) = (page.session.clone(), page.cursor);
            reads.want(Wish { purpose: Purpose::Page(ticket), session, extent, cursor });
            self.pages.insert(ticket, page);
            return None;
        }
        Some(Reply::Events { events: page.events, last_seq: session.last_seq })
    }
}

impl Page {
    fn is_full(&self) -> bool {
        self.events.len() == self.limit || PAGE_BYTES_MAX <= self.bytes
    }

    fn take(&mut self, events: Vec<Event>) {
        for event in events {
            if self.is_full() {
                return;
            }
            assert_eq!(event.seq, self.cursor.next(), "a page has no hole");
            if !self.events.is_empty() && PAGE_BYTES_MAX < self.bytes + event.json.len() {
                self.bytes = PAGE_BYTES_MAX;
                return;
            }
            self.bytes += event.json.len();
            self.cursor = event.seq;
            self.events.push(event);
        }
    }
}

/// Lists under way, each looking at some sessions a turn.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    scans: VecDeque<Scan>,
}

#[derive(Debug)]
struct Scan {
    ticket: Ticket,
    list: List,
    /// The groups led here when it began, ascending: others' sessions are not shown.
    groups: Vec<GroupId>,
    rows: Vec<SessionRow>,
    bytes: usize,
}

impl Lists {
    pub(crate) fn is_empty(&self) -> bool {
        self.scans.is_empty()
    }

    /// Begins a list of the sessions of some groups, unless too many are under way.
    pub(crate) fn open(
        &mut self,
        ticket: Ticket,
        list: List,
        groups: Vec<GroupId>,
    ) -> Option<Reply> {
        assert!(groups.is_sorted(), "groups are looked up by search");
        if LISTS_PER_SHARD <= self.scans.len() {
            let refusal = Refusal::from(Code::EventStoreBackpressure);
            return Some(refusal.into());
        }
        self.scans.push_back(Scan { ticket, list, groups, rows: Vec::new(), bytes: 0 });
        None
    }

    /// Lets the list that waited longest look at some sessions. `led` says which groups are still led
    /// here when it ends.
    pub(crate) fn work(
        &mut self,
        sessions: &Sessions,
        led: impl Fn(GroupId) -> bool,
    ) -> Option<(Ticket, Reply)> {
        let mut scan = self.scans.pop_front()?;
        let cursor = scan.list.cursor.take();
        let mut bytes = 0;
        for (looked, (id, slot)) in sessions.after(cursor.as_deref()).enumerate() {
            let session = sessions.get(slot);
            let size = id.as_str().len() + session.text_bytes();
            if id.as_str() != INTENT_SESSION && scan.wants(session) {
                if scan.is_full(size) {
                    return Some(scan.end(true, led));
                }
                scan.bytes += size;
                scan.rows.push(session.row(id.as_str()));
            }
            bytes += size;
            if looked + 1 == LIST_SCAN_PER_TURN || LIST_SCAN_BYTES_PER_TURN <= bytes {
                scan.list.cursor = Some(id.as_str().into());
                self.scans.push_back(scan);
                return None;
            }
        }
        Some(scan.end(false, led))
    }
}

impl Scan {
    fn wants(&self, session: &Session) -> bool {
        let visible = match self.list.visibility {
            Visibility::Active => !session.archived,
            Visibility::Archived => session.archived,
            Visibility::All => true,
        };
        visible
            && self.groups.binary_search(&session.group).is_ok()
            && has_members(session.metadata(), &self.list.metadata)
    }

    /// Whether a row of `size` bytes belongs to the next page. A page holds one row at least.
    fn is_full(&self, size: usize) -> bool {
        self.rows.len() == self.list.limit as usize
            || (!self.rows.is_empty() && PAGE_BYTES_MAX < self.bytes + size)
    }

    fn end(self, more: bool, led: impl Fn(GroupId) -> bool) -> (Ticket, Reply) {
        let groups = self.groups.into_iter().filter(|group| led(*group)).collect();
        (self.ticket, Reply::Sessions { rows: self.rows, more, groups })
    }
}
