//! What the drill knows: which events were acknowledged, what each must hold, and what has been read.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::value::RawValue;

use crate::random::Random;
use crate::session::Api;

/// An event before it has a seq: a writer's `n`th of one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Origin {
    pub(crate) session: usize,
    pub(crate) writer: usize,
    pub(crate) n: u64,
}

impl Origin {
    pub(crate) fn producer(self) -> String {
        format!("w{}", self.writer)
    }

    /// The payload, the same for every try; its length varies, and now and then it is long.
    pub(crate) fn payload(self) -> String {
        let Origin { session, writer, n } = self;
        let mut random = Random::new(n * 1_000_003 + (writer * 1_009 + session) as u64);
        let longest = if random.between(0, 50) == 0 { 40_000 } else { 800 };
        let length = random.between(0, longest);
        let fill = random.text(length);
        format!(r#"{{"session":{session},"writer":{writer},"n":{n},"fill":"{fill}"}}"#)
    }

    pub(crate) fn body(self) -> String {
        let (producer, n, payload) = (self.producer(), self.n, self.payload());
        format!(
            r#"{{"type":"drill","payload":{payload},"producer_id":"{producer}","producer_seq":{n}}}"#
        )
    }
}

/// Appends that were answered with a seq.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<Vec<(Origin, u64)>>);

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, Vec<(Origin, u64)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn acknowledged(&self, origin: Origin, seq: u64) {
        self.lock().push((origin, seq));
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    fn since(&self, start: usize, end: usize) -> Vec<(Origin, u64)> {
        self.lock()[start..end].to_vec()
    }
}

/// The sessions' logs as far as they were read. Once read, an event never changes and never goes.
#[derive(Debug)]
pub(crate) struct Logs {
    ids: Vec<String>,
    /// By session, then by seq less one: the event's JSON.
    events: Vec<Vec<String>>,
    origins: Vec<Vec<Origin>>,
    /// By session and writer: the newest `n`.
    newest: BTreeMap<(usize, usize), u64>,
    /// Entries of the ledger that were found in the logs.
    found: usize,
}

impl Logs {
    pub(crate) fn new(ids: Vec<String>) -> Logs {
        let events = ids.iter().map(|_| Vec::new()).collect();
        let origins = ids.iter().map(|_| Vec::new()).collect();
        Logs { ids, events, origins, newest: BTreeMap::new(), found: 0 }
    }

    /// Reads all sessions from their start and holds them against what was read before and against
    /// what had been acknowledged when the reading began.
    pub(crate) fn check(&mut self, api: &Api, ledger: &Ledger) {
        let acknowledged = ledger.len();
        for session in 0..self.ids.len() {
            self.read(api, session);
        }
        for (origin, seq) in ledger.since(self.found, acknowledged) {
            let place = usize::try_from(seq).expect("small") - 1;
            let found = self.origins[origin.session].get(place);
            assert_eq!(found, Some(&origin), "seq {seq} of {} is lost", self.ids[origin.session]);
        }
        self.found = acknowledged;
    }

    fn read(&mut self, api: &Api, session: usize) {
        let mut cursor = 0;
        loop {
            let id = &self.ids[session];
            let page = api.get(&format!("/v1/sessions/{id}/events?cursor={cursor}&limit=1000"));
            assert_eq!(page.status, 200, "{}", page.text());
            let (known, rest) = self.known(session, cursor, &page.body);
            let members: BTreeMap<String, &RawValue> =
                serde_json::from_slice(&rest).expect("a page is an object");
            let events: Vec<&RawValue> =
                serde_json::from_str(members["events"].get()).expect("a list of events");
            let last_seq: usize = members["last_seq"].get().parse().expect("a number");
            let found = known + events.len();
            cursor += known;
            for event in events {
                match self.events[session].get(cursor) {
                    Some(known) => assert_eq!(event.get(), known, "an event has changed"),
                    None => self.add(session, event.get()),
                }
                cursor += 1;
            }
            if found == 0 || last_seq <= cursor {
                let known = self.events[session].len();
                assert_eq!(cursor, known, "{} has become shorter", self.ids[session]);
                return;
            }
        }
    }

    /// How many events at the start of a page are byte for byte those read before, and the page
    /// without them. Parsing what is known already would take most of the drill's time.
    fn known(&self, session: usize, cursor: usize, page: &[u8]) -> (usize, Vec<u8>) {
        const START: &[u8] = b"{\"events\":[";
        let Some(mut rest) = page.strip_prefix(START) else { return (0, page.to_vec()) };
        let mut known = 0;
        for event in &self.events[session][cursor..] {
            let Some(behind) = rest.strip_prefix(event.as_bytes()) else { break };
            rest = behind.strip_prefix(b",").unwrap_or(behind);
            known += 1;
        }
        (known, [START, rest].concat())
    }

    /// Takes an event that was not read before.
    fn add(&mut self, session: usize, event: &str) {
        let members: BTreeMap<String, &RawValue> =
            serde_json::from_str(event).expect("an event is an object");
        let number = |name: &str| members[name].get().parse::<u64>().expect("a number");
        let seq = self.events[session].len() as u64 + 1;
        assert_eq!(number("seq"), seq, "a hole or a repetition in {}", self.ids[session]);
        let producer = members["producer_id"].get().trim_matches('"');
        let writer = producer.strip_prefix('w').and_then(|w| w.parse().ok()).expect("a writer");
        let origin = Origin { session, writer, n: number("producer_seq") };
        let newest = self.newest.entry((session, writer)).or_insert(0);
        assert_eq!(origin.n, *newest + 1, "an event twice, or one too few, at seq {seq}");
        *newest = origin.n;
        assert_eq!(members["payload"].get(), origin.payload(), "other bytes at seq {seq}");
        self.events[session].push(event.to_owned());
        self.origins[session].push(origin);
    }

    /// Events of a session, as JSON.
    pub(crate) fn events(&self, session: usize) -> &[String] {
        &self.events[session]
    }

    /// All events there are.
    pub(crate) fn len(&self) -> usize {
        self.events.iter().map(Vec::len).sum()
    }
}
