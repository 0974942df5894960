//! The keys that servers are reached with: read from their Secrets when a session needs one, checked, and kept nowhere.
//!
//! ```text
//!  Server spec.sshKeySecretRef ─▶ namespace listed? ─▶ read the Secret ─▶ offered to this server? ─▶ a usable key?
//!                                      └────────────────── no: one error, and the same in the server's condition ──┘
//! ```
//!
//! Nothing here falls back to another way in: a server whose key cannot be used is not reached.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Instant,
};

use kedge_api::{
    Fingerprint, Namespace, SERVERS_ANNOTATION, SecretRef, Server, ServerName, ServerOffer,
    SshKeySource, Status, StatusReason, text::Printable,
};
use kedge_service::report::chain;
use kedge_signer::{KeyError, PrivateKey, Unbound};
use kedge_store::{SecretError, SharedSecrets};
use tokio::time::timeout;

use crate::{app::App, config::SecretsSettings, defaults, metrics::Outcome, sync::locked};

/// What hands out keys.
#[derive(Debug)]
pub struct Keyring {
    secrets: SharedSecrets,
    settings: SecretsSettings,
    verdicts: Mutex<BTreeMap<ServerName, Verdict>>,
}

/// A key that was read, and when.
#[derive(Clone, Debug)]
pub struct ReadKey {
    /// The key.
    pub key: Arc<PrivateKey>,
    /// Since when it is known.
    pub read: Instant,
}

/// What was last found about a server's key: its condition says the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The reference that was followed.
    pub source: SshKeySource,
    /// The key's fingerprint, or what is wrong.
    pub found: Result<Fingerprint, Problem>,
}

/// What is wrong with a server's key, for its condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// In one CamelCase word.
    pub reason: &'static str,
    /// In a sentence.
    pub message: String,
}

/// Why a server's key cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the key of `{server}` ({source_ref}) cannot be used")]
pub struct KeyUnavailable {
    /// Which server.
    pub server: ServerName,
    /// What its specification refers to.
    pub source_ref: SshKeySource,
    /// Why.
    #[source]
    pub cause: Cause,
}

/// What keeps a key from being used.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The annotation is neither a list of names nor a selector.
    #[error("the Secret's annotation {SERVERS_ANNOTATION} is unreadable: {problem}")]
    AnnotationUnreadable {
        /// What is wrong with it.
        problem: String,
    },
    /// The Secret holds something else.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The hub's configuration does not list the namespace.
    #[error(
        "this hub may not use Secrets of namespace `{namespace}`: secrets.namespaces does not list it"
    )]
    NamespaceNotListed {
        /// Which.
        namespace: Namespace,
    },
    /// Its owner has not said for which servers it is, and must.
    #[error(
        "the Secret has no annotation {SERVERS_ANNOTATION}, and this hub uses none without (secrets.require-annotation)"
    )]
    NotAnnotated,
    /// Its owner means it for other servers.
    #[error("the Secret's annotation {SERVERS_ANNOTATION} does not offer it to this server")]
    NotOffered,
    /// The Secret cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Reading it took too long.
    #[error("the Secret was not read within {} s", defaults::KEY_READ.as_secs())]
    Slow,
}

impl Cause {
    /// In one CamelCase word, for programs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::AnnotationUnreadable { .. } => "AnnotationUnreadable",
            Self::Key(_) => "KeyUnusable",
            Self::NamespaceNotListed { .. } => "NamespaceNotListed",
            Self::NotAnnotated => "NotAnnotated",
            Self::NotOffered => "NotOffered",
            Self::Secret(error) => error.reason(),
            Self::Slow => "SecretUnavailable",
        }
    }
}

impl KeyUnavailable {
    /// All of it in one line: for the person, the log and the condition. A Secret's content is in none of it.
    #[must_use]
    pub fn words(&self) -> String {
        Printable::new(&chain(self)).to_string()
    }

