//! The `restart` scenario: how long a killed server takes until it is ready again with all it had, and
//! what an idle session costs it in memory.

use crate::hog::Hogs;
use crate::options::{Common, Restart};
use crate::report::{Figure, Report, Unit};
use crate::request::Target;
use crate::scenario::{mebibytes, quotient, rounds, target};
use crate::scratch::Scratch;
use crate::server::{Server, exchange, program};
use crate::workload::{append_events, create_sessions};

/// Runs it.
///
/// # Errors
/// Why it could not be run to its end.
pub(crate) fn run(options: &Restart, common: &Common) -> Result<Report, String> {
    let mut report = Report::new("restart");
    let sessions = options.sessions.get() as usize;
    report.set("dir", common.dir.display().to_string());
    report.set("sessions", sessions);
    report.set("events", options.events);
    report.set("payload_bytes", options.bytes);
    let program = program(common.server.as_deref())?;
    let scratch = Scratch::new(&common.dir)?;
    let mut server = Server::start(&program, scratch.path())?;
    let mut figures = vec![millis("first start", &server)];
    let filled = fill(&server, options)?;
    figures.extend(filled.figures);
    report.add("filled", figures);
    let mut missing = 0;
    rounds(common, |_, company| {
        let _hogs = Hogs::start(company.hogs);
        server.kill();
        server = Server::start(&program, scratch.path())?;
        missing += lost_sessions(&filled.target, &server, sessions)?;
        let memory = mebibytes("memory", server.memory()?);
        report.add(&company.name, vec![millis("killed, to ready", &server), memory]);
        Ok(())
    })?;
    if 0 < missing {
        report.doubt("sessions that were acknowledged are gone after a restart");
    }
    server.stop()?;
    Ok(report.conclude())
}

/// What was put into a server.
struct Filled {
    target: Target,
    figures: Vec<Figure>,
}

/// Makes sessions, then appends events, and looks at the server's memory in between.
fn fill(server: &Server, options: &Restart) -> Result<Filled, String> {
    let sessions = options.sessions.get() as usize;
    let target = target(server.address(), None, 0);
    // The first requests make the server take memory that has nothing to do with sessions.
    create_sessions(&self::target(server.address(), None, 1), 64)?;
    let empty = server.memory()?;
    let start = std::time::Instant::now();
    create_sessions(&target, sessions)?;
    let creates = crate::disk::per_second("creates", sessions as u64, start.elapsed());
    let full = server.memory()?;
    let each = quotient(u128::from(full.saturating_sub(empty)), sessions as u128);
    let mut figures = vec![
        creates,
        mebibytes("memory, empty", empty),
        mebibytes("memory, with sessions", full),
        Figure::new("memory/session", Unit::Bytes, each),
    ];
    if 0 < options.events {
        append_events(&target, sessions, u64::from(options.events), options.bytes)?;
        figures.push(mebibytes("memory, with events", server.memory()?));
    }
    Ok(Filled { target, figures })
}

/// How many of a few sessions spread over all are not there.
fn lost_sessions(target: &Target, server: &Server, sessions: usize) -> Result<u64, String> {
    let target = Target { address: server.address(), ..target.clone() };
    let mut lost = 0;
    for number in [0, sessions / 2, sessions - 1] {
        let (status, _) = exchange(target.address, &target.get(number))?;
        lost += u64::from(status != 200);
    }
    Ok(lost)
}

fn millis(name: &str, server: &Server) -> Figure {
    Figure::new(name, Unit::Millis, quotient(server.start_time().as_micros(), 1_000))
}
