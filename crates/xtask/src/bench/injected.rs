//! What it costs that the hub signs: `ssh NAME true` with an injected key, against one's own, at a hub that is 50 ms away.
//!
//! ```text
//!  ssh ──► kedge proxy ──► delay ──► hub ◄── agent web01 ──► sshd      the hub signs
//!                                        ◄── agent own01 ──► the same  the person does
//! ```

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use kedge_testkit::agent::Agent;
use kedge_testkit::person::Person;
use kedge_testkit::sshd::Sshd;
use kedge_testkit::{defaults as limits, stack};
use serde_json::json;

use super::figures::median;
use super::measure::{Bench, Pace, Round, Running, Side, Wanted};
use super::openssh::{quiet, start};
use super::row::{Against, Measured, Row, Sample, Unit};
use super::stage::{Route, SERVER, Server, Stage};
use super::timed::timed;

const WHOLE: &str = "ssh-true-injected";
const ADDED: &str = "ssh-true-added-injected";

/// How long a byte takes, each way, in milliseconds.
const ONE_WAY_MS: &str = "25";

/// The server that takes the person's own key.
const OWN: &str = "own01";

/// How often it is run each way for one sample.
const RUNS: usize = 6;
const RUNS_QUICK: usize = 3;

/// One `ssh NAME true`, on a slow machine.
const RUN_LIMIT: Duration = Duration::from_secs(60);

/// The bench.
#[derive(Debug)]
pub(crate) struct Injected;

impl Bench for Injected {
    fn rows(&self) -> Vec<Row> {
        let against = Against::Counterpart("the same with one's own key");
        vec![
            Row::lower(WHOLE, against, Unit::Milliseconds),
            // A round trip of 50 ms, and what a signature takes.
            Row::lower(ADDED, Against::Nothing, Unit::Milliseconds).marks(60.0, 54.0),
        ]
    }

    fn set_up(&self, stage: &Stage, _: &Wanted) -> Result<Box<dyn Running>> {
        let sshd = start(stage, "sshd")?;
        let hub = stage.hub(|hub| {
            hub.extra = "[secrets]\nnamespaces = [\"keys\"]\n".to_owned();
        })?;
        let key = sshd.user_key();
        offer(&hub.state_dir().join("secrets/keys/web"), &key)?;
        let route = stage.route_of(hub, sshd.address(), &sshd.host_keys(), None, |_| {})?;
        route.admin.apply(&json!({
            "apiVersion": "kedge.dev/v1alpha1", "kind": "Server", "metadata": {"name": SERVER},
            "spec": {"sshKeySecretRef": {"namespace": "keys", "name": "web"}},
        }))?;
        let mut own =
            Agent::new(stage.agent_options(&route.hub, OWN, sshd.address(), &sshd.host_keys())?)?;
        own.join(&route.admin.join_token(&[])?)?.success()?;
        own.start()?;
        stack::phase(&route.admin, OWN, "Online", limits::SOON)?;
        let to = route.hub.address().to_string();
        let line = stage.serve(&[
            "delay",
            "--to",
            &to,
            "--one-way-ms",
            ONE_WAY_MS,
            "--handshake",
        ])?;
        let person = Person::new(&stage.subdir("far")?, stage.bins(), Some(key))?;
        let url = route.hub.url_at(line.address());
        person.log_in(&route.hub, &url, super::stage::PERSON)?;
        let run = Run {
            person,
            line,
            own,
            route,
            sshd,
        };
        for side in [Side::Ours, Side::Theirs] {
            run.once(side)?;
        }
        Ok(Box::new(run))
    }
}

/// Dropped in this order.
struct Run {
    person: Person,
    #[expect(dead_code, reason = "it carries the connections")]
    line: Server,
    #[expect(dead_code, reason = "it serves one of the servers")]
    own: Agent,
    route: Route,
    #[expect(dead_code, reason = "it is what both lead to")]
    sshd: Sshd,
}

impl Run {
    /// Milliseconds of one session.
    fn once(&self, side: Side) -> Result<f64> {
        let name = match side {
            Side::Ours => SERVER,
            Side::Theirs => OWN,
        };
        let host = format!("{name}.{}", self.route.hub.suffix());
        let command = quiet(self.person.openssh("ssh", &[host.as_str(), "true"]));
        Ok(timed(command, RUN_LIMIT)?.as_secs_f64() * 1000.0)
    }
}

impl Running for Run {
    fn measure(&mut self, _: &Stage, round: &Round) -> Result<Vec<Measured>> {
        let runs = match round.pace {
            Pace::Full => RUNS,
            Pace::Quick => RUNS_QUICK,
        };
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            let both = round.both(|side| self.once(side))?;
            ours.push(both.ours);
            theirs.push(both.theirs);
        }
        let median = |list: Vec<f64>| median(list).context("a median of nothing");
        let (ours, theirs) = (median(ours)?, median(theirs)?);
        Ok(vec![
            Measured::new(WHOLE, Sample::pair(ours, theirs)),
            Measured::new(ADDED, Sample::alone(ours - theirs)),
        ])
    }
}

/// Puts a key where the hub finds it.
fn offer(folder: &Path, key: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let there = folder.join("ssh-privatekey");
    fs::copy(key, &there).context("copy a key")?;
    Ok(fs::set_permissions(
        there,
        fs::Permissions::from_mode(0o600),
    )?)
}