    /// As an answer of the REST API: 502, since what failed is behind the hub.
    #[must_use]
    pub fn status(&self) -> Status {
        Status::new(StatusReason::CredentialsUnavailable, self.words())
            .about::<Server>(self.server.as_str())
    }
}

impl Keyring {
    /// Keys from these Secrets, as the configuration allows.
    #[must_use]
    pub fn new(secrets: SharedSecrets, settings: SecretsSettings) -> Self {
        Self {
            secrets,
            settings,
            verdicts: Mutex::default(),
        }
    }

    /// For which clients the signer works.
    #[must_use]
    pub const fn unbound(&self) -> Unbound {
        if self.settings.allow_unbound_clients {
            Unbound::Allow
        } else {
            Unbound::Refuse
        }
    }

    /// What was last found about a server's key.
    #[must_use]
    pub fn verdict(&self, server: &ServerName) -> Option<Verdict> {
        locked(&self.verdicts).get(server).cloned()
    }

    /// Forgets servers that are gone, so that the list is never longer than there are servers.
    pub fn forget(&self, server: &ServerName) {
        locked(&self.verdicts).remove(server);
    }

    async fn read(&self, server: &Server, source: &SshKeySource) -> Result<Arc<PrivateKey>, Cause> {
        let SecretRef { namespace, .. } = &source.secret;
        if !self.settings.namespaces.contains(namespace) {
            return Err(Cause::NamespaceNotListed {
                namespace: namespace.clone(),
            });
        }
        let reading = self.secrets.field(&source.secret, &source.key);
        let field = timeout(defaults::KEY_READ, reading)
            .await
            .map_err(|_| Cause::Slow)??;
        // Who may have it is asked before what it is.
        match &field.servers {
            Some(text) => {
                let offer: ServerOffer = text.parse().map_err(|error: kedge_api::NameError| {
                    Cause::AnnotationUnreadable {
                        problem: error.to_string(),
                    }
                })?;
                if !offer.covers(&server.name(), &server.metadata.labels) {
                    return Err(Cause::NotOffered);
                }
            }
            None if self.settings.require_annotation => return Err(Cause::NotAnnotated),
            None => {}
        }
        // Checking a large RSA key takes milliseconds, in which others' bytes would wait.
        let parsed = tokio::task::spawn_blocking(move || PrivateKey::parse(&field.bytes)).await;
        match parsed {
            Ok(key) => Ok(Arc::new(key?)),
            // The runtime ends, and with it whoever asks.
            Err(_) => Err(Cause::Slow),
        }
    }

    /// Notes what was found; says whether it is news.
    fn note(&self, server: &ServerName, verdict: Verdict) -> bool {
        let mut verdicts = locked(&self.verdicts);
        if verdicts.get(server) == Some(&verdict) {
            return false;
        }
        verdicts.insert(server.clone(), verdict);
        true
    }
}

/// Reads the key that a server is reached with; `None` when people come with their own.
///
/// # Errors
/// [`KeyUnavailable`]. The server's condition says the same soon after.
///
/// # Cancel safety
/// Cancel safe: it only reads, and notes what it found.
pub async fn key_of(app: &App, server: &Server) -> Result<Option<ReadKey>, KeyUnavailable> {
    let Some(source) = server.spec.ssh_key() else {
        return Ok(None);
    };
    let name = server.name();
    let result = app.keyring.read(server, &source).await;
    app.metrics.key_read(match &result {
        Ok(_) => Outcome::Accepted,
        Err(_) => Outcome::Refused,
    });
    let result = result.map_err(|cause| KeyUnavailable {
        server: name.clone(),
        source_ref: source.clone(),
        cause,
    });
    let found = match &result {
        Ok(key) => Ok(key.public().fingerprint()),
        Err(error) => Err(Problem {
            reason: error.cause.reason(),
            message: error.words(),
        }),
    };
    if app.keyring.note(&name, Verdict { source, found }) {
        app.presence.mark(name);
    }
    result.map(|key| {
        Some(ReadKey {
            key,
            read: Instant::now(),
        })
    })
}
