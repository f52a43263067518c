//! The kill drill: writers and tails at work, the server killed at random moments, and after each
//! restart everything that was acknowledged is there, once, in order, to the byte.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::value::RawValue;

use crate::drill_ledger::{Ledger, Logs, Origin};
use crate::http::Request;
use crate::random::Random;
use crate::server::{PATIENCE, Server, alone};
use crate::session::{Api, unique};
use crate::ws::{Frame, Tail};

const KILLS: u64 = 20;
const WRITERS: usize = 32;
const SESSIONS: usize = 8;
/// A writer rests for less than this between two appends, so that the logs stay short enough to be
/// read from their start after every kill.
const WRITER_REST_MS: u64 = 16;
/// Sizes of the event store, in turn: small ones make the server write chunks and checkpoints all
/// the time.
const STORES: [&str; 4] = ["2GB", "1MB", "64MB", "2MB"];

/// What all hands share.
#[derive(Debug)]
struct Drill {
    address: SocketAddr,
    ids: Vec<String>,
    ledger: Ledger,
    /// Writers wait before they begin something new, so that checks take no longer than they must.
    pause: AtomicBool,
    /// Writers begin nothing new.
    stop: AtomicBool,
    /// The drill has failed: everybody ends as soon as possible.
    failed: AtomicBool,
    /// Tails end once they have seen everything.
    lengths: Vec<AtomicUsize>,
    unknown: AtomicUsize,
    refused: AtomicUsize,
    resumed: AtomicUsize,
}

/// The length of a log that still grows.
const GROWING: usize = usize::MAX;

impl Drill {
    fn new(address: SocketAddr, ids: Vec<String>) -> Drill {
        let lengths = ids.iter().map(|_| AtomicUsize::new(GROWING)).collect();
        Drill {
            address,
            ids,
            ledger: Ledger::default(),
            pause: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            lengths,
            unknown: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            resumed: AtomicUsize::new(0),
        }
    }

    /// Appends to two sessions in turn. What came of an append is unknown when the server dies
    /// under it; it is sent again with the same number until there is an answer.
    fn write(&self, writer: usize) {
        let _ends = EndsWithMe(self);
        let mut random = Random::new(writer as u64);
        let api = Api::new(self.address);
        let sessions = [writer % SESSIONS, (writer + 3) % SESSIONS];
        for n in 1.. {
            for session in sessions {
                let rest = random.between(0, WRITER_REST_MS);
                thread::sleep(Duration::from_millis(rest));
                while self.pause.load(Ordering::Relaxed) && !self.stop.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_millis(2));
                }
                if self.stop.load(Ordering::Relaxed) {
                    return;
                }
                self.append(&api, Origin { session, writer, n });
            }
        }
    }

    fn append(&self, api: &Api, origin: Origin) {
        let target = format!("/v1/sessions/{}/append", self.ids[origin.session]);
        let request = Request::post(&target).json_text(origin.body());
        let start = Instant::now();
        loop {
            match api.try_call(&request) {
                Ok(response) if matches!(response.status, 429 | 503) => {
                    self.refused.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(5));
                }
                Ok(response) => {
                    let reply = response.expect(201);
                    self.ledger.acknowledged(origin, reply["seq"].as_u64().expect("a seq"));
                    return;
                }
                Err(_) => {
                    self.unknown.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(20));
                }
            }
            if self.failed.load(Ordering::Relaxed) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{origin:?} is never answered");
        }
    }

    /// How long a session's log will be, once that is known.
    fn length(&self, session: usize) -> usize {
        if self.failed.load(Ordering::Relaxed) {
            return 0;
        }
        self.lengths[session].load(Ordering::Relaxed)
    }

    /// Tails a session through all deaths and returns the events as they came.
    fn tail(&self, session: usize, batch: usize) -> Vec<String> {
        let _ends = EndsWithMe(self);
        let mut events: Vec<String> = Vec::new();
        let mut silent = Instant::now();
        while events.len() < self.length(session) {
            assert!(silent.elapsed() < PATIENCE, "tail of {session} stopped at {}", events.len());
            let query = format!("cursor={}&batch_size={batch}", events.len());
            let Ok(mut tail) = Tail::open(self.address, &self.ids[session], &query) else {
                thread::sleep(Duration::from_millis(20));
                continue;
            };
            self.resumed.fetch_add(1, Ordering::Relaxed);
            tail.set_patience(Duration::from_millis(200));
            while events.len() < self.length(session) {
                match tail.next() {
                    Frame::Text(text) => {
                        take(&mut events, &text, batch);
                        silent = Instant::now();
                    }
                    Frame::Ping => {}
                    Frame::Silence => assert!(silent.elapsed() < PATIENCE, "a tail is stuck"),
                    Frame::Closed(..) | Frame::Gone => break,
                }
            }
        }
        events
    }
}

/// Ends the drill for everybody when one of them panics.
struct EndsWithMe<'a>(&'a Drill);

impl Drop for EndsWithMe<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.failed.store(true, Ordering::Relaxed);
            self.0.stop.store(true, Ordering::Relaxed);
        }
    }
}

