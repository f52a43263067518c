use model::cluster::MemberId;

use super::name;
use crate::peer::frame::Lane;
use crate::peer::handshake::{Guest, Identity, Refusal};
use crate::peer::standing::{News, Place, Standing};

fn guest(node: &str, incarnation: u32, started_at: u64, core: u32) -> Guest {
    let name = name(node);
    let member = MemberId::new(name.tag(), incarnation);
    // A later directory is made later.
    let made_at = u64::from(incarnation);
    let identity = Identity { cluster: 1, groups: 8, name, member, made_at, started_at };
    Guest { identity, core }
}

fn enter(standing: &Standing, guest: &Guest, lane: Lane) -> (Result<Place, Refusal>, Vec<News>) {
    let mut news = Vec::new();
    (standing.enter(guest, lane, |one| news.push(one)), news)
}

fn leave(standing: &Standing, place: &Place) -> Vec<News> {
    let mut news = Vec::new();
    standing.leave(place, |one| news.push(one));
    news
}

#[test]
fn a_node_is_heard_from_its_first_connection_to_its_last() {
    let standing = Standing::default();
    let (b, c) = (guest("b", 1, 5, 0), guest("c", 1, 5, 0));
    let (log, news) = enter(&standing, &b, Lane::Log);
    assert_eq!(news, [(b.identity.member, true)]);
    let (bulk, news) = enter(&standing, &b, Lane::Bulk);
    assert_eq!(news, []);
    let (core, news) = enter(&standing, &guest("b", 1, 5, 1), Lane::Log);
    assert_eq!(news, []);
    let (other, news) = enter(&standing, &c, Lane::Log);
    assert_eq!(news, [(c.identity.member, true)]);
    assert_eq!(standing.life(&b.identity.name), Some(b.identity.clone()));
    assert_eq!(leave(&standing, &log.unwrap()), []);
    assert_eq!(leave(&standing, &core.unwrap()), []);
    assert_eq!(leave(&standing, &bulk.unwrap()), [(b.identity.member, false)]);
    assert_eq!(standing.life(&b.identity.name), None);
    assert_eq!(leave(&standing, &other.unwrap()), [(c.identity.member, false)]);
}

#[test]
fn the_last_connection_of_a_core_and_lane_counts() {
    let standing = Standing::default();
    let b = guest("b", 1, 5, 0);
    let (first, _) = enter(&standing, &b, Lane::Log);
    let (second, news) = enter(&standing, &b, Lane::Log);
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(news, [], "it was heard all the time");
    assert!(first.is_over() && !second.is_over());
    assert_eq!(leave(&standing, &first), [], "a leftover's end means nothing");
    assert_eq!(leave(&standing, &second), [(b.identity.member, false)]);
    assert_eq!(leave(&standing, &second), []);
}

#[test]
fn a_later_life_ends_the_earlier_one() {
    let standing = Standing::default();
    let (old, restarted, replaced) =
        (guest("b", 1, 5, 0), guest("b", 1, 6, 0), guest("b", 2, 1, 0));
    let (log, _) = enter(&standing, &old, Lane::Log);
    let (bulk, _) = enter(&standing, &old, Lane::Bulk);
    let member = old.identity.member;
    let (after, news) = enter(&standing, &restarted, Lane::Log);
    assert_eq!(news, [(member, false), (member, true)]);
    let (log, bulk) = (log.unwrap(), bulk.unwrap());
    assert!(log.is_over() && bulk.is_over());
    assert_eq!((leave(&standing, &log), leave(&standing, &bulk)), (vec![], vec![]));
    // What is left of the earlier one comes too late.
    assert_eq!(enter(&standing, &old, Lane::Bulk).0.err(), Some(Refusal::Older));
    let (new, news) = enter(&standing, &replaced, Lane::Log);
    assert_eq!(news, [(member, false), (replaced.identity.member, true)]);
    assert!(after.unwrap().is_over());
    assert_eq!(enter(&standing, &restarted, Lane::Log).0.err(), Some(Refusal::Older));
    // Once nothing of the later one stands, the earlier one may speak again: its disk may be back.
    assert_eq!(leave(&standing, &new.unwrap()), [(replaced.identity.member, false)]);
    assert!(enter(&standing, &restarted, Lane::Log).0.is_ok());
}
