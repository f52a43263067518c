//! Makes histories that are true: calls with random times against one log, applied in the order of
//! the moments at which they take effect.

use crate::dice::Dice;
use crate::history::{Append, Attempt, History, Op, Outcome, Page, Read, Stored, Stream};
use crate::time::Time;

/// What a history is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// Clients that append with a producer and retry.
    pub(super) producers: u32,
    /// Clients that append once.
    pub(super) plain: u32,
    /// Clients that require a head.
    pub(super) careful: u32,
    /// Clients that read.
    pub(super) readers: u32,
    /// Calls of each client.
    pub(super) calls: u32,
    /// Subscribers.
    pub(super) tails: u32,
    /// The longest part of a call, in microseconds.
    pub(super) pace: u64,
}

impl Shape {
    pub(super) fn long() -> Shape {
        Shape { producers: 3, plain: 2, careful: 2, readers: 2, calls: 8, tails: 2, pace: 40 }
    }

    pub(super) fn short() -> Shape {
        Shape { producers: 1, plain: 1, careful: 1, readers: 1, calls: 2, tails: 0, pace: 30 }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Attempt { append: usize, attempt: usize },
    Read { page: bool, start: Time, end: Time },
}

struct Maker<'a> {
    dice: &'a mut Dice,
    history: History,
    /// Moments at which something takes effect.
    moments: Vec<(Time, What)>,
    pace: u64,
}

/// A history and the log it leads to.
pub(super) fn make(dice: &mut Dice, shape: Shape) -> (History, Vec<Stored>) {
    let history =
        History { create_asked: Some(Time(0)), created: Some(Time(1)), ..History::default() };
    let mut maker = Maker { dice, history, moments: Vec::new(), pace: shape.pace };
    for producer in 0..shape.producers {
        maker.producer(producer, shape.calls);
    }
    for _ in 0..shape.plain + shape.careful {
        maker.single(shape.calls);
    }
    for _ in 0..shape.readers {
        maker.reader(shape.calls);
    }
    let careful = shape.careful != 0;
    let log = maker.apply(careful);
    for _ in 0..shape.tails {
        maker.tail(&log);
    }
    (maker.history, log)
}

impl Maker<'_> {
    fn later(&mut self, at: Time) -> Time {
        at + self.dice.between(1, self.pace)
    }

    fn append(&mut self, producer: Option<(u32, u64)>) -> usize {
        let place = self.history.appends.len();
        let op = Op(u32::try_from(place).unwrap());
        let digest = u64::from(op.0) * 7919;
        let attempts = Vec::new();
        self.history.appends.push(Append { op, digest, expected: None, producer, attempts });
        place
    }

    /// One attempt, answered or not. Returns when its client goes on.
    fn attempt(&mut self, append: usize, at: Time, answered: bool) -> Time {
        let start = self.later(at);
        let effect = self.later(start);
        let end = self.later(effect);
        let attempts = &mut self.history.appends[append].attempts;
        attempts.push(Attempt { start, end, outcome: Outcome::Unknown });
        let attempt = attempts.len() - 1;
        let what = What::Attempt { append, attempt };
        if answered {
            // What it came to is known when it is applied; until then it counts as refused.
            self.history.appends[append].attempts[attempt].outcome = Outcome::Refused;
            self.moments.push((effect, what));
            return end;
        }
        match self.dice.below(3) {
            0 => {}
            1 => self.moments.push((effect, what)),
            _ => {
                let late = effect + self.dice.below(10 * self.pace);
                self.moments.push((late, what));
            }
        }
        end
    }

    fn producer(&mut self, producer: u32, calls: u32) {
        let mut at = Time(10);
        for count in 1..=u64::from(calls) {
            let append = self.append(Some((producer, count)));
            while self.dice.permille(300) {
                at = self.attempt(append, at, false);
            }
            at = self.attempt(append, at, true);
        }
    }

    fn single(&mut self, calls: u32) {
        let mut at = Time(10);
        for _ in 0..calls {
            let append = self.append(None);
            let answered = self.dice.permille(800);
            at = self.attempt(append, at, answered);
        }
    }

    fn reader(&mut self, calls: u32) {
        let mut at = Time(10);
        for _ in 0..calls {
            let start = self.later(at);
            let effect = self.later(start);
            let end = self.later(effect);
            let page = self.dice.permille(300);
            self.moments.push((effect, What::Read { page, start, end }));
            at = end;
        }
    }

    fn apply(&mut self, careful: bool) -> Vec<Stored> {
        self.moments.sort_unstable();
        let mut log: Vec<Stored> = Vec::new();
        for (at, what) in std::mem::take(&mut self.moments) {
            match what {
                What::Read { page, start, end } => self.read(page, (start, end), &log),
                What::Attempt { append, attempt } => {
                    let head = log.len() as u64;
                    self.choose_expected(append, head, careful);
                    let append = &mut self.history.appends[append];
                    let outcome = apply_one(append, at, &mut log);
                    let told = &mut append.attempts[attempt].outcome;
                    if *told != Outcome::Unknown {
                        *told = outcome;
                    }
                }
            }
        }
        log
    }

    /// Whoever has one attempt only may require a head, the right one or not.
    fn choose_expected(&mut self, append: usize, head: u64, careful: bool) {
        let guess = self.dice.below(2);
        let wants = careful && self.dice.permille(500);
        let append = &mut self.history.appends[append];
        if wants && append.producer.is_none() {
            append.expected = Some(head + guess);
        }
    }

    fn read(&mut self, page: bool, (start, end): (Time, Time), log: &[Stored]) {
        let read = Read { start, end, last_seq: Some(log.len() as u64) };
        if !page {
            return self.history.reads.push(read);
        }
        let cursor = self.dice.index(log.len() + 1);
        let wanted = self.dice.index(5) + 1;
        let events = log[cursor..].iter().take(wanted).copied().collect();
        self.history.pages.push(Page { read, cursor: cursor as u64, events });
    }

    fn tail(&mut self, log: &[Stored]) {
        let cursor = self.dice.index(log.len() + 1);
        let last = cursor + self.dice.index(log.len() - cursor + 1);
        let late = Time(1_000_000);
        let events = log[cursor..last].iter().map(|event| (late, *event)).collect();
        self.history.streams.push(Stream { cursor: cursor as u64, events });
    }
}

fn apply_one(append: &Append, at: Time, log: &mut Vec<Stored>) -> Outcome {
    let head = log.len() as u64;
    if append.expected.is_some_and(|expected| expected != head) {
        return Outcome::Conflict { current: head };
    }
    let known = log.iter().find(|event| event.op == Some(append.op));
    if let Some(event) = known {
        return Outcome::Acked { seq: event.seq, last_seq: head, deduped: true };
    }
    let seq = head + 1;
    log.push(Stored { seq, op: Some(append.op), digest: append.digest, at: at.0 });
    Outcome::Acked { seq, last_seq: seq, deduped: false }
}
