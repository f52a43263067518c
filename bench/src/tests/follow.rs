use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, Instant};

use crate::follow::{Delivered, Stamped, Tails, meant, payload, replay};
use crate::load;
use crate::pace::{Pace, Plan};
use crate::scenario::target;
use crate::tests::stand_in::{Fault, StandIn};
use crate::workload::{append_events, create_sessions};

#[test]
fn a_payload_carries_its_intended_time() {
    for bytes in [0, 49, 256] {
        let payload = payload(bytes);
        assert_eq!(payload.len(), bytes.max(payload_min()));
        assert!(serde_json::from_str::<serde_json::Value>(&payload).unwrap().is_object());
        assert_eq!(meant(&payload), Some(0));
    }
    assert_eq!(meant("{\"seq\":1,\"payload\":{\"meant\":   17,\"text\":\"\"}}"), Some(17));
    assert_eq!(meant("{\"seq\":1,\"payload\":{}}"), None);
}

fn payload_min() -> usize {
    payload(0).len()
}

#[test]
fn a_replay_is_whole() {
    let server = StandIn::start(Fault::None);
    let target = target(server.address(), None, 1);
    create_sessions(&target, 1).unwrap();
    append_events(&target, 1, 2_500, 64).unwrap();
    let replayed = replay(&target, 2_500).unwrap();
    assert_eq!(replayed.events, 2_500);
    assert!(2_500 * 64 < replayed.bytes);
}

/// Appends ten events with their times, and follows them by two tails.
fn follow(fault: Fault) -> Result<Delivered, String> {
    let server = StandIn::start(fault);
    let target = target(server.address(), None, 1);
    create_sessions(&target, 1).unwrap();
    let (over, acknowledged) = (AtomicBool::new(true), AtomicU64::new(0));
    let origin = Instant::now();
    let stamped = Stamped::new(&target, 2, 64, origin, &acknowledged);
    let plan = Plan {
        address: target.address,
        pace: Pace::Open(NonZeroU32::new(100).unwrap()),
        warmup: Duration::ZERO,
        measured: Duration::from_millis(100),
        drain: Duration::from_secs(10),
    };
    load::run(&plan, vec![(2, stamped)], &mut || {}).unwrap();
    let mut tails = Tails::open(&target, 2).unwrap();
    tails.follow((origin, origin), &over, &acknowledged)
}

#[test]
fn every_tail_gets_every_event() {
    let delivered = follow(Fault::None).unwrap();
    assert_eq!((delivered.latencies.count(), delivered.missing), (20, 0));
}

#[test]
fn a_tail_that_skips_an_event_is_found_out() {
    assert_eq!(follow(Fault::Skip).unwrap_err(), "event 4 follows event 2");
    let server = StandIn::start(Fault::Skip);
    let target = target(server.address(), None, 1);
    create_sessions(&target, 1).unwrap();
    append_events(&target, 1, 10, 64).unwrap();
    assert_eq!(replay(&target, 10).unwrap_err(), "event 4 follows event 2");
}
