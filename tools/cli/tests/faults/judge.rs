//! What comes of the histories: the log of every session, the same at every node, and whether all
//! that clients were told can be true of it.

use histories::history::{History, Stored};
use histories::verdict::{Findings, Kind};
use histories::{checker, tail_checker};

use crate::fleet::get;
use crate::ground::until;
use crate::record::{Record, SESSIONS, page};
use crate::switch::NODES;

/// The log of a session as a node has it.
fn log(record: &Record, session: usize, node: usize) -> Vec<Stored> {
    let mut events: Vec<Stored> = Vec::new();
    loop {
        let cursor = events.len() as u64;
        let id = &record.ids[session];
        let target = format!("/v1/sessions/{id}/events?cursor={cursor}&limit=1000");
        let mut body = None;
        until("a node can be read", || {
            body = get(node, &target);
            body.is_some()
        });
        let start = record.now();
        let page = page(&body.expect("it was read"), (start, start), cursor);
        let head = page.read.last_seq.expect("a page names the head");
        assert!(!page.events.is_empty() || head <= cursor, "{id} ends at {cursor} of {head}");
        events.extend(page.events);
        if head <= events.len() as u64 {
            return events;
        }
    }
}

/// Reads all logs at all nodes and lets the tails come to their end.
pub(crate) fn logs(record: &Record, findings: &mut Findings) -> Vec<Vec<Stored>> {
    let mut logs = Vec::new();
    for session in 0..SESSIONS {
        let first = log(record, session, 0);
        for node in 1..NODES {
            let other = log(record, session, node);
            if other != first {
                let text = format!("session {session} at nodes 0 and {node}");
                findings.add(Kind::ReplicasDiffer, text);
            }
        }
        record.set_head(session, first.len() as u64);
        logs.push(first);
    }
    logs
}

/// Holds every history against its log.
pub(crate) fn judge(record: &Record, logs: &[Vec<Stored>], findings: &mut Findings) {
    for (session, log) in logs.iter().enumerate() {
        let history = record.history(session);
        findings.extend(kinds(&history, log));
    }
}

/// What is wrong with one session.
fn kinds(history: &History, log: &[Stored]) -> Findings {
    let mut findings = checker::check(history, log);
    findings.extend(tail_checker::check(history, log));
    findings
}

/// The same evidence, forged, is found out: what was judged was not empty.
pub(crate) fn would_notice(record: &Record, logs: &[Vec<Stored>]) {
    for (session, log) in logs.iter().enumerate() {
        let history = record.history(session);
        let half = log.len() / 2;
        assert!(2 < half, "session {session} has events");
        let mut lost = log.clone();
        lost.remove(half);
        assert!(kinds(&history, &lost).has(Kind::Hole), "an event is lost");
        let mut doubled = log.clone();
        let seq = log.len() as u64 + 1;
        doubled.push(Stored { seq, ..log[half] });
        assert!(kinds(&history, &doubled).has(Kind::Doubled), "an event is there twice");
        let mut cut = log.clone();
        cut.truncate(half);
        assert!(kinds(&history, &cut).has(Kind::Lost), "the newest events are lost");
        let mut changed = log.clone();
        changed[half].digest ^= 1;
        assert!(kinds(&history, &changed).has(Kind::Changed), "an event was changed");
        let mut gap = History { streams: history.streams.clone(), ..History::default() };
        let longest = gap.streams.iter_mut().max_by_key(|stream| stream.events.len());
        let events = &mut longest.expect("there was a tail").events;
        assert!(2 < events.len(), "a tail of session {session} saw events");
        events.remove(events.len() / 2);
        assert!(tail_checker::check(&gap, log).has(Kind::TailGap), "a tail missed an event");
    }
}
