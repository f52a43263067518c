//! Deadlines of connections under a clock that the test moves.

use std::time::{Duration, Instant};

use model::limits::{HEAD_SECONDS, KEEP_ALIVE_SECONDS, WRITE_BYTES_PER_SECOND, WRITE_SECONDS};

use crate::http::link::{Links, Overdue};

#[test]
fn a_connection_may_wait_for_its_next_request_and_hurry_with_it() {
    let start = Instant::now();
    let links = Links::new(start);
    let (_, link) = links.open();
    let at = |seconds| links.sweep(start + Duration::from_secs(seconds));
    at(KEEP_ALIVE_SECONDS - 1);
    assert_eq!((link.overdue(), link.take_poke()), (None, false));
    link.has_read();
    assert!(!link.is_idle());
    at(KEEP_ALIVE_SECONDS);
    assert_eq!(link.overdue(), None);
    at(KEEP_ALIVE_SECONDS - 1 + HEAD_SECONDS);
    assert_eq!((link.overdue(), link.take_poke()), (Some(Overdue::Head), true));
    link.request_begins();
    at(10 * KEEP_ALIVE_SECONDS);
    assert_eq!(link.overdue(), None);
    link.request_ends();
    at(11 * KEEP_ALIVE_SECONDS - 1);
    assert_eq!(link.overdue(), None);
    at(11 * KEEP_ALIVE_SECONDS);
    assert_eq!(link.overdue(), Some(Overdue::Idle));
}

#[test]
fn a_blocked_response_may_stand_still_and_then_needs_a_rate() {
    let start = Instant::now();
    let links = Links::new(start);
    let (_, link) = links.open();
    let at = |seconds| links.sweep(start + Duration::from_secs(seconds));
    assert!(link.is_idle());
    link.is_blocked();
    assert!(!link.is_idle(), "a response is on its way");
    at(WRITE_SECONDS - 1);
    link.is_blocked();
    assert_eq!(link.overdue(), None);
    at(WRITE_SECONDS);
    assert_eq!(link.overdue(), Some(Overdue::Write));
    link.has_written(10 * WRITE_BYTES_PER_SECOND);
    at(WRITE_SECONDS + 9);
    assert_eq!(link.overdue(), None);
    at(WRITE_SECONDS + 10);
    assert_eq!(link.overdue(), Some(Overdue::Write));
    link.is_flushed();
    assert_eq!(link.overdue(), None);
    link.is_blocked();
    at(KEEP_ALIVE_SECONDS);
    assert_eq!(link.overdue(), Some(Overdue::Write), "counted anew, and instead of idleness");
}

#[test]
fn connections_are_counted_until_they_close() {
    let links = Links::new(Instant::now());
    let numbers: Vec<u64> = (0..3).map(|_| links.open().0).collect();
    assert_eq!(links.count(), 3);
    numbers.into_iter().for_each(|number| links.close(number));
    assert_eq!(links.count(), 0);
}
