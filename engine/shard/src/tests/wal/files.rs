//! Segment files in memory, and a writer that keeps a naive account of what it wrote.

use std::collections::BTreeMap;

use model::ids::GroupId;
use model::limits::BLOCK_BYTES;

use super::IDENTITY;
use crate::effect::{BatchNumber, DiskOp, LogWrite, SegmentNumber};
use crate::wal::format::Batch;
use crate::wal::recover::recover;
use crate::wal::{Corruption, HardState, LogFloor, Record, RecordKind, Recovered, Recovery, Wal};

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
            RecordKind::Entry { term, index, payload } => {
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
}

impl Files {
    pub(super) fn new(segment_bytes: usize) -> Files {
        Files { segment_bytes, images: BTreeMap::new() }
    }

    pub(super) fn perform(&mut self, op: &DiskOp) {
        match op {
            DiskOp::SegmentPrepare { number, recycle } => {
                let image = match recycle {
                    Some(old) => self.images.remove(old).expect("only files there are recycled"),
                    None => vec![0; self.segment_bytes],
                };
                let replaced = self.images.insert(*number, image);
                assert!(replaced.is_none(), "a new file has a new number");
            }
            DiskOp::SegmentRemove { number } => {
                self.images.remove(number).expect("only files there are removed");
            }
            other => panic!("no business of the log: {other:?}"),
        }
    }

    pub(super) fn write(&mut self, segment: SegmentNumber, offset: u64, bytes: &[u8]) {
        let offset = usize::try_from(offset).unwrap();
        let image = self.images.get_mut(&segment).expect("writes go to prepared files");
        image[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    pub(super) fn recover(
        &self,
        floor: Option<LogFloor>,
    ) -> Result<(Recovered, State), Corruption> {
        let recovery = Recovery::new(IDENTITY, self.segment_bytes as u64, floor);
        let mut state = State::default();
        let recovered = recover(recovery, &self.images, &mut |record| state.take(record))?;
        assert_eq!(recovered.hard_states, state.hard_states);
        Ok((recovered, state))
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
            files.images.remove(number).expect("only files there are removed");
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
        if let Some(op) = self.wal.segments_wanted() {
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

    /// What the log says up to the newest durable batch.
    pub(super) fn durable(&self) -> State {
        self.history.upto(self.wal.durable_batch())
    }
}
