//! The operator's side of a node: what is told of it and of the others, and who may ask. `words` is what
//! operators say, `follow` how a node hears it, `members` who holds what.

mod follow;
mod members;
mod words;

use std::path::PathBuf;
use std::sync::Arc;

use model::api::GroupRow;
use model::cluster::{NameTag, NodeName, replicas};
use model::config::{ClusterConfig, Secret};
use model::error::Code;
use model::ids::GroupId;
use serde_json::{Map, Value, json};
use uring::{Gateway, Keeper, Readiness, Sight, Standing};

use crate::peer::Links;

pub(crate) use follow::follow;
pub(crate) use members::members;
#[cfg(test)]
pub(crate) use members::shares;
pub(crate) use words::{add, drain, prefer, release, remove, undrain};

/// How a process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Startup {
    /// Its cluster began with it.
    Founding,
    /// It joined, with an empty directory, a cluster that had begun.
    Joining,
    /// It was part of its cluster before.
    Restart,
}

impl Startup {
    /// Its name in the answers to probes and in the log.
    pub fn name(self) -> &'static str {
        match self {
            Startup::Founding => "founding",
            Startup::Joining => "joining",
            Startup::Restart => "restart",
        }
    }
}

/// What operators are told of a node, and who may ask. One for a process.
#[derive(Debug)]
pub struct OperatorConfig {
    /// The node's place among others, as it is configured.
    pub cluster: ClusterConfig,
    /// Raft groups.
    pub groups: u32,
    /// Where all its data is.
    pub data_dir: PathBuf,
    /// Who knows this may ask.
    pub token: Secret,
    /// How the process began.
    pub startup: Startup,
    /// Its connections with others, which know names that are not configured.
    pub links: Option<Links>,
    /// Keeps what operators want; `None` to forget it with the process.
    pub keeper: Option<Keeper>,
}

/// The operator's side of a node. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Operator(Arc<OperatorConfig>);

impl Operator {
    /// For one process.
    pub fn new(config: OperatorConfig) -> Operator {
        Operator(Arc::new(config))
    }

    /// Whether somebody knows the token. How long this takes does not depend on what was said.
    pub(crate) fn admits(&self, token: &[u8]) -> bool {
        blake3::hash(token) == blake3::hash(self.0.token.expose())
    }

    /// How the process began.
    pub(crate) fn startup(&self) -> Startup {
        self.0.startup
    }

    /// The nodes that are to hold data, in the order of their names.
    fn write(&self, standing: &Standing) -> Vec<NodeName> {
        standing.intent().write(&self.0.cluster.write)
    }

    /// The node that a name means among those that are to hold data, with or without its host; this
    /// node for none.
    ///
    /// # Errors
    /// `InvalidWriteNode`.
    fn write_node(&self, standing: &Standing, name: Option<&str>) -> Result<NodeName, Code> {
        let name = name.unwrap_or(self.0.cluster.own.as_str());
        let short = name.split_once('@').map_or(name, |(short, _)| short);
        let write = self.write(standing);
        let called = |wanted: &str| write.iter().find(|node| node.as_str() == wanted).cloned();
        called(name).or_else(|| called(short)).ok_or(Code::InvalidWriteNode)
    }

    /// The group of a number.
    ///
    /// # Errors
    /// `InvalidGroupId`.
    pub(crate) fn group(&self, number: &str) -> Result<GroupId, Code> {
        let digits = number.bytes().all(|byte| byte.is_ascii_digit());
        let group = number.parse().ok().filter(|group| digits && *group < self.0.groups);
        group.map(GroupId).ok_or(Code::InvalidGroupId)
    }

    /// The nodes that may be asked for anything: alive, ready, and not to be relieved.
    pub(crate) fn ready_nodes(&self, standing: &Standing, own: Readiness) -> Vec<String> {
        let is_ready = |node: &NodeName| {
            self.is_caught_up(standing, own, node) && !standing.is_relieved(node.tag())
        };
        let write = self.write(standing);
        write.iter().filter(|node| is_ready(node)).map(NodeName::to_string).collect()
    }

    /// Whether all that a node hosts can commit and is caught up there, as far as is known here.
    fn is_caught_up(&self, standing: &Standing, own: Readiness, node: &NodeName) -> bool {
        if *node == self.0.cluster.own {
            return own == Readiness::Ready;
        }
        matches!(standing.sight(node.tag()), Sight::Alive { ready: true, .. })
    }

