use crate::tidy;
use crate::tree::File;

fn file(path: &str, text: &str) -> File {
    File { path: path.to_owned(), bytes: text.len(), text: text.to_owned() }
}

/// What the rules say of one file, as lines.
fn findings(path: &str, text: &str) -> Vec<String> {
    tidy::check(&[file(path, text)]).iter().map(ToString::to_string).collect()
}

#[track_caller]
fn passes(path: &str, text: &str) {
    assert_eq!(findings(path, text), Vec::<String>::new(), "{path}: {text:?}");
}

/// There is exactly one finding, at this line, and it holds these words.
#[track_caller]
fn fails(path: &str, text: &str, line: usize, words: &str) {
    let found = findings(path, text);
    let place = if line == 0 { format!("{path}: ") } else { format!("{path}:{line}: ") };
    assert_eq!(found.len(), 1, "{path}: {text:?}: {found:?}");
    assert!(found[0].starts_with(&place), "{}", found[0]);
    assert!(found[0].contains(words), "{}", found[0]);
}

#[test]
fn long_files() {
    passes("raft/src/log.rs", &"\n".repeat(600));
    fails("raft/src/log.rs", &"\n".repeat(601), 0, "601 lines");
    fails("raft/src/tests/log.rs", &"\n".repeat(601), 0, "601 lines");
    passes("docs/long.md", &"\n".repeat(601));
}

#[test]
fn large_files() {
    passes("docs/a.svg", &" ".repeat(512 * 1024));
    fails("docs/a.svg", &" ".repeat(512 * 1024 + 1), 0, "524289 bytes");
}

#[test]
fn places_at_the_top() {
    passes("README.md", "");
    passes(".ci/run", "");
    passes("tools/systemd/unit", "");
    fails("scripts/build", "", 0, "`scripts` has no place");
    fails("notes.md", "", 0, "`notes.md` has no place");
}

#[test]
fn unfinished_work() {
    let todo = concat!("TO", "DO");
    let fixme = concat!("FIX", "ME");
    fails("docs/a.md", &format!("a\n{todo} b"), 2, todo);
    fails("net/src/a.rs", &format!("// {fixme}: b"), 1, fixme);
    fails("net/src/a.rs", "fn f() {\n    todo!()\n}", 2, "todo!");
    fails("net/src/a.rs", "unimplemented!();", 1, "unimplemented!");
    fails("net/src/tests.rs", "#[ignore = \"slow\"]", 1, "#[ignore");
    passes("net/src/a.rs", "// says todo!() in a comment\nlet a = \"#[ignore]\";");
}

#[test]
fn paths_of_one_machine() {
    for (path, folder) in
        [("docs/a.md", concat!("/wo", "rk/")), ("net/src/a.rs", concat!("/tm", "p/"))]
    {
        fails(path, &format!("// see {folder}x"), 1, "path of one machine");
    }
    fails(".ci/run", concat!("cd /ho", "me/a"), 1, "path of one machine");
    passes("Cargo.lock", concat!("/tm", "p/"));
    passes("docs/a.md", "network/ and /var/lib/starcite");
}

#[test]
fn characters_beyond_ascii() {
    fails("net/src/a.rs", "// a\n// \u{2192} b", 2, "\\u{2192}");
    passes("docs/a.md", "a \u{2192} b");
}

#[test]
fn unsafe_code() {
    fails("raft/src/log.rs", "fn f() {\n  unsafe { g() }\n}", 2, "unsafe code");
    fails("net/src/http.rs", "unsafe fn f() {}", 1, "unsafe code");
    fails("net/src/http/rt.rs", "unsafe fn f() {}", 1, "unsafe code");
    passes("engine/uring/src/ring.rs", "unsafe fn f() {}");
    passes("raft/src/log.rs", "// unsafe\nlet unsafe_code = \"unsafe\";");
}

#[test]
fn roots_forbid_unsafe_code() {
    passes("raft/src/lib.rs", "//! A.\n#![forbid(unsafe_code)]");
    fails("raft/src/lib.rs", "//! #![forbid(unsafe_code)]", 0, "forbid(unsafe_code)");
    fails("tools/cli/src/main.rs", "fn main() {}", 0, "forbid(unsafe_code)");
    fails("net/src/lib.rs", "//! A.", 0, "forbid(unsafe_code)");
    passes("engine/uring/src/lib.rs", "");
    passes("raft/src/log.rs", "");
}

#[test]
fn names_have_one_home() {
    let cases = [
        ("engine/model/src/error.rs", "\"session_not_found\""),
        ("engine/model/src/metric.rs", "\"starcite_events_append_total\""),
        ("engine/model/src/config.rs", "\"STARCITE_NUM_GROUPS\""),
        ("engine/model/src/config/variables.rs", "\"STARCITE_NUM_GROUPS\""),
    ];
    for (home, literal) in cases {
        passes(home, literal);
        fails("net/src/http.rs", &format!("\n{literal}"), 2, "names a");
        passes("net/src/tests/http.rs", literal);
        passes("net/src/tests.rs", literal);
        passes("net/src/http.rs", &format!("// {literal}"));
    }
    passes("net/src/http.rs", "\"session_id\"");
}

#[test]
fn edges_between_crates() {
    let manifest = |name: &str, rest: &str| {
        let text =
            format!("[package]\nname = \"starcite-{name}\"\n{rest}\n[lints]\nworkspace = true\n");
        file(&format!("{}/Cargo.toml", if name == "raft" { "raft" } else { "net" }), &text)
    };
    let check = |rest: &str| {
        let files = [manifest("raft", ""), manifest("shard", rest)];
        tidy::check(&files).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert!(check("[dependencies]\nraft.workspace = true\nbytes.workspace = true").is_empty());
    let files =
        [manifest("raft", "[dev-dependencies]\nshard.workspace = true"), manifest("shard", "")];
    let found = tidy::check(&files);
    assert_eq!(found.len(), 1);
    assert!(found[0].to_string().contains("`raft` must not depend on `shard`"));
}

#[test]
fn manifests_are_known_and_take_the_lints() {
    fails("net/Cargo.toml", "[package]\nname = \"starcite-net\"", 0, "[lints]");
    let unknown = "[package]\nname = \"starcite-extra\"\n[lints]\nworkspace = true";
    fails("tools/extra/Cargo.toml", unknown, 0, "no line in tidy's EDGES");
}

#[test]
fn documents_follow_the_tables() {
    let texts = [("docs/errors.md", "new".to_owned())];
    let stale = |files: &[File]| tidy::documents(files, &texts).len();
    assert_eq!(stale(&[file("docs/errors.md", "new")]), 0);
    assert_eq!(stale(&[file("docs/errors.md", "old")]), 1);
    assert_eq!(stale(&[file("docs/other.md", "new")]), 1);
}
