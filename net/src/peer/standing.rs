//! Which connections of other nodes stand, over all cores. The last one that a node's core has opened
//! on a lane counts, since the one before is then a leftover; and of two lives of a node the later one,
//! since the earlier one is then gone, or must not be listened to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::cluster::{MemberId, NodeName};

use super::frame::Lane;
use super::handshake::{Guest, Identity, Refusal};

/// All connections of other nodes.
#[derive(Debug, Default)]
pub(crate) struct Standing(Mutex<BTreeMap<NodeName, Life>>);

/// A node in one life.
#[derive(Debug)]
struct Life {
    identity: Identity,
    /// By core of the node and lane; what tells each that it counts no more.
    open: BTreeMap<(u32, Lane), Arc<AtomicBool>>,
}

/// A connection that stands.
#[derive(Debug)]
pub(crate) struct Place {
    name: NodeName,
    key: (u32, Lane),
    over: Arc<AtomicBool>,
}

impl Place {
    /// Whether another connection has taken its place.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }
}

/// What a change means for a member: whether it can be heard now.
pub(crate) type News = (MemberId, bool);

impl Standing {
    /// The life of a node that has a connection.
    pub(crate) fn life(&self, name: &NodeName) -> Option<Identity> {
        self.lives().get(name).map(|life| life.identity.clone())
    }

    /// Counts a connection. `tell` hears what is new while nobody else can change it.
    ///
    /// # Errors
    /// If a later life of the node has a connection.
    pub(crate) fn enter(
        &self,
        guest: &Guest,
        lane: Lane,
        mut tell: impl FnMut(News),
    ) -> Result<Place, Refusal> {
        let mut lives = self.lives();
        let (identity, key) = (&guest.identity, (guest.core, lane));
        if lives.get(&identity.name).is_some_and(|life| life.identity.is_after(identity)) {
            return Err(Refusal::Older);
        }
        if lives.get(&identity.name).is_some_and(|life| life.identity != *identity) {
            let earlier = lives.remove(&identity.name).expect("it was there");
            earlier.open.values().for_each(|over| over.store(true, Ordering::Release));
            tell((earlier.identity.member, false));
        }
        let life = lives.entry(identity.name.clone()).or_insert_with(|| {
            tell((identity.member, true));
            Life { identity: identity.clone(), open: BTreeMap::new() }
        });
        let over = Arc::new(AtomicBool::new(false));
        if let Some(before) = life.open.insert(key, Arc::clone(&over)) {
            before.store(true, Ordering::Release);
        }
        Ok(Place { name: identity.name.clone(), key, over })
    }

    /// Counts a connection no more.
    pub(crate) fn leave(&self, place: &Place, mut tell: impl FnMut(News)) {
        let mut lives = self.lives();
        let Some(life) = lives.get_mut(&place.name) else { return };
        if life.open.get(&place.key).is_some_and(|over| Arc::ptr_eq(over, &place.over)) {
            life.open.remove(&place.key);
            if life.open.is_empty() {
                tell((life.identity.member, false));
                lives.remove(&place.name);
            }
        }
    }

    fn lives(&self) -> MutexGuard<'_, BTreeMap<NodeName, Life>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
