//! Scripts in `testdata`: commands, a line `----`, and what they print, up to an empty line. With
//! `UPDATE_EXPECT=1` the tests write down what they see.
//!
//! ```text
//! add-nodes N                        nodes 1 to N, all voters, empty disks
//! node ID voters=1,2,3 [outgoing=...] [learners=...] [term=T] [vote=ID] [log=T,T,...]
//!         [snapshot=T/I] [bytes=N] [appends=N] [quiet=TICKS] [lease=true] [doubtful=true]
//!                                    a node whose disk holds entries of these terms, of at least N
//!                                    bytes, and that sends so many appends ahead of their answers
//! campaign ID, stand ID              the second as if all had said that they would vote for it
//! tick ID [COUNT], propose ID PAYLOAD, read ID, compact ID INDEX, transfer ID TO
//! change ID voters=... [learners=...]
//! suspect ID, step-down ID, wake ID, ask ID
//! status ID, log ID, progress ID, members ID
//! ready ID                           takes a Ready: its write is under way, its messages are in the network
//! persisted ID                       the oldest write under way is durable, and the node knows
//! deliver ID [from=ID] [first=N], drop ID [from=ID] [first=N]
//!                                    what the network holds for a node arrives, or is lost
//! copy ID                            what the network holds for a node will arrive twice
//! stream ID, stream-again ID, stream-lost ID
//!                                    the oldest snapshot under way to a node arrives, and may do so
//!                                    again, or is lost
//! offer ID TO                        a node sends its state to another, unasked
//! crash ID [kept=COUNT]              of the writes under way the first COUNT reach the disk
//! lose ID                            the disk of a node that is down loses its newest write
//! restart ID [doubtful=true]
//! stabilize [ID...]                  all of the above among these nodes, until nothing is left to do
//! network                            what is under way
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use expect_test::expect_file;

use crate::membership::Membership;
use crate::message::{Content, Entry, HardState, Index, NodeId, Snapshot, Term};
use crate::node::{Config, Restored};

use super::cluster::Cluster;
use super::{config, ids, print};

/// More rounds than any script needs to come to rest.
const ROUNDS_MAX: usize = 100;

macro_rules! scripts {
    ($($name:ident)*) => {
        $(#[test] fn $name() { check(stringify!($name)); })*

        #[test]
        fn every_script_is_run() {
            let mut found: Vec<String> = fs::read_dir(directory())
                .unwrap()
                .map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
                .collect();
            found.sort();
            assert_eq!(found, [$(stringify!($name)),*]);
        }
    };
}

scripts! {
    change_before_own_commit
    check_quorum
    conflict_repair
    deposed_leader
    doubt
    doubt_late_receipt
    doubt_members_lost
    doubt_remembered
    election
    figure_8
    floor_disagrees
    flow_control
    joint_change
    joint_new_leader
    leader_leaves
    learner
    lease
    lease_transfer
    lost_messages
    pipelining
    pre_vote
    quiet
    quiet_leader_deposed
    quiet_leader_gone
    quiet_lost_rest
    read_before_own_commit
    read_index
    read_on_follower
    removed_in_doubt
    removed_moved_away
    removed_new_leader
    removed_node
    removed_told_half
    removed_unheard
    removed_voter_needed
    replication
    restart
    several_readys
    single_voter
    snapshot_boundary_conflict
    snapshot_older_than_log
    snapshot_to_follower
    stale_leader_beneath_floor
    stale_receipt
    stickiness
    transfer
    transfer_aborted
    transfer_lagging
    vote_before_durable
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata")
}

fn check(name: &str) {
    let path = directory().join(name).with_extension("txt");
    let script = fs::read_to_string(&path).unwrap();
    expect_file![path].assert_eq(&run(&script));
}

/// The script with its output filled in anew.
fn run(script: &str) -> String {
    let mut interpreter = Interpreter::default();
    let mut text = String::new();
    let mut lines = script.lines();
    while let Some(line) = lines.next() {
        text.push_str(line);
        text.push('\n');
        if line == "----" {
            for printed in interpreter.take_output() {
                text.push_str(&printed);
                text.push('\n');
            }
            if lines.by_ref().any(str::is_empty) {
                text.push('\n');
            }
        } else if !line.is_empty() && !line.starts_with('#') {
            interpreter.run(line);
        }
    }
    assert!(interpreter.output.is_empty(), "a script ends with what it prints");
    text
}

#[derive(Default)]
struct Interpreter {
    cluster: Cluster,
    output: Vec<String>,
}

/// The words of one line.
struct Words<'a> {
    plain: Vec<&'a str>,
    named: BTreeMap<&'a str, &'a str>,
}

