//! On whose behalf a request acts, and the stamp that every event of theirs carries.

use model::command::Principal;
use serde_json::{Map, Value};

/// Name of the metadata member that holds the stamp.
const STAMP: &str = "starcite_principal";

/// An authenticated principal with the texts every append needs, made once.
#[derive(Debug)]
pub(crate) struct Identity {
    /// The principal.
    pub(crate) principal: Principal,
    /// `"<kind>:<id>"`.
    pub(crate) actor: Box<str>,
    /// The same as JSON.
    pub(crate) actor_json: Box<str>,
    /// The tenant as JSON.
    pub(crate) tenant_json: Box<str>,
    /// Metadata of an event that brings none, as text and as value.
    bare: (Box<str>, Value),
    stamp: Map<String, Value>,
    /// `"starcite_principal":{...}`
    stamp_member: Box<str>,
}

impl Identity {
    /// Prepares the texts of a principal.
    pub(crate) fn new(principal: Principal) -> Identity {
        let actor = format!("{}:{}", principal.kind, principal.id);
        let members = [
            ("tenant_id", &*principal.tenant_id),
            ("actor", &*actor),
            ("principal_type", &*principal.kind),
            ("principal_id", &*principal.id),
        ];
        let stamp: Map<String, Value> = members
            .map(|(name, value)| (name.to_owned(), Value::from(value)))
            .into_iter()
            .collect();
        let bare = Value::from(Map::from_iter([(STAMP.to_owned(), Value::from(stamp.clone()))]));
        let bare_text = bare.to_string();
        let stamp_member = bare_text[1..bare_text.len() - 1].into();
        Identity {
            actor_json: Value::from(&*actor).to_string().into(),
            tenant_json: Value::from(&*principal.tenant_id).to_string().into(),
            actor: actor.into(),
            bare: (bare_text.into(), bare),
            stamp,
            stamp_member,
            principal,
        }
    }

    /// The principal of every request when authentication is off.
    pub(crate) fn service() -> Identity {
        Identity::new(Principal::service())
    }

    /// Metadata of an event whose client sent none.
    pub(crate) fn bare_metadata(&self) -> (&str, &Value) {
        (&self.bare.0, &self.bare.1)
    }

    /// A client's metadata with the stamp in it, as text and as value. The client's own text is kept
    /// as it is, unless it holds a member of the stamp's name: then the stamp's members are put over
    /// it.
    pub(crate) fn stamped(&self, text: &str, mut members: Map<String, Value>) -> (String, Value) {
        let own = members.remove(STAMP);
        let is_clean = own.is_none();
        let mut stamp = match own {
            Some(Value::Object(own)) => own,
            _ => Map::new(),
        };
        stamp.extend(self.stamp.clone());
        let is_empty = members.is_empty();
        members.insert(STAMP.to_owned(), Value::from(stamp));
        let value = Value::from(members);
        if !is_clean {
            return (value.to_string(), value);
        }
        let inner = text.strip_suffix('}').expect("the text of an object ends in a brace");
        let comma = if is_empty { "" } else { "," };
        (format!("{inner}{comma}{}}}", self.stamp_member), value)
    }
}
