//! `[session]`, `[limits]`, `[history]`, `[shutdown]`: how long and how much.

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
    /// have sent no request yet, unless it is a trusted proxy.
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
