//! Frames show one moment, however their making and the group's going on are interleaved.

use model::command::{Command, decode};
use model::ids::{GroupId, SessionId};
use model::limits::SNAPSHOT_PART_BYTES;
use proptest::prelude::*;
use rkyv::util::AlignedVec;

use crate::checkpoint::{put_session, take_sessions};
use crate::machine::Machine;

use super::world::{append, create};

const GROUPS: u32 = 2;

/// A machine, and what it is told.
struct Told {
    machine: Machine,
    scratch: AlignedVec,
}

impl Told {
    fn new() -> Told {
        Told { machine: Machine::new(true), scratch: AlignedVec::new() }
    }

    fn apply(&mut self, command: &Command, group: u32) {
        command.encode(&mut self.scratch);
        self.machine.apply(GroupId(group), decode(&self.scratch).unwrap());
    }

    fn create(&mut self, number: u32) {
        let command = create(&name(number)).into_command().unwrap();
        self.apply(&command, number % GROUPS);
    }

    fn append(&mut self, number: u32, producer: &str, bytes: usize) {
        let append = append(&name(number), Some((producer, 1)), &"x".repeat(bytes));
        self.apply(&Command::Append(append), number % GROUPS);
    }

    /// A group's sessions as they are, each as a frame, by id.
    fn frames_of(&self, group: u32) -> Vec<(SessionId, Vec<u8>)> {
        let sessions = self.machine.of_group(GroupId(group)).iter();
        let mut frames: Vec<_> = sessions
            .map(|(id, slot)| {
                let mut frame = Vec::new();
                put_session(&mut frame, id.as_str(), self.machine.sessions.get(*slot), &[]);
                (id.clone(), frame)
            })
            .collect();
        frames.sort();
        frames
    }
}

fn name(number: u32) -> String {
    format!("ses_{number}")
}

fn read(bytes: &[u8]) -> Vec<(SessionId, Vec<u8>)> {
    let mut sessions = Vec::new();
    assert_eq!(take_sessions(bytes, &mut sessions), Some(bytes.len()));
    let mut frames: Vec<_> = sessions
        .into_iter()
        .map(|(id, session)| {
            let mut frame = Vec::new();
            put_session(&mut frame, id.as_str(), &session, &[]);
            (id, frame)
        })
        .collect();
    frames.sort();
    frames
}

#[derive(Debug, Clone)]
enum Deed {
    Append(u32, usize),
    Create,
    Next,
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let deed = prop_oneof![
        4 => (0..40_u32, 0..3_usize).prop_map(|(session, size)| Deed::Append(session, size)),
        1 => Just(Deed::Create),
        1 => Just(Deed::Next),
    ];
    proptest::collection::vec(deed, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn frames_show_one_moment(before in 0..30_u32, names in 0..200_usize, deeds in deeds()) {
        let mut told = Told::new();
        for number in 0..before {
            told.create(number);
            for producer in 0..names {
                // Long names: some sessions fill a part alone.
                told.append(number, &format!("{producer:0500}"), 1);
            }
        }
        let wanted = told.frames_of(0);
        told.machine.begin_frames(7, GroupId(0));
        let (mut sent, mut made, mut is_over) = (Vec::new(), before, false);
        for (place, deed) in deeds.iter().enumerate() {
            match deed {
                Deed::Append(session, size) => told.append(*session, &format!("{place}"), *size),
                Deed::Create => {
                    told.create(made);
                    made += 1;
                }
                Deed::Next => {
                    let next = told.machine.next_frames(7).unwrap();
                    is_over |= next.is_empty();
                    prop_assert!(!is_over || next.is_empty(), "nothing follows the end");
                    sent.extend(next);
                }
            }
        }
        loop {
            let next = told.machine.next_frames(7).unwrap();
            if next.is_empty() {
                break;
            }
            sent.extend(next);
        }
        prop_assert_eq!(read(&sent), wanted);
    }
}

#[test]
fn frames_come_in_slices() {
    let mut told = Told::new();
    for number in 0..10_000 {
        told.create(number);
    }
    let whole: usize = told.frames_of(0).iter().map(|(_, frame)| frame.len()).sum();
    told.machine.begin_frames(1, GroupId(0));
    let mut parts = Vec::new();
    while let Some(part) = told.machine.next_frames(1).filter(|part| !part.is_empty()) {
        assert!(part.len() < 2 * SNAPSHOT_PART_BYTES);
        parts.push(part.len());
    }
    assert_eq!(parts.iter().sum::<usize>(), whole);
    assert_eq!(parts.len(), whole.div_ceil(SNAPSHOT_PART_BYTES));
}

#[test]
fn frames_are_read_however_they_are_cut() {
    let mut told = Told::new();
    for number in 0..5 {
        told.create(number);
        told.append(number, "producer", 3);
    }
    told.machine.begin_frames(1, GroupId(1));
    let whole = told.machine.next_frames(1).unwrap();
    for cut in 0..=whole.len() {
        let mut sessions = Vec::new();
        let taken = take_sessions(&whole[..cut], &mut sessions).unwrap();
        assert!(taken <= cut);
        let rest = take_sessions(&whole[taken..], &mut sessions);
        assert_eq!((rest, sessions.len()), (Some(whole.len() - taken), 2));
    }
    for place in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[place] ^= 1;
        let taken = take_sessions(&damaged, &mut Vec::new());
        assert!(taken.is_none_or(|taken| taken < whole.len()), "a flip at {place} is noticed");
    }
}
