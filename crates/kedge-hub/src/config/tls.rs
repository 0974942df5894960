//! `[tls]`: the certificate of the HTTPS port.

use std::path::Path;

use kedge_service::{ConfigError, ConfigPath, Source};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::tls::Tls;

/// The certificate of the HTTPS port.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct TlsConfig {
    /// Where the certificate comes from. Unless given: `files` when `certificate` is set, else `self-signed`.
    pub mode: Option<TlsMode>,
    /// PEM file with the certificate and its chain; `credential:NAME` is a credential of the service manager. Read again
    /// when it changes.
    pub certificate: Option<ConfigPath>,
    /// PEM file with the private key, or a credential.
    pub key: Option<ConfigPath>,
    /// Names in the self-signed certificate. Clients pin its fingerprint and do not need them.
    pub names: Vec<String>,
}

/// Where the certificate comes from.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// `certificate` and `key`.
    Files,
    /// Plain HTTP: a proxy in front terminates TLS.
    Off,
    /// Made by the hub, kept in `state-dir`, pinned by clients.
    SelfSigned,
}

impl TlsConfig {
    pub(super) fn settle(self, source: &Source, state_dir: &Path) -> Result<Tls, ConfigError> {
        let mode = self
            .mode
            .unwrap_or(if self.certificate.is_some() || self.key.is_some() {
                TlsMode::Files
            } else {
                TlsMode::SelfSigned
            });
        let unused = |key: &str, mode: &str| {
            source.refuse(
                key,
                format!("has no meaning with `mode = \"{mode}\"`; remove one of the two"),
            )
        };
        match (mode, self.certificate, self.key) {
            (TlsMode::Files, Some(certificate), Some(key)) => Ok(Tls::Files {
                certificate: source.locate("tls.certificate", &certificate)?,
                key: source.locate("tls.key", &key)?,
            }),
            (TlsMode::Files, None, _) => {
                Err(source.refuse("tls.certificate", "is needed beside `key`"))
            }
            (TlsMode::Files, _, None) => {
                Err(source.refuse("tls.key", "is needed beside `certificate`"))
            }
            (TlsMode::Off, Some(_), _) => Err(unused("tls.certificate", "off")),
            (TlsMode::Off, _, Some(_)) => Err(unused("tls.key", "off")),
            (TlsMode::Off, None, None) => Ok(Tls::Off),
            (TlsMode::SelfSigned, Some(_), _) => Err(unused("tls.certificate", "self-signed")),
            (TlsMode::SelfSigned, _, Some(_)) => Err(unused("tls.key", "self-signed")),
            (TlsMode::SelfSigned, None, None) => {
                let mut names = self.names;
                if names.is_empty() {
                    names = vec![
                        "localhost".to_owned(),
                        "127.0.0.1".to_owned(),
                        "::1".to_owned(),
                    ];
                }
                Ok(Tls::SelfSigned {
                    directory: state_dir.to_owned(),
                    names,
                })
            }
        }
    }
}
