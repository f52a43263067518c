//! Turns: gather, step, settle, perform. One driver per shard; a core can run several beside its
//! connections.

use std::cell::Cell;
use std::future::{pending, poll_fn};
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime};

use model::api::{Reply, TailMessage};
use model::ids::{Micros, Now, ShardId};
use shard::effect::{Clients, Effect, Input, TailId, Ticket, perform};
use shard::shard::Shard;

use crate::disk::UringDisk;
use crate::fatal::ending;
use crate::hub::Hub;
use crate::inbox::Inbox;
use crate::meters::{Levels, ShardMeters};
use crate::peers::PeerQueues;
use crate::reactor;
use crate::rt;
use crate::standing::ShardStanding;
use crate::stop::Stopper;

/// Between ticks of a shard that waits for time to pass.
pub(crate) const TICK_BUSY: Duration = Duration::from_millis(10);
/// Between ticks of a shard that does not, on a node alone.
pub(crate) const TICK_IDLE: Duration = Duration::from_millis(100);
/// The same where other nodes listen for signs of life: one tick of a group's node.
pub(crate) const TICK_CLUSTER: Duration = Duration::from_millis(25);
/// Between looks at a shard's gauges once it is ready: they look at every group.
const SHOW: Duration = Duration::from_millis(500);
/// The same while somebody waits for what they show: before it is ready, and when it is to stop.
const SHOW_WATCHED: Duration = Duration::from_millis(25);
/// How long a disk must have room before that is said: what was written meanwhile may fill it again.
const SPACE_STAYS: Duration = Duration::from_secs(5);
/// How long a stopping core waits for requests under way once no new ones can come.
pub const DRAIN: Duration = Duration::from_secs(10);

/// Time as shards see it: microseconds since the process began to serve, the same on every core.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts now.
    pub(crate) fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    fn now(&self, at: Instant) -> Now {
        let monotonic = micros(at.saturating_duration_since(self.start));
        // A clock before 1970 is as good as one that says 1970.
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Now { monotonic, wall: Micros(micros(wall)) }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).expect("five hundred thousand years")
}

/// What the heartbeat and a driver tell each other.
#[derive(Debug)]
pub(crate) struct Pulse {
    /// Time is up for a tick.
    due: Cell<bool>,
    /// The last tick.
    last: Cell<Instant>,
    /// Whether the shard waits for time to pass.
    busy: Cell<bool>,
    /// Turns since the last beat.
    turns: Cell<u32>,
    /// Whether the driver has returned.
    ended: Cell<bool>,
    /// Between ticks of a shard that does not wait for time to pass.
    idle: Duration,
}

impl Pulse {
    /// A shard's, that ticks so often when it has nothing to do.
    pub(crate) fn new(idle: Duration) -> Rc<Pulse> {
        Rc::new(Pulse {
            idle,
            due: Cell::new(true),
            last: Cell::new(Instant::now()),
            busy: Cell::new(true),
            turns: Cell::new(0),
            ended: Cell::new(false),
        })
    }

    /// Lets time pass: marks a tick as due when it is, or at once for a shard that is to stop.
    /// Whether the shard was active since the last beat.
    pub(crate) fn beat(&self, now: Instant, stopping: bool) -> bool {
        let period = if self.busy.get() { TICK_BUSY } else { self.idle };
        if stopping || period <= now.saturating_duration_since(self.last.get()) {
            self.due.set(true);
        }
        self.busy.get() || 0 < self.turns.replace(0)
    }

    /// Whether a tick is due that the driver has not taken.
    pub(crate) fn due(&self) -> bool {
        self.due.get()
    }

    /// Whether the driver has returned.
    pub(crate) fn ended(&self) -> bool {
        self.ended.get()
    }
}

/// Runs one shard.
#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) id: ShardId,
    pub(crate) shard: Shard,
    pub(crate) hub: Rc<Hub>,
    pub(crate) inbox: Rc<Inbox>,
    pub(crate) disk: UringDisk,
    pub(crate) peers: PeerQueues,
    pub(crate) pulse: Rc<Pulse>,
    pub(crate) stopper: Stopper,
    pub(crate) clock: Clock,
}

impl Driver {
    /// Takes turns until the node stops: no door can bring another request, and those under way are
    /// answered. Then waits for the disk.
    pub(crate) async fn run(mut self) {
        let meters = ShardMeters::new(self.id);
        let mut inputs = Vec::new();
        let mut effects = Vec::new();
        let mut shown: Option<(Instant, bool)> = None;
        let mut drain_until: Option<Instant> = None;
        let mut warned = Warned::default();
        loop {
            self.gather(&mut inputs).await;
            if ending() {
                return pending().await;
            }
            let at = Instant::now();
            self.turn(at, &mut inputs, &mut effects);
            let is_ready = self.shard.is_ready();
            let is_watched = !is_ready || self.stopper.standing().leaving();
            let pause = if is_watched { SHOW_WATCHED } else { SHOW };
            let is_due = |(last, was): (Instant, bool)| {
                let pause = if was == is_ready { pause } else { TICK_BUSY };
                last + pause <= at
            };
            if shown.is_none_or(is_due) {
                shown = Some((at, is_ready));
                self.show(&meters);
                self.warn(at, &mut warned);
            }
            if self.stopper.doors_closed() {
                self.inbox.finish();
                let until = *drain_until.get_or_insert(at + DRAIN);
                if self.is_done(until <= at) {
                    break;
                }
            }
        }
        self.show(&meters);
        // First this: other nodes do not cease to send, and the log would never be idle.
        self.inbox.close();
        self.await_disk(&mut inputs).await;
        self.pulse.ended.set(true);
    }

