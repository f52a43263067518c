//! The contract's rules for configuration, as tables.

use std::path::Path;

use crate::config::{
    self, ArchiveAdapter, AuthMode, Environment, LogFormat, LogLevel, LogSync, ServeConfig,
    Standing, VARIABLES,
};
use crate::limits::{CONNECTIONS_DEFAULT, EVENT_STORE_BYTES_DEFAULT, GROUPS_DEFAULT};

mod cluster;

/// An environment that starts, and these variables.
fn environment(variables: &[(&str, &str)]) -> Environment {
    let open = [("STARCITE_AUTH_MODE", "none")];
    open.iter().chain(variables).map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
}

#[track_caller]
fn reads(variables: &[(&str, &str)]) -> ServeConfig {
    match ServeConfig::read(&environment(variables)) {
        Ok((config, _)) => config,
        Err(problem) => panic!("{variables:?}: {problem}"),
    }
}

#[track_caller]
fn refuses(variables: &[(&str, &str)], text: &str) {
    let problem = match ServeConfig::read(&environment(variables)) {
        Ok(_) => panic!("{variables:?} is taken"),
        Err(problem) => problem.to_string(),
    };
    assert_eq!(problem, text, "{variables:?}");
    assert!(!problem.contains('\n'), "one line");
}

/// The text names the variable and holds these words.
#[track_caller]
fn refuses_with(variables: &[(&str, &str)], words: &[&str]) {
    let problem = match ServeConfig::read(&environment(variables)) {
        Ok(_) => panic!("{variables:?} is taken"),
        Err(problem) => problem.to_string(),
    };
    for word in words {
        assert!(problem.contains(word), "{variables:?}: {problem:?} lacks {word:?}");
    }
}

fn warnings(variables: &[(&str, &str)]) -> Vec<String> {
    ServeConfig::read(&environment(variables)).expect("the environment is usable").1
}

#[test]
fn defaults() {
    let config = reads(&[]);
    assert_eq!(config.listen.to_string(), "0.0.0.0:4000");
    assert_eq!(config.ops_listen, None);
    assert_eq!(config.data_dir, Path::new("/var/lib/starcite"));
    assert_eq!((config.groups, config.shards, config.cores), (GROUPS_DEFAULT, None, None));
    assert_eq!(config.event_store_bytes, 2_147_483_648);
    assert_eq!(config.event_store_bytes, EVENT_STORE_BYTES_DEFAULT);
    assert_eq!(config.connections_max, CONNECTIONS_DEFAULT);
    assert_eq!(config.shutdown_timeout_ms, 30_000);
    assert_eq!(config.log_sync, LogSync::Link);
    assert_eq!((config.log_format, config.log_level), (LogFormat::Auto, LogLevel::Info));
    assert!(config.telemetry, "telemetry is on unless switched off");
    assert_eq!((config.auth, config.archive), (AuthMode::None, ArchiveAdapter::None));
    assert_eq!(warnings(&[]), Vec::<String>::new());
}

#[test]
fn the_table_tells_the_defaults_that_hold() {
    for variable in VARIABLES {
        let value = variable.default.strip_prefix('`').and_then(|rest| rest.strip_suffix('`'));
        if let Some(value) = value.filter(|value| !value.contains('`')) {
            let mut given = reads(&[(variable.name, value)]);
            if variable.name == config::PPROF_PORT.name {
                given.ops_listen = None;
            }
            assert_eq!(given, reads(&[]), "{}={value}", variable.name);
        }
    }
}

#[test]
fn the_table_is_well_formed() {
    for (place, variable) in VARIABLES.iter().enumerate() {
        let others = &VARIABLES[..place];
        assert!(others.iter().all(|other| other.name != variable.name), "{}", variable.name);
        let flag = variable.flag;
        assert!(flag.is_empty() || others.iter().all(|other| other.flag != flag), "{flag}");
        assert!(variable.meaning.ends_with('.'), "{}", variable.meaning);
        if variable.standing == Standing::Inert {
            assert_eq!((flag, variable.default), ("", "none"), "{}", variable.name);
        }
    }
}

