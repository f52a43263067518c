use clap::{CommandFactory, Parser};

use crate::options::{Options, Scenario};

#[test]
fn the_words_are_consistent() {
    Options::command().debug_assert();
}

fn parse(line: &str) -> Result<Options, String> {
    Options::try_parse_from(line.split(' ')).map_err(|error| error.to_string())
}

#[test]
fn good_lines_are_understood() {
    let hogs = |line: &str| parse(line).unwrap().common.hog;
    assert_eq!(hogs("bench disk"), None);
    assert_eq!(hogs("bench disk --hog"), Some(0));
    assert_eq!(hogs("bench disk --hog 1"), Some(1));
    let Some(Scenario::Append(append)) =
        parse("bench append --rate 500 --clients 8 --sessions 100 --runs 3").unwrap().scenario
    else {
        panic!("it is an append");
    };
    assert_eq!(append.rate.unwrap().get(), 500);
    assert_eq!((append.clients.get(), append.sessions.unwrap().get()), (8, 100));
    let Some(Scenario::Log(log)) = parse("bench log --writers 1,8").unwrap().scenario else {
        panic!("it is a log");
    };
    assert_eq!(log.writers.iter().map(|count| count.get()).collect::<Vec<_>>(), [1, 8]);
    assert!(parse("bench --smoke").unwrap().common.smoke);
    assert!(parse("bench append --closed --addr 127.0.0.1:4000 --token x").is_ok());
}

#[test]
fn bad_lines_are_refused() {
    let cases = [
        "bench append",
        "bench append --rate 500 --closed",
        "bench append --rate 0",
        "bench append --closed --clients 0",
        "bench append --closed --token x",
        "bench disk --runs 0",
        "bench log --writers 0",
        "bench nothing",
    ];
    for line in cases {
        assert!(parse(line).is_err(), "{line}");
    }
}
