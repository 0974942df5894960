//! Whom a dialler believes to be the hub: the system's roots, a pinned certificate, or roots from
//! a file.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use bytes::Bytes;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider};
use rustls::{ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use thiserror::Error;

use crate::defaults;

/// SHA-256 of a certificate's DER, written `sha256:<base64 without padding>`.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct CertificatePin([u8; 32]);

impl CertificatePin {
    /// The pin of a certificate.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        let mut pin = [0; 32];
        let hash = digest::digest(&digest::SHA256, der);
        pin.iter_mut()
            .zip(hash.as_ref())
            .for_each(|(to, from)| *to = *from);
        Self(pin)
    }
}

impl fmt::Display for CertificatePin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", BASE64_STANDARD_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for CertificatePin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no [`CertificatePin`].
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("a certificate pin is `sha256:` and 43 base64 characters or 64 hexadecimal digits")]
pub struct BadPin;

impl FromStr for CertificatePin {
    type Err = BadPin;

    /// Takes base64 (with or without padding) and hexadecimal (with or without the colons that
    /// `openssl x509 -fingerprint` prints).
    fn from_str(text: &str) -> Result<Self, BadPin> {
        let text = text.strip_prefix("sha256:").ok_or(BadPin)?;
        // The longest form is 64 digits and 31 colons.
        if !text.is_ascii() || text.len() > 95 {
            return Err(BadPin);
        }
        let digits: String = text.chars().filter(|character| *character != ':').collect();
        let bytes = if digits.len() == 64 {
            unhex(&digits).ok_or(BadPin)?
        } else {
            BASE64_STANDARD_NO_PAD
                .decode(text.trim_end_matches('='))
                .map_err(|_| BadPin)?
        };
        bytes.try_into().map(Self).map_err(|_| BadPin)
    }
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let mut nibbles = digits.chars().map(|digit| digit.to_digit(16));
    let mut bytes = Vec::with_capacity(digits.len() / 2);
    while let Some(high) = nibbles.next() {
        bytes.push(u8::try_from(high? << 4 | nibbles.next()??).ok()?);
    }
    Some(bytes)
}

/// Whom to believe to be the hub.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Trust {
    /// Whoever shows one of these certificates and holds its key. Name and dates do not matter:
    /// the pin says which one is meant.
    Pinned(Vec<CertificatePin>),
    /// Whoever a root in this PEM text vouches for, by name.
    Pem(Bytes),
    /// Whoever a root in this PEM file vouches for, by name.
    Roots(PathBuf),
    /// Whoever one of the system's roots vouches for, by name.
    #[default]
    System,
}

/// Why the trusted roots cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrustError {
    /// There is no certificate in the file.
    #[error("{} has no certificate in it", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read as PEM certificates.
    #[error("cannot read certificates from {}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// A text that came without a file holds no certificates that can be used.
    #[error("cannot read the certificates that were given: {cause}")]
    Given {
        /// What is wrong with it.
        cause: String,
    },
    /// No pin was given.
    #[error("no certificate is pinned, so none would be believed")]
    NoPin,
    /// The system's roots cannot be loaded.
    #[error("cannot use the system's root certificates")]
    System(#[source] rustls::Error),
}

/// The verifier's verdicts that the dialler turns into errors of its own.
#[derive(Clone, Debug, Error)]
pub(crate) enum Verdict {
    #[error("the certificate {got} is not the pinned one")]
    PinMismatch { got: CertificatePin },
    #[error("the certificate {pin} is not trusted: {cause}")]
    Untrusted {
        pin: CertificatePin,
        cause: rustls::Error,
    },
}

impl Verdict {
    fn into_rustls(self) -> rustls::Error {
        rustls::Error::Other(OtherError(Arc::new(self)))
    }

    /// Finds the verdict in what a handshake failed with.
    pub(crate) fn of(error: &std::io::Error) -> Option<Self> {
        match error.get_ref()?.downcast_ref::<rustls::Error>()? {
            rustls::Error::Other(OtherError(other)) => other.downcast_ref::<Self>().cloned(),
            _ => None,
        }
    }
}

pub(crate) fn client_config(trust: &Trust) -> Result<ClientConfig, TrustError> {
    let provider = Arc::new(provider::default_provider());
    let inner: Arc<dyn ServerCertVerifier> = match trust {
        Trust::Pinned(pins) if pins.is_empty() => return Err(TrustError::NoPin),
        Trust::Pinned(pins) => Arc::new(PinVerifier {
            pins: pins.clone(),
            provider: Arc::clone(&provider),
        }),
        Trust::Pem(pem) => Arc::new(Explaining(from_text(pem, &provider)?)),
        Trust::Roots(path) => Arc::new(Explaining(from_file(path, &provider)?)),
        Trust::System => {
            let system = rustls_platform_verifier::Verifier::new(Arc::clone(&provider))
                .map_err(TrustError::System)?;
            Arc::new(Explaining(Arc::new(system)))
        }
    };
    config_with(provider, inner).map_err(TrustError::System)
}

