//! TOML configuration whose errors name file, line, column, key and what was probably meant.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use thiserror::Error;
use toml::de::{DeTable, DeValue};

use crate::defaults;
use crate::files::{self, FileError};
#[cfg(doc)]
use crate::paths;
use crate::paths::ConfigPath;

/// A place in a configuration file, both counted from 1.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

/// Why a configuration cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot load the configuration")]
    Read(#[source] FileError),
    /// A key has a value it cannot have, or one is missing.
    #[error("{}{}: {message}", place(path, *at), naming(key.as_deref()))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Where in it, when a place can be named.
        at: Option<Position>,
        /// The key with its tables, dotted.
        key: Option<String>,
        /// What is wrong.
        message: String,
    },
    /// The text is not TOML.
    #[error("{}: {message}", place(path, *at))]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where in it.
        at: Option<Position>,
        /// What the parser met and expected.
        message: String,
    },
    /// There is no such key.
    #[error("{}: unknown key `{}`{}", place(path, *at), key.escape_debug(), meant(nearest.as_deref()))]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// Where in it.
        at: Option<Position>,
        /// The key with its tables, dotted.
        key: String,
        /// The known key it resembles most.
        nearest: Option<String>,
    },
}

impl ConfigError {
    /// The file's place the error points at.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        match self {
            Self::Invalid { at, .. } | Self::Syntax { at, .. } | Self::UnknownKey { at, .. } => *at,
            Self::Read(_) => None,
        }
    }
}

/// A configuration's text and where it came from: kept until the values are checked, so that every
/// later complaint can still name the line.
#[derive(Clone, Debug)]
pub struct Source {
    path: PathBuf,
    text: String,
    checked: bool,
}

impl Source {
    /// Reads the file at `path`.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Read`] when it is missing, not text, or unreasonably long.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = files::read_text(path, defaults::CONFIG_BYTES).map_err(ConfigError::Read)?;
        Ok(Self {
            path: path.to_owned(),
            text,
            checked: false,
        })
    }

    /// The same, only checked here and used elsewhere: where the credentials that it names are.
    #[must_use]
    pub fn only_checked(self) -> Self {
        Self {
            checked: true,
            ..self
        }
    }

    /// Takes text from elsewhere; `path` is only what errors call it.
    #[must_use]
    pub fn from_text(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            text: text.into(),
            checked: false,
        }
    }

    /// The file's name as errors print it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the values. `T` should carry `#[serde(deny_unknown_fields)]` throughout.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Syntax`], [`ConfigError::UnknownKey`] or [`ConfigError::Invalid`], each with
    /// its place.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        toml::from_str(&self.text).map_err(|error| self.explain(&error))
    }

    /// The error for a value that parsed and still cannot be, such as two keys that exclude each
    /// other. `key` is dotted, with the place in a list in brackets (`tls.certificate`,
    /// `people[1].subject`), and need not be in the file: the place is as near as the file has it.
    #[must_use]
    pub fn refuse(&self, key: &str, message: impl Into<String>) -> ConfigError {
        ConfigError::Invalid {
            path: self.path.clone(),
            at: self.find(key),
            key: Some(key.to_owned()),
            message: message.into(),
        }
    }

    /// The file that `key` names. Where the configuration is only checked, a credential that is not here stays what it
    /// is called ([`paths::is_elsewhere`]).
    ///
    /// # Errors
    ///
    /// [`ConfigError::Invalid`] about a credential that this process was not given.
    pub fn locate(&self, key: &str, path: &ConfigPath) -> Result<PathBuf, ConfigError> {
        match path.find() {
            Err(_) if self.checked => Ok(path.to_string().into()),
            found => found.map_err(|error| self.refuse(key, error.to_string())),
        }
    }

    fn explain(&self, error: &toml::de::Error) -> ConfigError {
        let path = self.path.clone();
        let offset = error.span().map(|span| span.start);
        let at = offset.map(|offset| self.position(offset));
        let message = one_line(error.message());
        let Ok(root) = DeTable::parse(&self.text) else {
            return ConfigError::Syntax { path, at, message };
        };
        let key = offset.and_then(|offset| key_at(root.get_ref(), offset));
        match unknown_field(error.message()) {
            Some((name, known)) => {
                let nearest = nearest(name, &known).map(str::to_owned);
                // The place names the offending key itself, with the tables around it.
                let key = key
                    .filter(|key| ends_with_name(key, name))
                    .unwrap_or_else(|| name.to_owned());
                ConfigError::UnknownKey {
                    path,
                    at,
                    key,
                    nearest,
                }
            }
            None => ConfigError::Invalid {
                path,
                at,
                key,
                message,
            },
        }
    }

    fn position(&self, offset: usize) -> Position {
        let before = self.text.get(..offset).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Position {
            line: before.matches('\n').count() + 1,
            column: before
                .get(line_start..)
                .map_or(0, |line| line.chars().count())
                + 1,
        }
    }

    fn find(&self, key: &str) -> Option<Position> {
        let root = DeTable::parse(&self.text).ok()?;
        let mut table = root.get_ref();
        let mut offset = None;
        for part in key.split('.') {
            let (part, index) = indexed(part);
            let Some((name, value)) = table.iter().find(|(name, _)| name.get_ref() == part) else {
                break;
            };
            offset = Some(name.span().start);
            let mut value = value.get_ref();
            if let (DeValue::Array(items), Some(index)) = (value, index) {
                let Some(item) = items.get(index) else {
                    break;
                };
                offset = Some(item.span().start);
                value = item.get_ref();
            }
            match value {
                DeValue::Table(inner) => table = inner,
                _ => break,
            }
        }
        offset.map(|offset| self.position(offset))
    }
}

