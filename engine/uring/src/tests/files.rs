//! The file threads' work, on a real file system and on one without room.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use model::ids::ShardId;
use shard::aligned::AlignedBuffer;
use shard::effect::{Completion, FileName, NoSpace, ReadId, SegmentNumber};

use super::TempDir;
use crate::disk::probe;
use crate::files::{Done, Hands, Job, Work};
use crate::layout::ShardDir;
use crate::ring::SyncStrategy;

const BLOCK: usize = 4096;
const SEGMENT: u64 = 300 * 1024;
/// Names the directory of a small file system to the test that is run again inside it.
const SMALL_DIR: &str = "STARCITE_TEST_SMALL_DIR";

/// One thread's hands and a shard's directory.
struct Bench {
    hands: Hands,
    dir: Arc<ShardDir>,
}

impl Bench {
    fn new(data_dir: &Path, segment_bytes: u64) -> Bench {
        let dir = ShardDir::new(data_dir, ShardId(0));
        dir.create().unwrap();
        Bench { hands: Hands::new(segment_bytes), dir: Arc::new(dir) }
    }

    fn run(&mut self, work: Work) -> Option<Done> {
        let job = Job { shard: ShardId(0), dir: Arc::clone(&self.dir), work };
        self.hands.run(job).map_err(|failure| format!("{failure:?}")).unwrap()
    }

    fn done(&mut self, work: Work) -> Completion {
        self.run(work).expect("this work is answered").completion
    }

    fn prepare(&mut self, number: u64, recycle: Option<u64>) -> Completion {
        let recycle = recycle.map(SegmentNumber);
        self.done(Work::SegmentPrepare { number: SegmentNumber(number), recycle })
    }

    fn write(&mut self, file: FileName, block: u64, byte: u8) -> Completion {
        let mut buffer = AlignedBuffer::zeroed(BLOCK);
        buffer.as_mut_slice().fill(byte);
        self.done(Work::Write { file, offset: block * BLOCK as u64, buffer })
    }

    fn read(&mut self, file: FileName, block: u64, blocks: usize) -> Result<Vec<u8>, String> {
        let (read, offset) = (ReadId(5), block * BLOCK as u64);
        match self.done(Work::Read { read, file, offset, bytes: blocks * BLOCK }) {
            Completion::FileRead { read: ReadId(5), result } => {
                result.map(|buffer| buffer.as_slice().to_vec())
            }
            other => panic!("{other:?}"),
        }
    }

    /// Names in the shard's directory and its log, sorted.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = [self.dir.path(), self.dir.log()]
            .into_iter()
            .flat_map(|dir| fs::read_dir(dir).unwrap())
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "log")
            .collect();
        names.sort();
        names
    }
}

#[test]
fn a_segment_is_whole_and_zero_and_comes_open() {
    let temp = TempDir::new();
    let mut bench = Bench::new(temp.path(), SEGMENT);
    let work = Work::SegmentPrepare { number: SegmentNumber(7), recycle: None };
    let done = bench.run(work).unwrap();
    assert!(matches!(done.completion, Completion::SegmentReady { number: SegmentNumber(7) }));
    assert_eq!(done.segment.unwrap().metadata().unwrap().len(), SEGMENT);
    assert_eq!(bench.names(), ["0000000000000007.log"]);
    let bytes = fs::read(bench.dir.segment(SegmentNumber(7))).unwrap();
    assert_eq!(bytes.len() as u64, SEGMENT);
    assert!(bytes.iter().all(|byte| *byte == 0));
}

#[test]
fn a_recycled_segment_keeps_its_bytes_unless_it_is_not_whole() {
    let temp = TempDir::new();
    let mut bench = Bench::new(temp.path(), SEGMENT);
    bench.prepare(1, None);
    let whole = vec![3; usize::try_from(SEGMENT).unwrap()];
    fs::write(bench.dir.segment(SegmentNumber(1)), &whole).unwrap();
    let ready = bench.prepare(2, Some(1));
    assert!(matches!(ready, Completion::SegmentReady { number: SegmentNumber(2) }));
    assert_eq!(bench.names(), ["0000000000000002.log"]);
    assert!(fs::read(bench.dir.segment(SegmentNumber(2))).unwrap() == whole);

    fs::write(bench.dir.segment(SegmentNumber(2)), b"cut").unwrap();
    bench.prepare(3, Some(2));
    bench.prepare(4, Some(99));
    assert_eq!(bench.names(), ["0000000000000003.log", "0000000000000004.log"]);
    for number in [3, 4] {
        let bytes = fs::read(bench.dir.segment(SegmentNumber(number))).unwrap();
        assert_eq!(bytes.len() as u64, SEGMENT);
        assert!(bytes.iter().all(|byte| *byte == 0));
    }
    assert!(bench.run(Work::SegmentRemove { number: SegmentNumber(3) }).is_none());
    assert!(bench.run(Work::SegmentRemove { number: SegmentNumber(3) }).is_none());
    assert_eq!(bench.names(), ["0000000000000004.log"]);
}

