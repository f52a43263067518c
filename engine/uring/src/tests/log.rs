//! The ring and the log writer, on real files and on files that fail.

use std::fs::{self, File, OpenOptions};
use std::io::PipeWriter;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;

use shard::aligned::AlignedBuffer;

use super::TempDir;
use crate::direct;
use crate::log_writer::LogWriter;
use crate::ring::{LogError, Ring, SyncStrategy};
use crate::rt;

const BLOCK: usize = 4096;
const ENOSPC: i32 = 28;
const EBADF: i32 = 9;
const EINVAL: i32 = 22;

fn filled(byte: u8, blocks: usize) -> AlignedBuffer {
    let mut buffer = AlignedBuffer::zeroed(blocks * BLOCK);
    buffer.as_mut_slice().fill(byte);
    buffer
}

fn zeros(path: &Path, blocks: usize) {
    let file = direct::create(path).unwrap();
    direct::fill_with_zeros(&file, (blocks * BLOCK) as u64).unwrap();
    file.sync_all().unwrap();
}

#[test]
fn batches_of_either_strategy_are_on_the_platter() {
    let dir = TempDir::new();
    for strategy in [SyncStrategy::Link, SyncStrategy::Dsync] {
        let path = dir.path().join(format!("{strategy:?}"));
        zeros(&path, 8);
        let file = Rc::new(direct::open_for_write(&path).unwrap());
        let mut ring = Ring::new(strategy).unwrap();
        let mut expected = vec![0; 8 * BLOCK];
        for (place, blocks) in [(0, 1), (1, 4), (5, 2), (1, 1)] {
            let byte = u8::try_from(place * 10 + blocks).unwrap();
            expected[place * BLOCK..(place + blocks) * BLOCK].fill(byte);
            ring.submit(Rc::clone(&file), (place * BLOCK) as u64, filled(byte, blocks)).unwrap();
            assert!(ring.busy());
            let back = ring.wait().unwrap();
            assert_eq!(back.as_slice(), filled(byte, blocks).as_slice(), "the buffer comes back");
            assert!(!ring.busy());
            assert!(ring.reap().is_none());
        }
        assert!(fs::read(&path).unwrap() == expected);
    }
}

/// A file whose writes or syncs fail as wanted.
fn faulty(pipe: PipeWriter) -> Vec<(&'static str, File, AlignedBuffer, LogError)> {
    let open = |path: &str| OpenOptions::new().write(true).open(path).unwrap();
    let pipe = OwnedFd::from(pipe);
    rustix::io::ioctl_fionbio(&pipe, true).unwrap();
    let pipe_bytes = 64 * 1024;
    let short = LogError::ShortWrite { wanted: 2 * pipe_bytes, written: pipe_bytes };
    vec![
        ("no room", open("/dev/full"), filled(1, 1), LogError::Write(ENOSPC)),
        ("read only", File::open("/dev/null").unwrap(), filled(1, 1), LogError::Write(EBADF)),
        ("no sync", open("/dev/null"), filled(1, 1), LogError::Sync(EINVAL)),
        ("short write", File::from(pipe), filled(1, 2 * pipe_bytes / BLOCK), short),
    ]
}

#[test]
fn an_error_is_told_and_latched() {
    let dir = TempDir::new();
    let path = dir.path().join("good");
    zeros(&path, 1);
    let (_reader, pipe) = std::io::pipe().unwrap();
    for (name, file, buffer, error) in faulty(pipe) {
        let mut ring = Ring::new(SyncStrategy::Link).unwrap();
        ring.submit(Rc::new(file), 0, buffer).unwrap();
        assert_eq!(ring.wait().unwrap_err(), error, "{name}");
        let good = Rc::new(direct::open_for_write(&path).unwrap());
        let after = ring.submit(good, 0, filled(9, 1));
        assert_eq!(after, Err(LogError::Latched), "{name}: nothing is written after an error");
    }
    assert!(fs::read(&path).unwrap().iter().all(|byte| *byte == 0));
}

