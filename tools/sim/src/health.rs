//! Whether the groups of a cluster are well: one leader each, and all replicas with all that is
//! committed.

use std::collections::BTreeMap;

use model::cluster::{NameTag, replicas};
use model::ids::GroupId;
use raft::{Index, Term};

use crate::verdict::Kind;
use crate::world::World;

impl World {
    /// Whether a node is to host a session's group.
    pub(crate) fn hosts(&self, session: usize, node: usize) -> bool {
        let group = self.placement(node).group(self.ground.names[session].as_str());
        self.hosts_group(group, node)
    }

    fn hosts_group(&self, group: GroupId, node: usize) -> bool {
        let tags: Vec<NameTag> = self.nodes.iter().map(|node| node.tag).collect();
        replicas(group, &tags, self.options.factor).contains(&self.nodes[node].tag)
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
            let id = self.nodes[node].id();
            let text = format!("group {group}: node {node} ({id}) lacks index {}", mark.0);
            self.findings.add(Kind::NotCaughtUp, text);
        }
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
