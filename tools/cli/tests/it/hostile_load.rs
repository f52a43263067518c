//! Ten thousand connections that do nothing.

use std::thread;

use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::json;

use crate::http::{Connection, Request};
use crate::server::{Server, alone};
use crate::session::numbered;

const CONNECTIONS: u64 = 10_000;
/// Files beside the connections: logs, rings, sockets between threads, other tests.
const OTHER_FILES: u64 = 1_000;
/// What one idle connection may cost the server, in bytes.
const CONNECTION_BYTES_MAX: u64 = 32 * 1024;

/// Raises the limit on open files for this process and its children; false if it may not be raised
/// far enough.
fn raise_file_limit() -> bool {
    let wanted = CONNECTIONS + OTHER_FILES;
    let mut limit = getrlimit(Resource::Nofile);
    if limit.maximum.is_some_and(|maximum| maximum < wanted) {
        // Only a privileged process may.
        limit.maximum = Some(wanted);
    }
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).is_ok()
}

#[test]
fn ten_thousand_idle_connections_cost_little_and_block_nobody() {
    let _alone = alone();
    if !raise_file_limit() {
        println!("skipped: this machine's hard limit on open files is below {CONNECTIONS}");
        return;
    }
    let server = Server::start();
    let api = server.api();
    let id = api.session("beside");
    api.append_numbered(&id, "p", 1, 10);
    let before = server.resident_bytes();
    let mut idle: Vec<Connection> = Vec::new();
    for n in 0..CONNECTIONS {
        let mut connection = Connection::open(server.address())
            .unwrap_or_else(|error| panic!("{error} at connection {n}"));
        // Some have spoken once, some never.
        if n % 2 == 0 {
            let answer = connection.call(&Request::get("/health/live"));
            let answer = answer.unwrap_or_else(|error| panic!("{error} at connection {n}"));
            answer.expect(200);
        }
        idle.push(connection);
    }
    let grown = server.resident_bytes().saturating_sub(before);
    println!("{CONNECTIONS} idle connections: {} bytes each", grown / CONNECTIONS);
    assert!(grown < CONNECTIONS * CONNECTION_BYTES_MAX, "grew by {grown} bytes");
    thread::scope(|scope| {
        for hand in 0..4 {
            let (server, id) = (&server, &id);
            scope.spawn(move || {
                let api = server.api();
                for n in 1..=50 {
                    api.append(id, &numbered(&format!("w{hand}"), n)).expect(201);
                }
            });
        }
    });
    assert_eq!(api.events(&id).len(), 210);
    let mut tail = server.api().tail(&id, "cursor=205");
    assert_eq!(tail.seqs(5), [206, 207, 208, 209, 210]);
    drop(idle);
    // All of them leave at once; whoever comes next is served as before.
    for _ in 0..100 {
        server.api().post("/v1/sessions", &json!({})).expect(201);
    }
    server.api().get("/health/ready").expect(200);
}
