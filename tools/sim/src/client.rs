//! One client. It talks to any node, goes where a hint sends it, retries what it may retry, and
//! writes down what it asked and what it was told.

use model::api::{Appended, EventsPage, Reply, Request, TailOpen, Visibility};
use model::cluster::MemberId;
use model::error::{Code, Effect, Refusal};
use model::ids::Seq;

use crate::admin::Change;
use crate::count::Reached;
use crate::dice::Dice;
use crate::ground::Ground;
use crate::history::{Outcome, Page, Read, Stored, stored};
use crate::queue::{MILLI, SECOND, Time};

/// What a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Appends with a producer's count, and retries until it is told.
    Producer,
    /// Appends with a key of its own each, and retries.
    Keyed,
    /// Appends without anything to recognize a retry by, so it does not retry.
    Plain,
    /// Requires a head.
    Careful,
    /// Reads heads and pages.
    Reader,
    /// Follows a session.
    Tailer,
    /// Changes, hides and lists sessions.
    Librarian,
}

/// What the world must do for a client.
#[derive(Debug)]
pub(crate) enum Move {
    /// Let it go on after so many microseconds.
    Wake { after: u64 },
    /// Tell it when it has waited so long for an answer.
    Patience { after: u64, number: u64 },
    /// Carry a request to a node.
    Ask { after: u64, node: usize, number: u64, request: Request },
    /// Open a tail at a node.
    Follow { after: u64, node: usize, number: u64, open: TailOpen },
    /// Tell the node that so many bytes of a tail were written.
    Credit { after: u64, number: u64, bytes: u64 },
    /// Close a tail.
    HangUp { number: u64 },
}

/// What a client asks for.
#[derive(Debug, Clone)]
pub(crate) enum What {
    /// To make its session.
    Create,
    /// An append, by its place in the history.
    Append { place: usize },
    /// A session's row.
    Get,
    /// Events behind a seq.
    Page { cursor: u64 },
    /// A change of title and metadata, by its place in the history.
    Patch { place: usize },
    /// To hide a session, or show it again.
    Archive { archived: bool },
    /// A list of the sessions of a shard.
    List { visibility: Visibility },
}

#[derive(Debug)]
struct Call {
    what: What,
    request: Request,
    start: Time,
    deadline: Time,
    /// Where an answer may come from.
    asked: Option<usize>,
}

/// One client.
#[derive(Debug)]
pub(crate) struct Client {
    id: u32,
    role: Role,
    pub(crate) session: usize,
    pub(crate) dice: Dice,
    /// Whom it talks to.
    pub(crate) node: usize,
    pub(crate) nodes: usize,
    think_max: u64,
    padding_max: u64,
    /// Names what it waits for; answers to anything before are not heard.
    pub(crate) number: u64,
    call: Option<Call>,
    /// An append whose outcome it does not know and tries again.
    unresolved: Option<usize>,
    /// The count of its producer.
    count: u64,
    /// Where its subscription is; `None` while it has none.
    pub(crate) stream: Option<usize>,
    pub(crate) cursor: u64,
    /// When something it asked for last worked, by when it was asked.
    worked: Time,
}

impl Client {
    /// A client of one session.
    pub(crate) fn new(
        id: usize,
        role: Role,
        (session, node, nodes): (usize, usize, usize),
        (think_max, padding_max): (u64, u64),
        dice: Dice,
    ) -> Client {
        Client {
            id: u32::try_from(id).expect("clients are few"),
            role,
            session,
            dice,
            node,
            nodes,
            think_max,
            padding_max,
            number: 0,
            call: None,
            unresolved: None,
            count: 0,
            stream: None,
            cursor: 0,
            worked: Time(0),
        }
    }

    /// Whether it waits for nothing and knows what became of all it asked.
    pub(crate) fn is_done(&self) -> bool {
        self.call.is_none() && self.unresolved.is_none()
    }

    /// Whether what it does works since `since`: something it asked for later was done, or its tail
    /// has all up to these heads of the sessions.
    pub(crate) fn works(&self, since: Time, heads: &[u64]) -> bool {
        match self.role {
            Role::Tailer => self.stream.is_some() && heads[self.session] <= self.cursor,
            _ => since <= self.worked,
        }
    }

