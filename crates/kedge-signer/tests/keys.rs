//! Private keys as people have them are read; what is something else is refused by what it is.

#![cfg(test)]

mod common;

use std::fs;
use std::process::Command;

use aws_lc_rs::encoding::AsBigEndian;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::{data, number, put, strings};
use kedge_signer::{KEY_FILE_BYTES, KeyAlgorithm, KeyError, PrivateKey};
use kedge_testkit::run;
use proptest::prelude::*;

const ACCEPTED: [(&str, KeyAlgorithm); 12] = [
    ("ed25519-pkcs8", KeyAlgorithm::Ed25519),
    ("p256-parameters-sec1", KeyAlgorithm::EcdsaP256),
    ("p256-pkcs8", KeyAlgorithm::EcdsaP256),
    ("p256-sec1", KeyAlgorithm::EcdsaP256),
    ("p384-parameters-sec1", KeyAlgorithm::EcdsaP384),
    ("p384-pkcs8", KeyAlgorithm::EcdsaP384),
    ("p384-sec1", KeyAlgorithm::EcdsaP384),
    ("p521-parameters-sec1", KeyAlgorithm::EcdsaP521),
    ("p521-pkcs8", KeyAlgorithm::EcdsaP521),
    ("p521-sec1", KeyAlgorithm::EcdsaP521),
    ("rsa2048-pkcs1", KeyAlgorithm::Rsa),
    ("rsa2048-pkcs8", KeyAlgorithm::Rsa),
];

#[test]
fn keys_of_openssl_are_read() {
    for (name, algorithm) in ACCEPTED {
        let key = PrivateKey::parse(&data(&format!("accepted/{name}.pem")))
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(key.public().algorithm(), algorithm, "{name}");
        let public = String::from_utf8(data(&format!("accepted/{name}.pub"))).unwrap();
        assert!(
            public.starts_with(&key.public().to_string()),
            "{name}: {}",
            key.public()
        );
    }
}

#[test]
fn keys_of_ssh_keygen_are_read() {
    let folder = tempfile::tempdir().unwrap();
    for (kind, bits) in [
        ("ed25519", "256"),
        ("ecdsa", "256"),
        ("ecdsa", "384"),
        ("ecdsa", "521"),
        ("rsa", "2048"),
        ("rsa", "3072"),
    ] {
        for format in ["RFC4716", "PEM", "PKCS8"] {
            let path = folder.path().join(format!("{kind}-{bits}-{format}"));
            let mut keygen = Command::new("ssh-keygen");
            keygen
                .args(["-q", "-t", kind, "-b", bits, "-m", format, "-N", ""])
                .args(["-C", "a comment of any length", "-f"])
                .arg(&path);
            run::run(keygen).unwrap().success().unwrap();
            let file = fs::read(&path).unwrap();
            let key = PrivateKey::parse(&file)
                .unwrap_or_else(|error| panic!("{kind} {bits} {format}: {error}"));
            let public = fs::read_to_string(path.with_extension("pub")).unwrap();
            assert!(public.starts_with(&key.public().to_string()));
            let mut list = Command::new("ssh-keygen");
            list.arg("-lf").arg(&path);
            let listed = run::run(list).unwrap().success().unwrap().out();
            let fingerprint = key.public().fingerprint().to_string();
            assert!(listed.contains(&fingerprint), "{listed}");
        }
    }
}

#[test]
fn blanks_and_line_ends_do_not_matter() {
    let names = ACCEPTED.map(|(name, _)| data(&format!("accepted/{name}.pem")));
    for file in names.iter().chain(&[openssh_file(&Parts::ed25519())]) {
        let text = String::from_utf8(file.clone()).unwrap();
        let expected = PrivateKey::parse(file).unwrap();
        for variant in [
            text.replace('\n', "\r\n"),
            text.replace('\n', "\r"),
            text.trim_end().to_owned(),
            text.replace('\n', "\r\n").trim_end().to_owned(),
            format!("\n\n \t{text}\n\n"),
            text.replace('\n', "\n\n"),
            text.replace('\n', "  \n  "),
            text.replace("\n", " "),
            wrapped(&text, 64),
            wrapped(&text, 76),
            wrapped(&text, 1000),
        ] {
            let key = PrivateKey::parse(variant.as_bytes())
                .unwrap_or_else(|error| panic!("{error}: {variant:?}"));
            assert_eq!(key.public(), expected.public());
        }
    }
}

