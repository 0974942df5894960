//! `config.toml`: the hubs a person uses.
//!
//! It is read whole and strictly. `kedge login` changes it in place and keeps the person's comments.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kedge_api::{HubName, HubUrl, Suffix};
use kedge_service::files::{self, FileError};
use kedge_service::{ConfigError, Source};
use kedge_tunnel::{CertificatePin, Trust};
use schemars::JsonSchema;
use serde::Deserialize;
use thiserror::Error;
use toml_edit::{DocumentMut, Item, Table, value};

/// The hubs a person uses, in `config.toml`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// The hub meant where neither `--hub` nor a name's suffix says which; set by the first
    /// `kedge login`.
    #[schemars(with = "Option<String>")]
    pub default_hub: Option<HubName>,
    /// Socket of your own ssh-agent, for servers that take your own keys and for `ssh -A`. Unless given it is
    /// `$SSH_AUTH_SOCK`; give it where you had an `IdentityAgent` line for all hosts.
    #[schemars(with = "Option<String>")]
    pub own_agent: Option<PathBuf>,
    /// The hubs by name.
    #[schemars(with = "BTreeMap<String, HubConfig>")]
    pub hubs: BTreeMap<HubName, HubConfig>,
}

/// One hub.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HubConfig {
    /// Where it is: `https://host[:port]`.
    #[schemars(with = "String")]
    pub url: HubUrl,
    /// What follows its servers' names in `ssh web01.SUFFIX`. No two hubs share one.
    #[schemars(with = "String")]
    pub suffix: Suffix,
    /// `sha256:…` of its certificate, when no authority vouches for it.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub pin: Option<Pin>,
    /// PEM file with the roots that vouch for it, in place of the system's.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub ca_file: Option<PathBuf>,
}

/// A certificate's pin in a file or on the command line.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "String")]
pub struct Pin(pub CertificatePin);

