//! A thousand sessions, opened as fast as they go: each with a link of its own, TLS, a decision and a line in the audit
//! log; all are open at once in the end.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use kedge_testkit::run::Live;
use serde_json::Value;

use super::measure::{Bench, Round, Running, Wanted};
use super::row::{Against, Measured, Row, Sample, Unit};
use super::stage::{Route, Server, Stage, crew, enlist, number};
use crate::defaults;

const NAME: &str = "sessions-1000";

/// People, each with a program that dials for them: one person's burst is four hundred.
const PEOPLE: usize = 4;

/// Sessions of each.
const SESSIONS: usize = 250;

/// Dials of each at once.
const PARALLEL: &str = "16";

/// The bench.
#[derive(Debug)]
pub(crate) struct Sessions;

impl Bench for Sessions {
    fn rows(&self) -> Vec<Row> {
        vec![Row::higher(NAME, Against::Nothing, Unit::SessionsPerSecond)]
    }

    fn set_up(&self, stage: &Stage, _: &Wanted) -> Result<Box<dyn Running>> {
        let target = stage.serve(&["target"])?;
        // A person's burst refills in eight seconds, a round may be shorter: each round has people of its own.
        let people = crew(PEOPLE.saturating_mul(defaults::BENCH_ROUNDS));
        let hub = stage.hub(|hub| enlist(hub, &people))?;
        let route = stage.route_of(hub, target.address(), &stage.host_keys()?, None, |agent| {
            let room = PEOPLE.saturating_mul(SESSIONS);
            agent.extra = format!("[limits]\nmax-sessions = {room}\n");
        })?;
        route.admit(&people)?;
        let tokens = people.iter();
        let tokens: Result<Vec<PathBuf>> = tokens
            .map(|name| stage.token_file(&route.hub, name))
            .collect();
        Ok(Box::new(Run {
            tokens: tokens?,
            route,
            _target: target,
        }))
    }
}

struct Run {
    tokens: Vec<PathBuf>,
    route: Route,
    _target: Server,
}

impl Running for Run {
    fn measure(&mut self, stage: &Stage, round: &Round) -> Result<Vec<Measured>> {
        let count = SESSIONS.to_string();
        let work = ["sessions", "--count", &count, "--parallel", PARALLEL];
        let tokens = self.tokens.chunks(PEOPLE).nth(round.number);
        let tokens = tokens.context("this round has people")?;
        let mut running = Vec::new();
        for token in tokens {
            let mut words = self.route.words_as(token, self.route.hub.address())?;
            words.extend(work.map(str::to_owned));
            running.push(Live::start(stage.load_command(&words))?);
        }
        let (mut opened, mut slowest) = (0.0, 0.0_f64);
        for live in running {
            let ran = live.finish(defaults::BENCH_LOAD)?.success()?;
            let answer: Value = ran.json()?;
            let failed = number(&answer, "failed")?;
            ensure!(failed == 0.0, "{failed} sessions were refused: {ran}");
            opened += number(&answer, "opened")?;
            slowest = slowest.max(number(&answer, "seconds")?);
        }
        Ok(vec![Measured::new(NAME, Sample::alone(opened / slowest))])
    }
}
