//! Sets of options that bring faults of a kind together: chance alone spreads them so thin that the
//! rarest states are never met. A theme is a part of the seed space like any other.

use crate::ambush::{Strike, Trigger};
use crate::dice::Dice;
use crate::nemesis::Act;
use crate::network::Weather;
use crate::options::Options;
use crate::queue::{MILLI, SECOND};

/// What a run is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Theme {
    /// Nodes come and go while others fail, at the very moment if it can be.
    Members,
    /// Disks forget what they promised, and those who remember are hard to reach.
    Doubt,
    /// Leaders keep little of their log, followers are left behind or go astray.
    ShortMemory,
    /// Disks are slow, each at its time, while leaders change.
    SlowDisks,
    /// Leaders change all the time.
    Churn,
    /// Power fails, here or everywhere, again and again.
    PowerLoss,
    /// Leadership is handed over all the time.
    Handover,
    /// Disks are replaced by empty ones.
    Replacement,
    /// Leaders stand still until they are none any more, and do not know it.
    StaleLeader,
    /// Most of a group's voters are exchanged at once, and those who go are parted from those who come.
    Exchange,
    /// Leaders that nobody hears have entries of their own when they come back, and what the others have
    /// in their place has left memory; at the end nobody writes until they have found back.
    Astray,
    /// Leaders reach one follower only, whose disk is behind when another leader replaces what it took.
    Stranded,
    /// The same, and what that one took by then lands bit by bit.
    Trickle,
    /// Whoever hears of other voters first is parted, with those who come, from those who voted before.
    Sundered,
}

impl Theme {
    /// All of them.
    pub(crate) const ALL: &[Theme] = &[
        Theme::Members,
        Theme::Doubt,
        Theme::ShortMemory,
        Theme::SlowDisks,
        Theme::Churn,
        Theme::PowerLoss,
        Theme::Handover,
        Theme::Replacement,
        Theme::StaleLeader,
        Theme::Exchange,
        Theme::Astray,
        Theme::Stranded,
        Theme::Trickle,
        Theme::Sundered,
    ];

    /// Those that some of the seeds without another choose from.
    pub(crate) const RARE: &[Theme] = &[Theme::Sundered, Theme::Trickle, Theme::Trickle];

    /// Those a seed chooses from: what needs many runs to be met is there more than once.
    pub(crate) const DRAWN: &[Theme] = &[
        Theme::Members,
        Theme::Doubt,
        Theme::ShortMemory,
        Theme::SlowDisks,
        Theme::Stranded,
        Theme::Stranded,
        Theme::Churn,
        Theme::PowerLoss,
        Theme::Handover,
        Theme::Replacement,
        Theme::StaleLeader,
        Theme::StaleLeader,
        Theme::Exchange,
        Theme::Exchange,
        Theme::Exchange,
        Theme::Exchange,
        Theme::Astray,
        Theme::Astray,
    ];

