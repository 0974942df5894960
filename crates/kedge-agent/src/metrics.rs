//! The agent's metrics: few, bounded, and without anybody's name.

use kedge_service::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::EncodeLabelValue;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Unit;

use crate::VERSION;

/// The agent's counters. Clones are handles.
#[derive(Clone, Debug)]
pub struct AgentMetrics {
    /// Where they are rendered.
    pub registry: Metrics,
    /// 1 while there is a link.
    pub connected: Gauge,
    /// Attempts to reach the hub.
    pub dials: Family<DialLabels, Counter>,
    /// Sessions that are open.
    pub sessions_open: Gauge,
    /// Sessions that have ended, by how.
    pub sessions: Family<SessionLabels, Counter>,
    /// Bytes between the target and its sessions.
    pub bytes: Family<ByteLabels, Counter>,
    /// Round trip to the hub in seconds.
    pub rtt: Gauge<f64, std::sync::atomic::AtomicU64>,
}

/// How a dial ended.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct DialLabels {
    /// How.
    pub result: DialResult,
}

/// How a dial ended.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
#[allow(
    non_camel_case_types,
    missing_docs,
    reason = "variants are the labels' values"
)]
pub enum DialResult {
    connected,
    refused,
    unreachable,
}

/// How a session ended.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct SessionLabels {
    /// How.
    pub result: SessionResult,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
#[allow(
    non_camel_case_types,
    missing_docs,
    reason = "variants are the labels' values"
)]
pub enum SessionResult {
    cut,
    finished,
    refused,
    silent,
    target_failed,
    tunnel_failed,
}

/// Which way bytes went.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct ByteLabels {
    /// Which way.
    pub direction: Direction,
}

/// Which way bytes went.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
#[allow(
    non_camel_case_types,
    missing_docs,
    reason = "variants are the labels' values"
)]
pub enum Direction {
    from_target,
    to_target,
}

impl AgentMetrics {
    /// Fresh counters in a registry of their own.
    #[must_use]
    pub fn new() -> Self {
        let metrics = Self {
            registry: Metrics::new("agent", VERSION),
            connected: Gauge::default(),
            dials: Family::default(),
            sessions_open: Gauge::default(),
            sessions: Family::default(),
            bytes: Family::default(),
            rtt: Gauge::default(),
        };
        metrics.registry.register(|registry| {
            let connected = metrics.connected.clone();
            registry.register("connected", "Whether there is a link to the hub", connected);
            registry.register("dials", "Attempts to reach the hub", metrics.dials.clone());
            let open = metrics.sessions_open.clone();
            registry.register("sessions_open", "Sessions that are open", open);
            registry.register(
                "sessions",
                "Sessions that have ended",
                metrics.sessions.clone(),
            );
            let bytes = metrics.bytes.clone();
            let help = "Bytes between the target and its sessions";
            registry.register_with_unit("session", help, Unit::Bytes, bytes);
            let help = "Round trip to the hub";
            registry.register_with_unit("rtt", help, Unit::Seconds, metrics.rtt.clone());
        });
        metrics.begin_at_zero();
        metrics
    }

    /// A counter that is absent until it counts has no rate when it first does.
    fn begin_at_zero(&self) {
        for result in [
            DialResult::connected,
            DialResult::refused,
            DialResult::unreachable,
        ] {
            drop(self.dials.get_or_create(&DialLabels { result }));
        }
        for result in [
            SessionResult::cut,
            SessionResult::finished,
            SessionResult::refused,
            SessionResult::silent,
            SessionResult::target_failed,
            SessionResult::tunnel_failed,
        ] {
            drop(self.sessions.get_or_create(&SessionLabels { result }));
        }
        for direction in [Direction::from_target, Direction::to_target] {
            drop(self.bytes.get_or_create(&ByteLabels { direction }));
        }
    }
}

impl Default for AgentMetrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_its_name_and_help() {
        let metrics = AgentMetrics::new();
        metrics.connected.set(1);
        metrics
            .dials
            .get_or_create(&DialLabels {
                result: DialResult::connected,
            })
            .inc();
        metrics
            .sessions
            .get_or_create(&SessionLabels {
                result: SessionResult::target_failed,
            })
            .inc();
        metrics
            .bytes
            .get_or_create(&ByteLabels {
                direction: Direction::to_target,
            })
            .inc_by(7);
        metrics.rtt.set(0.25);
        let text = metrics.registry.render();
        for line in [
            "kedge_agent_connected 1",
            "kedge_agent_dials_total{result=\"connected\"} 1",
            "kedge_agent_sessions_open 0",
            "kedge_agent_sessions_total{result=\"target_failed\"} 1",
            "kedge_agent_session_bytes_total{direction=\"to_target\"} 7",
            "kedge_agent_rtt_seconds 0.25",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        let named: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("# TYPE"))
            .collect();
        let helped: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("# HELP"))
            .collect();
        assert_eq!(named.len(), helped.len());
    }
}