#[test]
fn what_is_something_else_is_refused_by_what_it_is() {
    for (name, expected) in [
        ("certificate-x509", KeyError::Certificate),
        ("dsa-openssh", KeyError::Algorithm { name: "DSA" }),
        ("dsa-pkcs8", KeyError::Algorithm { name: "DSA" }),
        ("dsa-traditional", KeyError::Algorithm { name: "DSA" }),
        ("ed448-pkcs8", KeyError::Algorithm { name: "Ed448" }),
        ("encrypted-openssh", KeyError::Encrypted),
        ("encrypted-pkcs1", KeyError::Encrypted),
        ("encrypted-pkcs8", KeyError::Encrypted),
        ("p256-explicit-sec1", OTHER_CURVE),
        ("public-spki", KeyError::PublicKey),
        ("rsa-pss-pkcs8", KeyError::Algorithm { name: "RSA-PSS" }),
        ("rsa1024-pkcs1", KeyError::RsaSize { bits: 1024 }),
        ("rsa1024-pkcs8", KeyError::RsaSize { bits: 1024 }),
        ("secp256k1-pkcs8", OTHER_CURVE),
        ("secp256k1-sec1", OTHER_CURVE),
        ("x25519-pkcs8", KeyError::Algorithm { name: "X25519" }),
    ] {
        refused(&data(&format!("refused/{name}.pem")), expected, name);
    }
    let good = String::from_utf8(data("accepted/p256-pkcs8.pem")).unwrap();
    let public = String::from_utf8(data("accepted/p256-pkcs8.pub")).unwrap();
    let malformed = |problem| KeyError::Malformed { problem };
    for (text, expected) in [
        ("", KeyError::Empty),
        (" \r\n\t\n", KeyError::Empty),
        (public.as_str(), KeyError::PublicKey),
        ("ssh-rsa AAAA x", KeyError::PublicKey),
        (
            "ssh-ed25519-cert-v01@openssh.com AAAA",
            KeyError::Certificate,
        ),
        (
            "PuTTY-User-Key-File-3: ssh-ed25519\n",
            KeyError::Foreign { program: "PuTTY" },
        ),
        ("---- BEGIN SSH2 PUBLIC KEY ----\nAAAA", KeyError::PublicKey),
        ("hello", KeyError::NotAKey),
        ("{\"key\": \"x\"}", KeyError::NotAKey),
        ("-----BEGIN", KeyError::NotAKey),
        (
            "-----BEGIN PGP PRIVATE KEY BLOCK-----\nx\n-----END PGP PRIVATE KEY BLOCK-----",
            KeyError::NotAKey,
        ),
        (
            "-----BEGIN PRIVATE KEY",
            malformed("its first line has no end"),
        ),
        ("-----BEGIN PRIVATE KEY-----", malformed("it has no end")),
        (
            "-----BEGIN PRIVATE KEY-----\nMAA=\n",
            malformed("it has no end"),
        ),
        (
            "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END RSA PRIVATE KEY-----",
            malformed("its last line does not fit its first"),
        ),
        (
            "-----BEGIN PRIVATE KEY-----\nM*A=\n-----END PRIVATE KEY-----",
            malformed("it is not base64"),
        ),
        (
            "-----BEGIN PRIVATE KEY-----\nMAA\n-----END PRIVATE KEY-----",
            malformed("it is not base64"),
        ),
        (
            "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----",
            malformed("nothing is in it"),
        ),
        (
            "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----",
            malformed("it is not the structure that its first line says"),
        ),
        (
            "-----BEGIN OPENSSH PRIVATE KEY-----\nMAA=\n-----END OPENSSH PRIVATE KEY-----",
            malformed("it does not begin as OpenSSH's format does"),
        ),
        (&format!("{good}{good}"), KeyError::Several),
        (
            &format!("{good}\n{public}"),
            malformed("something follows its end"),
        ),
        (&format!("{public}\n{good}"), KeyError::PublicKey),
        (
            &format!("comment\n{good}"),
            malformed("something stands before its first line"),
        ),
        (
            &good.replacen('\n', "\nComment: x\n\n", 1),
            malformed("it has headers"),
        ),
        // A newline that became two characters on its way.
        (
            &good.replace('\n', "\\n"),
            malformed("its line ends are written as a backslash and an n"),
        ),
        // The other format's first line.
        (
            &good.replace("PRIVATE", "RSA PRIVATE"),
            malformed("it is not the structure that its first line says"),
        ),
    ] {
        refused(text.as_bytes(), expected, text);
    }
    refused(&[0xff, 0xfe, 0, 1, 2, 3], KeyError::NotAKey, "binary junk");
    refused(&vec![0; KEY_FILE_BYTES], KeyError::NotAKey, "zeros");
    refused(
        &vec![b'\n'; KEY_FILE_BYTES + 1],
        KeyError::TooLarge,
        "oversized",
    );
}

