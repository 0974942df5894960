//! A hub that is 50 ms away: new sessions, new streams, and how full a window keeps the line.
//!
//! ```text
//!  client ──► delay ──► hub ◄── agent ──► target
//!         └─► delay ─────────────────────► target
//! ```

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use kedge_proto::defaults::WINDOW_CAP;

use super::measure::{Bench, Round, Running, Side, Wanted};
use super::row::{Against, Measured, Row, Sample, Unit};
use super::session::millis;
use super::stage::{Route, Server, Stage, tcp_words};
use super::ways::{Bulk, MIB, rate};

const DIRECT: Against = Against::Counterpart("direct TCP at the same RTT");

const WINDOW: Against = Against::Counterpart("window / RTT");

/// How long a byte takes, each way, in milliseconds.
const ONE_WAY_MS: u16 = 25;

/// Links dialled in a sample, and streams opened.
const DIALS: &str = "10";
const OPENS: &str = "20";

/// Seconds that a transfer takes at the speed of window / RTT: long beside the round trips in which a window grows.
const BULK_SECONDS: f64 = 2.0;

/// The transfers.
const TRANSFERS: [(&str, &str); 2] = [("bulk-50ms-down", "down"), ("bulk-50ms-up", "up")];

/// The bench.
#[derive(Debug)]
pub(crate) struct Far;

impl Bench for Far {
    fn rows(&self) -> Vec<Row> {
        let bulk = TRANSFERS
            .map(|(name, _)| Row::higher(name, WINDOW, Unit::MibPerSecond).marks(0.75, 0.85));
        let mut rows = vec![
            Row::lower("session-50ms", DIRECT, Unit::Milliseconds),
            Row::lower("stream-50ms", DIRECT, Unit::Milliseconds).marks(1.1, 1.02),
        ];
        rows.extend(bulk);
        rows
    }

    fn set_up(&self, stage: &Stage, _: &Wanted) -> Result<Box<dyn Running>> {
        let target = stage.serve(&["target"])?;
        let route = stage.route(target.address())?;
        let delay = |to: SocketAddr, more: &[&str]| {
            let (to, one_way) = (to.to_string(), ONE_WAY_MS.to_string());
            let mut words = vec!["delay", "--to", &to, "--one-way-ms", &one_way];
            words.extend(more);
            stage.serve(&words)
        };
        let (hub, there) = (route.hub.address(), target.address());
        Ok(Box::new(Run {
            session: [
                delay(hub, &["--handshake"])?,
                delay(there, &["--handshake"])?,
            ],
            stream: [delay(hub, &[])?, delay(there, &[])?],
            route,
            _target: target,
        }))
    }
}

/// Lines to the hub and to the target. Dropped in this order.
struct Run {
    /// Where a connection takes a round trip to be there, as everywhere.
    session: [Server; 2],
    /// Where it does not: a stream is held against one round trip and nothing else.
    stream: [Server; 2],
    route: Route,
    _target: Server,
}

impl Running for Run {
    fn measure(&mut self, stage: &Stage, round: &Round) -> Result<Vec<Measured>> {
        let mut measured = Vec::new();
        let openings = [
            ("session-50ms", &self.session, ["dial", "--count", DIALS]),
            ("stream-50ms", &self.stream, ["open", "--count", OPENS]),
        ];
        for (row, [hub, there], work) in openings {
            if !round.wanted.has(row) {
                continue;
            }
            let both = round.both(|side| {
                let mut words = match side {
                    Side::Ours => self.route.words_at(hub.address())?,
                    Side::Theirs => tcp_words(there.address()),
                };
                words.extend(work.map(str::to_owned));
                millis(&stage.load(&words)?)
            })?;
            measured.push(Measured::new(row, Sample::pair(both.ours, both.theirs)));
        }
        let [hub, _] = &self.stream;
        for (row, direction) in TRANSFERS {
            if !round.wanted.has(row) {
                continue;
            }
            let bulk = Bulk {
                direction,
                streams: 1,
                mib: bulk_mib(),
            };
            let mut words = self.route.words_at(hub.address())?;
            words.extend(bulk.words());
            let ours = rate(&stage.load(&words)?)?;
            measured.push(Measured::new(row, Sample::pair(ours, window_rate())));
        }
        Ok(measured)
    }
}

/// MiB/s that a full window carries over this round trip.
fn window_rate() -> f64 {
    let round_trip = Duration::from_millis(u64::from(ONE_WAY_MS)).saturating_mul(2);
    #[expect(
        clippy::cast_precision_loss,
        reason = "a window is far below 2^52 bytes"
    )]
    let window = WINDOW_CAP as f64;
    window / MIB / round_trip.as_secs_f64()
}

fn bulk_mib() -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "some hundred MiB, and above zero"
    )]
    let mib = (window_rate() * BULK_SECONDS) as u64;
    mib.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_of_four_mib_carries_eighty_a_second() {
        let window_mib = WINDOW_CAP / 1024 / 1024;
        assert_eq!(bulk_mib(), window_mib * 40);
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let expected = window_mib as f64 * 20.0;
        assert!((window_rate() - expected).abs() < 1e-6);
    }
}
