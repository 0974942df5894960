//! The hub's numbers: `kedge_hub_*`, every label from a fixed list.
//!
//! No server's and no person's name is ever a label: who did what is the audit log's business.

mod labels;

use std::{sync::Arc, time::Duration};

use kedge_identity::IssuerHealth;
use kedge_service::Metrics;
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Unit,
};

pub use labels::{Caller, Kept, Outcome, Stage, Turned};

use labels::{
    AuthenticationLabels, CodeLabels, DirectionLabels, HowLabels, ISSUER_STATES, ReasonLabels,
    RequestLabels, ResultLabels, STAGES, StageLabels, StateLabels, issuer_state,
};

use crate::session;

/// The hub's metrics; clones share them.
#[derive(Clone, Debug)]
pub struct HubMetrics {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    authentications: Family<AuthenticationLabels, Counter>,
    bytes: Family<DirectionLabels, Counter>,
    clients: Gauge,
    connections: Gauge,
    connections_refused: Family<ReasonLabels, Counter>,
    enrolments: Family<ResultLabels, Counter>,
    history: Family<ResultLabels, Counter>,
    issuers: Family<StateLabels, Gauge>,
    keys_read: Family<ResultLabels, Counter>,
    requests: Family<RequestLabels, Counter>,
    sessions: Gauge,
    sessions_ended: Family<HowLabels, Counter>,
    sessions_opened: Counter,
    sessions_refused: Family<CodeLabels, Counter>,
    session_duration: Histogram,
    signatures: Family<ResultLabels, Counter>,
    stages: Family<StageLabels, Histogram, fn() -> Histogram>,
    status_writes: Family<ResultLabels, Counter>,
    token_verifications: Family<ResultLabels, Counter>,
    tunnels: Gauge,
    watches: Gauge,
}

