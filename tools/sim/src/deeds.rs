//! What the nemesis does, and how it ends.

use model::ids::GroupId;

use crate::count::Fault;
use crate::disk::{End, Health, Mishap};
use crate::event::{Event, Mend};
use crate::nemesis::Deed;
use crate::queue::{MILLI, Time};
use crate::world::World;

impl World {
    /// The nemesis does something, and will again.
    pub(crate) fn strike(&mut self) {
        if self.healed || self.ground.hushed {
            return;
        }
        self.note_healing();
        let deed = self.nemesis.draw();
        self.deed(&deed);
        self.plan_strike();
    }

    /// The nemesis will do something, if it can.
    pub(crate) fn plan_strike(&mut self) {
        if let Some(pause) = self.nemesis.pause() {
            self.queue.plan(self.now() + pause, Event::Nemesis);
        }
    }

    fn mend_later(&mut self, after: u64, mend: Mend) {
        self.queue.plan(self.now() + after, Event::Mend(mend));
    }

    /// Does it, unless it would leave no good copy of something.
    pub(crate) fn deed(&mut self, deed: &Deed) {
        let needed = matches!(deed, Deed::Empty { .. });
        if self.healed && !needed {
            return;
        }
        self.digest.add(0xdeed);
        let now = self.now();
        self.overlaps.begin(deed, now, &mut self.counters);
        match deed {
            Deed::Kill { node, down } => self.stop(*node, (End::Kill, Fault::Kill), *down),
            Deed::PowerCut { node, down } => {
                self.stop(*node, (End::PowerCut, Fault::PowerCut), *down);
            }
            Deed::PowerCutAll { down } => {
                if self.atlas.damaged().next().is_none() {
                    self.counters.count(Fault::PowerCutAll);
                    for node in 0..self.nodes.len() {
                        let down = down + self.turns.below(200 * MILLI);
                        self.stop(node, (End::PowerCut, Fault::PowerCut), down);
                    }
                }
            }
            Deed::Rot { node, down } => self.rot(*node, *down),
            Deed::Empty { node, down } => self.change_disk(*node, *down),
            Deed::Lie { node, lasts, down } => {
                if self.may_forget(*node) {
                    self.hurt_unknown(*node);
                    self.health(*node, |health| health.lies = true);
                    self.mend_later(*lasts, Mend::Lie { node: *node, down: *down });
                }
            }
            Deed::Misplace { node, lost } => self.misplace(*node, *lost),
            Deed::WriteError { node } => self.mishap(*node, Mishap::Error),
            Deed::Configure { write, gap } => self.configure(*write, *gap),
            Deed::Transfer { node, lasts } => self.relieve(*node, Fault::Transfer, (*lasts, false)),
            Deed::Relieve { node, lasts, looked_at } => {
                self.relieve(*node, Fault::Relief, (*lasts, *looked_at));
            }
            Deed::Ambush(ambush) => self.lie_in_wait(*ambush),
            deed => self.passing(deed),
        }
    }

    /// Faults that end and leave no damage.
    fn passing(&mut self, deed: &Deed) {
        match *deed {
            Deed::Cut { ref links, lasts } => self.cut(links, lasts),
            Deed::Clog { from, to, lasts } => {
                self.counters.count(Fault::Clog);
                self.network.clog(from, to, self.now() + lasts);
            }
            Deed::SlowLink { from, to, by, lasts } => {
                self.counters.count(Fault::SlowLink);
                self.network.slow(from, to, by);
                self.mend_later(lasts, Mend::Link { from, to });
            }
            Deed::BadReads { node, errors, rot, lasts } => {
                self.health(node, |health| {
                    (health.read_errors, health.read_rot) = (errors, rot);
                });
                self.mend_later(lasts, Mend::Disk { node });
            }
            Deed::Full { node, lasts } => {
                self.counters.count(Fault::DiskFull);
                self.health(node, |health| health.full = true);
                self.mend_later(lasts, Mend::Disk { node });
            }
            Deed::Slow { node, times, lasts } => {
                self.counters.count(Fault::SlowDisk);
                self.health(node, |health| health.slowness = times);
                self.mend_later(lasts, Mend::Disk { node });
            }
            Deed::Stuck { node, lasts } => {
                self.counters.count(Fault::StuckDisk);
                self.health(node, |health| health.stuck = true);
                self.mend_later(lasts, Mend::Disk { node });
            }
            Deed::Pause { node, core, lasts } => self.stand_still(node, core, lasts),
            Deed::WallJump { node, micros } => {
                self.counters.count(Fault::WallJump);
                self.nodes[node].clock.jump(micros);
            }
            Deed::WallFreeze { node, lasts } => {
                self.counters.count(Fault::WallFreeze);
                let now = self.now();
                self.nodes[node].clock.freeze(now);
                self.mend_later(lasts, Mend::Wall { node });
            }
            Deed::Drift { node, drift } => {
                self.counters.count(Fault::Drift);
                let now = self.now();
                self.nodes[node].clock.set_drift(now, drift);
            }
            _ => {}
        }
    }

    /// A process ends and comes back, unless somebody needs it who may have lost something.
    fn stop(&mut self, node: usize, (end, fault): (End, Fault), down: u64) {
        if self.nodes[node].is_up() && self.atlas.allows_absence(node) {
            self.counters.count(fault);
            self.end(node, end, Some(down));
        }
    }

    fn cut(&mut self, links: &[(usize, usize)], lasts: u64) {
        if !self.atlas.allows_absence(self.nodes.len()) {
            return;
        }
        let one_way = links.iter().any(|(from, to)| !links.contains(&(*to, *from)));
        self.counters.count(if one_way { Fault::OneWay } else { Fault::Partition });
        self.network.shape(|from, to| links.contains(&(from, to)));
        self.cuts += 1;
        self.mend_later(lasts, Mend::Links { cut: self.cuts });
    }

