//! One session: what it is, the order of decisions on an append, and where its events are.
//!
//! ```text
//!  seq      1 ............................ hot_first ............. last_seq
//!           |------- in sealed chunks -----|------- in memory -----|
//!              `extents`, one per block        `hot`
//! ```

use std::collections::VecDeque;

use bytes::Bytes;
use model::api::{Appended, Event, SessionRow};
use model::command::Principal;
use model::error::{Code, Refusal};
use model::ids::{GroupId, Micros, Seq, SessionId};
use model::limits::{
    IDEMPOTENCY_KEYS_PER_SESSION, PRODUCERS_PER_SESSION, REMEMBERED_BYTES_PER_SESSION,
};

use crate::effect::TailId;

/// A session of this shard.
#[derive(Debug)]
pub struct Session {
    /// The group that decides about it.
    pub group: GroupId,
    /// Its title.
    pub title: Option<Box<str>>,
    /// A JSON object as text; empty for `{}`, which is what most sessions have.
    pub(crate) metadata: Box<str>,
    /// Who made it; `None` for [`Principal::service`].
    pub(crate) creator: Option<Box<Principal>>,
    /// When it was made.
    pub created_at: Micros,
    /// When title, metadata or visibility last changed.
    pub updated_at: Micros,
    /// The newest event's time; the next one's is not earlier.
    pub last_at: Micros,
    /// Counts changes of title and metadata, from 1.
    pub version: u64,
    /// Whether lists hide it.
    pub archived: bool,
    /// The newest event.
    pub last_seq: Seq,
    /// The highest seq the archive holds without a hole before it.
    pub archived_seq: Seq,
    /// The latest append of each producer.
    pub producers: Remembered,
    /// Idempotency keys of appends without a producer.
    pub keys: Remembered,
    /// Events in memory, `[hot_first, last_seq]`.
    pub(crate) hot: VecDeque<Bytes>,
    /// Blocks of sealed chunks that hold the events before, in seq order.
    pub extents: Vec<Extent>,
    /// Who follows it.
    pub(crate) tails: Vec<TailId>,
    /// The checkpoint that has its state already; see `flush`.
    pub(crate) captured: u64,
}

/// One block of a sealed chunk: the events of one session from `first` up to the next extent's, or
/// up to those in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The first event's seq.
    pub first: Seq,
    /// The chunk.
    pub chunk: u64,
    /// Where the block begins in the chunk's file.
    pub offset: u64,
    /// The block's length.
    pub bytes: u32,
}

/// What an append came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// A new event takes this seq.
    Append(Seq),
    /// The event is there already, at this seq.
    Deduped(Seq),
}

/// An append as the session sees it.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// The head the client requires.
    pub expected_seq: Option<u64>,
    /// What a retry is recognized by.
    pub dedupe: AttemptDedupe<'a>,
    /// Digest of the content.
    pub fingerprint: [u8; 16],
}

