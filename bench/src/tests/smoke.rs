use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use crate::options::Common;
use crate::report::Report;
use crate::smoke;
use crate::tests::stand_in::{Fault, StandIn};

/// The folder of the test's program: on a device, and removed with all that is built.
fn folder() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().to_owned()
}

fn common(server: Option<PathBuf>) -> Common {
    let runs = NonZeroU32::MIN;
    Common { smoke: true, runs, hog: None, json: false, dir: folder(), server }
}

/// The server, if it has been built.
fn server() -> Option<PathBuf> {
    let path = folder().parent().map(|folder| folder.join("starcite"));
    path.filter(|path| path.is_file())
}

fn has(report: &Report, case: &str, figures: &[&str]) {
    assert!(report.sound(), "{}", report.table());
    for figure in figures {
        assert!(report.median(case, figure).is_some(), "no {figure} in\n{}", report.table());
    }
}

#[test]
fn the_device_is_probed() {
    let report = smoke::device(&common(None)).unwrap();
    has(&report, "quiet", &["writes", "max"]);
}

#[test]
fn the_log_runs_beside_its_peer() {
    let report = smoke::logs(&common(None)).unwrap();
    has(&report, "quiet, device", &["writes"]);
    for writers in ["1 writers", "16 writers"] {
        has(&report, &format!("quiet, ours, {writers}"), &["appends", "appends / raft-engine"]);
        has(&report, &format!("quiet, raft-engine, {writers}"), &["appends"]);
    }
}

#[test]
fn the_server_scenarios_run_against_a_stand_in() {
    let stand_in = StandIn::start(Fault::None);
    let (common, url) = (common(None), || Some(stand_in.url()));
    let closed = smoke::appends(&common, url(), None).unwrap();
    has(&closed, "quiet", &["appends", "p50", "device p50", "generator cpu/append", "refused"]);
    let open = smoke::appends(&common, url(), NonZeroU32::new(500)).unwrap();
    has(&open, "quiet", &["appends", "p50", "sent late p50", "unanswered"]);
    let tails = smoke::tails(&common, url()).unwrap();
    has(&tails, "quiet", &["delivery p50", "append p50", "replay events", "missing"]);
    assert_eq!(tails.median("quiet", "missing"), Some(0.0));
}

/// The whole of it needs the server's program, which is built before these tests when the workspace
/// is; where it is not, the stand-in above has run everything but restarts.
#[test]
fn everything_runs_against_the_server_where_it_is_built() {
    let Some(server) = server() else {
        println!("not run: there is no server beside {}", folder().display());
        return;
    };
    let mut scenarios = Vec::new();
    let sound = smoke::all(&common(Some(server)), &mut |report, _| {
        scenarios.push(report.json()["scenario"].as_str().unwrap().to_owned());
    });
    assert!(sound.unwrap());
    assert_eq!(scenarios, ["disk", "log", "append", "append", "tail", "restart"]);
}

#[test]
fn nothing_of_a_run_is_left_behind() {
    let dir = folder().join("bench-leaves-nothing");
    std::fs::create_dir_all(&dir).unwrap();
    smoke::device(&Common { dir: dir.clone(), ..common(None) }).unwrap();
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
    std::fs::remove_dir(&dir).unwrap();
}

#[test]
fn memory_is_no_place_to_measure() {
    let memory = Path::new("/dev/shm");
    if !memory.is_dir() {
        println!("not run: there is no file system in memory");
        return;
    }
    let common = Common { dir: memory.to_owned(), ..common(None) };
    let error = smoke::device(&common).unwrap_err();
    assert!(error.contains("in memory"), "{error}");
    assert!(
        !std::fs::read_dir(memory).unwrap().flatten().any(|entry| {
            let own = format!("starcite-bench-{}", std::process::id());
            entry.file_name().to_string_lossy().starts_with(&own)
        }),
        "what was made there is gone again"
    );
}
