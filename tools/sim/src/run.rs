//! A run: a cluster is made, faults happen (safety), faults end (liveness), and everything that was
//! said and done is checked.

use std::fmt;

use model::api::{EventsPage, List, Reply, Request, SessionRow, Visibility};
use model::cluster::name_tag;
use model::error::Code;
use model::ids::{GroupId, Seq, SessionId};
use model::limits::LIST_LIMIT_MAX;
use raft::{Index, NodeId};

use crate::checker;
use crate::client::{Client, Role};
use crate::clock::Clock;
use crate::count::{Counters, Fault, Reached};
use crate::dice::{Concern, Dice};
use crate::disk::{Disk, Health};
use crate::event::Event;
use crate::ground::Ground;
use crate::history::{Stored, stored};
use crate::node::{Caller, Node};
use crate::options::Options;
use crate::queue::{MILLI, SECOND, Time};
use crate::tail_checker;
use crate::verdict::{Findings, Kind};
use crate::world::{HARNESS, World};

/// Election timeouts within which everything must be well after the faults have ended: an election
/// or two, and what a lagging replica has to fetch.
const TIMEOUTS_MAX: u64 = 20;
/// Microseconds that changes of members may take, one after the other.
const MEMBERS: u64 = 30 * SECOND;
/// Microseconds a snapshot may take at most.
const SNAPSHOT: u64 = 120 * SECOND;
/// Microseconds the world's last questions may take.
const AUDIT: u64 = 20 * SECOND;

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    /// Its options.
    pub(crate) options: Options,
    /// What is wrong.
    pub(crate) findings: Findings,
    /// What happened.
    pub(crate) counters: Counters,
    /// Everything that happened, in one number.
    pub(crate) digest: u64,
    /// Events of the world.
    pub(crate) events: u64,
    /// Simulated microseconds.
    pub(crate) micros: u64,
    /// Operations of clients.
    pub(crate) operations: u64,
    /// Events in the sessions' logs at the end.
    pub(crate) appended: u64,
    /// Microseconds from the end of the faults until everything was well.
    pub(crate) recovery: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options { seed, nodes, .. } = &self.options;
        let verdict = if self.findings.is_empty() { "ok" } else { "FAILED" };
        write!(
            f,
            "seed {seed} {verdict}: {nodes} nodes, {}, {} events, {} operations, {} appended, \
             {} faults, well after {} ms, digest {:016x}",
            Time(self.micros),
            self.events,
            self.operations,
            self.appended,
            self.counters.faults_total(),
            self.recovery / MILLI,
            self.digest
        )?;
        for violation in self.findings.iter() {
            write!(f, "\n  {violation}")?;
        }
        Ok(())
    }
}

/// Runs a seed.
pub(crate) fn run(options: Options, trace: bool) -> Report {
    let mut world = found(options);
    world.trace = trace;
    for node in 0..world.nodes.len() {
        world.queue.plan(Time(0), Event::Start { node });
    }
    world.queue.plan(Time(MILLI), Event::Dial);
    for client in 0..world.clients.len() {
        let at = Time(world.turns.below(world.options.arrival));
        world.queue.plan(at, Event::Wake { client });
    }
    let safety = world.plan_faults();
    if let Some(hush) = world.options.hush {
        world.run_until(Time(safety.saturating_sub(hush)));
        world.hush();
    }
    world.run_until(Time(safety));
    world.heal();
    world.come_level();
    let healed = world.now();
    world.check_liveness(healed);
    let recovery = world.now() - healed;
    world.come_to_rest();
    let logs = world.audit();
    world.audit_lists();
    world.report(&logs, recovery)
}

/// A cluster on empty disks.
fn found(options: Options) -> World {
    let seed = options.seed;
    let mut dice = Dice::new(seed, Concern::Identity);
    let mut clocks = Dice::new(seed, Concern::Clocks);
    let nodes: Vec<Node> = (0..options.nodes)
        .map(|place| {
            let shards = options.shards[place];
            let drift = i64::try_from(clocks.below(2 * options.drift_max + 1)).expect("small");
            let drift = drift - i64::try_from(options.drift_max).expect("small");
            let disks = (0..shards).map(|shard| {
                let name = place * 8 + shard as usize;
                let health = options.health();
                Disk::new(options.segment_bytes, health, Dice::new(seed, Concern::Disk(name)))
            });
            Node {
                tag: name_tag(&format!("n{place}")),
                incarnation: u32::try_from(dice.below(1 << 30)).expect("30 bits"),
                shards,
                clock: Clock::new(drift),
                disks: disks.collect(),
                process: None,
                life: 0,
                paused_until: Time(0),
                stalled_until: vec![Time(0); shards as usize],
                broken: None,
                scarred: false,
                rotten: false,
                config: 0,
                hurt_in: 0,
            }
        })
        .collect();
    let founding = options.nodes - options.spare_nodes;
    let founders: Vec<NodeId> = nodes[..founding].iter().map(Node::id).collect();
    let tags = nodes.iter().map(|node| node.tag).collect();
    let ground = Ground::new(options.sessions, tags, options.clients);
    let clients = options.clients + options.librarians;
    let clients = (0..clients).map(|id| client(&options, id)).collect();
    World::new(options, (nodes, founders), clients, ground)
}

