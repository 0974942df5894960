//! What nearly every test uses.

pub(crate) use std::time::Duration;

pub(crate) use anyhow::{Context, Result, bail, ensure};
pub(crate) use kedge_testkit::agent::{Agent, tcp};
pub(crate) use kedge_testkit::hub::{Hub, text};
pub(crate) use kedge_testkit::peers::{Client, Endpoint, FakeAgent, Request};
pub(crate) use kedge_testkit::person::Person;
pub(crate) use kedge_testkit::run::{Live, feed, run};
pub(crate) use kedge_testkit::stack::phase;
pub(crate) use kedge_testkit::target::{BANNER, Manner, Target};
pub(crate) use kedge_testkit::{Case, SERVER, Stack, case, defaults, machine, skip, wait};
pub(crate) use serde_json::{Value, json};

/// Bytes without a pattern that a mistake could repeat: xorshift, seeded.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let words = std::iter::from_fn(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        Some(state.to_le_bytes())
    });
    words.flatten().take(length).collect()
}

/// A hub, an administrator, and a server `web01` in front of a target that is no sshd.
pub(crate) struct Cheap {
    pub(crate) admin: Person,
    pub(crate) agent: Agent,
    pub(crate) target: Target,
    pub(crate) hub: Hub,
}

impl Cheap {
    /// With alice allowed in.
    pub(crate) fn start(t: &Case, manner: Manner) -> Result<Self> {
        Self::with(t, t.hub()?, manner)
    }

    /// With a hub of one's own.
    pub(crate) fn with(t: &Case, hub: Hub, manner: Manner) -> Result<Self> {
        let target = Target::start(manner)?;
        let admin = t.person(&hub, "admin", None)?;
        let keys = host_key_file(t)?;
        let options = t.agent_options(&hub, SERVER, &tcp(target.address()), &keys)?;
        let mut agent = t.join(&admin, options)?;
        agent.start()?;
        admin.apply(&Person::policy("everyone-tested", &["alice", "admin"])?)?;
        phase(&admin, SERVER, "Online", defaults::SOON)?;
        Ok(Self {
            admin,
            agent,
            target,
            hub,
        })
    }

    /// Where the hub is.
    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::of(&self.hub)
    }

    /// A link of alice's.
    pub(crate) fn client(&self) -> Result<Client> {
        Client::connect(self.endpoint(), self.hub.token("alice")?)
    }

    /// A stream of alice's that works: the target's greeting has come.
    pub(crate) fn greeted(&self) -> Result<Client> {
        let mut client = self.client()?;
        client.opened(SERVER)?;
        let greeting = client.read(BANNER.len())?;
        ensure!(greeting == BANNER, "the target said {greeting:?}");
        Ok(client)
    }

    /// Alice, logged in.
    pub(crate) fn alice(&self, t: &Case) -> Result<Person> {
        t.person(&self.hub, "alice", None)
    }
}

/// A host key of a server without sshd, as a glob.
pub(crate) fn host_key_file(t: &Case) -> Result<String> {
    let key = t.dir().join(t.unique("host_key"));
    kedge_testkit::sshd::keygen(&key, "ed25519")?;
    Ok(key.with_extension("pub").display().to_string())
}
