//! Clients that change sessions, hide them and list them.

use model::api::{List, Reply, Request, SessionRow, Visibility};
use model::command::{Patch, SetArchived, TitleChange};
use model::error::{Code, Effect};

use crate::admin::{Change, Patched, metadata, title};
use crate::client::{Client, What};
use crate::count::Reached;
use crate::ground::Ground;
use crate::queue::Time;

impl Client {
    /// What a librarian wants: of any session that was made.
    pub(crate) fn administer(&mut self, ground: &mut Ground) -> Option<What> {
        self.session = self.dice.index(ground.names.len());
        if !ground.is_created(self.session) {
            return None;
        }
        // One of them alone says which sessions are archived, so that it knows.
        let archivist = self.dice.permille(300) && self.is_archivist(ground);
        match self.dice.below(3) {
            0 => Some(What::List { visibility: self.visibility() }),
            _ if archivist => Some(What::Archive { archived: self.dice.permille(500) }),
            1 => Some(What::Get),
            _ => {
                let admin = &mut ground.admins[self.session];
                let newest = admin.shown.iter().map(|shown| shown.version).max();
                let expected = newest.filter(|_| self.dice.permille(400));
                let (start, end) = (Time(0), Time(0));
                let change = Change::Unknown;
                admin.patches.push(Patched { start, end, expected, change });
                Some(What::Patch { place: admin.patches.len() - 1 })
            }
        }
    }

    fn visibility(&mut self) -> Visibility {
        self.dice.pick(&[Visibility::Active, Visibility::Archived, Visibility::All])
    }

    /// The request for what a librarian wants.
    pub(crate) fn admin_request(&self, what: &What, ground: &mut Ground, now: Time) -> Request {
        let session = ground.names[self.session].clone();
        match *what {
            What::Patch { place } => {
                let patch = &mut ground.admins[self.session].patches[place];
                (patch.start, patch.end) = (now, now);
                Request::Patch(Patch {
                    session,
                    title: TitleChange::Set(title(place as u64).into()),
                    metadata: Some(metadata(place as u64).into()),
                    expected_version: patch.expected,
                    at: 0,
                })
            }
            What::Archive { archived } => {
                Request::SetArchived(SetArchived { session, archived, at: 0 })
            }
            What::List { visibility } => {
                Request::List(List { cursor: None, limit: 50, visibility, metadata: Vec::new() })
            }
            What::Create | What::Append { .. } | What::Get | What::Page { .. } => {
                unreachable!("no librarian's")
            }
        }
    }

    /// What an answer says of a librarian's change; whether it was what was asked for.
    pub(crate) fn administered(
        &self,
        (what, start): (&What, Time),
        reply: &Reply,
        (ground, now): (&mut Ground, Time),
    ) -> bool {
        let admin = &mut ground.admins[self.session];
        let done = match reply {
            Reply::Session(row) => Some(row),
            _ => None,
        };
        if let Some(row) = done {
            admin.show(row, (start, now), false);
        }
        let undone = matches!(reply, Reply::Refused(refusal)
            if refusal.code.effect() == Effect::None);
        match *what {
            What::Patch { place } => {
                let shows = admin.shown.last().and_then(|shown| shown.by);
                let own = done.filter(|_| shows == Some(place as u64));
                let change = match own {
                    Some(row) => Change::Done { version: row.version },
                    None if undone => Change::Refused,
                    None => Change::Unknown,
                };
                let patch = &mut admin.patches[place];
                (patch.end, patch.change) = (now, change);
                let conflict = matches!(reply, Reply::Refused(refusal)
                    if refusal.code == Code::ExpectedVersionConflict);
                ground.counters.reach_times(Reached::VersionConflict, u64::from(conflict));
                done.is_some() || conflict
            }
            What::Archive { archived } => {
                if done.is_some_and(|row| row.archived != archived) {
                    let text = format!("archived {archived}, and shown otherwise");
                    ground.histories[self.session].wrong.push(text);
                } else if done.is_some() {
                    admin.archived = Some(archived);
                } else {
                    admin.unsure |= !undone;
                }
                done.is_some()
            }
            _ => false,
        }
    }

    /// A list was shown.
    pub(crate) fn listed(
        &self,
        (rows, visibility): (&[SessionRow], Visibility),
        ground: &mut Ground,
        times: (Time, Time),
    ) {
        ground.counters.reach(Reached::Listed);
        let wrong = &mut ground.histories[self.session].wrong;
        if !rows.is_sorted_by(|one, other| one.id < other.id) {
            wrong.push("a list is out of order".to_owned());
        }
        let hides = |row: &SessionRow| match visibility {
            Visibility::Active => row.archived,
            Visibility::Archived => !row.archived,
            Visibility::All => false,
        };
        if rows.iter().any(hides) {
            wrong.push(format!("a list of {visibility:?} shows others"));
        }
        for row in rows {
            let Some(place) = ground.names.iter().position(|name| *name == row.id) else {
                // What operators want is kept in a session of its own, which nobody is shown.
                let text = format!("a list shows {:?}", row.id);
                ground.histories[self.session].wrong.push(text);
                continue;
            };
            ground.admins[place].show(row, times, true);
        }
    }
}