/// A configuration that believes nobody and only learns the certificate's pin.
pub(crate) fn asking_config() -> Result<ClientConfig, TrustError> {
    let provider = Arc::new(provider::default_provider());
    let nobody = PinVerifier {
        pins: Vec::new(),
        provider: Arc::clone(&provider),
    };
    config_with(provider, Arc::new(nobody)).map_err(TrustError::System)
}

fn config_with(
    provider: Arc<CryptoProvider>,
    verifier: Arc<dyn ServerCertVerifier>,
) -> Result<ClientConfig, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn from_file(
    path: &Path,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, TrustError> {
    let refused = |cause: String| TrustError::File {
        path: path.to_owned(),
        cause,
    };
    let metadata = std::fs::metadata(path).map_err(|error| refused(error.to_string()))?;
    if !metadata.is_file() || metadata.len() > defaults::ROOTS_BYTES {
        return Err(refused("it is not a file of a reasonable size".to_owned()));
    }
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|error| refused(error.to_string()))?;
    match from_certificates(certificates, provider).map_err(refused)? {
        Some(verifier) => Ok(verifier),
        None => Err(TrustError::Empty {
            path: path.to_owned(),
        }),
    }
}

fn from_text(
    pem: &[u8],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, TrustError> {
    let refused = |cause: String| TrustError::Given { cause };
    from_certificates(CertificateDer::pem_slice_iter(pem), provider)
        .map_err(refused)?
        .ok_or_else(|| refused("there is no certificate in it".to_owned()))
}

/// The verifier for these roots; none when there are none.
fn from_certificates<E: fmt::Display>(
    certificates: impl Iterator<Item = Result<CertificateDer<'static>, E>>,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<WebPkiServerVerifier>>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() {
        return Ok(None);
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map(Some)
        .map_err(|error| error.to_string())
}

/// Believes exactly the pinned certificates. That the other side holds the key is still checked:
/// a certificate alone is public.
#[derive(Debug)]
struct PinVerifier {
    pins: Vec<CertificatePin>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let got = CertificatePin::of(end_entity);
        if self.pins.contains(&got) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(Verdict::PinMismatch { got }.into_rustls())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// A verifier whose refusal also says which certificate was refused, so that a person can compare
/// it with what the hub printed.
#[derive(Debug)]
struct Explaining<V: ?Sized>(Arc<V>);

impl<V: ServerCertVerifier + ?Sized> ServerCertVerifier for Explaining<V> {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.0
            .verify_server_cert(end_entity, intermediates, name, ocsp, now)
            .map_err(|cause| {
                Verdict::Untrusted {
                    pin: CertificatePin::of(end_entity),
                    cause,
                }
                .into_rustls()
            })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_pin_has_three_spellings() {
        let pin = CertificatePin::of(b"certificate");
        let hex: String = pin.0.iter().map(|byte| format!("{byte:02X}")).collect();
        let colons: Vec<_> = pin.0.iter().map(|byte| format!("{byte:02X}")).collect();
        for text in [
            pin.to_string(),
            format!("{pin}="),
            format!("sha256:{hex}"),
            format!("sha256:{}", hex.to_lowercase()),
            format!("sha256:{}", colons.join(":")),
        ] {
            assert_eq!(text.parse(), Ok(pin), "{text}");
        }
        assert_eq!(pin.to_string().len(), "sha256:".len() + 43);
    }

    #[test]
    fn what_is_no_pin_is_refused() {
        let good = CertificatePin::of(b"").to_string();
        let cut = &good[..good.len() - 1];
        let long = format!("sha256:{}", "a".repeat(1 << 16));
        for text in [
            "",
            "sha256:",
            "sha1:00",
            "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
            cut,
            &long,
            "sha256:é",
        ] {
            assert_eq!(text.parse::<CertificatePin>(), Err(BadPin), "{text:.40}");
        }
    }

    proptest! {
        #[test]
        fn reading_a_pin_never_panics(text in "\\PC{0,120}", tail in "[0-9a-fA-F:+/=]{0,100}") {
            let _ = text.parse::<CertificatePin>();
            if let Ok(pin) = format!("sha256:{tail}").parse::<CertificatePin>() {
                prop_assert_eq!(pin.to_string().parse(), Ok(pin));
            }
        }
    }

    #[test]
    fn files_of_roots_are_named_when_they_do_not_serve() {
        let missing = Trust::Roots("/nonexistent/ca.pem".into());
        let error = client_config(&missing).unwrap_err().to_string();
        assert!(
            error.starts_with("cannot read certificates from /nonexistent/ca.pem: "),
            "{error}"
        );
        for (pem, cause) in [
            ("", "there is no certificate in it"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n", "missing"),
            (
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                "",
            ),
        ] {
            let error = client_config(&Trust::Pem(pem.into()))
                .unwrap_err()
                .to_string();
            assert!(
                error.starts_with("cannot read the certificates that were given: "),
                "{error}"
            );
            assert!(error.contains(cause), "{error}");
        }
        let empty = Trust::Roots("/etc/hostname".into());
        let error = client_config(&empty).unwrap_err().to_string();
        assert!(error.contains("/etc/hostname"), "{error}");
        assert!(matches!(
            client_config(&Trust::Pinned(Vec::new())),
            Err(TrustError::NoPin)
        ));
    }
}
