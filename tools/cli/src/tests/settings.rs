use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use clap::{CommandFactory, Parser};
use model::config::{ServeConfig, VARIABLES};

use crate::Arguments;
use crate::settings::ServeFlags;

#[derive(Debug, Parser)]
struct Only {
    #[command(flatten)]
    flags: ServeFlags,
}

fn flags(words: &[&str]) -> ServeFlags {
    Only::try_parse_from([&["starcite"], words].concat()).unwrap().flags
}

fn process(variables: &[(&str, &str)]) -> impl Iterator<Item = (OsString, OsString)> {
    let owned: Vec<_> = variables.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
    owned.into_iter()
}

#[test]
fn the_command_line_is_sound() {
    Arguments::command().debug_assert();
}

#[test]
fn a_flag_wins_over_its_variable() {
    let variables = [("PORT", "80"), ("STARCITE_NUM_GROUPS", "8"), ("STARCITE_AUTH_MODE", "none")];
    let given = flags(&["--port", "81", "--log-level", "debug"]);
    let environment = given.over(process(&variables)).unwrap();
    assert_eq!(environment["PORT"], "81");
    assert_eq!(environment["STARCITE_NUM_GROUPS"], "8");
    let (config, warnings) = ServeConfig::read(&environment).unwrap();
    assert_eq!((config.listen.port(), config.groups), (81, 8));
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn every_flag_of_the_table_is_taken() {
    for variable in VARIABLES.iter().filter(|variable| !variable.flag.is_empty()) {
        let environment =
            flags(&[&format!("--{}", variable.flag), "word"]).over(process(&[])).unwrap();
        assert_eq!(environment.len(), 1);
        assert_eq!(environment[variable.name], "word");
    }
}

#[test]
fn values_that_are_not_text_are_refused_only_where_they_matter() {
    let odd = || OsString::from_vec(vec![0xff]);
    let none = ServeFlags::default();
    let foreign = [(OsString::from("LESS"), odd()), (odd(), odd())];
    assert_eq!(none.over(foreign.into_iter()).unwrap().len(), 0);
    let ours = [(OsString::from("STARCITE_DATA_DIR"), odd())];
    none.over(ours.into_iter()).expect_err("the directory would be another");
}
