//! What the agent is doing, said once and shown to all who ask: the service manager (`STATUS=`), probes, and the
//! control socket.
//!
//! ```text
//!  not joined ─► joining ─► connecting ◄─► connected        any ─► draining
//!      └───────────────────────┘ `kedge-agent join`
//! ```

use std::time::Duration;

use jiff::Timestamp;
use kedge_api::control::{AgentState, AgentStatus};
use kedge_api::{HubUrl, ServerName};
use kedge_service::{Notifier, Readiness, Shutdown};
use tokio::sync::watch;

use crate::VERSION;

/// What the agent is doing. Clones are handles to the same.
#[derive(Clone, Debug)]
pub struct Standing {
    now: watch::Sender<Now>,
    notifier: Notifier,
    readiness: Readiness,
    shutdown: Shutdown,
}

#[derive(Clone, Debug)]
struct Now {
    name: Option<ServerName>,
    hub: Option<HubUrl>,
    state: AgentState,
    since: Timestamp,
    reason: Option<String>,
    /// Why an older configuration is in use, until a reload succeeds.
    stale: Option<String>,
    /// Whether the service manager has heard of it: its first word is READY.
    announced: bool,
}

impl Standing {
    /// An agent that has not joined, and has told nobody yet.
    #[must_use]
    pub fn new(notifier: Notifier, readiness: Readiness, shutdown: Shutdown) -> Self {
        readiness.missing(PART, "not dialled yet");
        let now = Now {
            name: None,
            hub: None,
            state: AgentState::NotJoined,
            since: Timestamp::now(),
            reason: None,
            stale: None,
            announced: false,
        };
        Self {
            now: watch::Sender::new(now),
            notifier,
            readiness,
            shutdown,
        }
    }

    /// The agent is this server of that hub.
    pub fn is(&self, name: ServerName, hub: HubUrl) {
        self.change(|now| {
            now.name = Some(name);
            now.hub = Some(hub);
            now.enter(AgentState::Connecting, None);
        });
    }

    /// It waits for somebody to join it, because of `reason` if that is more than that nobody did.
    pub fn not_joined(&self, reason: Option<String>) {
        let missing = reason.clone().unwrap_or_else(|| NOT_JOINED.to_owned());
        self.readiness.missing(PART, missing);
        self.change(|now| {
            now.name = None;
            now.hub = None;
            now.enter(AgentState::NotJoined, reason);
        });
    }

    /// It joins by itself.
    pub fn joining(&self, hub: HubUrl, name: Option<ServerName>, reason: Option<String>) {
        let missing = reason.clone();
        self.readiness
            .missing(PART, missing.unwrap_or_else(|| "joining".to_owned()));
        self.change(|now| {
            now.name = name;
            now.hub = Some(hub);
            now.enter(AgentState::Joining, reason);
        });
    }

    /// There is no link, because of `reason`, and `again` until the next attempt.
    pub fn waits(&self, reason: &str, again: Duration) {
        self.readiness.missing(PART, reason);
        let reason = waiting(reason, again);
        self.change(|now| now.enter(AgentState::Connecting, Some(reason)));
    }

    /// There is a link.
    pub fn connected(&self) {
        self.readiness.present(PART);
        self.change(|now| now.enter(AgentState::Connected, None));
    }

    /// The agent stops.
    pub fn draining(&self) {
        self.change_quietly(|now| now.enter(AgentState::Draining, None));
        self.notifier.stopping(&self.words());
    }

    /// The agent has started: the service manager need not wait.
    pub fn ready(&self) {
        self.now.send_if_modified(|now| {
            now.announced = true;
            false
        });
        self.notifier.ready(&self.words());
    }

    /// A reload begins; [`Self::reloaded`] ends it.
    pub fn reloading(&self) {
        self.notifier.reloading();
    }

    /// A reload is over: with the new configuration, or with the old one because of `stale`.
    pub fn reloaded(&self, stale: Option<String>) {
        self.change_quietly(|now| now.stale = stale);
        self.ready();
    }

    /// Tells the service manager again: sessions have come and gone.
    pub fn refresh(&self) {
        self.notifier.status(&self.words());
    }

    /// What it is doing.
    #[must_use]
    pub fn state(&self) -> AgentState {
        self.now.borrow().state
    }

    /// Which server of which hub it is, when it knows.
    #[must_use]
    pub fn identity(&self) -> Option<(ServerName, HubUrl)> {
        let now = self.now.borrow();
        match now.state {
            AgentState::Joining | AgentState::NotJoined => None,
            _ => now.name.clone().zip(now.hub.clone()),
        }
    }

    /// Pends until it does what `is_it` asks for.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn reached(&self, is_it: impl Fn(AgentState) -> bool) {
        // It fails only when the sender is gone, and `self` holds it.
        let _ = self.now.subscribe().wait_for(|now| is_it(now.state)).await;
    }

    /// All of it, for the control socket. `target` is where sessions go.
    #[must_use]
    pub fn status(&self, target: String) -> AgentStatus {
        let now = self.now.borrow().clone();
        let reason = match (now.state, now.reason, now.stale) {
            (AgentState::NotJoined, None, None) => Some(NOT_JOINED.to_owned()),
            (_, reason, None) => reason,
            (_, None, stale) => stale,
            (_, Some(reason), Some(stale)) => Some(format!("{reason}; {stale}")),
        };
        AgentStatus {
            name: now.name,
            hub: now.hub,
            state: now.state,
            since: now.since.into(),
            sessions: u64::try_from(self.shutdown.sessions().count()).unwrap_or(u64::MAX),
            target,
            version: VERSION.to_owned(),
            reason,
        }
    }

    fn change(&self, change: impl FnOnce(&mut Now)) {
        self.change_quietly(change);
        let told = {
            let now = self.now.borrow();
            now.announced && now.state != AgentState::Draining
        };
        if told {
            self.notifier.status(&self.words());
        }
    }

    /// Who is draining does nothing else any more.
    fn change_quietly(&self, change: impl FnOnce(&mut Now)) {
        self.now.send_if_modified(|now| {
            let over = now.state == AgentState::Draining;
            if !over {
                change(now);
            }
            !over
        });
    }

    fn words(&self) -> String {
        let sessions = self.shutdown.sessions().count();
        self.now.borrow().words(sessions)
    }
}

