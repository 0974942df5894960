//! Is the peer still there, and how far away is it?

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::defaults::PINGS_MISSED;

/// Sends a PING every interval; the link is dead when two of them stay unanswered for half an interval more. With 15 s
/// that is 37.5 s after the last sign of life at most. Only a PONG is a sign of life: a peer that sends and does not
/// read is as good as dead.
#[derive(Debug)]
pub(crate) struct Liveness {
    interval: Duration,
    next_ping: Instant,
    number: u64,
    unanswered: VecDeque<Ping>,
    due: Option<u64>,
    pong: Option<u64>,
    rtt: Option<Duration>,
}

/// A PING without PONG. Life is judged from when it was due, the round trip from when it was written.
#[derive(Debug)]
struct Ping {
    number: u64,
    due: Instant,
    written: Option<Instant>,
}

/// What a tick of the clock means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Pulse {
    Dead,
    Ping,
    Quiet,
}

impl Liveness {
    pub(crate) fn new(interval: Duration, now: Instant) -> Self {
        Self {
            interval,
            next_ping: now,
            number: 0,
            unanswered: VecDeque::new(),
            due: None,
            pong: None,
            rtt: None,
        }
    }

    pub(crate) fn tick(&mut self, now: Instant) -> Pulse {
        if self.deadline().is_some_and(|deadline| now >= deadline) {
            return Pulse::Dead;
        }
        if now < self.next_ping {
            return Pulse::Quiet;
        }
        self.next_ping = now + self.interval;
        if self.unanswered.len() < PINGS_MISSED as usize {
            self.number += 1;
            self.unanswered.push_back(Ping {
                number: self.number,
                due: now,
                written: None,
            });
            self.due = Some(self.number);
        }
        Pulse::Ping
    }

    pub(crate) fn timeout(&self) -> Instant {
        self.deadline()
            .map_or(self.next_ping, |deadline| deadline.min(self.next_ping))
    }

    fn deadline(&self) -> Option<Instant> {
        let missed = self.unanswered.len() >= PINGS_MISSED as usize;
        self.unanswered
            .back()
            .filter(|_| missed)
            .map(|ping| ping.due + self.interval / 2)
    }

    /// The peer asks; only the newest question is answered, so that asking fast costs the asker alone.
    pub(crate) fn asked(&mut self, number: u64) {
        self.pong = Some(number);
    }

    /// The peer answers. Answers to questions nobody asked are passed over.
    pub(crate) fn answered(&mut self, number: u64, now: Instant) {
        let Some(position) = self
            .unanswered
            .iter()
            .position(|ping| ping.number == number)
        else {
            return;
        };
        if let Some(ping) = self.unanswered.drain(..=position).next_back() {
            self.rtt = Some(now.saturating_duration_since(ping.written.unwrap_or(ping.due)));
        }
    }

    pub(crate) fn take_ping(&mut self, now: Instant) -> Option<u64> {
        let number = self.due.take()?;
        if let Some(ping) = self
            .unanswered
            .iter_mut()
            .find(|ping| ping.number == number)
        {
            ping.written = Some(now);
        }
        Some(number)
    }

    pub(crate) fn take_pong(&mut self) -> Option<u64> {
        self.pong.take()
    }

    pub(crate) fn rtt(&self) -> Option<Duration> {
        self.rtt
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::defaults::PING_INTERVAL;

    #[test]
    fn silence_is_noticed_within_forty_seconds() {
        let start = Instant::now();
        let mut liveness = Liveness::new(PING_INTERVAL, start);
        assert_eq!(liveness.tick(start), Pulse::Ping);
        let number = liveness.take_ping(start).unwrap();
        liveness.answered(number, start + Duration::from_millis(30));
        assert_eq!(liveness.rtt(), Some(Duration::from_millis(30)));
        let mut now = start;
        let died = loop {
            now = liveness.timeout().max(now);
            match liveness.tick(now) {
                Pulse::Dead => break now,
                Pulse::Ping => drop(liveness.take_ping(now)),
                Pulse::Quiet => {}
            }
        };
        assert!(
            died - start <= Duration::from_secs(40),
            "{:?}",
            died - start
        );
        assert!(died - start >= 2 * PING_INTERVAL);
    }

    #[test]
    fn a_peer_that_answers_late_lives() {
        let start = Instant::now();
        let mut liveness = Liveness::new(PING_INTERVAL, start);
        for round in 0..10 {
            let now = start + PING_INTERVAL * round;
            assert_eq!(liveness.tick(now), Pulse::Ping);
            let number = liveness.take_ping(now).unwrap();
            liveness.answered(number, now + Duration::from_secs(14));
        }
    }

    #[test]
    fn an_answer_nobody_asked_for_is_no_sign_of_life() {
        let start = Instant::now();
        let mut liveness = Liveness::new(PING_INTERVAL, start);
        let mut now = start;
        for _ in 0..3 {
            now = liveness.timeout();
            if liveness.tick(now) == Pulse::Dead {
                return;
            }
            liveness.answered(77, now);
        }
        panic!("still alive after {:?}", now - start);
    }

    #[test]
    fn only_the_newest_question_is_answered() {
        let mut liveness = Liveness::new(PING_INTERVAL, Instant::now());
        (0..1000).for_each(|number| liveness.asked(number));
        assert_eq!(liveness.take_pong(), Some(999));
        assert_eq!(liveness.take_pong(), None);
    }
}
