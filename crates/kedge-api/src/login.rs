//! As which unix user a person logs in at a server.
//!
//! - `spec.sshUser` of the server wins;
//! - else the configured claim, checked strictly and never rewritten;
//! - a table of exceptions names the login for single values of it, whatever they look like;
//! - `alice@corp.example` becomes `alice` only where the mapping lists that domain, and only if it is the person's
//!   verified `email`, or the mapping says that the issuer's word is enough;
//! - a login the person asks for is taken as it is, and a policy must list it literally;
//! - nothing to go by is a refusal, never a default user.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::names::{Login, NameError};
use crate::principal::Principal;
use crate::resources::ServerSpec;
use crate::text::Printable;
use crate::wire_enum::closed_enum;

/// How a claim becomes a login. There is one for each issuer, and one for people with static tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct LoginMapping {
    /// The claim that holds the login.
    pub claim: String,
    /// Mail domains whose local part is the login.
    pub local_part_domains: Vec<String>,
    /// What it takes to believe that an address of these domains is the person's.
    pub local_part_trust: LocalPartTrust,
    /// Logins for single values of the claim, compared as they are.
    pub exceptions: BTreeMap<String, Login>,
}

impl Default for LoginMapping {
    fn default() -> Self {
        Self {
            claim: "preferred_username".to_owned(),
            local_part_domains: Vec::new(),
            local_part_trust: LocalPartTrust::default(),
            exceptions: BTreeMap::new(),
        }
    }
}

closed_enum! {
    /// What it takes to believe that a mail address is the person's, so that its local part may be their login.
    ///
    /// The claim `email` itself counts only with `email_verified`, whatever is said here: issuers fill it with what
    /// people type.
    #[derive(Default)]
    LocalPartTrust, "trust in local parts" {
        /// It is the claim `email` too, and the issuer says that it has verified that (`email_verified`).
        #[default]
        EmailVerified = "email-verified",
        /// The issuer wrote it: addresses of the listed domains are its own to give, and nobody chooses theirs.
        Issuer = "issuer",
    }
}

/// A login, and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedLogin {
    /// The unix user.
    pub login: Login,
    /// Where it comes from.
    pub origin: LoginOrigin,
}

closed_enum! {
    /// Where a login comes from.
    LoginOrigin, "origin of a login" {
        /// The person's claim.
        Claim = "claim",
        /// The person asked for it, and the mapping alone would have given another, or none.
        Requested = "requested",
        /// The server's `spec.sshUser`.
        ServerUser = "server-user",
    }
}

/// Why there is no login.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoginError {
    /// The claim is not there.
    #[error("your identity has no claim `{claim}`, which names the login")]
    ClaimMissing {
        /// The claim's name.
        claim: String,
    },
    /// The claim is no string.
    #[error("the claim `{claim}` of your identity is not a text")]
    ClaimNotText {
        /// The claim's name.
        claim: String,
    },
    /// The claim is a mail address of a domain that the mapping does not list.
    #[error("the claim `{claim}` is `{value}`, and logins of that domain are not accepted")]
    DomainNotListed {
        /// The claim's name.
        claim: String,
        /// Its value, made printable.
        value: String,
    },
    /// The claim is a mail address, and there is none in `email` that its issuer could have verified.
    #[error(
        "the claim `{claim}` is a mail address, and your identity has no claim `email` to vouch for it"
    )]
    EmailMissing {
        /// The claim's name.
        claim: String,
    },
    /// The claim is a mail address that its issuer has not verified.
    #[error("the claim `email` is not verified by its issuer")]
    EmailNotVerified,
    /// The claim is a mail address, and the one in `email` is another.
    #[error(
        "the claim `{claim}` is another mail address than the claim `email`, and only that one is ever verified"
    )]
    EmailOther {
        /// The claim's name.
        claim: String,
    },
    /// The claim's text is no unix login.
    #[error("the claim `{claim}` names no legal login")]
    Illegal {
        /// The claim's name.
        claim: String,
        /// What is wrong with it.
        #[source]
        source: NameError,
    },
}

/// A [`LoginError`] told to somebody who asks about another person: the identity is that person's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AboutAnother(pub LoginError);

