//! The files with which nodes speak TLS to each other.

use std::path::PathBuf;

use super::variables::*;
use super::{Problem, Reader};

/// Files in PEM with which a node shows other nodes who it is, and knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Its certificate, and those between it and one that the authorities signed.
    pub certificate: PathBuf,
    /// The certificate's key.
    pub key: PathBuf,
    /// The certificates of the authorities that sign nodes' certificates, and nobody else's.
    pub authorities: PathBuf,
}

impl Reader<'_> {
    /// All of the files, or none.
    pub(super) fn tls(&self) -> Result<Option<TlsFiles>, Problem> {
        let variables = [PEER_TLS_CERT, PEER_TLS_KEY, PEER_TLS_CA];
        let files = variables.map(|variable| self.get(&variable).map(PathBuf::from));
        if let [Some(certificate), Some(key), Some(authorities)] = files {
            return Ok(Some(TlsFiles { certificate, key, authorities }));
        }
        let Some(given) = variables.iter().find(|variable| self.get(variable).is_some()) else {
            return Ok(None);
        };
        let missing = variables.iter().filter(|variable| self.get(variable).is_none());
        let missing: Vec<&str> = missing.map(|variable| variable.name).collect();
        let text = format!("{} is set, but not {}", given.name, missing.join(" and "));
        Err(Problem::new(format!("{text}; TLS between nodes needs all three")))
    }
}
