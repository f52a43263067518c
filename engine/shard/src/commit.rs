//! From what a group's node asks for to the log, to other nodes and to the sessions.

use model::api::Reply;
use model::command::{ArchivedCommand, decode};
use model::error::Refusal;
use model::ids::{GroupId, Now};
use raft::{Content, Entry, Message, Ready, Role, Snapshot};

use crate::effect::BatchNumber;
use crate::group::UNKNOWN;
use crate::machine::Outcome;
use crate::membership::{put_membership, snapshot_record};
use crate::peer::PeerMessage;
#[cfg(feature = "sabotage")]
use crate::sabotage::Sabotage;
use crate::shard::{Parked, Shard};
use crate::wal::RecordKind;

/// What a node wants to be durable.
struct Write<'a> {
    hard_state: Option<raft::HardState>,
    snapshot: Option<&'a Snapshot>,
    entries: &'a [Entry],
    receipt: Option<&'a raft::Receipt>,
}

impl Shard {
    /// Does what the nodes of awake groups ask for, and answers reads that have become ripe.
    pub(crate) fn drain_groups(&mut self, now: Now) {
        while let Some(slot) = self.awake.pop() {
            self.groups[slot].awake = false;
            let led = self.groups[slot].node.status().role == Role::Leader;
            while self.groups[slot].node.has_ready() {
                let ready = self.groups[slot].node.ready();
                self.act(slot, ready, now);
            }
            if self.groups[slot].has_reads() {
                for read in self.groups[slot].ripe_reads() {
                    self.answer_read(slot, read, now);
                }
            }
            if !led && self.groups[slot].node.status().role == Role::Leader {
                self.facts.elections_won += 1;
            }
            self.note_rest(slot);
        }
    }

    fn act(&mut self, slot: usize, ready: Ready, now: Now) {
        let Ready {
            hard_state,
            snapshot,
            entries,
            receipt,
            messages,
            messages_after_persist,
            committed,
            reads,
            snapshots,
        } = ready;
        self.send_all(slot, messages);
        #[cfg(feature = "sabotage")]
        let messages_after_persist = match self.options.sabotage {
            Some(Sabotage::SayBeforeDurable) => {
                self.send_all(slot, messages_after_persist);
                Vec::new()
            }
            _ => messages_after_persist,
        };
        let write = Write {
            hard_state,
            snapshot: snapshot.as_ref(),
            entries: &entries,
            receipt: receipt.as_ref(),
        };
        let last = self.persist(slot, &write);
        match (last, receipt) {
            #[cfg(feature = "sabotage")]
            (Some(_), Some(receipt))
                if self.options.sabotage == Some(Sabotage::BelieveBeforeDurable) =>
            {
                self.groups[slot].node.persisted(receipt);
                self.send_all(slot, messages_after_persist);
            }
            (Some(batch), Some(receipt)) => {
                let messages = messages_after_persist;
                self.parked.push_back(Parked { batch, slot, receipt, messages });
            }
            (last, receipt) => {
                assert!(last.is_none() && receipt.is_none(), "a receipt stands for a write");
                assert!(messages_after_persist.is_empty(), "nothing waits for no write");
            }
        }
        self.apply(slot, &committed);
        for read in reads {
            for vain in self.groups[slot].round_ended(read.context, read.index) {
                let leader = self.groups[slot].leader();
                self.turn_away(vain, leader);
            }
        }
        for peer in snapshots {
            self.begin_export(slot, peer, now);
        }
    }

    pub(crate) fn send_all(&mut self, slot: usize, messages: Vec<Message>) {
        let group = self.groups[slot].id;
        let sends = messages.into_iter();
        self.sends.extend(sends.map(|message| (message.to, PeerMessage::Raft { group, message })));
    }

    /// Hands a write to the log. Returns the batch that holds its last record. What was cut off by a
    /// full batch gets a receipt of its own.
    fn persist(&mut self, slot: usize, write: &Write<'_>) -> Option<BatchNumber> {
        let id = self.groups[slot].id;
        let mut batch = None;
        let mut before: Option<(BatchNumber, &Entry)> = None;
        let &Write { hard_state, snapshot, entries, receipt } = write;
        if let Some(state) = hard_state {
            let vote = state.vote.map(|node| node.0);
            batch = Some(self.wal.accept_hard_state(id, state.term.0, vote));
        }
        if let Some(Snapshot { last: (term, index), membership }) = snapshot {
            let file = self.import_file(id, *index);
            let payload = snapshot_record(file, membership);
            let kind = RecordKind::Snapshot { term: term.0, index: index.0, payload: &payload };
            batch = Some(self.wal.accept(id, kind));
        }
        for entry in entries {
            let into = self.accept(id, entry, false);
            if let (Some((full, last)), Some(receipt)) = (before, receipt)
                && full < into
            {
                let receipt = receipt.up_to(last);
                self.parked.push_back(Parked { batch: full, slot, receipt, messages: Vec::new() });
            }
            before = Some((into, entry));
            batch = Some(into);
        }
        batch
    }