/// [`model::command::Dedupe`] by reference.
#[derive(Debug, Clone, Copy)]
pub enum AttemptDedupe<'a> {
    /// Producer and its counter.
    Producer(&'a str, u64),
    /// An idempotency key.
    Key(&'a str),
    /// Nothing.
    Nothing,
}

impl Session {
    /// A session nobody has appended to.
    pub fn new(group: GroupId, created_at: Micros) -> Session {
        Session {
            group,
            title: None,
            metadata: "".into(),
            creator: None,
            created_at,
            updated_at: created_at,
            last_at: created_at,
            version: 1,
            archived: false,
            last_seq: Seq(0),
            archived_seq: Seq(0),
            producers: Remembered::new(PRODUCERS_PER_SESSION),
            keys: Remembered::new(IDEMPOTENCY_KEYS_PER_SESSION),
            hot: VecDeque::new(),
            extents: Vec::new(),
            tails: Vec::new(),
            captured: 0,
        }
    }

    /// The metadata as a JSON object.
    pub fn metadata(&self) -> &str {
        if self.metadata.is_empty() { "{}" } else { &self.metadata }
    }

    /// Replaces the metadata.
    pub fn set_metadata(&mut self, object: &str) {
        self.metadata = if object == "{}" { "".into() } else { object.into() };
    }

    /// Bytes of title and metadata: what makes a row large.
    pub fn text_bytes(&self) -> usize {
        self.metadata.len() + self.title.as_ref().map_or(0, |title| title.len())
    }

    /// Who made it.
    pub fn creator(&self) -> Principal {
        self.creator.as_deref().cloned().unwrap_or_else(Principal::service)
    }

    /// Names who made it.
    pub fn set_creator(&mut self, creator: Principal) {
        self.creator = (creator != Principal::service()).then(|| Box::new(creator));
    }

    /// The row clients see.
    pub fn row(&self, id: &str) -> SessionRow {
        SessionRow {
            id: SessionId::new(id).expect("a stored id is not empty"),
            title: self.title.clone(),
            metadata: self.metadata().into(),
            creator: self.creator(),
            last_seq: self.last_seq,
            created_at: self.created_at,
            updated_at: self.updated_at,
            version: self.version,
            archived: self.archived,
        }
    }

    /// Decides about an append without changing anything: `expected_seq` first, then what is
    /// remembered of the producer or key, then the next seq.
    ///
    /// # Errors
    /// The conflict, in the contract's words.
    pub fn decide(&self, attempt: &Attempt<'_>) -> Result<Decision, Refusal> {
        if let Some(expected) = attempt.expected_seq
            && expected != self.last_seq.0
        {
            return Err(Refusal::expected_seq(expected, self.last_seq.0));
        }
        match attempt.dedupe {
            AttemptDedupe::Producer(id, seq) => self.decide_producer(id, seq, attempt.fingerprint),
            AttemptDedupe::Key(key) => match self.keys.get(key) {
                Some(known) if known.fingerprint == attempt.fingerprint => {
                    Ok(Decision::Deduped(known.seq))
                }
                Some(_) => Err(Code::IdempotencyConflict.into()),
                None => Ok(Decision::Append(self.last_seq.next())),
            },
            AttemptDedupe::Nothing => Ok(Decision::Append(self.last_seq.next())),
        }
    }

    fn decide_producer(
        &self,
        id: &str,
        seq: u64,
        fingerprint: [u8; 16],
    ) -> Result<Decision, Refusal> {
        assert!(1 <= seq, "the door refuses a producer seq of 0");
        let Some(known) = self.producers.get(id) else {
            return Ok(Decision::Append(self.last_seq.next()));
        };
        if seq == known.counter {
            return if known.fingerprint == fingerprint {
                Ok(Decision::Deduped(known.seq))
            } else {
                Err(Code::ProducerReplayConflict.into())
            };
        }
        let expected = known.counter.saturating_add(1);
        if seq == expected {
            Ok(Decision::Append(self.last_seq.next()))
        } else {
            Err(Refusal::producer_seq(id, expected, seq))
        }
    }

    /// The same session, but for what retries are recognized by.
    #[cfg(feature = "sabotage")]
    pub(crate) fn without_memory(&self) -> Session {
        let mut bare = Session::new(self.group, self.created_at);
        bare.title.clone_from(&self.title);
        bare.metadata.clone_from(&self.metadata);
        bare.creator.clone_from(&self.creator);
        (bare.updated_at, bare.last_at) = (self.updated_at, self.last_at);
        (bare.version, bare.archived) = (self.version, self.archived);
        (bare.last_seq, bare.archived_seq) = (self.last_seq, self.archived_seq);
        bare
    }

    /// Adds the event a decision made room for.
    pub fn push(&mut self, attempt: &Attempt<'_>, at: Micros, json: Bytes) {
        let seq = self.last_seq.next();
        assert!(self.last_at <= at, "time does not run backward within a session");
        self.last_seq = seq;
        self.last_at = at;
        self.hot.push_back(json);
        let memory = |counter| Memory { counter, seq, fingerprint: attempt.fingerprint };
        match attempt.dedupe {
            AttemptDedupe::Producer(id, counter) => self.producers.set(id, memory(counter)),
            AttemptDedupe::Key(key) => self.keys.set(key, memory(0)),
            AttemptDedupe::Nothing => {}
        }
    }

    /// The reply to an append that was decided.
    pub fn appended(&self, seq: Seq, deduped: bool) -> Appended {
        assert!(seq <= self.last_seq);
        Appended { seq, last_seq: self.last_seq, deduped, archived_seq: self.archived_seq }
    }

    /// The seq of the first event in memory; one past the head when there is none.
    pub fn hot_first(&self) -> Seq {
        let count = u64::try_from(self.hot.len()).expect("a length");
        assert!(count <= self.last_seq.0, "memory holds no event that was not appended");
        Seq(self.last_seq.0 - count + 1)
    }

    /// The event at `seq`, if it is in memory.
    pub fn hot_event(&self, seq: Seq) -> Option<Event> {
        let offset = seq.0.checked_sub(self.hot_first().0)?;
        let json = self.hot.get(usize::try_from(offset).ok()?)?;
        Some(Event { seq, json: json.clone() })
    }

    /// Forgets events in memory up to `last`; they must be readable elsewhere. Returns their bytes.
    pub fn evict(&mut self, last: Seq) -> u64 {
        assert!(last <= self.last_seq);
        let mut freed = 0;
        while self.hot_first() <= last {
            let json = self.hot.pop_front().expect("hot_first is in memory");
            freed += event_cost(&json);
        }
        if self.hot.is_empty() {
            self.hot = VecDeque::new();
        }
        freed
    }

    /// The block that holds `seq`, if it left memory.
    pub fn extent_of(&self, seq: Seq) -> Option<Extent> {
        self.block_of(seq).map(|(extent, _)| extent)
    }

    /// The block that holds `seq`, if it left memory, and the last seq in it.
    pub(crate) fn block_of(&self, seq: Seq) -> Option<(Extent, Seq)> {
        if self.hot_first() <= seq {
            return None;
        }
        let behind = self.extents.partition_point(|extent| extent.first <= seq);
        let extent = self.extents[behind.checked_sub(1)?];
        let end = self.extents.get(behind).map_or(self.hot_first(), |next| next.first);
        Some((extent, Seq(end.0 - 1)))
    }
}

/// What an event costs in memory: its bytes, its handle and the allocator's share.
pub fn event_cost(json: &Bytes) -> u64 {
    const OVERHEAD: u64 = 64;
    OVERHEAD + u64::try_from(json.len()).expect("a length")
}

/// What is remembered of one producer or one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// The producer's counter; 0 for a key.
    pub counter: u64,
    /// Where its latest event is.
    pub seq: Seq,
    /// That event's digest.
    pub fingerprint: [u8; 16],
}

