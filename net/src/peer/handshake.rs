//! How two nodes find out, before anything else is read, that both know the cluster's secret, that
//! they belong together and which one the other is. A pure machine for each side.
//!
//! ```text
//!  dialing                                         accepting
//!     | -- Hello: versions, core, nonce ------------> |
//!     | <------------------ Challenge: nonce -------- |
//!     | -- Introduction: who I am, proof -----------> |   proves all three messages
//!     | <- Welcome: who I am, yes or no, proof ------ |   proves all four
//! ```
//!
//! The dialing side proves itself first: a stranger who connects hears nothing but a random number.
//! A proof is of everything said so far, so none fits another connection or the other direction.
//! Numbers are little-endian; texts have their length in a u16 in front. This layout is the same in
//! every version of what follows.

use std::fmt;

use model::cluster::{MemberId, NodeName};

use super::frame::Lane;
use super::keys::{Key, Nonce, PROOF_BYTES, Seal, Side};

/// Versions of what follows the handshake that this program speaks, the first and the last.
pub(crate) const VERSIONS: (u16, u16) = (2, 2);

/// Who a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The cluster's number; 0 as long as it belongs to none.
    pub(crate) cluster: u64,
    /// The cluster's groups.
    pub(crate) groups: u32,
    /// Its name.
    pub(crate) name: NodeName,
    /// Its data directory's life.
    pub(crate) member: MemberId,
    /// When that began, in wall-clock microseconds. Tells a node that came with an empty disk from
    /// the one it replaces.
    pub(crate) made_at: u64,
    /// When its process began, in wall-clock microseconds.
    pub(crate) started_at: u64,
}

impl Identity {
    /// Whether this is a life of the same node that began after another.
    pub(crate) fn is_after(&self, other: &Identity) -> bool {
        (other.made_at, other.member, other.started_at)
            < (self.made_at, self.member, self.started_at)
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.cluster.to_le_bytes());
        out.extend_from_slice(&self.groups.to_le_bytes());
        out.extend_from_slice(&self.member.0.to_le_bytes());
        out.extend_from_slice(&self.made_at.to_le_bytes());
        out.extend_from_slice(&self.started_at.to_le_bytes());
        let name = self.name.as_str().as_bytes();
        let length =
            u16::try_from(name.len()).expect("names are bounded where they are configured");
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(name);
    }

    fn take(bytes: &mut Take<'_>) -> Option<Identity> {
        let (cluster, groups) = (bytes.u64()?, bytes.u32()?);
        let (member, made_at, started_at) = (MemberId(bytes.u64()?), bytes.u64()?, bytes.u64()?);
        let length = usize::from(bytes.u16()?);
        let name = NodeName::new(std::str::from_utf8(bytes.take(length)?).ok()?)?;
        Some(Identity { cluster, groups, name, member, made_at, started_at })
    }
}

/// Why a node that knows the secret is not taken. The number goes over the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Refusal {
    /// No version is spoken by both.
    Version = 1,
    /// It belongs to another cluster.
    Cluster = 2,
    /// Its cluster has another number of groups.
    Groups = 3,
    /// Its name is not configured.
    Stranger = 4,
    /// Its name is the other's own.
    OwnName = 5,
    /// Its member id does not follow from its name.
    Member = 6,
    /// It is not the node that was dialed.
    OtherNode = 7,
    /// A later life of the same node is known.
    Older = 8,
    /// It belongs to no cluster yet.
    Unfounded = 9,
    /// Its certificate is another's.
    Certificate = 10,
}

impl Refusal {
    const ALL: [Refusal; 10] = [
        Refusal::Version,
        Refusal::Cluster,
        Refusal::Groups,
        Refusal::Stranger,
        Refusal::OwnName,
        Refusal::Member,
        Refusal::OtherNode,
        Refusal::Older,
        Refusal::Unfounded,
        Refusal::Certificate,
    ];

    fn from_number(number: u8) -> Option<Refusal> {
        Refusal::ALL.into_iter().find(|refusal| *refusal as u8 == number)
    }

    /// The body of a frame that says so.
    pub(crate) fn encode(self) -> [u8; 1] {
        [self as u8]
    }

    /// Reads such a body.
    pub(crate) fn decode(body: &[u8]) -> Option<Refusal> {
        match body {
            [number] => Refusal::from_number(*number),
            _ => None,
        }
    }

    /// What is wrong with the one that is refused, for people.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Refusal::Version => "it speaks no version of the protocol that is spoken here",
            Refusal::Cluster => "it belongs to another cluster",
            Refusal::Groups => "its cluster has another number of groups",
            Refusal::Stranger => "its name is not among the configured nodes",
            Refusal::OwnName => "it has the name of the node it speaks to",
            Refusal::Member => "its member id does not belong to its name",
            Refusal::OtherNode => "another node answers at its address",
            Refusal::Older => "a later start or a later data directory of that node is connected",
            Refusal::Unfounded => "it does not belong to a cluster yet",
            Refusal::Certificate => "its certificate holds neither its name nor its host",
        }
    }
}

