//! `kedge known-hosts`: the pinned host keys, as lines that `ssh` reads.
//!
//! `ssh` runs it without a shell, with the name it looks up (`%H`): `web01.kedge`, or
//! `[web01.kedge]:2222` for another port. Whatever is no name of a server gets no line.

use std::fmt::Write as _;

use kedge_service::Failure;

use crate::access::{self, AccessError};
use crate::app::{App, block_on};
use crate::cli::KnownHostsArgs;
use crate::exit::Exit;
use crate::failure::{IntoFailure, failure, usage};
use crate::names;

/// Runs the command.
///
/// # Errors
///
/// A name that is none, or no answer from the hub; nothing is printed then.
pub fn run(app: &mut App<'_>, arguments: &KnownHostsArgs) -> Result<(), Failure> {
    let text = arguments.host.to_str().unwrap_or_default();
    let host = Host::parse(text).ok_or_else(|| {
        usage(format!(
            "`{}` is no host",
            kedge_api::text::Printable::new(text)
        ))
    })?;
    let place = app.place(host.name)?;
    let login = match &arguments.login {
        Some(text) => names::login(text).map_err(IntoFailure::into_failure)?,
        None => None,
    };
    let keys = block_on(async {
        access::host_keys(app, &place, login.as_ref())
            .await
            .map_err(AccessError::into_failure)
    })?;
    if keys.is_empty() {
        let text = format!("server `{}` has no pinned host key", place.server);
        return Err(failure(Exit::Failure, text).hint(format!(
            "kedge describe server {} shows what its agent reported",
            place.server
        )));
    }
    let mut lines = String::new();
    for key in &keys {
        let _ = writeln!(lines, "{} {key}", host.pattern());
    }
    app.print(&lines)
}

/// A host as it stands in known_hosts. The name is checked when it is placed.
struct Host<'a> {
    name: &'a str,
    port: Option<u16>,
}

impl<'a> Host<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let Some(rest) = text.strip_prefix('[') else {
            return Some(Self {
                name: text,
                port: None,
            });
        };
        let (name, port) = rest.split_once("]:")?;
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        Some(Self {
            name,
            port: Some(port.parse().ok().filter(|_| digits)?),
        })
    }

    fn pattern(&self) -> String {
        // Lower case, as `ssh` compares; what was placed is a legal name and so no pattern.
        let name = self.name.to_ascii_lowercase();
        match self.port {
            Some(port) => format!("[{name}]:{port}"),
            None => name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_with_and_without_port() {
        let pattern = |text: &str| Host::parse(text).map(|host| host.pattern());
        assert_eq!(pattern("Web01.kedge").as_deref(), Some("web01.kedge"));
        assert_eq!(
            pattern("[web01.kedge]:2222").as_deref(),
            Some("[web01.kedge]:2222")
        );
        for wrong in [
            "[web01.kedge]",
            "[web01.kedge]:",
            "[web01.kedge]:+22",
            "[a]:99999",
            "[a]:1 b",
        ] {
            assert_eq!(pattern(wrong), None, "{wrong}");
        }
    }
}
