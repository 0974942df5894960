//! `[[people]]`, `[admins]`, `[login]`: who is known without an issuer, who administers, and as whom people log in.

use std::collections::{BTreeMap, BTreeSet};

use kedge_api::{
    ClaimName, Group, LocalPartTrust, Login, LoginMapping, Principal, Standing, Subject, TokenHash,
};
use kedge_service::{ConfigError, Source};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{defaults, people::Person};

/// Who may read and change everything, whatever policies say: the way in before there is any policy, and when one of
/// them went wrong. It names people of the home issuer and people with static tokens, never those of other issuers.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct AdminsConfig {
    /// People, as policies name them: by the issuer's `user-claim`, or by `subject` with a static token.
    pub users: BTreeSet<String>,
    /// Groups.
    pub groups: BTreeSet<String>,
    /// Claims by name, each with the values that make an administrator: as the claim's text, or in its list.
    pub claims: BTreeMap<String, BTreeSet<String>>,
}

/// How a person becomes a unix user, where the server does not say (`spec.sshUser`).
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LoginConfig {
    /// The claim that holds the login; `preferred_username` unless given.
    pub claim: Option<String>,
    /// Domains whose `alice@domain` becomes `alice`. With none, an address is refused.
    pub local_part_domains: Vec<String>,
    /// Whose word it takes that an address of these domains is the person's. `email-verified`: it is the claim `email`
    /// too, and the issuer says `email_verified: true`. `issuer`: that it stands in the claim is enough; only for
    /// issuers that give addresses of these domains to their owners alone. Unless given, `email-verified`, and `issuer`
    /// for people of the configuration. With `claim = "email"` it always takes `email_verified`.
    pub local_part_trust: Option<LocalPartTrust>,
    /// Logins for single values of the claim: `{ "alice.smith" = "asmith" }`. They win over everything but
    /// `spec.sshUser`.
    pub exceptions: BTreeMap<String, String>,
}

/// One person with a static token.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PersonConfig {
    /// Who it is.
    pub subject: String,
    /// SHA-256 of the token in hex, as `kedge-hub new-token` prints it.
    pub token_sha256: String,
    /// Groups for policies.
    #[serde(default)]
    pub groups: BTreeSet<String>,
    /// Claims for the login mapping and for policies.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub claims: BTreeMap<String, toml::Value>,
}

/// Who administers the hub whatever policies say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admins {
    /// By what policies call them.
    pub users: BTreeSet<String>,
    /// By group.
    pub groups: BTreeSet<String>,
    /// By a claim that has one of these values.
    pub claims: BTreeMap<String, BTreeSet<String>>,
}

impl Admins {
    /// Whether somebody is one of them. People of an issuer that is not home never are: it may call them what it
    /// likes.
    #[must_use]
    pub fn include(&self, principal: &Principal) -> bool {
        principal.standing == Standing::Home
            && (self.users.contains(principal.user.as_str())
                || principal
                    .groups
                    .iter()
                    .any(|group| self.groups.contains(group.as_str()))
                || self.claims.iter().any(|(claim, values)| {
                    principal
                        .claims
                        .get(claim)
                        .is_some_and(|held| has_value(held, values))
                }))
    }
}

fn has_value(held: &serde_json::Value, values: &BTreeSet<String>) -> bool {
    match held {
        serde_json::Value::String(text) => values.contains(text),
        serde_json::Value::Array(list) => list
            .iter()
            .any(|item| item.as_str().is_some_and(|text| values.contains(text))),
        _ => false,
    }
}

impl AdminsConfig {
    pub(super) fn settle(self, source: &Source) -> Result<Admins, ConfigError> {
        for user in &self.users {
            user.parse::<Subject>()
                .map_err(|error| source.refuse("admins.users", error.to_string()))?;
        }
        for group in &self.groups {
            group
                .parse::<Group>()
                .map_err(|error| source.refuse("admins.groups", error.to_string()))?;
        }
        for (claim, values) in &self.claims {
            claim
                .parse::<ClaimName>()
                .map_err(|error| source.refuse("admins.claims", error.to_string()))?;
            if values.is_empty() {
                let problem = format!(
                    "the claim `{}` has no values, so nobody would be an administrator by it",
                    claim.escape_debug()
                );
                return Err(source.refuse("admins.claims", problem));
            }
        }
        Ok(Admins {
            users: self.users,
            groups: self.groups,
            claims: self.claims,
        })
    }
}

