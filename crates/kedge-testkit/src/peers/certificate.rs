//! A certificate authority of one's own, for hubs with certificate files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

/// A certificate and its key in files, issued by an authority that nobody else uses.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The chain, PEM.
    pub certificate: PathBuf,
    /// The key, PEM, 0600.
    pub key: PathBuf,
    /// The authority, PEM.
    pub authority: PathBuf,
    /// The end-entity certificate, DER.
    pub der: Vec<u8>,
}

impl Certificate {
    /// Makes one for `127.0.0.1` and `localhost`, and writes it to `dir`, in place of an earlier one.
    ///
    /// # Errors
    ///
    /// When the files cannot be written.
    pub fn make(dir: &Path) -> Result<Self> {
        let authority_key = KeyPair::generate()?;
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_certificate = authority.self_signed(&authority_key)?;
        let issuer = Issuer::new(authority, authority_key);

        let key = KeyPair::generate()?;
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let certificate = CertificateParams::new(names)?.signed_by(&key, &issuer)?;

        let made = Self {
            certificate: dir.join("tls.crt"),
            key: dir.join("tls.key"),
            authority: dir.join("ca.crt"),
            der: certificate.der().to_vec(),
        };
        place(&made.key, key.serialize_pem().as_bytes())?;
        place(&made.certificate, certificate.pem().as_bytes())?;
        place(&made.authority, authority_certificate.pem().as_bytes())?;
        Ok(made)
    }

    /// The pin of the certificate in hex, as `sha256:…`.
    #[must_use]
    pub fn pin(&self) -> String {
        let hash = digest(&SHA256, &self.der);
        let hex: String = hash
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("sha256:{hex}")
    }
}

/// Replaces a file at once, as the programs that renew certificates do.
fn place(path: &Path, content: &[u8]) -> Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, content).with_context(|| format!("write {}", new.display()))?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600))?;
    fs::rename(&new, path).with_context(|| format!("replace {}", path.display()))
}
