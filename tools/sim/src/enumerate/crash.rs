//! A crash at every boundary of every write. What it may leave is made from what was durable: any sectors
//! of the log's write in flight, and the first so many of the other deeds, for each is durable before the
//! next begins. Each such image is opened by the shipped code and must be what was written: all that was
//! durable, the batch in flight whole or not at all, nothing else.
//!
//! Some are gone on with: the way back crashes in turn, a leader brings the node as far as the script
//! came, its state and its events must be the script's.

use std::fmt;

use raft::{Body, NodeId, Role};
use shard::effect::DiskOp;
use shard::shard::{Options, Shard};

use crate::dice::{Concern, Dice};
use crate::enumerate::caught;
use crate::enumerate::ledger::Ledger;
use crate::enumerate::opening::{self, Opened};
use crate::enumerate::puppet::Puppet;
use crate::enumerate::store::{Files, SECTOR_BYTES};
use crate::enumerate::trio::{Member, Moment, Watch, dawn};
use crate::enumerate::truth::{Chain, Truth};

/// Writes of up to so many changed sectors are torn in every way.
const SECTORS_MAX: usize = 8;
/// Larger ones in so many ways by chance, beside every beginning, every end and every hole.
const TEARS: usize = 64;
/// Microseconds after dawn at which a crashed node starts again: behind every script.
const LATER: u64 = 1 << 40;
/// Findings after which no more are looked for.
const FINDINGS_MAX: usize = 20;

/// How much is looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Depth {
    /// Of so many moments one is looked at: this one.
    pub(crate) moments: u64,
    pub(crate) offset: u64,
    /// Of so many images one is gone on with.
    pub(crate) healed: u64,
}

/// What was looked at.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    /// Moments of a disk.
    moments: u64,
    /// Images opened.
    pub(crate) images: u64,
    /// Of those: the batch in flight was there as a whole.
    whole: u64,
    /// It was cut off.
    torn: u64,
    /// A crash of the way back.
    twice: u64,
    /// Brought to the end of the script by a leader.
    healed: u64,
}

impl Counts {
    /// And these.
    pub(crate) fn add(&mut self, more: &Counts) {
        self.moments += more.moments;
        self.images += more.images;
        self.whole += more.whole;
        self.torn += more.torn;
        self.twice += more.twice;
        self.healed += more.healed;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { moments, images, whole, torn, twice, healed } = self;
        write!(f, "{moments} moments, {images} images: {whole} with the batch in flight, ")?;
        write!(
            f,
            "{torn} with a torn one; {twice} crashes of the way back; {healed} led to the end"
        )
    }
}

/// Whoever makes everything crash.
pub(crate) struct Crasher<'a> {
    truth: &'a Truth,
    depth: Depth,
    seed: u64,
    dice: Dice,
    seen: u64,
    /// What was looked at.
    pub(crate) counts: Counts,
    /// What was wrong.
    pub(crate) findings: Vec<String>,
}

/// Which sectors of a write land.
type Tear = Vec<bool>;

impl Watch for Crasher<'_> {
    fn look(&mut self, moment: Moment, node: NodeId, member: &Member) {
        let skipped = self.seen % self.depth.moments != self.depth.offset;
        self.seen += 1;
        if skipped || FINDINGS_MAX <= self.findings.len() {
            return;
        }
        self.counts.moments += 1;
        let tears = self.tears(moment, member);
        for files in deeds_done(member) {
            for tear in &tears {
                let mut image = files.clone();
                if let Some(write) = &member.store.log {
                    image.land(write, |sector| tear[sector]);
                }
                let result = caught(|| self.crash(member, image)).and_then(|result| result);
                if let Err(what) = result {
                    let (at, batch) = (self.seen, member.ledger.durable());
                    let at = format!("seed {}, node {node}, moment {at}, batch {batch}", self.seed);
                    self.findings.push(format!("{at}, sectors {tear:?}: {what}"));
                }
            }
        }
    }
}

/// The files after each of the other deeds that changes what a crash leaves.
fn deeds_done(member: &Member) -> Vec<Files> {
    let store = &member.store;
    let mut files = store.files.clone();
    let mut all = vec![files.clone()];
    for op in &store.queue {
        files.carry_out(op, store.segment_bytes());
        if !matches!(op, DiskOp::FileWrite { .. }) {
            all.push(files.clone());
        }
    }
    for image in &mut all {
        image.crash();
    }
    all
}

