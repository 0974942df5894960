//! A store whose process is killed at any moment holds everything it acknowledged, nothing twice,
//! and nothing that was never asked for.
//!
//! - The test starts itself as a child, which announces each write on a pipe, does it, and
//!   acknowledges it. Four writers at once, so that commits are shared.
//! - The parent reads some number of lines and kills the child by its pid.
//! - Then the store must be what was acknowledged, plus or minus each writer's one announced write.

#![cfg(test)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use kedge_api::meta::Changed;
use kedge_api::resources::ServerSpec;
use kedge_api::{LabelSelector, Resource, Server};
use kedge_store::{EmbeddedStore, Precondition, SharedStore};
use tempfile::TempDir;

/// Run by itself, this is the test; run by itself with the variable, it is the child.
#[test]
fn killed_at_any_moment_nothing_acknowledged_is_lost() {
    if let Some(path) = std::env::var_os(CHILD) {
        return write_until_killed(Path::new(&path));
    }
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state/store.db");
    let mut model = Model::default();
    let mut random = u64::from(std::process::id());
    for round in 0..ROUNDS {
        // xorshift: another moment each time.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let lines = usize::try_from(random % LINES_MAX).unwrap();
        // Some children die while they make or open the file.
        let lines = if round % 4 == 0 { lines % 2 } else { lines };
        let mut child = start(&path);
        let pipe = BufReader::new(child.stdout.take().unwrap());
        let mut reports = pipe.lines().map_while(Result::ok);
        for report in reports
            .by_ref()
            .filter(|line| line.starts_with('@'))
            .take(lines)
        {
            model.hear(&report);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What was in the pipe when it died was said, too.
        reports
            .filter(|line| line.starts_with('@'))
            .for_each(|line| model.hear(&line));
        if path.exists() {
            model.settle(&stored(&path), round);
        }
    }
    assert!(
        model.acknowledged > 100,
        "{} writes acknowledged",
        model.acknowledged
    );
}

/// What must be there.
#[derive(Default)]
struct Model {
    // The label `round` of each server.
    servers: BTreeMap<String, String>,
    // What each writer announced and has not acknowledged.
    pending: BTreeMap<String, (String, Option<String>)>,
    acknowledged: usize,
}

impl Model {
    /// `@ will WRITER NAME VALUE`, `@ done WRITER`.
    fn hear(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["@", "will", writer, name, value] => {
                let value = (value != "-").then(|| value.to_owned());
                self.pending
                    .insert(writer.to_owned(), (name.to_owned(), value));
            }
            ["@", "done", writer] => {
                let (name, value) = self.pending.remove(writer).expect("announced before done");
                self.apply(name, value);
                self.acknowledged += 1;
            }
            // The kill cut a line in two.
            _ => {}
        }
    }

    fn apply(&mut self, name: String, value: Option<String>) {
        match value {
            Some(value) => self.servers.insert(name, value),
            None => self.servers.remove(&name),
        };
    }

    /// Compares with what is stored, allowing each pending write to have happened or not.
    fn settle(&mut self, stored: &BTreeMap<String, String>, round: usize) {
        for (name, value) in std::mem::take(&mut self.pending).into_values() {
            if stored.get(&name) == value.as_ref() {
                self.apply(name, value);
            }
        }
        assert_eq!(&self.servers, stored, "in round {round}");
    }
}

fn start(path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "killed_at_any_moment_nothing_acknowledged_is_lost",
            "--nocapture",
        ])
        .env(CHILD, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn stored(path: &Path) -> BTreeMap<String, String> {
    let store = EmbeddedStore::open(path).unwrap().shared();
    let list = wait(async {
        store
            .list::<Server>(&LabelSelector::default())
            .await
            .unwrap()
    });
    for server in &list.items {
        assert!(server.metadata.resource_version.unwrap() <= list.metadata.resource_version);
    }
    let value = |server: &Server| server.metadata.labels.value("round").unwrap().to_string();
    list.items
        .iter()
        .map(|server| (server.metadata.name.to_string(), value(server)))
        .collect()
}

fn write_until_killed(path: &Path) {
    let say = |line: String| {
        let mut out = std::io::stdout().lock();
        // One write to the pipe, whatever libtest thinks of standard output.
        out.write_all(format!("\n@ {line}\n").as_bytes()).unwrap();
        out.flush().unwrap();
    };
    say("opening".to_owned());
    let store = EmbeddedStore::open(path).unwrap().shared();
    say("open".to_owned());
    wait(async {
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..WRITERS {
            let store = store.clone();
            writers.spawn(async move {
                for round in 0.. {
                    let name = format!("w{writer}-{}", round % NAMES);
                    let there = store.find::<Server>(&name).await.unwrap();
                    let value = match there {
                        Some(_) if round % 3 == 0 => "-".to_owned(),
                        _ => format!("r{round}"),
                    };
                    say(format!("will {writer} {name} {value}"));
                    change(&store, &name, &value, there.is_some()).await;
                    say(format!("done {writer}"));
                }
            });
        }
        while writers.join_next().await.is_some() {}
    });
}

async fn change(store: &SharedStore, name: &str, value: &str, exists: bool) {
    if value == "-" {
        store
            .delete::<Server>(name, Precondition::None)
            .await
            .unwrap();
        return;
    }
    let relabel = |server: &mut Server| {
        server
            .metadata
            .labels
            .insert("round".parse().unwrap(), value.parse().unwrap());
        Changed::Yes
    };
    if exists {
        store.modify(name, relabel).await.unwrap();
    } else {
        let mut server = Server::new(name.parse().unwrap(), ServerSpec::default());
        relabel(&mut server);
        store.create(&server).await.unwrap();
    }
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .build()
        .unwrap()
        .block_on(future)
}

const CHILD: &str = "KEDGE_STORE_TEST_WRITE";
const ROUNDS: usize = 24;
const LINES_MAX: u64 = 200;
const WRITERS: usize = 4;
const NAMES: usize = 7;
