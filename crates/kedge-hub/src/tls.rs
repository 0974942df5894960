//! The certificate of the HTTPS port: from files, looked at again when they change, or self-signed and pinned.
//!
//! * `files`: what an ACME client or a Secret volume writes. A pair that does not fit (half replaced, unreadable) is
//!   refused with a warning and the old one stays.
//! * `self-signed`: made once, kept in the state directory, so that its pin survives restarts. Its fingerprint is
//!   what `kedge-agent join` and `kedge login` pin.
//! * `off`: plain HTTP behind a proxy that terminates TLS.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, RwLock},
    time::SystemTime,
};

use kedge_tunnel::CertificatePin;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use zeroize::Zeroizing;

use crate::{
    defaults,
    sync::{reading, writing},
};

/// Where the certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    /// PEM files, the chain and its key.
    Files {
        /// The certificate chain, the server's own first.
        certificate: PathBuf,
        /// Its private key.
        key: PathBuf,
    },
    /// None: plain HTTP, behind a proxy that terminates TLS.
    Off,
    /// Made once and kept in this directory.
    SelfSigned {
        /// The state directory.
        directory: PathBuf,
        /// Names to put into it, for clients that look at names although they pin.
        names: Vec<String>,
    },
}

/// Why there is no usable certificate.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file holds no certificate, or no key.
    #[error("{path}: no {what} in PEM form", path = .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// The certificate could not be made.
    #[error("make a self-signed certificate")]
    Generate(#[source] rcgen::Error),
    /// Key and certificate do not belong together, or the key's kind is not supported.
    #[error("{certificate} and {key} do not make a pair: {why}", certificate = .certificate.display(), key = .key.display())]
    Pair {
        /// The chain.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
        /// What rustls says.
        why: String,
    },
    /// The protocol versions cannot be set up: a build without cryptography.
    #[error("set up TLS")]
    Protocol(#[source] rustls::Error),
    /// A file could not be read.
    #[error("read {path}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A file is larger than any certificate.
    #[error("{path} is larger than {limit} bytes", path = .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// A file could not be written.
    #[error("write {path}", path = .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

/// The certificate in use; clones share it.
#[derive(Clone)]
pub struct Certificate {
    shared: Arc<Shared>,
}

struct Shared {
    certificate: PathBuf,
    key: PathBuf,
    self_signed: bool,
    current: RwLock<Current>,
}

struct Current {
    certified: Arc<CertifiedKey>,
    pin: CertificatePin,
    stamp: Stamp,
}

/// What tells that a file is another one: Kubernetes swaps symbolic links, ACME clients rename.
type Stamp = [Option<(SystemTime, u64)>; 2];

impl Certificate {
    /// Reads or makes the certificate; `None` when TLS is off.
    ///
    /// # Errors
    /// A file that is missing, unreadable, or no matching pair.
    pub fn load(tls: &Tls) -> Result<Option<Self>, TlsError> {
        let (certificate, key, self_signed) = match tls {
            Tls::Off => return Ok(None),
            Tls::Files { certificate, key } => (certificate.clone(), key.clone(), false),
            Tls::SelfSigned { directory, names } => {
                let (certificate, key) = (directory.join("tls.crt"), directory.join("tls.key"));
                if !(certificate.exists() && key.exists()) {
                    generate(&certificate, &key, names)?;
                }
                (certificate, key, true)
            }
        };
        let current = read_pair(&certificate, &key)?;
        Ok(Some(Self {
            shared: Arc::new(Shared {
                certificate,
                key,
                self_signed,
                current: RwLock::new(current),
            }),
        }))
    }

    /// The fingerprint of the certificate in use.
    #[must_use]
    pub fn pin(&self) -> CertificatePin {
        reading(&self.shared.current).pin
    }

    /// Whether clients can only trust it by its pin.
    #[must_use]
    pub fn is_self_signed(&self) -> bool {
        self.shared.self_signed
    }

    /// Looks whether the files changed and takes the new pair; the old one stays when they do not fit.
    ///
    /// # Errors
    /// As [`Certificate::load`]; the certificate in use is untouched.
    pub fn reload(&self) -> Result<Reload, TlsError> {
        let stamp = stamp(&self.shared.certificate, &self.shared.key);
        if stamp == reading(&self.shared.current).stamp {
            return Ok(Reload::Unchanged);
        }
        let fresh = read_pair(&self.shared.certificate, &self.shared.key)?;
        let mut current = writing(&self.shared.current);
        let same = fresh.pin == current.pin;
        *current = fresh;
        Ok(if same {
            Reload::Unchanged
        } else {
            Reload::Replaced
        })
    }

    /// The rustls configuration that serves it: HTTP/1.1 only, because WebSockets need nothing else.
    ///
    /// # Errors
    /// [`TlsError::Protocol`] in a build whose provider lacks the protocol versions.
    pub fn server_config(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let resolver = Arc::new(Resolver {
            shared: Arc::clone(&self.shared),
        });
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(TlsError::Protocol)?
                .with_no_client_auth()
                .with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Whoever comes back comes back to a hub that was started again, or from a process that was: nobody has a
        // ticket that holds. Making two for each handshake costs a fleet that reconnects more than it ever gets back.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Arc::new(config))
    }
}

/// What a look at the files found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// Another certificate, now in use.
    Replaced,
    /// The one in use.
    Unchanged,
}

struct Resolver {
    shared: Arc<Shared>,
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&reading(&self.shared.current).certified))
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Resolver").finish_non_exhaustive()
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Certificate")
            .field("certificate", &self.shared.certificate)
            .field("pin", &self.pin())
            .finish_non_exhaustive()
    }
}

