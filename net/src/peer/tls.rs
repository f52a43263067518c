//! What a node shows others in TLS, and whom it takes: certificates of files that are looked at again
//! and again, so that they can be renewed while the node runs.
//!
//! Both ends show a certificate that the configured authorities signed and that holds the node's name
//! or its host. TLS 1.3 alone; no session is resumed, so every connection shows them anew.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use model::cluster::NodeName;
use model::config::{ClusterConfig, Host, TlsFiles};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, InconsistentKeys, RootCertStore,
    ServerConfig, ServerConnection, SignatureScheme, version,
};

use super::records::{Records, holds_any, of_certificate};

/// Between two looks at the files.
const LOOK: Duration = Duration::from_secs(10);
/// Most bytes of a file: certificates are a thousandth of it.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// What a node shows others, and whom it takes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Credentials(Arc<Kept>);

#[derive(Debug)]
struct Kept {
    files: TlsFiles,
    cluster: ClusterConfig,
    current: Mutex<Arc<Keyring>>,
}

impl Credentials {
    /// Reads the files of the configuration, if it names any, and looks at them every ten seconds as
    /// long as somebody holds them.
    ///
    /// # Errors
    /// Which file cannot be read, or why its certificate would be refused by others: a line for the
    /// operator.
    pub fn load(cluster: &ClusterConfig) -> Result<Option<Credentials>, String> {
        let Some(files) = cluster.tls.clone() else { return Ok(None) };
        let current = Keyring::new(&Contents::read(&files)?, &files, cluster)?;
        let (cluster, current) = (cluster.clone(), Mutex::new(Arc::new(current)));
        let kept = Arc::new(Kept { files, cluster, current });
        let weak = Arc::downgrade(&kept);
        let look = move || keep_looking(&weak);
        let started = thread::Builder::new().name("certificates".to_owned()).spawn(look);
        started.map_err(|error| format!("certificates cannot be looked at: {error}"))?;
        Ok(Some(Credentials(kept)))
    }

    /// The end of a connection that a node of this name was dialed for.
    pub(crate) fn dialing(&self, name: &NodeName) -> Records {
        let current = self.current();
        let names = names(&self.0.cluster, name);
        // It is neither sent nor compared: the verifier knows all names.
        let any = ServerName::try_from("node").expect("a name");
        let config = Arc::new(current.dialing(names));
        let connection = ClientConnection::new(config, any).expect("the settings are of one piece");
        Records::new(connection.into())
    }

    /// The end of a connection that somebody else dialed.
    pub(crate) fn accepting(&self) -> Records {
        let config = Arc::clone(&self.current().accepting);
        let connection = ServerConnection::new(config).expect("the settings are of one piece");
        Records::new(connection.into())
    }

    /// Whether the other end's certificate is a node's of this name.
    pub(crate) fn is_of(&self, records: &Records, name: &NodeName) -> bool {
        records.is_named(&names(&self.0.cluster, name))
    }

    fn current(&self) -> Arc<Keyring> {
        Arc::clone(&self.0.current.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Kept {
    /// Takes over what the files hold now, if that is something else; whether it is.
    fn renew(&self, contents: &Contents) -> Result<bool, String> {
        let known = self.current.lock().unwrap_or_else(PoisonError::into_inner).digest;
        if known == contents.digest() {
            return Ok(false);
        }
        let keyring = Keyring::new(contents, &self.files, &self.cluster)?;
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(keyring);
        Ok(true)
    }
}

#[cfg(test)]
impl Credentials {
    /// Looks at the files now.
    pub(crate) fn look(&self) -> Result<bool, String> {
        self.0.renew(&Contents::read(&self.0.files)?)
    }
}

fn keep_looking(kept: &Weak<Kept>) {
    let mut complaint = None;
    loop {
        thread::sleep(LOOK);
        let Some(kept) = kept.upgrade() else { return };
        match Contents::read(&kept.files).and_then(|contents| kept.renew(&contents)) {
            Ok(true) => tracing::info!("new certificates are taken for connections from now on"),
            Ok(false) => complaint = None,
            Err(why) => {
                // Somebody may be in the midst of writing them.
                if complaint.as_ref() != Some(&why) {
                    tracing::warn!("new certificates are not taken, the old ones stay: {why}");
                }
                complaint = Some(why);
            }
        }
    }
}

/// What the files hold.
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    authorities: Vec<u8>,
}

impl Contents {
    fn read(files: &TlsFiles) -> Result<Contents, String> {
        let read = |path: &Path| -> Result<Vec<u8>, String> {
            let mut bytes = Vec::new();
            let file = File::open(path);
            let read = file.and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
            match read {
                Ok(length) if (length as u64) < FILE_BYTES_MAX => Ok(bytes),
                Ok(_) => Err(format!("{}: it is too large for certificates", path.display())),
                Err(error) => Err(format!("{}: {error}", path.display())),
            }
        };
        Ok(Contents {
            certificate: read(&files.certificate)?,
            key: read(&files.key)?,
            authorities: read(&files.authorities)?,
        })
    }

    fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for part in [&self.certificate, &self.key, &self.authorities] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        *hasher.finalize().as_bytes()
    }
}

/// What follows from the files.
#[derive(Debug)]
struct Keyring {
    /// Of what it was made.
    digest: [u8; 32],
    /// For connections that others dial.
    accepting: Arc<ServerConfig>,
    /// For those that this node dials, but for the names of the other end.
    dialing: ClientConfig,
    roots: Arc<RootCertStore>,
}

impl Keyring {
    fn new(
        contents: &Contents,
        files: &TlsFiles,
        cluster: &ClusterConfig,
    ) -> Result<Keyring, String> {
        let certificates = certificates(&files.certificate, &contents.certificate)?;
        let authorities = authorities(&files.authorities, &contents.authorities)?;
        let named = |path: &Path| format!("{}: ", path.display());
        let key = PrivateKeyDer::from_pem_slice(&contents.key)
            .map_err(|error| format!("{}it holds no key: {error}", named(&files.key)))?;
        let provider = Arc::new(ring::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        check(&certificates, &authorities, algorithms, &names(cluster, &cluster.own)).map_err(
            |error| {
                let wrong = match &error {
                    Error::InvalidCertificate(wrong) => of_certificate(wrong),
                    other => format!("is not taken: {other}"),
                };
                format!("{}this node's certificate {wrong}", named(&files.certificate))
            },
        )?;
        let mismatched = |error: Error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                let certificate = files.certificate.display();
                format!("{}the key is not that of {certificate}", named(&files.key))
            }
            error => format!("{}the key cannot be used: {error}", named(&files.key)),
        };
        let accepting = accepting(&provider, &authorities, (certificates.clone(), key.clone_key()));
        let roots = Arc::clone(&authorities);
        let dialing = dialing(&provider, &roots, (certificates, key));
        Ok(Keyring {
            digest: contents.digest(),
            accepting: Arc::new(accepting.map_err(mismatched)?),
            dialing: dialing.map_err(mismatched)?,
            roots,
        })
    }

