//! A disk without room, and a disk that has changed what was written to it.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cluster::{Cluster, until};
use crate::http::Response;
use crate::server::{Directory, PATIENCE, Server, alone};
use crate::session::Api;

/// For how long a node with a full disk is looked at: it tries twice a second whether there is room.
const FULL: Duration = Duration::from_secs(5);
const BLOCK: usize = 4096;
/// The exit status of a start that found what it cannot explain.
const CORRUPTION: i32 = 70;

/// A file system in a file.
#[derive(Debug)]
struct SmallDisk {
    mount: PathBuf,
}

impl SmallDisk {
    /// Makes one of so many bytes and mounts it under a name, or says why this machine does not let it.
    fn new(directory: &Path, name: &str, bytes: u64) -> Result<SmallDisk, String> {
        let (image, mount) = (directory.join("image"), directory.join(name));
        let file = File::create(&image).map_err(|error| error.to_string())?;
        file.set_len(bytes).map_err(|error| error.to_string())?;
        fs::create_dir(&mount).map_err(|error| error.to_string())?;
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&image))?;
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&mount))?;
        Ok(SmallDisk { mount })
    }

    fn free_bytes(&self) -> u64 {
        let state = rustix::fs::statvfs(&self.mount).expect("a mounted disk has a state");
        state.f_bavail * state.f_frsize
    }

    /// Fills it up to so many bytes.
    fn fill(&self, left: u64) {
        let mut ballast = File::create(self.mount.join("ballast")).expect("it can be made");
        let block = vec![1; 1024 * 1024];
        while left + 1024 * 1024 < self.free_bytes() {
            if ballast.write_all(&block).and_then(|()| ballast.sync_data()).is_err() {
                break;
            }
        }
    }

    fn relieve(&self) {
        fs::remove_file(self.mount.join("ballast")).expect("the ballast is there");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.mount).status();
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// The `n`th event of the only producer: 100 kB that no other event has.
fn large(n: u64) -> Value {
    json!({
        "type": "t",
        "payload": {"n": n, "fill": format!("{n:08}").repeat(12_500)},
        "producer_id": "p",
        "producer_seq": n,
    })
}

/// Whether an append was taken; a refusal is one for lack of room.
fn taken(response: &Response) -> bool {
    match response.status {
        201 => true,
        429 => {
            response.refused(429, "event_store_backpressure");
            false
        }
        503 => {
            response.expect(503);
            false
        }
        status => panic!("{status}: {}", response.text()),
    }
}

/// Everything acknowledged is there, once.
fn check(api: &Api, ids: &[String], heads: &[u64]) {
    for (id, head) in ids.iter().zip(heads) {
        let events = api.events(id);
        assert_eq!(events.len() as u64, *head, "{id}");
        for (n, event) in (1..).zip(&events) {
            assert_eq!(event["payload"], large(n)["payload"]);
        }
    }
}

#[test]
fn a_full_disk_refuses_appends_and_recovers() {
    let _alone = alone();
    let directory = Arc::new(Directory::new());
    let disk = match SmallDisk::new(directory.path(), "mount", 1024 * 1024 * 1024) {
        Ok(disk) => disk,
        Err(reason) => {
            println!("skipped: this machine forbids a file system in a file: {reason}");
            return;
        }
    };
    let mut server = Server::stopped(Arc::clone(&directory), disk.mount.join("data"));
    server.set_environment(&[("STARCITE_EVENT_STORE_MAX_SIZE", "32MB")]);
    server.run();
    let api = server.api();
    let ids: Vec<String> = (0..4).map(|_| api.session("full")).collect();
    let mut heads = vec![0_u64; ids.len()];
    disk.fill(4 * 1024 * 1024);
    let mut refused = vec![false; ids.len()];
    let start = Instant::now();
    while refused.contains(&false) {
        for (place, id) in ids.iter().enumerate() {
            refused[place] = !taken(&api.append(id, &large(heads[place] + 1)));
            heads[place] += u64::from(!refused[place]);
        }
        assert!(start.elapsed() < 2 * PATIENCE, "the disk is full and nothing is refused");
    }
    println!("refused after {heads:?} events; {} bytes left", disk.free_bytes());
    // It lives, and what it holds can be read.
    api.get("/health/live").expect(200);
    check(&api, &ids, &heads);
    let first = api.tail(&ids[0], "cursor=0").seqs(1);
    assert_eq!(first, [1]);
    disk.relieve();
    let start = Instant::now();
    for (place, id) in ids.iter().enumerate() {
        while !taken(&api.append(id, &large(heads[place] + 1))) {
            assert!(start.elapsed() < PATIENCE, "there is room again and nothing is taken");
            thread::sleep(Duration::from_millis(20));
        }
        heads[place] += 1;
    }
    check(&api, &ids, &heads);
    server.kill();
    server.run();
    check(&server.api(), &ids, &heads);
    drop(server);
    drop(disk);
}

