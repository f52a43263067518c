//! How a cluster begins. Nodes whose directories belong to none tell each other so; once all that are
//! to hold data are there, the one with the lowest name decides how the cluster begins, makes that
//! durable and only then hands it out. Whoever hears of a cluster that has begun joins it.
//!
//! Why no two clusters begin: only the node with the lowest name founds one, and only when every other
//! node that is to hold data says that it belongs to none and is configured with the same list. A
//! node that lost its disk, the lowest one too, finds others that belong to the cluster, or waits.
//!
//! This file decides; it does no IO.

use std::collections::{BTreeMap, BTreeSet};

use model::cluster::{MemberId, NodeName};
use model::config::ClusterConfig;
use uring::{FOUNDERS_MAX, Founding};

use super::handshake::Take;

/// How far a node has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// It belongs to no cluster.
    Empty {
        /// What cluster it would be part of; see [`plan`].
        plan: u64,
    },
    /// It belongs to this one.
    Founded(Founding),
}

impl State {
    /// The body of a frame that says so.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        match self {
            State::Empty { plan } => {
                body.push(0);
                body.extend_from_slice(&plan.to_le_bytes());
            }
            State::Founded(Founding { cluster, groups, factor, members }) => {
                body.push(1);
                body.extend_from_slice(&cluster.to_le_bytes());
                body.extend_from_slice(&groups.to_le_bytes());
                body.extend_from_slice(&factor.to_le_bytes());
                let count = u16::try_from(members.len()).expect("founders are few");
                body.extend_from_slice(&count.to_le_bytes());
                members.iter().for_each(|member| body.extend_from_slice(&member.0.to_le_bytes()));
            }
        }
        body
    }

    /// Reads such a body; `None` if it is none.
    pub(crate) fn decode(body: &[u8]) -> Option<State> {
        let mut rest = Take(body);
        let state = match rest.take(1)? {
            [0] => State::Empty { plan: rest.u64()? },
            [1] => {
                let (cluster, groups, factor) = (rest.u64()?, rest.u32()?, rest.u32()?);
                let count = usize::from(rest.u16()?);
                if FOUNDERS_MAX < count {
                    return None;
                }
                let members: Option<Vec<MemberId>> =
                    (0..count).map(|_| rest.u64().map(MemberId)).collect();
                let founding = Founding { cluster, groups, factor, members: members? };
                State::Founded(founding.is_sound().then_some(founding)?)
            }
            _ => return None,
        };
        rest.0.is_empty().then_some(state)
    }
}

/// A number that two nodes share if they would found the same cluster.
pub(crate) fn plan(cluster: &ClusterConfig, groups: u32) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&groups.to_le_bytes());
    hasher.update(&cluster.factor.to_le_bytes());
    for name in &cluster.write {
        hasher.update(&(name.as_str().len() as u64).to_le_bytes());
        hasher.update(name.as_str().as_bytes());
    }
    let digest = hasher.finalize();
    u64::from_le_bytes(*digest.as_bytes().first_chunk().expect("a digest has 32 bytes"))
}

/// What another node says of itself, or why it says nothing.
pub(crate) type Heard = Result<(MemberId, State), String>;

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Join this cluster.
    Join(Founding),
    /// Found one with these members, in ascending order.
    Found(Vec<MemberId>),
    /// Wait, and say why.
    Wait(String),
}

/// What a node that belongs to no cluster does, from what it hears of the others: those it cannot
/// reach are not in `heard`, or with the reason.
pub(crate) fn decide(
    cluster: &ClusterConfig,
    own: MemberId,
    plan: u64,
    heard: &BTreeMap<NodeName, Heard>,
) -> Step {
    let founded = |(name, heard): (&NodeName, &Heard)| match heard {
        Ok((_, State::Founded(founding))) => Some((name.clone(), founding.clone())),
        Ok((_, State::Empty { .. })) | Err(_) => None,
    };
    let founded: Vec<(NodeName, Founding)> = heard.iter().filter_map(founded).collect();
    if let Some((first, founding)) = founded.first() {
        return match founded.iter().find(|(_, other)| other != founding) {
            None => Step::Join(founding.clone()),
            Some((other, _)) => {
                Step::Wait(format!("{first} and {other} belong to different clusters"))
            }
        };
    }
    let lowest = cluster.write.first().expect("somebody holds data");
    if *lowest != cluster.own {
        let why = match heard.get(lowest) {
            Some(Err(why)) => format!(": {why}"),
            None => ": it was not reached yet".to_owned(),
            Some(Ok((_, State::Empty { plan: other }))) if *other != plan => format!(": {OTHER}"),
            Some(Ok(_)) => String::new(),
        };
        return Step::Wait(format!("{lowest} is to found the cluster{why}"));
    }
    let mut members = BTreeSet::from([own]);
    let mut missing = Vec::new();
    for name in cluster.write.iter().filter(|name| **name != cluster.own) {
        match heard.get(name) {
            Some(Ok((member, State::Empty { plan: other }))) if *other == plan => {
                members.insert(*member);
            }
            Some(Ok(_)) => missing.push(format!("{name} ({OTHER})")),
            Some(Err(why)) => missing.push(format!("{name} ({why})")),
            None => missing.push(format!("{name} (not reached yet)")),
        }
    }
    if missing.is_empty() {
        assert!(members.len() == cluster.write.len(), "each node is another member");
        return Step::Found(members.into_iter().collect());
    }
    Step::Wait(format!("a cluster is founded when all are there; missing: {}", missing.join(", ")))
}

const OTHER: &str = "it is configured with other nodes that hold data, or other numbers of groups or \
                     copies";
