//! `inspect checkpoint`: what each shard would start from.

use clap::Args;
use shard::checkpoint::Reader;

use super::Place;
use super::files::{Files, ShardFiles};
use crate::failure::Failure;
use crate::output;

/// The arguments of `inspect checkpoint`.
#[derive(Debug, Args)]
pub(crate) struct Checkpoint {
    #[command(flatten)]
    place: Place,
    /// Only this shard.
    #[arg(long, value_name = "NUMBER")]
    shard: Option<u32>,
    /// Shows every group and every session.
    #[arg(long)]
    all: bool,
}

impl Checkpoint {
    /// Reads every checkpoint to its end.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let files = Files::open(&self.place)?;
        for shard in files.shards(self.shard)? {
            self.show(&shard)?;
        }
        Ok(())
    }

    fn show(&self, shard: &ShardFiles) -> Result<(), Failure> {
        output::line(&format!("shard {}", shard.identity.shard.0))?;
        let checkpoints = shard.checkpoints()?;
        if checkpoints.is_empty() {
            output::line("  no checkpoint: a start replays the log from its beginning")?;
        }
        for (number, bytes) in checkpoints {
            let damaged = |what: String| shard.damaged(number, &what);
            let (head, mut reader) = Reader::open(&bytes, shard.identity).map_err(damaged)?;
            let mut lines = Vec::new();
            if self.all {
                lines.extend(head.groups.iter().map(|mark| {
                    let (group, index) = (mark.group.0, mark.index.0);
                    format!("    group {group} applied index {index} term {}", mark.term.0)
                }));
            }
            let (mut sessions, mut events) = (0_u64, 0_u64);
            while let Some((id, session)) = reader.next_session().map_err(damaged)? {
                sessions += 1;
                events += session.last_seq.0;
                if self.all {
                    lines.push(format!("    session {id} last_seq {}", session.last_seq));
                }
            }
            output::line(&format!(
                "  checkpoint {number}: {sessions} sessions with {events} events, {} groups, \
                 chunks {:?}, log from segment {} batch {}",
                head.groups.len(),
                head.chunks,
                head.floor.segment.0,
                head.floor.batch.0
            ))?;
            lines.iter().try_for_each(|line| output::line(line))?;
        }
        output::line(&format!("  chunks on disk: {:?}", shard.chunks()?))
    }
}
