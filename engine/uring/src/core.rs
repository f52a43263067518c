//! One core: its shards' drivers, its way to the file threads and the other cores, its doors, and
//! the heartbeat that lets time pass for all of them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use model::ids::ShardId;
use shard::shard::Shard;

use crate::cores::{Doors, Settings};
use crate::disk::{FileClient, UringDisk};
use crate::driver::{Clock, Driver, Pulse, TICK_CLUSTER, TICK_IDLE};
use crate::files::FileThreads;
use crate::gateway::Gateway;
use crate::hearts::Hearts;
use crate::hub::{Homes, Hub};
use crate::inbox::Inbox;
use crate::mesh::{self, Ends};
use crate::meters::CoreMeters;
use crate::peers::Heard;
use crate::reactor;
use crate::rt;
use crate::stop::Stopper;

/// Between heartbeats of a core with something to do.
const BEAT_ACTIVE: Duration = Duration::from_millis(5);
/// Between heartbeats of an idle core of a node alone.
const BEAT_IDLE: Duration = Duration::from_millis(50);
/// The same where other nodes listen for signs of life.
const BEAT_CLUSTER: Duration = Duration::from_millis(20);

/// All that one core needs to run.
pub(crate) struct Plan {
    pub(crate) core: usize,
    pub(crate) homes: Homes,
    pub(crate) shards: Vec<(ShardId, Shard)>,
    pub(crate) ends: Ends,
    pub(crate) files: FileThreads,
    pub(crate) doors: Doors,
    pub(crate) settings: Settings,
    pub(crate) stopper: Stopper,
    pub(crate) heard: Heard,
    pub(crate) clock: Clock,
    /// Told when the core runs; dropped untold if it cannot.
    pub(crate) started: SyncSender<()>,
}

/// What the heartbeat looks after, per shard.
struct Patient {
    pulse: Rc<Pulse>,
    inbox: Rc<Inbox>,
    disk: UringDisk,
}

impl Plan {
    /// Runs the core until the node stops.
    ///
    /// # Errors
    /// Why the kernel refused a ring, or the doors' own error.
    pub(crate) async fn run(self, hearts: Hearts) -> Result<(), String> {
        let Plan { core, homes, shards, ends, files, doors, settings, heard, .. } = self;
        let (stopper, clock, started) = (self.stopper, self.clock, self.started);
        let hub = Rc::new(Hub::new(core, &homes, stopper.clone(), heard));
        // Shards must not begin with what is configured where operators want something else.
        hub.tell_wishes();
        let weak = Rc::downgrade(&hub);
        hub.clients.on_loss(move |member| {
            if let Some(hub) = weak.upgrade() {
                hub.lost_node(member);
            }
        });
        let disks: Rc<RefCell<Vec<(ShardId, UringDisk)>>> = Rc::default();
        let homecoming = Rc::clone(&disks);
        let files = FileClient::start(files, move |done| {
            let disks = homecoming.borrow();
            let home = disks.iter().find(|(id, _)| *id == done.shard);
            home.expect("jobs come from the disks of this core").1.job_done(done);
        });
        let (tick_idle, beat_idle) = if settings.cluster.is_alone() {
            (TICK_IDLE, BEAT_IDLE)
        } else {
            (TICK_CLUSTER, BEAT_CLUSTER)
        };
        let mut patients = Vec::new();
        for (id, shard) in shards {
            let (inbox, pulse) = (hub.inbox(id), Pulse::new(tick_idle));
            let ways = (Rc::clone(&inbox), Rc::clone(&files));
            let disk = UringDisk::new(id, ways, &settings)
                .map_err(|error| format!("io_uring is refused: {error}"))?;
            disks.borrow_mut().push((id, disk.clone()));
            patients.push(Patient {
                pulse: Rc::clone(&pulse),
                inbox: Rc::clone(&inbox),
                disk: disk.clone(),
            });
            let peers = hub.peers.clone();
            let (hub, stopper) = (Rc::clone(&hub), stopper.clone());
            let driver = Driver { id, shard, hub, inbox, disk, peers, pulse, stopper, clock };
            rt::spawn_local(driver.run());
        }
        let deliver = Rc::clone(&hub);
        mesh::start(ends, hub.outboxes(), Rc::new(move |mail| deliver.deliver(mail)));
        let pulses: Vec<Rc<Pulse>> = patients.iter().map(|p| Rc::clone(&p.pulse)).collect();
        let watch = Watch {
            patients,
            files: Rc::clone(&files),
            hub: Rc::clone(&hub),
            stopper: stopper.clone(),
            beat_idle,
            meters: CoreMeters::new(core),
            revision: Cell::new(0),
        };
        hearts.on_beat(move |late| watch.beat(late));
        // Nobody listens any more if another core has failed; this one is told to stop then.
        let _ = started.send(());
        let outcome = doors(Gateway::new(hub)).await;
        if outcome.is_err() {
            stopper.begin();
        }
        stopper.door_closed();
        while !stopper.doors_closed() || !pulses.iter().all(|pulse| pulse.ended()) {
            rt::sleep(BEAT_ACTIVE).await;
        }
        files.close();
        outcome
    }
}

/// What lets time pass for a core's shards.
struct Watch {
    patients: Vec<Patient>,
    files: Rc<FileClient>,
    hub: Rc<Hub>,
    stopper: Stopper,
    beat_idle: Duration,
    meters: CoreMeters,
    /// What operators want, as the shards were last told.
    revision: Cell<u64>,
}

impl Watch {
    /// One heartbeat. Also the insurance against a wake-up that was lost anywhere: whatever is due or
    /// waits is looked at again. Says when the next beat is due.
    fn beat(&self, late: Duration) -> Duration {
        self.meters.beat(late);
        let now = Instant::now();
        let stopping = self.stopper.stopping();
        let mut active = stopping;
        let revision = self.stopper.standing().revision();
        if self.revision.replace(revision) != revision {
            self.hub.tell_wishes();
        }
        for Patient { pulse, inbox, disk } in &self.patients {
            active |= pulse.beat(now, stopping);
            disk.look();
            if pulse.due() || inbox.waiting() {
                inbox.nudge();
            }
        }
        self.files.flush();
        reactor::look();
        if stopping {
            self.hub.wake_stopped();
        }
        if active { BEAT_ACTIVE } else { self.beat_idle }
    }
}
