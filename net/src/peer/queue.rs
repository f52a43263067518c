//! What waits for a connection to another node, whichever lane it is on.

use shard::peer::PeerMessage;
use uring::{ClientMessage, ClientQueue, PeerLane, PeerQueue};

use super::client_wire;
use super::frame::Lane;
use super::wire;

/// The lanes a core dials to every other node.
pub(crate) const DIALED: [Lane; 3] = [Lane::Log, Lane::Bulk, Lane::Client];

/// Which of the shards' lanes one is; `None` if it carries what clients want.
pub(crate) fn shards_lane(lane: Lane) -> Option<PeerLane> {
    match lane {
        Lane::Log => Some(PeerLane::Log),
        Lane::Bulk => Some(PeerLane::Bulk),
        Lane::Client => None,
        Lane::Founding => unreachable!("a founded node does not ask how a cluster begins"),
    }
}

/// A connection's end of a queue.
pub(crate) trait Queue {
    /// What waits.
    type Message;

    /// Resolves when something waits.
    async fn waiting(&self);

    /// Moves what waits to `batch`, in order, up to so many bytes but at least one.
    fn take(&self, bytes_max: usize, batch: &mut Vec<Self::Message>);

    /// Writes messages, at least one, to the end of a vector.
    fn encode(batch: &[Self::Message], out: &mut Vec<u8>);
}

impl Queue for PeerQueue {
    type Message = PeerMessage;

    async fn waiting(&self) {
        PeerQueue::waiting(self).await;
    }

    fn take(&self, bytes_max: usize, batch: &mut Vec<PeerMessage>) {
        PeerQueue::take(self, bytes_max, batch);
    }

    fn encode(batch: &[PeerMessage], out: &mut Vec<u8>) {
        wire::encode(batch, out);
    }
}

impl Queue for ClientQueue {
    type Message = ClientMessage;

    async fn waiting(&self) {
        ClientQueue::waiting(self).await;
    }

    fn take(&self, bytes_max: usize, batch: &mut Vec<ClientMessage>) {
        ClientQueue::take(self, bytes_max, batch);
    }

    fn encode(batch: &[ClientMessage], out: &mut Vec<u8>) {
        client_wire::encode(batch, out);
    }
}