    /// The name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Theme::Members => "members",
            Theme::Doubt => "doubt",
            Theme::ShortMemory => "short-memory",
            Theme::SlowDisks => "slow-disks",
            Theme::Churn => "churn",
            Theme::PowerLoss => "power-loss",
            Theme::Handover => "handover",
            Theme::Replacement => "replacement",
            Theme::StaleLeader => "stale-leader",
            Theme::Exchange => "exchange",
            Theme::Astray => "astray",
            Theme::Stranded => "stranded",
            Theme::Trickle => "trickle",
            Theme::Sundered => "sundered",
        }
    }

    fn acts(self) -> &'static [Act] {
        match self {
            Theme::Members => &[Act::Members, Act::Ambush, Act::Ambush, Act::Partition, Act::Kill],
            Theme::Doubt => &[
                Act::Ambush,
                Act::Ambush,
                Act::Ambush,
                Act::LyingSync,
                Act::LostWrite,
                Act::StuckDisk,
            ],
            Theme::ShortMemory => &[
                Act::Partition,
                Act::OneWay,
                Act::Ambush,
                Act::Ambush,
                Act::Pause,
                Act::Kill,
                Act::Clog,
            ],
            Theme::SlowDisks => &[
                Act::SlowDisk,
                Act::SlowDisk,
                Act::StuckDisk,
                Act::Ambush,
                Act::OneWay,
                Act::Pause,
            ],
            Theme::Churn => &[Act::Partition, Act::OneWay, Act::Ambush, Act::Pause, Act::Kill],
            Theme::PowerLoss => {
                &[Act::Kill, Act::PowerCut, Act::PowerCutAll, Act::Partition, Act::OneWay]
            }
            Theme::Handover => &[
                Act::Transfer,
                Act::Transfer,
                Act::Relieve,
                Act::SlowDisk,
                Act::SlowLink,
                Act::Ambush,
            ],
            Theme::Replacement => {
                &[Act::EmptyDisk, Act::SlowDisk, Act::Kill, Act::Partition, Act::Ambush, Act::Pause]
            }
            Theme::StaleLeader => &[Act::Ambush, Act::Ambush, Act::Partition, Act::Clog],
            Theme::Exchange | Theme::Sundered => {
                &[Act::Members, Act::Ambush, Act::Ambush, Act::Kill]
            }
            Theme::Astray => &[Act::Ambush, Act::Ambush, Act::Ambush, Act::Clog],
            Theme::Stranded | Theme::Trickle => {
                &[Act::Ambush, Act::Ambush, Act::Ambush, Act::SlowDisk]
            }
        }
    }

    fn triggers(self) -> &'static [Trigger] {
        match self {
            Theme::Members => &[Trigger::Members],
            Theme::ShortMemory => &[Trigger::Commands, Trigger::Offer, Trigger::Lead],
            Theme::SlowDisks | Theme::Churn => &[Trigger::Lead, Trigger::Vote, Trigger::Commands],
            Theme::Handover => &[Trigger::Stand, Trigger::Lead],
            Theme::Replacement => &[Trigger::Members, Trigger::Offer, Trigger::Lead],
            Theme::StaleLeader => &[Trigger::Commands, Trigger::Lead],
            Theme::Stranded | Theme::Trickle => &[Trigger::Commands],
            Theme::Exchange => &[Trigger::Joint, Trigger::Left],
            Theme::Sundered => &[Trigger::Voters, Trigger::Voters, Trigger::Joint, Trigger::Left],
            Theme::Astray => &[Trigger::Commands, Trigger::Commands, Trigger::Lead],
            Theme::Doubt => &[Trigger::Commands],
            Theme::PowerLoss => Trigger::ALL,
        }
    }

    fn strikes(self) -> &'static [Strike] {
        match self {
            Theme::StaleLeader => &[Strike::Sleep],
            Theme::Exchange => &[Strike::Split, Strike::Split, Strike::Split, Strike::Kill],
            Theme::Sundered => &[Strike::Sunder, Strike::Sunder, Strike::Split, Strike::Kill],
            Theme::Astray => &[Strike::Isolate, Strike::Isolate, Strike::Silence],
            Theme::Stranded => &[Strike::Strand],
            Theme::Trickle => &[Strike::Trickle],
            Theme::Doubt => &[Strike::Forget],
            _ => Strike::ALL,
        }
    }

    /// Turns a run into one that is about this.
    pub(crate) fn apply(self, options: &mut Options, dice: &mut Dice) {
        options.theme = Some(self);
        options.acts = self.acts().to_vec();
        options.triggers = self.triggers().to_vec();
        options.strikes = self.strikes().to_vec();
        options.calm = dice.pick(&[100, 200, 500]) * MILLI;
        match self {
            Theme::Members => {
                options.resize(dice.pick(&[5, 5, 6]));
                (options.spare_nodes, options.factor) = (2, 3);
                options.groups = 3;
                options.calm = dice.pick(&[300, 600, 1_000]) * MILLI;
                options.safety = 30 * SECOND;
            }
            Theme::ShortMemory => {
                options.log_kept_bytes = 1_024;
                options.segment_bytes = 16 * 1_024;
                options.think_max = dice.pick(&[5, 20]) * MILLI;
                options.clients = 20;
                options.sessions = options.sessions.min(4);
            }
            Theme::SlowDisks => {
                options.write_micros = dice.pick(&[(500, 5_000), (100, 30_000), (5_000, 60_000)]);
                options.election_ticks = 8;
            }
            Theme::Churn | Theme::Handover => options.election_ticks = 8,
            Theme::PowerLoss => lose_power(options),
            Theme::Replacement => {
                options.log_kept_bytes = 1_024;
                options.calm = dice.pick(&[300, 600]) * MILLI;
            }
            Theme::StaleLeader => {
                options.election_ticks = 8;
                options.think_max = dice.pick(&[5, 20]) * MILLI;
                (options.clients, options.sessions) = (40, 8);
                options.arrival = 10 * SECOND;
                options.safety = 10 * SECOND;
            }
            Theme::Exchange | Theme::Sundered => {
                options.resize(6);
                (options.spare_nodes, options.factor, options.holders) = (3, 3, Some(3));
                options.groups = 3;
                options.calm = dice.pick(&[300, 600]) * MILLI;
                options.safety = 30 * SECOND;
            }
            Theme::Astray => {
                options.election_ticks = 8;
                options.log_kept_bytes = 1;
                options.think_max = dice.pick(&[5, 20]) * MILLI;
                options.clients = 20;
                options.sessions = 2;
                options.hush = Some(dice.pick(&[1, 2]) * SECOND);
            }
            Theme::Stranded => {
                options.resize(5);
                (options.factor, options.election_ticks) = (5, 8);
                options.write_micros = dice.pick(&[(500, 5_000), (5_000, 60_000)]);
                options.think_max = dice.pick(&[5, 20]) * MILLI;
                options.calm = dice.pick(&[300, 600]) * MILLI;
                options.safety = 10 * SECOND;
            }
            Theme::Trickle => trickle(options, dice),
            Theme::Doubt => forget(options, dice),
        }
    }
}

