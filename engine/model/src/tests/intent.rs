//! What operators said, folded.

use crate::cluster::NodeName;
use crate::config::{Host, NodeEntry};
use crate::ids::{GroupId, Seq};
use crate::intent::{Intent, Word, append, session};

fn node(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

fn drain(name: &str) -> Word {
    Word::Drain(node(name))
}

fn undrain(name: &str) -> Word {
    Word::Undrain(node(name))
}

fn add(name: &str, host: &str) -> Word {
    Word::Add(NodeEntry { name: node(name), host: Host::parse(host).unwrap(), port: 4100 })
}

fn remove(name: &str) -> Word {
    Word::Remove(node(name))
}

fn prefer(group: u32, name: &str) -> Word {
    Word::Prefer(GroupId(group), node(name))
}

/// The event that an append becomes.
fn event(word: &Word, seq: u64) -> String {
    let fragment = append(word, None).fragment;
    format!("{{\"seq\":{seq},{fragment},\"inserted_at\":\"2024-01-01T00:00:00.000000Z\"}}")
}

fn fold(words: &[Word]) -> Intent {
    let mut intent = Intent::default();
    for (seq, word) in (1..).zip(words) {
        intent.take(Seq(seq), event(word, seq).as_bytes());
    }
    assert_eq!(intent.seq(), Seq(words.len() as u64));
    assert_eq!(Intent::decode(&intent.encode()).as_ref(), Some(&intent), "it can be kept");
    intent
}

#[test]
fn the_last_word_about_a_node_holds() {
    type Case<'a> = (&'a [Word], &'a [(&'a str, u64)]);
    let cases: [Case<'_>; 7] = [
        (&[], &[]),
        (&[drain("a")], &[("a", 1)]),
        (&[undrain("a")], &[]),
        (&[drain("a"), undrain("a")], &[]),
        (&[drain("a"), undrain("a"), drain("a")], &[("a", 3)]),
        (&[drain("b"), drain("a@h"), undrain("c")], &[("a@h", 2), ("b", 1)]),
        // Said twice, it holds since the first time.
        (&[drain("a"), drain("b"), drain("a")], &[("a", 1), ("b", 2)]),
    ];
    for (words, expected) in cases {
        let expected: Vec<_> = expected.iter().map(|(name, seq)| (node(name), Seq(*seq))).collect();
        assert_eq!(fold(words).draining().clone().into_iter().collect::<Vec<_>>(), expected);
    }
}

#[test]
fn the_last_word_about_a_group_holds() {
    let release = |group| Word::Release(GroupId(group));
    type Case<'a> = (&'a [Word], &'a [(u32, &'a str)]);
    let cases: [Case<'_>; 7] = [
        (&[], &[]),
        (&[release(3)], &[]),
        (&[prefer(3, "a"), prefer(2, "a")], &[(2, "a"), (3, "a")]),
        (&[prefer(3, "a"), prefer(3, "b")], &[(3, "b")]),
        (&[prefer(3, "a"), prefer(2, "b"), release(3)], &[(2, "b")]),
        // A node that is to be relieved gets back what it led; one that is removed does not.
        (&[prefer(3, "a"), drain("a"), undrain("a")], &[(3, "a")]),
        (&[prefer(3, "a"), prefer(2, "b"), remove("a"), add("a", "h")], &[(2, "b")]),
    ];
    for (words, expected) in cases {
        let expected: Vec<_> =
            expected.iter().map(|(group, name)| (GroupId(*group), node(name))).collect();
        assert_eq!(fold(words).preferred().clone().into_iter().collect::<Vec<_>>(), expected);
    }
}

#[test]
fn words_win_over_the_configuration() {
    /// Words, what is configured, and who is to hold data then.
    type Case<'a> = (&'a [Word], &'a str, &'a str);
    let cases: [Case<'_>; 10] = [
        (&[], "a b c", "a b c"),
        (&[add("d", "h")], "a b c", "a b c d"),
        (&[add("d", "h")], "a b c d", "a b c d"),
        (&[add("0", "h")], "a b c", "0 a b c"),
        (&[remove("b")], "a b c", "a c"),
        (&[remove("b")], "a c", "a c"),
        (&[add("d", "h"), remove("d")], "a b c", "a b c"),
        (&[remove("b"), add("b", "h")], "a b c", "a b c"),
        (&[remove("b"), add("b", "h")], "a c", "a b c"),
        // Whoever configures only what was removed is believed rather than nobody.
        (&[remove("a")], "a", "a"),
    ];
    for (words, configured, expected) in cases {
        let configured: Vec<NodeName> = configured.split(' ').map(node).collect();
        let write = fold(words).write(&configured);
        let write: Vec<&str> = write.iter().map(NodeName::as_str).collect();
        assert_eq!(write.join(" "), expected, "{words:?} over {configured:?}");
    }
}

