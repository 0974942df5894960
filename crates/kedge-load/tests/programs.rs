//! The built program: what it says on standard output, how it ends, and that it names what is wrong.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

use std::process::Command;
use std::time::Duration;

use kedge_testkit::run::{Live, Ran};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// An upper bound on a slow, busy machine.
const SOON: Duration = Duration::from_secs(60);

fn start(words: &[&str]) -> Live {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kedge-load"));
    command.args(words);
    Live::start(command).unwrap()
}

/// A server and where it listens.
fn serve(words: &[&str]) -> (Live, String) {
    let mut live = start(words);
    live.expect("\n", SOON).unwrap();
    let said: Value = serde_json::from_slice(&live.out()).unwrap();
    (live, said["address"].as_str().unwrap().to_owned())
}

fn client(address: &str, work: &[&str]) -> Ran {
    let words = [&["client", "--tcp", address], work].concat();
    start(&words).finish(SOON).unwrap()
}

#[test]
fn every_work_of_a_client_is_done_and_reported_in_one_line() {
    let (_target, address) = serve(&["target"]);
    for (work, wanted) in [
        (
            "bulk --direction down --streams 3 --bytes 1000003",
            "bytes 1000003",
        ),
        (
            "bulk --direction up --streams 2 --bytes 1000003",
            "bytes 1000003",
        ),
        ("bulk --direction up --bytes 0", "bytes 0"),
        ("echo --count 20 --size 300", "count 20"),
        ("echo --count 20 --bulk 2", "count 20"),
        ("echo --count 20 --bulk 2 --bulk-direction up", "count 20"),
        ("beside --stalled 2 --bytes 1000003", "bytes 1000003"),
        ("open --count 5", "count 5"),
        ("dial --count 5", "count 5"),
        ("sessions --count 20 --parallel 3", "opened 20"),
    ] {
        let words: Vec<&str> = work.split(' ').collect();
        let ran = client(&address, &words).success().unwrap();
        assert_eq!(ran.out().lines().count(), 1, "{ran}");
        let said = ran.json().unwrap();
        let (name, value) = wanted.split_once(' ').unwrap();
        assert_eq!(said[name].to_string(), value, "{ran}");
        if work.starts_with("sessions") {
            assert_eq!(said["failed"], 0, "{ran}");
        }
        let timed = ["p50_us", "seconds"].map(|name| said[name].as_f64());
        assert!(timed.iter().flatten().any(|time| *time > 0.0), "{ran}");
    }
}

#[test]
fn streams_are_held_until_standard_input_ends() {
    let (_target, address) = serve(&["target"]);
    for work in [
        &["--streams", "3"][..],
        &["--streams", "20", "--each-way", "70001"],
        &["--streams", "2", "--stalled"],
    ] {
        let words = [&["client", "--tcp", &address, "hold"], work].concat();
        let mut live = start(&words);
        live.expect("{\"ready\":true}\n", SOON).unwrap();
        assert!(live.is_running().unwrap(), "{work:?}");
        live.finish(SOON).unwrap().success().unwrap();
    }
}

#[test]
fn servers_end_at_a_signal() {
    let (_target, address) = serve(&["target"]);
    for words in [
        &["target"][..],
        &["relay", "--to", &address],
        &["delay", "--to", &address, "--one-way-ms", "1"],
    ] {
        let (live, behind) = serve(words);
        let work = ["bulk", "--direction", "down", "--bytes", "100001"];
        client(&behind, &work).success().unwrap();
        let pid = Pid::from_raw(live.pid().try_into().unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        live.wait(SOON).unwrap().success().unwrap();
    }
}

#[test]
fn who_cannot_work_says_at_which_step() {
    // Nobody listens where somebody did.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap().to_string();
    drop(closed);
    let ran = client(&address, &["open", "--count", "1"])
        .exits(1)
        .unwrap();
    ran.says(&[&format!("a connection to {address}: Connection refused")])
        .unwrap();
    // A relay to nowhere ends the connection before it greets.
    let (_relay, behind) = serve(&["relay", "--to", &address]);
    let work = ["bulk", "--direction", "down", "--bytes", "1"];
    let ran = client(&behind, &work).exits(1).unwrap();
    ran.says(&["error: the target's greeting: "]).unwrap();
    // No work at all.
    for work in [
        &[
            "bulk",
            "--direction",
            "up",
            "--streams",
            "0",
            "--bytes",
            "1",
        ][..],
        &["echo", "--count", "0"],
        &["sessions", "--count", "1", "--parallel", "0"],
    ] {
        client(&address, work).exits(1).unwrap();
    }
}

#[test]
fn a_hub_needs_its_words() {
    for words in [
        &["client", "open", "--count", "1"][..],
        &[
            "client",
            "--hub",
            "https://hub.example",
            "open",
            "--count",
            "1",
        ],
        &["fleet", "--hub", "https://hub.example"],
        &["target", "--listen", "nowhere"],
    ] {
        start(words).finish(SOON).unwrap().exits(2).unwrap();
    }
}