#[test]
fn dropping_a_ring_waits_for_its_batch() {
    let dir = TempDir::new();
    let path = dir.path().join("log");
    zeros(&path, 64);
    for round in 1..=20 {
        let file = Rc::new(direct::open_for_write(&path).unwrap());
        let mut ring = Ring::new(SyncStrategy::Link).unwrap();
        ring.submit(file, 0, filled(round, 64)).unwrap();
        drop(ring);
        assert!(fs::read(&path).unwrap().iter().all(|byte| *byte == round), "round {round}");
    }
}

#[test]
#[should_panic(expected = "one batch at a time")]
fn a_second_batch_waits_for_the_first() {
    let dir = TempDir::new();
    let path = dir.path().join("log");
    zeros(&path, 2);
    let file = Rc::new(direct::open_for_write(&path).unwrap());
    let mut ring = Ring::new(SyncStrategy::Link).unwrap();
    ring.submit(Rc::clone(&file), 0, filled(1, 1)).unwrap();
    let _ = ring.submit(file, BLOCK as u64, filled(2, 1));
}

/// Writes blocks 0 to 63 one after the other.
async fn write_all(path: &Path, polls: bool) {
    let file = Rc::new(direct::open_for_write(path).unwrap());
    let writer = LogWriter::new(SyncStrategy::Link).unwrap();
    let mut buffer = filled(0, 1);
    for place in 0..64_u8 {
        if !polls {
            writer.stop_polling();
        }
        buffer.as_mut_slice().fill(place + 1);
        let offset = u64::from(place) * BLOCK as u64;
        buffer = writer.write(&file, offset, buffer).await.unwrap();
        assert!(!writer.busy());
    }
}

#[test]
fn the_writer_waits_by_polling_and_by_bell() {
    let dir = TempDir::new();
    for polls in [true, false] {
        let path = dir.path().join(format!("polls-{polls}"));
        zeros(&path, 64);
        let file = path.clone();
        rt::run(None, move || async move { write_all(&file, polls).await }).unwrap();
        let bytes = fs::read(&path).unwrap();
        for (place, block) in bytes.chunks(BLOCK).enumerate() {
            assert!(block.iter().all(|byte| usize::from(*byte) == place + 1), "block {place}");
        }
    }
}

#[test]
fn a_looker_takes_the_result_from_a_waiter_and_the_next_batch_still_comes() {
    let dir = TempDir::new();
    let path = dir.path().join("log");
    zeros(&path, 2);
    let outcome = rt::run(None, move || async move {
        let file = Rc::new(direct::open_for_write(&path).unwrap());
        let writer = Rc::new(LogWriter::new(SyncStrategy::Link).unwrap());
        for round in 0..50_u8 {
            writer.stop_polling();
            writer.submit(&file, 0, filled(round, 1)).unwrap();
            let waiter = Rc::clone(&writer);
            let (sender, receiver) = std::sync::mpsc::channel();
            rt::spawn_local(async move {
                sender.send(waiter.wait_a_little().await.is_some()).unwrap();
            });
            let mut looked = false;
            while writer.busy() {
                looked |= writer.look().is_some();
                rt::yield_now().await;
            }
            let waited = loop {
                match receiver.try_recv() {
                    Ok(waited) => break waited,
                    Err(_) => rt::sleep(std::time::Duration::from_micros(50)).await,
                }
            };
            assert!(looked != waited, "exactly one is told");
        }
    });
    outcome.unwrap();
}

#[test]
fn a_failed_batch_reaches_the_waiter() {
    for polls in [true, false] {
        let outcome = rt::run(None, move || async move {
            let full = Rc::new(OpenOptions::new().write(true).open("/dev/full").unwrap());
            let writer = LogWriter::new(SyncStrategy::Link).unwrap();
            if !polls {
                writer.stop_polling();
            }
            let first = writer.write(&full, 0, filled(1, 1)).await.map(|_| ());
            let second = writer.write(&full, 0, filled(1, 1)).await.map(|_| ());
            (first, second)
        });
        let failed = (Err(LogError::Write(ENOSPC)), Err(LogError::Latched));
        assert_eq!(outcome.unwrap(), failed);
    }
}
