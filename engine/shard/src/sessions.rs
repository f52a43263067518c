//! All sessions of a shard: an index by id, and slots that never move.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use model::ids::SessionId;

use crate::session::Session;

/// Names a session within its shard. Sessions are never removed, so a slot stays valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot(u32);

/// Sessions of one page of the slab: growth allocates a page and moves nothing, where one vector
/// would copy every session while appends wait.
const PAGE: usize = 1024;

/// All sessions of a shard.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    index: BTreeMap<SessionId, Slot>,
    pages: Vec<Vec<Session>>,
}

impl Sessions {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// The slot of a session.
    pub(crate) fn find(&self, id: &str) -> Option<Slot> {
        self.index.get(id).copied()
    }

    /// Adds a session whose id is new.
    pub(crate) fn insert(&mut self, id: SessionId, session: Session) -> Slot {
        let count = self.len();
        let slot = Slot(u32::try_from(count).expect("four thousand million sessions in a shard"));
        if count.is_multiple_of(PAGE) {
            self.pages.push(Vec::with_capacity(PAGE));
        }
        self.pages[count / PAGE].push(session);
        let before = self.index.insert(id, slot);
        assert!(before.is_none(), "the id is new");
        slot
    }

    /// The session in a slot.
    pub(crate) fn get(&self, slot: Slot) -> &Session {
        let place = slot.0 as usize;
        &self.pages[place / PAGE][place % PAGE]
    }

    /// The session in a slot, to change.
    pub(crate) fn get_mut(&mut self, slot: Slot) -> &mut Session {
        let place = slot.0 as usize;
        &mut self.pages[place / PAGE][place % PAGE]
    }

    /// Visits sessions in byte order of their ids, those after `cursor` or all, until told to stop.
    pub(crate) fn visit(
        &mut self,
        cursor: Option<&str>,
        mut visitor: impl FnMut(&SessionId, Slot, &mut Session) -> ControlFlow<()>,
    ) {
        let start = cursor.map_or(Bound::Unbounded, Bound::Excluded);
        for (id, slot) in self.index.range::<str, _>((start, Bound::Unbounded)) {
            let place = slot.0 as usize;
            let session = &mut self.pages[place / PAGE][place % PAGE];
            if visitor(id, *slot, session).is_break() {
                return;
            }
        }
    }

    /// Sessions in byte order of their ids, those after `cursor` or all.
    pub(crate) fn after(&self, cursor: Option<&str>) -> impl Iterator<Item = (&SessionId, Slot)> {
        let start = cursor.map_or(Bound::Unbounded, Bound::Excluded);
        self.index.range::<str, _>((start, Bound::Unbounded)).map(|(id, slot)| (id, *slot))
    }
}
