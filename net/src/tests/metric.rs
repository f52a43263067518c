//! The table of metrics, which the exposition is made from.

use std::collections::BTreeSet;

use model::metric::{Kind, Metric};

#[test]
fn names_are_unique_and_well_formed() {
    let mut names = BTreeSet::new();
    for metric in Metric::ALL {
        let name = metric.name();
        assert!(names.insert(name), "{name} occurs twice");
        assert!(name.starts_with("starcite_"), "{name}");
        let is_well_formed = |word: &str| {
            word.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        };
        assert!(is_well_formed(name), "{name}");
        assert!(metric.labels().iter().all(|label| is_well_formed(label)), "{name}");
        assert!(metric.help().ends_with('.'), "{name}");
    }
}

#[test]
fn no_label_holds_what_clients_choose() {
    let ids = ["session_id", "producer_id", "actor", "type", "id", "node"];
    for metric in Metric::ALL {
        assert!(metric.labels().iter().all(|label| !ids.contains(label)), "{}", metric.name());
    }
}

#[test]
fn buckets_ascend() {
    for metric in Metric::ALL {
        if let Kind::Histogram(edges) = metric.kind() {
            assert!(edges.is_sorted_by(|a, b| a < b), "{}", metric.name());
            assert!(!edges.is_empty(), "{}", metric.name());
        }
    }
}