impl Now {
    fn enter(&mut self, state: AgentState, reason: Option<String>) {
        if self.state != state {
            self.state = state;
            self.since = Timestamp::now();
        }
        self.reason = reason;
    }

    /// As `systemctl status` shows it.
    fn words(&self, sessions: usize) -> String {
        let hub = self
            .hub
            .as_ref()
            .map_or_else(String::new, HubUrl::to_string);
        let name = self
            .name
            .as_ref()
            .map_or_else(String::new, |name| format!(" as {name}"));
        let mut words = match self.state {
            AgentState::Connected => {
                format!("connected to {hub}{name}, {}", counted(sessions))
            }
            AgentState::Connecting => format!("connecting to {hub}{name}"),
            AgentState::Draining => format!("stopping; {} may finish", counted(sessions)),
            AgentState::Joining => format!("joining {hub}{name}"),
            _ if self.reason.is_none() => NOT_JOINED.to_owned(),
            _ => "has not joined a hub".to_owned(),
        };
        if let Some(reason) = &self.reason {
            words.push_str(": ");
            words.push_str(reason);
        }
        if let Some(stale) = &self.stale {
            words.push_str("; ");
            words.push_str(stale);
        }
        words
    }
}

/// `connection refused, again in 8 s`
#[must_use]
pub fn waiting(reason: &str, again: Duration) -> String {
    format!(
        "{reason}, again in {:.0} s",
        again.as_secs_f64().ceil().max(1.0)
    )
}

fn counted(sessions: usize) -> String {
    match sessions {
        1 => "1 session".to_owned(),
        many => format!("{many} sessions"),
    }
}

/// What an agent says that nobody has joined.
pub const NOT_JOINED: &str = "has not joined a hub: kedge-agent join HUB --token-file FILE";

/// What probes are told is missing.
const PART: &str = "hub";

#[cfg(test)]
mod tests {
    use super::*;

    fn standing() -> Standing {
        let notifier = Notifier::from_environment();
        Standing::new(notifier, Readiness::new(), Shutdown::new())
    }

    fn hub() -> HubUrl {
        "https://hub:8443".parse().unwrap()
    }

    fn status(standing: &Standing) -> AgentStatus {
        standing.status("tcp:127.0.0.1:22".to_owned())
    }

    #[test]
    fn the_words_say_what_is_waited_for() {
        let standing = standing();
        assert_eq!(standing.words(), NOT_JOINED);
        assert_eq!(status(&standing).reason.as_deref(), Some(NOT_JOINED));
        standing.not_joined(Some("identity.json cannot be read".to_owned()));
        assert_eq!(
            standing.words(),
            "has not joined a hub: identity.json cannot be read"
        );
        let again = waiting("connection refused", Duration::from_millis(7200));
        standing.joining(hub(), Some("web01".parse().unwrap()), Some(again));
        assert_eq!(
            standing.words(),
            "joining https://hub:8443 as web01: connection refused, again in 8 s"
        );
        standing.is("web01".parse().unwrap(), hub());
        assert_eq!(standing.words(), "connecting to https://hub:8443 as web01");
        standing.waits("connection refused", Duration::from_millis(20));
        assert_eq!(
            standing.words(),
            "connecting to https://hub:8443 as web01: connection refused, again in 1 s"
        );
        standing.connected();
        assert_eq!(
            standing.words(),
            "connected to https://hub:8443 as web01, 0 sessions"
        );
        standing.draining();
        assert_eq!(standing.words(), "stopping; 0 sessions may finish");
        // The tunnel's end is no news any more.
        standing.waits("the link ended", Duration::ZERO);
        assert_eq!(standing.state(), AgentState::Draining);
    }

    #[test]
    fn a_failed_reload_is_told_until_one_succeeds() {
        let standing = standing();
        standing.is("web01".parse().unwrap(), hub());
        standing.reloaded(Some("the old configuration stays: x".to_owned()));
        standing.connected();
        assert!(
            standing
                .words()
                .ends_with(", 0 sessions; the old configuration stays: x")
        );
        assert_eq!(
            status(&standing).reason.as_deref(),
            Some("the old configuration stays: x")
        );
        standing.reloaded(None);
        assert_eq!(status(&standing).reason, None);
    }

    #[test]
    fn since_is_when_the_state_began_and_not_its_last_reason() {
        let standing = standing();
        standing.is("web01".parse().unwrap(), hub());
        let began = standing.now.borrow().since;
        standing.waits("a", Duration::ZERO);
        standing.waits("b", Duration::ZERO);
        assert_eq!(standing.now.borrow().since, began);
        assert_eq!(standing.identity(), Some(("web01".parse().unwrap(), hub())));
    }
}