#[test]
fn openssh_files_are_checked_in_every_part() {
    let good = Parts::ed25519();
    assert!(PrivateKey::parse(&openssh_file(&good)).is_ok());
    type Change = fn(&mut Parts);
    let malformed = |problem| KeyError::Malformed { problem };
    let cases: [(Change, KeyError); 17] = [
        (|p| p.cipher = b"aes256-ctr", KeyError::Encrypted),
        (|p| p.kdf = b"bcrypt", KeyError::Encrypted),
        (
            |p| p.options = b"x",
            malformed("it is not encrypted, and says how it is"),
        ),
        (|p| p.count = 0, malformed("no key is in it")),
        (|p| p.count = 2, KeyError::Several),
        (|p| p.count = u32::MAX, KeyError::Several),
        (|p| p.checks[1] ^= 1, malformed("its two checks differ")),
        (
            |p| p.padding = vec![1, 2, 4],
            malformed("its padding is not as it should be"),
        ),
        (
            |p| p.padding = (1..=16).collect(),
            malformed("its padding is not as it should be"),
        ),
        (
            |p| p.trailing = vec![0],
            malformed("bytes are left over after the last field"),
        ),
        (
            |p| p.fields = strings(&[b"sk-ssh-ed25519@openssh.com", &[1; 32], b"ssh:"]),
            KeyError::SecurityKey,
        ),
        (
            |p| p.fields = strings(&[b"ssh-ed25519-cert-v01@openssh.com", b""]),
            KeyError::Certificate,
        ),
        (
            |p| p.fields = strings(&[b"ssh-xmss@openssh.com", b""]),
            KeyError::Algorithm { name: "XMSS" },
        ),
        // Its name may be anything, and is not shown.
        (
            |p| p.fields = strings(&[b"c2VjcmV0", b""]),
            KeyError::Algorithm { name: "unknown" },
        ),
        // Another key's public half, outside and inside.
        (
            |p| p.public = Parts::ed25519().public,
            KeyError::Inconsistent,
        ),
        (
            |p| {
                let other = Ed25519KeyPair::generate().unwrap();
                let mut private = other
                    .seed()
                    .unwrap()
                    .as_be_bytes()
                    .unwrap()
                    .as_ref()
                    .to_vec();
                private.extend_from_slice(&p.key);
                p.fields = strings(&[b"ssh-ed25519", &p.key, &private]);
            },
            KeyError::Inconsistent,
        ),
        (
            |p| p.fields = strings(&[b"ssh-ed25519", &p.key, &[1; 63]]),
            malformed("an Ed25519 key of another length"),
        ),
    ];
    for (index, (change, expected)) in cases.into_iter().enumerate() {
        let mut parts = Parts::ed25519();
        change(&mut parts);
        refused(&openssh_file(&parts), expected, &format!("case {index}"));
    }
    // RSA of a size that nobody takes, before any work is put into it.
    for bytes in [128, 255, 1025, 2048] {
        let n = number(&vec![0xc1; bytes]);
        let mut fields = strings(&[b"ssh-rsa"]);
        fields.extend([&n[..], &number(&[1, 0, 1]), &n, &n, &n, &n].concat());
        let parts = Parts {
            fields,
            ..Parts::ed25519()
        };
        let expected = KeyError::RsaSize { bits: bytes * 8 };
        refused(&openssh_file(&parts), expected, "RSA");
    }
    // And of a good size with numbers that have nothing to do with each other.
    let n = number(&[0xc1; 256]);
    let mut fields = strings(&[b"ssh-rsa"]);
    let p = number(&[0xc1; 128]);
    fields.extend([&n[..], &number(&[1, 0, 1]), &n, &p, &p, &p].concat());
    let parts = Parts {
        fields,
        ..Parts::ed25519()
    };
    refused(&openssh_file(&parts), KeyError::Inconsistent, "RSA");
}

