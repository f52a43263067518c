use std::time::Duration;

use serde_json::json;

use crate::report::{Figure, Latencies, Report, Spread, Unit};

fn latencies(micros: impl Iterator<Item = u64>) -> Latencies {
    let mut latencies = Latencies::default();
    for micros in micros {
        latencies.record(Duration::from_micros(micros));
    }
    latencies
}

fn names(latencies: &Latencies) -> Vec<String> {
    latencies.figures("x ").into_iter().map(|figure| figure.name).collect()
}

#[test]
fn a_percentile_needs_samples_beyond_it() {
    let cases: [(u64, &[&str]); 6] = [
        (0, &[]),
        (1, &["x max"]),
        (9, &["x p50", "x max"]),
        (99, &["x p50", "x p90", "x max"]),
        (9_999, &["x p50", "x p90", "x p99", "x p99.9", "x max"]),
        (10_000, &["x p50", "x p90", "x p99", "x p99.9", "x p99.99", "x max"]),
    ];
    for (count, expected) in cases {
        assert_eq!(names(&latencies(1..=count)), expected, "{count} samples");
    }
}

#[test]
fn percentiles_are_right_to_three_digits() {
    let found = latencies(1..=10_000);
    for (name, expected) in [("p50", 5_000.0), ("p99", 9_900.0), ("p99.99", 9_999.0)] {
        let value = found.percentile(name).unwrap();
        assert!((value - expected).abs() <= expected / 500.0, "{name} is {value}");
    }
    assert_eq!(found.percentile("p12"), None);
}

#[test]
fn merging_is_recording_all() {
    let (mut odd, even) = (latencies((1..1_000).step_by(2)), latencies((2..1_000).step_by(2)));
    odd.merge(&even);
    let all = latencies(1..1_000);
    assert_eq!(odd.count(), all.count());
    assert_eq!(odd.figures(""), all.figures(""));
}

#[test]
fn the_shortest_and_the_longest_are_recorded() {
    let found = latencies([0, u64::MAX / 1_000].into_iter());
    assert_eq!(found.count(), 2);
    let max = found.figures("").pop().unwrap().value;
    assert!((599e6..602e6).contains(&max), "ten minutes, not {max} us");
}

#[test]
fn a_median_is_a_value_that_was_measured() {
    let cases: [(&[f64], [f64; 3]); 3] = [
        (&[2.0], [2.0, 2.0, 2.0]),
        (&[4.0, 1.0], [1.0, 1.0, 4.0]),
        (&[9.0, 1.0, 5.0], [1.0, 5.0, 9.0]),
    ];
    for (values, [min, median, max]) in cases {
        assert_eq!(Spread::of(values), Some(Spread { min, median, max }));
    }
    assert_eq!(Spread::of(&[]), None);
}

fn report() -> Report {
    let mut report = Report::new("append");
    report.set("clients", 64);
    for (rate, p50) in [(100.0, 7.5), (300.0, 9.5), (200.0, 8.5)] {
        let figures = vec![
            Figure::new("appends", Unit::PerSecond, rate),
            Figure::new("p50", Unit::Micros, p50),
        ];
        report.add("quiet", figures);
    }
    report.add("hogs 2", vec![Figure::count("refused", 3)]);
    report
}

#[test]
fn the_json_form_is_stable() {
    let mut report = report();
    report.doubt("the server answered wrongly");
    report.doubt("the server answered wrongly");
    let json = report.json();
    let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
    let expected = ["cases", "format", "machine", "notes", "scenario", "settings", "sound"];
    assert_eq!(keys, expected);
    assert_eq!(json["format"], 1);
    assert_eq!(json["scenario"], "append");
    assert_eq!(json["settings"]["clients"], 64);
    assert_eq!(json["sound"], false);
    let notes = json["notes"].as_array().unwrap();
    let said = notes.iter().filter(|note| **note == json!("the server answered wrongly"));
    assert_eq!(said.count(), 1, "a note is said once");
    assert_eq!(
        json["cases"][0],
        json!({
            "name": "quiet",
            "runs": 3,
            "figures": [
                {
                    "name": "appends", "unit": "1/s", "values": [100.0, 300.0, 200.0],
                    "min": 100.0, "median": 200.0, "max": 300.0,
                },
                {
                    "name": "p50", "unit": "us", "values": [7.5, 9.5, 8.5],
                    "min": 7.5, "median": 8.5, "max": 9.5,
                },
            ],
        })
    );
    assert_eq!(json["cases"][1]["name"], "hogs 2");
    assert_eq!(json["cases"][1]["figures"][0]["unit"], "");
}

#[test]
fn the_table_has_a_line_for_every_figure_of_every_case() {
    let table = report().table();
    let lines: Vec<Vec<&str>> =
        table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(lines.contains(&vec!["appends", "1/s", "100.0", "200.0", "300.0"]), "{table}");
    assert!(lines.contains(&vec!["p50", "us", "7.500", "8.500", "9.500"]), "{table}");
    assert!(lines.contains(&vec!["refused", "3.000", "3.000", "3.000"]), "{table}");
    assert!(table.is_ascii());
}
