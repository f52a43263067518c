//! Reads of sealed blocks, a bounded number at a time. Whoever wants a block has at most one wish
//! open, so the queue is bounded by the tails and pages of the shard.

use std::collections::{BTreeMap, VecDeque};

use model::api::Event;
use model::ids::{Seq, SessionId};
use model::limits::{BLOCK_BYTES, READS_IN_FLIGHT_MAX};

use crate::aligned::AlignedBuffer;
use crate::chunk::{Damage, read_block};
use crate::effect::{DiskOp, FileName, ReadId, TailId, Ticket};
use crate::session::Extent;

/// Who wants a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Tail(TailId),
    Page(Ticket),
    /// A piece of what another replica asks for.
    Handout(u64, usize),
}

/// A block someone waits for.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) purpose: Purpose,
    pub(crate) session: SessionId,
    pub(crate) extent: Extent,
    /// The caller has everything up to here.
    pub(crate) cursor: Seq,
}

/// Reads under way and those that wait for their turn.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    next: u64,
    in_flight: BTreeMap<ReadId, Wish>,
    waiting: VecDeque<Wish>,
    /// What the disk is asked for at the end of the turn.
    pub(crate) ops: Vec<DiskOp>,
}

impl Reads {
    pub(crate) fn want(&mut self, wish: Wish) {
        assert!(wish.extent.first <= wish.cursor.next(), "the block holds the next event");
        self.waiting.push_back(wish);
        self.start();
    }

    fn start(&mut self) {
        while self.in_flight.len() < READS_IN_FLIGHT_MAX {
            let Some(wish) = self.waiting.pop_front() else { return };
            let block = BLOCK_BYTES as u64;
            let begin = wish.extent.offset / block * block;
            let end = (wish.extent.offset + u64::from(wish.extent.bytes)).next_multiple_of(block);
            let read = ReadId(self.next);
            self.next += 1;
            self.ops.push(DiskOp::FileRead {
                read,
                file: FileName::Chunk(wish.extent.chunk),
                offset: begin,
                bytes: usize::try_from(end - begin).expect("a block is bounded by a record"),
            });
            self.in_flight.insert(read, wish);
        }
    }

    /// Drops what somebody who is gone has waited for; a read under way comes to nobody.
    pub(crate) fn forget(&mut self, purpose: Purpose) {
        self.waiting.retain(|wish| wish.purpose != purpose);
    }

    /// A read is done: the wish it fulfils, and the events behind the wish's cursor.
    pub(crate) fn done(
        &mut self,
        shard: u32,
        read: ReadId,
        result: Result<AlignedBuffer, String>,
    ) -> (Wish, Result<Vec<Event>, Damage>) {
        let wish = self.in_flight.remove(&read).expect("the read was asked for, once");
        self.start();
        let events = result.map_err(|_| "block cannot be read").and_then(|buffer| {
            let skip = usize::try_from(wish.extent.offset % BLOCK_BYTES as u64).expect("a block");
            let end = skip + wish.extent.bytes as usize;
            let bytes = buffer.as_slice().get(skip..end).ok_or("block is cut short")?;
            let mut events = read_block(bytes, shard, wish.session.as_str(), wish.extent)?;
            let known = events.partition_point(|event| event.seq <= wish.cursor);
            events.drain(..known);
            if events.first().is_some_and(|event| event.seq == wish.cursor.next()) {
                Ok(events)
            } else {
                Err("block ends before the event it should hold")
            }
        });
        (wish, events)
    }
}
