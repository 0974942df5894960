//! The whole path in one call: sshd, hub, agent, an administrator and alice, who may log in.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::agent::{Agent, AgentOptions, tcp};
use crate::case::Case;
use crate::hub::{Hub, HubOptions, Trust};
use crate::person::Person;
use crate::sshd::{Sshd, SshdOptions};
use crate::wait;
use crate::{defaults, wire::Wire};

/// The name of the server in a [`Stack`].
pub const SERVER: &str = "web01";

/// A running path. Fields are dropped in this order: people first, sshd last.
#[derive(Debug)]
pub struct Stack {
    /// May log in to every server by the policy `everyone-tested`.
    pub alice: Person,
    /// Administers the hub.
    pub admin: Person,
    /// The agent of [`SERVER`].
    pub agent: Agent,
    /// The wire between the hub and everybody else, when asked for.
    pub wire: Option<Wire>,
    /// The hub.
    pub hub: Hub,
    /// The sshd behind the agent.
    pub sshd: Sshd,
}

impl Case {
    /// The options of a hub of this test.
    ///
    /// # Errors
    ///
    /// When the system does not know its own user.
    pub fn hub_options(&self) -> Result<HubOptions> {
        HubOptions::new(&self.subdir("hub")?, self.logs(), self.bins())
    }

    /// A hub of this test.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn hub(&self) -> Result<Hub> {
        Hub::start(self.hub_options()?)
    }

    /// A scratch sshd of this test.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn sshd(&self) -> Result<Sshd> {
        let (dir, name) = (self.subdir("sshd")?, self.unique("sshd"));
        Sshd::start(&SshdOptions {
            dir: &dir,
            logs: self.logs(),
            name: &name,
            extra: "",
        })
    }

    /// A person who is logged in to a hub.
    ///
    /// # Errors
    ///
    /// When the hub refuses.
    pub fn person(&self, hub: &Hub, subject: &str, sshd: Option<&Sshd>) -> Result<Person> {
        self.person_at(hub, &hub.url(), subject, sshd)
    }

    /// A person who is logged in to a hub that they reach at `url`.
    ///
    /// # Errors
    ///
    /// When the hub refuses.
    pub fn person_at(
        &self,
        hub: &Hub,
        url: &str,
        subject: &str,
        sshd: Option<&Sshd>,
    ) -> Result<Person> {
        let person = Person::new(
            &self.subdir(subject)?,
            self.bins(),
            sshd.map(Sshd::user_key),
        )?;
        person.log_in(hub, url, subject)?;
        Ok(person)
    }

    /// A person who has not logged in anywhere.
    ///
    /// # Errors
    ///
    /// When the home cannot be made.
    pub fn stranger(&self, name: &str, sshd: Option<&Sshd>) -> Result<Person> {
        Person::new(&self.subdir(name)?, self.bins(), sshd.map(Sshd::user_key))
    }

    /// The options of an agent of this test: named, in front of that target, with those host keys.
    ///
    /// # Errors
    ///
    /// When its folder cannot be made.
    pub fn agent_options(
        &self,
        hub: &Hub,
        name: &str,
        target: &str,
        host_keys: &str,
    ) -> Result<AgentOptions> {
        Ok(AgentOptions {
            dir: self.subdir(&format!("agent-{name}"))?,
            logs: self.logs().to_owned(),
            bins: self.bins().to_owned(),
            name: name.to_owned(),
            hub: hub.url(),
            pin: matches!(hub.trust(), Trust::Pin)
                .then(|| hub.pin().map(str::to_owned))
                .flatten(),
            ca_file: match hub.trust() {
                Trust::CaFile(path) => Some(path.clone()),
                Trust::Pin => None,
            },
            target: target.to_owned(),
            host_keys: host_keys.to_owned(),
            labels: Vec::new(),
            extra: String::new(),
            environment: Vec::new(),
        })
    }

    /// An agent in front of a scratch sshd, joined and not started.
    ///
    /// # Errors
    ///
    /// When it cannot join.
    pub fn joined_agent(
        &self,
        hub: &Hub,
        admin: &Person,
        name: &str,
        sshd: &Sshd,
    ) -> Result<Agent> {
        let options = self.agent_options(hub, name, &tcp(sshd.address()), &sshd.host_keys())?;
        self.join(admin, options)
    }

    /// An agent by its options, joined and not started.
    ///
    /// # Errors
    ///
    /// When it cannot join.
    pub fn join(&self, admin: &Person, options: AgentOptions) -> Result<Agent> {
        let agent = Agent::new(options)?;
        agent.join(&admin.join_token(&[])?)?.success()?;
        Ok(agent)
    }

    /// The whole path.
    ///
    /// # Errors
    ///
    /// When a part does not start.
    pub fn stack(&self) -> Result<Stack> {
        self.stack_with(self.hub_options()?)
    }

    /// The whole path with a hub by these options.
    ///
    /// # Errors
    ///
    /// When a part does not start.
    pub fn stack_with(&self, options: HubOptions) -> Result<Stack> {
        self.assemble(options, Reach::Direct)
    }

    /// The whole path with a [`Wire`] between the hub and everybody else: the hub may come back on another port.
    ///
    /// # Errors
    ///
    /// When a part does not start.
    pub fn wired_stack(&self) -> Result<Stack> {
        self.assemble(self.hub_options()?, Reach::Wire)
    }

    fn assemble(&self, options: HubOptions, reach: Reach) -> Result<Stack> {
        let sshd = self.sshd()?;
        let hub = Hub::start(options)?;
        let wire = match reach {
            Reach::Direct => None,
            Reach::Wire => Some(Wire::to(hub.address())?),
        };
        let url = wire
            .as_ref()
            .map_or_else(|| hub.url(), |wire| hub.url_at(wire.address()));
        let admin = self.person_at(&hub, &url, "admin", Some(&sshd))?;
        let mut options =
            self.agent_options(&hub, SERVER, &tcp(sshd.address()), &sshd.host_keys())?;
        options.hub.clone_from(&url);
        let mut agent = self.join(&admin, options)?;
        agent.start()?;
        admin.apply(&Person::policy("everyone-tested", &["alice", "admin"])?)?;
        let alice = self.person_at(&hub, &url, "alice", Some(&sshd))?;
        let stack = Stack {
            alice,
            admin,
            agent,
            wire,
            hub,
            sshd,
        };
        stack.phase(SERVER, "Online", defaults::SOON)?;
        Ok(stack)
    }
}

