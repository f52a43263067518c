//! Events for other replicas: what a snapshot lacks, or a block another node cannot read. They never
//! change, so whoever has applied them can give them, without knowing what for.
//!
//! All blocks an answer needs are read at once; it goes out when the last of them is here.

use std::collections::BTreeMap;

use model::api::Event;
use model::ids::{GroupId, Seq, SessionId};
use model::limits::{HANDOUTS_PER_SHARD, SNAPSHOT_BLOCKS_MAX, SNAPSHOT_PART_BYTES};
use raft::NodeId;

use crate::chunk::Damage;
use crate::peer::{PeerMessage, Run, SnapshotStep, Want};
use crate::reads::{Purpose, Wish};
use crate::session::Session;
use crate::shard::Shard;
use crate::tails::hot_events;

/// Answers that are being put together.
#[derive(Debug, Default)]
pub(crate) struct Handouts {
    running: BTreeMap<u64, Handout>,
    newest: u64,
}

#[derive(Debug)]
struct Handout {
    to: NodeId,
    group: GroupId,
    /// What the asker calls it.
    number: u64,
    /// In the order they were asked for.
    pieces: Vec<Piece>,
    /// Pieces that are still read.
    missing: usize,
}

#[derive(Debug)]
enum Piece {
    Here(Run),
    /// Events of a session, up to this one, are being read.
    Read(SessionId, Seq),
    /// They cannot be.
    Lost,
}

impl Piece {
    fn of(session: SessionId, events: Vec<Event>, last: Seq) -> Piece {
        let Some(first) = events.first().map(|event| event.seq) else { return Piece::Lost };
        let wanted = events.into_iter().take_while(|event| event.seq <= last);
        Piece::Here(Run { session, first, events: wanted.map(|event| event.json).collect() })
    }
}

/// An answer before its blocks are read.
struct Plan {
    id: u64,
    pieces: Vec<Piece>,
    wishes: Vec<Wish>,
    /// What is left of its bounds.
    bytes: usize,
    blocks: usize,
}

impl Plan {
    /// Adds what is wanted of one session, as much as there is and fits.
    fn add(&mut self, want: &Want, session: &Session) {
        let last = want.last.min(session.last_seq);
        let mut have = want.after;
        while have < last && 0 < self.bytes && 0 < self.blocks {
            let next = have.next();
            self.blocks -= 1;
            if session.hot_first() <= next {
                let events = hot_events(session, next, self.bytes as u64);
                have = last.min(Seq(have.0 + events.len() as u64));
                let bytes: usize = events.iter().map(|event| event.json.len()).sum();
                self.bytes = self.bytes.saturating_sub(bytes);
                self.pieces.push(Piece::of(want.session.clone(), events, have));
                continue;
            }
            let Some((extent, end)) = session.block_of(next) else {
                return self.pieces.push(Piece::Lost);
            };
            let purpose = Purpose::Handout(self.id, self.pieces.len());
            let session = want.session.clone();
            self.wishes.push(Wish { purpose, session: session.clone(), extent, cursor: have });
            have = last.min(end);
            self.pieces.push(Piece::Read(session, have));
            self.bytes = self.bytes.saturating_sub(extent.bytes as usize);
        }
    }
}

impl Shard {
    /// Another replica asks for events.
    pub(crate) fn hand_out(&mut self, to: NodeId, group: GroupId, number: u64, wants: &[Want]) {
        let running = &self.handouts.running;
        let is_known = |handout: &Handout| handout.to == to && handout.number == number;
        if HANDOUTS_PER_SHARD <= running.len() || running.values().any(is_known) {
            return;
        }
        let id = self.handouts.newest + 1;
        let (bytes, blocks) = (SNAPSHOT_PART_BYTES, SNAPSHOT_BLOCKS_MAX);
        let mut plan = Plan { id, pieces: Vec::new(), wishes: Vec::new(), bytes, blocks };
        for want in wants {
            let Some(slot) = self.machine.sessions.find(want.session.as_str()) else { break };
            let session = self.machine.sessions.get(slot);
            if session.group != group {
                break;
            }
            plan.add(want, session);
        }
        let Plan { pieces, wishes, .. } = plan;
        let handout = Handout { to, group, number, pieces, missing: wishes.len() };
        if wishes.is_empty() {
            return self.send_handout(handout);
        }
        self.handouts.newest = id;
        self.handouts.running.insert(id, handout);
        for wish in wishes {
            self.reads.want(wish);
        }
    }

    /// A block of an answer is here, or cannot be read.
    pub(crate) fn handout_fetched(
        &mut self,
        (id, place): (u64, usize),
        events: Result<Vec<Event>, Damage>,
    ) {
        let handout = self.handouts.running.get_mut(&id).expect("it waits for its blocks");
        let before = std::mem::replace(&mut handout.pieces[place], Piece::Lost);
        let Piece::Read(session, last) = before else { unreachable!("each block comes once") };
        if let Ok(events) = events {
            handout.pieces[place] = Piece::of(session, events, last);
        }
        handout.missing -= 1;
        if handout.missing == 0
            && let Some(handout) = self.handouts.running.remove(&id)
        {
            self.send_handout(handout);
        }
    }

    fn send_handout(&mut self, handout: Handout) {
        let Handout { to, group, number, pieces, .. } = handout;
        let here = pieces.into_iter().map_while(|piece| match piece {
            Piece::Here(run) => Some(run),
            Piece::Read(..) | Piece::Lost => None,
        });
        let step = SnapshotStep::Events { number, runs: here.collect() };
        self.sends.push((to, PeerMessage::Snapshot { group, step }));
    }
}
