use std::collections::{BTreeMap, BTreeSet};

use expect_test::expect;
use model::cluster::{MemberId, NameTag, NodeName};
use proptest::prelude::*;
use uring::Founding;

use super::{cluster, name};
use crate::peer::founding::{Heard, State, Step, decide, plan};

const PORTS: [u16; 4] = [1, 2, 3, 4];
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn member(node: &str, incarnation: u32) -> MemberId {
    MemberId::new(name(node).tag(), incarnation)
}

fn founding(cluster: u64) -> Founding {
    let members: BTreeSet<MemberId> = NAMES[..3].iter().map(|name| member(name, 1)).collect();
    Founding { cluster, groups: 8, factor: 3, members: members.into_iter().collect() }
}

/// What node `own` of a, b, c (which hold data) and d (which does not) does.
fn step(own: &str, heard: &[(&str, Heard)]) -> Step {
    let config = cluster(own, &PORTS, 3);
    let heard: BTreeMap<NodeName, Heard> =
        heard.iter().map(|(node, heard)| (name(node), heard.clone())).collect();
    decide(&config, member(own, 1), plan(&config, 8), &heard)
}

fn empty(node: &str) -> (&str, Heard) {
    let plan = plan(&cluster(node, &PORTS, 3), 8);
    (node, Ok((member(node, 1), State::Empty { plan })))
}

fn founded(node: &str, cluster: u64) -> (&str, Heard) {
    (node, Ok((member(node, 1), State::Founded(founding(cluster)))))
}

#[test]
fn the_lowest_founds_when_all_are_there() {
    assert_eq!(step("a", &[empty("b"), empty("c")]), Step::Found(founding(1).members));
    // A node that holds no data is neither needed nor a founder.
    assert_eq!(step("a", &[empty("b"), empty("c"), empty("d")]), Step::Found(founding(1).members));
    for own in ["b", "c", "d"] {
        let all = NAMES.iter().filter(|name| **name != own).map(|name| empty(name));
        assert!(matches!(step(own, &all.collect::<Vec<_>>()), Step::Wait(_)), "{own}");
    }
}

#[test]
fn whoever_hears_of_a_cluster_joins_it() {
    for own in NAMES {
        for teller in NAMES.iter().filter(|name| **name != own) {
            let others = NAMES.iter().filter(|name| *name != teller && **name != own);
            let mut heard: Vec<_> = others.map(|name| empty(name)).collect();
            heard.push(founded(teller, 1));
            assert_eq!(step(own, &heard), Step::Join(founding(1)), "{own} from {teller}");
            assert_eq!(
                step(own, &heard[2..]),
                Step::Join(founding(1)),
                "{own} from {teller} alone"
            );
        }
    }
}

