//! The heartbeat of an executor, and why it needs many hearts.
//!
//! The runtime can fall asleep beside runnable tasks: if its preemption timer fires between two of its
//! steps (its thread was put aside for a moment, say), it takes "interrupted" for "nothing to do" and
//! sleeps until some event comes; a timer is enough. A single heartbeat is no help when its own task
//! is among those left behind. So a core has [`HEARTS`] of them that beat in turn: whenever one is due
//! or left behind, the timers of all others are still set, and each gives the executor another chance.
//! Together they cost what one would.
//!
//! ```text
//!   heart   0     1     2    ...   15    0     1
//!   time  --+-----+-----+-- ... ---+-----+-----+-->   one period apart, by the clock
//! ```
//!
//! Slots are fixed by the clock, not by the last beat: hearts that were late together must not stay
//! together.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::rt::{self, Alarm};

/// Hearts of one executor.
const HEARTS: u32 = 16;
/// Between beats until somebody says otherwise.
const PERIOD: Duration = Duration::from_millis(20);

/// What happens on each beat: told how late it comes, says when the next one is due.
type Beat = Box<dyn FnMut(Duration) -> Duration>;

/// The hearts of one executor.
#[derive(Clone)]
pub(crate) struct Hearts(Rc<State>);

struct State {
    epoch: Instant,
    period: Cell<Duration>,
    /// Hearts whose first timer is set.
    set: Cell<u32>,
    beat: RefCell<Beat>,
}

impl fmt::Debug for Hearts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hearts").field("period", &self.0.period.get()).finish()
    }
}

impl Hearts {
    /// Runs a future with hearts beside it.
    pub(crate) async fn with<G, F, T>(main: G) -> T
    where
        G: FnOnce(Hearts) -> F,
        F: Future<Output = T>,
    {
        // The hearts are tasks and have not run yet: until they have, as many timers of this task
        // keep watch.
        let mut watch = Vec::new();
        for part in 1..=HEARTS {
            watch.push(Alarm::set(PERIOD * part).await);
        }
        let hearts = Hearts(Rc::new(State {
            epoch: Instant::now(),
            period: Cell::new(PERIOD),
            set: Cell::new(0),
            beat: RefCell::new(Box::new(|_| PERIOD)),
        }));
        for index in 0..HEARTS {
            rt::spawn_local(hearts.clone().run(index));
        }
        while hearts.0.set.get() < HEARTS {
            rt::yield_now().await;
        }
        drop(watch);
        main(hearts).await
    }

    /// Replaces what happens on each beat.
    pub(crate) fn on_beat(&self, beat: impl FnMut(Duration) -> Duration + 'static) {
        *self.0.beat.borrow_mut() = Box::new(beat);
    }

    async fn run(self, index: u32) {
        let state = self.0;
        state.set.set(state.set.get() + 1);
        loop {
            let now = Instant::now();
            let wait = until_slot(now - state.epoch, state.period.get(), index);
            rt::sleep(wait).await;
            let late = now.elapsed().saturating_sub(wait);
            let period = (state.beat.borrow_mut())(late);
            state.period.set(period);
        }
    }
}

/// Time until the next slot of a heart, in `(0, HEARTS * period]`, `since` after the epoch.
pub(crate) fn until_slot(since: Duration, period: Duration, index: u32) -> Duration {
    assert!(Duration::ZERO < period, "beats are apart");
    let round = period * HEARTS;
    let into_round = Duration::from_nanos_u128(since.as_nanos() % round.as_nanos());
    let slot = period * index;
    if into_round < slot { slot - into_round } else { slot + round - into_round }
}
