//! The ring of one log: an own io_uring beside the executor's, which writes one batch at a time and
//! makes it durable. All unsafe code of the log is in this file.
//!
//! ```text
//!   submit --> WRITE --link--> FSYNC(data)          durable if WRITE = len and FSYNC >= 0
//!   strike ----------drain--------------> SEND      one byte, after both, failed or not
//! ```
//!
//! Rules, each learned from a failure:
//! - *By name, never by number.* A completion counts only if its user data names this batch and this
//!   step: a stray one has passed for a finished sync once.
//! - *All or nothing.* If the kernel takes a write without its sync, the two are no longer ordered;
//!   that is an error though both would succeed.
//! - *Latched.* After an error the ring takes nothing more: a later sync may succeed and prove nothing.
//! - *The buffer outlives its completions*, also when everything is dropped: dropping waits.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::time::Instant;

use io_uring::squeue::Flags;
use io_uring::types::{Fd, FsyncFlags};
use io_uring::{IoUring, opcode, squeue};
use shard::aligned::AlignedBuffer;

/// Entries of the ring: a batch takes two, a bell one.
const ENTRIES: u32 = 8;
/// `RWF_DSYNC` of the kernel's interface: a write that is durable when it completes.
const RWF_DSYNC: i32 = 2;
/// What a bell is struck with.
static BYTE: [u8; 1] = [1];

/// How a batch becomes durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SyncStrategy {
    /// A write linked to a data sync, in one submission.
    #[default]
    Link,
    /// A write that asks the device to be durable by itself. Only where the device can do so
    /// (force unit access); elsewhere its latency collapses as soon as a CPU is shared.
    Dsync,
}

/// Why a batch is not durable, or may not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogError {
    /// The kernel did not take the batch.
    Submit(String),
    /// The write failed with this error number.
    Write(i32),
    /// The device took less than it was given.
    ShortWrite {
        /// Bytes given.
        wanted: usize,
        /// Bytes taken.
        written: usize,
    },
    /// The sync failed with this error number.
    Sync(i32),
    /// An earlier batch failed.
    Latched,
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogError::Submit(why) => write!(f, "the kernel refused a log write: {why}"),
            LogError::Write(errno) => {
                write!(f, "a log write failed: {}", io::Error::from_raw_os_error(*errno))
            }
            LogError::ShortWrite { wanted, written } => {
                write!(f, "a log write of {wanted} bytes stopped after {written}")
            }
            LogError::Sync(errno) => {
                write!(f, "a log sync failed: {}", io::Error::from_raw_os_error(*errno))
            }
            LogError::Latched => write!(f, "an earlier log write failed"),
        }
    }
}

impl std::error::Error for LogError {}

/// What a completion speaks of. The low two bits of its user data; the batch is above them.
#[derive(Clone, Copy)]
enum Step {
    Write = 1,
    Sync = 2,
    Bell = 3,
}

/// One batch on its way to the device.
struct Flight {
    /// Invariant: neither file nor buffer is touched or dropped before both steps have completed.
    _file: Rc<File>,
    buffer: AlignedBuffer,
    submitted: Instant,
    write: Option<i32>,
    sync: Option<i32>,
    /// Whether a bell was asked for.
    struck: bool,
}

/// A ring of its own for one log.
pub struct Ring {
    ring: IoUring,
    strategy: SyncStrategy,
    /// Counts batches, from 1; names them in user data.
    batch: u64,
    flight: Option<Flight>,
    /// Completions to come, those of bells included.
    results_due: usize,
    failed: bool,
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("batch", &self.batch).field("failed", &self.failed).finish()
    }
}

impl Ring {
    /// Makes a ring.
    ///
    /// # Errors
    /// Those of `io_uring_setup`: the kernel, a container or a security profile may refuse it.
    pub fn new(strategy: SyncStrategy) -> io::Result<Ring> {
        let ring = quiet(ENTRIES)?;
        Ok(Ring { ring, strategy, batch: 0, flight: None, results_due: 0, failed: false })
    }

