//! Batches of messages whose seals fit, from a node that is not in its right mind.

use model::limits::PEER_FRAME_BYTES_MAX;
use shard::peer::PeerMessage;
use uring::ClientMessage;

use super::super::{client_wire, wire};
use super::{Dice, cases};

/// An archive of some samples, with some damage.
fn bent<M>(samples: &[M], encode: impl Fn(&[M]) -> Vec<u8>, dice: &mut Dice) -> Vec<u8>
where
    M: Clone,
{
    let messages: Vec<M> = (0..=dice.below(4)).map(|_| dice.pick(samples).clone()).collect();
    let mut archive = encode(&messages);
    assert!(archive.len() <= PEER_FRAME_BYTES_MAX);
    for _ in 0..dice.below(4) {
        dice.damage(&mut archive);
    }
    archive
}

/// What comes of an archive holds little more than the archive: no part of it is read twice.
fn is_bounded(archive: &[u8], held: impl Iterator<Item = usize>) {
    let held: usize = held.sum();
    assert!(held <= 32 * (archive.len() + 32), "{held} bytes of {}", archive.len());
}

/// Some messages, as shards may hear them.
pub(super) fn of_shards(samples: &[PeerMessage], dice: &mut Dice) -> Vec<PeerMessage> {
    wire::decoded(&bent(samples, wire::encoded, dice)).unwrap_or_default()
}

/// The same about clients.
pub(super) fn of_clients(samples: &[ClientMessage], dice: &mut Dice) -> Vec<ClientMessage> {
    client_wire::decoded(&bent(samples, client_wire::encoded, dice)).unwrap_or_default()
}

#[test]
fn what_shards_hear_can_be_said() {
    let samples = wire::samples();
    cases(20_000, |dice| {
        let archive = bent(&samples, wire::encoded, dice);

        if let Ok(messages) = wire::decoded(&archive) {
            is_bounded(&archive, messages.iter().map(PeerMessage::bytes));
            assert_eq!(wire::decoded(&wire::encoded(&messages)), Ok(messages));
        }
    });
}

#[test]
fn what_clients_are_told_can_be_said() {
    let samples = client_wire::samples();
    cases(20_000, |dice| {
        let archive = bent(&samples, client_wire::encoded, dice);

        if let Ok(messages) = client_wire::decoded(&archive) {
            is_bounded(&archive, messages.iter().map(ClientMessage::bytes));
            assert_eq!(client_wire::decoded(&client_wire::encoded(&messages)), Ok(messages));
        }
    });
}
