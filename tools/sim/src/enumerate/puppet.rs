//! One shard alone, whose disk takes no time and whose leader is played by hand: what it says, it
//! believes.

use std::collections::BTreeMap;

use model::api::{TailMessage, TailOpen};
use model::ids::{GroupId, Now, Seq, SessionId};
use raft::{Body, Entry, Index, Message, NodeId, Term};
use shard::effect::{DiskOp, Effect, Input, TailId};
use shard::peer::PeerMessage;
use shard::shard::{Options, Shard};

use crate::enumerate::opening;
use crate::enumerate::store::{Done, Files, Store};
use crate::enumerate::trio::founders;
use crate::enumerate::truth::Chain;

/// Turns in which a shard must have come to rest.
const TURNS_MAX: usize = 10_000;
/// Entries a leader hands over at a time.
const ENTRIES: u64 = 24;
/// More than any tail of a script has.
const CREDIT: u64 = 1 << 40;

/// A shard on strings.
#[derive(Debug)]
pub(crate) struct Puppet {
    /// The shard.
    pub(crate) shard: Shard,
    /// Its files.
    pub(crate) store: Store,
    /// What it said since that was taken.
    pub(crate) said: Vec<(NodeId, Message)>,
    own: NodeId,
    now: Now,
    tails: BTreeMap<TailId, Vec<TailMessage>>,
    next: u64,
}

impl Puppet {
    /// A new shard.
    pub(crate) fn new(options: Options, now: Now) -> Puppet {
        let mut files = Files::default();
        let opened = opening::open(options.clone(), &mut files).expect("nothing is no damage");
        Puppet::with(opened.shard, files, &options, now)
    }

    /// A shard that was just opened.
    pub(crate) fn with(shard: Shard, files: Files, options: &Options, now: Now) -> Puppet {
        let store = Store::new(files, options.segment_bytes);
        let own = options.cluster.own;
        Puppet { shard, store, said: Vec::new(), own, now, tails: BTreeMap::new(), next: 1 }
    }

    /// Who plays the leader.
    fn leader(&self) -> NodeId {
        *founders().iter().find(|id| **id != self.own).expect("there are three")
    }

    /// Turns until nothing is left to do.
    pub(crate) fn rest(&mut self) {
        let mut effects = Vec::new();
        for turn in 0.. {
            assert!(turn < TURNS_MAX, "a shard comes to rest");
            self.shard.settle(self.now, &mut effects);
            let mut quiet = effects.is_empty();
            for effect in effects.drain(..) {
                match effect {
                    Effect::Disk(DiskOp::LogWrite(write)) => self.store.log = Some(write),
                    Effect::Disk(read @ DiskOp::FileRead { .. }) => {
                        self.store.reads.push_back(read)
                    }
                    Effect::Disk(op) => self.store.queue.push_back(op),
                    Effect::Send { to, message: PeerMessage::Raft { message, .. } } => {
                        self.said.push((to, message));
                    }
                    Effect::Tail { tail, message } => {
                        self.tails.entry(tail).or_default().push(message);
                    }
                    Effect::Send { .. } | Effect::Reply { .. } => {}
                }
            }
            quiet &= !self.finish();
            if quiet && !self.shard.has_work() {
                return;
            }
        }
    }

    /// Whether the disk had anything to do.
    fn finish(&mut self) -> bool {
        let mut worked = false;
        if self.store.log.is_some() {
            let done = self.store.finish_log();
            self.give(Input::Disk(done));
            worked = true;
        }
        while !self.store.queue.is_empty() {
            if let Done::Told(done) = self.store.finish_next() {
                self.give(Input::Disk(done));
            }
            worked = true;
        }
        while !self.store.reads.is_empty() {
            let (read, result) = self.store.finish_read();
            self.give(Input::Disk(shard::effect::Completion::FileRead { read, result }));
            worked = true;
        }
        worked
    }

    fn give(&mut self, input: Input) {
        self.shard.step(input, self.now);
    }

    /// Hears a message of Raft, and comes to rest.
    pub(crate) fn hear(&mut self, group: u32, from: NodeId, term: Term, body: Body) {
        let message = Message { from, to: self.own, term, body };
        let group = GroupId(group);
        self.give(Input::Peer { from, message: PeerMessage::Raft { group, message } });
        self.rest();
    }

