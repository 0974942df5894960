//! `[session]`, `[limits]`, `[tunnel]`, `[history]`, `[shutdown]`: how long and how much.

use std::time::Duration;

use kedge_service::{ConfigError, Source};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::defaults;

/// How long sessions last.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct SessionConfig {
    /// Longest session, seconds; a policy may say less. Unless given there is no end.
    #[schemars(range(min = 1))]
    pub max_age_seconds: Option<u64>,
    /// Seconds that a session may go on after the token it was opened with has expired. Unless given a session may
    /// outlive its token, and its policy and `max-age-seconds` alone end it.
    pub token_grace_seconds: Option<u64>,
}

/// How much at once.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LimitsConfig {
    /// Connections served at once; more are told to come back. One address has a quarter of them for connections that
    /// have sent no request yet, unless it is a trusted proxy. More that arrive from it at the same moment are closed and
    /// try again by themselves: thousands of agents behind one address come back, but take longer.
    #[schemars(range(min = 1))]
    pub connections: u32,
    /// TLS handshakes and tunnel admissions under way at once; one address has a quarter of the handshakes, unless it is
    /// a trusted proxy.
    #[schemars(range(min = 1))]
    pub handshakes: u32,
    /// Live sessions.
    pub sessions: u32,
    /// Live sessions of one person.
    pub sessions_per_person: u32,
}

/// How far the ends of a stream may run ahead of each other, and what the hub holds for that.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct TunnelConfig {
    /// KiB that the hub takes ahead of a stream's reader from the beginning, from 64 to 65536. A stream passes at most so
    /// much in a round trip until its window has grown.
    #[schemars(range(min = 64, max = 65536))]
    pub window_kib: u32,
    /// KiB that a stream's window grows to when its bandwidth and its round trip ask for more; at least `window-kib`, at
    /// most 65536.
    #[schemars(range(min = 64, max = 65536))]
    pub window_max_kib: u32,
    /// MiB that all streams of one link may hold in the hub, beyond 64 KiB that each may always. When they are promised,
    /// no window of that link grows, and new streams begin with 64 KiB.
    #[schemars(range(min = 1, max = 65536))]
    pub link_budget_mib: u32,
    /// MiB that the streams of all links together may; at least `link-budget-mib`.
    #[schemars(range(min = 1, max = 1048576))]
    pub budget_mib: u32,
}

/// What the hub remembers of sessions that were.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct HistoryConfig {
    /// Days after which a session that was opened or refused is forgotten.
    #[schemars(range(min = 1, max = 3660))]
    pub days: u32,
    /// How many of them are kept at most; the oldest go first. With 0 nothing is kept.
    pub records: u64,
}

/// How the hub stops.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ShutdownConfig {
    /// Seconds between "not ready" and closing the port, so that load balancers notice.
    pub lame_duck_seconds: u64,
    /// Seconds over which agents are asked to spread their reconnects.
    pub goaway_spread_seconds: u64,
    /// Seconds that live sessions get to end by themselves.
    pub drain_seconds: u64,
}

/// How long sessions last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionSettings {
    /// Longest session.
    pub max_age: Option<Duration>,
    /// How long one may go on after its token; `None` means that it may outlive it.
    pub token_grace: Option<Duration>,
}

/// How much at once.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections.
    pub connections: u32,
    /// Handshakes.
    pub handshakes: u32,
    /// Sessions.
    pub sessions: u32,
    /// Sessions of one principal.
    pub sessions_per_principal: u32,
}

/// How much streams may hold, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelSettings {
    /// A stream's window at first.
    pub window: u64,
    /// What it may grow to.
    pub window_max: u64,
    /// Of all streams of one link.
    pub link_budget: u64,
    /// Of all links.
    pub budget: u64,
}

/// What is remembered of sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistorySettings {
    /// For how long.
    pub age: Duration,
    /// How many of them at most; 0 is none.
    pub records: u64,
}

/// How the hub stops.
#[derive(Clone, Debug)]
pub struct ShutdownTimes {
    /// From "not ready" to closed listeners.
    pub lame_duck: Duration,
    /// Over which reconnects are spread.
    pub goaway_spread: Duration,
    /// For sessions to end by themselves.
    pub drain: Duration,
}

