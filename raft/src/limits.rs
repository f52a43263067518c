//! Every bound of a node that is not told by its driver, and what it follows from.

/// The most terms a message may be ahead of its receiver: 50 days of an election every millisecond.
/// Without it one absurd message could use up all the terms there are.
pub(crate) const TERMS_AHEAD_MAX: u64 = 1 << 32;
/// More promises than this wait for no disk: the newest are not made, as if the network had lost them.
pub(crate) const PROMISES_MAX: usize = 1024;
/// Reads that may wait in one node; more are answered in vain at once.
pub(crate) const READS_MAX: usize = 4096;
/// Rounds whose beginning is remembered for the lease.
pub(crate) const ROUNDS_REMEMBERED: usize = 64;
/// Room for this many entries is never given back.
pub(crate) const CAPACITY_KEPT: usize = 16;
/// A leader takes nobody in while it looks after so many that are no members: more than one change of a
/// group leaves behind. Others ask again.
pub(crate) const OUTSIDERS_MAX: usize = 8;
/// After so many election timeouts without the longest log heard of, what was heard counts no more.
pub(crate) const ASK_ANEW_TIMEOUTS: u32 = 6;
/// Voters that others name to a node in doubt: those of several changes. Who names more is not counted.
pub(crate) const VOTERS_NAMED_MAX: usize = 64;
/// So many rounds in vain are bad luck; after more, the time between them grows: doubled each time.
pub(crate) const ROUNDS_OF_BAD_LUCK: u32 = 2;
/// No random part of a timeout is longer than this many ordinary ones.
pub(crate) const WIDTH_MAX: u32 = 8;

/// Election timeouts within which a node without a leader stands, however often it did so in vain, and
/// whatever it was told; it waits anew when it votes for another.
pub const ELECTION_TIMEOUTS_MAX: u32 = 1 + WIDTH_MAX;

const _: () = assert!(WIDTH_MAX.is_power_of_two(), "the time between rounds is doubled");