    fn stand_still(&mut self, node: usize, core: Option<u32>, lasts: u64) {
        let until: Time = self.now() + lasts;
        let this = &mut self.nodes[node];
        match core {
            Some(core) => {
                let core = (core % this.shards) as usize;
                self.counters.count(Fault::StalledCore);
                this.stalled_until[core] = until;
            }
            None => {
                self.counters.count(Fault::PausedNode);
                this.paused_until = until;
            }
        }
    }

    /// Changes how the disks of a node behave.
    pub(crate) fn health(&mut self, node: usize, change: impl Fn(&mut Health)) {
        for disk in &mut self.nodes[node].disks {
            change(&mut disk.health);
        }
    }

    fn mishap(&mut self, node: usize, mishap: Mishap) {
        let this = &mut self.nodes[node];
        let place = self.turns.index(this.disks.len());
        if this.is_up() {
            this.disks[place].mishap = Some(mishap);
        }
    }

    /// The next write of the node's log is lost or goes elsewhere; then its machine stops.
    fn misplace(&mut self, node: usize, lost: bool) {
        if !self.may_forget(node) {
            return;
        }
        self.hurt_unknown(node);
        self.mishap(node, if lost { Mishap::Lost } else { Mishap::Misdirected });
        let lasts = 1 + self.turns.below(300 * MILLI);
        let down = 1 + self.turns.below(300 * MILLI);
        self.mend_later(lasts, Mend::Lie { node, down });
    }

    /// A disk is damaged; its node finds out when it starts again, or never.
    fn hurt_unknown(&mut self, node: usize) {
        self.atlas.hurt_unknown(node);
        let this = &mut self.nodes[node];
        (this.scarred, this.hurt_in) = (true, this.life);
    }

    /// A bit of a disk changes while its node is down.
    fn rot(&mut self, node: usize, down: u64) {
        if !self.may_forget(node) {
            return;
        }
        self.end(node, End::Kill, None);
        let place = self.turns.index(self.nodes[node].disks.len());
        match self.nodes[node].disks[place].rot(&mut self.counters) {
            None => {}
            Some(false) => self.hurt_unknown(node),
            Some(true) => {
                // Events in a chunk are read when somebody asks for them: it stays damaged.
                self.hurt_unknown(node);
                self.atlas.hurt(node);
                self.nodes[node].rotten = true;
            }
        }
        self.queue.plan(self.now() + down, Event::Start { node });
    }

    /// A node comes back with an empty disk.
    fn change_disk(&mut self, node: usize, down: u64) {
        let broken = self.nodes[node].broken.is_some();
        let bears = self.atlas.allows_known(node) && self.bears_loss_of(node);
        if !broken && !bears {
            return;
        }
        self.atlas.hurt(node);
        self.end(node, End::PowerCut, None);
        self.replace(node);
        self.queue.plan(self.now() + down, Event::Start { node });
    }

    /// Nodes with damage that hold again all that is committed, and as much as they ever told others, are
    /// whole.
    pub(crate) fn note_healing(&mut self) {
        let damaged: Vec<usize> = self.atlas.damaged().collect();
        for node in damaged {
            let this = &self.nodes[node];
            let owes = this.disks.iter().any(crate::disk::Disk::may_forget);
            let holds = (0..self.options.groups).all(|group| {
                let hosts = self.wanted(GroupId(group));
                let committed = self.court.committed(group);
                let votes = self.court.is_voter(group, this.id());
                let votes = votes.unwrap_or_else(|| self.founders.contains(&this.id()));
                let holds = self.court.holds(group, this.id(), committed)
                    && self.court.holds_what_it_told(group, this.id());
                !hosts.contains(&this.tag) || (votes && holds)
            });
            if this.is_up() && !this.rotten && this.hurt_in < this.life && !owes && holds {
                self.atlas.healed(node);
            }
        }
    }

    /// A fault ends.
    pub(crate) fn mend(&mut self, mend: Mend) {
        match mend {
            Mend::Links { cut } => {
                if cut == self.cuts {
                    self.network.shape(|_, _| false);
                }
            }
            Mend::Link { from, to } => self.network.slow(from, to, 0),
            Mend::Disk { node } => self.well(node),
            Mend::Lie { node, down } => {
                self.well(node);
                if !self.healed {
                    self.end(node, End::PowerCut, Some(down));
                }
            }
            Mend::Wall { node } => self.nodes[node].clock.jump(0),
            Mend::Configure { node } => self.restart_for_config(node),
            Mend::Relief { node, looked_at } => self.end_relief(node, looked_at),
        }
    }

    fn well(&mut self, node: usize) {
        let good = self.options.health();
        self.health(node, |health| *health = good);
    }

    /// All faults end. What is down comes up, what is broken is replaced.
    pub(crate) fn heal(&mut self) {
        self.healed = true;
        self.end_orders();
        self.network.mend();
        self.network.set_weather(crate::network::Weather::calm());
        for node in 0..self.nodes.len() {
            self.well(node);
            for disk in &mut self.nodes[node].disks {
                disk.mishap = None;
            }
            let now = self.now();
            let this = &mut self.nodes[node];
            this.paused_until = now;
            this.stalled_until.fill(now);
            this.clock.jump(0);
            if this.broken.is_some() {
                self.change_disk(node, MILLI);
            } else if this.is_up() && this.config < self.config {
                self.end(node, End::Kill, Some(MILLI));
            } else if !this.is_up() {
                self.queue.plan(now + MILLI, Event::Start { node });
            }
        }
    }
}