/// Why a handshake has come to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// What was sent is no message of a handshake.
    Malformed,
    /// The other does not know the secret.
    Secret,
    /// The other knows the secret and does not take this node.
    Refused(Refusal),
    /// This node does not take the other, which knows the secret.
    Refuses(Refusal),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Malformed => f.write_str("what it sent is no handshake"),
            Failure::Secret => f.write_str("it does not know this cluster's secret"),
            Failure::Refused(refusal) => {
                write!(f, "it refuses this node and says of it: {}", refusal.text())
            }
            Failure::Refuses(refusal) => f.write_str(refusal.text()),
        }
    }
}

/// What a node brings to every handshake.
#[derive(Debug, Clone)]
pub(crate) struct Papers {
    /// The key of the cluster's secret.
    pub(crate) key: Key,
    /// Who it is.
    pub(crate) own: Identity,
    /// Versions it speaks, the first and the last.
    pub(crate) versions: (u16, u16),
}

/// A connection both of whose ends are proven.
#[derive(Debug)]
pub(crate) struct Session {
    /// The node at the other end.
    pub(crate) other: Identity,
    /// For what this side sends.
    pub(crate) sending: Seal,
    /// For what the other side sends.
    pub(crate) receiving: Seal,
}

/// What an accepting side knows of a node that has proven itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Guest {
    /// Who it is.
    pub(crate) identity: Identity,
    /// The core of its node that dials.
    pub(crate) core: u32,
}

/// The dialing side.
#[derive(Debug)]
pub(crate) struct Dialer {
    papers: Papers,
    lane: Lane,
    hello: Vec<u8>,
    challenge: Vec<u8>,
    introduction: Vec<u8>,
}

impl Dialer {
    /// Begins; gives the body of the Hello.
    pub(crate) fn begin(papers: Papers, lane: Lane, core: u32, nonce: Nonce) -> (Dialer, Vec<u8>) {
        let mut hello = vec![lane.number()];
        hello.extend_from_slice(&papers.versions.0.to_le_bytes());
        hello.extend_from_slice(&papers.versions.1.to_le_bytes());
        hello.extend_from_slice(&core.to_le_bytes());
        hello.extend_from_slice(&nonce);
        let body = hello.clone();
        (Dialer { papers, lane, hello, challenge: Vec::new(), introduction: Vec::new() }, body)
    }

    /// Takes the body of the Challenge; gives that of the Introduction.
    ///
    /// # Errors
    /// [`Failure::Malformed`].
    pub(crate) fn challenged(&mut self, body: &[u8]) -> Result<Vec<u8>, Failure> {
        assert!(self.challenge.is_empty(), "a challenge comes once");
        if body.len() != size_of::<Nonce>() {
            return Err(Failure::Malformed);
        }
        self.challenge = body.to_vec();
        self.papers.own.put(&mut self.introduction);
        let said: [&[u8]; 3] = [&self.hello, &self.challenge, &self.introduction];
        let proof = self.papers.key.proof(Side::Dialing, &said);
        self.introduction.extend_from_slice(&proof);
        Ok(self.introduction.clone())
    }

    /// Takes the body of the Welcome. A session that the caller then refuses after all ends with a
    /// frame that says so.
    ///
    /// # Errors
    /// Any of [`Failure`].
    pub(crate) fn welcomed(self, body: &[u8]) -> Result<Session, Failure> {
        assert!(!self.introduction.is_empty(), "a welcome follows an introduction");
        let (welcome, proof) = body.split_last_chunk::<PROOF_BYTES>().ok_or(Failure::Malformed)?;
        let said: [&[u8]; 4] = [&self.hello, &self.challenge, &self.introduction, welcome];
        let key = &self.papers.key;
        if !key.proves(Side::Accepting, &said, proof) {
            return Err(Failure::Secret);
        }
        let mut rest = Take(welcome);
        let (verdict, version) = (rest.take(1), rest.u16());
        let (Some([verdict]), Some(version)) = (verdict, version) else {
            return Err(Failure::Malformed);
        };
        let other = Identity::take(&mut rest).ok_or(Failure::Malformed)?;
        match (verdict, Refusal::from_number(*verdict)) {
            (0, _) if rest.0.is_empty() => {}
            (_, Some(refusal)) if rest.0.is_empty() => return Err(Failure::Refused(refusal)),
            _ => return Err(Failure::Malformed),
        }
        let (first, last) = self.papers.versions;
        if !(first..=last).contains(&version) {
            return Err(Failure::Malformed);
        }
        assert!(self.lane.number() == self.hello[0], "the lane was said first");
        Ok(Session {
            other,
            sending: key.seal(Side::Dialing, &said),
            receiving: key.seal(Side::Accepting, &said),
        })
    }
}

/// The accepting side.
#[derive(Debug)]
pub(crate) struct Acceptor {
    papers: Papers,
    lane: Lane,
    /// The version both speak, if there is one.
    version: Option<u16>,
    core: u32,
    hello: Vec<u8>,
    challenge: Vec<u8>,
    introduction: Vec<u8>,
}