impl SessionConfig {
    pub(super) fn settle(self, source: &Source) -> Result<SessionSettings, ConfigError> {
        if self.max_age_seconds == Some(0) {
            let problem = "must be at least 1; leave it out for sessions without an end";
            return Err(source.refuse("session.max-age-seconds", problem));
        }
        Ok(SessionSettings {
            max_age: self.max_age_seconds.map(Duration::from_secs),
            token_grace: self.token_grace_seconds.map(Duration::from_secs),
        })
    }
}

impl LimitsConfig {
    pub(super) fn settle(self, source: &Source) -> Result<Limits, ConfigError> {
        for (key, value) in [
            ("limits.connections", self.connections),
            ("limits.handshakes", self.handshakes),
        ] {
            if value == 0 {
                return Err(source.refuse(key, "must be at least 1"));
            }
        }
        Ok(Limits {
            connections: self.connections,
            handshakes: self.handshakes,
            sessions: self.sessions,
            sessions_per_principal: self.sessions_per_person,
        })
    }
}

impl TunnelConfig {
    pub(super) fn settle(self, source: &Source) -> Result<TunnelSettings, ConfigError> {
        let within = |key: &str, value: u32, least: u32, most: u32| {
            let problem = format!("must be from {least} to {most}");
            if (least..=most).contains(&value) {
                Ok(u64::from(value))
            } else {
                Err(source.refuse(key, problem))
            }
        };
        let (least, most) = (defaults::WINDOW_KIB_MIN, defaults::WINDOW_KIB_MAX);
        let window = within("tunnel.window-kib", self.window_kib, least, most)?;
        let (key, from) = ("tunnel.window-max-kib", self.window_kib);
        let window_max = within(key, self.window_max_kib, from, most)?;
        let (key, most) = ("tunnel.link-budget-mib", defaults::LINK_BUDGET_MIB_MAX);
        let link_budget = within(key, self.link_budget_mib, 1, most)?;
        let (key, most) = ("tunnel.budget-mib", defaults::BUDGET_MIB_MAX);
        let budget = within(key, self.budget_mib, self.link_budget_mib, most)?;
        Ok(TunnelSettings {
            window: window << 10,
            window_max: window_max << 10,
            link_budget: link_budget << 20,
            budget: budget << 20,
        })
    }
}

impl HistoryConfig {
    pub(super) fn settle(self, source: &Source) -> Result<HistorySettings, ConfigError> {
        if self.days == 0 || self.days > defaults::HISTORY_DAYS_MAX {
            let problem = format!(
                "must be from 1 to {}; `records = 0` keeps nothing",
                defaults::HISTORY_DAYS_MAX
            );
            return Err(source.refuse("history.days", problem));
        }
        Ok(HistorySettings {
            age: Duration::from_secs(u64::from(self.days) * 24 * 60 * 60),
            records: self.records,
        })
    }
}

impl ShutdownConfig {
    pub(super) fn settle(self) -> ShutdownTimes {
        ShutdownTimes {
            lame_duck: Duration::from_secs(self.lame_duck_seconds),
            goaway_spread: Duration::from_secs(self.goaway_spread_seconds),
            drain: Duration::from_secs(self.drain_seconds),
        }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            connections: defaults::CONNECTIONS,
            handshakes: defaults::HANDSHAKES,
            sessions: defaults::SESSIONS,
            sessions_per_person: defaults::SESSIONS_PER_PRINCIPAL,
        }
    }
}

impl Default for TunnelConfig {
    fn default() -> Self {
        Self {
            window_kib: defaults::WINDOW_KIB,
            window_max_kib: defaults::WINDOW_MAX_KIB,
            link_budget_mib: defaults::LINK_BUDGET_MIB,
            budget_mib: defaults::BUDGET_MIB,
        }
    }
}

impl Default for HistoryConfig {
    fn default() -> Self {
        Self {
            days: defaults::HISTORY_DAYS,
            records: defaults::HISTORY_RECORDS,
        }
    }
}

impl Default for ShutdownConfig {
    fn default() -> Self {
        Self {
            lame_duck_seconds: defaults::LAME_DUCK.as_secs(),
            goaway_spread_seconds: defaults::GOAWAY_SPREAD.as_secs(),
            drain_seconds: defaults::DRAIN.as_secs(),
        }
    }
}
