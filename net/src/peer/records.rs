//! One connection's TLS over memory: bytes as they come from a socket go in, bytes for it come out.
//! Nothing here knows a socket, a file or what is said.
//!
//! ```text
//!   socket --> room(), filled() --> digest() --> read() --> frames
//!   socket <-- send() <------------------------- write() <-- frames
//! ```

use std::io::{self, ErrorKind, Read, Write};

use model::limits::PEER_TLS_BYTES_MAX;
use rustls::pki_types::ServerName;
use rustls::server::ParsedCertificate;
use rustls::{AlertDescription, CertificateError, Connection, Error, InvalidMessage};

/// Bytes taken from a socket at once: two records of the largest kind.
const ROOM_BYTES: usize = 2 * (16 * 1024 + 256);

/// What TLS has for the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Came {
    /// So many bytes, at least one.
    Bytes(usize),
    /// Nothing, until more comes from the socket.
    Nothing,
    /// The other end has said that nothing follows.
    End,
}

/// A connection's TLS.
///
/// Invariant: `start <= end <= cipher.len()`; `cipher[start, end)` has come and is not digested.
#[derive(Debug)]
pub(crate) struct Records {
    connection: Connection,
    cipher: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Records {
    /// Begins with a connection that has said nothing yet.
    pub(crate) fn new(mut connection: Connection) -> Records {
        // What waits to be sent is bounded; what was decrypted is by itself.
        connection.set_buffer_limit(Some(PEER_TLS_BYTES_MAX));
        Records { connection, cipher: vec![0; ROOM_BYTES].into(), start: 0, end: 0 }
    }

    /// Whether the two ends have not agreed yet.
    pub(crate) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Room for bytes of the socket; none before what came is digested.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        assert!(self.start == self.end, "what came is digested before more is read");
        (self.start, self.end) = (0, 0);
        &mut self.cipher
    }

    /// Notes that the first bytes of the room are filled.
    pub(crate) fn filled(&mut self, bytes: usize) {
        assert!(bytes <= self.cipher.len() - self.end, "no more than there is room for");
        self.end += bytes;
    }

    /// Takes in what came, until there is something to read; whether there was anything. To be called
    /// when there is nothing to read.
    ///
    /// # Errors
    /// If that is no TLS, or the other end or its certificate is not to be trusted. What is owed then
    /// tells it so.
    pub(crate) fn digest(&mut self) -> Result<bool, Error> {
        let before = self.start;
        while self.start < self.end {
            let mut rest = &self.cipher[self.start..self.end];
            match self.connection.read_tls(&mut rest) {
                // It takes no more once the other end has said that nothing follows.
                Ok(0) | Err(_) => return Err(Error::General("it goes on after its end".into())),
                Ok(bytes) => self.start += bytes,
            }
            if 0 < self.connection.process_new_packets()?.plaintext_bytes_to_read() {
                break;
            }
        }
        Ok(before < self.start)
    }

    /// Reads what the other end has said.
    pub(crate) fn read(&mut self, into: &mut [u8]) -> Came {
        assert!(!into.is_empty(), "there is room for what is read");
        match self.connection.reader().read(into) {
            Ok(0) => Came::End,
            Ok(bytes) => Came::Bytes(bytes),
            Err(error) => {
                assert!(error.kind() == ErrorKind::WouldBlock, "memory is read: {error}");
                Came::Nothing
            }
        }
    }

    /// Takes bytes to be sent, as many as there is room for.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> usize {
        assert!(!self.is_handshaking(), "nothing is said to a stranger");
        self.connection.writer().write(bytes).expect("memory can be written")
    }

    /// Whether something waits for the socket.
    pub(crate) fn owes(&self) -> bool {
        self.connection.wants_write()
    }

    /// Gives the socket some of what waits for it.
    ///
    /// # Errors
    /// Those of the socket, and [`ErrorKind::WriteZero`] if it takes nothing.
    pub(crate) fn send(&mut self, socket: &mut dyn Write) -> io::Result<()> {
        match self.connection.write_tls(socket)? {
            0 if self.owes() => Err(ErrorKind::WriteZero.into()),
            _ => Ok(()),
        }
    }

    /// Whether the other end's certificate holds one of these names.
    pub(crate) fn is_named(&self, names: &[ServerName<'_>]) -> bool {
        let certificates = self.connection.peer_certificates().unwrap_or_default();
        let certificate = certificates.first().and_then(|c| ParsedCertificate::try_from(c).ok());
        certificate.is_some_and(|certificate| holds_any(&certificate, names).is_ok())
    }
}

/// Whether a certificate holds one of the names of a node.
///
/// # Errors
/// That of the last name that it does not hold.
pub(crate) fn holds_any(
    certificate: &ParsedCertificate<'_>,
    names: &[ServerName<'_>],
) -> Result<(), Error> {
    let mut held = Err(CertificateError::NotValidForName.into());
    for name in names {
        held = rustls::client::verify_server_name(certificate, name);
        if held.is_ok() {
            break;
        }
    }
    held
}

/// What is wrong with the other end, for people.
pub(crate) fn text(error: &Error) -> String {
    match error {
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "it does not speak TLS, which is configured here".to_owned()
        }
        Error::NoCertificatesPresented => "it shows no certificate".to_owned(),
        Error::InvalidCertificate(wrong) => format!("its certificate {}", of_certificate(wrong)),
        Error::AlertReceived(alert) => format!("it refuses this node's TLS: {}", of_alert(*alert)),
        other => format!("TLS: {other}"),
    }
}

/// What is wrong with a certificate, for people.
pub(crate) fn of_certificate(wrong: &CertificateError) -> String {
    use CertificateError as E;
    match wrong {
        E::Expired | E::ExpiredContext { .. } => "has expired".to_owned(),
        E::NotValidYet | E::NotValidYetContext { .. } => "is not valid yet".to_owned(),
        // The second: an authority of the same name did.
        E::UnknownIssuer | E::BadSignature => {
            "is not signed by the configured authorities".to_owned()
        }
        E::NotValidForName | E::NotValidForNameContext { .. } => {
            "holds neither the node's name nor its host".to_owned()
        }
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => {
            "is not for both ends of a connection".to_owned()
        }
        other => format!("is not taken: {other}"),
    }
}

fn of_alert(alert: AlertDescription) -> String {
    use AlertDescription as A;
    match alert {
        A::CertificateRequired => "it was shown no certificate".to_owned(),
        A::UnknownCA | A::DecryptError => {
            "its authorities did not sign this node's certificate".to_owned()
        }
        A::CertificateExpired => "this node's certificate has expired".to_owned(),
        A::BadCertificate | A::CertificateUnknown => {
            "this node's certificate is not taken".to_owned()
        }
        other => format!("{other:?}"),
    }
}
