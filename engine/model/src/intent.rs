//! What operators want of a cluster: a log like any other, in a session of its own, so that it is
//! replicated, survives whatever events survive, and can be said at any node about any node. What holds
//! now is the fold over its events.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::cluster::{NameTag, NodeName};
use crate::command::{Append, Create, Dedupe, Principal};
use crate::config::{Host, NodeEntry};
use crate::ids::{GroupId, Seq, SessionId};

/// The session that holds it. No client can name it, and no list shows it.
pub const INTENT_SESSION: &str = "\u{0}starcite.intent";

/// What an operator says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// A node is to be relieved of what others can do, and counts as not ready.
    Drain(NodeName),
    /// It is to do its share again.
    Undrain(NodeName),
    /// A group is to be led by a node, whenever that can lead it and is not to be relieved.
    Prefer(GroupId, NodeName),
    /// Any node may lead a group.
    Release(GroupId),
    /// A node is to hold data, whatever is configured.
    Add(NodeEntry),
    /// A node is to hold none, whatever is configured.
    Remove(NodeName),
}

impl Word {
    /// The type of the event that says it.
    pub fn name(&self) -> &'static str {
        match self {
            Word::Drain(_) => "drain",
            Word::Undrain(_) => "undrain",
            Word::Prefer(..) => "prefer",
            Word::Release(_) => "release",
            Word::Add(_) => "add",
            Word::Remove(_) => "remove",
        }
    }

    fn payload(&self) -> Value {
        match self {
            Word::Drain(node) | Word::Undrain(node) | Word::Remove(node) => {
                json!({"node": node.as_str()})
            }
            Word::Prefer(group, node) => json!({"group": group.0, "node": node.as_str()}),
            Word::Release(group) => json!({"group": group.0}),
            Word::Add(node) => place(node),
        }
    }

    /// Reads the event that says it; `None` if this program does not understand it.
    fn of(event: &Value) -> Option<Word> {
        let payload = &event["payload"];
        let node = || payload["node"].as_str().and_then(NodeName::new);
        let group =
            || payload["group"].as_u64().and_then(|group| u32::try_from(group).ok()).map(GroupId);
        Some(match event["type"].as_str()? {
            "drain" => Word::Drain(node()?),
            "undrain" => Word::Undrain(node()?),
            "prefer" => Word::Prefer(group()?, node()?),
            "release" => Word::Release(group()?),
            "add" => Word::Add(entry(payload)?),
            "remove" => Word::Remove(node()?),
            _ => return None,
        })
    }
}

/// What holds after some events.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Intent {
    /// The last event it follows from.
    seq: Seq,
    /// The nodes that are to be relieved, each with the event from which on it is.
    draining: BTreeMap<NodeName, Seq>,
    /// The groups that a certain node is to lead.
    preferred: BTreeMap<GroupId, NodeName>,
    /// Nodes that are to hold data, and where they are.
    added: BTreeMap<NodeName, NodeEntry>,
    /// Nodes that are to hold none; where those are that were added once.
    removed: BTreeMap<NodeName, Option<NodeEntry>>,
}

impl Intent {
    /// The last event it follows from; 0 before the first.
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// The nodes that are to be relieved, each with the event from which on it is.
    pub fn draining(&self) -> &BTreeMap<NodeName, Seq> {
        &self.draining
    }

    /// The groups that a certain node is to lead.
    pub fn preferred(&self) -> &BTreeMap<GroupId, NodeName> {
        &self.preferred
    }

    /// Whether a node is to hold no data, whatever is configured.
    pub fn is_removed(&self, node: &NodeName) -> bool {
        self.removed.contains_key(node)
    }

    /// Where nodes are that were added, those among them that have been removed since included.
    pub fn places(&self) -> impl Iterator<Item = &NodeEntry> {
        self.added.values().chain(self.removed.values().flatten())
    }

    /// The nodes that are to hold data, in the order of their names, where these are configured. Those
    /// if nobody would be left.
    pub fn write(&self, configured: &[NodeName]) -> Vec<NodeName> {
        let all = configured.iter().chain(self.added.keys());
        let mut write: Vec<NodeName> = all.filter(|node| !self.is_removed(node)).cloned().collect();
        write.sort_unstable();
        write.dedup();
        if write.is_empty() { configured.to_vec() } else { write }
    }

    /// The same as tags, in the same order.
    pub fn write_tags(&self, configured: &[NodeName]) -> Vec<NameTag> {
        self.write(configured).iter().map(NodeName::tag).collect()
    }

