use model::cluster::MemberId;

use super::name;
use crate::peer::callers::{Caller, Callers};
use crate::peer::handshake::{Guest, Identity};

const MEMBER: MemberId = MemberId(9);
const UP: (MemberId, bool) = (MEMBER, true);
const DOWN: (MemberId, bool) = (MEMBER, false);

fn guest(member: MemberId, started_at: u64, core: u32) -> Guest {
    let identity =
        Identity { cluster: 1, groups: 8, name: name("b"), member, made_at: 1, started_at };
    Guest { identity, core }
}

type News = Vec<(MemberId, bool)>;

fn enter(callers: &Callers, guest: &Guest) -> (Caller, News) {
    let mut news = Vec::new();
    let caller = callers.enter(guest, |member, up| news.push((member, up)));
    (caller, news)
}

fn leave(callers: &Callers, caller: &Caller) -> News {
    let mut news = Vec::new();
    callers.leave(caller, |member, up| news.push((member, up)));
    news
}

#[test]
fn every_end_of_a_connection_is_told() {
    let callers = Callers::default();
    let (first, news) = enter(&callers, &guest(MEMBER, 5, 0));
    assert_eq!(news, [UP]);
    let (second, news) = enter(&callers, &guest(MEMBER, 5, 1));
    assert_eq!(news, [UP]);
    let (other, news) = enter(&callers, &guest(MemberId(8), 5, 0));
    assert_eq!(news, [(MemberId(8), true)]);
    assert_eq!(leave(&callers, &first), [DOWN, UP], "the second one stands");
    assert_eq!(leave(&callers, &second), [DOWN]);
    assert_eq!(leave(&callers, &second), []);
    assert_eq!(leave(&callers, &other), [(MemberId(8), false)]);
}

#[test]
fn a_leftover_is_gone_before_the_next_one_begins() {
    let callers = Callers::default();
    let (leftover, _) = enter(&callers, &guest(MEMBER, 5, 0));
    let (next, news) = enter(&callers, &guest(MEMBER, 5, 0));
    assert_eq!(news, [DOWN, UP]);
    assert_eq!(leave(&callers, &leftover), [], "it was told already");
    assert_eq!(leave(&callers, &next), [DOWN]);
}

#[test]
fn all_connections_of_an_earlier_process_are_gone_before_a_later_one_asks() {
    let callers = Callers::default();
    let (zero, _) = enter(&callers, &guest(MEMBER, 5, 0));
    let (one, _) = enter(&callers, &guest(MEMBER, 5, 1));
    let (later, news) = enter(&callers, &guest(MEMBER, 6, 3));
    assert_eq!(news, [DOWN, UP]);
    assert_eq!((leave(&callers, &zero), leave(&callers, &one)), (vec![], vec![]));
    assert_eq!(leave(&callers, &later), [DOWN]);
}