#[test]
fn a_file_has_its_name_only_when_it_is_published() {
    let temp = TempDir::new();
    let mut bench = Bench::new(temp.path(), SEGMENT);
    let (chunk, checkpoint) = (FileName::Chunk(1), FileName::Checkpoint(1));
    for (file, byte) in [(chunk, 10), (checkpoint, 20)] {
        let written = bench.write(file, 0, byte);
        assert!(matches!(written, Completion::FileWritten { file: f, .. } if f == file));
        bench.write(file, 1, byte + 1);
    }
    assert_eq!(bench.names(), ["checkpoint-0000000000000001.tmp", "chunk-0000000000000001.tmp"]);
    assert!(bench.read(chunk, 0, 1).is_err(), "not there before it is published");
    let published = bench.done(Work::Publish { file: chunk });
    assert!(matches!(published, Completion::FilePublished { file } if file == chunk));
    assert_eq!(bench.names(), ["checkpoint-0000000000000001.tmp", "chunk-0000000000000001"]);

    assert_eq!(bench.read(chunk, 0, 2).unwrap(), [[10; BLOCK], [11; BLOCK]].concat());
    assert_eq!(bench.read(chunk, 1, 1).unwrap(), [11; BLOCK]);
    assert!(bench.read(chunk, 1, 2).is_err(), "not past the end");
    assert!(bench.read(FileName::Chunk(9), 0, 1).is_err());

    for file in [chunk, checkpoint, FileName::Chunk(9)] {
        assert!(bench.run(Work::Remove { file }).is_none());
    }
    assert!(bench.names().is_empty());
}

#[test]
fn a_file_begun_anew_holds_nothing_of_the_old_one() {
    let temp = TempDir::new();
    let mut bench = Bench::new(temp.path(), SEGMENT);
    let file = FileName::Chunk(1);
    for block in 0..4 {
        bench.write(file, block, 1);
    }
    bench.write(file, 0, 2);
    bench.done(Work::Publish { file });
    assert_eq!(fs::read(bench.dir.file(file)).unwrap(), [2; BLOCK]);
}

#[test]
fn what_is_neither_room_nor_reading_is_a_failure() {
    let temp = TempDir::new();
    let mut bench = Bench::new(temp.path(), SEGMENT);
    fs::remove_dir_all(bench.dir.path()).unwrap();
    for work in [
        Work::SegmentPrepare { number: SegmentNumber(1), recycle: None },
        Work::Write { file: FileName::Chunk(1), offset: 0, buffer: AlignedBuffer::zeroed(BLOCK) },
        Work::SegmentRemove { number: SegmentNumber(1) },
    ] {
        let job = Job { shard: ShardId(0), dir: Arc::clone(&bench.dir), work };
        assert!(bench.hands.run(job).is_err());
    }
}

#[test]
fn the_probe_leaves_nothing_and_names_what_is_refused() {
    let temp = TempDir::new();
    let dir = ShardDir::new(temp.path(), ShardId(0));
    let refused = probe(&dir, SyncStrategy::Link).unwrap_err();
    assert!(refused.contains("probe.tmp"), "{refused}");
    dir.create().unwrap();
    probe(&dir, SyncStrategy::Link).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "only the log directory");
}

/// Runs [`inside_a_small_file_system`] again in a mount namespace with a file system of one megabyte.
/// Where namespaces are not allowed there is nothing to test with.
#[test]
fn lack_of_room_is_told_and_passes() {
    let temp = TempDir::new();
    let script = format!(
        "mount -t tmpfs -o size=1m none {dir} && {SMALL_DIR}={dir} exec {program} --exact \
         tests::files::inside_a_small_file_system",
        dir = temp.path().display(),
        program = std::env::current_exe().unwrap().display(),
    );
    let namespace = ["--user", "--map-root-user", "--mount"];
    let allowed = Command::new("unshare").args(namespace).arg("true").output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        return;
    }
    let output = Command::new("unshare").args(namespace).args(["sh", "-c", &script]).output();
    let output = output.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1 passed"), "{text}");
}

#[test]
fn inside_a_small_file_system() {
    let Some(dir) = std::env::var_os(SMALL_DIR) else {
        return;
    };
    let mut bench = Bench::new(Path::new(&dir), SEGMENT);
    for number in 1..=3 {
        assert!(matches!(bench.prepare(number, None), Completion::SegmentReady { .. }));
    }
    let what = NoSpace::Segment(SegmentNumber(4));
    assert!(matches!(bench.prepare(4, None), Completion::NoSpace { what: w } if w == what));
    assert_eq!(bench.names().len(), 3, "nothing is left of the fourth");
    assert!(matches!(bench.prepare(5, Some(1)), Completion::SegmentReady { .. }));

    let file = FileName::Chunk(1);
    let full = (0..256)
        .find(|block| !matches!(bench.write(file, *block, 1), Completion::FileWritten { .. }));
    let full = full.expect("a megabyte is full at some block");
    let no_room = |done: Completion| matches!(done, Completion::NoSpace { what } if what == NoSpace::File(file));
    assert!(no_room(bench.write(file, full + 1, 1)), "nothing more until it is begun anew");
    assert!(no_room(bench.done(Work::Publish { file })));
    assert_eq!(bench.names().len(), 3, "nothing is left of the file");

    bench.run(Work::SegmentRemove { number: SegmentNumber(5) });
    for block in 0..full + 1 {
        assert!(matches!(bench.write(file, block, 2), Completion::FileWritten { .. }));
    }
    assert!(matches!(bench.done(Work::Publish { file }), Completion::FilePublished { .. }));
    assert!(matches!(bench.prepare(6, Some(2)), Completion::SegmentReady { .. }));
}
