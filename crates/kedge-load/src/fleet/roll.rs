//! Who of a fleet is there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use kedge_agent::metrics::{AgentMetrics, DialLabels, DialResult};
use kedge_service::Readiness;
use serde_json::{Value, json};

use crate::defaults;

/// What standard input says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum News {
    /// The fleet is to end.
    Ended,
    /// The hub accepts again.
    Restarted,
}

/// An agent's own line of the roll.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) readiness: Readiness,
    pub(super) enrolled: Arc<AtomicU32>,
}

/// The roll of a fleet.
#[derive(Debug)]
pub(super) struct Roll {
    agents: u32,
    begun: Instant,
    metrics: AgentMetrics,
    members: Vec<Readiness>,
    enrolled: Arc<AtomicU32>,
    has_joined: bool,
    has_connected: bool,
    /// Dials until the last time that all were there.
    before: Dials,
    /// When half of them, and all of them, were back.
    half: Option<Instant>,
    back: Option<Instant>,
    restarted: Option<Instant>,
}

/// How often it was dialled, and how that ended.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Dials {
    connected: u64,
    refused: u64,
    unreachable: u64,
}

impl Roll {
    pub(super) fn new(agents: u32, begun: Instant, metrics: AgentMetrics) -> Self {
        Self {
            agents,
            begun,
            metrics,
            members: Vec::new(),
            enrolled: Arc::default(),
            has_joined: false,
            has_connected: false,
            before: Dials::default(),
            half: None,
            back: None,
            restarted: None,
        }
    }

    /// One more agent, which tells by `readiness` whether it is connected.
    pub(super) fn enlist(&mut self, readiness: Readiness) -> Member {
        self.members.push(readiness.clone());
        Member {
            readiness,
            enrolled: Arc::clone(&self.enrolled),
        }
    }

    /// The hub accepts again.
    pub(super) fn restarted(&mut self, now: Instant) {
        self.restarted = Some(now);
    }

    /// What is new. Cheap while there is nothing: counters are read, and agents only when all may be there.
    pub(super) fn look(&mut self, now: Instant) -> Vec<Value> {
        let mut events = Vec::new();
        if !self.has_joined && self.enrolled.load(Ordering::Relaxed) == self.agents {
            self.has_joined = true;
            events.push(self.news("joined", now));
        }
        let dials = self.dials();
        let dialled = dials.connected - self.before.connected;
        let all = u64::from(self.agents);
        if self.half.is_none() && 2 * dialled >= all {
            self.half = Some(now);
        }
        if self.back.is_none() && dialled >= all && self.absent() == 0 {
            self.back = Some(now);
        }
        if !self.has_connected {
            if self.back.is_some() {
                self.has_connected = true;
                events.push(self.news("connected", now));
                self.begin_anew(dials);
            }
        } else if let Some(restarted) = self.restarted {
            let given_up = now.duration_since(restarted) > defaults::LOST_AFTER;
            if self.back.is_some() || given_up {
                events.push(self.reconnected(restarted, now, dials));
                self.begin_anew(dials);
            }
        }
        events
    }

    fn news(&self, event: &str, now: Instant) -> Value {
        let seconds = now.duration_since(self.begun).as_secs_f64();
        json!({ "event": event, "agents": self.agents, "seconds": seconds })
    }

    fn reconnected(&self, restarted: Instant, now: Instant, dials: Dials) -> Value {
        let lost = match self.back {
            Some(_) => 0,
            None => self.absent(),
        };
        // An agent may be back before it is known that the hub is.
        let since = |at: Instant| at.saturating_duration_since(restarted).as_secs_f64();
        let seconds = since(self.back.unwrap_or(now));
        json!({
            "event": "reconnected",
            "agents": u64::from(self.agents) - lost as u64,
            "seconds": seconds,
            "lost": lost,
            "slowest": seconds,
            "half": self.half.map(since),
            "refused": dials.refused - self.before.refused,
            "unreachable": dials.unreachable - self.before.unreachable,
        })
    }

    fn begin_anew(&mut self, dials: Dials) {
        self.before = dials;
        (self.half, self.back, self.restarted) = (None, None, None);
    }

    /// How many are not connected.
    fn absent(&self) -> usize {
        let absent = |readiness: &&Readiness| !readiness.reasons().is_empty();
        self.members.iter().filter(absent).count()
    }