impl<'a> Words<'a> {
    fn of(line: &'a str) -> Words<'a> {
        let (mut plain, mut named) = (Vec::new(), BTreeMap::new());
        for word in line.split_whitespace() {
            match word.split_once('=') {
                Some((name, value)) => drop(named.insert(name, value)),
                None => plain.push(word),
            }
        }
        Words { plain, named }
    }

    fn number(&self, slot: usize) -> Option<u64> {
        self.plain.get(slot).map(|word| parse(word))
    }

    fn id(&self) -> NodeId {
        NodeId(self.number(1).expect("a node"))
    }

    fn named<T: FromStr>(&self, name: &str) -> Option<T> {
        self.named.get(name).map(|word| parse(word))
    }

    fn list(&self, name: &str) -> Vec<u64> {
        self.named.get(name).map_or(Vec::new(), |word| word.split(',').map(parse).collect())
    }
}

fn parse<T: FromStr>(word: &str) -> T {
    word.parse().ok().unwrap_or_else(|| panic!("cannot read {word:?}"))
}

impl Interpreter {
    fn take_output(&mut self) -> Vec<String> {
        if self.output.is_empty() {
            self.output.push("ok".into());
        }
        std::mem::take(&mut self.output)
    }

    fn say(&mut self, text: impl Into<String>) {
        self.output.push(text.into());
    }

    fn run(&mut self, line: &str) {
        let words = Words::of(line);
        match words.plain[0] {
            "add-nodes" => self.cluster = Cluster::of(words.number(1).expect("a count")),
            "node" => self.add(&words),
            "status" => self.status(words.id()),
            "log" => self.log(words.id()),
            "progress" => self.progress(words.id()),
            "members" => {
                let members = print::membership(self.cluster.node(words.id()).membership());
                self.say(members);
            }
            "ready" => self.ready(words.id()),
            "persisted" => self.persisted(words.id()),
            "deliver" => self.deliver(&words, true),
            "drop" => self.deliver(&words, false),
            "copy" => self.copy(words.id()),
            "stream" => self.stream(words.id(), true, false),
            "stream-again" => self.stream(words.id(), true, true),
            "stream-lost" => self.stream(words.id(), false, false),
            "crash" => {
                self.cluster.crash(words.id(), words.named("kept").unwrap_or(0), None);
            }
            "lose" => assert!(self.cluster.lose_newest(words.id()), "something to lose"),
            "restart" => {
                let doubtful = words.named("doubtful").unwrap_or(false);
                self.cluster.restart(words.id(), doubtful);
            }
            "stabilize" => self.stabilize(&words),
            "network" => {
                let under_way = self.cluster.network.iter().map(print::message);
                self.output.extend(under_way);
            }
            _ => self.call(&words),
        }
    }

    /// Commands that are calls of a node.
    fn call(&mut self, words: &Words<'_>) {
        let id = words.id();
        match words.plain[0] {
            "campaign" => self.cluster.with(id, |node| node.campaign()),
            "stand" => self.cluster.with(id, |node| node.stand(false)),
            "tick" => (0..words.number(2).unwrap_or(1)).for_each(|_| self.tick(id)),
            "propose" => self.propose(id, words.plain[2]),
            "read" => drop(self.cluster.read(id)),
            "change" => self.change(words),
            "transfer" => self.transfer(id, NodeId(words.number(2).expect("an heir"))),
            "suspect" => self.cluster.with(id, |node| node.suspect_leader()),
            "step-down" => self.cluster.with(id, |node| node.step_down()),
            "offer" => self.cluster.offer(id, NodeId(words.number(2).expect("a receiver"))),
            "wake" => self.cluster.with(id, |node| node.wake()),
            "ask" => self.cluster.with(id, |node| node.ask_whether_member()),
            "compact" => {
                let index = Index(words.number(2).expect("an index"));
                self.cluster.checkpoint(id, index);
                self.cluster.with(id, |node| node.compact(index));
            }
            other => panic!("unknown command {other:?}"),
        }
    }

    fn add(&mut self, words: &Words<'_>) {
        let membership = Membership {
            voters: ids(words.list("voters")),
            outgoing: ids(words.list("outgoing")),
            learners: ids(words.list("learners")),
        };
        let last = words.named.get("snapshot").map_or((Term(0), Index(0)), |word| {
            let (term, index) = word.split_once('/').expect("term/index");
            (Term(parse(term)), Index(parse(index)))
        });
        let terms = words.list("log").into_iter().map(Term);
        let bytes = words.named("bytes").unwrap_or(0);
        let entries = terms.zip(last.1.0 + 1..).map(|(term, index)| {
            let mut payload = format!("{term}.{index}").into_bytes();
            payload.resize(payload.len().max(bytes), b' ');
            Entry { term, index: Index(index), content: Content::Command(payload.into()) }
        });
        let term = Term(words.named("term").unwrap_or(0));
        let restored = Restored {
            hard_state: HardState { term, vote: words.named("vote").map(NodeId) },
            snapshot: Snapshot { last, membership: Arc::new(membership) },
            entries: entries.collect(),
            doubtful: words.named("doubtful").unwrap_or(false).then(|| self.cluster.next_life()),
        };
        let usual = config(words.id().0);
        let config = Config {
            quiet_ticks: words.named("quiet").unwrap_or(0),
            inflight_max: words.named("appends").unwrap_or(usual.inflight_max),
            lease: words.named("lease").unwrap_or(false),
            ..usual
        };
        self.cluster.add(config, restored);
    }

