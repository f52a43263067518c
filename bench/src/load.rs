//! Sends requests from many clients and measures how long each took. One or two threads, each with an
//! epoll of its own, so that the generator takes as little as possible of the cores it shares.
//!
//! Open loop: every request has an intended time, fixed before the run, and its latency counts from
//! there, whether or not a client was free to send it then. So a server that stalls is charged for
//! every request that should have been sent meanwhile. Closed loop: a client sends its next request
//! after the reply to the last one, and the latency counts from sending.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

use crate::client::{Connection, Lost};
use crate::outcome::{CpuWindow, Failure, Outcome};
use crate::pace::{Moments, Pace, Plan, Schedule};

/// Events taken from the kernel at once.
const EVENTS_MAX: usize = 512;
/// Connections a run may lose before it is given up: a server that keeps closing them measures
/// nothing.
const LOST_MAX: u64 = 1_000;
/// Longest sleep, so that the ends of phases are seen without any event.
const SLEEP_MAX: Duration = Duration::from_millis(100);

/// What clients of one thread ask and do with the replies.
pub(crate) trait Workload: Send {
    /// Makes or patches the next request of a client, meant for `at`; false if it has none left. A
    /// request that was not answered, or refused, is asked for again by the same call.
    fn next(&mut self, client: usize, at: Instant, request: &mut Vec<u8>) -> bool;

    /// Looks at a reply; whether it is what was asked for.
    fn answered(&mut self, client: usize, status: u16, body: &[u8]) -> Verdict;
}

/// What a reply says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Done.
    Done,
    /// Not done, and the server says why by its status.
    Refused,
    /// Done, but not as asked: the server is wrong, or the workload.
    Wrong,
}

impl Verdict {
    /// What a status says that has 201 for done. The statuses of the middle are those a client may
    /// answer by asking again.
    pub(crate) fn of(status: u16) -> Verdict {
        match status {
            201 => Verdict::Done,
            408 | 425 | 429 | 500 | 502..=504 => Verdict::Refused,
            _ => Verdict::Wrong,
        }
    }
}

/// Runs one thread for each workload, with `clients` connections each. `edge` is called by the
/// calling thread when the measured time begins and when it ends.
///
/// # Errors
/// See [`Failure`].
pub(crate) fn run<W: Workload>(
    plan: &Plan,
    workloads: Vec<(usize, W)>,
    edge: &mut dyn FnMut(),
) -> Result<(Outcome, Vec<W>), Failure> {
    let threads = NonZeroU64::new(workloads.len() as u64).expect("a run has a thread");
    let mut drivers = Vec::new();
    for (clients, workload) in workloads {
        drivers.push(Driver::new(plan.address, clients, workload)?);
    }
    let start = Instant::now();
    let moments = plan.moments(start);
    thread::scope(|scope| {
        let mut handles = Vec::new();
        for (thread, mut driver) in (0..).zip(drivers) {
            let pacing = match plan.pace {
                Pace::Closed => None,
                Pace::Open(per_second) => Some(Schedule { start, per_second, thread, threads }),
            };
            handles.push(scope.spawn(move || driver.run(moments, pacing).map(|()| driver)));
        }
        for moment in [moments.begin, moments.end] {
            while Instant::now() < moment && !handles.iter().all(|handle| handle.is_finished()) {
                thread::sleep((moment - Instant::now().min(moment)).min(SLEEP_MAX));
            }
            edge();
        }
        let mut total = Outcome::default();
        let mut workloads = Vec::new();
        for handle in handles {
            let driver = handle.join().expect("a load thread returns its errors")?;
            total.merge(&driver.outcome);
            workloads.push(driver.workload);
        }
        Ok((total, workloads))
    })
}

/// A client, and the request it has under way.
#[derive(Debug)]
struct Client {
    connection: Connection,
    /// When the request under way was meant to be sent.
    meant: Option<Instant>,
    /// Whether epoll watches for room to write.
    blocked: bool,
}

/// One thread of the generator.
#[derive(Debug)]
struct Driver<W> {
    epoll: OwnedFd,
    address: SocketAddr,
    clients: Vec<Client>,
    workload: W,
    /// Clients without a request, longest idle first; empty in a closed loop.
    idle: VecDeque<usize>,
    under_way: usize,
    /// Clients without a request left.
    exhausted: usize,
    /// Connections lost, idle ones included.
    losses: u64,
    outcome: Outcome,
}

