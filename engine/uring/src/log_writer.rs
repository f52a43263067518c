//! Writes batches of a log and waits for them without holding up its core: a bounded poll that lets
//! other tasks and threads run between looks, then a bell the executor listens to.
//!
//! Needs no shard: a bench can drive it alone.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use shard::aligned::AlignedBuffer;

use crate::backoff::Backoff;
use crate::reactor;
use crate::ring::{LogError, Ring, SyncStrategy};
use crate::rt::{self, Bell};

/// Longest poll for one batch: two commits of a quiet device. What is not through by then is not
/// worth a CPU.
const POLL_MAX: Duration = Duration::from_micros(250);

/// The writer of one log. One batch under way at a time.
#[derive(Debug)]
pub struct LogWriter {
    /// Declared first, so that it is drained before the sockets it may write to are closed.
    ring: RefCell<Ring>,
    clapper: UnixStream,
    /// Taken out while somebody listens.
    bell: RefCell<Option<Bell>>,
    backoff: RefCell<Backoff>,
    epoch: Instant,
}

impl LogWriter {
    /// Makes a writer. Must be called on an executor.
    ///
    /// # Errors
    /// If the kernel refuses a ring or a socket pair.
    pub fn new(strategy: SyncStrategy) -> io::Result<LogWriter> {
        let ring = Ring::new(strategy)?;
        let (listening, clapper) = UnixStream::pair()?;
        Ok(LogWriter {
            ring: RefCell::new(ring),
            clapper,
            bell: RefCell::new(Some(Bell::new(listening))),
            backoff: RefCell::default(),
            epoch: Instant::now(),
        })
    }

    /// Writes a batch and waits until it is durable; gives the buffer back.
    ///
    /// # Errors
    /// See [`LogError`]; the writer takes nothing more then.
    ///
    /// # Panics
    /// If a batch is under way.
    pub async fn write(
        &self,
        file: &Rc<File>,
        offset: u64,
        buffer: AlignedBuffer,
    ) -> Result<AlignedBuffer, LogError> {
        self.submit(file, offset, buffer)?;
        self.durable().await
    }

    /// Starts to write a batch at once, in the caller's turn.
    ///
    /// # Errors
    /// See [`LogError`]; the writer takes nothing more then.
    ///
    /// # Panics
    /// If a batch is under way.
    pub fn submit(
        &self,
        file: &Rc<File>,
        offset: u64,
        buffer: AlignedBuffer,
    ) -> Result<(), LogError> {
        self.ring.borrow_mut().submit(Rc::clone(file), offset, buffer)
    }

    /// Whether a batch is under way.
    pub fn busy(&self) -> bool {
        self.ring.borrow().busy()
    }

    /// The buffer of the batch under way if it has become durable since; `None` if it has not, or if
    /// somebody else was told already.
    ///
    /// # Errors
    /// See [`LogError`]; the writer takes nothing more then.
    pub fn look(&self) -> Option<Result<AlignedBuffer, LogError>> {
        self.ring.borrow_mut().reap()
    }

    /// Waits until the batch under way is durable; gives its buffer back.
    ///
    /// # Errors
    /// See [`LogError`]; the writer takes nothing more then.
    ///
    /// # Panics
    /// If no batch is under way, or somebody else waits for it.
    pub async fn durable(&self) -> Result<AlignedBuffer, LogError> {
        assert!(self.busy(), "there is something to wait for");
        loop {
            if let Some(result) = self.wait_a_little().await {
                return result;
            }
        }
    }

    /// Waits for a change: the batch under way is through, or a bell has rung. For callers that share
    /// a batch with somebody who looks, too.
    pub(crate) async fn wait_a_little(&self) -> Option<Result<AlignedBuffer, LogError>> {
        let submitted = self.ring.borrow().submitted()?;
        let mut polls = 0;
        let done = loop {
            let result = self.look();
            if result.is_some() || !self.busy() {
                break Some(result);
            }
            if !self.may_poll(submitted) {
                break None;
            }
            polls += 1;
            self.give_way();
            reactor::look();
            rt::yield_now().await;
        };
        if 0 < polls {
            let now = self.micros(Instant::now());
            self.backoff.borrow_mut().polled(now, done.is_some());
        }
        if let Some(result) = done {
            return result;
        }
        if let Err(error) = self.ring.borrow_mut().strike(&self.clapper) {
            return Some(Err(error));
        }
        let mut bell = self.bell.borrow_mut().take().expect("one task waits for a batch");
        let rung = bell.ring().await;
        *self.bell.borrow_mut() = Some(bell);
        match rung {
            Ok(()) => self.look(),
            Err(error) => Some(Err(LogError::Submit(error.to_string()))),
        }
    }

    /// As if two yields just now had been slow.
    #[cfg(test)]
    pub(crate) fn stop_polling(&self) {
        let now = self.micros(Instant::now());
        self.backoff.borrow_mut().yielded(now, u64::MAX);
        self.backoff.borrow_mut().yielded(now, u64::MAX);
    }

    fn may_poll(&self, submitted: Instant) -> bool {
        let now = Instant::now();
        now - submitted < POLL_MAX && self.backoff.borrow().may_poll(self.micros(now))
    }

    /// Lets another thread have the CPU, and learns what that cost.
    fn give_way(&self) {
        let before = Instant::now();
        thread::yield_now();
        let after = Instant::now();
        let took = self.micros(after) - self.micros(before);
        self.backoff.borrow_mut().yielded(self.micros(after), took);
    }

    fn micros(&self, at: Instant) -> u64 {
        u64::try_from((at - self.epoch).as_micros()).expect("five hundred thousand years")
    }
}
