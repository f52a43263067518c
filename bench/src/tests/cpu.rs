use std::time::Duration;

use crate::cpu::{Meter, of_all, of_process};

#[test]
fn a_process_is_found_behind_any_name() {
    for name in ["starcite", "a b", "a) R 1 (b"] {
        let stat = format!("17 ({name}) S 1 17 17 0 -1 4194560 900 0 0 0 250 75 10 5 20 0 5 0 99");
        assert_eq!(of_process(&stat, 2), Some(Duration::from_millis(3_250)), "{name}");
        assert_eq!(of_process(&stat, 4), Some(Duration::from_millis(3_400)), "{name}");
    }
    for stat in ["", "17 (x) S", "no parenthesis", "17 (x) S 1 1 1 0 1 1 1 0 0 0 250"] {
        assert_eq!(of_process(stat, 2), None, "{stat}");
    }
}

#[test]
fn idle_waiting_and_stolen_time_is_nobodys() {
    let stat = "cpu  100 20 30 9999 9999 4 5 9999 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
    assert_eq!(of_all(stat), Some(Duration::from_millis(1_590)));
    for stat in ["", "intr 5", "cpu  1 2 3", "cpu  1 2 3 4 5 x 7"] {
        assert_eq!(of_all(stat), None, "{stat}");
    }
}

#[test]
fn the_machine_tells_what_others_take() {
    let others = Meter::start().others();
    assert!(others.is_some_and(|others| 0.0 <= others), "{others:?}");
}