impl Acceptor {
    /// Takes the body of the Hello; gives that of the Challenge.
    ///
    /// # Errors
    /// [`Failure::Malformed`].
    pub(crate) fn hello(
        papers: Papers,
        body: &[u8],
        nonce: Nonce,
    ) -> Result<(Acceptor, Vec<u8>), Failure> {
        let mut rest = Take(body);
        let lane = rest.take(1).and_then(|lane| Lane::from_number(lane[0]));
        let (first, last, core) = (rest.u16(), rest.u16(), rest.u32());
        let (Some(lane), Some(first), Some(last), Some(core)) = (lane, first, last, core) else {
            return Err(Failure::Malformed);
        };
        if rest.0.len() != size_of::<Nonce>() {
            return Err(Failure::Malformed);
        }
        let newest = last.min(papers.versions.1);
        let common = first.max(papers.versions.0) <= newest;
        let acceptor = Acceptor {
            papers,
            lane,
            version: common.then_some(newest),
            core,
            hello: body.to_vec(),
            challenge: nonce.to_vec(),
            introduction: Vec::new(),
        };
        Ok((acceptor, nonce.to_vec()))
    }

    /// What the connection is for.
    pub(crate) fn lane(&self) -> Lane {
        self.lane
    }

    /// Takes the body of the Introduction; says who the other is, which knows the secret.
    ///
    /// # Errors
    /// [`Failure::Malformed`] or [`Failure::Secret`]: the other hears nothing more.
    pub(crate) fn introduced(&mut self, body: &[u8]) -> Result<Guest, Failure> {
        assert!(self.introduction.is_empty(), "an introduction comes once");
        let (said, proof) = body.split_last_chunk::<PROOF_BYTES>().ok_or(Failure::Malformed)?;
        let conversation: [&[u8]; 3] = [&self.hello, &self.challenge, said];
        if !self.papers.key.proves(Side::Dialing, &conversation, proof) {
            return Err(Failure::Secret);
        }
        let mut rest = Take(said);
        let identity = Identity::take(&mut rest).filter(|_| rest.0.is_empty());
        let identity = identity.ok_or(Failure::Malformed)?;
        self.introduction = body.to_vec();
        Ok(Guest { identity, core: self.core })
    }

    /// Takes the guest or not; gives the body of the Welcome, and the session if there is one.
    ///
    /// # Errors
    /// The refusal to log, beside the Welcome that tells it to the guest.
    pub(crate) fn welcome(
        self,
        guest: Guest,
        verdict: Result<(), Refusal>,
    ) -> (Vec<u8>, Result<Session, Failure>) {
        assert!(!self.introduction.is_empty(), "a welcome follows an introduction");
        let verdict = if self.version.is_none() { Err(Refusal::Version) } else { verdict };
        let mut welcome = vec![verdict.err().map_or(0, |refusal| refusal as u8)];
        welcome.extend_from_slice(&self.version.unwrap_or(0).to_le_bytes());
        self.papers.own.put(&mut welcome);
        let said: [&[u8]; 4] = [&self.hello, &self.challenge, &self.introduction, &welcome];
        let key = &self.papers.key;
        let proof = key.proof(Side::Accepting, &said);
        let session = verdict.map_err(Failure::Refuses).map(|()| Session {
            other: guest.identity,
            sending: key.seal(Side::Accepting, &said),
            receiving: key.seal(Side::Dialing, &said),
        });
        welcome.extend_from_slice(&proof);
        (welcome, session)
    }
}

/// Whether a node takes another on a lasting lane, from what both say of themselves. `dialed` is the
/// name the other was dialed under, `is_known` tells configured names, `standing` is the life of the
/// other's node that is connected now.
///
/// # Errors
/// What is wrong with the other.
pub(crate) fn judge(
    own: &Identity,
    other: &Identity,
    dialed: Option<&NodeName>,
    is_known: bool,
    standing: Option<&Identity>,
) -> Result<(), Refusal> {
    if other.cluster == 0 {
        return Err(Refusal::Unfounded);
    }
    if other.cluster != own.cluster {
        return Err(Refusal::Cluster);
    }
    if other.groups != own.groups {
        return Err(Refusal::Groups);
    }
    judge_name(own, other, dialed, is_known)?;
    match standing {
        Some(standing) if standing.is_after(other) => Err(Refusal::Older),
        Some(_) | None => Ok(()),
    }
}

/// The part of the judgement that also holds before there is a cluster.
///
/// # Errors
/// What is wrong with the other.
pub(crate) fn judge_name(
    own: &Identity,
    other: &Identity,
    dialed: Option<&NodeName>,
    is_known: bool,
) -> Result<(), Refusal> {
    if other.name == own.name {
        return Err(Refusal::OwnName);
    }
    if !is_known {
        return Err(Refusal::Stranger);
    }
    if other.member.tag() != other.name.tag() {
        return Err(Refusal::Member);
    }
    match dialed {
        Some(dialed) if *dialed != other.name => Err(Refusal::OtherNode),
        Some(_) | None => Ok(()),
    }
}

/// Takes fields from bytes; `None` once there are too few.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Take<'a>(pub(crate) &'a [u8]);

impl<'a> Take<'a> {
    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}
