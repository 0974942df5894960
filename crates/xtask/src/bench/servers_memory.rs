//! What each server that the hub knows holds in its memory, connected or not.

use std::fmt::Write as _;

use anyhow::Result;
use kedge_testkit::hub::Hub;
use kedge_testkit::run::feed;

use super::measure::{Bench, Round, Running, Wanted};
use super::row::{Against, Measured, Row, Sample, Unit};
use super::settle::settled;
use super::stage::Stage;
use crate::defaults;

const ROW: &str = "memory-server-hub";

/// How many it knows, against a hub that knows none.
const SERVERS: u16 = 10_000;

/// The bench.
#[derive(Debug)]
pub(crate) struct ServersMemory;

impl Bench for ServersMemory {
    fn rows(&self) -> Vec<Row> {
        vec![Row::lower(ROW, Against::Nothing, Unit::Kib)]
    }

    fn set_up(&self, stage: &Stage, _: &Wanted) -> Result<Box<dyn Running>> {
        let (none, all) = (stage.hub(|_| {})?, stage.hub(|_| {})?);
        let admin = stage.person(&all, "admin", None)?;
        let mut manifest = String::new();
        for number in 0..SERVERS {
            // Writing to a string does not fail.
            let _ = write!(
                manifest,
                "---\napiVersion: kedge.dev/v1alpha1\nkind: Server\nmetadata:\n  name: server{number:05}\n  labels: \
                 {{env: prod, role: web, site: site{}}}\nspec:\n  sshUser: deploy\n",
                number % 20
            );
        }
        let command = admin.kedge_command(&["apply", "-f", "-"]);
        feed(command, manifest.into_bytes(), defaults::BENCH_LOAD)?.success()?;
        Ok(Box::new(Run { none, all }))
    }
}

struct Run {
    none: Hub,
    all: Hub,
}

impl Running for Run {
    fn measure(&mut self, _: &Stage, _: &Round) -> Result<Vec<Measured>> {
        let begun_anew = |hub: &mut Hub| -> Result<f64> {
            // What happened is kept for an hour; begun anew, a hub has the objects alone.
            hub.stop()?;
            hub.launch()?;
            Ok(settled(hub.daemon()?.pid())?.private_kib)
        };
        let more = begun_anew(&mut self.all)? - begun_anew(&mut self.none)?;
        let each = Sample::alone(more / f64::from(SERVERS));
        Ok(vec![Measured::new(ROW, each)])
    }
}