#[test]
fn pkcs8_of_the_second_version_is_read() {
    let pair = Ed25519KeyPair::generate().unwrap();
    let document = pair.to_pkcs8().unwrap();
    let key = PrivateKey::parse(&armoured("PRIVATE KEY", document.as_ref())).unwrap();
    assert!(key.public().blob().ends_with(pair.public_key().as_ref()));
    let first = pair.to_pkcs8v1().unwrap();
    let same = PrivateKey::parse(&armoured("PRIVATE KEY", first.as_ref())).unwrap();
    assert_eq!(key.public(), same.public());
}

#[test]
fn a_cut_file_is_refused() {
    for name in ["ed25519-pkcs8", "p256-sec1", "rsa2048-pkcs1"] {
        let text = String::from_utf8(data(&format!("accepted/{name}.pem"))).unwrap();
        for end in 0..text.trim_end().len() {
            assert!(
                PrivateKey::parse(&text.as_bytes()[..end]).is_err(),
                "{name} {end}"
            );
        }
        // Also where the text is whole and what is in it is not.
        let (label, contents) = unarmoured(&text);
        for end in 0..contents.len() {
            let file = armoured(&label, &contents[..end]);
            assert!(PrivateKey::parse(&file).is_err(), "{name} {end}");
            let file = armoured(&label, &[&contents[..], b"\0"].concat());
            assert!(PrivateKey::parse(&file).is_err(), "{name} with more");
        }
    }
    let whole = openssh_contents(&Parts::ed25519());
    for end in 0..whole.len() {
        let file = armoured("OPENSSH PRIVATE KEY", &whole[..end]);
        assert!(PrivateKey::parse(&file).is_err(), "{end}");
    }
}

#[test]
fn every_error_is_a_line_and_a_word() {
    for error in [
        KeyError::Algorithm { name: "DSA" },
        KeyError::Certificate,
        KeyError::Empty,
        KeyError::Encrypted,
        KeyError::Foreign { program: "PuTTY" },
        KeyError::Inconsistent,
        KeyError::Malformed { problem: "x" },
        KeyError::NotAKey,
        KeyError::PublicKey,
        KeyError::RsaSize { bits: 1024 },
        KeyError::SecurityKey,
        KeyError::Several,
        KeyError::TooLarge,
    ] {
        assert!(!error.to_string().chars().any(char::is_control));
        assert!(error.reason().bytes().all(|b| b.is_ascii_alphanumeric()));
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), label in 0_usize..4) {
        prop_assert!(PrivateKey::parse(&bytes).is_err());
        let label = ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "OPENSSH PRIVATE KEY"][label];
        prop_assert!(PrivateKey::parse(&armoured(label, &bytes)).is_err());
        let contents = [b"openssh-key-v1\0".as_slice(), &bytes].concat();
        prop_assert!(PrivateKey::parse(&armoured(label, &contents)).is_err());
    }

    #[test]
    fn a_key_with_one_byte_changed_is_the_same_key_or_none(
        name in 0_usize..4, at in any::<prop::sample::Index>(), flip in 1_u8..,
    ) {
        let (label, mut contents) = match name {
            3 => ("OPENSSH PRIVATE KEY".to_owned(), openssh_contents(&Parts::ed25519())),
            _ => {
                let name = ["ed25519-pkcs8", "p256-sec1", "p384-pkcs8"][name];
                unarmoured(&String::from_utf8(data(&format!("accepted/{name}.pem"))).unwrap())
            }
        };
        let whole = PrivateKey::parse(&armoured(&label, &contents)).unwrap();
        let at = at.index(contents.len());
        contents[at] ^= flip;
        match PrivateKey::parse(&armoured(&label, &contents)) {
            // A seed of Ed25519 that stands alone is as good as any other.
            Ok(_) if name == 0 => {}
            Ok(key) => prop_assert_eq!(key.public(), whole.public()),
            Err(error) => prop_assert!(error.to_string().len() < 200),
        }
    }
}

