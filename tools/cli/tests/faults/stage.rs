//! All of it put up: a cluster at the switch under load, faults in phases, and the judgement.

use std::sync::{Arc, MutexGuard};
use std::thread::JoinHandle;

use histories::time::Time;
use histories::verdict::Findings;

use crate::balancer::Balancer;
use crate::figures::{Phase, print_phases, print_recoveries};
use crate::fleet::Fleet;
use crate::ground::{alone, skipped};
use crate::judge;
use crate::load;
use crate::record::{Record, SESSIONS};
use crate::switch::{CLIENTS, Switch};

/// A cluster under load.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) record: Arc<Record>,
    name: &'static str,
    clients: Vec<JoinHandle<()>>,
    tails: Vec<JoinHandle<()>>,
    balancer: Balancer,
    pub(crate) fleet: Fleet,
    phases: Vec<Phase>,
    /// What hit the cluster when.
    hits: Vec<(&'static str, Time)>,
    _alone: MutexGuard<'static, ()>,
}

impl Stage {
    /// Puts it up, this thread at the clients' host from now on; `None` where the machine forbids it.
    pub(crate) fn up(name: &'static str) -> Option<Stage> {
        Stage::under(name, load::clients)
    }

    /// The same with clients that notice every pause, none of which talks to the node that is to be
    /// avoided, and nothing else.
    pub(crate) fn steady(name: &'static str, avoided: Option<usize>) -> Option<Stage> {
        Stage::under(name, |record| load::steady(record, avoided))
    }

    fn under(
        name: &'static str,
        load: impl FnOnce(&Arc<Record>) -> Vec<JoinHandle<()>>,
    ) -> Option<Stage> {
        let alone = alone();
        let switch = match Switch::new() {
            Ok(switch) => switch,
            Err(error) => {
                skipped("drills in networks of their own", error);
                return None;
            }
        };
        switch.host(CLIENTS).enter().expect("a network can be entered");
        let mut fleet = Fleet::new(switch);
        fleet.start();
        let record = Arc::new(Record::new());
        load::create(&record);
        let balancer = Balancer::start();
        let (clients, tails) = (load(&record), load::tails(&record));
        let stage = Stage {
            record,
            name,
            clients,
            tails,
            balancer,
            fleet,
            phases: Vec::new(),
            hits: Vec::new(),
            _alone: alone,
        };
        stage.record.await_progress(stage.record.now());
        Some(stage)
    }

    /// Does something to the cluster, then mends the network. Afterwards every session must take
    /// appends.
    pub(crate) fn phase(&mut self, name: impl Into<String>, work: impl FnOnce(&mut Stage)) {
        let from = self.record.now();
        work(self);
        let to = self.record.now();
        self.fleet.switch.heal();
        self.record.await_progress(self.record.now());
        self.phases.push(Phase { name: name.into(), from, to });
    }

    /// Does something after which every node must become ready again.
    pub(crate) fn phase_and_ready(&mut self, name: String, work: impl FnOnce(&mut Stage)) {
        self.phase(name, work);
        self.fleet.await_ready();
    }

    /// Kills nodes at once.
    pub(crate) fn kill(&mut self, what: &'static str, nodes: &[usize]) {
        let at = self.record.now();
        for node in nodes {
            self.fleet.nodes[*node].kill();
        }
        self.hit(what, at);
    }

    /// Notes when the cluster was hit; the report says how long it took to recover.
    pub(crate) fn hit(&mut self, what: &'static str, at: Time) {
        self.hits.push((what, at));
    }

    /// Ends the load and judges all that clients were told.
    ///
    /// # Panics
    /// If it cannot be true.
    pub(crate) fn finish(mut self) {
        self.record.stop();
        for client in self.clients.drain(..) {
            client.join().expect("a client gets its answers");
        }
        self.fleet.await_ready();
        let mut findings = Findings::default();
        let logs = judge::logs(&self.record, &mut findings);
        for tail in self.tails.drain(..) {
            tail.join().expect("a tail sees all");
        }
        judge::judge(&self.record, &logs, &mut findings);
        self.report(logs.iter().map(Vec::len).sum());
        for violation in findings.iter() {
            println!("{violation}");
        }
        assert!(findings.is_empty(), "what clients were told cannot be true");
        judge::would_notice(&self.record, &logs);
    }

    fn report(&self, events: usize) {
        let each = 0..SESSIONS;
        let operations: u64 = each.clone().map(|s| self.record.history(s).operations()).sum();
        let streams: usize = each.map(|session| self.record.history(session).streams.len()).sum();
        println!(
            "{}: {events} events, {operations} operations judged, {streams} tails, {} requests \
             sent again by the balancer, {} packets lost",
            self.name,
            self.balancer.repeated(),
            self.fleet.switch.lost(),
        );
        let mut names: Vec<&str> = Vec::new();
        for phase in &self.phases {
            if !names.contains(&&*phase.name) {
                names.push(&phase.name);
            }
        }
        for name in names {
            let phases = self.phases.iter().filter(|phase| phase.name == name);
            print_phases(&self.record, name, &phases.collect::<Vec<_>>());
        }
        let mut kinds: Vec<&str> = self.hits.iter().map(|(what, _)| *what).collect();
        kinds.sort_unstable();
        kinds.dedup();
        for kind in kinds {
            let hits = self.hits.iter().filter(|(what, _)| *what == kind);
            let times: Vec<Time> = hits.map(|(_, at)| *at).collect();
            print_recoveries(&self.record, kind, &times);
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // After `finish` there is nobody left to hear it.
        self.record.fail();
        for thread in self.clients.drain(..).chain(self.tails.drain(..)) {
            let _ = thread.join();
        }
    }
}
