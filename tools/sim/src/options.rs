//! What a run is like. The seed decides everything; whoever replays a run may change single options.
//! Each seed switches a part of the faults on, so that those that are on happen often and in each
//! other's company.

use crate::ambush::{Strike, Trigger};
use crate::dice::{Concern, Dice};
use crate::disk::Health;
use crate::nemesis::Act;
use crate::network::Weather;
use crate::queue::{MILLI, SECOND};
use crate::scenario::Scenario;
use crate::theme::Theme;

/// What a run is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// Names the run.
    pub(crate) seed: u64,
    /// How many nodes.
    pub(crate) nodes: usize,
    /// How many of them begin without a place in any group.
    pub(crate) spare_nodes: usize,
    /// Shards of each node; they need not be the same.
    pub(crate) shards: Vec<u32>,
    /// Raft groups.
    pub(crate) groups: u32,
    /// Replicas of each group.
    pub(crate) factor: u32,
    /// Bytes of a segment of a log.
    pub(crate) segment_bytes: u64,
    /// Bytes of events in a shard's memory.
    pub(crate) hot_bytes_max: u64,
    /// Bytes of applied entries a shard keeps for followers that are behind.
    pub(crate) log_kept_bytes: usize,
    /// Ticks of an election timeout.
    pub(crate) election_ticks: u32,
    /// The wires.
    pub(crate) weather: Weather,
    /// Least and most microseconds of a disk's write.
    pub(crate) write_micros: (u64, u64),
    /// How many times as long a write of the log takes.
    pub(crate) log_times: u64,
    /// Microseconds the nodes' clocks gain or lose in a second at most.
    pub(crate) drift_max: u64,
    /// Sessions.
    pub(crate) sessions: usize,
    /// Clients.
    pub(crate) clients: usize,
    /// Clients that make sessions, change them and list them.
    pub(crate) librarians: usize,
    /// Most microseconds a client thinks before it asks again.
    pub(crate) think_max: u64,
    /// Most bytes of padding in an event.
    pub(crate) padding_max: u64,
    /// Faults that may happen.
    pub(crate) acts: Vec<Act>,
    /// What ambushes wait for.
    pub(crate) triggers: Vec<Trigger>,
    /// What they do.
    pub(crate) strikes: Vec<Strike>,
    /// How many nodes hold groups after a change of members; `None` for any number.
    pub(crate) holders: Option<usize>,
    /// Microseconds within which clients come.
    pub(crate) arrival: u64,
    /// Microseconds between two faults, in the middle.
    pub(crate) calm: u64,
    /// Microseconds before the end of the faults at which clients fall silent, until all replicas are
    /// level; `None` if they never do.
    pub(crate) hush: Option<u64>,
    /// Microseconds of the safety phase.
    pub(crate) safety: u64,
    /// What the run is about, if it is about something.
    pub(crate) theme: Option<Theme>,
    /// What happens instead of chance.
    pub(crate) scenario: Option<Scenario>,
    /// The rule every node breaks.
    #[cfg(feature = "sabotage")]
    pub(crate) sabotage: Option<shard::Sabotage>,
}

/// Microseconds of a tick.
pub(crate) const TICK: u64 = 25 * MILLI;

impl Options {
    /// The options of a seed.
    pub(crate) fn of(seed: u64) -> Options {
        let mut options = Options::extended(seed);
        // What came last has a stream of its own and takes the place of no other theme.
        let mut dice = Dice::new(seed, Concern::Rare);
        if options.theme.is_none() && dice.permille(500) {
            dice.pick(Theme::RARE).apply(&mut options, &mut dice);
        }
        options
    }

    /// The same without the newest themes.
    fn extended(seed: u64) -> Options {
        let mut options = Options::plain(seed);
        let mut dice = Dice::new(seed, Concern::Extras);
        options.librarians = dice.pick(&[0, 1, 2, 3]);
        let later = [Act::Members, Act::Relieve, Act::Ambush];
        options.acts.extend(later.into_iter().filter(|_| dice.permille(300)));
        if options.acts.contains(&Act::Members) {
            options.spare_nodes = dice.pick(&[0, 1, 1, 2]);
            options.resize(options.nodes + options.spare_nodes);
        }
        if dice.permille(600) {
            let theme = dice.pick(Theme::DRAWN);
            theme.apply(&mut options, &mut dice);
        }
        options
    }

