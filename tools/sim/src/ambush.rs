//! Faults that wait for a moment: as soon as somebody says a certain thing, the nemesis strikes. Chance
//! alone rarely meets the few microseconds in which a change of members, a new leader or a state that is
//! handed over is known to one node and not to the others.

use std::sync::Arc;

use raft::{Body, Content, Entry, Membership};
use shard::peer::{PeerMessage, SnapshotStep};

use crate::count::Fault;
use crate::dice::Dice;
use crate::event::Event;
use crate::nemesis::{Deed, links};
use crate::queue::MILLI;
use crate::world::World;

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trigger {
    /// Somebody is told of other members.
    Members,
    /// Somebody is told that a change of voters begins.
    Joint,
    /// Somebody is told of other voters than before, in as many steps as it may take.
    Voters,
    /// Somebody is told that a change of voters has ended.
    Left,
    /// A leader tells of itself for the first time.
    Lead,
    /// Somebody is told to stand for election.
    Stand,
    /// A state is offered.
    Offer,
    /// A vote is given.
    Vote,
    /// Commands are handed to a follower.
    Commands,
}

impl Trigger {
    /// Those that chance alone waits for.
    pub(crate) const ALL: &[Trigger] = &[
        Trigger::Members,
        Trigger::Lead,
        Trigger::Stand,
        Trigger::Offer,
        Trigger::Vote,
        Trigger::Commands,
    ];
}

/// What happens then, to whoever spoke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strike {
    /// Its process is killed.
    Kill,
    /// Its machine stops.
    PowerCut,
    /// It stands still.
    Pause,
    /// Its disk does not move.
    Stick,
    /// Nobody hears it and it hears nobody.
    Isolate,
    /// Nobody hears it.
    Silence,
    /// It and those who come are parted from the other voters of before: each side may have most of the
    /// voters it knows of, until long after it has another leader.
    Sunder,
    /// It and half of the others are cut off from the rest: from those who leave, if members change.
    Split,
    /// Whom it speaks to hears nobody.
    Deafen,
    /// It stands still until the others have another leader, and goes on alone for a while: clients
    /// may find a leader that is none any more.
    Sleep,
    /// Only the one it speaks to hears it, soon nobody does, and that one's disk stands still until about
    /// the time the others have another leader.
    Strand,
    /// The same, and what it took by then lands bit by bit.
    Trickle,
    /// Only the one it speaks to hears it, whose disk forgets what it takes; then it stands still for about
    /// as long as the others need to elect another leader, but not so long that it is held for lost.
    Forget,
}

impl Strike {
    /// Those of chance alone.
    pub(crate) const ALL: &[Strike] = &[
        Strike::Kill,
        Strike::PowerCut,
        Strike::Pause,
        Strike::Stick,
        Strike::Isolate,
        Strike::Silence,
        Strike::Split,
        Strike::Deafen,
    ];
}

/// A fault that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ambush {
    /// What for.
    pub(crate) trigger: Trigger,
    /// What then.
    pub(crate) strike: Strike,
    /// How many such messages are let pass.
    pub(crate) skips: u64,
    /// Microseconds from the message to what does not happen at once.
    pub(crate) after: u64,
    /// Microseconds it lasts.
    pub(crate) lasts: u64,
    /// Chance.
    pub(crate) bits: u64,
}

/// Ambushes at a time.
const AMBUSHES_MAX: usize = 4;

impl Ambush {
    /// One of those there can be.
    pub(crate) fn draw(
        dice: &mut Dice,
        (triggers, strikes): (&[Trigger], &[Strike]),
        lasts: u64,
    ) -> Ambush {
        let (trigger, strike) = (dice.pick(triggers), dice.pick(strikes));
        let skips = dice.pick(&[0, 0, 1, 2, 5]);
        Ambush {
            trigger,
            strike,
            // Who is parted from a change must not have heard of it.
            skips: if strike == Strike::Sunder { 0 } else { skips },
            after: dice.spread(1, 50 * MILLI),
            lasts: lasts.max(100 * MILLI),
            bits: dice.bits(),
        }
    }
}

