//! What operators say. Each word is looked at first: what could not be, or would leave too little, is
//! refused before it is said, and said only if nothing else was said meanwhile.

use std::time::{Duration, Instant};

use model::api::{Reply, Request};
use model::cluster::NodeName;
use model::config::{NODES_MAX, NodeEntry};
use model::error::{Code, Refusal};
use model::ids::{GroupId, Seq};
use model::intent::{self, Intent, Word};
use serde_json::{Value, json};
use uring::{Gateway, Sight, rt};

use super::{Operator, name_of};

/// How long a word waits to be heard by the node that it was said at.
const HEARD: Duration = Duration::from_secs(1);
/// Between two looks whether it is.
const HEARD_LOOK: Duration = Duration::from_millis(5);
/// How often a word is looked at again because something was said meanwhile.
const TRIES: u32 = 5;

/// A node, and what is to be said of it.
pub(crate) type Decided = (NodeName, Option<Word>);

/// Has a node relieved, this one if none is named.
///
/// # Errors
/// If there is no such node that holds data, or why the word was not said, or may not have been: saying
/// it again does no harm. So it is below.
pub(crate) async fn drain(
    operator: &Operator,
    gateway: &Gateway,
    node: Option<&str>,
) -> Result<Value, Refusal> {
    let node = operator.write_node(gateway.stopper().standing(), node)?;
    let seq = say(gateway, Word::Drain(node.clone()), None).await?;
    Ok(json!({"node": node.as_str(), "said": "drain", "seq": seq.0}))
}

/// Has a node do its share again, this one if none is named.
///
/// # Errors
/// As for [`drain`].
pub(crate) async fn undrain(
    operator: &Operator,
    gateway: &Gateway,
    node: Option<&str>,
) -> Result<Value, Refusal> {
    let node = operator.write_node(gateway.stopper().standing(), node)?;
    let seq = say(gateway, Word::Undrain(node.clone()), None).await?;
    Ok(json!({"node": node.as_str(), "said": "undrain", "seq": seq.0}))
}

/// Has a group led by a node, whenever that can.
///
/// # Errors
/// If the node could not lead it now.
pub(crate) async fn prefer(
    operator: &Operator,
    gateway: &Gateway,
    (group, node): (GroupId, &str),
) -> Result<Value, Refusal> {
    let stopper = gateway.stopper();
    let standing = stopper.standing();
    let node = operator.write_node(standing, Some(node))?;
    let row = gateway.group(group).await.ok_or(Code::RaftUnavailable)?;
    if !row.voters.iter().any(|voter| voter.tag() == node.tag()) {
        let known = operator.known(standing);
        let voters: Vec<String> =
            row.voters.iter().map(|voter| name_of(&known, voter.tag())).collect();
        let text = format!("Group {} is held by {}, not by {node}", group.0, voters.join(", "));
        return Err(Refusal { message: text.into(), ..Code::NodeNotMember.into() });
    }
    if standing.is_relieved(node.tag()) {
        return Err(Code::NodeDraining.into());
    }
    let is_own = node == operator.0.cluster.own;
    if !is_own && !matches!(standing.sight(node.tag()), Sight::Alive { .. }) {
        return Err(Code::NodeUnreachable.into());
    }
    let seq = say(gateway, Word::Prefer(group, node.clone()), None).await?;
    Ok(json!({"group": group.0, "node": node.as_str(), "said": "prefer", "seq": seq.0}))
}

/// Has a group led by whichever node its place gives.
///
/// # Errors
/// As for [`drain`].
pub(crate) async fn release(gateway: &Gateway, group: GroupId) -> Result<Value, Refusal> {
    let seq = say(gateway, Word::Release(group), None).await?;
    Ok(json!({"group": group.0, "said": "release", "seq": seq.0}))
}

/// Has a node hold data that did not, wherever it is.
///
/// # Errors
/// If it is none, or is known as another.
pub(crate) async fn add(
    operator: &Operator,
    gateway: &Gateway,
    text: &str,
) -> Result<Value, Refusal> {
    let (node, seq) = decided(gateway, |intent| operator.newcomer(intent, text)).await?;
    Ok(json!({"node": node.as_str(), "said": "add", "seq": seq.0}))
}

/// Has a node hold no data any more.
///
/// # Errors
/// If it holds none, or too few would be left.
pub(crate) async fn remove(
    operator: &Operator,
    gateway: &Gateway,
    name: &str,
) -> Result<Value, Refusal> {
    let (node, seq) = decided(gateway, |intent| operator.leaver(intent, name)).await?;
    Ok(json!({"node": node.as_str(), "said": "remove", "seq": seq.0}))
}

