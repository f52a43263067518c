//! Item 35 of the checklist: what the environment may say, and how a start ends when it says
//! something else.

use std::fs;
use std::sync::Arc;

use serde_json::json;

use crate::server::{Directory, Server, starcite};

/// The exit status of a start that was refused for its configuration.
const CONFIGURATION: i32 = 64;

fn stopped() -> Server {
    let directory = Arc::new(Directory::new());
    let data = directory.path().join("data");
    Server::stopped(directory, data)
}

/// Starts a server that must refuse, and returns the one line it says.
fn refused(environment: &[(&str, &str)]) -> String {
    let mut server = stopped();
    server.set_environment(environment);
    let status = server.run_to_end();
    let log = server.log();
    assert_eq!(status.code(), Some(CONFIGURATION), "{environment:?}:\n{log}");
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines.len(), 1, "{environment:?}: one line was due:\n{log}");
    assert!(!server.data().join("shard-0000").exists(), "nothing was made");
    lines[0].to_owned()
}

const BAD: &[(&str, &[&str])] = &[
    ("PORT", &["abc", "0x10", "65536", "-1", "4000 4001", "4000.0"]),
    ("STARCITE_AUTH_MODE", &["jwtt", "off", "nonee"]),
    ("STARCITE_ARCHIVE_ADAPTER", &["disk", "s4"]),
    (
        "STARCITE_EVENT_STORE_MAX_SIZE",
        &["0", "abc", "-1", "1.5GB", "12XB", "MB", "1 0", "99999999999999999999TB", "1G1"],
    ),
    ("STARCITE_ARCHIVE_FLUSH_INTERVAL_MS", &["0", "abc", "-5", "1.5", "5s"]),
    ("STARCITE_ARCHIVE_READ_CACHE_RECLAIM_FRACTION", &["0", "1", "1.5", "abc", "0.009", "-0.5"]),
    ("STARCITE_ENABLE_TELEMETRY", &["maybe", "2", "truee"]),
    ("STARCITE_NUM_GROUPS", &["0", "abc", "-1"]),
    ("STARCITE_OPS_PORT", &["abc", "65536", "-1"]),
];

#[test]
fn b35_a_bad_value_stops_the_start_with_one_clear_line() {
    for (name, values) in BAD {
        for value in *values {
            let line = refused(&[(name, value)]);
            println!("{name}={value:?}: {line}");
            assert!(line.contains(name), "{line} does not name {name}");
        }
    }
}

#[test]
fn b35_an_integer_is_refused_in_the_words_of_the_contract() {
    let line = refused(&[("STARCITE_ARCHIVE_FLUSH_INTERVAL_MS", "12x")]);
    let plain = line.replace('\\', "");
    let words = "invalid integer for STARCITE_ARCHIVE_FLUSH_INTERVAL_MS: \"12x\"";
    assert!(plain.contains(words), "{line}");
}

#[test]
fn b35_what_is_not_built_yet_is_refused_and_not_ignored() {
    let line = refused(&[("STARCITE_AUTH_MODE", "jwt")]);
    assert!(line.contains("STARCITE_AUTH_MODE"), "{line}");
    let line = refused(&[("STARCITE_AUTH_MODE", "")]);
    assert!(line.contains("STARCITE_AUTH_MODE"), "an empty value is the default, jwt: {line}");
    for adapter in ["s3", "postgres"] {
        let line = refused(&[("STARCITE_ARCHIVE_ADAPTER", adapter)]);
        assert!(line.contains("STARCITE_ARCHIVE_ADAPTER"), "{line}");
    }
}

#[test]
fn b35_authentication_is_not_off_by_default() {
    let directory = Directory::new();
    let mut command = starcite();
    command.arg("serve").env("STARCITE_DATA_DIR", directory.path().join("data"));
    command.env("PORT", crate::server::free_port().to_string());
    let output = command.output().expect("the binary runs");
    assert_eq!(output.status.code(), Some(CONFIGURATION));
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(words.contains("STARCITE_AUTH_MODE"), "{words}");
}

