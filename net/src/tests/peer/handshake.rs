use expect_test::expect;
use model::cluster::{MemberId, NameTag, NodeName};
use model::config::Secret;
use proptest::prelude::*;

use crate::peer::frame::{Kind, Label, Lane};
use crate::peer::handshake::{
    Acceptor, Dialer, Failure, Guest, Identity, Papers, Refusal, Session, VERSIONS, judge,
    judge_name,
};
use crate::peer::keys::{Key, Nonce};

const NONCES: (Nonce, Nonce) = ([1; 32], [2; 32]);

fn name(text: &str) -> NodeName {
    NodeName::new(text).unwrap()
}

fn identity(text: &str) -> Identity {
    let name = name(text);
    let member = MemberId::new(name.tag(), 7);
    Identity { cluster: 5, groups: 256, name, member, made_at: 1_000, started_at: 2_000 }
}

pub(super) fn papers(text: &str) -> Papers {
    let key = Key::new(&Secret::new(*b"the cluster's secret"));
    Papers { key, own: identity(text), versions: VERSIONS }
}

/// What either side made of a handshake.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) dialing: Result<Session, Failure>,
    pub(super) accepting: Result<Session, Failure>,
    pub(super) guest: Option<Guest>,
}

/// Runs a handshake whose messages pass through `wire`, by their number from 0.
pub(super) fn meet(
    dialing: Papers,
    accepting: Papers,
    verdict: Result<(), Refusal>,
    wire: impl Fn(usize, Vec<u8>) -> Vec<u8>,
) -> Ends {
    let cut = Failure::Malformed;
    let (mut dialer, hello) = Dialer::begin(dialing, Lane::Log, 3, NONCES.0);
    let heard = Acceptor::hello(accepting, &wire(0, hello), NONCES.1);
    let (mut acceptor, challenge) = match heard {
        Ok(heard) => heard,
        Err(failure) => return Ends { dialing: Err(cut), accepting: Err(failure), guest: None },
    };
    let introduction = match dialer.challenged(&wire(1, challenge)) {
        Ok(introduction) => introduction,
        Err(failure) => return Ends { dialing: Err(failure), accepting: Err(cut), guest: None },
    };
    let guest = match acceptor.introduced(&wire(2, introduction)) {
        Ok(guest) => guest,
        Err(failure) => return Ends { dialing: Err(cut), accepting: Err(failure), guest: None },
    };
    let (welcome, accepting) = acceptor.welcome(guest.clone(), verdict);
    Ends { dialing: dialer.welcomed(&wire(3, welcome)), accepting, guest: Some(guest) }
}

fn straight(_: usize, message: Vec<u8>) -> Vec<u8> {
    message
}

#[test]
fn both_learn_who_the_other_is() {
    let ends = meet(papers("a"), papers("b"), Ok(()), straight);
    assert_eq!(ends.guest, Some(Guest { identity: identity("a"), core: 3 }));
    let (mut dialing, mut accepting) = (ends.dialing.unwrap(), ends.accepting.unwrap());
    assert_eq!((dialing.other, accepting.other), (identity("b"), identity("a")));
    // What one seals the other opens, and nobody else.
    let label = Label { lane: Lane::Log, kind: Kind::Batch };
    let there = [&b"there"[..], &dialing.sending.mark(label, b"there")].concat();
    let back = [&b"back"[..], &accepting.sending.mark(label, b"back")].concat();
    assert_eq!(dialing.receiving.open(label, &there), None, "not its own");
    assert_eq!(accepting.receiving.open(label, &there), Some(&b"there"[..]));
    let mut other = meet(papers("a"), papers("b"), Ok(()), straight);
    assert_eq!(other.dialing.as_mut().unwrap().receiving.open(label, &back), Some(&b"back"[..]));
}

#[test]
fn other_nonces_make_other_seals() {
    let label = Label { lane: Lane::Log, kind: Kind::Beat };
    let seals = [(1, 2), (1, 3), (3, 2)].map(|(dialing, accepting)| {
        let (mut dialer, hello) = Dialer::begin(papers("a"), Lane::Log, 0, [dialing; 32]);
        let (mut acceptor, challenge) =
            Acceptor::hello(papers("b"), &hello, [accepting; 32]).unwrap();
        let guest = acceptor.introduced(&dialer.challenged(&challenge).unwrap()).unwrap();
        let (welcome, _) = acceptor.welcome(guest, Ok(()));
        dialer.welcomed(&welcome).unwrap().sending.mark(label, b"")
    });
    assert!(seals[0] != seals[1] && seals[1] != seals[2] && seals[0] != seals[2]);
}