const OTHER_CURVE: KeyError = KeyError::Algorithm {
    name: "ECDSA on another curve",
};

fn refused(file: &[u8], expected: KeyError, what: &str) {
    match PrivateKey::parse(file) {
        Ok(key) => panic!("{what}: {key:?} was accepted"),
        Err(error) => assert_eq!(error, expected, "{what}"),
    }
}

/// What a file of OpenSSH's format is made of.
struct Parts {
    cipher: &'static [u8],
    kdf: &'static [u8],
    options: &'static [u8],
    count: u32,
    public: Vec<u8>,
    /// The bare public key.
    key: Vec<u8>,
    checks: [u32; 2],
    fields: Vec<u8>,
    padding: Vec<u8>,
    trailing: Vec<u8>,
}

impl Parts {
    fn ed25519() -> Self {
        let pair = Ed25519KeyPair::generate().unwrap();
        let public = pair.public_key().as_ref();
        let mut private = pair
            .seed()
            .unwrap()
            .as_be_bytes()
            .unwrap()
            .as_ref()
            .to_vec();
        private.extend_from_slice(public);
        Self {
            cipher: b"none",
            kdf: b"none",
            options: b"",
            count: 1,
            public: strings(&[b"ssh-ed25519", public]),
            key: public.to_vec(),
            checks: [0x0123_4567; 2],
            fields: strings(&[b"ssh-ed25519", public, &private]),
            padding: vec![1, 2, 3, 4, 5],
            trailing: Vec::new(),
        }
    }
}

fn openssh_contents(parts: &Parts) -> Vec<u8> {
    let mut private = Vec::new();
    for check in parts.checks {
        private.extend_from_slice(&check.to_be_bytes());
    }
    private.extend_from_slice(&parts.fields);
    put(&mut private, b"a comment");
    private.extend_from_slice(&parts.padding);
    let mut out = b"openssh-key-v1\0".to_vec();
    out.extend(strings(&[parts.cipher, parts.kdf, parts.options]));
    out.extend_from_slice(&parts.count.to_be_bytes());
    out.extend(strings(&[&parts.public, &private]));
    out.extend_from_slice(&parts.trailing);
    out
}

fn openssh_file(parts: &Parts) -> Vec<u8> {
    armoured("OPENSSH PRIVATE KEY", &openssh_contents(parts))
}

fn armoured(label: &str, contents: &[u8]) -> Vec<u8> {
    let text = format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        STANDARD.encode(contents)
    );
    wrapped(&text, 70).into_bytes()
}

/// Label and contents of the last block.
fn unarmoured(text: &str) -> (String, Vec<u8>) {
    let (_, rest) = text.rsplit_once("-----BEGIN ").unwrap();
    let (label, rest) = rest.split_once("-----").unwrap();
    let (body, _) = rest.split_once("-----").unwrap();
    let base64: String = body.split_whitespace().collect();
    (label.to_owned(), STANDARD.decode(base64).unwrap())
}

/// The same blocks with lines of another length.
fn wrapped(text: &str, width: usize) -> String {
    let mut out = String::new();
    let mut body = String::new();
    for line in text.lines() {
        if line.starts_with('-') {
            for chunk in body.as_bytes().chunks(width) {
                out.push_str(std::str::from_utf8(chunk).unwrap());
                out.push('\n');
            }
            body.clear();
            out.push_str(line);
            out.push('\n');
        } else {
            body.push_str(line.trim());
        }
    }
    out
}
