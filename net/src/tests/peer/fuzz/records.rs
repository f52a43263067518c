//! TLS over memory, in pieces of any size, with and without damage on the way.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};

use super::super::name;
use super::super::tls::{Authority, load};
use super::{Dice, cases};
use crate::peer::records::{Came, Records};

/// One direction of a socket that takes as much as it likes.
struct Pipe {
    bytes: VecDeque<u8>,
    takes: usize,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.takes == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        let taken = bytes.len().min(self.takes);
        self.takes -= taken;
        self.bytes.extend(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One end, what it still has to say, and what it has heard.
struct End {
    records: Records,
    says: Vec<u8>,
    heard: Vec<u8>,
}

impl End {
    fn new(records: Records, dice: &mut Dice) -> End {
        let length = *dice.pick(&[0, 1, 300, 20_000, 400_000]);
        End { records, says: dice.bytes(length), heard: Vec::new() }
    }

    /// Says some, as far as the pipe takes it.
    fn say(&mut self, said: &mut usize, pipe: &mut Pipe, dice: &mut Dice) {
        pipe.takes = *dice.pick(&[0, 1, 1_000, 100_000]);
        if !self.records.is_handshaking() {
            *said += self.records.write(&self.says[*said..]);
        }
        while self.records.owes() && self.records.send(pipe).is_ok() {}
    }

    /// Hears some of what came, if it is to be trusted.
    fn hear(&mut self, pipe: &mut Pipe, dice: &mut Dice) -> Result<(), rustls::Error> {
        let mut piece = vec![0; *dice.pick(&[1, 100, 70_000])];
        loop {
            match self.records.read(&mut piece) {
                Came::Bytes(bytes) => self.heard.extend_from_slice(&piece[..bytes]),
                Came::End => return Ok(()),
                Came::Nothing => {
                    if self.records.digest()? {
                        continue;
                    }
                    let most = dice.below(40_000);
                    let room = self.records.room();
                    let bytes = room.len().min(most).min(pipe.bytes.len());
                    let came = pipe.bytes.drain(..bytes);
                    room.iter_mut().zip(came).for_each(|(to, byte)| *to = byte);
                    self.records.filled(bytes);
                    if bytes == 0 {
                        return Ok(());
                    }
                }
            }
        }
    }
}

#[test]
fn tls_brings_what_was_said_or_nothing_more() {
    let authority = Authority::new();
    let [a, b] = ["a", "b"].map(|own| load(own, authority.sign(own)).unwrap());
    cases(60, |dice| {
        let mut ends = [End::new(a.dialing(&name("b")), dice), End::new(b.accepting(), dice)];
        let mut pipes = [0, 1].map(|_| Pipe { bytes: VecDeque::new(), takes: 0 });
        let mut said = [0, 0];
        let damaged_at = if dice.once_in(2) { dice.below(200) } else { usize::MAX };
        let mut broken = false;
        let mut turn = 0;
        let is_over = |ends: &[End; 2]| {
            ends[0].heard.len() == ends[1].says.len() && ends[1].heard.len() == ends[0].says.len()
        };
        while !broken && !is_over(&ends) {
            turn += 1;
            assert!(turn < 100_000, "it comes to an end");
            let who = dice.below(2);
            ends[who].say(&mut said[who], &mut pipes[who], dice);
            let pipe = &mut pipes[1 - who];
            if damaged_at <= turn && !pipe.bytes.is_empty() {
                let at = dice.below(pipe.bytes.len());
                pipe.bytes[at] ^= 1 << dice.below(8);
            }
            broken = ends[who].hear(pipe, dice).is_err();
            if damaged_at < usize::MAX && damaged_at + 5_000 < turn {
                // A length that was made longer waits for what never comes.
                break;
            }
        }
        assert!(damaged_at < usize::MAX || !broken, "nothing breaks what is whole");
        for (speaker, hearer) in [(0, 1), (1, 0)] {
            assert!(ends[speaker].says.starts_with(&ends[hearer].heard));
        }
    });
}