impl fmt::Display for AboutAnother {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            LoginError::ClaimMissing { claim } => write!(
                f,
                "their identity has no claim `{claim}`, which names the login"
            ),
            LoginError::ClaimNotText { claim } => {
                write!(f, "the claim `{claim}` of their identity is not a text")
            }
            LoginError::EmailMissing { claim } => write!(
                f,
                "the claim `{claim}` is a mail address, and their identity has no claim `email` to vouch for it"
            ),
            error @ (LoginError::DomainNotListed { .. }
            | LoginError::EmailNotVerified
            | LoginError::EmailOther { .. }
            | LoginError::Illegal { .. }) => error.fmt(f),
        }
    }
}

impl Error for AboutAnother {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

impl LoginMapping {
    /// The login of a person at a server.
    ///
    /// A `requested` login is taken as asked; whether it is allowed is the policy's business.
    ///
    /// # Errors
    /// [`LoginError`] when nothing names a login and the person asks for none.
    pub fn map(
        &self,
        principal: &Principal,
        server: &ServerSpec,
        requested: Option<&Login>,
    ) -> Result<MappedLogin, LoginError> {
        let mapped = match &server.ssh_user {
            Some(user) => Ok(MappedLogin {
                login: user.clone(),
                origin: LoginOrigin::ServerUser,
            }),
            None => self.from_claims(principal).map(|login| MappedLogin {
                login,
                origin: LoginOrigin::Claim,
            }),
        };
        match (requested, mapped) {
            (None, mapped) => mapped,
            (Some(wanted), Ok(mapped)) if mapped.login == *wanted => Ok(mapped),
            (Some(wanted), _) => Ok(MappedLogin {
                login: wanted.clone(),
                origin: LoginOrigin::Requested,
            }),
        }
    }

    /// The login that a person's claims alone give.
    ///
    /// # Errors
    /// [`LoginError`] when the claim is absent or names no login.
    pub fn from_claims(&self, principal: &Principal) -> Result<Login, LoginError> {
        let claim = || Printable::new(&self.claim).to_string();
        let value = match principal.claims.get(&self.claim) {
            None | Some(serde_json::Value::Null) => {
                return Err(LoginError::ClaimMissing { claim: claim() });
            }
            Some(serde_json::Value::String(text)) => text.as_str(),
            Some(_) => return Err(LoginError::ClaimNotText { claim: claim() }),
        };
        if let Some(login) = self.exceptions.get(value) {
            if self.claim == EMAIL {
                require_verified(principal)?;
            }
            return Ok(login.clone());
        }
        let local = match value.rsplit_once('@') {
            None => value,
            Some((local, domain)) => {
                if !self
                    .local_part_domains
                    .iter()
                    .any(|listed| listed.eq_ignore_ascii_case(domain))
                {
                    let value = Printable::new(value).to_string();
                    return Err(LoginError::DomainNotListed {
                        claim: claim(),
                        value,
                    });
                }
                self.require_own(principal, local, domain)?;
                local
            }
        };
        local.parse().map_err(|source| LoginError::Illegal {
            claim: claim(),
            source,
        })
    }

    /// A mail address is its owner's only once the issuer has verified it, and what issuers verify is the claim `email`.
    fn require_own(
        &self,
        principal: &Principal,
        local: &str,
        domain: &str,
    ) -> Result<(), LoginError> {
        if self.claim == EMAIL {
            return require_verified(principal);
        }
        match self.local_part_trust {
            LocalPartTrust::Issuer => return Ok(()),
            LocalPartTrust::EmailVerified => {}
        }
        let claim = || Printable::new(&self.claim).to_string();
        let email = match principal.claims.get(EMAIL) {
            None | Some(serde_json::Value::Null) => {
                return Err(LoginError::EmailMissing { claim: claim() });
            }
            Some(serde_json::Value::String(text)) => text.rsplit_once('@'),
            Some(_) => {
                return Err(LoginError::ClaimNotText {
                    claim: EMAIL.to_owned(),
                });
            }
        };
        // Domains have no case. Local parts may have: to some servers `Alice` and `alice` are two people.
        match email {
            Some((user, host)) if user == local && host.eq_ignore_ascii_case(domain) => {
                require_verified(principal)
            }
            Some(_) | None => Err(LoginError::EmailOther { claim: claim() }),
        }
    }
}

fn require_verified(principal: &Principal) -> Result<(), LoginError> {
    match principal.claims.get(EMAIL_VERIFIED) {
        Some(serde_json::Value::Bool(true)) => Ok(()),
        _ => Err(LoginError::EmailNotVerified),
    }
}

const EMAIL: &str = "email";
const EMAIL_VERIFIED: &str = "email_verified";
