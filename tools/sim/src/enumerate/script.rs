//! What happens while everything is watched: appends, and all that gives a log its history. Who asks is
//! patient: an append is asked for again, under the same producer seq, until it is acknowledged.

use std::collections::BTreeMap;

use model::api::{EventsPage, Reply, Request};
use model::command::{Append, Create, Dedupe, Principal, Producer};
use model::error::Code;
use model::ids::{Placement, Seq, SessionId};
use raft::NodeId;
use shard::effect::{FileName, Ticket};
use shard::shard::Options;

use crate::dice::{Concern, Dice};
use crate::enumerate::ledger::{Fold, Ledger};
use crate::enumerate::store::Files;
use crate::enumerate::trio::{Size, Trio, Watch, dawn, founders, node, options};
use crate::enumerate::truth::Truth;
use crate::history::{Op, digest, fragment};

/// Sessions of a script, and producers of each.
const SESSIONS: usize = 12;
const WRITERS: usize = 3;
/// Bytes of a session's metadata: so many make a checkpoint of four blocks.
const METADATA_BYTES: usize = 1_200;
/// Rounds of 40 milliseconds in which everything asked for must be done, whatever fails.
const PATIENCE: usize = 500;
/// Events in a page.
const PAGE: u32 = 200;

/// What is played.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Script {
    /// Decides everything that is not said here.
    pub(crate) seed: u64,
    /// Appends.
    pub(crate) appends: u32,
    /// The shards.
    pub(crate) size: Size,
}

impl Script {
    /// A script of so many appends, with segments of four small batches.
    pub(crate) fn new(seed: u64, appends: u32) -> Script {
        let size = Size {
            groups: 3,
            segment_bytes: 16 << 10,
            hot_bytes_max: 96 << 10,
            log_kept_bytes: 12 << 10,
            #[cfg(feature = "sabotage")]
            sabotage: None,
        };
        Script { seed, appends, size }
    }

    /// The same with a bug on purpose.
    #[cfg(feature = "sabotage")]
    pub(crate) fn broken(seed: u64, appends: u32, sabotage: shard::Sabotage) -> Script {
        let mut script = Script::new(seed, appends);
        script.size.sabotage = Some(sabotage);
        script
    }
}

/// What happens besides appends.
#[derive(Debug, Clone, Copy)]
enum Deed {
    /// Nothing, until logs are marked and groups are quiet.
    Rest,
    /// The leader of the first group is heard no more, and goes on writing what nobody gets.
    CutLeader,
    /// The last node is heard no more, until it can only be helped by a snapshot.
    CutLast,
    /// Everybody is heard again.
    Heal,
    /// A process ends in the middle of its next log write.
    Kill(usize),
    /// So do all.
    KillAll,
    /// The last node's disk is replaced by an empty one.
    Replace,
    /// Nothing, until the new node is a member like the others.
    Join,
}

/// What happens when so many thousandths of the appends are done.
const DEEDS: [(u32, Deed); 19] = [
    (40, Deed::Rest),
    (60, Deed::CutLeader),
    (64, Deed::Heal),
    (100, Deed::CutLeader),
    (150, Deed::Heal),
    (180, Deed::Rest),
    (220, Deed::CutLast),
    (400, Deed::Heal),
    (450, Deed::Kill(0)),
    (500, Deed::Kill(1)),
    (540, Deed::KillAll),
    (600, Deed::Replace),
    (740, Deed::Join),
    (760, Deed::Kill(1)),
    (800, Deed::CutLeader),
    (840, Deed::Heal),
    (880, Deed::KillAll),
    (930, Deed::Rest),
    (960, Deed::CutLeader),
];

/// An event somebody was told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Acked {
    session: SessionId,
    seq: u64,
    digest: u64,
}

/// A producer of a session: at most one of its appends is under way.
#[derive(Debug)]
struct Lane {
    session: SessionId,
    producer: Box<str>,
    count: u64,
}

/// Something that must come to be.
struct Wish {
    request: Request,
    group: u32,
    digest: u64,
    asked: Option<(NodeId, Ticket)>,
}

/// A script under way.
pub(crate) struct Player<W> {
    /// The nodes.
    pub(crate) trio: Trio<W>,
    script: Script,
    dice: Dice,
    lanes: Vec<Lane>,
    /// Appends asked for by now.
    asked: u32,
    acked: Vec<Acked>,
    /// The nodes' files when the last append was acknowledged.
    pub(crate) busy: BTreeMap<NodeId, (Options, Files)>,
}

