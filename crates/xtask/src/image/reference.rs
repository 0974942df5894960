//! The name of an image.

use std::fmt;
use std::str::FromStr;

use anyhow::{Error, Result, ensure};

/// A whole name, `HOST/PATH:TAG`: a short one would mean another image to each program that reads it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Reference(String);

impl Reference {
    /// What the hub's image is called when nobody says otherwise: on the machine that made it, of kedge's version.
    pub(crate) fn of_the_hub() -> Self {
        Self(format!("localhost/kedge-hub:{}", env!("CARGO_PKG_VERSION")))
    }

    /// Without its tag.
    pub(crate) fn repository(&self) -> &str {
        self.0.rsplit_once(':').map_or(&self.0, |(name, _)| name)
    }

    /// Its tag.
    pub(crate) fn tag(&self) -> &str {
        self.0.rsplit_once(':').map_or("", |(_, tag)| tag)
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, tag) = text.rsplit_once(':').unwrap_or((text, ""));
        let (host, path) = name.split_once('/').unwrap_or(("", name));
        let in_path = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/".contains(c);
        let in_host = |c: char| c.is_ascii_alphanumeric() || ".-:".contains(c);
        let in_tag = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        ensure!(
            // By such a host everybody tells it from the first part of a path.
            (host == "localhost" || host.contains(['.', ':'])) && host.chars().all(in_host),
            "`{text}` does not begin with a host, such as localhost/"
        );
        ensure!(
            path.split('/').all(|part| !part.is_empty()) && path.chars().all(in_path),
            "`{text}` has no path of small letters, digits and ._-"
        );
        ensure!(
            (1..=128).contains(&tag.len()) && tag.chars().all(in_tag),
            "`{text}` does not end with a tag, such as :1.0"
        );
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_names_are_taken() {
        for text in [
            "localhost/kedge-hub:0.1.0",
            "registry.example:5000/team/hub:v1_2",
            "192.0.2.1:5000/hub:1",
        ] {
            assert_eq!(text.parse::<Reference>().unwrap().to_string(), text);
        }
        let name: Reference = "registry.example:5000/hub:v1".parse().unwrap();
        assert_eq!(
            (name.repository(), name.tag()),
            ("registry.example:5000/hub", "v1")
        );
        let own = Reference::of_the_hub();
        assert_eq!(own.to_string().parse::<Reference>().unwrap(), own);
    }

    #[test]
    fn names_that_would_mean_something_else_are_refused() {
        for text in [
            "",
            ":",
            "/",
            "kedge-hub",
            "kedge-hub:1",
            "team/kedge-hub:1",
            "localhost/kedge-hub",
            "localhost/kedge-hub:",
            "localhost/Kedge:1",
            "localhost//kedge:1",
            "localhost/kedge/:1",
            "localhost/kedge hub:1",
            "localhost/kedge:1\n",
            "registry.example:5000/hub",
            "localhost/kedge-hub@sha256:00",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }
}
