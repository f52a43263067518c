//! The other commands of the binary: clients of a running server, and those that need none.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::SystemTime;

use serde_json::Value;

use crate::server::{Directory, Server, starcite};

/// Runs a command to its end with this on its standard input.
fn run_with(words: &[&str], input: &str) -> Output {
    let mut command = starcite();
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary can be started");
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(input.as_bytes()).expect("the command reads its input or ignores it");
    drop(stdin);
    child.wait_with_output().expect("a child can be waited for")
}

fn run(words: &[&str]) -> Output {
    run_with(words, "")
}

/// What a command printed, if it went well.
#[track_caller]
fn printed(output: &Output) -> Vec<String> {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// The one line a command said when it failed with this status.
#[track_caller]
fn failed(output: &Output, status: i32) -> String {
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(status), "{errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
    errors
}

fn url(server: &Server) -> String {
    format!("http://{}", server.address())
}

fn seqs(lines: &[String]) -> Vec<u64> {
    let seq = |line: &String| {
        let event: Value = serde_json::from_str(line).expect("each line is an event");
        event["seq"].as_u64().expect("an event has a seq")
    };
    lines.iter().map(seq).collect()
}

/// Every file below a directory, how long it is and when it changed.
fn files(directory: &Path) -> Vec<(PathBuf, u64, SystemTime)> {
    let mut found = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).expect("a directory can be read") {
            let path = entry.expect("an entry can be read").path();
            if path.is_dir() {
                left.push(path);
                continue;
            }
            let metadata = fs::metadata(&path).expect("a file can be looked at");
            found.push((path, metadata.len(), metadata.modified().expect("files have times")));
        }
    }
    found.sort();
    found
}

#[test]
fn create_append_and_tail() {
    let server = Server::shared();
    let url = url(&server);
    let id = "ses/with a slash and \u{e4}";
    let made = printed(&run(&["create", id, "--title", "T", "--url", &url]));
    let session: Value = serde_json::from_str(&made.concat()).expect("a session is JSON");
    assert_eq!((&session["id"], &session["title"]), (&id.into(), &"T".into()));
    let one = run(&["append", id, "{\"n\":1.0}", "--type", "t", "--actor", "a:b", "--url", &url]);
    assert_eq!(seqs(&printed(&one)), [1]);
    let lines = run_with(&["append", id, "--url", &url], "{\"n\":2}\n\n{\"n\":3}\n");
    assert_eq!(seqs(&printed(&lines)), [2, 3]);
    let all = printed(&run(&["tail", id, "--no-follow", "--url", &url]));
    assert_eq!(seqs(&all), [1, 2, 3]);
    assert!(all[0].contains("{\"n\":1.0}"), "as it was sent: {}", all[0]);
    assert!(all[0].contains("\"actor\":\"a:b\""), "{}", all[0]);
    let some = run(&["tail", id, "--cursor", "1", "--limit", "1", "--url", &url]);
    assert_eq!(seqs(&printed(&some)), [2]);
    let none = run(&["tail", id, "--cursor", "3", "--no-follow", "--url", &url]);
    assert!(printed(&none).is_empty());
}

#[test]
fn an_append_sent_again_is_one_event() {
    let server = Server::shared();
    let url = url(&server);
    let id = server.api().session("again");
    let words =
        ["append", &id, "{\"n\":1}", "--producer-id", "p", "--producer-seq", "7", "--url", &url];
    assert!(printed(&run(&words))[0].contains("\"deduped\":false"));
    assert!(printed(&run(&words))[0].contains("\"deduped\":true"));
    assert_eq!(server.api().events(&id).len(), 1);
}

#[test]
fn refusals_are_told_in_one_line() {
    let server = Server::shared();
    let url = url(&server);
    let id = server.api().session("told");
    let line = failed(&run(&["create", &id, "--url", &url]), 1);
    assert!(line.contains("409") && line.contains("session_exists"), "{line}");
    let line = failed(&run(&["append", "absent", "{}", "--url", &url]), 1);
    assert!(line.contains("session_not_found"), "{line}");
    let line = failed(&run(&["append", &id, "{}", "--expected-seq", "5", "--url", &url]), 1);
    assert!(line.contains("Expected seq 5, current seq is 0"), "{line}");
    let line = failed(&run(&["tail", "absent", "--url", &url]), 1);
    assert!(line.contains("session_not_found"), "{line}");
    let line = failed(&run(&["create", "--url", "https://localhost"]), 64);
    assert!(line.contains("http://"), "{line}");
}