/// Plays a script to its end.
pub(crate) fn play<W: Watch>(script: Script, watch: W) -> Player<W> {
    let mut player = Player::new(script, watch);
    player.begin();
    let mut deeds = DEEDS.iter().peekable();
    while player.asked < script.appends && player.trio.findings.is_empty() {
        let done = player.asked * 1_000;
        while let Some((_, deed)) = deeds.next_if(|(at, _)| at * script.appends <= done) {
            player.carry_out(*deed);
        }
        player.append_some();
    }
    for (own, member) in &player.trio.nodes {
        player.busy.insert(*own, (member.options.clone(), member.store.files.clone()));
    }
    player.end();
    player
}

impl<W: Watch> Player<W> {
    fn new(script: Script, watch: W) -> Player<W> {
        let turns = Dice::new(script.seed, Concern::Turns);
        let mut trio = Trio::new(watch, turns, dawn());
        for own in founders() {
            trio.add(options(own, script.size), Files::default(), Ledger::default());
        }
        let names = (0..SESSIONS).map(|number| SessionId::new(format!("s{number}")));
        let names = names.map(|name| name.expect("a name"));
        let lanes = names.flat_map(|session| {
            (0..WRITERS).map(move |writer| {
                let producer = format!("w{writer}").into();
                Lane { session: session.clone(), producer, count: 0 }
            })
        });
        let lanes = lanes.collect();
        let dice = Dice::new(script.seed, Concern::Client(0));
        Player { trio, script, dice, lanes, asked: 0, acked: Vec::new(), busy: BTreeMap::new() }
    }

    fn group(&self, session: &SessionId) -> u32 {
        Placement::new(self.script.size.groups, 1).group(session.as_str()).0
    }

