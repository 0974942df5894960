//! A keystroke behind eight downloads, over links of 50 and 200 Mbit/s.
//!
//! The person is at one end of the link. Hub, agent and target are at the other, as they would be in a data centre;
//! for the comparison two relays stand in the places of hub and agent.

use anyhow::Result;

use super::measure::{Bench, Pace, Round, Running, Side, Wanted};
use super::netns::{self, Congestion, End, Link};
use super::row::{Against, Measured, Row, Sample, Unit};
use super::stage::{Route, Server, Stage, number, tcp_words};
use super::ways::TWO_HOP_COPY;

/// Downloads beside the keystrokes.
const BULK: &str = "8";

/// Keystrokes of one sample: enough for a 99th percentile that is not the slowest, and 10 s where each takes 50 ms.
const KEYSTROKES: &str = "200";

/// Keystrokes of one sample of a first look.
const KEYSTROKES_QUICK: &str = "80";

/// One kind of link, and the names of its rows.
#[derive(Clone, Copy, Debug)]
struct Limited {
    mbit: u64,
    congestion: Congestion,
    p50: &'static str,
    p99: &'static str,
}

/// All of them. On machines with bbr a plain copy hardly queues, so that there is less to win.
const LIMITED: [Limited; 4] = [
    Limited {
        mbit: 50,
        congestion: Congestion::Cubic,
        p50: "echo-50mbit-p50",
        p99: "echo-50mbit-p99",
    },
    Limited {
        mbit: 200,
        congestion: Congestion::Cubic,
        p50: "echo-200mbit-p50",
        p99: "echo-200mbit-p99",
    },
    Limited {
        mbit: 50,
        congestion: Congestion::Bbr,
        p50: "echo-50mbit-bbr-p50",
        p99: "echo-50mbit-bbr-p99",
    },
    Limited {
        mbit: 200,
        congestion: Congestion::Bbr,
        p50: "echo-200mbit-bbr-p50",
        p99: "echo-200mbit-bbr-p99",
    },
];

/// One bench for each.
pub(crate) fn benches() -> Vec<Box<dyn Bench>> {
    let boxed = |one| -> Box<dyn Bench> { Box::new(one) };
    LIMITED.into_iter().map(boxed).collect()
}

impl Bench for Limited {
    fn rows(&self) -> Vec<Row> {
        let against = Against::Counterpart(TWO_HOP_COPY);
        vec![
            Row::lower(self.p50, against, Unit::Milliseconds).marks(1.0, 0.6),
            Row::lower(self.p99, against, Unit::Milliseconds),
        ]
    }

    fn missing(&self) -> Option<String> {
        netns::missing().or_else(|| self.congestion.missing())
    }

    fn set_up(&self, stage: &Stage, _wanted: &Wanted) -> Result<Box<dyn Running>> {
        let link = Link::new(self.mbit, self.congestion)?;
        let here = format!("{}:0", link.far_address());
        let far = link.at(End::Far, || {
            let target = stage.serve(&["target"])?;
            let host_keys = stage.host_keys()?;
            let route = stage.route_by(target.address(), &host_keys, None, |hub| {
                hub.listen.clone_from(&here);
            })?;
            let to = target.address().to_string();
            let inner = stage.serve(&["relay", "--to", &to])?;
            let to = inner.address().to_string();
            let outer = stage.serve(&["relay", "--to", &to, "--listen", &here])?;
            Ok(FarEnd {
                route,
                relays: [outer, inner],
                _target: target,
            })
        })?;
        Ok(Box::new(Set {
            what: *self,
            far,
            link,
        }))
    }
}

/// What runs behind the link. Dropped in this order.
struct FarEnd {
    route: Route,
    relays: [Server; 2],
    _target: Server,
}

/// Dropped in this order: the link outlives what runs at its ends.
struct Set {
    what: Limited,
    far: FarEnd,
    link: Link,
}

impl Running for Set {
    fn measure(&mut self, stage: &Stage, round: &Round) -> Result<Vec<Measured>> {
        let count = match round.pace {
            Pace::Full => KEYSTROKES,
            Pace::Quick => KEYSTROKES_QUICK,
        };
        let [outer, _inner] = &self.far.relays;
        let both = round.both(|side| {
            let mut words = match side {
                Side::Ours => self.far.route.words()?,
                Side::Theirs => tcp_words(outer.address()),
            };
            words.extend(["echo", "--count", count, "--bulk", BULK].map(str::to_owned));
            let answer = self.link.at(End::Client, || stage.load(&words))?;
            Ok((millis(&answer, "p50_us")?, millis(&answer, "p99_us")?))
        })?;
        let ((p50, p99), (their_p50, their_p99)) = (both.ours, both.theirs);
        Ok(vec![
            Measured::new(self.what.p50, Sample::pair(p50, their_p50)),
            Measured::new(self.what.p99, Sample::pair(p99, their_p99)),
        ])
    }
}

fn millis(answer: &serde_json::Value, name: &str) -> Result<f64> {
    Ok(number(answer, name)? / 1000.0)
}
