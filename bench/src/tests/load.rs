use std::num::NonZeroU32;
use std::time::Duration;

use crate::load;
use crate::outcome::{Failure, Outcome};
use crate::pace::{Pace, Plan};
use crate::request::payload;
use crate::scenario::target;
use crate::tests::stand_in::{Fault, StandIn};
use crate::workload::{Appends, append_events, create_sessions};

const CLIENTS: usize = 6;

fn plan(server: &StandIn, pace: Pace) -> Plan {
    Plan {
        address: server.address(),
        pace,
        warmup: Duration::from_millis(20),
        measured: Duration::from_millis(200),
        drain: Duration::from_millis(300),
    }
}

fn open(rate: u32) -> Pace {
    Pace::Open(NonZeroU32::new(rate).unwrap())
}

/// Appends from two threads.
fn run(server: &StandIn, pace: Pace, sessions: usize) -> Result<Outcome, Failure> {
    let target = target(server.address(), None, 1);
    create_sessions(&target, sessions).unwrap();
    let appends = |own| Appends::new(&target, CLIENTS, own, sessions, &payload(64).unwrap());
    let workloads = vec![(2, appends(0..2)), (4, appends(2..6))];
    let mut edges = 0;
    let outcome = load::run(&plan(server, pace), workloads, &mut || edges += 1);
    assert_eq!(edges, 2, "the measured time begins and ends");
    outcome.map(|(outcome, _)| outcome)
}

#[test]
fn every_request_of_a_schedule_is_accounted_for() {
    let server = StandIn::start(Fault::None);
    let outcome = run(&server, open(500), CLIENTS).unwrap();
    assert_eq!(outcome.latencies.count(), 100, "500/s for 200 ms");
    assert_eq!(outcome.done_ever, 110, "and 20 ms before");
    assert_eq!(outcome.lateness.count(), 100);
    assert_eq!(server.events(), 110);
    assert_eq!((outcome.wrong, outcome.lost, outcome.unanswered), (0, 0, 0));
    assert!(Duration::ZERO < outcome.cpu);
}

#[test]
fn a_request_without_an_answer_is_not_forgotten() {
    let server = StandIn::start(Fault::Swallow);
    let outcome = run(&server, open(500), CLIENTS).unwrap();
    assert_eq!(outcome.unanswered, 1);
    assert_eq!(outcome.done_ever, 109);
    let closed = StandIn::start(Fault::Swallow);
    let outcome = run(&closed, Pace::Closed, CLIENTS).unwrap();
    assert_eq!(outcome.unanswered, 1);
}

#[test]
fn a_server_that_answers_nobody_is_charged_for_all_that_was_due() {
    // One client: everything behind the fifth append is never sent.
    let server = StandIn::start(Fault::Swallow);
    let target = target(server.address(), None, 1);
    create_sessions(&target, 1).unwrap();
    let appends = Appends::new(&target, 1, 0..1, 1, &payload(64).unwrap());
    let ran = load::run(&plan(&server, open(500)), vec![(1, appends)], &mut || {});
    let (outcome, _) = ran.unwrap();
    assert_eq!(outcome.done_ever, 4);
    assert_eq!(outcome.unanswered, 106);
    assert_eq!(outcome.latencies.count(), 100, "all that were meant for the measured time");
}

#[test]
fn a_closed_loop_counts_what_the_server_has() {
    let server = StandIn::start(Fault::None);
    let outcome = run(&server, Pace::Closed, 40).unwrap();
    assert_eq!(server.sessions(), 40);
    assert_eq!(server.events() as u64, outcome.done_ever);
    assert!(0 < outcome.done && outcome.done <= outcome.done_ever);
    assert_eq!((outcome.wrong, outcome.lost, outcome.unanswered), (0, 0, 0));
    assert_eq!(outcome.lateness.count(), 0, "there is no intended time");
}

#[test]
fn several_clients_may_share_a_session() {
    let server = StandIn::start(Fault::None);
    let outcome = run(&server, Pace::Closed, 1).unwrap();
    assert_eq!(server.sessions(), 1);
    assert_eq!(server.events() as u64, outcome.done_ever);
    assert_eq!(outcome.wrong, 0);
}

#[test]
fn refused_appends_are_asked_again_and_counted_apart() {
    let server = StandIn::start(Fault::Refuse);
    let outcome = run(&server, Pace::Closed, CLIENTS).unwrap();
    assert!(0 < outcome.refused[&503]);
    assert_eq!(server.events() as u64, outcome.done_ever, "the stand-in refuses holes");
    assert_eq!((outcome.wrong, outcome.lost), (0, 0));
}

#[test]
fn an_append_without_a_reply_is_asked_again_and_found_done() {
    let server = StandIn::start(Fault::Hang);
    let outcome = run(&server, open(300), CLIENTS).unwrap();
    assert!(0 < outcome.lost);
    assert!(outcome.lost_reason.is_some());
    assert_eq!(outcome.wrong, 0, "the retry has the seq of the first try");
}

#[test]
fn a_server_that_loses_appends_is_found_out() {
    let server = StandIn::start(Fault::Lie);
    let failure = run(&server, Pace::Closed, CLIENTS).unwrap_err();
    assert!(matches!(&failure, Failure::Wrong(reply) if reply.starts_with("201 ")), "{failure}");
}

#[test]
fn a_status_that_no_retry_mends_ends_the_run() {
    let server = StandIn::start(Fault::Reject);
    let failure = run(&server, Pace::Closed, CLIENTS).unwrap_err();
    assert!(failure.to_string().contains("400 {\"error\":\"no\"}"), "{failure}");
}

#[test]
fn a_server_that_is_not_there_is_an_error() {
    let server = StandIn::start(Fault::None);
    let mut target = target(server.address(), None, 1);
    // Nobody listens on port 1 of this machine.
    target.address.set_port(1);
    let error = create_sessions(&target, 1).unwrap_err();
    assert!(error.contains("takes no connection"), "{error}");
}

#[test]
fn exactly_as_many_events_are_appended_as_wanted() {
    for (sessions, events) in [(1, 1), (3, 100), (200, 150)] {
        let server = StandIn::start(Fault::None);
        let target = target(server.address(), None, 1);
        create_sessions(&target, sessions).unwrap();
        append_events(&target, sessions, events, 64).unwrap();
        assert_eq!(server.sessions(), sessions);
        assert_eq!(server.events() as u64, events);
    }
}
