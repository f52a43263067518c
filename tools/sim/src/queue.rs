//! What is going to happen, in order of time. Things at the same time happen in the order in which
//! they were planned, so that a run has one order only.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

pub(crate) use histories::time::{MILLI, SECOND, Time};

/// Plans, earliest first.
#[derive(Debug)]
pub(crate) struct Queue<E> {
    heap: BinaryHeap<Reverse<Planned<E>>>,
    planned: u64,
    now: Time,
}

#[derive(Debug)]
struct Planned<E> {
    at: Time,
    number: u64,
    event: E,
}

impl<E> PartialEq for Planned<E> {
    fn eq(&self, other: &Planned<E>) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl<E> Eq for Planned<E> {}

impl<E> PartialOrd for Planned<E> {
    fn partial_cmp(&self, other: &Planned<E>) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Planned<E> {
    fn cmp(&self, other: &Planned<E>) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl<E> Queue<E> {
    /// Nothing is planned.
    pub(crate) fn new() -> Queue<E> {
        Queue { heap: BinaryHeap::new(), planned: 0, now: Time(0) }
    }

    /// The time of what happened last.
    pub(crate) fn now(&self) -> Time {
        self.now
    }

    /// Plans something, now or later.
    pub(crate) fn plan(&mut self, at: Time, event: E) {
        assert!(self.now <= at, "nothing is planned for the past");
        self.planned += 1;
        self.heap.push(Reverse(Planned { at, number: self.planned, event }));
    }

    /// Lets the next thing happen, unless it is later than `until`: then it is `until`.
    pub(crate) fn next(&mut self, until: Time) -> Option<E> {
        let due = self.heap.peek().is_some_and(|Reverse(planned)| planned.at <= until);
        if !due {
            self.now = self.now.max(until);
            return None;
        }
        let Reverse(planned) = self.heap.pop()?;
        assert!(self.now <= planned.at, "time runs forward");
        self.now = planned.at;
        Some(planned.event)
    }

    /// How many things are planned.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }
}