    /// Whether it alone says which sessions are archived.
    pub(crate) fn is_archivist(&self, ground: &Ground) -> bool {
        self.id as usize == ground.archivist
    }

    /// Whether it follows a session.
    pub(crate) fn is_tailer(&self) -> bool {
        self.role == Role::Tailer
    }

    /// What it is and how it is doing, for a report.
    pub(crate) fn describe(&self) -> String {
        let Client { id, role, session, node, cursor, number, .. } = self;
        let what = self.call.as_ref().map(|call| (&call.what, call.start, call.asked));
        format!(
            "client {id} ({role:?}) of session {session} at node {node}: call {number} {what:?}, \
             unresolved {:?}, cursor {cursor}, worked {}",
            self.unresolved, self.worked
        )
    }

    /// It may do something.
    pub(crate) fn wake(&mut self, ground: &mut Ground, now: Time) -> Vec<Move> {
        if self.call.is_some() {
            return Vec::new();
        }
        if self.role == Role::Tailer {
            return self.follow(ground);
        }
        let Some(what) = self.choose(ground) else {
            let wake = Move::Wake { after: 20 * MILLI };
            return if ground.stopped { Vec::new() } else { vec![wake] };
        };
        let request = match &what {
            What::Create => ground.create(self.session, now),
            What::Append { place } => {
                ground.attempt((self.session, *place), self.role == Role::Keyed, now)
            }
            What::Get => Request::Get(ground.names[self.session].clone()),
            What::Page { cursor } => Request::Events(EventsPage {
                session: ground.names[self.session].clone(),
                cursor: Seq(*cursor),
                limit: 50,
            }),
            admin => self.admin_request(admin, ground, now),
        };
        let patience = self.patience();
        self.number += 1;
        let (number, node) = (self.number, self.node);
        let deadline = now + patience;
        let asked = Some(node);
        self.call = Some(Call { what, request: request.clone(), start: now, deadline, asked });
        vec![
            Move::Ask { after: 0, node, number, request },
            Move::Patience { after: patience, number },
        ]
    }

    fn patience(&mut self) -> u64 {
        match self.dice.below(10) {
            0 => self.dice.between(5 * MILLI, 100 * MILLI),
            1..=4 => SECOND,
            _ => 3 * SECOND,
        }
    }

    fn choose(&mut self, ground: &mut Ground) -> Option<What> {
        if ground.hushed {
            return None;
        }
        if let Some(place) = self.unresolved {
            return Some(What::Append { place });
        }
        if ground.stopped {
            return None;
        }
        let owns = self.id as usize == self.session;
        if !ground.is_created(self.session) {
            if owns {
                return Some(What::Create);
            }
            if !self.dice.permille(50) {
                return None;
            }
        }
        if self.role == Role::Librarian {
            return self.administer(ground);
        }
        let reads = self.role == Role::Reader || self.dice.permille(100);
        if reads && self.dice.permille(500) {
            return Some(What::Get);
        }
        if reads {
            let head = ground.heads[self.session];
            let near = head.saturating_sub(self.dice.below(20));
            let far = self.dice.below(head + 1);
            return Some(What::Page { cursor: self.dice.pick(&[near, far]) });
        }
        Some(What::Append { place: self.want(ground) })
    }

    fn want(&mut self, ground: &mut Ground) -> usize {
        let padding = self.dice.below(self.padding_max + 1);
        let padding = usize::try_from(padding).expect("events are small");
        let producer = (self.role == Role::Producer).then(|| {
            self.count += 1;
            (self.id, self.count)
        });
        let expected = (self.role == Role::Careful).then(|| {
            let wrong = u64::from(self.dice.permille(100));
            ground.heads[self.session] + wrong
        });
        ground.want(self.session, padding, producer, expected)
    }

    /// An answer has come, to the call of this number.
    pub(crate) fn answer(
        &mut self,
        number: u64,
        reply: Reply,
        ground: &mut Ground,
        now: Time,
    ) -> Vec<Move> {
        if number != self.number {
            return Vec::new();
        }
        let Some(call) = self.call.take() else { return Vec::new() };
        match reply {
            Reply::NotLeader { leader } => self.go_elsewhere(call, leader, ground, now),
            reply => self.told(&call, reply, ground, now),
        }
    }

