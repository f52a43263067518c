//! Segment files in memory, and a writer that keeps a naive account of what it wrote.

use std::collections::BTreeMap;

use model::ids::GroupId;
use model::limits::BLOCK_BYTES;

use super::IDENTITY;
use crate::effect::{BatchNumber, DiskOp, LogWrite, SegmentNumber};
use crate::wal::format::Batch;
use crate::wal::recover::recover;
use crate::wal::{Corruption, HardState, LogFloor, Record, RecordKind, Recovered, Recovery, Wal};

/// What a disk writes as a whole.
pub(super) const SECTOR: usize = 512;

/// An entry: group, term, index, payload.
pub(super) type Entry = (GroupId, u64, u64, Vec<u8>);

/// What a log says, in the order it was said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct State {
    pub(super) entries: Vec<Entry>,
    pub(super) hard_states: BTreeMap<GroupId, HardState>,
}

impl State {
    pub(super) fn take(&mut self, record: &Record<'_>) {
        let group = record.group;
        match record.kind {
            RecordKind::Entry { term, index, payload }
            | RecordKind::Membership { term, index, payload }
            | RecordKind::Snapshot { term, index, payload }
            | RecordKind::EntryAgain { term, index, payload }
            | RecordKind::MembershipAgain { term, index, payload } => {
                self.entries.push((group, term, index, payload.to_vec()));
            }
            RecordKind::HardState { term, vote } => {
                self.hard_states.insert(group, HardState { term, vote });
            }
        }
    }
}

/// The segment files of a log.
#[derive(Debug, Clone)]
pub(super) struct Files {
    pub(super) segment_bytes: usize,
    pub(super) images: BTreeMap<SegmentNumber, Vec<u8>>,
    /// Tells files of the same name apart: a write in flight goes to the file, not to the name.
    pub(super) inodes: BTreeMap<SegmentNumber, u64>,
    next_inode: u64,
}

impl Files {
    pub(super) fn new(segment_bytes: usize) -> Files {
        let (images, inodes) = (BTreeMap::new(), BTreeMap::new());
        Files { segment_bytes, images, inodes, next_inode: 0 }
    }

    pub(super) fn perform(&mut self, op: &DiskOp) {
        match op {
            DiskOp::SegmentPrepare { number, recycle } => {
                let (image, inode) = match recycle {
                    Some(old) => self.remove(*old),
                    None => {
                        self.next_inode += 1;
                        (vec![0; self.segment_bytes], self.next_inode)
                    }
                };
                let replaced = self.images.insert(*number, image);
                assert!(replaced.is_none(), "a new file has a new number");
                self.inodes.insert(*number, inode);
            }
            DiskOp::SegmentRemove { number } => drop(self.remove(*number)),
            other => panic!("no business of the log: {other:?}"),
        }
    }

    pub(super) fn remove(&mut self, number: SegmentNumber) -> (Vec<u8>, u64) {
        let image = self.images.remove(&number).expect("only files there are removed");
        (image, self.inodes.remove(&number).expect("every file has one"))
    }

    /// Lands the sectors of a write whose bit is set in its file, if that still exists.
    pub(super) fn land(&mut self, inode: u64, write: &LogWrite, sectors: u64) {
        let Some(number) = self.inodes.iter().find(|(_, other)| **other == inode) else { return };
        let number = *number.0;
        for (sector, bytes) in write.buffer.as_slice().chunks(SECTOR).enumerate() {
            if sectors >> (sector % 64) & 1 == 1 {
                self.write(number, write.offset + (sector * SECTOR) as u64, bytes);
            }
        }
    }

    pub(super) fn write(&mut self, segment: SegmentNumber, offset: u64, bytes: &[u8]) {
        let offset = usize::try_from(offset).unwrap();
        let image = self.images.get_mut(&segment).expect("writes go to prepared files");
        image[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    fn recovery(&self, floor: Option<LogFloor>) -> Recovery {
        Recovery::new(IDENTITY, self.segment_bytes as u64, floor)
    }

    pub(super) fn recover(
        &self,
        floor: Option<LogFloor>,
    ) -> Result<(Recovered, State), Corruption> {
        let mut state = State::default();
        let recovery = self.recovery(floor);
        let recovered = recover(recovery, &self.images, &mut |record| state.take(record))?;
        assert_eq!(recovered.hard_states, state.hard_states);
        Ok((recovered, state))
    }

    /// Recovers without a copy of the records, for those who try a million damages.
    pub(super) fn check(&self, floor: Option<LogFloor>) -> Result<Recovered, Corruption> {
        recover(self.recovery(floor), &self.images, &mut |_| ())
    }
}

/// A batch that was submitted, and the state of the log with it.
#[derive(Debug, Clone)]
pub(super) struct Submitted {
    pub(super) batch: BatchNumber,
    pub(super) segment: SegmentNumber,
    pub(super) offset: u64,
    pub(super) bytes: Vec<u8>,
    /// Entries in it.
    pub(super) entries: Vec<Entry>,
    /// All hard states as of it.
    pub(super) hard_states: BTreeMap<GroupId, HardState>,
}

/// Every batch since the log began, read from the buffers that were submitted.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    /// Found by recovery, of batches whose extent is unknown by now.
    pub(super) before: State,
    pub(super) batches: Vec<Submitted>,
}

impl History {
    fn push(&mut self, write: &LogWrite) {
        let mut state = State { hard_states: self.state().hard_states, ..State::default() };
        // The batch is read as if it stood in a file: everything before it is missing.
        let offset = usize::try_from(write.offset).unwrap();
        let mut image = vec![0; offset];
        image.extend_from_slice(write.buffer.as_slice());
        let batch = Batch::read(IDENTITY, write.segment, &image, offset).unwrap();
        assert_eq!(batch.header.batch, write.batch);
        assert_eq!(batch.bytes, write.buffer.len());
        for record in batch.records() {
            state.take(&record.unwrap());
        }
        self.batches.push(Submitted {
            batch: write.batch,
            segment: write.segment,
            offset: write.offset,
            bytes: write.buffer.as_slice().to_vec(),
            entries: state.entries,
            hard_states: state.hard_states,
        });
    }

