use std::num::{NonZeroU32, NonZeroU64};
use std::time::{Duration, Instant};

use crate::pace::Schedule;

fn schedules(start: Instant, per_second: u32, threads: u64) -> Vec<Schedule> {
    let per_second = NonZeroU32::new(per_second).unwrap();
    let count = NonZeroU64::new(threads).unwrap();
    (0..threads).map(|thread| Schedule { start, per_second, thread, threads: count }).collect()
}

#[test]
fn intended_times_do_not_drift() {
    let start = Instant::now();
    for per_second in [1, 3, 7, 100, 9_999, 1_000_000] {
        let schedule = schedules(start, per_second, 1)[0];
        for second in [0, 1, 59, 86_400] {
            let number = u64::from(per_second) * second;
            assert_eq!(schedule.intended(number), start + Duration::from_secs(second));
        }
    }
}

#[test]
fn threads_share_one_even_schedule() {
    let start = Instant::now();
    for (per_second, threads) in [(1_000, 1), (1_000, 3), (7, 2), (10, 7)] {
        let one = schedules(start, per_second, 1)[0];
        let shares = schedules(start, per_second, threads);
        for number in 0..200 {
            let share = shares[usize::try_from(number % threads).unwrap()];
            assert_eq!(share.intended(number / threads), one.intended(number));
        }
    }
}

#[test]
fn counts_of_a_schedule_match_its_times() {
    let start = Instant::now();
    for (per_second, threads) in [(1_000, 1), (999, 4), (3, 2), (1, 5)] {
        for schedule in schedules(start, per_second, threads) {
            for nanos in [0, 1, 999_999, 1_000_000, 333_333_333, 333_333_334, 2_000_000_000] {
                let end = start + Duration::from_nanos(nanos);
                let count = schedule.before(end);
                assert!(end <= schedule.intended(count), "the next one is not before the end");
                assert!(count == 0 || schedule.intended(count - 1) < end, "the last one is");
            }
        }
    }
}