#[test]
fn where_an_added_node_is_stays_known() {
    let places = |words: &[Word]| -> Vec<String> {
        let intent = fold(words);
        intent.places().map(|at| format!("{}@{}:{}", at.name, at.host, at.port)).collect()
    };
    assert_eq!(places(&[add("d", "10.0.0.4")]), ["d@10.0.0.4:4100"]);
    assert_eq!(places(&[add("d", "10.0.0.4"), add("d", "[::1]")]), ["d@[::1]:4100"]);
    // A node that was removed still forwards what its clients ask, and must be answered.
    let removed = [add("d", "10.0.0.4"), remove("d"), remove("d"), remove("a"), drain("b")];
    assert_eq!(places(&removed), ["d@10.0.0.4:4100"]);
    assert!(fold(&removed).is_removed(&node("a")) && fold(&removed).is_removed(&node("d")));
    let back = [&removed[..], &[add("d", "10.0.0.5")]].concat();
    assert_eq!(places(&back), ["d@10.0.0.5:4100"]);
    assert!(!fold(&back).is_removed(&node("d")));
    assert_eq!(fold(&[drain("a"), remove("a")]).draining().len(), 0, "it holds nothing any more");
}

#[test]
fn what_another_version_says_changes_only_the_place() {
    let strange = [
        "",
        "[]",
        "{}",
        r#"{"type":"drain"}"#,
        r#"{"type":"drain","payload":{"node":""}}"#,
        r#"{"type":"drain","payload":{"node":7}}"#,
        r#"{"type":"move","payload":{"node":"a"}}"#,
        r#"{"type":7,"payload":{"node":"b"}}"#,
        r#"{"type":"prefer","payload":{"group":-1,"node":"b"}}"#,
        r#"{"type":"prefer","payload":{"group":4294967296,"node":"b"}}"#,
        r#"{"type":"prefer","payload":{"group":1}}"#,
        r#"{"type":"release","payload":{"group":"1"}}"#,
        r#"{"type":"add","payload":{"node":"d"}}"#,
        r#"{"type":"add","payload":{"node":"d","host":"h","port":0}}"#,
        r#"{"type":"add","payload":{"node":"d","host":"h h","port":1}}"#,
        r#"{"type":"remove","payload":{}}"#,
    ];
    let first = fold(&[drain("a")]);
    let mut intent = first.clone();
    for (seq, event) in (2..).zip(strange) {
        intent.take(Seq(seq), event.as_bytes());
        assert_eq!(intent.draining(), first.draining(), "{event}");
        assert!(intent.preferred().is_empty() && intent.places().next().is_none(), "{event}");
        assert_eq!(intent.write(&[node("a")]), [node("a")], "{event}");
        assert_eq!(intent.seq(), Seq(seq));
    }
}

#[test]
fn what_cannot_have_been_kept_is_not_read() {
    let kept = fold(&[drain("a"), prefer(3, "a"), add("d", "h"), remove("b")]).encode();
    let damages = [
        ("", ""),
        ("\"seq\":4", "\"seq\":-4"),
        ("\"draining\":{\"a\":1}", "\"draining\":7"),
        ("\"group\":3", "\"group\":\"3\""),
        ("\"port\":4100", "\"port\":0"),
        ("{\"node\":\"b\"}", "{}"),
    ];
    for (good, bad) in damages {
        assert!(kept.contains(good), "{kept}");
        let damaged = if good.is_empty() { String::new() } else { kept.replace(good, bad) };
        assert_eq!(Intent::decode(&damaged), None, "{damaged}");
    }
}

#[test]
fn a_name_with_a_quote_stays_a_name() {
    assert!(fold(&[drain("a\"b\\")]).draining().contains_key(&node("a\"b\\")));
}

#[test]
fn a_word_can_be_said_only_if_nothing_came_between() {
    assert_eq!(append(&remove("a"), Some(Seq(7))).expected_seq, Some(7));
    assert_eq!(append(&drain("a"), None).expected_seq, None);
}

#[test]
fn no_name_that_can_be_typed_is_the_sessions() {
    assert!(session().as_str().starts_with('\0'));
}