    /// Takes the next event, the JSON object that clients of a session would read. One that this program
    /// does not understand changes nothing but the place.
    ///
    /// # Panics
    /// If it is not the next one.
    pub fn take(&mut self, seq: Seq, event: &[u8]) {
        assert_eq!(seq, self.seq.next(), "events come in order, each once");
        self.seq = seq;
        let event: Value = serde_json::from_slice(event).unwrap_or_default();
        match Word::of(&event) {
            Some(Word::Drain(node)) => {
                self.draining.entry(node).or_insert(seq);
            }
            Some(Word::Undrain(node)) => {
                self.draining.remove(&node);
            }
            Some(Word::Prefer(group, node)) => {
                self.preferred.insert(group, node);
            }
            Some(Word::Release(group)) => {
                self.preferred.remove(&group);
            }
            Some(Word::Add(node)) => {
                self.removed.remove(&node.name);
                self.added.insert(node.name.clone(), node);
            }
            Some(Word::Remove(node)) => {
                self.draining.remove(&node);
                self.preferred.retain(|_, preferred| *preferred != node);
                let place = self.added.remove(&node);
                let known = self.removed.entry(node).or_default();
                *known = place.or(known.take());
            }
            None => {}
        }
    }

    /// All of it as one line of JSON, so that a node need not wait for others to know it.
    pub fn encode(&self) -> String {
        let draining: Map<String, Value> = self
            .draining
            .iter()
            .map(|(node, since)| (node.as_str().to_owned(), json!(since.0)))
            .collect();
        let preferred: Vec<Value> = self
            .preferred
            .iter()
            .map(|(group, node)| json!({"group": group.0, "node": node.as_str()}))
            .collect();
        let removed: Vec<Value> = self
            .removed
            .iter()
            .map(|(node, known)| known.as_ref().map_or(json!({"node": node.as_str()}), place))
            .collect();
        json!({
            "seq": self.seq.0,
            "draining": draining,
            "preferred": preferred,
            "added": self.added.values().map(place).collect::<Vec<Value>>(),
            "removed": removed,
        })
        .to_string()
    }

    /// Reads such a line; `None` if it is none.
    pub fn decode(line: &str) -> Option<Intent> {
        let value: Value = serde_json::from_str(line).ok()?;
        let mut intent = Intent { seq: Seq(value["seq"].as_u64()?), ..Intent::default() };
        for (node, since) in value["draining"].as_object()? {
            let node = NodeName::new(node.as_str())?;
            intent.draining.insert(node, Seq(since.as_u64()?));
        }
        for item in value["preferred"].as_array()? {
            let group = GroupId(u32::try_from(item["group"].as_u64()?).ok()?);
            intent.preferred.insert(group, NodeName::new(item["node"].as_str()?)?);
        }
        for item in value["added"].as_array()? {
            let node = entry(item)?;
            intent.added.insert(node.name.clone(), node);
        }
        for item in value["removed"].as_array()? {
            intent.removed.insert(NodeName::new(item["node"].as_str()?)?, entry(item));
        }
        Some(intent)
    }
}

fn place(node: &NodeEntry) -> Value {
    json!({"node": node.name.as_str(), "host": node.host.to_string(), "port": node.port})
}

fn entry(value: &Value) -> Option<NodeEntry> {
    let name = value["node"].as_str().and_then(NodeName::new)?;
    let host = value["host"].as_str().and_then(Host::parse)?;
    let port = value["port"].as_u64().and_then(|port| u16::try_from(port).ok())?;
    (0 < port).then_some(NodeEntry { name, host, port })
}

/// The session's name.
///
/// # Panics
/// Never.
pub fn session() -> SessionId {
    SessionId::new(INTENT_SESSION).expect("a name that is not empty")
}

/// What makes the session.
pub fn create() -> Create {
    Create {
        session: session(),
        title: None,
        metadata: "{}".into(),
        creator: Principal::service(),
        at: 0,
    }
}

/// What says a word; only if nothing was said after `expected`, where that is given. Saying it twice
/// changes nothing, so it need not be recognized.
pub fn append(word: &Word, expected: Option<Seq>) -> Append {
    let (kind, payload) = (json!(word.name()), word.payload());
    let fragment = format!(
        "\"type\":{kind},\"payload\":{payload},\"actor\":\"service:service\",\
         \"tenant_id\":\"service\",\"metadata\":{{}},\"refs\":{{}},\"idempotency_key\":null"
    );
    Append {
        session: session(),
        fragment: fragment.into(),
        dedupe: Dedupe::Nothing,
        expected_seq: expected.map(|seq| seq.0),
        fingerprint: [0; 16],
        at: 0,
    }
}
