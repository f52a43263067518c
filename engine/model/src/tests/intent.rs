//! What operators said, folded.

use crate::cluster::NodeName;
use crate::ids::Seq;
use crate::intent::{Intent, Word, append, session};

fn node(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

/// The event that an append becomes.
fn event(word: Word, name: &str, seq: u64) -> String {
    let fragment = append(word, &node(name)).fragment;
    format!("{{\"seq\":{seq},{fragment},\"inserted_at\":\"2024-01-01T00:00:00.000000Z\"}}")
}

#[track_caller]
fn check(words: &[(Word, &str)], expected: &[(&str, u64)]) {
    let mut intent = Intent::default();
    for (seq, (word, name)) in (1..).zip(words) {
        intent.take(Seq(seq), event(*word, name, seq).as_bytes());
    }
    let expected: Vec<_> = expected.iter().map(|(name, seq)| (node(name), Seq(*seq))).collect();
    assert_eq!(intent.draining().clone().into_iter().collect::<Vec<_>>(), expected);
    assert_eq!(intent.seq(), Seq(words.len() as u64));
}

#[test]
fn the_last_word_about_a_node_holds() {
    use Word::{Drain, Undrain};
    check(&[], &[]);
    check(&[(Drain, "a")], &[("a", 1)]);
    check(&[(Undrain, "a")], &[]);
    check(&[(Drain, "a"), (Undrain, "a")], &[]);
    check(&[(Drain, "a"), (Undrain, "a"), (Drain, "a")], &[("a", 3)]);
    check(&[(Drain, "b"), (Drain, "a@h"), (Undrain, "c")], &[("a@h", 2), ("b", 1)]);
    // Said twice, it holds since the first time.
    check(&[(Drain, "a"), (Drain, "b"), (Drain, "a")], &[("a", 1), ("b", 2)]);
}

#[test]
fn what_another_version_says_changes_only_the_place() {
    let mut intent = Intent::default();
    intent.take(Seq(1), event(Word::Drain, "a", 1).as_bytes());
    let strange = [
        "",
        "[]",
        "{}",
        r#"{"type":"drain"}"#,
        r#"{"type":"drain","payload":{"node":""}}"#,
        r#"{"type":"drain","payload":{"node":7}}"#,
        r#"{"type":"move","payload":{"node":"a"}}"#,
        r#"{"type":7,"payload":{"node":"b"}}"#,
    ];
    for (seq, event) in (2..).zip(strange) {
        intent.take(Seq(seq), event.as_bytes());
        assert_eq!(intent.draining().len(), 1, "{event}");
        assert_eq!(intent.seq(), Seq(seq));
    }
}

#[test]
fn a_name_with_a_quote_stays_a_name() {
    let mut intent = Intent::default();
    intent.take(Seq(1), event(Word::Drain, "a\"b\\", 1).as_bytes());
    assert!(intent.draining().contains_key(&node("a\"b\\")));
}

#[test]
fn no_name_that_can_be_typed_is_the_sessions() {
    assert!(session().as_str().starts_with('\0'));
}
