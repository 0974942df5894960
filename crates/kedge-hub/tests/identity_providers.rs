//! `docs/identity-providers.md`: every block for the hub's configuration is read as the hub reads it.

#![cfg(test)]

use std::collections::BTreeSet;

use kedge_api::{LocalPartTrust, Standing};
use kedge_hub::config::{Config, Settings};

const PAGE: &str = include_str!("../../../docs/identity-providers.md");

/// The path that the page has for the cluster's authorities.
const CLUSTER_AUTHORITIES: &str = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";

#[test]
fn every_block_is_a_configuration() {
    let blocks = blocks();
    assert!(blocks.len() >= 9, "{}", blocks.len());
    for block in &blocks {
        let settings = settle(block);
        let issuers = &settings.roster.issuers;
        assert_eq!(issuers.len(), 1, "{block}");
        // People are home, and workloads never: a policy that names no issuer is about people.
        let expected = match issuers[0].client_id {
            Some(_) => Standing::Home,
            None => Standing::Foreign,
        };
        assert_eq!(issuers[0].standing, expected, "{block}");
    }
}

/// Whoever lists domains lists their own, and one who does without `email_verified` says so.
#[test]
fn addresses_become_logins_where_they_are_verified_or_the_issuer_gives_them() {
    let mut trusted = 0;
    for block in &blocks() {
        let mapping = &settle(block).roster.issuers[0].mapping;
        match mapping.local_part_trust {
            LocalPartTrust::EmailVerified => {}
            LocalPartTrust::Issuer => {
                assert!(
                    block.contains("https://login.microsoftonline.com/"),
                    "{block}"
                );
                assert_eq!(mapping.local_part_domains, ["corp.example"], "{block}");
                trusted += 1;
            }
        }
    }
    assert_eq!(trusted, 1);
}

#[test]
fn people_and_workloads_go_together() {
    let blocks = blocks();
    let (people, workloads): (Vec<_>, Vec<_>) = blocks
        .iter()
        .partition(|block| block.contains("\nclient-id = "));
    assert_eq!(workloads.len(), 2);
    for people in people {
        let people = people.replacen("\nclient-id", "\nhome = true\nclient-id", 1);
        let mut together = workloads.clone();
        together.push(&people);
        let together: Vec<_> = together.into_iter().map(String::as_str).collect();
        let settings = settle(&together.join("\n"));
        assert_eq!(settings.roster.issuers.len(), 3, "{people}");
    }
}

#[test]
fn every_provider_of_the_first_table_has_its_section_and_its_block() {
    let listed: BTreeSet<_> = PAGE
        .lines()
        .filter_map(|line| line.strip_prefix("| ["))
        .map(|row| row.split("](#").nth(1).unwrap().split(')').next().unwrap())
        .collect();
    let described: BTreeSet<_> = PAGE
        .split("\n## ")
        .filter(|section| section.contains("```toml\n[[issuers]]"))
        .map(|section| section.lines().next().unwrap())
        .map(|title| title.to_lowercase().replace(' ', "-"))
        .collect();
    let described: BTreeSet<_> = described.iter().map(String::as_str).collect();
    assert_eq!(listed, described);
}

fn settle(block: &str) -> Settings {
    let folder = tempfile::tempdir().unwrap();
    let authorities = folder.path().join("ca.crt");
    let certificate = rcgen::generate_simple_self_signed(["id.example".to_owned()]).unwrap();
    std::fs::write(&authorities, certificate.cert.pem()).unwrap();
    let path = folder.path().join("hub.toml");
    let text = block.replace(CLUSTER_AUTHORITIES, authorities.to_str().unwrap());
    std::fs::write(&path, text).unwrap();
    Config::load(&path).unwrap_or_else(|error| panic!("{error}\n{block}"))
}

fn blocks() -> Vec<String> {
    PAGE.split("```toml\n")
        .skip(1)
        .map(|rest| format!("\n{}\n", rest.split("\n```").next().unwrap()))
        .collect()
}
