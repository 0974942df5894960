//! Running cargo and other tools: with a deadline, interruptible, and by what cargo says about itself.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use kedge_testkit::process::describe;
use kedge_testkit::run::{self, Ran};
use kedge_testkit::wait;
use rustix::process::{Signal, kill_process_group};

use crate::defaults;

/// The feature that brings the program which the demo logs in at.
pub(crate) const DEMO: &str = "kedge-testkit/demo";

/// The repository and where cargo builds it.
#[derive(Clone, Debug)]
pub(crate) struct Workspace {
    /// The root of the repository.
    pub(crate) root: PathBuf,
    /// Cargo's target folder, wherever the environment or a configuration put it.
    pub(crate) target: PathBuf,
}

/// An executable that cargo built.
#[derive(Clone, Debug)]
pub(crate) struct Built {
    /// The package it belongs to.
    pub(crate) package: String,
    /// The target's name.
    pub(crate) target: String,
    /// `lib`, `bin`, `test`.
    pub(crate) kind: String,
    /// Whether it is a test harness.
    pub(crate) test: bool,
    /// The file.
    pub(crate) path: PathBuf,
    /// The package's folder, where its tests run.
    pub(crate) folder: PathBuf,
}

impl Workspace {
    /// Asks cargo.
    pub(crate) fn find() -> Result<Self> {
        let mut command = cargo();
        command.args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ]);
        let metadata = run::run(command)?.success()?.json()?;
        let path = |name: &str| -> Result<PathBuf> {
            Ok(metadata
                .get(name)
                .and_then(|value| value.as_str())
                .with_context(|| format!("no {name}"))?
                .into())
        };
        Ok(Self {
            root: path("workspace_root")?,
            target: path("target_directory")?,
        })
    }

    /// Builds the three programs, and the one that the demo logs in at, and answers the folder they are in. Cargo's own progress is shown.
    pub(crate) fn programs(&self) -> Result<PathBuf> {
        let mut command = cargo();
        command.current_dir(&self.root);
        command.args([
            "build",
            "--locked",
            "--workspace",
            "--exclude",
            "xtask",
            "--bins",
            "--features",
            DEMO,
        ]);
        let built = compile(command)?;
        folder_of(&built, "kedge-hub")
    }

    /// Builds the three programs as packagers do, and answers their folder.
    pub(crate) fn release(&self) -> Result<PathBuf> {
        let programs = self.released(&["kedge", "kedge-hub", "kedge-agent"])?;
        folder_of(&programs, "kedge-hub")
    }

    /// Builds the program that loads the released ones, and answers its file. By an invocation of its own: features that
    /// it wants of a library must not reach the programs that are measured.
    pub(crate) fn release_load(&self) -> Result<PathBuf> {
        let load = self.released(&["kedge-load"])?;
        Ok(folder_of(&load, "kedge-load")?.join("kedge-load"))
    }

    fn released(&self, packages: &[&str]) -> Result<Vec<Built>> {
        let mut command = cargo();
        command.current_dir(&self.root);
        command.args(["build", "--release", "--locked", "--bins"]);
        for package in packages {
            command.args(["-p", package]);
        }
        compile(command)
    }
}

/// The folder of a program among what cargo built.
fn folder_of(built: &[Built], program: &str) -> Result<PathBuf> {
    let found = built
        .iter()
        .find(|one| one.target == program && !one.test)
        .with_context(|| format!("no {program} was built"))?;
    Ok(found
        .path
        .parent()
        .context("a file has a folder")?
        .to_owned())
}

/// The cargo that runs this, or the one on the path.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // `cargo run` tells its child about the package it ran; that is not the package built next.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
        }) {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a cargo command that compiles, and answers the executables it made.
pub(crate) fn compile(mut command: Command) -> Result<Vec<Built>> {
    command.arg("--message-format=json-render-diagnostics");
    let described = describe(&command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .with_context(|| format!("start `{described}`"))?;
    let pid = kedge_testkit::process::as_pid(child.id())?;
    let stdout = child.stdout.take().context("stdout is piped")?;
    let reader = std::thread::spawn(move || -> Vec<Built> {
        BufReader::new(stdout)
            .lines()
            .map_while(Result::ok)
            .filter_map(|line| executable(&line))
            .collect()
    });
    let ended = wait::until("cargo to finish", defaults::BUILD, || Ok(child.try_wait()?));
    if ended.is_err() {
        let _ = kill_process_group(pid, Signal::TERM);
        let _ = child.wait();
    }
    let status = ended?;
    ensure!(status.success(), "`{described}` failed");
    reader.join().ok().context("reading cargo's messages")
}

fn executable(line: &str) -> Option<Built> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    let path = message.get("executable")?.as_str()?;
    let text = |pointer: &str| {
        message
            .pointer(pointer)
            .and_then(|value| value.as_str())
            .map(str::to_owned)
    };
    let folder = Path::new(&text("/manifest_path")?).parent()?.to_owned();
    Some(Built {
        package: folder.file_name()?.to_str()?.to_owned(),
        target: text("/target/name")?,
        kind: text("/target/kind/0")?,
        test: message
            .pointer("/profile/test")
            .and_then(serde_json::Value::as_bool)
            .unwrap_or_default(),
        path: path.into(),
        folder,
    })
}

/// One run of a tool.
#[derive(Debug)]
pub(crate) struct Step {
    command: Command,
}

impl Step {
    /// Of this command.
    pub(crate) fn new(command: Command) -> Self {
        Self { command }
    }

    /// Runs it and shows its output only when it fails.
    pub(crate) fn quietly(self, limit: Duration) -> Result<Ran> {
        run::feed(self.command, Vec::new(), limit)?.success()
    }

    /// Runs it with its output on this terminal.
    pub(crate) fn shown(mut self, limit: Duration) -> Result<()> {
        let described = describe(&self.command);
        let mut child = self
            .command
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .with_context(|| format!("start `{described}`"))?;
        let pid = kedge_testkit::process::as_pid(child.id())?;
        let ended = wait::until(&format!("`{described}` to end"), limit, || {
            Ok(child.try_wait()?)
        });
        if ended.is_err() {
            let _ = kill_process_group(pid, Signal::TERM);
            let _ = child.wait();
        }
        let status = ended?;
        if !status.success() {
            bail!("`{described}` ended with {status}");
        }
        Ok(())
    }
}

/// Reads a pipe to its end, for those who must wait for a process at the same time.
pub(crate) fn drain(mut pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
