//! `[[issuers]]`: who may vouch for people and workloads, and what each of them is believed.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use kedge_api::defaults::{
    AUDIENCES_MAX, CLIENT_ID_MAX_BYTES, REDIRECT_PORT_MIN, REDIRECT_PORTS_MAX,
};
use kedge_api::rest::OWN_PARAMETERS;
use kedge_api::{ClaimName, IssuerUrl, Line, LoginMapping, Standing};
use kedge_identity::Algorithm;
use kedge_service::{ConfigError, ConfigPath, Source, files, paths};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use schemars::JsonSchema;
use serde::Deserialize;

use super::people::LoginConfig;
use crate::defaults;

/// An OpenID Connect issuer whose people and workloads are let in.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct IssuerConfig {
    /// Exactly what the issuer calls itself (`iss` of its tokens, a trailing slash included). `https`, or `http` on a
    /// loopback host.
    pub url: String,
    /// What people read and `kedge login --issuer` takes. Unless given, the URL's host.
    pub name: Option<String>,
    /// The client that people log in with, public and without a secret. Without it nobody logs in here, and only
    /// `audiences` are accepted: workloads that bring their own tokens.
    pub client_id: Option<String>,
    /// Audiences (`aud`) that are accepted besides `client-id`, at most 32. People's logins are told, and accept them too.
    #[serde(default)]
    pub audiences: BTreeSet<String>,
    /// Authorized parties (`azp`) that are accepted besides `client-id`, at most 32. People's logins are told as well.
    #[serde(default)]
    pub authorized_parties: BTreeSet<String>,
    /// Scopes that a login asks for. Unless given: `openid`, `profile`, `email`, `groups`, `offline_access`, as far as
    /// the issuer knows them.
    pub scopes: Option<Vec<String>>,
    /// Signature algorithms that are accepted, whatever a token says of itself. Unless given: `RS256`, `ES256`, `EdDSA`.
    pub algorithms: Option<Vec<String>>,
    /// The claim by which policies call people. Unless given, `sub`. Whoever can choose its value at the issuer chooses
    /// who they are here.
    pub user_claim: Option<String>,
    /// The claim that lists people's groups. Unless given, `groups`.
    pub groups_claim: Option<String>,
    /// Whether policies that name no issuer, and `[admins]`, mean this issuer's people. At most one issuer may be home;
    /// one that is alone is, unless it says otherwise.
    pub home: Option<bool>,
    /// PEM file with the authorities of the issuer's certificate, in place of the system's; read at start and on SIGHUP.
    /// People's `kedge login` believes them too. `credential:NAME` is a credential of the service manager.
    pub ca_file: Option<ConfigPath>,
    /// What some issuers (Google) call a client secret also for installed applications. Everybody can read it.
    pub public_client_secret: Option<String>,
    /// More parameters of the authorization request: `{ prompt = "consent" }`.
    #[serde(default)]
    pub authorization_parameters: BTreeMap<String, String>,
    /// The ports of 127.0.0.1 that `kedge login` waits on for the browser, the first that is free: `[8400, 8401]`. For
    /// issuers that want each redirect URI registered with its port, `http://127.0.0.1:8400/callback`. At most 8, from
    /// 1024 up. Unless given, any free port.
    #[serde(default)]
    pub redirect_ports: Vec<u16>,
    /// How this issuer's people become unix users.
    #[serde(default)]
    pub login: LoginConfig,
}

/// An issuer, settled.
#[derive(Clone, Debug, PartialEq)]
pub struct IssuerSettings {
    /// What it calls itself.
    pub url: IssuerUrl,
    /// What people call it.
    pub name: Line,
    /// The client people log in with.
    pub client_id: Option<String>,
    /// Audiences that are accepted, the client included.
    pub audiences: BTreeSet<String>,
    /// Authorized parties that are accepted, the client included.
    pub authorized_parties: BTreeSet<String>,
    /// Scopes to ask for.
    pub scopes: Vec<String>,
    /// Signatures that are accepted.
    pub algorithms: Vec<Algorithm>,
    /// The claim by which policies call people.
    pub user_claim: String,
    /// The claim that lists groups.
    pub groups_claim: String,
    /// Whether policies that name no issuer mean its people.
    pub standing: Standing,
    /// The authorities of its certificate, PEM; `None` leaves it to the system's.
    pub authorities: Option<String>,
    /// No secret.
    pub public_client_secret: Option<String>,
    /// More parameters of the authorization request.
    pub authorization_parameters: BTreeMap<String, String>,
    /// Where the browser comes back to; none means any port.
    pub redirect_ports: Vec<u16>,
    /// How its people become unix users.
    pub mapping: Arc<LoginMapping>,
}

