//! The way of a request: nobody is asked twice what may have been done.

use model::api::{Again, Appended, Reply};
use model::cluster::{MemberId, NameTag};
use model::error::{Code, Refusal};
use model::ids::Seq;

use crate::route::{Outcome, PATIENCE_MICROS, Route, Step};

fn nodes() -> Vec<NameTag> {
    (1..=3).map(NameTag).collect()
}

fn route(own: u32, again: Again) -> Route {
    Route::new(NameTag(own), nodes(), None, (again, 0))
}

fn leads(node: u32) -> Outcome {
    Outcome::Elsewhere(Some(MemberId::new(NameTag(node), 9)))
}

#[test]
fn a_replica_asks_itself_first_and_then_the_leader() {
    let mut route = route(2, Again::Twice);
    assert_eq!(route.first(), Step::Here);
    assert_eq!(route.next(leads(3), 1), Step::There(NameTag(3)));
    assert_eq!(route.next(leads(1), 2), Step::There(NameTag(1)));
    // They do not agree: an election is under way.
    assert!(matches!(route.next(leads(3), 3), Step::Wait(_)));
    assert_eq!(route.next(Outcome::Waited, 20_000), Step::There(NameTag(3)));
}

#[test]
fn a_router_asks_whom_it_remembers() {
    let mut route = Route::new(NameTag(9), nodes(), Some(NameTag(2)), (Again::Twice, 0));
    assert_eq!(route.first(), Step::There(NameTag(2)));
    assert_eq!(route.next(Outcome::Unreached, 1), Step::There(NameTag(1)));
    assert_eq!(route.next(leads(3), 2), Step::There(NameTag(3)));
}

#[test]
fn without_a_leader_everybody_is_asked_and_then_time_is_given() {
    let mut route = route(1, Again::Twice);
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
    let mut command = route(1, Again::Twice);
    command.first();
    assert_eq!(command.next(Outcome::Unknown, 1), Step::End(Code::RaftTimeout));
    let mut read = route(1, Again::Harmless);
    read.first();
    assert_eq!(read.next(Outcome::Unknown, 1), Step::There(NameTag(2)));
}

#[test]
fn what_sessions_recognize_is_asked_of_others_and_no_refusal_is_believed_then() {
    let mut append = route(1, Again::Recognized);
    append.first();
    let refused = || Reply::from(Refusal::from(Code::ProducerSeqConflict));
    assert_eq!(append.answer(refused()), refused());
    let lead = |node| MemberId::new(NameTag(node), 9);
    assert_eq!(append.next(leads(3), 1), Step::There(NameTag(3)));
    assert_eq!(append.next(Outcome::Replaced(lead(2)), 2), Step::There(NameTag(2)));
    let unknown = Reply::from(Refusal::from(Code::RaftTimeout));
    assert_eq!(append.answer(refused()), unknown, "the first time may have been done");
    let (seq, archived_seq) = (Seq(1), Seq(0));
    let done = || Reply::Appended(Appended { seq, last_seq: seq, deduped: true, archived_seq });
    assert_eq!(append.answer(done()), done());
    // Two that each take the other for the leader are given time.
    assert!(matches!(append.next(Outcome::Replaced(lead(3)), 3), Step::Wait(_)));
    assert_eq!(append.next(Outcome::Waited, 4), Step::There(NameTag(3)));
    let late = append.next(Outcome::Unreached, PATIENCE_MICROS);
    assert_eq!(late, Step::End(Code::RaftTimeout), "it may have been done all the same");
}

#[test]
fn a_read_that_nobody_answers_was_not_done() {
    let mut read = route(1, Again::Harmless);
    read.first();
    assert_eq!(read.next(Outcome::Unknown, 1), Step::There(NameTag(2)));
    assert_eq!(read.next(Outcome::Unknown, PATIENCE_MICROS), Step::End(Code::RaftUnavailable));
}

#[test]
fn a_node_that_leads_but_cannot_serve_yet_is_given_time() {
    let mut route = route(1, Again::Twice);
    assert_eq!(route.first(), Step::Here);
    assert!(matches!(route.next(leads(1), 1), Step::Wait(_)));
    assert_eq!(route.next(Outcome::Waited, 20_000), Step::Here);
}

#[test]
fn whoever_is_handed_a_group_is_asked_again_soon_and_then_less_and_less_often() {
    let mut route = route(1, Again::Twice);
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
    let mut route = Route::new(NameTag(1), vec![NameTag(1)], None, (Again::Twice, 0));
    assert_eq!(route.first(), Step::Here);
    for round in 0..4 {
        assert_eq!(route.next(Outcome::Elsewhere(None), 1), Step::Anyone(round));
        assert!(matches!(route.next(Outcome::Elsewhere(None), 2), Step::Wait(_)), "one at a time");
        assert_eq!(route.next(Outcome::Waited, 3), Step::Here);
    }
    assert_eq!(route.next(Outcome::Elsewhere(None), 4), Step::Anyone(4));
    assert_eq!(route.next(leads(7), 5), Step::There(NameTag(7)));
}