    /// Whether a batch is under way.
    pub fn busy(&self) -> bool {
        self.flight.is_some()
    }

    /// When the batch under way was submitted.
    pub fn submitted(&self) -> Option<Instant> {
        self.flight.as_ref().map(|flight| flight.submitted)
    }

    /// Starts to write `buffer` at `offset` of a file and to make it durable. For files opened for
    /// direct IO, all of address, offset and length are multiples of the block size.
    ///
    /// # Errors
    /// `Submit` or `Latched`; the ring takes nothing more then.
    ///
    /// # Panics
    /// If a batch is under way or the buffer is empty.
    pub fn submit(
        &mut self,
        file: Rc<File>,
        offset: u64,
        buffer: AlignedBuffer,
    ) -> Result<(), LogError> {
        assert!(self.flight.is_none(), "one batch at a time");
        assert!(!buffer.is_empty(), "a batch has bytes");
        if self.failed {
            return Err(LogError::Latched);
        }
        self.batch += 1;
        let entries = self.entries(file.as_raw_fd(), offset, buffer.as_slice());
        self.flight = Some(Flight {
            _file: file,
            buffer,
            submitted: Instant::now(),
            write: None,
            sync: None,
            struck: false,
        });
        self.push(&entries)
    }

    /// Asks the kernel to send one byte to `bell` when the batch under way is through, failed or not.
    ///
    /// # Errors
    /// `Submit`; the ring takes nothing more then.
    ///
    /// # Panics
    /// If no batch is under way. Striking a second time for the same batch does nothing.
    pub fn strike(&mut self, bell: &impl AsRawFd) -> Result<(), LogError> {
        let flight = self.flight.as_mut().expect("a bell is struck for a batch under way");
        if flight.struck {
            return Ok(());
        }
        flight.struck = true;
        let entry = opcode::Send::new(Fd(bell.as_raw_fd()), BYTE.as_ptr(), 1)
            .build()
            .flags(Flags::IO_DRAIN)
            .user_data(name(self.batch, Step::Bell));
        self.push(&[entry])
    }

    /// Looks at what has completed, without entering the kernel. When the batch is through: its
    /// buffer if it is durable, else why not. `None` while it is under way or if there is none.
    pub fn reap(&mut self) -> Option<Result<AlignedBuffer, LogError>> {
        self.collect();
        let flight = self.flight.as_ref()?;
        if self.failed {
            return Some(Err(LogError::Latched));
        }
        if !flight.through(self.strategy) {
            return None;
        }
        // A bell that was struck may be heard later; its completion is then a stray one.
        let flight = self.flight.take().expect("looked at just now");
        let verdict = flight.verdict(self.strategy);
        self.failed |= verdict.is_err();
        Some(verdict.map(|()| flight.buffer))
    }

    /// Waits in the kernel until the batch under way is through.
    ///
    /// # Errors
    /// As for [`Ring::reap`], or `Submit` if waiting itself fails.
    ///
    /// # Panics
    /// If no batch is under way.
    pub fn wait(&mut self) -> Result<AlignedBuffer, LogError> {
        assert!(self.flight.is_some(), "there is something to wait for");
        loop {
            if let Some(result) = self.reap() {
                return result;
            }
            if let Err(error) = self.ring.submit_and_wait(1)
                && error.kind() != io::ErrorKind::Interrupted
            {
                self.failed = true;
                return Err(LogError::Submit(error.to_string()));
            }
        }
    }

    /// The entries that write a batch and make it durable.
    fn entries(&self, file: RawFd, offset: u64, bytes: &[u8]) -> Vec<squeue::Entry> {
        let len = u32::try_from(bytes.len()).expect("a batch is smaller than 4 GiB");
        let write = opcode::Write::new(Fd(file), bytes.as_ptr(), len).offset(offset);
        match self.strategy {
            SyncStrategy::Link => vec![
                write.build().flags(Flags::IO_LINK).user_data(name(self.batch, Step::Write)),
                opcode::Fsync::new(Fd(file))
                    .flags(FsyncFlags::DATASYNC)
                    .build()
                    .user_data(name(self.batch, Step::Sync)),
            ],
            SyncStrategy::Dsync => {
                vec![write.rw_flags(RWF_DSYNC).build().user_data(name(self.batch, Step::Write))]
            }
        }
    }

