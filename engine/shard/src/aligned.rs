//! A growable buffer whose bytes begin on a block boundary, as direct IO demands, made without unsafe
//! code: the vector behind it is a block longer than needed, and the bytes start at its first aligned
//! address.

use model::limits::BLOCK_BYTES;

/// Bytes that start at a multiple of [`BLOCK_BYTES`] in memory.
///
/// Invariant: `bytes[start..]` begins on a block boundary. The vector is only ever replaced together
/// with `start`, never grown in place, so the address cannot move unseen.
pub struct AlignedBuffer {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBuffer {
    /// An empty buffer with room for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> AlignedBuffer {
        let bytes = vec![0; capacity + BLOCK_BYTES];
        let start = bytes.as_ptr().align_offset(BLOCK_BYTES);
        assert!(start < BLOCK_BYTES, "a byte pointer can always be aligned");
        AlignedBuffer { bytes, start, len: 0 }
    }

    /// A buffer of `len` zeros.
    pub fn zeroed(len: usize) -> AlignedBuffer {
        let mut buffer = AlignedBuffer::with_capacity(len);
        buffer.len = len;
        buffer
    }

    /// Bytes it can hold without moving.
    pub fn capacity(&self) -> usize {
        self.bytes.len() - BLOCK_BYTES
    }

    /// Bytes it holds.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets its bytes, keeps its room.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Forgets the bytes behind the first `len`.
    pub fn truncate(&mut self, len: usize) {
        assert!(len <= self.len);
        self.len = len;
    }

    /// Adds bytes at the end, moving to a larger vector if there is no room.
    pub fn extend_from_slice(&mut self, more: &[u8]) {
        self.reserve(more.len());
        let end = self.start + self.len;
        self.bytes[end..end + more.len()].copy_from_slice(more);
        self.len += more.len();
    }

    /// Adds zeros until the length is a multiple of `unit`.
    pub fn pad_to(&mut self, unit: usize) {
        let target = self.len.next_multiple_of(unit);
        self.reserve(target - self.len);
        self.bytes[self.start + self.len..self.start + target].fill(0);
        self.len = target;
    }

    /// Makes room for `more` bytes behind those held.
    pub fn reserve(&mut self, more: usize) {
        let needed = self.len + more;
        if self.capacity() < needed {
            let mut larger = AlignedBuffer::with_capacity(needed.next_power_of_two());
            larger.extend_from_slice(self.as_slice());
            *self = larger;
        }
        assert!(needed <= self.capacity());
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }

    /// The bytes, to write to.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }
}

impl std::fmt::Debug for AlignedBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AlignedBuffer({} bytes)", self.len)
    }
}