impl<W: Workload> Driver<W> {
    fn new(address: SocketAddr, clients: usize, workload: W) -> Result<Driver<W>, Failure> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(system)?;
        let mut driver = Driver {
            epoll,
            address,
            clients: Vec::with_capacity(clients),
            workload,
            idle: (0..clients).collect(),
            under_way: 0,
            exhausted: 0,
            losses: 0,
            outcome: Outcome::default(),
        };
        for client in 0..clients {
            let connection = Connection::open(address).map_err(Failure::Connect)?;
            driver.clients.push(Client { connection, meant: None, blocked: false });
            driver.watch(client)?;
        }
        Ok(driver)
    }

    fn run(&mut self, moments: Moments, schedule: Option<Schedule>) -> Result<(), Failure> {
        // The default lets the kernel wake a sleeper 50 us late, which would count as latency.
        rustix::thread::set_current_timer_slack(NonZeroU64::new(1)).map_err(system)?;
        let mut events = Vec::with_capacity(EVENTS_MAX);
        let scheduled = schedule.map(|schedule| schedule.before(moments.end));
        let mut cpu = CpuWindow::default();
        let mut sent = 0;
        loop {
            let now = Instant::now();
            cpu.observe(now, &moments);
            match schedule {
                None => self.start_idle(now, &moments)?,
                Some(schedule) => {
                    sent = self.send_due(&schedule, sent, &moments)?;
                }
            }
            let finished = match scheduled {
                Some(scheduled) => scheduled <= sent,
                None => moments.end <= now || self.exhausted == self.clients.len(),
            };
            if finished && self.under_way == 0 || moments.give_up <= now {
                break;
            }
            let wake = match schedule {
                Some(schedule) if !self.idle.is_empty() && !finished => schedule.intended(sent),
                _ => now + SLEEP_MAX,
            };
            self.wait(&mut events, wake)?;
            for event in events.drain(..) {
                let (flags, data) = (event.flags, event.data);
                let client = usize::try_from(data.u64()).expect("it was given as a place");
                self.ready(client, flags, &moments, schedule.is_none())?;
            }
        }
        self.outcome.cpu = cpu.taken();
        self.account_unanswered(schedule, sent, &moments);
        Ok(())
    }

    /// Closed loop: lets clients without a request begin, at the start and after a loss.
    fn start_idle(&mut self, now: Instant, moments: &Moments) -> Result<(), Failure> {
        if moments.end <= now {
            return Ok(());
        }
        while let Some(client) = self.idle.pop_front() {
            self.send(client, Instant::now(), moments)?;
        }
        Ok(())
    }

    /// Open loop: sends what is due as long as there are idle clients; returns how many requests of
    /// the schedule have been sent.
    fn send_due(
        &mut self,
        schedule: &Schedule,
        mut sent: u64,
        moments: &Moments,
    ) -> Result<u64, Failure> {
        loop {
            let meant = schedule.intended(sent);
            let now = Instant::now();
            if now < meant || moments.end <= meant {
                return Ok(sent);
            }
            let Some(client) = self.idle.pop_front() else { return Ok(sent) };
            if moments.begin <= meant {
                self.outcome.lateness.record(now - meant);
            }
            self.send(client, meant, moments)?;
            sent += 1;
        }
    }

    fn send(&mut self, client: usize, meant: Instant, moments: &Moments) -> Result<(), Failure> {
        let state = &mut self.clients[client];
        if !self.workload.next(client, meant, state.connection.request()) {
            self.exhausted += 1;
            return Ok(());
        }
        state.meant = Some(meant);
        self.under_way += 1;
        let sent = state.connection.send();
        self.sent(client, sent, moments)
    }

    /// Watches for room if the socket did not take all.
    fn sent(
        &mut self,
        client: usize,
        sent: Result<bool, Lost>,
        moments: &Moments,
    ) -> Result<(), Failure> {
        let blocked = match sent {
            Ok(all) => !all,
            Err(lost) => return self.lost(client, &lost, moments),
        };
        let state = &mut self.clients[client];
        if blocked != state.blocked {
            let room = if blocked { EventFlags::OUT } else { EventFlags::empty() };
            let data = EventData::new_u64(client as u64);
            epoll::modify(&self.epoll, &state.connection, data, EventFlags::IN | room)
                .map_err(system)?;
            state.blocked = blocked;
        }
        Ok(())
    }

    fn ready(
        &mut self,
        client: usize,
        flags: EventFlags,
        moments: &Moments,
        closed_loop: bool,
    ) -> Result<(), Failure> {
        let state = &mut self.clients[client];
        if state.blocked && flags.contains(EventFlags::OUT) {
            let sent = state.connection.resume();
            self.sent(client, sent, moments)?;
        }
        if !flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            return Ok(());
        }
        let state = &mut self.clients[client];
        let reply = match state.connection.receive() {
            Ok(None) => return Ok(()),
            Ok(Some(reply)) => reply,
            Err(lost) => return self.lost(client, &lost, moments),
        };
        let now = Instant::now();
        let Some(meant) = state.meant.take() else {
            return self.lost(client, &Lost::Garbage(crate::client::Garbage::Behind), moments);
        };
        self.under_way -= 1;
        let body = state.connection.body(reply);
        let verdict = self.workload.answered(client, reply.status, body);
        match verdict {
            Verdict::Done => self.outcome.done(meant, now, moments),
            Verdict::Refused => *self.outcome.refused.entry(reply.status).or_default() += 1,
            Verdict::Wrong => self.outcome.wrong(reply.status, body)?,
        }
        state.connection.forget();
        if reply.last {
            self.reconnect(client)?;
        }
        if closed_loop && now < moments.end {
            self.send(client, now, moments)
        } else {
            self.idle.push_back(client);
            Ok(())
        }
    }

    /// Connects anew. The request under way is unknown to have been done; its client asks again.
    fn lost(&mut self, client: usize, lost: &Lost, moments: &Moments) -> Result<(), Failure> {
        let was_under_way = self.clients[client].meant.take().is_some();
        if was_under_way {
            self.under_way -= 1;
            self.outcome.lost += 1;
            self.outcome.lost_reason = Some(lost.to_string());
        }
        self.losses += 1;
        if LOST_MAX < self.losses {
            return Err(Failure::Lost(lost.to_string()));
        }
        if moments.give_up <= Instant::now() {
            return Ok(());
        }
        self.reconnect(client)?;
        if was_under_way {
            self.idle.push_back(client);
        }
        Ok(())
    }

    fn reconnect(&mut self, client: usize) -> Result<(), Failure> {
        let state = &mut self.clients[client];
        state.connection.reopen(self.address).map_err(Failure::Connect)?;
        state.blocked = false;
        self.watch(client)
    }

    /// Watches a new connection for replies. A closed one is forgotten by the kernel itself.
    fn watch(&self, client: usize) -> Result<(), Failure> {
        let connection = &self.clients[client].connection;
        let data = EventData::new_u64(client as u64);
        epoll::add(&self.epoll, connection, data, EventFlags::IN).map_err(system)
    }

    /// Waits for events until `wake`.
    fn wait(&self, events: &mut Vec<Event>, wake: Instant) -> Result<(), Failure> {
        let timeout = wake.saturating_duration_since(Instant::now());
        let timeout = timeout.try_into().expect("a short time");
        match epoll::wait(&self.epoll, spare_capacity(events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(system(error)),
        }
    }

    /// What has no answer by the end has waited at least until now.
    fn account_unanswered(&mut self, schedule: Option<Schedule>, sent: u64, moments: &Moments) {
        let now = Instant::now();
        let under_way: Vec<Instant> =
            self.clients.iter().filter_map(|client| client.meant).collect();
        let never_sent = schedule.into_iter().flat_map(|schedule| {
            (sent..schedule.before(moments.end)).map(move |number| schedule.intended(number))
        });
        for meant in under_way.into_iter().chain(never_sent) {
            self.outcome.unanswered += 1;
            if moments.begin <= meant {
                self.outcome.latencies.record(now.saturating_duration_since(meant));
            }
        }
    }
}

fn system(error: rustix::io::Errno) -> Failure {
    Failure::System(error.into())
}
