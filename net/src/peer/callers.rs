//! Which connections that bring client matters stand on one core. What was said over one that is gone
//! is in doubt, and so is what was to be said in answer: each end of one is told, although others of
//! the same node may stand.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use model::cluster::MemberId;

use super::handshake::Guest;

/// One core's connections of other nodes' client lanes.
#[derive(Debug, Default)]
pub(crate) struct Callers(RefCell<BTreeMap<MemberId, Calls>>);

/// Those of one process.
#[derive(Debug)]
struct Calls {
    started_at: u64,
    /// By core of that process. Never empty.
    open: BTreeMap<u32, Rc<()>>,
}

/// A connection that stands.
#[derive(Debug)]
pub(crate) struct Caller {
    member: MemberId,
    core: u32,
    mark: Rc<()>,
}

impl Callers {
    /// Counts a connection that has just begun, and tells so. One of the same core, or of an earlier
    /// process, is a leftover: it is told to be gone first, so that neither its tickets nor its tails
    /// are taken for those of the new one.
    pub(crate) fn enter(&self, guest: &Guest, mut tell: impl FnMut(MemberId, bool)) -> Caller {
        let (member, started_at) = (guest.identity.member, guest.identity.started_at);
        let mark = Rc::new(());
        let mut callers = self.0.borrow_mut();
        let calls =
            callers.entry(member).or_insert_with(|| Calls { started_at, open: BTreeMap::new() });
        let earlier = calls.started_at != started_at;
        if earlier {
            *calls = Calls { started_at, open: BTreeMap::new() };
        }
        let leftover = calls.open.insert(guest.core, Rc::clone(&mark)).is_some();
        drop(callers);
        if earlier || leftover {
            tell(member, false);
        }
        tell(member, true);
        Caller { member, core: guest.core, mark }
    }

    /// Counts a connection no more, and tells so unless another has taken its place.
    pub(crate) fn leave(&self, caller: &Caller, mut tell: impl FnMut(MemberId, bool)) {
        let Caller { member, core, mark } = caller;
        let mut callers = self.0.borrow_mut();
        let Some(calls) = callers.get_mut(member) else { return };
        if !calls.open.get(core).is_some_and(|open| Rc::ptr_eq(open, mark)) {
            return;
        }
        calls.open.remove(core);
        let others = !calls.open.is_empty();
        if !others {
            callers.remove(member);
        }
        drop(callers);
        tell(*member, false);
        if others {
            tell(*member, true);
        }
    }
}