#[test]
fn a_tail_goes_on_when_the_server_comes_back() {
    let mut server = Server::start();
    let id = server.api().session("on");
    server.api().append_numbered(&id, "p", 1, 3);
    let mut command = starcite();
    command.args(["tail", &id, "--limit", "6", "--url", &url(&server)]);
    let mut tail = command.stdout(Stdio::piped()).spawn().expect("the binary can be started");
    let out = tail.stdout.take().expect("it is piped");
    let mut lines = BufReader::new(out).lines().map(|line| line.expect("the pipe can be read"));
    let mut events: Vec<String> = lines.by_ref().take(3).collect();
    server.kill();
    server.run();
    server.api().append_numbered(&id, "p", 4, 6);
    events.extend(lines);
    assert_eq!(seqs(&events), [1, 2, 3, 4, 5, 6]);
    assert!(tail.wait().expect("a child can be waited for").success());
}

#[test]
fn inspect_reads_what_a_killed_server_left_and_changes_nothing() {
    let mut server = Server::start_with(&[("STARCITE_SHARDS", "1")]);
    let id = server.api().session("seen");
    server.api().append_numbered(&id, "p", 1, 3);
    server.kill();
    let data = server.data().to_str().expect("a path in ASCII").to_owned();
    let before = files(server.data());
    let logs = printed(&run(&["inspect", "wal", "--records", "--data-dir", &data]));
    let count = |words: &str| logs.iter().filter(|line| line.contains(words)).count();
    assert_eq!(count("whole: a start replays"), 1, "{logs:?}");
    assert_eq!(count(&format!("append {id} producer p seq")), 3, "{logs:?}");
    let session = printed(&run(&["inspect", "session", &id, "--data-dir", &data]));
    assert_eq!(session.iter().filter(|line| line.contains("append")).count(), 3, "{session:?}");
    printed(&run(&["inspect", "checkpoint", "--all", "--data-dir", &data]));
    failed(&run(&["inspect", "session", "absent", "--data-dir", &data]), 1);
    failed(&run(&["inspect", "wal", "--shard", "1", "--data-dir", &data]), 1);
    assert_eq!(files(server.data()), before, "nothing is written");
}

#[test]
fn inspect_names_damage_to_what_was_acknowledged() {
    let mut server = Server::start_with(&[("STARCITE_SHARDS", "1")]);
    let id = server.api().session("hurt");
    server.api().append_numbered(&id, "p", 1, 9);
    server.kill();
    let data = server.data().to_str().expect("a path in ASCII").to_owned();
    let segment = server.data().join("shard-0000/log/0000000000000001.log");
    let mut bytes = fs::read(&segment).expect("the first segment is there");
    bytes[200] ^= 1;
    fs::write(&segment, bytes).expect("a file can be written");
    let line = failed(&run(&["inspect", "wal", "--data-dir", &data]), 70);
    assert!(line.contains("segment 1") && line.contains("checksum"), "{line}");
}

#[test]
fn inspect_needs_a_data_directory() {
    let directory = Directory::new();
    let path = directory.path().to_str().expect("a path in ASCII");
    for what in [&["wal"][..], &["checkpoint"], &["session", "x"]] {
        let words = [&["inspect"], what, &["--data-dir", path]].concat();
        assert!(failed(&run(&words), 1).contains("no manifest"));
    }
    assert_eq!(fs::read_dir(directory.path()).expect("it is there").count(), 0);
}

#[test]
fn doctor_says_what_is_fit_and_what_is_not() {
    let directory = Directory::new();
    let path = directory.path().join("not/there/yet");
    let path = path.to_str().expect("a path in ASCII");
    let lines = printed(&run(&["doctor", "--data-dir", path]));
    for what in
        ["kernel", "io_uring", "locked memory", "open files", "free space", "commit latency"]
    {
        assert!(lines.iter().any(|line| line.contains(what)), "{what} is missing: {lines:?}");
    }
    assert_eq!(fs::read_dir(directory.path()).expect("it is there").count(), 0, "all is gone");
    let output = run(&["doctor", "--data-dir", "/proc"]);
    failed(&output, 1);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("BAD") && text.contains("mend:"), "{text}");
}