    /// Waits for something to do, lets everybody who can run put their requests in, and takes a
    /// turn's worth.
    async fn gather(&self, inputs: &mut Vec<Input>) {
        if !self.shard.has_work() {
            poll_fn(
                |cx| if self.pulse.due() { Poll::Ready(()) } else { self.inbox.poll_waiting(cx) },
            )
            .await;
        }
        // A finished log write frees those who wait for it: nothing is gained by waiting for more.
        if !self.inbox.completed() {
            reactor::look();
            rt::yield_now().await;
        }
        self.inbox.take_turn(inputs);
    }

    fn turn(&mut self, at: Instant, inputs: &mut Vec<Input>, effects: &mut Vec<Effect>) {
        let now = self.clock.now(at);
        for input in inputs.drain(..) {
            self.shard.step(input, now);
        }
        let since_tick = at.saturating_duration_since(self.pulse.last.get());
        if self.pulse.due.take() || (self.pulse.busy.get() && TICK_BUSY <= since_tick) {
            self.pulse.last.set(at);
            self.shard.step(Input::Tick, now);
        }
        self.shard.settle(now, effects);
        let mut clients = Doors { hub: &self.hub, inbox: &self.inbox };
        perform(effects, &mut self.disk, &mut clients, &mut self.peers);
        self.pulse.busy.set(self.shard.busy());
        self.pulse.turns.set(self.pulse.turns.get().saturating_add(1));
    }

    fn show(&self, meters: &ShardMeters) {
        let levels = Levels {
            shard: self.shard.gauges(),
            requests: self.inbox.outstanding(),
            request_bytes: self.inbox.outstanding_bytes(),
        };
        meters.count(&self.shard.facts());
        meters.show(&levels);
        let standing = self.stopper.standing();
        standing.report(
            self.id,
            ShardStanding {
                gauges: levels.shard,
                failing: self.shard.failing(),
                groups: self.shard.leaders().collect(),
            },
        );
        // Every shard hears the same of the others.
        if self.id == ShardId(0) {
            standing.report_neighbours(self.shard.neighbours());
        }
    }

    /// Says what an operator should know at once.
    fn warn(&self, at: Instant, warned: &mut Warned) {
        let shard = self.id.0;
        if self.shard.no_space() {
            if warned.no_space.replace(at).is_none() {
                tracing::warn!(shard, "no room on the disk: appends may be refused");
            }
        } else if warned.no_space.is_some_and(|last| last + SPACE_STAYS <= at) {
            warned.no_space = None;
            tracing::info!(shard, "room on the disk again");
        }
        let is_slow = self.shard.is_slow();
        if std::mem::replace(&mut warned.is_slow, is_slow) != is_slow {
            if is_slow {
                tracing::warn!(
                    shard,
                    "stands still half of the time for want of a CPU: others lead what they can"
                );
            } else {
                tracing::info!(shard, "keeps pace again");
            }
        }
        let waits = self.shard.facts().newcomer_waits;
        if std::mem::replace(&mut warned.newcomer_waits, waits) < waits {
            tracing::warn!(
                shard,
                "appends are faster than a new member catches up: some may be refused for its sake"
            );
        }
    }

    /// Whether all that clients have asked is answered, or it is too late to do it.
    fn is_done(&self, too_late: bool) -> bool {
        let unanswered = self.inbox.outstanding();
        if too_late && 0 < unanswered {
            tracing::warn!(shard = self.id.0, unanswered, "stopping with requests under way");
        }
        too_late || unanswered == 0
    }

    /// Waits until the disk has done what it was given. The shard is not told: it would write on. What
    /// it had taken in and not given to the disk, nobody was told to be done.
    async fn await_disk(&self, drained: &mut Vec<Input>) {
        while !self.disk.is_idle() {
            poll_fn(|cx| self.inbox.poll_waiting(cx)).await;
            self.inbox.take_turn(drained);
            drained.clear();
            if ending() {
                return pending().await;
            }
        }
    }
}

/// What operators were warned of, so that it is said once.
#[derive(Debug, Default)]
struct Warned {
    /// When the disk was last seen without room, until it is said that it has some.
    no_space: Option<Instant>,
    /// Whether the shard has too little of a CPU.
    is_slow: bool,
    /// Times groups had begun to wait for one that learns.
    newcomer_waits: u64,
}

/// Where replies and tail messages of one shard go.
struct Doors<'a> {
    hub: &'a Hub,
    inbox: &'a Inbox,
}

impl Clients for Doors<'_> {
    fn reply(&mut self, ticket: Ticket, reply: Reply) {
        self.inbox.replied(ticket);
        self.hub.reply(ticket, reply);
    }

    fn tail(&mut self, tail: TailId, message: TailMessage) {
        self.hub.tail_message(tail, message);
    }
}