#[test]
fn another_secret_is_found_out_and_told_nothing() {
    let stranger = Papers { key: Key::new(&Secret::new(*b"another secret")), ..papers("a") };
    let ends = meet(stranger.clone(), papers("b"), Ok(()), straight);
    assert_eq!((ends.guest, ends.accepting.err()), (None, Some(Failure::Secret)));
    // An accepting side that does not know it cannot pass either: it takes any proof, and gives one.
    let (mut dialer, hello) = Dialer::begin(papers("a"), Lane::Log, 0, NONCES.0);
    let (_, challenge) = Acceptor::hello(stranger.clone(), &hello, NONCES.1).unwrap();
    let introduction = dialer.challenged(&challenge).unwrap();
    // It saw this proof and sends it back as its own.
    let mirrored = &introduction[introduction.len() - 32..];
    for proof in [&[0; 32][..], mirrored] {
        let (dialer, _) = redial(&challenge);
        let mut welcome = vec![0, 1, 0];
        welcome.extend_from_slice(&introduction[..introduction.len() - 32]);
        welcome.extend_from_slice(proof);
        assert_eq!(dialer.welcomed(&welcome).err(), Some(Failure::Secret));
    }
}

/// A dialing side that waits for its welcome, and what it said before.
fn redial(challenge: &[u8]) -> (Dialer, Vec<u8>) {
    let (mut dialer, _) = Dialer::begin(papers("a"), Lane::Log, 0, NONCES.0);
    let introduction = dialer.challenged(challenge).unwrap();
    (dialer, introduction)
}

#[test]
fn a_recorded_handshake_is_of_no_use() {
    let (mut dialer, hello) = Dialer::begin(papers("a"), Lane::Log, 0, NONCES.0);
    let (_, challenge) = Acceptor::hello(papers("b"), &hello, NONCES.1).unwrap();
    let recorded = dialer.challenged(&challenge).unwrap();
    let (mut acceptor, _) = Acceptor::hello(papers("b"), &hello, [9; 32]).unwrap();
    assert_eq!(acceptor.introduced(&recorded).err(), Some(Failure::Secret));
}

#[test]
fn no_bit_of_a_handshake_can_be_changed() {
    let lengths = std::cell::RefCell::new([0; 4]);
    let measure = |number: usize, message: Vec<u8>| {
        lengths.borrow_mut()[number] = message.len();
        message
    };
    assert!(meet(papers("a"), papers("b"), Ok(()), measure).dialing.is_ok());
    for (number, length) in lengths.into_inner().into_iter().enumerate() {
        for bit in 0..8 * length {
            let flip = |at: usize, mut message: Vec<u8>| {
                if at == number {
                    message[bit / 8] ^= 1 << (bit % 8);
                }
                message
            };
            let ends = meet(papers("a"), papers("b"), Ok(()), flip);
            assert!(ends.dialing.is_err(), "message {number}, bit {bit}");
            assert_eq!(ends.accepting.is_ok(), number == 3, "message {number}, bit {bit}");
        }
        for cut in 0..length {
            let shorten = |at: usize, mut message: Vec<u8>| {
                if at == number {
                    message.truncate(cut);
                }
                message
            };
            let ends = meet(papers("a"), papers("b"), Ok(()), shorten);
            assert!(ends.dialing.is_err(), "message {number} cut at {cut}");
        }
    }
}

#[test]
fn a_refusal_is_told_to_who_knows_the_secret() {
    for refusal in [Refusal::Cluster, Refusal::Stranger, Refusal::Older] {
        let ends = meet(papers("a"), papers("b"), Err(refusal), straight);
        assert_eq!(ends.dialing.err(), Some(Failure::Refused(refusal)));
        assert_eq!(ends.accepting.err(), Some(Failure::Refuses(refusal)));
        assert_eq!(Refusal::decode(&refusal.encode()), Some(refusal));
    }
    assert_eq!(Refusal::decode(&[]), None);
    assert_eq!(Refusal::decode(&[0]), None);
    assert_eq!(Refusal::decode(&[1, 1]), None);
}

