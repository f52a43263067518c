//! The log: what a scripted or random writer made durable is what recovery finds.

mod files;
mod layout;
mod lives;
mod rot;
mod tear;

use model::ids::{GroupId, ShardId};

use crate::effect::{BatchNumber, SegmentNumber};
use crate::wal::LogIdentity;

use files::{Files, Writer};

pub(super) const IDENTITY: LogIdentity =
    LogIdentity { log_id: 0x5eed_0f10_6000_0001, shard: ShardId(3) };

/// An append that travels in a batch of its own comes back after a restart, and a restart starts a
/// fresh segment.
#[test]
fn what_is_durable_comes_back() {
    let mut writer = Writer::open(Files::new(32 * 1024), None).unwrap();
    for index in 1..=5 {
        writer.wal.accept_entry(GroupId(1), 1, index, b"payload");
        writer.wal.accept_hard_state(GroupId(2), index, Some(7));
        writer.flush();
    }
    let want = writer.durable();
    let writer = Writer::open(writer.files, None).unwrap();
    assert_eq!(writer.history.state(), want);
    assert_eq!(writer.start.segment, SegmentNumber(2));
    assert_eq!(writer.start.batch, BatchNumber(6));
}
