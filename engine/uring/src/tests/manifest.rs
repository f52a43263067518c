//! What a data directory says of itself.

use model::cluster::{MemberId, NodeName};
use model::ids::Placement;

use crate::manifest::{FOUNDERS_MAX, Founding, Manifest, ManifestError};

fn founding() -> Founding {
    let members = [(1, 1), (2, u32::MAX), (3, 9)];
    let member = |(tag, incarnation)| MemberId::new(model::cluster::NameTag(tag), incarnation);
    Founding {
        cluster: 0x3c1f_bb0f_86d5_b1d4,
        groups: 256,
        factor: 2,
        members: members.map(member).into(),
    }
}

fn manifest() -> Manifest {
    Manifest {
        node: NodeName::new("a@[::1]").unwrap(),
        incarnation: 7,
        made_at: 1_763_712_000_000_000,
        placement: Placement::new(256, 2),
        logs: vec![0x5d29_b1c2_f0b3_a7e1, u64::MAX],
        founding: Some(founding()),
    }
}

const GOLDEN: &str = "\
starcite data directory 2
node a@[::1]
incarnation 00000007
made-at 1763712000000000
groups 256
shards 2
log 0 5d29b1c2f0b3a7e1
log 1 ffffffffffffffff
cluster 3c1fbb0f86d5b1d4
factor 2
founder 0000000100000001
founder 00000002ffffffff
founder 0000000300000009
crc32 6df5053a
";

const UNFOUNDED: &str = "\
starcite data directory 2
node a@[::1]
incarnation 00000007
made-at 1763712000000000
groups 256
shards 2
log 0 5d29b1c2f0b3a7e1
log 1 ffffffffffffffff
cluster none
crc32 df5d84fc
";

/// Directories on disk depend on it.
#[test]
fn the_text_stays_what_it_is() {
    assert_eq!(manifest().encode(), GOLDEN);
    assert_eq!(Manifest::decode(GOLDEN), Ok(manifest()));
    let unfounded = Manifest { founding: None, ..manifest() };
    assert_eq!(unfounded.encode(), UNFOUNDED);
    assert_eq!(Manifest::decode(UNFOUNDED), Ok(unfounded));
}

#[test]
fn no_change_of_a_byte_goes_unseen() {
    for golden in [GOLDEN, UNFOUNDED] {
        for place in 0..golden.len() {
            for bit in 0..7 {
                let mut bytes = golden.as_bytes().to_vec();
                bytes[place] ^= 1 << bit;
                let text = String::from_utf8(bytes).expect("seven bits are ASCII");
                assert!(Manifest::decode(&text).is_err(), "bit {bit} of byte {place}: {text}");
            }
        }
    }
}

#[test]
fn no_cut_goes_unseen() {
    for golden in [GOLDEN, UNFOUNDED] {
        for length in 0..golden.len() {
            assert!(Manifest::decode(&golden[..length]).is_err(), "cut to {length}");
        }
    }
    assert!(Manifest::decode(&format!("{GOLDEN}\n")).is_err());
}

#[test]
fn another_version_is_named() {
    for version in ["1", "3"] {
        let text = GOLDEN.replace("directory 2", &format!("directory {version}"));
        let error = Manifest::decode(&text).expect_err("another version");
        assert_eq!(error, ManifestError::Version(version.to_owned()));
        assert!(error.to_string().starts_with(&format!("it has version {version}")), "{error}");
    }
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

#[test]
fn a_directory_is_one_member() {
    let (manifest, other) = (manifest(), Manifest { incarnation: 8, ..manifest() });
    assert_eq!(manifest.member().tag(), manifest.node.tag());
    assert_ne!(manifest.member(), other.member());
}

#[test]
fn foundings_that_cannot_have_been() {
    assert!(founding().is_sound());
    let of = |members: Vec<MemberId>| Founding { members, ..founding() };
    let Founding { members, .. } = founding();
    let twins = vec![members[0], MemberId(members[0].0 + 1)];
    let many = (0..=FOUNDERS_MAX as u64).map(|tag| MemberId(tag << 32 | 1)).collect();
    for bad in [
        Founding { cluster: 0, ..founding() },
        Founding { groups: 0, ..founding() },
        Founding { groups: 65_537, ..founding() },
        Founding { factor: 0, ..founding() },
        Founding { factor: 4, ..founding() },
        of(Vec::new()),
        of(vec![members[1], members[0]]),
        of(vec![members[0], members[0]]),
        of(twins),
        of(many),
    ] {
        assert!(!bad.is_sound(), "{bad:?}");
    }
}
