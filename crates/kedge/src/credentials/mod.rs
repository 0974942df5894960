//! The login at a hub: where its token comes from, and how it stays good.
//!
//! ```text
//!  kedge login ──► credentials.json ──► Credentials::token ──► Authorization: Bearer …
//!                      ▲                        │ ends soon, or the hub refused it
//!                      └── write ◄── ask ◄── make room ◄── read again ◄── lock
//! ```
//!
//! - Whoever holds the lock may ask the issuer, or run the command; the others find what it brought.
//! - Room on the disk comes first: an issuer may take the old refresh token back with the answer.
//! - A refresh token that was refused is dropped, so that nothing is tried in vain again.
//!
//! It is not what decides whether a token is good: the hub does. What is read out of one here says when
//! to renew it, and nothing else.

mod command;
pub mod issuer;
mod lock;
mod shield;
mod store;
mod stored;
mod text;

use std::path::PathBuf;

use jiff::Timestamp;
use kedge_api::Time;
use kedge_identity::login::{RefreshError, TokenSet};
use kedge_service::files::FileError;
use kedge_service::report::chain;
use kedge_tunnel::ProxyEnvironment;
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;

pub use command::CommandError;
pub use lock::{Held, LockError, hold};
pub(crate) use shield::leave_signals_alone;
pub use store::{Store, StoreError};
pub use stored::{
    CachedToken, CommandToken, FileToken, Kind, OidcLogin, StaticToken, Stored, Unavailable,
};
pub use text::{TokenTextError, is_static, token as token_from};

use crate::defaults;

/// The login at one hub.
#[derive(Clone, Debug)]
pub struct Credentials {
    store: Store,
    proxies: ProxyEnvironment,
}