    /// Hands one entry to the log, for the first time or again.
    pub(crate) fn accept(&mut self, group: GroupId, entry: &Entry, again: bool) -> BatchNumber {
        let (term, index) = (entry.term.0, entry.index.0);
        let mut members = Vec::new();
        let payload: &[u8] = match &entry.content {
            Content::Begin => &[],
            Content::Command(payload) => payload,
            Content::Membership(membership) => {
                put_membership(&mut members, membership);
                &members
            }
        };
        let kind = match (members.is_empty(), again) {
            (true, false) => RecordKind::Entry { term, index, payload },
            (true, true) => RecordKind::EntryAgain { term, index, payload },
            (false, false) => RecordKind::Membership { term, index, payload },
            (false, true) => RecordKind::MembershipAgain { term, index, payload },
        };
        self.wal.accept(group, kind)
    }

    fn apply(&mut self, slot: usize, committed: &[Entry]) {
        let Some(last) = committed.last() else { return };
        self.changed_since_flush = true;
        for entry in committed {
            let was_serving = self.groups[slot].is_serving();
            let group = &mut self.groups[slot];
            group.note_applied(entry);
            let resolved = group.resolve(entry);
            let outcome = match &entry.content {
                Content::Command(payload) => Some(self.apply_command(slot, payload, was_serving)),
                Content::Begin | Content::Membership(_) => None,
            };
            let Some(resolved) = resolved else { continue };
            self.pending_requests -= 1;
            self.pending_bytes -= resolved.bytes;
            #[cfg(feature = "sabotage")]
            let resolved = match self.options.sabotage {
                Some(Sabotage::AnswerReplaced) => crate::group::Resolved { own: true, ..resolved },
                _ => resolved,
            };
            let reply = match outcome {
                Some(outcome) if resolved.own => self.reply(entry, outcome),
                _ => Refusal::from(UNKNOWN).into(),
            };
            self.replies.push((resolved.ticket, reply));
        }
        self.groups[slot].node.applied(last.index);
        self.keep_some(slot, committed);
    }

    /// Lets go of entries nobody is likely to need: a follower that is further behind is sent its
    /// sessions instead. What follows such a snapshot is kept until it is taken over, while the shard has
    /// room for that.
    fn keep_some(&mut self, slot: usize, applied: &[Entry]) {
        let is_alone = self.groups[slot].node.membership().members().count() <= 1;
        let limit = if is_alone { 0 } else { self.kept_limit() };
        let passed = self.exports.passed(slot);
        let group = &mut self.groups[slot];
        for entry in applied {
            let bytes = entry.bytes();
            group.kept_bytes += bytes;
            group.kept.push_back(u32::try_from(bytes).expect("entries are bounded at the door"));
        }
        if group.kept_bytes <= limit {
            return;
        }
        let room = match passed {
            None => 0,
            // Only what was under way when the room was used up comes on top of it.
            Some(_) if self.exports.holds(slot) => usize::MAX,
            Some(_) => self.room_to_keep(),
        };
        let group = &mut self.groups[slot];
        let first = group.applied().1.0 + 1 - group.kept.len() as u64;
        let (last, mut next) = (group.applied().1, first);
        while limit < group.kept_bytes
            && (0 == room || passed.is_none_or(|passed| next <= passed.0))
            && let Some(bytes) = group.kept.pop_front()
        {
            group.kept_bytes -= bytes as usize;
            next += 1;
        }
        if first < next {
            assert!(next <= last.0 + 1, "what is let go of is applied");
            group.node.compact(raft::Index(next - 1));
        }
    }

    /// Applies a command; `counts` where it was proposed, so that replicas and restarts do not count it
    /// again.
    fn apply_command(&mut self, slot: usize, payload: &[u8], counts: bool) -> Outcome {
        let command = decode(payload)
            .expect("encoded by this program, or decoded when it came from elsewhere");
        let outcome = self.machine.apply(self.groups[slot].id, command);
        let is_new = matches!(&outcome, Outcome::Appended(_, appended) if !appended.deduped);
        if let (true, Outcome::Appended(slot, _)) = (is_new, &outcome) {
            self.tails.wake(*slot);
        }
        if counts && let ArchivedCommand::Append(append) = command {
            match &outcome {
                Outcome::Appended(..) if is_new => {
                    self.facts.events_appended += 1;
                    self.facts.event_bytes_appended += append.fragment.len() as u64;
                }
                Outcome::Appended(..) => self.facts.appends_deduped += 1,
                Outcome::Session(_) | Outcome::Refused(_) => self.facts.appends_conflicted += 1,
            }
        }
        outcome
    }

    fn reply(&self, entry: &Entry, outcome: Outcome) -> Reply {
        match outcome {
            Outcome::Appended(_, appended) => Reply::Appended(appended),
            Outcome::Refused(refusal) => Reply::Refused(refusal),
            Outcome::Session(slot) => {
                let Content::Command(payload) = &entry.content else {
                    unreachable!("only a command has an outcome");
                };
                let command = decode(payload).expect("it was just applied");
                let row = self.machine.sessions.get(slot).row(command.session());
                Reply::Session(Box::new(row))
            }
        }
    }
}
