//! Whether a shard stays within its bounds, and whether the groups of a cluster are well: one leader
//! each, and all replicas with all that is committed.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use model::ids::GroupId;
use model::limits::SEGMENTS_MAX;
use raft::{Index, Term};

use crate::verdict::Kind;
use crate::world::World;

impl World {
    /// No queue and no memory grows beyond its bound.
    pub(crate) fn check_budget(&mut self, node: usize, shard: u32) {
        let hot_max = self.options.hot_bytes_max;
        let waiting = self.clients.len() as u64;
        let lives = u64::from(self.nodes[node].life);
        let Some(running) = self.nodes[node].running(shard) else { return };
        if !running.turns.is_multiple_of(16) {
            return;
        }
        let gauges = running.shard.gauges();
        let (inbox, segments) = (running.inbox.len(), gauges.log_segments);
        let mut over = |what: &str, is: u64, bound: u64| {
            if bound < is {
                let text = format!("node {node}, shard {shard}: {what} {is}, bound {bound}");
                self.findings.add(Kind::BudgetExceeded, text);
            }
        };
        // A follower takes what was committed, whatever it holds already.
        over("hot bytes", gauges.hot_bytes, 8 * hot_max + 1024 * 1024);
        // What Raft itself must write is bounded by the disk alone, or it could never go on: what lives
        // without a quorum leave behind adds up until there is one.
        over("log segments", segments, 8 * SEGMENTS_MAX as u64 + 2 * lives);
        over("tails", gauges.tails, 4 * waiting);
        over("inputs", inbox as u64, 1 << 20);
    }

    /// Whether a node is to host a session's group.
    pub(crate) fn hosts(&self, session: usize, node: usize) -> bool {
        let group = self.placement(node).group(self.ground.names[session].as_str());
        self.hosts_group(group, node)
    }

    fn hosts_group(&self, group: GroupId, node: usize) -> bool {
        self.wanted(group).contains(&self.nodes[node].tag)
    }

    /// Groups that have no leader, or several that believe to lead the newest term.
    pub(crate) fn unled(&self) -> Vec<u32> {
        let mut leaders: BTreeMap<u32, (Term, u32)> = BTreeMap::new();
        let processes = self.nodes.iter().filter_map(|node| node.process.as_ref());
        let shards = processes.flat_map(|process| &process.shards);
        for (group, status) in shards.flat_map(|running| running.shard.statuses()) {
            let (term, count) = leaders.entry(group.0).or_insert((Term(0), 0));
            if *term < status.term {
                (*term, *count) = (status.term, 0);
            }
            *count += u32::from(status.role.leads() && status.term == *term);
        }
        let unled = leaders.into_iter().filter(|(_, (_, count))| *count != 1);
        unled.map(|(group, _)| group).collect()
    }

    /// Whether leaders have committed all they have.
    pub(crate) fn all_is_committed(&self) -> bool {
        let processes = self.nodes.iter().filter_map(|node| node.process.as_ref());
        let shards = processes.flat_map(|process| &process.shards);
        let mut statuses = shards.flat_map(|running| running.shard.statuses());
        statuses.all(|(_, status)| !status.role.leads() || status.last == status.committed)
    }

    /// Counts from now on for how long each log is written.
    pub(crate) fn begin_to_weigh_logs(&mut self) {
        let disks = self.nodes.iter_mut().flat_map(|node| &mut node.disks);
        disks.for_each(|disk| disk.log_micros = 0);
    }

    /// Whether each group whose members have to change has a newcomer whose log was written nearly all
    /// the time, for so many microseconds: it took what its disk could.
    pub(crate) fn newcomers_never_rest(&self, micros: u64) -> bool {
        self.unsettled().into_iter().all(|group| {
            let learners = &self.court.members(group).learners;
            (0..self.nodes.len()).any(|node| {
                let shard = self.placement(node).shard(GroupId(group)).0 as usize;
                let this = &self.nodes[node];
                learners.contains(&this.id()) && 9 * micros <= 10 * this.disks[shard].log_micros
            })
        })
    }

    /// How far each group is committed.
    pub(crate) fn marks(&self) -> Vec<Index> {
        (0..self.options.groups).map(|group| self.court.committed(group)).collect()
    }

    /// Whether every replica holds what was committed then.
    pub(crate) fn groups_hold(&self, marks: &[Index]) -> bool {
        self.lagging(marks).next().is_none()
    }

    /// Says which replicas do not.
    pub(crate) fn blame_lagging(&mut self, marks: &[Index]) {
        let lagging: Vec<(u32, usize, Index)> = self.lagging(marks).collect();
        for (group, node, mark) in lagging {
            let text = format!("group {group}: node {node} lacks index {}", mark.0);
            self.findings.add(Kind::NotCaughtUp, format!("{text}{}", self.describe_group(group)));
        }
    }

    /// How each node's part of a group is doing, for a report.
    pub(crate) fn describe_group(&self, group: u32) -> String {
        let mut text = String::new();
        for (node, this) in self.nodes.iter().enumerate() {
            let shard = self.placement(node).shard(GroupId(group)).0 as usize;
            let Some(process) = &this.process else {
                let _ = write!(text, "\n    node {node} is down: {:?}", this.broken);
                continue;
            };
            let shard = &process.shards[shard].shard;
            let status = shard.statuses().find(|(id, _)| id.0 == group).map(|(_, status)| status);
            let gauges = shard.gauges();
            let (segments, full) = (gauges.log_segments, gauges.no_space);
            let id = this.id();
            let _ =
                write!(text, "\n    node {node} ({id}): {segments} segments, no space {full}, ");
            let _ = write!(text, "{status:?}");
        }
        text
    }

    fn lagging<'a>(&'a self, marks: &'a [Index]) -> impl Iterator<Item = (u32, usize, Index)> + 'a {
        (0..).zip(marks).flat_map(move |(group, mark)| {
            (0..self.nodes.len()).filter_map(move |node| {
                let hosts = self.hosts_group(GroupId(group), node);
                let lacks = hosts && !self.court.holds(group, self.nodes[node].id(), *mark);
                lacks.then_some((group, node, *mark))
            })
        })
    }
}
