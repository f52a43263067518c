//! On whose behalf a request acts, and the stamp that every event of theirs carries.

use std::borrow::Cow;

use model::command::Principal;
use serde_json::Value;

use crate::members::{all, is_empty, is_object};
use crate::problem::Unreadable;

/// Name of the metadata member that holds the stamp.
const STAMP: &str = "starcite_principal";

/// An authenticated principal with the texts every append needs, made once.
#[derive(Debug)]
pub(crate) struct Identity {
    /// The principal.
    pub(crate) principal: Principal,
    /// `"<kind>:<id>"` as JSON.
    pub(crate) actor_json: Box<str>,
    /// The tenant as JSON.
    pub(crate) tenant_json: Box<str>,
    /// Metadata of an event that brings none.
    pub(crate) bare_metadata: Box<str>,
    /// The members of the stamp: name and JSON.
    stamp: [(&'static str, Box<str>); 4],
}

impl Identity {
    /// Prepares the texts of a principal.
    pub(crate) fn new(principal: Principal) -> Identity {
        let json = |text: &str| Box::<str>::from(Value::from(text).to_string());
        let actor_json = json(&format!("{}:{}", principal.kind, principal.id));
        let tenant_json = json(&principal.tenant_id);
        let stamp = [
            ("tenant_id", tenant_json.clone()),
            ("actor", actor_json.clone()),
            ("principal_type", json(&principal.kind)),
            ("principal_id", json(&principal.id)),
        ];
        let mut bare = String::from("{");
        write_stamp(&mut bare, &[], &stamp);
        bare.push('}');
        Identity { principal, actor_json, tenant_json, bare_metadata: bare.into(), stamp }
    }

    /// The principal of every request when authentication is off.
    pub(crate) fn service() -> Identity {
        Identity::new(Principal::service())
    }

    /// A client's metadata with the stamp in it. The client's own text is kept as it is, unless it
    /// has a member of the stamp's name: then the stamp's members are put over it.
    ///
    /// # Errors
    /// `Malformed` if a name in it escapes half of a surrogate pair.
    pub(crate) fn stamped(&self, metadata: &str) -> Result<String, Unreadable> {
        let inner = metadata.strip_suffix('}').expect("the text of an object ends in a brace");
        let mut out = String::with_capacity(metadata.len() + self.bare_metadata.len());
        // A name may be written with escapes.
        if !metadata.contains(STAMP) && !metadata.contains('\\') {
            out.push_str(inner);
            if !is_empty(metadata) {
                out.push(',');
            }
            out.push_str(&self.bare_metadata[1..]);
            return Ok(out);
        }
        let members = all(metadata)?;
        let own = members.iter().rev().find(|(name, _)| name == STAMP).map(|(_, value)| *value);
        let own = match own.filter(|value| is_object(value)) {
            Some(value) => all(value)?,
            None => Vec::new(),
        };
        out.push('{');
        for (name, value) in members.iter().filter(|(name, _)| name != STAMP) {
            write_member(&mut out, name, value);
            out.push(',');
        }
        write_stamp(&mut out, &own, &self.stamp);
        out.push('}');
        Ok(out)
    }
}

/// Writes the stamp as a member: what the client put there, and the true values over it.
fn write_stamp(
    out: &mut String,
    own: &[(Cow<'_, str>, &str)],
    stamp: &[(&'static str, Box<str>); 4],
) {
    write_name(out, STAMP);
    out.push('{');
    let is_stamp = |name: &str| stamp.iter().any(|(stamped, _)| *stamped == name);
    for (name, value) in own.iter().filter(|(name, _)| !is_stamp(name)) {
        write_member(out, name, value);
        out.push(',');
    }
    for (at, (name, value)) in stamp.iter().enumerate() {
        if 0 < at {
            out.push(',');
        }
        write_member(out, name, value);
    }
    out.push('}');
}

fn write_member(out: &mut String, name: &str, value: &str) {
    write_name(out, name);
    out.push_str(value);
}

fn write_name(out: &mut String, name: &str) {
    out.push_str(&Value::from(name).to_string());
    out.push(':');
}
