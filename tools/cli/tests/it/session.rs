//! A client that keeps its connection, and the words most tests need.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::http::{Connection, Request, Response, is_closed};
use crate::ws::Tail;

/// An id that no other test of this run uses.
pub(crate) fn unique(name: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A client of one server.
#[derive(Debug)]
pub(crate) struct Api {
    address: SocketAddr,
    connection: RefCell<Option<Connection>>,
}

impl Api {
    pub(crate) fn new(address: SocketAddr) -> Api {
        Api { address, connection: RefCell::new(None) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends a request once; the connection is kept if the server keeps it.
    pub(crate) fn try_call(&self, request: &Request) -> io::Result<Response> {
        let kept = self.connection.take();
        let mut connection = kept.map_or_else(|| Connection::open(self.address), Ok)?;
        let response = connection.call(request)?;
        if response.header("connection") != Some("close") {
            self.connection.replace(Some(connection));
        }
        Ok(response)
    }

    /// Sends a request; once more if the server had closed a kept connection meanwhile.
    pub(crate) fn call(&self, request: &Request) -> Response {
        let kept = self.connection.borrow().is_some();
        match self.try_call(request) {
            Err(error) if kept && is_closed(&error) => self.try_call(request),
            result => result,
        }
        .unwrap_or_else(|error| panic!("{error} after {request:?}"))
    }

    pub(crate) fn get(&self, target: &str) -> Response {
        self.call(&Request::get(target))
    }

    pub(crate) fn post(&self, target: &str, body: &Value) -> Response {
        self.call(&Request::post(target).json(body))
    }

    pub(crate) fn patch(&self, target: &str, body: &Value) -> Response {
        self.call(&Request::new("PATCH", target).json(body))
    }

    /// Makes a session with an id of its own and returns the id.
    pub(crate) fn session(&self, name: &str) -> String {
        let id = unique(name);
        self.post("/v1/sessions", &json!({"id": id})).expect(201);
        id
    }

    /// Appends a body to a session whose id needs no encoding.
    pub(crate) fn append(&self, session: &str, body: &Value) -> Response {
        self.post(&format!("/v1/sessions/{session}/append"), body)
    }

    /// Appends events `{"n": first}` to `{"n": last}` of one producer, which counts with them.
    pub(crate) fn append_numbered(&self, session: &str, producer: &str, first: u64, last: u64) {
        for n in first..=last {
            self.append(session, &numbered(producer, n)).expect(201);
        }
    }

    /// All events of a session, page by page.
    pub(crate) fn events(&self, session: &str) -> Vec<Value> {
        let mut events: Vec<Value> = Vec::new();
        loop {
            let cursor = events.len();
            let page =
                self.get(&format!("/v1/sessions/{session}/events?cursor={cursor}&limit=1000"));
            let mut page = page.expect(200);
            let last_seq = page["last_seq"].as_u64().expect("a page names the head");
            let Value::Array(found) = page["events"].take() else {
                panic!("a page holds a list of events");
            };
            let done = found.is_empty();
            events.extend(found);
            if done || last_seq == u64::try_from(events.len()).expect("it fits") {
                return events;
            }
        }
    }

    /// A session as it is now.
    pub(crate) fn row(&self, session: &str) -> Value {
        self.get(&format!("/v1/sessions/{session}")).expect(200)
    }

    pub(crate) fn tail(&self, session: &str, query: &str) -> Tail {
        Tail::open(self.address, session, query).expect("the tail opens")
    }
}

/// The `n`th event of a producer.
pub(crate) fn numbered(producer: &str, n: u64) -> Value {
    json!({
        "type": "content",
        "payload": {"n": n},
        "producer_id": producer,
        "producer_seq": n,
    })
}

/// An event without a producer.
pub(crate) fn loose(text: &str) -> Value {
    json!({"type": "content", "payload": {"text": text}})
}

/// Whether a text is an ISO 8601 time in UTC, with or without a fraction of a second.
pub(crate) fn is_timestamp(value: &Value) -> bool {
    let Some(text) = value.as_str().and_then(|text| text.strip_suffix('Z')) else {
        return false;
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let shape = b"0000-00-00T00:00:00";
    let fits = |(&found, &shape): (&u8, &u8)| match shape {
        b'0' => found.is_ascii_digit(),
        _ => found == shape,
    };
    whole.len() == shape.len()
        && whole.as_bytes().iter().zip(shape).all(fits)
        && (1..=6).contains(&fraction.len())
        && fraction.bytes().all(|byte| byte.is_ascii_digit())
}
