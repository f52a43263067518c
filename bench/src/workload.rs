//! What clients do: make sessions, append to them.

use std::ops::Range;
use std::time::{Duration, Instant};

use crate::load::{self, Verdict, Workload};
use crate::outcome::{Failure, Outcome};
use crate::pace::{Pace, Plan};
use crate::request::{Target, Template, payload, seq_of};

/// Connections that make sessions or fill them.
const FILLERS: usize = 64;
/// What takes longer to make has failed.
const FILL_TIMEOUT: Duration = Duration::from_secs(3600);

/// One append after the other by each client, each to its own sessions in turn.
#[derive(Debug)]
pub(crate) struct Appends {
    clients: Vec<Appender>,
    /// Whether no other client appends to the same sessions, so that every seq is known before.
    alone: bool,
    /// Appends not yet begun.
    left: u64,
}

#[derive(Debug)]
struct Appender {
    template: Template,
    /// The sessions it appends to, and the seq of its next event in each.
    sessions: Vec<(usize, u64)>,
    /// The one of them that is next, or under way.
    turn: usize,
    /// Whether an append was begun and is not yet done.
    pending: bool,
}

impl Appends {
    /// Divides `sessions` among `clients`, of which this workload has those in `own`. With fewer
    /// sessions than clients, several clients append to one.
    pub(crate) fn new(
        target: &Target,
        clients: usize,
        own: Range<usize>,
        sessions: usize,
        payload: &str,
    ) -> Appends {
        assert!(0 < sessions && own.end <= clients);
        let appender = |client: usize| Appender {
            template: Template::append(target, &format!("bench-{client:08}"), payload),
            sessions: if sessions < clients {
                vec![(client % sessions, 1)]
            } else {
                (client..sessions).step_by(clients).map(|session| (session, 1)).collect()
            },
            turn: 0,
            pending: false,
        };
        let alone = clients <= sessions;
        Appends { clients: own.map(appender).collect(), alone, left: u64::MAX }
    }

    /// The same, but it ends after so many appends.
    pub(crate) fn limited(self, appends: u64) -> Appends {
        Appends { left: appends, ..self }
    }

    /// Bytes of one request.
    pub(crate) fn request_bytes(&self) -> usize {
        self.clients.first().map_or(0, |client| client.template.bytes())
    }
}

impl Workload for Appends {
    fn next(&mut self, client: usize, _at: Instant, request: &mut Vec<u8>) -> bool {
        let appender = &mut self.clients[client];
        if !appender.pending {
            let Some(left) = self.left.checked_sub(1) else { return false };
            self.left = left;
            appender.pending = true;
        }
        let (session, seq) = appender.sessions[appender.turn];
        appender.template.write(request, session, seq);
        true
    }

    fn answered(&mut self, client: usize, status: u16, body: &[u8]) -> Verdict {
        let verdict = Verdict::of(status);
        if verdict != Verdict::Done {
            return verdict;
        }
        let appender = &mut self.clients[client];
        appender.pending = false;
        let (_, seq) = &mut appender.sessions[appender.turn];
        let expected = *seq;
        *seq += 1;
        appender.turn = (appender.turn + 1) % appender.sessions.len();
        match seq_of(body) {
            Some(seq) if !self.alone || seq == expected => Verdict::Done,
            _ => Verdict::Wrong,
        }
    }
}

/// Makes sessions, each client the next one not yet made.
#[derive(Debug)]
struct Creates<'a> {
    target: &'a Target,
    next: usize,
    sessions: usize,
    /// What each client is making.
    under_way: Vec<Option<usize>>,
}

impl Workload for Creates<'_> {
    fn next(&mut self, client: usize, _at: Instant, request: &mut Vec<u8>) -> bool {
        let number = match self.under_way[client] {
            Some(number) => number,
            None if self.next == self.sessions => return false,
            None => {
                self.next += 1;
                self.next - 1
            }
        };
        self.under_way[client] = Some(number);
        *request = self.target.create(number);
        true
    }

    fn answered(&mut self, client: usize, status: u16, _body: &[u8]) -> Verdict {
        // A conflict is the answer to a create whose first reply was lost.
        let verdict = if status == 409 { Verdict::Done } else { Verdict::of(status) };
        if verdict == Verdict::Done {
            self.under_way[client] = None;
        }
        verdict
    }
}

/// Makes the sessions `[0, sessions)` as fast as the server lets it.
///
/// # Errors
/// What the run failed with, or which statuses the server refused with.
pub(crate) fn create_sessions(target: &Target, sessions: usize) -> Result<(), String> {
    let clients = FILLERS.min(sessions);
    let creates = Creates { target, next: 0, sessions, under_way: vec![None; clients] };
    let outcome = exhaust(target, clients, creates)?;
    if outcome.done_ever == sessions as u64 {
        return Ok(());
    }
    let refused = refusals(&outcome);
    Err(format!("{} of {sessions} sessions were made; {refused}", outcome.done_ever))
}

/// Appends `events` events to the sessions `[0, sessions)` as fast as the server lets it.
///
/// # Errors
/// What the run failed with, or which statuses the server refused with.
pub(crate) fn append_events(
    target: &Target,
    sessions: usize,
    events: u64,
    payload_bytes: usize,
) -> Result<(), String> {
    let payload = payload(payload_bytes)?;
    let appends = Appends::new(target, FILLERS, 0..FILLERS, sessions, &payload).limited(events);
    let outcome = exhaust(target, FILLERS, appends)?;
    if outcome.done_ever == events {
        return Ok(());
    }
    let refused = refusals(&outcome);
    Err(format!("{} of {events} events were appended; {refused}", outcome.done_ever))
}

/// Runs a workload to its own end.
fn exhaust(target: &Target, clients: usize, work: impl Workload) -> Result<Outcome, String> {
    let plan = Plan {
        address: target.address,
        pace: Pace::Closed,
        warmup: Duration::ZERO,
        measured: FILL_TIMEOUT,
        drain: Duration::ZERO,
    };
    let ran = load::run(&plan, vec![(clients, work)], &mut || {});
    ran.map(|(outcome, _)| outcome).map_err(|failure: Failure| failure.to_string())
}

/// The refusals in words.
pub(crate) fn refusals(outcome: &Outcome) -> String {
    let parts: Vec<String> =
        outcome.refused.iter().map(|(status, count)| format!("{count} with {status}")).collect();
    if parts.is_empty() {
        "none refused".to_owned()
    } else {
        format!("refused {}", parts.join(", "))
    }
}
