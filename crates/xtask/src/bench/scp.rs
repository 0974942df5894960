//! `scp -r` of many small files: each costs a few round trips, one after the other, and hardly any bytes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::measure::{Bench, Pace, Round, Running, Wanted};
use super::openssh::{Way, Ways, quiet};
use super::row::{Against, Measured, Row, Sample, Unit};
use super::stage::Stage;
use super::timed::timed;

/// Folders of the whole tree; a first look copies one of them.
const PARTS: usize = 10;

/// Folders in each of those, and files in each folder of that: 10,000 files altogether.
const WIDTH: (usize, usize) = (10, 100);

/// What each holds: as much as a line of configuration.
const CONTENT: &str = "a small file, as there are many in a tree of sources or configuration\n";

/// Copying the tree, on a slow machine.
const LIMIT: Duration = Duration::from_secs(600);

const ROW: &str = "scp-small";

/// The one bench of the group.
pub(crate) fn benches() -> Vec<Box<dyn Bench>> {
    vec![Box::new(SmallFiles)]
}

struct SmallFiles;

impl Bench for SmallFiles {
    fn rows(&self) -> Vec<Row> {
        let against = Against::Counterpart("direct scp");
        vec![Row::lower(ROW, against, Unit::Seconds)]
    }

    fn set_up(&self, stage: &Stage, _wanted: &Wanted) -> Result<Box<dyn Running>> {
        let tree = stage.subdir("tree")?;
        grow(&tree)?;
        Ok(Box::new(Set {
            ways: Ways::open(stage, Way::Direct)?,
            tree,
        }))
    }
}

struct Set {
    ways: Ways,
    tree: PathBuf,
}

impl Running for Set {
    fn measure(&mut self, stage: &Stage, round: &Round) -> Result<Vec<Measured>> {
        let from = match round.pace {
            Pace::Full => self.tree.clone(),
            Pace::Quick => self.tree.join("0"),
        };
        let files = count(&from)?;
        let both = round.both(|side| {
            let to = stage.subdir("copied")?;
            let took = timed(quiet(self.ways.scp(side, &from, &to)), LIMIT)?;
            let copied = count(&to)?;
            ensure!(copied == files, "{copied} of {files} files were copied");
            fs::remove_dir_all(&to).context("remove a copied tree")?;
            Ok(took.as_secs_f64())
        })?;
        let sample = Sample::pair(both.ours, both.theirs);
        Ok(vec![Measured::new(ROW, sample)])
    }
}

fn grow(tree: &Path) -> Result<()> {
    let (folders, files) = WIDTH;
    for (part, folder) in (0..PARTS).flat_map(|part| (0..folders).map(move |folder| (part, folder)))
    {
        let dir = tree.join(part.to_string()).join(folder.to_string());
        fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
        for file in 0..files {
            fs::write(dir.join(file.to_string()), CONTENT).context("write a small file")?;
        }
    }
    Ok(())
}

/// Files below a folder.
fn count(dir: &Path) -> Result<usize> {
    let mut files = 0;
    let entries = fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))?;
    for entry in entries {
        let entry = entry?;
        files += match entry.file_type()?.is_dir() {
            true => count(&entry.path())?,
            false => 1,
        };
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_has_ten_thousand_files_and_a_part_a_tenth() {
        let dir = tempfile::tempdir().unwrap();
        grow(dir.path()).unwrap();
        assert_eq!(count(dir.path()).unwrap(), 10_000);
        assert_eq!(count(&dir.path().join("0")).unwrap(), 1000);
    }
}