fn read_pair(certificate: &Path, key: &Path) -> Result<Current, TlsError> {
    // The stamp is taken first: a change while reading is then seen as one next time.
    let stamp = stamp(certificate, key);
    let chain_pem = read_limited(certificate)?;
    let key_pem = read_limited(key)?;
    let chain = CertificateDer::pem_slice_iter(&chain_pem)
        .collect::<Result<Vec<_>, _>>()
        .ok()
        .filter(|chain| !chain.is_empty())
        .ok_or_else(|| TlsError::Empty {
            path: certificate.to_owned(),
            what: "certificate",
        })?;
    let private = PrivateKeyDer::from_pem_slice(&key_pem).map_err(|_| TlsError::Empty {
        path: key.to_owned(),
        what: "private key",
    })?;
    let pin = chain
        .first()
        .map(|certificate| CertificatePin::of(certificate))
        .ok_or_else(|| TlsError::Empty {
            path: certificate.to_owned(),
            what: "certificate",
        })?;
    let pair = |why: rustls::Error| TlsError::Pair {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        why: why.to_string(),
    };
    let certified =
        CertifiedKey::from_der(chain, private, &aws_lc_rs::default_provider()).map_err(pair)?;
    Ok(Current {
        certified: Arc::new(certified),
        pin,
        stamp,
    })
}

