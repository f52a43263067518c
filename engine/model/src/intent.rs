//! What operators want of a cluster: a log like any other, in a session of its own, so that it is
//! replicated, survives whatever events survive, and can be said at any node about any node. What holds
//! now is the fold over its events.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::cluster::NodeName;
use crate::command::{Append, Create, Dedupe, Principal};
use crate::ids::{Seq, SessionId};

/// The session that holds it. No client can name it, and no list shows it.
pub const INTENT_SESSION: &str = "\u{0}starcite.intent";

/// What an operator says of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// It is to be relieved of what others can do, and counts as not ready.
    Drain,
    /// It is to do its share again.
    Undrain,
}

impl Word {
    /// The type of the event that says it.
    pub fn name(self) -> &'static str {
        match self {
            Word::Drain => "drain",
            Word::Undrain => "undrain",
        }
    }
}

/// What holds after some events.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Intent {
    /// The last event it follows from.
    seq: Seq,
    /// The nodes that are to be relieved, each with the event from which on it is.
    draining: BTreeMap<NodeName, Seq>,
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

    /// Takes the next event, the JSON object that clients of a session would read. One that this program
    /// does not understand changes nothing but the place.
    ///
    /// # Panics
    /// If it is not the next one.
    pub fn take(&mut self, seq: Seq, event: &[u8]) {
        assert_eq!(seq, self.seq.next(), "events come in order, each once");
        self.seq = seq;
        let event: Value = serde_json::from_slice(event).unwrap_or_default();
        let node = event["payload"]["node"].as_str().and_then(NodeName::new);
        match (event["type"].as_str(), node) {
            (Some("drain"), Some(node)) => {
                self.draining.entry(node).or_insert(seq);
            }
            (Some("undrain"), Some(node)) => {
                self.draining.remove(&node);
            }
            (Some(_) | None, _) => {}
        }
    }
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

/// What says a word about a node. Saying it twice changes nothing, so it need not be recognized.
pub fn append(word: Word, node: &NodeName) -> Append {
    let (kind, payload) = (json!(word.name()), json!({"node": node.as_str()}));
    let fragment = format!(
        "\"type\":{kind},\"payload\":{payload},\"actor\":\"service:service\",\
         \"tenant_id\":\"service\",\"metadata\":{{}},\"refs\":{{}},\"idempotency_key\":null"
    );
    Append {
        session: session(),
        fragment: fragment.into(),
        dedupe: Dedupe::Nothing,
        expected_seq: None,
        fingerprint: [0; 16],
        at: 0,
    }
}
