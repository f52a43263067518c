//! What can be true of a session's versions is accepted; what cannot be is noticed.

use crate::admin::{Admin, Change, Patched, Shown};
use crate::queue::Time;
use crate::verdict::Kind;

fn patched(times: (u64, u64), expected: Option<u64>, change: Change) -> Patched {
    Patched { start: Time(times.0), end: Time(times.1), expected, change }
}

fn shown(times: (u64, u64), version: u64, by: Option<u64>) -> Shown {
    Shown { start: Time(times.0), end: Time(times.1), version, by, may_be_old: false }
}

/// Two patches, the second required the first's version, and reads around them.
fn true_story() -> Admin {
    Admin {
        patches: vec![
            patched((10, 20), None, Change::Done { version: 2 }),
            patched((30, 40), Some(2), Change::Done { version: 3 }),
            patched((30, 35), Some(1), Change::Refused),
            patched((50, 60), None, Change::Unknown),
        ],
        shown: vec![
            shown((1, 2), 1, None),
            shown((15, 45), 2, Some(0)),
            shown((41, 45), 3, Some(1)),
            Shown { may_be_old: true, ..shown((70, 80), 2, Some(0)) },
        ],
        ..Admin::default()
    }
}

#[test]
fn a_true_story_is_accepted() {
    for last in [3, 4] {
        let findings = true_story().check(Some(last));
        assert!(findings.is_empty(), "{findings:?}");
    }
}

type Lie = fn(&mut Admin);

const LIES: [(Kind, Lie); 7] = [
    (Kind::VersionWrong, |admin| admin.patches[1].expected = Some(1)),
    (Kind::VersionWrong, |admin| admin.patches[1].change = Change::Done { version: 2 }),
    (Kind::VersionWrong, |admin| admin.shown.push(shown((61, 62), 2, Some(0)))),
    (Kind::VersionWrong, |admin| admin.shown.push(shown((3, 4), 4, Some(3)))),
    (Kind::VersionWrong, |admin| admin.patches[3].change = Change::Refused),
    (Kind::RowDiffers, |admin| admin.shown[2].by = Some(0)),
    (Kind::RowDiffers, |admin| admin.shown[0].by = Some(1)),
];

#[test]
fn lies_are_noticed() {
    for (number, (kind, lie)) in LIES.into_iter().enumerate() {
        let mut admin = true_story();
        lie(&mut admin);
        let findings = admin.check(Some(4));
        assert!(findings.has(kind), "lie {number}: {kind:?} in {findings:?}");
    }
}