impl<'a> Crasher<'a> {
    /// Whoever knows what a script comes to.
    pub(crate) fn new(truth: &'a Truth, seed: u64, depth: Depth) -> Crasher<'a> {
        let dice = Dice::new(seed, Concern::Nemesis);
        Crasher {
            truth,
            depth,
            seed,
            dice,
            seen: 0,
            counts: Counts::default(),
            findings: Vec::new(),
        }
    }

    /// The ways in which the log's write in flight may land, each different from the others.
    fn tears(&mut self, moment: Moment, member: &Member) -> Vec<Tear> {
        let Some(write) = &member.store.log else { return vec![Vec::new()] };
        let sectors = write.buffer.len() / SECTOR_BYTES;
        let changed = member.store.files.changed_by(write);
        let tear = |lands: &dyn Fn(usize) -> bool| {
            let mut tear = vec![false; sectors];
            for (place, sector) in changed.iter().enumerate() {
                tear[*sector] = lands(place);
            }
            tear
        };
        let count = changed.len();
        if moment != Moment::LogSubmitted {
            let half = self.dice.index(count + 1);
            return vec![tear(&|_| false), tear(&|place| place < half), tear(&|_| true)];
        }
        if count <= SECTORS_MAX {
            return (0..1_u32 << count).map(|set| tear(&|place| set >> place & 1 == 1)).collect();
        }
        let mut tears = Vec::new();
        for cut in 0..=count {
            tears.push(tear(&|place| place < cut));
            tears.push(tear(&|place| cut <= place));
            tears.push(tear(&|place| place != cut));
        }
        for _ in 0..TEARS {
            let set: Vec<bool> = (0..count).map(|_| self.dice.permille(500)).collect();
            tears.push(tear(&|place| set[place]));
        }
        tears
    }

    /// A node starts from an image.
    fn crash(&mut self, member: &Member, mut image: Files) -> Result<(), String> {
        self.counts.images += 1;
        let before = image.clone();
        let opened = opening::open(member.options.clone(), &mut image)?;
        let ledger = &member.ledger;
        let flying = ledger.flying.is_some() && opened.next == ledger.durable() + 2;
        self.counts.whole += u64::from(flying);
        self.counts.torn += u64::from(opened.cut);
        if opened.next != ledger.durable() + 1 + u64::from(flying) {
            return Err(format!("the log ends before batch {}", opened.next));
        }
        if !ledger.agrees(opened.first, opened.next, &opened.records) {
            return Err("the log holds other records than were written".to_owned());
        }
        self.compare(&opened.shard, ledger, flying)?;
        if self.dice.below(self.depth.healed) == 0 {
            self.crash_again(&member.options, before, &opened)?;
            self.heal(member, opened, image)?;
        }
        Ok(())
    }

    /// Every group is what its entries make it.
    fn compare(&self, shard: &Shard, ledger: &Ledger, flying: bool) -> Result<(), String> {
        for (group, status) in shard.statuses() {
            let none = Chain::default();
            let chain = self.truth.chains.get(&group.0).unwrap_or(&none);
            let (applied, digest) = shard.digest(group);
            let fold = ledger.fold(group.0, flying);
            let term = chain.term(applied.0).ok_or("more is applied than was ever committed")?;
            let place = usize::try_from(applied.0).expect("scripts are short");
            if chain.digests.get(place) != Some(&digest) {
                return Err(format!("the state of group {} is not that of {applied}", group.0));
            }
            let last = fold.last_behind((term, applied.0));
            if status.last.0 != last {
                return Err(format!("group {} ends at {}, not {last}", group.0, status.last));
            }
            if status.term.0 < fold.hard.0 || status.role != Role::Follower {
                return Err(format!("group {} forgot term {}", group.0, fold.hard.0));
            }
        }
        Ok(())
    }

    /// The way back ends somewhere among the files it removes, and begins anew.
    fn crash_again(
        &mut self,
        options: &Options,
        image: Files,
        once: &Opened,
    ) -> Result<(), String> {
        for removed in 0..=once.removed.len() {
            let mut image = image.clone();
            image.clean(&once.removed[..removed], |_| true);
            let again = opening::open(options.clone(), &mut image);
            let again = again.map_err(|what| format!("after {removed} removals: {what}"))?;
            self.counts.twice += 1;
            let is_same =
                (again.first, again.next, &again.records) == (once.first, once.next, &once.records);
            if !is_same {
                return Err(format!("after {removed} removals another log is found"));
            }
        }
        Ok(())
    }

    /// A leader brings the node as far as the script came.
    fn heal(&mut self, member: &Member, opened: Opened, image: Files) -> Result<(), String> {
        self.counts.healed += 1;
        let ledger = &member.ledger;
        let flying = opened.next == ledger.durable() + 2;
        let mut now = dawn();
        now.monotonic += LATER;
        let mut puppet = Puppet::with(opened.shard, image, &member.options, now);
        puppet.rest();
        let asks = puppet.said.iter().any(|(_, said)| matches!(said.body, Body::Doubt { .. }));
        if !asks {
            return Err("it asks nobody what its log may lack".to_owned());
        }
        for (group, chain) in &self.truth.chains {
            puppet.tempt(*group, ledger.fold(*group, flying).hard)?;
            puppet.follow(*group, chain);
            let (applied, digest) = puppet.digest(*group);
            if (applied, Some(&digest)) != (chain.last(), chain.digests.last()) {
                return Err(format!("a leader brings group {group} to another state"));
            }
        }
        if !self.truth.serves(member.options.cluster.own) {
            return Ok(());
        }
        let sessions: Vec<&String> = self.truth.events.keys().collect();
        let session = sessions[self.dice.index(sessions.len())];
        let group = member.options.placement.group(session).0;
        let events = puppet.events((group, session), self.truth.chains[&group].last())?;
        self.truth.check(session, u64::MAX, &events)
    }
}
