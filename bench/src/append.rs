//! The `append` scenario: how long an append takes until it is acknowledged, and how many a second
//! there are.

use std::time::Duration;

use crate::disk::{Probe, per_second, ratios};
use crate::hog::{Company, Hogs};
use crate::load;
use crate::options::{Append, Common};
use crate::pace::{Pace, Plan};
use crate::report::{Figure, Latencies, Report};
use crate::request::{Target, payload};
use crate::scenario::{
    DRAIN, Under, cpu_per_request, describe, judge, lateness, mebibytes, rounds, seconds, troubles,
};
use crate::server::Server;
use crate::workload::{Appends, create_sessions};

/// How long the device is probed before and behind a round.
const PROBE: Duration = Duration::from_millis(500);

/// The `append` scenario.
///
/// # Errors
/// Why it could not be run to its end.
pub(crate) fn run(options: &Append, common: &Common) -> Result<Report, String> {
    let mut report = Report::new("append");
    let shape = AppendShape::new(options)?;
    describe(&mut report, &options.place, common);
    report.set("clients", shape.clients);
    report.set("sessions", shape.sessions);
    match shape.plan_pace {
        Pace::Closed => report.set("pace", "closed loop"),
        Pace::Open(rate) => report.set("rate", rate.get()),
    }
    report.set("seconds", options.seconds);
    report.set("warmup", options.warmup);
    report.set("payload_bytes", options.bytes);
    report.set("threads", shape.threads);
    let mut probe = match options.against_disk {
        true => Some(Probe::new(&common.dir)?),
        false => None,
    };
    let mut under: Option<Under> = None;
    let mut last_run = None;
    rounds(common, |run, company| {
        if last_run.replace(run) != Some(run) {
            under.take().map_or(Ok(()), Under::stop)?;
            under = Some(Under::new(&options.place, common)?);
        }
        let under = under.as_mut().expect("one was just started");
        let figures = append_round(&shape, under, company, (&mut probe, &mut report))?;
        report.add(&company.name, figures);
        Ok(())
    })?;
    under.take().map_or(Ok(()), Under::stop)?;
    Ok(report.conclude())
}

/// How a round of appends goes.
struct AppendShape {
    clients: usize,
    sessions: usize,
    threads: usize,
    plan_pace: Pace,
    warmup: Duration,
    measured: Duration,
    payload: String,
}

impl AppendShape {
    fn new(options: &Append) -> Result<AppendShape, String> {
        let clients = options.clients.get() as usize;
        let sessions = options.sessions.map_or(clients, |sessions| sessions.get() as usize);
        Ok(AppendShape {
            clients,
            sessions,
            threads: (options.threads.get() as usize).min(clients),
            plan_pace: options.rate.map_or(Pace::Closed, Pace::Open),
            warmup: seconds(options.warmup)?,
            measured: seconds(options.seconds)?,
            payload: payload(options.bytes)?,
        })
    }

    /// The clients, divided among the threads.
    fn workloads(&self, target: &Target) -> Vec<(usize, Appends)> {
        let share = |thread: usize| {
            let own =
                self.clients * thread / self.threads..self.clients * (thread + 1) / self.threads;
            let appends =
                Appends::new(target, self.clients, own.clone(), self.sessions, &self.payload);
            (own.len(), appends)
        };
        (0..self.threads).map(share).collect()
    }
}

fn append_round(
    shape: &AppendShape,
    under: &mut Under,
    company: &Company,
    (probe, report): (&mut Option<Probe>, &mut Report),
) -> Result<Vec<Figure>, String> {
    let target = under.target();
    create_sessions(&target, shape.sessions)?;
    let plan = Plan {
        address: target.address,
        pace: shape.plan_pace,
        warmup: shape.warmup,
        measured: shape.measured,
        drain: DRAIN,
    };
    let _hogs = Hogs::start(company.hogs);
    let mut device = Latencies::default();
    if let Some(probe) = probe {
        probe.measure(PROBE, &mut device)?;
    }
    let mut server_cpu = Vec::new();
    let server = under.server.as_ref();
    let workloads = shape.workloads(&target);
    let (outcome, workloads) = load::run(&plan, workloads, &mut || {
        server_cpu.extend(server.map(Server::cpu));
    })
    .map_err(|failure| failure.to_string())?;
    if let Some(probe) = probe {
        probe.measure(PROBE, &mut device)?;
    }
    report.set("request_bytes", workloads.first().map_or(0, |appends| appends.request_bytes()));
    judge(&outcome, report);
    let mut figures = vec![per_second("appends", outcome.done, shape.measured)];
    figures.extend(outcome.latencies.figures(""));
    if matches!(shape.plan_pace, Pace::Open(_)) {
        figures.extend(lateness(&outcome));
    }
    figures.push(cpu_per_request("generator cpu/append", outcome.cpu, outcome.done));
    if let Some(server) = server {
        let samples = server_cpu.into_iter().collect::<Result<Vec<_>, _>>()?;
        let taken = samples[1].saturating_sub(samples[0]);
        figures.push(cpu_per_request("server cpu/append", taken, outcome.done));
        figures.push(mebibytes("server memory peak", server.memory_peak()?));
    }
    if probe.is_some() {
        figures.extend(device.figures("device "));
        figures.extend(ratios(&outcome.latencies, &device, "device"));
    }
    figures.extend(troubles(&outcome));
    Ok(figures)
}