fn read_limited(path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    use std::io::Read as _;
    let failed = |source| TlsError::Read {
        path: path.to_owned(),
        source,
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(defaults::CERTIFICATE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > defaults::CERTIFICATE_BYTES {
        return Err(TlsError::TooLarge {
            path: path.to_owned(),
            limit: defaults::CERTIFICATE_BYTES,
        });
    }
    Ok(bytes)
}

fn stamp(certificate: &Path, key: &Path) -> Stamp {
    [certificate, key].map(|path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    })
}

fn generate(certificate: &Path, key: &Path, names: &[String]) -> Result<(), TlsError> {
    let pair =
        rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(TlsError::Generate)?;
    let mut parameters =
        rcgen::CertificateParams::new(names.to_vec()).map_err(TlsError::Generate)?;
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters
        .distinguished_name
        .push(rcgen::DnType::CommonName, "kedge hub");
    let now = jiff::Timestamp::now()
        .to_zoned(jiff::tz::TimeZone::UTC)
        .date();
    // A clock that is a day behind on one side must not break what is pinned.
    parameters.not_before = rcgen::date_time_ymd(i32::from(now.year()) - 1, 1, 1);
    parameters.not_after =
        rcgen::date_time_ymd(i32::from(now.year()) + defaults::SELF_SIGNED_YEARS, 1, 1);
    parameters.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let made = parameters.self_signed(&pair).map_err(TlsError::Generate)?;
    let secret = Zeroizing::new(pair.serialize_pem());
    // The key first: a certificate without its key would look complete to nobody, a key without certificate neither,
    // and both are made again together.
    write(key, 0o600, secret.as_bytes())?;
    write(certificate, 0o644, made.pem().as_bytes())
}

fn write(path: &Path, mode: u32, bytes: &[u8]) -> Result<(), TlsError> {
    kedge_service::files::write_whole(path, mode, bytes).map_err(|error| TlsError::Write {
        path: path.to_owned(),
        source: std::io::Error::other(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn self_signed(directory: &Path) -> Tls {
        Tls::SelfSigned {
            directory: directory.to_owned(),
            names: vec!["localhost".to_owned()],
        }
    }

    #[test]
    fn a_self_signed_certificate_keeps_its_pin_over_restarts() {
        let directory = tempfile::tempdir().unwrap();
        let first = Certificate::load(&self_signed(directory.path()))
            .unwrap()
            .unwrap();
        let second = Certificate::load(&self_signed(directory.path()))
            .unwrap()
            .unwrap();
        assert_eq!(first.pin(), second.pin());
        assert!(
            first.pin().to_string().starts_with("sha256:"),
            "{}",
            first.pin()
        );
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(directory.path().join("tls.key"))
                .unwrap()
                .permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
        first.server_config().unwrap();
    }

    #[test]
    fn nobody_is_given_a_ticket_that_will_not_hold() {
        let directory = tempfile::tempdir().unwrap();
        let tls = self_signed(directory.path());
        let config = Certificate::load(&tls)
            .unwrap()
            .unwrap()
            .server_config()
            .unwrap();
        assert_eq!(config.send_tls13_tickets, 0);
        assert!(!config.session_storage.can_cache());
    }

    #[test]
    fn replaced_files_are_taken_and_a_pair_that_does_not_fit_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        let fresh = tempfile::tempdir().unwrap();
        Certificate::load(&self_signed(directory.path())).unwrap();
        Certificate::load(&self_signed(other.path())).unwrap();
        let newest = Certificate::load(&self_signed(fresh.path()))
            .unwrap()
            .unwrap()
            .pin();
        let files = Tls::Files {
            certificate: directory.path().join("tls.crt"),
            key: directory.path().join("tls.key"),
        };
        let certificate = Certificate::load(&files).unwrap().unwrap();
        let before = certificate.pin();
        assert_eq!(certificate.reload().unwrap(), Reload::Unchanged);

        std::fs::copy(
            other.path().join("tls.key"),
            directory.path().join("tls.key"),
        )
        .unwrap();
        let error = certificate.reload().unwrap_err();
        assert!(matches!(error, TlsError::Pair { .. }), "{error}");
        assert_eq!(certificate.pin(), before, "the old pair stays");

        std::fs::copy(
            fresh.path().join("tls.key"),
            directory.path().join("tls.key"),
        )
        .unwrap();
        std::fs::copy(
            fresh.path().join("tls.crt"),
            directory.path().join("tls.crt"),
        )
        .unwrap();
        assert_eq!(certificate.reload().unwrap(), Reload::Replaced);
        assert_eq!(certificate.pin(), newest);
    }

    #[test]
    fn every_bad_file_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("empty"), "").unwrap();
        std::fs::write(at("huge"), vec![b'a'; 2 << 20]).unwrap();
        for (certificate, wanted) in [
            ("absent", "absent"),
            ("empty", "empty: no certificate in PEM form"),
            ("huge", "huge is larger than"),
        ] {
            let error = Certificate::load(&Tls::Files {
                certificate: at(certificate),
                key: at("empty"),
            })
            .unwrap_err();
            assert!(error.to_string().contains(wanted), "{error}");
        }
    }

    #[test]
    fn off_has_no_certificate() {
        assert!(Certificate::load(&Tls::Off).unwrap().is_none());
    }
}
