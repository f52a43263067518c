//! What a data directory says of itself.

use model::ids::Placement;

use crate::manifest::{Manifest, ManifestError};

fn manifest() -> Manifest {
    Manifest {
        cluster: 0x3c1f_bb0f_86d5_b1d4,
        node: 7,
        placement: Placement::new(256, 2),
        logs: vec![0x5d29_b1c2_f0b3_a7e1, u64::MAX],
    }
}

const GOLDEN: &str = "\
starcite data directory 1
cluster 3c1fbb0f86d5b1d4
node 0000000000000007
groups 256
shards 2
log 0 5d29b1c2f0b3a7e1
log 1 ffffffffffffffff
crc32 7eaf055b
";

/// Directories on disk depend on it.
#[test]
fn the_text_stays_what_it_is() {
    assert_eq!(manifest().encode(), GOLDEN);
    assert_eq!(Manifest::decode(GOLDEN), Ok(manifest()));
}

#[test]
fn no_change_of_a_byte_goes_unseen() {
    for place in 0..GOLDEN.len() {
        for bit in 0..7 {
            let mut bytes = GOLDEN.as_bytes().to_vec();
            bytes[place] ^= 1 << bit;
            let text = String::from_utf8(bytes).expect("seven bits are ASCII");
            assert!(Manifest::decode(&text).is_err(), "bit {bit} of byte {place}: {text}");
        }
    }
}

#[test]
fn no_cut_goes_unseen() {
    for length in 0..GOLDEN.len() {
        assert!(Manifest::decode(&GOLDEN[..length]).is_err(), "cut to {length}");
    }
    assert!(Manifest::decode(&format!("{GOLDEN}\n")).is_err());
}

#[test]
fn another_version_is_named() {
    let text = GOLDEN.replace("directory 1", "directory 2");
    assert_eq!(Manifest::decode(&text), Err(ManifestError::Version("2".to_owned())));
}

#[test]
fn impossible_counts_are_damage() {
    for (from, to) in
        [("shards 2", "shards 0"), ("groups 256", "groups 1"), ("groups 256", "groups 65537")]
    {
        let text = GOLDEN.replace(from, to);
        let error = Manifest::decode(&text).expect_err("the counts are impossible");
        assert_eq!(error, ManifestError::Damaged("a line is missing or odd"), "{to}");
    }
}