/// How people and agents reach the hub of a stack.
#[derive(Clone, Copy, Debug)]
enum Reach {
    Direct,
    Wire,
}

impl Stack {
    /// Waits for a server's phase.
    ///
    /// # Errors
    ///
    /// When the time is up.
    pub fn phase(&self, server: &str, wanted: &str, limit: Duration) -> Result<()> {
        phase(&self.admin, server, wanted, limit)
    }

    /// The server as alice's ssh knows it: `web01.kedge`.
    #[must_use]
    pub fn host(&self) -> String {
        format!("{SERVER}.{}", self.hub.suffix())
    }

    /// The wire of a [`Case::wired_stack`].
    ///
    /// # Errors
    ///
    /// For other stacks.
    pub fn wire(&self) -> Result<&Wire> {
        self.wire.as_ref().context("this stack has no wire")
    }
}

/// Waits for a server's phase, as `admin` sees it.
///
/// # Errors
///
/// When the time is up; says what it was instead.
pub fn phase(admin: &Person, server: &str, wanted: &str, limit: Duration) -> Result<()> {
    let mut last = serde_json::Value::Null;
    let waited = wait::until_true(&format!("{server} to be {wanted}"), limit, || {
        last = admin.get("server", server)?;
        Ok(last
            .pointer("/status/phase")
            .and_then(|phase| phase.as_str())
            == Some(wanted))
    });
    waited.with_context(|| format!("it is {last}"))
}