fn client(options: &Options, id: usize) -> Client {
    let mut dice = Dice::new(options.seed, Concern::Client(id));
    let role = match id % 6 {
        0 | 3 => Role::Producer,
        1 => Role::Tailer,
        2 => dice.pick(&[Role::Plain, Role::Keyed]),
        4 => dice.pick(&[Role::Careful, Role::Keyed]),
        _ => Role::Reader,
    };
    let role = if options.clients <= id { Role::Librarian } else { role };
    // The first clients make the sessions; a tail cannot.
    let owns = id < options.sessions;
    let role = if owns && role == Role::Tailer { Role::Producer } else { role };
    let session = id % options.sessions;
    let node = dice.index(options.nodes);
    let pace = (options.think_max, options.padding_max);
    Client::new(id, role, (session, node, options.nodes), pace, dice)
}

impl World {
    /// Plans the faults of the safety phase, and says how long that is.
    fn plan_faults(&mut self) -> u64 {
        let Some(scenario) = self.options.scenario else {
            self.plan_strike();
            return self.options.safety;
        };
        let election = self.options.election();
        let deeds = scenario.deeds(self.options.seed, self.options.nodes, election);
        let last = deeds.last().map_or(0, |(at, _)| *at);
        for (at, deed) in deeds {
            self.queue.plan(Time(at), Event::Deed(deed));
        }
        self.options.safety.max(last + 2 * SECOND)
    }

    /// Faults have ended and clients are silent: what is committed reaches all replicas without their
    /// help. Then they go on.
    fn come_level(&mut self) {
        if self.ground.hushed {
            let marks = self.marks();
            let bound = self.now() + self.patience();
            while self.now() < bound && !self.groups_hold(&marks) {
                self.run_until(self.now() + 50 * MILLI);
            }
            self.blame_lagging(&marks);
            self.ground.hushed = false;
        }
    }

    /// Microseconds from the end of the faults within which everything must work.
    fn patience(&self) -> u64 {
        // A node that was given another disk has to fetch everything first.
        let changes = self.config + self.counters.faults(Fault::EmptiedDisk);
        let members = if changes == 0 { 0 } else { MEMBERS };
        TIMEOUTS_MAX * self.options.election() + 5 * SECOND + members
    }

    /// Faults have ended: within a bound of election timeouts everything must work. Members may wait
    /// until clients rest for once, if these write more than a newcomer's disk can take.
    fn check_liveness(&mut self, healed: Time) {
        let since = healed + 3 * MILLI;
        let (marks, heads) = (self.marks(), self.ground.heads.clone());
        self.begin_to_weigh_logs();
        let is_well =
            |world: &World| world.works(since, &marks, &heads) && world.unsettled().is_empty();
        if self.comes_to(is_well) {
            return;
        }
        let micros = self.now() - healed;
        if self.works(since, &marks, &heads) && self.newcomers_never_rest(micros) {
            self.counters.reach(Reached::NewcomerOutwritten);
            self.ground.hushed = true;
            self.comes_to(|world| world.unsettled().is_empty());
            self.ground.hushed = false;
            if self.comes_to(is_well) {
                return;
            }
        }
        self.blame_unwell(since, &marks, &heads);
    }

    /// Lets time pass until it is so, if that is before the bound.
    fn comes_to(&mut self, is_so: impl Fn(&World) -> bool) -> bool {
        let begun = self.now();
        let mut bound = begun + self.patience();
        while self.now() < bound {
            if is_so(self) {
                return true;
            }
            let parts = self.counters.reached(Reached::SnapshotPart);
            let until = bound.min(self.now() + 50 * MILLI);
            self.run_until(until);
            // Whoever is taking over a snapshot gets the time that takes.
            let comes_on = parts < self.counters.reached(Reached::SnapshotPart);
            if comes_on && bound < begun + SNAPSHOT {
                bound = bound.max(self.now() + SECOND);
            }
        }
        false
    }