/// Reads and parses the file at `path` in one step.
///
/// # Errors
///
/// As [`Source::read`] and [`Source::parse`].
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    Source::read(path)?.parse()
}

/// The known name that resembles `name` most, when one does.
#[must_use]
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|&candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(similarity, _)| *similarity >= defaults::SUGGESTION_SIMILARITY)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, candidate)| candidate)
}

/// Takes apart serde's "unknown field `a`, expected one of `b`, `c`" (or "there are no fields").
fn unknown_field(message: &str) -> Option<(&str, Vec<&str>)> {
    let rest = message.strip_prefix("unknown field `")?;
    let (name, rest) = rest
        .split_once("`, expected ")
        .or_else(|| rest.split_once("`, there are no fields"))?;
    let known = rest.split('`').skip(1).step_by(2).collect();
    Some((name, known))
}

/// The dotted name of the innermost key whose name or value covers `offset`.
fn key_at(table: &DeTable<'_>, offset: usize) -> Option<String> {
    table.iter().find_map(|(name, value)| {
        let inner = match value.get_ref() {
            DeValue::Table(inner) => key_at(inner, offset),
            DeValue::Array(items) => items.iter().enumerate().find_map(|(index, item)| {
                let inner = match item.get_ref() {
                    DeValue::Table(inner) => key_at(inner, offset),
                    _ => None,
                };
                match inner {
                    Some(inner) => Some(format!("[{index}].{inner}")),
                    None => item.span().contains(&offset).then(|| format!("[{index}]")),
                }
            }),
            _ => None,
        };
        match inner {
            Some(inner) if inner.starts_with('[') => Some(format!("{}{inner}", name.get_ref())),
            Some(inner) => Some(format!("{}.{inner}", name.get_ref())),
            None => (name.span().contains(&offset) || value.span().contains(&offset))
                .then(|| name.get_ref().to_string()),
        }
    })
}

/// Takes apart `people[1]`.
fn indexed(part: &str) -> (&str, Option<usize>) {
    part.strip_suffix(']')
        .and_then(|part| part.rsplit_once('['))
        .and_then(|(name, index)| Some((name, Some(index.parse().ok()?))))
        .unwrap_or((part, None))
}

fn ends_with_name(key: &str, name: &str) -> bool {
    key == name
        || key
            .strip_suffix(name)
            .is_some_and(|rest| rest.ends_with('.'))
}

fn one_line(message: &str) -> String {
    message
        .split('\n')
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join("; ")
}

fn place(path: &Path, at: Option<Position>) -> String {
    match at {
        Some(Position { line, column }) => format!("{}:{line}:{column}", path.display()),
        None => path.display().to_string(),
    }
}

fn naming(key: Option<&str>) -> String {
    key.map(|key| format!(": `{}`", key.escape_debug()))
        .unwrap_or_default()
}