impl HubMetrics {
    /// Registers them in `metrics`.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        let inner = Inner {
            authentications: Family::default(),
            bytes: Family::default(),
            clients: Gauge::default(),
            connections: Gauge::default(),
            connections_refused: Family::default(),
            enrolments: Family::default(),
            history: Family::default(),
            issuers: Family::default(),
            keys_read: Family::default(),
            requests: Family::default(),
            sessions: Gauge::default(),
            sessions_ended: Family::default(),
            sessions_opened: Counter::default(),
            sessions_refused: Family::default(),
            session_duration: Histogram::new(SESSION_SECONDS),
            signatures: Family::default(),
            stages: Family::new_with_constructor(stage_histogram),
            status_writes: Family::default(),
            token_verifications: Family::default(),
            tunnels: Gauge::default(),
            watches: Gauge::default(),
        };
        metrics.register(|registry| {
            registry.register(
                "authentications",
                "Tokens and assertions that were looked at",
                inner.authentications.clone(),
            );
            registry.register_with_unit(
                "session",
                "Bytes relayed by sessions that have ended: up is towards the server",
                Unit::Bytes,
                inner.bytes.clone(),
            );
            registry.register(
                "clients",
                "Connections of people that carry streams",
                inner.clients.clone(),
            );
            registry.register(
                "connections",
                "Connections to the HTTPS port",
                inner.connections.clone(),
            );
            registry.register(
                "connections_refused",
                "Connections turned away before a request was read",
                inner.connections_refused.clone(),
            );
            registry.register(
                "enrolments",
                "Agents that asked to join",
                inner.enrolments.clone(),
            );
            registry.register(
                "history_records",
                "Sessions written to the history, and those for which there was no room",
                inner.history.clone(),
            );
            registry.register(
                "issuers",
                "OpenID Connect issuers, by whether their keys can be had",
                inner.issuers.clone(),
            );
            registry.register(
                "keys_read",
                "Keys of servers that were read from their Secrets, and those that could not be used",
                inner.keys_read.clone(),
            );
            registry.register("requests", "HTTP requests answered", inner.requests.clone());
            registry.register("sessions", "Sessions that are live", inner.sessions.clone());
            registry.register(
                "sessions_ended",
                "Sessions that ended, by how",
                inner.sessions_ended.clone(),
            );
            registry.register(
                "sessions_opened",
                "Sessions that were opened",
                inner.sessions_opened.clone(),
            );
            registry.register(
                "sessions_refused",
                "Sessions that were refused, by code",
                inner.sessions_refused.clone(),
            );
            registry.register_with_unit(
                "session_duration",
                "How long sessions lasted",
                Unit::Seconds,
                inner.session_duration.clone(),
            );
            registry.register(
                "signatures",
                "Signatures that the hub made with servers' keys, and requests that it refused",
                inner.signatures.clone(),
            );
            registry.register_with_unit(
                "connect_stage",
                "Time of each stage on the way to a session",
                Unit::Seconds,
                inner.stages.clone(),
            );
            registry.register(
                "status_writes",
                "Changes of a server's status written to the store",
                inner.status_writes.clone(),
            );
            registry.register(
                "token_verifications",
                "Tokens of issuers that were looked at, by what was found",
                inner.token_verifications.clone(),
            );
            registry.register(
                "tunnels",
                "Agents that are connected",
                inner.tunnels.clone(),
            );
            registry.register(
                "watches",
                "Watch streams that are open",
                inner.watches.clone(),
            );
        });
        let hub = Self {
            inner: Arc::new(inner),
        };
        hub.begin_at_zero();
        hub
    }

    /// Makes every series that can be, so that a rate is seen from the first event on.
    fn begin_at_zero(&self) {
        let inner = &self.inner;
        for kept in [Kept::Dropped, Kept::Written] {
            self.history_records(kept, 0);
        }
        for state in ISSUER_STATES {
            drop(inner.issuers.get_or_create(&StateLabels { state }));
        }
        for result in ["accepted", "expired", "signature", "unavailable"] {
            drop(
                inner
                    .token_verifications
                    .get_or_create(&ResultLabels { result }),
            );
        }
        let unavailable = AuthenticationLabels {
            caller: Caller::Person.label(),
            result: Outcome::Unavailable.label(),
        };
        drop(inner.authentications.get_or_create(&unavailable));
        for result in [Outcome::Accepted, Outcome::Limited, Outcome::Refused].map(Outcome::label) {
            for caller in [Caller::Agent, Caller::Person].map(Caller::label) {
                let labels = AuthenticationLabels { caller, result };
                drop(inner.authentications.get_or_create(&labels));
            }
        }
        for result in [Outcome::Accepted, Outcome::Refused].map(Outcome::label) {
            drop(inner.enrolments.get_or_create(&ResultLabels { result }));
            drop(inner.keys_read.get_or_create(&ResultLabels { result }));
            drop(inner.signatures.get_or_create(&ResultLabels { result }));
            drop(inner.status_writes.get_or_create(&ResultLabels { result }));
        }
        for reason in [Turned::Handshake, Turned::Limit, Turned::Share].map(Turned::label) {
            drop(
                inner
                    .connections_refused
                    .get_or_create(&ReasonLabels { reason }),
            );
        }
        for direction in ["up", "down"] {
            drop(inner.bytes.get_or_create(&DirectionLabels { direction }));
        }
        for stage in STAGES.map(Stage::label) {
            drop(inner.stages.get_or_create(&StageLabels { stage }));
        }
        for how in session::ENDINGS {
            drop(inner.sessions_ended.get_or_create(&HowLabels { how }));
        }
        for code in session::REFUSALS {
            drop(inner.sessions_refused.get_or_create(&CodeLabels { code }));
        }
    }

    /// A token or assertion was looked at.
    pub fn authenticated(&self, caller: Caller, result: Outcome) {
        self.inner
            .authentications
            .get_or_create(&AuthenticationLabels {
                caller: caller.label(),
                result: result.label(),
            })
            .inc();
    }

    /// Records of the history were written, or lost.
    pub fn history_records(&self, what: Kept, count: u64) {
        self.inner
            .history
            .get_or_create(&ResultLabels {
                result: what.label(),
            })
            .inc_by(count);
    }

    /// How it stands with the issuers now.
    pub fn issuers(&self, health: &[IssuerHealth]) {
        for state in ISSUER_STATES {
            let count = health
                .iter()
                .filter(|issuer| issuer_state(&issuer.state) == state)
                .count();
            self.inner
                .issuers
                .get_or_create(&StateLabels { state })
                .set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// An issuer's token was looked at; `result` is `accepted` or the reason why not, of a fixed set.
    pub fn token_verified(&self, result: &'static str) {
        self.inner
            .token_verifications
            .get_or_create(&ResultLabels { result })
            .inc();
    }

    /// A person's link came up; it goes when the guard is dropped.
    #[must_use]
    pub fn client(&self) -> Held {
        Held::new(&self.inner.clients)
    }

    /// A connection came; it goes when the guard is dropped.
    #[must_use]
    pub fn connection(&self) -> Held {
        Held::new(&self.inner.connections)
    }

    /// A connection was turned away.
    pub fn turned_away(&self, reason: Turned) {
        self.inner
            .connections_refused
            .get_or_create(&ReasonLabels {
                reason: reason.label(),
            })
            .inc();
    }

    /// An agent asked to join.
    pub fn enrolment(&self, result: Outcome) {
        self.inner
            .enrolments
            .get_or_create(&ResultLabels {
                result: result.label(),
            })
            .inc();
    }

    /// A request was answered.
    pub fn request(&self, method: &http::Method, code: http::StatusCode) {
        let method = match method.as_str() {
            "DELETE" => "DELETE",
            "GET" => "GET",
            "HEAD" => "HEAD",
            "PATCH" => "PATCH",
            "POST" => "POST",
            "PUT" => "PUT",
            _ => "other",
        };
        self.inner
            .requests
            .get_or_create(&RequestLabels {
                method,
                code: code.as_u16(),
            })
            .inc();
    }

    /// A session began; it is live until the guard is dropped.
    #[must_use]
    pub fn session_opened(&self) -> Held {
        self.inner.sessions_opened.inc();
        Held::new(&self.inner.sessions)
    }

    /// A session ended.
    pub fn session_ended(&self, how: &'static str, up: u64, down: u64, duration: Duration) {
        self.inner
            .sessions_ended
            .get_or_create(&HowLabels { how })
            .inc();
        self.inner
            .bytes
            .get_or_create(&DirectionLabels { direction: "up" })
            .inc_by(up);
        self.inner
            .bytes
            .get_or_create(&DirectionLabels { direction: "down" })
            .inc_by(down);
        self.inner.session_duration.observe(duration.as_secs_f64());
    }

    /// A session was refused.
    pub fn session_refused(&self, code: &'static str) {
        self.sessions_refused(code, 1);
    }

    /// Some sessions were refused for one reason.
    pub fn sessions_refused(&self, code: &'static str, count: u64) {
        self.inner
            .sessions_refused
            .get_or_create(&CodeLabels { code })
            .inc_by(count);
    }

    /// A stage took this long.
    pub fn stage(&self, stage: Stage, took: Duration) {
        self.inner
            .stages
            .get_or_create(&StageLabels {
                stage: stage.label(),
            })
            .observe(took.as_secs_f64());
    }

    /// A server's key was read, or could not be used.
    pub fn key_read(&self, result: Outcome) {
        self.inner
            .keys_read
            .get_or_create(&ResultLabels {
                result: result.label(),
            })
            .inc();
    }

    /// The hub signed, or refused to.
    pub fn signature(&self, result: Outcome) {
        self.inner
            .signatures
            .get_or_create(&ResultLabels {
                result: result.label(),
            })
            .inc();
    }

    /// A status was written, or could not be.
    pub fn status_write(&self, result: Outcome) {
        self.inner
            .status_writes
            .get_or_create(&ResultLabels {
                result: result.label(),
            })
            .inc();
    }

    /// An agent is connected until the guard is dropped.
    #[must_use]
    pub fn tunnel(&self) -> Held {
        Held::new(&self.inner.tunnels)
    }

    /// A watch is open until the guard is dropped.
    #[must_use]
    pub fn watch(&self) -> Held {
        Held::new(&self.inner.watches)
    }
}

/// One of what a gauge counts; dropping it counts down, whatever path led there.
#[derive(Debug)]
pub struct Held(Gauge);

impl Held {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A session lasts from a `scp` of a moment to a shell of a day.
const SESSION_SECONDS: [f64; 9] = [0.3, 1.0, 3.0, 10.0, 60.0, 300.0, 1800.0, 7200.0, 86_400.0];

/// From a cached token to an agent behind a satellite.
const STAGE_SECONDS: [f64; 12] = [
    0.000_1, 0.000_3, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0,
];

fn stage_histogram() -> Histogram {
    Histogram::new(STAGE_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_named_and_gauges_come_back_to_zero() {
        let metrics = Metrics::new("hub", "1");
        let hub = HubMetrics::new(&metrics);
        let held = (
            hub.client(),
            hub.connection(),
            hub.session_opened(),
            hub.tunnel(),
            hub.watch(),
        );
        hub.authenticated(Caller::Person, Outcome::Refused);
        hub.turned_away(Turned::Limit);
        hub.enrolment(Outcome::Accepted);
        hub.request(&http::Method::GET, http::StatusCode::OK);
        hub.request(
            &http::Method::from_bytes(b"WEIRD").unwrap(),
            http::StatusCode::METHOD_NOT_ALLOWED,
        );
        hub.session_ended("finished", 3, 4, Duration::from_secs(1));
        hub.session_refused("denied");
        hub.stage(Stage::Open, Duration::from_millis(2));
        hub.status_write(Outcome::Accepted);
        let text = metrics.render();
        for line in [
            "kedge_hub_sessions 1",
            "kedge_hub_tunnels 1",
            "kedge_hub_session_bytes_total{direction=\"up\"} 3",
            "kedge_hub_sessions_refused_total{code=\"denied\"} 1",
            "kedge_hub_requests_total{method=\"other\",code=\"405\"} 1",
            "kedge_hub_connect_stage_seconds_count{stage=\"open\"} 1",
            "kedge_hub_authentications_total{caller=\"person\",result=\"refused\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        drop(held);
        let text = metrics.render();
        for gauge in ["clients", "connections", "sessions", "tunnels", "watches"] {
            assert!(
                text.contains(&format!("kedge_hub_{gauge} 0\n")),
                "{gauge} in\n{text}"
            );
        }
    }
}