#[test]
fn b35_values_in_every_allowed_spelling_start() {
    let sizes = ["64", "64MB", "64mb", "65536K", "65536KiB", "67108864B", "1g", "1GiB", "1T"];
    let flags = ["1", "true", "YES", "on", "0", "False", "no", "OFF"];
    let fractions = ["0.01", "0.25", "0.99", "0.5"];
    for round in 0..sizes.len() {
        let mut server = stopped();
        server.set_environment(&[
            ("STARCITE_AUTH_MODE", [" none ", "NONE", "None"][round % 3]),
            ("STARCITE_EVENT_STORE_MAX_SIZE", sizes[round]),
            ("STARCITE_ENABLE_TELEMETRY", flags[round % flags.len()]),
            ("STARCITE_ARCHIVE_READ_CACHE_RECLAIM_FRACTION", fractions[round % fractions.len()]),
            ("STARCITE_ARCHIVE_FLUSH_INTERVAL_MS", [" 5000 ", "1"][round % 2]),
            ("STARCITE_ARCHIVE_ADAPTER", ["none", " None "][round % 2]),
            ("CLUSTER_NODES", ["", " ", ",", " , ,"][round % 4]),
        ]);
        server.run();
        server.api().post("/v1/sessions", &json!({})).expect(201);
        assert_eq!(server.terminate().code(), Some(0));
    }
}

#[test]
fn b35_variables_of_other_times_do_not_stop_a_start() {
    let mut server = stopped();
    server.set_environment(&[
        ("PHX_SERVER", "true"),
        ("PHX_HOST", "example.com"),
        ("SECRET_KEY_BASE", "x"),
        ("MIGRATE_ON_BOOT", "true"),
        ("STARCITE_ARCHIVE_READ_CACHE_TTL_MS", "600000"),
        ("STARCITE_ARCHIVE_READ_CACHE_CLEANUP_INTERVAL_MS", "60000"),
        ("STARCITE_SESSION_STORE_TTL_MS", "21600000"),
        ("STARCITE_EVENT_STORE_CAPACITY_CHECK_INTERVAL", "4"),
        ("SLOT_LOG_DIR", "/nonexistent"),
        ("NODE_NAME", "n1"),
    ]);
    server.run();
    server.api().post("/v1/sessions", &json!({})).expect(201);
}

#[test]
fn b35_the_raft_directory_holds_all_data() {
    let directory = Arc::new(Directory::new());
    let data = directory.path().join("raft");
    let elsewhere = directory.path().join("elsewhere");
    let mut server = Server::stopped(Arc::clone(&directory), elsewhere.clone());
    let path = data.to_str().expect("a path in ASCII").to_owned();
    // The name of the first epochs, alone.
    server.set_environment(&[("STARCITE_RAFT_DATA_DIR", &path)]);
    server.unset("STARCITE_DATA_DIR");
    server.run();
    let id = server.api().session("pinned");
    server.api().append_numbered(&id, "p", 1, 3);
    server.kill();
    assert!(!elsewhere.exists());
    let names: Vec<_> = fs::read_dir(directory.path()).expect("readable").collect();
    assert_eq!(names.len(), 1, "nothing lies outside: {names:?}");
    assert!(fs::read_dir(&data).expect("it was made").count() > 0);
    server.run();
    assert_eq!(server.api().events(&id).len(), 3);
}

#[test]
fn b35_telemetry_is_on_by_default_and_can_be_switched_off() {
    let server = Server::start();
    server.api().session("on");
    assert!(server.api().get("/metrics").text().contains("starcite_"));
    drop(server);
    let server = Server::start_with(&[("STARCITE_ENABLE_TELEMETRY", "false")]);
    let api = server.api();
    let id = api.session("off");
    api.append_numbered(&id, "p", 1, 1);
    let response = api.get("/metrics");
    assert!(!response.text().contains("starcite_events_append_total{"), "{}", response.text());
}

#[test]
fn a_data_directory_has_one_owner() {
    let first = Server::start();
    let mut second = stopped();
    let path = first.data().to_str().expect("a path in ASCII").to_owned();
    second.set_environment(&[("STARCITE_DATA_DIR", &path)]);
    let status = second.run_to_end();
    assert_eq!(status.code(), Some(75), "{}", second.log());
    let id = first.api().session("undisturbed");
    first.api().append_numbered(&id, "p", 1, 2);
    assert_eq!(first.api().events(&id).len(), 2);
}

#[test]
fn a_taken_port_is_named() {
    let directory = Directory::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let mut command = crate::server::serve(&directory.path().join("data"), port);
    let output = command.output().expect("the binary runs");
    assert!(!output.status.success());
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(words.contains(&port.to_string()), "{words}");
}

#[test]
fn an_unknown_command_is_refused() {
    for arguments in [&["no-such-command"] as &[&str], &["serve", "--no-such-flag"]] {
        let output = starcite().args(arguments).output().expect("the binary runs");
        assert!(!output.status.success(), "{arguments:?}");
        assert!(!output.stderr.is_empty());
    }
}
