//! Tails and pages: replay, live, windows, and what is on disk.

use model::api::{EventsPage, Reply, Request, TailEnd, TailMessage};
use model::error::Code;
use model::ids::Seq;
use model::limits::{TAIL_STALL_SECONDS, TAIL_WINDOW_BYTES};

use super::world::{World, append, id};
use crate::effect::Input;

fn filled(count: u64, bytes: usize, hot_bytes_max: u64) -> World {
    let mut world = World::new(2, hot_bytes_max);
    world.create("s");
    for number in 1..=count {
        let text = format!("{number:0bytes$}");
        world.append(append("s", Some(("p", number)), &text)).unwrap();
    }
    world
}

fn seqs(world: &mut World, tail: crate::effect::TailId) -> Vec<u64> {
    world.drain(tail).iter().map(|event| event.seq.0).collect()
}

#[test]
fn replay_and_live_are_one_stream() {
    let mut world = filled(5, 1, 1 << 30);
    let tail = world.tail("s", 2);
    assert_eq!(seqs(&mut world, tail), [3, 4, 5]);
    world.append(append("s", None, "live")).unwrap();
    assert_eq!(seqs(&mut world, tail), [6]);
    let other = world.tail("s", 6);
    assert_eq!(seqs(&mut world, other), [] as [u64; 0]);
    world.append(append("s", None, "both")).unwrap();
    assert_eq!((seqs(&mut world, tail), seqs(&mut world, other)), (vec![7], vec![7]));
}

#[test]
fn replay_is_told_from_live() {
    let mut world = filled(3, 1, 1 << 30);
    let tail = world.tail("s", 0);
    world.append(append("s", None, "x")).unwrap();
    let kinds: Vec<_> = world.clients.tails[&tail]
        .iter()
        .map(|message| match message {
            TailMessage::Opened => "opened".to_owned(),
            TailMessage::Events { events, replay } => format!("{} {replay}", events.len()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(kinds, ["opened", "3 true", "1 false"]);
}

#[test]
fn a_cursor_ahead_waits_for_what_follows_it() {
    let mut world = filled(1, 1, 1 << 30);
    let tail = world.tail("s", 3);
    for _ in 2..=4 {
        world.append(append("s", None, "x")).unwrap();
    }
    assert_eq!(seqs(&mut world, tail), [4]);
}

#[test]
fn an_unknown_session_has_no_tail() {
    let mut world = World::new(2, 1 << 30);
    let tail = world.tail("none", 0);
    match &world.clients.tails[&tail][..] {
        [TailMessage::Refused(refusal)] => assert_eq!(refusal.code, Code::SessionNotFound),
        other => panic!("{other:?}"),
    }
    world.shard.step(Input::TailClose { tail }, world.now);
    assert_eq!(world.shard.gauges().tails, 0);
}

#[test]
fn a_full_window_waits_and_a_stalled_tail_is_closed() {
    let mut world = filled(20, 20_000, 1 << 30);
    let tail = world.tail("s", 0);
    let sent: u64 = world.clients.tails[&tail]
        .iter()
        .filter_map(|message| match message {
            TailMessage::Events { events, .. } => Some(events),
            _ => None,
        })
        .flatten()
        .map(|event| event.json.len() as u64)
        .sum();
    assert!(sent <= TAIL_WINDOW_BYTES, "{sent}");
    assert!(TAIL_WINDOW_BYTES < sent + 40_000, "{sent}");
    world.pass((TAIL_STALL_SECONDS - 1) * 1_000_000);
    assert_eq!(seqs(&mut world, tail), (1..=20).collect::<Vec<_>>(), "credit moves it on");

    let slow = world.tail("s", 0);
    world.pass(TAIL_STALL_SECONDS * 1_000_000);
    let last = world.clients.tails[&slow].last();
    assert_eq!(last, Some(&TailMessage::Closed(TailEnd::TooSlow)));
    assert_eq!(world.shard.facts().tails_too_slow, 1);
    assert_eq!(world.shard.gauges().tails, 1);
}

#[test]
fn one_event_larger_than_the_window_goes_alone() {
    let mut world = World::new(2, 1 << 30);
    world.create("s");
    let huge = "x".repeat(usize::try_from(TAIL_WINDOW_BYTES).unwrap() / 16);
    for _ in 0..40 {
        world.append(append("s", None, &huge)).unwrap();
    }
    let tail = world.tail("s", 0);
    assert_eq!(seqs(&mut world, tail).len(), 40);
}

fn page(world: &mut World, cursor: u64, limit: u32) -> (Vec<u64>, u64) {
    let page = EventsPage { session: id("s"), cursor: Seq(cursor), limit };
    match world.answer(Request::Events(page)) {
        Reply::Events { events, last_seq } => {
            (events.iter().map(|event| event.seq.0).collect(), last_seq.0)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn pages_and_tails_cross_from_disk_to_memory() {
    // Half of the bound is the mark at which events move to a chunk.
    let mut world = filled(60, 1_000, 60_000);
    assert!(0 < world.shard.facts().checkpoints, "events were moved");
    assert!(world.shard.gauges().hot_bytes < 30_000);
    assert_eq!(page(&mut world, 0, 1_000), ((1..=60).collect(), 60));
    assert_eq!(page(&mut world, 0, 7), ((1..=7).collect(), 60));
    assert_eq!(page(&mut world, 25, 10), ((26..=35).collect(), 60));
    assert_eq!(page(&mut world, 60, 10), (vec![], 60));
    assert_eq!(page(&mut world, 99, 10), (vec![], 60));
    for cursor in 0..=60 {
        let tail = world.tail("s", cursor);
        assert_eq!(seqs(&mut world, tail), (cursor + 1..=60).collect::<Vec<_>>());
    }
    assert!(0 < world.shard.facts().chunk_reads);
}

#[test]
fn what_cannot_be_read_is_said() {
    let mut world = filled(60, 1_000, 60_000);
    world.disk.unreadable = true;
    let ask = EventsPage { session: id("s"), cursor: Seq(0), limit: 10 };
    match world.answer(Request::Events(ask)) {
        Reply::Refused(refusal) => assert_eq!(refusal.code, Code::ArchiveReadUnavailable),
        other => panic!("{other:?}"),
    }
    let tail = world.tail("s", 0);
    let closed = TailMessage::Closed(TailEnd::Unreadable);
    assert_eq!(world.clients.tails[&tail], [TailMessage::Opened, closed]);
}

#[test]
fn a_rotten_block_is_noticed() {
    let mut world = filled(60, 1_000, 60_000);
    let chunks = world.disk.files.iter_mut();
    for (_, bytes) in chunks.filter(|(name, _)| matches!(name, crate::effect::FileName::Chunk(_))) {
        bytes[600] ^= 1;
    }
    let tail = world.tail("s", 0);
    let closed = TailMessage::Closed(TailEnd::Unreadable);
    assert_eq!(world.clients.tails[&tail].last(), Some(&closed));
}
