//! What the connections of one core with other nodes count.

use metrics::{Counter, Gauge, counter, gauge};
use model::metric::Metric;

use super::frame::Lane;
use super::queue::DIALED;

/// Which way a connection goes: who dialed sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// To another node.
    Out,
    /// From another node.
    In,
}

impl Direction {
    fn name(self) -> &'static str {
        match self {
            Direction::Out => "out",
            Direction::In => "in",
        }
    }
}

/// Handles of one core.
#[derive(Debug)]
pub(crate) struct PeerMeters {
    core: String,
    /// By lane and direction.
    lanes: Vec<(Lane, Direction, LaneMeters)>,
    too_large: Counter,
}

#[derive(Debug)]
struct LaneMeters {
    open: Gauge,
    bytes: Counter,
    frames: Counter,
}

/// A connection that is counted as open.
#[derive(Debug)]
pub(crate) struct Open(Gauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

impl PeerMeters {
    /// Handles labelled with the core.
    pub(crate) fn new(core: usize) -> PeerMeters {
        let core = core.to_string();
        let mut lanes = Vec::new();
        for lane in DIALED {
            for direction in [Direction::Out, Direction::In] {
                let labels = [
                    ("core", core.clone()),
                    ("lane", lane.name().to_owned()),
                    ("direction", direction.name().to_owned()),
                ];
                let meters = LaneMeters {
                    open: gauge!(Metric::PeerConnections.name(), &labels),
                    bytes: counter!(Metric::PeerBytes.name(), &labels),
                    frames: counter!(Metric::PeerFrames.name(), &labels),
                };
                lanes.push((lane, direction, meters));
            }
        }
        let dropped = Metric::PeerMessagesDropped.name();
        let too_large = counter!(dropped, "core" => core.clone(), "reason" => "too_large");
        PeerMeters { core, lanes, too_large }
    }

    /// A connection stands until what is given is dropped.
    pub(crate) fn opened(&self, lane: Lane, direction: Direction) -> Open {
        let gauge = self.lane(lane, direction).open.clone();
        gauge.increment(1.0);
        Open(gauge)
    }

    /// A frame went out or came in.
    pub(crate) fn frame(&self, lane: Lane, direction: Direction, bytes: usize) {
        let meters = self.lane(lane, direction);
        meters.frames.increment(1);
        meters.bytes.increment(bytes as u64);
    }

    /// Messages were dropped that no frame holds.
    pub(crate) fn too_large(&self, messages: usize) {
        self.too_large.increment(messages as u64);
    }

    /// A connection came to nothing.
    pub(crate) fn handshake_failed(&self, direction: Direction, reason: &'static str) {
        let (name, core) = (Metric::PeerHandshakesFailed.name(), self.core.clone());
        let direction = direction.name();
        counter!(name, "core" => core, "direction" => direction, "reason" => reason).increment(1);
    }

    fn lane(&self, lane: Lane, direction: Direction) -> &LaneMeters {
        let found = self.lanes.iter().find(|(l, d, _)| (*l, *d) == (lane, direction));
        &found.expect("every lane that is dialed has its meters").2
    }
}
