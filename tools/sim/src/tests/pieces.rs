//! The parts of the world, each by itself.

use crate::clock::Clock;
use crate::count::{Counters, Fault};
use crate::dice::{Concern, Dice};
use crate::history::{Op, digest, fragment, stored};
use crate::network::{Lane, Network, Weather};
use crate::queue::{Queue, SECOND, Time};

#[test]
fn streams_are_apart() {
    let draw = |concern| Dice::new(1, concern).bits();
    assert_eq!(draw(Concern::Network), draw(Concern::Network));
    assert_ne!(draw(Concern::Network), draw(Concern::Nemesis));
    assert_ne!(draw(Concern::Disk(0)), draw(Concern::Disk(1)));
    assert_ne!(draw(Concern::Disk(1)), draw(Concern::Client(1)));
}

#[test]
fn what_is_drawn_is_in_range() {
    let mut dice = Dice::new(3, Concern::Swarm);
    for _ in 0..10_000 {
        assert!((5..=9).contains(&dice.between(5, 9)));
        assert!((3..=1_000).contains(&dice.spread(3, 1_000)));
        assert!((1..=1).contains(&dice.spread(1, 1)));
        assert!(dice.index(3) < 3);
    }
}

#[test]
fn plans_happen_in_order() {
    let mut queue = Queue::new();
    for (at, event) in [(5, 'c'), (1, 'a'), (5, 'd'), (2, 'b'), (9, 'e')] {
        queue.plan(Time(at), event);
    }
    let mut seen = String::new();
    while let Some(event) = queue.next(Time(6)) {
        seen.push(event);
    }
    assert_eq!((seen.as_str(), queue.now(), queue.len()), ("abcd", Time(6), 1));
}

#[test]
fn clocks_drift_and_jump() {
    let mut clock = Clock::new(100_000);
    let start = clock.now(Time(0));
    let later = clock.now(Time(10 * SECOND));
    assert_eq!(later.monotonic - start.monotonic, 11 * SECOND);
    let lasts = clock.lasts(11 * SECOND);
    assert!((10 * SECOND..10 * SECOND + 2).contains(&lasts), "{lasts}");
    clock.jump(-3_600_000_000);
    let jumped = clock.now(Time(10 * SECOND));
    assert_eq!(jumped.monotonic, later.monotonic);
    assert_eq!(later.wall.0 - jumped.wall.0, 3_600 * SECOND);
    clock.set_drift(Time(10 * SECOND), -100_000);
    assert_eq!(clock.now(Time(10 * SECOND)), jumped);
    let end = clock.now(Time(20 * SECOND));
    assert_eq!(end.monotonic - jumped.monotonic, 9 * SECOND);
    clock.freeze(Time(20 * SECOND));
    assert_eq!(clock.now(Time(30 * SECOND)).wall, end.wall);
}

#[test]
fn an_ordered_wire_keeps_its_order() {
    let weather = Weather { delay_max: 50_000, ..Weather::calm() };
    let mut network = Network::new(2, weather, Dice::new(1, Concern::Network));
    let mut counters = Counters::new();
    let mut newest = Time(0);
    for now in 0..1_000 {
        let [first, again] = network.send((0, 1), Lane::Log, Time(now), &mut counters);
        assert_eq!(again, None);
        let at = first.expect("nothing is lost");
        assert!(newest <= at);
        newest = at;
    }
    assert_eq!(counters.faults_total(), 0);
}

#[test]
fn a_bad_wire_loses_and_doubles() {
    let weather =
        Weather { loss: 300, doubling: 500, straggling: 20, ordered: false, ..Weather::calm() };
    let mut network = Network::new(3, weather, Dice::new(1, Concern::Network));
    let mut counters = Counters::new();
    let mut arrived = 0;
    for now in 0..10_000 {
        let times = network.send((0, 2), Lane::Log, Time(now), &mut counters);
        arrived += times.iter().flatten().count();
    }
    assert!((10_000..11_000).contains(&arrived), "{arrived}");
    assert!((2_800..3_200).contains(&counters.faults(Fault::LostMessage)));
    assert!(1_000 < counters.faults(Fault::OvertakenMessage));
    network.set_cut(0, 2, true);
    assert!(network.has_cuts());
    assert_eq!(network.send((0, 2), Lane::Log, Time(20_000), &mut counters), [None; 2]);
    assert!(!network.is_cut(2, 0));
    network.mend();
    assert!(!network.has_cuts());
}

#[test]
fn an_event_names_its_append() {
    let text = fragment(Op(17), 5);
    let json = format!(r#"{{"seq":3,{text},"inserted_at":"2026-01-02T03:04:05.000006Z"}}"#);
    let event = stored(3, json.as_bytes());
    assert_eq!((event.op, event.digest), (Some(Op(17)), digest(&text)));
    assert_eq!(event.at, 260_102_030_405_000_006);
    assert_eq!(stored(4, json.as_bytes()).op, None);
    let broken = json.replace("pad", "bad");
    assert_ne!(stored(3, broken.as_bytes()).digest, event.digest);
}