#[test]
fn a_node_with_a_full_disk_hands_over_what_it_leads() {
    let _alone = alone();
    let cluster = Cluster::stopped(3);
    let disk = match SmallDisk::new(cluster.nodes[0].directory(), "data", 1024 * 1024 * 1024) {
        Ok(disk) => disk,
        Err(reason) => {
            println!("skipped: this machine forbids a file system in a file: {reason}");
            return;
        }
    };
    let cluster = cluster.started();
    let api = cluster.nodes[1].api();
    let ids: Vec<String> = (0..16).map(|_| api.session("shared")).collect();
    let mut heads = vec![0_u64; ids.len()];
    until("it leads something", || 0 < cluster.sum(0, "starcite_groups_led"));
    disk.fill(4 * 1024 * 1024);
    let mut clients: Vec<Api> = ids.iter().map(|_| cluster.nodes[1].api()).collect();
    let mut append = |heads: &mut [u64]| {
        thread::scope(|scope| {
            for ((id, head), api) in ids.iter().zip(heads).zip(&mut clients) {
                scope.spawn(move || *head += u64::from(taken(&api.append(id, &large(*head + 1)))));
            }
        });
    };
    until("it leads nothing", || {
        append(&mut heads);
        cluster.sum(0, "starcite_groups_led") == 0
    });
    // It stays so while it tries again and again whether there is room, and while the others go on with
    // every session.
    let (began, before) = (Instant::now(), heads.clone());
    let mut looks = 0;
    while began.elapsed() < FULL || before.iter().zip(&heads).any(|(before, head)| head == before) {
        append(&mut heads);
        assert_eq!(cluster.sum(0, "starcite_groups_led"), 0, "after {looks} looks");
        cluster.nodes[0].api().get("/health/ready").expect(503);
        looks += 1;
        assert!(began.elapsed() < PATIENCE, "the others do not go on: {before:?}, now {heads:?}");
        thread::sleep(Duration::from_millis(50));
    }
    println!("led nothing in {looks} looks; {before:?} events before, {heads:?} now");
    let log = cluster.nodes[0].log();
    assert!(log.contains("no room on the disk"), "nothing is said of it:\n{log}");
    disk.relieve();
    cluster.await_ready();
    for node in &cluster.nodes {
        check(&node.api(), &ids, &heads);
    }
    drop(cluster);
    drop(disk);
}

/// As much of a file as these tests write; nothing if a server has moved it away meanwhile.
fn head(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        file => file.expect("a file can be opened"),
    };
    file.take(1024 * 1024).read_to_end(&mut bytes).expect("a file can be read");
    Some(bytes)
}

/// Files below a directory that hold some bytes, and where.
fn find(directory: &Path, wanted: &[u8]) -> Vec<(PathBuf, usize)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory can be read") {
        let path = entry.expect("an entry can be read").path();
        if path.is_dir() {
            found.extend(find(&path, wanted));
        } else {
            let bytes = head(&path).unwrap_or_default();
            let mut windows = bytes.windows(wanted.len());
            found.extend(windows.position(|window| window == wanted).map(|at| (path, at)));
        }
    }
    found
}

fn flip(path: &Path, offset: usize) {
    let file = OpenOptions::new().read(true).write(true).open(path).expect("it can be opened");
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset as u64).expect("it can be read");
    file.write_all_at(&[byte[0] ^ 0x20], offset as u64).expect("it can be written");
    file.sync_all().expect("it can be synced");
}

/// A text that stands once in the log.
fn marker(n: u64) -> String {
    format!("marker-{n:06}-of-an-event")
}

fn marked(api: &Api, id: &str, first: u64, last: u64) {
    for n in first..=last {
        let body = json!({"type": "t", "payload": {"marker": marker(n)},
                          "producer_id": "p", "producer_seq": n});
        api.append(id, &body).expect(201);
    }
}

fn check_marked(api: &Api, id: &str, last: u64) {
    let events = api.events(id);
    assert_eq!(events.len() as u64, last);
    for (n, event) in (1..).zip(&events) {
        assert_eq!(event["payload"]["marker"], marker(n));
    }
}

