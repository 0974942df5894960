//! The time until a new session's first byte, and a new stream's, on loopback.

use anyhow::Result;

use super::measure::{Bench, Round, Running, Side, Wanted};
use super::row::{Against, Measured, Row, Sample, Unit};
use super::stage::{Route, Server, Stage, crew, enlist, number, tcp_words};
use crate::defaults;

const AGAINST: Against = Against::Counterpart("direct TCP");

/// The rows, the work of the loading program, and how often it is done in a round.
const OPENINGS: [(&str, &str, &str); 2] = [
    ("session-loopback", "dial", "100"),
    ("stream-loopback", "open", "300"),
];

/// The bench.
#[derive(Debug)]
pub(crate) struct Session;

impl Bench for Session {
    fn rows(&self) -> Vec<Row> {
        let rows = OPENINGS.iter();
        rows.map(|opening| Row::lower(opening.0, AGAINST, Unit::Milliseconds))
            .collect()
    }

    fn set_up(&self, stage: &Stage, _: &Wanted) -> Result<Box<dyn Running>> {
        let target = stage.serve(&["target"])?;
        // A person may open so many streams in a burst, and then fifty a second: each sample has somebody of its own.
        let people = crew(defaults::BENCH_ROUNDS.saturating_mul(OPENINGS.len()));
        let hub = stage.hub(|hub| enlist(hub, &people))?;
        let route = stage.route_of(hub, target.address(), &stage.host_keys()?, None, |_| {})?;
        route.admit(&people)?;
        Ok(Box::new(Run {
            people: people.into_iter(),
            route,
            target,
        }))
    }
}

struct Run {
    people: std::vec::IntoIter<String>,
    route: Route,
    target: Server,
}

impl Running for Run {
    fn measure(&mut self, stage: &Stage, round: &Round) -> Result<Vec<Measured>> {
        let wanted = OPENINGS
            .iter()
            .filter(|opening| round.wanted.has(opening.0));
        let mut measured = Vec::new();
        for &(row, work, count) in wanted {
            let person = self.people.next().unwrap_or_default();
            let token = stage.token_file(&self.route.hub, &person)?;
            let both = round.both(|side| {
                let mut words = match side {
                    Side::Ours => self.route.words_as(&token, self.route.hub.address())?,
                    Side::Theirs => tcp_words(self.target.address()),
                };
                words.extend([work, "--count", count].map(str::to_owned));
                millis(&stage.load(&words)?)
            })?;
            measured.push(Measured::new(row, Sample::pair(both.ours, both.theirs)));
        }
        Ok(measured)
    }
}

/// The median of an answer in milliseconds.
pub(crate) fn millis(answer: &serde_json::Value) -> Result<f64> {
    Ok(number(answer, "p50_us")? / 1000.0)
}