    /// Hands entries to the kernel, all or none. What they point to belongs to the flight.
    #[expect(unsafe_code, reason = "the kernel reads memory behind the compiler's back")]
    fn push(&mut self, entries: &[squeue::Entry]) -> Result<(), LogError> {
        assert!(self.flight.is_some(), "entries belong to a flight");
        // SAFETY: the entries point to the flight's buffer, a static byte, and descriptors whose
        // owners outlive the call or are in the flight. The buffer's heap memory does not move when
        // the flight does, nobody writes to it while the flight holds it, and the flight is released
        // by `reap` after all completions that read from it, or by `drop`, which waits for them.
        let pushed = unsafe { self.ring.submission().push_multiple(entries) };
        assert!(pushed.is_ok(), "the ring has room for one batch and one bell");
        let submitted = loop {
            match self.ring.submit() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        // Entries the kernel did not take stay in the ring, which is given nothing more after an
        // error; those it took will complete.
        self.results_due += *submitted.as_ref().unwrap_or(&0);
        match submitted {
            Ok(taken) if taken == entries.len() => Ok(()),
            Ok(taken) => self.refuse(format!("{taken} of {} entries taken", entries.len())),
            Err(error) => self.refuse(error.to_string()),
        }
    }

    fn refuse(&mut self, why: String) -> Result<(), LogError> {
        self.failed = true;
        Err(LogError::Submit(why))
    }

    /// Notes the completions of the batch under way; those of earlier bells mean nothing.
    fn collect(&mut self) {
        for completion in self.ring.completion() {
            self.results_due = self.results_due.saturating_sub(1);
            let Some(flight) = self.flight.as_mut() else {
                continue;
            };
            let told = completion.user_data();
            if told == name(self.batch, Step::Write) {
                flight.write = Some(completion.result());
            } else if told == name(self.batch, Step::Sync) {
                flight.sync = Some(completion.result());
            }
        }
    }
}

impl Flight {
    /// Whether nothing that reads the buffer is under way any more.
    fn through(&self, strategy: SyncStrategy) -> bool {
        match strategy {
            SyncStrategy::Link => self.write.is_some() && self.sync.is_some(),
            SyncStrategy::Dsync => self.write.is_some(),
        }
    }

    fn verdict(&self, strategy: SyncStrategy) -> Result<(), LogError> {
        let wanted = self.buffer.len();
        let written = self.write.expect("the write is through");
        let written = usize::try_from(written).map_err(|_| LogError::Write(-written))?;
        if written != wanted {
            return Err(LogError::ShortWrite { wanted, written });
        }
        match strategy {
            SyncStrategy::Dsync => Ok(()),
            SyncStrategy::Link => match self.sync.expect("the sync is through") {
                0.. => Ok(()),
                failed => Err(LogError::Sync(-failed)),
            },
        }
    }
}

impl Drop for Ring {
    /// Waits for what is under way: the kernel may still read the buffer.
    fn drop(&mut self) {
        self.collect();
        while 0 < self.results_due {
            if let Err(error) = self.ring.submit_and_wait(1)
                && error.kind() != io::ErrorKind::Interrupted
            {
                // Freed memory could be used again and land in the log.
                std::process::abort();
            }
            self.collect();
        }
        self.flight = None;
    }
}

/// A ring that lets its thread go on. Others have the kernel interrupt the thread at each completion,
/// wherever it runs, at the price of a request or two. Here completions come to light at the thread's
/// next entry into the kernel: whoever looks in a loop has to make one. Kernels before 5.19 know only
/// the others.
pub(crate) fn quiet(entries: u32) -> io::Result<IoUring> {
    match IoUring::builder().setup_coop_taskrun().build(entries) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => IoUring::new(entries),
        made => made,
    }
}

fn name(batch: u64, step: Step) -> u64 {
    batch << 2 | step as u64
}