impl TryFrom<String> for Pin {
    type Error = kedge_tunnel::BadPin;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl std::str::FromStr for Pin {
    type Err = kedge_tunnel::BadPin;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl HubConfig {
    /// Whom to believe to be this hub.
    #[must_use]
    pub fn trust(&self) -> Trust {
        match (&self.pin, &self.ca_file) {
            (Some(pin), _) => Trust::Pinned(vec![pin.0]),
            (None, Some(file)) => Trust::Roots(file.clone()),
            (None, None) => Trust::System,
        }
    }
}

/// Which hub is meant, or why that cannot be said.
#[derive(Debug, Error)]
pub enum HubChoiceError {
    /// There are several and nothing says which.
    #[error("there are several hubs ({names}) and none is the default")]
    Ambiguous {
        /// Their names.
        names: String,
    },
    /// There is none.
    #[error("no hub is configured")]
    None,
    /// There is none of that name.
    #[error("there is no hub `{name}` in the configuration (there is {names})")]
    Unknown {
        /// The name asked for.
        name: HubName,
        /// The names there are.
        names: String,
    },
}

/// Why the configuration could not be changed.
#[derive(Debug, Error)]
pub enum ChangeError {
    /// It is not TOML. Reading it says so first and better.
    #[error("cannot change the configuration")]
    Syntax(#[from] toml_edit::TomlError),
    /// It cannot be written.
    #[error("cannot save the configuration")]
    Write(#[from] FileError),
}

impl Config {
    /// Reads the file; one that is not there is an empty configuration.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with its place.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let source = match Source::read(path) {
            Ok(source) => source,
            Err(ConfigError::Read(error)) if error.is_not_found() => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        let mut config: Self = source.parse()?;
        config.check(&source)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        for hub in config.hubs.values_mut() {
            hub.ca_file = hub.ca_file.take().map(|file| folder.join(file));
        }
        Ok(config)
    }

    fn check(&self, source: &Source) -> Result<(), ConfigError> {
        if let Some(name) = &self.default_hub
            && !self.hubs.contains_key(name)
        {
            let message = format!("there is no hub `{name}` here");
            return Err(source.refuse("default-hub", message));
        }
        let mut owners: BTreeMap<&Suffix, &HubName> = BTreeMap::new();
        for (name, hub) in &self.hubs {
            let key = |key: &str| format!("hubs.{name}.{key}");
            if let Some(other) = owners.insert(&hub.suffix, name) {
                let message = format!("hub `{other}` has the suffix `{}` already", hub.suffix);
                return Err(source.refuse(&key("suffix"), message));
            }
            if hub.pin.is_some() && hub.ca_file.is_some() {
                return Err(source.refuse(&key("ca-file"), "excludes `pin`"));
            }
        }
        Ok(())
    }

    /// The hub asked for, else the default, else the only one.
    ///
    /// # Errors
    ///
    /// [`HubChoiceError`] when that names none.
    pub fn hub(&self, asked: Option<&HubName>) -> Result<(&HubName, &HubConfig), HubChoiceError> {
        match asked.or(self.default_hub.as_ref()) {
            Some(name) => self.hubs.get_key_value(name).ok_or_else(|| {
                if self.hubs.is_empty() {
                    return HubChoiceError::None;
                }
                HubChoiceError::Unknown {
                    name: name.clone(),
                    names: self.names(),
                }
            }),
            None if self.hubs.len() > 1 => Err(HubChoiceError::Ambiguous {
                names: self.names(),
            }),
            None => self.hubs.iter().next().ok_or(HubChoiceError::None),
        }
    }

    /// The hub whose suffix another hub has, if any.
    #[must_use]
    pub fn owner_of(&self, suffix: &Suffix) -> Option<&HubName> {
        self.hubs
            .iter()
            .find(|(_, hub)| hub.suffix == *suffix)
            .map(|(name, _)| name)
    }

    fn names(&self) -> String {
        let names: Vec<_> = self.hubs.keys().map(|name| format!("`{name}`")).collect();
        names.join(", ")
    }
}

/// Adds or replaces a hub in the file, which is made when it is not there; the first becomes the
/// default. What else the file holds stays, comments too.
///
/// # Errors
///
/// [`ChangeError`]; the file is as it was then.
pub fn save_hub(path: &Path, name: &HubName, hub: &HubConfig) -> Result<(), ChangeError> {
    let text = match files::read_text(path, kedge_service::defaults::CONFIG_BYTES) {
        Ok(text) => text,
        Err(error) if error.is_not_found() => String::new(),
        Err(error) => return Err(error.into()),
    };
    let mut document: DocumentMut = text.parse()?;
    if !document.contains_key("default-hub") {
        document.insert("default-hub", value(name.as_str()));
    }
    let hubs = document.entry("hubs").or_insert_with(|| {
        let mut table = Table::new();
        table.set_implicit(true);
        Item::Table(table)
    });
    let Some(hubs) = hubs.as_table_like_mut() else {
        // Reading refuses such a file before anybody comes here.
        return Err(ChangeError::Write(FileError::NotAFile {
            path: path.to_owned(),
        }));
    };
    if hubs
        .get(name.as_str())
        .is_none_or(|item| !item.is_table_like())
    {
        hubs.insert(name.as_str(), Item::Table(Table::new()));
    }
    if let Some(table) = hubs
        .get_mut(name.as_str())
        .and_then(Item::as_table_like_mut)
    {
        table.insert("url", value(hub.url.to_string()));
        table.insert("suffix", value(hub.suffix.as_str()));
        match &hub.pin {
            Some(pin) => drop(table.insert("pin", value(pin.0.to_string()))),
            None => drop(table.remove("pin")),
        }
        match &hub.ca_file {
            Some(file) => drop(table.insert("ca-file", value(file.to_string_lossy().as_ref()))),
            None => drop(table.remove("ca-file")),
        }
    }
    folder(path)?;
    Ok(files::write_whole(
        path,
        crate::defaults::PRIVATE_FILE,
        document.to_string().as_bytes(),
    )?)
}

/// The folder of the configuration's file, made if need be.
///
/// # Errors
///
/// [`FileError`] when it cannot be made.
pub fn folder(path: &Path) -> Result<PathBuf, FileError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    files::create_private_folder(folder)?;
    Ok(folder.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(&path, text).unwrap();
        Config::load(&path)
    }

    fn message(text: &str) -> String {
        let error = load(text).unwrap_err().to_string();
        error
            .rsplit_once("config.toml:")
            .map_or(error.clone(), |(_, rest)| rest.to_owned())
    }

    const TWO: &str = "[hubs.main]\nurl = \"https://a\"\nsuffix = \"kedge\"\n\
                       [hubs.lab]\nurl = \"https://b\"\nsuffix = \"lab\"\n";

    #[test]
    fn a_missing_file_has_no_hubs() {
        let config = Config::load(Path::new("/nonexistent/config.toml")).unwrap();
        assert!(matches!(config.hub(None), Err(HubChoiceError::None)));
    }

    #[test]
    fn which_hub_is_meant() {
        let config = load(TWO).unwrap();
        assert!(matches!(
            config.hub(None),
            Err(HubChoiceError::Ambiguous { .. })
        ));
        assert_eq!(config.hub(Some(&"lab".parse().unwrap())).unwrap().0, "lab");
        assert!(matches!(
            config.hub(Some(&"x".parse().unwrap())),
            Err(HubChoiceError::Unknown { .. })
        ));
        let config = load(&format!("default-hub = \"lab\"\n{TWO}")).unwrap();
        assert_eq!(config.hub(None).unwrap().0, "lab");
        let one = load("[hubs.main]\nurl = \"https://a\"\nsuffix = \"kedge\"\n").unwrap();
        assert_eq!(one.hub(None).unwrap().0, "main");
    }

    #[test]
    fn mistakes_name_their_place() {
        assert_eq!(
            message("[hubs.main]\nurll = \"x\"\n"),
            "2:1: unknown key `hubs.main.urll`; did you mean `url`?"
        );
        assert_eq!(
            message(&TWO.replace("\"lab\"", "\"kedge\"")),
            "3:1: `hubs.main.suffix`: hub `lab` has the suffix `kedge` already"
        );
        assert_eq!(
            message(&format!("default-hub = \"x\"\n{TWO}")),
            "1:1: `default-hub`: there is no hub `x` here"
        );
        let both = "[hubs.a]\nurl=\"https://a\"\nsuffix=\"a\"\nca-file=\"x\"\n\
                    pin=\"sha256:0000000000000000000000000000000000000000000000000000000000000000\"\n";
        assert_eq!(message(both), "4:1: `hubs.a.ca-file`: excludes `pin`");
        assert!(message("[hubs.\"../x\"]\nurl=\"https://a\"\nsuffix=\"a\"\n").contains("hub name"));
        assert!(message("[hubs.a]\nurl=\"https://u@a\"\nsuffix=\"a\"\n").contains("hub URL"));
    }

    #[test]
    fn saving_keeps_comments_and_other_hubs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kedge/config.toml");
        let hub = |url: &str, suffix: &str| HubConfig {
            url: url.parse().unwrap(),
            suffix: suffix.parse().unwrap(),
            pin: None,
            ca_file: None,
        };
        save_hub(&path, &"main".parse().unwrap(), &hub("https://a", "kedge")).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            "default-hub = \"main\"\n\n[hubs.main]\nurl = \"https://a\"\nsuffix = \"kedge\"\n"
        );
        std::fs::write(&path, format!("# mine\n{text}# below\n")).unwrap();
        save_hub(&path, &"lab".parse().unwrap(), &hub("https://b", "lab")).unwrap();
        save_hub(
            &path,
            &"main".parse().unwrap(),
            &hub("https://c:8443", "kedge"),
        )
        .unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("# mine\n") && text.contains("# below"),
            "{text}"
        );
        let config = Config::load(&path).unwrap();
        assert_eq!(config.hubs.len(), 2);
        assert_eq!(
            config.hub(None).unwrap().1.url.to_string(),
            "https://c:8443"
        );
    }
}