/// Batches are small and clients write much, so that little of what a node takes at a time is written at
/// once; the disks bear it.
fn trickle(options: &mut Options, dice: &mut Dice) {
    options.resize(5);
    options.shards.fill(1);
    (options.factor, options.election_ticks) = (5, 8);
    options.write_micros = dice.pick(&[(500, 5_000), (2_000, 20_000)]);
    (options.segment_bytes, options.padding_max) = (16 * 1_024, 6_000);
    (options.groups, options.sessions, options.clients) = (4, 12, 24);
    options.think_max = dice.pick(&[5, 20]) * MILLI;
    options.weather.loss = 0;
    options.calm = dice.pick(&[300, 600]) * MILLI;
    options.safety = 10 * SECOND;
}

/// Nobody is asked for so much that who has forgotten something never catches up, and wires are those of
/// connections: what a node acknowledged before it forgot arrives before its questions, or never.
fn forget(options: &mut Options, dice: &mut Dice) {
    options.resize(3);
    (options.groups, options.sessions) = (3, 4);
    (options.clients, options.think_max) = (10, dice.pick(&[100, 200]) * MILLI);
    options.write_micros = (100, 1_000);
    options.weather =
        Weather { loss: 0, doubling: 0, straggling: 0, ordered: true, ..options.weather };
    options.calm = dice.pick(&[50, 100]) * MILLI;
}

/// Checkpoints follow each other so closely, and the log is so slow, that some are durable before the
/// batch with the votes they hold.
fn lose_power(options: &mut Options) {
    options.segment_bytes = 16 * 1_024;
    (options.hot_bytes_max, options.padding_max) = (16 * 1_024, 3_000);
    (options.write_micros, options.log_times) = ((50, 500), 60);
    options.election_ticks = 8;
    options.shards.fill(1);
    (options.groups, options.sessions) = (12, 8);
    (options.clients, options.think_max) = (20, 5 * MILLI);
    options.calm = 100 * MILLI;
}