#[test]
fn integers() {
    for (text, port) in [("1", 1), ("65535", 65535), (" 4001 ", 4001), ("+80", 80), ("007", 7)] {
        assert_eq!(reads(&[("PORT", text)]).listen.port(), port, "{text:?}");
    }
    for text in
        ["", " ", "0", "-1", "4000x", "4 000", "4_000", "0x10", "1.0", "99999999999999999999"]
    {
        refuses(&[("PORT", text)], &format!("invalid integer for PORT: {text:?}"));
    }
    refuses(&[("PORT", "a\"b")], "invalid integer for PORT: \"a\\\"b\"");
    refuses(&[("PORT", "65536")], "PORT must be at most 65535, not 65536");
    refuses(
        &[("STARCITE_NUM_GROUPS", "65537")],
        "STARCITE_NUM_GROUPS must be at most 65536, not 65537",
    );
    refuses(
        &[("STARCITE_CORES", "18446744073709551615")],
        "STARCITE_CORES must be at most 1024, not 18446744073709551615",
    );
}

/// Every variable that is read as a number refuses the same texts, whether it has an effect or not.
#[test]
fn every_variable_holds_its_form() {
    for variable in VARIABLES {
        let name = variable.name;
        let (kind, bad, good): (&str, &[&str], &[&str]) = match variable.kind {
            config::Kind::Integer => ("integer", &["", "x", "0", "-1"], &["1"]),
            config::Kind::IntegerOrZero => ("integer", &["", "x", "-1"], &["0", "7"]),
            config::Kind::Size => ("size", &["", "x", "0", "1XB", "-1"], &["1", "1kb"]),
            config::Kind::Fraction => {
                let bad = ["", "x", "0", "0.009", "0.991", "1", "NaN", "inf"];
                ("fraction", &bad.clone(), &["0.01", "0.25", "0.99", " 0.5 "])
            }
            config::Kind::Boolean => ("boolean", &["", "x", "2", "t", "enabled"], &["off"]),
            config::Kind::Word(_) | config::Kind::Text => continue,
        };
        for text in bad {
            refuses(&[(name, text)], &format!("invalid {kind} for {name}: {text:?}"));
        }
        for text in good {
            reads(&[(name, text)]);
        }
    }
}

#[test]
fn sizes() {
    let cases: [(&str, u64); 19] = [
        ("1", 1 << 20),
        ("512", 512 << 20),
        ("1B", 1),
        ("4096b", 4096),
        ("1K", 1 << 10),
        ("1KB", 1 << 10),
        ("1KiB", 1 << 10),
        ("1m", 1 << 20),
        ("1Mb", 1 << 20),
        ("1MIB", 1 << 20),
        ("2G", 2 << 30),
        ("2gb", 2 << 30),
        ("2GiB", 2 << 30),
        ("1T", 1 << 40),
        ("1TB", 1 << 40),
        ("1tib", 1 << 40),
        (" 2GB ", 2 << 30),
        ("16777215T", 16_777_215 << 40),
        ("18446744073709551615B", u64::MAX),
    ];
    for (text, bytes) in cases {
        let config = reads(&[("STARCITE_EVENT_STORE_MAX_SIZE", text)]);
        assert_eq!(config.event_store_bytes, bytes, "{text:?}");
    }
    let bad =
        ["", "0", "0GB", "GB", "1 GB", "1.5GB", "-1GB", "1P", "1GBs", "16777216T", "1_0", "+1"];
    for text in bad {
        let problem = format!("invalid size for STARCITE_EVENT_STORE_MAX_SIZE: {text:?}");
        refuses(&[("STARCITE_EVENT_STORE_MAX_SIZE", text)], &problem);
    }
}

