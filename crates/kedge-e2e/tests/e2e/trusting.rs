//! What tests about logins and issuers begin with.

pub(crate) use kedge_proto::RefuseCode;
pub(crate) use kedge_testkit::browser::Browser;
pub(crate) use kedge_testkit::hub::{HubOptions, TrustedIssuer};
pub(crate) use kedge_testkit::issuer::{Issuer, IssuerOptions, Misbehaviour};

use crate::prelude::*;

/// A hub that trusts an issuer, and a server that everybody may enter as whom their claim says.
pub(crate) struct Trusting {
    pub(crate) cheap: Cheap,
    pub(crate) issuer: Issuer,
}

impl Trusting {
    /// With alice, bob and admin at the issuer.
    pub(crate) fn start(t: &Case) -> Result<Self> {
        Self::with(t, IssuerOptions::default(), |_| ())
    }

    /// With other people, or another hub.
    pub(crate) fn with(
        t: &Case,
        options: IssuerOptions,
        change: impl FnOnce(&mut HubOptions),
    ) -> Result<Self> {
        let issuer = Issuer::start(options)?;
        let mut options = t.hub_options()?;
        // Only the administrator is known by a static token.
        options.people.retain(|person| person.subject == "admin");
        options.issuers = vec![TrustedIssuer::new(&issuer.url())];
        change(&mut options);
        let cheap = Cheap::with(t, Hub::start(options)?, Manner::Echo)?;
        // It lists the user who runs the tests, who may be root; here logins come from claims alone.
        cheap
            .admin
            .kedge(&["delete", "accesspolicy", "everyone-tested"])?
            .success()?;
        cheap
            .admin
            .apply(&policy("everybody", json!({"users": ["*"]}), &["{login}"]))?;
        Ok(Self { cheap, issuer })
    }

    /// The status of a request with this token.
    pub(crate) fn status(&self, token: &str) -> Result<u16> {
        Ok(self.servers(token)?.status)
    }

    /// The answer to a request with this token.
    pub(crate) fn servers(&self, token: &str) -> Result<kedge_testkit::peers::Reply> {
        Request::new("GET", "/apis/kedge.dev/v1alpha1/servers")
            .bearer(token)
            .send(self.cheap.endpoint())
    }

    /// What the hub says about the bearer of a token.
    pub(crate) fn whoami(&self, token: &str) -> Result<Value> {
        let reply = Request::new("GET", "/apis/kedge.dev/v1alpha1/whoami")
            .bearer(token)
            .send(self.cheap.endpoint())?;
        ensure!(reply.status == 200, "{} {}", reply.status, reply.text());
        reply.json()
    }

    /// Opens a session to the server with a token.
    pub(crate) fn open(
        &self,
        token: &str,
        login: Option<&str>,
    ) -> Result<Result<Client, (RefuseCode, String)>> {
        let mut client = Client::connect(self.cheap.endpoint(), token)?;
        Ok(client.open(SERVER, login)?.map(|()| client))
    }

    /// A person with a home, who has not logged in.
    pub(crate) fn stranger(&self, t: &Case, name: &str) -> Result<Person> {
        t.stranger(name, None)
    }

    /// Somebody of the issuer's who logged in by the browser.
    pub(crate) fn logged_in(&self, t: &Case, name: &str) -> Result<Person> {
        let person = self.stranger(t, name)?;
        person.log_in_by_browser(&self.cheap.hub, name)?;
        Ok(person)
    }
}

/// A policy for every server.
pub(crate) fn policy(name: &str, subjects: Value, logins: &[&str]) -> Value {
    json!({
        "apiVersion": "kedge.dev/v1alpha1",
        "kind": "AccessPolicy",
        "metadata": { "name": name },
        "spec": {
            "subjects": subjects,
            "servers": { "names": ["*"] },
            "logins": logins,
            "permissions": ["ssh"],
        },
    })
}

/// People of an issuer whom the scratch sshd lets in: their claim is the user who runs the tests.
pub(crate) fn people_who_are_me() -> Result<IssuerOptions> {
    let me = machine::me()?;
    let mut options = IssuerOptions::default();
    for person in &mut options.people {
        *person = person.clone().claim("preferred_username", json!(me));
    }
    Ok(options)
}

/// Everything a running command has said on either side.
pub(crate) fn said(live: &Live) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&live.out()), live.err())
}

/// Waits until a running command says a thing, and answers everything it said.
pub(crate) fn heard(live: &Live, word: &str) -> Result<String> {
    wait::until(&format!("`{word}` to be said"), defaults::COMMAND, || {
        Ok(Some(said(live)).filter(|said| said.contains(word)))
    })
    .with_context(|| said(live))
}

/// The first URL in a text that starts so.
pub(crate) fn url_in(text: &str, start: &str) -> Result<String> {
    text.split(|letter: char| letter.is_whitespace() || "\"'<>()".contains(letter))
        .filter(|word| word.starts_with(start))
        .map(|word| word.trim_end_matches(['.', ',']).to_owned())
        .next()
        .with_context(|| format!("no {start}… in `{text}`"))
}

/// Waits until a login that is not renewed any more has ended: commands say how to log in, and what is left of the
/// last token is used up.
pub(crate) fn ends(person: &Person) -> Result<()> {
    wait::until_true("the login to be over", defaults::STOP, || {
        let ran = person.kedge(&["get", "servers"])?;
        if ran.code() == Some(0) {
            return Ok(false);
        }
        ran.exits(4)?.says(&["hint: ", "kedge login"])?;
        Ok(true)
    })?;
    wait::until_true("the old token's end", defaults::BULK, || {
        Ok(person.kedge(&["get", "servers"])?.code() == Some(4))
    })
}

/// Where a person's logins are kept, a file for each hub.
pub(crate) fn kept(person: &Person) -> Result<Vec<std::path::PathBuf>> {
    let hubs = std::fs::read_dir(person.state_home().join("kedge/hubs"))?;
    hubs.map(|hub| Ok(hub?.path().join("credentials.json")))
        .collect()
}

/// Lets a person's token look old: it is renewed a minute before its end, and earlier only when its whole life is
/// shorter than that.
pub(crate) fn age(person: &Person) -> Result<()> {
    for file in kept(person)? {
        let mut kept: Value = serde_json::from_slice(&std::fs::read(&file)?)?;
        ensure!(kept["since"].is_string(), "no `since` in {kept}");
        kept["since"] = json!("2020-01-01T00:00:00Z");
        // Written in place: owner and mode stay.
        std::fs::write(&file, kept.to_string())?;
    }
    Ok(())
}
