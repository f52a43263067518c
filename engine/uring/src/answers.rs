//! What a core owes other nodes: answers to what their clients asked. Bounded for each node, so that
//! one that asks much and takes little holds up nobody but itself.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use model::api::Reply;
use model::cluster::MemberId;
use model::error::Code;
use model::limits::{CLIENT_ANSWER_BYTES, CLIENT_ANSWERS_MAX};

/// The answers that one core owes. Cheap to clone; never leaves its core.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answers(Rc<RefCell<BTreeMap<MemberId, Debt>>>);

/// What one node is owed. Never nothing.
#[derive(Debug, Default)]
struct Debt {
    answers: usize,
    /// Bytes of those that are known and wait for room on the connection.
    bytes: usize,
}

impl Answers {
    /// Owes a node an answer until what is given is dropped; `None` if it is owed too many.
    pub(crate) fn owe(&self, to: MemberId) -> Option<Answer> {
        let mut debts = self.0.borrow_mut();
        let debt = debts.entry(to).or_default();
        if CLIENT_ANSWERS_MAX <= debt.answers {
            return None;
        }
        debt.answers += 1;
        Some(Answer { answers: self.clone(), to, bytes: 0 })
    }

    /// How many answers a node is owed, and bytes of those that are known.
    #[cfg(test)]
    pub(crate) fn owed(&self, to: MemberId) -> (usize, usize) {
        self.0.borrow().get(&to).map_or((0, 0), |debt| (debt.answers, debt.bytes))
    }
}

/// An answer that is owed.
#[derive(Debug)]
pub(crate) struct Answer {
    answers: Answers,
    to: MemberId,
    bytes: usize,
}

impl Answer {
    /// The reply that was found, and counts until it is sent.
    ///
    /// # Errors
    /// What to say instead where too many bytes wait already: what was to be read can be asked for
    /// again; of all else it is then unknown whether it is done.
    pub(crate) fn settle(&mut self, found: Reply, is_read: bool) -> Result<Reply, Code> {
        assert!(self.bytes == 0, "an answer is found once");
        let mut debts = self.answers.0.borrow_mut();
        let debt = debts.get_mut(&self.to).expect("it is owed until this is dropped");
        let bytes = found.bytes();
        // One alone is sent however large it is: it fits a frame.
        if 0 < debt.bytes && CLIENT_ANSWER_BYTES < debt.bytes + bytes {
            return Err(if is_read { Code::EventStoreBackpressure } else { Code::RaftTimeout });
        }
        debt.bytes += bytes;
        self.bytes = bytes;
        Ok(found)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let mut debts = self.answers.0.borrow_mut();
        let debt = debts.get_mut(&self.to).expect("it is owed until this is dropped");
        debt.answers -= 1;
        debt.bytes -= self.bytes;
        if debt.answers == 0 {
            assert!(debt.bytes == 0, "bytes belong to answers");
            debts.remove(&self.to);
        }
    }
}
