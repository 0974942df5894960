//! A history whose process is killed at any moment holds every batch that was acknowledged, each whole.
//!
//! By itself, because a process that is about to start holds what this one has locked.

#![cfg(test)]

mod common;

use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use common::history;
use kedge_store::{EmbeddedStore, HistoryLine};
use tempfile::TempDir;

/// Run by itself, this is the test; run by itself with the variable, it is the child.
#[test]
fn killed_at_any_moment_no_acknowledged_line_is_lost() {
    if let Some(path) = std::env::var_os(CHILD) {
        return append_until_killed(Path::new(&path));
    }
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.db");
    let mut before = 0;
    for round in 1..=12 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "killed_at_any_moment_no_acknowledged_line_is_lost",
                "--nocapture",
            ])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut heard = lines.map_while(Result::ok).filter_map(|line| {
            let number = line.strip_prefix("@ done ")?;
            number.parse::<usize>().ok()
        });
        let mut acknowledged = heard.by_ref().take(round * 3).last().unwrap_or(before);
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged = heard.last().unwrap_or(acknowledged);
        let store = EmbeddedStore::open(&path).unwrap().shared();
        let stored = wait(history(&store));
        // Batches of five, each whole, in order, and at most the one on its way more than was said.
        assert_eq!(stored.len() % 5, 0, "in round {round}");
        assert!(
            (acknowledged..=acknowledged + 5).contains(&stored.len()),
            "{} stored, {acknowledged} acknowledged in round {round}",
            stored.len()
        );
        for (number, line) in stored.iter().enumerate() {
            assert_eq!(line.body, number.to_string());
        }
        before = stored.len();
    }
    assert!(before > 100, "{before}");
}

fn append_until_killed(path: &Path) {
    let store = EmbeddedStore::open(path).unwrap().shared();
    wait(async {
        let mut next = history(&store).await.len();
        loop {
            let batch = (next..next + 5).map(|number| line(number.to_string()));
            store.append(batch.collect()).await.unwrap();
            next += 5;
            let mut out = std::io::stdout().lock();
            out.write_all(format!("\n@ done {next}\n").as_bytes())
                .unwrap();
            out.flush().unwrap();
        }
    });
}

fn line(body: String) -> HistoryLine {
    HistoryLine {
        at: "2026-01-31T12:00:00Z".parse().unwrap(),
        about: String::new(),
        body,
    }
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

const CHILD: &str = "KEDGE_STORE_TEST_APPEND";
