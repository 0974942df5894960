//! Which server at which hub a name means.

use std::ffi::OsStr;

use kedge_api::{HubName, Login, NameError, ServerName};
use thiserror::Error;

use crate::config::{Config, HubChoiceError, HubConfig};

/// A server at a hub.
#[derive(Clone, Debug)]
pub struct Place<'a> {
    /// The hub's name in the configuration.
    pub hub_name: &'a HubName,
    /// The hub.
    pub hub: &'a HubConfig,
    /// The server.
    pub server: ServerName,
}

impl Place<'_> {
    /// The name under which `ssh` knows the server: `web01.kedge`.
    #[must_use]
    pub fn host(&self) -> String {
        format!("{}.{}", self.server, self.hub.suffix)
    }
}

/// Why a name means no server.
#[derive(Debug, Error)]
pub enum PlaceError {
    /// Nothing says at which hub.
    #[error("cannot tell which hub has `{name}`")]
    Hub {
        /// The name.
        name: ServerName,
        /// Why not.
        source: HubChoiceError,
    },
    /// It is no name at all.
    #[error(transparent)]
    Name(#[from] NameError),
}

/// Finds the server that `text` names: `web01`, or `web01.SUFFIX` with the suffix of a hub.
///
/// The longest suffix wins; without one it is the hub asked for, or the default. Capitals mean the
/// same as small letters, as in any host name.
///
/// # Errors
///
/// [`PlaceError`].
pub fn place<'a>(
    config: &'a Config,
    asked: Option<&HubName>,
    text: &str,
) -> Result<Place<'a>, PlaceError> {
    let lower = text.to_ascii_lowercase();
    let stripped = |hub: &HubConfig| {
        lower
            .strip_suffix(hub.suffix.as_str())?
            .strip_suffix('.')
            .map(str::to_owned)
    };
    if asked.is_none() {
        let by_suffix = config
            .hubs
            .iter()
            .filter_map(|(name, hub)| Some((name, hub, stripped(hub)?)))
            .max_by_key(|(_, hub, _)| hub.suffix.as_str().len());
        if let Some((hub_name, hub, server)) = by_suffix {
            return Ok(Place {
                hub_name,
                hub,
                server: server.parse()?,
            });
        }
    }
    // Only a legal name may be quoted in the error about hubs.
    let name: ServerName = lower.parse()?;
    let (hub_name, hub) = config.hub(asked).map_err(|source| PlaceError::Hub {
        name: name.clone(),
        source,
    })?;
    let server = match stripped(hub) {
        Some(server) => server.parse()?,
        None => name,
    };
    Ok(Place {
        hub_name,
        hub,
        server,
    })
}

/// A login as the person or `ssh` gave it. Empty means none.
///
/// # Errors
///
/// [`NameError`] for anything that is no unix user name.
pub fn login(text: &OsStr) -> Result<Option<Login>, NameError> {
    let text = text.to_string_lossy();
    if text.is_empty() {
        Ok(None)
    } else {
        text.parse().map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn config() -> Config {
        let hub = |url: &str, suffix: &str| HubConfig {
            url: url.parse().unwrap(),
            suffix: suffix.parse().unwrap(),
            pin: None,
            ca_file: None,
        };
        Config {
            own_agent: None,
            default_hub: Some("main".parse().unwrap()),
            hubs: BTreeMap::from([
                ("main".parse().unwrap(), hub("https://a", "kedge")),
                ("eu".parse().unwrap(), hub("https://b", "eu.kedge")),
            ]),
        }
    }

    fn found(asked: Option<&str>, text: &str) -> String {
        let config = config();
        let asked = asked.map(|name| name.parse().unwrap());
        match place(&config, asked.as_ref(), text) {
            Ok(place) => format!("{} at {}", place.server, place.hub_name),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn names_and_suffixes() {
        assert_eq!(found(None, "web01"), "web01 at main");
        assert_eq!(found(None, "web01.kedge"), "web01 at main");
        assert_eq!(found(None, "web01.eu.kedge"), "web01 at eu");
        assert_eq!(found(None, "WEB01.Eu.Kedge"), "web01 at eu");
        assert_eq!(found(None, "db.internal"), "db.internal at main");
        assert_eq!(found(Some("eu"), "web01"), "web01 at eu");
        assert_eq!(found(Some("eu"), "web01.eu.kedge"), "web01 at eu");
        // The hub that was asked for decides, whatever another hub's suffix is.
        assert_eq!(found(Some("main"), "web01.eu.kedge"), "web01.eu at main");
    }

    #[test]
    fn hostile_names_are_no_names() {
        for text in [
            "-oProxyCommand=x",
            "../x",
            "web01\n",
            "a b",
            "$(id)",
            "`id`",
            "x'y",
            "",
            ".kedge",
            "kedge..kedge",
            "web01.kedge\0",
            "wéb",
            "web01/..",
            "a..b",
        ] {
            let answer = found(None, text);
            assert!(
                answer.starts_with("error: server name"),
                "{text:?}: {answer}"
            );
            assert!(
                !answer.contains('\n') && !answer.contains('\0'),
                "{answer:?}"
            );
        }
        assert!(found(None, &"x".repeat(65536)).len() < 500);
    }

    #[test]
    fn logins() {
        assert_eq!(login(OsStr::new("")).unwrap(), None);
        assert_eq!(login(OsStr::new("alice")).unwrap().unwrap(), "alice");
        for text in ["-x", "a b", "Alice", "$(id)", "x'y", "a\n"] {
            assert!(login(OsStr::new(text)).is_err(), "{text:?}");
        }
    }
}