#[test]
fn the_newest_common_version_is_spoken() {
    let meets = |dialing, accepting| {
        let of = |name, versions| Papers { versions, ..papers(name) };
        let ends = meet(of("a", dialing), of("b", accepting), Ok(()), straight);
        assert_eq!(ends.dialing.is_ok(), ends.accepting.is_ok());
        ends.dialing.err()
    };
    for (dialing, accepting) in [((1, 1), (1, 2)), ((1, 3), (3, 4)), ((2, 2), (1, 9))] {
        assert_eq!(meets(dialing, accepting), None);
    }
    for (dialing, accepting) in [((1, 1), (2, 2)), ((3, 4), (1, 2)), ((5, 4), (1, 9))] {
        assert_eq!(meets(dialing, accepting), Some(Failure::Refused(Refusal::Version)));
    }
}

#[test]
fn who_belongs_together() {
    let (own, other) = (identity("a"), identity("b"));
    let judged = |other: &Identity| judge(&own, other, None, true, None);
    assert_eq!(judged(&other), Ok(()));
    assert_eq!(judged(&Identity { cluster: 6, ..other.clone() }), Err(Refusal::Cluster));
    assert_eq!(judged(&Identity { cluster: 0, ..other.clone() }), Err(Refusal::Unfounded));
    assert_eq!(judged(&Identity { groups: 8, ..other.clone() }), Err(Refusal::Groups));
    assert_eq!(judged(&own), Err(Refusal::OwnName));
    let member = MemberId::new(NameTag(1), 7);
    assert_eq!(judged(&Identity { member, ..other.clone() }), Err(Refusal::Member));
    assert_eq!(judge(&own, &other, None, false, None), Err(Refusal::Stranger));
    assert_eq!(judge(&own, &other, Some(&name("b")), true, None), Ok(()));
    assert_eq!(judge(&own, &other, Some(&name("c")), true, None), Err(Refusal::OtherNode));
    // Before there is a cluster, only names count.
    let unfounded = Identity { cluster: 0, groups: 8, ..other.clone() };
    assert_eq!(judge_name(&own, &unfounded, None, true), Ok(()));
    assert_eq!(judge_name(&own, &unfounded, None, false), Err(Refusal::Stranger));
}

#[test]
fn an_earlier_life_of_a_node_is_not_taken_while_a_later_one_stands() {
    let own = identity("a");
    let old = identity("b");
    let restarted = Identity { started_at: 3_000, ..old.clone() };
    let member = MemberId::new(old.name.tag(), 3);
    let replaced = Identity { member, made_at: 1_500, started_at: 1_500, ..old.clone() };
    let lives = [old, restarted, replaced];
    for (n, one) in lives.iter().enumerate() {
        for (m, standing) in lives.iter().enumerate() {
            let expected = if n < m { Err(Refusal::Older) } else { Ok(()) };
            assert_eq!(judge(&own, one, None, true, Some(standing)), expected, "{n} {m}");
        }
    }
}

#[test]
fn failures_are_told_in_one_line() {
    let all = [
        Failure::Malformed,
        Failure::Secret,
        Failure::Refused(Refusal::Older),
        Failure::Refuses(Refusal::Cluster),
    ];
    let text: Vec<String> = all.iter().map(ToString::to_string).collect();
    expect![[r#"
        what it sent is no handshake
        it does not know this cluster's secret
        it refuses this node and says of it: a later start or a later data directory of that node is connected
        it belongs to another cluster"#]]
    .assert_eq(&text.join("\n"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// Whatever a stranger sends in place of any message, nothing comes of it.
    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0..4_usize) {
        let replace = |number: usize, message: Vec<u8>| {
            if number == at { bytes.clone() } else { message }
        };
        let ends = meet(papers("a"), papers("b"), Ok(()), replace);
        prop_assert!(ends.dialing.is_err());
        prop_assert!(ends.accepting.is_err() || at == 3);
    }
}