    /// Hears its leader hand over entries.
    pub(crate) fn append(
        &mut self,
        group: u32,
        (term, previous): (Term, (Term, Index)),
        entries: Vec<Entry>,
        committed: Index,
    ) {
        let body = Body::Append { previous, entries, committed, round: 1 };
        self.hear(group, self.leader(), term, body);
    }

    /// Hears its leader hand over whatever it lacks of a chain.
    pub(crate) fn follow(&mut self, group: u32, chain: &Chain) {
        let term = Term(self.term(group).max(chain.last_term()) + 1);
        let place = |index| (Term(chain.term(index).expect("in the chain")), Index(index));
        let mut first = self.digest(group).0 + 1;
        loop {
            let entries = chain.slice(first, first + ENTRIES);
            let next = entries.last().map_or(first, |last| last.index.0 + 1);
            self.append(group, (term, place(first - 1)), entries, Index(next - 1));
            if chain.last() < next {
                return;
            }
            first = next;
        }
    }

    /// Hears another candidate ask for its vote in a term in which it may have given it before it started.
    ///
    /// # Errors
    /// It gives it.
    pub(crate) fn tempt(
        &mut self,
        group: u32,
        (term, vote): (u64, Option<u64>),
    ) -> Result<(), String> {
        if term == 0 {
            return Ok(());
        }
        let is_other = |id: &&NodeId| **id != self.own && Some(id.0) != vote;
        let candidate = *founders().iter().find(is_other).expect("there are three");
        self.said.clear();
        let last = (Term(term - 1), Index(u64::from(u32::MAX)));
        let body = Body::VoteRequest { last, transferred: true };
        self.hear(group, candidate, Term(term), body);
        let gives = |(_, said): &(NodeId, Message)| said.body == Body::VoteReply { granted: true };
        if self.said.iter().any(gives) {
            return Err(format!("group {group} gives a second vote in term {term}"));
        }
        Ok(())
    }

    /// A group's term.
    fn term(&self, group: u32) -> u64 {
        let status = self.shard.statuses().find(|(id, _)| id.0 == group);
        status.map_or(0, |(_, status)| status.term.0)
    }

    /// The last entry applied, and the state's digest.
    pub(crate) fn digest(&self, group: u32) -> (u64, u64) {
        let (index, digest) = self.shard.digest(GroupId(group));
        (index.0, digest)
    }

    /// All events of a session of a group whose leader has committed up to `index`; or why
    /// they cannot be had.
    ///
    /// # Errors
    /// How the tail ended.
    pub(crate) fn events(
        &mut self,
        (group, session): (u32, &str),
        index: u64,
    ) -> Result<Vec<(u64, Vec<u8>)>, String> {
        let tail = TailId(self.next);
        self.next += 1;
        let session = SessionId::new(session).expect("a name");
        self.said.clear();
        self.give(Input::TailOpen { tail, open: TailOpen { session, cursor: Seq(0) } });
        self.give(Input::TailCredit { tail, bytes: 0 });
        self.rest();
        let asked = self.said.iter().find_map(|(_, message)| match message.body {
            Body::ReadRequest { context } => Some(context),
            _ => None,
        });
        let context = asked.ok_or("a follower does not ask its leader")?;
        let reply = Body::ReadReply { context, index: Some(Index(index)) };
        self.hear(group, self.leader(), Term(self.term(group)), reply);
        let mut events = Vec::new();
        loop {
            let mut bytes = 0;
            for message in self.tails.remove(&tail).unwrap_or_default() {
                match message {
                    TailMessage::Events { events: some, .. } => {
                        for event in some {
                            bytes += event.json.len() as u64;
                            events.push((event.seq.0, event.json.to_vec()));
                        }
                    }
                    TailMessage::Opened => {}
                    other => return Err(format!("the tail ends: {other:?}")),
                }
            }
            if bytes == 0 {
                self.give(Input::TailClose { tail });
                return Ok(events);
            }
            assert!(bytes < CREDIT, "a script's tail is short");
            self.give(Input::TailCredit { tail, bytes });
            self.rest();
        }
    }
}