    /// Says what does not work.
    fn blame_unwell(&mut self, since: Time, marks: &[Index], heads: &[u64]) {
        for (node, this) in self.nodes.iter().enumerate() {
            if !this.is_up() {
                let text = format!("node {node} is down: {:?}", this.broken);
                self.findings.add(Kind::NotReady, text);
            }
        }
        for client in self.clients.iter().filter(|client| !client.works(since, heads)) {
            let kind = if client.is_tailer() { Kind::TailDead } else { Kind::Unanswered };
            self.findings.add(kind, client.describe());
        }
        for group in self.unled() {
            let text = format!("group {group}{}", self.describe_group(group));
            self.findings.add(Kind::NoLeader, text);
        }
        for group in self.unsettled() {
            let members = self.court.members(group);
            let text = format!("group {group}: {members:?}{}", self.describe_group(group));
            self.findings.add(Kind::NotSettled, text);
        }
        self.blame_lagging(marks);
    }

    /// Whether everything works but for members that have to change.
    fn works(&self, since: Time, marks: &[Index], heads: &[u64]) -> bool {
        self.nodes.iter().all(Node::is_up)
            && self.clients.iter().all(|client| client.works(since, heads))
            && self.groups_hold(marks)
            && self.unled().is_empty()
    }

    /// Clients begin nothing new; what they do not know yet they find out.
    fn come_to_rest(&mut self) {
        self.ground.stopped = true;
        let bound = self.now() + AUDIT;
        while self.now() < bound && !self.clients.iter().all(Client::is_done) {
            self.run_until(self.now() + 20 * MILLI);
        }
        for client in self.clients.iter().filter(|client| !client.is_done()) {
            self.findings.add(Kind::Unanswered, client.describe());
        }
        // What a client has given up may yet be committed: nobody waits for it, but the audit would see it
        // at one node and not at another.
        let mut looks = 0;
        while self.now() < bound && looks < 2 {
            looks = if self.all_is_committed() { looks + 1 } else { 0 };
            self.run_until(self.now() + 20 * MILLI);
        }
        let (marks, heads) = (self.marks(), self.ground.heads.clone());
        let lags = |client: &Client| client.is_tailer() && !client.works(Time(0), &heads);
        while self.now() < bound && (!self.groups_hold(&marks) || self.clients.iter().any(lags)) {
            self.run_until(self.now() + 20 * MILLI);
        }
        self.blame_lagging(&marks);
        for client in self.clients.iter().filter(|client| lags(client)) {
            self.findings.add(Kind::TailDead, client.describe());
        }
    }

    /// Reads every session from every node that hosts it. `None` for a session that cannot be read.
    fn audit(&mut self) -> Vec<Option<Vec<Stored>>> {
        for disk in self.nodes.iter_mut().flat_map(|node| &mut node.disks) {
            disk.health = Health::good((10, 50));
        }
        let mut logs = Vec::new();
        for session in 0..self.options.sessions {
            let mut known: Option<Vec<Stored>> = None;
            let mut row = None;
            for node in 0..self.nodes.len() {
                let Some(log) = self.read_all(session, node) else { continue };
                let request = Request::Get(self.ground.names[session].clone());
                let found = self.ask_one(node, request);
                if let (Some(Reply::Session(found)), Some(Reply::Session(first))) = (&found, &row)
                    && found != first
                {
                    let text = format!("session {session}: {first:?} and, at {node}, {found:?}");
                    self.findings.add(Kind::StateDiffers, text);
                }
                if let Some(Reply::Session(found)) = &found {
                    let last = Some(found.version);
                    let findings = self.ground.admins[session].check(last);
                    self.findings.extend(findings);
                }
                row = row.or(found);
                match &known {
                    None => known = Some(log),
                    Some(first) if *first != log => {
                        let (one, other) = (first.len(), log.len());
                        let text = format!("session {session}: {one} and, at {node}, {other}");
                        self.findings.add(Kind::ReplicasDiffer, text);
                    }
                    Some(_) => {}
                }
            }
            logs.push(known);
        }
        logs
    }