#[test]
fn a_log_that_has_rotted_below_its_end_is_not_served() {
    let mut server = Server::start();
    let id = server.api().session("rot");
    marked(&server.api(), &id, 1, 30);
    server.kill();
    for n in [1, 2, 15, 29] {
        let found = find(server.data(), marker(n).as_bytes());
        let [(path, offset)] = found.as_slice() else {
            panic!("event {n} is once in the log: {found:?}");
        };
        flip(path, offset + 7);
        let before = server.log().len();
        let status = server.run_to_end();
        let words = server.log()[before..].to_owned();
        println!("{words}");
        assert_eq!(status.code(), Some(CORRUPTION), "{words}");
        let name = path.file_name().expect("a file has a name").to_str().expect("ASCII");
        assert!(words.contains(name), "{name} is not named:\n{words}");
        assert!(words.contains("at byte "), "no offset is named:\n{words}");
        // It has touched nothing: a second start says the same, and a mended log is whole.
        assert_eq!(server.run_to_end().code(), Some(CORRUPTION));
        flip(path, offset + 7);
    }
    server.run();
    check_marked(&server.api(), &id, 30);
}

#[test]
fn a_log_that_lacks_a_segment_is_not_served() {
    let mut server = Server::start();
    let id = server.api().session("lack");
    marked(&server.api(), &id, 1, 5);
    server.kill();
    // Another start, so that there is a newer segment than the one that holds the events.
    server.run();
    marked(&server.api(), &id, 6, 8);
    server.kill();
    let found = find(server.data(), marker(1).as_bytes());
    let [(path, _)] = found.as_slice() else { panic!("it is once in the log: {found:?}") };
    let aside = server.directory().join("aside");
    fs::rename(path, &aside).expect("a file can be moved");
    let status = server.run_to_end();
    assert_eq!(status.code(), Some(CORRUPTION), "{}", server.log());
    fs::rename(&aside, path).expect("a file can be moved back");
    server.run();
    check_marked(&server.api(), &id, 8);
}

/// Where the last block begins that is not all zeros, and whether it holds an event.
fn last_block(path: &Path) -> (usize, bool) {
    let bytes = head(path).expect("the newest segment stays where it is");
    let blocks = bytes.chunks(BLOCK).rposition(|block| block.iter().any(|byte| *byte != 0));
    let place = blocks.expect("a segment in use is not empty");
    let block = &bytes[place * BLOCK..(place + 1) * BLOCK];
    let holds = block.windows(7).any(|window| window == b"marker-");
    (place * BLOCK, holds)
}

/// Kills a server once its log ends with a batch that holds no event, as it does when nothing has
/// happened for a while; returns that batch's place.
fn kill_at_rest(server: &mut Server, last: u64) -> (PathBuf, usize) {
    let start = Instant::now();
    loop {
        let found = find(server.data(), marker(last).as_bytes());
        assert!(found.len() < 2, "it is once in the log: {found:?}");
        // None: the server has made the segment between the look at its directory and at its files.
        if let [(path, _)] = found.as_slice() {
            let (offset, holds) = last_block(path);
            if !holds {
                server.kill();
                assert_eq!(last_block(path), (offset, holds), "nothing more was written");
                return (path.clone(), offset);
            }
        }
        assert!(start.elapsed() < PATIENCE, "the log never ends with a mark");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_torn_tail_is_cut_off_and_nothing_acknowledged_goes_with_it() {
    let mut server = Server::start();
    let id = server.api().session("torn");
    let mut last = 0;
    type Damage = fn(&mut [u8]);
    let damages: [(&str, Damage); 5] = [
        ("the batch never reached the disk", |block| block[..BLOCK].fill(0)),
        ("only its second half did", |block| block[..32].fill(0)),
        ("it was torn in its first bytes", |block| block[1] ^= 0xff),
        ("it was torn within", |block| block[40] ^= 0xff),
        ("garbage lies behind it", |block| block[BLOCK..].fill(0xa5)),
    ];
    for (what, damage) in damages {
        marked(&server.api(), &id, last + 1, last + 10);
        last += 10;
        let (path, offset) = kill_at_rest(&mut server, last);
        let file = OpenOptions::new().read(true).write(true).open(&path).expect("it opens");
        let mut blocks = vec![0; 2 * BLOCK];
        file.read_exact_at(&mut blocks, offset as u64).expect("two blocks can be read");
        damage(&mut blocks);
        file.write_all_at(&blocks, offset as u64).expect("two blocks can be written");
        println!("{what}: {} at {offset}", path.display());
        server.run();
        check_marked(&server.api(), &id, last);
    }
}