impl World {
    /// The nemesis waits.
    pub(crate) fn lie_in_wait(&mut self, ambush: Ambush) {
        if self.ambushes.len() < AMBUSHES_MAX {
            self.ambushes.push(ambush);
        }
    }

    /// The next leader that hands out commands is cut off with what it has, and clients fall silent;
    /// nothing else happens any more.
    pub(crate) fn hush(&mut self) {
        let lasts = self.options.safety;
        let (trigger, strike) = (Trigger::Commands, Strike::Isolate);
        self.ambushes = vec![Ambush { trigger, strike, skips: 0, after: 1, lasts, bits: 0 }];
        self.run_until(self.now() + 20 * MILLI);
        self.ground.hushed = true;
    }

    /// A message leaves: somebody may have waited for it.
    pub(crate) fn spring(&mut self, from: usize, to: usize, message: &PeerMessage) {
        if self.healed {
            return;
        }
        let waits = |ambush: &Ambush| self.is_what(ambush.trigger, message);
        let Some(place) = self.ambushes.iter().position(waits) else { return };
        let ambush = &mut self.ambushes[place];
        if 0 < ambush.skips {
            ambush.skips -= 1;
            return;
        }
        let ambush = self.ambushes.remove(place);
        self.counters.count(Fault::Ambush);
        let Ambush { after, lasts, .. } = ambush;
        let election = self.options.election();
        let later = match ambush.strike {
            Strike::Kill => Deed::Kill { node: from, down: lasts },
            Strike::PowerCut => Deed::PowerCut { node: from, down: lasts },
            Strike::Pause => Deed::Pause { node: from, core: None, lasts },
            Strike::Stick => Deed::Stuck { node: from, lasts },
            Strike::Sleep => {
                let sleeps = 2 * election + lasts % (4 * election);
                let links = self.links_of(ambush, (from, to), message);
                self.deed(&Deed::Cut { links, lasts: sleeps + 2 * election });
                Deed::Pause { node: from, core: None, lasts: sleeps }
            }
            Strike::Forget => {
                if !self.may_forget(to) {
                    return;
                }
                let (lies, down) = (election / 4 + after, 30 * MILLI);
                let sleeps = down + 3 * election / 4 + lasts % (election / 2);
                for other in (0..self.nodes.len()).filter(|other| ![from, to].contains(other)) {
                    self.deed(&Deed::Clog { from, to: other, lasts: lies + sleeps });
                }
                self.deed(&Deed::Lie { node: to, lasts: lies, down });
                self.health(to, |health| health.forgets = true);
                let later = Deed::Pause { node: from, core: None, lasts: sleeps };
                self.queue.plan(self.now() + lies, Event::Deed(later));
                return;
            }
            Strike::Sunder => {
                let links = self.links_of(ambush, (from, to), message);
                let lasts = 4 * election + lasts % (8 * election);
                self.deed(&Deed::Cut { links, lasts });
                return;
            }
            Strike::Strand | Strike::Trickle => {
                let heard_by_one = self.links_of(ambush, (from, to), message);
                self.deed(&Deed::Cut { links: heard_by_one, lasts: after });
                self.hold_up(to, ambush);
                let links = links(self.nodes.len(), |one, other| one == from || other == from);
                Deed::Cut { links, lasts: 4 * election }
            }
            _ => {
                let links = self.links_of(ambush, (from, to), message);
                self.deed(&Deed::Cut { links, lasts });
                return;
            }
        };
        self.queue.plan(self.now() + after, Event::Deed(later));
    }

    /// A stranded leader's follower: its disk stands still, and may be slow then.
    fn hold_up(&mut self, node: usize, Ambush { strike, lasts, .. }: Ambush) {
        let election = self.options.election();
        if strike == Strike::Strand {
            let lasts = election + lasts % (3 * election / 2);
            return self.deed(&Deed::Stuck { node, lasts });
        }
        let stuck = 3 * election / 2 + lasts % (2 * election);
        self.deed(&Deed::Stuck { node, lasts: stuck });
        let slow = Deed::Slow { node, times: 20, lasts: 2 * election };
        self.queue.plan(self.now() + stuck + 1, Event::Deed(slow));
    }