    fn change(&mut self, words: &Words<'_>) {
        let (voters, learners) = (ids(words.list("voters")), ids(words.list("learners")));
        let changed = self.cluster.with(words.id(), |node| node.change(voters, learners));
        self.say(match changed {
            Ok(position) => format!("changes {}", print::position(position)),
            Err(refusal) => refusal.to_string(),
        });
    }

    fn transfer(&mut self, id: NodeId, to: NodeId) {
        if let Err(refusal) = self.cluster.with(id, |node| node.transfer(to)) {
            self.say(refusal.to_string());
        }
    }

    fn progress(&mut self, id: NodeId) {
        let peers: Vec<_> = self.cluster.node(id).progress().collect();
        self.output.extend(peers.iter().map(print::progress));
    }

    fn stream(&mut self, to: NodeId, arrives: bool, again: bool) {
        let slot = self.cluster.streams.iter().position(|stream| stream.to == to);
        let slot = slot.expect("a snapshot under way");
        if again {
            let copy = self.cluster.streams[slot].clone();
            self.cluster.streams.push(copy);
        }
        let (stream, taken) = self.cluster.end_stream(slot, arrives);
        let end = match (arrives, taken) {
            (true, true) => "is taken over",
            (true, false) => "is of no use",
            (false, _) => "is lost",
        };
        self.say(format!("{}->{to} {} {end}", stream.from, print::snapshot(&stream.snapshot)));
    }

    fn tick(&mut self, id: NodeId) {
        self.cluster.with(id, |node| node.tick());
    }

    fn propose(&mut self, id: NodeId, payload: &str) {
        let proposed = self.cluster.with(id, |node| node.propose(payload.as_bytes().into()));
        self.say(match proposed {
            Ok(position) => format!("proposed {}", print::position(position)),
            Err(refusal) => refusal.to_string(),
        });
    }

    fn status(&mut self, id: NodeId) {
        let status = self.cluster.node(id).status();
        self.say(print::status(&status));
    }

    fn log(&mut self, id: NodeId) {
        let log = &self.cluster.node(id).log;
        let kept = (log.floor().1.0..=log.last().1.0).filter_map(|index| log.get(Index(index)));
        self.output.extend(kept.map(print::entry));
    }

    fn ready(&mut self, id: NodeId) {
        let ready = self.cluster.take_ready(id);
        self.output.extend(print::ready(&ready));
    }

    fn persisted(&mut self, id: NodeId) {
        let receipt = self.cluster.persist(id).expect("a write under way");
        self.say(format!("persisted {}", print::receipt(&receipt)));
    }

    fn deliver(&mut self, words: &Words<'_>, arrives: bool) {
        let (to, from) = (words.id(), words.named("from").map(NodeId));
        let (mut slot, mut left) = (0, words.named("first").unwrap_or(usize::MAX));
        while let Some(message) = self.cluster.network.get(slot).filter(|_| 0 < left) {
            if message.to != to || from.is_some_and(|from| from != message.from) {
                slot += 1;
                continue;
            }
            left -= 1;
            if arrives {
                let message = self.cluster.deliver(slot);
                self.say(format!("deliver {}", print::message(&message)));
            } else {
                let message = self.cluster.network.remove(slot);
                self.say(format!("drop {}", print::message(&message)));
            }
        }
    }

    fn copy(&mut self, to: NodeId) {
        let sent = self.cluster.network.iter().filter(|message| message.to == to);
        let copies: Vec<_> = sent.cloned().collect();
        self.cluster.network.extend(copies);
    }

    fn stabilize(&mut self, words: &Words<'_>) {
        let mut ids: Vec<NodeId> = words.plain[1..].iter().map(|id| NodeId(parse(id))).collect();
        if ids.is_empty() {
            ids = self.cluster.members.keys().copied().collect();
        }
        ids.retain(|id| self.cluster.is_up(*id));
        for _ in 0..ROUNDS_MAX {
            let before = self.output.len();
            for id in &ids {
                self.settle(*id, &ids);
            }
            if self.output.len() == before {
                return;
            }
        }
        panic!("no rest after {ROUNDS_MAX} rounds");
    }

    /// Delivers what one node has been sent by the others, takes its Ready, makes its writes durable.
    fn settle(&mut self, id: NodeId, among: &[NodeId]) {
        let mut lines = std::mem::take(&mut self.output);
        for from in among {
            self.deliver(&Words::of(&format!("deliver {id} from={from}")), true);
        }
        if self.cluster.node(id).has_ready() {
            self.ready(id);
        }
        while let Some(receipt) = self.cluster.persist(id) {
            self.say(format!("persisted {}", print::receipt(&receipt)));
        }
        lines.extend(self.output.drain(..).map(|line| format!("{id}: {line}")));
        self.output = lines;
    }
}