    /// Nothing was done, and somebody else may do it.
    fn go_elsewhere(
        &mut self,
        mut call: Call,
        leader: Option<MemberId>,
        ground: &mut Ground,
        now: Time,
    ) -> Vec<Move> {
        ground.counters.reach(Reached::ElsewhereHint);
        let hint = leader.and_then(|leader| ground.node_of(leader));
        let after = if hint.is_some() { 0 } else { self.dice.between(10, 60) * MILLI };
        let node = hint.unwrap_or_else(|| self.dice.index(self.nodes));
        if call.deadline <= now + after {
            call.asked = None;
            return self.give_up(&call, ground, now);
        }
        call.asked = Some(node);
        let moves =
            vec![Move::Ask { after, node, number: self.number, request: call.request.clone() }];
        self.call = Some(call);
        moves
    }

    fn told(&mut self, call: &Call, reply: Reply, ground: &mut Ground, now: Time) -> Vec<Move> {
        let times = (call.start, now);
        if let (What::Create | What::Get, Reply::Session(row)) = (&call.what, &reply) {
            let tells = self.is_archivist(ground);
            let admin = &mut ground.admins[self.session];
            admin.show(row, times, false);
            if tells && !admin.agrees(row) {
                let (known, history) = (admin.archived, &mut ground.histories[self.session]);
                history.wrong.push(format!("{known:?} was archived, {} is", row.archived));
            }
        }
        let history = &mut ground.histories[self.session];
        let read = |last_seq| Read { start: call.start, end: now, last_seq };
        let mut worked = true;
        match (&call.what, reply) {
            (What::Append { place }, reply) => {
                let outcome = self.outcome(call, &reply, ground);
                worked = matches!(outcome, Outcome::Acked { .. } | Outcome::Conflict { .. });
                self.resolve(*place, outcome, ground, now);
            }
            (what @ (What::Patch { .. } | What::Archive { .. }), reply) => {
                worked = self.administered((what, call.start), &reply, (ground, now));
            }
            (What::List { visibility }, Reply::Sessions { rows, .. }) => {
                self.listed((&rows, *visibility), ground, times);
            }
            (What::Create, Reply::Session(_)) => {
                history.created.get_or_insert(now);
            }
            (What::Create, Reply::Refused(refusal)) if refusal.code == Code::SessionExists => {
                history.created.get_or_insert(now);
            }
            (What::Get, Reply::Session(row)) => {
                history.reads.push(read(Some(row.last_seq.0)));
                ground.saw_head(self.session, row.last_seq.0);
            }
            (What::Page { cursor }, Reply::Events { events, last_seq }) => {
                let events: Vec<Stored> =
                    events.iter().map(|event| stored(event.seq.0, &event.json)).collect();
                let (cursor, read) = (*cursor, read(Some(last_seq.0)));
                history.pages.push(Page { read, cursor, events });
                ground.saw_head(self.session, last_seq.0);
            }
            (_, Reply::Refused(refusal)) if refusal.code == Code::SessionNotFound => {
                history.reads.push(read(None));
            }
            (_, reply) => {
                worked = false;
                self.refused(call, &reply, ground);
            }
        }
        if worked {
            self.worked = self.worked.max(call.start);
        }
        self.rest(ground)
    }

    fn refused(&self, call: &Call, reply: &Reply, ground: &mut Ground) {
        let Reply::Refused(refusal) = reply else {
            let text = format!("{:?} was answered with {reply:?}", call.what);
            return ground.histories[self.session].wrong.push(text);
        };
        match refusal.code {
            Code::EventStoreBackpressure => ground.counters.reach(Reached::RefusedBusy),
            Code::RaftTimeout | Code::RaftUnavailable | Code::ArchiveReadUnavailable => {}
            code => {
                let text = format!("{:?} was refused with {code:?}", call.what);
                ground.histories[self.session].wrong.push(text);
            }
        }
    }

