//! The operator's side of a node: what is told of it and of the others, who may ask, and the words that
//! operators say about nodes, which every node follows.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::api::{Reply, Request, TailMessage, TailOpen};
use model::cluster::{NodeName, replicas};
use model::config::{ClusterConfig, Secret};
use model::error::{Code, Refusal};
use model::ids::{GroupId, Seq};
use model::intent::{self, Intent, Word};
use serde_json::{Map, Value, json};
use uring::{Gateway, Readiness, Sight, Standing, rt};

/// Between two looks whether operators have said anything at all, and after a tail that ended.
const LOOK: Duration = Duration::from_millis(500);
/// How long a word waits to be heard by the node that it was said at.
const HEARD: Duration = Duration::from_secs(1);
/// Between two looks whether it is.
const HEARD_LOOK: Duration = Duration::from_millis(5);

/// What operators are told of a node, and who may ask. One for a process.
#[derive(Debug)]
pub struct OperatorConfig {
    /// The node's place among others.
    pub cluster: ClusterConfig,
    /// Raft groups.
    pub groups: u32,
    /// Where all its data is.
    pub data_dir: PathBuf,
    /// Who knows this may ask.
    pub token: Secret,
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

    /// The node that a name means among those that hold data, with or without its host; this node for
    /// none.
    ///
    /// # Errors
    /// `InvalidWriteNode`.
    pub(crate) fn write_node(&self, name: Option<&str>) -> Result<&NodeName, Code> {
        let cluster = &self.0.cluster;
        let name = name.unwrap_or(cluster.own.as_str());
        let called = |wanted: &str| cluster.write.iter().find(|node| node.as_str() == wanted);
        let short = name.split_once('@').map_or(name, |(short, _)| short);
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
    pub(crate) fn ready_nodes(&self, standing: &Standing, own: Readiness) -> Vec<&str> {
        let is_ready = |node: &&NodeName| {
            self.is_caught_up(standing, own, node) && !standing.is_relieved(node.tag())
        };
        self.0.cluster.write.iter().filter(is_ready).map(NodeName::as_str).collect()
    }

    /// Whether all that a node hosts can commit and is caught up there, as far as is known here.
    fn is_caught_up(&self, standing: &Standing, own: Readiness, node: &NodeName) -> bool {
        if *node == self.0.cluster.own {
            return own == Readiness::Ready;
        }
        matches!(standing.sight(node.tag()), Sight::Alive { ready: true, .. })
    }

    /// All that is known, in the contract's words.
    pub(crate) fn status(&self, standing: &Standing, own: Readiness) -> Value {
        let OperatorConfig { cluster, groups, data_dir, .. } = &*self.0;
        let names = |names: &[NodeName]| -> Vec<String> {
            names.iter().map(|name| name.as_str().to_owned()).collect()
        };
        let shards: Vec<_> = standing.shards().flatten().collect();
        let all = shards.iter().flat_map(|shard| &shard.groups);
        let mut local: Vec<u32> = all.filter(|group| group.2).map(|group| group.0.0).collect();
        local.sort_unstable();
        json!({
            "node": cluster.own.as_str(),
            "local_write_node": !cluster.is_router(),
            "local_mode": mode(standing.is_router()),
            "local_ready": own == Readiness::Ready,
            "local_drained": standing.is_drained(),
            "write_nodes": names(&cluster.write),
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
        let cluster = &self.0.cluster;
        let mut known: Vec<&NodeName> = cluster.nodes.iter().map(|node| &node.name).collect();
        if known.is_empty() {
            known.push(&cluster.own);
        }
        let is_alive = |node: &NodeName| {
            *node == cluster.own || matches!(standing.sight(node.tag()), Sight::Alive { .. })
        };
        let word = |node: &NodeName| match standing.sight(node.tag()) {
            _ if standing.is_relieved(node.tag()) => "draining",
            _ if is_alive(node) => "ready",
            Sight::Lost => "lost",
            Sight::Suspect | Sight::Alive { .. } => "suspect",
        };
        let statuses: Map<String, Value> =
            known.iter().map(|node| (node.as_str().to_owned(), json!(word(node)))).collect();
        let those = |wanted: &dyn Fn(&NodeName) -> bool| -> Vec<&str> {
            known.iter().filter(|node| wanted(node)).map(|node| node.as_str()).collect()
        };
        let caught_up = |node: &NodeName| {
            cluster.write.contains(node) && self.is_caught_up(standing, own, node)
        };
        json!({
            "status": if own == Readiness::Unaware { "down" } else { "ok" },
            "visible_nodes": those(&is_alive),
            "ready_nodes": self.ready_nodes(standing, own),
            "node_statuses": statuses,
            "raft_ready_nodes": those(&caught_up),
        })
    }

    /// Who should hold a group, and who leads it as far as is known here.
    pub(crate) fn replicas(&self, standing: &Standing, group: GroupId) -> Value {
        let cluster = &self.0.cluster;
        let name = |tag| cluster.write.iter().find(|node| node.tag() == tag).map(NodeName::as_str);
        let tags = replicas(group, &cluster.write_tags(), cluster.factor);
        let holders: Vec<&str> = tags.into_iter().filter_map(name).collect();
        let shards: Vec<_> = standing.shards().flatten().collect();
        let found = shards.iter().flat_map(|shard| &shard.groups).find(|known| known.0 == group);
        let leader = found.and_then(|known| known.1).and_then(|id| name(shard::cluster::tag(id)));
        json!({"group": group.0, "replicas": holders, "leader": leader})
    }
}

/// What kind of node it is, in the contract's words.
pub(crate) fn mode(is_router: bool) -> &'static str {
    if is_router { "router_node" } else { "write_node" }
}

/// Says a word about a node, and waits a moment until this node has heard it.
///
/// # Errors
/// Why it was not said, or may not have been; saying it again does no harm.
pub(crate) async fn say(gateway: &Gateway, word: Word, node: &NodeName) -> Result<Seq, Refusal> {
    let append = || gateway.call(Request::Append(intent::append(word, node)));
    let mut reply = append().await;
    if matches!(&reply, Reply::Refused(refusal) if refusal.code == Code::SessionNotFound) {
        // Another may have made it meanwhile; the next try tells.
        let made = gateway.call(Request::Create(intent::create())).await;
        reply = match made {
            Reply::Refused(refusal) if refusal.code != Code::SessionExists => return Err(*refusal),
            _ => append().await,
        };
    }
    match reply {
        Reply::Appended(appended) => {
            tracing::info!(%node, word = word.name(), seq = appended.seq.0, "operators say");
            await_heard(gateway, appended.seq).await;
            Ok(appended.seq)
        }
        Reply::Refused(refusal) => Err(*refusal),
        _ => Err(Code::RaftUnavailable.into()),
    }
}

async fn await_heard(gateway: &Gateway, seq: Seq) {
    let (began, stopper) = (Instant::now(), gateway.stopper());
    while stopper.standing().intent().seq() < seq && began.elapsed() < HEARD {
        rt::sleep(HEARD_LOOK).await;
    }
}

/// Follows what operators say until the node stops.
pub(crate) async fn follow(gateway: Gateway) {
    let mut intent = Intent::default();
    let without_end = async {
        loop {
            listen(&gateway, &mut intent).await;
            rt::sleep(LOOK).await;
        }
    };
    futures_lite::future::or(without_end, gateway.stopped()).await;
}

/// Follows what operators say until that cannot go on, from what is known already.
async fn listen(gateway: &Gateway, intent: &mut Intent) {
    let stopper = gateway.stopper();
    let standing = stopper.standing();
    let head = match gateway.call(Request::Get(intent::session())).await {
        Reply::Session(row) => row.last_seq,
        Reply::Refused(refusal) if refusal.code == Code::SessionNotFound => {
            return standing.set_intent(intent, true);
        }
        _ => return,
    };
    standing.set_intent(intent, head <= intent.seq());
    let open = TailOpen { session: intent::session(), cursor: intent.seq() };
    let Ok(mut tail) = gateway.follow(open).await else { return };
    while let Some(message) = tail.next().await {
        let TailMessage::Events { events, .. } = message else { return };
        for event in &events {
            intent.take(event.seq, &event.json);
        }
        tail.written(events.iter().map(|event| event.json.len() as u64).sum());
        standing.set_intent(intent, head <= intent.seq());
        let draining: Vec<&str> = intent.draining().keys().map(NodeName::as_str).collect();
        tracing::info!(seq = intent.seq().0, draining = draining.join(","), "operators want");
    }
}