impl Operator {
    /// The node that operators mean to remove, and the word that does it; none if it is removed.
    pub(crate) fn leaver(&self, intent: &Intent, name: &str) -> Result<Decided, Refusal> {
        let cluster = &self.0.cluster;
        let write = intent.write(&cluster.write);
        let short = name.split_once('@').map_or(name, |(short, _)| short);
        let called = |wanted: &str| NodeName::new(wanted).filter(|node| write.contains(node));
        let Some(node) = called(name).or_else(|| called(short)) else {
            let gone = |wanted: &str| NodeName::new(wanted).filter(|node| intent.is_removed(node));
            let node = gone(name).or_else(|| gone(short)).ok_or(Code::InvalidWriteNode)?;
            return Ok((node, None));
        };
        if write.len() <= usize::try_from(cluster.factor).expect("a number of 32 bits") {
            let (left, factor) = (write.len() - 1, cluster.factor);
            let text = format!("{left} nodes would be left to hold {factor} copies");
            return Err(Refusal { message: text.into(), ..Code::TooFewMembers.into() });
        }
        Ok((node.clone(), Some(Word::Remove(node))))
    }

    /// The node that operators mean to add, and the word that does it; none if it holds data.
    pub(crate) fn newcomer(&self, intent: &Intent, text: &str) -> Result<Decided, Refusal> {
        let cluster = &self.0.cluster;
        if cluster.is_alone() {
            return Err(Code::ClusterAlone.into());
        }
        let places: Vec<&NodeEntry> = cluster.nodes.iter().chain(intent.places()).collect();
        let named = places.iter().find(|node| node.name.as_str() == text).copied().cloned();
        let node = named.or_else(|| cluster.newcomer(text)).ok_or(Code::InvalidMember)?;
        let invalid = |text: String| Refusal { message: text.into(), ..Code::InvalidMember.into() };
        for known in &places {
            if known.name != node.name && known.name.tag() == node.name.tag() {
                let text =
                    format!("{} and {} share a number; call it another", known.name, node.name);
                return Err(invalid(text));
            }
            let elsewhere = (&known.host, known.port) != (&node.host, node.port);
            // One that was removed may come back somewhere else.
            if known.name == node.name && elsewhere && !intent.is_removed(&node.name) {
                let text = format!("{} is known at {}:{}", known.name, known.host, known.port);
                return Err(Refusal { message: text.into(), ..Code::MemberExists.into() });
            }
        }
        let mut names: Vec<&NodeName> = places.iter().map(|node| &node.name).collect();
        names.push(&node.name);
        names.sort_unstable();
        names.dedup();
        if NODES_MAX < names.len() {
            return Err(invalid(format!("At most {NODES_MAX} nodes form a cluster")));
        }
        let holds = intent.write(&cluster.write).contains(&node.name);
        Ok((node.name.clone(), (!holds).then_some(Word::Add(node))))
    }
}

/// Says what follows from what operators want, if nothing else was said meanwhile; else looks again.
/// Nothing is said where nothing is to be.
async fn decided(
    gateway: &Gateway,
    decide: impl Fn(&Intent) -> Result<Decided, Refusal>,
) -> Result<(NodeName, Seq), Refusal> {
    let stopper = gateway.stopper();
    let mut left = TRIES;
    loop {
        let intent = stopper.standing().intent();
        let (node, word) = decide(&intent)?;
        let Some(word) = word else { return Ok((node, intent.seq())) };
        match say(gateway, word, Some(intent.seq())).await {
            Ok(seq) => return Ok((node, seq)),
            Err(refusal) if refusal.code == Code::ExpectedSeqConflict && 0 < left => {
                left -= 1;
                await_heard(gateway, intent.seq().next()).await;
            }
            Err(refusal) => return Err(refusal),
        }
    }
}

/// Says a word, only after `expected` where that is given, and waits a moment until this node has heard
/// it.
async fn say(gateway: &Gateway, word: Word, expected: Option<Seq>) -> Result<Seq, Refusal> {
    let append = || gateway.call(Request::Append(intent::append(&word, expected)));
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
            tracing::info!(word = word.name(), seq = appended.seq.0, "operators say");
            await_heard(gateway, appended.seq).await;
            Ok(appended.seq)
        }
        Reply::Refused(refusal) => Err(*refusal),
        _ => Err(Code::RaftUnavailable.into()),
    }
}

async fn await_heard(gateway: &Gateway, seq: Seq) {
    let (began, stopper) = (Instant::now(), gateway.stopper());
    let standing = stopper.standing();
    standing.note_said(seq);
    while standing.intent().seq() < seq && began.elapsed() < HEARD {
        rt::sleep(HEARD_LOOK).await;
    }
}