    /// What the answer to an append says.
    fn outcome(&self, call: &Call, reply: &Reply, ground: &mut Ground) -> Outcome {
        let history = &mut ground.histories[self.session];
        let refusal = match reply {
            Reply::Appended(Appended { seq, last_seq, deduped, .. }) => {
                if *deduped {
                    ground.counters.reach(Reached::DedupedRetry);
                }
                let (seq, last_seq) = (seq.0, last_seq.0);
                return Outcome::Acked { seq, last_seq, deduped: *deduped };
            }
            Reply::Refused(refusal) => refusal,
            other => {
                history.wrong.push(format!("an append was answered with {other:?}"));
                return Outcome::Unknown;
            }
        };
        match refusal.code {
            Code::ExpectedSeqConflict => {
                ground.counters.reach(Reached::ConflictAnswered);
                match current(refusal) {
                    Some(current) => Outcome::Conflict { current },
                    None => Outcome::Refused,
                }
            }
            Code::SessionNotFound => {
                if history.created.is_some_and(|created| created < call.start) {
                    history.wrong.push("an append found no session, though it is there".to_owned());
                }
                Outcome::Refused
            }
            Code::EventStoreBackpressure => {
                ground.counters.reach(Reached::RefusedBusy);
                Outcome::Refused
            }
            code => match code.effect() {
                Effect::Unknown => Outcome::Unknown,
                Effect::None => {
                    history.wrong.push(format!("an append was refused with {code:?}"));
                    Outcome::Refused
                }
            },
        }
    }

    /// Writes down what an attempt came to, and whether it is tried again.
    fn resolve(&mut self, place: usize, outcome: Outcome, ground: &mut Ground, now: Time) {
        let append = &mut ground.histories[self.session].appends[place];
        let attempt = append.attempts.last_mut().expect("it was tried");
        (attempt.end, attempt.outcome) = (now, outcome);
        let retries = matches!(self.role, Role::Producer | Role::Keyed);
        self.unresolved = None;
        match outcome {
            Outcome::Acked { last_seq, .. } => ground.saw_head(self.session, last_seq),
            Outcome::Conflict { current } => ground.saw_head(self.session, current),
            Outcome::Refused | Outcome::Unknown => {
                self.unresolved = retries.then_some(place);
                if outcome == Outcome::Unknown {
                    ground.counters.reach(Reached::UnknownOutcome);
                }
            }
        }
    }

    /// It has waited long enough for the call of this number.
    pub(crate) fn lose_patience(
        &mut self,
        number: u64,
        ground: &mut Ground,
        now: Time,
    ) -> Vec<Move> {
        if number != self.number {
            return Vec::new();
        }
        if self.role == Role::Tailer {
            return match self.stream {
                Some(_) => Vec::new(),
                None => self.follow_again(),
            };
        }
        match self.call.take() {
            Some(call) => self.give_up(&call, ground, now),
            None => Vec::new(),
        }
    }

    /// The connection of the call or tail of this number is gone.
    pub(crate) fn cut_off(&mut self, number: u64, ground: &mut Ground, now: Time) -> Vec<Move> {
        if number != self.number {
            return Vec::new();
        }
        if self.role == Role::Tailer {
            self.stream = None;
            return self.follow_again();
        }
        match self.call.take() {
            Some(call) => self.give_up(&call, ground, now),
            None => Vec::new(),
        }
    }

    /// Nobody will tell what became of a call. If nobody was asked that could have done it, nothing
    /// was done.
    fn give_up(&mut self, call: &Call, ground: &mut Ground, now: Time) -> Vec<Move> {
        let admin = &mut ground.admins[self.session];
        match (&call.what, call.asked) {
            (What::Patch { place }, None) => admin.patches[*place].change = Change::Refused,
            (What::Archive { .. }, Some(_)) => admin.unsure = true,
            _ => {}
        }
        if let What::Append { place } = call.what {
            let outcome = if call.asked.is_some() { Outcome::Unknown } else { Outcome::Refused };
            self.resolve(place, outcome, ground, now);
        }
        self.node = self.dice.index(self.nodes);
        self.rest(ground)
    }

    fn rest(&mut self, ground: &Ground) -> Vec<Move> {
        self.call = None;
        if self.dice.permille(50) {
            self.node = self.dice.index(self.nodes);
        }
        let think = if ground.stopped { 20 * MILLI } else { self.think_max };
        vec![Move::Wake { after: self.dice.between(1, think) }]
    }
}

/// The head a conflict names.
fn current(refusal: &Refusal) -> Option<u64> {
    refusal.message.rsplit(' ').next()?.parse().ok()
}
