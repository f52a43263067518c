//! Little-endian fields of files, and frames with a checksum around them.
//!
//! ```text
//!  frame:  length u32 | crc32 u32 of the length and the bytes | bytes
//! ```

/// Bytes in front of a frame's content.
pub(crate) const FRAME_HEAD_BYTES: usize = 8;

/// Appends fields to a vector.
pub(crate) trait Put {
    fn put(&mut self, bytes: &[u8]);

    fn put_u16(&mut self, value: u16) {
        self.put(&value.to_le_bytes());
    }

    fn put_u32(&mut self, value: u32) {
        self.put(&value.to_le_bytes());
    }

    fn put_u64(&mut self, value: u64) {
        self.put(&value.to_le_bytes());
    }

    /// A length and that many bytes.
    fn put_bytes(&mut self, bytes: &[u8]) {
        self.put_u32(u32::try_from(bytes.len()).expect("fields are bounded by the request body"));
        self.put(bytes);
    }
}

impl Put for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Takes fields from a slice; `None` once it is too short.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Take<'a>(pub(crate) &'a [u8]);

impl<'a> Take<'a> {
    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn digest(&mut self) -> Option<[u8; 16]> {
        self.array()
    }

    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let count = self.u32()?;
        self.take(usize::try_from(count).ok()?)
    }

    pub(crate) fn str(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// The length of the next frame's content, if as much of it is there; nothing is taken.
    pub(crate) fn frame_length(&self) -> Option<usize> {
        let mut ahead = *self;
        usize::try_from(ahead.u32()?).ok()
    }

    /// The content of the next frame, if it is whole and its checksum holds.
    pub(crate) fn frame(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()?;
        let crc = self.u32()?;
        let content = self.take(usize::try_from(length).ok()?)?;
        (frame_crc(length, content) == crc).then_some(content)
    }
}

fn frame_crc(length: u32, content: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length.to_le_bytes());
    hasher.update(content);
    hasher.finalize()
}

/// Appends a frame whose content `fill` writes.
pub(crate) fn put_frame(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let head = out.len();
    out.put(&[0; FRAME_HEAD_BYTES]);
    fill(out);
    let content = &out[head + FRAME_HEAD_BYTES..];
    let length = u32::try_from(content.len()).expect("a frame is bounded by what it holds");
    let crc = frame_crc(length, content);
    out[head..head + 4].copy_from_slice(&length.to_le_bytes());
    out[head + 4..head + FRAME_HEAD_BYTES].copy_from_slice(&crc.to_le_bytes());
}