impl IssuerSettings {
    /// Bytes of what people's logins are told to accept.
    fn told_bytes(&self) -> usize {
        if self.client_id.is_none() {
            return 0;
        }
        let texts = self.audiences.iter().chain(&self.authorized_parties);
        texts.map(String::len).sum()
    }
}

pub(super) fn settle(
    issuers: Vec<IssuerConfig>,
    source: &Source,
) -> Result<Vec<Arc<IssuerSettings>>, ConfigError> {
    if issuers.len() > defaults::ISSUERS {
        return Err(source.refuse("issuers", format!("more than {}", defaults::ISSUERS)));
    }
    let said: Vec<_> = issuers.iter().map(|issuer| issuer.home).collect();
    let home = home(&said, source)?;
    let mut settled: Vec<Arc<IssuerSettings>> = Vec::with_capacity(issuers.len());
    let (mut authorities, mut audiences) = (0, 0);
    for (index, issuer) in issuers.into_iter().enumerate() {
        let standing = if home == Some(index) {
            Standing::Home
        } else {
            Standing::Foreign
        };
        let at = At { source, index };
        let issuer = issuer.settle(&at, standing)?;
        authorities += issuer.authorities.as_ref().map_or(0, String::len);
        if authorities > defaults::ALL_AUTHORITIES_BYTES {
            let problem = format!(
                "with it the issuers' authorities have more than {} bytes, and everybody who asks how to log in reads \
                 all of them; leave out what is not needed",
                defaults::ALL_AUTHORITIES_BYTES
            );
            return Err(at.refuse("ca-file", problem));
        }
        audiences += issuer.told_bytes();
        if audiences > defaults::ALL_AUDIENCES_BYTES {
            let problem = format!(
                "with it the issuers' audiences and authorized parties have more than {} bytes, and everybody who asks \
                 how to log in reads all of them",
                defaults::ALL_AUDIENCES_BYTES
            );
            return Err(at.refuse("audiences", problem));
        }
        if settled.iter().any(|other| other.url == issuer.url) {
            let problem =
                "is listed twice; one issuer has one set of rules, and `audiences` takes several";
            return Err(at.refuse("url", problem));
        }
        if settled.iter().any(|other| other.name == issuer.name) {
            let problem = format!(
                "two issuers are called `{}`; give one of them another `name`",
                issuer.name
            );
            return Err(at.refuse("name", problem));
        }
        settled.push(Arc::new(issuer));
    }
    Ok(settled)
}

/// Which issuer is home.
fn home(said: &[Option<bool>], source: &Source) -> Result<Option<usize>, ConfigError> {
    let mut homes = said
        .iter()
        .enumerate()
        .filter(|(_, home)| **home == Some(true))
        .map(|(index, _)| index);
    match (homes.next(), homes.next()) {
        (Some(_), Some(second)) => {
            let problem = "two issuers are home; policies that name no issuer can mean the people of one only";
            Err(source.refuse(&format!("issuers[{second}].home"), problem))
        }
        (Some(home), None) => Ok(Some(home)),
        (None, _) => match said {
            [None] => Ok(Some(0)),
            // With a second issuer a policy must not silently begin or cease to mean somebody.
            [_, _, ..] if said.contains(&None) => {
                let problem = "of several issuers, one must say `home = true` (policies that name no issuer mean its \
                               people), or each `home = false`";
                Err(source.refuse("issuers", problem))
            }
            _ => Ok(None),
        },
    }
}

/// One table of the list.
struct At<'a> {
    source: &'a Source,
    index: usize,
}

impl At<'_> {
    fn key(&self, key: &str) -> String {
        format!("issuers[{}].{key}", self.index)
    }

    fn refuse(&self, key: &str, problem: impl Into<String>) -> ConfigError {
        self.source.refuse(&self.key(key), problem)
    }
}

