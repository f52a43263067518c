//! Replies on their way to those who wait for them, and tails' messages on their way to connections.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use model::api::{Reply, TailEnd, TailMessage};

/// Requests of one core that have no reply yet, by slot. A slot is used again only after its reply
/// has come, also when nobody waits for it any more, so a late reply cannot reach a stranger.
#[derive(Debug, Default)]
pub(crate) struct Pending(RefCell<Slots>);

#[derive(Debug, Default)]
struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Debug)]
enum Slot {
    Free,
    /// Somebody waits, or will.
    Waiting(Option<Waker>),
    /// Nobody waits any more; the reply is still to come.
    Abandoned,
    Answered(Box<Reply>),
}

impl Pending {
    /// A slot for a request about to be sent.
    pub(crate) fn reserve(&self) -> u32 {
        let Slots { slots, free } = &mut *self.0.borrow_mut();
        let slot = free.pop().unwrap_or_else(|| {
            slots.push(Slot::Free);
            u32::try_from(slots.len() - 1).expect("outstanding requests are bounded")
        });
        assert!(matches!(slots[slot as usize], Slot::Free));
        slots[slot as usize] = Slot::Waiting(None);
        slot
    }

    /// Brings the reply of a slot.
    pub(crate) fn answer(&self, slot: u32, reply: Reply) {
        let Slots { slots, free } = &mut *self.0.borrow_mut();
        match std::mem::replace(&mut slots[slot as usize], Slot::Free) {
            Slot::Waiting(waker) => {
                slots[slot as usize] = Slot::Answered(Box::new(reply));
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            Slot::Abandoned => free.push(slot),
            Slot::Free | Slot::Answered(_) => panic!("a request is answered once"),
        }
    }

    /// The reply, once it is there. Frees the slot with it.
    pub(crate) fn poll_reply(&self, slot: u32, cx: &Context<'_>) -> Poll<Reply> {
        let Slots { slots, free } = &mut *self.0.borrow_mut();
        match std::mem::replace(&mut slots[slot as usize], Slot::Free) {
            Slot::Answered(reply) => {
                free.push(slot);
                Poll::Ready(*reply)
            }
            Slot::Waiting(_) => {
                slots[slot as usize] = Slot::Waiting(Some(cx.waker().clone()));
                Poll::Pending
            }
            Slot::Free | Slot::Abandoned => panic!("a slot is polled while somebody waits"),
        }
    }

    /// Says that nobody waits for a slot any more.
    pub(crate) fn abandon(&self, slot: u32) {
        let Slots { slots, free } = &mut *self.0.borrow_mut();
        match std::mem::replace(&mut slots[slot as usize], Slot::Free) {
            Slot::Waiting(_) => slots[slot as usize] = Slot::Abandoned,
            Slot::Answered(_) => free.push(slot),
            Slot::Free | Slot::Abandoned => panic!("a slot is abandoned while somebody waits"),
        }
    }
}

/// Messages of one tail that its connection has not taken yet. Bounded by the window the shard keeps
/// to, plus the two messages that frame the events.
#[derive(Debug, Default)]
pub(crate) struct TailQueue(RefCell<TailState>);

#[derive(Debug, Default)]
struct TailState {
    messages: VecDeque<TailMessage>,
    waker: Option<Waker>,
    /// Whether the last message is there.
    ended: bool,
    /// Whether whoever serves the tail knows that it is over. Not so for one that was cut here.
    released: bool,
}

impl TailQueue {
    /// Brings a message of whoever serves the tail; those after the last one are dropped.
    pub(crate) fn push(&self, message: TailMessage) {
        let state = &mut *self.0.borrow_mut();
        let is_last = matches!(
            message,
            TailMessage::Refused(_) | TailMessage::Closed(_) | TailMessage::Elsewhere { .. }
        );
        state.released |= is_last;
        if !state.ended {
            state.add(message, is_last);
        }
    }

    /// Ends the tail from this side, behind what waits.
    pub(crate) fn end(&self) {
        let state = &mut *self.0.borrow_mut();
        if !state.ended {
            state.add(TailMessage::Closed(TailEnd::Lost), true);
        }
    }

    /// The same, without what waits: nothing goes on behind a hole.
    pub(crate) fn cut(&self) {
        self.0.borrow_mut().messages.clear();
        self.end();
    }

    /// Notes that whoever serves the tail was told that it is over, or never heard of it. Whether that
    /// was not known yet: it is told once.
    pub(crate) fn release(&self) -> bool {
        !std::mem::replace(&mut self.0.borrow_mut().released, true)
    }

    /// The next message; `None` after the last one.
    pub(crate) fn poll_next(&self, cx: &Context<'_>) -> Poll<Option<TailMessage>> {
        let state = &mut *self.0.borrow_mut();
        if let Some(message) = state.messages.pop_front() {
            return Poll::Ready(Some(message));
        }
        if state.ended {
            return Poll::Ready(None);
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Whether the last message is there, or was.
    pub(crate) fn ended(&self) -> bool {
        self.0.borrow().ended
    }
}

impl TailState {
    fn add(&mut self, message: TailMessage, is_last: bool) {
        self.ended = is_last;
        self.messages.push_back(message);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// Tasks that wait for one event that never goes away again. A waiter that is dropped takes its
/// waker along, so that one task may wait any number of times.
#[derive(Debug, Default)]
pub(crate) struct Waiters(RefCell<Places>);

#[derive(Debug, Default)]
struct Places {
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
}

impl Waiters {
    /// Keeps a waker until [`Waiters::forget`]; gives the place to forget it at.
    pub(crate) fn keep(&self, place: Option<usize>, waker: &Waker) -> usize {
        let Places { wakers, free } = &mut *self.0.borrow_mut();
        let place = place.or_else(|| free.pop()).unwrap_or_else(|| {
            wakers.push(None);
            wakers.len() - 1
        });
        wakers[place] = Some(waker.clone());
        place
    }

    /// Drops a waker; its place goes to somebody else.
    pub(crate) fn forget(&self, place: usize) {
        let Places { wakers, free } = &mut *self.0.borrow_mut();
        wakers[place] = None;
        free.push(place);
    }

    /// Wakes all.
    pub(crate) fn wake_all(&self) {
        for waker in self.0.borrow_mut().wakers.iter_mut().filter_map(Option::take) {
            waker.wake();
        }
    }
}
