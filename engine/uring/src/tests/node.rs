//! A whole node: executors, shards, gateway, files, stop and restart.

use std::cell::RefCell;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use model::api::{Appended, List, Reply, Request, TailMessage, TailOpen, Visibility};
use model::command::{Append, Create, Dedupe, Principal};
use model::error::{Code, Fatal};
use model::ids::{Placement, Seq, SessionId, ShardId};
use model::intent::Intent;
use shard::NodeId;
use shard::cluster::Cluster;
use shard::effect::SegmentNumber;
use shard::opening::Opening;
use shard::shard::{Options, Shard};
use shard::wal::{Record, Recovery};

use super::TempDir;
use crate::cores::{Cores, CoresError, Doors, Settings};
use crate::fatal::fatal;
use crate::gateway::Gateway;
use crate::layout::{ShardDir, parse_segment};
use crate::ring::SyncStrategy;
use crate::rt;
use crate::standing::Readiness;

const SEGMENT_BYTES: u64 = 1024 * 1024;
const SESSIONS: u32 = 20;
const EVENTS: u64 = 30;
/// Set for the test that is run again to see how a process ends.
const ENDS: &str = "STARCITE_TEST_ENDS";

pub(super) fn id(name: &str) -> SessionId {
    SessionId::new(name).unwrap()
}

fn name(number: u32) -> String {
    format!("session-{number:03}")
}

pub(super) fn create(session: &str) -> Request {
    Request::Create(Create {
        session: id(session),
        title: None,
        metadata: "{}".into(),
        creator: Principal::service(),
        at: 0,
    })
}

