//! The hub's image and manifests on a real node of Kubernetes. Only when it is asked for: what a node runs takes minutes
//! to build, once.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;

use super::tally::Tally;
use crate::builder::Workspace;
use crate::{cluster, packages, tools};

const GROUP: &str = "cluster";

const NAME: &str = "the image and the overlay `single` on a node of Kubernetes";

/// What a run of everything says of it.
pub(crate) const HINT: &str = "the image on a node of Kubernetes, which takes minutes to build once: cargo xtask test cluster";

/// Builds what it needs, and goes the whole way.
pub(crate) fn run(
    workspace: &Workspace,
    xtask: &Path,
    only: &str,
    tally: &mut Tally,
) -> Result<()> {
    if !NAME.contains(only) {
        return Ok(());
    }
    // Whoever is not root is not asked to install what they could not use.
    let missing = cluster::not_root().map_or_else(
        || packages::ensure_for_cluster().map(|()| cluster::missing()),
        |reason| Ok(Some(reason)),
    )?;
    if let Some(reason) = missing {
        tally.skipped(GROUP, NAME, &reason);
        return Ok(());
    }
    tools::ensure_built_for_node(workspace)?;
    println!("cluster: building the programs");
    let bins = workspace.programs()?;
    let logs = workspace.target.join("cluster-logs");
    let start = Instant::now();
    let manifests = workspace.root.join("manifests");
    match cluster::play(xtask, &bins, &manifests, &logs) {
        Ok(()) => tally.passed(GROUP, NAME, start.elapsed()),
        Err(error) => {
            let said = format!("{error:#}\nthe logs are in {}", logs.display());
            tally.failed(GROUP, NAME, &said);
        }
    }
    Ok(())
}
