//! Many clients at once: item 19 of the checklist.

use std::collections::BTreeSet;
use std::sync::{Arc, Barrier};
use std::thread;

use serde_json::json;

use crate::server::{Server, alone};
use crate::session::{loose, numbered, unique};

const WRITERS: u64 = 16;

/// Runs `work` on as many threads as there are writers, all at once.
fn together<T: Send>(work: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let start = Arc::new(Barrier::new(usize::try_from(WRITERS).expect("few")));
    thread::scope(|scope| {
        let hands: Vec<_> = (0..WRITERS)
            .map(|hand| {
                let (start, work) = (Arc::clone(&start), &work);
                scope.spawn(move || {
                    start.wait();
                    work(hand)
                })
            })
            .collect();
        hands.into_iter().map(|hand| hand.join().expect("a hand does its work")).collect()
    })
}

#[test]
fn b19_concurrent_appends_to_one_session_are_contiguous() {
    let _alone = alone();
    let server = Server::start();
    let id = server.api().session("contiguous");
    let each = 100;
    let seqs = together(|hand| {
        let api = server.api();
        let append = |n| api.append(&id, &numbered(&format!("w{hand}"), n)).expect(201);
        (1..=each).map(|n| append(n)["seq"].as_u64().expect("a seq")).collect::<Vec<u64>>()
    });
    for own in &seqs {
        assert!(own.is_sorted_by(|a, b| a < b), "a writer sees its own order");
    }
    let all: BTreeSet<u64> = seqs.iter().flatten().copied().collect();
    assert_eq!(all, (1..=WRITERS * each).collect());
    let events = server.api().events(&id);
    for (place, event) in events.iter().enumerate() {
        assert_eq!(event["seq"].as_u64(), u64::try_from(place + 1).ok());
    }
    for (hand, own) in seqs.iter().enumerate() {
        for (n, seq) in own.iter().enumerate() {
            let event = &events[usize::try_from(*seq).expect("small") - 1];
            assert_eq!(event["producer_id"], format!("w{hand}"));
            assert_eq!(event["payload"]["n"], json!(n + 1));
        }
    }
}

#[test]
fn b19_many_sessions_grow_beside_each_other() {
    let _alone = alone();
    let server = Server::start();
    let each = 20;
    let ids = together(|_| {
        let api = server.api();
        let ids: Vec<String> = (0..10).map(|_| api.session("beside")).collect();
        for n in 1..=each {
            for id in &ids {
                assert_eq!(api.append(id, &numbered("p", n)).expect(201)["seq"], json!(n));
            }
        }
        ids
    });
    let api = server.api();
    for id in ids.iter().flatten() {
        assert_eq!(api.row(id)["id"], json!(id));
        let events = api.events(id);
        assert_eq!(events.len(), usize::try_from(each).expect("small"));
    }
}

#[test]
fn b19_a_session_is_made_once() {
    let _alone = alone();
    let server = Server::shared();
    for _ in 0..20 {
        let id = unique("made-once");
        let statuses = together(|hand| {
            let body = json!({"id": id, "title": format!("by {hand}")});
            let response = server.api().post("/v1/sessions", &body);
            if response.status != 201 {
                response.refused(409, "session_exists");
            }
            (response.status, hand)
        });
        let winners: Vec<_> = statuses.iter().filter(|(status, _)| *status == 201).collect();
        assert_eq!(winners.len(), 1, "{statuses:?}");
        assert_eq!(server.api().row(&id)["title"], format!("by {}", winners[0].1));
    }
}

#[test]
fn b19_expected_seq_admits_one_winner_per_seq() {
    let _alone = alone();
    let server = Server::shared();
    let id = server.api().session("one-winner");
    let rounds = 100;
    let wins = together(|hand| {
        let api = server.api();
        let mut wins = Vec::new();
        for head in 0..rounds {
            let mut body = numbered(&format!("w{hand}-{head}"), 1);
            body["expected_seq"] = json!(head);
            let response = api.append(&id, &body);
            if response.status == 201 {
                assert_eq!(response.expect(201)["seq"], json!(head + 1));
                wins.push(head + 1);
            } else {
                response.refused(409, "expected_seq_conflict");
            }
            // An unguarded writer would break the rounds: all wait until somebody has won.
            let next = format!("/v1/sessions/{id}/events?cursor={head}&limit=1");
            while api.get(&next).expect(200)["events"] == json!([]) {
                thread::yield_now();
            }
        }
        wins
    });
    let mut all: Vec<usize> = wins.into_iter().flatten().collect();
    all.sort_unstable();
    assert_eq!(all, (1..=rounds).collect::<Vec<usize>>(), "each seq is won once");
}

#[test]
fn b19_retries_that_race_each_other_append_once() {
    let _alone = alone();
    let server = Server::shared();
    let id = server.api().session("race");
    for n in 1..=50 {
        let replies = together(|_| server.api().append(&id, &numbered("p", n)).expect(201));
        let fresh = replies.iter().filter(|reply| reply["deduped"] == json!(false)).count();
        assert_eq!(fresh, 1, "{replies:?}");
        for reply in replies {
            assert_eq!(reply["seq"], json!(n));
        }
    }
    assert_eq!(server.api().events(&id).len(), 50);
}

#[test]
fn b19_a_version_admits_one_winner() {
    let _alone = alone();
    let server = Server::shared();
    let id = server.api().session("cas");
    let target = format!("/v1/sessions/{id}");
    for version in 1..=20 {
        let statuses = together(|hand| {
            let body = json!({"title": format!("{hand}"), "expected_version": version});
            server.api().patch(&target, &body).status
        });
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
        assert_eq!(server.api().row(&id)["version"], json!(version + 1));
    }
    server.api().append(&id, &loose("still here")).expect(201);
}
