//! A list of sessions, put together from parts: each shard knows those of the groups it leads.

use std::collections::BTreeSet;

use model::api::{Reply, SessionRow};
use model::ids::{GroupId, Placement, SessionId};
use model::limits::PAGE_BYTES_MAX;

/// Parts of one page. Each group counts once, however many say that they lead it.
#[derive(Debug)]
pub(crate) struct Parts {
    placement: Placement,
    limit: usize,
    rows: Vec<SessionRow>,
    covered: BTreeSet<GroupId>,
    /// The last id every part has spoken of. A part that has more says nothing of ids behind its last
    /// row.
    known_to: Option<SessionId>,
}

impl Parts {
    /// A page of at most so many rows.
    pub(crate) fn new(placement: Placement, limit: u32) -> Parts {
        Parts {
            placement,
            limit: limit as usize,
            rows: Vec::new(),
            covered: BTreeSet::new(),
            known_to: None,
        }
    }

    /// Adds what one shard or node has of its groups.
    pub(crate) fn add(&mut self, rows: Vec<SessionRow>, more: bool, groups: Vec<GroupId>) {
        if more && let Some(last) = rows.last() {
            let end = self.known_to.get_or_insert_with(|| last.id.clone());
            *end = last.id.clone().min(end.clone());
        }
        let news: BTreeSet<GroupId> =
            groups.into_iter().filter(|group| !self.covered.contains(group)).collect();
        let placement = self.placement;
        let is_new = |row: &SessionRow| news.contains(&placement.group(row.id.as_str()));
        self.rows.extend(rows.into_iter().filter(is_new));
        self.covered.extend(news);
    }

    /// Whether every group was spoken for.
    pub(crate) fn is_complete(&self) -> bool {
        self.covered.len() == self.placement.groups() as usize
    }

    /// The page.
    pub(crate) fn page(mut self) -> Reply {
        self.rows.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        if let Some(end) = &self.known_to {
            self.rows.retain(|row| row.id <= *end);
        }
        let mut bytes = 0;
        let fits = |row: &&SessionRow| {
            bytes += row.bytes();
            bytes <= PAGE_BYTES_MAX
        };
        // Ends early rather than exceed what one answer may hold, but shows a row.
        let count = self.rows.iter().take(self.limit).take_while(fits).count();
        let count = count.max(self.rows.len().min(1));
        let more = self.known_to.is_some() || count < self.rows.len();
        self.rows.truncate(count);
        Reply::Sessions { rows: self.rows, more, groups: self.covered.into_iter().collect() }
    }
}