    fn begin(&mut self) {
        for number in 0..SESSIONS {
            let session = self.lanes[number * WRITERS].session.clone();
            let group = self.group(&session);
            let pad = "m".repeat(METADATA_BYTES);
            let create = Create {
                session,
                title: None,
                metadata: format!(r#"{{"pad":"{pad}"}}"#).into(),
                creator: Principal::service(),
                at: 0,
            };
            let request = Request::Create(create);
            self.deliver(vec![Wish { request, group, digest: 0, asked: None }]);
        }
    }

    /// An append of a producer that has none under way.
    fn wish(&mut self, lane: usize) -> Wish {
        let padding = match self.dice.below(20) {
            0 => self.dice.between(3_000, 6_000),
            1..=4 => self.dice.between(400, 1_500),
            _ => self.dice.between(0, 120),
        };
        let padding = usize::try_from(padding).expect("events are small");
        let text = fragment(Op(self.asked), padding);
        self.asked += 1;
        let digest = digest(&text);
        let mut fingerprint = [0; 16];
        fingerprint[..8].copy_from_slice(&digest.to_le_bytes());
        let lane = &mut self.lanes[lane];
        lane.count += 1;
        let producer = Producer { id: lane.producer.clone(), seq: lane.count };
        let session = lane.session.clone();
        let group = self.group(&session);
        let append = Append {
            session,
            fragment: text.into(),
            dedupe: Dedupe::Producer(producer),
            expected_seq: None,
            fingerprint,
            at: 0,
        };
        Wish { request: Request::Append(append), group, digest, asked: None }
    }

    fn append_some(&mut self) {
        let count = self.dice.pick(&[1, 1, 1, 2, 3, 6]);
        let first = self.dice.index(self.lanes.len());
        // Steps that are coprime to the number of lanes name no lane twice.
        let lanes = (0..count).map(|place| (first + place * 7) % (SESSIONS * WRITERS));
        let wishes = lanes.map(|lane| self.wish(lane)).collect();
        self.deliver(wishes);
        self.trio.pass(10);
    }

    /// Asks until everything is done.
    fn deliver(&mut self, mut wishes: Vec<Wish>) {
        for _ in 0..PATIENCE {
            for wish in &mut wishes {
                let leader = self.trio.leader(wish.group);
                wish.asked = leader.map(|at| (at, self.trio.ask(at, wish.request.clone())));
            }
            self.trio.settle();
            self.hear(&mut wishes);
            if !wishes.is_empty() {
                self.trio.pass(40);
                self.hear(&mut wishes);
            }
            if wishes.is_empty() || !self.trio.findings.is_empty() {
                return;
            }
        }
        self.trio.findings.push(format!("{} appends are never answered", wishes.len()));
    }

    /// Takes the answers that have come.
    fn hear(&mut self, wishes: &mut Vec<Wish>) {
        let mut left = Vec::new();
        for wish in wishes.drain(..) {
            let reply = wish.asked.and_then(|(at, ticket)| self.trio.answer(at, ticket));
            match reply {
                Some(Reply::Appended(appended)) => {
                    let session = wish.request.session().expect("an append has a session").clone();
                    let seq = appended.seq.0;
                    self.acked.push(Acked { session, seq, digest: wish.digest });
                }
                Some(Reply::Session(_)) => {}
                Some(Reply::Refused(refusal)) if refusal.code == Code::SessionExists => {}
                Some(Reply::Refused(refusal)) if !is_passing(refusal.code) => {
                    let what = format!("{:?} was refused: {refusal:?}", wish.request.session());
                    self.trio.findings.push(what);
                }
                _ => left.push(wish),
            }
        }
        *wishes = left;
    }

    fn last_node(&self) -> NodeId {
        let third = self.trio.nodes.keys().find(|id| !founders()[..2].contains(id));
        *third.expect("there are three")
    }

    fn carry_out(&mut self, deed: Deed) {
        match deed {
            Deed::Rest => self.trio.pass(600),
            Deed::Join => self.wait(Player::has_members),
            Deed::Heal => self.trio.cut.clear(),
            Deed::CutLast => drop(self.trio.cut.insert(self.last_node())),
            Deed::CutLeader => self.cut_leader(),
            Deed::Kill(place) => self.kill(founders()[place]),
            Deed::KillAll => self.trio.alive().into_iter().for_each(|own| self.kill(own)),
            Deed::Replace => {
                let last = self.last_node();
                self.trio.end(last, 0);
                self.trio.nodes.remove(&last);
                let own = node(3, 2);
                let options = options(own, self.script.size);
                self.trio.add(options, Files::default(), Ledger::default());
            }
        }
    }

    fn kill(&mut self, own: NodeId) {
        let landed = self.dice.index(9);
        self.trio.doomed.insert(own, landed);
    }

    fn cut_leader(&mut self) {
        let Some(leader) = self.trio.leader(0) else { return };
        self.trio.cut.insert(leader);
        let of_group = |lane: &usize| self.group(&self.lanes[*lane].session) == 0;
        let lanes: Vec<usize> = (0..self.lanes.len()).filter(of_group).take(3).collect();
        let wishes: Vec<Wish> = lanes.into_iter().map(|lane| self.wish(lane)).collect();
        for wish in &wishes {
            self.trio.ask(leader, wish.request.clone());
        }
        self.trio.settle();
        self.deliver(wishes);
    }

    /// Everybody is heard and has come as far as everybody else.
    fn end(&mut self) {
        self.trio.cut.clear();
        self.wait(|player| player.has_members() && player.is_even());
        self.trio.pass(300);
        // Whoever died of its last write is back.
        self.wait(|player| player.has_members() && player.is_even());
    }

    fn wait(&mut self, until: impl Fn(&Player<W>) -> bool) {
        for _ in 0..PATIENCE {
            self.trio.pass(50);
            if !self.trio.findings.is_empty() || until(self) {
                return;
            }
        }
        self.trio.findings.push("the nodes never come to the same".to_owned());
    }

    fn is_even(&self) -> bool {
        let mut known = BTreeMap::new();
        self.trio.nodes.values().all(|member| {
            let Some(shard) = &member.shard else { return false };
            shard.statuses().all(|(group, status)| {
                let first = *known.entry(group).or_insert(status.last);
                first == status.last && status.applied == first && status.durable == first
            })
        })
    }

    /// Whether those that live are the members of every group.
    fn has_members(&self) -> bool {
        let ids: Vec<NodeId> = self.trio.nodes.keys().copied().collect();
        self.trio.nodes.values().all(|member| {
            let Some(shard) = &member.shard else { return false };
            shard.memberships().all(|membership| {
                let mut voters = membership.voters.clone();
                voters.sort_unstable();
                !membership.is_joint() && voters == ids
            })
        })
    }

    /// What a script that came to its end came to.
    pub(crate) fn truth(&self) -> Truth {
        let member = self.trio.nodes.values().next().expect("there are three");
        let end = |(group, fold): (&u32, &Fold)| {
            let last = fold.entries.last_key_value().map(|(index, (term, _))| (*term, *index));
            (*group, last.map_or(fold.base, |last| last.max(fold.base)))
        };
        let ends = member.ledger.folds.iter().map(end).collect();
        Truth::of(self.script.size, &self.trio.ears, &ends)
    }

    /// What happened to the logs, for people.
    pub(crate) fn told(&self) -> String {
        let ledgers = || self.trio.nodes.values().map(|member| &member.ledger);
        let folds = || ledgers().flat_map(|ledger| ledger.folds.values());
        let batches: u64 = ledgers().map(Ledger::durable).sum();
        let replaced: u64 = folds().map(|fold| fold.replaced).sum();
        let again: u64 = folds().map(|fold| fold.again).sum();
        let taken: u64 = folds().map(|fold| fold.taken).sum();
        let named = |name: fn(&FileName) -> bool| {
            let files = self.trio.nodes.values().map(|member| &member.store.files);
            let newest = files.filter_map(|files| files.named.keys().filter(|n| name(n)).max());
            newest.map(|name| name.number()).sum::<u64>()
        };
        let checkpoints = named(|name| matches!(name, FileName::Checkpoint(_)));
        let segments = self.trio.nodes.values().map(|member| &member.store.files.segments);
        let segments: u64 = segments.filter_map(|all| all.keys().max()).map(|n| n.0).sum();
        format!(
            "{batches} batches in {segments} segments, {checkpoints} files of state; {replaced} \
             entries replaced, {again} written again, {taken} states taken over"
        )
    }

    /// What is wrong with how it ended.
    pub(crate) fn verdict(&mut self) -> Vec<String> {
        let mut findings = std::mem::take(&mut self.trio.findings);
        if !findings.is_empty() {
            return findings;
        }
        let truth = self.truth();
        for Acked { session, seq, digest } in &self.acked {
            let events = truth.events.get(session.as_str()).map_or(&[][..], Vec::as_slice);
            let place = usize::try_from(*seq - 1).expect("seqs are small");
            if events.get(place).is_none_or(|event| event.digest != *digest) {
                findings.push(format!("event {seq} of {session} was acknowledged and is gone"));
            }
        }
        if self.acked.len() != truth.events.values().map(Vec::len).sum::<usize>() {
            findings.push("there are other events than those that were asked for".to_owned());
        }
        for (own, member) in &self.trio.nodes {
            let shard = member.shard.as_ref().expect("everybody lives at the end");
            for (group, chain) in &truth.chains {
                let (index, digest) = shard.digest(model::ids::GroupId(*group));
                if (index.0, Some(&digest)) != (chain.last(), chain.digests.last()) {
                    findings.push(format!("{own} has another state of group {group}"));
                }
            }
        }
        findings.extend(self.read_everything(&truth));
        findings
    }

    /// Every node hands out every event.
    fn read_everything(&mut self, truth: &Truth) -> Vec<String> {
        let mut findings = Vec::new();
        for own in self.trio.alive() {
            for session in truth.events.keys() {
                let read = self.read(own, session);
                let found = read.and_then(|events| truth.check(session, u64::MAX, &events));
                findings.extend(found.err().map(|what| format!("{own}: {what}")));
            }
        }
        findings
    }

    fn read(&mut self, own: NodeId, session: &str) -> Result<Vec<(u64, Vec<u8>)>, String> {
        let session = SessionId::new(session).expect("a name");
        let mut found: Vec<(u64, Vec<u8>)> = Vec::new();
        for _ in 0..PATIENCE {
            let cursor = Seq(found.last().map_or(0, |(seq, _)| *seq));
            let page = EventsPage { session: session.clone(), cursor, limit: PAGE };
            let ticket = self.trio.ask(own, Request::Events(page));
            self.trio.settle();
            let mut reply = self.trio.answer(own, ticket);
            if reply.is_none() {
                self.trio.pass(40);
                reply = self.trio.answer(own, ticket);
            }
            let Some(Reply::Events { events, last_seq }) = reply else { continue };
            found.extend(events.iter().map(|event| (event.seq.0, event.json.to_vec())));
            if found.last().map_or(0, |(seq, _)| *seq) == last_seq.0 {
                return Ok(found);
            }
        }
        Err(format!("{session} cannot be read"))
    }
}

/// Whether a refusal passes.
fn is_passing(code: Code) -> bool {
    match code {
        Code::EventStoreBackpressure | Code::RaftTimeout | Code::RaftUnavailable => true,
        other => other == Code::ArchiveReadUnavailable,
    }
}