pub(super) fn append(session: &str, number: u64) -> Request {
    let mut fingerprint = [0; 16];
    fingerprint[..8].copy_from_slice(&number.to_le_bytes());
    Request::Append(Append {
        session: id(session),
        fragment: format!(r#""type":"t","payload":{number}"#).into(),
        dedupe: Dedupe::Nothing,
        expected_seq: None,
        fingerprint,
        at: 0,
    })
}

pub(super) fn settings(data_dir: &Path, shards: u32, cores: Option<usize>) -> Settings {
    Settings {
        data_dir: data_dir.to_path_buf(),
        cores,
        placement: Placement::new(16, shards),
        sync: SyncStrategy::Link,
        segment_bytes: SEGMENT_BYTES,
        cluster: Cluster::alone(NodeId(1 << 32)),
        intent: Intent::default(),
    }
}

/// Opens all shards from what is in the directory: the log alone, since these tests write too little
/// for a checkpoint.
pub(super) fn open(settings: &Settings) -> Vec<(ShardId, Shard)> {
    (0..settings.placement.shards())
        .map(|number| {
            let shard = ShardId(number);
            let dir = ShardDir::new(&settings.data_dir, shard);
            dir.create().unwrap();
            let placement = settings.placement;
            let hot_bytes_max = 64 * 1024 * 1024;
            let cluster = settings.cluster.clone();
            let options = Options {
                segment_bytes: SEGMENT_BYTES,
                log_kept_bytes: 1 << 20,
                ..Options::new(placement, shard, (7, 1), hot_bytes_max, cluster)
            };
            (shard, open_one(options, &dir))
        })
        .collect()
}

fn open_one(options: Options, dir: &ShardDir) -> Shard {
    let mut segments: Vec<(SegmentNumber, Vec<u8>)> = fs::read_dir(dir.log())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter_map(|path| Some((parse_segment(path.file_name()?.to_str()?)?, path)))
        .map(|(number, path)| (number, fs::read(path).unwrap()))
        .collect();
    segments.sort();
    let mut opening = Opening::new(options.clone());
    let mut recovery = Recovery::new(options.identity(), options.segment_bytes, opening.floor());
    for (number, bytes) in &segments {
        recovery.peek(*number, &bytes[..4096]);
    }
    for (number, bytes) in &segments {
        let mut sink = |record: &Record<'_>| opening.record(record).unwrap();
        recovery.segment(*number, bytes, &mut sink).unwrap();
    }
    opening.finish(recovery.finish().unwrap(), Vec::new())
}

/// Runs a node whose first core does `work`, then stops.
pub(super) fn run<F>(settings: &Settings, work: impl Fn(Gateway) -> F + Send + Sync + 'static)
where
    F: Future<Output = ()> + 'static,
{
    let work = Arc::new(work);
    let doors: Doors = Arc::new(move |gateway: Gateway| {
        let work = Arc::clone(&work);
        Box::pin(async move {
            if gateway.core() == 0 {
                while gateway.readiness() != Readiness::Ready {
                    rt::sleep(std::time::Duration::from_millis(1)).await;
                }
                work(gateway.clone()).await;
                gateway.stopper().begin();
            }
            gateway.stopped().await;
            assert!(gateway.stopping());
            Ok(())
        })
    });
    let cores = Cores::start(settings, open(settings), doors).unwrap();
    cores.join().unwrap();
}

async fn fill(gateway: Gateway) {
    let done = Rc::new(RefCell::new(0));
    for number in 0..SESSIONS {
        let (gateway, done) = (gateway.clone(), Rc::clone(&done));
        rt::spawn_local(async move {
            let session = name(number);
            let Reply::Session(row) = gateway.call(create(&session)).await else { panic!() };
            assert_eq!(row.id, id(&session));
            for event in 1..=EVENTS {
                let reply = gateway.call(append(&session, event)).await;
                let Reply::Appended(Appended { seq, .. }) = reply else { panic!("{reply:?}") };
                assert_eq!(seq, Seq(event));
            }
            *done.borrow_mut() += 1;
        });
    }
    while *done.borrow() < SESSIONS {
        rt::sleep(std::time::Duration::from_millis(1)).await;
    }
}

/// Every event of a session, in order, through a tail.
async fn read_back(gateway: &Gateway, session: &str) {
    let mut tail = gateway.tail(TailOpen { session: id(session), cursor: Seq(0) });
    assert_eq!(tail.next().await, Some(TailMessage::Opened));
    let mut last = 0;
    while last < EVENTS {
        let Some(TailMessage::Events { events, .. }) = tail.next().await else { panic!() };
        for event in &events {
            last += 1;
            assert_eq!(event.seq, Seq(last));
            let json = std::str::from_utf8(&event.json).unwrap();
            assert!(json.contains(&format!(r#""payload":{last}"#)), "{json}");
        }
        tail.written(events.iter().map(|event| event.json.len() as u64).sum());
    }
}

async fn check(gateway: Gateway) {
    for number in 0..SESSIONS {
        read_back(&gateway, &name(number)).await;
    }
    let mut cursor: Option<Box<str>> = None;
    let mut seen = Vec::new();
    loop {
        let list = List { cursor, limit: 7, visibility: Visibility::Active, metadata: Vec::new() };
        let Reply::Sessions { rows, more, .. } = gateway.call(Request::List(list)).await else {
            panic!()
        };
        assert!(rows.len() <= 7);
        seen.extend(rows.iter().map(|row| (row.id.as_str().to_owned(), row.last_seq)));
        cursor = rows.last().map(|row| row.id.as_str().into());
        if !more {
            break;
        }
    }
    let all: Vec<_> = (0..SESSIONS).map(|number| (name(number), Seq(EVENTS))).collect();
    assert_eq!(seen, all);
    let missing = gateway.call(Request::Get(id("nobody"))).await;
    assert!(matches!(missing, Reply::Refused(r) if r.code == Code::SessionNotFound));
    let mut tail = gateway.tail(TailOpen { session: id("nobody"), cursor: Seq(0) });
    assert!(matches!(tail.next().await, Some(TailMessage::Refused(_))));
    assert_eq!(tail.next().await, None);
}

#[test]
fn what_was_acknowledged_is_there_after_a_restart_on_any_number_of_cores() {
    for (shards, cores, cores_after) in
        [(1, Some(1), Some(1)), (3, None, Some(1)), (2, Some(1), None)]
    {
        let temp = TempDir::new();
        run(&settings(temp.path(), shards, cores), |gateway| async {
            fill(gateway.clone()).await;
            check(gateway).await;
        });
        run(&settings(temp.path(), shards, cores_after), check);
    }
}

#[test]
fn a_tail_follows_what_is_appended_from_another_core() {
    let temp = TempDir::new();
    run(&settings(temp.path(), 2, None), |gateway| async move {
        for number in 0..4 {
            let session = name(number);
            gateway.call(create(&session)).await;
            let mut tail = gateway.tail(TailOpen { session: id(&session), cursor: Seq(0) });
            assert_eq!(tail.next().await, Some(TailMessage::Opened));
            for event in 1..=3 {
                gateway.call(append(&session, event)).await;
                let Some(TailMessage::Events { events, .. }) = tail.next().await else { panic!() };
                assert_eq!(events[0].seq, Seq(event));
                tail.written(events[0].json.len() as u64);
            }
        }
    });
}

#[test]
fn a_call_that_is_dropped_harms_nobody() {
    let temp = TempDir::new();
    run(&settings(temp.path(), 2, None), |gateway| async move {
        gateway.call(create("s")).await;
        for event in 1..=100 {
            let call = gateway.call(append("s", event));
            let at_once = async {
                rt::yield_now().await;
                Reply::from(model::error::Refusal::from(Code::RaftTimeout))
            };
            futures_lite::future::or(call, at_once).await;
        }
        let Reply::Appended(appended) = gateway.call(append("s", 101)).await else { panic!() };
        assert_eq!(appended.seq, Seq(101), "requests on their way were not withdrawn");
    });
}

#[test]
fn a_door_that_fails_stops_the_node() {
    let temp = TempDir::new();
    let settings = settings(temp.path(), 1, None);
    let doors: Doors = Arc::new(|gateway: Gateway| {
        Box::pin(async move {
            if gateway.core() == 0 {
                return Err("no such address".to_owned());
            }
            gateway.stopped().await;
            Ok(())
        })
    });
    let cores = Cores::start(&settings, open(&settings), doors).unwrap();
    assert_eq!(cores.join(), Err(CoresError::Door("no such address".to_owned())));
}

#[test]
fn the_node_stops_when_told_from_any_thread() {
    let temp = TempDir::new();
    let settings = settings(temp.path(), 2, None);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&seen);
    let doors: Doors = Arc::new(move |gateway: Gateway| {
        let record = Arc::clone(&record);
        Box::pin(async move {
            gateway.stopped().await;
            record.lock().unwrap().push(gateway.readiness());
            Ok(())
        })
    });
    let cores = Cores::start(&settings, open(&settings), doors).unwrap();
    let stopper = cores.stopper();
    std::thread::spawn(move || stopper.begin()).join().unwrap();
    cores.join().unwrap();
    assert!(seen.lock().unwrap().iter().all(|readiness| *readiness == Readiness::Draining));
}

#[test]
fn what_the_machine_does_not_have_is_refused() {
    let temp = TempDir::new();
    let doors: Doors = Arc::new(|_| Box::pin(async { Ok(()) }));
    let mut asked = settings(temp.path(), 1, Some(0));
    let refused = |asked: &Settings| Cores::start(asked, open(asked), Arc::clone(&doors)).err();
    assert!(matches!(refused(&asked), Some(CoresError::Configuration(_))));
    asked.cores = Some(100_000);
    assert!(matches!(refused(&asked), Some(CoresError::Configuration(_))));
    let error = CoresError::Configuration(String::new());
    assert_eq!(error.fatal(), Fatal::Configuration);
}

/// Runs a test again in a process of its own; gives its exit status and what it logged.
fn ends(test: &str) -> Option<i32> {
    let program = std::env::current_exe().unwrap();
    let output = Command::new(program).args(["--exact", test]).env(ENDS, "yes").output();
    output.unwrap().status.code()
}

#[test]
fn a_fatal_end_has_its_status() {
    if std::env::var_os(ENDS).is_some() {
        fatal(Fatal::LogWrite, "the log cannot be written");
    }
    assert_eq!(ends("tests::node::a_fatal_end_has_its_status"), Some(74));
}

#[test]
fn a_log_that_vanishes_ends_the_process() {
    if std::env::var_os(ENDS).is_some() {
        let temp = TempDir::new();
        let settings = settings(temp.path(), 1, Some(1));
        run(&settings.clone(), move |gateway| {
            let dir = ShardDir::new(&settings.data_dir, ShardId(0));
            async move {
                gateway.call(create("s")).await;
                fs::remove_dir_all(dir.path()).unwrap();
                for event in 1.. {
                    gateway.call(append("s", event)).await;
                }
            }
        });
    }
    assert_eq!(ends("tests::node::a_log_that_vanishes_ends_the_process"), Some(74));
}
