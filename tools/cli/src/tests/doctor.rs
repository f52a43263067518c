use std::time::Duration;

use crate::doctor::disk::{file_system_type, latency, space_left};
use crate::doctor::machine::{filtered, io_uring, kernel, locked_memory, open_files};
use crate::doctor::{Finding, Verdict};

#[derive(Debug, PartialEq, Eq)]
enum Is {
    Good,
    Poor,
    Bad,
}

/// The verdict, and words of what is printed: a mend comes with each complaint, on a line of its own.
#[track_caller]
fn check(finding: &Finding, is: Is, words: &str) {
    let verdict = match &finding.verdict {
        Verdict::Good => Is::Good,
        Verdict::Poor(_) => Is::Poor,
        Verdict::Bad(_) => Is::Bad,
    };
    assert_eq!(verdict, is, "{finding:?}");
    let lines = finding.lines();
    assert_eq!(lines.len(), if is == Is::Good { 1 } else { 2 });
    let text = lines.join("\n");
    assert!(text.contains(words), "{text} lacks {words:?}");
}

#[test]
fn kernels() {
    for release in ["5.11.0", "5.15.0-91-generic", "6.18.0-rc1", "7.0", "10.0.1"] {
        check(&kernel(release), Is::Good, release);
    }
    for release in ["5.10.0-30-amd64", "4.19.0", "2.6.32"] {
        check(&kernel(release), Is::Bad, "Linux 5.11 or newer");
    }
    for release in ["", "six"] {
        check(&kernel(release), Is::Poor, "unknown version");
    }
}

#[test]
fn rings() {
    let refused = || Err("Operation not permitted".to_owned());
    check(&io_uring(Ok(()), "2", true), Is::Good, "can be made");
    check(&io_uring(refused(), "2", true), Is::Bad, "kernel.io_uring_disabled=0");
    check(&io_uring(refused(), "1", false), Is::Bad, "kernel.io_uring_disabled=0");
    check(&io_uring(refused(), "0", true), Is::Bad, "seccomp");
    assert!(filtered("Name:\ta\nSeccomp:\t2\nSeccomp_filters:\t1\n"));
    assert!(!filtered("Name:\ta\nSeccomp:\t0\nSeccomp_filters:\t2\n"));
    check(&io_uring(refused(), "", false), Is::Bad, "Operation not permitted");
}

#[test]
fn memory_and_files() {
    const KIB: u64 = 1024;
    const MIB: u64 = 1024 * KIB;
    check(&locked_memory(None, 64), Is::Good, "no limit");
    check(&locked_memory(Some(64 * KIB), 1), Is::Bad, "LimitMEMLOCK");
    check(&locked_memory(Some(8 * MIB), 1), Is::Poor, "LimitMEMLOCK");
    check(&locked_memory(Some(64 * MIB), 2), Is::Good, "67108864");
    check(&locked_memory(Some(64 * MIB), 4), Is::Poor, "4 cores do best");
    check(&open_files(None), Is::Good, "no limit");
    check(&open_files(Some(1_048_576)), Is::Good, "1048576");
    check(&open_files(Some(4_096)), Is::Poor, "room for 3584 connections");
    check(&open_files(Some(512)), Is::Bad, "LimitNOFILE");
}

#[test]
fn file_systems() {
    check(&file_system_type(0xef53), Is::Good, "ext4");
    check(&file_system_type(0x5846_5342), Is::Good, "xfs");
    check(&file_system_type(0x0102_1994), Is::Poor, "tmpfs");
    check(&file_system_type(0x6969), Is::Poor, "nfs");
    check(&file_system_type(0xabcd), Is::Poor, "0xabcd");
}

#[test]
fn space() {
    const GIB: u64 = 1 << 30;
    check(&space_left(100 * GIB, 8), Is::Good, "100.0 GiB");
    check(&space_left(3 * GIB / 2, 4), Is::Poor, "1.5 GiB");
    check(&space_left(GIB / 10, 2), Is::Bad, "are needed");
    check(&space_left(3 * GIB, 0), Is::Good, "3.0 GiB");
}

#[test]
fn latencies() {
    let micros = |values: &[u64]| -> Vec<Duration> {
        values.iter().map(|value| Duration::from_micros(*value)).collect()
    };
    check(&latency(&micros(&[90])), Is::Good, "p50 90 us, p99 90 us over 1 writes");
    let many: Vec<u64> = (1..=100).collect();
    check(&latency(&micros(&many)), Is::Good, "p50 51 us, p99 100 us");
    check(&latency(&micros(&[5_000, 6_000, 7_000])), Is::Poor, "p50 6000 us");
}
