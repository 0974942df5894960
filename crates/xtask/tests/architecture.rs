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
        "kedge-load",
        &[
            "kedge-agent",
            "kedge-api",
            "kedge-proto",
            "kedge-service",
            "kedge-tunnel",
        ],
    ),
    (
        "kedge-testkit",
        &["kedge-api", "kedge-proto", "kedge-tunnel"],
    ),
    ("kedge-e2e", &[]),
    ("xtask", &["kedge-proto", "kedge-testkit"]),
];

/// Libraries that only these rooms may name among their dependencies.
const GUARDED: &[(&str, &[&str])] = &[
    ("kube", &["kedge-api", "kedge-store"]),
    ("k8s-openapi", &["kedge-api", "kedge-store"]),
    ("openidconnect", &["kedge-identity"]),
    ("russh", &["kedge-gateway"]),
];

/// What must not be linked into the agent by anybody: SSH, OpenID Connect, Kubernetes, a database, other servers' keys.
const NOT_IN_THE_AGENT: &[&str] = &[
    "k8s-openapi",
    "kedge-signer",
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

/// What each room's manifest names for ordinary builds: on every platform, and with every feature. Manifests alone are
/// read: a machine that has built kedge has the libraries of its own platform only.
fn rooms() -> BTreeMap<String, BTreeSet<String>> {
    let words = [
        "metadata",
        "--format-version",
        "1",
        "--locked",
        "--offline",
        "--no-deps",
    ];
    let metadata: Value = serde_json::from_str(&cargo(&words)).unwrap();
    let name = |value: &Value| value["name"].as_str().unwrap().to_owned();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .map(|package| {
            let named = package["dependencies"].as_array().unwrap().iter();
            let ordinary = named.filter(|dependency| dependency["kind"].is_null());
            (name(package), ordinary.map(name).collect())
        })
        .collect()
}

/// Names of everything that is linked into a room on this platform. By `cargo tree`, because `cargo metadata` also shows
/// dependencies that a feature only mentions (`ring?/std`) and nobody builds.
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
    let rooms = rooms();
    assert!(
        rooms["kedge-hub"].contains("kedge-store"),
        "this test does not see who knows whom"
    );
    let known: BTreeMap<_, _> = ROOMS.iter().copied().collect();
    for (room, named) in &rooms {
        let allowed = known.get(room.as_str());
        let allowed =
            allowed.unwrap_or_else(|| panic!("{room} is not in this test's list of rooms"));
        for dependency in named {
            let ours = rooms.contains_key(dependency);
            assert!(
                !ours || allowed.contains(&dependency.as_str()),
                "{room} must not know {dependency}"
            );
        }
    }
}

#[test]
fn guarded_libraries_stay_in_their_rooms() {
    for (room, named) in rooms() {
        for (library, allowed) in GUARDED {
            assert!(
                allowed.contains(&room.as_str()) || !named.contains(*library),
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
    for room in rooms().keys() {
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