impl IssuerConfig {
    fn settle(self, at: &At<'_>, standing: Standing) -> Result<IssuerSettings, ConfigError> {
        let url = self
            .url
            .parse::<IssuerUrl>()
            .map_err(|error| at.refuse("url", error.to_string()))?;
        let name = match &self.name {
            Some(name) => name
                .parse::<Line>()
                .map_err(|error| at.refuse("name", error.to_string()))?,
            None => url
                .host()
                .parse::<Line>()
                .map_err(|error| at.refuse("url", format!("{error}; give the issuer a `name`")))?,
        };
        self.check_texts(at)?;
        self.check_client(at)?;
        check_ports(&self.redirect_ports, at)?;
        let algorithms = match &self.algorithms {
            Some(words) => algorithms(words, at)?,
            None => Algorithm::DEFAULT.to_vec(),
        };
        let scopes = match &self.scopes {
            Some(scopes) => check_scopes(scopes, at)?,
            None => defaults::SCOPES.map(str::to_owned).to_vec(),
        };
        let claim = |key: &str, claim: Option<String>, default: &str| {
            let claim = claim.unwrap_or_else(|| default.to_owned());
            claim
                .parse::<ClaimName>()
                .map_err(|error| at.refuse(key, error.to_string()))?;
            Ok::<_, ConfigError>(claim)
        };
        let authorities = match &self.ca_file {
            Some(path) => {
                let path = at.source.locate(&at.key("ca-file"), path)?;
                // Where it is not, it cannot be read; whoever runs with it reads it.
                match paths::is_elsewhere(&path) {
                    true => None,
                    false => Some(authorities(&path, at)?),
                }
            }
            None => None,
        };
        let with_client = |mut accepted: BTreeSet<String>| {
            accepted.extend(self.client_id.clone());
            accepted
        };
        Ok(IssuerSettings {
            url,
            name,
            audiences: with_client(self.audiences),
            authorized_parties: with_client(self.authorized_parties),
            scopes,
            algorithms,
            user_claim: claim("user-claim", self.user_claim, defaults::USER_CLAIM)?,
            groups_claim: claim("groups-claim", self.groups_claim, defaults::GROUPS_CLAIM)?,
            standing,
            authorities,
            public_client_secret: self.public_client_secret,
            authorization_parameters: self.authorization_parameters,
            redirect_ports: self.redirect_ports,
            mapping: Arc::new(self.login.settle(at.source, &at.key("login"))?),
            client_id: self.client_id,
        })
    }

    /// Who a token may be for.
    fn check_texts(&self, at: &At<'_>) -> Result<(), ConfigError> {
        for (key, texts) in [
            ("audiences", &self.audiences),
            ("authorized-parties", &self.authorized_parties),
        ] {
            if texts.len() > AUDIENCES_MAX {
                return Err(at.refuse(key, format!("lists more than {AUDIENCES_MAX}")));
            }
        }
        let printable = |text: &str| {
            !text.is_empty()
                && text.len() <= CLIENT_ID_MAX_BYTES
                && !text.chars().any(char::is_control)
        };
        let texts = self
            .audiences
            .iter()
            .map(|text| ("audiences", text))
            .chain(
                self.authorized_parties
                    .iter()
                    .map(|text| ("authorized-parties", text)),
            )
            .chain(self.client_id.iter().map(|text| ("client-id", text)))
            .chain(
                self.public_client_secret
                    .iter()
                    .map(|text| ("public-client-secret", text)),
            );
        for (key, text) in texts {
            if !printable(text) {
                let problem = format!(
                    "`{}` is empty, longer than {CLIENT_ID_MAX_BYTES} bytes, or has control characters in it",
                    text.escape_debug()
                );
                return Err(at.refuse(key, problem));
            }
        }
        Ok(())
    }