#[test]
fn booleans() {
    for text in ["1", "true", "TRUE", "yes", "Yes", "on", " on "] {
        assert!(reads(&[("STARCITE_ENABLE_TELEMETRY", text)]).telemetry, "{text:?}");
    }
    for text in ["0", "false", "False", "no", "NO", "off"] {
        assert!(!reads(&[("STARCITE_ENABLE_TELEMETRY", text)]).telemetry, "{text:?}");
    }
}

#[test]
fn words() {
    assert_eq!(reads(&[("STARCITE_LOG_SYNC", " DSYNC ")]).log_sync, LogSync::Dsync);
    assert_eq!(reads(&[("STARCITE_LOG_SYNC", "link")]).log_sync, LogSync::Link);
    for (text, format) in
        [("auto", LogFormat::Auto), ("JSON", LogFormat::Json), ("text", LogFormat::Text)]
    {
        assert_eq!(reads(&[("STARCITE_LOG_FORMAT", text)]).log_format, format);
    }
    let levels = [
        ("error", LogLevel::Error),
        ("warn", LogLevel::Warn),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
        ("trace", LogLevel::Trace),
    ];
    for (text, level) in levels {
        assert_eq!(reads(&[("STARCITE_LOG_LEVEL", text)]).log_level, level);
    }
    refuses(
        &[("STARCITE_LOG_SYNC", "none")],
        "invalid value for STARCITE_LOG_SYNC: \"none\" (one of link, dsync)",
    );
    refuses(
        &[("STARCITE_PAYLOAD_PLANE", "both")],
        "invalid value for STARCITE_PAYLOAD_PLANE: \"both\" (one of legacy, dual_write)",
    );
    refuses_with(&[("STARCITE_TAIL_SOURCE", "")], &["invalid value for STARCITE_TAIL_SOURCE"]);
}

#[test]
fn authentication_must_be_switched_off_in_words() {
    let name = "STARCITE_AUTH_MODE";
    for text in ["none", "None", " none "] {
        assert_eq!(reads(&[(name, text)]).auth, AuthMode::None);
    }
    for text in ["", " ", "jwt", "JWT"] {
        refuses_with(
            &[(name, text)],
            &[name, "jwt", "cannot check tokens", "set STARCITE_AUTH_MODE=none"],
        );
    }
    let unset = ServeConfig::read(&Environment::new()).expect_err("it must be given").to_string();
    assert!(unset.starts_with("STARCITE_AUTH_MODE is not set"), "{unset}");
    refuses(&[(name, "off")], "invalid value for STARCITE_AUTH_MODE: \"off\" (one of none, jwt)");
}

#[test]
fn archives_are_refused() {
    let name = "STARCITE_ARCHIVE_ADAPTER";
    assert_eq!(reads(&[(name, "None")]).archive, ArchiveAdapter::None);
    for text in ["s3", "S3", "postgres"] {
        refuses_with(&[(name, text)], &[name, &text.to_lowercase(), "no archive", "=none"]);
    }
    refuses(
        &[(name, "disk")],
        "invalid value for STARCITE_ARCHIVE_ADAPTER: \"disk\" (one of none, s3, postgres)",
    );
    refuses_with(&[("STARCITE_ARCHIVER_ENABLED", "true")], &["STARCITE_ARCHIVER_ENABLED"]);
    reads(&[("STARCITE_ARCHIVER_ENABLED", "off")]);
}

