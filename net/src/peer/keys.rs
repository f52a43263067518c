//! What follows from a cluster's secret: proofs that a node knows it, and seals on what a proven node
//! sends. All are keyed BLAKE3, each with a word in front that says what it is for, so that none can be
//! taken for another.
//!
//! Nothing is encrypted here: who can read the network between nodes can read events, unless the nodes
//! speak TLS. Who can write to it can end connections, and nothing else.

use std::fmt;

use blake3::{Hash, Hasher};
use model::config::Secret;

use super::frame::Label;

/// Bytes of a seal.
pub(crate) const SEAL_BYTES: usize = 16;
/// Bytes of a proof.
pub(crate) const PROOF_BYTES: usize = 32;
/// Tells keys made of the secret here from any made of it elsewhere.
const PURPOSE: &str = "starcite 2026-11 peer protocol, proof of the cluster's secret";

/// A number that is used once.
pub(crate) type Nonce = [u8; 32];

/// Which side of a connection something comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The one that connected.
    Dialing,
    /// The one that was connected to.
    Accepting,
}

/// The key that knowing the secret means having.
#[derive(Clone)]
pub(crate) struct Key([u8; 32]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Key {
    /// The key of a secret.
    pub(crate) fn new(secret: &Secret) -> Key {
        Key(blake3::derive_key(PURPOSE, secret.expose()))
    }

    /// What only somebody who has the key can say of a conversation.
    pub(crate) fn proof(&self, side: Side, conversation: &[&[u8]]) -> [u8; PROOF_BYTES] {
        let word: &[u8] = match side {
            Side::Dialing => b"proof of the dialing side",
            Side::Accepting => b"proof of the accepting side",
        };
        *self.digest(word, conversation).as_bytes()
    }

    /// Whether a proof is the one. Takes the same time wherever it differs.
    pub(crate) fn proves(&self, side: Side, conversation: &[&[u8]], proof: &[u8]) -> bool {
        let proof = <[u8; PROOF_BYTES]>::try_from(proof);
        proof.is_ok_and(|proof| {
            Hash::from_bytes(self.proof(side, conversation)) == Hash::from_bytes(proof)
        })
    }

    /// The seal on what one side sends in the connection that this conversation began.
    pub(crate) fn seal(&self, side: Side, conversation: &[&[u8]]) -> Seal {
        let word: &[u8] = match side {
            Side::Dialing => b"seal of the dialing side",
            Side::Accepting => b"seal of the accepting side",
        };
        Seal { key: *self.digest(word, conversation).as_bytes(), frames: 0 }
    }

    /// Each part with its length in front, so that no two conversations are the same bytes.
    fn digest(&self, word: &[u8], parts: &[&[u8]]) -> Hash {
        let mut hasher = Hasher::new_keyed(&self.0);
        for part in [word].iter().chain(parts) {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        hasher.finalize()
    }
}

/// Marks the frames of one side of one connection, in their order.
pub(crate) struct Seal {
    key: [u8; 32],
    /// Frames marked so far: one that is left out, doubled or moved fits no more.
    frames: u64,
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seal(.., {})", self.frames)
    }
}

impl Seal {
    /// The mark of the next frame.
    pub(crate) fn mark(&mut self, label: Label, content: &[u8]) -> [u8; SEAL_BYTES] {
        let mut hasher = Hasher::new_keyed(&self.key);
        hasher.update(&self.frames.to_le_bytes());
        hasher.update(&[label.lane.number(), label.kind as u8]);
        hasher.update(content);
        self.frames += 1;
        let mut mark = [0; SEAL_BYTES];
        mark.copy_from_slice(&hasher.finalize().as_bytes()[..SEAL_BYTES]);
        mark
    }

    /// Takes the mark off the next frame's body; `None` if it is not the one.
    pub(crate) fn open<'a>(&mut self, label: Label, body: &'a [u8]) -> Option<&'a [u8]> {
        let (content, mark) = body.split_last_chunk::<SEAL_BYTES>()?;
        let expected = self.mark(label, content);
        // The same time wherever they differ.
        let differing = expected.iter().zip(mark).fold(0, |sum, (a, b)| sum | (a ^ b));
        (differing == 0).then_some(content)
    }
}
