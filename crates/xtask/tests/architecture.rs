//! The arrows between the rooms point down only, as `docs/architecture.md` draws them, and nobody links what is not
//! theirs to link.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// What each room may depend on in ordinary builds. A room that is not listed is a room nobody has thought about.
const ROOMS: &[(&str, &[&str])] = &[
    ("kedge-proto", &[]),
    ("kedge-api", &[]),
    ("kedge-tunnel", &["kedge-proto"]),
    ("kedge-store", &["kedge-api"]),
    ("kedge-service", &[]),
    ("kedge-identity", &["kedge-api"]),
    ("kedge-signer", &["kedge-api"]),
    (
        "kedge-hub",
        &[
            "kedge-api",
            "kedge-identity",
            "kedge-proto",
            "kedge-service",
            "kedge-signer",
            "kedge-store",
            "kedge-tunnel",
        ],
    ),
    (
        "kedge-gateway",
        &["kedge-api", "kedge-proto", "kedge-service", "kedge-tunnel"],
    ),
    (
        "kedge-agent",
        &["kedge-api", "kedge-proto", "kedge-service", "kedge-tunnel"],
    ),
    (
        "kedge",
        &[
            "kedge-api",
            "kedge-identity",
            "kedge-proto",
            "kedge-service",
            "kedge-signer",
            "kedge-tunnel",
        ],
    ),
    (
        "kedge-testkit",
        &["kedge-api", "kedge-proto", "kedge-tunnel"],
    ),
    ("kedge-e2e", &[]),
    ("xtask", &["kedge-testkit"]),
];

/// Libraries that only these rooms may name among their dependencies.
const GUARDED: &[(&str, &[&str])] = &[
    ("kube", &["kedge-api", "kedge-store"]),
    ("k8s-openapi", &["kedge-api", "kedge-store"]),
    ("openidconnect", &["kedge-identity"]),
    ("russh", &["kedge-gateway"]),
];

/// What must not be linked into the agent by anybody: SSH, OpenID Connect, Kubernetes, a database.
const NOT_IN_THE_AGENT: &[&str] = &[
    "k8s-openapi",
    "kube",
    "kube-client",
    "libssh2-sys",
    "openidconnect",
    "rusqlite",
    "russh",
    "ssh-agent-lib",
    "ssh-key",
    "ssh2",
    "thrussh",
];

/// What must not be linked into anything: there is one provider of cryptography, and TLS is rustls.
const NOWHERE: &[&str] = &["native-tls", "openssl", "openssl-sys", "ring"];

/// Everything cargo knows about who depends on whom.
struct Graph {
    /// Package id to name.
    names: BTreeMap<String, String>,
    /// Package id to the ids it links in an ordinary build.
    links: BTreeMap<String, BTreeSet<String>>,
    /// Names of this workspace's packages.
    rooms: BTreeMap<String, String>,
}

impl Graph {
    fn read() -> Self {
        let words = ["metadata", "--format-version", "1", "--locked", "--offline"];
        let metadata: Value = serde_json::from_str(&cargo(&words)).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let names: BTreeMap<_, _> = metadata["packages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|package| (text(&package["id"]), text(&package["name"])))
            .collect();
        let members = metadata["workspace_members"]
            .as_array()
            .unwrap()
            .iter()
            .map(text);
        let rooms = members.map(|id| (names[&id].clone(), id)).collect();
        let links = metadata["resolve"]["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|node| {
                let ordinary = |dependency: &&Value| {
                    dependency["dep_kinds"]
                        .as_array()
                        .unwrap()
                        .iter()
                        .any(|kind| kind["kind"].is_null())
                };
                let dependencies = node["deps"].as_array().unwrap().iter().filter(ordinary);
                (
                    text(&node["id"]),
                    dependencies
                        .map(|dependency| text(&dependency["pkg"]))
                        .collect(),
                )
            })
            .collect();
        Self {
            names,
            links,
            rooms,
        }
    }

    /// Names of what a room depends on directly.
    fn direct(&self, room: &str) -> BTreeSet<&str> {
        self.links[&self.rooms[room]]
            .iter()
            .map(|id| self.names[id].as_str())
            .collect()
    }
}

/// Names of everything that is linked into a room. By `cargo tree`, because `cargo metadata` also shows dependencies
/// that a feature only mentions (`ring?/std`) and nobody builds.
fn linked(room: &str) -> BTreeSet<String> {
    let words = [
        "tree",
        "--locked",
        "--offline",
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--format",
        "{p}",
        "-p",
        room,
    ];
    let listed = cargo(&words);
    listed
        .lines()
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect()
}

fn cargo(words: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(words)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "cargo {words:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn arrows_point_down_only() {
    let graph = Graph::read();
    let known: BTreeMap<_, _> = ROOMS.iter().copied().collect();
    for room in graph.rooms.keys() {
        let allowed = known.get(room.as_str());
        let allowed =
            allowed.unwrap_or_else(|| panic!("{room} is not in this test's list of rooms"));
        for dependency in graph.direct(room) {
            let ours = graph.rooms.contains_key(dependency);
            assert!(
                !ours || allowed.contains(&dependency),
                "{room} must not know {dependency}"
            );
        }
    }
}

#[test]
fn guarded_libraries_stay_in_their_rooms() {
    let graph = Graph::read();
    for (library, rooms) in GUARDED {
        for room in graph
            .rooms
            .keys()
            .filter(|room| !rooms.contains(&room.as_str()))
        {
            assert!(
                !graph.direct(room).contains(library),
                "{room} must not link {library}"
            );
        }
    }
}

#[test]
fn the_agent_is_lean() {
    let linked = linked("kedge-agent");
    assert!(
        linked.contains("kedge-tunnel"),
        "this test does not see what the agent links"
    );
    for library in NOT_IN_THE_AGENT {
        assert!(
            !linked.contains(*library),
            "kedge-agent must not link {library}"
        );
    }
}

#[test]
fn the_hub_runs_no_login_flows() {
    let linked = linked("kedge-hub");
    assert!(
        linked.contains("kedge-identity"),
        "this test does not see what the hub links"
    );
    assert!(
        !linked.contains("openidconnect"),
        "kedge-hub must not link openidconnect"
    );
}

#[test]
fn one_provider_of_cryptography() {
    let graph = Graph::read();
    for room in graph.rooms.keys() {
        let linked = linked(room);
        for library in NOWHERE {
            assert!(!linked.contains(*library), "{room} must not link {library}");
        }
    }
}

#[test]
fn proto_has_no_clock_no_sockets_and_no_threads() {
    let linked = linked("kedge-proto");
    for library in ["getrandom", "mio", "rand", "rustls", "socket2", "tokio"] {
        assert!(
            !linked.contains(library),
            "kedge-proto must not link {library}"
        );
    }
}