/// Why there is no token.
#[derive(Debug, Error)]
pub enum CredentialError {
    /// The command that prints it.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The login is over, and nothing renews it.
    #[error("the login ended {}", crate::words::ago(*ended, *now))]
    Ended {
        /// When.
        ended: Time,
        /// Now.
        now: Time,
    },
    /// The issuer cannot be asked as it was described.
    #[error("cannot ask the issuer {issuer}")]
    Issuer {
        /// Who.
        issuer: String,
        /// Why.
        source: Box<kedge_tunnel::DialError>,
    },
    /// Another process keeps the lock.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// There is no login.
    #[error("nobody is logged in")]
    Missing,
    /// The issuer does not renew it.
    #[error("the issuer {issuer} does not renew the login: {refusal}")]
    Rejected {
        /// Who.
        issuer: String,
        /// Its words for why.
        refusal: String,
    },
    /// There is no room for the new login, so it was not asked for.
    #[error("the login was not renewed")]
    Room(#[source] FileError),
    /// It was renewed, and is lost.
    #[error("the login was renewed and could not be kept")]
    Save(#[source] FileError),
    /// The stored login.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file that holds the token.
    #[error("the token file cannot be used")]
    TokenFile(#[source] FileError),
    /// The file holds something else.
    #[error("{} holds no token", path.display())]
    TokenText {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: TokenTextError,
    },
    /// The issuer's answer is no login.
    #[error("the login ended and what the issuer {issuer} sent to renew it is no good: {cause}")]
    Unusable {
        /// Who.
        issuer: String,
        /// What is wrong.
        cause: String,
    },
    /// The login is over, and the issuer does not answer.
    #[error("the login ended and the issuer {issuer} cannot renew it now: {cause}")]
    Unavailable {
        /// Who.
        issuer: String,
        /// What is wrong.
        cause: String,
    },
}

impl CredentialError {
    /// Whether a new login is what helps.
    #[must_use]
    pub fn needs_login(&self) -> bool {
        matches!(
            self,
            Self::Ended { .. } | Self::Missing | Self::Rejected { .. } | Self::Unusable { .. }
        )
    }
}

/// A token and how it was had.
#[derive(Clone, Debug)]
pub struct Token {
    /// What the hub is shown.
    pub text: SecretString,
    /// How it was had.
    pub kind: Kind,
}

/// Why another token is wanted.
#[derive(Clone, Copy)]
enum Wanted<'a> {
    /// The stored one ends soon.
    Fresh,
    /// The hub does not take this one, though it has not ended.
    OtherThan(&'a SecretString),
}

impl Credentials {
    /// The login that a store holds, or will.
    #[must_use]
    pub fn new(store: Store, proxies: ProxyEnvironment) -> Self {
        Self { store, proxies }
    }

    /// A token that is good for a while, renewed if need be.
    ///
    /// # Errors
    ///
    /// [`CredentialError`]; the login is kept, but for a refresh token that the issuer refused.
    ///
    /// # Cancel safety
    ///
    /// Not to be cancelled: an answer of the issuer that nobody takes may be the only way to the next.
    pub async fn token(&self) -> Result<Token, CredentialError> {
        let stored = self.store.load()?.ok_or(CredentialError::Missing)?;
        let kind = stored.kind();
        let text = match ready(&stored, Wanted::Fresh, now()) {
            Some(token) => token,
            None => match stored {
                Stored::File(file) => read_file(&file)?,
                other => self.renew(other, Wanted::Fresh).await?,
            },
        };
        Ok(Token { text, kind })
    }

    /// Whether a token is at hand that is good for a while, as far as can be told without asking anybody.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        match self.store.load() {
            Ok(Some(Stored::File(file))) => read_file(&file).is_ok(),
            Ok(Some(stored)) => ready(&stored, Wanted::Fresh, now()).is_some(),
            Ok(None) | Err(_) => false,
        }
    }

    /// Another token than one that the hub refused although it has not ended; `None` when there is no
    /// other to be had.
    ///
    /// # Errors
    ///
    /// As [`Self::token`].
    ///
    /// # Cancel safety
    ///
    /// As [`Self::token`].
    pub async fn other_than(
        &self,
        refused: &SecretString,
    ) -> Result<Option<SecretString>, CredentialError> {
        let differs = |token: &SecretString| token.expose_secret() != refused.expose_secret();
        let Some(stored) = self.store.load()? else {
            return Ok(None);
        };
        let token = match stored {
            Stored::Static(fixed) => fixed.token,
            Stored::File(file) => read_file(&file)?,
            // Without a refresh token a login has nothing else to show.
            Stored::Oidc(login) if login.refresh_token.is_none() => login.id_token,
            other => self.renew(other, Wanted::OtherThan(refused)).await?,
        };
        Ok(Some(token).filter(differs))
    }

    /// Waits for other processes that are at this login.
    ///
    /// # Errors
    ///
    /// [`LockError`]
    ///
    /// # Cancel safety
    ///
    /// Nothing is held afterwards.
    pub async fn lock(&self) -> Result<Held, LockError> {
        lock::hold(&self.store.lock_file()).await
    }

    async fn renew(
        &self,
        stored: Stored,
        wanted: Wanted<'_>,
    ) -> Result<SecretString, CredentialError> {
        let began = now();
        let held = match self.lock().await {
            Ok(held) => held,
            // Whoever keeps the lock may be waiting for an issuer that is silent.
            Err(late @ LockError::Late { .. }) => {
                return still_good(&stored, wanted).ok_or(late.into());
            }
            Err(error) => return Err(error.into()),
        };
        let stored = self.store.load()?.ok_or(CredentialError::Missing)?;
        if let Some(token) = ready(&stored, wanted, now()) {
            return Ok(token);
        }
        let renewed = match stored {
            Stored::Command(stored) => self.run(stored).await,
            Stored::File(file) => read_file(&file),
            Stored::Oidc(login) => self.refresh(*login, wanted, began).await,
            Stored::Static(fixed) => Ok(fixed.token),
        };
        drop(held);
        renewed
    }

    async fn run(&self, stored: CommandToken) -> Result<SecretString, CredentialError> {
        let token = command::run(&stored.command).await?;
        let had = stored.cached.is_some();
        let cached = cache(&token, now());
        // One that does not say when it ends may be somebody's lasting secret: it is not kept.
        if cached.is_some() || had {
            let stored = Stored::Command(CommandToken { cached, ..stored });
            // Without a place to keep it, the command is run again: slower, and nothing worse.
            let _ = self
                .store
                .reserve()
                .and_then(|room| self.store.save(room, &stored));
        }
        Ok(token)
    }

    async fn refresh(
        &self,
        login: OidcLogin,
        wanted: Wanted<'_>,
        began: Time,
    ) -> Result<SecretString, CredentialError> {
        let start = now();
        let is_good = stored::is_good(login.expires_at, start);
        let issuer = login.issuer.issuer.to_string();
        let keeps = is_good && matches!(wanted, Wanted::Fresh);
        let Some(refresh_token) = login.refresh_token.clone() else {
            let ended = login.expires_at;
            return match is_good {
                true => Ok(login.id_token),
                false => Err(CredentialError::Ended { ended, now: start }),
            };
        };
        if let Some(tried) = &login.unavailable {
            // Somebody tried while we waited; and a good token need not wait for each try again.
            let pause = defaults::UNAVAILABLE_PAUSE;
            if keeps && start.saturating_since(tried.at) < pause {
                return Ok(login.id_token);
            }
            if tried.at > began {
                let cause = tried.cause.clone();
                return Err(CredentialError::Unavailable { issuer, cause });
            }
        }
        // Until what the issuer sent is kept.
        let _shield = shield::Shield::raise();
        let room = match self.store.reserve() {
            Ok(room) => room,
            Err(_) if keeps => return Ok(login.id_token),
            Err(error) => return Err(CredentialError::Room(error)),
        };
        let failed = match issuer::refresh(&login, &refresh_token, &self.proxies).await {
            Ok(tokens) => {
                let renewed = renewed(login, tokens);
                let token = renewed.id_token.clone();
                return match self.store.save(room, &Stored::Oidc(Box::new(renewed))) {
                    Ok(()) => Ok(token),
                    Err(error) => Err(CredentialError::Save(error)),
                };
            }
            Err(failed) => failed,
        };
        match failed {
            issuer::Failed::Asking(source) => Err(CredentialError::Issuer {
                issuer,
                source: Box::new(source),
            }),
            issuer::Failed::Refresh(RefreshError::Rejected { refusal, .. }) => {
                let spent = OidcLogin {
                    refresh_token: None,
                    unavailable: None,
                    ..login
                };
                // At worst it is tried, and refused, once more.
                let _ = self.store.save(room, &Stored::Oidc(Box::new(spent)));
                let refusal = refusal.to_string();
                Err(CredentialError::Rejected { issuer, refusal })
            }
            issuer::Failed::Refresh(error) => {
                let cause = chain(&error);
                let token = login.id_token.clone();
                let tried = OidcLogin {
                    unavailable: Some(Unavailable {
                        at: now(),
                        cause: cause.clone(),
                    }),
                    ..login
                };
                let _ = self.store.save(room, &Stored::Oidc(Box::new(tried)));
                match error {
                    _ if keeps => Ok(token),
                    RefreshError::Unusable(_) => Err(CredentialError::Unusable { issuer, cause }),
                    _ => Err(CredentialError::Unavailable { issuer, cause }),
                }
            }
        }
    }
}

/// What is stored when somebody has logged in at an issuer.
#[must_use]
pub fn logged_in(issuer: kedge_api::rest::IssuerInfo, tokens: TokenSet) -> OidcLogin {
    OidcLogin {
        issuer,
        subject: tokens.subject,
        id_token: tokens.id_token,
        refresh_token: tokens.refresh_token,
        since: tokens.issued_at,
        expires_at: tokens.expires_at,
        unavailable: None,
    }
}

/// The same for a command that has printed its first token.
#[must_use]
pub fn of_command(command: &str, token: &SecretString) -> Stored {
    Stored::Command(CommandToken {
        command: command.to_owned(),
        cached: cache(token, now()),
    })
}

/// Runs a token command, as it will be run later.
///
/// # Errors
///
/// [`CommandError`]
///
/// # Cancel safety
///
/// The command is ended.
pub async fn run_command(command: &str) -> Result<SecretString, CommandError> {
    command::run(command).await
}

/// Reads a token file, as it will be read later.
///
/// # Errors
///
/// [`CredentialError`]
pub fn read_file(file: &FileToken) -> Result<SecretString, CredentialError> {
    let read = text::read_file(&file.path).map_err(CredentialError::TokenFile)?;
    read.map_err(|source| CredentialError::TokenText {
        path: file.path.clone(),
        source,
    })
}

/// The stored token, where it is what is wanted.
fn ready(stored: &Stored, wanted: Wanted<'_>, now: Time) -> Option<SecretString> {
    let (token, since, expires_at) = match stored {
        Stored::Command(CommandToken {
            cached: Some(cached),
            ..
        }) => (&cached.token, cached.since, cached.expires_at),
        Stored::Oidc(login) => (&login.id_token, login.since, login.expires_at),
        Stored::Static(fixed) => return Some(fixed.token.clone()),
        Stored::Command(_) | Stored::File(_) => return None,
    };
    let is_wanted = stored::is_fresh(since, expires_at, now)
        && match wanted {
            Wanted::Fresh => true,
            Wanted::OtherThan(refused) => token.expose_secret() != refused.expose_secret(),
        };
    is_wanted.then(|| token.clone())
}

/// The stored token, if it will do for want of a better one.
fn still_good(stored: &Stored, wanted: Wanted<'_>) -> Option<SecretString> {
    match (stored, wanted) {
        (Stored::Oidc(login), Wanted::Fresh) if stored::is_good(login.expires_at, now()) => {
            Some(login.id_token.clone())
        }
        _ => None,
    }
}

fn renewed(login: OidcLogin, tokens: TokenSet) -> OidcLogin {
    OidcLogin {
        id_token: tokens.id_token,
        // An issuer that does not rotate them sends none.
        refresh_token: tokens.refresh_token.or(login.refresh_token),
        since: tokens.issued_at,
        expires_at: tokens.expires_at,
        unavailable: None,
        ..login
    }
}

fn cache(token: &SecretString, now: Time) -> Option<CachedToken> {
    let expires_at = kedge_identity::unverified_expiry(token.expose_secret())?;
    Some(CachedToken {
        token: token.clone(),
        since: now,
        expires_at,
    })
}

fn now() -> Time {
    Timestamp::now().into()
}
