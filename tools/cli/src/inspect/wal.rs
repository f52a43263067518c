//! `inspect wal`: the log of each shard.

use clap::Args;
use model::command::{ArchivedCommand, ArchivedDedupe, decode};
use shard::wal::format::Batch;
use shard::wal::{Record, RecordKind, inspect};

use super::Place;
use super::files::{Files, ShardFiles};
use crate::failure::Failure;
use crate::output;

/// The arguments of `inspect wal`.
#[derive(Debug, Args)]
pub(crate) struct Wal {
    #[command(flatten)]
    place: Place,
    /// Only this shard.
    #[arg(long, value_name = "NUMBER")]
    shard: Option<u32>,
    /// Only this segment.
    #[arg(long, value_name = "NUMBER")]
    segment: Option<u64>,
    /// Shows every batch.
    #[arg(long)]
    batches: bool,
    /// Shows every batch and every record.
    #[arg(long)]
    records: bool,
}

/// What a segment holds.
#[derive(Debug, Default)]
struct Sums {
    batches: u64,
    first: u64,
    last: u64,
    records: u64,
    bytes: usize,
}

impl Wal {
    /// Shows the logs, and fails if one cannot be explained.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let files = Files::open(&self.place)?;
        let mut verdict = Ok(());
        for shard in files.shards(self.shard)? {
            let outcome = self.show(&shard);
            if verdict.is_err() {
                // The first failure is the one that is returned; the others are told here.
                if let Err(failure) = outcome {
                    failure.exit_code();
                }
            } else {
                verdict = outcome;
            }
        }
        verdict
    }

    fn show(&self, shard: &ShardFiles) -> Result<(), Failure> {
        let identity = shard.identity;
        output::line(&format!("shard {} log {:016x}", identity.shard.0, identity.log_id))?;
        let images = shard.segments()?;
        for (number, image) in &images {
            if self.segment.is_some_and(|only| only != number.0) {
                continue;
            }
            let mut sums = Sums::default();
            let mut end = "full".to_owned();
            for item in inspect::batches(identity, *number, image) {
                match item {
                    Ok((offset, batch)) => {
                        sums.add(offset, &batch);
                        self.show_batch(number.0, offset, &batch)?;
                    }
                    Err(place) => end = format!("ends at byte {}: {}", place.offset, place.found),
                }
            }
            output::line(&format!("  segment {} {sums}, {end}", number.0))?;
        }
        let mut records = 0_u64;
        let recovered = shard.recover(&images, &mut |_| records += 1)?;
        let cut = recovered.cut.map_or_else(String::new, |cut| {
            let (segment, offset) = (cut.segment.0, cut.offset);
            format!("; segment {segment} is cut at byte {offset}, nothing there was acknowledged")
        });
        output::line(&format!(
            "  whole: a start replays {records} records and goes on with batch {} in segment {}{cut}",
            recovered.next.batch.0, recovered.next.segment.0
        ))
    }

    fn show_batch(&self, segment: u64, offset: usize, batch: &Batch<'_>) -> Result<(), Failure> {
        if !self.batches && !self.records {
            return Ok(());
        }
        let header = &batch.header;
        output::line(&format!(
            "    batch {} segment {segment} byte {offset} bytes {} records {} durable {} follows {:016x}",
            header.batch.0, batch.bytes, header.records, header.durable.0, header.previous
        ))?;
        if !self.records {
            return Ok(());
        }
        for record in batch.records() {
            match record {
                Ok(record) => output::line(&format!("      {}", describe(&record)))?,
                Err(damage) => output::line(&format!("      unreadable: {damage}"))?,
            }
        }
        Ok(())
    }
}

impl Sums {
    fn add(&mut self, offset: usize, batch: &Batch<'_>) {
        let number = batch.header.batch.0;
        if self.batches == 0 {
            self.first = number;
        }
        self.last = number;
        self.batches += 1;
        self.records += u64::from(batch.header.records);
        self.bytes = offset + batch.bytes;
    }
}

impl std::fmt::Display for Sums {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.batches == 0 {
            return f.write_str("no batches");
        }
        let Sums { batches, first, last, records, bytes } = self;
        write!(f, "{batches} batches {first}..={last}, {records} records, {bytes} bytes")
    }
}

/// A record in one line.
pub(super) fn describe(record: &Record<'_>) -> String {
    let group = record.group.0;
    match record.kind {
        RecordKind::HardState { term, vote } => {
            let vote = vote.map_or_else(|| "nobody".to_owned(), |node| node.to_string());
            format!("group {group} hard state term {term} vote {vote}")
        }
        RecordKind::Entry { term, index, payload }
        | RecordKind::EntryAgain { term, index, payload } => {
            let what = if payload.is_empty() {
                "nothing (a new leader)".to_owned()
            } else {
                decode(payload).map_or_else(|error| format!("unreadable: {error}"), command)
            };
            format!("group {group} entry term {term} index {index} bytes {} {what}", payload.len())
        }
        RecordKind::Membership { term, index, payload }
        | RecordKind::MembershipAgain { term, index, payload } => {
            format!("group {group} members term {term} index {index} bytes {}", payload.len())
        }
        RecordKind::Snapshot { term, index, payload } => {
            format!("group {group} snapshot term {term} index {index} bytes {}", payload.len())
        }
    }
}

fn command(command: &ArchivedCommand) -> String {
    match command {
        ArchivedCommand::Create(c) => format!("create {}", c.session.as_str()),
        ArchivedCommand::Append(c) => {
            let dedupe = match &c.dedupe {
                ArchivedDedupe::Producer(p) => format!(" producer {} seq {}", p.id, p.seq),
                ArchivedDedupe::Key(key) => format!(" key {key}"),
                ArchivedDedupe::Nothing => String::new(),
            };
            format!("append {}{dedupe}", c.session.as_str())
        }
        ArchivedCommand::Patch(c) => format!("patch {}", c.session.as_str()),
        ArchivedCommand::SetArchived(c) => {
            let what = if c.archived { "archive" } else { "unarchive" };
            format!("{what} {}", c.session.as_str())
        }
    }
}
