//! The parts that need neither disk nor executor.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use model::api::{Event, Reply, Request, TailEnd, TailMessage, TailOpen};
use model::command::{Append, Dedupe};
use model::error::{Code, Refusal};
use model::ids::{GroupId, Placement, Seq, SessionId, ShardId};
use model::limits::{INPUTS_PER_TURN, REQUEST_BYTES_PER_SHARD, REQUESTS_PER_SHARD};
use shard::NodeId;
use shard::aligned::AlignedBuffer;
use shard::cluster::Cluster;
use shard::effect::{
    BatchNumber, Completion, FileName, Gauges, Input, Lack, SegmentNumber, TailId, Ticket,
};

use crate::backoff::Backoff;
use crate::hearts::until_slot;
use crate::hub::Homes;
use crate::inbox::{Inbox, Unheard};
use crate::layout::{ShardDir, is_temporary, parse_file, parse_segment};
use crate::mesh::{Mail, Outbox};
use crate::pending::{Pending, TailQueue, Waiters};
use crate::standing::{Readiness, ShardStanding, Standing};
use crate::stop::Stopper;

#[derive(Default)]
pub(super) struct Count(AtomicU32);

impl Wake for Count {
    fn wake(self: Arc<Count>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A waker, and how often it was woken.
pub(super) fn counted() -> (Waker, Arc<Count>) {
    let count = Arc::new(Count::default());
    (Waker::from(Arc::clone(&count)), count)
}

impl Count {
    pub(super) fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

fn id(name: &str) -> SessionId {
    SessionId::new(name).unwrap()
}

fn append(bytes: usize) -> Request {
    Request::Append(Append {
        session: id("s"),
        fragment: "x".repeat(bytes).into(),
        dedupe: Dedupe::Nothing,
        expected_seq: None,
        fingerprint: [0; 16],
        at: 0,
    })
}

fn open() -> TailOpen {
    TailOpen { session: id("s"), cursor: Seq(0) }
}

#[test]
fn names_of_files_come_back_and_sort() {
    let dir = ShardDir::new(Path::new("/d"), ShardId(3));
    assert_eq!(dir.path(), Path::new("/d/shard-0003"));
    assert_eq!(dir.log(), Path::new("/d/shard-0003/log"));
    let mut names = Vec::new();
    for number in [0, 1, 0x2a, u64::from(u32::MAX), u64::MAX] {
        let segment = dir.segment(SegmentNumber(number));
        let name = segment.file_name().unwrap().to_str().unwrap();
        assert_eq!(parse_segment(name), Some(SegmentNumber(number)), "{name}");
        names.push(name.to_owned());
        for file in [FileName::Chunk(number), FileName::Checkpoint(number)] {
            let path = dir.file(file);
            let name = path.file_name().unwrap().to_str().unwrap();
            assert_eq!(parse_file(name), Some(file), "{name}");
            assert!(!is_temporary(name));
            let temporary = dir.file_temporary(file);
            let name = temporary.file_name().unwrap().to_str().unwrap();
            assert_eq!(parse_file(name), None, "{name}");
            assert!(is_temporary(name));
        }
    }
    assert!(names.is_sorted(), "{names:?}");
    assert!(is_temporary("0000000000000001.log.tmp"));
    assert_eq!(parse_segment("0000000000000001.log.tmp"), None);
}

#[test]
fn other_names_are_nobodys() {
    for name in [
        "",
        "chunk-",
        "chunk-1",
        "chunk-000000000000000A",
        "chunk-+000000000000001",
        "chunk-00000000000000001",
        "checkpoint-000000000000000g",
        "Chunk-0000000000000001",
        "0000000000000001",
    ] {
        assert_eq!(parse_file(name), None, "{name}");
        assert_eq!(parse_segment(&format!("{name}.log")).is_some(), name.len() == 16, "{name}");
    }
}

#[test]
fn polling_pauses_after_two_slow_yields_and_longer_while_they_stay_slow() {
    let mut backoff = Backoff::default();
    backoff.yielded(1_000, 300);
    backoff.yielded(2_000, 4_000);
    assert!(backoff.may_poll(2_000), "one slow yield is an accident");
    backoff.yielded(2_000_000, 4_000);
    assert!(backoff.may_poll(2_000_000), "so are two far apart");
    let mut now = 2_100_000;
    for pause in [500_000, 1_000_000, 2_000_000, 4_000_000, 4_000_000] {
        backoff.yielded(now, 4_000);
        if backoff.may_poll(now) {
            backoff.yielded(now, 4_000);
        }
        assert!(!backoff.may_poll(now + pause - 1), "pause of {pause}");
        assert!(backoff.may_poll(now + pause), "pause of {pause}");
        now += pause;
    }
    now += 60_000_000;
    backoff.yielded(now, 4_000);
    backoff.yielded(now, 4_000);
    assert!(backoff.may_poll(now + 500_000), "a quiet minute is a new start");
}

#[test]
fn polling_pauses_when_it_sees_no_batch_through() {
    let mut backoff = Backoff::default();
    for paid in [false, false, false, true, false, false, false, true] {
        backoff.polled(1_000, paid);
        assert!(backoff.may_poll(1_000), "one that paid is enough");
    }
    let mut now = 1_000;
    for pause in [500_000, 1_000_000, 2_000_000, 4_000_000, 4_000_000] {
        for _ in 0..3 {
            backoff.polled(now, false);
            assert!(backoff.may_poll(now));
        }
        backoff.polled(now, false);
        assert!(!backoff.may_poll(now + pause - 1), "pause of {pause}");
        assert!(backoff.may_poll(now + pause), "pause of {pause}");
        now += pause;
    }
}

#[test]
fn an_outbox_refuses_what_is_too_much_until_it_is_carried() {
    let outbox = Outbox::default();
    let large = |number| Mail::Request {
        shard: ShardId(0),
        ticket: Ticket(number),
        request: append(REQUEST_BYTES_PER_SHARD / 2 + 1),
    };
    assert_eq!(outbox.ask(large(0)), Ok(()));
    assert_eq!(outbox.ask(large(1)), Err(Unheard::Busy));
    assert_eq!(
        outbox.ask(Mail::TailOpen { shard: ShardId(0), tail: TailId(0), open: open() }),
        Ok(())
    );
    let mut carried = pin!(outbox.parcel());
    let (waker, _) = counted();
    let Poll::Ready(parcel) = carried.as_mut().poll(&mut Context::from_waker(&waker)) else {
        panic!("there is mail");
    };
    assert_eq!(parcel.len(), 2);
    assert_eq!(outbox.ask(large(1)), Ok(()));
}

#[test]
fn an_inbox_refuses_what_is_too_much_until_replies_make_room() {
    let inbox = Inbox::default();
    let large = append(REQUEST_BYTES_PER_SHARD / 2 + 1);
    assert_eq!(inbox.request(Ticket(0), large.clone()), Ok(()));
    assert_eq!(inbox.request(Ticket(1), large.clone()), Err(Unheard::Busy));
    let mut turn = Vec::new();
    inbox.take_turn(&mut turn);
    assert!(matches!(turn[..], [Input::Request { ticket: Ticket(0), .. }]));
    assert_eq!(inbox.request(Ticket(1), large.clone()), Err(Unheard::Busy));
    inbox.replied(Ticket(0));
    assert_eq!((inbox.outstanding(), inbox.outstanding_bytes()), (0, 0));
    assert_eq!(inbox.request(Ticket(1), large), Ok(()));
    inbox.replied(Ticket(1));
    for ticket in 2..REQUESTS_PER_SHARD as u64 + 2 {
        assert_eq!(inbox.request(Ticket(ticket), append(1)), Ok(()));
    }
    assert_eq!(inbox.request(Ticket(1), append(1)), Err(Unheard::Busy));
    inbox.finish();
    let before = (inbox.outstanding(), inbox.waiting());
    assert_eq!(before, (REQUESTS_PER_SHARD, true), "what was admitted goes on");
    assert_eq!(inbox.request(Ticket(1), append(1)), Err(Unheard::Ended));
    inbox.close();
    assert!(!inbox.waiting(), "nobody takes a turn any more");
    inbox.finish();
    assert_eq!(inbox.request(Ticket(1), append(1)), Err(Unheard::Ended));
    assert_eq!(inbox.tail_open(TailId(1), open()), Err(Unheard::Ended));
    assert_eq!(Unheard::Ended.reply(), Reply::NotLeader { leader: None });
    assert_eq!(Unheard::Ended.tail(), TailMessage::Elsewhere { leader: None });
}

#[test]
fn a_turn_takes_completions_first_then_credit_then_the_rest_in_order() {
    let inbox = Inbox::default();
    for tail in 0..INPUTS_PER_TURN as u64 {
        inbox.tail_open(TailId(tail), open()).unwrap();
        inbox.tail_credit(TailId(tail), 1);
        inbox.tail_credit(TailId(tail), 2);
    }
    inbox.completion(Completion::LogDurable {
        batch: BatchNumber(1),
        buffer: AlignedBuffer::zeroed(4096),
    });
    let mut turn = Vec::new();
    inbox.take_turn(&mut turn);
    assert_eq!(turn.len(), INPUTS_PER_TURN);
    assert!(matches!(turn[0], Input::Disk(_)));
    let credits = turn.iter().filter(|i| matches!(i, Input::TailCredit { bytes: 3, .. })).count();
    assert_eq!(credits, INPUTS_PER_TURN.div_ceil(2) - 1);
    let opens: Vec<u64> = turn
        .iter()
        .filter_map(|input| match input {
            Input::TailOpen { tail, .. } => Some(tail.0),
            _ => None,
        })
        .collect();
    assert!(opens.iter().copied().eq(0..opens.len() as u64), "in order of arrival");
    let mut left = INPUTS_PER_TURN * 2 + 1 - turn.len();
    while 0 < left {
        turn.clear();
        inbox.take_turn(&mut turn);
        left -= turn.len();
    }
    assert!(!inbox.waiting());
}

#[test]
fn an_inbox_wakes_its_driver_once_for_what_comes() {
    let inbox = Inbox::default();
    let (waker, woken) = counted();
    let cx = Context::from_waker(&waker);
    assert_eq!(inbox.poll_waiting(&cx), Poll::Pending);
    inbox.tail_credit(TailId(1), 5);
    inbox.tail_close(TailId(1));
    assert_eq!(woken.get(), 1);
    assert_eq!(inbox.poll_waiting(&cx), Poll::Ready(()));
}

#[test]
fn a_reply_reaches_only_who_asked() {
    let pending = Pending::default();
    let (waker, woken) = counted();
    let cx = Context::from_waker(&waker);
    let reply = |code: Code| Reply::from(Refusal::from(code));
    let (first, second) = (pending.reserve(), pending.reserve());
    assert_ne!(first, second);
    assert!(pending.poll_reply(first, &cx).is_pending());
    pending.abandon(second);
    let third = pending.reserve();
    assert_ne!(third, second, "the reply to the second is still to come");
    pending.answer(second, reply(Code::RaftTimeout));
    assert_eq!(pending.reserve(), second);
    pending.answer(first, reply(Code::SessionNotFound));
    assert_eq!(woken.get(), 1);
    assert_eq!(pending.poll_reply(first, &cx), Poll::Ready(reply(Code::SessionNotFound)));
    pending.answer(third, reply(Code::SessionExists));
    pending.abandon(third);
    assert_eq!(pending.reserve(), third, "an answer nobody wanted frees its slot");
}

#[test]
fn a_tail_ends_with_its_last_word() {
    let event = Event { seq: Seq(1), json: Bytes::from_static(b"{}") };
    let events = TailMessage::Events { events: vec![event], replay: false };
    let closed = TailMessage::Closed(TailEnd::TooSlow);
    let queue = TailQueue::default();
    let (waker, woken) = counted();
    let cx = Context::from_waker(&waker);
    assert!(queue.poll_next(&cx).is_pending());
    queue.push(TailMessage::Opened);
    queue.push(events.clone());
    queue.push(closed.clone());
    queue.push(events.clone());
    assert_eq!(woken.get(), 1);
    for message in [TailMessage::Opened, events, closed] {
        assert_eq!(queue.poll_next(&cx), Poll::Ready(Some(message)));
    }
    assert_eq!(queue.poll_next(&cx), Poll::Ready(None));
    assert!(queue.ended() && !queue.release(), "whoever serves it knows");
}

#[test]
fn a_tail_that_is_cut_shows_nothing_behind_the_hole_and_is_released_once() {
    let queue = TailQueue::default();
    let (waker, woken) = counted();
    let cx = Context::from_waker(&waker);
    assert!(queue.poll_next(&cx).is_pending());
    queue.push(TailMessage::Opened);
    queue.cut();
    assert_eq!(woken.get(), 1);
    queue.push(TailMessage::Opened);
    let lost = TailMessage::Closed(TailEnd::Lost);
    assert_eq!(queue.poll_next(&cx), Poll::Ready(Some(lost)));
    assert_eq!(queue.poll_next(&cx), Poll::Ready(None));
    assert!(queue.release() && !queue.release(), "whoever serves it is told once");
    let served = TailQueue::default();
    served.push(TailMessage::Opened);
    served.end();
    assert_eq!(served.poll_next(&cx), Poll::Ready(Some(TailMessage::Opened)), "no hole before it");
    served.push(TailMessage::Closed(TailEnd::TooSlow));
    assert!(!served.release(), "it has said its last word meanwhile");
}

#[test]
fn a_waiter_that_left_is_not_woken_and_leaves_no_waker() {
    let waiters = Waiters::default();
    let (waker, woken) = counted();
    for _ in 0..100_000 {
        let place = waiters.keep(None, &waker);
        assert_eq!(waiters.keep(Some(place), &waker), place);
        waiters.forget(place);
    }
    let count = 2;
    let _held = waiters.keep(None, &waker);
    assert_eq!(Arc::strong_count(&woken), count + 1, "one waker is kept, not a hundred thousand");
    waiters.wake_all();
    assert_eq!(woken.get(), 1);
}

fn level(groups_not_ready: u64) -> ShardStanding {
    let gauges = Gauges { groups_not_ready, groups_hosted: 8, ..Gauges::default() };
    let failing = (0 < groups_not_ready).then_some((GroupId(1), Lack::Leader));
    ShardStanding { gauges, failing, groups: Vec::new() }
}

fn standing(shards: u32) -> Standing {
    Standing::new(Placement::new(16, shards), &Cluster::alone(NodeId(1 << 32)), Default::default())
}

#[test]
fn readiness_follows_groups_and_stop() {
    let stopper = Stopper::new(2, standing(3));
    assert_eq!(stopper.readiness(), Readiness::Starting { groups_not_ready: 3 });
    stopper.standing().report(ShardId(0), level(0));
    stopper.standing().report(ShardId(1), level(7));
    stopper.standing().report(ShardId(2), level(0));
    assert_eq!(stopper.readiness(), Readiness::Starting { groups_not_ready: 7 });
    stopper.standing().report(ShardId(1), level(0));
    assert_eq!(stopper.readiness(), Readiness::Ready);
    let other = stopper.clone();
    other.begin();
    assert_eq!(stopper.readiness(), Readiness::Draining);
    stopper.door_closed();
    assert!(!stopper.doors_closed());
    stopper.door_closed();
    assert!(stopper.doors_closed());
}

#[test]
fn every_shard_has_one_core() {
    for (shards, cores) in [(1, 1), (1, 4), (4, 1), (8, 3)] {
        let cluster = Cluster::alone(NodeId(1 << 32));
        let homes = Homes { placement: Placement::new(256, shards), cores, cluster };
        let hosts: Vec<usize> = (0..shards).map(|s| homes.core_of(ShardId(s))).collect();
        assert!(hosts.iter().all(|core| *core < cores));
        let most = (0..cores).map(|c| hosts.iter().filter(|h| **h == c).count()).max().unwrap();
        assert_eq!(most, (shards as usize).div_ceil(cores), "spread evenly");
    }
}

#[test]
fn hearts_beat_one_period_apart_whenever_they_look() {
    let millis = Duration::from_millis;
    for period in [millis(5), millis(50)] {
        for since in [millis(0), millis(1), millis(5), millis(799), millis(800), millis(123_457)] {
            let mut waits: Vec<Duration> =
                (0..16).map(|index| until_slot(since, period, index)).collect();
            waits.sort_unstable();
            assert!(Duration::ZERO < waits[0] && waits[0] <= period);
            assert!(waits.is_sorted_by(|a, b| *b - *a == period), "{waits:?}");
        }
    }
}