#[test]
fn ports() {
    let config = reads(&[("PORT", "80"), ("STARCITE_BIND", "::1"), ("STARCITE_OPS_PORT", "81")]);
    assert_eq!(config.listen.to_string(), "[::1]:80");
    assert_eq!(config.ops_listen.map(|at| at.to_string()).as_deref(), Some("[::1]:81"));
    let ops = |variables: &[(&str, &str)]| reads(variables).ops_listen.map(|at| at.port());
    assert_eq!(ops(&[("STARCITE_PPROF_PORT", "90")]), Some(90));
    assert_eq!(ops(&[("STARCITE_PPROF_PORT", "90"), ("STARCITE_OPS_PORT", "91")]), Some(91));
    refuses(&[("STARCITE_OPS_PORT", "4000")], "STARCITE_OPS_PORT and PORT are both 4000");
    refuses(
        &[("STARCITE_OPS_PORT", "70000")],
        "STARCITE_OPS_PORT must be at most 65535, not 70000",
    );
    refuses(&[("STARCITE_BIND", "here")], "invalid address for STARCITE_BIND: \"here\"");
    assert_eq!(reads(&[("STARCITE_BIND", "")]).listen.to_string(), "0.0.0.0:4000");
}

#[test]
fn one_data_directory_under_two_names() {
    let dir = |variables: &[(&str, &str)]| reads(variables).data_dir;
    assert_eq!(dir(&[("STARCITE_RAFT_DATA_DIR", "/data")]), Path::new("/data"));
    assert_eq!(dir(&[("STARCITE_DATA_DIR", "/data")]), Path::new("/data"));
    assert_eq!(
        dir(&[("STARCITE_DATA_DIR", "/data"), ("STARCITE_RAFT_DATA_DIR", "/data")]),
        Path::new("/data")
    );
    assert_eq!(dir(&[("STARCITE_DATA_DIR", "")]), Path::new("/var/lib/starcite"));
    refuses_with(
        &[("STARCITE_DATA_DIR", "/a"), ("STARCITE_RAFT_DATA_DIR", "/b")],
        &["STARCITE_DATA_DIR is \"/a\"", "STARCITE_RAFT_DATA_DIR is \"/b\""],
    );
}

#[test]
fn shards_and_groups() {
    let config = reads(&[("STARCITE_NUM_GROUPS", "8"), ("STARCITE_SHARDS", "8")]);
    assert_eq!((config.groups, config.shards), (8, Some(8)));
    refuses_with(&[("STARCITE_NUM_GROUPS", "8"), ("STARCITE_SHARDS", "9")], &["9", "8 groups"]);
    assert_eq!(reads(&[("STARCITE_CORES", "4")]).cores, Some(4));
}

#[test]
fn warns_of_what_has_no_effect_without_telling_values() {
    let secret = "hunter2";
    let found = warnings(&[("RELEASE_COOKIE", secret), ("STARCITE_S3_BUCKET", secret)]);
    assert_eq!(
        found,
        [
            "RELEASE_COOKIE has no effect: Nodes know each other by `SECRET_KEY_BASE`.",
            "STARCITE_S3_BUCKET has no effect: There is no archive yet."
        ]
    );
    assert!(warnings(&[("STARCITE_S3_PREFIX", "")]).is_empty(), "empty is unset");
    assert_eq!(
        warnings(&[("STARCITE_EVENT_STORE_SIZE", secret), ("FASTPACA_API_KEY", secret)]),
        [
            "FASTPACA_API_KEY has no effect: this server does not know it.",
            "STARCITE_EVENT_STORE_SIZE has no effect: this server does not know it."
        ]
    );
    assert!(warnings(&[("PATH", "/bin"), ("PORT", "80")]).is_empty());
}

/// Every variable of the contract is known, in this server's epochs.
#[test]
fn inert_variables_are_taken() {
    for variable in VARIABLES.iter().filter(|variable| variable.standing == Standing::Inert) {
        let value = match variable.kind {
            config::Kind::Boolean => "true",
            config::Kind::Fraction => "0.5",
            config::Kind::Word(words) => words[0],
            config::Kind::Integer
            | config::Kind::IntegerOrZero
            | config::Kind::Size
            | config::Kind::Text => "1",
        };
        assert_eq!(warnings(&[(variable.name, value)]).len(), 1, "{}", variable.name);
    }
}
