//! A segment as people look at it: batch by batch, and every header that lies anywhere. Nothing here
//! decides whether a log is whole; that takes all its segments and [`crate::wal::Recovery`].

use model::limits::BLOCK_BYTES;

use crate::effect::SegmentNumber;
use crate::wal::format::{Batch, Damage, Header, LogIdentity};
use crate::wal::recover::Place;

/// The batches of one segment, from its start, each with its offset. The last item is the place where
/// no further batch follows, unless the segment is full to its last byte.
#[derive(Debug, Clone)]
pub struct Batches<'a> {
    identity: LogIdentity,
    segment: SegmentNumber,
    image: &'a [u8],
    offset: usize,
    newest: Option<Batch<'a>>,
}

/// Walks the `image` of a segment's file. Any bytes will do.
pub fn batches(identity: LogIdentity, segment: SegmentNumber, image: &[u8]) -> Batches<'_> {
    Batches { identity, segment, image, offset: 0, newest: None }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<(usize, Batch<'a>), Place>;

    fn next(&mut self) -> Option<Self::Item> {
        let (segment, offset) = (self.segment, self.offset);
        if self.image.len() <= offset {
            return None;
        }
        let batch = Batch::read(self.identity, segment, self.image, offset);
        match batch.and_then(|batch| self.follows(batch)) {
            Ok(batch) => {
                self.newest = Some(batch);
                self.offset += batch.bytes;
                Some(Ok((offset, batch)))
            }
            Err(found) => {
                self.offset = self.image.len();
                Some(Err(Place { segment, offset, found }))
            }
        }
    }
}

impl<'a> Batches<'a> {
    /// The batch, if it follows the one before it.
    fn follows(&self, batch: Batch<'a>) -> Result<Batch<'a>, Damage> {
        let Some(newest) = &self.newest else { return Ok(batch) };
        if newest.header.batch.0.checked_add(1) != Some(batch.header.batch.0) {
            return Err(Damage::Number(batch.header.batch));
        }
        if newest.chain != batch.header.previous {
            return Err(Damage::Chain);
        }
        Ok(batch)
    }
}

/// Every header with a matching checksum that lies at a multiple of `BLOCK_BYTES` of `image`, with
/// its offset, from `from` on: of any log and any segment, so also what a file held in an earlier
/// life.
pub fn headers(image: &[u8], from: usize) -> impl Iterator<Item = (usize, Header)> + '_ {
    let blocks = (from.next_multiple_of(BLOCK_BYTES)..image.len()).step_by(BLOCK_BYTES);
    blocks.filter_map(|offset| Some((offset, Header::decode(&image[offset..]).ok()?)))
}
