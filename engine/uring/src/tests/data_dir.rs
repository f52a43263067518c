//! A data directory is held by one process, made once, and never made anew beside data.

use std::fs;
use std::path::{Path, PathBuf};

use model::cluster::NodeName;
use model::error::Fatal;
use model::ids::{Placement, ShardId};

use super::TempDir;
use crate::data_dir::{DataDir, DataDirError, Wanted, read_manifest};
use crate::layout::ShardDir;
use crate::manifest::Founding;

/// Where nothing is yet, two levels deep.
fn data(temporary: &TempDir) -> PathBuf {
    temporary.path().join("a/b")
}

fn open(path: &Path, wanted: Wanted) -> Result<DataDir, DataDirError> {
    DataDir::open(path, &node("a"), wanted)
}

fn node(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

const ANY: Wanted = Wanted { groups: 8, shards: None, shards_default: 3 };

/// The directory cannot be used, for a reason that ends the process like this and says this.
#[track_caller]
fn refuses(path: &Path, wanted: Wanted, end: Fatal, words: &str) {
    let error = open(path, wanted).expect_err("it is refused");
    assert_eq!(error.fatal(), end, "{error}");
    assert!(error.to_string().contains(words), "{error} lacks {words:?}");
    assert!(!error.to_string().contains('\n'), "one line");
}

#[test]
fn makes_a_directory_once_and_finds_it_again() {
    let temporary = TempDir::new();
    let path = data(&temporary);
    let made = open(&path, ANY).unwrap().manifest().clone();
    assert_eq!(made.placement, Placement::new(8, 3));
    assert_eq!(made.logs.len(), 3);
    assert!(made.logs.iter().all(|log| *log != 0) && made.incarnation != 0);
    assert_eq!((made.node.as_str(), &made.founding), ("a", &None));
    assert_eq!(made.member().tag(), made.node.tag());
    let again = open(&path, ANY).unwrap();
    assert_eq!(*again.manifest(), made, "nothing is made anew");
    assert_eq!(read_manifest(&path), Ok(Some(made.clone())), "also while it is held");
    drop(again);
    // Another number of cores changes nothing; the same number in words is no contradiction.
    for wanted in [Wanted { shards_default: 7, ..ANY }, Wanted { shards: Some(3), ..ANY }] {
        assert_eq!(*open(&path, wanted).unwrap().manifest(), made);
    }
}

#[test]
fn no_shard_is_without_a_group() {
    let temporary = TempDir::new();
    let wanted = Wanted { groups: 2, shards: None, shards_default: 64 };
    let made = open(&data(&temporary), wanted).unwrap();
    assert_eq!(made.manifest().placement, Placement::new(2, 2));
}

#[test]
fn is_held_by_one_at_a_time() {
    let temporary = TempDir::new();
    let path = data(&temporary);
    let held = open(&path, ANY).unwrap();
    let holder = format!("held by process {}", std::process::id());
    refuses(&path, ANY, Fatal::DataDirectoryInUse, &holder);
    drop(held);
    open(&path, ANY).unwrap();
}

#[test]
fn counts_cannot_change() {
    let temporary = TempDir::new();
    let path = data(&temporary);
    open(&path, ANY).unwrap();
    let groups = Wanted { groups: 16, ..ANY };
    refuses(&path, groups, Fatal::Configuration, "made with 8 groups, not 16");
    let shards = Wanted { shards: Some(2), ..ANY };
    refuses(&path, shards, Fatal::Configuration, "made with 3 shards, not 2");
}

#[test]
fn a_lost_manifest_is_not_made_anew() {
    let temporary = TempDir::new();
    let path = data(&temporary);
    open(&path, ANY).unwrap();
    fs::remove_file(path.join("manifest")).unwrap();
    // No data yet: this is what a start leaves that was interrupted before the manifest.
    open(&path, ANY).unwrap();
    for file in
        ["log/0000000000000001.log", "chunk-0000000000000001", "checkpoint-0000000000000001"]
    {
        let _ = fs::remove_file(path.join("manifest"));
        let file = ShardDir::new(&path, ShardId(1)).path().join(file);
        fs::write(&file, b"data").unwrap();
        refuses(&path, ANY, Fatal::Corruption, "shard-0001 holds data");
        assert!(!path.join("manifest").exists());
        fs::remove_file(&file).unwrap();
    }
}

#[test]
fn a_damaged_manifest_is_not_made_anew() {
    let temporary = TempDir::new();
    let path = data(&temporary);
    open(&path, ANY).unwrap();
    let file = path.join("manifest");
    let text = fs::read_to_string(&file).unwrap();
    for damaged in [text.replace("groups 8", "groups 9"), String::new(), text[..40].to_owned()] {
        fs::write(&file, &damaged).unwrap();
        refuses(&path, ANY, Fatal::Corruption, "manifest cannot be used");
        assert_eq!(fs::read_to_string(&file).unwrap(), damaged, "it stays as it is");
    }
    fs::write(&file, [0xff; 64]).unwrap();
    refuses(&path, ANY, Fatal::Corruption, "manifest cannot be used");
    fs::write(&file, text.replace("directory 2", "directory 9")).unwrap();
    refuses(&path, ANY, Fatal::Configuration, "version 9");
    fs::write(&file, text.replace("directory 2", "directory 1")).unwrap();
    refuses(&path, ANY, Fatal::Configuration, "never released");
    fs::write(&file, text).unwrap();
    open(&path, ANY).unwrap();
}

#[test]
fn a_lost_shard_is_not_made_anew() {
    let temporary = TempDir::new();
    let path = data(&temporary);
    open(&path, ANY).unwrap();
    fs::remove_dir_all(ShardDir::new(&path, ShardId(2)).path()).unwrap();
    refuses(&path, ANY, Fatal::Corruption, "is missing");
}

#[test]
fn foreign_directories_are_left_alone() {
    let temporary = TempDir::new();
    fs::create_dir(temporary.path().join("lost+found")).unwrap();
    fs::write(temporary.path().join("letter"), b"dear").unwrap();
    refuses(temporary.path(), ANY, Fatal::Configuration, "it holds letter");
    fs::remove_file(temporary.path().join("letter")).unwrap();
    fs::write(temporary.path().join("manifest.tmp"), b"half").unwrap();
    open(temporary.path(), ANY).unwrap();
}

#[test]
fn says_what_the_operating_system_refuses() {
    let temporary = TempDir::new();
    let file = temporary.path().join("file");
    fs::write(&file, b"").unwrap();
    refuses(&file.join("data"), ANY, Fatal::Failed, "cannot make");
    refuses(&file, ANY, Fatal::Failed, "cannot open");
    assert_eq!(read_manifest(temporary.path()), Ok(None));
}

#[test]
fn becomes_part_of_a_cluster_once() {
    let temporary = TempDir::new();
    let path = data(&temporary);
    let mut made = open(&path, ANY).unwrap();
    let members = vec![made.manifest().member()];
    let founding = Founding { cluster: 5, groups: 8, factor: 1, members };
    made.join(founding.clone()).unwrap();
    let joined = made.manifest().clone();
    assert_eq!(joined.founding, Some(founding));
    drop(made);
    assert_eq!(*open(&path, ANY).unwrap().manifest(), joined, "it lasts");
}

#[test]
fn stays_with_its_node() {
    let temporary = TempDir::new();
    let path = data(&temporary);
    let made = open(&path, ANY).unwrap().manifest().clone();
    let error = DataDir::open(&path, &node("b"), ANY).expect_err("another node's");
    assert_eq!(error.fatal(), Fatal::Configuration);
    let words = "belongs to node a, not b; set NODE_NAME=a";
    assert!(error.to_string().ends_with(words), "{error}");
    assert_eq!(*open(&path, ANY).unwrap().manifest(), made);
    let other = data(&TempDir::new());
    assert_ne!(open(&other, ANY).unwrap().manifest().member(), made.member(), "another life");
}