    /// All nodes that are known, in the order of their names: this one, those that are configured or
    /// were added, and those that were found.
    fn known(&self, standing: &Standing) -> Vec<NodeName> {
        let OperatorConfig { cluster, links, .. } = &*self.0;
        let intent = standing.intent();
        let mut known = vec![cluster.own.clone()];
        known.extend(cluster.nodes.iter().map(|node| node.name.clone()));
        known.extend(intent.places().map(|node| node.name.clone()));
        known.extend(links.iter().flat_map(Links::names));
        known.sort_unstable();
        known.dedup();
        let is_gone = |node: &NodeName| {
            let configured = cluster.nodes.iter().any(|other| other.name == *node);
            let lost = matches!(standing.sight(node.tag()), Sight::Lost | Sight::Suspect);
            intent.is_removed(node) && !configured && lost && *node != cluster.own
        };
        known.retain(|node| !is_gone(node));
        known
    }

    /// Whether a node gives signs of life.
    fn is_alive(&self, standing: &Standing, node: &NodeName) -> bool {
        *node == self.0.cluster.own || matches!(standing.sight(node.tag()), Sight::Alive { .. })
    }

    /// How a node is seen, in the contract's words.
    fn word(&self, standing: &Standing, node: &NodeName) -> &'static str {
        match standing.sight(node.tag()) {
            _ if standing.is_relieved(node.tag()) => "draining",
            _ if self.is_alive(standing, node) => "ready",
            Sight::Lost => "lost",
            Sight::Suspect | Sight::Alive { .. } => "suspect",
        }
    }

    /// All that is known, in the contract's words.
    pub(crate) fn status(&self, standing: &Standing, own: Readiness) -> Value {
        let OperatorConfig { cluster, groups, data_dir, .. } = &*self.0;
        let shards: Vec<_> = standing.shards().flatten().collect();
        let all = shards.iter().flat_map(|shard| &shard.groups);
        let mut local: Vec<u32> = all.filter(|group| group.2).map(|group| group.0.0).collect();
        local.sort_unstable();
        json!({
            "node": cluster.own.as_str(),
            "local_write_node": !standing.is_router(),
            "local_mode": mode(standing.is_router()),
            "local_ready": own == Readiness::Ready,
            "local_drained": standing.is_drained(),
            "write_nodes": names(&self.write(standing)),
            "write_replication_factor": cluster.factor,
            "num_groups": groups,
            "local_groups": local,
            "raft_storage": {
                "starcite_data_dir": data_dir.display().to_string(),
                "ra_data_dir": data_dir.display().to_string(),
                "ra_wal_data_dir": data_dir.display().to_string(),
            },
            "observer": self.observer(standing, own),
        })
    }

    fn observer(&self, standing: &Standing, own: Readiness) -> Value {
        let (known, write) = (self.known(standing), self.write(standing));
        let statuses: Map<String, Value> = known
            .iter()
            .map(|node| (node.as_str().to_owned(), json!(self.word(standing, node))))
            .collect();
        let those = |wanted: &dyn Fn(&NodeName) -> bool| -> Vec<&str> {
            known.iter().filter(|node| wanted(node)).map(|node| node.as_str()).collect()
        };
        let caught_up =
            |node: &NodeName| write.contains(node) && self.is_caught_up(standing, own, node);
        json!({
            "status": if own == Readiness::Unaware { "down" } else { "ok" },
            "visible_nodes": those(&|node| self.is_alive(standing, node)),
            "ready_nodes": self.ready_nodes(standing, own),
            "node_statuses": statuses,
            "raft_ready_nodes": those(&caught_up),
        })
    }

    /// Who should hold a group, and who leads it, as the leader says itself.
    pub(crate) async fn holders(&self, gateway: &Gateway, group: GroupId) -> Value {
        let row = gateway.group(group).await;
        let stopper = gateway.stopper();
        let standing = stopper.standing();
        let (known, intent) = (self.known(standing), standing.intent());
        let name = |tag: NameTag| name_of(&known, tag);
        let tags = intent.write_tags(&self.0.cluster.write);
        let holders = replicas(group, &tags, self.0.cluster.factor);
        let those = |members: fn(&GroupRow) -> &Vec<model::cluster::MemberId>| -> Vec<String> {
            row.iter().flat_map(members).map(|member| name(member.tag())).collect()
        };
        json!({
            "group": group.0,
            "replicas": holders.into_iter().map(name).collect::<Vec<String>>(),
            "leader": row.as_ref().map(|row| name(row.leader.tag())),
            "preferred": intent.preferred().get(&group).map(NodeName::as_str),
            "voters": those(|row| &row.voters),
            "learners": those(|row| &row.learners),
        })
    }
}

/// The name behind a tag, or the number if nobody knows it.
fn name_of(known: &[NodeName], tag: NameTag) -> String {
    let found = known.iter().find(|node| node.tag() == tag);
    found.map_or_else(|| format!("{:08x}", tag.0), NodeName::to_string)
}

fn names(nodes: &[NodeName]) -> Vec<&str> {
    nodes.iter().map(NodeName::as_str).collect()
}

/// What kind of node it is, in the contract's words.
pub(crate) fn mode(is_router: bool) -> &'static str {
    if is_router { "router_node" } else { "write_node" }
}