/// A bounded table from name to [`Memory`]. Full, it forgets the name whose event is oldest before
/// it takes a new one.
///
/// A sorted vector: most sessions have one or two producers, and a tree's node would cost more than
/// all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    entries: Vec<(Box<str>, Memory)>,
    /// Bytes of the names.
    bytes: usize,
    limit: usize,
}

impl Remembered {
    /// An empty table of at most `limit` names.
    pub fn new(limit: usize) -> Remembered {
        assert!(1 <= limit);
        Remembered { entries: Vec::new(), bytes: 0, limit }
    }

    /// What is known of a name.
    pub fn get(&self, name: &str) -> Option<Memory> {
        let place = self.place(name).ok()?;
        Some(self.entries[place].1)
    }

    /// Remembers a name, in place of what was known of it.
    pub fn set(&mut self, name: &str, memory: Memory) {
        if let Ok(place) = self.place(name) {
            self.entries[place].1 = memory;
            return;
        }
        while self.entries.len() == self.limit
            || (!self.entries.is_empty() && REMEMBERED_BYTES_PER_SESSION < self.bytes + name.len())
        {
            let oldest = (0..self.entries.len())
                .min_by_key(|place| self.entries[*place].1.seq)
                .expect("the table is not empty");
            self.bytes -= self.entries.remove(oldest).0.len();
        }
        self.bytes += name.len();
        let place = self.place(name).expect_err("the name is new");
        self.entries.insert(place, (name.into(), memory));
        assert!(self.entries.len() <= self.limit);
    }

    /// All names in byte order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, Memory)> {
        self.entries.iter().map(|(name, memory)| (&**name, *memory))
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        self.entries.binary_search_by(|(known, _)| (**known).cmp(name))
    }
}