impl LoginConfig {
    /// The mapping that `[login]` describes, for people of the configuration: whoever wrote that wrote their claims too.
    pub(super) fn settle_for_people(self, source: &Source) -> Result<LoginMapping, ConfigError> {
        let said = self.local_part_trust;
        Ok(LoginMapping {
            local_part_trust: said.unwrap_or(LocalPartTrust::Issuer),
            ..self.settle(source, "login")?
        })
    }

    /// The mapping that `table` (`issuers[0].login`) describes, for people of an issuer.
    pub(super) fn settle(self, source: &Source, table: &str) -> Result<LoginMapping, ConfigError> {
        let mut mapping = LoginMapping {
            local_part_trust: self.local_part_trust.unwrap_or_default(),
            ..LoginMapping::default()
        };
        if let Some(claim) = self.claim {
            claim
                .parse::<ClaimName>()
                .map_err(|error| source.refuse(&format!("{table}.claim"), error.to_string()))?;
            mapping.claim = claim;
        }
        for domain in &self.local_part_domains {
            if domain.is_empty() || domain.contains('@') {
                return Err(source.refuse(
                    &format!("{table}.local-part-domains"),
                    format!(
                        "`{}` is not a domain, such as `corp.example`",
                        domain.escape_debug()
                    ),
                ));
            }
        }
        mapping.local_part_domains = self.local_part_domains;
        if self.local_part_trust == Some(LocalPartTrust::Issuer) && mapping.claim == "email" {
            let problem =
                "has no meaning with `claim = \"email\"`, which counts only with `email_verified`";
            return Err(source.refuse(&format!("{table}.local-part-trust"), problem));
        }
        for (value, login) in self.exceptions {
            let login = login.parse::<Login>().map_err(|error| {
                source.refuse(
                    &format!("{table}.exceptions"),
                    format!("for `{}`: {error}", value.escape_debug()),
                )
            })?;
            mapping.exceptions.insert(value, login);
        }
        Ok(mapping)
    }
}

pub(super) fn settle(
    people: Vec<PersonConfig>,
    source: &Source,
) -> Result<Vec<Person>, ConfigError> {
    if people.len() > defaults::PEOPLE {
        let problem = format!(
            "more than {} people; static tokens are for trying out, see [[issuers]]",
            defaults::PEOPLE
        );
        return Err(source.refuse("people", problem));
    }
    let mut subjects = BTreeSet::new();
    let mut tokens = BTreeSet::new();
    let mut settled = Vec::with_capacity(people.len());
    for (index, person) in people.into_iter().enumerate() {
        let refuse =
            |key: &str, problem: String| source.refuse(&format!("people[{index}].{key}"), problem);
        let shown = person.subject.escape_debug().to_string();
        let subject = person
            .subject
            .parse::<Subject>()
            .map_err(|error| refuse("subject", error.to_string()))?;
        // What stands there may be the token itself by mistake, so it is not repeated.
        let token = person
            .token_sha256
            .to_ascii_lowercase()
            .parse::<TokenHash>()
            .map_err(|_| {
                let problem = format!(
                    "is not 64 hex digits (of `{shown}`); `kedge-hub new-token` prints one"
                );
                refuse("token-sha256", problem)
            })?;
        let groups = person
            .groups
            .iter()
            .map(|group| group.parse::<Group>())
            .collect::<Result<_, _>>()
            .map_err(|error| refuse("groups", format!("of `{shown}`: {error}")))?;
        if !subjects.insert(person.subject.clone()) {
            return Err(refuse("subject", format!("`{shown}` is listed twice")));
        }
        if !tokens.insert(token.to_string()) {
            return Err(refuse(
                "token-sha256",
                format!("`{shown}` has the token of somebody else"),
            ));
        }
        let claims = person
            .claims
            .into_iter()
            .map(|(name, value)| match serde_json::to_value(&value) {
                Ok(value) => Ok((name, value)),
                Err(error) => Err(refuse("claims", format!("of `{shown}`: {error}"))),
            })
            .collect::<Result<_, _>>()?;
        settled.push(Person {
            subject,
            token,
            groups,
            claims,
        });
    }
    Ok(settled)
}
