//! Real sessions: the system's `ssh` and sshd, `kedge` between them, and a hub that only passes bytes on.

use std::fs;

use anyhow::Result;
use kedge_testkit::machine;
use kedge_testkit::sshd::{Sshd, SshdOptions};

use super::{FakeHub, Person, Run, Target};

pub const ACCESS: &str = "GET /apis/kedge.dev/v1alpha1/servers/web01/access";
pub const CONNECT: &str = "GET /kedge/v1/connect";

pub struct Site {
    pub hub: FakeHub,
    pub person: Person,
    pub sshd: Sshd,
}

/// A hub with one server, whose sshd is real, and a person who is logged in and may log in.
pub fn site() -> Result<Site> {
    let hub = FakeHub::start()?;
    let person = Person::at(&hub)?;
    let dir = person.path("sshd");
    let sshd = Sshd::start(&SshdOptions {
        dir: &dir,
        logs: &dir,
        name: "sshd",
        extra: "",
    })?;
    let mut keys = Vec::new();
    for name in ["ssh_host_ed25519_key.pub", "ssh_host_ecdsa_key.pub"] {
        let text = fs::read_to_string(sshd.file(name))?;
        keys.push(
            text.split_whitespace()
                .take(2)
                .collect::<Vec<_>>()
                .join(" "),
        );
    }
    {
        let mut state = hub.state();
        state.host_keys = keys;
        state.login = machine::me()?;
        state.target = Target::Tcp(sshd.address());
    }
    hub.put("servers/web01", super::server("web01"));
    person.kedge(["ssh-config", "--write"]).run()?.success()?;
    let key = sshd.user_key();
    let mut text = format!(
        "IdentityFile {}\nIdentitiesOnly yes\nIdentityAgent none\n",
        key.display()
    );
    text += &fs::read_to_string(person.ssh_config())?;
    fs::write(person.ssh_config(), text)?;
    hub.requests();
    Ok(Site { hub, person, sshd })
}

impl Site {
    /// Has what is remembered of `web01` become a minute old: as of a session before this one.
    pub fn a_minute_passes(&self) -> Result<()> {
        let file = self
            .person
            .path(".local/state/kedge/hubs/main/access/web01");
        let mut access: serde_json::Value = serde_json::from_slice(&fs::read(&file)?)?;
        let fetched = access["fetched"].as_i64().unwrap();
        access["fetched"] = (fetched - 60).into();
        Ok(fs::write(&file, access.to_string())?)
    }

    pub fn sorted_requests(&self) -> Vec<String> {
        let mut requests = self.hub.requests();
        requests.sort();
        requests
    }

    pub fn kedge_ssh(&self, words: &[&str]) -> Run {
        let config = self.person.ssh_config().display().to_string();
        let mut all = vec!["ssh", "-F", &config];
        all.extend(words);
        self.person.kedge(all)
    }
}
