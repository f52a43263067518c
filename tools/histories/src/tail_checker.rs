//! Whether each subscription received the events behind its cursor: all of them, once, in order, and
//! none before it was wanted.

use std::collections::BTreeMap;

use crate::history::{History, Op, Stored, Stream};
use crate::time::Time;
use crate::verdict::{Findings, Kind};

/// Checks what the subscribers of one session received against its log.
pub fn check(history: &History, log: &[Stored]) -> Findings {
    let first =
        |append: &crate::history::Append| append.attempts.iter().map(|attempt| attempt.start).min();
    let wanted: BTreeMap<Op, Time> =
        history.appends.iter().filter_map(|append| Some((append.op, first(append)?))).collect();
    let mut findings = Findings::default();
    for stream in &history.streams {
        check_stream(stream, log, &wanted, &mut findings);
    }
    findings
}

fn check_stream(
    stream: &Stream,
    log: &[Stored],
    wanted: &BTreeMap<Op, Time>,
    findings: &mut Findings,
) {
    let mut cursor = stream.cursor;
    for (at, event) in &stream.events {
        let seq = event.seq;
        if seq <= cursor {
            findings.add(Kind::TailRepeat, format!("seq {seq} behind {cursor} at {at}"));
        } else if cursor + 1 < seq {
            findings.add(Kind::TailGap, format!("seq {seq} behind {cursor} at {at}"));
        }
        cursor = seq;
        let place = usize::try_from(seq).ok().and_then(|seq| seq.checked_sub(1));
        match place.and_then(|place| log.get(place)) {
            None => findings.add(Kind::TailPhantom, format!("seq {seq} at {at}")),
            Some(there) if there != event => {
                findings.add(Kind::TailDiffers, format!("seq {seq} at {at}"));
            }
            Some(_) => {}
        }
        if event.op.and_then(|op| wanted.get(&op)).is_some_and(|wanted| *at < *wanted) {
            findings.add(Kind::TailEarly, format!("seq {seq} at {at}"));
        }
    }
}