    fn dials(&self) -> Dials {
        let of = |result| {
            let counter = self.metrics.dials.get_or_create(&DialLabels { result });
            counter.get()
        };
        Dials {
            connected: of(DialResult::connected),
            refused: of(DialResult::refused),
            unreachable: of(DialResult::unreachable),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Two agents that have joined and are connected.
    struct Fleet {
        roll: Roll,
        members: Vec<Member>,
        metrics: AgentMetrics,
        begun: Instant,
    }

    impl Fleet {
        fn new() -> Self {
            let (metrics, begun) = (AgentMetrics::new(), Instant::now());
            let mut roll = Roll::new(2, begun, metrics.clone());
            let members = (0..2).map(|_| {
                let readiness = Readiness::new();
                readiness.missing("hub", "not dialled yet");
                roll.enlist(readiness)
            });
            let members = members.collect();
            Self {
                roll,
                members,
                metrics,
                begun,
            }
        }

        fn connect(&self, number: usize) {
            let result = DialResult::connected;
            let dials = self.metrics.dials.get_or_create(&DialLabels { result });
            dials.inc();
            self.members[number].readiness.present("hub");
        }

        fn lose(&self, number: usize) {
            self.members[number].readiness.missing("hub", "lost");
        }

        /// The events at so many seconds, without what is not asked here.
        fn look(&mut self, seconds: u64) -> Vec<String> {
            let now = self.begun + Duration::from_secs(seconds);
            let events = self.roll.look(now).into_iter();
            events
                .map(|event| {
                    format!(
                        "{} {} {} {}",
                        event["event"].as_str().unwrap(),
                        event["agents"],
                        event["seconds"],
                        event["lost"]
                    )
                })
                .collect()
        }

        fn restarted(&mut self, seconds: u64) {
            self.roll
                .restarted(self.begun + Duration::from_secs(seconds));
        }

        fn connected() -> Self {
            let mut fleet = Self::new();
            for number in 0..2 {
                fleet.members[number]
                    .enrolled
                    .fetch_add(1, Ordering::Relaxed);
                fleet.connect(number);
            }
            assert_eq!(fleet.look(3), ["joined 2 3.0 null", "connected 2 3.0 null"]);
            fleet
        }
    }

    #[test]
    fn joined_and_connected_are_said_once_each() {
        let mut fleet = Fleet::new();
        assert!(fleet.look(1).is_empty());
        fleet.members[0].enrolled.fetch_add(1, Ordering::Relaxed);
        fleet.connect(0);
        assert!(fleet.look(2).is_empty());
        fleet.members[1].enrolled.fetch_add(1, Ordering::Relaxed);
        assert_eq!(fleet.look(3), ["joined 2 3.0 null"]);
        fleet.connect(1);
        assert_eq!(fleet.look(4), ["connected 2 4.0 null"]);
        assert!(fleet.look(5).is_empty());
    }

    #[test]
    fn who_never_left_is_not_back() {
        let mut fleet = Fleet::connected();
        fleet.restarted(10);
        fleet.lose(0);
        fleet.connect(0);
        // The other one has not noticed yet that its link is gone.
        assert!(fleet.look(11).is_empty());
        fleet.lose(1);
        assert!(fleet.look(12).is_empty());
        fleet.connect(1);
        assert_eq!(fleet.look(14), ["reconnected 2 4.0 0"]);
    }

    #[test]
    fn news_that_comes_after_everybody_is_not_missed() {
        let mut fleet = Fleet::connected();
        for number in 0..2 {
            fleet.lose(number);
            fleet.connect(number);
        }
        assert!(fleet.look(20).is_empty());
        fleet.restarted(21);
        assert_eq!(fleet.look(22), ["reconnected 2 0.0 0"]);
        assert!(fleet.look(23).is_empty());
    }

    #[test]
    fn who_does_not_come_back_is_lost() {
        let mut fleet = Fleet::connected();
        fleet.lose(0);
        fleet.lose(1);
        fleet.restarted(10);
        fleet.connect(0);
        let patience = defaults::LOST_AFTER.as_secs();
        assert!(fleet.look(10 + patience).is_empty());
        let said = fleet.look(11 + patience);
        assert_eq!(said, [format!("reconnected 1 {}.0 1", patience + 1)]);
    }
}
