//! The page for operators says what the program does, no more and no less.

use std::collections::BTreeSet;

use http::{Method, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::Hub;

const PAGE: &str = include_str!("../../../../docs/reference/hub.md");

/// The words in backticks in the first column of the table under a heading.
fn first_column(heading: &str) -> BTreeSet<String> {
    let section = PAGE.split(&format!("\n## {heading}\n")).nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.flat_map(|row| row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn every_metric_is_on_the_page_and_every_metric_on_the_page_is_there() {
    let hub = Hub::start().await;
    // A family shows in the text once it has a member.
    hub.get("admin", "/whoami").await.expect(StatusCode::OK);
    let mut stream = TcpStream::connect(hub.admin_address).await.unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let served: BTreeSet<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .map(str::to_owned)
        .collect();
    assert_eq!(served, first_column("Metrics"));
}

#[test]
fn every_audit_event_is_on_the_page_with_its_id_and_every_event_on_the_page_is_there() {
    let section = PAGE.split("\n## Audit events\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let listed: Vec<_> = rows
        .map(|row| {
            let cell = |number| row.split('|').nth(number).unwrap().trim().trim_matches('`');
            (cell(1), cell(2))
        })
        .collect();
    let unique: BTreeSet<_> = listed.iter().copied().collect();
    assert_eq!(unique.len(), listed.len(), "one row for each");
    let kinds = kedge_hub::audit::KINDS.iter();
    assert_eq!(unique, kinds.map(|kind| (kind.name, kind.id)).collect());
}

#[test]
fn every_ending_and_every_refusal_is_on_the_page_and_the_other_way_round() {
    for (name, words) in [
        ("how", &kedge_hub::session::ENDINGS[..]),
        ("code", &kedge_hub::session::REFUSALS[..]),
    ] {
        let start = format!("`{name}` is one of ");
        let line = PAGE
            .lines()
            .find_map(|line| line.strip_prefix(&start))
            .unwrap();
        let listed: BTreeSet<_> = line.split('`').skip(1).step_by(2).collect();
        assert_eq!(listed, words.iter().copied().collect(), "{name}");
    }
}

#[tokio::test]
async fn the_admin_paths_are_there_and_not_on_the_public_port() {
    let hub = Hub::start().await;
    for path in first_column("Admin endpoint") {
        let mut stream = TcpStream::connect(hub.admin_address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert!(text.starts_with("HTTP/1.1 200"), "{path}: {text}");
        hub.ask_with(None, Method::GET, &path, None)
            .await
            .expect(StatusCode::NOT_FOUND);
    }
}
