//! Host keys are what ssh-keygen makes of them, or they are refused.

#![cfg(test)]

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kedge_api::names::{HostKeyAlgorithm, HostKeyError};
use kedge_api::{Fingerprint, HostKey, HostKeys};
use proptest::prelude::*;

/// Fingerprint (`ssh-keygen -l`) and line (`*.pub`) of one key of each kind.
const KEYS: &str = include_str!("data/host_keys.txt");

#[test]
fn fingerprints_are_those_of_ssh_keygen() {
    let mut kinds = BTreeSet::new();
    for (fingerprint, line) in keys() {
        let key: HostKey = line.parse().unwrap();
        assert_eq!(key.fingerprint().to_string(), fingerprint);
        assert_eq!(
            fingerprint.parse::<Fingerprint>().unwrap(),
            key.fingerprint()
        );
        let words: Vec<_> = line.split(' ').take(2).collect();
        assert_eq!(key.to_string(), words.join(" "), "the comment is dropped");
        assert_eq!(key.to_string().parse::<HostKey>().unwrap(), key);
        assert_eq!(format!("{line}\r\n").parse::<HostKey>().unwrap(), key);
        kinds.insert(key.algorithm());
    }
    assert_eq!(kinds.len(), 5);
}

#[test]
fn security_keys_are_accepted() {
    let mut blob = field(b"sk-ssh-ed25519@openssh.com");
    blob.extend(field(&[7; 32]));
    blob.extend(field(b"ssh:"));
    let line = format!("sk-ssh-ed25519@openssh.com {}", STANDARD.encode(&blob));
    let key: HostKey = line.parse().unwrap();
    assert_eq!(key.algorithm(), HostKeyAlgorithm::SkEd25519);
    assert_eq!(key.blob(), blob);

    let mut blob = field(b"sk-ecdsa-sha2-nistp256@openssh.com");
    blob.extend(field(b"nistp256"));
    blob.extend(field(&[&[4][..], &[7; 64]].concat()));
    blob.extend(field(b"ssh:"));
    let line = format!(
        "sk-ecdsa-sha2-nistp256@openssh.com {}",
        STANDARD.encode(blob)
    );
    assert_eq!(
        line.parse::<HostKey>().unwrap().algorithm(),
        HostKeyAlgorithm::SkEcdsaP256
    );
}

#[test]
fn what_is_no_host_key_is_refused() {
    let good = ed25519(&[1; 32]);
    let long_comment = format!("{good} {}", "x".repeat(8192));
    for (line, why) in [
        ("", "empty"),
        ("ssh-ed25519", "no base64"),
        ("ssh-ed25519 ", "no base64"),
        ("ssh-ed25519 !!!", "not base64"),
        ("ssh-ed25519 AAAA", "middle of a field"),
        ("ssh-ed25519 /////w==", "middle of a field"),
        ("ssh-dss AAAAB3NzaC1kc3M=", "`ssh-dss` is not supported"),
        (
            "rsa-sha2-256 AAAAB3NzaC1yc2E=",
            "`rsa-sha2-256` is not supported",
        ),
        ("ssh-ed25519-cert-v01@openssh.com AAAA", "is not supported"),
        ("command=\"id\" ssh-ed25519 AAAA", "is not supported"),
        ("@cert-authority * ssh-ed25519 AAAA", "is not supported"),
        ("-oProxyCommand=x AAAA", "is not supported"),
        ("SSH-ED25519 AAAA", "is not supported"),
        (&good.replace(' ', "\n"), "control character"),
        (&format!("{good}\nssh-rsa AAAA"), "control character"),
        (&format!("{good} comment\u{1b}[2J"), "control character"),
        (
            &good.replace("ssh-ed25519 ", "ssh-rsa "),
            "another algorithm",
        ),
        (&long_comment, "longer than 4096 bytes"),
        (&line("ssh-ed25519", &[&[1; 31]]), "wrong length"),
        (&line("ssh-ed25519", &[&[1; 33]]), "wrong length"),
        (&line("ssh-ed25519", &[&[1; 32], b"more"]), "left over"),
        (
            &line("ecdsa-sha2-nistp256", &[b"nistp384", &[4; 97]]),
            "curve",
        ),
        (
            &line("ecdsa-sha2-nistp256", &[b"nistp256", &[2; 33]]),
            "uncompressed",
        ),
        (
            &line("ecdsa-sha2-nistp256", &[b"nistp256", &[4; 64]]),
            "uncompressed",
        ),
        (
            &line("ssh-rsa", &[&[1, 0, 1], &[0x7f; 64]]),
            "less than 1024",
        ),
        (
            &line("ssh-rsa", &[&[1, 0, 1], &[0x7f; 2049]]),
            "more than 16384",
        ),
        (&line("ssh-rsa", &[&[1, 0, 1], &[0xff; 256]]), "negative"),
        (
            &line("ssh-rsa", &[&[1, 0, 1], &[&[0, 1][..], &[1; 256]].concat()]),
            "shortest form",
        ),
        (&line("ssh-rsa", &[&[], &[0x7f; 256]]), "zero"),
        (&line("ssh-rsa", &[&[1], &[0x7f; 256]]), "exponent"),
        (
            &line("sk-ssh-ed25519@openssh.com", &[&[1; 32], b""]),
            "application",
        ),
        (
            &line("sk-ssh-ed25519@openssh.com", &[&[1; 32]]),
            "middle of a field",
        ),
    ] {
        let error = line.parse::<HostKey>().unwrap_err().to_string();
        assert!(error.contains(why), "{line:?}: {error}");
        assert!(!error.chars().any(char::is_control), "{error:?}");
        assert!(error.len() < 400);
    }
}