    fn links_of(
        &self,
        Ambush { strike, bits, .. }: Ambush,
        (from, to): (usize, usize),
        message: &PeerMessage,
    ) -> Vec<(usize, usize)> {
        let leaving = self.leaving(message);
        if strike == Strike::Sunder {
            let voted = self.voted_before(message);
            let stays = |node: usize| node != from && voted[node];
            return links(self.nodes.len(), |one, other| stays(one) != stays(other));
        }
        let side = |node: usize| match &leaving {
            // Who stays is apart from who leaves; whoever speaks is with either.
            Some(leaving) if bits & 3 != 0 => leaving[node] || (node == from && bits & 4 == 0),
            _ => bits >> (8 + node) & 1 == u64::from(node != from),
        };
        let is_cut = |one: usize, other: usize| match strike {
            Strike::Isolate | Strike::Sleep => one == from || other == from,
            Strike::Silence => one == from,
            Strike::Strand | Strike::Trickle => {
                (one == from && other != to) || (other == from && one != to)
            }
            Strike::Deafen => other == to,
            _ => side(one) != side(other),
        };
        links(self.nodes.len(), is_cut)
    }

    /// The nodes that leave, if the message tells somebody of other members.
    fn leaving(&self, message: &PeerMessage) -> Option<Vec<bool>> {
        let (group, entry, members) = change(message)?;
        let before = self.court.members_before(group, (entry.term, entry.index));
        let voted = |id| members.is_voter(id) || before.is_some_and(|members| members.is_voter(id));
        let leaves = |node: &crate::node::Node| {
            voted(node.id()) && members.voters.binary_search(&node.id()).is_err()
        };
        Some(self.nodes.iter().map(leaves).collect())
    }

    /// The nodes that voted before the change of members the message tells of; none if it tells of none.
    fn voted_before(&self, message: &PeerMessage) -> Vec<bool> {
        let before = change(message).and_then(|(group, entry, _)| {
            self.court.members_before(group, (entry.term, entry.index))
        });
        let voted = |id| before.is_some_and(|members| members.is_voter(id));
        self.nodes.iter().map(|node| voted(node.id())).collect()
    }

    /// Whether a message is what is waited for.
    fn is_what(&self, trigger: Trigger, message: &PeerMessage) -> bool {
        let members = change(message);
        match trigger {
            Trigger::Members => members.is_some(),
            Trigger::Joint => members.is_some_and(|(_, _, members)| members.is_joint()),
            Trigger::Voters => members.is_some_and(|(group, entry, members)| {
                let before = self.court.members_before(group, (entry.term, entry.index));
                before.is_some_and(|before| !before.is_joint() && before.voters != members.voters)
            }),
            Trigger::Left => members.is_some_and(|(group, entry, members)| {
                let before = self.court.members_before(group, (entry.term, entry.index));
                !members.is_joint() && before.is_some_and(|members| members.is_joint())
            }),
            _ => is_said(trigger, message),
        }
    }
}

/// The newest change of members somebody is told of, and of which group.
fn change(message: &PeerMessage) -> Option<(u32, &Entry, &Arc<Membership>)> {
    let PeerMessage::Raft { group, message } = message else { return None };
    let Body::Append { entries, .. } = &message.body else { return None };
    entries.iter().rev().find_map(|entry| match &entry.content {
        Content::Membership(members) => Some((group.0, entry, members)),
        _ => None,
    })
}

fn is_said(trigger: Trigger, message: &PeerMessage) -> bool {
    let message = match message {
        PeerMessage::Raft { message, .. } => message,
        PeerMessage::Snapshot { step, .. } => {
            return trigger == Trigger::Offer && matches!(step, SnapshotStep::Offer { .. });
        }
        PeerMessage::Pulse(_) => return false,
    };
    match (&message.body, trigger) {
        (Body::TimeoutNow, Trigger::Stand) | (Body::VoteReply { granted: true }, Trigger::Vote) => {
            true
        }
        (Body::Append { entries, .. }, _) => entries.iter().any(|entry| match entry.content {
            Content::Membership(_) => false,
            Content::Begin => trigger == Trigger::Lead && entry.term == message.term,
            Content::Command(_) => trigger == Trigger::Commands,
        }),
        _ => false,
    }
}