#[test]
fn the_operator_is_told_whom_a_node_waits_for() {
    let unreachable = |node| (node, Err("connection refused".to_owned()));
    let mut stranger = empty("c");
    stranger.1 = Ok((member("c", 1), State::Empty { plan: 0 }));
    let cases = [
        step("a", &[]),
        step("a", &[empty("b"), unreachable("c")]),
        step("a", &[empty("b"), stranger]),
        step("b", &[empty("c")]),
        step("b", &[unreachable("a")]),
        step("b", &[empty("a")]),
        step("d", &[("a", Ok((member("a", 1), State::Empty { plan: 0 })))]),
        step("c", &[founded("a", 1), founded("b", 2)]),
    ];
    let text: Vec<String> = cases
        .into_iter()
        .map(|step| match step {
            Step::Wait(why) => why,
            other => panic!("{other:?}"),
        })
        .collect();
    expect![[r#"
        a cluster is founded when all are there; missing: b (not reached yet), c (not reached yet)
        a cluster is founded when all are there; missing: c (connection refused)
        a cluster is founded when all are there; missing: c (it is configured with other nodes that hold data, or other numbers of groups or copies)
        a is to found the cluster: it was not reached yet
        a is to found the cluster: connection refused
        a is to found the cluster
        a is to found the cluster: it is configured with other nodes that hold data, or other numbers of groups or copies
        a and b belong to different clusters"#]].assert_eq(&text.join("\n"));
}

#[test]
fn a_plan_is_what_would_be_founded() {
    let config = cluster("a", &PORTS, 3);
    assert_eq!(plan(&config, 8), plan(&cluster("b", &[9, 8, 7], 3), 8), "ports do not matter");
    let fewer = cluster("a", &PORTS, 2);
    let copies = model::config::ClusterConfig { factor: 2, ..config.clone() };
    let plans = [plan(&config, 8), plan(&config, 9), plan(&fewer, 8), plan(&copies, 8)];
    assert_eq!(plans.iter().collect::<BTreeSet<_>>().len(), 4);
}

/// A node in the simulation below: where it is with its directory.
#[derive(Debug, Clone)]
struct Node {
    incarnation: u32,
    founding: Option<Founding>,
    up: bool,
}

fn state(at: usize, node: &Node) -> Heard {
    if !node.up {
        return Err("down".to_owned());
    }
    let name = NAMES[at];
    let state = match &node.founding {
        Some(founding) => State::Founded(founding.clone()),
        None => State::Empty { plan: plan(&cluster(name, &PORTS, 3), 8) },
    };
    Ok((member(name, node.incarnation), state))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Nodes look at each other, decide on what they saw a while ago, stop, start, and lose their
    /// disks: as long as one node that holds data remembers, there is one cluster.
    #[test]
    fn one_cluster_begins(deeds in prop::collection::vec((0..5_u8, 0..4_usize), 1..120)) {
        let new = Node { incarnation: 1, founding: None, up: true };
        let mut nodes = vec![new; 4];
        let mut seen: Vec<BTreeMap<NodeName, Heard>> = vec![BTreeMap::new(); 4];
        let mut begun = 0;
        for (deed, at) in deeds {
            match deed {
                0 => {
                    for other in (0..4).filter(|other| *other != at) {
                        let heard = state(other, &nodes[other]);
                        seen[at].insert(name(NAMES[other]), heard);
                    }
                }
                1 | 2 if nodes[at].up && nodes[at].founding.is_none() => {
                    let config = cluster(NAMES[at], &PORTS, 3);
                    let own = member(NAMES[at], nodes[at].incarnation);
                    match decide(&config, own, plan(&config, 8), &seen[at]) {
                        Step::Found(members) => {
                            begun += 1;
                            let founding = Founding { cluster: begun, groups: 8, factor: 3, members };
                            prop_assert!(founding.is_sound());
                            nodes[at].founding = Some(founding);
                        }
                        Step::Join(founding) => nodes[at].founding = Some(founding),
                        Step::Wait(_) => {}
                    }
                }
                3 => nodes[at].up = !nodes[at].up,
                // A disk is lost, but not the last one that remembers; who was seen is forgotten.
                4 => {
                    let others = (0..3).filter(|other| *other != at);
                    let remembered = others.filter(|other| nodes[*other].founding.is_some()).count();
                    if begun == 0 || 0 < remembered {
                        nodes[at].incarnation += 1;
                        nodes[at].founding = None;
                        seen[at].clear();
                    }
                }
                _ => {}
            }
            let clusters: BTreeSet<u64> =
                nodes.iter().filter_map(|node| Some(node.founding.as_ref()?.cluster)).collect();
            prop_assert!(clusters.len() <= 1, "{nodes:?}");
        }
    }

    #[test]
    fn any_bytes_are_a_state_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        if let Some(state) = State::decode(&bytes) {
            prop_assert_eq!(state.encode(), bytes);
        }
    }

    #[test]
    fn states_come_back(cluster in 1..u64::MAX, groups in 1..65_537_u32, tags in prop::collection::btree_set(1..u32::MAX, 1..64)) {
        let members: Vec<MemberId> = tags.iter().map(|tag| MemberId::new(NameTag(*tag), 7)).collect();
        let factor = u32::try_from(members.len()).unwrap();
        let founding = Founding { cluster, groups, factor, members };
        for state in [State::Founded(founding), State::Empty { plan: cluster }] {
            let bytes = state.encode();
            prop_assert_eq!(State::decode(&bytes), Some(state));
            for length in 0..bytes.len() {
                prop_assert_eq!(State::decode(&bytes[..length]), None);
            }
        }
    }
}