    /// Lists all sessions as a door does: each is shown once, by whoever leads its group.
    fn audit_lists(&mut self) {
        let bound = self.now() + AUDIT;
        let mut told = String::new();
        while self.now() < bound {
            let (groups, shown) = self.list_all();
            let mut missing: Vec<&SessionId> = self.ground.names.iter().collect();
            let created = |name: &SessionId| {
                let place = self.ground.names.iter().position(|other| other == name);
                place.is_some_and(|place| self.ground.is_created(place))
            };
            missing.retain(|name| created(name) && !shown.contains(name));
            let all = (0..self.options.groups).all(|group| groups.contains(&GroupId(group)));
            let once = shown.is_sorted_by(|one, other| one < other);
            if missing.is_empty() && all && once {
                return;
            }
            told = format!("groups {groups:?}, shown {shown:?}, missing {missing:?}");
            self.run_until(self.now() + 50 * MILLI);
        }
        self.findings.add(Kind::ListWrong, told);
    }

    /// The groups that are led somewhere, and the sessions all shards show, in order.
    fn list_all(&mut self) -> (Vec<GroupId>, Vec<SessionId>) {
        let (mut groups, mut shown) = (Vec::new(), Vec::new());
        for node in 0..self.nodes.len() {
            for _ in 0..self.nodes[node].shards {
                let list = List {
                    cursor: None,
                    limit: LIST_LIMIT_MAX,
                    visibility: Visibility::All,
                    metadata: Vec::new(),
                };
                if let Some(Reply::Sessions { rows, groups: led, .. }) =
                    self.ask_one(node, Request::List(list))
                {
                    let place = |row: &SessionRow| self.placement(node).group(row.id.as_str());
                    let of_led = rows.into_iter().filter(|row| led.contains(&place(row)));
                    shown.extend(of_led.map(|row| row.id));
                    groups.extend(led);
                }
            }
        }
        shown.sort_unstable();
        (groups, shown)
    }

    /// Reads a session from one node; `None` if the node does not host it.
    fn read_all(&mut self, session: usize, node: usize) -> Option<Vec<Stored>> {
        let bound = self.now() + AUDIT;
        let mut log: Vec<Stored> = Vec::new();
        let mut told = String::new();
        while self.now() < bound {
            let cursor = Seq(log.len() as u64);
            let id = self.ground.names[session].clone();
            let request = Request::Events(EventsPage { session: id, cursor, limit: 500 });
            match self.ask_one(node, request) {
                Some(Reply::Events { events, last_seq }) => {
                    log.extend(events.iter().map(|event| stored(event.seq.0, &event.json)));
                    if last_seq.0 <= log.len() as u64 || events.is_empty() {
                        return Some(log);
                    }
                }
                Some(Reply::NotLeader { .. }) if !self.hosts(session, node) => return None,
                Some(Reply::Refused(refusal)) if refusal.code == Code::SessionNotFound => {
                    return self.ground.is_created(session).then(Vec::new);
                }
                Some(Reply::Refused(refusal))
                    if refusal.code == Code::ArchiveReadUnavailable && self.nodes[node].scarred =>
                {
                    return None;
                }
                other => {
                    told = format!("{other:?}");
                    self.run_until(self.now() + 50 * MILLI);
                }
            }
        }
        let group = self.placement(node).group(self.ground.names[session].as_str());
        let groups = self.describe_group(group.0);
        let text = format!("session {session} cannot be read from node {node}: {told}{groups}");
        self.findings.add(Kind::Unanswered, text);
        None
    }

    /// Asks a node something and waits for the answer, for a while.
    fn ask_one(&mut self, node: usize, request: Request) -> Option<Reply> {
        self.asked += 1;
        self.heard = None;
        self.arrive(Caller { client: HARNESS, number: self.asked }, node, request);
        let patience = self.now() + 5 * SECOND;
        while self.heard.is_none() && self.step(patience) {}
        self.heard.take()
    }

    fn report(mut self, logs: &[Option<Vec<Stored>>], recovery: u64) -> Report {
        for (place, log) in logs.iter().enumerate() {
            let Some(log) = log else { continue };
            let history = &self.ground.histories[place];
            self.findings.extend(checker::check(history, log));
            self.findings.extend(tail_checker::check(history, log));
            self.digest.add(log.len() as u64);
            log.iter().for_each(|event| self.digest.add(event.digest));
        }
        self.findings.extend(std::mem::take(&mut self.court.findings));
        let mut counters = self.counters.clone();
        counters.add(&self.ground.counters);
        counters.reach_times(Reached::LeaderChanged, self.court.terms_led());
        counters.reach_times(Reached::EntriesReplaced, self.court.replaced);
        Report {
            micros: self.now().0,
            digest: self.digest.value(),
            events: self.events,
            operations: self.ground.operations(),
            appended: logs.iter().flatten().map(|log| log.len() as u64).sum(),
            findings: self.findings,
            counters,
            options: self.options,
            recovery,
        }
    }
}
