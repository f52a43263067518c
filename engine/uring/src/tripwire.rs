//! How the kernel tells a sleeping executor that one of its sockets has something: a small ring of its
//! own that strikes a bell the executor listens to.
//!
//! ```text
//!   arm --> POLL(epoll, once) --link--> SEND      one byte
//! ```
//!
//! The ring is a quiet one: what has come is seen at the thread's next entry into the kernel, which a
//! sleeping thread is in and a running one soon makes.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use io_uring::squeue::Flags;
use io_uring::types::Fd;
use io_uring::{IoUring, opcode, squeue};
use rustix::event::PollFlags;

use crate::ring::quiet;

/// Entries of the ring: two for the wire, one to cut it.
const ENTRIES: u32 = 4;
/// What the bell is struck with.
static BYTE: [u8; 1] = [1];
/// User data of the poll, by which it is cut.
const POLL: u64 = 1;
/// User data of everything else.
const OTHER: u64 = 2;

/// Strikes a bell once when a descriptor is readable.
pub(crate) struct Tripwire {
    ring: IoUring,
    clapper: UnixStream,
    /// Completions to come.
    due: usize,
}

impl Tripwire {
    /// A wire that strikes the other end of `clapper`.
    ///
    /// # Errors
    /// Those of `io_uring_setup`.
    pub(crate) fn new(clapper: UnixStream) -> io::Result<Tripwire> {
        Ok(Tripwire { ring: quiet(ENTRIES)?, clapper, due: 0 })
    }

    /// Strikes as soon as `watched` is readable, at once if it is. To be armed again after that.
    ///
    /// # Errors
    /// Those of `io_uring_enter`.
    pub(crate) fn arm(&mut self, watched: &impl AsRawFd) -> io::Result<()> {
        self.collect();
        // What an earlier submission left behind is a wire, too.
        if self.ring.submission().is_empty() {
            let events = u32::from(PollFlags::IN.bits());
            let poll = opcode::PollAdd::new(Fd(watched.as_raw_fd()), events)
                .build()
                .flags(Flags::IO_LINK)
                .user_data(POLL);
            let send = opcode::Send::new(Fd(self.clapper.as_raw_fd()), BYTE.as_ptr(), 1)
                .build()
                .user_data(OTHER);
            self.push(&[poll, send]);
        }
        self.ring.submit().map(|_| ())
    }

    #[expect(unsafe_code, reason = "the kernel reads memory behind the compiler's back")]
    fn push(&mut self, entries: &[squeue::Entry]) {
        // SAFETY: the only memory the entries point to is a static byte. Descriptors are open now, and
        // `drop` ends what is under way before the clapper is closed.
        let pushed = unsafe { self.ring.submission().push_multiple(entries) };
        assert!(pushed.is_ok(), "the ring has room for one wire and its end");
        self.due += entries.len();
    }

    fn collect(&mut self) {
        let seen = self.ring.completion().count();
        assert!(seen <= self.due, "nothing completes that was not asked for");
        self.due -= seen;
    }
}

impl Drop for Tripwire {
    /// Cuts the wire: a byte must not be sent to whoever gets the descriptor's number next.
    fn drop(&mut self) {
        self.collect();
        if self.due == 0 {
            return;
        }
        self.push(&[opcode::PollRemove::new(POLL).build().user_data(OTHER)]);
        while 0 < self.due {
            match self.ring.submit_and_wait(1) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return,
                _ => self.collect(),
            }
        }
    }
}