#[test]
fn sets_are_sorted_bounded_and_know_the_preferred_key() {
    let all: Vec<HostKey> = keys().map(|(_, line)| line.parse().unwrap()).collect();
    let forward = HostKeys::new(all.clone()).unwrap();
    let backward = HostKeys::new(all.iter().rev().chain(&all).cloned()).unwrap();
    assert_eq!(forward, backward);
    assert_eq!(
        forward.preferred().unwrap().algorithm(),
        HostKeyAlgorithm::Ed25519
    );
    assert_eq!(HostKeys::default().preferred(), None);
    let many = |count: u8| (0..count).map(|byte| ed25519(&[byte; 32]).parse().unwrap());
    assert_eq!(HostKeys::new(many(16)).unwrap().len(), 16);
    assert_eq!(
        HostKeys::new(many(17)),
        Err(HostKeyError::TooMany { count: 17 })
    );
    let json = serde_json::to_string(&many(17).collect::<Vec<HostKey>>()).unwrap();
    let error = serde_json::from_str::<HostKeys>(&json).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("17 host keys, at most 16 allowed"),
        "{error}"
    );
}

#[test]
fn fingerprints_are_strict() {
    for illegal in [
        "",
        "SHA256:",
        "SHA256:AAAA",
        "MD5:00:11",
        "sha256:+vRt52hrFikeGBz/JrwdN8woXL3rtfQy/1KF2FOXeDk",
        "SHA256:/vRt52hrFikeGBz/JrwdN8woXL3rtfQy/1KF2FOXeDk=",
        "SHA256:/vRt52hrFikeGBz/JrwdN8woXL3rtfQy/1KF2FOXeDl",
    ] {
        assert!(illegal.parse::<Fingerprint>().is_err(), "{illegal}");
    }
}

proptest! {
    #[test]
    fn a_changed_key_is_another_key_or_none(which in 0..6_usize, at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let (_, line) = keys().nth(which).unwrap();
        let key: HostKey = line.parse().unwrap();
        let mut blob = key.blob().to_vec();
        blob[at.index(key.blob().len())] ^= 1 << bit;
        let changed = format!("{} {}", key.algorithm(), STANDARD.encode(blob));
        if let Ok(other) = changed.parse::<HostKey>() {
            prop_assert_ne!(&other, &key);
            prop_assert_ne!(other.fingerprint(), key.fingerprint());
        }
    }

    #[test]
    fn no_text_panics_and_what_is_accepted_is_canonical(text in "(ssh-(ed25519|rsa) )?[A-Za-z0-9+/= ]{0,80}") {
        if let Ok(key) = text.parse::<HostKey>() {
            prop_assert_eq!(key.to_string().parse::<HostKey>().unwrap(), key);
        }
    }
}

fn keys() -> impl Iterator<Item = (&'static str, &'static str)> {
    KEYS.lines().map(|line| line.split_once(' ').unwrap())
}

fn ed25519(bytes: &[u8; 32]) -> String {
    line("ssh-ed25519", &[bytes])
}

fn line(algorithm: &str, fields: &[&[u8]]) -> String {
    let mut blob = field(algorithm.as_bytes());
    fields.iter().for_each(|bytes| blob.extend(field(bytes)));
    format!("{algorithm} {}", STANDARD.encode(blob))
}

fn field(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}
