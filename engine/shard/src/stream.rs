//! A file written front to back in large pieces, one piece in flight.

use model::limits::{BLOCK_BYTES, FILE_WRITE_BYTES};

use crate::aligned::AlignedBuffer;
use crate::effect::{DiskOp, FileName};

/// Bytes on their way to one file.
#[derive(Debug)]
pub(crate) struct Stream {
    file: FileName,
    /// Where `pending` begins in the file.
    offset: u64,
    pending: AlignedBuffer,
    /// The buffer that is not in flight.
    spare: Option<AlignedBuffer>,
    in_flight: bool,
}

impl Stream {
    pub(crate) fn new(file: FileName) -> Stream {
        Stream {
            file,
            offset: 0,
            pending: AlignedBuffer::with_capacity(FILE_WRITE_BYTES + FILE_WRITE_BYTES / 4),
            spare: Some(AlignedBuffer::with_capacity(FILE_WRITE_BYTES + FILE_WRITE_BYTES / 4)),
            in_flight: false,
        }
    }

    pub(crate) fn file(&self) -> FileName {
        self.file
    }

    /// Where the next byte goes in the file.
    pub(crate) fn position(&self) -> u64 {
        self.offset + self.pending.len() as u64
    }

    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// Whether the writer should wait for the disk.
    pub(crate) fn is_full(&self) -> bool {
        FILE_WRITE_BYTES <= self.pending.len()
    }

    /// The next write, if one is worth it.
    pub(crate) fn write(&mut self) -> Option<DiskOp> {
        if self.in_flight || !self.is_full() {
            return None;
        }
        let whole = self.pending.len() / BLOCK_BYTES * BLOCK_BYTES;
        Some(self.submit(whole))
    }

    /// The last write, padded with zeros; `None` while one is in flight, or when all is written.
    pub(crate) fn finish(&mut self) -> Option<DiskOp> {
        if self.in_flight || self.pending.is_empty() {
            return None;
        }
        self.pending.pad_to(BLOCK_BYTES);
        Some(self.submit(self.pending.len()))
    }

    /// Whether nothing is pending or in flight.
    pub(crate) fn is_written(&self) -> bool {
        self.pending.is_empty() && !self.in_flight
    }

    /// A write is done; its buffer comes back.
    pub(crate) fn written(&mut self, mut buffer: AlignedBuffer) {
        assert!(self.in_flight, "a write of this file was in flight");
        self.in_flight = false;
        buffer.clear();
        self.spare = Some(buffer);
    }

    fn submit(&mut self, whole: usize) -> DiskOp {
        assert!(whole.is_multiple_of(BLOCK_BYTES) && 0 < whole);
        let mut rest = self.spare.take().expect("the spare is here when nothing is in flight");
        rest.extend_from_slice(&self.pending.as_slice()[whole..]);
        let mut buffer = std::mem::replace(&mut self.pending, rest);
        buffer.truncate(whole);
        let offset = self.offset;
        self.offset += whole as u64;
        self.in_flight = true;
        DiskOp::FileWrite { file: self.file, offset, buffer }
    }
}