fn meant(nearest: Option<&str>) -> String {
    nearest
        .map(|nearest| format!("; did you mean `{nearest}`?"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "kebab-case")]
    #[expect(dead_code, reason = "only whether it parses matters")]
    struct Hub {
        listen: String,
        #[serde(default)]
        tls: Tls,
        #[serde(default)]
        people: Vec<Person>,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
    struct Tls {
        certificate: Option<String>,
        max_age: u8,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only whether it parses matters")]
    struct Person {
        subject: String,
    }

    fn error(text: &str) -> String {
        let source = Source::from_text("/etc/kedge/hub.toml", text);
        source.parse::<Hub>().unwrap_err().to_string()
    }

    #[test]
    fn an_unknown_key_names_place_and_nearest() {
        assert_eq!(
            error("# a comment\n  lisen = \"x\"\n"),
            "/etc/kedge/hub.toml:2:3: unknown key `lisen`; did you mean `listen`?"
        );
        assert_eq!(
            error("listen = \"x\"\n[tls]\ncertifcate = \"y\"\n"),
            "/etc/kedge/hub.toml:3:1: unknown key `tls.certifcate`; did you mean `certificate`?"
        );
        assert_eq!(
            error("listen = \"x\"\n[[people]]\nsubject = \"a\"\n[[people]]\nsubjekt = \"b\"\n"),
            "/etc/kedge/hub.toml:5:1: unknown key `people[1].subjekt`; did you mean `subject`?"
        );
        assert_eq!(
            error("listen = \"x\"\nzzz = 1\n"),
            "/etc/kedge/hub.toml:2:1: unknown key `zzz`"
        );
    }

    #[test]
    fn a_wrong_value_names_place_and_key() {
        assert_eq!(
            error("listen = 3\n"),
            "/etc/kedge/hub.toml:1:10: `listen`: invalid type: integer `3`, expected a string"
        );
        assert_eq!(
            error("listen = \"x\"\n[tls]\nmax-age = 999\n"),
            "/etc/kedge/hub.toml:3:11: `tls.max-age`: invalid value: integer `999`, expected u8"
        );
    }

    #[test]
    fn a_missing_key_is_named() {
        let message = error("[tls]\nmax-age = 1\n");
        assert!(message.contains("missing field `listen`"), "{message}");
    }

    #[test]
    fn broken_toml_names_its_place_on_one_line() {
        let message = error("listen = \"x\"\nbroken\n");
        assert!(message.starts_with("/etc/kedge/hub.toml:2:"), "{message}");
        assert!(!message.contains('\n'), "{message}");
    }

    #[test]
    fn a_later_refusal_still_finds_its_line() {
        let source = Source::from_text("hub.toml", "listen = \"x\"\n[tls]\nmax-age = 1\n");
        assert_eq!(
            source.refuse("tls.max-age", "must be even").to_string(),
            "hub.toml:3:1: `tls.max-age`: must be even"
        );
        // A key that is absent is placed at the table that should have it.
        assert_eq!(
            source
                .refuse("tls.key", "needed with a certificate")
                .to_string(),
            "hub.toml:2:2: `tls.key`: needed with a certificate"
        );
    }

    #[test]
    fn a_later_refusal_finds_its_line_in_a_list_of_tables() {
        let text = "listen = \"x\"\n[[people]]\nsubject = \"a\"\n[[people]]\nsubject = \"b\"\n";
        let source = Source::from_text("hub.toml", text);
        for (key, place) in [
            ("people[0].subject", "3:1"),
            ("people[1].subject", "5:1"),
            ("people[1].token", "4:1"),
            ("people[2].subject", "2:3"),
            ("people", "2:3"),
        ] {
            assert_eq!(
                source.refuse(key, "no").to_string(),
                format!("hub.toml:{place}: `{key}`: no")
            );
        }
    }

    #[test]
    fn a_hostile_key_cannot_draw_on_the_terminal() {
        let message = error("\"\\u001b[2Jx\" = 1\n");
        assert!(!message.contains('\u{1b}'), "{message:?}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = load::<Hub>(Path::new("/nonexistent/hub.toml")).unwrap_err();
        assert_eq!(
            crate::report::chain(&error),
            "cannot load the configuration: cannot read /nonexistent/hub.toml: \
             No such file or directory (os error 2)"
        );
    }
}
