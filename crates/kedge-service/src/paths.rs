//! Paths as a configuration names them: a file, or `credential:NAME` for what the service manager gives
//! (`LoadCredential=`, `systemd.exec(5)`), which is `$CREDENTIALS_DIRECTORY/NAME`.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use thiserror::Error;

/// A path of a configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfigPath(Kind);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Kind {
    Credential(String),
    File(PathBuf),
}

/// A text is no [`ConfigPath`].
#[derive(Debug, Error)]
#[error(
    "`{}` names no credential: after `{PREFIX}` stand 1 to {NAME_BYTES} letters, digits, `-`, `_` and `.`",
    text.escape_debug()
)]
pub struct BadCredential {
    text: String,
}

/// A credential is asked for, and there are none.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[error(
    "the credential `{name}` is asked for, and {FOLDER} is not set; in the unit of this service: \
     LoadCredential={name}:/PATH"
)]
pub struct NoCredentials {
    name: String,
}

impl ConfigPath {
    /// Where the file is.
    ///
    /// # Errors
    ///
    /// [`NoCredentials`] when it is a credential, and the service manager has given none.
    pub fn find(&self) -> Result<PathBuf, NoCredentials> {
        self.find_in(std::env::var_os(FOLDER))
    }

    fn find_in(&self, folder: Option<OsString>) -> Result<PathBuf, NoCredentials> {
        match (&self.0, folder.filter(|folder| !folder.is_empty())) {
            (Kind::File(path), _) => Ok(path.clone()),
            (Kind::Credential(name), Some(folder)) => Ok(Path::new(&folder).join(name)),
            (Kind::Credential(name), None) => Err(NoCredentials { name: name.clone() }),
        }
    }

    /// Whether it means the same file wherever this program runs.
    #[must_use]
    pub fn is_absolute(&self) -> bool {
        match &self.0 {
            Kind::Credential(_) => true,
            Kind::File(path) => path.is_absolute(),
        }
    }
}

/// Whether this is a credential that is not here, as [`Source::locate`](crate::Source::locate) leaves it.
#[must_use]
pub fn is_elsewhere(path: &Path) -> bool {
    path.to_str().is_some_and(|text| text.starts_with(PREFIX))
}

impl From<PathBuf> for ConfigPath {
    fn from(path: PathBuf) -> Self {
        Self(Kind::File(path))
    }
}

impl FromStr for ConfigPath {
    type Err = BadCredential;

    fn from_str(text: &str) -> Result<Self, BadCredential> {
        let Some(name) = text.strip_prefix(PREFIX) else {
            return Ok(Self(Kind::File(text.into())));
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let is_name = (1..=NAME_BYTES).contains(&name.len())
            && name.bytes().all(plain)
            && !matches!(name, "." | "..");
        match is_name {
            true => Ok(Self(Kind::Credential(name.to_owned()))),
            false => Err(BadCredential {
                text: text.to_owned(),
            }),
        }
    }
}

impl fmt::Display for ConfigPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Credential(name) => write!(f, "{PREFIX}{name}"),
            Kind::File(path) => path.display().fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for ConfigPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for ConfigPath {
    fn schema_name() -> Cow<'static, str> {
        "ConfigPath".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

/// What a credential begins with.
const PREFIX: &str = "credential:";

/// Where the service manager says the credentials' folder is.
const FOLDER: &str = "CREDENTIALS_DIRECTORY";

/// Bytes of a credential's name: it is a file's name (`NAME_MAX`).
const NAME_BYTES: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, folder: Option<&str>) -> Result<PathBuf, String> {
        let path: ConfigPath = text.parse().map_err(|e: BadCredential| e.to_string())?;
        assert_eq!(path.to_string(), text);
        path.find_in(folder.map(OsString::from))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_credential_is_a_file_of_the_service_managers_folder() {
        let folder = Some("/run/credentials/kedge-hub.service");
        assert_eq!(
            found("credential:tls-key", folder).unwrap(),
            Path::new("/run/credentials/kedge-hub.service/tls-key")
        );
        assert_eq!(
            found("/etc/kedge/key", folder).unwrap(),
            Path::new("/etc/kedge/key")
        );
        assert_eq!(
            found("/etc/kedge/key", None).unwrap(),
            Path::new("/etc/kedge/key")
        );
    }

    #[test]
    fn where_a_configuration_is_only_checked_a_credential_is_believed_to_be_there() {
        // This process was started by no service manager that gives credentials.
        let path: ConfigPath = "credential:tls-key".parse().unwrap();
        let source = crate::Source::from_text("hub.toml", "[tls]\nkey = \"credential:tls-key\"\n");
        let error = source.locate("tls.key", &path).unwrap_err().to_string();
        assert!(
            error.starts_with("hub.toml:2:1: `tls.key`: the credential `tls-key`"),
            "{error}"
        );
        let left = source.only_checked().locate("tls.key", &path).unwrap();
        assert!(is_elsewhere(&left) && !is_elsewhere(Path::new("/etc/kedge/key")));
    }

    #[test]
    fn without_credentials_the_variable_and_the_units_line_are_named() {
        for folder in [None, Some("")] {
            assert_eq!(
                found("credential:tls-key", folder).unwrap_err(),
                "the credential `tls-key` is asked for, and CREDENTIALS_DIRECTORY is not set; in the unit of this \
                 service: LoadCredential=tls-key:/PATH"
            );
        }
    }

    #[test]
    fn a_credentials_name_leads_nowhere_else() {
        let long = format!("credential:{}", "x".repeat(256));
        for text in [
            "credential:",
            "credential:.",
            "credential:..",
            "credential:../shadow",
            "credential:/etc/shadow",
            "credential:a b",
            "credential:a\n",
            "credential:é",
            &long,
        ] {
            let error = found(text, Some("/run")).unwrap_err();
            assert!(error.contains("names no credential"), "{error}");
        }
    }
}
