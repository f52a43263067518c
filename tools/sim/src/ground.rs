//! What all clients share: the sessions, what became of them, and where nodes are.

use model::api::Request;
use model::cluster::{MemberId, NameTag};
use model::command::{self, Create, Dedupe, Principal, Producer};
use model::ids::SessionId;

use crate::admin::Admin;
use crate::count::Counters;
use crate::history::{Append, Attempt, History, Op, Outcome, digest, fragment};
use crate::queue::Time;

/// What all clients share.
#[derive(Debug)]
pub(crate) struct Ground {
    /// The sessions' names.
    pub(crate) names: Vec<SessionId>,
    /// What is known of each.
    pub(crate) histories: Vec<History>,
    /// What happened to each besides its events.
    pub(crate) admins: Vec<Admin>,
    /// The nodes' tags, to find the one a hint names.
    pub(crate) tags: Vec<NameTag>,
    /// The highest seq anybody was told of, by session.
    pub(crate) heads: Vec<u64>,
    /// The client that says which sessions are archived.
    pub(crate) archivist: usize,
    /// Padding by op.
    paddings: Vec<usize>,
    /// Whether clients begin nothing new.
    pub(crate) stopped: bool,
    /// Whether they ask for nothing for now, not even again.
    pub(crate) hushed: bool,
    /// What happens to them.
    pub(crate) counters: Counters,
}

impl Ground {
    /// Sessions nobody has asked for.
    pub(crate) fn new(sessions: usize, tags: Vec<NameTag>, archivist: usize) -> Ground {
        let name = |place: usize| SessionId::new(format!("session-{place}"));
        Ground {
            names: (0..sessions).map(|place| name(place).expect("a name")).collect(),
            histories: vec![History::default(); sessions],
            admins: vec![Admin::default(); sessions],
            tags,
            heads: vec![0; sessions],
            archivist,
            paddings: Vec::new(),
            stopped: false,
            hushed: false,
            counters: Counters::new(),
        }
    }

    /// The node a hint names.
    pub(crate) fn node_of(&self, member: MemberId) -> Option<usize> {
        self.tags.iter().position(|tag| *tag == member.tag())
    }

    /// Whether somebody was told that a session is there.
    pub(crate) fn is_created(&self, session: usize) -> bool {
        self.histories[session].created.is_some()
    }

    /// Somebody was told that a session's head is at least this.
    pub(crate) fn saw_head(&mut self, session: usize, head: u64) {
        let known = &mut self.heads[session];
        *known = head.max(*known);
    }

    /// A new append, not yet tried. Returns its place in the session's history.
    pub(crate) fn want(
        &mut self,
        session: usize,
        padding: usize,
        producer: Option<(u32, u64)>,
        expected: Option<u64>,
    ) -> usize {
        let op = Op(u32::try_from(self.paddings.len()).expect("runs are short"));
        self.paddings.push(padding);
        let digest = digest(&fragment(op, padding));
        let appends = &mut self.histories[session].appends;
        appends.push(Append { op, digest, expected, producer, attempts: Vec::new() });
        appends.len() - 1
    }

    /// Notes that an append is tried, and makes its request.
    pub(crate) fn attempt(
        &mut self,
        (session, place): (usize, usize),
        keyed: bool,
        now: Time,
    ) -> Request {
        let append = &mut self.histories[session].appends[place];
        append.attempts.push(Attempt { start: now, end: now, outcome: Outcome::Unknown });
        let dedupe = match append.producer {
            Some((id, seq)) => Dedupe::Producer(Producer { id: format!("p{id}").into(), seq }),
            None if keyed => Dedupe::Key(format!("k{}", append.op.0).into()),
            None => Dedupe::Nothing,
        };
        let mut fingerprint = [0; 16];
        fingerprint[..8].copy_from_slice(&append.digest.to_le_bytes());
        let padding = self.paddings[append.op.0 as usize];
        Request::Append(command::Append {
            session: self.names[session].clone(),
            fragment: fragment(append.op, padding).into(),
            dedupe,
            expected_seq: append.expected,
            fingerprint,
            at: 0,
        })
    }

    /// The request that makes a session.
    pub(crate) fn create(&mut self, session: usize, now: Time) -> Request {
        self.histories[session].create_asked.get_or_insert(now);
        Request::Create(Create {
            session: self.names[session].clone(),
            title: None,
            metadata: "{}".into(),
            creator: Principal::service(),
            at: 0,
        })
    }

    /// Operations answered or given up, over all sessions.
    pub(crate) fn operations(&self) -> u64 {
        let events: u64 = self.histories.iter().map(History::operations).sum();
        let rows = self.admins.iter().map(|admin| admin.patches.len() + admin.shown.len());
        events + rows.sum::<usize>() as u64
    }
}
