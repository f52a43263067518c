//! The way of a request: nobody is asked twice what may have been done.

use model::cluster::{MemberId, NameTag};
use model::error::Code;

use crate::route::{Outcome, PATIENCE_MICROS, Route, Step};

fn nodes() -> Vec<NameTag> {
    (1..=3).map(NameTag).collect()
}

fn route(own: u32, is_read: bool) -> Route {
    Route::new(NameTag(own), nodes(), None, (is_read, 0))
}

fn leads(node: u32) -> Outcome {
    Outcome::Elsewhere(Some(MemberId::new(NameTag(node), 9)))
}

#[test]
fn a_replica_asks_itself_first_and_then_the_leader() {
    let mut route = route(2, false);
    assert_eq!(route.first(), Step::Here);
    assert_eq!(route.next(leads(3), 1), Step::There(NameTag(3)));
    assert_eq!(route.next(leads(1), 2), Step::There(NameTag(1)));
    // They do not agree: an election is under way.
    assert!(matches!(route.next(leads(3), 3), Step::Wait(_)));
    assert_eq!(route.next(Outcome::Waited, 20_000), Step::There(NameTag(3)));
}

#[test]
fn a_router_asks_whom_it_remembers() {
    let mut route = Route::new(NameTag(9), nodes(), Some(NameTag(2)), (false, 0));
    assert_eq!(route.first(), Step::There(NameTag(2)));
    assert_eq!(route.next(Outcome::Unreached, 1), Step::There(NameTag(1)));
    assert_eq!(route.next(leads(3), 2), Step::There(NameTag(3)));
}

#[test]
fn without_a_leader_everybody_is_asked_and_then_time_is_given() {
    let mut route = route(1, false);
    assert_eq!(route.first(), Step::Here);
    assert_eq!(route.next(Outcome::Elsewhere(None), 1), Step::There(NameTag(2)));
    assert_eq!(route.next(Outcome::Unreached, 2), Step::There(NameTag(3)));
    assert_eq!(route.next(Outcome::Elsewhere(None), 3), Step::Anyone(0));
    assert!(matches!(route.next(Outcome::Unreached, 4), Step::Wait(_)));
    assert_eq!(route.next(Outcome::Waited, 20_000), Step::Here);
    let late = route.next(Outcome::Elsewhere(None), PATIENCE_MICROS);
    assert_eq!(late, Step::End(Code::RaftUnavailable));
}

#[test]
fn what_may_have_been_done_is_not_asked_again() {
    let mut command = route(1, false);
    command.first();
    assert_eq!(command.next(Outcome::Unknown, 1), Step::End(Code::RaftTimeout));
    let mut read = route(1, true);
    read.first();
    assert_eq!(read.next(Outcome::Unknown, 1), Step::There(NameTag(2)));
}

#[test]
fn a_node_that_leads_but_cannot_serve_yet_is_given_time() {
    let mut route = route(1, false);
    assert_eq!(route.first(), Step::Here);
    assert!(matches!(route.next(leads(1), 1), Step::Wait(_)));
    assert_eq!(route.next(Outcome::Waited, 20_000), Step::Here);
}

#[test]
fn whoever_is_handed_a_group_is_asked_again_soon_and_then_less_and_less_often() {
    let mut route = route(1, false);
    assert_eq!(route.first(), Step::Here);
    let mut pauses = Vec::new();
    for _ in 0..6 {
        let Step::Wait(micros) = route.next(leads(1), 1) else { panic!("it cannot serve yet") };
        pauses.push(micros);
        assert_eq!(route.next(Outcome::Waited, 2), Step::Here);
    }
    assert_eq!(pauses, [2_000, 4_000, 8_000, 16_000, 16_000, 16_000]);
}

#[test]
fn a_group_on_the_move_is_found_where_it_still_is() {
    // This node should hold it, and does not yet; those that do should not.
    let mut route = Route::new(NameTag(1), vec![NameTag(1)], None, (false, 0));
    assert_eq!(route.first(), Step::Here);
    for round in 0..4 {
        assert_eq!(route.next(Outcome::Elsewhere(None), 1), Step::Anyone(round));
        assert!(matches!(route.next(Outcome::Elsewhere(None), 2), Step::Wait(_)), "one at a time");
        assert_eq!(route.next(Outcome::Waited, 3), Step::Here);
    }
    assert_eq!(route.next(Outcome::Elsewhere(None), 4), Step::Anyone(4));
    assert_eq!(route.next(leads(7), 5), Step::There(NameTag(7)));
}
