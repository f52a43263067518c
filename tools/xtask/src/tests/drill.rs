use crate::drill::parse;

#[test]
fn sizes_are_what_was_said() {
    let (sizes, names) = parse(&["--kills", "7", "killed", "--seed", "3"]).expect("it is sound");
    let sizes: Vec<(&str, &str)> = sizes.iter().map(|(name, size)| (*name, &**size)).collect();
    let expected =
        [("DRILL_KILLS", "7"), ("DRILL_ALL", "50"), ("DRILL_ROUNDS", "5"), ("DRILL_SEED", "3")];
    assert_eq!((sizes, names), (expected.to_vec(), vec!["killed"]));
    for wrong in [&["--kills"][..], &["--all", "many"], &["--quick"]] {
        assert!(parse(wrong).is_err(), "{wrong:?}");
    }
}
