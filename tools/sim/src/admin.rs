//! What librarians asked of a session besides its events, what anybody was shown of it, and whether the
//! two can be true together. A patch names itself in the title and in the metadata, so that whoever sees
//! a version of the session knows which patch made it.

use std::collections::BTreeMap;

use model::api::SessionRow;

use crate::queue::Time;
use crate::verdict::{Findings, Kind};

/// What a try to change a session came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// The session has this version by it.
    Done {
        /// The version.
        version: u64,
    },
    /// Surely nothing was done.
    Refused,
    /// It may have been done, or may yet be.
    Unknown,
}

/// A try to change title and metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Patched {
    /// When it was asked.
    pub(crate) start: Time,
    /// When it was answered or given up.
    pub(crate) end: Time,
    /// The version it required.
    pub(crate) expected: Option<u64>,
    /// What it came to.
    pub(crate) change: Change,
}

/// A session as somebody was shown it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shown {
    /// When it was asked for.
    pub(crate) start: Time,
    /// When it was shown.
    pub(crate) end: Time,
    /// Its version.
    pub(crate) version: u64,
    /// The patch its title and metadata come from; `None` if none has been, or they disagree.
    pub(crate) by: Option<u64>,
    /// Whether it may be older than what was known before: in a list.
    pub(crate) may_be_old: bool,
}

/// All that is known of one session besides its events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Admin {
    /// Tries to change it; the place of each names it.
    pub(crate) patches: Vec<Patched>,
    /// What was shown of it.
    pub(crate) shown: Vec<Shown>,
    /// What whoever archives it was told last.
    pub(crate) archived: Option<bool>,
    /// Whether a try to archive it may still come into force.
    pub(crate) unsure: bool,
}

/// What a patch writes into the title.
pub(crate) fn title(patch: u64) -> String {
    format!("t{patch}")
}

/// What a patch writes into the metadata.
pub(crate) fn metadata(patch: u64) -> String {
    format!(r#"{{"by":"{patch}"}}"#)
}

impl Admin {
    /// Somebody was shown the session.
    pub(crate) fn show(&mut self, row: &SessionRow, (start, end): (Time, Time), may_be_old: bool) {
        let named = row.title.as_deref().and_then(|title| title.strip_prefix('t')?.parse().ok());
        let by = named.filter(|patch| *row.metadata == metadata(*patch));
        self.shown.push(Shown { start, end, version: row.version, by, may_be_old });
    }

    /// Whoever archives it is shown the session.
    pub(crate) fn agrees(&self, row: &SessionRow) -> bool {
        self.unsure || self.archived.is_none_or(|archived| archived == row.archived)
    }

    /// Whether all of it can be true, if the session has this version at the end.
    pub(crate) fn check(&self, last: Option<u64>) -> Findings {
        let mut findings = Findings::default();
        self.check_patches(&mut findings);
        self.check_order(&mut findings);
        if let Some(last) = last {
            let count = |wanted: fn(&Change) -> bool| {
                self.patches.iter().filter(|patch| wanted(&patch.change)).count() as u64
            };
            let done = count(|change| matches!(change, Change::Done { .. }));
            let unknown = count(|change| *change == Change::Unknown);
            if !(1 + done..=1 + done + unknown).contains(&last) {
                let text = format!("version {last} by {done} patches and {unknown} unknown ones");
                findings.add(Kind::VersionWrong, text);
            }
        }
        findings
    }

    /// Each version was made by one patch, and shows it.
    fn check_patches(&self, findings: &mut Findings) {
        let mut makers: BTreeMap<u64, Option<u64>> = BTreeMap::from([(1, None)]);
        for (place, patch) in self.patches.iter().enumerate() {
            let Change::Done { version } = patch.change else { continue };
            let maker = Some(place as u64);
            if *makers.entry(version).or_insert(maker) != maker {
                findings.add(Kind::VersionWrong, format!("two patches made version {version}"));
            }
            if patch.expected.is_some_and(|expected| expected + 1 != version) {
                let text = format!("{:?} was required, {version} was made", patch.expected);
                findings.add(Kind::VersionWrong, text);
            }
        }
        for shown in &self.shown {
            let maker = *makers.entry(shown.version).or_insert(shown.by);
            if maker != shown.by {
                let text = format!("version {} of {maker:?} shows {:?}", shown.version, shown.by);
                findings.add(Kind::RowDiffers, text);
            }
        }
    }

    /// What was known before something was asked is not older than what was shown then.
    fn check_order(&self, findings: &mut Findings) {
        let mut ends: Vec<(Time, u64)> =
            self.shown.iter().map(|shown| (shown.end, shown.version)).collect();
        let fresh = self.shown.iter().filter(|shown| !shown.may_be_old);
        let mut starts: Vec<(Time, u64)> =
            fresh.map(|shown| (shown.start, shown.version)).collect();
        for patch in &self.patches {
            if let Change::Done { version } = patch.change {
                ends.push((patch.end, version));
                // It is newer than what was known before it, not as new.
                starts.push((patch.start, version - 1));
            }
        }
        ends.sort_unstable();
        starts.sort_unstable();
        let mut known = 0;
        let mut before = ends.into_iter().peekable();
        for (start, version) in starts {
            while let Some((_, ended)) = before.next_if(|(end, _)| *end < start) {
                known = known.max(ended);
            }
            if version < known {
                let text = format!("version {version} behind version {known}");
                findings.add(Kind::VersionWrong, text);
            }
        }
    }
}
