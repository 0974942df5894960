//! The program `kedge-demo-issuer` as a process: for those who are built without the issuer, such as `cargo xtask demo`.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use serde_json::Value;

use crate::defaults;
use crate::process::Daemon;

/// A running issuer on a free loopback port.
#[derive(Debug)]
pub struct DemoIssuer {
    daemon: Daemon,
    url: String,
}

impl DemoIssuer {
    /// Starts it with these people, each `{"name": …, "claims": {…}}`.
    ///
    /// # Errors
    ///
    /// When it does not listen in time; shows its log.
    pub fn start(bins: &Path, logs: &Path, people: &[Value]) -> Result<Self> {
        let mut command = Command::new(bins.join("kedge-demo-issuer"));
        command.arg("serve");
        for person in people {
            command.arg("--person").arg(person.to_string());
        }
        let mut daemon = Daemon::spawn("issuer", command, logs)?;
        let url = daemon.event("the issuer to listen", defaults::START, |event| {
            event.get("url")?.as_str().map(str::to_owned)
        })?;
        Ok(Self { daemon, url })
    }

    /// What it calls itself.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Lets it live on; whoever reads the id ends it.
    #[must_use]
    pub fn leave(self) -> u32 {
        self.daemon.leave()
    }
}