    /// The same without what a run has by chance besides the plain faults and clients.
    fn plain(seed: u64) -> Options {
        let mut dice = Dice::new(seed, Concern::Swarm);
        let nodes = dice.pick(&[3, 3, 3, 5]);
        let shards = (0..nodes).map(|_| dice.pick(&[1, 1, 2, 3])).collect();
        let acts = Act::ALL.iter().copied();
        let acts = acts.filter(|act| *act < Act::Members && dice.permille(400)).collect();
        Options {
            seed,
            nodes,
            spare_nodes: 0,
            shards,
            groups: dice.pick(&[3, 3, 4, 6]),
            factor: if nodes == 3 { 3 } else { dice.pick(&[3, 5, 5]) },
            segment_bytes: dice.pick(&[16, 32, 64]) * 1024,
            hot_bytes_max: dice.pick(&[32, 64, 256]) * 1024,
            log_kept_bytes: dice.pick(&[1, 8, 32, 256]) * 1024,
            election_ticks: dice.pick(&[8, 12, 12, 20]),
            weather: weather(&mut dice),
            write_micros: dice.pick(&[(50, 150), (100, 1_000), (500, 5_000), (100, 30_000)]),
            log_times: 1,
            drift_max: dice.pick(&[0, 100, 10_000, 50_000]),
            sessions: dice.pick(&[2, 4, 8]),
            clients: dice.pick(&[6, 12, 20]),
            librarians: 0,
            think_max: dice.pick(&[5, 50, 200]) * MILLI,
            padding_max: dice.pick(&[0, 100, 1_000, 3_000]),
            acts,
            triggers: Trigger::ALL.to_vec(),
            strikes: Strike::ALL.to_vec(),
            holders: None,
            arrival: SECOND,
            calm: dice.pick(&[100, 300, 1_000, 3_000]) * MILLI,
            hush: None,
            safety: dice.pick(&[10, 20, 30]) * SECOND,
            theme: None,
            scenario: None,
            #[cfg(feature = "sabotage")]
            sabotage: None,
        }
    }

    /// Changes one option, given as `name=value`.
    ///
    /// # Errors
    /// What cannot be understood.
    pub(crate) fn set(&mut self, text: &str) -> Result<(), String> {
        let (name, value) = text.split_once('=').ok_or("an option is name=value")?;
        let number = || value.parse::<u64>().map_err(|error| format!("{text}: {error}"));
        match name {
            "nodes" => {
                let nodes = usize::try_from(number()?).map_err(|error| error.to_string())?;
                if !(1..=9).contains(&nodes) {
                    return Err(format!("{text}: from 1 to 9 nodes"));
                }
                self.resize(nodes);
                self.spare_nodes = 0;
                self.factor = u32::try_from(nodes).map_err(|error| error.to_string())?;
            }
            "extras" if value == "none" => *self = Options::plain(self.seed),
            "extras" if value == "old" => *self = Options::extended(self.seed),
            "theme" => {
                let found = Theme::ALL.iter().find(|theme| theme.name() == value);
                let theme = *found.ok_or(format!("{text}: no such theme"))?;
                let mut dice = Dice::new(self.seed, Concern::Theme);
                *self = Options { librarians: self.librarians, ..Options::plain(self.seed) };
                theme.apply(self, &mut dice);
            }
            "seconds" => self.safety = number()? * SECOND,
            "clients" => {
                self.clients = usize::try_from(number()?).map_err(|error| error.to_string())?;
            }
            "calm" => self.calm = number()?.max(1) * MILLI,
            "weather" if value == "calm" => self.weather = Weather::calm(),
            "faults" => self.acts = acts(value)?,
            "without" => {
                let without = acts(value)?;
                self.acts.retain(|act| !without.contains(act));
            }
            "scenario" => {
                let found = Scenario::ALL.iter().find(|scenario| scenario.name() == value);
                let scenario = *found.ok_or(format!("{text}: no such scenario"))?;
                self.scenario = Some(scenario);
                self.acts.clear();
            }
            _ => return Err(format!("{text}: no such option")),
        }
        Ok(())
    }

    /// Makes it a cluster of so many nodes.
    pub(crate) fn resize(&mut self, nodes: usize) {
        self.nodes = nodes;
        self.shards.resize(nodes, self.shards[0]);
        let most = u32::try_from(nodes).expect("few nodes");
        self.factor = self.factor.min(most);
    }

    /// How disks are that nothing is wrong with.
    pub(crate) fn health(&self) -> Health {
        Health { log_times: self.log_times, ..Health::good(self.write_micros) }
    }

    /// Microseconds of the shortest election timeout.
    pub(crate) fn election(&self) -> u64 {
        u64::from(self.election_ticks) * TICK
    }
}

fn acts(names: &str) -> Result<Vec<Act>, String> {
    match names {
        "none" => Ok(Vec::new()),
        "all" => Ok(Act::ALL.to_vec()),
        _ => names
            .split(',')
            .map(|name| {
                let found = Act::ALL.iter().find(|act| act.name() == name);
                found.copied().ok_or(format!("{name}: no such fault"))
            })
            .collect(),
    }
}

fn weather(dice: &mut Dice) -> Weather {
    Weather {
        delay_min: dice.pick(&[50, 100, 500]),
        delay_max: dice.pick(&[1, 3, 20]) * MILLI,
        loss: dice.pick(&[0, 0, 10, 100, 300]),
        doubling: dice.pick(&[0, 0, 50, 500]),
        straggling: dice.pick(&[0, 0, 5, 20]),
        straggle_max: dice.pick(&[100, 2_000, 10_000]) * MILLI,
        ordered: dice.permille(500),
    }
}