/// Takes the events of a frame; each has the seq after the one before.
fn take(events: &mut Vec<String>, frame: &str, batch: usize) {
    let several: Vec<&RawValue>;
    let found: Vec<&str> = if 1 < batch {
        several = serde_json::from_str(frame).expect("an array of events");
        several.iter().map(|event| event.get()).collect()
    } else {
        vec![frame]
    };
    for event in found {
        let start = format!("{{\"seq\":{},", events.len() + 1);
        assert!(event.starts_with(&start), "{start} was due: {event}");
        events.push(event.to_owned());
    }
}

/// The environment of one life: another event store, and another number of cores than the one before.
fn life(round: u64) -> [(&'static str, &'static str); 3] {
    let round = usize::try_from(round).expect("small");
    let two = thread::available_parallelism().is_ok_and(|cores| 2 <= cores.get());
    let cores = if two && !round.is_multiple_of(3) { "2" } else { "1" };
    let store = STORES[round % STORES.len()];
    [("STARCITE_EVENT_STORE_MAX_SIZE", store), ("STARCITE_CORES", cores), ("STARCITE_SHARDS", "3")]
}

/// Kills and restarts; every now and then the restart is killed too.
fn kill_and_restart(server: &mut Server, random: &mut Random, round: u64) -> u64 {
    thread::sleep(Duration::from_millis(random.between(20, 700)));
    server.kill();
    let mut kills = 1;
    server.set_environment(&life(round));
    if random.between(0, 4) == 0 {
        server.spawn();
        thread::sleep(Duration::from_millis(random.between(0, 300)));
        server.kill();
        kills += 1;
    }
    server.run();
    kills
}

#[test]
fn killed_at_random_the_server_loses_and_repeats_nothing() {
    let _alone = alone();
    let mut random = Random::announced("kill drill");
    let mut server = Server::start_with(&life(0));
    let api = server.api();
    let ids: Vec<String> = (0..SESSIONS).map(|_| api.session("drill")).collect();
    drop(api);
    let drill = Drill::new(server.address(), ids.clone());
    let mut logs = Logs::new(ids);
    thread::scope(|scope| {
        let drill = &drill;
        let _ends = EndsWithMe(drill);
        let writers: Vec<_> =
            (0..WRITERS).map(|writer| scope.spawn(move || drill.write(writer))).collect();
        let tails: Vec<_> = (0..SESSIONS)
            .flat_map(|session| [(session, 1), (session, 64)])
            .map(|(session, batch)| (session, scope.spawn(move || drill.tail(session, batch))))
            .collect();
        let mut kills = 0;
        for round in 1..=KILLS {
            kills += kill_and_restart(&mut server, &mut random, round);
            drill.pause.store(true, Ordering::Relaxed);
            logs.check(&server.api(), &drill.ledger);
            drill.pause.store(false, Ordering::Relaxed);
        }
        drill.stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.join().expect("a writer gets all its answers");
        }
        logs.check(&server.api(), &drill.ledger);
        assert_eq!(logs.len(), drill.ledger.len(), "every event was acknowledged once");
        for session in 0..SESSIONS {
            drill.lengths[session].store(logs.events(session).len(), Ordering::Relaxed);
        }
        for (session, tail) in tails {
            let events = tail.join().expect("a tail sees everything once");
            assert!(events == logs.events(session), "a tail saw other bytes than a page");
        }
        println!(
            "{kills} kills, {} events acknowledged, {} outcomes unknown, {} refused, {} tails opened",
            logs.len(),
            drill.unknown.load(Ordering::Relaxed),
            drill.refused.load(Ordering::Relaxed),
            drill.resumed.load(Ordering::Relaxed),
        );
    });
    // Once more from a clean end: a stop and a start change nothing.
    assert_eq!(server.terminate().code(), Some(0));
    server.run();
    logs.check(&server.api(), &drill.ledger);
}

#[test]
fn killed_between_the_writes_of_sessions_their_rows_survive() {
    let _alone = alone();
    let mut random = Random::announced("row drill");
    let mut server = Server::start_with(&[("STARCITE_EVENT_STORE_MAX_SIZE", "1MB")]);
    let mut rows: Vec<serde_json::Value> = Vec::new();
    for _ in 0..5 {
        let api = server.api();
        for _ in 0..random.between(10, 60) {
            let id = unique("row");
            let body = serde_json::json!({"id": id, "title": random.text(10),
                "metadata": {"a": random.text(5), "n": 1.50}});
            api.post("/v1/sessions", &body).expect(201);
            let target = format!("/v1/sessions/{id}");
            for version in 1..=random.between(1, 4) {
                let body = serde_json::json!({"metadata": {"b": version},
                    "expected_version": version});
                api.patch(&target, &body).expect(200);
            }
            if random.between(0, 2) == 0 {
                api.post(&format!("{target}/archive"), &serde_json::json!({})).expect(200);
            }
            rows.push(api.row(&id));
        }
        server.kill();
        server.run();
        let api = server.api();
        for row in &rows {
            assert_eq!(api.row(row["id"].as_str().expect("an id")), *row);
        }
        let page = api.get("/v1/sessions?archived=all&limit=1000").expect(200);
        assert_eq!(page["sessions"].as_array().expect("rows").len(), rows.len());
    }
}
