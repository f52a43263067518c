//! What a new process finds: everything acknowledged, once, in order, whatever moved to disk when.

use std::collections::BTreeMap;

use model::api::{Reply, Request, SessionRow};
use model::error::Code;
use model::limits::SEGMENTS_MAX;
use proptest::prelude::*;

use super::world::{World, append, create, id};
use crate::effect::{FileName, Ticket};

fn texts(world: &mut World, name: &str) -> Vec<String> {
    let tail = world.tail(name, 0);
    let events = world.drain(tail);
    for (place, event) in events.iter().enumerate() {
        assert_eq!(event.seq.0, place as u64 + 1, "seqs are dense");
    }
    let text = |json: &[u8]| {
        let json: serde_json::Value = serde_json::from_slice(json).unwrap();
        json["payload"]["text"].as_str().unwrap().to_owned()
    };
    events.iter().map(|event| text(&event.json)).collect()
}

fn row(world: &mut World, name: &str) -> SessionRow {
    match world.answer(Request::Get(id(name))) {
        Reply::Session(row) => *row,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_restart_finds_what_was_acknowledged() {
    let mut world = World::new(4, 1 << 30);
    world.create("s");
    for number in 1..=10 {
        world.append(append("s", Some(("p", number)), &number.to_string())).unwrap();
    }
    let before = row(&mut world, "s");
    let mut world = world.restart();
    assert_eq!(row(&mut world, "s"), before);
    assert_eq!(texts(&mut world, "s").len(), 10);
    let retry = world.append(append("s", Some(("p", 10)), "10")).unwrap();
    assert_eq!((retry.seq.0, retry.deduped), (10, true), "the producer index survives");
    let next = world.append(append("s", Some(("p", 11)), "11")).unwrap();
    assert_eq!(next.seq.0, 11);
}

#[test]
fn nothing_is_said_before_it_is_durable() {
    let mut world = World::new(1, 1 << 30);
    world.create("s");
    let tail = world.tail("s", 0);
    world.disk.hold_log = true;
    let first = world.ask(Request::Append(append("s", None, "a")));
    world.run();
    let second = world.ask(Request::Append(append("s", None, "b")));
    world.run();
    assert!(world.clients.replies.is_empty() && world.drain(tail).is_empty());
    world.release_log();
    world.run();
    assert!(matches!(world.clients.replies.remove(&first), Some(Reply::Appended(_))));
    assert!(!world.clients.replies.contains_key(&second), "it travels in the next batch");
    assert_eq!(world.drain(tail).len(), 1);
    world.release_log();
    world.run();
    assert!(matches!(world.clients.replies.remove(&second), Some(Reply::Appended(_))));
}

#[test]
fn all_requests_of_a_turn_share_one_write() {
    let mut world = World::new(16, 1 << 30);
    let names: Vec<_> = (0..64).map(|number| format!("s{number}")).collect();
    for name in &names {
        world.ask(create(name));
    }
    world.run();
    let before = world.disk.log_writes;
    let tickets: Vec<Ticket> =
        names.iter().map(|name| world.ask(Request::Append(append(name, None, "x")))).collect();
    world.run();
    assert_eq!(world.disk.log_writes, before + 1);
    assert!(tickets.iter().all(|ticket| world.clients.replies.contains_key(ticket)));
}

#[test]
fn what_a_late_batch_may_name_stays_until_one_of_this_life_is_durable() {
    let mut world = World::new(1, 40_000);
    world.create("s");
    let text = "x".repeat(1_000);
    let mut number = 0;
    let mut fill = |world: &mut World| {
        for _ in 0..60 {
            number += 1;
            world.append(append("s", Some(("p", number)), &text)).unwrap();
        }
    };
    fill(&mut world);
    let before: Vec<FileName> = world.disk.files.keys().copied().collect();
    assert!(!before.is_empty(), "a flush has moved events to files");
    // A flush that was cut short, and a snapshot whose record may still be on its way.
    let (cut_short, taken) = (FileName::Chunk(70), [FileName::Chunk(80), FileName::Snapshot(80)]);
    for name in [cut_short, taken[0], taken[1]] {
        world.disk.files.insert(name, vec![0; 4096]);
    }
    world.disk.hold_log = true;
    let mut world = world.restart();
    assert!(!world.disk.files.contains_key(&cut_short), "nothing will ever name it");
    assert!(taken.iter().all(|name| world.disk.files.contains_key(name)));
    world.disk.hold_log = false;
    world.release_log();
    world.run();
    let mut left: Vec<FileName> = world.disk.files.keys().copied().collect();
    assert_eq!(left, before, "the log went on, so what it does not name nothing names");
    fill(&mut world);
    left = world.disk.files.keys().filter(|name| !before.contains(name)).copied().collect();
    assert!(!left.is_empty() && left.iter().all(|name| 80 < name.number()), "{left:?}");
}

#[test]
fn an_idle_log_is_proven_by_one_mark() {
    let mut world = World::new(2, 1 << 30);
    world.create("s");
    let before = world.disk.log_writes;
    world.pass(1_000_000);
    assert_eq!(world.disk.log_writes, before + 1);
    world.pass(1_000_000);
    world.pass(1_000_000);
    assert_eq!(world.disk.log_writes, before + 1, "one mark is enough");
    assert!(!world.shard.busy(), "an idle shard waits for nothing");
}

#[test]
fn the_log_is_bounded_by_checkpoints() {
    let mut world = World::new(4, 1 << 30);
    for name in ["a", "b", "c"] {
        world.create(name);
    }
    let text = "x".repeat(2_000);
    for number in 1..=1_500 {
        let name = ["a", "b", "c"][number % 3];
        world.append(append(name, None, &format!("{number}{text}"))).unwrap();
    }
    assert!(3 <= world.shard.facts().checkpoints);
    assert!(world.disk.segments.len() <= SEGMENTS_MAX);
    let checkpoints =
        world.disk.files.keys().filter(|file| matches!(file, FileName::Checkpoint(_))).count();
    assert_eq!(checkpoints, 1, "the one before is removed");
    let before: Vec<_> = ["a", "b", "c"].map(|name| texts(&mut world, name)).into();
    let mut world = world.restart();
    let after: Vec<_> = ["a", "b", "c"].map(|name| texts(&mut world, name)).into();
    assert!(before == after && after.iter().map(Vec::len).sum::<usize>() == 1_500);
}

#[test]
fn a_full_disk_refuses_and_recovers_by_itself() {
    let mut world = World::new(2, 60_000);
    world.create("s");
    world.disk.full = true;
    let text = "x".repeat(1_000);
    let mut acknowledged = 0;
    let refusal = loop {
        match world.append(append("s", None, &text)) {
            Ok(_) => acknowledged += 1,
            Err(code) => break code,
        }
    };
    assert_eq!(refusal, Code::EventStoreBackpressure);
    assert!(world.shard.gauges().no_space);
    assert_eq!(world.append(append("s", None, "y")), Err(Code::EventStoreBackpressure));
    assert!(world.disk.temporary.is_empty(), "nothing half written is left");
    for _ in 0..5 {
        world.pass(1_000_000);
    }
    assert_eq!(world.append(append("s", None, "y")), Err(Code::EventStoreBackpressure));
    world.disk.full = false;
    world.pass(1_000_000);
    world.append(append("s", None, "y")).unwrap();
    assert_eq!(texts(&mut world, "s").len(), acknowledged + 1);
    let mut world = world.restart();
    assert_eq!(texts(&mut world, "s").len(), acknowledged + 1);
}

#[test]
fn a_disk_is_full_until_all_of_a_flush_finds_room() {
    let mut world = World::new(2, 60_000);
    world.create("s");
    world.disk.full_for_checkpoints = true;
    let text = "x".repeat(1_000);
    while !world.shard.gauges().no_space {
        world.append(append("s", None, &text)).unwrap();
    }
    // Chunks find room each time, and give it back.
    let tried = world.disk.checkpoints_tried;
    for _ in 0..500 {
        world.pass(10_000);
        assert!(world.shard.gauges().no_space);
    }
    let tried = world.disk.checkpoints_tried - tried;
    assert!((8..=11).contains(&tried), "twice a second, not {tried} times in five");
    world.disk.full_for_checkpoints = false;
    world.pass(1_000_000);
    assert!(!world.shard.gauges().no_space, "also when there is no need to write anything yet");
}

#[test]
fn a_shard_serves_again_however_many_segments_it_has() {
    let mut world = World::new(2, 1 << 30);
    world.create("s");
    // No checkpoint finds room while the log fills all the segments it may have.
    world.disk.full_for_files = true;
    let text = "x".repeat(10_000);
    let mut acknowledged = 0;
    while world.append(append("s", None, &text)).is_ok() {
        acknowledged += 1;
    }
    assert_eq!(world.disk.segments.len(), SEGMENTS_MAX + 1, "with a spare for votes");
    for _ in 0..3 {
        world = world.restart();
        assert_eq!(texts(&mut world, "s").len(), acknowledged);
        world.disk.full_for_files = true;
    }
    world.disk.full_for_files = false;
    world.pass(1_000_000);
    world.append(append("s", None, "y")).unwrap();
}

/// One step of a random life.
#[derive(Debug, Clone)]
enum Step {
    Create(u8),
    /// Session, producer, size of the text.
    Append(u8, u8, u16),
    Retry,
    Hold,
    Release,
    Pass,
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => (0..4_u8).prop_map(Step::Create),
        20 => (0..4_u8, 0..3_u8, 0..3_000_u16).prop_map(|(s, p, n)| Step::Append(s, p, n)),
        3 => Just(Step::Retry),
        2 => Just(Step::Hold),
        4 => Just(Step::Release),
        2 => Just(Step::Pass),
        1 => Just(Step::Crash),
    ];
    proptest::collection::vec(step, 1..200)
}

/// What clients know: acknowledged texts by session and place, and what they still wait for.
#[derive(Debug, Default)]
struct Book {
    acknowledged: BTreeMap<(String, u64), String>,
    waiting: BTreeMap<Ticket, (String, String)>,
    counters: BTreeMap<(u8, u8), u64>,
    last: Option<model::command::Append>,
}

impl Book {
    fn note_replies(&mut self, world: &mut World) {
        for (ticket, reply) in std::mem::take(&mut world.clients.replies) {
            let Some((name, text)) = self.waiting.remove(&ticket) else { continue };
            if let Reply::Appended(appended) = reply {
                let before = self.acknowledged.insert((name, appended.seq.0), text.clone());
                assert!(before.is_none_or(|before| before == text), "a seq is given once");
            }
        }
    }

    fn check(&self, world: &mut World) {
        for name in ["s0", "s1", "s2", "s3"] {
            let known = matches!(world.answer(Request::Get(id(name))), Reply::Session(_));
            if !known {
                assert!(!self.acknowledged.keys().any(|(session, _)| session == name));
                continue;
            }
            let texts = texts(world, name);
            let of = self.acknowledged.iter().filter(|((session, _), _)| session == name);
            for ((_, seq), text) in of {
                assert_eq!(&texts[usize::try_from(*seq).unwrap() - 1], text);
            }
            let mut unique = texts.clone();
            unique.sort();
            unique.dedup();
            assert_eq!(unique.len(), texts.len(), "no event twice");
        }
    }

    fn append(&mut self, world: &mut World, append: model::command::Append, text: String) {
        let name = append.session.to_string();
        let ticket = world.ask(Request::Append(append));
        self.waiting.insert(ticket, (name, text));
    }
}

fn live(steps: Vec<Step>) {
    let mut world = World::new(3, 40_000);
    let mut book = Book::default();
    for step in steps {
        match step {
            Step::Create(session) => {
                world.ask(create(&format!("s{session}")));
            }
            Step::Append(session, producer, size) => {
                let counter = book.counters.entry((session, producer)).or_default();
                *counter += 1;
                let text = format!("{session}.{producer}.{counter}.{}", "x".repeat(size.into()));
                let name = format!("p{producer}");
                let attempt = append(&format!("s{session}"), Some((&name, *counter)), &text);
                book.last = Some(attempt.clone());
                book.append(&mut world, attempt, text);
            }
            Step::Retry => {
                if let Some(attempt) = book.last.clone() {
                    let json = format!("{{{}}}", attempt.fragment);
                    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
                    let text = json["payload"]["text"].as_str().unwrap().to_owned();
                    book.append(&mut world, attempt, text);
                }
            }
            Step::Hold => world.disk.hold_log = true,
            Step::Release => {
                world.disk.hold_log = false;
                world.release_log();
            }
            Step::Pass => world.pass(150_000),
            Step::Crash => {
                world.run();
                book.note_replies(&mut world);
                book.waiting.clear();
                world.disk.hold_log = false;
                world = world.restart();
                book.check(&mut world);
            }
        }
        world.run();
        book.note_replies(&mut world);
    }
    world.disk.hold_log = false;
    world.release_log();
    world.run();
    book.note_replies(&mut world);
    assert!(book.waiting.is_empty(), "every request is answered");
    book.check(&mut world);
    let mut world = world.restart();
    book.check(&mut world);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn random_lives_lose_nothing(steps in steps()) {
        live(steps);
    }
}
