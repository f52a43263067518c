//! The enumerations, in small: `cargo sim --enumerate` leaves nothing out.

use crate::enumerate::{Report, Share, crashes, damages, failures};

/// Steps that are prime, so that no rhythm of a script hides from them.
const SHARE: Share = Share { moments: 13, places: 101, damage: 97, threads: 2 };

fn check(report: Report) -> Report {
    report.lines.iter().for_each(|line| println!("{line}"));
    assert!(report.findings.is_empty(), "{:#?}", report.findings);
    report
}

#[test]
fn a_crash_leaves_what_was_written() {
    let report = check(crashes(1, SHARE));
    assert!(4_000 <= report.images, "{} images", report.images);
}

#[test]
fn a_deed_may_fail_at_any_place() {
    let report = check(failures(1, SHARE));
    assert!(30 <= report.failures, "{} failures", report.failures);
}

#[test]
fn damage_is_harmless_or_noticed() {
    let report = check(damages(1, SHARE));
    assert!(10_000 <= report.damages, "{} damages", report.damages);
}