    /// What the log says up to and with `batch`.
    pub(super) fn upto(&self, batch: BatchNumber) -> State {
        let mut state = self.before.clone();
        for submitted in self.batches.iter().take_while(|submitted| submitted.batch <= batch) {
            state.entries.extend(submitted.entries.iter().cloned());
            state.hard_states.clone_from(&submitted.hard_states);
        }
        state
    }

    /// What the batches from `first` to `last` say, if recovery began before `first`.
    fn range(&self, first: BatchNumber, last: BatchNumber) -> State {
        let mut state = State::default();
        for submitted in self.batches.iter().filter(|b| first <= b.batch && b.batch <= last) {
            state.entries.extend(submitted.entries.iter().cloned());
            state.hard_states.clone_from(&submitted.hard_states);
        }
        state
    }

    pub(super) fn state(&self) -> State {
        self.upto(BatchNumber(u64::MAX))
    }
}

/// A log and its files.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) files: Files,
    pub(super) wal: Wal,
    pub(super) start: LogFloor,
    pub(super) history: History,
    pub(super) in_flight: Option<LogWrite>,
}

impl Writer {
    /// Opens what the files hold and prepares a first segment.
    pub(super) fn open(mut files: Files, floor: Option<LogFloor>) -> Result<Writer, Corruption> {
        let (recovered, before) = files.recover(floor)?;
        for number in &recovered.remove {
            files.remove(*number);
        }
        let start = recovered.next;
        let wal = Wal::new(IDENTITY, files.segment_bytes as u64, recovered);
        let history = History { before, batches: Vec::new() };
        let mut writer = Writer { files, wal, start, history, in_flight: None };
        writer.prepare();
        Ok(writer)
    }

    /// Prepares a spare if one is wanted.
    pub(super) fn prepare(&mut self) {
        if let Some(op) = self.wal.segments_wanted(false) {
            self.files.perform(&op);
            if let DiskOp::SegmentPrepare { number, .. } = op {
                self.wal.segment_ready(number);
            }
        }
    }

    /// Submits the next batch; its bytes have not reached the file.
    pub(super) fn submit(&mut self) -> bool {
        let write = self.wal.seal();
        self.fly(write)
    }

    /// Submits a mark, likewise.
    pub(super) fn mark(&mut self) -> bool {
        let write = self.wal.mark();
        self.fly(write)
    }

    fn fly(&mut self, write: Option<LogWrite>) -> bool {
        let Some(write) = write else { return false };
        assert!(write.offset.is_multiple_of(BLOCK_BYTES as u64));
        assert!(write.buffer.as_slice().as_ptr().addr().is_multiple_of(BLOCK_BYTES));
        self.history.push(&write);
        assert!(self.in_flight.is_none());
        self.in_flight = Some(write);
        true
    }

    /// The batch in flight becomes durable.
    pub(super) fn complete(&mut self) {
        let write = self.in_flight.take().expect("a batch is in flight");
        self.files.write(write.segment, write.offset, write.buffer.as_slice());
        self.wal.durable(write.batch, write.buffer);
    }

    /// Makes everything accepted durable.
    pub(super) fn flush(&mut self) {
        if self.in_flight.is_some() {
            self.complete();
        }
        while self.submit() {
            self.complete();
            self.prepare();
        }
    }

    /// Stores a checkpoint with this floor and lets go of what lies before.
    pub(super) fn release(&mut self, floor: LogFloor) {
        for op in self.wal.release(floor) {
            self.files.perform(&op);
        }
        self.prepare();
    }

    /// What is read of the log from `floor` on, up to the newest durable batch.
    pub(super) fn durable_since(&self, floor: LogFloor) -> State {
        self.history.range(floor.batch, self.wal.durable_batch())
    }

    /// Likewise with the batch in flight.
    pub(super) fn state_since(&self, floor: LogFloor) -> State {
        self.history.range(floor.batch, BatchNumber(u64::MAX))
    }

    /// What the log says up to the newest durable batch.
    pub(super) fn durable(&self) -> State {
        self.history.upto(self.wal.durable_batch())
    }
}

/// Bytes that differ from place to place and from entry to entry.
pub(super) fn payload(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_le_bytes()[7]
    };
    (0..bytes).map(|_| next()).collect()
}
