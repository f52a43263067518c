//! The sessions of one group as of one moment, written down in slices while the group goes on. A session
//! about to change before its turn is written down first, so the frames show the moment all the same.

use std::collections::BTreeSet;

use model::ids::{GroupId, SessionId};
use model::limits::{SNAPSHOT_AHEAD_BYTES_MAX, SNAPSHOT_PART_BYTES};

use crate::checkpoint::put_session;
use crate::session::Session;
use crate::sessions::{Sessions, Slot};

/// Frames of a group that are being made.
#[derive(Debug)]
pub(crate) struct Frames {
    group: GroupId,
    /// The place of the next session among the group's, and where those of the moment end.
    place: usize,
    end: usize,
    /// The first and the last slot whose turn has not come.
    rest: Option<(Slot, Slot)>,
    /// Sessions among those that are written down already.
    early: BTreeSet<Slot>,
    /// Their frames, until they are fetched.
    ahead: Vec<u8>,
    /// Whether more changed than is held back: the moment is lost.
    is_lost: bool,
    #[cfg(feature = "sabotage")]
    pub(crate) forgets: bool,
}

impl Frames {
    /// Begins at this moment with the sessions of a group, in the order they were made.
    pub(crate) fn begin(group: GroupId, sessions: &[(SessionId, Slot)]) -> Frames {
        let ends = sessions.first().zip(sessions.last());
        Frames {
            group,
            place: 0,
            end: sessions.len(),
            rest: ends.map(|((_, first), (_, last))| (*first, *last)),
            early: BTreeSet::new(),
            ahead: Vec::new(),
            is_lost: false,
            #[cfg(feature = "sabotage")]
            forgets: false,
        }
    }

    pub(crate) fn group(&self) -> GroupId {
        self.group
    }

    /// A session is about to change: takes its state, unless that is done or it came after the moment.
    pub(crate) fn take(&mut self, id: &str, slot: Slot, session: &Session) {
        let waits = self.rest.is_some_and(|(first, last)| first <= slot && slot <= last);
        if session.group != self.group || self.is_lost || !waits || !self.early.insert(slot) {
            return;
        }
        self.put(id, session);
        if SNAPSHOT_AHEAD_BYTES_MAX < self.ahead.len() {
            self.is_lost = true;
            self.ahead = Vec::new();
        }
    }

    /// The next frames, about [`SNAPSHOT_PART_BYTES`] of them; none behind the last. `None` if too many
    /// sessions changed before they were fetched.
    pub(crate) fn next(
        &mut self,
        group: &[(SessionId, Slot)],
        sessions: &Sessions,
    ) -> Option<Vec<u8>> {
        if self.is_lost {
            return None;
        }
        while self.place < self.end && self.ahead.len() < SNAPSHOT_PART_BYTES {
            let (id, slot) = &group[self.place];
            if !self.early.remove(slot) {
                self.put(id.as_str(), sessions.get(*slot));
            }
            self.place += 1;
        }
        self.rest = self.rest.filter(|_| self.place < self.end);
        if let Some((first, last)) = &mut self.rest {
            *first = group[self.place].1;
            assert!(first <= last, "slots rise with the order in which sessions were made");
        }
        Some(std::mem::take(&mut self.ahead))
    }

    /// Appends a frame; where events are is no part of it, each replica keeps its own.
    fn put(&mut self, id: &str, session: &Session) {
        #[cfg(feature = "sabotage")]
        if self.forgets {
            return put_session(&mut self.ahead, id, &session.without_memory(), &[]);
        }
        put_session(&mut self.ahead, id, session, &[]);
    }
}
