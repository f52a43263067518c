//! The bounds that documents name are those of the model.

use std::collections::BTreeMap;

use model::limits;

use crate::tree;

/// Names and values of limits.
macro_rules! values {
    ($($name:ident)*) => {
        [$((stringify!($name), limits::$name as u64)),*]
    };
}

/// `1,000` for 1000.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let lead = digits.len() % 3;
    let (first, rest) = digits.split_at(lead);
    let rest: Vec<&str> = (0..rest.len() / 3).map(|n| &rest[3 * n..3 * n + 3]).collect();
    let parts = [first].into_iter().chain(rest).filter(|part| !part.is_empty());
    parts.collect::<Vec<&str>>().join(",")
}

#[test]
fn documents_name_the_bounds_there_are() {
    let values: BTreeMap<&str, u64> = BTreeMap::from(values![
        APPENDS_IN_FLIGHT_MAX APPEND_BYTES_MAX BODIES_BYTES_MAX BODY_BYTES_MAX BODY_BYTES_SMALL
        CLIENT_ANSWERS_MAX CLIENT_ANSWER_BYTES CLIENT_QUEUE_BYTES CLIENT_QUEUE_MESSAGES
        CLIENT_TAILS_MAX CONNECTIONS_DEFAULT EXPORTS_PER_SHARD HEADERS_MAX HEAD_BYTES_MAX
        LISTS_PER_SHARD LOG_KEPT_BYTES_PER_SHARD LOG_KEPT_WHILE_SENDING MESH_SLOTS
        NEWCOMER_OUTRUN_MAX NEWCOMER_WAIT_MAX_MS NEWCOMER_WAIT_MS PAGES_PER_SHARD PAGE_BYTES_MAX PEER_BATCH_BYTES
        PEER_BYTES_PER_SHARD PEER_FRAME_BYTES_MAX PEER_HANDSHAKE_BYTES_MAX PEER_HANDSHAKE_SECONDS
        PEER_MESSAGES_PER_SHARD PEER_QUEUE_BYTES PEER_QUEUE_MESSAGES PEER_SILENCE_MS
        PEER_STRANGERS_MAX PEER_TLS_BYTES_MAX READS_IN_FLIGHT_MAX REQUESTS_PER_SHARD
        REQUEST_BYTES_PER_SHARD SNAPSHOT_PART_BYTES TAILS_PER_SHARD TAIL_OUT_BYTES
        TAIL_STALL_SECONDS TAIL_WINDOW_BYTES
    ]);
    let files = crate::root().and_then(|root| tree::read(&root)).expect("the tree can be read");
    let document = files.iter().find(|file| file.path == "docs/protocol.md").expect("it is there");
    let (_, section) = document.text.split_once("## Queues and their bounds").expect("it is there");
    let parts: Vec<&str> = section.split('`').collect();
    let mut named = Vec::new();
    // Between two marks stands a name, or something else; behind a name its value.
    for pair in parts[1..].chunks_exact(2) {
        let (name, after) = (pair[0], pair[1]);
        if name.chars().all(|c| c.is_ascii_uppercase() || c == '_') {
            let value = *values.get(name).unwrap_or_else(|| panic!("{name} is not compared"));
            let number = |c: char| c.is_ascii_digit() || c == ',';
            let said: String = after.trim_start().chars().take_while(|c| number(*c)).collect();
            assert_eq!(said.trim_end_matches(','), grouped(value), "{name}");
            named.push(name);
        }
    }
    let missing: Vec<&&str> = values.keys().filter(|name| !named.contains(*name)).collect();
    assert!(missing.is_empty(), "{missing:?} are named nowhere");
}
