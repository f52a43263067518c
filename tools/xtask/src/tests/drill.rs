use crate::drill::parse;

#[test]
fn sizes_are_what_was_said() {
    let (sizes, names) = parse(&["--kills", "7", "killed", "--seed", "3"]).expect("it is sound");
    let sizes: Vec<(&str, &str)> = sizes.iter().map(|(name, size)| (*name, &**size)).collect();
    assert_eq!(sizes[..2], [("DRILL_KILLS", "7"), ("DRILL_ALL", "50")]);
    assert_eq!((sizes[7], names), (("DRILL_SEED", "3"), vec!["killed"]));
    for wrong in [&["--kills"][..], &["--all", "many"], &["--quick"]] {
        assert!(parse(wrong).is_err(), "{wrong:?}");
    }
}
