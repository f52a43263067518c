//! `inspect session`: all that the files know of one session, oldest first.

use clap::Args;
use model::command::decode;
use model::ids::{GroupId, Micros};
use serde_json::{Value, json};
use shard::checkpoint::Reader;
use shard::wal::{Record, RecordKind};

use super::Place;
use super::files::{Files, ShardFiles};
use super::wal::describe;
use crate::failure::Failure;
use crate::output;

/// The arguments of `inspect session`.
#[derive(Debug, Args)]
pub(crate) struct Session {
    /// The session.
    id: String,
    #[command(flatten)]
    place: Place,
}

impl Session {
    /// Shows the newest checkpoint's row, the blocks that hold events, and the log behind.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let files = Files::open(&self.place)?;
        let placement = files.manifest.placement;
        let group = placement.group(&self.id);
        let shard = files.shard(placement.shard(group));
        let (group_number, shard_number) = (group.0, shard.identity.shard.0);
        output::line(&format!("session {} group {group_number} shard {shard_number}", self.id))?;
        let seen = self.checkpoint(&shard)? | self.log(&shard, group)?;
        if seen { Ok(()) } else { Err(Failure::failed(format!("there is no session {}", self.id))) }
    }

    /// Shows what the newest checkpoint says; says whether that is anything.
    fn checkpoint(&self, shard: &ShardFiles) -> Result<bool, Failure> {
        let Some((number, bytes)) = shard.checkpoints()?.pop_last() else { return Ok(false) };
        let damaged = |what: String| shard.damaged(number, &what);
        let (_, mut reader) = Reader::open(&bytes, shard.identity).map_err(damaged)?;
        while let Some((id, session)) = reader.next_session().map_err(damaged)? {
            if id.as_str() != self.id {
                continue;
            }
            output::line(&format!("checkpoint {number}: {}", row(&session.row(&self.id))))?;
            for extent in &session.extents {
                output::line(&format!(
                    "  events from {} in chunk {} at byte {}, {} bytes",
                    extent.first, extent.chunk, extent.offset, extent.bytes
                ))?;
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// Shows the records of the log that name the session; says whether there are any. What they did
    /// is decided when they are applied: a retry and a conflict have a record, too.
    fn log(&self, shard: &ShardFiles, group: GroupId) -> Result<bool, Failure> {
        let mut lines = Vec::new();
        let images = shard.segments()?;
        shard.recover(&images, &mut |record: &Record<'_>| {
            let RecordKind::Entry { payload, .. } = record.kind else { return };
            if record.group == group && decode(payload).is_ok_and(|c| c.session() == self.id) {
                lines.push(describe(record));
            }
        })?;
        lines.iter().try_for_each(|line| output::line(&format!("log: {line}")))?;
        Ok(!lines.is_empty())
    }
}

fn row(row: &model::api::SessionRow) -> Value {
    let time = |at: Micros| at.to_string();
    json!({
        "id": row.id.as_str(),
        "title": row.title,
        "metadata": serde_json::from_str(&row.metadata).unwrap_or(Value::Null),
        "tenant_id": row.creator.tenant_id,
        "last_seq": row.last_seq.0,
        "created_at": time(row.created_at),
        "updated_at": time(row.updated_at),
        "version": row.version,
        "archived": row.archived,
    })
}
