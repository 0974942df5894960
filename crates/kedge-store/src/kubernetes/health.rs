//! Whether what is known of the objects is fresh.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use kedge_api::Time;
use tokio::sync::watch;

use crate::kind::Kind;

/// Whether the store hears from the Kubernetes API. Without it, what is known is served on, and changes are refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// Every kind of object is watched.
    Connected {
        /// Since when.
        since: Time,
    },
    /// At least one kind is not; what is known of it may be old.
    Disconnected {
        /// Since when.
        since: Time,
        /// Why, with the API server's URL.
        cause: String,
    },
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected { since } => write!(f, "connected since {since}"),
            Self::Disconnected { since, cause } => write!(
                f,
                "{cause}; since {since} what was known is served, and changes are refused"
            ),
        }
    }
}

/// Where reflectors say how they are.
#[derive(Debug)]
pub(super) struct Pulse {
    url: String,
    // The kinds that are not watched, and why.
    ill: Mutex<BTreeMap<Kind, String>>,
    health: watch::Sender<Health>,
}

impl Pulse {
    /// All is well, as after the first list.
    pub(super) fn new(url: String) -> Arc<Self> {
        let since = Time::from(Timestamp::now());
        Arc::new(Self {
            url,
            ill: Mutex::default(),
            health: watch::Sender::new(Health::Connected { since }),
        })
    }

    pub(super) fn watch(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// A kind is watched.
    pub(super) fn well(&self, kind: Kind) {
        let mut ill = self.ill.lock().unwrap_or_else(PoisonError::into_inner);
        if ill.remove(&kind).is_some() && ill.is_empty() {
            let since = Time::from(Timestamp::now());
            self.health.send_replace(Health::Connected { since });
            tracing::info!(api = %self.url, "the Kubernetes API is there again");
        }
    }

    /// A kind is not.
    pub(super) fn ill(&self, kind: Kind, cause: &str) {
        let mut ill = self.ill.lock().unwrap_or_else(PoisonError::into_inner);
        let first = ill.is_empty();
        ill.insert(kind, cause.to_owned());
        let cause = format!(
            "the Kubernetes API at {} does not tell of {}: {cause}",
            self.url, kind.plural
        );
        if first {
            tracing::warn!(%cause, "what was known is served on, and changes are refused");
            let since = Time::from(Timestamp::now());
            self.health
                .send_replace(Health::Disconnected { since, cause });
        }
    }
}

#[cfg(test)]
mod tests {
    use kedge_api::{AccessPolicy, Server};

    use super::*;

    #[test]
    fn one_kind_that_is_not_watched_is_enough_and_all_must_be_back() {
        let pulse = Pulse::new("https://kube.example".to_owned());
        let health = pulse.watch();
        let connected = || matches!(*health.borrow(), Health::Connected { .. });
        let (servers, policies) = (Kind::of::<Server>(), Kind::of::<AccessPolicy>());
        assert!(connected());
        pulse.ill(servers, "connection refused");
        pulse.ill(policies, "no route");
        let said = health.borrow().to_string();
        assert!(
            said.contains("https://kube.example does not tell of servers: connection refused"),
            "{said}"
        );
        pulse.well(servers);
        assert!(!connected());
        pulse.well(policies);
        assert!(connected());
    }
}
