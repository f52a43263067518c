//! How processes begin and end.

use model::cluster::NameTag;
use shard::cluster::{Cluster, Timing};

use crate::count::{Fault, Reached};
use crate::disk::End;
use crate::node::{Caller, Found, Frame, Process, open};
use crate::options::TICK;
use crate::queue::MILLI;
use crate::verdict::Kind;
use crate::world::{Event, World};

impl World {
    fn frame(&self, node: usize) -> Frame {
        let options = &self.options;
        let write: Vec<NameTag> = self.nodes.iter().map(|node| node.tag).collect();
        let cluster = Cluster {
            own: self.nodes[node].id(),
            founders: self.founders.clone(),
            founding_factor: options.factor,
            write,
            factor: options.factor,
            timing: Timing {
                tick_micros: TICK,
                election_ticks: options.election_ticks,
                heartbeat_ticks: 2,
                quiet_ticks: 20,
                pulse_micros: 100 * MILLI,
            },
        };
        let (groups, segment_bytes) = (options.groups, options.segment_bytes);
        let (hot_bytes_max, log_kept_bytes) = (options.hot_bytes_max, options.log_kept_bytes);
        Frame {
            groups,
            segment_bytes,
            hot_bytes_max,
            log_kept_bytes,
            life: self.nodes[node].life,
            cluster,
            #[cfg(feature = "sabotage")]
            sabotage: options.sabotage,
        }
    }

    /// A process starts on what is on its disks. If it cannot, it stays down: somebody has to give
    /// the node another disk.
    pub(crate) fn start(&mut self, node: usize) {
        if self.nodes[node].is_up() || self.nodes[node].broken.is_some() {
            return;
        }
        let frame = self.frame(node);
        let count = self.nodes[node].shards;
        let mut shards = Vec::new();
        let mut found = Vec::new();
        for shard in 0..count {
            let options = frame.options(count, shard);
            match open(options, &mut self.nodes[node].disks[shard as usize]) {
                Ok((shard, what)) => {
                    shards.push(shard);
                    found.push(what);
                }
                Err(what) => return self.cannot_open(node, what),
            }
        }
        for what in found {
            self.tell_found(node, what);
        }
        let this = &mut self.nodes[node];
        this.life += 1;
        this.paused_until = crate::queue::Time(0);
        this.stalled_until.fill(crate::queue::Time(0));
        this.process = Some(Process::new(shards));
        let (life, now) = (this.life, self.now());
        for shard in 0..count {
            self.plan_turn(node, shard, 0);
            let at = now + 1 + self.turns.below(TICK);
            self.queue.plan(at, Event::Tick { node, shard, life });
        }
        self.queue.plan(now + 3 * MILLI, Event::LandLate { node });
    }

    fn tell_found(&mut self, node: usize, found: Found) {
        let id = self.nodes[node].id();
        self.counters.reach_times(Reached::TornTailCut, u64::from(found.cut));
        let honest = !self.nodes[node].scarred;
        for (group, log) in found.groups {
            self.court.reopened(group, id, log, honest);
        }
    }

    /// Damage that is found out is no failure of the node's: what was not damaged must open.
    fn cannot_open(&mut self, node: usize, what: String) {
        if !self.nodes[node].scarred {
            self.findings.add(Kind::CannotOpen, format!("node {node}: {what}"));
        }
        self.counters.reach(Reached::ReopenRefused);
        self.atlas.found_out(node);
        self.nodes[node].broken = Some(what);
        // The operator gives it another disk.
        let at = self.now() + 500 * MILLI + self.turns.below(500 * MILLI);
        let deed = crate::nemesis::Deed::Empty { node, down: 100 * MILLI };
        self.queue.plan(at, Event::Deed(deed));
    }

    /// A process ends. It starts again after so many microseconds, if at all.
    pub(crate) fn end(&mut self, node: usize, end: End, down: Option<u64>) {
        let now = self.now();
        let Some(process) = self.nodes[node].process.take() else { return };
        for disk in &mut self.nodes[node].disks {
            disk.end(end, &mut self.counters);
        }
        let waiting = process.tickets.values().chain(process.tails.values().map(|(at, _)| at));
        let waiting: Vec<Caller> = waiting.copied().collect();
        for caller in waiting {
            // Some connections are reset at once, others just go silent for a while.
            let at = now + if self.turns.permille(800) { 500 } else { 300 * MILLI };
            self.queue.plan(at, Event::CutOff(caller));
        }
        self.links.ended(node);
        self.dial();
        if let Some(down) = down {
            self.queue.plan(now + down, Event::Start { node });
        }
        if self.nodes.iter().all(|node| !node.is_up()) {
            self.counters.reach(Reached::AllDownAtOnce);
        }
    }

    /// A node gets an empty disk, and with it another identity.
    pub(crate) fn replace(&mut self, node: usize) {
        assert!(!self.nodes[node].is_up(), "a disk is changed while nobody uses it");
        self.counters.count(Fault::EmptiedDisk);
        let this = &mut self.nodes[node];
        this.incarnation += 1;
        this.broken = None;
        (this.scarred, this.rotten) = (false, false);
        this.disks.iter_mut().for_each(crate::disk::Disk::empty);
    }
}
