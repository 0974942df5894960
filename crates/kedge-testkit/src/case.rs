//! One end-to-end test: its name, its scratch folder, its logs.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::machine;

/// How the line begins by which a test says that this machine cannot run it. `cargo xtask test` counts these apart.
pub const SKIPPED: &str = "kedge-testkit: skipped: ";

/// What one test owns. Everything in it is gone after the test, except the logs of a test that failed.
#[derive(Debug)]
pub struct Case {
    name: String,
    logs: PathBuf,
    scratch: TempDir,
    counter: AtomicUsize,
    bins: PathBuf,
}

impl Case {
    /// The test's name, as `file::test`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the daemons' logs of this test are.
    #[must_use]
    pub fn logs(&self) -> &Path {
        &self.logs
    }

    /// Where the built binaries are.
    #[must_use]
    pub fn bins(&self) -> &Path {
        &self.bins
    }

    /// The scratch folder. Its path is short enough for sockets.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.scratch.path()
    }

    /// A new empty folder in the scratch folder.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn subdir(&self, name: &str) -> Result<PathBuf> {
        let dir = self.dir().join(self.unique(name));
        fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
        Ok(dir)
    }

    /// A name that this test has not used yet: `hub`, then `hub-1`, and so on.
    #[must_use]
    pub fn unique(&self, name: &str) -> String {
        match self.counter.fetch_add(1, Ordering::Relaxed) {
            0 => name.to_owned(),
            used => format!("{name}-{used}"),
        }
    }

    /// Writes a file in the scratch folder.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.dir().join(name);
        fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }
}

/// Runs one test. Its name is the path of the function that calls this.
///
/// ```text
/// #[test]
/// fn exit_status_is_the_remotes() -> Result<()> {
///     case(|t| { … })
/// }
/// ```
///
/// # Errors
///
/// The test's own error, with the folder of the logs.
pub fn case<F: FnOnce(&Case) -> Result<()>>(test: F) -> Result<()> {
    let full = std::any::type_name::<F>().trim_end_matches("::{{closure}}");
    let name = full
        .split_once("::")
        .map_or(full, |(_, rest)| rest)
        .to_owned();
    let bins = machine::bin_dir()?;
    let logs = match std::env::var_os("KEDGE_E2E_LOGS") {
        Some(dir) => PathBuf::from(dir),
        None => bins.parent().unwrap_or(&bins).join("e2e-logs"),
    };
    let logs = logs.join(name.replace("::", "."));
    if logs.exists() {
        fs::remove_dir_all(&logs).with_context(|| format!("empty {}", logs.display()))?;
    }
    fs::create_dir_all(&logs).with_context(|| format!("make {}", logs.display()))?;
    let scratch = tempfile::Builder::new()
        .prefix("kedge-")
        .tempdir()
        .context("make a scratch folder")?;
    let case = Case {
        name,
        logs: logs.clone(),
        scratch,
        counter: AtomicUsize::new(0),
        bins,
    };
    let outcome = test(&case);
    if outcome.is_ok() {
        let _ = fs::remove_dir_all(&logs);
    }
    outcome.with_context(|| {
        format!(
            "{} failed; the daemons' logs are in {}",
            case.name,
            logs.display()
        )
    })
}

/// Says that this machine cannot run the test, and why.
///
/// # Errors
///
/// Never; it has the type a test returns.
#[expect(clippy::print_stdout, reason = "the line is for the test runner")]
pub fn skip(reason: &str) -> Result<()> {
    println!("{SKIPPED}{reason}");
    Ok(())
}