    /// What belongs to logging in, and what stands in for it.
    fn check_client(&self, at: &At<'_>) -> Result<(), ConfigError> {
        if self.client_id.is_none() {
            if self.audiences.is_empty() {
                let problem =
                    "is needed, or `audiences`: otherwise no token of this issuer is for this hub";
                return Err(at.refuse("client-id", problem));
            }
            let unused = [
                ("scopes", self.scopes.is_some()),
                ("public-client-secret", self.public_client_secret.is_some()),
                (
                    "authorization-parameters",
                    !self.authorization_parameters.is_empty(),
                ),
                ("redirect-ports", !self.redirect_ports.is_empty()),
            ];
            if let Some((key, _)) = unused.iter().find(|(_, there)| *there) {
                let problem = "has no meaning without `client-id`: nobody logs in at this issuer";
                return Err(at.refuse(key, problem));
            }
        }
        for (name, value) in &self.authorization_parameters {
            let shown = name.escape_debug();
            if OWN_PARAMETERS.contains(&name.as_str()) {
                let problem =
                    format!("`{shown}` is set by the login itself, or would stand in for what is");
                return Err(at.refuse("authorization-parameters", problem));
            }
            let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'.');
            if name.is_empty() || !name.bytes().all(plain) || value.chars().any(char::is_control) {
                let problem = format!("`{shown}` is no parameter, or its value is no plain text");
                return Err(at.refuse("authorization-parameters", problem));
            }
        }
        Ok(())
    }
}

fn algorithms(words: &[String], at: &At<'_>) -> Result<Vec<Algorithm>, ConfigError> {
    let mut known = Vec::new();
    for word in words {
        let shown = word.escape_debug();
        let problem = match word.parse::<Algorithm>() {
            Ok(algorithm) => {
                if !known.contains(&algorithm) {
                    known.push(algorithm);
                }
                continue;
            }
            Err(_) if word.eq_ignore_ascii_case("none") => {
                "`none` is no signature: anybody could write such a token".to_owned()
            }
            Err(_) if word.to_ascii_uppercase().starts_with("HS") => format!(
                "`{shown}` is keyed with a secret that this hub would have to share; use one with a public key"
            ),
            Err(error) => error.to_string(),
        };
        return Err(at.refuse("algorithms", problem));
    }
    if known.is_empty() {
        let problem = "lists none, so no token could be accepted; leave it out for the usual ones";
        return Err(at.refuse("algorithms", problem));
    }
    Ok(known)
}

/// Ports that a person may listen on, each once.
fn check_ports(ports: &[u16], at: &At<'_>) -> Result<(), ConfigError> {
    let refuse = |problem| Err(at.refuse("redirect-ports", problem));
    if ports.len() > REDIRECT_PORTS_MAX {
        return refuse(format!("lists more than {REDIRECT_PORTS_MAX}"));
    }
    for (index, port) in ports.iter().enumerate() {
        if *port < REDIRECT_PORT_MIN {
            return refuse(format!(
                "{port} is below {REDIRECT_PORT_MIN}, where people may not listen"
            ));
        }
        if ports.iter().take(index).any(|earlier| earlier == port) {
            return refuse(format!("{port} is listed twice"));
        }
    }
    Ok(())
}

/// Scopes as RFC 6749 §3.3 has them.
fn check_scopes(scopes: &[String], at: &At<'_>) -> Result<Vec<String>, ConfigError> {
    let mut checked: Vec<String> = Vec::with_capacity(scopes.len());
    for scope in scopes {
        let legal = |c: u8| c.is_ascii_graphic() && c != b'"' && c != b'\\';
        if scope.is_empty() || !scope.bytes().all(legal) {
            let problem = format!("`{}` is not a scope", scope.escape_debug());
            return Err(at.refuse("scopes", problem));
        }
        if !checked.contains(scope) {
            checked.push(scope.clone());
        }
    }
    if !checked.iter().any(|scope| scope == "openid") {
        let problem = "lacks `openid`, without which an issuer gives no ID token";
        return Err(at.refuse("scopes", problem));
    }
    Ok(checked)
}

/// The certificates in a file, as they stand there.
fn authorities(path: &Path, at: &At<'_>) -> Result<String, ConfigError> {
    let text = files::read_text(path, defaults::AUTHORITIES_BYTES)
        .map_err(|error| at.refuse("ca-file", kedge_service::report::chain(&error)))?;
    let mut count = 0;
    for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
        certificate
            .map_err(|error| at.refuse("ca-file", format!("{}: {error}", path.display())))?;
        count += 1;
    }
    if count == 0 {
        let problem = format!(
            "{} has no certificate in it; it must be PEM, with lines `-----BEGIN CERTIFICATE-----`",
            path.display()
        );
        return Err(at.refuse("ca-file", problem));
    }
    Ok(text)
}