    /// The settings for dialing a node with these names.
    fn dialing(&self, names: Vec<ServerName<'static>>) -> ClientConfig {
        let algorithms = self.dialing.crypto_provider().signature_verification_algorithms;
        let verifier = Verifier { roots: Arc::clone(&self.roots), algorithms, names };
        let mut config = self.dialing.clone();
        config.dangerous().set_certificate_verifier(Arc::new(verifier));
        config
    }
}

/// A certificate chain and its key.
type Shown = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn accepting(
    provider: &Arc<CryptoProvider>,
    authorities: &Arc<RootCertStore>,
    (certificates, key): Shown,
) -> Result<ServerConfig, Error> {
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::clone(authorities), Arc::clone(provider));
    let verifier = verifier.build().map_err(|error| Error::General(error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates, key)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn dialing(
    provider: &Arc<CryptoProvider>,
    roots: &Arc<RootCertStore>,
    (certificates, key): Shown,
) -> Result<ClientConfig, Error> {
    let mut config = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&version::TLS13])?
        .with_root_certificates(Arc::clone(roots))
        .with_client_auth_cert(certificates, key)?;
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    Ok(config)
}

fn certificates(path: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) => Err(format!("{}: it holds no certificate in PEM", path.display())),
        Err(error) => Err(format!("{}: a certificate is broken: {error}", path.display())),
    }
}

fn authorities(path: &Path, bytes: &[u8]) -> Result<Arc<RootCertStore>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, bytes)? {
        let added = roots.add(certificate);
        added.map_err(|error| format!("{}: no authority: {error}", path.display()))?;
    }
    Ok(Arc::new(roots))
}

/// Whether others take what this node shows, at either end of a connection.
fn check(
    certificates: &[CertificateDer<'static>],
    roots: &Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
    names: &[ServerName<'static>],
) -> Result<(), Error> {
    let (own, between) = certificates.split_first().expect("there is one");
    let now = UnixTime::now();
    let parsed = ParsedCertificate::try_from(own)?;
    verify_server_cert_signed_by_trust_anchor(&parsed, roots, between, now, algorithms.all)?;
    holds_any(&parsed, names)?;
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), provider);
    let verifier = verifier.build().map_err(|error| Error::General(error.to_string()))?;
    verifier.verify_client_cert(own, between, now).map(drop)
}

/// What a node's certificate may hold: its name, where that can be a host's, and the host of its entry.
fn names(cluster: &ClusterConfig, name: &NodeName) -> Vec<ServerName<'static>> {
    let host = cluster.host_of(name).and_then(|host| match host {
        Host::Address(address) => Some(ServerName::IpAddress(address.into())),
        Host::Name(name) => ServerName::try_from(String::from(name)).ok(),
    });
    let named = ServerName::try_from(name.as_str().to_owned()).ok();
    named.into_iter().chain(host).collect()
}

/// Takes the other end for what it was dialed for, or not at all.
#[derive(Debug)]
struct Verifier {
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
    names: Vec<ServerName<'static>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let (roots, algorithms) = (&self.roots, self.algorithms.all);
        let certificate = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(
            &certificate,
            roots,
            intermediates,
            now,
            algorithms,
        )?;
        holds_any(&certificate, &self.names)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
